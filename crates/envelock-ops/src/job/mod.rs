//! The job: a state machine that says what its driver does next. It reads no clock and touches no store or file.

mod outcomes;
mod page;
mod prepared;
mod scan;
mod start;
mod step;

pub use scan::{Scan, Scanned};
pub use start::{Start, StartError, UndoRoom};
pub use step::{End, Halt, Probe, Step};

use crate::breaker::Outage;
use crate::calls::Calls;
use crate::checkpoint::Checkpoint;
use crate::definition::Definition;
use crate::item::ItemKey;
use crate::latency::Latency;
use crate::limiter::Limiter;
use crate::limits::Limits;
use crate::operation::Operation;
use crate::outcome::Tally;
use crate::report::Report;
use crate::stage::{FailureLimit, StageReport, Tried};
use crate::store::Properties;
use crate::store_error::StoreError;
use crate::strata::Strata;
use crate::undo::UndoIndex;
use crate::work::Work;
use page::PageWork;
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::io;
use std::time::Duration;

/// Fewer items prove nothing about a rate, whatever their number of failures.
const LEAST_ITEMS: u64 = 10;

/// One shard of a job.
///
/// A driver calls [`next`](Self::next), does what the [`Step`] says, and feeds the result back; see
/// [`drivers`](crate::drivers). Times are durations since 1970.
#[derive(Debug)]
pub struct Job {
    /// What the next checkpoint has.
    state: Checkpoint,
    properties: Properties,
    phase: Phase,
    limiter: Limiter,
    /// Intents that the last checkpoint does not cover: of runs that were killed, or of an attempt in this page that is
    /// made again.
    records: UndoIndex,
    /// Intents of a job that this one follows.
    earlier: UndoIndex,
    page: PageWork,
    /// The work of items that were counted, which is room for that of the next page.
    counted: VecDeque<Box<Work>>,
    /// How many items the next page has, at most.
    page_size: usize,
    /// Lines for the list of failures, to be saved with the next checkpoint.
    failures: Vec<u8>,
    /// The length of the undo log.
    undo_len: u64,
    /// When the targets were last checked.
    checked_at: Duration,
    /// Whether the store was seen to compare before it replaces.
    is_probed: bool,
    /// An item with which every back end worked.
    witness: Option<ItemKey>,
    /// Items that were tried and failed in this run: a run that follows a halt starts at 0.
    run_items: u64,
    run_failures: u64,
    run_gone: u64,
    /// Whether the job halts for that when it is on record.
    is_mostly_gone: bool,
    is_stopping: bool,
    halt: Option<Halt>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    List,
    Page,
    Save,
    Gate,
    Done,
}

impl Job {
    /// Returns what to do next. Without a result in between, the same step is returned again, except for work.
    pub fn next(&mut self, now: Duration, operation: &dyn Operation) -> Step {
        match self.phase {
            // Everything that was done is on record: a stop in the middle of a page is like a crash there.
            _ if self.is_ending() && self.phase != Phase::Save && self.page.is_idle() => {
                if self.has_calls_to_save() { self.save(now) } else { self.end(now) }
            }
            Phase::List => match self.check_targets(operation, now) {
                Ok(None) => self.list(now, operation),
                Ok(until) => Step::Wait { until },
                Err(halt) => {
                    self.halt = Some(halt);
                    self.end(now)
                }
            },
            Phase::Page => self.next_of_page(now, operation),
            Phase::Save => self.save(now),
            Phase::Gate => self.gate(now),
            Phase::Done => self.end(now),
        }
    }

    /// Returns the limits.
    pub fn limits(&self) -> Limits {
        self.limiter.limits()
    }

