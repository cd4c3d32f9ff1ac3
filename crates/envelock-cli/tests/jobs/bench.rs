//! A tree of messages, a key file, and the program.

use envelock::file::{FileKeyring, Protection};
use envelock::{Aad, Envelope, Lifecycle, inspect};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A directory with a key file and a tree of messages.
pub struct Bench {
    directory: tempfile::TempDir,
    pub is_sidecar: bool,
    /// The plaintext of each file.
    pub plaintexts: BTreeMap<PathBuf, Vec<u8>>,
    /// What stands behind each header.
    bodies: BTreeMap<PathBuf, Vec<u8>>,
}

/// How a run of the program ended.
#[derive(Debug)]
pub struct Ran {
    pub exit: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Returns a number of the environment, for longer runs.
pub fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn with_suffix(path: &Path) -> PathBuf {
    PathBuf::from(format!("{}.header", path.display()))
}

impl Bench {
    /// Returns so many messages under `orders:1`.
    pub fn new(items: u64) -> Self {
        Bench::with_layout(items, false)
    }

    pub fn with_layout(items: u64, is_sidecar: bool) -> Self {
        // Files are written without waiting for a disk, if there is such a place.
        let memory = Path::new("/dev/shm");
        let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let directory = made.unwrap();
        let protection = Protection::unprotected_plaintext();
        let keyring =
            FileKeyring::create(directory.path().join("o.keys"), "orders", &protection).unwrap();
        let mut bench =
            Bench { directory, is_sidecar, plaintexts: BTreeMap::new(), bodies: BTreeMap::new() };
        let envelope = Envelope::new(&keyring);
        for number in 0..items {
            let path = bench.path(&format!("tree/{}/message-{number}", number % 7));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let plaintext = format!("order {number}").into_bytes();
            let message = envelope.encrypt(&plaintext, Aad::none()).unwrap();
            let (header, body) = message.split_at(inspect(&message).unwrap().len());
            if is_sidecar {
                std::fs::write(with_suffix(&path), header).unwrap();
                std::fs::write(&path, body).unwrap();
            } else {
                std::fs::write(&path, &message).unwrap();
            }
            bench.bodies.insert(path.clone(), body.to_vec());
            bench.plaintexts.insert(path, plaintext);
        }
        drop(envelope);
        keyring.flush().unwrap();
        bench
    }

    /// As [`new`](Self::new), after a rotation to `orders:2`.
    pub fn rotated(items: u64) -> Self {
        let bench = Bench::new(items);
        bench.keyring().rotate().unwrap();
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn keyring(&self) -> FileKeyring {
        FileKeyring::open_any(self.path("o.keys"), &Protection::unprotected_plaintext()).unwrap()
    }

    pub fn source(&self) -> &'static str {
        if self.is_sidecar { "dir:tree?header=sidecar" } else { "dir:tree" }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_envelock"));
        command.args(arguments).current_dir(self.directory.path());
        command.env("ENVELOCK_KEYRING", "file:o.keys").env_remove("ENVELOCK_CONFIG");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().unwrap()
    }

    pub fn run(&self, arguments: &[&str]) -> Ran {
        ran(self.command(arguments).output().unwrap())
    }

    /// Runs the program, which must end with `exit`.
    #[track_caller]
    pub fn run_to(&self, exit: i32, arguments: &[&str]) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.exit, Some(exit), "{arguments:?}\n{}{}", ran.stdout, ran.stderr);
        ran
    }

    /// Runs the program with `--json`, and returns the last object on standard output.
    #[track_caller]
    pub fn json(&self, exit: i32, arguments: &[&str]) -> Value {
        let ran = self.run_to(exit, &[&["--json"], arguments].concat());
        for line in ran.stderr.lines() {
            assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
        }
        serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap()
    }

    /// Starts a job in `directory`, or resumes it if it is there.
    pub fn start_or_resume(&self, directory: &str) -> Command {
        match self.path(directory).join("job.json").exists() {
            true => self.command(&["job", "resume", directory]),
            false => {
                self.command(&["job", "start", self.source(), "-d", directory, "--page", "20"])
            }
        }
    }

    /// Every message opens under `version`, and no byte of a body has changed.
    #[track_caller]
    pub fn check(&self, version: u32) {
        let envelope = Envelope::new(self.keyring());
        for (path, body) in &self.bodies {
            let file = std::fs::read(path).unwrap();
            let header = match self.is_sidecar {
                true => std::fs::read(with_suffix(path)).unwrap(),
                false => file[..inspect(&file).unwrap().len()].to_vec(),
            };
            let stored = if self.is_sidecar { &file[..] } else { &file[header.len()..] };
            assert_eq!(stored, body, "{path:?}");
            let opened = envelope.open(&header).unwrap();
            assert_eq!(opened.label().version.number(), version, "{path:?}");
            assert_eq!(opened.decrypt(stored, Aad::none()).unwrap(), self.plaintexts[path]);
        }
    }

    /// Returns all files with their content and the time of their last change.
    pub fn snapshot(&self) -> BTreeMap<PathBuf, (Vec<u8>, std::time::SystemTime)> {
        let mut files = BTreeMap::new();
        let mut directories = vec![self.directory.path().to_path_buf()];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                let metadata = path.symlink_metadata().unwrap();
                if metadata.is_dir() {
                    directories.push(path);
                } else {
                    let content = std::fs::read(&path).unwrap();
                    files.insert(path, (content, metadata.modified().unwrap()));
                }
            }
        }
        files
    }

    /// Waits until a job in `directory` is as `is_there` wants it, by its status.
    #[track_caller]
    pub fn wait_for(&self, directory: &str, is_there: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let ran = self.run(&["--json", "job", "status", directory]);
            let status = ran.stdout.lines().last().map(|line| serde_json::from_str(line).unwrap());
            if let Some(status) = status.filter(|status| is_there(status)) {
                return status;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "{}{}", ran.stdout, ran.stderr);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

pub fn ran(output: Output) -> Ran {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { exit: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Sends a signal by name.
pub fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Returns one count of a tally.
pub fn count(value: &Value, name: &str) -> u64 {
    let tally = value.get("summary").unwrap_or(value).get("tally").unwrap();
    tally.get(name).and_then(Value::as_u64).unwrap()
}
