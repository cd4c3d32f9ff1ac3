//! How a keyring comes by its file, and goes on after what was wrong with it is settled.

use super::{
    ROW, create, decrypt, eager, encrypt, file_error, overwrite, raw, version, written_under,
};
use crate::common::directory::TestDirectory;
use envelock::keyset::LifecycleError;
use envelock::{
    Envelope, Error, FileKeyring, Keyring, Lifecycle,
    file::{
        FileError, FileKeyringOptions, FileRules, KeyFileError, KeyFileFault, Protection,
        ReadOnlyFileKeyring,
    },
    keyring::Refusal,
};
use std::fs;
use std::io::Cursor;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Barrier;
use std::thread;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// An operator adds a key: a process that names its own starts as before.
#[test]
fn keyring_opened_by_name_stays_with_its_key() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    create(&path).create_key("invoices").unwrap();
    let keyring = FileKeyring::open(&path, "orders", &raw()).unwrap();
    assert_eq!(written_under(&encrypt(&keyring, "text")), 1);
    assert_eq!(keyring.key(), "orders");
    let unknown = FileKeyring::open(&path, "ordres", &raw()).unwrap_err();
    assert!(
        matches!(&unknown, Error::Lifecycle(LifecycleError::UnknownKey { key }) if key == "ordres"),
        "{unknown}"
    );
}

#[test]
fn keyring_without_a_key_says_which_there_are() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    create(&path).create_key("invoices").unwrap();
    let keyring = FileKeyring::open_any(&path, &raw()).unwrap();
    for error in
        [Envelope::new(&keyring).encrypt(b"text", ROW).unwrap_err(), keyring.rotate().unwrap_err()]
    {
        assert_eq!(error.to_string(), "no key is selected of invoices, orders");
        assert!(!error.is_retryable());
    }
}

