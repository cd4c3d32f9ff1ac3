//! Salvage: the intact records of a damaged key file.

mod merge;
mod open;

use super::decode::{self, keep};
use super::fault::{KeyFileFault, RecordFault, RecordName};
use super::file_key::{FileKey, SealedKey};
use super::framing::{self, Line, MAX_FILE_LEN, MAX_LINES};
use super::json::Extra;
use super::looks_like;
use super::record::{FileHeader, FormatVersion, Record};
use super::version::VersionExtra;
use super::{KeyFile, Unknown};
use crate::format::{KeyVersion, MasterKeyId};
use crate::keyring::file::Protection;
use crate::keyring::software::SoftwareKey;
use crate::keyring::wrapping_key::WrappingKey;
use crate::keyset::{
    Alias, EvidenceRule, KeyRecord, Keyset, KeysetMap, VersionRecord, VersionState,
};
use crate::time::Timestamp;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use merge::{aliases, merge_former, merge_keys, merge_versions, rank};
use open::{open_any, pieces};

/// The intact records of a damaged key file, and its damaged lines.
#[derive(Debug)]
#[non_exhaustive]
pub struct Salvaged {
    /// The intact records. Write it under a fresh file key ([`KeyFile::replace_file_key`]), so that no
    /// line of the damaged file is one of the new file.
    pub file: KeyFile,
    /// The file key of the damaged file.
    pub key: FileKey,
    /// Every version that was recovered.
    pub intact: Vec<(String, KeyVersion)>,
    /// Every line that was not taken as it is, and why.
    pub damaged: Vec<Damaged>,
    /// The revision of the damaged file; `None`, and 0 in `file`, if neither header nor end
    /// record is intact. The new file must have a higher one than any that was seen.
    pub revision: Option<u64>,
}

/// A line of a key file that salvage did not take as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Damaged {
    /// The line, from 1.
    pub line: usize,
    /// The record that the line names, unverified if the line is damaged.
    pub record: RecordName,
    /// The reason.
    pub what: RecordFault,
}

/// Recovers the records of a key file whose own MAC verifies, wherever they are (FORMAT F-SALVAGE).
///
/// Line ends of CR LF and a byte order mark are removed first. One intact copy of the protections is
/// needed, in the header or in the end record. A lost primary is not replaced: promote another
/// version. An alias whose key is lost is dropped. Of lines from several states of one file the
/// later one of a record is taken, and a destroyed version stays destroyed.
///
/// # Errors
///
/// The [`KeyFileFault`] of a file key that does not open.
pub fn salvage(bytes: &[u8], protection: &Protection) -> Result<Salvaged, KeyFileFault> {
    if bytes.len() > MAX_FILE_LEN {
        return Err(KeyFileFault::TooLong);
    }
    let unconverted = looks_like::unconverted(bytes);
    let bytes = unconverted.as_ref().map_or(bytes, |bytes| bytes);
    let (opened, key) = open_any(bytes, protection)?;
    let mut recovered = RecoveredRecords::default();
    for (number, line) in framing::lines(bytes).take(MAX_LINES) {
        for piece in pieces(line) {
            recovered.line(number, piece, &key);
        }
    }
    if let (true, Err(fault)) = (recovered.damaged.is_empty(), decode::decode(bytes, &key)) {
        // Every line is intact, and together they are not a file.
        let (line, what) = match fault {
            KeyFileFault::Record { line, what, .. } => (line, what),
            _ => (1, RecordFault::Whole),
        };
        recovered.damaged.push(Damaged { line, record: RecordName::End, what });
    }
    Ok(recovered.into_salvaged(opened, key))
}

/// Most damaged lines that are reported one by one.
const MAX_DAMAGED: usize = 10_000;

/// Less than the length of the shortest line of a version, in bytes.
const SHORT_VERSION_LINE: usize = 200;

/// How many version numbers are skipped if a tail of unknown length is lost.
const LOST_TAIL: u32 = 10_000;

/// An intact version, and the line that it is on.
struct VersionLine {
    line: usize,
    record: VersionRecord,
    sealed: Option<SealedKey>,
    extra: VersionExtra,
}

/// An intact key record.
struct KeyLine {
    record: KeyRecord,
    extra: Extra,
}

/// An intact alias, and the line that it is on.
pub(super) struct AliasLine {
    pub(super) line: usize,
    pub(super) alias: Alias,
    pub(super) extra: Extra,
}

/// The intact records, and the damaged lines.
#[derive(Default)]
struct RecoveredRecords {
    header: Option<FileHeader>,
    end: Extra,
    keys: BTreeMap<String, KeyLine>,
    versions: BTreeMap<(String, KeyVersion), VersionLine>,
    aliases: BTreeMap<String, AliasLine>,
    records: Vec<String>,
    damaged: Vec<Damaged>,
    /// How many versions the damaged lines had, at most.
    lost: u32,
    has_end: bool,
}

