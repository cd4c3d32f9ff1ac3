//! What a keyring with records needs of the key material: to wrap and unwrap with it wherever it
//! is held, in this process or in a token.

use super::counter::Counts;
use super::{KeyringError, SlotWriter, WrapContext};
use crate::crypto::secret::{DataKey, MasterKey};
use crate::error::BackendError;
use crate::error::Error;
use crate::format::{KeyName, KeyVersion, MasterKeyId, Slot, SlotLabel, WrapAlgorithm};
#[cfg(all(feature = "file", unix))]
#[cfg(doc)]
use crate::keyset::LifecycleError;
#[cfg(all(feature = "file", unix))]
use crate::keyset::VersionRecord;
use crate::keyset::{Material, NewMaterial};
use crate::random::KeyringRng;
use alloc::string::String;
use alloc::sync::Arc;

/// A version of a master key that is set up to wrap and unwrap: in this process, or in a token.
///
/// # Contract
///
/// - Called from many threads at once, and while the keyring's records are kept from changing:
///   whoever waits for a token waits for a bounded time.
/// - The records, not the key, say what the version may do: whatever state it is in, it is only
///   asked for what that state allows.
pub(crate) trait WrappingKey: Send + Sync {
    /// Names the key material.
    fn id(&self) -> MasterKeyId;

    /// How it wraps. A record of another algorithm is another key's.
    #[cfg(all(feature = "file", unix))]
    fn algorithm(&self) -> WrapAlgorithm;

    /// How many data keys the version may wrap in its life, in all processes together; `None`
    /// where the algorithm has no practical limit.
    #[cfg(all(feature = "file", unix))]
    fn wrap_limit(&self) -> Option<u64>;

    /// What it was used for.
    fn counts(&self) -> &Counts;

    /// How many wraps the key may be tried out with before its first one.
    fn trials(&self) -> u64 {
        0
    }

    /// Wraps `data_key` under `label`, which is this key's, and pushes the slot. The caller
    /// counts.
    ///
    /// # Errors
    ///
    /// As [`Keyring::wrap`](super::Keyring::wrap).
    fn wrap(
        &self,
        data_key: &DataKey,
        label: &SlotLabel<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError>;

    /// Unwraps `slot`, whose label is this key's, into `data_key`.
    ///
    /// # Errors
    ///
    /// As [`Keyring::unwrap`](super::Keyring::unwrap).
    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError>;
}

impl dyn WrappingKey {
    /// Counts a wrap that is about to be made; one that then fails counts too. `false` if the key
    /// would have wrapped more than `most` data keys then.
    pub(super) fn count(&self, context: &WrapContext<'_>, most: u64) -> bool {
        self.counts().count(context, self.trials(), most)
    }
}

/// Where the key material of versions comes from and goes to.
///
/// A source that gives all material out to be stored needs [`make`](Self::make) alone. One that
/// keeps it elsewhere is told what becomes of it, since no change of records is atomic with a change
/// of a token: material that no record names is rubbish, a record whose material is gone is
/// a loss. So material is made before the record is written, and destroyed after.
pub(crate) trait KeyMaterialStore: Send + Sync {
    /// Makes the material of a new version.
    ///
    /// The change may still fail afterwards; then [`discard`](Self::discard) is called. On an
    /// error it leaves nothing behind.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::KeyMaterial`] for an all-zero key; [`LifecycleError::ImportRefused`] if `source` is a key
    /// from elsewhere and this one takes none; [`Error::Randomness`]; its own.
    fn make(
        &self,
        name: KeyName<'_>,
        version: KeyVersion,
        source: Material<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<Made, Error>;

    /// Whether a version that is not on record here can be of `algorithm`, once it is: then a slot
    /// of a version that is unknown is worth a look at the records, else it is another keyring's.
    fn can_make(&self, algorithm: WrapAlgorithm) -> bool {
        algorithm == WrapAlgorithm::XAES_256_GCM
    }

    /// Sets up the version of a stored record that is not destroyed and whose material is not
    /// stored beside it. `None` if that is not this source's.
    ///
    /// Called when records are loaded, for versions that were not set up before: it looks for
    /// nothing in a token, so that a file opens while the token does not answer.
    #[cfg(all(feature = "file", unix))]
    fn attach(&self, name: KeyName<'_>, record: &VersionRecord) -> Option<Arc<dyn WrappingKey>> {
        let _ = (name, record);
        None
    }

    /// The change for which `made` was made has failed for certain: that material is of no use.
    ///
    /// What cannot be destroyed now stays as rubbish that no record names; it harms nobody.
    fn discard(&self, made: &[MadeVersion]) {
        let _ = made;
    }

    /// Destroys the material of `records`, all of them destroyed on record.
    ///
    /// Called after each change once it is durable and no wrap under them is under way, and
    /// before another process can make one, with the destroyed versions whose material is not
    /// stored: also those of earlier changes, so that what a crash or an error cut off is
    /// finished by the next one. So most of them are gone already, which is no error.
    ///
    /// # Errors
    ///
    /// Its own, once every record has been tried. The caller of the change learns of it by
    /// [`LifecycleError::NotDestroyed`], and that the change is made all the same.
    #[cfg(all(feature = "file", unix))]
    fn destroy<'k>(
        &self,
        records: &mut dyn Iterator<Item = (KeyName<'k>, &'k VersionRecord)>,
    ) -> Result<(), BackendError> {
        let _ = records;
        Ok(())
    }
}

/// How many data keys one process wraps under a version that has a limit, where nobody counts those
/// of other processes (DESIGN 4.3): 16 of them then stay within an AES-GCM key's 2^32.
#[cfg(all(feature = "file", unix))]
pub(crate) const PROCESS_WRAP_LIMIT: u64 = 1 << 28;

/// The material of a new version, made.
pub(crate) struct Made {
    /// Set up.
    pub(crate) key: Arc<dyn WrappingKey>,
    /// What goes on record.
    pub(crate) material: NewMaterial,
    /// What is to be stored beside the record; `None` if the material is held elsewhere.
    pub(crate) stored: Option<MasterKey>,
}

/// A version whose material was made, and what that can be found by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MadeVersion {
    /// The master key.
    pub(crate) name: String,
    /// The version.
    pub(crate) version: KeyVersion,
    /// What is on record of the material.
    pub(crate) material: NewMaterial,
}
