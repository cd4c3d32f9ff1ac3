//! What can be wrong with one line of a key file.

use crate::format::KeyVersion;
use alloc::string::String;
use core::fmt;

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
