//! Records of versions: what stands on a line of one.

use super::fault::RecordFault;
use super::file_key::Sealed;
use super::json::{Extra, Fields, Object};
use super::labels;
use super::nested::{note, write_note};
use super::record::{Record, Version, changed, name_of};
use crate::format::{KeyName, KeyVersion, MasterKeyId, WrapAlgorithm};
use crate::keyset::{Origin, Usage, VersionRecord, VersionState};
use alloc::boxed::Box;
use alloc::string::String;

/// The names of wrap algorithms.
const ALGORITHMS: [(WrapAlgorithm, &str); 3] = [
    (WrapAlgorithm::XAES_256_GCM, "XAES-256-GCM"),
    (WrapAlgorithm::TOKEN_AES_256_GCM, "token AES-256-GCM"),
    (WrapAlgorithm::TOKEN_AES_256_CBC_HMAC, "token AES-256-CBC HMAC-SHA-256"),
];

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

pub(super) fn version_record(
    mut fields: Fields<'_>,
    version: Version,
) -> Result<Record, RecordFault> {
    let key = name_of(&mut fields, "key")?;
    let changed = changed(&mut fields, version)?;
    let is_2 = version == Version::Two;
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
        last_promoted: if is_2 { fields.optional_time("last_promoted")? } else { None },
        compromised: fields.optional_time("compromised")?,
        destroy_at: fields.optional_time("destroy_at")?,
        kept: if is_2 { fields.optional_time("kept")? } else { None },
        hold: note(&mut fields, "hold", version)?,
        evidence: if is_2 && fields.has("evidence") {
            Some(Box::new(fields.hex("evidence")?))
        } else {
            None
        },
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
    let extra = VersionExtra { fields: fields.into_extra(), labels: refused_labels };
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
    let again = record.last_promoted.filter(|_| record.last_promoted != record.promoted);
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
        .optional_time("last_promoted", again)
        .optional_time("compromised", record.compromised)
        .optional_time("destroy_at", record.destroy_at)
        .optional_time("kept", record.kept)
        .number("wraps", record.usage.wraps)
        .number("bytes", record.usage.bytes);
    if !record.labels.is_empty() || !extra.labels.is_empty() {
        object = object.raw("labels", &labels::write(&record.labels, &extra.labels));
    }
    object = write_note(object, "hold", record.hold.as_ref());
    if let Some(evidence) = &record.evidence {
        object = object.hex("evidence", &**evidence);
    }
    if version == Version::Two {
        object = object.number("changed", record.changed);
    }
    if has_sealed(record) {
        object = object.hex("sealed", sealed?);
    }
    Some(object.extra(&extra.fields).end())
}
