//! Versions whose key material is on a token: the file has their records without the material.

use super::craft::unprotected;
use super::make::{NOW, Seeded, create_key, id_of, operate, raw_key, version};
use envelock::keyset::LifecycleError;
use envelock::rand_core::Rng;
use envelock::test_access::key_file_format::{FileKey, KeyFile, salvage};
use envelock::{
    KeyName, KeyVersion, MasterKey, MasterKeyId, Timestamp,
    file::{KeyFileFault, Protection, RecordFault, RecordName},
    format::WrapAlgorithm,
    keyset::{
        Change, ChangeOptions, KeysetMap, Material, NewMaterial, Operation, Origin, VersionRecord,
        VersionState,
    },
};

const ALGORITHMS: [WrapAlgorithm; 3] = [
    WrapAlgorithm::XAES_256_GCM,
    WrapAlgorithm::TOKEN_AES_256_GCM,
    WrapAlgorithm::TOKEN_AES_256_CBC_HMAC,
];

/// Two versions, written by hand.
const ENABLED: &str = r#"{"kind":"version","key":"orders","version":2,"id":"0102030405060708","algorithm":"token AES-256-GCM","origin":"token","state":"enabled","state_since":"2026-11-21T16:04:52Z","created":"2026-11-21T16:04:52Z","promoted":"2026-11-21T16:04:52Z","wraps":7,"bytes":9,"changed":2}"#;
const DESTROYED: &str = r#"{"kind":"version","key":"orders","version":3,"id":"1112131415161718","algorithm":"token AES-256-CBC HMAC-SHA-256","origin":"token","state":"destroyed","state_since":"2026-11-22T16:04:52Z","created":"2026-11-21T16:04:52Z","wraps":4294967296,"bytes":0,"labels":{"slot":"left"},"changed":2}"#;

