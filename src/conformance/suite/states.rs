//! The state table through the trait: every state, every operation, every use.

use super::Rule;
use super::contract::{expect_no_rewrap, freshness};
use super::probe::{Expected, Probe};
use crate::conformance::{TestRng, TestSlot};
use crate::crypto::secret::MasterKey;
use crate::error::Error;
use crate::format::{KeyVersion, Suite};
use crate::keyring::{Freshness, KeyringError, Lifecycle, MemoryKeyring, Refusal};
use crate::keyset::{
    Change, ChangeOptions, ChangeOutcome, Keyset, KeysetMap, LifecycleError, MIN_DESTRUCTION_DELAY,
    Material, Operation, VersionState,
};
use crate::time::Timestamp;
use std::borrow::ToOwned;
use std::format;
use std::string::String;
use std::vec::Vec;

/// 2040-01-01, which is after the creation of the keyring by any clock.
pub(super) const NOW: Timestamp = Timestamp::from_unix_seconds(2_208_988_800);

const DUE: Timestamp = NOW.plus(MIN_DESTRUCTION_DELAY);

const SCHEDULE: Operation = Operation::ScheduleDestruction { after: MIN_DESTRUCTION_DELAY };

const OPERATIONS: [Operation; 8] = [
    Operation::Promote,
    Operation::Enable,
    Operation::Disable,
    Operation::MarkCompromised,
    SCHEDULE,
    Operation::CancelDestruction,
    Operation::Destroy,
    Operation::DestroyImmediately,
];

