//! Drivers: they do what a [`Step`](crate::Step) says, and have the clock.

mod threads;
mod work_directory;

pub use threads::run;
pub use work_directory::{WorkDirectory, WorkDirectoryError};

use crate::job::Job;
use crate::limits::Limits;
use crate::stage::StageReport;
use std::io;
use std::time::{Duration, SystemTime};

/// Where the records of a job are kept: its undo log, its checkpoint and its list of failures.
pub trait Records {
    /// Appends to the undo log and returns its length. The bytes are durable when this returns.
    ///
    /// # Errors
    ///
    /// Any; nothing is replaced then.
    fn append(&mut self, batch: &[u8]) -> io::Result<u64>;

    /// Writes `failures` at an offset of the list of failures and cuts off what follows, durably; then replaces the
    /// checkpoint, atomically and durably.
    ///
    /// # Errors
    ///
    /// Any; the job then halts.
    fn save(&mut self, failures_at: u64, failures: &[u8], checkpoint: &[u8]) -> io::Result<()>;
}

/// What the caller decides while a job runs. Every method is called from the thread of the driver.
pub trait Control {
    /// Returns whether the job is to stop, for example because of a signal. Called at least once a second.
    fn is_stopped(&mut self) -> bool {
        false
    }

    /// Returns new limits, if they have changed. Called at least once a second.
    fn limits(&mut self) -> Option<Limits> {
        None
    }

    /// Returns whether to go on after a stage. Returns by default whether the stage proved its limit.
    fn gate(&mut self, stage: &StageReport) -> bool {
        stage.passes
    }

    /// Takes note of progress. Called at least once a second.
    fn progress(&mut self, job: &Job) {
        let _ = job;
    }
}

/// Decides nothing.
impl Control for () {}

/// How long a driver waits, at most, before it asks its [`Control`] again.
const TICK: Duration = Duration::from_millis(500);

/// Returns the time since 1970.
fn now() -> Duration {
    // A clock before 1970 is one that was not set.
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Asks the caller what has changed.
fn consult(job: &mut Job, control: &mut dyn Control) {
    if control.is_stopped() {
        job.stop();
    }
    if let Some(limits) = control.limits() {
        job.set_limits(limits);
    }
    control.progress(job);
}

/// Returns the text of a panic.
fn panic_message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
