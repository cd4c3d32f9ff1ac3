//! The versions of one master key: a pure state machine, without key material, clock or I/O.

mod state;

pub use state::{Operation, VersionState};

use crate::error::Error;
use crate::format::{InvalidKeyName, KeyName, KeyVersion, MasterKeyId, WrapAlgorithm};
use alloc::string::String;
use alloc::vec::Vec;

/// Longest name that a keyset of this crate takes, in bytes. Headers take 255, for the names of
/// cloud keys.
pub const MAX_KEYSET_NAME_LEN: usize = 64;

/// What is known of one version of a master key. Nothing here is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VersionRecord {
    /// The version.
    pub version: KeyVersion,
    /// Its state. The primary is [`VersionState::Primary`].
    pub state: VersionState,
    /// Names its key material.
    pub master_key_id: MasterKeyId,
    /// How it wraps, for life.
    pub algorithm: WrapAlgorithm,
}

/// The versions of one master key, their states, and which one is the primary.
///
/// Every keyring with a lifecycle keeps one; it decides what a version may do, and the keyring
/// does it.
#[derive(Clone, Debug)]
pub struct Keyset {
    name: String,
    /// Sorted by version: numbers only grow.
    versions: Vec<VersionRecord>,
}

impl Keyset {
    /// A keyset without versions.
    ///
    /// # Errors
    ///
    /// [`Error::KeyName`] if the name is invalid or longer than 64 bytes.
    pub fn new(name: &str) -> Result<Self, Error> {
        KeyName::new(name)?;
        if name.len() > MAX_KEYSET_NAME_LEN {
            return Err(InvalidKeyName { offset: MAX_KEYSET_NAME_LEN }.into());
        }
        Ok(Keyset { name: name.into(), versions: Vec::new() })
    }

    /// The name of the master key.
    pub fn name(&self) -> KeyName<'_> {
        KeyName::checked(&self.name)
    }

    /// The version that wraps, if one was promoted.
    pub fn primary(&self) -> Option<KeyVersion> {
        let primary = self.versions.iter().find(|record| record.state == VersionState::Primary);
        primary.map(|record| record.version)
    }

    /// Every version's record, lowest first.
    pub fn versions(&self) -> &[VersionRecord] {
        &self.versions
    }

    /// The record of one version.
    pub fn version(&self, version: KeyVersion) -> Option<&VersionRecord> {
        let found = self.versions.binary_search_by_key(&version, |record| record.version);
        self.versions.get(found.ok()?)
    }

    /// The number that the next version takes: above every one there was.
    ///
    /// # Errors
    ///
    /// [`Error::VersionNumber`] if 2^32 - 1 is taken.
    pub fn next_version(&self) -> Result<KeyVersion, Error> {
        match self.versions.last() {
            None => Ok(KeyVersion::FIRST),
            Some(last) => last.version.next().ok_or_else(|| self.spent(last.version)),
        }
    }

    /// Adds a version, pending.
    ///
    /// # Errors
    ///
    /// [`Error::VersionNumber`] if it is not above every version there is.
    pub fn add(
        &mut self,
        version: KeyVersion,
        master_key_id: MasterKeyId,
        algorithm: WrapAlgorithm,
    ) -> Result<(), Error> {
        if let Some(last) = self.versions.last().filter(|last| last.version >= version) {
            return Err(self.spent(last.version));
        }
        let state = VersionState::Pending;
        self.versions.push(VersionRecord { version, state, master_key_id, algorithm });
        Ok(())
    }

    /// Makes `version` the primary; the former primary stays enabled.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownVersion`]; [`Error::VersionState`] by [`VersionState::after`].
    pub fn promote(&mut self, version: KeyVersion) -> Result<(), Error> {
        self.check(version, Operation::Promote)?;
        for record in &mut self.versions {
            if record.version == version {
                record.state = VersionState::Primary;
            } else if record.state == VersionState::Primary {
                record.state = VersionState::Enabled;
            }
        }
        Ok(())
    }

    /// Lets a disabled version unwrap again.
    ///
    /// # Errors
    ///
    /// As [`promote`](Self::promote).
    pub fn enable(&mut self, version: KeyVersion) -> Result<(), Error> {
        self.apply(version, Operation::Enable)
    }

    /// Stops a version from unwrapping.
    ///
    /// # Errors
    ///
    /// As [`promote`](Self::promote).
    pub fn disable(&mut self, version: KeyVersion) -> Result<(), Error> {
        self.apply(version, Operation::Disable)
    }

    fn apply(&mut self, version: KeyVersion, operation: Operation) -> Result<(), Error> {
        let state = self.check(version, operation)?;
        if let Some(record) = self.versions.iter_mut().find(|record| record.version == version) {
            record.state = state;
        }
        Ok(())
    }

    /// The state that `operation` takes `version` to.
    fn check(&self, version: KeyVersion, operation: Operation) -> Result<VersionState, Error> {
        let key = || self.name.clone();
        let record = self.version(version);
        let record = record.ok_or_else(|| Error::UnknownVersion { key: key(), version })?;
        let state = record.state;
        let refused = || Error::VersionState { key: key(), version, state, operation };
        state.after(operation).ok_or_else(refused)
    }

    fn spent(&self, last: KeyVersion) -> Error {
        Error::VersionNumber { key: self.name.clone(), last }
    }
}
