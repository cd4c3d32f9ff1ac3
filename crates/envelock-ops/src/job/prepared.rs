//! New headers that are prepared: checked against what the keyring wraps under now, then logged.

use super::page::PageWork;
use super::{Halt, Job, Probe, Step, start};
use crate::digest::header_digest;
use crate::operation::Operation;
use crate::outcome::Outcome;
use crate::store::Replaced;
use crate::store_error::StoreError;
use crate::undo::{encode, record_len};
use crate::work::{Finding, Intent, Progress, State, Work};
use envelock::{SlotLabel, inspect};
use std::collections::VecDeque;
use std::time::Duration;

/// How long a check of the targets holds for headers that are logged and not replaced.
pub(super) const CHECK_HOLDS: Duration = Duration::from_secs(1);

impl Intent {
    /// Returns whether the new header has a slot that is neither of the old one nor one that the task `writes` now.
    fn is_outdated<'a>(&'a self, mut writes: impl FnMut(&SlotLabel<'a>) -> bool) -> bool {
        // A repair puts an old header back.
        if self.is_repair {
            return false;
        }
        let Ok(new) = inspect(&self.new) else { return false };
        new.slots().any(|slot| {
            // Parsing the old header costs more than the rest, and most slots are written now.
            !writes(&slot.label)
                && inspect(&self.stored.header)
                    .is_ok_and(|old| !old.slots().any(|other| other == slot))
        })
    }
}

impl PageWork {
    /// Takes out the work whose new header is under a version that is not written now.
    fn take_outdated(&mut self, operation: &dyn Operation) -> VecDeque<Box<Work>> {
        let mut outdated = VecDeque::new();
        for works in [&mut self.intended, &mut self.todo] {
            let are_outdated = judge(works, operation);
            if are_outdated.contains(&true) {
                let mut judged = are_outdated.into_iter();
                let all = std::mem::take(works).into_iter();
                let (found, rest): (VecDeque<_>, _) =
                    all.partition(|_| judged.next() == Some(true));
                outdated.extend(found);
                *works = rest;
            }
        }
        outdated
    }
}

/// Returns for each work whether its new header is outdated. A label that the keyring cannot judge is not written.
fn judge<'a>(works: &'a VecDeque<Box<Work>>, operation: &dyn Operation) -> Vec<bool> {
    // Most labels of a page are the one before.
    let mut last = None;
    let mut writes = |label: &SlotLabel<'a>| match last {
        Some((before, writes)) if before == *label => writes,
        _ => {
            let judged = operation.writes(label);
            last = judged.as_ref().ok().map(|&writes| (*label, writes));
            judged.unwrap_or(false)
        }
    };
    let mut is_outdated = |work: &'a Work| match &work.state {
        State::Write(intent, Progress::Intended | Progress::Replace) => {
            intent.is_outdated(&mut writes)
        }
        _ => false,
    };
    works.iter().map(|work| is_outdated(work)).collect()
}

impl Job {
    /// Checks what the keyring wraps under, or returns when to do so again.
    pub(super) fn check_targets(
        &mut self,
        operation: &dyn Operation,
        now: Duration,
    ) -> Result<Option<Duration>, Halt> {
        if let Err(until) = self.limiter.keys_ready(now) {
            return Ok(Some(until));
        }
        let primaries = operation.targets().and_then(|to| Ok((to, operation.primaries_seen()?)));
        let (targets, seen) = match primaries {
            Err(error) if error.is_retryable() => {
                self.limiter.keys_failed(&error, now);
                return self.check_outage(now).map_or(Ok(Some(now)), Err);
            }
            primaries => primaries.map_err(Halt::Keyring)?,
        };
        self.limiter.keys_work();
        if let Some(missing) = start::missing_target(&self.state.definition, &targets) {
            return Err(Halt::Target(missing));
        }
        let known = &mut self.state.targets;
        self.state.targets_changed |= targets.iter().any(|target| !known.contains(target));
        for (version, is_primary) in seen {
            self.state.targets_changed |= !is_primary;
            if !known.contains(&version) {
                known.push(version);
            }
        }
        self.checked_at = now;
        Ok(None)
    }

    /// Checks the targets again if the last check is older than `holds`, and begins the items again whose new header is
    /// under another version: it may have been disabled or compromised meanwhile. Returns `None` if there are none.
    pub(super) fn recheck(
        &mut self,
        now: Duration,
        operation: &dyn Operation,
        holds: Duration,
    ) -> Option<Step> {
        if now < self.checked_at.saturating_add(holds) {
            return None;
        }
        match self.check_targets(operation, now) {
            Ok(None) => {}
            Ok(until) => return Some(Step::Wait { until }),
            Err(halt) => {
                self.halt.get_or_insert(halt);
                return Some(Step::Wait { until: Some(now) });
            }
        }
        let outdated = self.page.take_outdated(operation);
        let is_changed = !outdated.is_empty();
        for mut work in outdated {
            work.begin_again();
            self.found(work, Finding::Again(Outcome::Conflict));
        }
        is_changed.then_some(Step::Wait { until: Some(now) })
    }

    /// Probes the store before the first write, then logs what is to be written.
    pub(super) fn log(&mut self, now: Duration, operation: &dyn Operation) -> Step {
        if let Some(step) = self.recheck(now, operation, Duration::ZERO) {
            return step;
        }
        if !self.is_probed {
            if let Err(until) = self.limiter.store_ready(now) {
                return Step::Wait { until: Some(until) };
            }
            let first = self.page.intended.front();
            if let Some((work, State::Write(intent, _))) = first.map(|work| (work, &work.state)) {
                return Step::Probe(Probe::new(work.key.clone(), intent.stored.clone()));
            }
        }
        let len = |work: &Work| match &work.state {
            State::Write(intent, _) => record_len(&work.key, &intent.stored.header),
            _ => 0,
        };
        let needed: u64 = self.page.intended.iter().map(|work| len(work)).sum();
        let mut batch = Vec::with_capacity(usize::try_from(needed).unwrap_or(0));
        for work in &mut self.page.intended {
            if let State::Write(intent, _) = &mut work.state {
                let digest = *intent.digest.get_or_insert_with(|| header_digest(&intent.new));
                encode(&mut batch, &work.key, (&intent.stored.header, digest));
            }
        }
        Step::Append(batch)
    }

    /// Takes the result of [`Step::Probe`]. An item for which the store fails for good is a failed item, and the next
    /// one is the probe.
    pub fn probed(&mut self, probed: Result<Replaced, StoreError>, now: Duration) {
        match probed {
            Ok(Replaced::Conflict | Replaced::Gone) => self.is_probed = true,
            Ok(Replaced::Done | Replaced::NoRoom) => self.halt = Some(Halt::NoCompareAndSwap),
            Err(error) if error.is_retryable() => return self.store_failed(&error, now),
            Err(error) => {
                let Some(mut work) = self.page.intended.pop_front() else { return };
                work.begin_again();
                return self.found(work, Finding::Outcome(Outcome::Failed(error.into())));
            }
        }
        self.limiter.store_works();
    }
}
