//! Real processes: a test executable starts itself again, once for each role.
//!
//! The module that uses this has a test `child_entry`, which returns at once without a [`role`], and names
//! itself by its `module_path!()`.
//! Parent and child exchange lines: through a pipe, which keeps what a killed process wrote.

#![allow(dead_code)] // Not every test uses all of it.

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

const ROLE: &str = "ENVELOCK_TEST_ROLE";
const BETWEEN: char = '\u{1f}';

/// Distinguishes lines of a child from those of the test harness.
const MARK: char = '@';

/// A child, killed on drop.
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    pub fn start(module: &str, role: &str, arguments: &[&str]) -> Self {
        Process::start_with(module, role, arguments, &[])
    }

    /// The same, with some variables of its environment set.
    pub fn start_with(
        module: &str,
        role: &str,
        arguments: &[&str],
        variables: &[(String, String)],
    ) -> Self {
        let between = BETWEEN.to_string();
        let role = [&[role], arguments].concat().join(&between);
        let entry = test_in(module, "child_entry");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &entry, "--nocapture", "--quiet"])
            .env(ROLE, role)
            .envs(variables.iter().cloned())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Process { child, input, output }
    }

    pub fn say(&mut self, line: &str) {
        let input = self.input.as_mut().unwrap();
        input.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// The next line, or `None` at the end. The torn line of a killed process is dropped.
    pub fn hear(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            self.output.read_line(&mut line).unwrap();
            let line = line.strip_suffix('\n')?;
            if let Some(said) = line.strip_prefix(MARK) {
                return Some(said.to_owned());
            }
        }
    }

    /// The next line, which has to be there.
    pub fn must_hear(&mut self) -> String {
        self.hear().expect("the child ended early")
    }

    pub fn expect(&mut self, line: &str) {
        assert_eq!(self.must_hear(), line);
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Stops it, and waits until it stops.
    pub fn stop(&self) {
        self.signal(Signal::STOP);
        let pid = Pid::from_child(&self.child);
        let (_, status) = waitpid(Some(pid), WaitOptions::UNTRACED).unwrap().unwrap();
        assert!(status.stopped());
    }

    /// Kills it, and waits until it has ended and its files and locks are released.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        let status: ExitStatus = self.child.wait().unwrap();
        assert!(!status.success(), "it ended before it was killed");
    }

    /// Closes its input and waits for an orderly end; returns what it said last.
    pub fn end(mut self) -> Vec<String> {
        drop(self.input.take());
        let said = std::iter::from_fn(|| self.hear()).collect();
        assert!(self.child.wait().unwrap().success(), "a child failed");
        said
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail if it has ended, which is well.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The role and the arguments that the parent gave, in a child.
pub fn role() -> Option<(String, Vec<String>)> {
    let role = std::env::var(ROLE).ok()?;
    let mut parts = role.split(BETWEEN).map(str::to_owned);
    Some((parts.next().unwrap(), parts.collect()))
}

/// Says a line to the parent.
pub fn send(line: &str) {
    let mut output = std::io::stdout().lock();
    output.write_all(format!("{MARK}{line}\n").as_bytes()).unwrap();
    output.flush().unwrap();
}

/// The next line from the parent, `None` once that closed the pipe.
pub fn listen() -> Option<String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).unwrap();
    line.strip_suffix('\n').map(str::to_owned)
}

/// A test as the harness names it: `module` is a `module_path!()`, which begins with the binary.
pub fn test_in(module: &str, test: &str) -> String {
    match module.split_once("::") {
        Some((_, module)) => format!("{module}::{test}"),
        None => test.to_owned(),
    }
}
