//! The operation of a task with the keys of an envelope.

use super::census::count_labels;
use super::primaries::Primaries;
use super::{Item, Operation, Verdict, opened};
use crate::definition::{CensusMode, Task, VersionName};
use crate::item::ItemKey;
use crate::outcome::{Exclusion, Failure};
use crate::undo::UndoIndex;
use envelock::keyring::{Freshness, KeyringError, PrimaryKey, Refusal};
use envelock::keyset::LifecycleError;
use envelock::{
    Envelope, Error, GrantOptions, KeyVersion, Keyring, OpenedKey, OsRandom, RandomSource,
    RewrapOptions, SlotLabel, SlotOutcome, inspect,
};

/// Returns the associated data of an item.
type AssociatedData = Box<dyn Fn(&ItemKey) -> Vec<u8> + Send + Sync>;

/// The operation of a [`Task`] with the keys of an envelope.
pub struct EnvelopeOperation<K, R = OsRandom> {
    pub(super) envelope: Envelope<K, R>,
    task: Task,
    to: Option<Box<dyn Keyring>>,
    undo: UndoIndex,
    pub(super) associated_data: Option<AssociatedData>,
    /// What a rewrap found or made.
    primaries: Primaries,
}

impl<K: Keyring, R: RandomSource> EnvelopeOperation<K, R> {
    /// Returns the operation of `task`. [`Task::AddName`] also needs [`adding`](Self::adding), and
    /// [`Task::Restore`] needs [`restoring`](Self::restoring).
    pub fn new(envelope: Envelope<K, R>, task: Task) -> Self {
        let (undo, primaries) = (UndoIndex::default(), Primaries::default());
        EnvelopeOperation { envelope, task, to: None, undo, associated_data: None, primaries }
    }

    /// Adds slots of this keyring.
    #[must_use]
    pub fn adding(mut self, to: impl Keyring + 'static) -> Self {
        self.to = Some(Box::new(to));
        self
    }

    /// Restores the old headers of this undo log.
    #[must_use]
    pub fn restoring(mut self, undo: UndoIndex) -> Self {
        self.undo = undo;
        self
    }

    /// Encrypts each message again with what `of` returns for its item, as the message was encrypted. Without this call the
    /// store has the associated data, or there is none.
    #[must_use]
    pub fn associated_data(
        mut self,
        of: impl Fn(&ItemKey) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        self.associated_data = Some(Box::new(of));
        self
    }

    fn rewrap(
        &self,
        header: &[u8],
        compromised: &[VersionName],
        retiring: Option<&VersionName>,
        trusts_backend: bool,
    ) -> Result<Verdict, Error> {
        if self.is_foreign(header)? {
            return Ok(Verdict::Excluded(Exclusion::OtherKeyring));
        }
        // The labels decide, without a call to a back end.
        if !self.envelope.needs_rewrap(header)? {
            return Ok(Verdict::Current);
        }
        let mut options = RewrapOptions::new();
        if trusts_backend {
            options = options.trusting_backend();
        }
        for (name, number) in compromised.iter().filter_map(numbered) {
            options = options.from_compromised(name, number);
        }
        if let Some((name, number)) = retiring.and_then(numbered) {
            options = options.retiring(name, number);
        }
        let (new, report) = self.envelope.rewrap(header, options)?.into_parts();
        let left = report.slots().iter().find_map(why_left);
        Ok(match (report.is_changed(), left) {
            (true, left) => Verdict::Change { header: new, left: left.map(|why| why.to_string()) },
            (false, None) => Verdict::Current,
            (false, Some(Left::Backend(error))) => {
                Verdict::Failed(Failure::Envelope(Error::Backend(error)))
            }
            (false, Some(why)) => Verdict::Failed(Failure::SlotLeft(why.to_string())),
        })
    }

    fn opens(&self, header: &[u8]) -> Result<bool, Error> {
        opened(self.envelope.open(header))
    }

    /// Returns whether all slots belong to other keyrings, by their labels.
    pub(super) fn is_foreign(&self, header: &[u8]) -> Result<bool, Error> {
        let mut is_foreign = true;
        for slot in inspect(header)?.slots() {
            is_foreign &= self.freshness(&slot.label)? == Freshness::NotMine;
        }
        Ok(is_foreign)
    }

