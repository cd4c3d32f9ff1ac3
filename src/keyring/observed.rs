//! A keyring that reports its operations to an observer.

use super::{Freshness, Keyring, KeyringError, Lifecycle, PrimaryKey, SlotWriter, WrapContext};
use crate::crypto::secret::DataKey;
use crate::error::Error;
use crate::format::{KeyName, KeyVersion, Slot, SlotLabel};
use crate::keyset::{
    Change, ChangeOptions, ChangeOutcome, KeysetMap, LifecycleError, Transition, VersionState,
};
use crate::observe::{Event, Observer};
use crate::random::KeyringRng;

/// A keyring around another that reports every result to an [`Observer`] and changes none.
///
/// It is a [`Lifecycle`] if the inner keyring is. No event reports:
///
/// - [`NotMine`](KeyringError::NotMine), which is ordinary where several keyrings share a header.
/// - [`KeyringError::Slot`]: a rewrap retries after too little room, and the caller gets other faults.
/// - A failed change, whose caller has the error. The keyring that loads changes of other processes
///   reports them.
///
/// Around a `MultiKeyring` or a cache it reports their results. Around their members it reports each
/// call of a backend.
#[derive(Clone, Debug)]
pub struct ObservedKeyring<K, O> {
    keyring: K,
    observer: O,
}

impl<K: Keyring, O: Observer> ObservedKeyring<K, O> {
    /// Reports the operations of `keyring` to `observer`.
    pub const fn new(keyring: K, observer: O) -> Self {
        ObservedKeyring { keyring, observer }
    }

    /// Returns the inner keyring. Direct calls of it are not reported.
    pub fn keyring(&self) -> &K {
        &self.keyring
    }

    /// Returns the observer.
    pub fn observer(&self) -> &O {
        &self.observer
    }

    fn report(&self, event: Event<'_>) {
        self.observer.event(&event);
    }

    /// Reports completed changes.
    #[expect(clippy::indexing_slicing, reason = "the index of one of them")]
    fn changed(&self, changed: &ChangeOutcome) {
        let ChangeOutcome { change, transitions, .. } = changed;
        let change = *change;
        for (index, transition) in transitions.iter().enumerate() {
            self.report(Event::Changed { transition, change });
            if let Transition::State { key, version, to: VersionState::Primary, .. } = transition {
                let from = former_primary(&transitions[..index], key);
                self.report(Event::Rotated { key, from, to: *version, change });
            }
        }
    }

    /// Reports a failure that is independent of a slot.
    fn failed(&self, error: &KeyringError) {
        match error {
            KeyringError::Backend(_)
            | KeyringError::Randomness(_)
            | KeyringError::WrapLimit { .. } => {
                self.report(Event::Unavailable { error });
            }
            KeyringError::NoPrimary
            | KeyringError::UnknownKey { .. }
            | KeyringError::NoKeySelected { .. } => self.report(Event::NoPrimary),
            KeyringError::NotMine
            | KeyringError::Refused(_)
            | KeyringError::Authentication
            | KeyringError::Slot(_) => {}
        }
    }

    /// Reports why the slot under `label` was not unwrapped.
    fn slot_failed(&self, label: SlotLabel<'_>, error: &KeyringError) {
        match error {
            KeyringError::Refused(refusal) => {
                self.report(Event::Refused { label, refusal: *refusal })
            }
            KeyringError::Authentication => self.report(Event::NotVerified { label }),
            other => self.failed(other),
        }
    }

    fn unwrapped(&self, label: SlotLabel<'_>) {
        let compromised = self.keyring.freshness(&label).ok() == Some(Freshness::Compromised);
        self.report(Event::Unwrapped { label, compromised });
    }

    /// Runs a wrap, and reports the slots that it wrote or why it failed.
    fn observe_wrap(
        &self,
        slots: &mut SlotWriter<'_>,
        wrap: impl FnOnce(&mut SlotWriter<'_>) -> Result<(), KeyringError>,
    ) -> Result<(), KeyringError> {
        let before = slots.slots().len();
        wrap(slots).inspect_err(|error| self.failed(error))?;
        self.wrapped(slots, before);
        Ok(())
    }

    /// Reports the slots after the first `before`.
    fn wrapped(&self, slots: &SlotWriter<'_>, before: usize) {
        for slot in slots.slots().skip(before) {
            self.report(Event::Wrapped { label: slot.label });
        }
    }
}

impl<K: Keyring, O: Observer> Keyring for ObservedKeyring<K, O> {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.keyring.visit_primaries(visit).inspect_err(|error| self.failed(error))
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.observe_wrap(slots, |slots| self.keyring.wrap(data_key, context, slots, rng))
    }

    fn wrap_under(
        &self,
        name: KeyName<'_>,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.observe_wrap(slots, |slots| {
            self.keyring.wrap_under(name, data_key, context, slots, rng)
        })
    }

    fn holds(
        &self,
        name: KeyName<'_>,
        visit: &mut dyn FnMut(KeyName<'_>),
    ) -> Result<(), KeyringError> {
        self.keyring.holds(name, visit).inspect_err(|error| self.failed(error))
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        let unwrapped = self.keyring.unwrap(slot, context, data_key);
        // The core rejects a data key that fails the check, so no event reports it as unwrapped.
        match unwrapped.as_ref().map(|()| context.verify(data_key)) {
            Ok(Ok(())) => self.unwrapped(slot.label),
            Ok(Err(error)) => self.slot_failed(slot.label, &error),
            Err(error) => self.slot_failed(slot.label, error),
        }
        unwrapped
    }

    fn rewrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        let before = slots.slots().len();
        let rewrapped = self.keyring.rewrap(slot, context, slots, rng);
        rewrapped.inspect_err(|error| self.slot_failed(slot.label, error))?;
        self.unwrapped(slot.label);
        self.wrapped(slots, before);
        Ok(())
    }

    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        self.keyring.freshness(slot).inspect_err(|error| self.failed(error))
    }
}

impl<K: Lifecycle, O: Observer> Lifecycle for ObservedKeyring<K, O> {
    fn key(&self) -> &str {
        self.keyring.key()
    }

    fn keysets(&self) -> Result<KeysetMap, Error> {
        self.keyring.keysets()
    }

    fn change(
        &self,
        changes: &[Change<'_>],
        options: &ChangeOptions,
        rng: &mut KeyringRng<'_>,
    ) -> Result<ChangeOutcome, Error> {
        let outcome = self.keyring.change(changes, options, rng);
        match &outcome {
            Ok(changed) => self.changed(changed),
            // The changes were made, although key material was not destroyed.
            Err(Error::Lifecycle(LifecycleError::NotDestroyed { changed, .. })) => {
                self.changed(changed)
            }
            Err(_) => {}
        }
        outcome
    }
}

/// Returns the last primary of `key` before a promotion, from the earlier transitions.
fn former_primary(earlier: &[Transition], key: &str) -> Option<KeyVersion> {
    earlier.iter().rev().find_map(|transition| match transition {
        Transition::State { key: other, version, from: VersionState::Primary, .. }
            if other == key =>
        {
            Some(*version)
        }
        _ => None,
    })
}