#[test]
fn concurrent_open_or_create_creates_once() {
    let directory = TestDirectory::new();
    for round in 0..10 {
        let path = directory.join(&format!("{round}.keys"));
        let start = Barrier::new(4);
        let messages: Vec<_> = thread::scope(|scope| {
            let open = || {
                start.wait();
                let keyring = FileKeyring::open_or_create(&path, "orders", &raw()).unwrap();
                encrypt(&keyring, "text")
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let keyring = FileKeyring::open(&path, "orders", &raw()).unwrap();
        for message in messages {
            assert_eq!(decrypt(&keyring, &message).unwrap(), b"text");
        }
    }
    let missing = directory.join("missing/orders.keys");
    let error = FileKeyring::open_or_create(&missing, "orders", &raw()).unwrap_err();
    assert!(matches!(file_error(&error), KeyFileError::File(FileError::Io { .. })), "{error}");
}

/// `PASS=$'hunter22\n'` was "wrong secret".
#[test]
fn passphrase_from_a_file_or_reader_has_no_line_end() {
    let directory = TestDirectory::new();
    let (path, secret) = (directory.join("orders.keys"), directory.join("passphrase"));
    let cheap = envelock::file::Argon2Cost { memory_kib: 7 * 1024, passes: 5, lanes: 1 };
    let protection = Protection::passphrase_with_cost("hunter22", cheap);
    FileKeyring::create(&path, "orders", &protection).unwrap();
    for text in ["hunter22", "hunter22\n", "hunter22\r\n"] {
        fs::write(&secret, text).unwrap();
        set_mode(&secret, 0o600);
        let protection = Protection::passphrase_file(&secret).unwrap();
        FileKeyring::open(&path, "orders", &protection).unwrap();
        let protection = Protection::passphrase_from(Cursor::new(text)).unwrap();
        FileKeyring::open(&path, "orders", &protection).unwrap();
    }
    let link = directory.join("link");
    std::os::unix::fs::symlink(&secret, &link).unwrap();
    Protection::passphrase_file(&link).unwrap();
    set_mode(&secret, 0o444);
    let error = file_error(&Protection::passphrase_file(&secret).unwrap_err());
    assert!(matches!(error, KeyFileError::Permissions { mode: 0o444, .. }), "{error}");
    let rules = FileRules::new().allow_permissions();
    Protection::passphrase_file_with(&secret, rules).unwrap();
    for bad in ["", "\n", &"x".repeat(4097)] {
        let error = Protection::passphrase_from(Cursor::new(bad)).unwrap_err();
        let KeyFileError::File(FileError::Io { source, .. }) = file_error(&error) else {
            panic!("{error}")
        };
        assert_eq!(source.kind(), std::io::ErrorKind::InvalidData);
    }
}

#[test]
fn bytes_of_a_key_file_encrypt_and_follow_new_bytes() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let admin = create(&path);
    let first = fs::read(&path).unwrap();
    let keyring = ReadOnlyFileKeyring::from_bytes(&first, "orders", &raw()).unwrap();
    let clone = keyring.with_key("orders").unwrap();
    let message = Envelope::new(&keyring).encrypt(b"text", ROW).unwrap();
    assert_eq!(decrypt(&admin, &message).unwrap(), b"text");
    assert!(keyring.health().write_error.is_some() && keyring.last_error().is_none());

    admin.rotate().unwrap();
    admin.disable(version(1)).unwrap();
    let second = fs::read(&path).unwrap();
    keyring.replace_bytes(&second).unwrap();
    let envelope = Envelope::new(&clone);
    assert_eq!(written_under(&envelope.encrypt(b"text", ROW).unwrap()), 2);
    let refused = envelope.decrypt(&message, ROW).unwrap_err();
    assert!(matches!(refused, Error::Refused { refusal: Refusal::Disabled, .. }), "{refused}");

    // Old, cut, or anything else: everything stays as it was.
    for bad in [&first[..], &second[..second.len() - 3], b"", b"hunter22\n"] {
        assert!(keyring.replace_bytes(bad).unwrap_err().backend::<KeyFileError>().is_some());
        assert_eq!(written_under(&envelope.encrypt(b"text", ROW).unwrap()), 2);
    }
    let unknown = ReadOnlyFileKeyring::from_bytes(&second, "ordres", &raw()).unwrap_err();
    assert!(matches!(unknown, Error::Lifecycle(LifecycleError::UnknownKey { .. })), "{unknown}");
    let of_file = ReadOnlyFileKeyring::open(&path, "orders", &raw()).unwrap();
    let error = file_error(&of_file.replace_bytes(&second).unwrap_err());
    assert!(matches!(error, KeyFileError::ReadOnly { .. }), "{error}");
}

#[test]
fn bytes_under_replaced_file_key_are_opened_in_place() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let admin = create(&path);
    let keyring =
        ReadOnlyFileKeyring::from_bytes(&fs::read(&path).unwrap(), "orders", &raw()).unwrap();
    let envelope = Envelope::new(keyring.with_key("orders").unwrap());
    let message = envelope.encrypt(b"text", ROW).unwrap();

    let passphrase = Protection::passphrase("another secret");
    admin.replace_file_key(&[&passphrase]).unwrap();
    admin.rotate().unwrap();
    let bytes = fs::read(&path).unwrap();
    let replaced = keyring.replace_bytes(&bytes).unwrap_err();
    assert!(format!("{replaced:?}").contains("FileKeyReplaced"), "{replaced:?}");
    // The wrong secret, or no key file: everything stays as it was.
    assert!(keyring.reopen_bytes(&bytes, &raw()).is_err());
    assert!(keyring.reopen_bytes(b"hunter22", &passphrase).is_err());
    assert_eq!(written_under(&envelope.encrypt(b"text", ROW).unwrap()), 1);

    let change = keyring.reopen_bytes(&bytes, &passphrase).unwrap();
    assert_eq!(change, admin.change_number());
    assert_eq!(written_under(&envelope.encrypt(b"text", ROW).unwrap()), 2);
    assert_eq!(envelope.decrypt(&message, ROW).unwrap(), b"text");
    // Later changes continue from there.
    admin.rotate().unwrap();
    keyring.replace_bytes(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(written_under(&envelope.encrypt(b"text", ROW).unwrap()), 3);

    let of_file = ReadOnlyFileKeyring::open(&path, "orders", &passphrase).unwrap();
    let error = file_error(&of_file.reopen_bytes(&bytes, &passphrase).unwrap_err());
    assert!(matches!(error, KeyFileError::ReadOnly { .. }), "{error}");
}

#[test]
fn read_only_keyring_follows_its_file_and_makes_none() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let admin = create(&path);
    let names = fs::read_dir(directory.path()).unwrap().count();
    let keyring = eager().open_read_only(&path, "orders", &raw()).unwrap();
    assert_eq!(written_under(&Envelope::new(&keyring).encrypt(b"text", ROW).unwrap()), 1);
    admin.rotate().unwrap();
    assert_eq!(written_under(&Envelope::new(&keyring).encrypt(b"text", ROW).unwrap()), 2);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), names);
    assert!(matches!(keyring.health().write_error, Some(KeyFileError::ReadOnly { .. })));
}

fn assert_goes_on(keyring: &FileKeyring, envelope: &Envelope<impl Keyring>, number: u32) {
    assert_eq!(written_under(&envelope.encrypt(b"text", ROW).unwrap()), number);
    assert!(keyring.last_error().is_none() && keyring.health().last_error.is_none());
}