    /// Changes the limits, from now on.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limiter.set(limits);
    }

    /// Takes note of the time by the calendar at `now`, both since 1970. Windows go by it. Without this call, `now` is
    /// by the calendar; where it is not set back with it, rates and outages are not either.
    pub fn set_calendar(&mut self, now: Duration, calendar: Duration) {
        self.limiter.set_calendar(now, calendar);
    }

    /// Ends the job as soon as no work is out. A later run resumes it.
    pub fn stop(&mut self) {
        self.is_stopping = true;
    }

    /// Returns the counts of this shard: those of the last checkpoint and of the page since.
    pub fn tally(&self) -> Tally {
        self.state.tally.plus(self.page.tally)
    }

    /// Returns the stage under way, from 0.
    pub fn stage(&self) -> usize {
        self.state.stage
    }

    /// Returns how many items are prepared, and wait for the log and the others of their page.
    pub fn prepared(&self) -> usize {
        self.page.prepared()
    }

    /// Returns the latency of reads.
    pub fn latency(&self) -> Latency {
        self.limiter.latency()
    }

    /// Returns the back end that the job waits for, if one is away.
    pub fn outage(&self) -> Option<&Outage> {
        self.limiter.outage()
    }

    /// Returns the definition of the job.
    pub fn definition(&self) -> &Definition {
        &self.state.definition
    }

    fn is_ending(&self) -> bool {
        self.is_stopping || self.halt.is_some()
    }

    /// Takes the calls of a page that is left in its middle: what was spent counts in the next run, too.
    fn has_calls_to_save(&mut self) -> bool {
        let calls = std::mem::take(&mut self.page.calls);
        self.state.calls = self.state.calls.plus(calls);
        let has_records = !matches!(self.halt, Some(Halt::Records(_)));
        let is_due = calls != Calls::default() && !self.state.definition.dry_run && has_records;
        if is_due {
            self.phase = Phase::Save;
        }
        is_due
    }

    /// Returns the outage that is longer than the limits allow.
    fn check_outage(&self, now: Duration) -> Option<Halt> {
        let outage = self.limiter.endless_outage(now)?.clone();
        let seconds = now.saturating_sub(outage.since).as_secs();
        Some(Halt::Outage { outage, seconds })
    }

    /// Takes a call of the store that failed and is made again later.
    fn store_failed(&mut self, error: &StoreError, now: Duration) {
        self.limiter.store_failed(error, now);
        self.halt = self.halt.take().or(self.check_outage(now));
    }

    /// Takes the result of [`Step::Append`]: the length of the undo log.
    pub fn appended(&mut self, appended: io::Result<u64>) {
        match appended {
            Ok(len) => {
                self.undo_len = len;
                self.page.intended_is_logged();
            }
            Err(error) => self.halt = Some(Halt::Records(error.to_string())),
        }
    }

    /// Takes the result of [`Step::Save`].
    pub fn saved(&mut self, saved: io::Result<()>) {
        if let Err(error) = saved {
            self.halt = Some(Halt::Records(error.to_string()));
            self.phase = Phase::List;
            return;
        }
        self.state.failures_bytes += self.failures.len() as u64;
        self.failures.clear();
        self.phase = match &self.state {
            state if state.is_finished => Phase::Done,
            state if state.at_gate_since.is_some() => Phase::Gate,
            _ => Phase::List,
        };
        let Definition { failure_limit, .. } = self.state.definition;
        let (failures, items) = (self.run_failures, self.run_items);
        // What writes nothing does no harm if it goes on.
        let may_halt = self.phase != Phase::Done && self.state.definition.writes();
        if may_halt && items >= LEAST_ITEMS && failure_limit.is_exceeded(failures, items) {
            self.halt = Some(Halt::FailureRate { failures, items });
        }
        if std::mem::take(&mut self.is_mostly_gone) {
            self.halt = Some(Halt::Gone { gone: self.run_gone, items: items + self.run_gone });
        }
    }

    /// Takes the decision about [`Step::Gate`]: whether to go on with the next stage.
    pub fn decide(&mut self, goes_on: bool) {
        let report = self.stage_report();
        if !goes_on {
            self.halt = Some(Halt::Stage(report));
            return;
        }
        self.state.stages.push(report);
        self.state.stage += 1;
        self.state.after = None;
        self.state.at_gate_since = None;
        (self.state.stage_items, self.state.stage_failures) = (0, 0);
        self.state.stage_conflicts = 0;
        if !self.state.definition.dry_run {
            self.state.strata = Strata::default();
        }
        self.phase = Phase::Save;
    }

    fn stage_report(&self) -> StageReport {
        let Checkpoint { stage, stage_failures, stage_items, stage_conflicts, .. } = self.state;
        let tried =
            Tried { items: stage_items, failures: stage_failures, conflicts: stage_conflicts };
        let limit = self.state.definition.failure_limit;
        StageReport::new(stage, tried, &self.state.strata, limit)
    }

    fn gate(&mut self, now: Duration) -> Step {
        // A stage without items, since an earlier one had them all, proves nothing.
        let is_empty = self.state.stage_items + self.state.stage_conflicts == 0;
        if !self.state.definition.writes() || is_empty {
            self.decide(true);
            return Step::Wait { until: Some(now) };
        }
        let Checkpoint { at_gate_since, definition, stage, .. } = &self.state;
        let soak = definition.stages.get(*stage).map_or(0, |stage| stage.soak_seconds);
        let until = Duration::from_secs(at_gate_since.unwrap_or(0).saturating_add(soak));
        match now < until {
            true => Step::Wait { until: Some(until) },
            false => Step::Gate(self.stage_report()),
        }
    }

    /// Adds the outcomes of the page to the state.
    fn finish_page(&mut self, now: Duration) {
        self.fit_next_page(now);
        let page = std::mem::take(&mut self.page);
        let state = &mut self.state;
        state.tally = state.tally.plus(page.tally);
        let populations = state.population.zip(page.population);
        state.population = populations.map(|(sum, more)| sum.plus(more));
        state.census.merge(&page.census);
        state.strata.merge(page.strata.strata());
        state.calls = state.calls.plus(page.calls);
        let Tally { changed, current, failed: failures, conflict, .. } = page.tally;
        let items = changed + current + failures;
        state.stage_items += items;
        state.stage_failures += failures;
        state.stage_conflicts += conflict;
        self.run_items += items;
        self.run_failures += failures;
        self.run_gone += page.tally.gone;
        let half = FailureLimit { millionths: 500_000, ..FailureLimit::default() };
        let read = self.run_items + self.run_gone;
        self.is_mostly_gone = !state.halted_for_gone
            && self.run_gone >= LEAST_ITEMS
            && half.is_exceeded(self.run_gone, read);
        state.halted_for_gone |= self.is_mostly_gone;
        let done = if page.is_last { None } else { page.last.as_ref() };
        let (definition, stage) = (&state.definition, state.stage);
        // A job that was adopted can have records of items that come in a later stage.
        self.records.retain(|item| match definition.stage_of(item).cmp(&stage) {
            Ordering::Less => false,
            Ordering::Equal => done.is_some_and(|done| item > done),
            Ordering::Greater => true,
        });
        if state.definition.dry_run {
            state.undo_bytes += page.dry_run_bytes;
        } else if self.records.is_empty() {
            // Else a run that was killed had a longer page, and its records are still needed.
            state.undo_bytes = self.undo_len;
        }
        state.after = page.last.or(state.after.take());
        self.failures.extend(page.failures);
        self.phase = Phase::Save;
        if page.is_last {
            let is_last_stage = state.stage + 1 >= state.definition.stages.len();
            state.at_gate_since = (!is_last_stage).then_some(now.as_secs());
            state.is_finished = is_last_stage;
            if is_last_stage {
                let report = self.stage_report();
                self.state.stages.push(report);
            }
        } else if page.tally.listed == 0 {
            // Nothing to remember: a run that lists again from the last checkpoint comes here again.
            self.phase = Phase::List;
        }
    }

    fn save(&mut self, now: Duration) -> Step {
        if self.state.definition.dry_run {
            self.saved(Ok(()));
            return Step::Wait { until: Some(now) };
        }
        self.state.written = now.as_secs();
        let failures_at = self.state.failures_bytes;
        // The checkpoint has what is so once it is saved. A copy of all strata for it would cost more than the rest.
        self.state.failures_bytes += self.failures.len() as u64;
        let checkpoint = self.state.to_bytes();
        self.state.failures_bytes = failures_at;
        Step::Save { failures_at, failures: self.failures.clone(), checkpoint }
    }

    fn end(&mut self, now: Duration) -> Step {
        let halt = self.halt.clone().or_else(|| self.wrong_end());
        let is_complete = self.state.is_finished && halt.is_none();
        let mut report = Box::new(Report::new(&self.state, now.as_secs()));
        report.is_complete = is_complete;
        Step::Done(match halt {
            Some(why) => End::Halted { why, report },
            None if is_complete => End::Finished(report),
            None => End::Stopped(report),
        })
    }

    /// Returns what the counts of a job that has finished do not allow.
    fn wrong_end(&self) -> Option<Halt> {
        let Checkpoint { is_finished: true, tally, total, .. } = &self.state else { return None };
        let (listed, total) = (tally.listed, total.unwrap_or(0));
        match tally.is_balanced() {
            false => Some(Halt::Counts),
            true if total >= LEAST_ITEMS && listed < total - total / 10 => {
                Some(Halt::Missing { listed, total })
            }
            true => None,
        }
    }
}
