//! The work on one item: a state machine that says which call to the store comes next.
//!
//! The order is what keeps messages: read, decide, make the new header and prove it, *wait for the log*, replace, read
//! back. The work goes back to the job for the log, and again at its end.

mod compare;
mod state;

pub(crate) use state::{Finding, Intent, Progress, State, Written};

use crate::breaker::{BackEnd, Sign};
use crate::calls::Calls;
use crate::digest::header_digest;
use crate::error_text::with_sources;
use crate::header_bytes::is_of_message;
use crate::item::ItemKey;
use crate::operation::{Item, Operation, Verdict, opens};
use crate::outcome::{Failure, Outcome};
use crate::rewrite::{NewBody, Rewrite};
use crate::store::{Expected, Replaced, Store, StoredHeader};
use crate::store_error::StoreError;
use crate::undo::Record;
use compare::{compare, failed, not_replaced, witness, written_as};
use std::time::Duration;

/// The work on one item. A driver calls [`run`](Self::run), or makes the calls of [`next`](Self::next) itself, and
/// gives it back with [`Job::done`](crate::Job::done).
#[derive(Debug)]
#[must_use]
pub struct Work {
    pub(crate) key: ItemKey,
    pub(crate) bytes: Option<u64>,
    /// Which attempt this is, from 1.
    pub(crate) attempt: u8,
    /// What earlier attempts wanted to write: those of an earlier job first, then those of this one, in this run or
    /// in one that was killed.
    pub(crate) records: Vec<Record>,
    /// How many of them are of an earlier job.
    pub(crate) earlier: usize,
    pub(crate) writes: bool,
    /// The calls of the keys for a header that is changed.
    pub(crate) key_calls: u64,
    /// Whether the item must exist and was not read so far.
    pub(crate) is_required: bool,
    /// Whether the last read found a header that is whole.
    pub(crate) is_whole: bool,
    pub(crate) state: State,
    /// Whether the time of its reads is of use.
    pub(crate) is_measured: bool,
    /// How long the reads took, as the driver measured it.
    pub(crate) read_time: Option<Duration>,
    /// The calls since the work was last given back.
    pub(crate) calls: Calls,
    /// What the store has written since then, or may have.
    pub(crate) written: Option<Written>,
    /// The header that the item had before this job, if it is known to be tried and neither an intent nor `logged` has it.
    pub(crate) before: Option<Vec<u8>>,
    /// What the log has of this attempt, after its intent is left.
    pub(crate) logged: Option<Record>,
    /// Whether it only finds out if this back end works. The item is neither changed nor counted.
    pub(crate) witness_of: Option<BackEnd>,
}

/// The call to the store that comes next.
#[derive(Debug)]
#[non_exhaustive]
pub enum Call<'w> {
    /// [`Store::read`]; its result goes to [`Work::was_read`].
    Read(&'w ItemKey),
    /// [`Store::replace`]; its result goes to [`Work::was_written`].
    Replace {
        /// The item.
        item: &'w ItemKey,
        /// The condition.
        expected: Expected<'w>,
        /// The new header.
        new: &'w [u8],
    },
    /// [`Store::rewrite`]; its result goes to [`Work::was_written`].
    Rewrite {
        /// The item.
        item: &'w ItemKey,
        /// The condition.
        expected: Expected<'w>,
        /// The new message.
        new: Rewrite<'w>,
    },
    /// [`Store::settle`]; its result goes to [`Work::was_written`].
    Settle {
        /// The item.
        item: &'w ItemKey,
        /// The condition.
        expected: Expected<'w>,
    },
    /// None: the work goes back to the job.
    Return,
}

impl Work {
    /// Returns the key of the item.
    pub fn key(&self) -> &ItemKey {
        &self.key
    }

    /// Makes all calls to the store, and returns when the work is to go back to the job. `clock` measures reads.
    pub fn run(
        &mut self,
        store: &dyn Store,
        operation: &dyn Operation,
        clock: impl Fn() -> Duration,
    ) {
        let is_measured = self.is_measured;
        loop {
            match self.next(operation) {
                Call::Read(item) => {
                    let began = is_measured.then(&clock);
                    let read = store.read(item);
                    if let Some(began) = began {
                        self.took(clock().saturating_sub(began));
                    }
                    self.was_read(read);
                }
                Call::Replace { item, expected, new } => {
                    let replaced = store.replace(item, expected, new);
                    self.was_written(replaced);
                }
                Call::Rewrite { item, expected, new } => {
                    let rewritten = store.rewrite(item, expected, new);
                    self.was_written(rewritten);
                }
                Call::Settle { item, expected } => {
                    let settled = store.settle(item, expected);
                    self.was_written(settled);
                }
                Call::Return => return,
            }
        }
    }

