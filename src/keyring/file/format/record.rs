//! Records, one on each line.

use super::fault::{KeyFileFault, RecordFault, at_header};
use super::file_key::{KeyFileId, SealedKey};
use super::json::{Extra, Fields, Object};
use super::protection_slots::{self, ProtectionSlot};
use super::version::{VersionExtra, version_record};
use crate::format::{KeyName, MasterKeyId};
use crate::keyset::{
    Alias, EvidenceRule, Hold, KeyRecord, Keyset, MAX_FORMER_KEYS, MAX_KEYSET_NAME_LEN,
    MAX_REMOVED_IDS, VersionRecord,
};
use crate::time::Timestamp;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

const FORMAT: &str = "envelock key file";

/// The format version of a file in which only usage has changed since it was written.
const VERSION_1: u64 = 1;

/// The format version of changed files.
const VERSION_2: u64 = 2;

/// A format version that this library reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum FormatVersion {
    One,
    Two,
}

/// Records and fields that a writer of this version understands, for `critical`. Fields that it keeps and
/// ignores are absent (FORMAT F-RESERVED).
const KNOWN: [(&str, &str); 5] = [
    (
        "header",
        "kind format version id critical revision changed_at change written protection protections",
    ),
    ("key", "kind name taken floor removed erased evidence waived hold changed"),
    (
        "version",
        "kind key version id algorithm origin state state_since created promoted last_promoted \
         compromised destroy_at kept wraps bytes labels hold evidence sealed changed",
    ),
    ("alias", "kind name key former changed"),
    ("end", "kind lines whole header"),
];

/// Line 1.
#[derive(Clone)]
pub(super) struct FileHeader {
    pub(super) version: FormatVersion,
    pub(super) id: KeyFileId,
    /// Names of records and fields that a writer must understand.
    pub(super) critical: Vec<String>,
    pub(super) revision: u64,
    pub(super) change: u64,
    pub(super) written: Timestamp,
    pub(super) protections: Vec<ProtectionSlot>,
    pub(super) extra: Extra,
}

impl FileHeader {
    /// Reads the record of line 1, verified or not.
    pub(super) fn parse(record: &str) -> Result<Self, KeyFileFault> {
        let mut fields = Fields::parse(record).map_err(at_header)?;
        let is = |found: Option<String>, name| found.as_deref() == Some(name);
        if !is(fields.string("kind").ok(), "header") || !is(fields.string("format").ok(), FORMAT) {
            return Err(KeyFileFault::NotKeyFile { looks_like: None });
        }
        // FORMAT F-FORMAT: nothing more of an unknown version is read.
        let version = match fields.value("version").map_err(at_header)? {
            VERSION_1 => FormatVersion::One,
            VERSION_2 => FormatVersion::Two,
            version => return Err(KeyFileFault::FormatVersion { version }),
        };
        FileHeader::read(fields, version).map_err(at_header)
    }

    fn read(mut fields: Fields<'_>, version: FormatVersion) -> Result<Self, RecordFault> {
        let change_field = version.change_field();
        let header = FileHeader {
            version,
            id: KeyFileId(fields.hex("id")?),
            critical: fields.value("critical")?,
            revision: fields.value("revision")?,
            change: fields.value(change_field)?,
            written: fields.time("written")?,
            protections: protections(&mut fields, version)?,
            extra: {
                if version == FormatVersion::Two {
                    check_audit(&fields)?;
                }
                fields.into_extra()
            },
        };
        if header.change > header.revision {
            return Err(RecordFault::Value { field: change_field });
        }
        Ok(header)
    }

    pub(super) fn write(&self) -> String {
        let object = Object::of_kind("header")
            .value("format", FORMAT)
            .value("version", &self.version.number())
            .hex("id", &self.id.0)
            .value("critical", &self.critical)
            .value("revision", &self.revision)
            .value(self.version.change_field(), &self.change)
            .time("written", self.written);
        let object = match (self.version, self.protections.as_slice()) {
            (FormatVersion::One, [only]) => object.raw("protection", &only.text),
            (_, all) => object.raw("protections", &protection_slots::write(all)),
        };
        object.extra(&self.extra).end()
    }

    /// Returns the first name of `critical` that this version does not know.
    pub(super) fn unknown_critical(critical: &[String]) -> Option<&str> {
        critical.iter().map(String::as_str).find(|name| !is_known(name))
    }
}

impl FormatVersion {
    fn number(self) -> u64 {
        match self {
            FormatVersion::One => VERSION_1,
            FormatVersion::Two => VERSION_2,
        }
    }

