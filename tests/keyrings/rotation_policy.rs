//! Rotation policy: what is due at which second and for which reason, what comes next, and that of
//! many who apply one plan exactly one does it.

mod all_keys;
mod borders;
mod clocks;
mod evidence;
mod operators;
mod walk;

use envelock::conformance::TestRng;
use envelock::keyset::LifecycleError;
use envelock::{
    Error, KeyVersion, Lifecycle, MemoryKeyring, RotationPolicy, Timestamp,
    keyset::{Change, ChangeOptions, KeysetMap, Operation, Transition, VersionState},
    policy::{Action, Plan, PlanOutcome, PlannedAction, Reason, Warning},
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);
const START: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

fn days(days: u32) -> Duration {
    DAY * days
}

fn at_day(day: u32) -> Timestamp {
    START.plus(days(day))
}

fn version(number: u32) -> KeyVersion {
    KeyVersion::new(number).unwrap()
}

fn keyring() -> MemoryKeyring {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    MemoryKeyring::create_with_rng("orders", START, &mut rng).unwrap()
}

fn change(keyring: &MemoryKeyring, change: Change<'_>, now: Timestamp) {
    let mut rng = ChaCha20Rng::seed_from_u64(now.unix_seconds());
    keyring.change_with_rng(&[change], &ChangeOptions::at(now), &mut rng).unwrap();
}

fn operate(keyring: &MemoryKeyring, number: u32, operation: Operation, now: Timestamp) {
    change(keyring, Change::Version { key: "orders", version: version(number), operation }, now);
}

fn keysets(keyring: &MemoryKeyring) -> KeysetMap {
    keyring.keysets().unwrap()
}

fn plan(policy: &RotationPolicy, keyring: &MemoryKeyring, now: Timestamp) -> Plan {
    policy.plan(&keysets(keyring), "orders", now).unwrap()
}

fn actions(plan: &Plan) -> Vec<Action> {
    plan.due().iter().map(|due| due.action).collect()
}

fn before(time: Timestamp) -> Timestamp {
    Timestamp::from_unix_seconds(time.unix_seconds() - 1)
}

#[test]
fn preset_rotates_at_its_second_and_not_one_earlier() {
    let presets = [
        (RotationPolicy::every_90_days(), 90),
        (RotationPolicy::pci_dss_yearly(), 365),
        (RotationPolicy::nist_sp_800_57(), 730),
    ];
    for (policy, limit) in presets {
        let keyring = keyring();
        let early = plan(&policy, &keyring, before(at_day(limit)));
        assert!(early.is_empty());
        let expected = Reason::NeverRotated { limit: days(limit) };
        let next = early.next().unwrap();
        assert_eq!((next.action, next.reason, next.at), (Action::Rotate, expected, at_day(limit)));

        let due = plan(&policy, &keyring, at_day(limit));
        assert_eq!(actions(&due), [Action::Rotate]);
        assert_eq!((due.due()[0].reason, due.due()[0].at), (expected, at_day(limit)));

        change(&keyring, Change::Rotate { key: "orders" }, at_day(limit));
        let next = plan(&policy, &keyring, at_day(2 * limit));
        assert_eq!(next.due()[0].reason, Reason::Age { limit: days(limit) });
    }
}

#[test]
fn wraps_and_bytes_rotate_at_their_limit() {
    let keyring = keyring();
    let envelope = envelock::Envelope::new(&keyring);
    let policy = RotationPolicy::on_compromise().rotate_after_wraps(3).rotate_after_bytes(100);
    for wraps in 0..3_u64 {
        assert!(plan(&policy, &keyring, START).is_empty());
        assert_eq!(keyring.versions()[0].usage.wraps, wraps);
        envelope.encrypt(b"ten bytes!", envelock::Aad::none()).unwrap();
    }
    let due = plan(&policy, &keyring, START);
    assert_eq!(due.due()[0].reason, Reason::Wraps { wraps: 3, is_reserved: false, limit: 3 });

    let policy = RotationPolicy::on_compromise().rotate_after_bytes(100);
    assert!(plan(&policy, &keyring, START).is_empty());
    envelope.encrypt(&[0; 70], envelock::Aad::none()).unwrap();
    let due = plan(&policy, &keyring, START);
    assert_eq!(due.due()[0].reason, Reason::Bytes { bytes: 100, limit: 100 });
}

