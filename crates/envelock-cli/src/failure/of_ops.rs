//! The exit code and the next step for each error of jobs.

use super::{Exit, Failure, chain};
use crate::output::shell_word;
use envelock_ops::drivers::{ControlFileError, WorkDirectoryError};
use envelock_ops::{Halt, MergeError, ShardError, StartError, StoreError};
use std::path::Path;

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let next = match &error {
            StartError::Definition(_) => {
                return Failure::usage(chain(&error), "correct the options");
            }
            StartError::Envelope(error) => return Failure::from(error),
            StartError::NoBodies(_) => {
                "`envelock decrypt` and `envelock encrypt` to a new name do it for each message"
                    .into()
            }
            StartError::NoBodyDates(_) => "leave `--retired` out: each message counts as older".into(),
            StartError::NotPrimary(version) => format!("`envelock key promote {version}`"),
            StartError::NameNotAllowed(_) => "wrap under an allowed key: `-k KEYRING`".into(),
            StartError::Unreadable { version, .. } => format!(
                "`envelock key show {}` tells its state: `envelock key enable {version}` if it is disabled, \
                 `envelock key destroy {version} --cancel` if its destruction is scheduled, \
                 `--from-compromised {version}` if it is compromised",
                version.name
            ),
            StartError::OlderKeyring { .. } => {
                "name the present key file by `-k`, not a backup of it".into()
            }
            StartError::OtherKeyring { .. } => {
                "name the keyring of the job by `-k`, or start a job in another directory".into()
            }
            StartError::UndoRoom { .. } => {
                "make room there, or start a job in another directory by `-d`: what is done is current there"
                    .into()
            }
            StartError::OtherJob { .. } => {
                "name another directory by `-d`, or go on under these options by `--adopt`".into()
            }
            StartError::OtherSource { .. } => {
                "start a job of its own for that source: `-d NEW`".into()
            }
            StartError::OtherMedium(_) => {
                "mount the source that the job began with; `--adopt` begins again with this one"
                    .into()
            }
            _ => "correct the options, or name another directory: `-d NEW`".into(),
        };
        Failure::new(Exit::Refused, chain(&error), next)
    }
}

impl From<WorkDirectoryError> for Failure {
    fn from(error: WorkDirectoryError) -> Self {
        let (exit, next) = match error {
            WorkDirectoryError::Start(error) => return error.into(),
            WorkDirectoryError::Io { ref source, .. } => {
                return Failure { what: chain(&error), ..Failure::from_io(source) };
            }
            WorkDirectoryError::Locked { .. } => {
                (Exit::TryLater, "`envelock job status DIRECTORY` shows what it does")
            }
            WorkDirectoryError::OtherJob { .. } => (
                Exit::Refused,
                "name another directory by `-d`, or go on under these options by `--adopt`",
            ),
            WorkDirectoryError::Checkpoint { .. } => (
                Exit::NotVerified,
                "move the file away and start again: what is done is found as current",
            ),
            _ => (Exit::NotVerified, "keep the directory, and name another by `-d`"),
        };
        Failure::new(exit, chain(&error), next)
    }
}

impl From<ControlFileError> for Failure {
    fn from(error: ControlFileError) -> Self {
        let next = match &error {
            ControlFileError::Io { source, .. } => {
                return Failure { what: chain(&error), ..Failure::from_io(source) };
            }
            ControlFileError::Content { path, .. } => {
                let directory = path.parent().unwrap_or(Path::new("."));
                format!(
                    "`rm {}` removes it with its limits and its pause; then `envelock job set {} KEY=VALUE` sets limits again",
                    shell_word(path),
                    shell_word(directory)
                )
            }
            _ => "remove the file, then set the limits again".into(),
        };
        Failure::new(Exit::CouldNotRun, chain(&error), next)
    }
}

impl From<ShardError> for Failure {
    fn from(error: ShardError) -> Self {
        Failure::usage(chain(&error), "`--shard 3/16`, from 0 on, or `--shard auto`")
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let exit = if error.is_retryable() { Exit::TryLater } else { Exit::CouldNotRun };
        Failure::new(exit, chain(&error), "`envelock doctor` tries what a job needs")
    }
}

impl From<MergeError> for Failure {
    fn from(error: MergeError) -> Self {
        let (exit, next) = match error {
            MergeError::Missing(_) => (Exit::ItemsLeft, "run the shard, then merge again"),
            MergeError::Counts { .. } => {
                (Exit::NotVerified, "take the report as the job wrote it, from a backup")
            }
            _ => (
                Exit::Usage,
                "name the reports of one job, divided in one way: `0-of-2.report.json`",
            ),
        };
        Failure::new(exit, chain(&error), next)
    }
}

/// Returns the exit code of a job that halted, and what to do before it is resumed.
pub fn of_halt(halt: &Halt) -> (Exit, &'static str) {
    match halt {
        _ if halt.is_retryable() => (Exit::TryLater, ""),
        Halt::Target(_) => (Exit::Refused, "plan a new job for what is primary now, or "),
        Halt::FailureRate { .. } => (Exit::Halted, "read the list of failures, then "),
        Halt::Stage(_) => (Exit::Halted, "find out why; to release the stage, add `--release` to "),
        Halt::Keyring(envelock::Error::NoPrimary) => {
            (Exit::Refused, "promote a version: `envelock key promote KEY:VERSION`, then ")
        }
        Halt::Keyring(_) => (Exit::CouldNotRun, "repair the keyring, then "),
        Halt::Records(_) => (Exit::CouldNotRun, "make room for the records, then "),
        Halt::Budget(_) | Halt::Spend { .. } => (Exit::Halted, "raise it, then "),
        Halt::Gone { .. } | Halt::Missing { .. } => {
            (Exit::Halted, "see that the source is mounted and whole, then ")
        }
        Halt::Counts => (Exit::Halted, "keep the directory, and report an error of this program; "),
        _ => (Exit::Halted, "repair the store, then "),
    }
}
