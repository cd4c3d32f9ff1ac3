//! Records: what stands on a line.

use super::fault::{KeyFileFault, RecordFault};
use super::json::{Extra, Fields, Object};
use super::seal::{FileId, Sealed};
use super::stored::{self, Stored};
use super::{labels, reserved};
use crate::format::{KeyName, KeyVersion, MasterKeyId, WrapAlgorithm};
use crate::keyset::{Keyset, MAX_KEYSET_NAME_LEN, Origin, Usage, VersionRecord, VersionState};
use crate::time::Timestamp;
use alloc::string::String;
use alloc::vec::Vec;

const FORMAT: &str = "envelock key file";

/// The format version of a file as long as nothing but usage has changed since it was written.
const VERSION_1: u64 = 1;

/// The format version that changes are written in.
const VERSION_2: u64 = 2;

/// A format version that this library reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    One,
    Two,
}

/// The names of wrap algorithms.
const ALGORITHMS: [(WrapAlgorithm, &str); 3] = [
    (WrapAlgorithm::XAES_256_GCM, "XAES-256-GCM"),
    (WrapAlgorithm::TOKEN_AES_256_GCM, "token AES-256-GCM"),
    (WrapAlgorithm::TOKEN_AES_256_CBC_HMAC, "token AES-256-CBC HMAC-SHA-256"),
];

/// Records, with their fields, that a writer of this version understands, for `critical`: not those
/// that it keeps and does not heed (FORMAT F-RESERVED).
const KNOWN: [(&str, &str); 5] = [
    (
        "header",
        "kind format version id critical revision changed_at change written protection protections",
    ),
    ("key", "kind name taken floor changed"),
    (
        "version",
        "kind key version id algorithm origin state state_since created promoted compromised \
         destroy_at wraps bytes labels sealed changed",
    ),
    ("alias", "kind name key changed"),
    ("end", "kind lines whole header"),
];

/// Line 1.
#[derive(Clone)]
pub(super) struct Header {
    pub(super) version: Version,
    pub(super) id: FileId,
    /// Names of records and fields that a writer must understand.
    pub(super) critical: Vec<String>,
    pub(super) revision: u64,
    pub(super) change: u64,
    pub(super) written: Timestamp,
    pub(super) protections: Vec<Stored>,
    pub(super) extra: Extra,
}

impl Header {
    /// Reads the record of line 1, verified or not.
    pub(super) fn parse(record: &str) -> Result<Self, HeaderFault> {
        let mut fields = Fields::parse(record)?;
        let kind = fields.string("kind").ok();
        if kind.as_deref() != Some("header")
            || fields.string("format").ok().as_deref() != Some(FORMAT)
        {
            return Err(HeaderFault::NotKeyFile);
        }
        // FORMAT F-FORMAT: nothing more is read of a version that is not known.
        let version = match fields.number("version")? {
            VERSION_1 => Version::One,
            VERSION_2 => Version::Two,
            other => return Err(HeaderFault::FormatVersion(other)),
        };
        let change_field = version.change_field();
        let header = Header {
            version,
            id: FileId(fields.hex("id")?),
            critical: fields.strings("critical")?,
            revision: fields.number("revision")?,
            change: fields.number(change_field)?,
            written: fields.time("written")?,
            protections: protections(&mut fields, version)?,
            extra: {
                if version == Version::Two {
                    reserved::check_header(&fields)?;
                }
                fields.into_extra()
            },
        };
        if header.change > header.revision {
            return Err(RecordFault::Value { field: change_field }.into());
        }
        Ok(header)
    }

    pub(super) fn write(&self) -> String {
        let object = Object::of_kind("header")
            .string("format", FORMAT)
            .number("version", self.version.number())
            .hex("id", &self.id.0)
            .strings("critical", &self.critical)
            .number("revision", self.revision)
            .number(self.version.change_field(), self.change)
            .time("written", self.written);
        let object = match (self.version, self.protections.as_slice()) {
            (Version::One, [only]) => object.raw("protection", &only.text),
            (_, all) => object.raw("protections", &stored::write(all)),
        };
        object.extra(&self.extra).end()
    }

    /// The first name of `critical` that this version does not know.
    pub(super) fn unknown_critical(critical: &[String]) -> Option<&str> {
        critical.iter().map(String::as_str).find(|name| !is_known(name))
    }
}

impl Version {
    fn number(self) -> u64 {
        match self {
            Version::One => VERSION_1,
            Version::Two => VERSION_2,
        }
    }

    fn change_field(self) -> &'static str {
        match self {
            Version::One => "changed_at",
            Version::Two => "change",
        }
    }
}

