//! One page of items: prepared, logged together, replaced, counted.

use super::prepared::CHECK_HOLDS;
use super::{Halt, Job, Step};
use crate::breaker::{Passage, Sign};
use crate::calls::{CHANGE, Calls};
use crate::census::Census;
use crate::definition::{Definition, Task};
use crate::item::{ItemKey, Listed};
use crate::limits::Limits;
use crate::operation::Operation;
use crate::outcome::{Failure, Outcome, Tally};
use crate::population::Population;
use crate::store::MovesBodies;
use crate::strata::StrataCounter;
use crate::undo::record_len;
use crate::work::{Finding, Progress, State, Work, Written};
use std::collections::VecDeque;
use std::time::Duration;

/// The items of one page.
#[derive(Debug, Default)]
pub(super) struct PageWork {
    pub(super) todo: VecDeque<Box<Work>>,
    out: usize,
    /// Items with a new header that is not logged yet.
    pub(super) intended: VecDeque<Box<Work>>,
    pub(super) tally: Tally,
    /// Of its items; `None` where headers were counted while they were listed.
    pub(super) population: Option<Population>,
    pub(super) census: Census,
    pub(super) calls: Calls,
    pub(super) strata: StrataCounter,
    pub(super) failures: Vec<u8>,
    /// The length of the records that a dry run does not write.
    pub(super) dry_run_bytes: u64,
    pub(super) last: Option<ItemKey>,
    pub(super) is_last: bool,
    /// When it was listed.
    pub(super) began: Duration,
}

impl PageWork {
    pub(super) fn new(todo: VecDeque<Box<Work>>, last: Option<ItemKey>, is_last: bool) -> Self {
        let mut page = PageWork { todo, last, is_last, ..PageWork::default() };
        page.tally.listed = page.todo.len() as u64;
        let mut population = Population::default();
        page.todo.iter().for_each(|work| population.add(&work.key));
        page.population = Some(population);
        page
    }

    /// Returns whether no work is out, nor due although the job ends.
    pub(super) fn is_idle(&self) -> bool {
        self.out == 0 && !self.todo.iter().any(|work| work.is_repair())
    }

    /// Returns how many items have a new header that is not logged yet.
    pub(super) fn prepared(&self) -> usize {
        self.intended.len()
    }

    /// Moves on what was waiting for the log.
    pub(super) fn intended_is_logged(&mut self) {
        for mut work in std::mem::take(&mut self.intended).into_iter().rev() {
            if let State::Write(_, progress) = &mut work.state {
                *progress = Progress::Replace;
            }
            // Before what is not begun, which a budget may hold back.
            self.todo.push_front(work);
        }
    }
}

impl Work {
    /// Returns the work of one item, which `writes` or only reads.
    pub(super) fn new(item: Listed, definition: &Definition, writes: bool) -> Self {
        let Listed { key, bytes, is_required, .. } = item;
        Work {
            is_required,
            earlier: 0,
            key,
            bytes,
            attempt: 1,
            records: Vec::new(),
            writes,
            key_calls: definition.task.key_calls(),
            is_whole: true,
            state: State::Read,
            is_measured: true,
            read_time: None,
            calls: Calls::default(),
            written: None,
            before: None,
            logged: None,
            witness_of: None,
        }
    }

    /// Returns whether an earlier attempt may have torn the header.
    fn is_repair(&self) -> bool {
        self.attempt > 1 && !self.records.is_empty()
    }
}

impl Job {
    pub(super) fn next_of_page(&mut self, now: Duration, operation: &dyn Operation) -> Step {
        if self.is_ending() {
            // What a store may have torn is repaired first, or by the next run where the back end is away.
            let is_away = matches!(self.halt, Some(Halt::Outage { .. }));
            self.page.todo.retain(|work| !is_away && work.is_repair());
            self.page.intended.clear();
        }
        if let Some(step) = self.wait_or_probe(now) {
            return step;
        }
        if let Some(work) = self.page.todo.front() {
            let begins = matches!(work.state, State::Read) && !self.is_ending();
            let written = match &work.state {
                State::Write(intent, Progress::Replace) => Some(intent.written()),
                _ => None,
            };
            let moved = self.moved_bytes(work.bytes, written);
            if written.is_some()
                && let Some(step) = self.recheck(now, operation, CHECK_HOLDS)
            {
                return step;
            }
            // A page is prepared as a whole, and its messages are copied one after the other.
            if moved > 0
                && !self.is_ending()
                && let Err(until) = self.limiter.bytes_ready(now)
            {
                return Step::Wait { until: Some(until) };
            }
            if !(begins && self.is_over_budget()) {
                if self.page.out >= self.limiter.concurrency() {
                    return Step::Wait { until: None };
                }
                let begun = if begins { self.limiter.begin(now) } else { Ok(()) };
                match begun {
                    Ok(()) => {
                        if let Some(mut work) = self.page.todo.pop_front() {
                            work.is_measured = self.limiter.measures(now);
                            self.page.out += 1;
                            self.limiter.probes(now);
                            return Step::Work(work);
                        }
                    }
                    // What is prepared is written before a pause, not after it.
                    Err(_) if self.page.prepared() > 0 && self.limiter.is_open(now).is_err() => {}
                    Err(until) => return Step::Wait { until: Some(until) },
                }
            }
        }
        if self.page.out > 0 {
            return Step::Wait { until: None };
        }
        if !self.page.intended.is_empty() {
            return self.log(now, operation);
        }
        if !self.page.todo.is_empty() {
            let limits = self.limiter.limits();
            let is_spent = limits.spend.is_some_and(|most| self.spent_with(1) > most);
            let spent = Halt::Spend { spent: self.spent_with(0) };
            let budget = Halt::Budget(self.tally().changed);
            self.halt.get_or_insert(if is_spent { spent } else { budget });
        } else if !self.is_ending() {
            self.finish_page(now);
        }
        Step::Wait { until: Some(now) }
    }

