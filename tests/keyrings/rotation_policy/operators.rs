//! The next run of a policy does not undo an operator's act.

use super::*;
use envelock::keyset::LifecycleError;
use envelock::{
    Aad, Envelope, MasterKey,
    keyset::{Guard, Material},
};

fn run(policy: &RotationPolicy, keyring: &MemoryKeyring, now: Timestamp) -> Plan {
    let plan = plan(policy, keyring, now);
    apply(&plan, keyring, now);
    plan
}

fn state(keyring: &MemoryKeyring, number: u32) -> VersionState {
    keyring.keyset().unwrap().version(version(number)).unwrap().state
}

#[test]
fn age_counts_from_the_last_promotion() {
    let keyring = keyring();
    let policy = RotationPolicy::every_90_days();
    change(&keyring, Change::Rotate { key: "orders" }, at_day(89));
    // The new version is bad; the first one is older than the policy allows within the day.
    operate(&keyring, 1, Operation::Promote, at_day(89));
    assert!(plan(&policy, &keyring, at_day(90)).is_empty());
    assert!(plan(&policy, &keyring, before(at_day(179))).is_empty());
    let due = plan(&policy, &keyring, at_day(179));
    assert_eq!(actions(&due), [Action::Rotate]);
    assert_eq!(
        (due.due()[0].reason, due.due()[0].at),
        (Reason::Age { limit: days(90) }, at_day(179))
    );
    // Promoting what is the primary changes nothing.
    operate(&keyring, 1, Operation::Promote, at_day(170));
    assert_eq!(actions(&plan(&policy, &keyring, at_day(179))), [Action::Rotate]);
}

#[test]
fn rollback_under_clock_that_was_ahead_is_not_undone() {
    let keyring = keyring();
    let policy = RotationPolicy::every_90_days();
    change(&keyring, Change::Rotate { key: "orders" }, START);
    operate(&keyring, 1, Operation::Promote, at_day(3));
    let left = plan(&policy, &keyring, at_day(1));
    assert!(left.is_empty(), "{left}");
    assert!(matches!(left.warnings(), [Warning::FutureDate { .. }, ..]), "{left}");
    assert_eq!(actions(&plan(&policy, &keyring, at_day(93))), [Action::Rotate]);
    // Where obeying would delay by more than one age, it is due.
    operate(&keyring, 2, Operation::Promote, at_day(95));
    operate(&keyring, 1, Operation::Promote, at_day(95 + 91));
    assert_eq!(actions(&plan(&policy, &keyring, at_day(94))), [Action::Rotate]);
}

#[test]
fn rollback_is_not_undone_by_a_limit_of_use() {
    let keyring = keyring();
    let encrypt = || drop(Envelope::new(&keyring).encrypt(&[0; 50], Aad::none()).unwrap());
    encrypt();
    encrypt();
    for policy in [
        RotationPolicy::every_90_days().rotate_after_wraps(2),
        RotationPolicy::every_90_days().rotate_after_bytes(100),
    ] {
        assert_eq!(actions(&plan(&policy, &keyring, START)), [Action::Rotate]);
        let other_keyring = self::keyring();
        let envelope = Envelope::new(&other_keyring);
        (0..2).for_each(|_| drop(envelope.encrypt(&[0; 50], Aad::none()).unwrap()));
        run(&policy, &other_keyring, START);
        operate(&other_keyring, 1, Operation::Promote, at_day(1));
        let left = run(&policy, &other_keyring, at_day(2));
        assert!(left.is_empty());
        assert!(matches!(left.warnings(), [Warning::RolledBack { .. }]), "{left}");
        assert_eq!(left.next().unwrap().at, at_day(91));
        assert_eq!(actions(&plan(&policy, &other_keyring, at_day(91))), [Action::Rotate]);
    }
}

