//! Runs one shard of a job from its records to an end, and prints how it ended.

use super::again::undo_log;
use super::console::{Console, now, stop_flag};
use super::counts::tally_line;
use super::failure_list;
use super::left::{Finished, notes};
use super::listing::count;
use super::money::text_of_sum;
use super::parts::of_job;
use super::settings::Settings;
use super::start::free_name;
use super::status::read_report;
use super::survey::{JobKeys, Survey};
use super::task::Keys;
use super::window;
use super::{control, limits};
use crate::context::Context;
use crate::failure::of_ops::of_halt;
use crate::failure::{Exit, Failure};
use crate::open_keyring::OpenKeyring;
use crate::open_source::OpenStore;
use crate::output::{printable, shell_word};
use envelock::keyring::{Freshness, Refusal};
use envelock::{Keyring as _, Lifecycle as _, SlotLabel, inspect};
use envelock_ops::drivers::{
    ControlFile, Controls, WorkDirectory, WorkDirectoryError, run as drive,
};
use envelock_ops::{
    Checkpoint, End, Halt, Operation as _, Prices, Report, Shard, Start, StartError, Store as _,
    Tally, Task, UndoIndex, UndoRoom, VersionName,
};
use serde_json::json;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
        let first = Controls::read(&path)?;
        let mut wanted = first.clone();
        self.change(&mut wanted)?;
        limits::check_spend(&wanted, self.settings.definition.prices)?;
        let before = records.checkpoint().map_err(|error| self.named(error.into()))?;
        if !self.adopts
            && before.as_ref().is_some_and(Checkpoint::is_finished)
            && let Some(report) = self.last_report()
        {
            self.print(&report, report.tally)?;
            return self.finished_before(&report);
        }
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
        let was_finished = before.as_ref().is_some_and(Checkpoint::is_finished);
        let change = before.as_ref().filter(|_| !was_finished).map(Checkpoint::keyring_change);
        let listed = before.map_or(0, |state| state.tally().listed);
        let start = Start {
            limits: wanted.limits,
            keyring_change: self.keyring.change_number(),
            keyring_ids: self.keyring.ids()?,
            total: Some(total),
            earlier: self.earlier.clone(),
            undo_room: self.undo_room(total.saturating_sub(listed), longest),
            ..Start::new(now(), self.store.properties())
        };
        let job = records.job(&start, self.keys);
        let mut job = job.map_err(|error| self.refused(error, listed > 0))?;
        self.check_versions(change, &stop)?;
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
        let mut end = drive(&mut job, threads, self.store, self.keys, &mut records, &mut console);
        console.finish();
        // The keys of a run do not tell about a name that it read no message of: an earlier run may have.
        let overtaken = match &mut end {
            End::Finished(report) if !was_finished => self.overtaken(report).map(|overtaken| {
                report.targets_changed |= overtaken.is_some();
            }),
            _ => Ok(()),
        };
        records.write_report(end.report()).map_err(Failure::from)?;
        self.context.flush([self.keyring]);
        let was_stopped = console.was_stopped();
        // Live counts: the report has whole pages.
        self.print(end.report(), job.tally())?;
        overtaken?;
        match end {
            // The run that finished it was killed before its report.
            End::Finished(report) if was_finished => self.finished_before(&report),
            end => self.result(end, was_stopped),
        }
    }

    /// Names the directory in the next step.
    fn named(&self, failure: Failure) -> Failure {
        failure.naming("DIRECTORY", shell_word(self.directory))
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

    /// Names a way on for a job whose target is no longer primary: an older version is not what is wanted.
    pub(super) fn refused(&self, error: WorkDirectoryError, has_begun: bool) -> Failure {
        match &error {
            WorkDirectoryError::Start(StartError::NotPrimary(version)) if has_begun => {
                let next = format!(
                    "{} moves the rest to what is primary now; `envelock key promote {version}` takes the rotation back",
                    self.new_job()
                );
                Failure::from(error).with_next(next)
            }
            _ => self.named(error.into()),
        }
    }

    /// Returns the command that starts a job on the same source for what is primary now.
    fn new_job(&self) -> String {
        let word = |text: &str| shell_word(Path::new(text));
        // The keyring of the call is added to each command.
        let keyring = match self.context.keyring_argument() {
            Some(_) => String::new(),
            None => format!("-k {} ", word(&self.settings.keyring)),
        };
        let job = of_job(self.directory).unwrap_or_else(|_| self.directory.into());
        let directory = shell_word(&free_name(&job));
        format!("`envelock {keyring}job start {} -d {directory}`", word(&self.settings.source))
    }

    /// Returns the report of a run that finished the shard, if it is there.
    fn last_report(&self) -> Option<Report> {
        let (index, count) = (self.shard.index(), self.shard.count());
        let report = read_report(&self.directory.join(format!("{index}-of-{count}.report.json")));
        report.ok().filter(|it| it.is_complete && it.job == self.settings.definition.id())
    }

    /// Says what is left of a shard that a run has finished before. A start, such as that of a scheduler, is refused if another
    /// version is primary since: nothing was moved to it.
    fn finished_before(&self, report: &Report) -> Result<(), Failure> {
        if let Some((before, now)) = self.overtaken(report)? {
            let what = format!("the job has finished under {before}, and {now} is primary now");
            let next = format!("{} moves messages to it", self.new_job());
            if !self.resumes {
                return Err(Failure::new(Exit::Refused, what, next));
            }
            let text = || format!("note: {what}\nnext: {next}");
            self.context.output().progress(text, || json!({ "note": what, "next": next }));
        }
        self.left(report)
    }

    /// Returns the versions that a job finished under, and those that are primary instead now.
    fn overtaken(&self, report: &Report) -> Result<Option<(String, String)>, Failure> {
        let mut primaries = self.keys.targets()?;
        // A rewrap keeps the name of each slot, also of those of other keys than the selected one.
        if matches!(report.definition.task, Task::Rewrap { .. }) {
            let keysets = self.keyring.lifecycle().keysets()?;
            let names = report.targets.iter().map(|target| &target.name);
            primaries.extend(names.filter_map(|name| {
                let primary = keysets.resolve(name).ok()?.primary()?;
                Some(VersionName::new(name, primary))
            }));
        }
        primaries.retain(|version| !report.targets.contains(version));
        primaries.dedup();
        let list = |versions: &[VersionName]| {
            versions.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        let is_overtaken = !report.targets.is_empty() && !primaries.is_empty();
        Ok(is_overtaken.then(|| (list(&report.targets), list(&primaries))))
    }

    fn print(&self, report: &Report, live: Tally) -> Result<(), Failure> {
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
                if report.definition.prices != Prices::default() {
                    text += &format!("\ncost {} by the prices of the job", text_of_sum(report.spent()));
                }
                text + &notes(report.targets_changed, report.undo_lost)
            },
            || {
                let directory = self.directory.to_string_lossy();
                json!({ "summary": report, "directory": directory, "cost_billionths": report.spent() })
            },
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
            End::Finished(report) => self.left(&report),
            End::Stopped(_) => stopped(),
            // A gate that was asked when the signal came.
            End::Halted { why: Halt::Stage(_), .. } if was_stopped => stopped(),
            // Whatever it may change or spend is counted over all runs: a resume alone halts again.
            End::Halted { why: why @ (Halt::Budget(_) | Halt::Spend { .. }), .. } => {
                let (what, limit) = match why {
                    Halt::Spend { spent } => {
                        let spent = text_of_sum(spent);
                        (
                            format!(
                                "{spent} was spent, and another item can cost more than `spend`"
                            ),
                            "spend",
                        )
                    }
                    why => (crate::failure::chain(&why), "budget"),
                };
                let resume = resume.trim_end_matches('`');
                let next = format!(
                    "{resume} --set {limit}=none` lifts it, and a number in place of `none` raises it"
                );
                Err(Failure::new(Exit::Halted, format!("halted: {what}"), next))
            }
            End::Halted { why, .. } => {
                let (exit, first) = of_halt(&why);
                let what = format!("halted: {}", crate::failure::chain(&why));
                Err(Failure::new(exit, what, format!("{first}{resume}")))
            }
            _ => Err(Failure::new(Exit::CouldNotRun, "ended for an unknown reason", resume)),
        }
    }
}

