//! Records: what stands on a line.

use super::fault::{KeyFileFault, RecordFault};
use super::json::{Extra, Fields, Object};
use super::seal::{FileId, Sealed};
use crate::format::{KeyName, KeyVersion, MasterKeyId, WrapAlgorithm};
use crate::keyset::{Labels, MAX_KEYSET_NAME_LEN, Origin, Usage, VersionRecord, VersionState};
use crate::time::Timestamp;
use alloc::string::String;
use alloc::vec::Vec;

const FORMAT: &str = "envelock key file";
const VERSION: u64 = 1;

/// The names of wrap algorithms.
const ALGORITHMS: [(WrapAlgorithm, &str); 3] = [
    (WrapAlgorithm::XAES_256_GCM, "XAES-256-GCM"),
    (WrapAlgorithm::TOKEN_AES_256_GCM, "token AES-256-GCM"),
    (WrapAlgorithm::TOKEN_AES_256_CBC_HMAC, "token AES-256-CBC HMAC-SHA-256"),
];

/// Records, with their fields, that a writer of this version understands, for `critical`.
const KNOWN: [(&str, &str); 5] = [
    ("header", "kind format version id critical revision changed_at written protection"),
    ("key", "kind name taken"),
    (
        "version",
        "kind key version id algorithm origin state state_since created promoted compromised \
         destroy_at wraps bytes labels sealed",
    ),
    ("alias", "kind name key"),
    ("end", "kind lines whole header"),
];

/// Line 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) id: FileId,
    /// Names of records and fields that a writer must understand.
    pub(super) critical: Vec<String>,
    pub(super) revision: u64,
    pub(super) changed_at: u64,
    pub(super) written: Timestamp,
    /// The JSON text of the protection object.
    pub(super) protection: String,
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
        let version = fields.number("version")?;
        if version != VERSION {
            return Err(HeaderFault::FormatVersion(version));
        }
        let header = Header {
            id: FileId(fields.hex("id")?),
            critical: fields.strings("critical")?,
            revision: fields.number("revision")?,
            changed_at: fields.number("changed_at")?,
            written: fields.time("written")?,
            protection: fields.raw("protection")?.into(),
            extra: fields.into_extra(),
        };
        if header.changed_at > header.revision {
            return Err(RecordFault::Value { field: "changed_at" }.into());
        }
        Ok(header)
    }

    pub(super) fn write(&self) -> String {
        Object::of_kind("header")
            .string("format", FORMAT)
            .number("version", VERSION)
            .hex("id", &self.id.0)
            .strings("critical", &self.critical)
            .number("revision", self.revision)
            .number("changed_at", self.changed_at)
            .time("written", self.written)
            .raw("protection", &self.protection)
            .extra(&self.extra)
            .end()
    }

    /// The first name of `critical` that this version does not know.
    pub(super) fn unknown_critical(critical: &[String]) -> Option<&str> {
        critical.iter().map(String::as_str).find(|name| !is_known(name))
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
            HeaderFault::NotKeyFile => KeyFileFault::NotKeyFile,
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
        extra: Extra,
    },
    Version {
        key: String,
        record: VersionRecord,
        sealed: Option<Sealed>,
        extra: Extra,
    },
    Alias {
        name: String,
        key: String,
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

impl Record {
    pub(super) fn parse(text: &str) -> Result<Self, RecordFault> {
        let mut fields = Fields::parse(text)?;
        Ok(match fields.string("kind")?.as_str() {
            "key" => Record::Key {
                name: name(&mut fields, "name")?,
                taken: fields.small("taken")?,
                extra: fields.into_extra(),
            },
            "version" => version(fields)?,
            "alias" => Record::Alias {
                name: name(&mut fields, "name")?,
                key: name(&mut fields, "key")?,
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

fn name(fields: &mut Fields<'_>, field: &'static str) -> Result<String, RecordFault> {
    let name = fields.string(field)?;
    let valid = KeyName::new(&name).is_ok() && name.len() <= MAX_KEYSET_NAME_LEN;
    if valid { Ok(name) } else { Err(RecordFault::Value { field }) }
}

fn version(mut fields: Fields<'_>) -> Result<Record, RecordFault> {
    let key = name(&mut fields, "key")?;
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
        labels: labels(&mut fields)?,
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
    Ok(Record::Version { key, record, sealed, extra: fields.into_extra() })
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

fn labels(fields: &mut Fields<'_>) -> Result<Labels, RecordFault> {
    let wrong = || RecordFault::Value { field: "labels" };
    let mut labels = Labels::default();
    let Some(text) = fields.optional("labels") else { return Ok(labels) };
    let pairs = Fields::parse(text)?.into_strings().ok_or_else(wrong)?;
    for (name, value) in &pairs {
        labels.set(name, Some(value)).map_err(|_| wrong())?;
    }
    Ok(labels)
}

pub(super) fn write_key(name: KeyName<'_>, taken: u32, extra: &Extra) -> String {
    let object = Object::of_kind("key").string("name", name.as_str());
    object.number("taken", taken.into()).extra(extra).end()
}

pub(super) fn write_version(
    key: KeyName<'_>,
    record: &VersionRecord,
    sealed: Option<&Sealed>,
    extra: &Extra,
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
    if !record.labels.is_empty() {
        let labels = record.labels.iter();
        let labels = labels.fold(Object::new(), |all, (name, value)| all.string(name, value));
        object = object.raw("labels", &labels.end());
    }
    if has_sealed(record) {
        object = object.hex("sealed", sealed?);
    }
    Some(object.extra(extra).end())
}

pub(super) fn write_alias(name: &str, key: &str, extra: &Extra) -> String {
    Object::of_kind("alias").string("name", name).string("key", key).extra(extra).end()
}

pub(super) fn write_end(lines: u64, whole: &[u8; 32], header: &str, extra: &Extra) -> String {
    let object = Object::of_kind("end").number("lines", lines).hex("whole", whole);
    object.raw("header", header).extra(extra).end()
}