    /// Waits while a back end is away, then sends an item that worked before to find out whether it is again. Without
    /// such an item, the next one is the probe.
    fn wait_or_probe(&mut self, now: Duration) -> Option<Step> {
        if self.is_ending() || self.page.todo.is_empty() {
            return None;
        }
        match self.limiter.passage(now) {
            Passage::Free => None,
            Passage::Wait(until) => Some(Step::Wait { until }),
            Passage::Probe(back_end) => {
                let item = Listed::new(self.witness.clone()?, None);
                if let Err(until) = self.limiter.is_open(now) {
                    return Some(Step::Wait { until: Some(until) });
                }
                self.page.out += 1;
                self.limiter.probes(now);
                let mut work = Work::new(item, &self.state.definition, false);
                work.witness_of = Some(back_end);
                Some(Step::Work(Box::new(work)))
            }
        }
    }

    /// Returns whether as many items are changed, or may be soon, as the limits allow.
    fn is_over_budget(&self) -> bool {
        let pending = (self.page.out + self.page.intended.len()) as u64;
        let Limits { budget, spend, .. } = self.limiter.limits();
        budget.is_some_and(|budget| self.tally().changed + pending >= budget)
            || spend.is_some_and(|most| self.spent_with(pending + 1) > most)
    }

    /// Returns what the job has cost, with so many items that are still to be changed.
    fn spent_with(&self, items: u64) -> u64 {
        let Definition { prices, task, .. } = &self.state.definition;
        let (prices, change) = (*prices, Calls { keys: task.key_calls(), ..CHANGE });
        let made = self.state.calls.plus(self.page.calls).cost(prices);
        made.saturating_add(change.cost(prices).saturating_mul(items))
    }

    /// Counts the calls of work that came back, and its bytes if the store moved them.
    fn charge(&mut self, work: &mut Work, now: Duration) {
        let mut calls = std::mem::take(&mut work.calls);
        calls.moved_bytes = self.moved_bytes(work.bytes, work.written.take());
        self.limiter.charge(calls, now);
        self.page.calls = self.page.calls.plus(calls);
    }

    /// Returns how many bytes of a message the store moves to write this.
    fn moved_bytes(&self, bytes: Option<u64>, written: Option<Written>) -> u64 {
        let moves = match (self.properties.moves_bodies, written) {
            (_, None) => false,
            (_, Some(Written::Body)) | (MovesBodies::Always, _) => true,
            (MovesBodies::OtherLength, Some(written)) => written == Written::OtherLength,
            (MovesBodies::Never, _) => false,
        };
        bytes.filter(|_| moves).unwrap_or(0)
    }

    /// Takes back work that was run.
    pub fn done(&mut self, mut work: Box<Work>, now: Duration) {
        self.page.out = self.page.out.saturating_sub(1);
        self.charge(&mut work, now);
        if let Some(time) = work.read_time.take() {
            self.limiter.measure(time, now);
        }
        let (store, keys) = work.signs();
        let works = matches!((&store, &keys), (Sign::Works, Sign::Works));
        self.limiter.saw(store, keys, now);
        if self.halt.is_none() {
            self.halt = self.check_outage(now);
        }
        if work.witness_of.is_some() {
            if matches!(work.state, State::Finished(Finding::Outcome(Outcome::Gone))) {
                self.witness = None;
            }
            return;
        }
        if works && self.witness.is_none() {
            self.witness = Some(work.key.clone());
        }
        match &mut work.state {
            State::Write(intent, Progress::Intended) if self.state.definition.dry_run => {
                self.page.dry_run_bytes += record_len(&work.key, &intent.stored.header);
                // It would be replaced, and read back.
                let written = match self.state.definition.task {
                    Task::Reencrypt { .. } => Written::Body,
                    _ => intent.written(),
                };
                let finding = match intent.left.take() {
                    Some(why) => Finding::Partly(why),
                    None => Finding::Outcome(Outcome::Changed),
                };
                let moved_bytes = self.moved_bytes(work.bytes, Some(written));
                let more = Calls { reads: 1, writes: 1, moved_bytes, ..Calls::default() };
                self.page.calls = self.page.calls.plus(more);
                work.begin_again();
                self.found(work, finding);
            }
            State::Write(_, Progress::Intended) => self.page.intended.push_back(work),
            State::Finished(_) => {
                if let State::Finished(finding) = std::mem::replace(&mut work.state, State::Read) {
                    self.found(work, finding);
                }
            }
            // It was given back before its end.
            _ => self.page.todo.push_front(work),
        }
    }

    /// Takes back work that panicked. It is tried once more.
    pub fn panicked(&mut self, mut work: Box<Work>, message: &str, now: Duration) {
        self.page.out = self.page.out.saturating_sub(1);
        self.limiter.saw(Sign::Unknown, Sign::Unknown, now);
        if work.witness_of.is_some() {
            self.witness = None;
            return;
        }
        work.begin_again();
        let outcome = Outcome::Failed(Failure::Panicked(message.into()));
        let finding =
            if work.attempt == 1 { Finding::Again(outcome) } else { Finding::Outcome(outcome) };
        self.found(work, finding);
    }
}
