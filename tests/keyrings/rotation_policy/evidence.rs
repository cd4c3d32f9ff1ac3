//! Evidence required: a state of the key, so that no wrapper can be walked around.

use super::*;
use envelock::keyset::Guard;
use envelock::keyset::LifecycleError;

const JUDGEMENT: [u8; 32] = [0x5a; 32];

/// A key that wants evidence, of which version 1 is disabled.
fn guarded() -> MemoryKeyring {
    let keyring = keyring();
    change(&keyring, Change::Rotate { key: "orders" }, START);
    operate(&keyring, 1, Operation::Disable, START);
    change(&keyring, Change::RequireEvidence { key: "orders" }, START);
    keyring
}

fn destroy(operation: Operation) -> Change<'static> {
    Change::Version { key: "orders", version: version(1), operation }
}

#[test]
fn version_is_destroyed_on_evidence_only() {
    for operation in [Operation::Destroy, Operation::DestroyImmediately] {
        let keyring = guarded();
        assert!(keyring.keyset().unwrap().evidence_required());
        operate(&keyring, 1, Operation::ScheduleDestruction { after: days(7) }, START);
        let mut rng = TestRng::seeded(1);
        let before = keysets(&keyring);
        let options = ChangeOptions::at(at_day(7));
        match keyring.change_with_rng(&[destroy(operation)], &options, &mut rng).unwrap_err() {
            Error::Lifecycle(LifecycleError::Guarded {
                guard: Guard::EvidenceRequired,
                key,
                version: reported,
                operation: asked,
            }) => {
                assert_eq!((&*key, reported, asked), ("orders", version(1), operation));
            }
            other => panic!("{other:?}"),
        }
        // Not in the middle of others either.
        let batch = [Change::Rotate { key: "orders" }, destroy(operation)];
        assert!(keyring.change_with_rng(&batch, &options, &mut rng).is_err());
        assert_eq!(keysets(&keyring), before);
        // A policy says so, and goes on with the rest.
        let policy = RotationPolicy::every(days(7)).carry_out_scheduled();
        let plan = plan(&policy, &keyring, at_day(7));
        assert_eq!(actions(&plan), [Action::Rotate]);
        assert!(matches!(plan.warnings(), [Warning::EvidenceRequired { .. }]), "{plan}");

        let options = options.on_evidence(JUDGEMENT);
        keyring.change_with_rng(&[destroy(operation)], &options, &mut rng).unwrap();
        let record = keyring.versions().swap_remove(0);
        assert_eq!(
            (record.state, record.evidence.as_deref()),
            (VersionState::Destroyed, Some(&JUDGEMENT))
        );
    }
}

#[test]
fn unrequired_evidence_is_kept() {
    let keyring = keyring();
    change(&keyring, Change::Rotate { key: "orders" }, START);
    operate(&keyring, 1, Operation::Disable, START);
    let options = ChangeOptions::at(START).on_evidence(JUDGEMENT);
    let changes = [destroy(Operation::DestroyImmediately)];
    keyring.change_with_rng(&changes, &options, &mut TestRng::seeded(1)).unwrap();
    assert_eq!(keyring.versions()[0].evidence.as_deref(), Some(&JUDGEMENT));
    assert_eq!(keyring.versions()[1].evidence, None);
}

#[test]
fn waiver_is_recorded_and_stays_on_record() {
    let keyring = guarded();
    let waive = Change::WaiveEvidence { key: "orders", reason: "OPS-7" };
    // The override in one change: no other process finds the key without the requirement.
    let require = Change::RequireEvidence { key: "orders" };
    let batch = [waive, destroy(Operation::DestroyImmediately), require];
    let options = ChangeOptions::at(at_day(3));
    let changed = keyring.change_with_rng(&batch, &options, &mut TestRng::seeded(1)).unwrap();
    let evidence = |is_required| Transition::Evidence { key: "orders".into(), is_required };
    assert_eq!(changed.transitions[0], evidence(false));
    assert_eq!(changed.transitions[2], evidence(true));
    let keyset = keyring.keyset().unwrap();
    assert!(keyset.evidence_required());
    assert_eq!(keyset.changed(), changed.change);
    let waived = keyset.evidence_waived().unwrap();
    assert_eq!((waived.since(), waived.reason()), (at_day(3), "OPS-7"));
    assert_eq!(keyset.versions()[0].state, VersionState::Destroyed);
    assert_eq!(keyset.versions()[0].evidence, None);
}

#[test]
fn key_without_versions_keeps_hold_and_evidence() {
    let erase = Change::EraseKey { key: "orders" };
    let hold = Change::Hold { key: "orders", version: None, reason: "case 7" };
    for (guard, lift) in [
        (hold, Some(Change::Release { key: "orders", version: None })),
        (Change::RequireEvidence { key: "orders" }, None),
    ] {
        for removes in [false, true] {
            let keyring = keyring();
            operate(&keyring, 1, Operation::MarkCompromised, START);
            operate(&keyring, 1, Operation::Disable, START);
            operate(&keyring, 1, Operation::DestroyImmediately, START);
            if removes {
                let through = version(1);
                change(&keyring, Change::RemoveRecords { key: "orders", through }, START);
            }
            change(&keyring, guard, START);
            let mut rng = TestRng::seeded(1);
            let refused = keyring.change_with_rng(&[erase], &ChangeOptions::at(START), &mut rng);
            assert!(
                matches!(refused, Err(Error::Lifecycle(LifecycleError::Guarded { .. }))),
                "{refused:?}"
            );
            let options = ChangeOptions::at(START).on_evidence([1; 32]);
            assert_eq!(
                keyring.change_with_rng(&[erase], &options, &mut rng).is_ok(),
                lift.is_none()
            );
            if let Some(lift) = lift {
                change(&keyring, lift, START);
                change(&keyring, erase, START);
            }
        }
    }
}