/// The operator decides that the backup is right: envelopes and other handles go on.
#[test]
fn keyring_that_was_rolled_back_is_reopened_in_place() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let keyring = eager().create(&path, "orders", &raw()).unwrap();
    let envelope = Envelope::new(keyring.with_key("orders").unwrap());
    let old = fs::read(&path).unwrap();
    keyring.rotate().unwrap();
    overwrite(&path, &old);
    let error = file_error(&envelope.encrypt(b"lost", ROW).unwrap_err());
    assert!(matches!(error, KeyFileError::RolledBack { .. }), "{error}");
    let reported = keyring.health().last_error;
    assert!(matches!(reported, Some(KeyFileError::RolledBack { .. })));
    // Not with a wrong secret, and nothing changes by that.
    assert!(
        keyring.reopen(&Protection::raw_key(envelock::MasterKey::from_bytes(&[8; 32]))).is_err()
    );
    assert!(envelope.encrypt(b"lost", ROW).is_err());
    keyring.reopen(&raw()).unwrap();
    assert_goes_on(&keyring, &envelope, 1);
    keyring.rotate().unwrap();
    assert_goes_on(&keyring, &envelope, 2);
}

#[test]
fn keyring_of_another_history_is_reopened_in_place() {
    let directory = TestDirectory::new();
    let (path, other) = (directory.join("orders.keys"), directory.join("other.keys"));
    let keyring = eager().create(&path, "orders", &raw()).unwrap();
    let envelope = Envelope::new(keyring.with_key("orders").unwrap());
    let old = fs::read(&path).unwrap();
    keyring.rotate().unwrap();
    // Two changes to a copy.
    overwrite(&other, &old);
    let copy = FileKeyring::open(&other, "orders", &raw()).unwrap();
    for _ in 0..3 {
        copy.rotate().unwrap();
    }
    overwrite(&path, &fs::read(&other).unwrap());
    let error = file_error(&envelope.encrypt(b"lost", ROW).unwrap_err());
    assert!(matches!(error, KeyFileError::Diverged { .. }), "{error}");
    keyring.reopen(&raw()).unwrap();
    assert_goes_on(&keyring, &envelope, 4);

    // Another file altogether, of another file key.
    let open = Protection::unprotected_plaintext();
    let third = FileKeyring::create(directory.join("third.keys"), "orders", &open).unwrap();
    overwrite(&path, &fs::read(third.path()).unwrap());
    let error = file_error(&envelope.encrypt(b"lost", ROW).unwrap_err());
    assert!(matches!(error, KeyFileError::Content { .. }), "{error}");
    keyring.reopen(&open).unwrap();
    assert_goes_on(&keyring, &envelope, 1);
}

/// `keyset()` looks at the file, and so does every other method that reports its state.
#[test]
fn queries_of_idle_process_poll_the_file() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let admin = create(&path);
    let lazy = super::lazy().open(&path, "orders", &raw()).unwrap();
    let change = lazy.change_number();
    admin.rotate().unwrap();
    assert_eq!(lazy.primary_version(), Some(version(2)));
    admin.rotate().unwrap();
    assert_eq!(lazy.versions().len(), 3);
    admin.rotate().unwrap();
    assert!(lazy.change_number() > change + 2);
    let health = lazy.health();
    assert_eq!(health.change, admin.keysets().unwrap().change());
    assert_eq!(health.change, lazy.change_number());
    assert!(health.since_poll < std::time::Duration::from_secs(60));
}

#[test]
fn opening_and_protection_check_have_the_same_rules() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    drop(create(&path));
    set_mode(&path, 0o440);
    let error = file_error(&FileKeyring::read_protections(&path).unwrap_err());
    assert!(matches!(error, KeyFileError::Permissions { mode: 0o440, .. }), "{error}");
    let options = FileKeyringOptions::new().rules(FileRules::new().allow_permissions());
    assert_eq!(options.read_protections(&path).unwrap().len(), 1);
}

