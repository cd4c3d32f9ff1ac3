//! The content that a file must have, by the acknowledged changes and the one in progress.

use crate::common::key_files::{ROW, version_of};
use crate::key_file_kills::worker::{CHANGES, GROWS, operation_of};
use envelock::{
    Envelope, Error, FileKeyring, MasterKeyId,
    keyring::Refusal,
    keyset::{VersionRecord, VersionState},
};
use std::collections::BTreeMap;

type Name = (String, u32);

struct Version {
    id: String,
    state: VersionState,
    label: Option<String>,
    /// How many wraps were acknowledged.
    wraps: u64,
}

struct Message {
    name: Name,
    bytes: Vec<u8>,
    plaintext: String,
}

/// The acknowledged changes.
pub struct Model {
    change: u64,
    /// The byte of the raw key that the file is under.
    pub key: u8,
    versions: BTreeMap<Name, Version>,
    messages: Vec<Message>,
}

impl Model {
    pub fn new(keyring: &FileKeyring, key: u8) -> Self {
        let mut model = Model { change: 0, key, versions: BTreeMap::new(), messages: Vec::new() };
        model.take_over(keyring);
        model
    }

    /// Takes over what the file holds, after it was checked.
    pub fn take_over(&mut self, keyring: &FileKeyring) {
        self.change = keyring.change_number();
        for (name, record) in records(keyring) {
            let label = record.labels.get("drill").map(str::to_owned);
            let id = record.master_key_id.to_string();
            let wraps = self.versions.get(&name).map_or(0, |version| version.wraps);
            self.versions.insert(name, Version { id, state: record.state, label, wraps });
        }
    }

    /// Notes that the worker did `step`, with what it answered; returns a message of the key that
    /// a reader can always decrypt.
    pub fn acknowledge(&mut self, step: &str, done: &str) -> Option<Vec<u8>> {
        let (change, outcome) = done.split_once(' ').unwrap();
        let change = change.parse().unwrap();
        assert!(change >= self.change);
        self.change = change;
        match step.split(' ').collect::<Vec<_>>()[..] {
            ["rotate", key] => {
                let (number, id) = outcome.split_once(' ').unwrap();
                self.rotated(key, number.parse().unwrap(), id);
            }
            ["label", key, version, value] => {
                self.version(key, version.parse().unwrap()).label = Some(value.into());
            }
            ["protect", key] => self.key = key.parse().unwrap(),
            ["operate", version, operation] => {
                let state = operation_of(operation).1;
                self.version(CHANGES, version.parse().unwrap()).state = state;
            }
            ["encrypt", key, count, tag] => {
                let bytes = hex::decode(outcome).unwrap();
                self.encrypted(key, bytes.clone(), format!("message {tag}"));
                let number = version_of(&bytes);
                self.version(key, number).wraps += count.parse::<u64>().unwrap() - 1;
                return (key == GROWS).then_some(bytes);
            }
            ref other => panic!("{other:?}"),
        }
        None
    }

    fn version(&mut self, key: &str, number: u32) -> &mut Version {
        self.versions.get_mut(&(key.to_owned(), number)).unwrap()
    }

    fn rotated(&mut self, key: &str, number: u32, id: &str) {
        for ((name, _), version) in &mut self.versions {
            if name == key && version.state == VersionState::Primary {
                version.state = VersionState::Enabled;
            }
        }
        let (state, id) = (VersionState::Primary, id.to_owned());
        let version = Version { id, state, label: None, wraps: 0 };
        let earlier = self.versions.insert((key.to_owned(), number), version);
        assert!(earlier.is_none(), "number {number} of {key} was given out twice");
    }

    pub fn encrypted(&mut self, key: &str, bytes: Vec<u8>, plaintext: String) {
        let name = (key.to_owned(), version_of(&bytes));
        self.version(key, name.1).wraps += 1;
        self.messages.push(Message { name, bytes, plaintext });
    }

    /// Checks what a file holds after a kill in the midst of `under_way`; returns whether that was
    /// done although it was not acknowledged.
    pub fn check(&self, keyring: &FileKeyring, under_way: Option<&str>) -> bool {
        let words: Vec<_> = under_way.unwrap_or("nothing").split(' ').collect();
        let change = keyring.change_number();
        assert!(change >= self.change, "{change} after {} was known", self.change);
        let is_newer = change > self.change;
        assert!(!is_newer || under_way.is_some(), "a change that was not requested");
        let found: BTreeMap<Name, VersionRecord> = records(keyring).collect();
        for (name, version) in &self.versions {
            let record = found.get(name).unwrap_or_else(|| panic!("{name:?} is lost"));
            check_version(name, version, record, &words, is_newer);
        }
        let new: Vec<_> = found.keys().filter(|name| !self.versions.contains_key(*name)).collect();
        match (&words[..], &new[..]) {
            (["rotate", key], [(name, _)]) => assert!(name == key && is_newer),
            (["rotate", _], []) => assert!(!is_newer, "a rotation without a version"),
            (_, new) => assert_eq!(*new, [] as [&Name; 0]),
        }
        self.check_messages(keyring, &found);
        is_newer
    }

    /// Everything that was acknowledged opens, or is refused for exactly what was done to its
    /// version.
    fn check_messages(&self, keyring: &FileKeyring, found: &BTreeMap<Name, VersionRecord>) {
        for Message { name, bytes, plaintext } in &self.messages {
            let refusal = match found[name].state {
                VersionState::Disabled => Some(Refusal::Disabled),
                VersionState::DestroyScheduled => Some(Refusal::DestroyScheduled),
                VersionState::Destroyed => Some(Refusal::Destroyed),
                _ => None,
            };
            match (Envelope::new(keyring).decrypt(bytes, ROW), refusal) {
                (Ok(found), None) => assert_eq!(found, plaintext.as_bytes()),
                (Err(Error::Refused { refusal: found, .. }), Some(refusal)) => {
                    assert_eq!(found, refusal);
                }
                (answer, refusal) => panic!("{name:?}: {answer:?} instead of {refusal:?}"),
            }
        }
    }

    pub fn counts(&self) -> (usize, usize) {
        (self.versions.len(), self.messages.len())
    }
}

fn records(keyring: &FileKeyring) -> impl Iterator<Item = (Name, VersionRecord)> {
    [GROWS, CHANGES].into_iter().flat_map(|key| {
        let versions = keyring.with_key(key).unwrap().versions();
        versions.into_iter().map(move |record| ((key.to_owned(), record.version.number()), record))
    })
}

/// Each version is as it was acknowledged; or, if the file is newer, as it becomes by what was
/// under way.
fn check_version(
    name: &Name,
    version: &Version,
    record: &VersionRecord,
    under_way: &[&str],
    is_newer: bool,
) {
    let id: MasterKeyId = record.master_key_id;
    assert_eq!(id.to_string(), version.id, "{name:?}");
    let (mut state, mut label) = (version.state, version.label.as_deref());
    let number = name.1.to_string();
    match *under_way {
        _ if !is_newer => {}
        ["rotate", key] if key == name.0 && state == VersionState::Primary => {
            state = VersionState::Enabled;
        }
        ["operate", version, operation] if name.0 == CHANGES && version == number => {
            state = operation_of(operation).1;
        }
        ["label", key, version, value] if key == name.0 && version == number => {
            label = Some(value);
        }
        _ => {}
    }
    assert_eq!(record.state, state, "{name:?}");
    assert_eq!(record.labels.get("drill"), label, "{name:?}");
    let (counted, wraps) = (record.usage.wraps, version.wraps);
    assert!(counted >= wraps, "{name:?}: {counted} wraps counted of {wraps}");
}