impl RecoveredRecords {
    fn damaged(&mut self, line: usize, record: RecordName, what: RecordFault) {
        if self.damaged.len() < MAX_DAMAGED {
            self.damaged.push(Damaged { line, record, what });
        }
    }

    fn line(&mut self, number: usize, bytes: &[u8], key: &FileKey) {
        let found = Line::parse(bytes).and_then(|line| {
            key.verifies(line.record, &line.mac).then_some(line.record).ok_or(RecordFault::Mac)
        });
        let kept = found.and_then(|text| self.record(number, text, key));
        if let Err(what) = kept {
            let lines = u32::try_from(bytes.len() / SHORT_VERSION_LINE + 1).unwrap_or(u32::MAX);
            // Saturates: no version number is left then.
            self.lost = self.lost.saturating_add(lines);
            self.damaged(number, framing::name(bytes), what);
        }
    }

    /// Takes an intact record.
    fn record(&mut self, line: usize, text: &str, key: &FileKey) -> Result<(), RecordFault> {
        // A line of format version 1 reads as one of version 2 whose change is not known; lines of
        // version 2 can stand below a header of version 1 that came back.
        match Record::parse(text, FormatVersion::Two)? {
            Record::Header => self.header(text),
            Record::End { header, extra, .. } => {
                self.end = extra;
                self.has_end = true;
                self.header(&header)
            }
            Record::Key { name, record, changed, extra } => {
                let record = KeyRecord { changed: changed.unwrap_or(0), ..record };
                self.key(name, KeyLine { record, extra })
            }
            Record::Version { key: name, record, sealed, extra, .. } => {
                self.version(name, VersionLine { line, record, sealed, extra }, key)
            }
            Record::Alias { alias, changed, extra } => {
                let alias = Alias { changed: changed.unwrap_or(0), ..alias };
                self.alias(AliasLine { line, alias, extra })
            }
            Record::Other => {
                self.records.push(text.into());
                Ok(())
            }
        }
    }

    /// Takes the header, or its copy, of the latest state.
    fn header(&mut self, text: &str) -> Result<(), RecordFault> {
        let header = FileHeader::parse(text).map_err(|_| RecordFault::Misplaced)?;
        if self.header.as_ref().is_none_or(|before| before.revision < header.revision) {
            self.header = Some(header);
        }
        Ok(())
    }

    /// Takes a key record, of two the one of the later change, with the numbers of both.
    fn key(&mut self, name: String, new: KeyLine) -> Result<(), RecordFault> {
        match self.keys.get_mut(&name) {
            Some(before) => {
                merge_keys(&mut before.record, new.record);
                Err(RecordFault::Superseded)
            }
            None => {
                self.keys.insert(name, new);
                Ok(())
            }
        }
    }

    /// Takes an alias, of two the one of the later change, with the keys that either stood for.
    fn alias(&mut self, mut new: AliasLine) -> Result<(), RecordFault> {
        let name = new.alias.name.clone();
        match self.aliases.get_mut(&name) {
            Some(before) if before.alias.changed >= new.alias.changed => {
                merge_former(&mut before.alias, &new.alias);
                Err(RecordFault::Superseded)
            }
            Some(before) => {
                merge_former(&mut new.alias, &before.alias);
                let line = core::mem::replace(before, new).line;
                self.damaged(line, RecordName::Alias { name }, RecordFault::Superseded);
                Ok(())
            }
            None => {
                self.aliases.insert(name, new);
                Ok(())
            }
        }
    }

    fn version(
        &mut self,
        name: String,
        new: VersionLine,
        key: &FileKey,
    ) -> Result<(), RecordFault> {
        let keyset = Keyset::new(&name).map_err(|_| RecordFault::Value { field: "key" })?;
        if let Some(sealed) = &new.sealed {
            let material = key.unseal(super::label(&keyset, &new.record), sealed);
            let software = material.and_then(|it| SoftwareKey::new(&it));
            if software.is_none_or(|it| it.id() != new.record.master_key_id) {
                return Err(RecordFault::Material);
            }
        }
        let version = new.record.version;
        match self.versions.get_mut(&(name.clone(), version)) {
            Some(before) if rank(&before.record) >= rank(&new.record) => {
                merge_versions(&mut before.record, &new.record);
                Err(RecordFault::Superseded)
            }
            Some(before) => {
                let (line, what) = (before.line, RecordFault::Superseded);
                let mut new = new;
                merge_versions(&mut new.record, &before.record);
                *before = new;
                let record = RecordName::Version { key: name, version };
                self.damaged(line, record, what);
                Ok(())
            }
            None => {
                self.versions.insert((name, version), new);
                Ok(())
            }
        }
    }

