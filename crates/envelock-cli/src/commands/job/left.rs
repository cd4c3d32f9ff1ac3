//! What a job that has finished leaves.

use super::console::grouped;
use crate::failure::{Exit, Failure};
use envelock_ops::{Tally, Task};

const CHANGED: &str = "the primary changed while the job ran";

/// Returns the lines behind the counts.
pub fn notes(targets_changed: bool, undo_lost: bool) -> String {
    let mut text = String::new();
    if targets_changed {
        text += &format!("\n{CHANGED}: run a job for the new one");
    }
    if undo_lost {
        text += "\nthe undo log was cut: not every header can be restored";
    }
    text
}

/// A job that has finished.
pub struct Finished<'a> {
    pub task: &'a Task,
    pub tally: Tally,
    pub targets_changed: bool,
    /// Whether these are all items of the source.
    pub is_whole: bool,
    /// What says more about each item, such as "; FILE has each with its reason".
    pub list: String,
    /// The items that a list names and that did not exist, such as "a, b and 3 more".
    pub absent: String,
    /// The command that tries the items again.
    pub retry: String,
    /// A disabled version that old headers of a restore need.
    pub disabled: Option<String>,
    /// The command that starts a job for what is primary now.
    pub new_job: String,
}

impl Finished<'_> {
    /// Says what is left.
    ///
    /// # Errors
    ///
    /// Something is left, or the job found nothing that it was for.
    pub fn result(self) -> Result<(), Failure> {
        let Finished { tally, targets_changed, list, absent, retry, .. } = self;
        let (left, is_restore) = (tally.left(), matches!(self.task, Task::Restore { .. }));
        let (what, next) = if left > 0 && left == tally.not_in_log {
            let what = format!("{} items are left: they were changed since", grouped(left));
            (
                what,
                "undo the later job first by `envelock job undo DIRECTORY`, then this one".into(),
            )
        } else if left > 0 {
            let next = match self.disabled {
                // The usual reason of a restore: the old version was disabled since.
                Some(version) => format!("`envelock key enable {version}`, then {retry}"),
                None if left == tally.absent => format!(
                    "put back what is missing, then {retry}; or correct the list, then {}",
                    self.new_job
                ),
                None => retry,
            };
            let absent = match tally.absent {
                0 => String::new(),
                items if items == left => format!(", which do not exist: {absent}"),
                items => format!(", {} of which do not exist: {absent}", grouped(items)),
            };
            (format!("{} items are left{absent}{list}", grouped(left)), next)
        } else if targets_changed {
            let next = format!("{} moves all items to the new one", self.new_job);
            (format!("{CHANGED}: items can be under either one"), next)
        } else if self.is_whole && !is_restore && tally.excluded + tally.gone == tally.listed {
            let what = format!("no message of the keyring is among the {} items", tally.listed);
            (what, "check the keyring, the path, and where headers are: `?header=sidecar`".into())
        } else {
            return Ok(());
        };
        Err(Failure::new(Exit::ItemsLeft, what, next))
    }
}
