//! Bytes to a key file: every line verified, in order, and all of them together.

use super::fault::{KeyFileFault, RecordFault, RecordName};
use super::file_key::{FileKey, Sealed};
use super::framing::{self, Line, MAX_FILE_LEN, fault};
use super::looks_like;
use super::naming::{self, Before};
use super::record::{Header, Record, Version};
use super::{KeyFile, Unknown};
use crate::crypto::mac::{MAC_LEN, Mac};
use crate::format::MasterKeyId;
use crate::keyset::{Alias, KeyRecord, Keyset, KeysetMap, VersionRecord, VersionState};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

/// The header, unverified, and its text.
pub(super) fn header(bytes: &[u8]) -> Result<(Header, &str), KeyFileFault> {
    if bytes.len() > MAX_FILE_LEN {
        return Err(KeyFileFault::TooLong);
    }
    let (_, first) = framing::lines(bytes).next().unwrap_or_default();
    let line = Line::parse(first).map_err(|what| {
        let is_ours = first.starts_with(framing::PREFIX) && looks_like::conversion(bytes).is_none();
        if is_ours { fault(1, first, what) } else { looks_like::fault(bytes) }
    })?;
    let header = Header::parse(line.record).map_err(|what| what.on(1, first))?;
    Ok((header, line.record))
}

/// What is wrong with a file whose file key does not open: its header is damaged for certain if
/// the end record has another.
pub(super) fn or_damaged_header(fault: KeyFileFault, header: &str, bytes: &[u8]) -> KeyFileFault {
    let blame = match &fault {
        KeyFileFault::Authentication | KeyFileFault::Record { .. } => true,
        KeyFileFault::OuterKeyring(error) => !error.is_retryable(),
        _ => false,
    };
    match copy(framing::last(bytes)) {
        Some(copy) if blame && copy != header => {
            let what = RecordFault::HeaderCopy;
            KeyFileFault::Record { line: 1, record: RecordName::Header, what }
        }
        _ => fault,
    }
}

/// Whether neither the first nor the last line is one under `key`: no damage to one place does
/// that.
pub(super) fn is_under_another(bytes: &[u8], key: &FileKey) -> bool {
    let first = framing::lines(bytes).next().map(|(_, line)| line).unwrap_or_default();
    [first, framing::last(bytes)]
        .into_iter()
        .all(|line| Line::parse(line).is_ok_and(|line| !key.verifies(line.record, &line.mac)))
}

/// The copy of the header in a line, unverified, if that is an end record.
pub(super) fn copy(line: &[u8]) -> Option<String> {
    match Record::parse(Line::parse(line).ok()?.record, Version::Two).ok()? {
        Record::End { header, .. } => Some(header),
        _ => None,
    }
}

/// Reads a file whose file key is open.
pub(super) fn decode(bytes: &[u8], key: &FileKey) -> Result<KeyFile, KeyFileFault> {
    if bytes.len() > MAX_FILE_LEN {
        return Err(KeyFileFault::TooLong);
    }
    let mut decoder = Decoder::new(key.whole());
    for (number, line) in framing::lines(bytes) {
        let named = |what| fault(number, line, what);
        let damaged = |decoder: &Decoder<'_>, what| {
            let record = naming::name(number, bytes, &decoder.before(), key);
            KeyFileFault::Record { line: number, record, what }
        };
        let Line { record, mac } = Line::parse(line).map_err(|what| damaged(&decoder, what))?;
        if !key.verifies(record, &mac) {
            return Err(damaged(&decoder, RecordFault::Mac));
        }
        if number == 1 {
            decoder.header(record).map_err(|fault| fault.on(number, line))?;
        } else {
            decoder.record(number, record).map_err(named)?;
        }
        decoder.whole.update(&mac);
    }
    let count = framing::lines(bytes).count();
    // FORMAT F-END: a last line without its line end is the start of a longer one.
    if decoder.end.is_none() || bytes.last() != Some(&b'\n') {
        let what = RecordFault::Truncated;
        return Err(KeyFileFault::Record { line: count, record: RecordName::End, what });
    }
    decoder.finish(count, bytes, key)
}

