//! Records of the protections of a key file, and of their outer keys.

use super::format::{KeyFileFault, ProtectionId, protections};
use super::protection::ProtectionKind;
use crate::format::{KeyName, KeyVersion, MasterKeyId, SlotLabel, WrapAlgorithm};
use crate::keyring::Freshness;
use alloc::string::String;
use alloc::vec::Vec;

/// One protection of a key file, without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProtectionRecord {
    /// Its id, which never changes.
    pub id: ProtectionId,
    /// Its name for people, if it has one.
    pub name: Option<String>,
    /// Its kind; `None` if this version of the library does not know the kind.
    pub kind: Option<ProtectionKind>,
    /// The outer keys of a [`Keyring`](ProtectionKind::Keyring) protection, each of which opens it.
    pub outer: Vec<OuterKey>,
}

impl ProtectionRecord {
    /// Returns the protections in the bytes of a key file, read without a secret. **Unverified**: anyone who
    /// can write the file can change them.
    ///
    /// # Errors
    ///
    /// The [`KeyFileFault`] of a damaged first line.
    pub fn read(key_file: &[u8]) -> Result<Vec<Self>, KeyFileFault> {
        protections(key_file)
    }
}

/// An added protection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AddedProtection {
    /// Its id.
    pub id: ProtectionId,
    /// The change number of the file after the addition.
    pub change: u64,
}

/// The freshness of an outer key of a key file, as its keyring reports it without asking a service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OuterFreshness {
    /// The protection that needs it.
    pub id: ProtectionId,
    /// The name of that protection, if it has one.
    pub name: Option<String>,
    /// The outer key.
    pub key: OuterKey,
    /// [`Primary`](Freshness::Primary) is in order, [`Stale`](Freshness::Stale) requires
    /// [`rewrap_protection`](crate::FileKeyring::rewrap_protection), and under a
    /// [`Refused`](Freshness::Refused) version this slot no longer opens the file. `None` if no
    /// keyring that opened or protected the file knows the key, or its back end does not respond.
    pub freshness: Option<Freshness>,
}

/// The version of another keyring's master key that wraps the file key of a key file. If no other
/// protection opens the file, its destruction destroys every master key in the file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OuterKey {
    name: String,
    version: KeyVersion,
    master_key_id: MasterKeyId,
    algorithm: WrapAlgorithm,
}

impl OuterKey {
    pub(super) fn of(label: &SlotLabel<'_>) -> Self {
        OuterKey {
            name: label.name.as_str().into(),
            version: label.version,
            master_key_id: label.master_key_id,
            algorithm: label.algorithm,
        }
    }

    /// Name, version, id and algorithm of the key: to search for it, or to ask its keyring for the
    /// [`freshness`](crate::Keyring::freshness).
    pub fn label(&self) -> SlotLabel<'_> {
        SlotLabel {
            name: KeyName::checked(&self.name),
            version: self.version,
            master_key_id: self.master_key_id,
            algorithm: self.algorithm,
        }
    }
}
