//! New headers that are prepared: checked against what the keyring wraps under now, then logged.

use super::page::PageWork;
use super::{Halt, Job, Probe, Step, start};
use crate::definition::VersionName;
use crate::digest::header_digest;
use crate::header_bytes::same_labels;
use crate::operation::Operation;
use crate::outcome::Outcome;
use crate::store::Replaced;
use crate::store_error::StoreError;
use crate::undo::{encode, record_len};
use crate::work::{Finding, Progress, State, Work};
use envelock::{Error, inspect};
use std::collections::VecDeque;
use std::time::Duration;

/// How long a check of the targets holds for headers that are logged and not replaced.
pub(super) const CHECK_HOLDS: Duration = Duration::from_secs(1);

/// Items whose new header is not to be written: their places in a page, and why.
type Unwritable = Vec<(usize, Outcome)>;

/// What the keyring wraps under now, and the versions that it has returned meanwhile, each with whether it is primary.
type Targets = (Vec<VersionName>, Vec<(VersionName, bool)>);

/// Finds the work whose new header is under a version that is not written now, or cannot be judged for good.
///
/// # Errors
///
/// The back end of the keys is away, which says nothing about an item.
fn unwritable(works: &VecDeque<Box<Work>>, operation: &dyn Operation) -> Result<Unwritable, Error> {
    // Most headers of a page have the labels of the one before.
    let mut last_written: Option<&[u8]> = None;
    let mut found = Unwritable::new();
    for (at, work) in works.iter().enumerate() {
        let State::Write(intent, Progress::Intended | Progress::Replace) = &work.state else {
            continue;
        };
        // A repair puts an old header back.
        if intent.is_repair || last_written.is_some_and(|last| same_labels(last, &intent.new)) {
            continue;
        }
        let Ok(new) = inspect(&intent.new) else { continue };
        let is_added = |slot: &_| {
            inspect(&intent.stored.header).is_ok_and(|old| !old.slots().any(|other| other == *slot))
        };
        let mut are_written = true;
        let refused = new.slots().find_map(|slot| match operation.writes(&slot.label) {
            Ok(true) => None,
            judged => {
                are_written = false;
                is_added(&slot).then_some(judged)
            }
        });
        match refused {
            None if are_written => last_written = Some(&intent.new),
            None => {}
            Some(Ok(_)) => found.push((at, Outcome::Conflict)),
            Some(Err(error)) if error.is_retryable() => return Err(error),
            Some(Err(error)) => found.push((at, Outcome::Failed(error.into()))),
        }
    }
    Ok(found)
}

impl PageWork {
    /// Takes out what was found among the intended and the other work.
    fn take(&mut self, found: [Unwritable; 2]) -> Vec<(Box<Work>, Outcome)> {
        let mut taken = Vec::new();
        for (works, found) in [&mut self.intended, &mut self.todo].into_iter().zip(found) {
            // From the end on, so that the places of the others stay.
            for (at, why) in found.into_iter().rev() {
                taken.extend(works.remove(at).map(|work| (work, why)));
            }
        }
        taken
    }
}

fn primaries(operation: &dyn Operation) -> Result<Targets, Error> {
    Ok((operation.targets()?, operation.primaries_seen()?))
}

impl Job {
    /// Asks the keyring something, or returns when to do so again.
    fn ask_keys<T>(
        &mut self,
        now: Duration,
        ask: impl FnOnce(&Self) -> Result<T, Error>,
    ) -> Result<Result<T, Duration>, Halt> {
        if let Err(until) = self.limiter.keys_ready(now) {
            return Ok(Err(until));
        }
        match ask(self) {
            Err(error) if error.is_retryable() => {
                self.limiter.keys_failed(&error, now);
                self.check_outage(now).map_or(Ok(Err(now)), Err)
            }
            Err(error) => Err(Halt::Keyring(error)),
            Ok(answer) => {
                self.limiter.keys_work();
                Ok(Ok(answer))
            }
        }
    }

    /// Checks what the keyring wraps under, or returns when to do so again.
    pub(super) fn check_targets(
        &mut self,
        operation: &dyn Operation,
        now: Duration,
    ) -> Result<Option<Duration>, Halt> {
        match self.ask_keys(now, |_| primaries(operation))? {
            Ok(primaries) => self.take_primaries(primaries, now).map(|()| None),
            Err(until) => Ok(Some(until)),
        }
    }

    fn take_primaries(&mut self, primaries: Targets, now: Duration) -> Result<(), Halt> {
        let (targets, seen) = primaries;
        if let Some(missing) = start::missing_target(&self.state.definition, &targets) {
            return Err(Halt::Target(missing));
        }
        let known = &mut self.state.targets;
        self.state.targets_changed |= targets.iter().any(|target| !known.contains(target));
        for (version, is_primary) in seen {
            self.state.targets_changed |= !is_primary;
            if !known.contains(&version) {
                // What an earlier run wrote under another version of the name is not read again.
                self.state.targets_changed |= known.iter().any(|other| other.name == version.name);
                known.push(version);
            }
        }
        self.checked_at = now;
        Ok(())
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
        let ask = |job: &Self| {
            let (primaries, page) = (primaries(operation)?, &job.page);
            let intended = unwritable(&page.intended, operation)?;
            Ok((primaries, [intended, unwritable(&page.todo, operation)?]))
        };
        let found = match self.ask_keys(now, ask) {
            Ok(Ok((primaries, found))) => self.take_primaries(primaries, now).map(|()| found),
            Ok(Err(until)) => return Some(Step::Wait { until: Some(until) }),
            Err(halt) => Err(halt),
        };
        let found = match found {
            Ok(found) => found,
            Err(halt) => {
                self.halt.get_or_insert(halt);
                return Some(Step::Wait { until: Some(now) });
            }
        };
        let taken = self.page.take(found);
        let is_changed = !taken.is_empty();
        for (mut work, why) in taken {
            work.begin_again();
            let finding = match why {
                Outcome::Conflict => Finding::Again(why),
                why => Finding::Outcome(why),
            };
            self.found(work, finding);
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
