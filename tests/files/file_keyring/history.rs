//! What was changed stays changed: an older file is refused by who saw more and by an anchor,
//! whatever was encrypted or changed since on top of it.

use super::{TestDirectory, create, decrypt, eager, encrypt, file_error, overwrite, raw, version};
use envelock::{
    Error, FileKeyring, Lifecycle, MasterKey, OsRandom, RotationPolicy, Timestamp,
    file::{FileKeyringOptions, KeyFileError, Protection},
    keyring::Refusal,
    keyset::{Change, ChangeOptions},
    policy::PlanOutcome,
};
use std::fs;
use std::path::Path;
use std::time::Duration;

fn open(path: &Path) -> FileKeyring {
    FileKeyring::open_any(path, &raw()).unwrap().with_key("orders").unwrap()
}

fn is_rolled_back(error: &Error) -> bool {
    matches!(file_error(error), KeyFileError::RolledBack { .. })
}

#[test]
fn refused_backup_stays_refused() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let admin = create(&path);
    let message = encrypt(&admin, "under version 1");
    admin.rotate().unwrap();
    let backup = fs::read(&path).unwrap();
    let service = eager().open_any(&path, &raw()).unwrap();
    let anchor = admin.disable(version(1)).unwrap().change;
    service.reload().unwrap();
    drop(admin);
    overwrite(&path, &backup);
    for round in 0..20 {
        assert!(is_rolled_back(&service.reload().unwrap_err()), "{round}");
        let anchored = FileKeyringOptions::new().at_least_change(anchor);
        assert!(is_rolled_back(&anchored.open_any(&path, &raw()).unwrap_err()), "{round}");
        match decrypt(&service, &message).unwrap_err() {
            Error::Refused { refusal: Refusal::Disabled, .. } => {}
            other => panic!("{other}"),
        }
        // A cron job without an anchor, with counts written by a drop, and with a reserve.
        encrypt(&FileKeyring::open_any(&path, &raw()).unwrap(), "x");
        let options = FileKeyringOptions::new().reserve_usage();
        encrypt(&options.open_any(&path, &raw()).unwrap(), "x");
    }
}

/// Changes before the backup, and changes after it, which the backup undoes.
type Undone = (&'static str, fn(&FileKeyring), fn(&FileKeyring));

const UNDONE: [Undone; 13] = [
    ("erase", |_| {}, |keyring| drop(keyring.erase_key("archive").unwrap())),
    (
        "remove records",
        |keyring| {
            keyring.disable(version(1)).unwrap();
            keyring.destroy_immediately(version(1)).unwrap();
        },
        |keyring| drop(keyring.remove_records(version(1)).unwrap()),
    ),
    (
        "compromise a pending version",
        |keyring| {
            keyring.add_version().unwrap();
        },
        |keyring| drop(keyring.mark_compromised(version(3)).unwrap()),
    ),
    (
        "move an alias back",
        |_| {},
        |keyring| {
            keyring.set_alias("current", "archive").unwrap();
            keyring.set_alias("current", "orders").unwrap();
        },
    ),
    ("disable", |_| {}, |keyring| drop(keyring.disable(version(1)).unwrap())),
    (
        "enable",
        |keyring| drop(keyring.disable(version(1)).unwrap()),
        |keyring| drop(keyring.enable(version(1)).unwrap()),
    ),
    (
        "schedule",
        |keyring| drop(keyring.disable(version(1)).unwrap()),
        |keyring| {
            let week = Duration::from_secs(7 * 86_400);
            drop(keyring.schedule_destruction(version(1), week).unwrap());
        },
    ),
    ("compromise", |_| {}, |keyring| drop(keyring.mark_compromised(version(1)).unwrap())),
    ("roll back", |_| {}, |keyring| drop(keyring.promote(version(1)).unwrap())),
    (
        "add",
        |_| {},
        |keyring| {
            keyring.add_version().unwrap();
        },
    ),
    ("switch", |_| {}, |keyring| drop(keyring.set_alias("current", "archive").unwrap())),
    (
        "remove alias",
        |_| {},
        |keyring| {
            drop(keyring.change_now(Change::RemoveAlias { alias: "current" }).unwrap());
        },
    ),
    (
        "label",
        |_| {},
        |keyring| {
            label(keyring, "orders", "kept");
        },
    ),
];

fn label(keyring: &FileKeyring, key: &str, value: &str) -> u64 {
    let (version, name, value) = (version(1), "note", Some(value));
    keyring.change_now(Change::SetLabel { key, version, name, value }).unwrap().change
}

/// A branch that goes on from the backup, with as many changes as one likes.
#[test]
fn seen_change_is_not_undone_on_an_older_branch() {
    for (name, prepare, undone) in UNDONE {
        let directory = TestDirectory::new();
        let path = directory.join("orders.keys");
        let admin = create(&path);
        admin.rotate().unwrap();
        admin.create_key("archive").unwrap();
        admin.set_alias("current", "orders").unwrap();
        prepare(&admin);
        let backup = fs::read(&path).unwrap();
        undone(&admin);
        let service = open(&path);
        let known = service.keysets().unwrap();
        let newest = fs::read(&path).unwrap();
        overwrite(&path, &backup);
        let other = FileKeyring::open_any(&path, &raw()).unwrap();
        for round in 0..6 {
            let error = service.reload().unwrap_err();
            let is_refused = matches!(
                file_error(&error),
                KeyFileError::RolledBack { .. } | KeyFileError::Diverged { .. }
            );
            assert!(is_refused, "{name}, {round} changes later: {error}");
            label(&other, "archive", &format!("{round}"));
            encrypt(&other.with_key("archive").unwrap(), "x");
            other.flush().unwrap();
        }
        overwrite(&path, &newest);
        service.reload().unwrap();
        assert_eq!(service.keysets().unwrap(), known, "{name}");
    }
}

/// Two changes from one state: the same number, and not the same.
#[test]
fn same_change_with_other_content_is_another_history() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let admin = create(&path);
    admin.rotate().unwrap();
    let backup = fs::read(&path).unwrap();
    let changes: [fn(&FileKeyring) -> u64; 4] = [
        |keyring| keyring.disable(version(1)).unwrap().change,
        |keyring| label(keyring, "orders", "other"),
        |keyring| keyring.create_key("archive").unwrap().change,
        |keyring| {
            let other = Protection::raw_key(MasterKey::from_bytes(&[8; 32]));
            keyring.add_protection(&other).unwrap().change
        },
    ];
    for one in changes {
        for other in changes {
            overwrite(&path, &backup);
            let service = open(&path);
            let number = one(&service);
            overwrite(&path, &backup);
            assert_eq!(other(&open(&path)), number);
            if one as usize != other as usize {
                let error = file_error(&service.reload().unwrap_err());
                assert!(matches!(error, KeyFileError::Diverged { .. }), "{error}");
            }
        }
    }
}