impl Run<'_> {
    /// Says what is left of a job that has finished.
    fn left(&self, report: &Report) -> Result<(), Failure> {
        let list = failure_list::path(self.directory, report.shard);
        Finished {
            task: &report.definition.task,
            tally: report.tally,
            targets_changed: report.targets_changed,
            is_whole: report.shard == Shard::WHOLE && self.settings.retries.is_none(),
            list: format!("; {} has each with its reason", printable(&list)),
            absent: failure_list::absent(&[list], report.tally.absent),
            retry: format!("`envelock job retry {}`", shell_word(&of_job(self.directory)?)),
            disabled: self.disabled()?,
            new_job: self.new_job(),
        }
        .result()
    }

    /// Returns a disabled version that an old header needs which a restore puts back.
    fn disabled(&self) -> Result<Option<String>, Failure> {
        let Some(of) = &self.settings.undoes else { return Ok(None) };
        let envelope = self.keyring.envelope();
        let is_disabled = |label: &SlotLabel<'_>| {
            let freshness = envelope.keyring().freshness(label);
            matches!(freshness, Ok(Freshness::Refused(Refusal::Disabled)))
        };
        let log = undo_log(of)?;
        let mut labels = log.old_headers().filter_map(|header| {
            let mut slots = inspect(header).ok()?.slots().map(|slot| slot.label);
            let label = slots.find(is_disabled)?;
            Some(format!("{}:{}", label.name.as_str(), label.version.number()))
        });
        Ok(labels.next())
    }

    /// Reads the headers again if the keyring may have changed since the job ran: a version that items need can be disabled.
    pub(super) fn check_versions(
        &self,
        before: Option<Option<u64>>,
        stop: &Arc<AtomicBool>,
    ) -> Result<(), Failure> {
        let definition = &self.settings.definition;
        let change = self.keyring.change_number();
        let is_changed = before.is_some_and(|before| change.is_none() || before != change);
        if !is_changed || matches!(definition.task, Task::Restore { .. }) {
            return Ok(());
        }
        let job_keys = JobKeys { keyring: self.keyring, other: None, keys: self.keys };
        let output = (self.context.output(), Some(stop.clone()));
        Survey::make(definition, self.shard, self.store, job_keys, output)?.check()
    }
}
