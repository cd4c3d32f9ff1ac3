//! The one error of every operation.
//!
//! What an attacker can read in the bytes anyway is said exactly; of what only a key could tell,
//! which public part did not verify. No variant holds a secret, so every error can be logged.

mod answers;
mod conversions;
mod key_fault;
mod unverified;

pub use key_fault::KeyFault;
pub use unverified::Unverified;

use crate::aad::AadFault;
use crate::format::{
    DataKeyId, HeaderFault, InvalidKeyName, KeyVersion, LooksLike, MessagePart, SlotFault,
};
use crate::keyring::Refusal;
use crate::keyset::{ChangeOutcome, Guard, LabelFault, Operation, VersionState};
use crate::random::RandomnessUnavailable;
use crate::time::Timestamp;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

/// Why an operation failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input does not start with envelock's magic.
    #[error("not an envelock message: {looks_like}")]
    NotEnvelock {
        /// What it looks like instead.
        looks_like: LooksLike,
    },
    /// The input ends early. Whoever reads a header first can fetch `needed` bytes and try again.
    #[error("{part} is truncated: {len} bytes are there, at least {needed} needed")]
    Truncated {
        /// Which part of the message ends early.
        part: MessagePart,
        /// Bytes there are of that part.
        len: u64,
        /// The least number of bytes that the part needs, going by what is there.
        needed: u64,
    },
    /// The header breaks a rule of the format.
    #[error("header is malformed at byte {offset}: {fault}")]
    Header {
        /// Offset of the first field, or byte of a name or of padding, that is wrong.
        offset: usize,
        /// The rule.
        fault: HeaderFault,
    },
    /// A detached header came with bytes behind it, or was given another header's length.
    #[error("detached header declares {declared} bytes and has {len}")]
    DetachedHeaderLength {
        /// The length that the header declares.
        declared: usize,
        /// The length of the input.
        len: usize,
    },
    /// The header has no slot of a name that the caller gave.
    #[error("header has no slot of key {key:?}")]
    MissingSlot {
        /// The key name.
        key: String,
    },
    /// An [`OpenedKey`](crate::OpenedKey) was used for a message that it was not opened from.
    #[error("opened key has data key id {opened}, the message {found}, or another suite")]
    OtherMessage {
        /// The data key id that the opened key belongs to.
        opened: DataKeyId,
        /// The data key id in the header; the same if only the suite differs.
        found: DataKeyId,
    },
    /// No slot of another name opens with this keyring: the slots of this one were to be removed.
    /// [`Envelope::examine`](crate::Envelope::examine) says of each why not.
    #[error("no slot that opens would be left without those of key {key:?}")]
    LastSlot {
        /// The key name.
        key: String,
    },
    /// No slot of the message is under a master key of this keyring.
    #[error(
        "no key for this message: the first of {slots} slots is of key {key} version {version}"
    )]
    NoKey {
        /// The key name of the first slot that was tried.
        key: String,
        /// The key version of that slot.
        version: KeyVersion,
        /// How many slots the header has.
        slots: usize,
    },
    /// The keyring knows the master key version and refuses to use it.
    #[error("key {key} version {version} is refused: {refusal}")]
    Refused {
        /// The key name.
        key: String,
        /// The key version.
        version: KeyVersion,
        /// Why.
        refusal: Refusal,
    },
    /// A stream cannot be ended: a version that its data key is wrapped under was disabled,
    /// compromised or destroyed since it began, or its key is gone from the keyring. The message
    /// stays unfinished, and no rewrap mends it: encrypt it again, under the primary of now.
    #[error("key {key} version {version} is refused since the stream began: {refusal}")]
    StreamRefused {
        /// The key name.
        key: String,
        /// The key version.
        version: KeyVersion,
        /// Why.
        refusal: Refusal,
    },
    /// Authentication failed: wrong key, wrong associated data, or changed bytes. Nothing that did
    /// not verify is left in the output.
    #[error("authentication failed: {part}")]
    Authentication {
        /// Which public part did not verify. Nothing more is said.
        part: Unverified,
    },
    /// The keyring's backend did not answer, or failed.
    #[error("keyring is unavailable")]
    #[non_exhaustive]
    Unavailable {
        /// What the backend said.
        source: Arc<dyn core::error::Error + Send + Sync>,
        /// Whether the same call may succeed later, as the keyring says.
        retryable: bool,
    },
    /// The keyring's backend answers fewer calls than it is asked. Try again later, after
    /// [`retry_after`](Self::retry_after).
    #[error("keyring is throttled{}", crate::keyring::Wait(*retry_after))]
    #[non_exhaustive]
    Throttled {
        /// For how long the backend asks not to be called, where it says so.
        retry_after: Option<Duration>,
        /// What the backend said.
        source: Arc<dyn core::error::Error + Send + Sync>,
    },
    /// The keyring's backend answers that this caller may not use the key.
    #[error("keyring denies the use of its key")]
    #[non_exhaustive]
    Denied {
        /// What the backend said.
        source: Arc<dyn core::error::Error + Send + Sync>,
    },
    /// The keyring has no primary version to wrap with.
    #[error("keyring has no primary key version")]
    NoPrimary,
    /// The primary version has wrapped as many data keys as is safe, or as many as this process
    /// may wrap where they are not counted for all: rotate.
    #[error("key {key} version {version} may wrap no more than {limit} data keys: rotate")]
    WrapLimit {
        /// The key name.
        key: String,
        /// The version.
        version: KeyVersion,
        /// How many it may wrap.
        limit: u64,
    },
    /// The random generator failed.
    #[error(transparent)]
    Randomness(RandomnessUnavailable),
    /// A keyring offered a slot that cannot stand in a header.
    #[error("keyring offered a slot that cannot be used: {0}")]
    Slot(SlotFault),
    /// The slots do not fit in the header's room. Nothing was changed; a rewrap to a new header,
    /// or more reserved room, holds them.
    #[error("header needs {needed} bytes, {available} are there")]
    HeaderRoom {
        /// Length of the header that would hold the slots.
        needed: usize,
        /// Length there is.
        available: usize,
    },
    /// A buffer of the caller has the wrong length. Nothing was written.
    #[error("buffer has {len} bytes, {needed} needed")]
    BufferLength {
        /// The length of the buffer.
        len: usize,
        /// The length needed.
        needed: usize,
    },
    /// The plaintext is longer than 4 PiB - 1 byte, or than this machine can address.
    #[error("message is too long")]
    MessageTooLong,
    /// A key has another length than the suite's.
    #[error("key has {len} bytes, {needed} needed")]
    KeyLength {
        /// The length of the key.
        len: usize,
        /// The suite's.
        needed: usize,
    },
    /// A chunk was addressed that the format does not have, or has another length than 16 KiB
    /// where it is not the last.
    #[error("chunk {index} of {len} bytes is not a chunk of a message")]
    Chunk {
        /// The index.
        index: u64,
        /// The length in bytes.
        len: usize,
    },
    /// An encryption that another process began was continued in a child of its `fork`. Parent and
    /// child would encrypt different bytes under one nonce. Begin a new message.
    #[error("encryption was begun by another process: a forked child cannot continue it")]
    Forked,
    /// A stream was fed after it had been ended.
    #[error("stream was ended already")]
    Ended,
    /// A reader or writer failed that a stream reads from or writes to.
    #[cfg(feature = "std")]
    #[error(transparent)]
    Io {
        /// What it said.
        source: Arc<std::io::Error>,
    },
    /// A rewrap was asked to make sure that an old version no longer opens the header, and it
    /// still does.
    #[error("key {key} version {version} still opens the header")]
    OldVersionStillOpens {
        /// The key name.
        key: String,
        /// The version.
        version: KeyVersion,
    },
    /// A key name has a form that names may not have.
    #[error(transparent)]
    KeyName(InvalidKeyName),
    /// Key material was refused: all zero, or there already under another version.
    #[error("key material is all zero or there already")]
    KeyMaterial,
    /// Key material from elsewhere was offered to a keyring that takes none.
    #[error("key material cannot be imported: this keyring makes its own")]
    ImportRefused,
    /// The changes are made and on record, and the key material of a version that is destroyed on
    /// record, by these or by earlier ones, is still on its token. The next change tries again,
    /// one of nothing too.
    #[error("changes are made, but key material of a destroyed version is still on its token")]
    NotDestroyed {
        /// The changes: they are not to be made again.
        changed: Box<ChangeOutcome>,
        /// Why it could not be destroyed.
        source: Box<Error>,
    },
    /// A keyset has no such version.
    #[error("key {key} has no version {version}")]
    UnknownVersion {
        /// The key name.
        key: String,
        /// The version.
        version: KeyVersion,
    },
    /// A version of a keyset is in a state that does not allow the operation.
    #[error("key {key} version {version} is {state}: cannot {operation}")]
    VersionState {
        /// The key name.
        key: String,
        /// The version.
        version: KeyVersion,
        /// The state it is in, `primary` included.
        state: VersionState,
        /// The operation asked for.
        operation: Operation,
    },
    /// A combined keyring has as many members as it can take: 16, as a header has slots.
    #[error("keyring has {most} members already")]
    TooManyMembers {
        /// The most members there can be.
        most: usize,
    },
    /// A version number was used before, or all 2^32 - 1 were: numbers grow and are never reused.
    #[error("key {key} cannot take another version after {last}")]
    VersionNumber {
        /// The key name.
        key: String,
        /// The highest version there is.
        last: KeyVersion,
    },
    /// A key file could not be read or written.
    #[cfg(all(feature = "file", unix))]
    #[error(transparent)]
    KeyFile(crate::file::KeyFileError),
    /// A PKCS#11 token did not do what was asked.
    #[cfg(all(feature = "pkcs11", unix))]
    #[error(transparent)]
    Token(crate::pkcs11::Error),
    /// A message in a file could not be read, written or rewrapped.
    #[cfg(all(feature = "file", unix))]
    #[error(transparent)]
    MessageFile(crate::message_file::MessageFileError),
    /// A keyring has no master key and no alias of a name.
    #[error("there is no key {key}")]
    UnknownKey {
        /// The name.
        key: String,
    },
    /// A keyring has several master keys, and which one is meant was not said: `with_key` does.
    #[error("no key is selected of {}", keys.join(", "))]
    NoKeySelected {
        /// The names of some of them.
        keys: Vec<String>,
    },
    /// A name is a master key's or an alias already.
    #[error("the name {name} is taken")]
    NameTaken {
        /// The name.
        name: String,
    },

    /// The time between scheduling a destruction and the destruction is not 7 to 30 days.
    #[error("destruction in {} seconds is not within 7 to 30 days", delay.as_secs())]
    DestructionDelay {
        /// The time asked for.
        delay: Duration,
    },

    /// The destruction of a version is not due yet; it can still be cancelled.
    #[error("destruction of key {key} version {version} is not due before {due}")]
    DestructionNotDue {
        /// The key name.
        key: String,
        /// The version.
        version: KeyVersion,
        /// When it is due.
        due: Timestamp,
    },

    /// A version is kept from an operation that its state allows.
    #[error("key {key} version {version}: cannot {operation}: {guard}")]
    Guarded {
        /// The key name.
        key: String,
        /// The version.
        version: KeyVersion,
        /// The operation asked for.
        operation: Operation,
        /// What keeps it.
        guard: Guard,
    },

    /// Somebody else changed the keyring since the caller looked: look again.
    #[error("keyring is at change {found}, the caller knows change {expected}")]
    Conflict {
        /// The change number that the caller knows.
        expected: u64,
        /// The number of the last change.
        found: u64,
    },

    /// A change to a master key as a whole, or to an alias, is refused.
    #[error("key {key} {fault}")]
    Key {
        /// The name of the key or the alias.
        key: String,
        /// Why.
        fault: KeyFault,
    },

    /// The keyring was changed 2^64 - 1 times, and takes no other change.
    #[error("keyring has no change number left")]
    ChangeNumber,

    /// A label cannot be set.
    #[error("label {name:?} cannot be set: {fault}")]
    Label {
        /// The name of the label.
        name: String,
        /// What is wrong.
        fault: LabelFault,
    },

    /// A name-value pair of associated data repeats a name, or has an empty or too long one.
    #[error("associated data pair {name:?} cannot be added: {fault}")]
    AadPair {
        /// The name.
        name: String,
        /// What is wrong.
        fault: AadFault,
    },

    /// Bytes are not the canonical form of named associated data.
    #[error("not canonical associated data at byte {offset}")]
    AadEncoding {
        /// Offset of the first byte that is wrong.
        offset: usize,
    },
}