#[test]
fn compromised_primary_is_replaced_at_once() {
    let keyring = keyring();
    let policy = RotationPolicy::on_compromise().disable_compromised_after(days(3));
    assert!(plan(&policy, &keyring, at_day(9_000)).next().is_none());
    operate(&keyring, 1, Operation::MarkCompromised, at_day(5));
    let due = plan(&policy, &keyring, at_day(6));
    let compromised = Reason::Compromised { version: version(1) };
    assert_eq!(due.due().len(), 1);
    assert_eq!(due.due()[0].action, Action::Rotate);
    assert_eq!((due.due()[0].reason, due.due()[0].at), (compromised, at_day(5)));
    assert_eq!(due.next().unwrap().action, Action::Disable(version(1)));
    assert_eq!(due.next().unwrap().at, at_day(8));

    // A version that every process has is better than one that none has.
    let add = Change::AddVersion {
        key: "orders",
        version: None,
        material: envelock::keyset::Material::Fresh,
    };
    change(&keyring, add, at_day(6));
    assert_eq!(actions(&plan(&policy, &keyring, at_day(6))), [Action::Promote(version(2))]);
}

#[test]
fn two_phases_distribute_before_they_promote() {
    let keyring = keyring();
    let policy = RotationPolicy::every_90_days().distribute_for(days(7));
    assert!(plan(&policy, &keyring, before(at_day(83))).is_empty());
    let first = plan(&policy, &keyring, at_day(83));
    assert_eq!(actions(&first), [Action::AddVersion]);
    assert_eq!(first.due()[0].reason, Reason::Distribution);
    apply(&first, &keyring, at_day(84));
    assert_eq!(keyring.primary_version(), Some(version(1)));

    // Added a day late, promoted a day late.
    assert!(plan(&policy, &keyring, before(at_day(91))).is_empty());
    let second = plan(&policy, &keyring, at_day(91));
    assert_eq!(actions(&second), [Action::Promote(version(2))]);
    apply(&second, &keyring, at_day(91));
    assert_eq!(keyring.primary_version(), Some(version(2)));
}

fn apply(plan: &Plan, keyring: &MemoryKeyring, now: Timestamp) -> PlanOutcome {
    let mut rng = TestRng::seeded(now.unix_seconds());
    plan.apply_at(keyring, now, &mut rng).unwrap()
}

#[test]
fn former_version_ends_on_its_dates() {
    let keyring = keyring();
    let policy = RotationPolicy::every_90_days()
        .disable_after(days(30))
        .schedule_destruction_after(days(10))
        .destruction_delay(days(14))
        .carry_out_scheduled();
    let steps = [
        (90, Action::Rotate),
        (120, Action::Disable(version(1))),
        (130, Action::ScheduleDestruction(version(1), days(14))),
        (144, Action::Destroy(version(1))),
    ];
    let mut now = START;
    for (day, action) in steps {
        let next = *plan(&policy, &keyring, now).next().unwrap();
        assert_eq!((next.action, next.at), (action, at_day(day)));
        now = at_day(day);
        assert!(plan(&policy, &keyring, before(now)).is_empty());
        let due = plan(&policy, &keyring, now);
        assert_eq!(actions(&due), [action]);
        assert!(matches!(apply(&due, &keyring, now), PlanOutcome::Applied(_)));
    }
    assert_eq!(keyring.versions()[0].state, VersionState::Destroyed);
}

#[test]
fn scheduled_destruction_runs_within_seven_days() {
    let keyring = keyring();
    change(&keyring, Change::Rotate { key: "orders" }, START);
    operate(&keyring, 1, Operation::Disable, START);
    operate(&keyring, 1, Operation::ScheduleDestruction { after: days(7) }, START);
    // `PlannedAction` is made by plans alone.
    let reported = RotationPolicy::on_compromise().carry_out_scheduled();
    let due = plan(&reported, &keyring, at_day(7)).due()[0];
    let expected = (Action::Destroy(version(1)), Reason::DestructionDue, at_day(7));
    assert_eq!((due.action, due.reason, due.at), expected);
    let presets = [
        RotationPolicy::on_compromise(),
        RotationPolicy::every(days(4_000)),
        RotationPolicy::pci_dss_yearly(),
        RotationPolicy::nist_sp_800_57(),
        RotationPolicy::every_90_days(),
    ];
    for preset in presets {
        let left = plan(&preset, &keyring, at_day(7));
        assert!(left.is_empty());
        assert_eq!(left.warnings(), [Warning::Unconfirmed { due }]);
        assert_eq!(apply(&left, &keyring, at_day(7)), PlanOutcome::NothingDue);
        let before_due = plan(&preset, &keyring, before(at_day(7)));
        assert!(before_due.warnings().is_empty());
        assert!(before_due.next().is_none_or(|next| next.action != Action::Destroy(version(1))));
    }
    let policy = RotationPolicy::on_compromise().carry_out_scheduled();
    let early = plan(&policy, &keyring, before(at_day(7)));
    assert!(early.is_empty() && early.next() == Some(&due));
    for now in [at_day(7), at_day(14)] {
        assert_eq!(plan(&policy, &keyring, now).due(), [due]);
    }
    let late = plan(&policy, &keyring, at_day(14).plus(Duration::from_secs(1)));
    assert!(late.is_empty());
    assert_eq!(late.warnings(), [Warning::Unconfirmed { due }]);
    let kept = plan(&policy.keep_scheduled(), &keyring, at_day(7));
    assert!(kept.is_empty() && kept.next().is_none());
}

