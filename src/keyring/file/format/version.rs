//! Records of versions.

use super::fault::RecordFault;
use super::file_key::SealedKey;
use super::json::{Extra, Fields, Object};
use super::record::{FormatVersion, Record, name_of, read_hold, write_hold};
use crate::format::{KeyName, KeyVersion, MasterKeyId, WrapAlgorithm};
use crate::keyset::{Labels, Origin, Usage, VersionRecord, VersionState};
use alloc::boxed::Box;
use alloc::string::String;

/// The names of wrap algorithms.
const ALGORITHMS: [(WrapAlgorithm, &str); 3] = [
    (WrapAlgorithm::XAES_256_GCM, "XAES-256-GCM"),
    (WrapAlgorithm::TOKEN_AES_256_GCM, "token AES-256-GCM"),
    (WrapAlgorithm::TOKEN_AES_256_CBC_HMAC, "token AES-256-CBC HMAC-SHA-256"),
];

/// The unknown fields of a version record, and its labels that break a bound.
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
    version: FormatVersion,
) -> Result<Record, RecordFault> {
    let key = name_of(&mut fields, "key")?;
    let changed = version.optional(&mut fields, "changed", Fields::value)?;
    let (labels, refused_labels) = read_labels(&mut fields)?;
    let number = KeyVersion::new(fields.value("version")?);
    let record = VersionRecord {
        version: number.ok_or(RecordFault::Value { field: "version" })?,
        master_key_id: MasterKeyId(fields.hex("id")?),
        algorithm: named(&mut fields, "algorithm", &ALGORITHMS, |(_, name)| name)?.0,
        origin: named(&mut fields, "origin", &ORIGINS, Origin::name)?,
        state: named(&mut fields, "state", VersionState::ALL, VersionState::name)?,
        state_since: fields.time("state_since")?,
        created: fields.time("created")?,
        promoted: fields.optional("promoted", Fields::time)?,
        last_promoted: version.optional(&mut fields, "last_promoted", Fields::time)?,
        compromised: fields.optional("compromised", Fields::time)?,
        destroy_at: fields.optional("destroy_at", Fields::time)?,
        kept: version.optional(&mut fields, "kept", Fields::time)?,
        hold: version.optional(&mut fields, "hold", read_hold)?,
        evidence: version.optional(&mut fields, "evidence", Fields::hex)?.map(Box::new),
        usage: Usage { wraps: fields.value("wraps")?, bytes: fields.value("bytes")? },
        is_reserved: false,
        labels,
        changed: changed.unwrap_or(0),
    };
    if !has_origin(&record) {
        return Err(RecordFault::Value { field: "origin" });
    }
    let sealed = match has_sealed(&record) {
        true => Some(fields.hex("sealed")?),
        false if fields.take("sealed").is_some() => {
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

/// Whether the algorithm of a version allows its origin (FORMAT F-TOKEN).
fn has_origin(record: &VersionRecord) -> bool {
    let in_file = record.algorithm == WrapAlgorithm::XAES_256_GCM;
    in_file != (record.origin == Origin::Token)
}

const ORIGINS: [Origin; 3] = [Origin::Generated, Origin::Imported, Origin::Token];

/// The one of `all` whose name a field has (FORMAT F-NAMES).
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
    sealed: Option<&SealedKey>,
    version: FormatVersion,
    extra: &VersionExtra,
) -> Option<String> {
    let mut algorithms = ALGORITHMS.iter();
    let (_, algorithm) = algorithms.find(|(algorithm, _)| *algorithm == record.algorithm)?;
    if !has_origin(record) {
        return None;
    }
    let again = record.last_promoted.filter(|_| record.last_promoted != record.promoted);
    let has_labels = !record.labels.is_empty() || !extra.labels.is_empty();
    let labels = has_labels.then(|| write_labels(&record.labels, &extra.labels));
    let changed = (version == FormatVersion::Two).then_some(&record.changed);
    let mut object = Object::of_kind("version")
        .value("key", key.as_str())
        .value("version", &record.version.number())
        .hex("id", &record.master_key_id.0)
        .value("algorithm", *algorithm)
        .value("origin", record.origin.name())
        .value("state", record.state.name())
        .time("state_since", record.state_since)
        .time("created", record.created)
        .optional("promoted", record.promoted, Object::time)
        .optional("last_promoted", again, Object::time)
        .optional("compromised", record.compromised, Object::time)
        .optional("destroy_at", record.destroy_at, Object::time)
        .optional("kept", record.kept, Object::time)
        .value("wraps", &record.usage.wraps)
        .value("bytes", &record.usage.bytes)
        .optional("labels", labels.as_deref(), Object::raw)
        .optional("hold", record.hold.as_ref(), write_hold)
        .optional("evidence", record.evidence.as_deref(), |it, name, bytes| it.hex(name, bytes))
        .optional("changed", changed, Object::value);
    if has_sealed(record) {
        object = object.hex("sealed", sealed?);
    }
    Some(object.extra(&extra.fields).end())
}

/// The labels, and those that break a bound, which are kept and not shown (FORMAT F-LABELS).
fn read_labels(fields: &mut Fields<'_>) -> Result<(Labels, Extra), RecordFault> {
    let (mut labels, mut refused) = (Labels::default(), Extra::new());
    let Some(text) = fields.take("labels") else { return Ok((labels, refused)) };
    for (name, json) in Fields::parse(text)?.into_extra() {
        let value: Option<String> = serde_json::from_str(&json).ok();
        if value.is_none_or(|value| labels.set(&name, Some(&value)).is_err()) {
            refused.push((name, json));
        }
    }
    Ok((labels, refused))
}

/// The labels, and those that break a bound unless a label of that name was set since.
fn write_labels(labels: &Labels, refused: &Extra) -> String {
    let object = labels.iter().fold(Object::new(), |all, (name, value)| all.value(name, value));
    object.extra(refused.iter().filter(|(name, _)| labels.get(name).is_none())).end()
}