#[test]
fn key_file_changed_as_text_is_named_and_salvaged() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let message = encrypt(&create(&path), "text");
    let text = fs::read_to_string(&path).unwrap();
    for (converted, reported) in [
        (text.replace('\n', "\r\n"), "CR LF"),
        (format!("\u{feff}{text}"), "byte order mark"),
        (format!("\u{feff}{}", text.replace('\n', "\r\n")), "byte order mark"),
    ] {
        overwrite(&path, converted.as_bytes());
        let error = file_error(&FileKeyring::open_any(&path, &raw()).unwrap_err());
        let KeyFileError::Content { fault, .. } = error else { panic!("{error}") };
        assert!(matches!(fault, KeyFileFault::Converted { .. }), "{fault}");
        assert!(fault.to_string().contains(reported), "{fault}");
        let salvage = envelock::file::Salvage::read(&path, &raw()).unwrap();
        assert!(salvage.damaged().is_empty(), "{:?}", salvage.damaged());
        let fresh = directory.join(&format!("{}.keys", converted.len()));
        let salvaged = salvage.create(&fresh, &raw(), &FileKeyringOptions::new()).unwrap();
        assert_eq!(decrypt(&salvaged, &message).unwrap(), b"text");
    }
    let utf16: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let marked: Vec<u8> = [&[0xff, 0xfe][..], &utf16].concat();
    for (bytes, reported) in [
        (utf16, "UTF-16"),
        (marked, "UTF-16"),
        (base64(text.as_bytes()), "base64"),
        (Vec::new(), "empty"),
        (vec![0; 100], "zeros"),
        (b"correct horse battery staple\n".to_vec(), "passphrase"),
        (message, "message"),
    ] {
        overwrite(&path, &bytes);
        let error = file_error(&FileKeyring::open_any(&path, &raw()).unwrap_err());
        let KeyFileError::Content { fault, .. } = error else { panic!("{error}") };
        assert!(fault.to_string().contains(reported), "{reported}: {fault}");
    }
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::new();
    for group in bytes.chunks_exact(3) {
        let number = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        (0..4).rev().for_each(|digit| text.push(DIGITS[(number >> (6 * digit)) as usize & 63]));
    }
    text
}

/// A process that saw a change of the file refuses an older one.
#[test]
fn anchored_file_is_not_created_again() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let options = FileKeyringOptions::new();
    let change = options.open_or_create(&path, "orders", &raw()).unwrap().change_number();
    let anchored = options.clone().at_least_change(change);
    anchored.open_or_create(&path, "orders", &raw()).unwrap();
    fs::remove_file(&path).unwrap();
    let error = file_error(&anchored.open_or_create(&path, "orders", &raw()).unwrap_err());
    assert!(matches!(error, KeyFileError::File(FileError::NotFound { .. })), "{error}");
    assert!(!path.exists());
}

/// An outer keyring that takes its time, in which the file is changed.
struct Slow(envelock::MemoryKeyring, Box<dyn Fn() + Send + Sync>);

impl Keyring for Slow {
    fn visit_primaries(
        &self,
        visit: &mut dyn FnMut(&envelock::keyring::PrimaryKey<'_>),
    ) -> Result<(), envelock::keyring::KeyringError> {
        self.0.visit_primaries(visit)
    }
    fn wrap(
        &self,
        data_key: &envelock::DataKey,
        context: &envelock::keyring::WrapContext<'_>,
        slots: &mut envelock::keyring::SlotWriter<'_>,
        rng: &mut envelock::keyring::KeyringRng<'_>,
    ) -> Result<(), envelock::keyring::KeyringError> {
        self.0.wrap(data_key, context, slots, rng)
    }
    fn unwrap(
        &self,
        slot: &envelock::format::Slot<'_>,
        context: &envelock::keyring::WrapContext<'_>,
        data_key: &mut envelock::DataKey,
    ) -> Result<(), envelock::keyring::KeyringError> {
        (self.1)();
        self.0.unwrap(slot, context, data_key)
    }
    fn rewrap(
        &self,
        slot: &envelock::format::Slot<'_>,
        context: &envelock::keyring::WrapContext<'_>,
        slots: &mut envelock::keyring::SlotWriter<'_>,
        rng: &mut envelock::keyring::KeyringRng<'_>,
    ) -> Result<(), envelock::keyring::KeyringError> {
        self.0.rewrap(slot, context, slots, rng)
    }
    fn freshness(
        &self,
        slot: &envelock::SlotLabel<'_>,
    ) -> Result<envelock::keyring::Freshness, envelock::keyring::KeyringError> {
        self.0.freshness(slot)
    }
}

#[test]
fn change_during_open_is_seen_within_the_bound() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let admin = create(&path);
    let bound = std::time::Duration::from_secs(2);
    let outer = || {
        let key = envelock::MasterKey::from_bytes(&[3; 32]);
        envelock::MemoryKeyring::import("outer", version(1), &key).unwrap()
    };
    let plain = Protection::keyring(std::sync::Arc::new(outer()));
    admin.add_protection(&plain).unwrap();
    let rotate = move || {
        admin.rotate().unwrap();
        thread::sleep(bound);
    };
    let slow = Protection::keyring(std::sync::Arc::new(Slow(outer(), Box::new(rotate))));
    let options = FileKeyringOptions::new().refresh_after(bound);
    let keyring = options.open(&path, "orders", &slow).unwrap();
    assert_eq!(written_under(&encrypt(&keyring, "text")), 2);
}
