//! A directory with keyrings, in which the program runs without a terminal and without variables of its own.

use serde_json::Value;
use std::io::{ErrorKind, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

pub type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Variables that the program reads.
pub const VARIABLES: [&str; 4] =
    ["ENVELOCK_KEYRING", "ENVELOCK_CONFIG", "ENVELOCK_PASSPHRASE", "ENVELOCK_PIN"];

pub struct Sandbox(TempDir);

impl Sandbox {
    /// An empty directory.
    pub fn empty() -> Result<Self> {
        Ok(Sandbox(tempfile::tempdir()?))
    }

    /// A directory with the key file `keys`, which has the key `orders` and no protection.
    pub fn new() -> Result<Self> {
        let sandbox = Sandbox::empty()?;
        sandbox.ok("-k file:keys key create orders --new-keyring --unprotected")?;
        Ok(sandbox)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn directory(&self) -> &Path {
        self.0.path()
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path(name);
        std::fs::write(&path, bytes)?;
        Ok(path)
    }

    /// Writes a file that only its owner may read.
    pub fn write_secret(&self, name: &str, bytes: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.write(name, bytes)?;
        self.set_mode(name, 0o600)?;
        Ok(path)
    }

    pub fn set_mode(&self, name: &str, mode: u32) -> Result {
        use std::os::unix::fs::PermissionsExt;
        Ok(std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(mode))?)
    }

    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        Ok(std::fs::read(self.path(name))?)
    }

    /// The program with `arguments`, which spaces divide.
    pub fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_envelock"));
        command.args(arguments.split_whitespace()).current_dir(&self.0);
        for variable in VARIABLES {
            command.env_remove(variable);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// A shell that runs `script`, in which `$0` is the program.
    pub fn shell(&self, script: &str) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", script, env!("CARGO_BIN_EXE_envelock")]).current_dir(&self.0);
        for variable in VARIABLES {
            shell.env_remove(variable);
        }
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        shell
    }

    pub fn run(&self, arguments: &str) -> Result<Output> {
        finish(&mut self.command(arguments), b"")
    }

    pub fn run_with(&self, arguments: &str, input: &[u8]) -> Result<Output> {
        finish(&mut self.command(arguments), input)
    }

    /// Runs a command that has to succeed, and returns what it prints.
    pub fn ok(&self, arguments: &str) -> Result<String> {
        succeeded(arguments, self.run(arguments)?)
    }

    /// Runs a command that has to succeed, and returns the JSON objects that it prints.
    pub fn json(&self, arguments: &str) -> Result<Vec<Value>> {
        let printed = self.ok(&format!("--json {arguments}"))?;
        printed.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// Runs a command that has to fail with exit code `code` and a next step, and returns its errors.
    pub fn fails(&self, arguments: &str, code: i32) -> Result<String> {
        failed(arguments, &self.run(arguments)?, code)
    }
}

/// Runs a command with `input` and without a terminal.
pub fn finish(command: &mut Command, input: &[u8]) -> Result<Output> {
    // SAFETY: the child calls setsid alone, which is safe after fork.
    unsafe {
        command.pre_exec(|| Ok(rustix::process::setsid().map(drop)?));
    }
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().ok_or("no standard input")?;
    match stdin.write_all(input) {
        // Not every command reads it.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        written => written?,
    }
    drop(stdin);
    Ok(child.wait_with_output()?)
}

pub fn succeeded(arguments: &str, output: Output) -> Result<String> {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments}: {errors}");
    assert_eq!(errors, "", "{arguments}");
    Ok(String::from_utf8(output.stdout)?)
}

pub fn failed(arguments: &str, output: &Output, code: i32) -> Result<String> {
    let errors = String::from_utf8(output.stderr.clone())?;
    assert_eq!(output.status.code(), Some(code), "{arguments}: {errors}");
    assert!(errors.contains("\nnext: ") && !errors.ends_with("next: \n"), "{arguments}: {errors}");
    Ok(errors)
}
