//! The file keyring as its users see it: what one process does reaches another, what the file
//! lost stops wraps and loses nothing.

use crate::common::directory;
mod copies;
mod guards;
mod history;
mod opening;
mod protections;
mod records;
use crate::common::simulated_directory;
mod usage;

use directory::TestDirectory;
use envelock::keyset::LifecycleError;
use envelock::{
    Aad, Envelope, Error, FileKeyring, KeyVersion, Keyring, Lifecycle, MasterKey, MemoryKeyring,
    RewrapOptions, RotationPolicy, Timestamp,
    file::{FileError, FileKeyringOptions, KeyFileError, KeyFileFault, Protection, Salvage},
    inspect,
    keyring::Refusal,
    keyset::{Change, Operation, VersionState},
    observe::{Event, FnObserver},
    policy::PlanOutcome,
};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::Duration;

const ROW: Aad<'static> = Aad::new(b"row");

fn raw() -> Protection {
    Protection::raw_key(MasterKey::from_bytes(&[7; 32]))
}

fn version(number: u32) -> KeyVersion {
    KeyVersion::new(number).unwrap()
}

fn create(path: &Path) -> FileKeyring {
    FileKeyring::create(path, "orders", &raw()).unwrap()
}

/// Looks at the file at each use.
fn eager() -> FileKeyringOptions {
    FileKeyringOptions::new().refresh_after(Duration::ZERO)
}

/// Never looks by itself.
fn lazy() -> FileKeyringOptions {
    FileKeyringOptions::new().refresh_after(Duration::from_secs(1 << 30))
}

fn encrypt(keyring: &FileKeyring, text: &str) -> Vec<u8> {
    Envelope::new(keyring).encrypt(text.as_bytes(), ROW).unwrap()
}

fn decrypt(keyring: &FileKeyring, message: &[u8]) -> Result<Vec<u8>, Error> {
    Envelope::new(keyring).decrypt(message, ROW)
}

fn written_under(message: &[u8]) -> u32 {
    inspect(message).unwrap().slots().next().unwrap().label.version.number()
}

/// The fault of the file behind an error, from a change or from a wrap.
fn file_error(error: &Error) -> KeyFileError {
    error.backend::<KeyFileError>().unwrap_or_else(|| panic!("{error:?}")).clone()
}

#[test]
fn file_opens_under_its_protection_only() {
    let directory = TestDirectory::new();
    let outer = Arc::new(MemoryKeyring::create("outer").unwrap());
    let cheap = envelock::file::Argon2Cost { memory_kib: 7 * 1024, passes: 5, lanes: 1 };
    type Make = fn(&Arc<MemoryKeyring>, envelock::file::Argon2Cost) -> Protection;
    let protections: [(&str, Make); 4] = [
        ("passphrase", |_, cost| Protection::passphrase_with_cost("open sesame", cost)),
        ("keyring", |outer, _| Protection::keyring(outer.clone())),
        ("raw", |_, _| raw()),
        ("none", |_, _| Protection::unprotected_plaintext()),
    ];
    for (name, protection) in protections {
        let path = directory.join(name);
        let keyring = FileKeyring::create(&path, "orders", &protection(&outer, cheap)).unwrap();
        let message = encrypt(&keyring, name);
        let read = FileKeyring::read_protections(&path).unwrap();
        assert_eq!(read[0].kind, Some(protection(&outer, cheap).kind()));
        assert_eq!(keyring.protections(), read);
        for (other, offered) in protections {
            let opened = FileKeyring::open_any(&path, &offered(&outer, cheap));
            if name == other {
                assert_eq!(decrypt(&opened.unwrap(), &message).unwrap(), name.as_bytes());
                continue;
            }
            let error = file_error(&opened.unwrap_err());
            let KeyFileError::Content { fault, .. } = &error else { panic!("{error}") };
            assert!(matches!(fault, KeyFileFault::ProtectionKind { .. }), "{fault}");
        }
    }
    let wrong = Protection::passphrase_with_cost("open sesam", cheap);
    let error =
        file_error(&FileKeyring::open_any(directory.join("passphrase"), &wrong).unwrap_err());
    let KeyFileError::Content { fault: KeyFileFault::Authentication, .. } = error else {
        panic!("{error}");
    };
}

#[test]
fn creating_never_replaces_a_file() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let keyring = create(&path);
    let message = encrypt(&keyring, "kept");
    let error = file_error(&FileKeyring::create(&path, "orders", &raw()).unwrap_err());
    assert!(matches!(error, KeyFileError::File(FileError::Exists { .. })), "{error}");
    assert_eq!(decrypt(&FileKeyring::open_any(&path, &raw()).unwrap(), &message).unwrap(), b"kept");
    let missing = FileKeyring::open_any(directory.join("other.keys"), &raw()).unwrap_err();
    assert!(matches!(file_error(&missing), KeyFileError::File(FileError::NotFound { .. })));
}

