//! Encoding of a key file.

use super::fault::{KeyFileFault, RecordFault, RecordName};
use super::file_key::FileKey;
use super::framing::{self, Line, MAX_FILE_LEN, MAX_LINE_LEN};
use super::json::Extra;
use super::record::{self, FileHeader};
use super::version::{VersionExtra, write_version};
use super::{KeyFile, material_fault};
use crate::crypto::mac::Mac;
use crate::keyset::{Keyset, KeysetMap};
use crate::time::Timestamp;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

static NO_EXTRA: Extra = Extra::new();
static NO_VERSION_EXTRA: VersionExtra = VersionExtra { fields: Extra::new(), labels: Extra::new() };

impl KeyFile {
    /// Returns the bytes of the file, written at `now`.
    ///
    /// # Errors
    ///
    /// [`KeyFileFault::UnknownCritical`]; [`KeyFileFault::Material`] if a version has no material;
    /// [`KeyFileFault::FileKeyReplaced`] if `key` is a former file key; [`KeyFileFault::TooLong`] or
    /// [`RecordFault::LineTooLong`] if the file could not be read again.
    pub fn encode(&self, key: &FileKey, now: Timestamp) -> Result<Vec<u8>, KeyFileFault> {
        // FORMAT F-CRITICAL
        if let Some(name) = self.unknown_critical() {
            return Err(KeyFileFault::UnknownCritical { name: name.into() });
        }
        if !self.is_under(key) {
            return Err(KeyFileFault::FileKeyReplaced);
        }
        let header = FileHeader {
            version: self.version,
            id: self.id,
            critical: self.unknown.critical.clone(),
            revision: self.keysets.revision(),
            change: self.keysets.change(),
            written: now,
            protections: self.protections.clone(),
            extra: self.unknown.header.clone(),
        };
        let header = header.write();
        // Allocated once: unprotected, it is key material, and growth would leave a copy behind.
        let versions = self.keysets.iter().map(|keyset| keyset.versions().len()).sum::<usize>();
        let others: usize = self.unknown.records.iter().map(|record| record.len() + 128).sum();
        let estimate = versions * 1024 + others + header.len() * 4 + 4096;
        let room = Vec::with_capacity(estimate.min(MAX_FILE_LEN));
        let mut out = Encoder { key, out: room, lines: 0, whole: key.whole() };
        out.push(&header)?;
        records(self, &mut out)?;
        let lines = (out.lines as u64).checked_add(1).ok_or(KeyFileFault::TooLong)?;
        let whole = out.whole.clone().tag();
        out.push(&record::write_end(lines, &whole, &header, &self.unknown.end))?;
        if out.out.len() + digits_to_come(&self.keysets) > MAX_FILE_LEN {
            return Err(KeyFileFault::TooLong);
        }
        Ok(out.out)
    }

    /// Returns the length of a file of `len` bytes whose counters have their maximum.
    pub(in crate::keyring) fn size(&self, len: usize) -> usize {
        len + digits_to_come(&self.keysets)
    }
}

/// Returns the bytes by which counters alone can lengthen a file of `keysets`. Counting must not fail for
/// lack of room.
fn digits_to_come(keysets: &KeysetMap) -> usize {
    let left = |number: u64| {
        // 2^64 - 1 has 20 digits.
        19 - number.checked_ilog10().unwrap_or(0) as usize
    };
    let records = keysets.iter().flat_map(Keyset::versions);
    let usage = records.map(|it| left(it.usage.wraps) + left(it.usage.bytes));
    // The file has the header twice.
    usage.sum::<usize>() + 2 * left(keysets.revision())
}

fn records(file: &KeyFile, out: &mut Encoder<'_>) -> Result<(), KeyFileFault> {
    for keyset in file.keysets.iter() {
        let name = keyset.name();
        let extra = of(&file.unknown.keys, name.as_str());
        out.push(&record::write_key(keyset, file.version, extra))?;
        for version in keyset.versions() {
            let sealed = file.sealed.get(&version.master_key_id);
            let extra =
                file.unknown.versions.get(&version.master_key_id).unwrap_or(&NO_VERSION_EXTRA);
            let text = write_version(name, version, sealed, file.version, extra);
            out.push(&text.ok_or_else(|| material_fault(keyset, version))?)?;
        }
    }
    for alias in file.keysets.alias_records() {
        let extra = of(&file.unknown.aliases, &alias.name);
        out.push(&record::write_alias(alias, file.version, extra))?;
    }
    file.unknown.records.iter().try_for_each(|record| out.push(record))
}

fn of<'a>(all: &'a BTreeMap<String, Extra>, name: &str) -> &'a Extra {
    all.get(name).unwrap_or(&NO_EXTRA)
}

struct Encoder<'a> {
    key: &'a FileKey,
    out: Vec<u8>,
    lines: usize,
    whole: Mac,
}

impl Encoder<'_> {
    /// Appends a line, or fails if no reader would accept its length.
    fn push(&mut self, record: &str) -> Result<(), KeyFileFault> {
        let start = self.out.len();
        let mac = self.key.mac(record);
        Line { record, mac }.write(&mut self.out);
        self.whole.update(&mac);
        self.lines += 1;
        // The limit excludes the line end.
        if self.out.len() - start - 1 > MAX_LINE_LEN {
            let name = framing::name_of(record).unwrap_or(RecordName::Unknown);
            let (line, what) = (self.lines, RecordFault::LineTooLong);
            return Err(KeyFileFault::Record { line, record: name, what });
        }
        if self.out.len() > MAX_FILE_LEN {
            return Err(KeyFileFault::TooLong);
        }
        Ok(())
    }
}