    fn freshness(&self, label: &SlotLabel<'_>) -> Result<Freshness, Error> {
        let freshness = freshness(self.envelope.keyring(), label)?;
        if freshness == Freshness::Primary && matches!(self.task, Task::Rewrap { .. }) {
            self.primaries.saw(label);
        }
        Ok(freshness)
    }

    fn add_name(&self, header: &[u8], compromised: &[VersionName]) -> Result<Verdict, Error> {
        let Some(to) = &self.to else { return Err(Error::NoPrimary) };
        let mut is_current = true;
        let parsed = inspect(header)?;
        let each = &mut |primary: &PrimaryKey<'_>| {
            is_current &= parsed.slots().any(|slot| slot.label.same_key(&primary.label));
        };
        to.visit_primaries(each).map_err(keyring_error)?;
        if is_current {
            return Ok(Verdict::Current);
        }
        let mut options = GrantOptions::new();
        for (name, number) in compromised.iter().filter_map(numbered) {
            options = options.from_compromised(name, number);
        }
        let added = self.envelope.add_slot(header, &**to, options)?;
        Ok(changed(added.is_changed(), added.into_header()))
    }

    fn remove_name(&self, header: &[u8], name: &str) -> Result<Verdict, Error> {
        if all_slots(header, |label| Ok(label.name.as_str() != name))? {
            return Ok(Verdict::Current);
        }
        let removed = self.envelope.remove_name(header, name)?;
        Ok(changed(removed.is_changed(), removed.into_header()))
    }

    fn restore(&self, item: &ItemKey, header: &[u8]) -> Result<Verdict, Error> {
        if self.undo.is_old(item, header) {
            return Ok(Verdict::Current);
        }
        let torn = || self.undo.old_of_torn(item, header);
        if self.undo.is_reencrypted(item, header) {
            return Ok(Verdict::Failed(Failure::Reencrypted));
        }
        let old = match self.undo.old_of(item, header) {
            Some(old) => old,
            None => match torn() {
                Some(old) if !self.opens(header)? => old,
                _ => return Ok(Verdict::Excluded(Exclusion::NotInLog)),
            },
        };
        Ok(match self.opens(old)? {
            true => Verdict::Change { header: old.to_vec(), left: None },
            false => Verdict::Failed(Failure::OldHeader),
        })
    }
}