#[test]
fn unknown_version_is_looked_up_in_the_file() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let first = create(&path);
    let second = lazy().open_any(&path, &raw()).unwrap();
    for round in 2..10 {
        first.rotate().unwrap();
        let message = encrypt(&first, "new");
        assert_eq!(written_under(&message), round);
        assert_eq!(decrypt(&second, &message).unwrap(), b"new");
        assert_eq!(second.primary_version(), Some(version(round)));
    }
    // An unknown version stays exact, and costs one look at the file.
    let foreign = MemoryKeyring::import("orders", version(77), &MasterKey::from_bytes(&[9; 32]));
    let message = Envelope::new(foreign.unwrap()).encrypt(b"x", ROW).unwrap();
    match decrypt(&second, &message).unwrap_err() {
        Error::Refused { key, version: found, refusal: Refusal::UnknownVersion, .. } => {
            assert_eq!((key.as_str(), found), ("orders", version(77)));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn change_is_seen_within_the_bound() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let first = create(&path);
    let message = encrypt(&first, "old");
    let lazy = lazy().open_any(&path, &raw()).unwrap();
    let eager = eager().open_any(&path, &raw()).unwrap();
    first.rotate().unwrap();
    first.disable(version(1)).unwrap();
    let refused = |error: Error| match error {
        Error::Refused { refusal, .. } => refusal,
        other => panic!("{other}"),
    };
    assert_eq!(refused(decrypt(&eager, &message).unwrap_err()), Refusal::Disabled);
    assert_eq!(written_under(&encrypt(&eager, "new")), 2);
    assert_eq!(decrypt(&lazy, &message).unwrap(), b"old");
    assert_eq!(written_under(&encrypt(&lazy, "new")), 1);
    assert_eq!(lazy.reload().unwrap(), first.change_number());
    assert_eq!(refused(decrypt(&lazy, &message).unwrap_err()), Refusal::Disabled);

    // The default is a second.
    let default = FileKeyring::open_any(&path, &raw()).unwrap();
    first.enable(version(1)).unwrap();
    thread::sleep(Duration::from_millis(1_100));
    assert_eq!(decrypt(&default, &message).unwrap(), b"old");
}

#[test]
fn old_file_is_refused_by_anchor_or_process() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let keyring = eager().create(&path, "orders", &raw()).unwrap();
    let old = fs::read(&path).unwrap();
    keyring.rotate().unwrap();
    let message = encrypt(&keyring, "under version 2");
    let new = fs::read(&path).unwrap();
    let anchor = keyring.change_number();
    overwrite(&path, &old);

    let opened = FileKeyringOptions::new().at_least_change(anchor).open_any(&path, &raw());
    match file_error(&opened.unwrap_err()) {
        KeyFileError::RolledBack { found, known, .. } => assert_eq!((found, known), (1, anchor)),
        other => panic!("{other}"),
    }
    // Without one it is not recognised.
    assert_eq!(FileKeyring::open_any(&path, &raw()).unwrap().primary_version(), Some(version(1)));

    // A process that saw more keeps reading, and stops writing.
    assert_eq!(decrypt(&keyring, &message).unwrap(), b"under version 2");
    let error = Envelope::new(&keyring).encrypt(b"lost", ROW).unwrap_err();
    assert!(matches!(file_error(&error), KeyFileError::RolledBack { .. }));
    assert!(matches!(file_error(&keyring.rotate().unwrap_err()), KeyFileError::RolledBack { .. }));
    assert!(matches!(keyring.last_error(), Some(KeyFileError::RolledBack { .. })));
    overwrite(&path, &new);
    assert_eq!(written_under(&encrypt(&keyring, "again")), 2);
    assert!(keyring.last_error().is_none());
}

/// Replaces the file as an operator would: another one under its name.
fn overwrite(path: &Path, bytes: &[u8]) {
    let beside = path.with_extension("restored");
    fs::write(&beside, bytes).unwrap();
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(&beside, path).unwrap();
}

