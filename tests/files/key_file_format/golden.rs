//! Key files of versions 1 and 2 open permanently, under every protection (THREATS row 59).
//!
//! `tests/golden/keyfile` (version 1) and `tests/golden/keyfile2` never change. A new one is added
//! to [`made`] and written with
//! `ENVELOCK_GOLDEN_DIR=tests/golden/keyfile2 cargo test --test files key_file_format -- --ignored`,
//! which refuses to overwrite a file with other bytes. `ci/python/keyfile.py` reads them too.

use super::clock::processor_time;
use super::craft::Crafter;
use super::make::{NOW, Seeded, create_key, operate, twenty};
use super::{protections, token};
use envelock::test_access::key_file_format::{KeyFile, salvage};
use envelock::{
    MasterKey, MemoryKeyring,
    file::Protection,
    keyset::{Change, KeysetMap, Operation},
};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

const SEED: u8 = 21;

const DIRECTORIES: [&str; 2] = ["keyfile", "keyfile2"];

fn directory(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Name, version, id, state and usage of every version, one on each line, and the aliases.
fn listing(keysets: &KeysetMap) -> String {
    let mut text = String::new();
    for keyset in keysets.iter() {
        writeln!(text, "{} taken {}", keyset.name(), keyset.highest_version()).unwrap();
        for it in keyset.versions() {
            let (version, id, state) = (it.version, it.master_key_id, it.state.name());
            writeln!(text, "{} {version} {id} {state}", keyset.name()).unwrap();
        }
    }
    for (alias, key) in keysets.aliases() {
        writeln!(text, "{alias} -> {key}").unwrap();
    }
    text
}

/// Every file that the generators make, and what is in each of them.
fn made() -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    let mut listed = String::new();
    for (name, protection, _) in protections::all() {
        let (file, key) = twenty(&protection, SEED);
        files.push((format!("{name}.keys"), file.encode(&key, NOW).unwrap()));
        writeln!(listed, "# {name}").unwrap();
        listed.push_str(&listing(file.keysets()));
    }
    files.push(("listing.txt".into(), listed.into_bytes()));
    let (file, key) = token::mixed(22);
    files.push(("token.keys".into(), file.encode(&key, NOW).unwrap()));
    files.push(("token.txt".into(), listing(file.keysets()).into_bytes()));
    let (several, all) = several();
    files.push(("several.keys".into(), several));
    files.push(("several.txt".into(), all.into_bytes()));
    let (records, all) = records();
    files.push(("records.keys".into(), records));
    files.push(("records.txt".into(), all.into_bytes()));
    files
}