#[test]
fn destruction_delay_out_of_bounds_is_clamped() {
    let scheduled = |delay| {
        let keyring = keyring();
        change(&keyring, Change::Rotate { key: "orders" }, START);
        operate(&keyring, 1, Operation::Disable, START);
        let policy = RotationPolicy::on_compromise().schedule_destruction_after(DAY);
        actions(&plan(&policy.destruction_delay(delay), &keyring, at_day(1)))[0]
    };
    for (asked, given) in [(0, 7), (7, 7), (8, 8), (30, 30), (31, 30), (5_000, 30)] {
        let expected = Action::ScheduleDestruction(version(1), days(given));
        assert_eq!(scheduled(days(asked)), expected);
    }
}

#[test]
fn concurrent_plans_apply_once() {
    const PROCESSES: usize = 16;
    let keyring = keyring();
    let policy = RotationPolicy::every_90_days();
    for round in 1..=50_u32 {
        let now = at_day(90 * round);
        let plan = plan(&policy, &keyring, now);
        let barrier = Barrier::new(PROCESSES);
        let outcomes: Vec<PlanOutcome> = thread::scope(|scope| {
            let run = || {
                barrier.wait();
                apply(&plan, &keyring, now)
            };
            let threads: Vec<_> = (0..PROCESSES).map(|_| scope.spawn(run)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let done =
            outcomes.iter().filter(|outcome| matches!(outcome, PlanOutcome::Applied(_))).count();
        assert_eq!(done, 1);
        assert_eq!(keyring.versions().len(), round as usize + 1);
        for outcome in &outcomes {
            match outcome {
                PlanOutcome::Applied(changed) => assert!(matches!(
                    changed.transitions[0],
                    Transition::Added { ref key, .. } if key == "orders"
                )),
                PlanOutcome::Superseded { change } => {
                    assert_eq!(*change, keysets(&keyring).change());
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(policy.plan(&keysets(&keyring), "orders", now).unwrap().is_empty());
    }
}

#[test]
fn plan_gives_action_and_reason() {
    let keyring = keyring();
    let policy = RotationPolicy::every_90_days().disable_after(days(30));
    change(&keyring, Change::Rotate { key: "orders" }, at_day(0));
    let text = plan(&policy, &keyring, at_day(90)).to_string();
    assert_eq!(
        text,
        "key orders: rotate, since 2027-04-15T08:00:00Z: the primary is 90 days old; disable \
         version 1, since 2027-02-14T08:00:00Z: the grace period of 30 days is over"
    );
    let text = plan(&policy, &keyring, at_day(1)).to_string();
    assert_eq!(
        text,
        "key orders: nothing is due; next: disable version 1, at 2027-02-14T08:00:00Z: the grace \
         period of 30 days is over"
    );
}

#[test]
fn alias_is_planned_for_and_unknown_key_is_error() {
    let keyring = keyring();
    change(&keyring, Change::SetAlias { alias: "current", key: "orders" }, START);
    let policy = RotationPolicy::every_90_days();
    let due = policy.plan(&keysets(&keyring), "current", at_day(90)).unwrap();
    assert_eq!(due.key(), "orders");
    let unknown = policy.plan(&keysets(&keyring), "invoices", START).unwrap_err();
    assert!(
        matches!(unknown, Error::Lifecycle(LifecycleError::UnknownKey { ref key }) if key == "invoices"),
        "{unknown}"
    );
}

/// The order in which things are due never depends on how often one asks.
#[test]
fn asking_every_day_and_applying_ends_where_dates_say() {
    let keyring = keyring();
    let policy = RotationPolicy::every_90_days().disable_after(days(100));
    let mut rotations: Vec<PlannedAction> = Vec::new();
    for day in 0..1_000 {
        let plan = plan(&policy, &keyring, at_day(day));
        rotations.extend(plan.due().iter().filter(|due| due.action == Action::Rotate));
        apply(&plan, &keyring, at_day(day));
    }
    assert_eq!(rotations.len(), 11);
    let states: Vec<_> = keyring.versions().iter().map(|record| record.state).collect();
    let disabled = states.iter().filter(|state| **state == VersionState::Disabled).count();
    let enabled = states.iter().filter(|state| **state == VersionState::Enabled).count();
    // Of the former ones version 11 is enabled since day 990, version 10 since day 900.
    assert_eq!((disabled, enabled), (9, 2));
}
