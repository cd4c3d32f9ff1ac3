//! Lines of two states of a file, put together (FORMAT F-COMPROMISED, F-SALVAGE), in whichever order
//! clocks and change numbers say that they came.

use super::craft::unprotected;
use super::make::version;
use envelock::keyset::LifecycleError;
use envelock::test_access::key_file_format::{KeyFile, salvage};
use envelock::{
    Timestamp,
    file::{KeyFileFault, Protection, RecordFault, RecordName},
    keyset::{ChangeOptions, Operation, VersionState},
};
use serde_json::{Value, json};

const LATER: Timestamp = Timestamp::from_unix_seconds(1_900_000_000);

/// The record of a version in `state`, and marked compromised or not.
fn record(good: &str, state: VersionState, marked: bool, minute: u32, changed: u64) -> String {
    let mut record: Value = serde_json::from_str(good).unwrap();
    let fields = record.as_object_mut().unwrap();
    fields.insert("state".into(), json!(state.name()));
    fields.insert("state_since".into(), json!(format!("2026-11-22T12:{minute:02}:00Z")));
    fields.insert("changed".into(), json!(changed));
    if marked {
        fields.insert("compromised".into(), json!("2026-11-22T12:00:00Z"));
    }
    match state {
        VersionState::Destroyed => drop(fields.remove("sealed")),
        VersionState::DestroyScheduled => {
            drop(fields.insert("destroy_at".into(), json!("2026-12-22T12:00:00Z")));
        }
        _ => {}
    }
    record.to_string()
}

/// The lines of an unprotected file without one version of `orders`, and that one.
fn without_version_2() -> (Vec<String>, usize, String) {
    let (mut good, _) = unprotected();
    let start = r#"{"kind":"version","key":"orders","version":2,"#;
    let at = good.iter().position(|it| it.starts_with(start)).unwrap();
    let record = good.remove(at);
    (good, at, record)
}

fn is_promotable(state: VersionState) -> bool {
    matches!(state, VersionState::Pending | VersionState::Primary | VersionState::Enabled)
}

#[test]
fn salvage_never_makes_compromised_promotable() {
    let (good, at, line) = without_version_2();
    let (_, crafter) = unprotected();
    let none = Protection::unprotected_plaintext();
    let mut merged = 0;
    for (one, other) in VersionState::ALL
        .iter()
        .flat_map(|one| VersionState::ALL.iter().map(|other| (*one, *other)))
    {
        for (minute, changed) in [(0, 1), (0, 2), (2, 1), (2, 2)] {
            let marked = record(&line, one, true, 1, 1);
            let other_line = record(&line, other, false, minute, changed);
            for lines in [[&marked, &other_line], [&other_line, &marked]] {
                let mut records = good.clone();
                records.splice(at..at, lines.map(String::from));
                let salvaged = salvage(&crafter.file(&records), &none).unwrap();
                let mut keyset = salvaged.file.keysets().keyset("orders").unwrap().clone();
                let found = keyset.version(version(2)).unwrap();
                let case = format!("{one}, {other}, {minute}, {changed}: {found:?}");
                assert!(found.compromised.is_some() && !is_promotable(found.state), "{case}");
                let destroyed = VersionState::Destroyed;
                assert_eq!(found.state == destroyed, one == destroyed || other == destroyed);
                for operation in [Operation::Enable, Operation::Promote] {
                    let refused = keyset.apply(version(2), operation, &ChangeOptions::at(LATER));
                    match (operation, refused) {
                        (Operation::Promote, Err(LifecycleError::VersionState { .. })) => {}
                        (Operation::Enable, _) => {
                            let state = keyset.version(version(2)).unwrap().state;
                            assert!(!is_promotable(state), "{case}");
                        }
                        (_, other) => panic!("{case}: {other:?}"),
                    }
                }
                merged += 1;
            }
        }
    }
    assert_eq!(merged, 7 * 7 * 8);
}

fn is_primary(record: &str) -> bool {
    let start = r#"{"kind":"version","key":"orders","#;
    record.starts_with(start) && record.contains(r#""state":"primary""#)
}

/// FORMAT F-ERASED
#[test]
fn undestroyed_version_of_erased_key_is_refused() {
    let (mut good, crafter) = unprotected();
    let key =
        good.iter_mut().find(|it| it.starts_with(r#"{"kind":"key","name":"orders""#)).unwrap();
    *key = key.replace(r#""taken":20"#, r#""taken":20,"erased":"2026-11-22T12:00:00Z""#);
    let none = Protection::unprotected_plaintext();
    let fault = KeyFile::open(&crafter.file(&good), &none).unwrap_err();
    let KeyFileFault::Record { record, what, .. } = fault else { panic!("{fault}") };
    assert_eq!(record, RecordName::Version { key: "orders".into(), version: version(2) });
    assert_eq!(what, RecordFault::Value { field: "state" });
}

/// The writer of the file.
#[test]
fn version_with_compromise_date_is_compromised() {
    let (good, at, line) = without_version_2();
    let (_, crafter) = unprotected();
    for state in VersionState::ALL.iter().copied() {
        let mut records = good.clone();
        if state == VersionState::Primary {
            let primary = records.iter_mut().find(|it| is_primary(it)).unwrap();
            *primary = primary.replace(r#""state":"primary""#, r#""state":"enabled""#);
        }
        records.insert(at, record(&line, state, true, 1, 1));
        let bytes = crafter.file(&records);
        let (file, _) = KeyFile::open(&bytes, &Protection::unprotected_plaintext()).unwrap();
        let keyset = file.keysets().keyset("orders").unwrap();
        let expected = if is_promotable(state) { VersionState::Compromised } else { state };
        assert_eq!(keyset.version(version(2)).unwrap().state, expected);
        assert_eq!(keyset.primary().is_none(), state == VersionState::Primary);
    }
}
