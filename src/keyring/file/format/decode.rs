//! Bytes to a key file: every line verified, in order, and all of them together.

use super::fault::{KeyFileFault, RecordFault, RecordName};
use super::file_key::{FileKey, SealedKey};
use super::framing::{self, Line, MAX_FILE_LEN, fault};
use super::looks_like;
use super::record::{FileHeader, FormatVersion, Record};
use super::{KeyFile, Unknown};
use crate::crypto::mac::{MAC_LEN, Mac};
use crate::format::MasterKeyId;
use crate::keyset::{Alias, KeyRecord, Keyset, KeysetMap, VersionRecord, VersionState};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

/// The header, unverified.
pub(super) fn header(bytes: &[u8]) -> Result<FileHeader, KeyFileFault> {
    if bytes.len() > MAX_FILE_LEN {
        return Err(KeyFileFault::TooLong);
    }
    let first = framing::first(bytes);
    let line = Line::parse(first).map_err(|what| {
        let is_ours = first.starts_with(framing::PREFIX) && looks_like::conversion(bytes).is_none();
        if is_ours { fault(1, first, what) } else { looks_like::fault(bytes) }
    })?;
    FileHeader::parse(line.record)
}

/// Whether neither the first nor the last line verifies under `key`: damage to one place does not
/// explain that.
pub(super) fn is_under_another(bytes: &[u8], key: &FileKey) -> bool {
    [framing::first(bytes), framing::last(bytes)]
        .into_iter()
        .all(|line| Line::parse(line).is_ok_and(|line| !key.verifies(line.record, &line.mac)))
}

/// The copy of the header in a line, unverified, if the line is an end record.
pub(super) fn copy(line: &[u8]) -> Option<String> {
    match Record::parse(Line::parse(line).ok()?.record, FormatVersion::Two).ok()? {
        Record::End { header, .. } => Some(header),
        _ => None,
    }
}

/// Reads a file whose file key is open.
pub(super) fn decode(bytes: &[u8], key: &FileKey) -> Result<KeyFile, KeyFileFault> {
    if bytes.len() > MAX_FILE_LEN {
        return Err(KeyFileFault::TooLong);
    }
    let verified = |number, bytes| {
        let line = Line::parse(bytes).map_err(|what| fault(number, bytes, what))?;
        match key.verifies(line.record, &line.mac) {
            true => Ok(line),
            false => Err(fault(number, bytes, RecordFault::Mac)),
        }
    };
    let first = framing::first(bytes);
    let line = verified(1, first)?;
    let header = FileHeader::parse(line.record)?;
    let mut decoder = Decoder::new(header, line.record, key.whole().with(&line.mac));
    let mut count = 1;
    for (number, bytes) in framing::lines(bytes).skip(1) {
        let line = verified(number, bytes)?;
        decoder.record(number, line.record).map_err(|what| fault(number, bytes, what))?;
        decoder.whole.update(&line.mac);
        count = number;
    }
    // FORMAT F-END: a last line without its line end is the start of a longer one.
    if !decoder.has_end || bytes.last() != Some(&b'\n') {
        let what = RecordFault::Truncated;
        return Err(KeyFileFault::Record { line: count, record: RecordName::End, what });
    }
    decoder.finish(key).map_err(|what| fault(count, framing::last(bytes), what))
}

/// The records that were read so far.
struct Decoder<'a> {
    whole: Mac,
    header: FileHeader,
    header_text: &'a str,
    keysets: Vec<Reading>,
    /// Keys and aliases, and whether it is a key.
    names: BTreeMap<String, bool>,
    ids: BTreeSet<MasterKeyId>,
    aliases: Vec<Alias>,
    sealed: BTreeMap<MasterKeyId, SealedKey>,
    unknown: Unknown,
    has_end: bool,
}

/// A keyset of which more versions may follow.
struct Reading {
    name: String,
    record: KeyRecord,
    primary: bool,
    versions: Vec<VersionRecord>,
}

impl<'a> Decoder<'a> {
    fn new(header: FileHeader, header_text: &'a str, whole: Mac) -> Self {
        Decoder {
            whole,
            header,
            header_text,
            keysets: Vec::new(),
            names: BTreeMap::new(),
            ids: BTreeSet::new(),
            aliases: Vec::new(),
            sealed: BTreeMap::new(),
            unknown: Unknown::default(),
            has_end: false,
        }
    }

