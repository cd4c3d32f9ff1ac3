//! The one error of every operation.
//!
//! Errors are exact about what an attacker can read in the bytes. About what needs a key they name
//! the public part that did not verify. No variant holds a secret, so every error can be logged.

mod backend;
mod conversions;
mod queries;
mod unverified;

#[allow(unused_imports, reason = "back ends of this crate are features")]
pub(crate) use backend::backend_error;
pub use backend::{BackendError, BackendFailure};
pub use unverified::Unverified;

use crate::aad::AadFault;
use crate::format::{DataKeyId, HeaderFault, KeyVersion, LooksLike, MessagePart, SlotFault};
use crate::keyset::{LifecycleError, Refusal};
use crate::random::RandomnessUnavailable;
use alloc::string::String;
#[cfg(feature = "std")]
use alloc::sync::Arc;

/// Why an operation failed.
///
/// `Display` names key, version or byte offset where they are known, and never a secret.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input does not start with envelock's magic.
    #[error("not an envelock message: {looks_like}")]
    #[non_exhaustive]
    NotEnvelock {
        /// The format that it resembles.
        looks_like: LooksLike,
    },
    /// The input ends early. A caller that reads a header first can fetch `needed` bytes and try
    /// again.
    #[error("{part} is truncated: it has {len} bytes, at least {needed} are needed")]
    #[non_exhaustive]
    Truncated {
        /// Which part of the message ends early.
        part: MessagePart,
        /// The length of that part of the input.
        len: u64,
        /// The least number of bytes that the part needs, by its contents so far.
        needed: u64,
    },
    /// The header breaks a rule of the format.
    #[error("header is malformed at byte {offset}: {fault}")]
    #[non_exhaustive]
    Header {
        /// Offset of the first field, or byte of a name or of padding, that is wrong.
        offset: usize,
        /// The rule.
        fault: HeaderFault,
    },
    /// A detached header has bytes behind it, or the length of another header.
    #[error("detached header declares {declared} bytes and has {len}")]
    #[non_exhaustive]
    DetachedHeaderLength {
        /// The length that the header declares.
        declared: usize,
        /// The length of the input.
        len: usize,
    },
    /// The header has no slot of a name that the caller gave.
    #[error("header has no slot of key {key:?}")]
    #[non_exhaustive]
    MissingSlot {
        /// The key name.
        key: String,
    },
    /// An [`OpenedKey`](crate::OpenedKey), or a new header, belongs to another message.
    #[error("opened key or header has data key id {opened}, the message {found}, or another suite")]
    #[non_exhaustive]
    OtherMessage {
        /// The data key id that the opened key belongs to.
        opened: DataKeyId,
        /// The data key id in the header; the same if only the suite differs.
        found: DataKeyId,
    },
    /// The slots of a name were not removed: no slot of another name opens with this keyring.
    /// [`Envelope::examine`](crate::Envelope::examine) reports why for each slot.
    #[error("no slot that opens would remain without those of key {key:?}")]
    #[non_exhaustive]
    LastSlot {
        /// The key name.
        key: String,
    },
    /// No slot of the message is under a master key of this keyring.
    #[error(
        "no key for this message: the first of {slots} slots is of key {key} version {version}"
    )]
    #[non_exhaustive]
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
    #[non_exhaustive]
    Refused {
        /// The key name.
        key: String,
        /// The key version.
        version: KeyVersion,
        /// Why.
        refusal: Refusal,
    },
    /// A stream cannot be ended: a version that its data key is wrapped under was disabled,
    /// compromised or destroyed since the stream began, or its key was removed from the keyring. The
    /// message stays unfinished, and no rewrap repairs it: encrypt it again under the new primary.
    #[error("key {key} version {version} is refused since the stream began: {refusal}")]
    #[non_exhaustive]
    StreamRefused {
        /// The key name.
        key: String,
        /// The key version.
        version: KeyVersion,
        /// Why.
        refusal: Refusal,
    },
    /// Authentication failed: wrong key, wrong associated data, or changed bytes. The output holds
    /// nothing that did not verify.
    #[error("authentication failed: {part}")]
    #[non_exhaustive]
    Authentication {
        /// The public part that did not verify.
        part: Unverified,
    },
    /// The back end of the keyring, or the file of a message, failed, accepts fewer calls than it
    /// gets, or denied the call. [`backend`](Self::backend) returns the error of the back end itself.
    #[error(transparent)]
    Backend(BackendError),
    /// The keyring has no primary version to wrap with.
    #[error("keyring has no primary key version")]
    NoPrimary,
    /// The primary version has wrapped as many data keys as is safe, or as many as one process may
    /// wrap where wraps of all processes are not counted together: rotate.
    #[error("key {key} version {version} may wrap no more than {limit} data keys: rotate")]
    #[non_exhaustive]
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
    /// A keyring offered a slot that a header cannot have.
    #[error("keyring offered a slot that cannot be used: {0}")]
    Slot(SlotFault),
    /// The slots do not fit in the header. Nothing was changed; a rewrap to a new header has room
    /// for them, as a header with more reserved room has.
    #[error("header needs {needed} bytes, it has {available}")]
    #[non_exhaustive]
    HeaderRoom {
        /// Length of the header that would hold the slots.
        needed: usize,
        /// The length available.
        available: usize,
    },
    /// A buffer of the caller has the wrong length. Nothing was written.
    #[error("buffer has {len} bytes, {needed} needed")]
    #[non_exhaustive]
    BufferLength {
        /// The length of the buffer.
        len: usize,
        /// The length needed.
        needed: usize,
    },
    /// The plaintext is longer than 4 PiB - 1 byte, or than this machine can address.
    #[error("message is too long")]
    MessageTooLong,
    /// The length of a key is not that of the suite.
    #[error("key has {len} bytes, {needed} needed")]
    #[non_exhaustive]
    KeyLength {
        /// The length of the key.
        len: usize,
        /// The suite's.
        needed: usize,
    },
    /// A chunk has an index that the format does not have, or a length other than 16 KiB without
    /// being the last.
    #[error("chunk {index} of {len} bytes is not a chunk of a message")]
    #[non_exhaustive]
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
    /// A stream was written to after its end.
    #[error("stream was ended already")]
    Ended,
    /// The reader or writer under a stream failed.
    #[cfg(feature = "std")]
    #[error(transparent)]
    #[non_exhaustive]
    Io {
        /// Its error.
        source: Arc<std::io::Error>,
    },
    /// A rewrap was to verify that an old version no longer opens the header, and it still does.
    #[error("key {key} version {version} still opens the header")]
    #[non_exhaustive]
    OldVersionStillOpens {
        /// The key name.
        key: String,
        /// The version.
        version: KeyVersion,
    },
    /// A master key was not found or not changed.
    #[error(transparent)]
    Lifecycle(LifecycleError),
    /// A combined keyring has 16 members already, as many as a header has slots.
    #[error("keyring has {most} members already")]
    #[non_exhaustive]
    TooManyMembers {
        /// The most members there can be.
        most: usize,
    },
    /// A name-value pair of associated data repeats a name, or its name is empty or too long.
    #[error("associated data pair {name:?} cannot be added: {fault}")]
    #[non_exhaustive]
    AadPair {
        /// The name.
        name: String,
        /// What is wrong.
        fault: AadFault,
    },
    /// Bytes are not the canonical form of named associated data.
    #[error("not canonical associated data at byte {offset}")]
    #[non_exhaustive]
    AadEncoding {
        /// Offset of the first byte that is wrong.
        offset: usize,
    },
}
