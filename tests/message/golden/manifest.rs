//! The text file that describes stored messages: read by the Rust tests and by the Python
//! decoder, written by both. `tests/golden/README.md` says what is in it; beside that there is
//! `hex = BYTES`, a message inline, and `verdict`, what the decoder says of it.

use envelock::{KeyVersion, Lifecycle, MasterKey, MemoryKeyring};
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// One message and what is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    fields: Vec<(String, String)>,
}

impl Entry {
    pub fn new(name: &str) -> Self {
        Entry { name: name.into(), fields: Vec::new() }
    }

    pub fn push(&mut self, field: &str, value: impl fmt::Display) {
        self.fields.push((field.into(), value.to_string()));
    }

    pub fn all<'e>(&'e self, field: &'e str) -> impl Iterator<Item = &'e str> {
        let fields = self.fields.iter().filter(move |(name, _)| name == field);
        fields.map(|(_, value)| value.as_str())
    }

    pub fn find(&self, field: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(name, _)| name == field);
        found.map(|(_, value)| value.as_str())
    }

    pub fn text(&self, field: &str) -> &str {
        self.find(field).unwrap_or_else(|| panic!("{}: no field {field}", self.name))
    }

    pub fn bytes(&self, field: &str) -> Vec<u8> {
        hex::decode(self.text(field)).unwrap()
    }

    pub fn plaintext(&self) -> Vec<u8> {
        let value = self.text("plaintext");
        // An empty value has lost the space behind its kind.
        match value.split_once(' ').unwrap_or((value, "")) {
            ("rule", len) => rule(len.parse().unwrap()),
            ("hex", bytes) => hex::decode(bytes).unwrap(),
            (other, _) => panic!("{}: plaintext by {other}", self.name),
        }
    }

    /// A keyring for each key name, with its versions in their states.
    pub fn keyrings(&self) -> BTreeMap<String, MemoryKeyring> {
        let mut keyrings: BTreeMap<String, MemoryKeyring> = BTreeMap::new();
        for line in self.all("key") {
            let [name, version, key, _] = words(line);
            let version = KeyVersion::new(version.parse().unwrap()).unwrap();
            let key = MasterKey::from_bytes(&hex::decode(key).unwrap().try_into().unwrap());
            match keyrings.get(name) {
                Some(keyring) => drop(keyring.import_version(version, &key).unwrap()),
                None => {
                    let keyring = MemoryKeyring::import(name, version, &key).unwrap();
                    keyrings.insert(name.into(), keyring);
                }
            }
        }
        for line in self.all("key") {
            let [name, version, _, state] = words(line);
            if state == "primary" {
                let version = KeyVersion::new(version.parse().unwrap()).unwrap();
                keyrings[name].promote(version).unwrap();
            }
        }
        keyrings
    }
}

/// Splits a value into exactly `N` words.
pub fn words<const N: usize>(value: &str) -> [&str; N] {
    value.split(' ').collect::<Vec<_>>().try_into().unwrap()
}

/// The plaintext of a length: every chunk, and every block of 256 bytes in it, is another.
pub fn rule(len: usize) -> Vec<u8> {
    let byte = |at: usize| at.wrapping_add(7 * (at >> 8)).wrapping_add(13 * (at >> 14));
    (0..len).map(|at| (byte(at) & 0xFF) as u8).collect()
}

/// Reads the entries of a manifest; there must be at least one.
pub fn parse(text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix("message ") {
            entries.push(Entry::new(name));
            continue;
        }
        let (field, value) = line.split_once(" =").unwrap();
        entries.last_mut().unwrap().push(field, value.trim_start());
    }
    assert!(!entries.is_empty(), "a manifest without a message");
    entries
}

pub fn write(comment: &str, entries: &[Entry]) -> String {
    let mut text = format!("# {comment}\n");
    for Entry { name, fields } in entries {
        writeln!(text, "\nmessage {name}").unwrap();
        for (field, value) in fields {
            writeln!(text, "{}", format!("{field} = {value}").trim_end()).unwrap();
        }
    }
    text
}