#[test]
fn file_of_another_history_is_refused_even_if_newer() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let keyring = eager().create(&path, "orders", &raw()).unwrap();
    let backup = fs::read(&path).unwrap();
    keyring.rotate().unwrap();
    let message = encrypt(&keyring, "ours");

    // The backup is restored and changed again: another version 2.
    overwrite(&path, &backup);
    let other = FileKeyring::open_any(&path, &raw()).unwrap();
    for _ in 0..5 {
        other.rotate().unwrap();
    }
    let error = Envelope::new(&keyring).encrypt(b"lost", ROW).unwrap_err();
    match file_error(&error) {
        KeyFileError::Diverged { key, version: differs, .. } => {
            assert_eq!((key.as_str(), differs), ("orders", version(2)));
        }
        other => panic!("{other}"),
    }
    assert_eq!(decrypt(&keyring, &message).unwrap(), b"ours");
    // The other process does not take its version 2 for ours.
    assert!(matches!(decrypt(&other, &message), Err(Error::NoKey { .. })));
}

#[test]
fn without_its_file_keyring_reads_and_does_not_write() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let keyring = eager().create(&path, "orders", &raw()).unwrap();
    let message = encrypt(&keyring, "before");
    let moved = directory.join("moved");
    fs::rename(&path, &moved).unwrap();
    assert_eq!(decrypt(&keyring, &message).unwrap(), b"before");
    let error = Envelope::new(&keyring).encrypt(b"lost", ROW).unwrap_err();
    assert!(matches!(file_error(&error), KeyFileError::File(FileError::NotFound { .. })));
    // As the cause itself says, and a rotation.
    assert!(!error.is_retryable());
    let error = Envelope::new(&keyring).rewrap(&message, RewrapOptions::new());
    keyring.rotate().unwrap_err();
    drop(error);

    // A flipped bit, and the way back.
    let mut bytes = fs::read(&moved).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    overwrite(&path, &bytes);
    let error = Envelope::new(&keyring).encrypt(b"lost", ROW).unwrap_err();
    assert!(matches!(file_error(&error), KeyFileError::Content { .. }));
    assert_eq!(decrypt(&keyring, &message).unwrap(), b"before");
    fs::rename(&moved, &path).unwrap();
    encrypt(&keyring, "after");
}

#[test]
fn keyring_without_write_access_wraps_only() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    drop(create(&path));
    let before = fs::read(&path).unwrap();
    let keyring = FileKeyringOptions::new().read_only().open_any(&path, &raw()).unwrap();
    let message = encrypt(&keyring, "read-only");
    assert_eq!(decrypt(&keyring, &message).unwrap(), b"read-only");
    let error = keyring.rotate().unwrap_err();
    assert!(matches!(file_error(&error), KeyFileError::ReadOnly { .. }));
    let error = keyring.replace_file_key(&[&Protection::unprotected_plaintext()]).unwrap_err();
    assert!(matches!(file_error(&error), KeyFileError::ReadOnly { .. }));
    drop(keyring);
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn threads_and_handles_share_one_count() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    drop(create(&path));
    let keyrings: Vec<_> = (0..4).map(|_| FileKeyring::open_any(&path, &raw()).unwrap()).collect();
    thread::scope(|scope| {
        for keyring in &keyrings {
            for _ in 0..2 {
                scope.spawn(|| (0..500).for_each(|_| drop(encrypt(keyring, "x"))));
            }
        }
    });
    drop(keyrings);
    let keyring = FileKeyring::open_any(&path, &raw()).unwrap();
    assert_eq!(keyring.versions()[0].usage.wraps, 4_000);
}

#[test]
fn another_protection_changes_no_master_key() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let keyring = eager().create(&path, "orders", &raw()).unwrap();
    keyring.rotate().unwrap();
    keyring.disable(version(1)).unwrap();
    let message = encrypt(&keyring, "kept");
    let ids = |keyring: &FileKeyring| -> Vec<_> {
        keyring.versions().iter().map(|record| (record.master_key_id, record.state)).collect()
    };
    let before = ids(&keyring);
    let other = eager().open_any(&path, &raw()).unwrap();

    let new = || Protection::raw_key(MasterKey::from_bytes(&[8; 32]));
    keyring.replace_file_key(&[&new()]).unwrap();
    assert_eq!(ids(&keyring), before);
    assert_eq!(decrypt(&keyring, &message).unwrap(), b"kept");
    encrypt(&keyring, "goes on");
    let opened = FileKeyring::open_any(&path, &new()).unwrap();
    assert_eq!((ids(&opened), decrypt(&opened, &message).unwrap()), (before, b"kept".to_vec()));

    let error = file_error(&FileKeyring::open_any(&path, &raw()).unwrap_err());
    let KeyFileError::Content { fault: KeyFileFault::Authentication, .. } = error else {
        panic!("{error}");
    };
    // A process that has the file open keeps reading, and gets the error that asks to open it again.
    assert_eq!(decrypt(&other, &message).unwrap(), b"kept");
    let error = Envelope::new(&other).encrypt(b"lost", ROW).unwrap_err();
    let KeyFileError::Content { fault: KeyFileFault::FileKeyReplaced, .. } = file_error(&error)
    else {
        panic!("{error}");
    };
}

