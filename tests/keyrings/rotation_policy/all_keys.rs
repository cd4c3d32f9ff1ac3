//! One plan for every key of a keyring, carried out in one change.

use super::*;
use envelock::keyset::Material;

fn with_keys(names: &[String]) -> MemoryKeyring {
    let keyring = keyring();
    let create = |key| Change::CreateKey { key, version: version(1), material: Material::Fresh };
    let changes: Vec<_> = names.iter().map(|name| create(&**name)).collect();
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    keyring.change_with_rng(&changes, &ChangeOptions::at(START), &mut rng).unwrap();
    keyring
}

#[test]
fn all_keys_are_planned_alone_and_changed_at_once() {
    let names: Vec<_> = (0..100).map(|number| format!("tenant-{number:03}")).collect();
    let keyring = with_keys(&names);
    let policy = RotationPolicy::every_90_days().disable_after(days(30));
    for day in [0, 89, 90, 119, 120, 180] {
        let before = keysets(&keyring);
        let plans = policy.plan_all(&before, at_day(day));
        assert_eq!(plans.iter().len(), 101);
        for plan in plans.iter() {
            assert_eq!(*plan, policy.plan(&before, plan.key(), at_day(day)).unwrap());
        }
        assert_eq!(plans.change(), before.change());
        let single: usize = plans.iter().map(|plan| plan.changes(at_day(day)).len()).sum();
        assert_eq!(plans.changes(at_day(day)).len(), single);
        assert_eq!(plans.is_empty(), single == 0);
        let next = plans.iter().filter_map(Plan::next).map(|due| due.at).min();
        assert_eq!(plans.next().map(|(_, due)| due.at), next);
        let applied = plans
            .apply_at(&keyring, at_day(day), &mut TestRng::seeded(u64::from(day) + 3))
            .unwrap();
        let after = keysets(&keyring);
        match applied {
            PlanOutcome::NothingDue => assert_eq!(after, before),
            PlanOutcome::Applied(changed) => assert_eq!(after.change(), changed.change),
            other => panic!("{other:?}"),
        }
        assert_eq!(after.change(), before.change() + u64::from(single > 0), "one change");
        // The same plan does nothing twice, and a new one finds nothing due.
        let again = plans
            .apply_at(&keyring, at_day(day), &mut TestRng::seeded(u64::from(day) + 3))
            .unwrap();
        let superseded = PlanOutcome::Superseded { change: after.change() };
        assert_eq!(again, if single > 0 { superseded } else { PlanOutcome::NothingDue });
        assert!(policy.plan_all(&after, at_day(day)).is_empty());
    }
    let states =
        |keyset: &envelock::keyset::Keyset| keyset.versions().iter().map(|it| it.state).collect();
    for keyset in keysets(&keyring).iter() {
        let states: Vec<_> = states(keyset);
        use VersionState::{Disabled, Enabled, Primary};
        assert_eq!(states, [Disabled, Enabled, Primary]);
    }
}

#[test]
fn plans_of_all_keys_print_line_by_line() {
    let keyring = with_keys(&["acme".into(), "globex".into()]);
    let policy = RotationPolicy::every(days(90));
    let text = policy.plan_all(&keysets(&keyring), at_day(1)).to_string();
    let why = "the primary is 90 days old and was never rotated";
    let next = "nothing is due; next: rotate of key acme, at 2027-04-15T08:00:00Z: ";
    assert_eq!(text, format!("{next}{why}"));
    change(&keyring, Change::Rotate { key: "globex" }, at_day(1));
    let text = policy.plan_all(&keysets(&keyring), at_day(90)).to_string();
    let line = |key| format!("key {key}: rotate, since 2027-04-15T08:00:00Z: {why}");
    assert_eq!(text, format!("{}\n{}", line("acme"), line("orders")));
    let none = policy.plan_all(&KeysetMap::new(), START);
    assert_eq!(
        (none.to_string(), none.is_empty(), none.next()),
        ("nothing is due".into(), true, None)
    );
}

#[test]
fn concurrent_plans_of_all_keys_apply_once() {
    const PROCESSES: usize = 16;
    let names: Vec<_> = (0..20).map(|number| format!("tenant-{number:02}")).collect();
    let keyring = with_keys(&names);
    let policy = RotationPolicy::every_90_days();
    for round in 1..=10_u32 {
        let now = at_day(90 * round);
        let plans = policy.plan_all(&keysets(&keyring), now);
        let barrier = Barrier::new(PROCESSES);
        let outcomes: Vec<PlanOutcome> = thread::scope(|scope| {
            let run = || {
                barrier.wait();
                plans.apply_at(&keyring, now, &mut TestRng::seeded(u64::from(round) + 3)).unwrap()
            };
            let threads: Vec<_> = (0..PROCESSES).map(|_| scope.spawn(run)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let change = keysets(&keyring).change();
        assert_eq!(change, plans.change() + 1);
        let done = outcomes.iter().filter(|it| matches!(it, PlanOutcome::Applied(_))).count();
        let superseded = PlanOutcome::Superseded { change };
        let others = outcomes.iter().filter(|it| **it == superseded).count();
        assert_eq!((done, others), (1, PROCESSES - 1));
        assert!(keysets(&keyring).iter().all(|it| it.versions().len() == round as usize + 1));
    }
}

/// 10,000 keys of a key file, rotated in one change.
#[cfg(all(feature = "file", unix))]
#[test]
#[ignore = "a measurement: cargo test --release --test keyrings rotation_policy -- --ignored --nocapture"]
fn ten_thousand_keys_rotate_in_one_change() {
    use envelock::{FileKeyring, OsRandom, file::Protection};
    use std::time::Instant;
    let directory = std::env::temp_dir().join(format!("envelock-plans-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("orders.keys");
    let protection = Protection::raw_key(envelock::MasterKey::from_bytes(&[7; 32]));
    let keyring = FileKeyring::create(&path, "orders", &protection).unwrap();
    let names: Vec<_> = (0..9_999).map(|number| format!("tenant-{number}")).collect();
    let create = |key| Change::CreateKey { key, version: version(1), material: Material::Fresh };
    let changes: Vec<_> = names.iter().map(|name| create(&**name)).collect();
    let now = Timestamp::now();
    keyring.change(&changes, &ChangeOptions::at(now), &mut OsRandom).unwrap();
    let later = now.plus(days(91));
    let start = Instant::now();
    let plans = RotationPolicy::every_90_days().plan_all(&keyring.keysets().unwrap(), later);
    let planned = start.elapsed();
    let applied = plans.apply_at(&keyring, later, &mut OsRandom).unwrap();
    let all = start.elapsed();
    let PlanOutcome::Applied(changed) = applied else { panic!("{applied:?}") };
    assert_eq!(changed.transitions.len(), 30_000);
    let len = std::fs::metadata(&path).unwrap().len();
    println!("10,000 keys: planned in {planned:?}, planned and applied in {all:?}; {len} bytes");
    std::fs::remove_dir_all(&directory).unwrap();
}
