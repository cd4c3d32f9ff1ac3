//! Changes: guards, dates, numbers, names, batches.

use super::Rule;
use super::probe::{Expected, Probe, contains};
use super::states::{NOW, Subject, change, listed, picture};
use crate::conformance::TestRng;
use crate::crypto::secret::MasterKey;
use crate::error::Error;
use crate::format::{KeyVersion, Suite};
use crate::keyring::{Keyring, KeyringError, Lifecycle, MemoryKeyring};
use crate::keyset::{
    Change, ChangeOptions, ChangeOutcome, Guard, LifecycleError, MAX_DESTRUCTION_DELAY,
    MIN_DESTRUCTION_DELAY, Material, Operation, VersionState,
};
use core::time::Duration;
use std::format;
use std::vec;
use std::vec::Vec;

const SECOND: Duration = Duration::from_secs(1);

pub(super) fn test<K: Lifecycle>(factory: &impl Fn() -> K) {
    test_unknown(&Subject::new(factory()));
    test_destruction(&Subject::new(factory()));
    test_guards(&Subject::new(factory()));
    test_batches(&Subject::new(factory()));
    test_compare_and_swap(&Subject::new(factory()));
    test_numbers(&Subject::new(factory()));
    test_material(&Subject::new(factory()));
    test_aliases(&Subject::new(factory()));
    test_other_keys(&Subject::new(factory()));
    test_randomness(&Subject::new(factory()));
}