#[test]
fn reenabled_version_is_not_disabled_by_policy() {
    let policy = RotationPolicy::on_compromise()
        .disable_after(days(1))
        .disable_compromised_after(days(1))
        .schedule_destruction_after(days(1));
    for marked in [false, true] {
        let keyring = keyring();
        change(&keyring, Change::Rotate { key: "orders" }, START);
        if marked {
            operate(&keyring, 1, Operation::MarkCompromised, START);
        }
        run(&policy, &keyring, at_day(1));
        assert_eq!(state(&keyring, 1), VersionState::Disabled);
        operate(&keyring, 1, Operation::Enable, at_day(2));
        let enabled = state(&keyring, 1);
        assert!(matches!(enabled, VersionState::Enabled | VersionState::Compromised));
        for day in 2..100 {
            assert!(run(&policy, &keyring, at_day(day)).is_empty());
        }
        assert_eq!(state(&keyring, 1), enabled);
        // Released, or disabled by an operator, it is the policy's again.
        let release = Change::Release { key: "orders", version: Some(version(1)) };
        change(&keyring, release, at_day(100));
        assert_eq!(actions(&run(&policy, &keyring, at_day(100))), [Action::Disable(version(1))]);
        operate(&keyring, 1, Operation::Enable, at_day(101));
        operate(&keyring, 1, Operation::Disable, at_day(102));
        let schedule = Action::ScheduleDestruction(version(1), days(30));
        assert_eq!(actions(&run(&policy, &keyring, at_day(103))), [schedule]);
    }
}

#[test]
fn cancelled_destruction_is_not_scheduled_again() {
    let keyring = keyring();
    change(&keyring, Change::Rotate { key: "orders" }, START);
    let policy = RotationPolicy::on_compromise()
        .disable_after(days(1))
        .schedule_destruction_after(days(1))
        .carry_out_scheduled();
    run(&policy, &keyring, at_day(1));
    run(&policy, &keyring, at_day(2));
    assert_eq!(state(&keyring, 1), VersionState::DestroyScheduled);
    operate(&keyring, 1, Operation::CancelDestruction, at_day(3));
    assert_eq!(keyring.versions()[0].kept, Some(at_day(3)));
    for day in 3..100 {
        assert!(run(&policy, &keyring, at_day(day)).is_empty());
    }
    // The operator schedules it, and the policy goes on.
    let schedule = Operation::ScheduleDestruction { after: days(7) };
    operate(&keyring, 1, schedule, at_day(100));
    assert_eq!(keyring.versions()[0].kept, None);
    assert_eq!(actions(&run(&policy, &keyring, at_day(107))), [Action::Destroy(version(1))]);
}

#[test]
fn hold_keeps_a_policy_off_a_version_or_a_key() {
    let policy = RotationPolicy::every_90_days()
        .disable_after(days(1))
        .schedule_destruction_after(days(1))
        .carry_out_scheduled();
    for on_hold in [None, Some(version(1))] {
        let keyring = keyring();
        change(&keyring, Change::Rotate { key: "orders" }, START);
        let hold = Change::Hold { key: "orders", version: on_hold, reason: "case 7" };
        change(&keyring, hold, START);
        let left = run(&policy, &keyring, at_day(30));
        assert!(left.is_empty());
        let [Warning::OnHold { due }] = left.warnings() else { panic!("{left}") };
        assert_eq!(due.action, Action::Disable(version(1)));
        // The hold of a version does not keep the key from being rotated.
        let rotated = run(&policy, &keyring, at_day(90));
        assert_eq!(rotated.is_empty(), on_hold.is_none(), "{rotated}");
        let release = Change::Release { key: "orders", version: on_hold };
        change(&keyring, release, at_day(91));
        assert!(!plan(&policy, &keyring, at_day(91)).is_empty());
    }
    // That of the primary does.
    let keyring = keyring();
    change(&keyring, Change::Hold { key: "orders", version: Some(version(1)), reason: "" }, START);
    assert!(run(&policy, &keyring, at_day(400)).is_empty());
    let text = plan(&policy, &keyring, at_day(400)).to_string();
    assert_eq!(
        text,
        "key orders: nothing is due; warning: rotate is due since 2027-04-15T08:00:00Z and left: \
         it is on hold"
    );
}