/// Usage is no history: a copy with lower counts of the same change is the same file.
#[test]
fn file_of_same_change_with_lower_counts_is_followed() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let keyring = eager().create(&path, "orders", &raw()).unwrap();
    let copy = fs::read(&path).unwrap();
    encrypt(&keyring, "counted");
    keyring.flush().unwrap();
    overwrite(&path, &copy);
    encrypt(&keyring, "goes on");
    assert_eq!(keyring.rotate().unwrap(), version(2));
    assert_eq!(open(&path).versions()[0].usage.wraps, 1, "what was on record is lost");
}

#[test]
fn usage_makes_no_plan_superseded() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let keyring = create(&path);
    let policy = RotationPolicy::on_compromise().rotate_after_wraps(1);
    encrypt(&keyring, "x");
    let now = Timestamp::now();
    let plan = policy.plan(&keyring.keysets().unwrap(), "orders", now).unwrap();
    for _ in 0..3 {
        let other = open(&path);
        encrypt(&other, "x");
        other.close().unwrap();
    }
    let other = FileKeyringOptions::new().reserve_usage().open_any(&path, &raw()).unwrap();
    encrypt(&other, "x");
    keyring.flush().unwrap();
    assert_eq!(keyring.change_number(), plan.change());
    let PlanOutcome::Applied(changed) = plan.apply(&keyring).unwrap() else { panic!("superseded") };
    assert_eq!(changed.change, plan.change() + 1);
    // Whose terms name it goes on, whatever was counted.
    encrypt(&other, "x");
    keyring.flush().unwrap();
    let terms = ChangeOptions::at(now).if_unchanged_since(changed.change);
    keyring.change(&[Change::Rotate { key: "orders" }], &terms, &mut OsRandom).unwrap();
}

/// Records of a file that comes from format version 1 have no change number there.
#[test]
fn alias_switched_since_version_1_stays_switched() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/keyfile/raw-key.keys");
    let backup = fs::read(golden).unwrap();
    overwrite(&path, &backup);
    let service = FileKeyring::open_any(&path, &raw()).unwrap();
    let (alias, to) = {
        let keysets = service.keysets().unwrap();
        let (alias, from) = keysets.aliases().next().unwrap();
        let other = keysets.iter().map(|it| it.name().as_str()).find(|it| *it != from).unwrap();
        (alias.to_string(), other.to_string())
    };
    service.set_alias(&alias, &to).unwrap();
    let newest = service.change_number();
    overwrite(&path, &backup);
    let other = FileKeyring::open_any(&path, &raw()).unwrap();
    for round in 0..6 {
        label(&other, "orders", &format!("{round}"));
    }
    assert!(other.change_number() > newest);
    let error = file_error(&service.reload().unwrap_err());
    assert!(matches!(error, KeyFileError::Diverged { .. }), "{error}");
}

