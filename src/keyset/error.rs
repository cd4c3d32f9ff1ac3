//! Why master keys were not changed.

use super::{ChangeOutcome, Guard, LabelFault, Operation, VersionState};
use crate::error::BackendError;
use crate::format::{InvalidKeyName, KeyVersion};
use crate::time::Timestamp;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

/// Why a master key was not found or not changed.
///
/// [`Error::Lifecycle`](crate::Error::Lifecycle) holds one. None is retryable.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LifecycleError {
    /// A keyring has no master key and no alias of the name.
    #[error("there is no key {key}")]
    UnknownKey {
        /// The name.
        key: String,
    },

    /// A keyring has several master keys, and none was selected: `with_key` selects one.
    #[error("no key is selected of {}", keys.join(", "))]
    NoKeySelected {
        /// The names of some of them.
        keys: Vec<String>,
    },

    /// A name is not a key name, or has more than 64 bytes.
    #[error(transparent)]
    KeyName(InvalidKeyName),

    /// The name belongs to a master key or an alias already.
    #[error("the name {name} is taken")]
    NameTaken {
        /// The name.
        name: String,
    },

    /// A master key has no such version.
    #[error("key {key} has no version {version}")]
    UnknownVersion {
        /// The key name.
        key: String,
        /// The version.
        version: KeyVersion,
    },

    /// The version was destroyed, and its record removed.
    #[error("key {key} version {version} is destroyed and its record is removed")]
    RecordRemoved {
        /// The key name.
        key: String,
        /// The version.
        version: KeyVersion,
    },

    /// The state of a version does not allow the operation.
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

    /// The state of a version allows the operation, and a guard does not.
    #[error("key {key} version {version}: cannot {operation}: {guard}")]
    Guarded {
        /// The key name.
        key: String,
        /// The version.
        version: KeyVersion,
        /// The operation asked for.
        operation: Operation,
        /// The guard.
        guard: Guard,
    },

    /// A version number was used before, or all 2^32 - 1 were: numbers grow and are never reused.
    #[error("key {key} cannot take another version after {last}")]
    VersionNumber {
        /// The key name.
        key: String,
        /// The highest version there is.
        last: KeyVersion,
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

    /// The changes are made and on record, but the key material of a version that is destroyed on
    /// record is still on its token. The next change tries again, even one without changes.
    #[error("changes are made, but key material of a destroyed version is still on its token")]
    NotDestroyed {
        /// The changes that were made. They must not be made again.
        changed: Box<ChangeOutcome>,
        /// Why the material was not destroyed.
        source: BackendError,
    },

    /// Key material was refused: it is all zero, or belongs to another version already.
    #[error("key material is all zero or there already")]
    KeyMaterial,

    /// Key material was offered to a keyring that generates its own.
    #[error("key material cannot be imported: this keyring makes its own")]
    ImportRefused,

    /// The keyring was changed since the caller read it: read it again.
    #[error("keyring is at change {found}, the caller knows change {expected}")]
    Conflict {
        /// The change number that the caller knows.
        expected: u64,
        /// The number of the last change.
        found: u64,
    },

    /// The keyring was changed 2^64 - 1 times, and takes no other change.
    #[error("keyring has no change number left")]
    ChangeNumber,

    /// A change to a master key as a whole, or to an alias, is refused.
    #[error("key {key} {fault}")]
    Key {
        /// The name of the key or the alias.
        key: String,
        /// Why.
        fault: KeyFault,
    },

    /// The key service of the keyring does not offer the change, or not in the state of the key.
    #[error("key {key}: {why}; {instead}")]
    NotOffered {
        /// The key name.
        key: String,
        /// What the service lacks.
        why: String,
        /// What to do instead.
        instead: String,
    },

    /// A label cannot be set.
    #[error("label {name:?} cannot be set: {fault}")]
    Label {
        /// The name of the label.
        name: String,
        /// What is wrong.
        fault: LabelFault,
    },
}

impl From<InvalidKeyName> for LifecycleError {
    fn from(error: InvalidKeyName) -> Self {
        LifecycleError::KeyName(error)
    }
}

/// Why a change to a master key as a whole, or to an alias, is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFault {
    /// The key was erased: its versions are destroyed, it takes no other, and its name stays taken.
    #[error("was erased")]
    Erased,
    /// A record was to be removed of a version that is not destroyed.
    #[error("version {version} is {state}: its record cannot be removed")]
    RecordNeeded {
        /// The lowest such version.
        version: KeyVersion,
        /// Its state.
        state: VersionState,
    },
    /// The alias has stood for 256 other keys, whose messages it still opens. Removing the alias
    /// forgets them.
    #[error("has stood for as many keys as an alias can")]
    FormerKeys,
}
