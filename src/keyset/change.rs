//! Changes as data: what a keyring with a lifecycle is asked to do, and what came of it.

use super::{Operation, VersionState};
use crate::crypto::secret::MasterKey;
use crate::format::KeyVersion;
use crate::time::Timestamp;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// One change to the master keys of a keyring.
///
/// Wherever a key is named its alias does as well.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Change<'a> {
    /// Makes a new master key, whose first version is its primary at once.
    CreateKey {
        /// The name: not yet a key's or an alias.
        key: &'a str,
        /// The number of its first version; [`KeyVersion::FIRST`] unless it comes from elsewhere.
        version: KeyVersion,
        /// Its key material.
        material: Material<'a>,
    },
    /// Adds a version, pending: it unwraps and does not wrap, so that it can be handed to every
    /// process before the first message needs it.
    AddVersion {
        /// The master key.
        key: &'a str,
        /// Its number, above every one there was; `None` for the next.
        version: Option<KeyVersion>,
        /// Its key material.
        material: Material<'a>,
    },
    /// Adds a fresh version and promotes it.
    Rotate {
        /// The master key.
        key: &'a str,
    },
    /// Takes a version to another state.
    Version {
        /// The master key.
        key: &'a str,
        /// The version.
        version: KeyVersion,
        /// The operation.
        operation: Operation,
    },
    /// Has `alias` stand for `key` from now on, whatever it stood for before.
    SetAlias {
        /// The alias: not a key's name.
        alias: &'a str,
        /// The master key.
        key: &'a str,
    },
    /// Removes an alias.
    RemoveAlias {
        /// The alias.
        alias: &'a str,
    },
    /// Sets a label of a version, or removes it.
    SetLabel {
        /// The master key.
        key: &'a str,
        /// The version.
        version: KeyVersion,
        /// The name of the label.
        name: &'a str,
        /// The value, or `None` to remove it.
        value: Option<&'a str>,
    },
}

/// Where the key material of a new version comes from.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Material<'a> {
    /// The keyring makes it.
    Fresh,
    /// It is handed in; all-zero material, and such as is there already, is refused.
    Imported(&'a MasterKey),
}

impl fmt::Debug for Material<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Material::Fresh => "Fresh",
            Material::Imported(_) => "Imported",
        })
    }
}

/// Under which terms changes are made.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    now: Timestamp,
    unchanged_since: Option<u64>,
}

impl Terms {
    /// Changes made at `now`.
    pub const fn at(now: Timestamp) -> Self {
        Terms { now, unchanged_since: None }
    }

    /// Makes the changes only if nobody else has made one since that of the number `change`
    /// ([`Keysets::change`](crate::Keysets::change)): compare-and-swap.
    #[must_use]
    pub const fn if_unchanged_since(mut self, change: u64) -> Self {
        self.unchanged_since = Some(change);
        self
    }

    /// The time of the changes.
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The number of the change since which there must have been none.
    pub const fn unchanged_since(&self) -> Option<u64> {
        self.unchanged_since
    }
}

/// What became of changes that were made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changed {
    /// The number of this change.
    pub change: u64,
    /// What they came to, in order.
    pub transitions: Vec<Transition>,
}

impl Changed {
    /// Changes that came to `transitions`.
    pub const fn new(change: u64, transitions: Vec<Transition>) -> Self {
        Changed { change, transitions }
    }

    /// The first version that was added, if one was.
    pub fn added(&self) -> Option<KeyVersion> {
        self.transitions.iter().find_map(|transition| match transition {
            Transition::Added { version, .. } => Some(*version),
            _ => None,
        })
    }
}

/// One thing that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transition {
    /// A version was added, pending.
    Added {
        /// The master key.
        key: String,
        /// The version.
        version: KeyVersion,
    },
    /// A version changed its state.
    State {
        /// The master key.
        key: String,
        /// The version.
        version: KeyVersion,
        /// The state before.
        from: VersionState,
        /// The state now.
        to: VersionState,
    },
    /// An alias stands for another key, or for none.
    Alias {
        /// The alias.
        alias: String,
        /// The key before.
        from: Option<String>,
        /// The key now.
        to: Option<String>,
    },
    /// A label was set or removed.
    Label {
        /// The master key.
        key: String,
        /// The version.
        version: KeyVersion,
    },
}
