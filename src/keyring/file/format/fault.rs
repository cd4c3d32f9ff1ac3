//! Faults of the content of a key file.

use super::protection_slot::ProtectionId;
use super::record_fault::{RecordFault, RecordName};
use crate::error::Error;
use crate::format::KeyVersion;
use crate::keyring::file::{Argon2Cost, CostFault, ProtectionKind};
use crate::random::RandomnessUnavailable;
use alloc::boxed::Box;
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
    #[error("not an envelock key file{}", Guess(*.looks_like))]
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

/// `passphrase and a keyring`
fn kinds(found: &[ProtectionKind]) -> String {
    let names: Vec<_> = found.iter().map(|kind| kind.name()).collect();
    names.join(" and a ")
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

    /// The line with the fault, from 1, if one line has it.
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

impl From<RandomnessUnavailable> for KeyFileFault {
    fn from(error: RandomnessUnavailable) -> Self {
        KeyFileFault::Randomness(error)
    }
}

/// A conversion of a key file, which salvage reverts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TextConversion {
    /// Lines end in CR LF: by an editor, a transfer as text, a checkout on Windows.
    CarriageReturns,
    /// A byte order mark precedes the first line.
    ByteOrderMark,
}

impl fmt::Display for TextConversion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TextConversion::CarriageReturns => "has line ends of CR LF",
            TextConversion::ByteOrderMark => "begins with a byte order mark",
        })
    }
}

/// A guess, for people, at the kind of bytes that are no key file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyFileLooksLike {
    /// No bytes.
    Empty,
    /// Only zeros, as after a crash of a file system.
    Zeros,
    /// Text in UTF-16.
    Utf16,
    /// A key file in base64, as `kubectl get secret -o yaml` shows it: decode it first.
    Base64,
    /// An envelock message.
    Message,
    /// One line of text, perhaps the passphrase.
    Line,
}

impl fmt::Display for KeyFileLooksLike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyFileLooksLike::Empty => "it is empty",
            KeyFileLooksLike::Zeros => "it is all zeros",
            KeyFileLooksLike::Utf16 => "it is text in UTF-16",
            KeyFileLooksLike::Base64 => "it is a key file in base64, decode it first",
            KeyFileLooksLike::Message => "it is a message",
            KeyFileLooksLike::Line => "it is one line of text, a passphrase perhaps",
        })
    }
}

/// The suffix of the error text.
struct Guess(Option<KeyFileLooksLike>);

impl fmt::Display for Guess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |guess| write!(f, ": {guess}"))
    }
}
