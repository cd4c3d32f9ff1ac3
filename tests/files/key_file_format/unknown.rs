//! Fields and records of a newer library survive a change by this one (THREATS row 57).

use super::craft::{records, unprotected};
use super::make::{NOW, Seeded, change, operate};
use envelock::test_access::key_file_format::{KeyFile, salvage};
use envelock::{
    file::{KeyFileFault, Protection},
    keyset::{Change, Operation},
};

/// Numbers, escapes, nesting and space that a parse and a write again would not keep.
const FIELDS: [&str; 3] = [
    r#""quota":{"per \u0064ay": [1e400, 12345678901234567890123, -0.0, 1.10 ],"a":{"b":{"c":null}}}"#,
    r#""\u006eote":"\u00fc\/ü\ud83d\ude00""#,
    r#""flag" : true"#,
];

const RECORD: &str = r#"{ "kind" :"policy", "rotate": {"days":90.0, "kind":"x"},"kind2":[]}"#;

fn extended() -> (Vec<String>, Vec<u8>) {
    let (mut records, crafter) = unprotected();
    for record in &mut records {
        let at = record.len() - 1;
        record.replace_range(at.., &format!(",{}}}", FIELDS.join(",")));
    }
    records.insert(2, RECORD.into());
    records.push(RECORD.replace("90.0", "91.0"));
    let bytes = crafter.file_with_end(&records, &format!(",{}", FIELDS[0]));
    (records, bytes)
}

/// A field as this library writes it: the name again, the value byte for byte.
fn kept(record: &str) -> bool {
    let value = |field: &str| field.split_once(':').unwrap().1.trim_start().to_owned();
    let names = ["quota", "note", "flag"];
    names
        .iter()
        .zip(FIELDS)
        .all(|(name, field)| record.contains(&format!("\"{name}\":{}", value(field))))
}

/// FORMAT F-EXTRA
#[test]
fn unknown_fields_and_records_survive_a_change() {
    let protection = Protection::unprotected_plaintext();
    let (before, bytes) = extended();
    let (mut file, key) = KeyFile::open(&bytes, &protection).unwrap();
    let changes = [
        Change::Rotate { key: "orders" },
        operate("orders", 2, Operation::Disable),
        Change::SetAlias { alias: "other", key: "orders" },
    ];
    change(&mut file, &key, &changes, NOW, &mut Seeded::new(8)).unwrap();
    let bytes = file.encode(&key, NOW).unwrap();
    let after = records(&bytes);
    assert_eq!(after.len(), before.len() + 2);
    let with = after.iter().filter(|record| kept(record)).count();
    assert_eq!(with, before.len() - 2, "a record lost a field");
    for number in ["90.0", "91.0"] {
        assert!(after.contains(&RECORD.replace("90.0", number)));
    }
    let end = String::from_utf8(bytes.clone()).unwrap().lines().last().unwrap().to_owned();
    assert!(end.contains(&format!(",\"quota\":{}}},\"mac\"", &FIELDS[0]["\"quota\":".len()..])));
    // Once more, and nothing else changes.
    let (again, key) = KeyFile::open(&bytes, &protection).unwrap();
    assert!(again == file || again.written() != file.written());
    assert!(again.encode(&key, NOW).unwrap() == bytes);
}

#[test]
fn unknown_fields_survive_salvage_and_new_protection() {
    let protection = Protection::unprotected_plaintext();
    let (before, mut bytes) = extended();
    let at = bytes.windows(16).position(|it| it == b"\"kind\":\"version\"").unwrap();
    bytes[at + 12] ^= 1;
    let salvaged = salvage(&bytes, &protection).unwrap();
    assert_eq!(salvaged.intact.len(), 19);
    let (file, key) = salvaged
        .file
        .replace_file_key(&salvaged.key, &[&super::make::raw_key()], &mut Seeded::new(4))
        .unwrap();
    let after = records(&file.encode(&key, NOW).unwrap());
    assert_eq!(after.len(), before.len() - 1);
    assert_eq!(after.iter().filter(|record| kept(record)).count(), before.len() - 3);
    assert!(after.contains(&RECORD.to_owned()));
}

/// FORMAT F-CRITICAL
#[test]
fn unknown_critical_name_makes_the_file_read_only() {
    let protection = Protection::unprotected_plaintext();
    let (records, crafter) = unprotected();
    let cases = [
        (r#"["policy"]"#, Some("policy")),
        (r#"["version","version.quota"]"#, Some("version.quota")),
        (r#"["version.sealed","header.critical","alias","end.whole"]"#, None),
        (r#"["version."]"#, Some("version.")),
        (r#"[""]"#, Some("")),
        ("[]", None),
    ];
    for (critical, unknown) in cases {
        let mut records = records.clone();
        records[0] = records[0].replace(r#""critical":[]"#, &format!(r#""critical":{critical}"#));
        let bytes = crafter.file(&records);
        let (file, key) = KeyFile::open(&bytes, &protection).unwrap();
        assert_eq!(file.unknown_critical(), unknown, "{critical}");
        assert_eq!(file.verify_material(&key).unwrap(), 19);
        match (file.encode(&key, NOW), unknown) {
            (Ok(written), None) => assert!(written == bytes, "{critical}"),
            (Err(KeyFileFault::UnknownCritical { name }), Some(unknown)) => {
                assert_eq!(name, unknown);
            }
            (other, _) => panic!("{critical}: {:?}", other.map(|_| "written")),
        }
    }
}

/// Fields of version 2 in a file of version 1 are unknown ones, of whatever form.
#[test]
fn unknown_fields_of_version_1_stay_unknown() {
    let protection = Protection::unprotected_plaintext();
    let (mut records, crafter) = unprotected();
    records.push(r#"{"kind":"alias","name":"another","key":"orders","changed":1}"#.into());
    for record in &mut records {
        let mut value: serde_json::Value = serde_json::from_str(record).unwrap();
        let fields = value.as_object_mut().unwrap();
        let kind = fields["kind"].as_str().unwrap().to_owned();
        fields.remove("changed");
        if kind == "header" {
            let change = fields.remove("change").unwrap();
            let mut protections = fields.remove("protections").unwrap();
            protections[0].as_object_mut().unwrap().remove("id");
            fields.insert("version".into(), 1.into());
            fields.insert("changed_at".into(), change);
            fields.insert("protection".into(), protections[0].take());
        }
        let names: &[&str] = match &*kind {
            "header" => &["change", "protections", "audit"],
            "key" => &["floor", "removed", "erased", "evidence", "waived", "hold", "changed"],
            "version" => &["kept", "last_promoted", "hold", "evidence", "changed"],
            _ => &["former", "changed"],
        };
        fields.extend(names.iter().map(|name| ((*name).into(), false.into())));
        fields.insert("other".into(), true.into());
        *record = value.to_string();
    }
    let bytes = crafter.file(&records);
    let (mut file, key) = KeyFile::open(&bytes, &protection).unwrap();
    let (again, _) = KeyFile::open(&file.encode(&key, NOW).unwrap(), &protection).unwrap();
    assert_eq!(again.keysets(), file.keysets());
    let hold = Change::Hold { key: "orders", version: None, reason: "case 7" };
    change(&mut file, &key, &[hold], NOW, &mut Seeded::new(8)).unwrap();
    let bytes = file.encode(&key, NOW).unwrap();
    let (again, _) = KeyFile::open(&bytes, &protection).unwrap();
    assert_eq!(again.keysets(), file.keysets());
    let text = String::from_utf8(bytes).unwrap();
    // Once more in the copy of the header.
    assert_eq!(text.matches(r#""other":true"#).count(), records.len() + 1);
}