    /// Takes a field of format version 2 by `read`, if the field is present.
    pub(super) fn optional<'a, T>(
        self,
        fields: &mut Fields<'a>,
        field: &'static str,
        read: impl FnOnce(&mut Fields<'a>, &'static str) -> Result<T, RecordFault>,
    ) -> Result<Option<T>, RecordFault> {
        if self == FormatVersion::Two { fields.optional(field, read) } else { Ok(None) }
    }

    fn change_field(self) -> &'static str {
        match self {
            FormatVersion::One => "changed_at",
            FormatVersion::Two => "change",
        }
    }
}

fn protections(
    fields: &mut Fields<'_>,
    version: FormatVersion,
) -> Result<Vec<ProtectionSlot>, RecordFault> {
    match version {
        FormatVersion::One => {
            Ok(Vec::from([ProtectionSlot::of_version_1(fields.raw("protection")?)?]))
        }
        FormatVersion::Two => protection_slots::parse(&fields.value::<Vec<_>>("protections")?),
    }
}

/// Returns whether this version has the record `name`, or the field `record.field`.
fn is_known(name: &str) -> bool {
    let (record, field) = name.split_once('.').unwrap_or((name, "kind"));
    let known = KNOWN.iter().find(|(known, _)| *known == record);
    known.is_some_and(|(_, fields)| fields.split_whitespace().any(|known| known == field))
}

/// Removes fields of version 2 from a record of version 1, which did not know them: a reader of version 2
/// would interpret them.
pub(super) fn keep_unknown(record: &str, extra: &mut Extra) {
    let is_reserved = |field: &str| (record, field) == ("header", "audit");
    extra.retain(|(field, _)| !is_known(&[record, field].join(".")) && !is_reserved(field));
}

/// A record between the header and the end, or the end.
pub(super) enum Record {
    Key {
        name: String,
        /// Without the number of the last change.
        record: KeyRecord,
        changed: Option<u64>,
        extra: Extra,
    },
    Version {
        key: String,
        record: VersionRecord,
        sealed: Option<SealedKey>,
        changed: Option<u64>,
        extra: VersionExtra,
    },
    Alias {
        /// Without the number of the last change.
        alias: Alias,
        changed: Option<u64>,
        extra: Extra,
    },
    End {
        lines: u64,
        whole: [u8; 32],
        header: String,
        extra: Extra,
    },
    /// A header in a wrong position.
    Header,
    /// A record of an unknown kind.
    Other,
}

impl Record {
    pub(super) fn parse(text: &str, version: FormatVersion) -> Result<Self, RecordFault> {
        let mut fields = Fields::parse(text)?;
        Ok(match fields.string("kind")?.as_str() {
            "key" => Record::Key {
                name: name_of(&mut fields, "name")?,
                record: key_record(&mut fields, version)?,
                changed: version.optional(&mut fields, "changed", Fields::value)?,
                extra: fields.into_extra(),
            },
            "version" => version_record(fields, version)?,
            "alias" => Record::Alias {
                alias: alias(&mut fields, version)?,
                changed: version.optional(&mut fields, "changed", Fields::value)?,
                extra: fields.into_extra(),
            },
            "end" => Record::End {
                lines: fields.value("lines")?,
                whole: fields.hex("whole")?,
                header: fields.raw("header")?.into(),
                extra: fields.into_extra(),
            },
            "header" => Record::Header,
            _ => Record::Other,
        })
    }
}

fn key_record(fields: &mut Fields<'_>, version: FormatVersion) -> Result<KeyRecord, RecordFault> {
    let record = KeyRecord { highest_version: fields.value("taken")?, ..KeyRecord::default() };
    if version == FormatVersion::One {
        return Ok(record);
    }
    let floor: u32 = fields.optional("floor", Fields::value)?.unwrap_or(0);
    // FORMAT F-FLOOR
    if floor.checked_sub(1).is_some_and(|below| below > record.highest_version) {
        return Err(RecordFault::Value { field: "floor" });
    }
    let evidence = fields.optional("evidence", Fields::raw)?;
    if evidence.is_some_and(|json| json != "true") {
        return Err(RecordFault::Value { field: "evidence" });
    }
    Ok(KeyRecord {
        floor,
        // Nothing: no record was removed.
        removed: fields.optional("removed", removed)?.unwrap_or_default(),
        erased: fields.optional("erased", Fields::time)?,
        hold: fields.optional("hold", read_hold)?,
        evidence: EvidenceRule::new(evidence.is_some()),
        evidence_waived: fields.optional("waived", read_hold)?,
        ..record
    })
}

