//! Each comparison of the planner and of the guards at its border.

use super::*;
use envelock::keyset::{Guard, Keyset, LifecycleError, MAX_DESTRUCTION_DELAY, Material};

const SECOND: Duration = Duration::from_secs(1);
const ADD: Change<'static> =
    Change::AddVersion { key: "orders", version: None, material: Material::Fresh };
const ROTATE: Change<'static> = Change::Rotate { key: "orders" };

fn retired(policy: &RotationPolicy, keyring: &MemoryKeyring, now: Timestamp) -> Vec<Action> {
    actions(&plan(policy, keyring, now))
}

#[test]
fn stopped_key_is_rotated_at_once() {
    let keyring = keyring();
    let policy = RotationPolicy::every_90_days().distribute_for(days(7));
    operate(&keyring, 1, Operation::MarkCompromised, START);
    assert_eq!(retired(&policy, &keyring, START), [Action::Rotate]);
}

#[test]
fn version_added_on_promotion_day_is_for_its_age() {
    let keyring = keyring();
    let policy = RotationPolicy::every_90_days().distribute_for(days(7));
    let reason = |now| plan(&policy, &keyring, now).due()[0].reason;
    assert_eq!(reason(before(at_day(90))), Reason::Distribution);
    assert_eq!(reason(at_day(90)), Reason::NeverRotated { limit: days(90) });
    assert_eq!(plan(&policy, &keyring, at_day(90)).due()[0].at, at_day(90));
}

#[test]
fn plan_has_the_change_number_of_its_keysets() {
    let keyring = keyring();
    for day in 0..3 {
        change(&keyring, ROTATE, at_day(day));
        let plan = plan(&RotationPolicy::on_compromise(), &keyring, START);
        assert_eq!(plan.change(), keysets(&keyring).change());
    }
    assert!(keysets(&keyring).change() > 3);
}

#[test]
fn clock_before_2026_is_believed_by_key_of_that_time() {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let old = Timestamp::UNIX_EPOCH.plus(days(365));
    let keyring = MemoryKeyring::create_with_rng("orders", old, &mut rng).unwrap();
    let policy = RotationPolicy::every_90_days();
    assert_eq!(retired(&policy, &keyring, old.plus(days(90))), [Action::Rotate]);
    // A day behind it is believed, and a second more it is not.
    let day_before = Timestamp::from_unix_seconds(old.unix_seconds() - 86_400);
    for (clock, is_believed) in [(old, true), (day_before, true), (before(day_before), false)] {
        let plan = plan(&policy, &keyring, clock);
        assert!(plan.is_empty());
        let reported = plan.warnings().contains(&Warning::Clock { newest: old });
        assert_eq!((reported, plan.next().is_some()), (!is_believed, is_believed), "{plan}");
    }
}

#[test]
fn pending_version_is_waited_for_up_to_a_day_ahead() {
    let policy = RotationPolicy::every_90_days().distribute_for(days(7));
    for (ahead, is_waited_for) in [(DAY, true), (DAY + SECOND, false)] {
        let keyring = keyring();
        change(&keyring, ADD, at_day(90).plus(ahead));
        let due = retired(&policy, &keyring, at_day(90));
        assert_eq!(due.is_empty(), is_waited_for, "{due:?}");
    }
}

#[test]
fn promotion_under_slow_clock_counts_from_addition() {
    let keyring = keyring();
    change(&keyring, ADD, at_day(100));
    operate(&keyring, 2, Operation::Promote, Timestamp::UNIX_EPOCH);
    let policy = RotationPolicy::every_90_days().disable_after(days(30));
    let due = retired(&policy, &keyring, before(at_day(190)));
    assert!(!due.contains(&Action::Rotate), "{due:?}");
    assert!(retired(&policy, &keyring, at_day(190)).contains(&Action::Rotate));
    // The former one stopped under that clock: its grace counts from its promotion at the earliest.
    assert_eq!(keyring.versions()[0].state_since, Timestamp::UNIX_EPOCH);
    let disable = Action::Disable(version(1));
    assert!(!retired(&policy, &keyring, before(at_day(30))).contains(&disable));
    assert!(retired(&policy, &keyring, at_day(30)).contains(&disable));
}

#[test]
fn state_of_day_ahead_counts_and_second_more_does_not() {
    let policy = RotationPolicy::on_compromise().schedule_destruction_after(days(1));
    for (ahead, counts) in [(DAY, true), (DAY + SECOND, false)] {
        let keyring = keyring();
        change(&keyring, ROTATE, START);
        operate(&keyring, 1, Operation::Disable, START.plus(ahead));
        let plan = plan(&policy, &keyring, START);
        assert_eq!(plan.next().is_some(), counts, "{plan}");
        assert_eq!(plan.warnings().is_empty(), counts, "{plan}");
    }
}

#[test]
fn destruction_runs_up_to_a_day_before_newest_date() {
    let policy = RotationPolicy::on_compromise().carry_out_scheduled();
    for (ahead, is_due) in [(DAY, true), (DAY + SECOND, false)] {
        let keyring = keyring();
        change(&keyring, ROTATE, START);
        operate(&keyring, 1, Operation::Disable, START);
        operate(&keyring, 1, Operation::ScheduleDestruction { after: days(7) }, START);
        change(&keyring, ROTATE, at_day(7).plus(ahead));
        let plan = plan(&policy, &keyring, at_day(7));
        assert_eq!(!plan.is_empty(), is_due, "{plan}");
        let left = plan.warnings().iter().any(|it| matches!(it, Warning::Unconfirmed { .. }));
        assert_eq!(left, !is_due, "{plan}");
        assert_eq!(matches!(apply(&plan, &keyring, at_day(7)), PlanOutcome::Applied(_)), is_due);
    }
}