fn protections(fields: &mut Fields<'_>, version: Version) -> Result<Vec<Stored>, RecordFault> {
    match version {
        Version::One => Ok(Vec::from([Stored::of_version_1(fields.raw("protection")?)?])),
        Version::Two => stored::parse(&fields.objects("protections")?),
    }
}

/// Whether `name` is that of a record, or of a field as `record.field`, of this version.
fn is_known(name: &str) -> bool {
    let (record, field) = name.split_once('.').unwrap_or((name, "kind"));
    let known = KNOWN.iter().find(|(known, _)| *known == record);
    known.is_some_and(|(_, fields)| fields.split_whitespace().any(|known| known == field))
}

/// What is wrong with a header.
pub(super) enum HeaderFault {
    NotKeyFile,
    FormatVersion(u64),
    Record(RecordFault),
}

impl From<RecordFault> for HeaderFault {
    fn from(fault: RecordFault) -> Self {
        HeaderFault::Record(fault)
    }
}

impl HeaderFault {
    pub(super) fn on(self, line: usize, bytes: &[u8]) -> KeyFileFault {
        match self {
            HeaderFault::NotKeyFile => KeyFileFault::NotKeyFile { looks_like: None },
            HeaderFault::FormatVersion(version) => KeyFileFault::FormatVersion { version },
            HeaderFault::Record(what) => super::lines::fault(line, bytes, what),
        }
    }
}

/// A record between the header and the end, or the end.
pub(super) enum Record {
    Key {
        name: String,
        taken: u32,
        floor: u32,
        changed: Option<u64>,
        extra: Extra,
    },
    Version {
        key: String,
        record: VersionRecord,
        sealed: Option<Sealed>,
        changed: Option<u64>,
        extra: VersionExtra,
    },
    Alias {
        name: String,
        key: String,
        changed: Option<u64>,
        extra: Extra,
    },
    End {
        lines: u64,
        whole: [u8; 32],
        header: String,
        extra: Extra,
    },
    /// The header, where only its place is known to be wrong.
    Header,
    /// Of a kind that this version does not know.
    Other,
}

/// What is not known of a version record: fields, and labels that break a bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct VersionExtra {
    pub(super) fields: Extra,
    pub(super) labels: Extra,
}

impl VersionExtra {
    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty() && self.labels.is_empty()
    }
}

impl Record {
    pub(super) fn parse(text: &str, version: Version) -> Result<Self, RecordFault> {
        let mut fields = Fields::parse(text)?;
        Ok(match fields.string("kind")?.as_str() {
            "key" => Record::Key {
                name: name_of(&mut fields, "name")?,
                taken: fields.small("taken")?,
                floor: if version == Version::Two { floor(&mut fields)? } else { 0 },
                changed: changed(&mut fields, version)?,
                extra: reserved::into_extra(fields, version, reserved::check_key)?,
            },
            "version" => version_record(fields, version)?,
            "alias" => Record::Alias {
                name: name_of(&mut fields, "name")?,
                key: name_of(&mut fields, "key")?,
                changed: changed(&mut fields, version)?,
                extra: fields.into_extra(),
            },
            "end" => Record::End {
                lines: fields.number("lines")?,
                whole: fields.hex("whole")?,
                header: fields.raw("header")?.into(),
                extra: fields.into_extra(),
            },
            "header" => Record::Header,
            _ => Record::Other,
        })
    }
}

/// The change number of a record, which format version 1 has not.
fn changed(fields: &mut Fields<'_>, version: Version) -> Result<Option<u64>, RecordFault> {
    if version == Version::Two { fields.optional_number("changed") } else { Ok(None) }
}

// FORMAT F-FLOOR
fn floor(fields: &mut Fields<'_>) -> Result<u32, RecordFault> {
    if fields.has("floor") { fields.small("floor") } else { Ok(0) }
}

pub(super) fn name_of(fields: &mut Fields<'_>, field: &'static str) -> Result<String, RecordFault> {
    let name = fields.string(field)?;
    let valid = KeyName::new(&name).is_ok() && name.len() <= MAX_KEYSET_NAME_LEN;
    if valid { Ok(name) } else { Err(RecordFault::Value { field }) }
}

