//! What is told of the protections of a key file, and of the outer keys that they need.

use super::format::{KeyFileFault, ProtectionId, protections};
use super::protection::ProtectionKind;
use crate::format::{KeyName, KeyVersion, MasterKeyId, SlotLabel, WrapAlgorithm};
use crate::keyring::Freshness;
use alloc::string::String;
use alloc::vec::Vec;

/// One protection of a key file. Nothing here is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProtectionRecord {
    /// Names it for as long as it is there.
    pub id: ProtectionId,
    /// Its name for people, if it has one.
    pub name: Option<String>,
    /// Its kind; `None` for one that this version of the library does not know.
    pub kind: Option<ProtectionKind>,
    /// The outer keys that it is under, if it is a [`Keyring`](ProtectionKind::Keyring): any one of
    /// them opens it.
    pub outer: Vec<OuterKey>,
}

impl ProtectionRecord {
    /// The protections that the bytes of a key file say it has, read without any secret.
    /// **Unverified**: whoever can write the file can change it.
    ///
    /// # Errors
    ///
    /// [`KeyFileFault`] if the first line is damaged.
    pub fn read(key_file: &[u8]) -> Result<Vec<Self>, KeyFileFault> {
        protections(key_file)
    }
}

/// A protection that was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AddedProtection {
    /// Its id.
    pub id: ProtectionId,
    /// The number of the change.
    pub change: u64,
}

/// How an outer key stands that keeps the file key of a key file, going by what its keyring knows
/// without asking any service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OuterFreshness {
    /// The protection that needs it.
    pub id: ProtectionId,
    /// The name of that protection, if it has one.
    pub name: Option<String>,
    /// The outer key.
    pub key: OuterKey,
    /// What its keyring says: [`Primary`](Freshness::Primary) is in order,
    /// [`Stale`](Freshness::Stale) asks for
    /// [`rewrap_protection`](crate::FileKeyring::rewrap_protection), and under a version that is
    /// [`Refused`](Freshness::Refused) this slot does not open the file any more. `None` if no
    /// keyring that was offered knows the key, or it cannot tell now.
    pub freshness: Option<Freshness>,
}

/// A version of a master key of another keyring that a key file is under: as long as no other
/// protection opens the file, whoever destroys it destroys every master key in the file.
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

    /// Name, version and id of the key, and how it wraps: to look for it, or to ask its keyring for
    /// the [`freshness`](crate::Keyring::freshness).
    pub fn label(&self) -> SlotLabel<'_> {
        SlotLabel {
            name: KeyName::checked(&self.name),
            version: self.version,
            master_key_id: self.master_key_id,
            algorithm: self.algorithm,
        }
    }
}