#[test]
fn kept_plan_destroys_for_seven_days_only() {
    let policy = RotationPolicy::on_compromise().carry_out_scheduled();
    let keyring = keyring();
    change(&keyring, Change::Rotate { key: "orders" }, START);
    operate(&keyring, 1, Operation::Disable, START);
    operate(&keyring, 1, Operation::ScheduleDestruction { after: days(30) }, START);
    let kept = plan(&policy, &keyring, at_day(30));
    assert_eq!(actions(&kept), [Action::Destroy(version(1))]);
    let late = at_day(37).plus(Duration::from_secs(1));
    for (now, done) in [(before(at_day(30)), 0), (at_day(30), 1), (at_day(37), 1), (late, 0)] {
        assert_eq!(kept.changes(now).len(), done, "{now}");
    }
    assert_eq!(apply(&kept, &keyring, at_day(3_000)), PlanOutcome::NothingDue);
    assert_eq!(keyring.versions()[0].state, VersionState::DestroyScheduled);
}

#[test]
fn destruction_by_hand_is_believed_for_ten_years() {
    for (late, is_believed) in [(days(3_650), true), (days(3_650) + SECOND, false)] {
        let keyring = keyring();
        change(&keyring, ROTATE, START);
        operate(&keyring, 1, Operation::Disable, START);
        operate(&keyring, 1, Operation::ScheduleDestruction { after: days(7) }, START);
        let operation = Operation::Destroy;
        let destroy = Change::Version { key: "orders", version: version(1), operation };
        let options = ChangeOptions::at(START.plus(late));
        let result = keyring.change_with_rng(&[destroy], &options, &mut TestRng::seeded(1));
        match result {
            Ok(_) => assert!(is_believed),
            Err(Error::Lifecycle(LifecycleError::Guarded {
                guard: Guard::Clock { .. }, ..
            })) => assert!(!is_believed),
            Err(other) => panic!("{other:?}"),
        }
        // Without a date no clock is asked.
        operate(&self::keyring(), 1, Operation::MarkCompromised, START.plus(late));
    }
}

/// A destruction decades away in an older file is reported, although no other date is in the future.
#[test]
fn destruction_beyond_31_days_is_reported() {
    let keyring = keyring();
    change(&keyring, ROTATE, START);
    operate(&keyring, 1, Operation::Disable, START);
    operate(&keyring, 1, Operation::ScheduleDestruction { after: days(7) }, START);
    let most = START.plus(DAY).plus(MAX_DESTRUCTION_DELAY);
    for (due, is_reported) in [(most, false), (most.plus(SECOND), true)] {
        let mut records = keyring.versions();
        records[0].destroy_at = Some(due);
        let keyset = Keyset::restore("orders", 2, records).unwrap();
        let keysets = KeysetMap::restore(3, 3, vec![keyset], Default::default()).unwrap();
        let plan = RotationPolicy::on_compromise().plan(&keysets, "orders", START).unwrap();
        let expected = Warning::FutureDate { version: version(1), date: due };
        assert_eq!(plan.warnings().contains(&expected), is_reported, "{plan}");
    }
}

#[test]
fn every_future_date_is_reported_and_corrected() {
    let far = at_day(30_000);
    let acts: [&[(Operation, Timestamp)]; 4] = [
        &[(Operation::Promote, far)],
        &[(Operation::Disable, START), (Operation::MarkCompromised, far)],
        &[(Operation::Disable, START), (Operation::Enable, far)],
        &[(Operation::Disable, far)],
    ];
    for acts in acts {
        let keyring = keyring();
        change(&keyring, ROTATE, START);
        acts.iter().for_each(|(operation, now)| operate(&keyring, 1, *operation, *now));
        let warnings = || {
            let plan = plan(&RotationPolicy::on_compromise(), &keyring, START);
            plan.warnings().to_vec()
        };
        let reported = Warning::FutureDate { version: version(1), date: far };
        assert!(warnings().contains(&reported), "{acts:?}");
        let before = keyring.versions();
        change(&keyring, Change::CorrectDates { key: "orders" }, START);
        assert!(warnings().is_empty(), "{acts:?}: {:?}", warnings());
        let record = keyring.versions().swap_remove(0);
        assert_eq!(record.state, before[0].state);
        assert_eq!(record.kept.is_some(), before[0].kept.is_some());
        assert_eq!(record.compromised.is_some(), before[0].compromised.is_some());
    }
}

#[test]
fn destruction_is_not_scheduled_beyond_the_last_year() {
    let keyring = keyring();
    let last = Timestamp::from_unix_seconds(u64::MAX);
    change(&keyring, ROTATE, last);
    operate(&keyring, 1, Operation::Disable, last);
    let operation = Operation::ScheduleDestruction { after: days(30) };
    let schedule = Change::Version { key: "orders", version: version(1), operation };
    let options = envelock::keyset::ChangeOptions::at(last);
    let refused = keyring.change(&[schedule], &options, &mut envelock::OsRandom).unwrap_err();
    assert!(
        matches!(
            refused,
            Error::Lifecycle(LifecycleError::Guarded { guard: Guard::Clock { .. }, .. })
        ),
        "{refused}"
    );
}
