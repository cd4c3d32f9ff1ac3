//! What can be wrong with a key file.

use crate::error::Error;
use crate::format::KeyVersion;
use crate::keyring::file::{Argon2Cost, CostFault, ProtectionKind};
use crate::random::RandomnessUnavailable;
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

/// Why a key file was not read or written.
///
/// What the file says in the clear is exact; what only the secret could tell is one silent
/// variant, [`Authentication`](Self::Authentication).
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileFault {
    /// The bytes do not start as a key file does.
    #[error("not an envelock key file")]
    NotKeyFile,

    /// The file is of another format version. A newer library wrote it.
    #[error("key file has format version {version}, this library reads version 1")]
    FormatVersion {
        /// The file's.
        version: u64,
    },

    /// The file is longer than 64 MiB, or has more than 1,000,000 lines.
    #[error("key file is too long: at most 64 MiB and 1,000,000 lines")]
    TooLong,

    /// A line is damaged, or breaks a rule of the format. Salvage recovers the others.
    #[error("key file line {line}, {record}: {what}")]
    Record {
        /// The line, from 1.
        line: usize,
        /// The record on it, going by its own words and by the verified lines around it.
        record: RecordName,
        /// What is wrong.
        what: RecordFault,
    },

    /// The key material of a version does not open, or is not that of the record's id.
    #[error("key file: material of key {key} version {version} does not open")]
    Material {
        /// The master key.
        key: String,
        /// The version.
        version: KeyVersion,
    },

    /// The key material of a version is not in the file but on a token, and the file was opened
    /// without it: open it with the keyring of that token.
    #[error("key file: material of key {key} version {version} is on a token that is not given")]
    TokenVersion {
        /// The master key.
        key: String,
        /// The version.
        version: KeyVersion,
    },

    /// The file has another kind of protection than the one offered.
    #[error("key file is protected by a {found}, and a {offered} was given")]
    ProtectionKind {
        /// The file's.
        found: ProtectionKind,
        /// The one offered.
        offered: ProtectionKind,
    },

    /// The protection of the file was changed since it was opened: open it again.
    #[error("protection of the key file has changed since it was opened")]
    ProtectionChanged,

    /// A wrong passphrase, keyring or raw key; or the header, line 1, is damaged.
    #[error("key file does not open: wrong secret, or its header is damaged")]
    Authentication,

    /// The cost of Argon2id is out of bounds. Nothing was computed.
    #[error("Argon2id with {cost} is {fault}")]
    Argon2Cost {
        /// The cost.
        cost: Argon2Cost,
        /// What is wrong with it.
        fault: CostFault,
    },

    /// The memory that Argon2id takes is not there.
    #[error("no memory for Argon2id with {cost}")]
    OutOfMemory {
        /// The cost.
        cost: Argon2Cost,
    },

    /// A new file was to be protected by an empty passphrase or an all-zero key.
    #[error("protection of a key file by an empty secret")]
    EmptySecret,

    /// The outer keyring does not wrap or unwrap the file key.
    #[error("outer keyring of the key file failed")]
    OuterKeyring(#[source] Box<Error>),

    /// The file uses something that a writer must know and this library does not. It can be
    /// read; a newer library writes it.
    #[error("key file cannot be written by this library: it does not know {name:?}")]
    UnknownCritical {
        /// The name of the record or field.
        name: String,
    },

    /// What was to be written did not read back as it was. Nothing was written.
    #[error("what was to be written to the key file does not read back")]
    ReadBack,

    /// The random generator failed.
    #[error("randomness is unavailable")]
    Randomness(#[source] RandomnessUnavailable),
}

impl KeyFileFault {
    /// Whether the same call may succeed later without any change by the caller.
    pub fn is_retryable(&self) -> bool {
        match self {
            KeyFileFault::OuterKeyring(error) => error.is_retryable(),
            KeyFileFault::OutOfMemory { .. } | KeyFileFault::Randomness(_) => true,
            _ => false,
        }
    }

    /// The line that is at fault, from 1, where one is.
    pub fn line(&self) -> Option<usize> {
        match self {
            KeyFileFault::Record { line, .. } => Some(*line),
            KeyFileFault::NotKeyFile
            | KeyFileFault::FormatVersion { .. }
            | KeyFileFault::ProtectionKind { .. }
            | KeyFileFault::Argon2Cost { .. }
            | KeyFileFault::Authentication => Some(1),
            _ => None,
        }
    }
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
    /// A record of a kind that this version does not know, or too damaged to be told.
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
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordFault {
    /// The line is not `{"record":...,"mac":"..."}` with 64 hexadecimal digits, or not UTF-8.
    Frame,
    /// The line is longer than 64 KiB.
    LineTooLong,
    /// The file ends without an end record, or within a line.
    Truncated,
    /// The MAC of the line does not verify: it was changed, or is another file's.
    Mac,
    /// The record is not a JSON object of at most 256 different fields.
    Json,
    /// A field is missing.
    Missing {
        /// Its name.
        field: &'static str,
    },
    /// A field has a value that it cannot have.
    Value {
        /// Its name.
        field: &'static str,
    },
    /// A field names something that this version does not know.
    UnknownName {
        /// The field.
        field: &'static str,
        /// The name.
        name: String,
    },
    /// The record stands where it cannot, or a second time.
    Misplaced,
    /// The master key id is another version's already.
    DuplicateId,
    /// The key that the alias stands for is not in the file.
    UnknownKey,
    /// The end record was made for other lines: some were added, dropped, moved or replaced.
    Whole,
    /// The end record's copy of the header is another.
    HeaderCopy,
    /// Another intact line is of the same record and was taken: lines of two files are mixed.
    Superseded,
    /// The key material on the line does not open.
    Material,
}

impl fmt::Display for RecordFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RecordFault::Frame => "not of the form of a line",
            RecordFault::LineTooLong => "longer than 64 KiB",
            RecordFault::Truncated => "the file ends early",
            RecordFault::Mac => "the MAC does not verify",
            RecordFault::Json => "not a JSON object of at most 256 different fields",
            RecordFault::Missing { field } => return write!(f, "field {field} is missing"),
            RecordFault::Value { field } => return write!(f, "field {field} has a wrong value"),
            RecordFault::UnknownName { field, name } => {
                return write!(f, "field {field} has the unknown name {name:?}");
            }
            RecordFault::Misplaced => "out of place, or there twice",
            RecordFault::DuplicateId => "its id is another version's",
            RecordFault::UnknownKey => "the key it stands for is not there",
            RecordFault::Whole => "lines were added, dropped, moved or replaced",
            RecordFault::HeaderCopy => "header and its copy in the end record differ",
            RecordFault::Superseded => "another intact line of the same record was taken",
            RecordFault::Material => "the key material does not open",
        })
    }
}