fn version_record(mut fields: Fields<'_>, version: Version) -> Result<Record, RecordFault> {
    let key = name_of(&mut fields, "key")?;
    let changed = changed(&mut fields, version)?;
    let (labels, refused_labels) = labels::read(&mut fields)?;
    let number = KeyVersion::new(fields.small("version")?);
    let record = VersionRecord {
        version: number.ok_or(RecordFault::Value { field: "version" })?,
        master_key_id: MasterKeyId(fields.hex("id")?),
        algorithm: named(&mut fields, "algorithm", &ALGORITHMS, |(_, name)| name)?.0,
        origin: named(&mut fields, "origin", &ORIGINS, Origin::name)?,
        state: named(&mut fields, "state", &VersionState::ALL, VersionState::name)?,
        state_since: fields.time("state_since")?,
        created: fields.time("created")?,
        promoted: fields.optional_time("promoted")?,
        compromised: fields.optional_time("compromised")?,
        destroy_at: fields.optional_time("destroy_at")?,
        usage: Usage { wraps: fields.number("wraps")?, bytes: fields.number("bytes")? },
        is_reserved: false,
        labels,
        changed: changed.unwrap_or(0),
    };
    if !has_origin(&record) {
        return Err(RecordFault::Value { field: "origin" });
    }
    let sealed = match has_sealed(&record) {
        true => Some(fields.hex("sealed")?),
        false if fields.optional("sealed").is_some() => {
            return Err(RecordFault::Value { field: "sealed" });
        }
        false => None,
    };
    let fields = reserved::into_extra(fields, version, reserved::check_version)?;
    let extra = VersionExtra { fields, labels: refused_labels };
    Ok(Record::Version { key, record, sealed, changed, extra })
}

/// Whether the key material of a version is in the file (FORMAT F-DESTROYED, F-TOKEN).
pub(super) fn has_sealed(record: &VersionRecord) -> bool {
    record.state != VersionState::Destroyed && record.algorithm == WrapAlgorithm::XAES_256_GCM
}

/// Whether the origin of a version is one that its algorithm allows (FORMAT F-TOKEN).
fn has_origin(record: &VersionRecord) -> bool {
    let in_file = record.algorithm == WrapAlgorithm::XAES_256_GCM;
    in_file != (record.origin == Origin::Token)
}

const ORIGINS: [Origin; 3] = [Origin::Generated, Origin::Imported, Origin::Token];

/// The one of `all` that a field names (FORMAT F-NAMES).
fn named<T: Copy>(
    fields: &mut Fields<'_>,
    field: &'static str,
    all: &[T],
    name_of: impl Fn(T) -> &'static str,
) -> Result<T, RecordFault> {
    let name = fields.string(field)?;
    let found = all.iter().copied().find(|one| name_of(*one) == name);
    found.ok_or(RecordFault::UnknownName { field, name })
}

pub(super) fn write_key(keyset: &Keyset, version: Version, extra: &Extra) -> String {
    let object = Object::of_kind("key").string("name", keyset.name().as_str());
    let mut object = object.number("taken", keyset.taken().into());
    if version == Version::Two {
        if keyset.floor() > 0 {
            object = object.number("floor", keyset.floor().into());
        }
        object = object.number("changed", keyset.changed());
    }
    object.extra(extra).end()
}

pub(super) fn write_version(
    key: KeyName<'_>,
    record: &VersionRecord,
    sealed: Option<&Sealed>,
    version: Version,
    extra: &VersionExtra,
) -> Option<String> {
    let mut algorithms = ALGORITHMS.iter();
    let (_, algorithm) = algorithms.find(|(algorithm, _)| *algorithm == record.algorithm)?;
    if !has_origin(record) {
        return None;
    }
    let mut object = Object::of_kind("version")
        .string("key", key.as_str())
        .number("version", record.version.number().into())
        .hex("id", &record.master_key_id.0)
        .string("algorithm", algorithm)
        .string("origin", record.origin.name())
        .string("state", record.state.name())
        .time("state_since", record.state_since)
        .time("created", record.created)
        .optional_time("promoted", record.promoted)
        .optional_time("compromised", record.compromised)
        .optional_time("destroy_at", record.destroy_at)
        .number("wraps", record.usage.wraps)
        .number("bytes", record.usage.bytes);
    if !record.labels.is_empty() || !extra.labels.is_empty() {
        object = object.raw("labels", &labels::write(&record.labels, &extra.labels));
    }
    if version == Version::Two {
        object = object.number("changed", record.changed);
    }
    if has_sealed(record) {
        object = object.hex("sealed", sealed?);
    }
    Some(object.extra(&extra.fields).end())
}

pub(super) fn write_alias(name: &str, key: &str, changed: Option<u64>, extra: &Extra) -> String {
    let mut object = Object::of_kind("alias").string("name", name).string("key", key);
    if let Some(changed) = changed {
        object = object.number("changed", changed);
    }
    object.extra(extra).end()
}

pub(super) fn write_end(lines: u64, whole: &[u8; 32], header: &str, extra: &Extra) -> String {
    let object = Object::of_kind("end").number("lines", lines).hex("whole", whole);
    object.raw("header", header).extra(extra).end()
}
