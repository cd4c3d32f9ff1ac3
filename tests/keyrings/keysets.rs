//! `KeysetMap` as pure data: the dates of a record, when a destruction is allowed, numbers and
//! material that are never used twice, and labels. `keyset_changes.rs` tests batches of changes.

use envelock::keyset::LifecycleError;
use envelock::{
    KeyVersion, MasterKeyId, RotationPolicy, Timestamp,
    format::WrapAlgorithm,
    keyset::{
        ChangeOptions, Keyset, KeysetMap, LabelFault, Labels, MAX_DESTRUCTION_DELAY,
        MAX_LABEL_NAME_LEN, MAX_LABEL_VALUE_LEN, MAX_LABELS, MIN_DESTRUCTION_DELAY, NewMaterial,
        Operation, Origin, Usage, VersionRecord, VersionState,
    },
    policy::{Action, PlannedAction},
};
use std::collections::BTreeMap;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn at(second: u64) -> Timestamp {
    Timestamp::from_unix_seconds(1_800_000_000 + second)
}

fn version(number: u32) -> KeyVersion {
    KeyVersion::new(number).unwrap()
}

fn material(id: u8) -> NewMaterial {
    NewMaterial {
        master_key_id: MasterKeyId([id; 8]),
        algorithm: WrapAlgorithm::XAES_256_GCM,
        origin: Origin::Generated,
    }
}

/// A keyset with version 1 enabled since second 2 and version 2 the primary.
fn rotated() -> Keyset {
    let mut keyset = Keyset::new("orders").unwrap();
    for number in [1, 2] {
        keyset.add(version(number), material(number as u8), at(0)).unwrap();
        keyset
            .apply(version(number), Operation::Promote, &ChangeOptions::at(at(u64::from(number))))
            .unwrap();
    }
    keyset
}

fn schedule(after: Duration) -> Operation {
    Operation::ScheduleDestruction { after }
}

#[test]
fn record_keeps_its_dates_of_change() {
    use Operation::*;
    let mut keyset = Keyset::new("orders").unwrap();
    keyset.add(version(1), material(1), at(10)).unwrap();
    let mut check = |operation: Option<(u32, Operation)>, now, expected| {
        if let Some((number, operation)) = operation {
            if keyset.version(version(number)).is_none() {
                keyset.add(version(number), material(number as u8), at(now)).unwrap();
            }
            keyset.apply(version(number), operation, &ChangeOptions::at(at(now))).unwrap();
        }
        let one = keyset.version(version(1)).unwrap();
        assert_eq!(one.created, at(10));
        let relative = |time: Option<Timestamp>| time.map(|time| time.since(at(0)).as_secs());
        let seen =
            [relative(Some(one.state_since)), relative(one.promoted), relative(one.compromised)];
        assert_eq!((one.state, seen), expected, "{operation:?}");
        assert_eq!(one.destroy_at.is_some(), one.state == VersionState::DestroyScheduled);
    };
    check(None, 0, (VersionState::Pending, [Some(10), None, None]));
    check(Some((1, Promote)), 20, (VersionState::Primary, [Some(20), Some(20), None]));
    // A change without effect moves no date.
    check(Some((1, Promote)), 25, (VersionState::Primary, [Some(20), Some(20), None]));
    check(Some((2, Promote)), 30, (VersionState::Enabled, [Some(30), Some(20), None]));
    // Rolled back: its first promotion stays on record.
    check(Some((1, Promote)), 40, (VersionState::Primary, [Some(40), Some(20), None]));
    check(Some((2, Promote)), 50, (VersionState::Enabled, [Some(50), Some(20), None]));
    check(Some((1, Disable)), 60, (VersionState::Disabled, [Some(60), Some(20), None]));
    check(Some((1, MarkCompromised)), 70, (VersionState::Disabled, [Some(60), Some(20), Some(70)]));
    check(Some((1, Enable)), 80, (VersionState::Compromised, [Some(80), Some(20), Some(70)]));
    check(Some((1, Disable)), 90, (VersionState::Disabled, [Some(90), Some(20), Some(70)]));
    let scheduled = VersionState::DestroyScheduled;
    check(
        Some((1, schedule(MAX_DESTRUCTION_DELAY))),
        100,
        (scheduled, [Some(100), Some(20), Some(70)]),
    );
    check(
        Some((1, CancelDestruction)),
        110,
        (VersionState::Disabled, [Some(110), Some(20), Some(70)]),
    );
    check(
        Some((1, DestroyImmediately)),
        120,
        (VersionState::Destroyed, [Some(120), Some(20), Some(70)]),
    );
}