/// Makes changes. Randomness differs from call to call, and is the same in every run.
pub(super) fn change<K: Lifecycle + ?Sized>(
    keyring: &K,
    changes: &[Change<'_>],
    options: ChangeOptions,
) -> Result<ChangeOutcome, Error> {
    let revision = keyring.keysets().map(|keysets| keysets.revision())?;
    keyring.change(changes, &options, &mut TestRng::seeded(revision.wrapping_add(1_000)))
}

/// Returns the state that a refused change must not change.
pub(super) fn picture(keysets: &KeysetMap) -> (u64, Vec<Keyset>, Vec<(String, String)>) {
    let aliases = keysets.aliases().map(|(alias, key)| (alias.to_owned(), key.to_owned()));
    (keysets.change(), keysets.iter().cloned().collect(), aliases.collect())
}

pub(super) fn listed<K: Lifecycle + ?Sized>(keyring: &K) -> (KeysetMap, Keyset) {
    let listed = keyring.keysets().and_then(|keysets| {
        let keyset = keysets.resolve(keyring.key())?.clone();
        Ok((keysets, keyset))
    });
    listed.unwrap_or_else(|error| Rule::States.broken(format!("the key is not listed: {error:?}")))
}

/// A keyring with a version in a state, and a slot under that version.
pub(super) struct Subject<K> {
    pub(super) keyring: K,
    pub(super) name: String,
    /// The first primary.
    pub(super) first: KeyVersion,
    pub(super) version: KeyVersion,
    slot: Option<TestSlot>,
}

/// The seed of the slot's message.
const SEED: u64 = 4_000;

impl<K: Lifecycle> Subject<K> {
    /// Adds a pending version.
    pub(super) fn new(keyring: K) -> Self {
        let (_, keyset) = listed(&keyring);
        let name = keyset.name().as_str().to_owned();
        let none = || Rule::States.broken("a keyring of the factory has no primary");
        let first = keyset.primary().unwrap_or_else(none);
        let material = MasterKey::from_bytes(&[0xC0; 32]);
        let imported = add(&keyring, &name, Material::Imported(&material));
        let slot = imported.as_ref().ok().and_then(|version| {
            // Another keyring with the same material as its primary.
            let twin = MemoryKeyring::import_at(&name, *version, &material, NOW).ok()?;
            Probe::new(&twin, Suite::ALL[0], SEED).wrap().pop()
        });
        // Not every keyring takes key material.
        let added = imported.or_else(|_| add(&keyring, &name, Material::Fresh));
        let failed = |error| Rule::States.broken(format!("a version was not added: {error:?}"));
        let version = added.unwrap_or_else(failed);
        let same = slot.filter(|slot| {
            let (_, keyset) = listed(&keyring);
            let record = keyset.version(version);
            record.is_some_and(|record| {
                record.master_key_id == slot.master_key_id && record.algorithm == slot.algorithm
            })
        });
        Subject { keyring, name, first, version, slot: same }
    }

    fn probe(&self) -> Probe<'_, K> {
        Probe::new(&self.keyring, Suite::ALL[0], SEED)
    }

    pub(super) fn operate(
        &self,
        version: KeyVersion,
        operation: Operation,
        now: Timestamp,
    ) -> Result<ChangeOutcome, Error> {
        let change_ = Change::Version { key: &self.name, version, operation };
        change(&self.keyring, &[change_], ChangeOptions::at(now))
    }

    /// Applies an operation that the table allows.
    pub(super) fn must(&self, version: KeyVersion, operation: Operation) {
        if let Err(error) = self.operate(version, operation, NOW) {
            Rule::States.broken(format!("{operation}, which is allowed: {error:?}"));
        }
    }

    /// Takes the version from pending to `state`.
    fn reach(mut self, state: VersionState) -> Self {
        let rest: &[Operation] = match state {
            VersionState::Pending => return self,
            VersionState::Primary | VersionState::Enabled => &[],
            VersionState::Disabled => &[Operation::Disable],
            VersionState::Compromised => &[Operation::MarkCompromised],
            VersionState::DestroyScheduled => &[Operation::Disable, SCHEDULE],
            VersionState::Destroyed => &[Operation::Disable, Operation::DestroyImmediately],
        };
        self.must(self.version, Operation::Promote);
        let slots = self.probe().wrap();
        let own = |slot: &TestSlot| slot.name == self.name && slot.version == self.version;
        self.slot = slots.into_iter().find(own);
        let wrapped = self.slot.is_some();
        Rule::States.check(wrapped, "wrap pushes no slot under the promoted version");
        if state != VersionState::Primary {
            self.must(self.first, Operation::Promote);
        }
        rest.iter().for_each(|operation| self.must(self.version, *operation));
        self
    }

    fn state(&self) -> VersionState {
        let (_, keyset) = listed(&self.keyring);
        let record = keyset.version(self.version);
        let missing = || Rule::States.broken("the record of a version is missing");
        record.map_or_else(missing, |record| record.state)
    }

    /// Checks wrap, unwrap, rewrap and freshness by `state`.
    fn check_use(&self, state: VersionState, cell: &str) {
        let (_, keyset) = listed(&self.keyring);
        let primary = keyset.primary();
        let probe = self.probe();
        let (result, wrapped) = probe.message.wrap(&self.keyring, &mut TestRng::seeded(9));
        let under = wrapped.iter().find(|slot| slot.name == self.name).map(|slot| slot.version);
        let reported = match &result {
            Ok(()) => primary.is_some() && under == primary,
            Err(error) => primary.is_none() && matches!(error, KeyringError::NoPrimary),
        };
        Rule::States.check(
            reported,
            format!("{cell}: wrap {result:?} under {under:?}, the primary is {primary:?}"),
        );
        let wraps = under == Some(self.version);
        Rule::States.check(wraps == state.wraps(), format!("{cell}: a version {state} wraps"));
        let Some(slot) = &self.slot else { return };
        let strict = Freshness::Refused(Refusal::Compromised);
        let fresh = freshness(&self.keyring, slot);
        let (expected, freshness) = match (state, state.unwrap_refusal()) {
            (_, Some(refusal)) => (Expected::Refused(refusal), Freshness::Refused(refusal)),
            (VersionState::Primary, None) => (Expected::Opens, Freshness::Primary),
            (VersionState::Compromised, None) if fresh == strict => {
                (Expected::Refused(Refusal::Compromised), strict)
            }
            (VersionState::Compromised, None) => (Expected::Opens, Freshness::Compromised),
            (_, None) => (Expected::Opens, Freshness::Stale),
        };
        Rule::States.check(fresh == freshness, format!("{cell}: {fresh:?}, not {freshness:?}"));
        probe.expect(slot, expected, cell);
        if expected != Expected::Opens {
            expect_no_rewrap(&probe, slot, expected);
            return;
        }
        let (result, new) = probe.rewrap(slot);
        let under = new.first().map(|slot| slot.version);
        let reported = match &result {
            Ok(()) => primary.is_some() && under == primary && new.len() == 1,
            Err(error) => primary.is_none() && matches!(error, KeyringError::NoPrimary),
        };
        Rule::Rewrap.check(reported, format!("{cell}: rewrap {result:?} under {under:?}"));
    }
}