    /// Returns the call that comes next. Decides with `operation` if a header was read, which may call a back end.
    pub fn next<'w>(&'w mut self, operation: &'w dyn Operation) -> Call<'w> {
        // Moved only where it changes: most calls are made as they stand.
        if matches!(
            self.state,
            State::Decide(_) | State::Write(_, Progress::ReadBack { found: Some(_), .. })
        ) {
            self.state = match std::mem::replace(&mut self.state, State::Read) {
                State::Decide(stored) => self.decide(stored, operation),
                State::Write(intent, Progress::ReadBack { written, found: Some(found) }) => {
                    let (is_old, is_repair) = (found == intent.stored.header, intent.is_repair);
                    self.is_whole = !is_repair && is_old;
                    // Before a key is called, which may panic: the next attempt needs the record.
                    let (new, left) = self.leave(intent);
                    if found == new {
                        written_as(left, is_repair)
                    } else {
                        compare(&new, is_old, written, &found, operation)
                    }
                }
                other => other,
            };
        }
        match &mut self.state {
            State::Read | State::Write(_, Progress::ReadBack { .. }) => Call::Read(&self.key),
            State::Write(Intent { stored, new, body, .. }, Progress::Replace) => {
                let (item, expected) = (&self.key, stored.expected());
                match body {
                    None => Call::Replace { item, expected, new },
                    Some(body) => {
                        let new = Rewrite { operation, old: &stored.header, header: new, body };
                        Call::Rewrite { item, expected, new }
                    }
                }
            }
            State::Settle(stored, _) => {
                Call::Settle { item: &self.key, expected: stored.expected() }
            }
            State::Decide(_) | State::Write(_, Progress::Intended) | State::Finished(_) => {
                Call::Return
            }
        }
    }

    /// Takes the result of a read.
    pub fn was_read(&mut self, read: Result<Option<StoredHeader>, StoreError>) {
        self.is_whole = false;
        self.calls.reads += 1;
        self.is_required &= !matches!(read, Ok(Some(_)));
        let ended = match (&mut self.state, read) {
            (State::Write(_, Progress::ReadBack { found, .. }), Ok(Some(stored))) => {
                *found = Some(stored.header);
                return;
            }
            (_, Ok(Some(stored))) => {
                self.state = State::Decide(stored);
                return;
            }
            // After a replacement, the next attempt finds out whether it happened.
            (_, Err(error)) => failed(error.into()),
            // A run that was killed has read what has a record.
            _ if self.is_required && self.records.is_empty() => {
                State::Finished(Finding::Outcome(Outcome::Absent))
            }
            _ => State::Finished(Finding::Outcome(Outcome::Gone)),
        };
        self.begin_again();
        self.state = ended;
    }

    /// Remembers the header that an intent was for. Returns the new one, and why a slot was left.
    pub(crate) fn leave(&mut self, intent: Intent) -> (Vec<u8>, Option<String>) {
        let Intent { stored, new, digest, left, is_repair, .. } = intent;
        match digest {
            Some(new) => self.logged = Some(Record { old: stored.header, new }),
            // A dry run has no log, and a repair is for a header that is torn.
            None if self.before.is_none() && !is_repair => self.before = Some(stored.header),
            None => {}
        }
        (new, left)
    }

    /// Goes back to the first read, and remembers the header that an intent was for, if there is one.
    pub(crate) fn begin_again(&mut self) {
        if let State::Write(intent, _) = std::mem::replace(&mut self.state, State::Read) {
            self.leave(intent);
        }
    }

    /// Returns the header that the item had before this job, as far as is known, if it was tried.
    pub(crate) fn before(&self) -> Option<&Vec<u8>> {
        self.before.as_ref().or(self.logged.as_ref().map(|record| &record.old))
    }

    /// Takes the result of a replacement or of a settlement.
    pub fn was_written(&mut self, replaced: Result<Replaced, StoreError>) {
        self.calls.writes += 1;
        if let State::Write(intent, progress @ Progress::Replace) = &mut self.state {
            let written = match replaced {
                Ok(Replaced::Done) => Ok(()),
                // It may have happened nevertheless.
                Err(error) => Err(error),
                Ok(not) => {
                    let needed = intent.new.len();
                    self.begin_again();
                    self.state = not_replaced(not, Outcome::Failed(Failure::NoRoom { needed }));
                    return;
                }
            };
            self.written = Some(intent.written());
            *progress = Progress::ReadBack { written, found: None };
            return;
        }
        self.state = match (std::mem::replace(&mut self.state, State::Read), replaced) {
            (State::Settle(_, outcome), Ok(settled)) => not_replaced(settled, outcome),
            (_, Err(error)) => failed(error.into()),
            (state, Ok(_)) => state,
        };
    }

    /// Takes how long a read took, for limits that follow it.
    pub fn took(&mut self, time: Duration) {
        self.read_time = Some(time);
    }