/// Makes changes that must fail and leave everything as it was. Returns the error.
#[track_caller]
fn refused<K: Lifecycle>(
    rule: Rule,
    subject: &Subject<K>,
    changes: &[Change<'_>],
    options: ChangeOptions,
) -> Error {
    let before = picture(&listed(&subject.keyring).0);
    let result = change(&subject.keyring, changes, options);
    let after = picture(&listed(&subject.keyring).0);
    match result {
        Err(error) => {
            let kept = before == after;
            Rule::AllOrNothing
                .check(kept, format!("{changes:?}: {error:?}, and something changed"));
            error
        }
        Ok(_) => rule.broken(format!("not refused: {changes:?}")),
    }
}

#[track_caller]
fn made<K: Lifecycle>(rule: Rule, subject: &Subject<K>, changes: &[Change<'_>]) -> ChangeOutcome {
    let result = change(&subject.keyring, changes, ChangeOptions::at(NOW));
    result.unwrap_or_else(|error| rule.broken(format!("{changes:?}: {error:?}")))
}

fn test_unknown<K: Lifecycle>(subject: &Subject<K>) {
    let version = KeyVersion::new(u32::MAX).unwrap_or(KeyVersion::FIRST);
    let operation = Operation::Disable;
    let known = Change::Version { key: &subject.name, version, operation };
    let error = refused(Rule::States, subject, &[known], ChangeOptions::at(NOW));
    let reported = matches!(&error, Error::Lifecycle(LifecycleError::UnknownVersion { key, version: reported })
        if *key == subject.name && *reported == version);
    Rule::States.check(reported, format!("an unknown version: {error:?}"));
    let nobody = Change::Version { key: "conformance-nobody", version, operation };
    let error = refused(Rule::States, subject, &[nobody], ChangeOptions::at(NOW));
    let reported = matches!(&error, Error::Lifecycle(LifecycleError::UnknownKey { key }) if key == "conformance-nobody");
    Rule::States.check(reported, format!("an unknown key: {error:?}"));
}

/// A delay has 7 to 30 days, and a destruction is not a second early.
fn test_destruction<K: Lifecycle>(subject: &Subject<K>) {
    let version = subject.version;
    subject.must(version, Operation::Disable);
    let schedule = |after| Change::Version {
        key: &subject.name,
        version,
        operation: Operation::ScheduleDestruction { after },
    };
    for delay in [MIN_DESTRUCTION_DELAY - SECOND, MAX_DESTRUCTION_DELAY + SECOND] {
        let error = refused(Rule::States, subject, &[schedule(delay)], ChangeOptions::at(NOW));
        let reported = matches!(error, Error::Lifecycle(LifecycleError::DestructionDelay { delay: reported }) if reported == delay);
        Rule::States.check(reported, format!("a destruction in {delay:?}: {error:?}"));
    }
    made(Rule::States, subject, &[schedule(MAX_DESTRUCTION_DELAY)]);
    let destroy = Change::Version { key: &subject.name, version, operation: Operation::Destroy };
    let due = NOW.plus(MAX_DESTRUCTION_DELAY);
    let early = NOW.plus(MAX_DESTRUCTION_DELAY - SECOND);
    let error = refused(Rule::States, subject, &[destroy], ChangeOptions::at(early));
    let reported = matches!(error, Error::Lifecycle(LifecycleError::DestructionNotDue { due: reported, .. }) if reported == due);
    Rule::States.check(reported, format!("a destruction a second early: {error:?}"));
    if let Err(error) = change(&subject.keyring, &[destroy], ChangeOptions::at(due)) {
        Rule::States.broken(format!("a destruction that is due: {error:?}"));
    }
}

/// A version on hold, or one that requires evidence, is not destroyed.
fn test_guards<K: Lifecycle>(subject: &Subject<K>) {
    let (key, version) = (&*subject.name, subject.version);
    subject.must(version, Operation::Disable);
    let destroy = Change::Version { key, version, operation: Operation::DestroyImmediately };
    let guard = |options| match refused(Rule::States, subject, &[destroy], options) {
        Error::Lifecycle(LifecycleError::Guarded { guard, .. }) => guard,
        error => Rule::States.broken(format!("a guarded version: {error:?}")),
    };
    let hold = Change::Hold { key, version: Some(version), reason: "conformance" };
    made(Rule::States, subject, &[hold, Change::RequireEvidence { key }]);
    let refused = guard(ChangeOptions::at(NOW).on_evidence([1; 32]));
    Rule::States
        .check(matches!(refused, Guard::OnHold { .. }), format!("a version on hold: {refused:?}"));
    made(Rule::States, subject, &[Change::Release { key, version: Some(version) }]);
    let wanted = guard(ChangeOptions::at(NOW));
    Rule::States.check(wanted == Guard::EvidenceRequired, format!("without evidence: {wanted:?}"));
    let options = ChangeOptions::at(NOW).on_evidence([1; 32]);
    if let Err(error) = change(&subject.keyring, &[destroy], options) {
        Rule::States.broken(format!("a destruction on evidence: {error:?}"));
    }
}

/// Makes batches whose last change fails, then one that succeeds.
fn test_batches<K: Lifecycle>(subject: &Subject<K>) {
    let key = &*subject.name;
    let version = subject.version;
    let operate = |version, operation| Change::Version { key, version, operation };
    let add = Change::AddVersion { key, version: None, material: Material::Fresh };
    let alias = Change::SetAlias { alias: "conformance-alias", key };
    let label = Change::SetLabel { key, version, name: "conformance", value: Some("1") };
    let promote = operate(version, Operation::Promote);
    let failing = Change::Rotate { key: "conformance-nobody" };
    let probe = Probe::new(&subject.keyring, Suite::ALL[0], 1);
    let slots = probe.wrap();
    for batch in [
        vec![add, promote, failing],
        vec![alias, label, failing],
        vec![promote, operate(subject.first, Operation::Disable), failing],
        vec![Change::Rotate { key }, Change::Rotate { key }, operate(version, Operation::Enable)],
    ] {
        refused(Rule::AllOrNothing, subject, &batch, ChangeOptions::at(NOW));
        for slot in &slots {
            probe.expect(slot, Expected::Opens, "a slot, after changes that failed");
        }
    }
    // A later change sees the earlier ones, and all of them count as one.
    let disable = operate(subject.first, Operation::Disable);
    let destroy = operate(subject.first, Operation::DestroyImmediately);
    let changed = made(Rule::AllOrNothing, subject, &[promote, disable, destroy, label]);
    let (keysets, keyset) = listed(&subject.keyring);
    let states = [subject.first, version].map(|one| keyset.version(one).map(|one| one.state));
    let expected = [Some(VersionState::Destroyed), Some(VersionState::Primary)];
    let reported = states == expected && keysets.change() == changed.change;
    Rule::AllOrNothing.check(reported, format!("after four changes at once: {states:?}"));
    let labels = keyset.version(version).and_then(|record| record.labels.get("conformance"));
    Rule::AllOrNothing.check(labels == Some("1"), format!("a label is {labels:?}"));
}

fn test_compare_and_swap<K: Lifecycle>(subject: &Subject<K>) {
    let rotate = Change::Rotate { key: &subject.name };
    let seen = listed(&subject.keyring).0.change();
    let options = ChangeOptions::at(NOW).if_unchanged_since(seen);
    Probe::new(&subject.keyring, Suite::ALL[0], 1).wrap();
    let first = change(&subject.keyring, &[rotate], options);
    let found = match first {
        Ok(changed) => changed.change,
        Err(error) => Rule::CompareAndSwap.broken(format!("no change came in between: {error:?}")),
    };
    let error = refused(Rule::CompareAndSwap, subject, &[rotate], options);
    let reported = matches!(error, Error::Lifecycle(LifecycleError::Conflict { expected, found: reported })
        if expected == seen && reported == found);
    Rule::CompareAndSwap.check(reported, format!("after change {seen} came {found}: {error:?}"));
    made(Rule::CompareAndSwap, subject, &[rotate]);
}

fn test_numbers<K: Lifecycle>(subject: &Subject<K>) {
    let key = &*subject.name;
    let add = |version| Change::AddVersion { key, version, material: Material::Fresh };
    let operate = |operation| Change::Version { key, version: subject.version, operation };
    let remove = [operate(Operation::Disable), operate(Operation::DestroyImmediately)];
    made(Rule::States, subject, &remove);
    for version in [subject.first, subject.version] {
        let error = refused(Rule::Numbers, subject, &[add(Some(version))], ChangeOptions::at(NOW));
        let reported = matches!(error, Error::Lifecycle(LifecycleError::VersionNumber { last, .. }) if last == subject.version);
        Rule::Numbers.check(reported, format!("version {version} again: {error:?}"));
    }
    let added = made(Rule::Numbers, subject, &[add(None)]).added();
    let next = added.is_some_and(|added| added > subject.version);
    Rule::Numbers.check(next, format!("added after a destroyed version: {added:?}"));
    let (_, keyset) = listed(&subject.keyring);
    let kept = keyset.version(subject.version).map(|record| record.state);
    let kept = kept == Some(VersionState::Destroyed);
    Rule::Numbers.check(kept, "there is no record of a destroyed version");
}

/// Imports zero material, known material, and that of a destroyed version.
fn test_material<K: Lifecycle>(subject: &Subject<K>) {
    let key = &*subject.name;
    let bytes = core::array::from_fn(|index| 0x91_u8.wrapping_mul(index as u8 + 1));
    let (zero, material) = (MasterKey::from_bytes(&[0; 32]), MasterKey::from_bytes(&bytes));
    let add = |material| Change::AddVersion {
        key,
        version: None,
        material: Material::Imported(material),
    };
    let error = refused(Rule::Material, subject, &[add(&zero)], ChangeOptions::at(NOW));
    let Ok(changed) = change(&subject.keyring, &[add(&material)], ChangeOptions::at(NOW)) else {
        // The keyring imports no key material.
        return;
    };
    let reported = matches!(error, Error::Lifecycle(LifecycleError::KeyMaterial));
    Rule::Material.check(reported, format!("an all-zero key: {error:?}"));
    let Some(version) = changed.added() else {
        Rule::Material.broken("an import reports no version");
    };
    let operate = |operation| Change::Version { key, version, operation };
    for operation in [None, Some(Operation::Disable), Some(Operation::DestroyImmediately)] {
        if let Some(operation) = operation {
            made(Rule::States, subject, &[operate(operation)]);
        }
        let error = refused(Rule::Material, subject, &[add(&material)], ChangeOptions::at(NOW));
        let reported = matches!(error, Error::Lifecycle(LifecycleError::KeyMaterial));
        Rule::Material.check(reported, format!("material twice, after {operation:?}: {error:?}"));
        Rule::Secret.check(!contains(&error, &bytes), "an error contains bytes of a master key");
    }
}

fn test_aliases<K: Lifecycle>(subject: &Subject<K>) {
    let key = &*subject.name;
    let (version, material) = (KeyVersion::FIRST, Material::Fresh);
    let create = |key| Change::CreateKey { key, version, material };
    let alias = |alias, key| Change::SetAlias { alias, key };
    made(Rule::Names, subject, &[create("conformance-b"), alias("conformance-a", key)]);
    for taken in [key, "conformance-b", "conformance-a"] {
        let error = refused(Rule::Names, subject, &[create(taken)], ChangeOptions::at(NOW));
        let reported =
            matches!(&error, Error::Lifecycle(LifecycleError::NameTaken { name }) if name == taken);
        Rule::Names.check(reported, format!("a key of a name that is taken: {error:?}"));
    }
    for taken in [key, "conformance-b"] {
        let error =
            refused(Rule::Names, subject, &[alias(taken, "conformance-b")], ChangeOptions::at(NOW));
        let reported =
            matches!(&error, Error::Lifecycle(LifecycleError::NameTaken { name }) if name == taken);
        Rule::Names.check(reported, format!("an alias of a key's name: {error:?}"));
    }
    let resolves = |expected: &str| {
        let (keysets, _) = listed(&subject.keyring);
        let resolved =
            keysets.resolve("conformance-a").map(|keyset| keyset.name().as_str() == expected);
        Rule::Names.check(matches!(resolved, Ok(true)), format!("the alias is not {expected}"));
    };
    resolves(key);
    made(Rule::Names, subject, &[alias("conformance-a", "conformance-b")]);
    resolves("conformance-b");
    made(Rule::Names, subject, &[alias("conformance-a", key)]);
    resolves(key);
    made(Rule::Names, subject, &[Change::Rotate { key: "conformance-a" }]);
    let promoted = listed(&subject.keyring).1.primary() > Some(subject.version);
    Rule::Names.check(promoted, "a rotation by an alias does not reach the key");
    made(Rule::Names, subject, &[Change::RemoveAlias { alias: "conformance-a" }]);
    let error = refused(
        Rule::Names,
        subject,
        &[Change::Rotate { key: "conformance-a" }],
        ChangeOptions::at(NOW),
    );
    let reported = matches!(&error, Error::Lifecycle(LifecycleError::UnknownKey { .. }));
    Rule::Names.check(reported, format!("an alias that was removed: {error:?}"));
}

/// A rewrap keeps the key name of a slot under a key that the keyring does not wrap under.
fn test_other_keys<K: Lifecycle>(subject: &Subject<K>) {
    let material = MasterKey::from_bytes(&[0xC1; 32]);
    let (key, version) = ("conformance-other", KeyVersion::FIRST);
    let create = Change::CreateKey { key, version, material: Material::Imported(&material) };
    if change(&subject.keyring, &[create], ChangeOptions::at(NOW)).is_err() {
        return;
    }
    let Ok(twin) = MemoryKeyring::import_at(key, version, &material, NOW) else { return };
    let probe = Probe::new(&subject.keyring, Suite::ALL[0], 1);
    let slots = Probe::new(&twin, Suite::ALL[0], 1).wrap();
    made(Rule::Names, subject, &[Change::Rotate { key }]);
    for slot in slots {
        let mut data_key = crate::DataKey::empty();
        let result = probe.message.unwrap_over(&subject.keyring, &slot, &mut data_key);
        // The keyring opens slots under its other keys, or does not know them.
        if matches!(result, Err(KeyringError::NotMine)) {
            continue;
        }
        probe.expect(&slot, Expected::Opens, "a slot under another of its keys");
        let (result, new) = probe.rewrap(&slot);
        let same = |new: &crate::conformance::TestSlot| new.name == key && new.version > version;
        let reported = result.is_ok() && new.len() == 1 && new.iter().all(same);
        Rule::Rewrap.check(reported, format!("{result:?}: a slot of another key became {new:?}"));
    }
}

/// After a failure of the generator nothing has changed.
fn test_randomness<K: Lifecycle>(subject: &Subject<K>) {
    let key = &*subject.name;
    let add = Change::AddVersion { key, version: None, material: Material::Fresh };
    for changes in [vec![Change::Rotate { key }], vec![add], vec![add, Change::Rotate { key }]] {
        for requests in 0..changes.len() {
            let before = picture(&listed(&subject.keyring).0);
            let mut rng = TestRng::failing_after(requests);
            let result = subject.keyring.change(&changes, &ChangeOptions::at(NOW), &mut rng);
            if rng.asked() <= requests {
                continue;
            }
            let reported = matches!(result, Err(Error::Randomness(_)));
            Rule::Randomness.check(reported, format!("{changes:?}: {:?}", result.map(drop)));
            let kept = picture(&listed(&subject.keyring).0) == before;
            Rule::AllOrNothing.check(kept, "a generator failed, and something changed");
        }
    }
}

/// Returns the versions that `keyring` would wrap under now.
pub(super) fn primaries<K: Keyring>(keyring: &K) -> Vec<KeyVersion> {
    let primary = Probe::new(keyring, Suite::ALL[0], 1).primary();
    primary.into_iter().map(|(slot, _)| slot.version).collect()
}