#[test]
fn clocks_that_go_back_do_no_harm() {
    let mut keyset = rotated();
    keyset
        .apply(version(1), Operation::Disable, &ChangeOptions::at(Timestamp::UNIX_EPOCH))
        .unwrap();
    assert_eq!(keyset.version(version(1)).unwrap().state_since, Timestamp::UNIX_EPOCH);
    keyset.apply(version(1), schedule(MIN_DESTRUCTION_DELAY), &ChangeOptions::at(at(0))).unwrap();
    let early =
        keyset.apply(version(1), Operation::Destroy, &ChangeOptions::at(Timestamp::UNIX_EPOCH));
    assert!(matches!(early, Err(LifecycleError::DestructionNotDue { .. })));
}

#[test]
fn destruction_is_scheduled_7_to_30_days_ahead() {
    let days = |days: u64| Duration::from_secs(days * 86_400);
    let nanosecond = Duration::from_nanos(1);
    for (delay, allowed) in [
        (Duration::ZERO, false),
        (days(7) - SECOND, false),
        (days(7) - nanosecond, false),
        (days(7), true),
        (days(7) + SECOND, true),
        (days(30) - SECOND, true),
        (days(30), true),
        (days(30) + nanosecond, false),
        (days(30) + SECOND, false),
        (Duration::MAX, false),
    ] {
        let mut keyset = rotated();
        keyset.apply(version(1), Operation::Disable, &ChangeOptions::at(at(5))).unwrap();
        let before = keyset.clone();
        match keyset.apply(version(1), schedule(delay), &ChangeOptions::at(at(9))) {
            Ok(()) => {
                assert!(allowed, "{delay:?}");
                let due = keyset.version(version(1)).unwrap().destroy_at;
                assert_eq!(due, Some(at(9).plus(delay)));
            }
            Err(LifecycleError::DestructionDelay { delay: reported }) => {
                assert!(!allowed && reported == delay, "{delay:?}");
                assert_eq!(keyset, before);
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn destruction_is_due_on_its_second() {
    for (early, due) in [(SECOND, false), (Duration::ZERO, true)] {
        let mut keyset = rotated();
        keyset.apply(version(1), Operation::Disable, &ChangeOptions::at(at(5))).unwrap();
        keyset
            .apply(version(1), schedule(MIN_DESTRUCTION_DELAY), &ChangeOptions::at(at(9)))
            .unwrap();
        let date = at(9).plus(MIN_DESTRUCTION_DELAY);
        let before = keyset.clone();
        let now = Timestamp::from_unix_seconds(date.unix_seconds() - early.as_secs());
        match keyset.apply(version(1), Operation::Destroy, &ChangeOptions::at(now)) {
            Ok(()) => assert!(due),
            Err(LifecycleError::DestructionNotDue { key, version: reported, due: day }) => {
                assert!(!due);
                assert_eq!((&*key, reported, day), ("orders", version(1), date));
                assert_eq!(keyset, before);
                keyset
                    .apply(version(1), Operation::DestroyImmediately, &ChangeOptions::at(now))
                    .unwrap();
            }
            Err(other) => panic!("{other:?}"),
        }
        let record = keyset.version(version(1)).unwrap();
        assert_eq!((record.state, record.destroy_at), (VersionState::Destroyed, None));
        assert_eq!(record.state_since, now);
    }
}

#[test]
fn cancelled_destruction_starts_again() {
    let mut keyset = rotated();
    keyset.apply(version(1), Operation::Disable, &ChangeOptions::at(at(5))).unwrap();
    keyset.apply(version(1), schedule(MIN_DESTRUCTION_DELAY), &ChangeOptions::at(at(9))).unwrap();
    keyset.apply(version(1), Operation::CancelDestruction, &ChangeOptions::at(at(10))).unwrap();
    let due = at(9).plus(MIN_DESTRUCTION_DELAY);
    let destroyed = keyset.apply(version(1), Operation::Destroy, &ChangeOptions::at(due));
    assert!(matches!(destroyed, Err(LifecycleError::VersionState { .. })));
    keyset.apply(version(1), schedule(MAX_DESTRUCTION_DELAY), &ChangeOptions::at(due)).unwrap();
    let destroyed = keyset.apply(
        version(1),
        Operation::Destroy,
        &ChangeOptions::at(due.plus(MIN_DESTRUCTION_DELAY)),
    );
    assert!(matches!(destroyed, Err(LifecycleError::DestructionNotDue { .. })));
}

#[test]
fn numbers_are_never_reused() {
    let mut keyset = Keyset::new("orders").unwrap();
    assert_eq!((keyset.next_version().unwrap(), keyset.highest_version()), (version(1), 0));
    keyset.add(version(5), material(1), at(0)).unwrap();
    for number in [1, 4, 5] {
        let before = keyset.clone();
        match keyset.add(version(number), material(2), at(0)).unwrap_err() {
            LifecycleError::VersionNumber { key, last } => {
                assert_eq!((&*key, last), ("orders", version(5)))
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(keyset, before);
    }
    assert_eq!(keyset.next_version().unwrap(), version(6));
    keyset.apply(version(5), Operation::Disable, &ChangeOptions::at(at(0))).unwrap();
    keyset.apply(version(5), Operation::DestroyImmediately, &ChangeOptions::at(at(0))).unwrap();
    assert_eq!(keyset.next_version().unwrap(), version(6));
    // The record of version 9 is lost, its number is not.
    let records = keyset.versions().to_vec();
    let mut restored = Keyset::restore("orders", 9, records.clone()).unwrap();
    assert_eq!((restored.highest_version(), restored.next_version().unwrap()), (9, version(10)));
    let reused = restored.add(version(9), material(3), at(0));
    assert!(
        matches!(reused, Err(LifecycleError::VersionNumber { last, .. }) if last == version(9))
    );
    restored.add(version(u32::MAX), material(3), at(0)).unwrap();
    let spent = restored.next_version();
    assert!(
        matches!(spent, Err(LifecycleError::VersionNumber { last, .. }) if last == version(u32::MAX))
    );
}

#[test]
fn impossible_keyset_is_not_restored() {
    let record = |number: u32, state| {
        let mut record = VersionRecord::new(version(number), material(number as u8), at(0));
        record.state = state;
        record
    };
    let (primary, enabled) = (VersionState::Primary, VersionState::Enabled);
    for (taken, records, wrong) in [
        (1, vec![record(1, primary)], None),
        (0, vec![], None),
        (7, vec![], None),
        (3, vec![record(1, enabled), record(3, primary)], None),
        (2, vec![record(1, enabled), record(3, primary)], Some(3)),
        (3, vec![record(3, enabled), record(1, primary)], Some(1)),
        (3, vec![record(3, enabled), record(3, enabled)], Some(3)),
        (3, vec![record(1, primary), record(3, primary)], Some(3)),
    ] {
        match (Keyset::restore("orders", taken, records), wrong) {
            (Ok(_), None) => {}
            (Err(LifecycleError::VersionNumber { last, .. }), Some(wrong)) => {
                assert_eq!(last, version(wrong));
            }
            (result, _) => panic!("{wrong:?}: {result:?}"),
        }
    }
    let named = |name: &str| Keyset::restore(name, 0, vec![]);
    assert!(
        matches!(named(&"a".repeat(65)), Err(LifecycleError::KeyName(error)) if error.offset == 64)
    );
    let keysets = |names: &[&str], aliases: &[(&str, &str)]| {
        let keysets = names.iter().map(|name| named(name).unwrap()).collect();
        let aliases = aliases.iter().map(|(a, b)| (a.to_string(), b.to_string()));
        KeysetMap::restore(7, 5, keysets, aliases.collect::<BTreeMap<_, _>>())
    };
    let good = keysets(&["b", "a"], &[("c", "a")]).unwrap();
    assert_eq!((good.revision(), good.change()), (7, 5));
    assert!(good.iter().map(|keyset| keyset.name().as_str()).eq(["a", "b"]));
    assert!(
        matches!(keysets(&["a", "a"], &[]), Err(LifecycleError::NameTaken { name }) if name == "a")
    );
    let taken = keysets(&["a", "b"], &[("b", "a")]);
    assert!(matches!(taken, Err(LifecycleError::NameTaken { name }) if name == "b"));
    let dangling = keysets(&["a"], &[("b", "c")]);
    assert!(matches!(dangling, Err(LifecycleError::UnknownKey { key }) if key == "c"));
    assert!(matches!(keysets(&["a"], &[("", "a")]), Err(LifecycleError::KeyName(_))));
}

/// Whatever state a stored record has: a leaked version wraps nothing.
#[test]
fn compromised_version_is_not_promoted_in_any_state() {
    for state in VersionState::ALL.iter().copied() {
        let keyset = rotated();
        let mut versions = keyset.versions().to_vec();
        versions[0].state = state;
        versions[0].compromised = Some(at(5));
        versions[1].state = VersionState::Enabled;
        let mut keyset = Keyset::restore("orders", 2, versions).unwrap();
        let error =
            keyset.apply(version(1), Operation::Promote, &ChangeOptions::at(at(9))).unwrap_err();
        assert!(matches!(error, LifecycleError::VersionState { .. }), "{state}: {error}");
        let keysets = KeysetMap::restore(1, 1, vec![keyset], BTreeMap::new()).unwrap();
        let policy = RotationPolicy::on_compromise().distribute_for(Duration::from_secs(1));
        let plan = policy.plan(&keysets, "orders", at(9)).unwrap();
        let promoted = |due: &PlannedAction| due.action == Action::Promote(version(1));
        assert!(!plan.due().iter().any(promoted), "{state}: {plan}");
    }
}

#[test]
fn labels_are_bounded_and_forge_no_line() {
    let mut labels = Labels::default();
    let name = |len: usize| "n".repeat(len);
    for (len, fits) in [(0, false), (1, true), (63, true), (64, true), (65, false)] {
        let result = labels.set(&name(len), Some("value"));
        assert_eq!(result, if fits { Ok(()) } else { Err(LabelFault::Name) }, "{len}");
    }
    assert_eq!((MAX_LABEL_NAME_LEN, MAX_LABEL_VALUE_LEN, MAX_LABELS), (64, 256, 16));
    for wrong in ["-a", "a b", "a\n", "é"] {
        assert_eq!(labels.set(wrong, Some("value")), Err(LabelFault::Name), "{wrong:?}");
    }
    for (len, fits) in [(0, true), (255, true), (256, true), (257, false)] {
        let result = labels.set("len", Some(&"v".repeat(len)));
        assert_eq!(result, if fits { Ok(()) } else { Err(LabelFault::Value) }, "{len}");
    }
    // Bytes count, not characters.
    assert_eq!(labels.set("len", Some(&"é".repeat(128))), Ok(()));
    assert_eq!(labels.set("len", Some(&"é".repeat(129))), Err(LabelFault::Value));
    for control in ('\0'..=' ').chain('\u{7f}'..='\u{a0}') {
        let result = labels.set("control", Some(&format!("a{control}b")));
        assert_eq!(result.is_err(), control.is_control(), "{control:?}");
    }
    let mut full = Labels::default();
    for number in 0..MAX_LABELS {
        assert_eq!(full.set(&format!("l{number}"), Some("1")), Ok(()));
    }
    let before = full.clone();
    assert_eq!(full.set("more", Some("1")), Err(LabelFault::TooMany));
    assert_eq!(full.set("more", None), Ok(()));
    assert_eq!(full, before);
    assert_eq!(full.set("l3", Some("2")), Ok(()));
    assert_eq!((full.get("l3"), full.get("l4"), full.get("more")), (Some("2"), Some("1"), None));
    assert_eq!(full.set("l3", None), Ok(()));
    assert_eq!(full.set("more", Some("1")), Ok(()));
    assert_eq!(full.iter().count(), MAX_LABELS);
    assert!(!full.is_empty() && Labels::default().is_empty());
}

#[test]
fn counters_of_usage_do_not_wrap() {
    let most = Usage { wraps: u64::MAX, bytes: 1 };
    assert_eq!(most.plus(most), Usage { wraps: u64::MAX, bytes: 2 });
}

#[test]
fn key_material_of_another_length_is_no_key() {
    for len in 0..100 {
        let key = envelock::MasterKey::from_slice(&vec![7; len]);
        assert_eq!(key.is_some(), len == 32);
        let Some(key) = key else { continue };
        let same = envelock::MasterKey::from_bytes(&[7; 32]);
        let ids = [key, same].map(|key| {
            let keyring = envelock::MemoryKeyring::import("a", KeyVersion::FIRST, &key).unwrap();
            keyring.versions()[0].master_key_id
        });
        assert_eq!(ids[0], ids[1]);
    }
}
