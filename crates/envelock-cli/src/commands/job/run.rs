//! Runs one shard of a job from its records to an end, and prints how it ended.

use super::console::{Console, grouped, now, stop_flag};
use super::parts::of_job;
use super::settings::Settings;
use super::task::Keys;
use super::window;
use super::{control, limits};
use crate::context::Context;
use crate::failure::of_ops::of_halt;
use crate::failure::{Exit, Failure};
use crate::open_keyring::OpenKeyring;
use crate::open_source::OpenStore;
use crate::output::{printable, shell_word};
use envelock_ops::drivers::{ControlFile, Controls, WorkDirectory, run as drive};
use envelock_ops::{End, Halt, Report, Shard, Start, Tally, Task, UndoIndex, UndoRoom};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// The name of the file of controls in the directory of a job.
pub const CONTROL: &str = "job.control";

/// Threads that can be at work, whatever the limits are when the job begins.
const THREADS: u16 = 64;

/// A shard of a job that is to be run.
pub struct Run<'a> {
    pub context: &'a Context,
    pub directory: &'a Path,
    pub settings: &'a Settings,
    pub shard: Shard,
    pub keyring: &'a OpenKeyring,
    pub keys: &'a Keys,
    pub store: &'a OpenStore,
    pub earlier: Option<UndoIndex>,
    /// Changes of limits.
    pub set: &'a [String],
    pub adopts: bool,
    /// Whether a pause ends.
    pub resumes: bool,
    /// Whether the stage that the job waits at is released.
    pub releases: bool,
}

impl Run<'_> {
    /// Runs the shard, or says that it has finished before.
    ///
    /// # Errors
    ///
    /// The job does not begin, or it did not finish with nothing left.
    pub fn run(self) -> Result<(), Failure> {
        let stop = stop_flag()?;
        let definition = self.settings.definition.clone();
        let open = if self.adopts { WorkDirectory::adopt } else { WorkDirectory::open };
        let mut records = open(self.directory, definition, self.shard)
            .map_err(|error| self.named(error.into()))?;
        // Checked under the lock: a stage that comes later is not released by it.
        if self.releases && !records.checkpoint()?.is_some_and(|state| state.stage().1) {
            let what = "the job does not wait after a stage: there is nothing to release";
            return Err(Failure::new(Exit::Refused, what, self.resume()));
        }
        let path = self.directory.join(CONTROL);
        let first = Controls::read(&path).map_err(|error| self.named(error.into()))?;
        let mut wanted = first.clone();
        self.change(&mut wanted)?;
        let is_stopped = || {
            stop.load(Ordering::Relaxed)
                || Controls::read(&path).is_ok_and(|controls| controls.stop != first.stop)
        };
        let (total, longest) = match count(self.store, self.shard, &is_stopped)? {
            Some(counted) => counted,
            None => {
                return Err(Failure::new(
                    Exit::Stopped,
                    "stopped while it counted the items",
                    self.again(),
                ));
            }
        };
        let before = records.checkpoint().map_err(|error| self.named(error.into()))?;
        let listed = before.map_or(0, |state| state.tally().listed);
        let start = Start {
            limits: wanted.limits,
            keyring_change: Some(self.keyring.file().change_number()),
            keyring_id: self.keyring.id(),
            total: Some(total),
            earlier: self.earlier.clone(),
            undo_room: self.undo_room(total.saturating_sub(listed), longest),
            ..Start::new(now(), self.store.properties())
        };
        let mut job = records.job(&start, self.keys).map_err(|error| self.named(error.into()))?;
        // They are of the job from now on: a start that was refused leaves none.
        self.settings.write(self.directory)?;
        control::change(self.directory, |controls| self.change(controls))?;
        let file = ControlFile::open(&path, Some(Box::new(window::resolve)), now())?;
        if is_stopped() {
            stop.store(true, Ordering::Relaxed);
        }
        let output = self.context.output();
        let gate = self.settings.gate.clone();
        let mut console = Console::new(output, stop.clone(), Some(file))
            .with_total(Some(total))
            .with_gate(gate, self.settings.gate_seconds, self.releases, self.directory.into());
        let threads = start.limits.concurrency.max(THREADS);
        let end = drive(&mut job, threads, self.store, self.keys, &mut records, &mut console);
        console.finish();
        records.write_report(end.report()).map_err(Failure::from)?;
        self.keyring.flush()?;
        let was_stopped = console.was_stopped();
        // Live counts: the report has whole pages.
        self.print(&end, job.tally())?;
        self.result(end, was_stopped)
    }

    /// Names the directory in the next step.
    fn named(&self, failure: Failure) -> Failure {
        let next = failure.next.replace("DIRECTORY", &shell_word(self.directory));
        Failure { next, ..failure }
    }

    /// Changes the controls as this call says.
    fn change(&self, controls: &mut Controls) -> Result<(), Failure> {
        controls.paused &= !self.resumes;
        limits::apply(controls, self.set, now())
    }

    /// Returns the command that goes on, or that starts where nothing has begun.
    fn again(&self) -> String {
        if Settings::exist(self.directory) { self.resume() } else { "start it again".into() }
    }

    /// Returns the room for the undo log, if the file system tells what is free.
    fn undo_room(&self, items: u64, longest_key: u64) -> Option<UndoRoom> {
        /// A record without its key, and a header with two slots.
        const RECORD: u64 = 30 + 256;
        let stat = rustix::fs::statvfs(self.directory).ok()?;
        let needed = items.saturating_mul(longest_key.saturating_add(RECORD));
        Some(UndoRoom { needed, free: stat.f_bavail.saturating_mul(stat.f_frsize) })
    }

    fn print(&self, end: &End, live: Tally) -> Result<(), Failure> {
        let report = end.report();
        self.context.output().result(
            || {
                let tally = if report.is_complete { report.tally } else { live };
                let mut text = tally_line(&report.definition.task, tally);
                if !report.is_complete {
                    text = text.replace("  = listed ", "  of listed so far ");
                }
                for stage in report.stages.iter().filter(|stage| stage.items > 0) {
                    text += &format!("\n{stage}");
                }
                if report.targets_changed {
                    text += "\nthe primary changed while the job ran: run a job for the new one";
                }
                if report.undo_lost {
                    text += "\nthe undo log was cut: not every header can be restored";
                }
                text
            },
            || json!({ "summary": report, "directory": self.directory.to_string_lossy() }),
        )
    }

    /// Returns the command that resumes the shard.
    fn resume(&self) -> String {
        let directory = shell_word(self.directory);
        match self.shard {
            Shard::WHOLE => format!("`envelock job resume {directory}`"),
            shard => format!("`envelock job resume {directory} --shard {shard}`"),
        }
    }

    fn result(&self, end: End, was_stopped: bool) -> Result<(), Failure> {
        let resume = self.resume();
        let stopped = || {
            let what = "stopped; the checkpoint is saved";
            Err(Failure::new(Exit::Stopped, what, resume.clone()))
        };
        match end {
            End::Finished(report) => left(&report, self.directory),
            End::Stopped(_) => stopped(),
            // A gate that was asked when the signal came.
            End::Halted { why: Halt::Stage(_), .. } if was_stopped => stopped(),
            End::Halted { why, .. } => {
                let (exit, first) = of_halt(&why);
                let what = format!("halted: {}", crate::failure::chain(&why));
                Err(Failure::new(exit, what, format!("{first}{resume}")))
            }
            _ => Err(Failure::new(Exit::CouldNotRun, "ended for an unknown reason", resume)),
        }
    }
}

