//! Lines that were dropped, repeated, moved, cut or mixed.

use super::craft::{Crafter, records, unprotected};
use super::make::{NOW, Seeded, change, operate, raw_key, twenty};
use envelock::test_access::key_file_format::{KeyFile, salvage};
use envelock::{
    file::{KeyFileFault, Protection, RecordFault, RecordName},
    keyset::{Change, Operation, VersionState},
};

fn fault_of(bytes: &[u8]) -> (usize, RecordFault) {
    match KeyFile::open(bytes, &raw_key()).map(drop).unwrap_err() {
        KeyFileFault::Record { line, what, .. } => (line, what),
        other => panic!("{other}"),
    }
}

fn lines(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split_inclusive(|byte| *byte == b'\n').collect()
}

/// FORMAT F-END
#[test]
fn every_truncation_is_found_and_whole_lines_salvaged() {
    let (file, key) = twenty(&raw_key(), 1);
    let bytes = file.encode(&key, NOW).unwrap();
    let mut salvaged_of = 0;
    for len in 0..bytes.len() {
        let cut = &bytes[..len];
        let fault = KeyFile::open(cut, &raw_key()).map(drop).unwrap_err();
        let line = lines(cut).len().max(1);
        assert_eq!(fault.line(), Some(line), "{len} bytes: {fault}");
        // The header has a protection as soon as its line is whole.
        match salvage(cut, &raw_key()) {
            Ok(salvaged) => {
                let whole = lines(cut).into_iter().filter(|line| {
                    let text = String::from_utf8_lossy(line);
                    text.starts_with("{\"record\":{\"kind\":\"version\"") && text.ends_with("\"}\n")
                });
                let found = salvaged.intact.len();
                // A line that lacks nothing but its end counts too.
                let count = whole.count();
                assert!(found == count || found == count + 1, "{len} bytes");
                salvaged_of += 1;
            }
            Err(_) => assert_eq!(line, 1, "{len} bytes"),
        }
    }
    assert!(salvaged_of > bytes.len() * 9 / 10);
}

/// FORMAT F-WHOLE, F-ORDER
#[test]
fn every_dropped_repeated_or_moved_line_is_found() {
    let (file, key) = twenty(&raw_key(), 1);
    let bytes = file.encode(&key, NOW).unwrap();
    let lines = lines(&bytes);
    let mut count = 0;
    let mut refused = |changed: Vec<&[u8]>| {
        let changed = changed.concat();
        if changed != bytes {
            assert!(KeyFile::open(&changed, &raw_key()).is_err());
            assert!(KeyFile::reload(&changed, &key).is_err());
            count += 1;
        }
    };
    for at in 0..lines.len() {
        let mut dropped = lines.clone();
        dropped.remove(at);
        refused(dropped);
        for to in 0..=lines.len() {
            let mut repeated = lines.clone();
            repeated.insert(to, lines[at]);
            refused(repeated);
            let mut moved = lines.clone();
            let line = moved.remove(at);
            moved.insert(to.min(moved.len()), line);
            refused(moved);
        }
        for other in 0..lines.len() {
            let mut swapped = lines.clone();
            swapped.swap(at, other);
            refused(swapped);
        }
    }
    println!("{count} files with lines out of order");
    assert!(count > 1500);
}

/// Two revisions of one file under one file key, and every mix of their lines.
#[test]
fn lines_of_an_older_revision_are_found() {
    let mut rng = Seeded::new(5);
    let (mut file, key) = twenty(&raw_key(), 1);
    let old = file.encode(&key, NOW).unwrap();
    let changes = [
        operate("orders", 3, Operation::DestroyImmediately),
        operate("orders", 13, Operation::Promote),
        Change::SetAlias { alias: "current", key: "eu/invoices" },
    ];
    change(&mut file, &key, &changes, NOW.plus(std::time::Duration::from_secs(90_000)), &mut rng)
        .unwrap();
    let new = file.encode(&key, NOW).unwrap();
    let (old, new) = (lines(&old), lines(&new));
    assert_eq!(old.len(), new.len());
    let mut mixed = 0;
    for at in 0..new.len() {
        for (into, from) in [(&new, &old), (&old, &new)] {
            let mut lines = into.clone();
            lines[at] = from[at];
            if lines == *into {
                continue;
            }
            mixed += 1;
            let bytes = lines.concat();
            let (line, what) = fault_of(&bytes);
            // Two primaries are reported at the second, a future change at its record; everything else at
            // the end.
            let there = ["state", "changed"].map(|field| RecordFault::Value { field });
            assert!(
                there.contains(&what) || (what, line) == (RecordFault::Whole, new.len()),
                "line {line}"
            );
            // A destroyed version does not come back if both lines are present.
            let both = [&bytes[..], &new.concat(), &old.concat()].concat();
            let salvaged = salvage(&both, &raw_key()).unwrap();
            let orders = salvaged.file.keysets().keyset("orders").unwrap();
            let third = orders.version(super::make::version(3)).unwrap();
            assert_eq!(third.state, VersionState::Destroyed);
            assert_eq!(orders.primary(), Some(super::make::version(13)));
            assert_eq!(salvaged.revision, Some(3));
            assert_eq!(salvaged.intact.len(), 20);
            assert!(salvaged.damaged.iter().all(|it| it.what != RecordFault::Mac));
        }
    }
    assert!(mixed >= 12, "only {mixed}");
}