/// A file that is restored in pieces can have an older first line.
#[test]
fn first_line_of_version_1_does_not_block_salvage() {
    let directory = TestDirectory::new();
    let (path, fresh) = (directory.join("orders.keys"), directory.join("salvaged.keys"));
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/keyfile/raw-key.keys");
    let before = fs::read_to_string(golden).unwrap();
    overwrite(&path, before.as_bytes());
    let keyring = FileKeyring::open_any(&path, &raw()).unwrap();
    let (alias, from) = {
        let keysets = keyring.keysets().unwrap();
        let (alias, from) = keysets.aliases().next().unwrap();
        (alias.to_string(), from.to_string())
    };
    let other = if from == "orders" { "archive" } else { "orders" };
    if keyring.keysets().unwrap().keyset(other).is_none() {
        keyring.create_key(other).unwrap();
    }
    keyring.set_alias(&alias, other).unwrap();
    label(&keyring, "orders", "later");
    let after = fs::read_to_string(&path).unwrap();
    let first = before.lines().next().unwrap();
    let earlier = before.lines().find(|line| line.contains(r#""kind":"alias""#)).unwrap();
    let rest: Vec<_> = after.lines().skip(1).collect();
    let mixed = [&[first, earlier][..], &rest[..], &[""]].concat().join("\n");
    overwrite(&path, mixed.as_bytes());
    let salvage = envelock::file::Salvage::read(&path, &raw()).unwrap();
    let salvaged = salvage.create(&fresh, &raw(), &FileKeyringOptions::new()).unwrap();
    let keysets = salvaged.keysets().unwrap();
    let aliases: Vec<_> = keysets.aliases().collect();
    assert!(aliases.contains(&(alias.as_str(), other)), "{aliases:?}");
    let record = keysets.keyset("orders").unwrap().version(version(1)).unwrap();
    assert_eq!(record.labels.get("note"), Some("later"));
    assert!(record.changed > 0);
}

#[test]
fn first_line_under_old_key_does_not_block_salvage() {
    let directory = TestDirectory::new();
    let (path, fresh) = (directory.join("orders.keys"), directory.join("salvaged.keys"));
    let keyring = create(&path);
    let message = encrypt(&keyring, "text");
    let before = fs::read_to_string(&path).unwrap();
    keyring.replace_file_key(&[&raw()]).unwrap();
    let after = fs::read_to_string(&path).unwrap();
    let first = before.lines().next().unwrap();
    let rest: Vec<_> = after.lines().skip(1).collect();
    overwrite(&path, [&[first][..], &rest[..], &[""]].concat().join("\n").as_bytes());
    let salvage = envelock::file::Salvage::read(&path, &raw()).unwrap();
    assert_eq!((salvage.intact().len(), salvage.damaged().len()), (1, 1));
    let salvaged = salvage.create(&fresh, &raw(), &FileKeyringOptions::new()).unwrap();
    assert_eq!(decrypt(&salvaged, &message).unwrap(), b"text");
}

#[test]
fn corrected_dates_are_followed_by_every_process() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let admin = create(&path);
    let (now, ahead) = (Timestamp::now(), Timestamp::now().plus(Duration::from_secs(20 * 86_400)));
    let at = |changes: &[Change<'_>], now| {
        admin.change(changes, &ChangeOptions::at(now), &mut OsRandom).unwrap();
    };
    let operation = envelock::keyset::Operation::MarkCompromised;
    let marked = Change::Version { key: "orders", version: version(1), operation };
    at(&[Change::Rotate { key: "orders" }, marked], ahead);
    let service = eager().open_any(&path, &raw()).unwrap().with_key("orders").unwrap();
    let before = fs::read(&path).unwrap();
    assert_eq!(service.versions()[1].promoted, Some(ahead));
    at(&[Change::CorrectDates { key: "orders" }], now);
    service.reload().unwrap();
    let versions = service.versions();
    assert_eq!((versions[0].compromised, versions[1].promoted), (Some(now), Some(now)));
    // Corrected dates do not come back.
    overwrite(&path, &before);
    assert!(is_rolled_back(&service.reload().unwrap_err()));
}
