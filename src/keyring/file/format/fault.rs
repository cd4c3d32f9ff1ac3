//! Faults of the content of a key file, and of one line of it.

use super::looks_like::{KeyFileLooksLike, TextConversion};
use super::protection_slots::ProtectionId;
use crate::error::Error;
use crate::format::KeyVersion;
use crate::keyring::file::{Argon2Cost, CostFault, ProtectionKind};
use crate::random::RandomnessUnavailable;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Why the content of a key file was not read or written.
///
/// Faults of the readable text are exact. Everything that depends on the secret is one variant,
/// [`Authentication`](Self::Authentication).
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileFault {
    /// The bytes do not start like a key file.
    #[error("not an envelock key file{}", guess(*looks_like))]
    NotKeyFile {
        /// What they look like, if that is known.
        looks_like: Option<KeyFileLooksLike>,
    },

    /// A conversion of text changed line ends to CR LF, or added a byte order mark: copy the file
    /// unchanged.
    #[error("key file was changed by a conversion of text: it {conversion}")]
    Converted {
        /// The conversion.
        conversion: TextConversion,
    },

    /// A newer library wrote the file in an unknown format version.
    #[error("key file has format version {version}, this library reads versions 1 and 2")]
    FormatVersion {
        /// The format version of the file.
        version: u64,
    },

    /// The file is longer than 64 MiB, or has more than 1,000,000 lines.
    #[error("key file is too long: at most 64 MiB and 1,000,000 lines")]
    TooLong,

    /// The file was written 2^64 - 1 times, and permits no other change.
    #[error("key file has no change number left")]
    ChangeNumber,

    /// A line is damaged, or breaks a rule of the format. Salvage recovers the others.
    #[error("key file line {line}, {record}: {what}")]
    Record {
        /// The line, from 1.
        line: usize,
        /// The record that the line names, unverified if the line is damaged.
        record: RecordName,
        /// The reason.
        what: RecordFault,
    },

    /// The key material of a version does not open, or does not belong to the id of its record.
    #[error("key file: material of key {key} version {version} does not open")]
    Material {
        /// The master key.
        key: String,
        /// The version.
        version: KeyVersion,
    },

    /// The key material of a version is on a token: open the file with the keyring of that token.
    #[error("key file: material of key {key} version {version} is on a token that was not given")]
    TokenVersion {
        /// The master key.
        key: String,
        /// The version.
        version: KeyVersion,
    },

    /// The file has no protection of the offered kind.
    #[error("key file is protected by a {}, and a {offered} was given", kinds(found))]
    ProtectionKind {
        /// The kinds of the protections of the file, in order.
        found: Vec<ProtectionKind>,
        /// The offered kind.
        offered: ProtectionKind,
    },

    /// The file key was replaced since the file was opened:
    /// [`reopen`](crate::FileKeyring::reopen) it.
    #[error("file key of the key file was replaced since it was opened")]
    FileKeyReplaced,

    /// A change of protections breaks a rule. Nothing was written.
    #[error("protections of the key file: {what}")]
    Protections {
        /// The rule.
        what: ProtectionsFault,
    },

    /// The passphrase, keyring or raw key is wrong, or the header, line 1, is damaged.
    #[error("key file does not open: wrong secret, or its header is damaged")]
    Authentication,

    /// The cost of Argon2id is out of bounds. Nothing was derived.
    #[error("Argon2id with {cost} is {fault}")]
    Argon2Cost {
        /// The cost.
        cost: Argon2Cost,
        /// The bound.
        fault: CostFault,
    },

    /// The memory for Argon2id could not be allocated.
    #[error("no memory for Argon2id with {cost}")]
    OutOfMemory {
        /// The cost.
        cost: Argon2Cost,
    },

    /// A new protection has an empty passphrase or an all-zero key.
    #[error("protection of a key file by an empty secret")]
    EmptySecret,

    /// The outer keyring did not wrap or unwrap the file key.
    #[error("outer keyring of the key file failed")]
    OuterKeyring(#[source] Box<Error>),

    /// The file uses a critical record or field that this library does not know. It can be read, and
    /// a newer library writes it.
    #[error("key file cannot be written by this library, which does not know {name:?}")]
    UnknownCritical {
        /// The name of the record or field.
        name: String,
    },

    /// The new content did not read back. Nothing was written.
    #[error("new content of the key file does not read back")]
    ReadBack,

    /// The random generator failed.
    #[error(transparent)]
    Randomness(RandomnessUnavailable),
}

/// Why protections of a key file were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtectionsFault {
    /// A file has a maximum number of protections.
    #[error("more than {most}")]
    TooMany {
        /// The most there can be.
        most: usize,
    },
    /// A file has a maximum number of passphrases, since an opening may try each.
    #[error("more than {most} passphrases")]
    TooManyPassphrases {
        /// The most there can be.
        most: usize,
    },
    /// An unprotected file has no other protection, and a protected file does not become
    /// unprotected: replace its file key instead.
    #[error("an unprotected file key beside or after another")]
    Plaintext,
    /// A file has at least one protection.
    #[error("the only one cannot be removed")]
    Last,
    /// The file has no protection of this id.
    #[error("no protection has the id {id}")]
    Unknown {
        /// The id.
        id: ProtectionId,
    },
    /// Two protections have one id.
    #[error("two protections have the id {id}")]
    DuplicateId {
        /// The id.
        id: ProtectionId,
    },
    /// A name does not have the form of a key name of at most 64 bytes.
    #[error("the name is not [A-Za-z0-9][A-Za-z0-9._:/@+=-]{{0,63}}")]
    Name,
}