#[test]
fn line_of_another_file_is_found() {
    let (file, key) = twenty(&raw_key(), 1);
    let (other, other_key) = twenty(&raw_key(), 3);
    let bytes = file.encode(&key, NOW).unwrap();
    let other = other.encode(&other_key, NOW).unwrap();
    for at in 1..lines(&bytes).len() - 1 {
        let mut mixed = lines(&bytes);
        mixed[at] = lines(&other)[at];
        assert_eq!(fault_of(&mixed.concat()), (at + 1, RecordFault::Mac));
    }
}

/// FORMAT F-ORDER, F-NAMES, F-DESTROYED, F-JSON, F-COPY, F-CHANGE: with every MAC right.
#[test]
fn records_breaking_a_rule_are_refused_by_line() {
    let (good, crafter) = unprotected();
    let protection = Protection::unprotected_plaintext;
    let line = |start: &str| good.iter().position(|it| it.starts_with(start)).unwrap();
    let of =
        |number: u32| line(&format!(r#"{{"kind":"version","key":"orders","version":{number},"#));
    let key = |name: &str| line(&format!(r#"{{"kind":"key","name":"{name}""#));
    let alias = line(r#"{"kind":"alias""#);
    let value = |field| RecordFault::Value { field };
    let unknown = |field, name: &str| RecordFault::UnknownName { field, name: name.into() };
    let missing = |field| RecordFault::Missing { field };
    let hold = |fields: &str| format!(r#""changed":1,"hold":{{{fields}}},"#);
    let since = |reason: &str| format!(r#""since":"2026-11-21T16:04:52Z","reason":"{reason}""#);
    let holds = [
        r#""reason":"x""#,
        r#""since":"2026-11-21","reason":"x""#,
        &since(&"x".repeat(257)),
        &since("a\\nb"),
    ];
    let holds = holds.map(hold);
    let taken = |more: String| format!(r#""taken":20,{more}"#);
    let too_many = taken(format!(r#""removed":"{}""#, "0123456789abcdef".repeat(2049)));
    let twice = taken(format!(r#""removed":"{}""#, "0123456789abcdef".repeat(2)));
    let names: Vec<String> = (0..257).map(|name| format!("\"{name}\"")).collect();
    let former = format!(r#""changed":1,"former":[{}]"#, names.join(","));
    let cases: Vec<(usize, &str, &str, RecordFault)> = vec![
        (of(2), r#""state":"enabled""#, r#""state":"frozen""#, unknown("state", "frozen")),
        (of(2), r#""origin":"generated""#, r#""origin":"found""#, unknown("origin", "found")),
        (of(2), "XAES-256-GCM", "ROT-13", unknown("algorithm", "ROT-13")),
        (of(2), r#""state":"enabled""#, r#""state":"destroyed""#, value("sealed")),
        (
            of(1),
            r#""state":"destroyed""#,
            r#""state":"disabled""#,
            RecordFault::Missing { field: "sealed" },
        ),
        (of(2), r#""state":"enabled""#, r#""state":"primary""#, RecordFault::Misplaced),
        (of(2), r#""version":2,"#, r#""version":0,"#, value("version")),
        (of(2), r#""version":2,"#, r#""version":4294967298,"#, value("version")),
        (of(2), r#""version":2,"#, r#""version":2.0,"#, value("version")),
        (of(2), r#""version":2,"#, r#""version":21,"#, value("version")),
        (of(3), r#""version":3,"#, r#""version":2,"#, RecordFault::Misplaced),
        (of(2), r#""key":"orders""#, r#""key":"eu/invoices""#, RecordFault::Misplaced),
        (of(2), r#""key":"orders""#, r#""key":"..""#, value("key")),
        (
            of(2),
            r#""created":"2026-11-21T16:04:52Z""#,
            r#""created":"2026-11-31T16:04:52Z""#,
            value("created"),
        ),
        (of(2), r#""promoted":"2026-11-21T16:04:52Z""#, r#""promoted":null"#, value("promoted")),
        (of(2), r#""wraps":0"#, r#""wraps":-1"#, value("wraps")),
        (of(2), r#""wraps":0"#, r#""wraps":0,"wraps":0"#, RecordFault::Json),
        (of(2), r#""wraps":0,"#, "", RecordFault::Missing { field: "wraps" }),
        (of(2), r#""labels":{"#, r#""labels":{"ticket":"","#, RecordFault::Json),
        (of(2), r#""changed":1,"#, "", RecordFault::Missing { field: "changed" }),
        (of(2), r#""changed":1,"#, r#""changed":3,"#, value("changed")),
        (of(2), r#""changed":1,"#, r#""changed":1,"hold":true,"#, value("hold")),
        (of(2), r#""changed":1,"#, &holds[0], value("hold")),
        (of(2), r#""changed":1,"#, &holds[1], value("hold")),
        (of(2), r#""changed":1,"#, &holds[2], value("hold")),
        (of(2), r#""changed":1,"#, &holds[3], value("hold")),
        (of(2), r#"{"kind":"version""#, r#"["kind","version""#, RecordFault::Frame),
        (of(2), r#"{"kind":"version""#, r#"{"kind":7"#, value("kind")),
        (key("orders"), r#""taken":20"#, r#""taken":4294967296"#, value("taken")),
        (key("orders"), r#","changed":1"#, "", RecordFault::Missing { field: "changed" }),
        (key("orders"), r#""taken":20"#, r#""taken":20,"floor":22"#, value("floor")),
        (key("orders"), r#""taken":20"#, r#""taken":20,"floor":-1"#, value("floor")),
        (key("orders"), r#""taken":20"#, r#""taken":20,"removed":"5a""#, value("removed")),
        (key("orders"), r#""taken":20"#, r#""taken":20,"removed":7"#, value("removed")),
        (key("orders"), r#""taken":20"#, &too_many, value("removed")),
        (key("orders"), r#""taken":20"#, &twice, RecordFault::DuplicateId),
        (key("orders"), r#""taken":20"#, r#""taken":20,"erased":true"#, value("erased")),
        (of(2), r#""changed":1,"#, r#""changed":1,"evidence":true,"#, value("evidence")),
        (of(2), r#""changed":1,"#, r#""changed":1,"last_promoted":7,"#, value("last_promoted")),
        (alias, r#""changed":1"#, r#""changed":1,"former":"orders""#, value("former")),
        (alias, r#""changed":1"#, r#""changed":1,"former":["orders"]"#, value("former")),
        (alias, r#""changed":1"#, r#""changed":1,"former":["a","a"]"#, value("former")),
        (alias, r#""changed":1"#, r#""changed":1,"former":["a b"]"#, value("former")),
        (alias, r#""changed":1"#, &former, value("former")),
        (key("orders"), r#""taken":20"#, r#""taken":20,"evidence":false"#, value("evidence")),
        (key("orders"), r#""taken":20"#, r#""taken":20,"hold":{}"#, value("hold")),
        (alias, r#","changed":1"#, "", RecordFault::Missing { field: "changed" }),
        (alias, r#""changed":1"#, r#""changed":3"#, value("changed")),
        (key("orders"), r#""name":"orders""#, r#""name":"eu/invoices""#, RecordFault::Misplaced),
        (alias, r#""key":"orders""#, r#""key":"order""#, RecordFault::UnknownKey),
        (alias, r#""name":"current""#, r#""name":"orders""#, RecordFault::Misplaced),
        (alias, r#"{"kind":"alias""#, r#"{"kind":"header""#, RecordFault::Misplaced),
        (0, r#""change":2"#, r#""change":3"#, value("change")),
        (0, r#""change":2"#, r#""changed_at":2"#, RecordFault::Missing { field: "change" }),
        (0, r#""change":2"#, r#""change":2,"audit":{"size":1,"root":"5a"}"#, value("audit")),
        (0, r#""change":2"#, r#""change":2,"audit":7"#, value("audit")),
        (0, r#""protections":[{"#, r#""protection":[{"#, missing("protections")),
        (0, r#""protections":[{"#, r#""protections":[1,{"#, RecordFault::Json),
        (0, r#""protections":[{"#, r#""protections":[{"name":"a b","#, value("name")),
        (0, r#""critical":[]"#, r#""critical":{}"#, value("critical")),
        (
            0,
            r#""kind":"unprotected plaintext""#,
            r#""kind":"rot13""#,
            unknown("protection", "rot13"),
        ),
    ];
    for (at, from, to, expected) in cases {
        let mut records = good.clone();
        assert!(records[at].contains(from), "{from} is not in {}", records[at]);
        records[at] = records[at].replacen(from, to, 1);
        // A second primary is reported at the second.
        let at = if to.contains("primary") { of(14) } else { at };
        let expected = if to.contains("primary") { value("state") } else { expected };
        let bytes = crafter.file(&records);
        match KeyFile::open(&bytes, &protection()).map(drop).unwrap_err() {
            KeyFileFault::Record { line, what, .. } => {
                assert_eq!((line, what), (at + 1, expected), "{to}");
            }
            other => panic!("{to}: {other}"),
        }
    }
    let ids = |at: usize| good[at].split(r#""id":""#).nth(1).unwrap()[..16].to_owned();
    let mut records = good.clone();
    records[of(3)] = records[of(3)].replace(&ids(of(3)), &ids(of(2)));
    let fault = KeyFile::open(&crafter.file(&records), &protection()).map(drop).unwrap_err();
    assert!(matches!(fault, KeyFileFault::Record { what: RecordFault::DuplicateId, .. }));
    copy_and_end(&good, &crafter);
}

fn copy_and_end(good: &[String], crafter: &Crafter) {
    let protection = Protection::unprotected_plaintext();
    let bytes = crafter.file(good);
    let end = lines(&bytes).last().unwrap().to_vec();
    let end = std::str::from_utf8(&end).unwrap();
    let record = &end["{\"record\":".len()..end.len() - 75];
    let other = record
        .replace(r#""revision":2"#, r#""revision":1"#)
        .replace(r#""change":2"#, r#""change":1"#);
    let body = &bytes[..bytes.len() - end.len()];
    let changed = [body, crafter.line(&other).as_bytes()].concat();
    let fault = KeyFile::open(&changed, &protection).map(drop).unwrap_err();
    let KeyFileFault::Record { line, record: RecordName::End, what } = fault else {
        panic!("{fault}")
    };
    assert_eq!((line, what), (good.len() + 1, RecordFault::HeaderCopy));
    for junk in ["\n", "{}\n", " ", end] {
        let longer = [&bytes, junk.as_bytes()].concat();
        let fault = KeyFile::open(&longer, &protection).map(drop).unwrap_err();
        assert_eq!(fault.line(), Some(good.len() + 2), "{junk:?}: {fault}");
    }
    for (from, to) in [("\"version\":2", "\"version\":3"), ("envelock key file", "age")] {
        let mut records = good.to_vec();
        records[0] = records[0].replacen(from, to, 1);
        let fault = KeyFile::open(&crafter.file(&records), &protection).map(drop).unwrap_err();
        let expected = match to {
            "age" => matches!(fault, KeyFileFault::NotKeyFile { .. }),
            // FORMAT F-FORMAT
            _ => matches!(fault, KeyFileFault::FormatVersion { version: 3 }),
        };
        assert!(expected, "{fault}");
    }
    assert_eq!(records(&bytes), good);
}

/// FORMAT F-SALVAGE: whatever the other line says of its time.
#[test]
fn destroyed_version_stays_destroyed_in_salvage() {
    let (mut records, crafter) = unprotected();
    let start = r#"{"kind":"version","key":"orders","version":2,"#;
    let record = records.iter().find(|it| it.starts_with(start)).unwrap();
    let (front, _) = record.split_once(r#","labels""#).unwrap();
    let destroyed = front.replace(r#""state":"enabled""#, r#""state":"destroyed""#);
    records.push(format!("{}}}", destroyed.replace("2026-11-21", "2020-11-21")));
    let protection = Protection::unprotected_plaintext();
    let salvaged = salvage(&crafter.file(&records), &protection).unwrap();
    let orders = salvaged.file.keysets().keyset("orders").unwrap();
    let second = orders.version(super::make::version(2)).unwrap();
    assert_eq!(second.state, VersionState::Destroyed);
    assert_eq!((salvaged.intact.len(), salvaged.damaged.len()), (20, 1));
}
