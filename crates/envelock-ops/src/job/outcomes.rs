//! What an attempt on an item ends with: counted, listed, or tried again.

use super::{Halt, Job};
use crate::definition::Definition;
use crate::error_text::with_sources;
use crate::item::ItemKey;
use crate::outcome::{Exclusion, Failure, Outcome};
use crate::strata::stage_hash;
use crate::work::{Finding, State, Work};

/// Attempts to put back the old header of an item that was torn, beyond the attempts of a job.
const REPAIRS: u8 = 4;

impl Job {
    pub(super) fn found(&mut self, mut work: Box<Work>, finding: Finding) {
        if matches!(finding, Finding::Mismatch | Finding::Again(_)) {
            self.remember(&mut work);
        }
        let attempts = self.state.definition.attempts.max(1);
        match finding {
            Finding::Mismatch => {
                self.halt.get_or_insert(Halt::Mismatch(work.key.clone()));
                self.again_or(
                    work,
                    Outcome::Failed(Failure::Mismatch),
                    attempts.saturating_add(REPAIRS),
                );
            }
            Finding::Again(outcome) => {
                let has_records = !self.records.records(&work.key).is_empty() || work.earlier > 0;
                let repairs = if has_records { REPAIRS } else { 0 };
                self.again_or(work, outcome, attempts.saturating_add(repairs));
            }
            Finding::Outcome(outcome) => self.count(work, &outcome),
            Finding::Partly(why) => {
                self.page.tally.partly += 1;
                self.list_failure(&work.key, "partly", &why, false);
                self.count(work, &Outcome::Changed);
            }
            Finding::Counted(facts) => {
                self.page.census.count(&facts, work.bytes.unwrap_or(0));
                if let Some(why) = facts.unopenable() {
                    self.list_failure(&work.key, "unopenable", &why.to_string(), false);
                }
                let definition = &self.state.definition;
                if let Some(name) = facts.names().find(|name| !definition.allows(name)) {
                    let why =
                        format!("it has a slot of {name:?}, which the definition does not allow");
                    self.list_failure(&work.key, "not_allowed", &why, false);
                }
                self.count(work, &Outcome::Current);
            }
        }
    }

    /// Keeps what was logged for the next attempt, which has to know what this one wanted to write.
    fn remember(&mut self, work: &mut Work) {
        let before = work.before().cloned();
        if let Some(record) = work.logged.take() {
            work.before = before;
            self.records.add(work.key.clone(), record);
        }
    }

    /// Gives an attempt the intents of this job, and of an earlier one that it follows.
    pub(super) fn give_records(&self, work: &mut Work) {
        if self.earlier.is_empty() && self.records.is_empty() {
            return;
        }
        let earlier = self.earlier.records(&work.key);
        work.earlier = earlier.len();
        work.records = [earlier, self.records.records(&work.key)].concat();
    }

    /// Tries the item again, or counts the outcome if that was the last attempt.
    fn again_or(&mut self, mut work: Box<Work>, outcome: Outcome, attempts: u8) {
        if work.attempt >= attempts {
            match outcome {
                Outcome::Failed(failure) if !work.is_whole && !work.records.is_empty() => {
                    let why = with_sources(&failure);
                    self.count(work, &Outcome::Failed(Failure::Unsettled(why)));
                }
                outcome => self.count(work, &outcome),
            }
            return;
        }
        work.attempt += 1;
        work.state = State::Read;
        self.give_records(&mut work);
        self.page.todo.push_back(work);
    }

    fn count(&mut self, work: Box<Work>, outcome: &Outcome) {
        self.page.tally.count(outcome);
        if matches!(outcome, Outcome::Changed) && self.state.definition.task.trusts_backend() {
            self.page.tally.trusted += 1;
        }
        let is_failure = matches!(outcome, Outcome::Failed(_));
        let before = work.before();
        let before = before.filter(|_| is_failure || matches!(outcome, Outcome::Changed));
        if let Some(before) = before {
            let Definition { dry_run, seed, .. } = self.state.definition;
            let hash = dry_run.then(|| stage_hash(seed, &work.key));
            let item = (&work.key, before.as_slice(), work.bytes);
            self.page.strata.count(item, is_failure, hash);
        }
        match outcome {
            Outcome::Failed(failure) => {
                self.list_failure(
                    &work.key,
                    "failed",
                    &with_sources(failure),
                    failure.is_retryable(),
                );
            }
            Outcome::Conflict => {
                let why = "another writer changed it in each attempt";
                self.list_failure(&work.key, "conflict", why, true);
            }
            Outcome::Absent => {
                let why = "it was named, and does not exist";
                self.list_failure(&work.key, "absent", why, false);
            }
            Outcome::Excluded(Exclusion::NotInLog) => {
                let why = Exclusion::NotInLog.to_string();
                self.list_failure(&work.key, "excluded", &why, false);
            }
            _ => {}
        }
        self.counted.push_back(work);
    }

    /// Adds a line to the list of failures (FORMAT 3).
    fn list_failure(&mut self, item: &ItemKey, outcome: &str, why: &str, retryable: bool) {
        let line = serde_json::json!({
            "item": item, "outcome": outcome, "why": why, "retryable": retryable,
        });
        self.page.failures.extend(line.to_string().into_bytes());
        self.page.failures.push(b'\n');
    }
}
