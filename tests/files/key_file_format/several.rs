//! Format version 2: several protections of one file key, change numbers, what version 1 becomes.

use super::craft::{records, unprotected};
use super::make::{NOW, Seeded, change, operate, raw_key, twenty, version};
use super::protections::{ALLOCATED, outer, passphrase};
use envelock::test_access::key_file_format::KeyFile;
use envelock::{
    DataKey, Keyring, Lifecycle, MasterKey,
    file::{
        Argon2Cost, CostFault, KeyFileFault, Protection, ProtectionKind, ProtectionsFault,
        RecordFault,
    },
    format::Slot,
    keyring::{KeyringError, KeyringRng, PrimaryKey, SlotWriter, WrapContext},
    keyset::{Change, Operation},
};

fn refusal(fault: KeyFileFault) -> ProtectionsFault {
    match fault {
        KeyFileFault::Protections { what } => what,
        other => panic!("{other}"),
    }
}

fn golden(name: &str) -> Vec<u8> {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/keyfile");
    std::fs::read(directory.join(name)).unwrap()
}

/// FORMAT F-RAISE
#[test]
fn file_of_version_1_becomes_2_at_first_change() {
    let bytes = golden("raw-key.keys");
    let (mut file, key) = KeyFile::open(&bytes, &raw_key()).unwrap();
    let before = file.protections();
    // Usage alone: the same version, the same bytes.
    file.update(file.keysets().clone(), &[], &key, &mut Seeded::new(1)).unwrap();
    assert!(file.encode(&key, NOW).unwrap() == bytes);

    change(&mut file, &key, &[operate("orders", 2, Operation::Disable)], NOW, &mut Seeded::new(1))
        .unwrap();
    let bytes = file.encode(&key, NOW).unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(text.contains(r#""version":2"#) && text.contains(r#""change":3,"#));
    assert!(!text.contains("changed_at") && !text.contains(r#""protection":"#));
    // A keyring that has the file open follows, and opening it needs nothing new.
    let again = KeyFile::reload(&bytes, &key).unwrap();
    assert!(again == KeyFile::open(&bytes, &raw_key()).unwrap().0);
    assert_eq!(again.protections(), before);
    for keyset in again.keysets().iter() {
        let name = keyset.name();
        for record in keyset.versions() {
            let is_changed = name.as_str() == "orders" && record.version == version(2);
            assert_eq!(record.changed, if is_changed { 3 } else { 0 }, "{name}");
        }
        assert_eq!(keyset.changed(), 0);
    }
    assert_eq!(again.keysets().alias_changed("current"), 0);
}

/// FORMAT F-CHANGE
#[test]
fn each_record_has_the_number_of_its_last_change() {
    let (mut file, key) = twenty(&raw_key(), 1);
    let mut rng = Seeded::new(2);
    let changed = |file: &KeyFile, number| {
        file.keysets().keyset("orders").unwrap().version(version(number)).unwrap().changed
    };
    assert_eq!((file.keysets().change(), changed(&file, 2), changed(&file, 3)), (2, 1, 2));
    // A promotion changes two versions, an alias none, and the key itself only a new version.
    let promote = [operate("orders", 13, Operation::Promote)];
    change(&mut file, &key, &promote, NOW, &mut rng).unwrap();
    assert_eq!([2, 13, 14, 20].map(|number| changed(&file, number)), [1, 3, 3, 1]);
    let alias = [Change::SetAlias { alias: "current", key: "eu/invoices" }];
    change(&mut file, &key, &alias, NOW, &mut rng).unwrap();
    let orders = |file: &KeyFile| file.keysets().keyset("orders").unwrap().changed();
    assert_eq!((file.keysets().alias_changed("current"), orders(&file)), (4, 1));
    change(&mut file, &key, &[Change::Rotate { key: "orders" }], NOW, &mut rng).unwrap();
    assert_eq!((orders(&file), changed(&file, 21), changed(&file, 13)), (5, 5, 5));
    let again = KeyFile::reload(&file.encode(&key, NOW).unwrap(), &key).unwrap();
    assert_eq!(again.keysets(), file.keysets());
}

/// FORMAT F-LABELS
#[test]
fn label_that_breaks_a_bound_is_kept_and_not_shown() {
    let (mut records, crafter) = unprotected();
    let protection = Protection::unprotected_plaintext();
    let start = r#"{"kind":"version","key":"orders","version":2,"#;
    let at = records.iter().position(|record| record.starts_with(start)).unwrap();
    let beyond = [
        format!(r#""{}":"x""#, "n".repeat(65)),
        format!(r#""long":"{}""#, "v".repeat(257)),
        r#""control":"a\nb""#.into(),
        "\"delete\":\"\u{7f}\"".into(),
        r#""":"""#.into(),
        r#""number":1e400"#.into(),
    ]
    .join(",");
    records[at] = records[at].replace(r#""labels":{"#, &format!(r#""labels":{{{beyond},"#));
    let (mut file, key) = KeyFile::open(&crafter.file(&records), &protection).unwrap();
    let labels = |file: &KeyFile| {
        let orders = file.keysets().keyset("orders").unwrap();
        orders.version(version(2)).unwrap().labels.clone()
    };
    let shown: Vec<_> = labels(&file).iter().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(shown, ["ticket"]);
    // One of them is set, the others stay as they were.
    let label = |name, value| Change::SetLabel { key: "orders", version: version(2), name, value };
    let set = [label("long", Some("short")), label("ticket", None)];
    change(&mut file, &key, &set, NOW, &mut Seeded::new(3)).unwrap();
    let bytes = file.encode(&key, NOW).unwrap();
    let kept = beyond.split(',').filter(|label| !label.starts_with(r#""long""#));
    let kept: Vec<_> = kept.collect();
    let expected = format!(r#""labels":{{"long":"short",{}}},"changed":3"#, kept.join(","));
    assert!(super::craft::records(&bytes)[at].contains(&expected));
    let again = KeyFile::open(&bytes, &protection).unwrap().0;
    assert_eq!(labels(&again).get("long"), Some("short"));
}

/// FORMAT F-PROTECTIONS: one change each, with every MAC right.
#[test]
fn protections_that_break_a_rule_are_refused() {
    let (good, crafter) = unprotected();
    let protection = Protection::unprotected_plaintext();
    let start = good[0].find(r#""protections":["#).unwrap() + r#""protections":["#.len();
    let end = start + good[0][start..].find(']').unwrap();
    let own = good[0][start..end].to_owned();
    let open = |objects: &[String]| {
        let mut records = good.clone();
        records[0].replace_range(start..end, &objects.join(","));
        KeyFile::open(&crafter.file(&records), &protection).map(drop)
    };
    let other = |kind: &str, id: u32| format!(r#"{{"id":"{id:016x}","kind":"{kind}"}}"#);
    let many = |kind: &str, count| (0..count).map(|id| other(kind, id)).collect::<Vec<_>>();
    open(std::slice::from_ref(&own)).unwrap();
    let value = |field| RecordFault::Value { field };
    let cases = [
        (vec![], value("protections")),
        (many("new", 9), value("protections")),
        (many("passphrase", 5), value("protections")),
        (vec![own.clone(), other("raw key", 1)], value("protections")),
        (vec![other("raw key", 1), other("keyring", 1)], value("protections")),
        (vec![own.replace(r#""id":""#, r#""id":"0"#)], value("id")),
        (vec![own.replace(r#""id""#, r#""ID""#)], RecordFault::Missing { field: "id" }),
        (vec![own.replace(r#""kind""#, r#""sort""#)], RecordFault::Missing { field: "kind" }),
        (vec!["[]".into()], RecordFault::Json),
    ];
    for (objects, expected) in cases {
        match open(&objects).unwrap_err() {
            KeyFileFault::Record { line: 1, what, .. } => assert_eq!(what, expected),
            other => panic!("{objects:?}: {other}"),
        }
    }
    // An unknown kind is reported as unknown, and opens nothing here.
    let fault = open(&many("new", 8)).unwrap_err();
    assert!(fault.to_string().contains("unknown name \"new\""), "{fault}");
    let fault = open(&many("raw key", 8)).unwrap_err();
    assert!(matches!(fault, KeyFileFault::ProtectionKind { found, .. }
        if found == [ProtectionKind::RawKey]));
}

#[test]
fn protections_change_under_one_file_key() {
    let mut rng = Seeded::new(5);
    let outer = outer();
    let by_keyring = || Protection::keyring(outer.clone());
    let (mut file, key) = twenty(&raw_key().named("application"), 1);
    let first = file.protections()[0].id;
    let second = file.add_protection(&key, &by_keyring(), &mut rng).unwrap();
    let third = file.add_protection(&key, &passphrase("x").named("a"), &mut rng).unwrap();
    let opens = |file: &KeyFile, protection: &Protection| {
        let bytes = file.encode(&key, NOW).unwrap();
        let same = |again: &KeyFile| again.protections() == file.protections();
        assert!(same(&KeyFile::reload(&bytes, &key).unwrap()));
        KeyFile::open(&bytes, protection).map(|(again, _)| assert!(same(&again)))
    };
    for protection in [raw_key(), by_keyring(), passphrase("x")] {
        opens(&file, &protection).unwrap();
    }
    let fault = opens(&file, &passphrase("y")).unwrap_err();
    assert!(matches!(fault, KeyFileFault::Authentication), "{fault}");

    file.rewrap_protection(&key, third, &passphrase("y"), &mut rng).unwrap();
    opens(&file, &passphrase("y")).unwrap();
    assert!(opens(&file, &passphrase("x")).is_err());
    let reported = |file: &KeyFile, at: usize| file.protections()[at].clone();
    assert_eq!((reported(&file, 2).id, reported(&file, 2).name.as_deref()), (third, Some("a")));
    outer.rotate_with_rng(NOW, &mut rng).unwrap();
    assert_eq!(reported(&file, 1).outer[0].label().version, version(3));
    file.rewrap_protection(&key, second, &by_keyring(), &mut rng).unwrap();
    assert_eq!(reported(&file, 1).outer[0].label().version, version(4));
    outer.disable(version(3)).unwrap();
    opens(&file, &by_keyring()).unwrap();

    file.remove_protection(first).unwrap();
    let fault = opens(&file, &raw_key()).unwrap_err();
    let found = [ProtectionKind::Keyring, ProtectionKind::Passphrase];
    assert!(
        matches!(&fault, KeyFileFault::ProtectionKind { found: reported, .. } if *reported == found)
    );
    assert_eq!(
        fault.to_string(),
        "key file is protected by a keyring and a passphrase, and a raw key was given"
    );
    let fault = file.remove_protection(first).unwrap_err();
    assert_eq!(refusal(fault), ProtectionsFault::Unknown { id: first });
    file.remove_protection(second).unwrap();
    let fault = file.remove_protection(third).unwrap_err();
    assert_eq!(refusal(fault), ProtectionsFault::Last);
    opens(&file, &passphrase("y")).unwrap();
}

#[test]
fn incompatible_protections_are_not_written() {
    let mut rng = Seeded::new(5);
    let (file, key) = twenty(&raw_key(), 1);
    let first = file.protections()[0].id;
    let plain = Protection::unprotected_plaintext;
    let refused = |add: &dyn Fn(&mut KeyFile, &mut Seeded) -> Option<KeyFileFault>| {
        let (mut changed, mut rng) = (file.clone(), Seeded::new(6));
        refusal(add(&mut changed, &mut rng).unwrap())
    };
    let added = |file: &mut KeyFile, protection: &Protection, rng: &mut Seeded| {
        file.add_protection(&key, protection, rng).err()
    };
    assert_eq!(refused(&|file, rng| added(file, &plain(), rng)), ProtectionsFault::Plaintext);
    let rewrap = refused(&|file, rng| file.rewrap_protection(&key, first, &plain(), rng).err());
    assert_eq!(rewrap, ProtectionsFault::Plaintext);
    for name in ["", " ", "a\nb", &"n".repeat(65)] {
        let name = refused(&|file, rng| added(file, &raw_key().named(name), rng));
        assert_eq!(name, ProtectionsFault::Name);
    }
    let fifth = refused(&|file, rng| {
        (0..5).find_map(|text| added(file, &passphrase(&text.to_string()), rng))
    });
    assert_eq!(fifth, ProtectionsFault::TooManyPassphrases { most: 4 });
    let ninth = refused(&|file, rng| (0..8).find_map(|_| added(file, &raw_key(), rng)));
    assert_eq!(ninth, ProtectionsFault::TooMany { most: 8 });
    // Every reader of an unprotected file knows its file key.
    let (mut bare, bare_key) = twenty(&plain(), 1);
    let fault = bare.add_protection(&bare_key, &raw_key(), &mut rng).unwrap_err();
    assert_eq!(refusal(fault), ProtectionsFault::Plaintext);
    let id = bare.protections()[0].id;
    let fault = bare.rewrap_protection(&bare_key, id, &raw_key(), &mut rng).unwrap_err();
    assert_eq!(refusal(fault), ProtectionsFault::Plaintext);
    let fault = file.replace_file_key(&key, &[], &mut rng).map(drop).unwrap_err();
    assert_eq!(refusal(fault), ProtectionsFault::Last);
}

/// FORMAT F-COST, F-OPEN: a protection that costs too much does not prevent the next one, and all
/// together cost no more than one can.
#[test]
fn passphrases_cost_no_more_together_than_one_can() {
    let mut rng = Seeded::new(5);
    let (mut file, key) = twenty(&passphrase("a"), 1);
    file.add_protection(&key, &passphrase("b"), &mut rng).unwrap();
    let text = String::from_utf8(file.encode(&key, NOW).unwrap()).unwrap();
    let is = r#""memory_kib":7168,"passes":5,"lanes":1"#;
    let costly = r#""memory_kib":1048576,"passes":4,"lanes":1"#;
    // In both copies: then nothing says that the header is damaged.
    let with = |which: usize, cost: &str| {
        let line = |line: &str| match line.match_indices(is).nth(which) {
            Some((at, _)) => [&line[..at], cost, &line[at + is.len()..], "\n"].concat(),
            None => format!("{line}\n"),
        };
        text.lines().map(line).collect::<String>()
    };
    // Refused at once; the second opens the file key, by which the header is not authentic.
    let beyond = r#""memory_kib":1048577,"passes":1,"lanes":1"#;
    let open = |text: &str, secret| KeyFile::open(text.as_bytes(), &passphrase(secret)).map(drop);
    let fault = open(&with(0, beyond), "b").unwrap_err();
    assert!(matches!(fault, KeyFileFault::Record { what: RecordFault::Mac, .. }), "{fault}");
    let fault = open(&with(0, beyond), "a").unwrap_err();
    assert!(matches!(fault, KeyFileFault::Authentication), "{fault}");
    // The budget left after the first is too small for a second one at the cap.
    let before = ALLOCATED.get();
    let fault = open(&with(1, costly), "c").unwrap_err();
    assert!(matches!(fault, KeyFileFault::Authentication), "{fault}");
    assert!(ALLOCATED.get() - before < 1 << 28, "1 GiB was allocated four times");
    // Nor is such a file written.
    let half = Argon2Cost { memory_kib: 1 << 20, passes: 4, lanes: 4 };
    let costly = Protection::passphrase_with_cost("d", half);
    match file.add_protection(&key, &costly, &mut rng).unwrap_err() {
        KeyFileFault::Argon2Cost { fault, .. } => assert_eq!(fault, CostFault::TooCostly),
        other => panic!("{other}"),
    }
    assert_eq!(file.protections().len(), 2);
}

/// THREATS row 76: the removal of a protection does not exclude a holder of the file key; a
/// replacement of the file key does.
#[test]
fn replaced_file_key_revokes_a_removed_protection() {
    let mut rng = Seeded::new(5);
    let (mut file, key) = twenty(&raw_key(), 1);
    let thief = KeyFile::open(&file.encode(&key, NOW).unwrap(), &raw_key()).unwrap().1;
    let first = file.protections()[0].id;
    let other = || Protection::raw_key(MasterKey::from_bytes(&[8; 32]));
    file.add_protection(&key, &other(), &mut rng).unwrap();
    file.remove_protection(first).unwrap();
    let bytes = file.encode(&key, NOW).unwrap();
    assert!(KeyFile::open(&bytes, &raw_key()).is_err());
    KeyFile::reload(&bytes, &thief).unwrap();

    let (file, key) = file.replace_file_key(&key, &[&other(), &passphrase("x")], &mut rng).unwrap();
    let bytes = file.encode(&key, NOW).unwrap();
    for protection in [other(), passphrase("x")] {
        assert_eq!(KeyFile::open(&bytes, &protection).unwrap().0.protections().len(), 2);
    }
    let fault = KeyFile::reload(&bytes, &thief).unwrap_err();
    assert!(matches!(fault, KeyFileFault::FileKeyReplaced), "{fault}");
    assert_eq!(records(&bytes).len(), 24);
}

/// A keyring that wraps and does not unwrap: it has no right to, or its service is faulty.
struct WrapsOnly(std::sync::Arc<envelock::MemoryKeyring>);

impl Keyring for WrapsOnly {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.0.visit_primaries(visit)
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.0.wrap(data_key, context, slots, rng)
    }

    fn unwrap(
        &self,
        _: &Slot<'_>,
        _: &WrapContext<'_>,
        _: &mut DataKey,
    ) -> Result<(), KeyringError> {
        Err(KeyringError::Authentication)
    }
}

/// The removal of the other protection would then lose every key.
#[test]
fn protection_that_does_not_open_is_not_written() {
    let mut rng = Seeded::new(5);
    let (mut file, key) = twenty(&raw_key(), 1);
    let before = file.protections();
    let broken = Protection::keyring(std::sync::Arc::new(WrapsOnly(outer())));
    let fault = file.add_protection(&key, &broken, &mut rng).unwrap_err();
    assert!(matches!(fault, KeyFileFault::Authentication), "{fault}");
    let fault = file.rewrap_protection(&key, before[0].id, &broken, &mut rng).unwrap_err();
    assert!(matches!(fault, KeyFileFault::Authentication), "{fault}");
    let fault = file.replace_file_key(&key, &[&broken], &mut rng).map(drop).unwrap_err();
    assert!(matches!(fault, KeyFileFault::Authentication), "{fault}");
    let fault = KeyFile::create(&broken, &mut rng).map(drop).unwrap_err();
    assert!(matches!(fault, KeyFileFault::Authentication), "{fault}");
    assert_eq!(file.protections(), before);
}
