//! Dates to come and clocks that are wrong: flagged or refused, never obeyed.

use super::*;
use envelock::keyset::LifecycleError;
use envelock::{
    keyset::{Guard, MAX_CLOCK_SKEW},
    policy::MIN_GRACE,
};

const SECOND: Duration = Duration::from_secs(1);
/// 2099-07-14T10:40:00Z
const FAR: Timestamp = Timestamp::from_unix_seconds(4_087_708_800);

fn guard(keyring: &MemoryKeyring, operation: Operation, now: Timestamp) -> Option<Guard> {
    let change = Change::Version { key: "orders", version: version(1), operation };
    let changed =
        keyring.change_with_rng(&[change], &ChangeOptions::at(now), &mut TestRng::seeded(1));
    match changed {
        Ok(_) => None,
        Err(Error::Lifecycle(LifecycleError::Guarded {
            key,
            version: reported,
            operation: asked,
            guard,
        })) => {
            assert_eq!((&*key, reported, asked), ("orders", version(1), operation));
            Some(guard)
        }
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn promotion_in_the_future_is_due_with_warning() {
    let policy = RotationPolicy::every_90_days();
    for created in [START, FAR] {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let keyring = MemoryKeyring::create_with_rng("orders", created, &mut rng).unwrap();
        if created < FAR {
            change(&keyring, Change::Rotate { key: "orders" }, FAR);
        }
        let bad = keyring.primary_version().unwrap();
        let due = plan(&policy, &keyring, at_day(400));
        assert_eq!(actions(&due), [Action::Rotate]);
        assert_eq!(due.due()[0].reason, Reason::PromotedInFuture { promoted: FAR });
        assert!(due.warnings().contains(&Warning::FutureDate { version: bad, date: FAR }));
        assert!(due.to_string().contains("2099-07-14T10:40:00Z, which is in the future"), "{due}");
        assert!(matches!(apply(&due, &keyring, at_day(400)), PlanOutcome::Applied(_)));

        // The primary is right again. Other changes under the wrong clock are reported.
        let after = plan(&policy, &keyring, at_day(400));
        assert!(after.is_empty());
        let flagged = (1..=bad.number()).map(version);
        let flagged = flagged.map(|version| Warning::FutureDate { version, date: FAR });
        assert!(after.warnings().iter().copied().eq(flagged), "{after}");
        assert_eq!(after.next().unwrap().at, at_day(490));
        change(&keyring, Change::CorrectDates { key: "orders" }, at_day(401));
        assert!(plan(&policy, &keyring, at_day(402)).warnings().is_empty());
    }
}

#[test]
fn date_is_in_the_future_if_over_a_day_ahead() {
    let keyring = keyring();
    let policy = RotationPolicy::every_90_days();
    change(&keyring, Change::Rotate { key: "orders" }, at_day(10));
    let behind = at_day(9);
    let within = plan(&policy, &keyring, behind);
    assert!(within.is_empty() && within.warnings().is_empty());
    assert_eq!(within.next().unwrap().at, at_day(100));
    let beyond = plan(&policy, &keyring, before(behind));
    assert_eq!(beyond.due()[0].reason, Reason::PromotedInFuture { promoted: at_day(10) });
    // Both versions have that date.
    assert_eq!(beyond.warnings().len(), 2);
}

/// Rotated by a host whose clock is behind: the others do not rotate again for that, nor does it
/// each time it is asked.
#[test]
fn host_with_slow_clock_does_not_rotate_repeatedly() {
    let keyring = keyring();
    let policy = RotationPolicy::every_90_days();
    for day in 0..400 {
        let (now, behind) = (at_day(1_000 + day), at_day(500 + day));
        for clock in [now, behind] {
            apply(&plan(&policy, &keyring, clock), &keyring, clock);
        }
    }
    // Each 90 days one of the right clock, and one of the other.
    assert!(keyring.versions().len() <= 12, "{}", keyring.versions().len());
}

#[test]
fn unset_or_fast_clock_makes_nothing_due() {
    let keyring = keyring();
    change(&keyring, Change::Rotate { key: "orders" }, at_day(10));
    operate(&keyring, 1, Operation::Disable, at_day(10));
    let policy = RotationPolicy::every_90_days().schedule_destruction_after(days(1));
    let newest = at_day(10);
    let unset = Timestamp::from_unix_seconds(1_767_225_599);
    let ahead = newest.plus(days(3_650));
    for (clock, is_believed) in [
        (Timestamp::UNIX_EPOCH, false),
        (unset, false),
        (unset.plus(SECOND), true),
        (ahead, true),
        (ahead.plus(SECOND), false),
        (FAR, false),
    ] {
        let plan = plan(&policy, &keyring, clock);
        let reported = plan.warnings().contains(&Warning::Clock { newest });
        assert_eq!((plan.is_empty(), reported), (!is_believed, !is_believed), "{clock}: {plan}");
        assert!(is_believed || plan.next().is_none(), "{plan}");
    }
}

#[test]
fn version_disabled_under_fast_clock_is_flagged() {
    let keyring = keyring();
    change(&keyring, Change::Rotate { key: "orders" }, START);
    let ahead = at_day(20 * 365);
    operate(&keyring, 1, Operation::Disable, ahead);
    let policy = RotationPolicy::on_compromise().schedule_destruction_after(days(1));
    for day in [1, 400, 5_000] {
        let plan = plan(&policy, &keyring, at_day(day));
        assert!(plan.is_empty() && plan.next().is_none(), "{plan}");
        let expected = [Warning::FutureDate { version: version(1), date: ahead }];
        assert_eq!(plan.warnings(), expected);
    }
    change(&keyring, Change::CorrectDates { key: "orders" }, at_day(2));
    let schedule = Action::ScheduleDestruction(version(1), days(30));
    assert_eq!(actions(&plan(&policy, &keyring, at_day(3))), [schedule]);
    assert!(plan(&policy, &keyring, before(at_day(3))).is_empty());
}

#[test]
fn pending_version_dated_in_the_future_is_not_awaited() {
    let keyring = keyring();
    let policy = RotationPolicy::every_90_days().distribute_for(days(7));
    let add = Change::AddVersion {
        key: "orders",
        version: None,
        material: envelock::keyset::Material::Fresh,
    };
    change(&keyring, add, FAR);
    let due = plan(&policy, &keyring, at_day(90));
    assert_eq!(actions(&due), [Action::AddVersion]);
    apply(&due, &keyring, at_day(90));
    assert_eq!(actions(&plan(&policy, &keyring, at_day(97))), [Action::Promote(version(3))]);
}

#[test]
fn compromise_dated_in_the_future_acts_at_once() {
    let keyring = keyring();
    operate(&keyring, 1, Operation::MarkCompromised, FAR);
    let due = plan(&RotationPolicy::on_compromise(), &keyring, at_day(1));
    assert_eq!(actions(&due), [Action::Rotate]);
    assert_eq!(due.changes(at_day(1)).len(), 1);
}

#[test]
fn destruction_counts_from_the_newest_date() {
    let schedule = Operation::ScheduleDestruction { after: days(7) };
    let newest = at_day(10);
    for (now, due) in [
        (at_day(11), Some(at_day(18))),
        (newest, Some(at_day(17))),
        (before(newest), Some(at_day(17))),
        (at_day(9), Some(at_day(17))),
        (before(at_day(9)), None),
        (START, None),
    ] {
        let keyring = keyring();
        change(&keyring, Change::Rotate { key: "orders" }, newest);
        operate(&keyring, 1, Operation::Disable, newest);
        let refused = guard(&keyring, schedule, now);
        assert_eq!(refused, due.is_none().then_some(Guard::Clock { newest, now }), "{now}");
        assert_eq!(keyring.versions()[0].destroy_at, due, "{now}");
    }
}

#[test]
fn destruction_that_is_due_asks_newest_date_on_record() {
    let keyring = keyring();
    change(&keyring, Change::Rotate { key: "orders" }, START);
    operate(&keyring, 1, Operation::Disable, START);
    operate(&keyring, 1, Operation::ScheduleDestruction { after: days(7) }, START);
    let ahead = START.plus(days(3_650)).plus(SECOND);
    let reported = guard(&keyring, Operation::Destroy, ahead);
    assert_eq!(reported, Some(Guard::Clock { newest: START, now: ahead }));
    // Another host has seen a later day than this one.
    change(&keyring, Change::Rotate { key: "orders" }, at_day(30));
    let behind = at_day(28);
    let reported = guard(&keyring, Operation::Destroy, behind);
    assert_eq!(reported, Some(Guard::Clock { newest: at_day(30), now: behind }));
    let policy = RotationPolicy::on_compromise().carry_out_scheduled();
    assert!(plan(&policy, &keyring, at_day(8)).is_empty());
    assert_eq!(guard(&keyring, Operation::Destroy, at_day(29)), None);
}

/// A host whose clock is further ahead than the delay and a week destroys nothing, however often it
/// asks.
#[test]
fn clock_far_ahead_destroys_nothing_that_is_scheduled() {
    for ahead in [38, 40, 400, 4_000] {
        let keyring = keyring();
        change(&keyring, Change::Rotate { key: "orders" }, START);
        operate(&keyring, 1, Operation::Disable, START);
        operate(&keyring, 1, Operation::ScheduleDestruction { after: days(30) }, START);
        let policy = RotationPolicy::every_90_days().carry_out_scheduled();
        for _ in 0..3 {
            apply(&plan(&policy, &keyring, at_day(ahead)), &keyring, at_day(ahead));
        }
        assert_eq!(keyring.versions()[0].state, VersionState::DestroyScheduled, "{ahead}");
    }
}

#[test]
fn clock_that_is_a_little_behind_shortens_no_grace() {
    assert_eq!(MAX_CLOCK_SKEW, DAY);
    let keyring = keyring();
    change(&keyring, Change::Rotate { key: "orders" }, at_day(1));
    change(&keyring, Change::Rotate { key: "orders" }, at_day(1).plus(SECOND));
    change(&keyring, Change::Rotate { key: "orders" }, START);
    let dates: Vec<_> = keyring.versions().iter().map(|record| record.state_since).collect();
    let newest = at_day(1).plus(SECOND);
    // The third is more than a day behind, and what it changed is that old to who looks.
    assert_eq!(dates, [at_day(1), newest, START, START]);
    change(&keyring, Change::Rotate { key: "orders" }, START.plus(SECOND));
    assert_eq!(keyring.versions()[4].created, newest);
}

#[test]
fn grace_of_nothing_is_taken_for_an_hour() {
    assert_eq!(MIN_GRACE, Duration::from_secs(3_600));
    let second_less = MIN_GRACE - SECOND;
    for grace in [Duration::ZERO, second_less, MIN_GRACE, MIN_GRACE + SECOND] {
        let keyring = keyring();
        change(&keyring, Change::Rotate { key: "orders" }, START);
        let due = START.plus(grace.max(MIN_GRACE));
        let policy = RotationPolicy::on_compromise().disable_after(grace);
        assert!(plan(&policy, &keyring, before(due)).is_empty());
        assert_eq!(actions(&plan(&policy, &keyring, due)), [Action::Disable(version(1))]);
        operate(&keyring, 1, Operation::MarkCompromised, START);
        let policy = RotationPolicy::on_compromise().disable_compromised_after(grace);
        assert!(plan(&policy, &keyring, before(due)).is_empty());
        assert_eq!(actions(&plan(&policy, &keyring, due)), [Action::Disable(version(1))]);
        operate(&keyring, 1, Operation::Disable, START);
        let policy = RotationPolicy::on_compromise().schedule_destruction_after(grace);
        assert!(plan(&policy, &keyring, before(due)).is_empty());
        assert_eq!(plan(&policy, &keyring, due).due().len(), 1);
    }
}

/// Keys that come from an environment at each start carry their own date.
#[test]
fn imported_key_of_its_own_date_grows_old() {
    let key = envelock::MasterKey::from_bytes(&[7; 32]);
    let keyring = MemoryKeyring::import_at("orders", version(3), &key, START).unwrap();
    let policy = RotationPolicy::every_90_days();
    assert!(plan(&policy, &keyring, before(at_day(90))).is_empty());
    assert_eq!(actions(&plan(&policy, &keyring, at_day(90))), [Action::Rotate]);
    let next = envelock::MasterKey::from_bytes(&[8; 32]);
    let material = envelock::keyset::Material::Imported(&next);
    let add = Change::AddVersion { key: "orders", version: Some(version(4)), material };
    change(&keyring, add, at_day(90));
    operate(&keyring, 4, Operation::Promote, at_day(90));
    assert!(plan(&policy, &keyring, before(at_day(180))).is_empty());
    assert_eq!(actions(&plan(&policy, &keyring, at_day(180))), [Action::Rotate]);
}

/// Rotations, disables and schedules under clocks 70 years ahead and behind, in any order: under the
/// right clock the key is rotated when it is due, no destruction is decades away unsaid, and none
/// comes early.
#[test]
fn wrong_clocks_never_hasten_destruction() {
    use crate::common::{below, rng};
    let clocks = [START, START, FAR, START.plus(days(40)), Timestamp::UNIX_EPOCH];
    let (mut scheduled, mut flagged) = (0, 0);
    for seed in 0..3_000 {
        let mut random = rng(seed);
        let keyring = keyring();
        for step in 0..12 {
            let now = clocks[below(&mut random, clocks.len())].plus(days(step));
            let number = version(1 + below(&mut random, 2) as u32);
            let operate = |operation| Change::Version { key: "orders", version: number, operation };
            let schedule = Operation::ScheduleDestruction { after: days(7) };
            let act = match below(&mut random, 5) {
                0 => Change::Rotate { key: "orders" },
                1 => operate(Operation::Promote),
                2 => operate(Operation::Disable),
                3 => operate(Operation::CancelDestruction),
                _ => operate(schedule),
            };
            let newest = keyring.keyset().unwrap().newest_date().unwrap();
            let generator = &mut TestRng::seeded(seed * 100 + u64::from(step) + 1);
            let changed = keyring.change_with_rng(&[act], &ChangeOptions::at(now), generator);
            if let (Change::Version { operation, .. }, Ok(_)) = (act, changed)
                && operation == schedule
            {
                let keyset = keyring.keyset().unwrap();
                let due = keyset.version(number).unwrap().destroy_at.unwrap();
                assert!(due >= newest.max(now).plus(days(7)), "counts from the newest date");
                assert!(due <= now.plus(days(8)), "and not from one that is decades away");
                scheduled += 1;
            }
        }
        let now = at_day(400);
        let policy = RotationPolicy::every_90_days().carry_out_scheduled();
        let plan = plan(&policy, &keyring, now);
        assert!(actions(&plan).contains(&Action::Rotate), "{plan}");
        for record in keyring.versions() {
            let is_late = record.destroy_at.is_some_and(|due| due > now.plus(days(31)));
            let reported = |it: &Warning| matches!(it, Warning::FutureDate { version, .. } if *version == record.version);
            assert!(!is_late || plan.warnings().iter().any(reported), "{plan}");
            flagged += usize::from(is_late);
        }
    }
    assert!(scheduled > 100 && flagged > 10, "{scheduled} {flagged}");
}