// FORMAT F-FLOOR
fn removed(fields: &mut Fields<'_>, field: &'static str) -> Result<Vec<MasterKeyId>, RecordFault> {
    match fields.bytes(field)?.as_chunks::<8>() {
        (ids, []) if ids.len() <= MAX_REMOVED_IDS => {
            Ok(ids.iter().map(|id| MasterKeyId(*id)).collect())
        }
        _ => Err(RecordFault::Value { field }),
    }
}

// FORMAT F-FORMER
fn alias(fields: &mut Fields<'_>, version: FormatVersion) -> Result<Alias, RecordFault> {
    let alias = Alias::new(name_of(fields, "name")?, name_of(fields, "key")?);
    let Some(former) = version.optional(fields, "former", Fields::value::<Vec<String>>)? else {
        return Ok(alias);
    };
    let mut names = BTreeSet::from([alias.key.as_str()]);
    if former.len() > MAX_FORMER_KEYS
        || !former.iter().all(|name| is_name(name) && names.insert(name))
    {
        return Err(RecordFault::Value { field: "former" });
    }
    Ok(Alias { former, ..alias })
}

pub(super) fn name_of(fields: &mut Fields<'_>, field: &'static str) -> Result<String, RecordFault> {
    let name = fields.string(field)?;
    if is_name(&name) { Ok(name) } else { Err(RecordFault::Value { field }) }
}

/// Whether `name` is a key name of at most 64 bytes.
pub(super) fn is_name(name: &str) -> bool {
    KeyName::new(name).is_ok() && name.len() <= MAX_KEYSET_NAME_LEN
}

pub(super) fn write_key(keyset: &Keyset, version: FormatVersion, extra: &Extra) -> String {
    let object = Object::of_kind("key").value("name", keyset.name().as_str());
    let mut object = object.value("taken", &keyset.highest_version());
    if version == FormatVersion::Two {
        let floor = Some(keyset.floor()).filter(|floor| *floor > 0);
        let removed: Vec<u8> = keyset.removed().iter().flat_map(|id| id.0).collect();
        object = object
            .optional("floor", floor.as_ref(), Object::value)
            .optional("removed", Some(&*removed).filter(|ids| !ids.is_empty()), Object::hex)
            .optional("erased", keyset.erased(), Object::time)
            .optional("evidence", keyset.evidence_required().then_some("true"), Object::raw)
            .optional("waived", keyset.evidence_waived(), write_hold)
            .optional("hold", keyset.hold(), write_hold)
            .value("changed", &keyset.changed());
    }
    object.extra(extra).end()
}

pub(super) fn write_alias(alias: &Alias, version: FormatVersion, extra: &Extra) -> String {
    let object = Object::of_kind("alias").value("name", &alias.name);
    let mut object = object.value("key", &alias.key);
    if version == FormatVersion::Two {
        let former = Some(&alias.former).filter(|former| !former.is_empty());
        object = object.optional("former", former, Object::value).value("changed", &alias.changed);
    }
    object.extra(extra).end()
}

pub(super) fn write_end(lines: u64, whole: &[u8; 32], header: &str, extra: &Extra) -> String {
    let object = Object::of_kind("end").value("lines", &lines).hex("whole", whole);
    object.raw("header", header).extra(extra).end()
}

/// Takes a hold, or another field with a date and a reason.
// FORMAT F-HOLD
pub(super) fn read_hold(fields: &mut Fields<'_>, field: &'static str) -> Result<Hold, RecordFault> {
    let text = fields.raw(field)?;
    let hold = || {
        let mut hold = Fields::parse(text).ok()?;
        let since = hold.time("since").ok()?;
        Hold::new(since, &hold.string("reason").ok()?).ok()
    };
    hold().ok_or(RecordFault::Value { field })
}

pub(super) fn write_hold(object: Object, field: &str, hold: &Hold) -> Object {
    let text = Object::new().time("since", hold.since()).value("reason", hold.reason()).end();
    object.raw(field, &text)
}

/// Checks the form of `audit`, which is kept as an unknown field.
// FORMAT F-RESERVED
fn check_audit(fields: &Fields<'_>) -> Result<(), RecordFault> {
    let Some(text) = fields.peek("audit") else { return Ok(()) };
    let anchor = || {
        let mut anchor = Fields::parse(text).ok()?;
        let size = anchor.value::<u64>("size").ok()?;
        anchor.hex::<32>("root").ok()?;
        Some(size)
    };
    anchor().map(drop).ok_or(RecordFault::Value { field: "audit" })
}
