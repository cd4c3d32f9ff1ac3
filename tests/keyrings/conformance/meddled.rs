//! A memory keyring whose lifecycle is meddled with.

use super::meeting::Meeting;
use envelock::keyset::LifecycleError;
use envelock::{
    DataKey, Error, Keyring, Lifecycle, MemoryKeyring, SlotLabel,
    format::Slot,
    keyring::{Freshness, KeyringError, KeyringRng, PrimaryKey, Refusal, SlotWriter, WrapContext},
    keyset::{
        Change, ChangeOptions, ChangeOutcome, Keyset, KeysetMap, MIN_DESTRUCTION_DELAY, Operation,
        VersionState,
    },
};

/// Its mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meddling {
    OneByOne,
    NoCompareAndSwap,
    CheckThenSwap,
    WrongRefusal,
    StaleForDisabled,
    ForgetsDestroyed,
    WrongChange,
    EarlyDestruction,
    AnyDelay,
    AliasOverKey,
    RewrapsToItsOwn,
    SilentNoRandomness,
    TellsNoAddition,
}

pub struct Meddled(MemoryKeyring, Meddling, Meeting);

impl Meddled {
    pub fn new(keyring: MemoryKeyring, meddling: Meddling) -> Self {
        Meddled(keyring, meddling, Meeting::new())
    }

    fn is(&self, meddling: Meddling) -> bool {
        self.1 == meddling
    }

    /// The change as it is passed on.
    fn meddle<'a>(&self, change: Change<'a>) -> Change<'a> {
        let Change::Version { key, version, operation } = change else { return change };
        let state = self
            .0
            .keysets()
            .ok()
            .and_then(|keysets| Some(keysets.keyset(key)?.version(version)?.state));
        let scheduled = state == Some(VersionState::DestroyScheduled);
        let operation = match operation {
            Operation::Destroy if self.is(Meddling::EarlyDestruction) && scheduled => {
                Operation::DestroyImmediately
            }
            Operation::ScheduleDestruction { after } if self.is(Meddling::AnyDelay) => {
                Operation::ScheduleDestruction { after: after.max(MIN_DESTRUCTION_DELAY) }
            }
            other => other,
        };
        Change::Version { key, version, operation }
    }
}

impl Keyring for Meddled {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.0.visit_primaries(visit)
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.0.wrap(data_key, context, slots, rng)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        match self.0.unwrap(slot, context, data_key) {
            Err(KeyringError::Refused(Refusal::Destroyed)) if self.is(Meddling::WrongRefusal) => {
                Err(KeyringError::Refused(Refusal::Disabled))
            }
            answer => answer,
        }
    }

    fn rewrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        if !self.is(Meddling::RewrapsToItsOwn) {
            return self.0.rewrap(slot, context, slots, rng);
        }
        let mut data_key = DataKey::empty();
        self.0.unwrap(slot, context, &mut data_key)?;
        self.0.wrap(&data_key, context, slots, rng)
    }

    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        match self.0.freshness(slot)? {
            Freshness::Refused(Refusal::Disabled) if self.is(Meddling::StaleForDisabled) => {
                Ok(Freshness::Stale)
            }
            freshness => Ok(freshness),
        }
    }
}

impl Lifecycle for Meddled {
    fn key(&self) -> &str {
        self.0.key()
    }

    fn keysets(&self) -> Result<KeysetMap, Error> {
        let keysets = self.0.keysets()?;
        if !self.is(Meddling::ForgetsDestroyed) {
            return Ok(keysets);
        }
        let kept = keysets.iter().map(|keyset| {
            let records = keyset.versions().iter();
            let records = records.filter(|record| record.state != VersionState::Destroyed);
            Keyset::restore(
                keyset.name().as_str(),
                keyset.highest_version(),
                records.cloned().collect(),
            )
        });
        let kept = kept.collect::<Result<_, _>>()?;
        let aliases = keysets.aliases().map(|(a, b)| (a.to_owned(), b.to_owned())).collect();
        Ok(KeysetMap::restore(keysets.revision(), keysets.change(), kept, aliases)?)
    }

    fn change(
        &self,
        changes: &[Change<'_>],
        options: &ChangeOptions,
        rng: &mut KeyringRng<'_>,
    ) -> Result<ChangeOutcome, Error> {
        let changes: Vec<_> = changes.iter().map(|change| self.meddle(*change)).collect();
        match (self.1, changes.as_slice()) {
            (Meddling::OneByOne, [first, rest @ ..]) if !rest.is_empty() => {
                let mut changed = self.0.change(&[*first], options, rng)?;
                for change in rest {
                    let next = self.0.change(&[*change], &unconditional(options), rng)?;
                    changed.change = next.change;
                    changed.change = next.change;
                    changed.transitions.extend(next.transitions);
                }
                Ok(changed)
            }
            (Meddling::NoCompareAndSwap, changes) => {
                self.0.change(changes, &unconditional(options), rng)
            }
            (Meddling::CheckThenSwap, changes) => {
                let found = self.0.keysets()?.change();
                match options.unchanged_since() {
                    Some(expected) if expected < found => {
                        return Err(Error::Lifecycle(LifecycleError::Conflict { expected, found }));
                    }
                    // Another comes in between.
                    Some(_) => self.2.wait(),
                    None => {}
                }
                self.0.change(changes, &unconditional(options), rng)
            }
            (Meddling::AliasOverKey, [Change::SetAlias { alias, .. }])
                if self.0.keysets()?.keyset(alias).is_some() =>
            {
                self.0.change(&[], options, rng)
            }
            (Meddling::WrongChange, changes) => {
                let mut changed = self.0.change(changes, options, rng)?;
                changed.change -= 1;
                changed.change -= 1;
                Ok(changed)
            }
            (Meddling::TellsNoAddition, changes) => {
                let mut changed = self.0.change(changes, options, rng)?;
                changed.transitions.clear();
                Ok(changed)
            }
            (Meddling::SilentNoRandomness, changes) => match self.0.change(changes, options, rng) {
                Err(Error::Randomness(_)) => self.0.change(&[], options, rng),
                result => result,
            },
            (_, changes) => self.0.change(changes, options, rng),
        }
    }
}

/// The same options, whatever was changed meanwhile.
fn unconditional(options: &ChangeOptions) -> ChangeOptions {
    let at = ChangeOptions::at(options.now());
    options.evidence().map_or(at, |evidence| at.on_evidence(*evidence))
}
