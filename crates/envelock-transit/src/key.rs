//! What Transit knows of a key.

use crate::UnsuitableKey;
use envelock::keyset::VersionState;
use envelock::{KeyVersion, MasterKeyId};
use envelock_remote::Description;
use std::collections::BTreeMap;

/// A key of Transit, as `GET keys/NAME` describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyDescription {
    /// The name.
    pub name: String,
    /// The type, such as `aes256-gcm96`.
    pub kind: String,
    /// Whether each context has a key of its own.
    pub derived: bool,
    /// Whether equal plaintexts have equal ciphertexts.
    pub convergent: bool,
    /// Whether the key can leave the service: exported, or in a backup in the clear.
    pub exportable: bool,
    /// Whether the key material came from outside.
    pub imported: bool,
    /// Whether the key was soft-deleted. It encrypts and decrypts nothing until it is restored.
    pub soft_deleted: bool,
    /// Whether the key may be deleted for good.
    pub deletion_allowed: bool,
    /// The newest version, which encrypts.
    pub latest: KeyVersion,
    /// The oldest version that decrypts.
    pub min_decryption: KeyVersion,
    /// The oldest version that encrypts on request, if it was set.
    pub min_encryption: Option<KeyVersion>,
    /// The oldest version that was not trimmed.
    pub min_available: KeyVersion,
    /// When each version that decrypts was created, in seconds of the Unix epoch.
    pub created: BTreeMap<KeyVersion, u64>,
}

impl KeyDescription {
    /// Returns the state of each version, oldest first.
    ///
    /// A trimmed version is destroyed, one below `min_decryption_version` is disabled, and so is every version of a
    /// soft-deleted key.
    pub fn states(&self) -> impl Iterator<Item = (KeyVersion, VersionState)> + '_ {
        (1..=self.latest.number()).filter_map(KeyVersion::new).map(|version| {
            let state = if version < self.min_available {
                VersionState::Destroyed
            } else if version < self.min_decryption || self.soft_deleted {
                VersionState::Disabled
            } else if version == self.latest {
                VersionState::Primary
            } else {
                VersionState::Enabled
            };
            (version, state)
        })
    }

    /// Returns the version that encrypts, unless the key is soft-deleted.
    pub fn primary(&self) -> Option<KeyVersion> {
        (!self.soft_deleted).then_some(self.latest)
    }

    /// Checks that wraps under the key are bound to their context and can be opened.
    ///
    /// # Errors
    ///
    /// [`UnsuitableKey`], with the command that makes a suitable one.
    pub(crate) fn check(&self, mount: &str) -> Result<(), UnsuitableKey> {
        let what = if self.kind != "aes256-gcm96" {
            "is not of type aes256-gcm96"
        } else if !self.derived {
            "is not derived, so that it would not bind a wrapped key to its message"
        } else if self.convergent {
            "is convergent, so that equal data keys would show"
        } else {
            return Ok(());
        };
        Err(UnsuitableKey { name: self.name.clone(), mount: mount.to_owned(), what })
    }

    pub(crate) fn with_id(&self, id: MasterKeyId) -> Description {
        Description::new(id, self.primary(), self.states())
    }
}