    /// FORMAT F-ORDER
    fn record(&mut self, line: usize, text: &str) -> Result<(), RecordFault> {
        if self.has_end {
            return Err(RecordFault::Misplaced);
        }
        match Record::parse(text, self.header.version)? {
            Record::Header => return Err(RecordFault::Misplaced),
            Record::Key { name, record, changed, extra } => {
                let record = KeyRecord { changed: self.changed(changed)?, ..record };
                if self.names.insert(name.clone(), true).is_some() {
                    return Err(RecordFault::Misplaced);
                }
                if !record.removed.iter().all(|id| self.ids.insert(*id)) {
                    return Err(RecordFault::DuplicateId);
                }
                keep(&mut self.unknown.keys, &name, extra);
                let versions = Vec::new();
                self.keysets.push(Reading { name, record, primary: false, versions });
            }
            Record::Version { key, record, sealed, changed, extra } => {
                self.changed(changed)?;
                let id = record.master_key_id;
                self.version_record(&key, record)?;
                if !extra.is_empty() {
                    self.unknown.versions.insert(id, extra);
                }
                self.sealed.extend(sealed.map(|sealed| (id, sealed)));
            }
            Record::Alias { alias, changed, extra } => {
                let changed = self.changed(changed)?;
                // An alias may not be a key, nor stand before the keys.
                if self.names.get(&alias.key) != Some(&true) {
                    return Err(RecordFault::UnknownKey);
                }
                if self.names.insert(alias.name.clone(), false).is_some() {
                    return Err(RecordFault::Misplaced);
                }
                keep(&mut self.unknown.aliases, &alias.name, extra);
                self.aliases.push(Alias { changed, ..alias });
            }
            Record::End { lines, whole, header, extra } => {
                self.end(line, lines, &whole, &header)?;
                self.unknown.end = extra;
            }
            Record::Other => self.unknown.records.push(text.into()),
        }
        Ok(())
    }

    /// The change number of a record, which format version 2 demands.
    // FORMAT F-CHANGE
    fn changed(&self, changed: Option<u64>) -> Result<u64, RecordFault> {
        match (self.header.version, changed) {
            (FormatVersion::One, _) => Ok(0),
            (FormatVersion::Two, None) => Err(RecordFault::Missing { field: "changed" }),
            (FormatVersion::Two, Some(changed)) if changed > self.header.change => {
                Err(RecordFault::Value { field: "changed" })
            }
            (FormatVersion::Two, Some(changed)) => Ok(changed),
        }
    }

    fn version_record(&mut self, key: &str, record: VersionRecord) -> Result<(), RecordFault> {
        let keyset = self.keysets.last_mut().filter(|keyset| keyset.name == key);
        let keyset = keyset.ok_or(RecordFault::Misplaced)?;
        let number = record.version.number();
        let last = keyset.versions.last().map_or(0, |last| last.version.number());
        if number <= last {
            return Err(RecordFault::Misplaced);
        }
        if number > keyset.record.highest_version || number < keyset.record.floor {
            return Err(RecordFault::Value { field: "version" });
        }
        // FORMAT F-ERASED
        let is_destroyed = record.state == VersionState::Destroyed;
        let primary = record.state == VersionState::Primary;
        if primary && keyset.primary || keyset.record.erased.is_some() && !is_destroyed {
            return Err(RecordFault::Value { field: "state" });
        }
        if !self.ids.insert(record.master_key_id) {
            return Err(RecordFault::DuplicateId);
        }
        keyset.primary |= primary;
        keyset.versions.push(record);
        Ok(())
    }

    /// FORMAT F-WHOLE
    fn end(
        &mut self,
        line: usize,
        lines: u64,
        whole: &[u8; MAC_LEN],
        header: &str,
    ) -> Result<(), RecordFault> {
        if u64::try_from(line) != Ok(lines) || !self.whole.clone().verifies(whole) {
            return Err(RecordFault::Whole);
        }
        if self.header_text != header {
            // FORMAT F-COPY
            return Err(RecordFault::HeaderCopy);
        }
        self.has_end = true;
        Ok(())
    }

    fn finish(self, key: &FileKey) -> Result<KeyFile, RecordFault> {
        let FileHeader { version, id, critical, revision, change, written, protections, extra } =
            self.header;
        let restore = |read: Reading| Keyset::of_records(&read.name, read.record, read.versions);
        let keysets: Result<Vec<_>, _> = self.keysets.into_iter().map(restore).collect();
        // Each was checked on its line.
        let keysets = keysets
            .and_then(|keysets| KeysetMap::of_records(revision, change, keysets, self.aliases))
            .map_err(|_| RecordFault::Misplaced)?;
        let unknown = Unknown { critical, header: extra, ..self.unknown };
        let (sealed, file_key) = (self.sealed, key.fingerprint());
        Ok(KeyFile { version, id, file_key, protections, written, keysets, sealed, unknown })
    }
}

/// Keeps the unknown fields of a record, if there are any.
pub(super) fn keep<K: Ord + Clone>(
    all: &mut BTreeMap<K, super::Extra>,
    name: &K,
    extra: super::Extra,
) {
    if !extra.is_empty() {
        all.insert(name.clone(), extra);
    }
}
