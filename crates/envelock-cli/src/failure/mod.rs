//! Errors of commands: what failed, what to do next, and the exit code for a scheduler.

mod of_library;
pub mod of_ops;

use crate::output::shell_word;
use envelock::Error;
use envelock::keyset::LifecycleError;
use std::process::ExitCode;

const MAKE_ROOM: &str = "make room: `df -h` shows how much there is";

/// Why the program ends: its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything is done.
    Done = 0,
    /// The command could not run.
    CouldNotRun = 1,
    /// The arguments are wrong.
    Usage = 2,
    /// The command finished, and items are left that failed or conflicted.
    ItemsLeft = 3,
    /// A job halted by its canary, its limit of failures or its budget.
    Halted = 4,
    /// Something is due or not compliant.
    Due = 5,
    /// The keyring refuses: a state, a hold, evidence. A person has to decide.
    Refused = 6,
    /// A file or a message does not verify.
    NotVerified = 7,
    /// The back end is unavailable: the same command may succeed later.
    TryLater = 75,
    /// Stopped by a person.
    Stopped = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Why a command did not succeed, with the next step of its user.
///
/// A command in backquotes in the next step, such as "`envelock key list`", is printed with the keyring
/// of this call.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub what: String,
    pub next: String,
}

impl Failure {
    /// Returns a failure with its exit code.
    pub fn new(exit: Exit, what: impl Into<String>, next: impl Into<String>) -> Self {
        Failure { exit, what: what.into(), next: next.into() }
    }

    /// Returns a failure of wrong arguments.
    pub fn usage(what: impl Into<String>, next: impl Into<String>) -> Self {
        Failure::new(Exit::Usage, what, next)
    }

    /// Returns a failure of the operating system at `subject`: a path, standard output.
    pub fn io(subject: impl std::fmt::Display, error: &std::io::Error) -> Self {
        Failure::from_io(error).of(subject)
    }

    /// Returns a failure of the operating system.
    pub fn from_io(error: &std::io::Error) -> Self {
        let next = match error.kind() {
            std::io::ErrorKind::NotFound => "check the name: `ls -l` lists a directory",
            std::io::ErrorKind::PermissionDenied => "check owner and mode: `ls -l` shows them",
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => MAKE_ROOM,
            _ => "remove the cause and run the command again",
        };
        Failure::new(Exit::CouldNotRun, error.to_string(), next)
    }

    /// Replaces the next step by one that knows more.
    #[must_use]
    pub fn with_next(mut self, next: impl Into<String>) -> Self {
        self.next = next.into();
        self
    }

    /// Names the file of the failure in the commands of the next step.
    #[must_use]
    pub fn of_file(self, path: &std::path::Path) -> Self {
        let file = shell_word(path);
        let commands = [
            ("inspect FILE`", format!("inspect {file}`")),
            ("--add KEYRING FILE`", format!("--add KEYRING {file}`")),
            ("cp FILE FILE.copy`", format!("cp {file} {file}.copy`")),
        ];
        let next = commands.iter().fold(self.next, |next, (from, to)| next.replace(from, to));
        Failure { next, ..self }
    }

    /// Puts what is known for a word of the next step, such as DIRECTORY.
    #[must_use]
    pub fn naming(self, word: &str, value: impl std::fmt::Display) -> Self {
        Failure { next: self.next.replace(word, &value.to_string()), ..self }
    }

    /// Says what was done before its result could not be printed, so that nobody does it again.
    #[must_use]
    pub fn after(self, done: impl std::fmt::Display, next: impl Into<String>) -> Self {
        let what = format!("{done}, but that could not be printed: {}", self.what);
        Failure::new(Exit::Refused, what, next)
    }

    /// Puts a subject in front: the file or the keyring that failed.
    #[must_use]
    pub fn of(mut self, subject: impl std::fmt::Display) -> Self {
        self.what = format!("{subject}: {}", self.what);
        self
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::from(&error)
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let (exit, next) = of_library::exit_and_next(error);
        let what = match error {
            // The next step has the rest of its text.
            Error::Lifecycle(LifecycleError::NotOffered { key, why, .. }) => {
                format!("key {key}: {why}")
            }
            _ => chain(error),
        };
        Failure::new(exit, what, next)
    }
}

/// Returns an error and its sources on one line: no `Display` of the library repeats its source.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    text
}
