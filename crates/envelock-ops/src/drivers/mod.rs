//! Drivers: they do what a [`Step`](crate::Step) says, and have the clock.

mod control_file;
mod threads;
#[cfg(feature = "tokio")]
mod tokio;
mod work_directory;

pub use control_file::{Calendar, ControlFile, ControlFileError, Controls, Window};
pub use threads::run;
#[cfg(feature = "tokio")]
pub use tokio::run_async;
pub use work_directory::{WorkDirectory, WorkDirectoryError};

use crate::job::Job;
use crate::limits::Limits;
use crate::operation::Operation;
use crate::stage::StageReport;
use crate::store::Store;
use crate::work::Work;
use std::any::Any;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

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

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Replaces a file, atomically and durably. Nobody else may write the file with this end of its name.
///
/// # Errors
///
/// Those of the operating system.
pub fn replace(path: &Path, end: &str, bytes: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_os_string();
    name.push(end);
    let new = PathBuf::from(name);
    // What a killed process left, or a link that somebody put there, which is not followed.
    match std::fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = options().write(true).create_new(true).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), sync_directory)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    // The parent of a bare file name is empty. A directory can be synced on Unix alone.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

/// How long a driver waits, at most, before it asks its [`Control`] again.
const TICK: Duration = Duration::from_millis(500);

/// Returns the time since 1970, by the calendar.
fn now() -> Duration {
    // A clock before 1970 is one that was not set.
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// A clock that begins with the time by the calendar, and is never set.
#[derive(Clone, Copy)]
struct Clock(Duration, Instant);

impl Clock {
    fn start() -> Self {
        Clock(now(), Instant::now())
    }

    fn now(self) -> Duration {
        self.0 + self.1.elapsed()
    }
}

/// Asks the caller what has changed.
fn consult(job: &mut Job, control: &mut dyn Control, clock: Clock) {
    job.set_calendar(clock.now(), now());
    if control.is_stopped() {
        job.stop();
    }
    if let Some(limits) = control.limits() {
        job.set_limits(limits);
    }
    control.progress(job);
}

/// Runs work, and returns it with the text of its panic. After a panic the job begins it again, or drops it.
fn run_work(
    mut work: Box<Work>,
    store: &dyn Store,
    operation: &dyn Operation,
) -> (Box<Work>, Option<String>) {
    let began = Instant::now();
    let run = || work.run(store, operation, || began.elapsed());
    let ran = catch_unwind(AssertUnwindSafe(run));
    let message = |panic: Box<dyn Any + Send>| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        text.unwrap_or("no message").to_string()
    };
    let panicked = ran.err().map(message);
    (work, panicked)
}

impl Job {
    /// Takes back what [`run_work`] returned.
    fn take_back(&mut self, (work, panicked): (Box<Work>, Option<String>), now: Duration) {
        match panicked {
            None => self.done(work, now),
            Some(message) => self.panicked(work, &message, now),
        }
    }
}
