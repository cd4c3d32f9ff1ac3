//! The process that is killed: says what it begins, does it, and says what came of it.

use crate::common::key_files::{ROW, raw};
use crate::common::process::send;
use envelock::rand_core::{Rng, SeedableRng};
use envelock::{
    Envelope, FileKeyring, KeyVersion, Lifecycle,
    file::FileKeyringOptions,
    keyset::{Change, Operation, VersionRecord, VersionState},
};
use rand_chacha::ChaCha20Rng;
use std::time::Duration;

/// The key that only grows, so that a reader can always decrypt, and the one whose versions go
/// through every state.
pub const GROWS: &str = "orders";
pub const CHANGES: &str = "archive";

/// Wraps of which the last ones need a second block.
const BURST: u32 = 300;

const WEEK: Duration = Duration::from_secs(7 * 86_400);

/// Works until it is killed.
pub fn work(path: &str, key: u8, protect: bool, seed: u64) {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    // So that no wrap is missing after a kill.
    let options = FileKeyringOptions::new().refresh_after(Duration::ZERO).reserve_usage();
    let keyring = options.open_any(path, &raw(key)).unwrap();
    let mut key = key;
    loop {
        let step = choose(&keyring, key, protect, &mut rng);
        send(&format!("start {step}"));
        let words: Vec<&str> = step.split(' ').collect();
        let outcome = carry_out(&keyring, &words);
        if let ["protect", new] = words[..] {
            key = new.parse().unwrap();
        }
        send(&format!("done {} {outcome}", keyring.change_number()));
    }
}

fn choose(keyring: &FileKeyring, key: u8, protect: bool, rng: &mut ChaCha20Rng) -> String {
    let name = if rng.next_u32().is_multiple_of(2) { GROWS } else { CHANGES };
    let random = rng.next_u32();
    match random % 12 {
        0..3 => format!("rotate {name}"),
        3 => format!("label {name} 1 {random}"),
        4 | 5 if protect => format!("protect {}", 15 - key),
        4..7 => {
            let count = if (random / 12).is_multiple_of(4) { BURST } else { 1 };
            format!("encrypt {name} {count} {random}")
        }
        _ => {
            let versions = keyring.with_key(CHANGES).unwrap().versions();
            let is_open = |record: &&VersionRecord| {
                !matches!(record.state, VersionState::Primary | VersionState::Destroyed)
            };
            let open: Vec<_> = versions.iter().filter(is_open).collect();
            match open.get(random as usize / 12 % open.len().max(1)) {
                Some(record) => operate(record, random / 256),
                None => format!("rotate {CHANGES}"),
            }
        }
    }
}

fn operate(record: &VersionRecord, random: u32) -> String {
    let operation = match record.state {
        VersionState::Enabled => "disable",
        VersionState::Disabled => match random % 8 {
            0 => "destroy",
            1..4 => "schedule",
            _ => "enable",
        },
        VersionState::DestroyScheduled => "cancel",
        other => panic!("{other:?}"),
    };
    format!("operate {} {operation}", record.version.number())
}

fn carry_out(keyring: &FileKeyring, words: &[&str]) -> String {
    match *words {
        ["rotate", key] => {
            keyring.change_now(Change::Rotate { key }).unwrap();
            let versions = keyring.with_key(key).unwrap().versions();
            let last = versions.last().unwrap();
            format!("{} {}", last.version.number(), last.master_key_id)
        }
        ["label", key, version, value] => {
            let version = KeyVersion::new(version.parse().unwrap()).unwrap();
            let change = Change::SetLabel { key, version, name: "drill", value: Some(value) };
            keyring.change_now(change).unwrap();
            String::new()
        }
        ["protect", key] => {
            keyring.replace_file_key(&[&raw(key.parse().unwrap())]).unwrap();
            String::new()
        }
        ["operate", version, operation] => {
            let version = KeyVersion::new(version.parse().unwrap()).unwrap();
            let operation = operation_of(operation).0;
            keyring.with_key(CHANGES).unwrap().operate(version, operation).unwrap();
            String::new()
        }
        ["encrypt", key, count, tag] => {
            let keyring = keyring.with_key(key).unwrap();
            let plaintext = format!("message {tag}");
            let encrypt = || Envelope::new(&keyring).encrypt(plaintext.as_bytes(), ROW).unwrap();
            let count: u32 = count.parse().unwrap();
            (1..count).for_each(|_| drop(encrypt()));
            hex::encode(encrypt())
        }
        ref other => panic!("{other:?}"),
    }
}

/// An operation and its effect.
pub fn operation_of(name: &str) -> (Operation, VersionState) {
    match name {
        "disable" => (Operation::Disable, VersionState::Disabled),
        "enable" => (Operation::Enable, VersionState::Enabled),
        "schedule" => {
            (Operation::ScheduleDestruction { after: WEEK }, VersionState::DestroyScheduled)
        }
        "cancel" => (Operation::CancelDestruction, VersionState::Disabled),
        "destroy" => (Operation::DestroyImmediately, VersionState::Destroyed),
        other => panic!("{other}"),
    }
}
