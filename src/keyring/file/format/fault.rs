//! What can be wrong with a key file.

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

/// Why a key file was not read or written.
///
/// What the file says in the clear is exact; what only the secret could tell is one silent
/// variant, [`Authentication`](Self::Authentication).
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileFault {
    /// The bytes do not start as a key file does.
    #[error("not an envelock key file{}", Guess(*.looks_like))]
    NotKeyFile {
        /// What they look like, where that can be told.
        looks_like: Option<KeyFileLooksLike>,
    },

    /// Line ends were made CR LF on the way, or a byte order mark added: copy the file as it is.
    #[error("key file was changed by a conversion of text: it {conversion}")]
    Converted {
        /// Which.
        conversion: TextConversion,
    },

    /// The file is of another format version. A newer library wrote it.
    #[error("key file has format version {version}, this library reads versions 1 and 2")]
    FormatVersion {
        /// The file's.
        version: u64,
    },

    /// The file is longer than 64 MiB, or has more than 1,000,000 lines.
    #[error("key file is too long: at most 64 MiB and 1,000,000 lines")]
    TooLong,

    /// The file was written 2^64 - 1 times, and takes no other change.
    #[error("key file has no change number left")]
    ChangeNumber,

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

    /// The file has no protection of the kind that was offered.
    #[error("key file is protected by a {}, and a {offered} was given", kinds(found))]
    ProtectionKind {
        /// The kinds of the file's protections, in order.
        found: Vec<ProtectionKind>,
        /// The one offered.
        offered: ProtectionKind,
    },

    /// The file has another file key than when it was opened: open it again.
    #[error("file key of the key file was replaced since it was opened")]
    FileKeyReplaced,

    /// The protections of the file cannot be what was asked for. Nothing was written.
    #[error("protections of the key file: {what}")]
    Protections {
        /// What is wrong.
        what: ProtectionsFault,
    },

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
    #[error(transparent)]
    Randomness(RandomnessUnavailable),
}

/// Why protections of a key file were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtectionsFault {
    /// A file has at most this many.
    #[error("more than {most}")]
    TooMany {
        /// The most there can be.
        most: usize,
    },
    /// A file has at most this many passphrases, since opening it may have to try each.
    #[error("more than {most} passphrases")]
    TooManyPassphrases {
        /// The most there can be.
        most: usize,
    },
    /// An unprotected file has no other protection, and a protected one does not become one:
    /// replace its file key instead.
    #[error("an unprotected file key beside or after another")]
    Plaintext,
    /// The only one cannot be removed, and a file cannot be without any.
    #[error("the only one cannot be removed")]
    Last,
    /// The file has none of this id.
    #[error("there is none of id {id}")]
    Unknown {
        /// The id.
        id: ProtectionId,
    },
    /// Two have one id.
    #[error("two are of id {id}")]
    DuplicateId {
        /// The id.
        id: ProtectionId,
    },
    /// A name has not the form of a key name, or more than 64 bytes.
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

    /// The line that is at fault, from 1, where one is.
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

/// What was done to a key file that can still be read by salvage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TextConversion {
    /// Its lines end in CR LF: an editor, a transfer as text, a checkout on Windows.
    CarriageReturns,
    /// It begins with a byte order mark.
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

/// What bytes that are no key file look like. A guess, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyFileLooksLike {
    /// Nothing: no byte at all.
    Empty,
    /// Zeros alone, as after a crash of a file system.
    Zeros,
    /// Text in UTF-16.
    Utf16,
    /// A key file in base64, as `kubectl get secret -o yaml` shows it: decode it first.
    Base64,
    /// An envelock message.
    Message,
    /// One line of text: the file with the passphrase?
    Line,
}

impl fmt::Display for KeyFileLooksLike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyFileLooksLike::Empty => "it is empty",
            KeyFileLooksLike::Zeros => "it is all zeros",
            KeyFileLooksLike::Utf16 => "it is text in UTF-16",
            KeyFileLooksLike::Base64 => "it is one in base64, decode it first",
            KeyFileLooksLike::Message => "it is a message",
            KeyFileLooksLike::Line => "it is one line of text, a passphrase perhaps",
        })
    }
}

/// What is said of a guess behind the rest.
struct Guess(Option<KeyFileLooksLike>);

impl fmt::Display for Guess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |guess| write!(f, ": {guess}"))
    }
}
