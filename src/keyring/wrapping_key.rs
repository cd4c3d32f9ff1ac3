//! Key material as a keyring with records uses it: keys that wrap and unwrap, in this process or on
//! a token, and the store that makes and destroys them.

use super::counter::Counts;
use super::{KeyringError, SlotWriter, WrapContext};
use crate::crypto::secret::{DataKey, MasterKey};
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

/// A version of a master key that is ready to wrap and unwrap, in this process or on a token.
///
/// # Contract
///
/// - Methods are called from many threads at once, while a lock keeps the keyring's records from
///   changing: a wait for a token is bounded.
/// - The records, not the key, say what the version may do. The caller asks only for what the state
///   of the version allows.
pub(crate) trait WrappingKey: Send + Sync {
    /// The id of the key material.
    fn id(&self) -> MasterKeyId;

    /// The wrap algorithm. A record of another algorithm belongs to another key.
    #[cfg(all(feature = "file", unix))]
    fn algorithm(&self) -> WrapAlgorithm;

    /// How many data keys the version may wrap in its life, in all processes together; `None`
    /// where the algorithm has no practical limit.
    #[cfg(all(feature = "file", unix))]
    fn wrap_limit(&self) -> Option<u64>;

    /// The usage of the key.
    fn counts(&self) -> &Counts;

    /// How many wraps a self-test may make before the first wrap of a message.
    fn trials(&self) -> u64 {
        0
    }

    /// Wraps `data_key` under `label`, which is this key's, and pushes the slot. The caller
    /// counts.
    ///
    /// # Errors
    ///
    /// Those of [`Keyring::wrap`](super::Keyring::wrap).
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
    /// Those of [`Keyring::unwrap`](super::Keyring::unwrap).
    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError>;
}

impl dyn WrappingKey {
    /// Counts a wrap before it is made, so that a failed one counts too. `false` if the key would
    /// then have wrapped more than `most` data keys.
    pub(super) fn count(&self, context: &WrapContext<'_>, most: u64) -> bool {
        self.counts().count(context, self.trials(), most)
    }
}

/// Makes and destroys the key material of versions.
///
/// A store whose material is kept beside the records needs [`make`](Self::make) alone. One that keeps
/// it on a token is called at each step, because a change of records is not atomic with a change of a
/// token: material without a record is harmless, a record without material is a loss. So material
/// is made before the record is written, and destroyed after.
pub(crate) trait KeyMaterialStore: Send + Sync {
    /// Makes the material of a new version.
    ///
    /// The change may still fail afterwards; then [`discard`](Self::discard) is called. On an
    /// error it leaves nothing behind.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::KeyMaterial`] for an all-zero key; [`LifecycleError::ImportRefused`] if `source` is an
    /// imported key and the store imports none; [`Error::Randomness`]; [`Error::Backend`].
    fn make(
        &self,
        name: KeyName<'_>,
        version: KeyVersion,
        source: Material<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<CreatedKey, Error>;

    /// Whether a version without a record can have `algorithm`. If so, a slot of it is refused as
    /// unknown or destroyed, else it belongs to another keyring.
    fn can_make(&self, algorithm: WrapAlgorithm) -> bool {
        algorithm == WrapAlgorithm::XAES_256_GCM
    }

    /// Returns the key of a stored record that is not destroyed and whose material is not stored
    /// beside it. `None` if the material does not belong to this store.
    ///
    /// Called when records are loaded, for versions without a key yet. It makes no call to a token,
    /// so that a file opens while the token is unavailable.
    #[cfg(all(feature = "file", unix))]
    fn attach(&self, name: KeyName<'_>, record: &VersionRecord) -> Option<Arc<dyn WrappingKey>> {
        let _ = (name, record);
        None
    }

    /// Destroys `made`: the change that it was made for has certainly failed.
    ///
    /// Material that cannot be destroyed now stays without a record, which is harmless.
    fn discard(&self, made: &[CreatedVersion]) {
        let _ = made;
    }

    /// Destroys the material of `records`, all of them destroyed on record.
    ///
    /// Called after each change, once it is durable, no wrap under them is in progress and no other
    /// process can change the records. `records` are all destroyed versions whose material is not
    /// stored beside the records, those of earlier changes included: the next change finishes what a
    /// crash or an error interrupted. Material that does not exist any more is no error.
    ///
    /// # Errors
    ///
    /// Those of the store, after every record was tried. The caller of the change gets them in
    /// [`LifecycleError::NotDestroyed`], which says that the change is made.
    #[cfg(all(feature = "file", unix))]
    fn destroy<'k>(
        &self,
        records: &mut dyn Iterator<Item = (KeyName<'k>, &'k VersionRecord)>,
    ) -> Result<(), crate::error::BackendError> {
        let _ = records;
        Ok(())
    }
}

/// How many data keys one process wraps under a version that has a limit, where wraps of other
/// processes are not counted (DESIGN 4.3): 16 of them then stay within an AES-GCM key's 2^32.
#[cfg(all(feature = "file", unix))]
pub(crate) const PROCESS_WRAP_LIMIT: u64 = 1 << 28;

/// The material of a new version, made.
pub(crate) struct CreatedKey {
    /// The key, ready to wrap and unwrap.
    pub(crate) key: Arc<dyn WrappingKey>,
    /// The part that is recorded.
    pub(crate) material: NewMaterial,
    /// The material to store beside the record; `None` if it is on a token.
    pub(crate) stored: Option<MasterKey>,
}

/// A version whose material was made, and how to find the material.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CreatedVersion {
    /// The master key.
    pub(crate) name: String,
    /// The version.
    pub(crate) version: KeyVersion,
    /// The recorded part of the material.
    pub(crate) material: NewMaterial,
}