/// The suffix of the error text.
fn guess(looks_like: Option<KeyFileLooksLike>) -> String {
    looks_like.map_or_else(String::new, |guess| format!(": {guess}"))
}

/// `passphrase and a keyring`
fn kinds(found: &[ProtectionKind]) -> String {
    let names: Vec<_> = found.iter().map(|kind| kind.name()).collect();
    names.join(" and a ")
}

impl KeyFileFault {
    /// Returns whether the same call may succeed later without any change by the caller.
    pub fn is_retryable(&self) -> bool {
        match self {
            KeyFileFault::OuterKeyring(error) => error.is_retryable(),
            KeyFileFault::OutOfMemory { .. } | KeyFileFault::Randomness(_) => true,
            _ => false,
        }
    }

    /// Returns the line with the fault, from 1, if one line has it.
    pub fn line(&self) -> Option<usize> {
        match self {
            KeyFileFault::Record { line, .. } => Some(*line),
            KeyFileFault::NotKeyFile { .. }
            | KeyFileFault::Converted { .. }
            | KeyFileFault::FormatVersion { .. }
            | KeyFileFault::ProtectionKind { .. }
            | KeyFileFault::Argon2Cost { .. }
            | KeyFileFault::Authentication => Some(1),
            _ => None,
        }
    }
}

/// The fault of the header.
pub(super) fn at_header(what: RecordFault) -> KeyFileFault {
    KeyFileFault::Record { line: 1, record: RecordName::Header, what }
}

impl From<RandomnessUnavailable> for KeyFileFault {
    fn from(error: RandomnessUnavailable) -> Self {
        KeyFileFault::Randomness(error)
    }
}

/// A record of a key file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RecordName {
    /// The header, line 1.
    Header,
    /// A master key.
    Key {
        /// Its name.
        name: String,
    },
    /// A version of a master key.
    Version {
        /// The master key.
        key: String,
        /// The version.
        version: KeyVersion,
    },
    /// An alias.
    Alias {
        /// Its name.
        name: String,
    },
    /// The end record, the last line.
    End,
    /// A record of a kind that this version does not know, or a damaged line.
    Unknown,
}

impl fmt::Display for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordName::Header => f.write_str("header"),
            RecordName::Key { name } => write!(f, "key {name}"),
            RecordName::Version { key, version } => write!(f, "key {key} version {version}"),
            RecordName::Alias { name } => write!(f, "alias {name}"),
            RecordName::End => f.write_str("end"),
            RecordName::Unknown => f.write_str("unknown record"),
        }
    }
}

/// What is wrong with a line of a key file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordFault {
    /// The line is not `{"record":...,"mac":"..."}` with 64 hexadecimal digits, or not UTF-8.
    #[error("not of the form of a line")]
    Frame,
    /// The line is longer than 64 KiB.
    #[error("longer than 64 KiB")]
    LineTooLong,
    /// The file ends without an end record, or within a line.
    #[error("the file ends early")]
    Truncated,
    /// The MAC of the line does not verify: the line was changed, or belongs to another file.
    #[error("the MAC does not verify")]
    Mac,
    /// The record is not a JSON object of at most 256 different fields.
    #[error("not a JSON object of at most 256 different fields")]
    Json,
    /// A field is missing.
    #[error("field {field} is missing")]
    Missing {
        /// Its name.
        field: &'static str,
    },
    /// A field has an invalid value.
    #[error("field {field} has a wrong value")]
    Value {
        /// Its name.
        field: &'static str,
    },
    /// A field has a name as its value that this version does not know.
    #[error("field {field} has the unknown name {name:?}")]
    UnknownName {
        /// The field.
        field: &'static str,
        /// The name.
        name: String,
    },
    /// The record is out of place, or is there twice.
    #[error("out of place, or there twice")]
    Misplaced,
    /// The master key id belongs to another version.
    #[error("its id is another version's")]
    DuplicateId,
    /// The file has no key of the name that the alias stands for.
    #[error("the key it stands for is not there")]
    UnknownKey,
    /// The end record belongs to other lines: lines were added, dropped, moved or replaced.
    #[error("lines were added, dropped, moved or replaced")]
    Whole,
    /// The header and its copy in the end record differ.
    #[error("header and its copy in the end record differ")]
    HeaderCopy,
    /// Salvage took another intact line of the same record: lines of two files are mixed.
    #[error("another intact line of the same record was taken")]
    Superseded,
    /// The key material on the line does not open.
    #[error("the key material does not open")]
    Material,
}