fn add<K: Lifecycle>(keyring: &K, name: &str, material: Material<'_>) -> Result<KeyVersion, Error> {
    let changed = change(
        keyring,
        &[Change::AddVersion { key: name, version: None, material }],
        ChangeOptions::at(NOW),
    )?;
    let none = || Rule::States.broken("an added version is not reported");
    Ok(changed.added().unwrap_or_else(none))
}

/// Tests every cell of the table on a keyring of its own.
pub(super) fn test<K: Lifecycle>(factory: &impl Fn() -> K) {
    for state in VersionState::ALL.iter().copied() {
        for operation in OPERATIONS {
            test_cell(&Subject::new(factory()).reach(state), state, operation);
        }
    }
    test_compromised(factory);
}

fn test_cell<K: Lifecycle>(subject: &Subject<K>, state: VersionState, operation: Operation) {
    let cell = format!("version {}: {state}, then {operation}", subject.version);
    let before = picture(&listed(&subject.keyring).0);
    let reached = subject.state();
    Rule::States.check(reached == state, format!("{cell}: it is {reached}"));
    subject.check_use(state, &format!("a version that is {state}"));
    let before_operation = picture(&listed(&subject.keyring).0);
    Rule::States.check(before.0 == before_operation.0, "a use of a key counts as a change");
    let after = match (subject.operate(subject.version, operation, DUE), state.after(operation)) {
        (Ok(changed), Some(after)) => {
            let change = listed(&subject.keyring).0.change();
            let grows = change > before.0 && change == changed.change;
            Rule::States
                .check(grows, format!("{cell}: the change number does not count the change"));
            after
        }
        (
            Err(Error::Lifecycle(LifecycleError::VersionState {
                key,
                version,
                state: reported,
                operation: asked,
            })),
            None,
        ) => {
            let exact = key == subject.name && version == subject.version;
            let exact = exact && reported == state && asked == operation;
            Rule::States.check(exact, format!("{cell}: the error reports another version"));
            let now = picture(&listed(&subject.keyring).0);
            let kept = now == before_operation;
            Rule::AllOrNothing.check(kept, format!("{cell}: refused, and something changed"));
            state
        }
        (result, after) => Rule::States.broken(format!("{cell}: {result:?}, table: {after:?}")),
    };
    let reported = subject.state();
    Rule::States.check(reported == after, format!("{cell}: it is {reported}, table: {after}"));
    subject.check_use(after, &cell);
}

/// A compromised version stays compromised when it is disabled and enabled. Without a primary nothing wraps.
fn test_compromised<K: Lifecycle>(factory: &impl Fn() -> K) {
    let subject = Subject::new(factory()).reach(VersionState::Compromised);
    subject.must(subject.version, Operation::Disable);
    let again = subject.operate(subject.version, Operation::MarkCompromised, NOW);
    let reported = matches!(again, Err(Error::Lifecycle(LifecycleError::VersionState { .. })));
    Rule::States.check(reported, format!("a compromised version marked again: {again:?}"));
    subject.must(subject.version, Operation::Enable);
    let state = subject.state();
    let kept = state == VersionState::Compromised;
    Rule::States.check(kept, format!("a compromised version, disabled and enabled, is {state}"));
    subject.check_use(state, "a compromised version, disabled and enabled");

    let subject = Subject::new(factory()).reach(VersionState::Primary);
    subject.must(subject.version, Operation::MarkCompromised);
    subject.check_use(VersionState::Compromised, "a primary that was marked compromised");
}
