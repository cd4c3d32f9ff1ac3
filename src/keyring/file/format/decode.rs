//! Bytes to a key file: every line verified, in order, and all of them together.

use super::fault::{KeyFileFault, RecordFault, RecordName};
use super::lines::{self, Line, MAX_FILE_LEN, MAX_LINES, fault};
use super::naming::{self, Before};
use super::record::{Header, Record};
use super::seal::{FileKey, Sealed};
use super::{KeyFile, Unknown};
use crate::crypto::mac::{MAC_LEN, Mac};
use crate::format::MasterKeyId;
use crate::keyset::{Keyset, Keysets, VersionRecord};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

/// The header, unverified, and its text.
pub(super) fn header(bytes: &[u8]) -> Result<(Header, &str), KeyFileFault> {
    if bytes.len() > MAX_FILE_LEN {
        return Err(KeyFileFault::TooLong);
    }
    let (_, first) = lines::lines(bytes).next().unwrap_or_default();
    let line = Line::parse(first).map_err(|what| match first.starts_with(lines::PREFIX) {
        true => fault(1, first, what),
        false => KeyFileFault::NotKeyFile,
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
    match copy(lines::last(bytes)) {
        Some(copy) if blame && copy != header => {
            let what = RecordFault::HeaderCopy;
            KeyFileFault::Record { line: 1, record: RecordName::Header, what }
        }
        _ => fault,
    }
}

/// The copy of the header in a line, unverified, if that is an end record.
pub(super) fn copy(line: &[u8]) -> Option<String> {
    match Record::parse(Line::parse(line).ok()?.record).ok()? {
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
    for (number, line) in lines::lines(bytes) {
        if number > MAX_LINES {
            return Err(KeyFileFault::TooLong);
        }
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
    let count = lines::lines(bytes).count();
    // FORMAT F-END: a last line without its line end is the start of a longer one.
    if decoder.end.is_none() || bytes.last() != Some(&b'\n') {
        let what = RecordFault::Truncated;
        return Err(KeyFileFault::Record { line: count, record: RecordName::End, what });
    }
    decoder.finish(count, bytes)
}

/// What was read so far.
struct Decoder<'a> {
    whole: Mac,
    header: Option<(Header, &'a str)>,
    keysets: Vec<Reading>,
    /// Keys and aliases, and whether it is a key.
    names: BTreeMap<String, bool>,
    ids: BTreeSet<MasterKeyId>,
    aliases: BTreeMap<String, String>,
    sealed: BTreeMap<MasterKeyId, Sealed>,
    unknown: Unknown,
    end: Option<()>,
}

/// A keyset of which more versions may come.
struct Reading {
    name: String,
    taken: u32,
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
            aliases: BTreeMap::new(),
            sealed: BTreeMap::new(),
            unknown: Unknown::default(),
            end: None,
        }
    }

    fn before(&self) -> Before<'_> {
        let last = self.keysets.last();
        let number = |keyset: &Reading| keyset.versions.last().map_or(0, |it| it.version.number());
        Before { key: last.map(|it| (it.name.as_str(), it.taken, number(it))) }
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
        match Record::parse(text)? {
            Record::Header => return Err(RecordFault::Misplaced),
            Record::Key { name, taken, extra } => {
                if self.names.insert(name.clone(), true).is_some() {
                    return Err(RecordFault::Misplaced);
                }
                keep(&mut self.unknown.keys, &name, extra);
                self.keysets.push(Reading { name, taken, primary: false, versions: Vec::new() });
            }
            Record::Version { key, record, sealed, extra } => {
                let id = record.master_key_id;
                self.version(&key, record)?;
                keep(&mut self.unknown.versions, &id, extra);
                self.sealed.extend(sealed.map(|sealed| (id, sealed)));
            }
            Record::Alias { name, key, extra } => {
                // An alias may not be a key, nor stand before the keys.
                if self.names.get(&key) != Some(&true) {
                    return Err(RecordFault::UnknownKey);
                }
                if self.names.insert(name.clone(), false).is_some() {
                    return Err(RecordFault::Misplaced);
                }
                keep(&mut self.unknown.aliases, &name, extra);
                self.aliases.insert(name, key);
            }
            Record::End { lines, whole, header, extra } => {
                self.end(line, lines, &whole, &header)?;
                self.unknown.end = extra;
            }
            Record::Other => self.unknown.records.push(text.into()),
        }
        Ok(())
    }

    fn version(&mut self, key: &str, record: VersionRecord) -> Result<(), RecordFault> {
        let keyset = self.keysets.last_mut().filter(|keyset| keyset.name == key);
        let keyset = keyset.ok_or(RecordFault::Misplaced)?;
        let number = record.version.number();
        let last = keyset.versions.last().map_or(0, |last| last.version.number());
        if number <= last {
            return Err(RecordFault::Misplaced);
        }
        if number > keyset.taken {
            return Err(RecordFault::Value { field: "version" });
        }
        let primary = record.state == crate::keyset::VersionState::Primary;
        if primary && keyset.primary {
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

    fn finish(self, line: usize, bytes: &[u8]) -> Result<KeyFile, KeyFileFault> {
        // Each was checked on its line.
        let wrong = |what| fault(line, lines::last(bytes), what);
        let (header, _) = self.header.ok_or_else(|| wrong(RecordFault::Misplaced))?;
        let Header { id, critical, revision, changed_at, written, protection, extra } = header;
        let restore =
            |keyset: Reading| Keyset::restore(&keyset.name, keyset.taken, keyset.versions);
        let keysets: Result<Vec<_>, _> = self.keysets.into_iter().map(restore).collect();
        let keysets = keysets
            .and_then(|keysets| Keysets::restore(revision, changed_at, keysets, self.aliases))
            .map_err(|_| wrong(RecordFault::Misplaced))?;
        let unknown = Unknown { critical, header: extra, ..self.unknown };
        Ok(KeyFile { id, protection, written, keysets, sealed: self.sealed, unknown })
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