#[test]
fn keyrings_with_one_plan_rotate_exactly_once() {
    const PROCESSES: usize = 8;
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    drop(create(&path));
    let keyrings: Vec<_> =
        (0..PROCESSES).map(|_| FileKeyring::open_any(&path, &raw()).unwrap()).collect();
    let policy = RotationPolicy::on_compromise().rotate_after_wraps(1);
    for round in 1..=5 {
        let now = Timestamp::now();
        let plans: Vec<_> = keyrings
            .iter()
            .map(|keyring| {
                // Counting usage in between is no change.
                encrypt(keyring, "x");
                policy.plan(&keyring.keysets().unwrap(), "orders", now).unwrap()
            })
            .collect();
        let barrier = Barrier::new(PROCESSES);
        let apply = |(keyring, plan): (&FileKeyring, &envelock::policy::Plan)| {
            barrier.wait();
            matches!(plan.apply(keyring).unwrap(), PlanOutcome::Applied(_))
        };
        let apply = &apply;
        let done: usize = thread::scope(|scope| {
            let pairs = keyrings.iter().zip(&plans);
            let threads: Vec<_> = pairs.map(|pair| scope.spawn(move || apply(pair))).collect();
            threads.into_iter().map(|thread| usize::from(thread.join().unwrap())).sum()
        });
        assert_eq!(done, 1);
        keyrings[0].reload().unwrap();
        assert_eq!(keyrings[0].versions().len(), round + 1);
    }
}

#[test]
fn several_keys_and_alias_switch_for_everyone_at_once() {
    let directory = TestDirectory::new();
    let path = directory.join("keys");
    let keyring = eager().create(&path, "blue", &raw()).unwrap();
    keyring.create_key("green").unwrap();
    keyring.set_alias("current", "blue").unwrap();
    let other = eager().open_any(&path, &raw()).unwrap().with_key("current").unwrap();
    let blue = encrypt(&other, "blue");
    keyring.set_alias("current", "green").unwrap();
    let green = encrypt(&other, "green");
    let name = |message: &[u8]| {
        inspect(message).unwrap().slots().next().unwrap().label.name.as_str().to_owned()
    };
    assert_eq!((name(&blue), name(&green)), ("blue".into(), "green".into()));
    assert_eq!(decrypt(&other, &blue).unwrap(), b"blue");
    // A rewrap keeps the name.
    keyring.with_key("blue").unwrap().rotate().unwrap();
    let rewrap = Envelope::new(&other).rewrap(&blue, RewrapOptions::new()).unwrap();
    assert!(rewrap.is_changed());
    assert_eq!((name(rewrap.header()), written_under(rewrap.header())), ("blue".into(), 2));
    // A tenant opens its own.
    let tenant = other.only_key("green").unwrap();
    assert_eq!(decrypt(&tenant, &green).unwrap(), b"green");
    assert!(matches!(decrypt(&tenant, &blue), Err(Error::NoKey { .. })));
    assert!(matches!(
        other.with_key("red"),
        Err(Error::Lifecycle(LifecycleError::UnknownKey { .. }))
    ));
}

#[test]
fn destroyed_version_leaves_record_without_material() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let keyring = FileKeyring::create(&path, "orders", &Protection::unprotected_plaintext());
    let keyring = keyring.unwrap();
    let message = encrypt(&keyring, "gone");
    keyring.rotate().unwrap();
    keyring.disable(version(1)).unwrap();
    let sealed_lines = || fs::read_to_string(&path).unwrap().matches("\"sealed\"").count();
    let before = sealed_lines();
    keyring.destroy_immediately(version(1)).unwrap();
    assert_eq!(sealed_lines(), before - 1);
    for keyring in [&keyring, &FileKeyring::open_any(&path, keyring_protection()).unwrap()] {
        let record = &keyring.versions()[0];
        assert_eq!((record.state, record.usage.wraps >= 1), (VersionState::Destroyed, true));
        match decrypt(keyring, &message).unwrap_err() {
            Error::Refused { refusal: Refusal::Destroyed, .. } => {}
            other => panic!("{other}"),
        }
    }
    // A destroyed version does not come back in a process that saw its destruction.
    let change =
        Change::Version { key: "orders", version: version(1), operation: Operation::Enable };
    assert!(matches!(
        keyring.change_now(change),
        Err(Error::Lifecycle(LifecycleError::VersionState { .. }))
    ));
}