/// A file with a protection of each kind that can stand beside others, and with all that later
/// versions of this library are known to write (FORMAT F-RESERVED, F-FLOOR), by the second writer.
fn several() -> (Vec<u8>, String) {
    let mut rng = Seeded::new(SEED + 1);
    let (mut file, key) = twenty(&super::make::raw_key().named("application"), SEED);
    let people = [protections::passphrase("correct horse"), protections::passphrase("battery")];
    for (protection, name) in people.into_iter().zip(["operator", "recovery"]) {
        file.add_protection(&key, &protection.named(name), &mut rng).unwrap();
    }
    let outer = Protection::keyring(protections::outer());
    file.add_protection(&key, &outer, &mut rng).unwrap();
    let crafter = Crafter::drawn(SEED);
    let mut records = super::craft::records(&file.encode(&key, NOW).unwrap());
    let root = "5a".repeat(32);
    append(
        &mut records,
        r#"{"kind":"header""#,
        &format!(r#""audit":{{"size":41,"root":"{root}"}}"#),
    );
    let hold = r#""hold":{"since":"2026-11-21T16:04:52Z","reason":"case 7 \u00fc"}"#;
    append(&mut records, r#"{"kind":"version","key":"orders","version":6"#, hold);
    append(&mut records, r#"{"kind":"key","name":"orders""#, &format!(r#""evidence":true,{hold}"#));
    let of = |start: &str, records: &[String]| {
        records.iter().position(|it| it.starts_with(start)).unwrap()
    };
    let first = of(r#"{"kind":"version","key":"orders","version":1,"#, &records);
    records.remove(first);
    let key_record = of(r#"{"kind":"key","name":"orders""#, &records);
    records[key_record] = records[key_record].replace(r#""taken":20"#, r#""taken":20,"floor":2"#);
    let bytes = crafter.file(&records);
    let (file, _) = KeyFile::open(&bytes, &super::make::raw_key()).unwrap();
    (bytes, listing(file.keysets()))
}

/// A file with every field that a record of version 2 can have: an erased key, removed records, a
/// version that was promoted again, compromised ones in each state, and an alias that moved.
fn records() -> (Vec<u8>, String) {
    let mut rng = Seeded::new(SEED + 2);
    let (mut file, key) = twenty(&super::make::raw_key(), SEED + 2);
    let (orders, year) = ("orders", "year");
    let through = super::make::version;
    let changes = [
        create_key("2026"),
        create_key("acme"),
        Change::Rotate { key: "acme" },
        Change::SetAlias { alias: year, key: "2026" },
        Change::SetAlias { alias: year, key: "eu/invoices" },
        Change::SetAlias { alias: year, key: orders },
        operate(orders, 20, Operation::MarkCompromised),
        operate(orders, 5, Operation::MarkCompromised),
        operate(orders, 3, Operation::MarkCompromised),
        operate(orders, 13, Operation::Promote),
        operate(orders, 14, Operation::Promote),
        Change::RemoveRecords { key: orders, through: through(1) },
        Change::EraseKey { key: "acme" },
        Change::EraseKey { key: "eu/invoices" },
        Change::RemoveRecords { key: "eu/invoices", through: through(5) },
    ];
    let later = NOW.plus(std::time::Duration::from_secs(2 * 86_400));
    super::make::change(&mut file, &key, &changes, later, &mut rng).unwrap();
    let mut records = super::craft::records(&file.encode(&key, NOW).unwrap());
    let hold = r#""hold":{"since":"2026-11-21T16:04:52Z","reason":"case 7"}"#;
    append(&mut records, r#"{"kind":"version","key":"orders","version":6"#, hold);
    let kept = r#""kept":"2026-11-21T16:04:52Z""#;
    append(&mut records, r#"{"kind":"version","key":"orders","version":7"#, kept);
    let noted = format!(r#""evidence":true,{hold},{}"#, hold.replace("hold", "waived"));
    append(&mut records, r#"{"kind":"key","name":"orders""#, &noted);
    let evidence = format!(r#""evidence":"{}""#, "e1".repeat(32));
    append(&mut records, r#"{"kind":"version","key":"acme","version":1"#, &evidence);
    let bytes = Crafter::drawn(SEED + 2).file(&records);
    let (file, key) = KeyFile::open(&bytes, &super::make::raw_key()).unwrap();
    (file.encode(&key, NOW).unwrap(), listing(file.keysets()))
}

fn append(records: &mut [String], start: &str, field: &str) {
    let record = records.iter_mut().find(|record| record.starts_with(start)).unwrap();
    record.pop();
    record.push_str(&format!(",{field}}}"));
}

#[test]
fn every_golden_key_file_opens_and_is_salvaged() {
    DIRECTORIES.iter().for_each(|directory| every_one_opens(directory));
}

fn every_one_opens(of: &str) {
    let listed = std::fs::read_to_string(directory(of).join("listing.txt")).unwrap();
    for (name, protection, _) in protections::all() {
        let bytes = std::fs::read(directory(of).join(format!("{name}.keys"))).unwrap();
        let (file, key) = KeyFile::open(&bytes, &protection).unwrap();
        assert_eq!(file.verify_material(&key).unwrap(), 19, "{name}");
        assert!(listed.contains(&format!("# {name}\n{}", listing(file.keysets()))), "{name}");
        assert!(file.encode(&key, NOW).unwrap() == bytes, "{name}");
        let salvaged = salvage(&bytes, &protection).unwrap();
        assert!(salvaged.damaged.is_empty() && salvaged.file == file, "{name}");
    }
}

/// Every file opens by the secrets beside it.
#[test]
fn every_golden_key_file_opens_with_its_secrets() {
    let text = std::fs::read_to_string(directory("secrets.txt")).unwrap();
    for of in DIRECTORIES {
        let files = std::fs::read_dir(directory(of)).unwrap();
        let files = files.map(|it| it.unwrap().file_name().into_string().unwrap());
        let files: BTreeSet<_> = files.filter(|name| name.ends_with(".keys")).collect();
        let mut opened = BTreeSet::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, secret) = line.split_once(' ').unwrap();
            let Ok(bytes) = std::fs::read(directory(of).join(name)) else { continue };
            let (file, key) = KeyFile::open(&bytes, &protection(secret)).unwrap();
            assert!(file.verify_material(&key).unwrap() > 0, "{of}: {line}");
            opened.insert(name.to_owned());
        }
        assert_eq!(opened, files, "{of}");
    }
}

fn protection(secret: &str) -> Protection {
    let key = |hex: &str| MasterKey::from_bytes(&hex::decode(hex).unwrap().try_into().unwrap());
    match secret.split(' ').collect::<Vec<_>>()[..] {
        ["passphrase", text] => {
            protections::passphrase(&String::from_utf8(hex::decode(text).unwrap()).unwrap())
        }
        ["raw-key", hex] => Protection::raw_key(key(hex)),
        ["keyring", name, version, hex] => {
            let version = super::make::version(version.parse().unwrap());
            let outer = MemoryKeyring::import_at(name, version, &key(hex), NOW).unwrap();
            Protection::keyring(std::sync::Arc::new(outer))
        }
        ["unprotected"] => Protection::unprotected_plaintext(),
        _ => panic!("{secret}"),
    }
}

/// FORMAT F-TOKEN
#[test]
fn golden_key_files_on_a_token_open_and_are_salvaged() {
    DIRECTORIES.iter().for_each(|directory| the_one_of_a_token_opens(directory));
}

fn the_one_of_a_token_opens(of: &str) {
    let bytes = std::fs::read(directory(of).join("token.keys")).unwrap();
    let (file, key) = KeyFile::open(&bytes, &super::make::raw_key()).unwrap();
    let listed = std::fs::read_to_string(directory(of).join("token.txt")).unwrap();
    assert_eq!(listing(file.keysets()), listed);
    assert!(file.encode(&key, NOW).unwrap() == bytes);
    let salvaged = salvage(&bytes, &super::make::raw_key()).unwrap();
    assert!(salvaged.damaged.is_empty() && salvaged.file == file);
    let versions = file.keysets().keyset("orders").unwrap().versions();
    let kinds: std::collections::BTreeSet<_> = versions
        .iter()
        .map(|it| (it.algorithm.id(), it.state == envelock::keyset::VersionState::Destroyed))
        .collect();
    assert_eq!(kinds.len(), 6, "every algorithm, destroyed and not: {kinds:?}");
}

/// FORMAT F-OPEN, F-RESERVED
#[test]
fn golden_file_of_several_protections_opens_with_each() {
    let bytes = std::fs::read(directory("keyfile2").join("several.keys")).unwrap();
    let listed = std::fs::read_to_string(directory("keyfile2").join("several.txt")).unwrap();
    let each = [
        super::make::raw_key(),
        protections::passphrase("correct horse"),
        protections::passphrase("battery"),
        Protection::keyring(protections::outer()),
    ];
    for protection in &each {
        let (file, key) = KeyFile::open(&bytes, protection).unwrap();
        assert_eq!(listing(file.keysets()), listed);
        assert_eq!(file.verify_material(&key).unwrap(), 19);
        // By another writer: the same content in other words.
        let again = file.encode(&key, NOW).unwrap();
        assert!(KeyFile::open(&again, protection).unwrap().0 == file);
        let salvaged = salvage(&bytes, protection).unwrap();
        assert!(salvaged.damaged.is_empty() && salvaged.file == file);
    }
    let (file, _) = KeyFile::open(&bytes, &each[0]).unwrap();
    let names: Vec<_> = file.protections().iter().map(|it| it.name.clone()).collect();
    let expected = [Some("application"), Some("operator"), Some("recovery"), None];
    assert_eq!(names, expected.map(|name| name.map(String::from)));
    let orders = file.keysets().keyset("orders").unwrap();
    let on_hold = orders.versions().iter().find_map(|it| it.hold.as_ref()).unwrap();
    assert_eq!((orders.floor(), orders.evidence_required()), (2, true));
    assert_eq!((orders.hold(), on_hold.reason()), (Some(on_hold), "case 7 \u{fc}"));
}

/// FORMAT F-COMPROMISED, F-ERASED, F-FLOOR, F-FORMER, F-HOLD
#[test]
fn golden_file_of_every_field_opens_and_is_salvaged() {
    let bytes = std::fs::read(directory("keyfile2").join("records.keys")).unwrap();
    let listed = std::fs::read_to_string(directory("keyfile2").join("records.txt")).unwrap();
    let (file, key) = KeyFile::open(&bytes, &super::make::raw_key()).unwrap();
    assert_eq!(listing(file.keysets()), listed);
    assert_eq!(file.verify_material(&key).unwrap(), 15);
    assert!(file.encode(&key, NOW).unwrap() == bytes);
    let salvaged = salvage(&bytes, &super::make::raw_key()).unwrap();
    assert!(salvaged.damaged.is_empty() && salvaged.file == file);
    let keysets = file.keysets();
    let key = |name: &str| keysets.keyset(name).unwrap();
    assert!(keysets.former_keys("year").eq(["2026", "eu/invoices"]));
    assert_eq!((key("orders").floor(), key("orders").removed().len()), (2, 1));
    assert_eq!((key("eu/invoices").removed().len(), key("acme").removed().len()), (5, 0));
    assert!(key("acme").erased().is_some() && key("eu/invoices").erased().is_some());
    let again = key("orders").version(super::make::version(14)).unwrap();
    assert!(again.last_promoted > again.promoted);
    let kept = key("orders").version(super::make::version(7)).unwrap().kept;
    assert!(kept.is_some() && key("orders").evidence_waived() == key("orders").hold());
    let evidence = key("acme").version(super::make::version(1)).unwrap().evidence.clone();
    assert_eq!(evidence.as_deref(), Some(&[0xe1; 32]));
}

#[test]
fn seeded_generators_still_make_the_same_files() {
    for (name, bytes) in made() {
        let stored = std::fs::read(directory("keyfile2").join(&name)).unwrap_or_default();
        assert!(stored == bytes, "{name} is not what the generator makes");
    }
}

#[test]
#[ignore = "writes golden files to ENVELOCK_GOLDEN_DIR"]
fn writes_golden_key_files_that_are_not_there_yet() {
    let directory = std::env::var_os("ENVELOCK_GOLDEN_DIR").expect("ENVELOCK_GOLDEN_DIR is set");
    std::fs::create_dir_all(&directory).unwrap();
    for (name, bytes) in made() {
        let path = Path::new(&directory).join(&name);
        match std::fs::read(&path) {
            Ok(stored) => assert!(stored == bytes, "{name} would change"),
            Err(_) => std::fs::write(path, bytes).unwrap(),
        }
    }
}

/// FORMAT F-SALVAGE: no number that a lost line can have contained is used again.
#[test]
fn salvage_without_key_record_skips_lost_numbers() {
    let bytes = std::fs::read(directory("keyfile2").join("raw-key.keys")).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    for ends in [true, false] {
        let mut lost = if ends { 0 } else { 10_000 };
        let damaged = text.lines().filter(|line| ends || !line.contains(r#"{"kind":"end""#));
        let damaged = damaged.map(|line| {
            let of = |kind: &str| line.contains(&format!(r#"{{"record":{{"kind":"{kind}""#));
            let is_lost = of("key") && line.contains(r#""name":"orders""#)
                || of("version") && line.contains(r#""key":"eu/invoices","version":2"#);
            lost += if is_lost { line.len() as u32 / 200 + 1 } else { 0 };
            line.replacen("kind", if is_lost { "kinD" } else { "kind" }, 1) + "\n"
        });
        let damaged: String = damaged.collect();
        let salvaged = salvage(damaged.as_bytes(), &super::make::raw_key()).unwrap();
        let taken = |name| salvaged.file.keysets().keyset(name).unwrap().highest_version();
        // Its highest version is 20.
        assert_eq!(taken("orders"), 20 + lost, "with an end: {ends}");
        assert_eq!(taken("eu/invoices"), 5);
    }
}

/// 10,000 versions are read in well under 200 ms by a release build.
#[test]
fn ten_thousand_versions_are_read_in_time() {
    let mut rng = super::make::Seeded::new(6);
    let (mut file, key) = KeyFile::create(&super::make::raw_key(), &mut rng).unwrap();
    let names: Vec<String> = (0..100).map(|it| format!("tenant-{it}")).collect();
    for name in &names {
        let mut changes = vec![create_key(name)];
        changes.extend(vec![Change::Rotate { key: name }; 99]);
        super::make::change(&mut file, &key, &changes, NOW, &mut rng).unwrap();
    }
    let bytes = file.encode(&key, NOW).unwrap();
    let start = processor_time();
    let (again, key) = KeyFile::open(&bytes, &super::make::raw_key()).unwrap();
    let read = processor_time() - start;
    assert_eq!(again.verify_material(&key).unwrap(), 10_000);
    let all = processor_time() - start;
    println!("10,000 versions, {} bytes: read in {read:?}, with keys in {all:?}", bytes.len());
    assert_eq!(again.keysets(), file.keysets());
    let most = if cfg!(debug_assertions) { 5_000 } else { 400 };
    assert!(all.as_millis() < most, "{all:?}");
}