    /// Of several primaries, of several states of the file, the last one promoted stays.
    fn leave_one_primary(&mut self) {
        let mut last: BTreeMap<String, (u64, Timestamp, KeyVersion)> = BTreeMap::new();
        let primary = |it: &VersionLine| it.record.state == VersionState::Primary;
        for ((key, version), found) in &self.versions {
            if primary(found) {
                let rank = (found.record.changed, found.record.state_since, *version);
                let entry = last.entry(key.clone()).or_insert(rank);
                *entry = rank.max(*entry);
            }
        }
        for ((key, version), found) in &mut self.versions {
            if primary(found) && last.get(key).is_some_and(|(_, _, last)| last != version) {
                found.record.state = VersionState::Enabled;
                let record = RecordName::Version { key: key.clone(), version: *version };
                let what = RecordFault::Superseded;
                self.damaged.push(Damaged { line: found.line, record, what });
            }
        }
    }

    #[expect(clippy::expect_used, reason = "records were sorted, bounded and checked")]
    fn into_salvaged(mut self, opened: FileHeader, key: FileKey) -> Salvaged {
        self.leave_one_primary();
        let tail = if self.has_end { 0 } else { LOST_TAIL };
        // Saturates: no version number is left then.
        let lost = self.lost.saturating_add(tail);
        let mut unknown = Unknown { end: self.end, records: self.records, ..Unknown::default() };
        let mut material = BTreeMap::new();
        let mut intact = Vec::new();
        let mut versions: BTreeMap<String, Vec<VersionRecord>> = BTreeMap::new();
        let removed = self.keys.values().flat_map(|key| &key.record.removed);
        let mut ids: BTreeMap<MasterKeyId, ()> = removed.map(|id| (*id, ())).collect();
        for ((name, version), mut found) in self.versions {
            let id = found.record.master_key_id;
            // A line from an earlier state of the file, before the version was removed or the key
            // erased.
            let key = self.keys.get(&name).map(|key| &key.record);
            if key.is_some_and(|key| key.erased.is_some()) {
                (found.record.state, found.record.destroy_at) = (VersionState::Destroyed, None);
                found.sealed = None;
            }
            let fault = match key.is_some_and(|key| version.number() < key.floor) {
                true => Some(RecordFault::Superseded),
                false => ids.insert(id, ()).map(|()| RecordFault::DuplicateId),
            };
            if let Some(what) = fault {
                let record = RecordName::Version { key: name, version };
                let line = found.line;
                self.damaged.push(Damaged { line, record, what });
                continue;
            }
            if !found.extra.is_empty() {
                unknown.versions.insert(id, found.extra);
            }
            material.extend(found.sealed.map(|sealed| (id, sealed)));
            intact.push((name.clone(), version));
            versions.entry(name).or_default().push(found.record);
        }
        for name in self.keys.keys() {
            versions.entry(name.clone()).or_default();
        }
        let mut keysets = Vec::new();
        for (name, versions) in versions {
            let highest = versions.last().map_or(0, |last| last.version.number());
            let mut found = self.keys.remove(&name).unwrap_or_else(|| {
                // Saturates: the lost lines may have been versions of this key.
                let taken = highest.saturating_add(lost);
                // The lost record may have required evidence, which version 1 did not know.
                let evidence = EvidenceRule::new(opened.version == FormatVersion::Two);
                let record = KeyRecord { highest_version: taken, evidence, ..KeyRecord::default() };
                KeyLine { record, extra: Extra::new() }
            });
            keep(&mut unknown.keys, &name, found.extra);
            found.record.highest_version = found.record.highest_version.max(highest);
            let keyset = Keyset::of_records(&name, found.record, versions);
            keysets.push(keyset.expect("sorted, below the highest number, with one primary"));
        }
        let found = aliases(self.aliases, &keysets, &mut unknown, &mut self.damaged);
        let revision = self.header.as_ref().map(|header| header.revision);
        let (mut change, mut written) = (0, Timestamp::UNIX_EPOCH);
        if let Some(header) = self.header {
            (change, written) = (header.change, header.written);
            (unknown.critical, unknown.header) = (header.critical, header.extra);
        }
        let keysets = KeysetMap::of_records(revision.unwrap_or(0), change, keysets, found)
            .expect("no name twice, and each alias stands for a key");
        let file = KeyFile {
            version: opened.version,
            id: key.id,
            file_key: key.fingerprint(),
            protections: opened.protections,
            written,
            keysets,
            sealed: material,
            unknown,
        };
        self.damaged.sort_by_key(|damaged| damaged.line);
        Salvaged { file, key, intact, damaged: self.damaged, revision }
    }
}