fn keyring_protection() -> &'static Protection {
    static NONE: std::sync::OnceLock<Protection> = std::sync::OnceLock::new();
    NONE.get_or_init(Protection::unprotected_plaintext)
}

#[test]
fn rights_of_others_are_refused_unless_allowed() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    drop(create(&path));
    let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(), 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = file_error(&FileKeyring::open_any(&path, &raw()).unwrap_err());
    assert!(matches!(error, KeyFileError::Permissions { mode: 0o640, .. }), "{error}");
    let keyring = FileKeyringOptions::new().allow_permissions().open_any(&path, &raw()).unwrap();
    keyring.rotate().unwrap();
    assert_eq!(mode(), 0o640);
}

#[test]
fn reloads_are_observed_and_observer_may_use_keyring() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let events: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = events.clone();
    let observer = FnObserver::new(move |event: &Event<'_>| {
        let text = match event {
            Event::Reloaded { change, from_change } => {
                format!("reloaded {change} from {from_change}")
            }
            Event::Rotated { key, from, to, change } => {
                let from = from.map(KeyVersion::number);
                format!("{key} rotated from {from:?} to {to}, change {change}")
            }
            Event::ReloadFailed { error } => format!("failed: {error}"),
            other => format!("{other:?}"),
        };
        seen.lock().unwrap().push(text);
    });
    let keyring = eager().observer(Arc::new(observer)).create(&path, "orders", &raw()).unwrap();
    let other = FileKeyring::open_any(&path, &raw()).unwrap();
    other.rotate().unwrap();
    encrypt(&keyring, "x");
    fs::rename(&path, directory.join("moved")).unwrap();
    for _ in 0..3 {
        Envelope::new(&keyring).encrypt(b"lost", ROW).unwrap_err();
    }
    let events = events.lock().unwrap();
    assert_eq!(events.len(), 3, "{events:?}");
    assert_eq!(events[0], "reloaded 2 from 1");
    assert_eq!(events[1], "orders rotated from Some(1) to 2, change 2");
    assert!(events[2].starts_with("failed: there is no file"), "{}", events[2]);
}

#[test]
fn intact_part_of_damaged_file_goes_into_a_new_one() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let keyring = create(&path);
    let mut messages = Vec::new();
    for number in 1..=20 {
        messages.push(encrypt(&keyring, &format!("under {number}")));
        keyring.rotate().unwrap();
    }
    let anchor = keyring.change_number();
    drop(keyring);
    let mut bytes = fs::read(&path).unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    let seventh = text.lines().find(|line| line.contains("\"version\":7,")).unwrap();
    let offset = text.find(seventh).unwrap() + seventh.len() / 2;
    bytes[offset] ^= 4;
    overwrite(&path, &bytes);

    let error = file_error(&FileKeyring::open_any(&path, &raw()).unwrap_err());
    let KeyFileError::Content { fault: KeyFileFault::Record { record, .. }, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(record.to_string(), "key orders version 7");
    let salvage = Salvage::read(&path, &raw()).unwrap();
    assert_eq!((salvage.intact().len(), salvage.damaged().len()), (20, 1));
    assert_eq!(salvage.damaged()[0].record, *record);
    let fresh = directory.join("salvaged.keys");
    let options = FileKeyringOptions::new();
    let keyring = salvage.create(&fresh, &raw(), &options).unwrap();
    assert!(keyring.change_number() > anchor);
    let keyring = options.at_least_change(anchor).open_any(&fresh, &raw()).unwrap();
    for (number, message) in (1_u32..).zip(&messages) {
        match decrypt(&keyring, message) {
            Ok(plaintext) => assert_eq!(plaintext, format!("under {number}").as_bytes()),
            Err(Error::Refused { version: lost, refusal: Refusal::UnknownVersion, .. }) => {
                assert_eq!((number, lost), (7, version(7)));
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(keyring.rotate().unwrap(), version(22));
}

#[test]
fn keyring_is_an_object_too() {
    let directory = TestDirectory::new();
    let keyring: Arc<dyn Lifecycle> = Arc::new(create(&directory.join("orders.keys")));
    keyring.rotate().unwrap();
    assert_eq!(keyring.keyset().unwrap().primary(), Some(version(2)));
    let keyring: &dyn Keyring = &keyring;
    let message = Envelope::new(keyring).encrypt(b"x", ROW).unwrap();
    assert_eq!(written_under(&message), 2);
}