impl<K: Keyring + 'static, R: RandomSource + Send + Sync> Operation for EnvelopeOperation<K, R> {
    fn apply(&self, item: &Item<'_>) -> Verdict {
        let header = &item.stored.header;
        let verdict = match &self.task {
            Task::Rewrap { from_compromised, retiring, trusts_backend, .. } => {
                self.rewrap(header, from_compromised, retiring.as_ref(), *trusts_backend)
            }
            Task::Reencrypt { cause, .. } => self.reencrypt(item, cause),
            Task::AddName { from_compromised } => self.add_name(header, from_compromised),
            Task::RemoveName { name } => self.remove_name(header, name),
            Task::Restore { .. } => self.restore(item.key, header),
            Task::Census { mode: CensusMode::Labels } => count_labels(header),
            Task::Census { mode: CensusMode::Opened } => self.count(header),
        };
        verdict.unwrap_or_else(Verdict::from)
    }

    fn open(&self, header: &[u8]) -> Result<OpenedKey, Error> {
        self.envelope.open(header)
    }

    fn targets(&self) -> Result<Vec<VersionName>, Error> {
        let mut names = Vec::new();
        let mut add = |primary: &PrimaryKey<'_>| {
            names.push(VersionName::new(primary.label.name.as_str(), primary.label.version));
        };
        let visited = match (&self.task, &self.to) {
            (Task::Rewrap { .. } | Task::Reencrypt { .. }, _) => {
                self.envelope.keyring().visit_primaries(&mut add)
            }
            (Task::AddName { .. }, Some(to)) => to.visit_primaries(&mut add),
            _ => Ok(()),
        };
        match (visited, &self.task) {
            // A rewrap keeps the name of each slot, so that no key need be selected.
            (Err(KeyringError::NoKeySelected { .. }), Task::Rewrap { .. }) => {}
            (visited, _) => visited.map_err(keyring_error)?,
        }
        Ok(names)
    }

    fn primaries_seen(&self) -> Result<Vec<(VersionName, bool)>, Error> {
        self.primaries.judge(self.envelope.keyring())
    }

    fn writes(&self, label: &SlotLabel<'_>) -> Result<bool, Error> {
        let freshness = match (&self.task, &self.to) {
            (Task::Rewrap { .. } | Task::Reencrypt { .. }, _) => self.freshness(label)?,
            (Task::AddName { .. }, Some(to)) => freshness(&**to, label)?,
            _ => return Ok(true),
        };
        Ok(freshness == Freshness::Primary)
    }

    fn unreadable(&self, label: &SlotLabel<'_>) -> Result<Option<String>, Error> {
        let named = match &self.task {
            Task::Rewrap { from_compromised, .. } | Task::AddName { from_compromised } => {
                from_compromised.contains(&VersionName::new(label.name.as_str(), label.version))
            }
            _ => true,
        };
        Ok(match self.freshness(label)? {
            Freshness::Refused(refusal) => Some(refusal.to_string()),
            Freshness::NotMine => Some("it belongs to another keyring".into()),
            Freshness::Compromised if !named => {
                Some("it is compromised, and the task does not name it".into())
            }
            _ => None,
        })
    }

    fn refusal(&self, task: &Task) -> Option<String> {
        if *task != self.task {
            return Some("the keys are prepared for another task".into());
        }
        match task {
            Task::AddName { .. } if self.to.is_none() => {
                Some("no keyring is given whose slots are added".into())
            }
            Task::Restore { job } if self.undo.job() != Some(job) => {
                Some(format!("no undo log of job {job} is given"))
            }
            _ => None,
        }
    }

    fn counts_labels(&self) -> bool {
        self.task == Task::Census { mode: CensusMode::Labels }
    }
}

fn changed(is_changed: bool, header: Vec<u8>) -> Verdict {
    if is_changed { Verdict::Change { header, left: None } } else { Verdict::Current }
}

/// Returns name and number of a version; `None` for 0, which no slot has.
fn numbered(version: &VersionName) -> Option<(&str, KeyVersion)> {
    Some((&version.name, KeyVersion::new(version.version)?))
}

/// Returns whether all slots of a header pass, by their labels.
fn all_slots(
    header: &[u8],
    passes: impl Fn(&SlotLabel<'_>) -> Result<bool, Error>,
) -> Result<bool, Error> {
    for slot in inspect(header)?.slots() {
        if !passes(&slot.label)? {
            return Ok(false);
        }
    }
    Ok(true)
}

pub(super) fn freshness<K: Keyring + ?Sized>(
    keyring: &K,
    label: &SlotLabel<'_>,
) -> Result<Freshness, Error> {
    keyring.freshness(label).map_err(keyring_error)
}

/// The errors that a keyring has for what concerns no slot.
fn keyring_error(error: KeyringError) -> Error {
    match error {
        KeyringError::Backend(error) => Error::Backend(error),
        KeyringError::NoKeySelected { keys, .. } => LifecycleError::NoKeySelected { keys }.into(),
        _ => Error::NoPrimary,
    }
}

/// Why a rewrap left a slot.
#[derive(Debug, thiserror::Error)]
enum Left {
    #[error("{0}")]
    Refused(Refusal),
    #[error("it is damaged or forged")]
    NotVerified,
    #[error("{0}")]
    Backend(envelock::BackendError),
}

fn why_left(outcome: &SlotOutcome) -> Option<Left> {
    match outcome {
        SlotOutcome::Refused(refusal) => Some(Left::Refused(*refusal)),
        SlotOutcome::NotVerified => Some(Left::NotVerified),
        SlotOutcome::Backend(error) => Some(Left::Backend(error.clone())),
        _ => None,
    }
}