#[test]
fn pending_version_on_hold_is_not_promoted() {
    let keyring = keyring();
    let policy = RotationPolicy::every_90_days().distribute_for(days(7));
    let add = Change::AddVersion { key: "orders", version: None, material: Material::Fresh };
    change(&keyring, add, START);
    change(&keyring, Change::Hold { key: "orders", version: Some(version(2)), reason: "" }, START);
    run(&policy, &keyring, at_day(90));
    run(&policy, &keyring, at_day(97));
    assert_eq!(keyring.primary_version(), Some(version(3)));
    assert_eq!(state(&keyring, 2), VersionState::Pending);
}

#[test]
fn version_on_hold_is_not_destroyed() {
    for on_hold in [None, Some(version(1))] {
        let keyring = keyring();
        change(&keyring, Change::Rotate { key: "orders" }, START);
        change(&keyring, Change::Hold { key: "orders", version: on_hold, reason: "case 7" }, START);
        let hold = |keyring: &MemoryKeyring| {
            let keyset = keyring.keyset().unwrap();
            let hold = keyset.hold().or(keyset.versions()[0].hold.as_ref()).cloned();
            hold.map(|hold| (hold.since(), hold.reason().to_owned()))
        };
        assert_eq!(hold(&keyring), Some((START, "case 7".into())));
        operate(&keyring, 1, Operation::Disable, START);
        let destroy = |operation, now| {
            let change = Change::Version { key: "orders", version: version(1), operation };
            let before = keysets(&keyring);
            let rng = &mut TestRng::seeded(1);
            match keyring.change_with_rng(&[change], &ChangeOptions::at(now), rng).unwrap_err() {
                Error::Lifecycle(LifecycleError::Guarded {
                    guard: Guard::OnHold { since, reason },
                    ..
                }) => {
                    assert_eq!((since, &*reason), (START, "case 7"));
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(keysets(&keyring), before);
        };
        destroy(Operation::DestroyImmediately, at_day(1));
        operate(&keyring, 1, Operation::ScheduleDestruction { after: days(7) }, START);
        destroy(Operation::Destroy, at_day(7));
        destroy(Operation::DestroyImmediately, at_day(7));
        change(&keyring, Change::Release { key: "orders", version: on_hold }, at_day(7));
        assert_eq!(hold(&keyring), None);
        operate(&keyring, 1, Operation::Destroy, at_day(7));
    }
}

#[test]
fn hold_reason_is_bounded_and_needs_a_version() {
    let keyring = keyring();
    let refused = |change: Change<'_>| {
        let rng = &mut TestRng::seeded(1);
        keyring.change_with_rng(&[change], &ChangeOptions::at(START), rng).unwrap_err()
    };
    let long = "x".repeat(257);
    for reason in [&*long, "two\nlines"] {
        let hold = Change::Hold { key: "orders", version: None, reason };
        for change in [hold, Change::WaiveEvidence { key: "orders", reason }] {
            assert!(matches!(refused(change), Error::Lifecycle(LifecycleError::Label { .. })));
        }
    }
    let hold = Change::Hold { key: "orders", version: Some(version(9)), reason: "" };
    assert!(matches!(refused(hold), Error::Lifecycle(LifecycleError::UnknownVersion { .. })));
    let release = Change::Release { key: "orders", version: Some(version(9)) };
    assert!(matches!(refused(release), Error::Lifecycle(LifecycleError::UnknownVersion { .. })));
    change(&keyring, Change::Hold { key: "orders", version: None, reason: &long[..256] }, START);
}

/// A policy does not revive a key that an operator erased.
#[test]
fn key_with_all_material_destroyed_gets_no_version() {
    let keyring = keyring();
    operate(&keyring, 1, Operation::MarkCompromised, START);
    operate(&keyring, 1, Operation::Disable, START);
    assert!(!plan(&RotationPolicy::every_90_days(), &keyring, START).is_empty());
    operate(&keyring, 1, Operation::DestroyImmediately, START);
    let plan = plan(&RotationPolicy::every_90_days(), &keyring, at_day(400));
    assert!(plan.is_empty() && plan.next().is_none(), "{plan}");
}

#[test]
fn key_without_free_numbers_does_not_stop_others() {
    let key = MasterKey::from_bytes(&[7; 32]);
    let keyring = MemoryKeyring::import_at("orders", version(u32::MAX), &key, START).unwrap();
    let other = Change::CreateKey { key: "other", version: version(1), material: Material::Fresh };
    change(&keyring, other, START);
    let policy = RotationPolicy::every_90_days();
    let plans = policy.plan_all(&keysets(&keyring), at_day(90));
    let warned: Vec<_> = plans.iter().flat_map(Plan::warnings).collect();
    assert!(matches!(warned[..], [Warning::NoVersionLeft { .. }]), "{plans}");
    let rng = &mut TestRng::seeded(1);
    assert!(matches!(plans.apply_at(&keyring, at_day(90), rng).unwrap(), PlanOutcome::Applied(_)));
    let other = keysets(&keyring).keyset("other").unwrap().primary();
    assert_eq!(other, Some(version(2)));
}

#[test]
fn erased_key_is_not_revived_and_hold_not_erased() {
    let keyring = keyring();
    change(&keyring, Change::Rotate { key: "orders" }, START);
    let erase = Change::EraseKey { key: "orders" };
    let refused = |options: ChangeOptions| {
        let before = keysets(&keyring);
        let rng = &mut TestRng::seeded(1);
        let error = keyring.change_with_rng(&[erase], &options, rng).unwrap_err();
        assert_eq!(keysets(&keyring), before);
        match error {
            Error::Lifecycle(LifecycleError::Guarded { guard, .. }) => guard,
            other => panic!("{other:?}"),
        }
    };
    for on_hold in [None, Some(version(1)), Some(version(2))] {
        let hold = Change::Hold { key: "orders", version: on_hold, reason: "case 7" };
        change(&keyring, hold, START);
        assert!(
            matches!(refused(ChangeOptions::at(at_day(1))), Guard::OnHold { .. }),
            "{on_hold:?}"
        );
        change(&keyring, Change::Release { key: "orders", version: on_hold }, START);
    }
    change(&keyring, Change::RequireEvidence { key: "orders" }, START);
    assert_eq!(refused(ChangeOptions::at(at_day(1))), Guard::EvidenceRequired);
    let rng = &mut TestRng::seeded(1);
    let options = ChangeOptions::at(at_day(1)).on_evidence([0xe1; 32]);
    keyring.change_with_rng(&[erase], &options, rng).unwrap();
    let erased = keyring.keyset().unwrap();
    assert_eq!(erased.erased(), Some(at_day(1)));
    assert!(erased.versions().iter().all(|record| record.evidence.as_deref() == Some(&[0xe1; 32])));
    for policy in [
        RotationPolicy::every_90_days(),
        RotationPolicy::on_compromise(),
        RotationPolicy::on_compromise().distribute_for(days(1)),
    ] {
        for removed in [false, true] {
            if removed {
                let through = version(2);
                change(&keyring, Change::RemoveRecords { key: "orders", through }, at_day(2));
            }
            for day in [1, 100, 1_000] {
                let plan = plan(&policy, &keyring, at_day(day));
                assert!(plan.is_empty() && plan.next().is_none(), "{plan}");
                let plans = policy.plan_all(&keysets(&keyring), at_day(day));
                assert!(plans.is_empty());
            }
        }
    }
}