    /// Returns what the end of the work says about the store and about the keys.
    pub(crate) fn signs(&self) -> (Sign, Sign) {
        let outcome = match &self.state {
            State::Write(_, Progress::Intended)
            | State::Finished(Finding::Partly(_) | Finding::Counted(_))
            | State::Finished(Finding::Outcome(Outcome::Changed)) => {
                return (Sign::Works, Sign::Works);
            }
            State::Finished(Finding::Outcome(outcome) | Finding::Again(outcome)) => outcome,
            _ => return (Sign::Unknown, Sign::Unknown),
        };
        let Outcome::Failed(failure) = outcome else { return (Sign::Works, Sign::Unknown) };
        if !failure.may_pass() {
            return (Sign::Unknown, Sign::Unknown);
        }
        let fails = |retry_after| Sign::Fails {
            why: with_sources(failure),
            is_throttled: failure.is_throttled(),
            retry_after,
            is_first_attempt: self.attempt == 1,
        };
        match failure {
            Failure::Store(error) => (fails(error.retry_after()), Sign::Unknown),
            Failure::Envelope(error @ envelock::Error::Backend(_)) => {
                (Sign::Works, fails(error.retry_after()))
            }
            _ => (Sign::Unknown, Sign::Unknown),
        }
    }

    fn decide(&mut self, stored: StoredHeader, operation: &dyn Operation) -> State {
        if let Some(back_end) = self.witness_of {
            return witness(back_end, &stored.header, operation);
        }
        if self.writes && !self.records.is_empty() {
            match self.torn(&stored.header, operation) {
                Ok(None) => {}
                Ok(Some(old)) => {
                    let intent = Intent { is_repair: true, ..Intent::new(stored, old.to_vec()) };
                    return State::Write(intent, Progress::Replace);
                }
                Err(failure) => return failed(failure),
            }
        }
        self.is_whole = true;
        let written_by = self.written_by(&stored.header);
        let is_ours = written_by.is_some_and(|at| at >= self.earlier);
        let item = Item { key: &self.key, stored: &stored, is_written: written_by.is_some() };
        let verdict = operation.apply(&item);
        self.calls.keys += match &verdict {
            Verdict::Change { .. } | Verdict::Reencrypt { .. } => self.key_calls,
            Verdict::Counted(facts) => facts.openings(),
            Verdict::Failed(_) => 1,
            Verdict::Current | Verdict::Excluded(_) => 0,
        };
        let is_tried = match verdict {
            Verdict::Current => is_ours,
            Verdict::Change { .. } | Verdict::Reencrypt { .. } | Verdict::Failed(_) => true,
            Verdict::Counted(_) | Verdict::Excluded(_) => false,
        };
        if is_tried {
            // If the log does not have it, it is what was read: an intent has that until it is left.
            self.before = self.records.get(self.earlier).map(|first| first.old.clone());
            if self.before.is_none() && matches!(verdict, Verdict::Current | Verdict::Failed(_)) {
                self.before = Some(stored.header.clone());
            }
        }
        match verdict {
            Verdict::Current => {
                let outcome = if is_ours { Outcome::Changed } else { Outcome::Current };
                if self.writes && (is_ours || stored.is_unsettled) {
                    State::Settle(stored, outcome)
                } else {
                    State::Finished(Finding::Outcome(outcome))
                }
            }
            Verdict::Change { header, left } if header != stored.header => {
                let intent = Intent { left, ..Intent::new(stored, header) };
                State::Write(intent, Progress::Intended)
            }
            Verdict::Change { .. } => State::Finished(Finding::Outcome(Outcome::Current)),
            Verdict::Reencrypt { message, associated_data } => {
                let new = message.header().to_vec();
                let body = Some(NewBody { stream: Some(message), associated_data });
                let intent = Intent { body, ..Intent::new(stored, new) };
                State::Write(intent, Progress::Intended)
            }
            Verdict::Counted(facts) => State::Finished(Finding::Counted(facts)),
            Verdict::Excluded(why) => State::Finished(Finding::Outcome(Outcome::Excluded(why))),
            Verdict::Failed(failure) => failed(failure),
        }
    }

    /// Returns which record is that of this header.
    fn written_by(&self, header: &[u8]) -> Option<usize> {
        if self.records.is_empty() {
            return None;
        }
        let digest = header_digest(header);
        self.records.iter().rposition(|record| record.new == digest)
    }

    /// Returns the old header that replaces one that a write of this job tore: of the same message, and no slot of
    /// it opens. Labels are not relied on, since half of a write can have the new label and the old key.
    fn torn(&self, header: &[u8], operation: &dyn Operation) -> Result<Option<&[u8]>, Failure> {
        let digest = header_digest(header);
        let is_whole = |record: &Record| record.old == header || record.new == digest;
        if self.records.iter().any(is_whole) {
            return Ok(None);
        }
        // Another writer's message has another data key id.
        let Some(record) =
            self.records.iter().rev().find(|record| is_of_message(header, &record.old))
        else {
            return Ok(None);
        };
        if opens(operation, header)? {
            return Ok(None);
        }
        match opens(operation, &record.old)? {
            true => Ok(Some(&record.old)),
            // The version of the old header is disabled, for example.
            false => Err(Failure::Unsettled("nor does the header before it open".into())),
        }
    }
}