/// Returns the counts on one line, in the words of the task.
pub fn tally_line(task: &Task, tally: Tally) -> String {
    let Tally { listed, changed, current, excluded, conflict, gone, failed, partly, .. } = tally;
    let mut text = format!(
        "{} {}  current {}  excluded {}  conflict {}  gone {}  failed {}  = listed {}",
        task.verb(),
        grouped(changed),
        grouped(current),
        grouped(excluded),
        grouped(conflict),
        grouped(gone),
        grouped(failed),
        grouped(listed),
    );
    if partly > 0 {
        text += &format!("; {} of them in part", grouped(partly));
    }
    text
}

/// Says what is left of a job that has finished.
fn left(report: &Report, directory: &Path) -> Result<(), Failure> {
    let tally = report.tally;
    if tally.is_complete() {
        return Ok(());
    }
    let items = tally.failed + tally.conflict + tally.partly;
    let (index, count) = (report.shard.index(), report.shard.count());
    let list = directory.join(format!("{index}-of-{count}.failures.jsonl"));
    let what =
        format!("{} items are left; {} has each with its reason", grouped(items), printable(&list));
    let retry = format!("`envelock job retry {}`", shell_word(&of_job(directory)?));
    let next = match report.definition.task {
        // The usual reason of a restore: the old version was disabled since.
        Task::Restore { .. } => {
            format!("`envelock key enable KEY:VERSION` of the old version, then {retry}")
        }
        _ => retry,
    };
    Err(Failure::new(Exit::ItemsLeft, what, next))
}

/// Counts the items of a shard, by the listing alone. Returns the length of the longest key, too; `None` if it was
/// stopped.
///
/// # Errors
///
/// The listing fails.
pub fn count(
    store: &OpenStore,
    shard: Shard,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Option<(u64, u64)>, Failure> {
    let (mut items, mut longest, mut after) = (0_u64, 0, None);
    loop {
        let page = store.list(after.as_ref(), 1000)?;
        let mine = page.items.iter().filter(|item| shard.has(&item.key));
        for item in mine {
            items = items.saturating_add(1);
            longest = longest.max(item.key.as_bytes().len() as u64);
        }
        after = page.items.last().map(|item| item.key.clone());
        if page.is_last || after.is_none() {
            return Ok(Some((items, longest)));
        }
        if is_stopped() {
            return Ok(None);
        }
    }
}

/// Returns the indexes and counts of the shards of a directory with a file of this end, in order.
///
/// # Errors
///
/// The directory cannot be read.
pub fn shards(directory: &Path, end: &str) -> Result<Vec<(Shard, PathBuf)>, Failure> {
    let failed = |error: std::io::Error| Failure::io(printable(directory), &error);
    let mut shards = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let shard = name.to_str().and_then(|name| {
            let (index, count) = name.strip_suffix(end)?.split_once("-of-")?;
            Shard::new(index.parse().ok()?, count.parse().ok()?).ok()
        });
        shards.extend(shard.map(|shard| (shard, entry.path())));
    }
    shards.sort_by_key(|(shard, _)| (shard.count(), shard.index()));
    Ok(shards)
}