fn position_of(records: &[String], number: u32) -> usize {
    let start = format!(r#"{{"kind":"version","key":"orders","version":{number},"#);
    records.iter().position(|it| it.starts_with(&start)).unwrap()
}

/// An unprotected file with both of them.
fn by_hand() -> (Vec<String>, super::craft::Crafter) {
    let (mut records, crafter) = unprotected();
    for (number, record) in [(2, ENABLED), (3, DESTROYED)] {
        let at = position_of(&records, number);
        records[at] = record.into();
    }
    (records, crafter)
}

/// FORMAT F-TOKEN
#[test]
fn lines_written_by_hand_are_read_and_written_same() {
    let (records, crafter) = by_hand();
    let bytes = crafter.file(&records);
    let (file, key) = KeyFile::open(&bytes, &Protection::unprotected_plaintext()).unwrap();
    let orders = file.keysets().keyset("orders").unwrap();
    let second = orders.version(version(2)).unwrap();
    assert_eq!(second.master_key_id, MasterKeyId([1, 2, 3, 4, 5, 6, 7, 8]));
    let reported = |it: &VersionRecord| (it.algorithm.id(), it.origin, it.state, it.usage.wraps);
    assert_eq!(reported(second), (2, Origin::Token, VersionState::Enabled, 7));
    let third = orders.version(version(3)).unwrap();
    assert_eq!(reported(third), (3, Origin::Token, VersionState::Destroyed, 1 << 32));
    assert_eq!(third.labels.get("slot"), Some("left"));
    // Two of the 19 versions that are not destroyed have nothing to be opened here.
    assert_eq!(file.verify_material(&key).unwrap(), 17);
    assert!(file.encode(&key, NOW).unwrap() == bytes);
    // Under another protection too.
    let (file, key) = file.replace_file_key(&key, &[&raw_key()], &mut Seeded::new(3)).unwrap();
    let again = super::craft::records(&file.encode(&key, NOW).unwrap());
    assert_eq!(
        (&*again[position_of(&again, 2)], &*again[position_of(&again, 3)]),
        (ENABLED, DESTROYED)
    );
}

/// FORMAT F-TOKEN, F-DESTROYED, F-NAMES: one change each, with every MAC right.
#[test]
fn lines_that_break_a_rule_are_refused() {
    let (good, crafter) = by_hand();
    let sealed = format!(r#","sealed":"{}"}}"#, "ab".repeat(72));
    let labelled = format!(r#""left"}},"changed":2{sealed}"#);
    let sealed_software = {
        let software = &good[position_of(&good, 6)];
        software[software.find(r#","sealed""#).unwrap()..].to_owned()
    };
    let value = |field| RecordFault::Value { field };
    let unknown = |name: &str| RecordFault::UnknownName { field: "algorithm", name: name.into() };
    let missing = |field| RecordFault::Missing { field };
    let cases: Vec<(u32, &str, &str, RecordFault)> = vec![
        // No token gives its material out.
        (2, "}", &sealed, value("sealed")),
        (2, "}", &sealed_software, value("sealed")),
        (2, "}", r#","sealed":null}"#, value("sealed")),
        (3, r#""left"},"changed":2}"#, &labelled, value("sealed")),
        // A version on a token has the origin "token", and no other version has.
        (2, r#""origin":"token""#, r#""origin":"generated""#, value("origin")),
        (2, r#""origin":"token""#, r#""origin":"imported""#, value("origin")),
        (3, r#""origin":"token""#, r#""origin":"generated""#, value("origin")),
        (6, r#""origin":"generated""#, r#""origin":"token""#, value("origin")),
        (1, r#""origin":"generated""#, r#""origin":"token""#, value("origin")),
        (2, r#""origin":"token","#, "", missing("origin")),
        // A software version that says it is on a token, and the other way round.
        (6, "XAES-256-GCM", "token AES-256-GCM", value("origin")),
        (2, "token AES-256-GCM", "XAES-256-GCM", value("origin")),
        (2, "token AES-256-GCM", "AES-256-GCM", unknown("AES-256-GCM")),
        (2, "token AES-256-GCM", "token AES-128-GCM", unknown("token AES-128-GCM")),
        (2, "token AES-256-GCM", "token", unknown("token")),
        (2, "token AES-256-GCM", "token aes-256-gcm", unknown("token aes-256-gcm")),
        (3, " HMAC-SHA-256", "", unknown("token AES-256-CBC")),
        (6, r#","sealed""#, r#","scaled""#, missing("sealed")),
    ];
    for (number, from, to, expected) in cases {
        let mut records = good.clone();
        let at = position_of(&records, number);
        let (front, back) = records[at].rsplit_once(from).unwrap();
        records[at] = [front, to, back].concat();
        let opened = KeyFile::open(&crafter.file(&records), &Protection::unprotected_plaintext());
        match opened.map(drop).unwrap_err() {
            KeyFileFault::Record { line, what, .. } => {
                assert_eq!((line, what), (at + 1, expected), "{from} {to}");
            }
            other => panic!("{to}: {other}"),
        }
    }
}

/// FORMAT F-SALVAGE
#[test]
fn salvage_takes_versions_on_a_token_by_their_macs() {
    let (mut records, crafter) = by_hand();
    let protection = Protection::unprotected_plaintext();
    let bytes = crafter.file(&records);
    let salvaged = salvage(&bytes, &protection).unwrap();
    let (file, _) = KeyFile::open(&bytes, &protection).unwrap();
    assert!(salvaged.damaged.is_empty() && salvaged.file == file);
    // Of two states of a version the later one, and the higher usage of both.
    let later = ENABLED.replace(r#""state":"enabled","state_since":"2026"#, {
        r#""state":"disabled","state_since":"2027"#
    });
    records.push(later.replace(r#""wraps":7"#, r#""wraps":3"#));
    let bytes = crafter.file(&records);
    let salvaged = salvage(&bytes, &protection).unwrap();
    let orders = salvaged.file.keysets().keyset("orders").unwrap();
    let second = orders.version(version(2)).unwrap();
    assert_eq!((second.state, second.usage.wraps), (VersionState::Disabled, 7));
    assert_eq!((salvaged.intact.len(), salvaged.damaged.len()), (20, 1));
    // One bit of either, and it is lost.
    records.pop();
    let bytes = crafter.file(&records);
    for (number, word) in [(2, "0102030405060708"), (3, "1112131415161718")] {
        let mut changed = bytes.clone();
        let at = changed.windows(16).position(|it| it == word.as_bytes()).unwrap();
        changed[at] ^= 1;
        let salvaged = salvage(&changed, &protection).unwrap();
        assert_eq!(salvaged.intact.len(), 19);
        let damaged = &salvaged.damaged[0];
        let name = RecordName::Version { key: "orders".into(), version: version(number) };
        assert_eq!((&damaged.record, &damaged.what), (&name, &RecordFault::Mac));
    }
}

/// Makes changes; which algorithm a new version has is drawn.
fn change(
    file: &mut KeyFile,
    key: &FileKey,
    changes: &[Change<'_>],
    now: Timestamp,
    rng: &mut Seeded,
) -> bool {
    let mut new = Vec::new();
    let mut material = |_: KeyName<'_>, _: KeyVersion, _: Material<'_>| {
        let algorithm = ALGORITHMS[rng.0.next_u32() as usize % 3];
        let mut bytes = [0; 32];
        rng.0.fill_bytes(&mut bytes);
        let id = id_of(&bytes);
        if algorithm != WrapAlgorithm::XAES_256_GCM {
            let origin = Origin::Token;
            return Ok(NewMaterial { master_key_id: id, algorithm, origin });
        }
        new.push((id, MasterKey::from_bytes(&bytes)));
        Ok(NewMaterial { master_key_id: id, algorithm, origin: Origin::Generated })
    };
    let changed: Result<(KeysetMap, _), LifecycleError> =
        file.keysets().with_changes(changes, &ChangeOptions::at(now), &mut material);
    let Ok((keysets, _)) = changed else { return false };
    file.update(keysets, &new, key, rng).unwrap();
    true
}

fn any_change(rng: &mut Seeded) -> Change<'static> {
    let number = 1 + rng.0.next_u32() % 12;
    let operations = [
        Operation::Promote,
        Operation::Enable,
        Operation::Disable,
        Operation::Disable,
        Operation::MarkCompromised,
        Operation::DestroyImmediately,
    ];
    match rng.0.next_u32() % 4 {
        0 => Change::Rotate { key: "orders" },
        1 => Change::AddVersion { key: "orders", version: None, material: Material::Fresh },
        _ => operate("orders", number, operations[rng.0.next_u32() as usize % 6]),
    }
}

#[test]
fn random_mixed_keysets_survive() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 100..140 {
        let mut rng = Seeded::new(seed);
        let (mut file, mut key) = KeyFile::create(&raw_key(), &mut rng).unwrap();
        assert!(change(&mut file, &key, &[create_key("orders")], NOW, &mut rng));
        for step in 0..60 {
            let now = NOW.plus(std::time::Duration::from_secs(step * 3600));
            let one = any_change(&mut rng);
            change(&mut file, &key, &[one], now, &mut rng);
            if step % 20 == 19 {
                (file, key) = file.replace_file_key(&key, &[&raw_key()], &mut rng).unwrap();
            }
        }
        let bytes = file.encode(&key, NOW).unwrap();
        let (again, again_key) = KeyFile::open(&bytes, &raw_key()).unwrap();
        assert_eq!(again.keysets(), file.keysets(), "seed {seed}");
        assert!(again.encode(&again_key, NOW).unwrap() == bytes, "seed {seed}");
        let salvaged = salvage(&bytes, &raw_key()).unwrap();
        assert!(salvaged.damaged.is_empty() && salvaged.file == again, "seed {seed}");
        let versions = again.keysets().keyset("orders").unwrap().versions();
        let sealed = versions.iter().filter(|it| {
            it.algorithm == WrapAlgorithm::XAES_256_GCM && it.state != VersionState::Destroyed
        });
        let sealed = sealed.count();
        assert_eq!(again.verify_material(&again_key).unwrap(), sealed, "seed {seed}");
        // The protection and its copy have a field of that name, too.
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text.matches("\"sealed\"").count(), sealed + 2, "seed {seed}");
        seen.extend(versions.iter().map(|it| (it.algorithm.id(), it.state.name())));
    }
    // Three algorithms, and six states without a scheduled destruction.
    assert_eq!(seen.len(), 18, "{seen:?}");
}

/// A record that the rules do not allow is not written.
#[test]
fn unreadable_records_are_not_written() {
    let origins = [Origin::Generated, Origin::Imported, Origin::Token];
    let unknown = WrapAlgorithm::new(128).unwrap();
    for algorithm in ALGORITHMS.into_iter().chain([unknown]) {
        for origin in origins {
            let mut rng = Seeded::new(1);
            let (mut file, key) = KeyFile::create(&raw_key(), &mut rng).unwrap();
            let id = id_of(&[3; 32]);
            let mut material = |_: KeyName<'_>, _: KeyVersion, _: Material<'_>| {
                Ok(NewMaterial { master_key_id: id, algorithm, origin })
            };
            let options = ChangeOptions::at(NOW);
            let changes = [create_key("orders")];
            let (keysets, _) = file
                .keysets()
                .with_changes::<LifecycleError>(&changes, &options, &mut material)
                .unwrap();
            // Material that is handed over for a version on a token is not kept.
            file.update(keysets, &[(id, MasterKey::from_bytes(&[3; 32]))], &key, &mut rng).unwrap();
            let in_file = algorithm == WrapAlgorithm::XAES_256_GCM;
            let is_allowed = algorithm != unknown && in_file != (origin == Origin::Token);
            match file.encode(&key, NOW) {
                Ok(bytes) => {
                    assert!(is_allowed, "{algorithm} {origin}");
                    let (again, _) = KeyFile::open(&bytes, &raw_key()).unwrap();
                    assert_eq!(again.keysets(), file.keysets());
                }
                Err(KeyFileFault::Material { version: reported, .. }) => {
                    assert!(!is_allowed && reported == version(1), "{algorithm} {origin}");
                }
                Err(other) => panic!("{algorithm} {origin}: {other}"),
            }
        }
    }
}

/// The golden file of mixed versions.
pub fn mixed(seed: u8) -> (KeyFile, FileKey) {
    let mut rng = Seeded::new(seed);
    let (mut file, key) = KeyFile::create(&raw_key(), &mut rng).unwrap();
    let changes = [&[create_key("orders")][..], &[Change::Rotate { key: "orders" }; 11]].concat();
    assert!(change(&mut file, &key, &changes, NOW, &mut rng));
    let destroyed = (1..12).step_by(2).flat_map(|number| {
        [Operation::Disable, Operation::DestroyImmediately].map(|it| operate("orders", number, it))
    });
    let destroyed: Vec<_> = destroyed.collect();
    assert!(change(&mut file, &key, &destroyed, NOW, &mut rng));
    (file, key)
}