/// What was read so far.
struct Decoder<'a> {
    whole: Mac,
    header: Option<(Header, &'a str)>,
    keysets: Vec<Reading>,
    /// Keys and aliases, and whether it is a key.
    names: BTreeMap<String, bool>,
    ids: BTreeSet<MasterKeyId>,
    aliases: Vec<Alias>,
    sealed: BTreeMap<MasterKeyId, Sealed>,
    unknown: Unknown,
    end: Option<()>,
}

/// A keyset of which more versions may come.
struct Reading {
    name: String,
    record: KeyRecord,
    primary: bool,
    versions: Vec<VersionRecord>,
}

impl<'a> Decoder<'a> {
    fn new(whole: Mac) -> Self {
        Decoder {
            whole,
            header: None,
            keysets: Vec::new(),
            names: BTreeMap::new(),
            ids: BTreeSet::new(),
            aliases: Vec::new(),
            sealed: BTreeMap::new(),
            unknown: Unknown::default(),
            end: None,
        }
    }

    fn before(&self) -> Before<'_> {
        let last = self.keysets.last();
        let number = |keyset: &Reading| keyset.versions.last().map_or(0, |it| it.version.number());
        Before { key: last.map(|it| (it.name.as_str(), it.record.highest_version, number(it))) }
    }

    fn header(&mut self, text: &'a str) -> Result<(), super::record::HeaderFault> {
        self.header = Some((Header::parse(text)?, text));
        Ok(())
    }

    /// FORMAT F-ORDER
    fn record(&mut self, line: usize, text: &str) -> Result<(), RecordFault> {
        if self.end.is_some() {
            return Err(RecordFault::Misplaced);
        }
        match Record::parse(text, self.version())? {
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

    fn version(&self) -> Version {
        self.header.as_ref().map_or(Version::Two, |(header, _)| header.version)
    }

    /// The change number of a record, which format version 2 demands.
    // FORMAT F-CHANGE
    fn changed(&self, changed: Option<u64>) -> Result<u64, RecordFault> {
        let change = self.header.as_ref().map_or(0, |(header, _)| header.change);
        match (self.version(), changed) {
            (Version::One, _) => Ok(0),
            (Version::Two, None) => Err(RecordFault::Missing { field: "changed" }),
            (Version::Two, Some(changed)) if changed > change => {
                Err(RecordFault::Value { field: "changed" })
            }
            (Version::Two, Some(changed)) => Ok(changed),
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
        if self.header.as_ref().map(|(_, text)| *text) != Some(header) {
            // FORMAT F-COPY
            return Err(RecordFault::HeaderCopy);
        }
        self.end = Some(());
        Ok(())
    }

    fn finish(self, line: usize, bytes: &[u8], key: &FileKey) -> Result<KeyFile, KeyFileFault> {
        // Each was checked on its line.
        let wrong = |what| fault(line, framing::last(bytes), what);
        let (header, _) = self.header.ok_or_else(|| wrong(RecordFault::Misplaced))?;
        let Header { version, id, critical, revision, change, written, protections, extra } =
            header;
        let restore = |read: Reading| Keyset::of_records(&read.name, read.record, read.versions);
        let keysets: Result<Vec<_>, _> = self.keysets.into_iter().map(restore).collect();
        let keysets = keysets
            .and_then(|keysets| KeysetMap::of_records(revision, change, keysets, self.aliases))
            .map_err(|_| wrong(RecordFault::Misplaced))?;
        let unknown = Unknown { critical, header: extra, ..self.unknown };
        let (sealed, file_key) = (self.sealed, key.fingerprint());
        Ok(KeyFile { version, id, file_key, protections, written, keysets, sealed, unknown })
    }
}

/// Keeps what is not known of a record, if there is any.
pub(super) fn keep<K: Ord + Clone>(
    all: &mut BTreeMap<K, super::Extra>,
    name: &K,
    extra: super::Extra,
) {
    if !extra.is_empty() {
        all.insert(name.clone(), extra);
    }
}
