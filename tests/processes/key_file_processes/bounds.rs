//! How long a process can go on with what another one has changed: no longer than its options say.

use crate::common::clock::monotonic;
use crate::common::directory::TestDirectory;
use crate::common::key_files::{ROW, raw, text, version_of};
use crate::common::process::{Process, send};
use envelock::{
    Envelope, Error, FileKeyring, KeyVersion, Lifecycle, file::FileKeyringOptions, keyring::Refusal,
};
use std::time::Duration;

const BOUND: Duration = Duration::from_millis(400);

const ROUNDS: usize = 4;

/// The processes compare times of one clock.
fn now() -> u128 {
    monotonic().as_nanos()
}

/// Without usage counts: a reservation of wraps reads the file, which would report the change earlier.
fn open(path: &str) -> FileKeyring {
    let options = FileKeyringOptions::new().refresh_after(BOUND).without_usage();
    options.open_any(path, &raw(7)).unwrap()
}

/// A child: decrypts until it is refused, and reports when it began to decrypt for the last time
/// that went well.
pub fn decrypt_until_refused(path: &str, message: &str) {
    let keyring = open(path);
    let message = hex::decode(message).unwrap();
    let mut last = None;
    loop {
        let began = now();
        match Envelope::new(&keyring).decrypt(&message, ROW) {
            Ok(_) if last.is_none() => send("decrypts"),
            Ok(_) => {}
            Err(Error::Refused { refusal: Refusal::Disabled, .. }) => break,
            Err(other) => panic!("{other}"),
        }
        last = Some(began);
    }
    send(&last.unwrap().to_string());
}

/// A child: encrypts until that is under another version, and reports when it began to encrypt for
/// the last time under the former one, and which is the new one.
pub fn encrypt_until_new(path: &str) {
    let keyring = open(path);
    let mut last = None;
    let mut first = None;
    loop {
        let began = now();
        let message = Envelope::new(&keyring).encrypt(b"message", ROW).unwrap();
        let version = version_of(&message);
        if first.is_none() {
            first = Some(version);
            send("encrypts");
        }
        if first != Some(version) {
            send(&format!("{} {version}", last.unwrap()));
            return;
        }
        last = Some(began);
    }
}

#[test]
fn reader_sees_disabled_version_within_its_bound() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let keyring = FileKeyring::create(&path, "orders", &raw(7)).unwrap();
    let message = hex::encode(Envelope::new(&keyring).encrypt(b"message", ROW).unwrap());
    keyring.rotate().unwrap();
    let mut latest = Duration::ZERO;
    for _ in 0..ROUNDS {
        let mut reader = Process::start(super::MODULE, "decrypt", &[text(&path), &message]);
        reader.expect("decrypts");
        keyring.disable(KeyVersion::FIRST).unwrap();
        let disabled = now();
        let last: u128 = reader.must_hear().parse().unwrap();
        latest = latest.max(assert_within_bound(disabled, last));
        reader.end();
        keyring.enable(KeyVersion::FIRST).unwrap();
    }
    println!("the last decryption under a disabled version began after {latest:?}");
}

#[test]
fn former_primary_wraps_within_its_bound_only() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let keyring = FileKeyring::create(&path, "orders", &raw(7)).unwrap();
    let mut latest = Duration::ZERO;
    for _ in 0..ROUNDS {
        let mut writer = Process::start(super::MODULE, "encrypt", &[text(&path)]);
        writer.expect("encrypts");
        let version = keyring.rotate().unwrap();
        let rotated = now();
        let line = writer.must_hear();
        let (last, new) = line.split_once(' ').unwrap();
        assert_eq!(new, version.to_string());
        latest = latest.max(assert_within_bound(rotated, last.parse().unwrap()));
        writer.end();
    }
    println!("the last message under a former primary began after {latest:?}");
}

/// The change was made before `changed`, so what began later than the bound after it has to
/// know. The time a look takes is no excuse.
fn assert_within_bound(changed: u128, last: u128) -> Duration {
    let late = Duration::from_nanos(u64::try_from(last.saturating_sub(changed)).unwrap());
    assert!(late <= BOUND, "{late:?} after the change");
    late
}
