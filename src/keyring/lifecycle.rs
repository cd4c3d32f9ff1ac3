//! The second trait of a keyring: the operations of an operator on its master keys.

use super::Keyring;
use crate::error::Error;
#[cfg(doc)]
use crate::keyset::LifecycleError;
use crate::keyset::{Change, ChangeOptions, ChangeOutcome, Keyset, KeysetMap};
#[cfg(feature = "std")]
use crate::keyset::{Material, Operation};
use crate::random::KeyringRng;
#[cfg(feature = "std")]
use crate::{OsRandom, crypto::secret::MasterKey, format::KeyVersion, time::Timestamp};
#[cfg(feature = "std")]
use core::time::Duration;

/// Lists and changes the master keys of a keyring, for operators.
///
/// An implementor keeps a [`KeysetMap`], which decides what is allowed, returns it and stores its
/// changes. The other methods are provided, with the system's clock and randomness.
///
/// # Contract
///
/// - [`change`](Self::change) is atomic and durable: when it returns, every process that uses the
///   same keys has all of the changes or loads them next, and a crash does not undo them. After
///   an error nothing has changed, except where the error says that this is unknown, or that
///   the changes are made and a token did not destroy its keys ([`LifecycleError::NotDestroyed`]).
/// - A concurrent wrap uses a version that can be unwrapped: the material of a destroyed version is
///   wiped when no wrap under it is in progress.
/// - Destroyed material is wiped in memory and in storage.
///
/// # Two ways to rotate
///
/// [`rotate`](Self::rotate) adds a version and promotes it at once. In a fleet where processes
/// get their keys at different times, call [`add_version`](Self::add_version) first, wait until every
/// process has the version (which unwraps already), then [`promote`](Self::promote) it.
pub trait Lifecycle: Keyring {
    /// The name or alias of the master key that this keyring wraps under, and that the provided
    /// methods change.
    fn key(&self) -> &str;

    /// Returns every master key with its versions.
    ///
    /// # Errors
    ///
    /// [`Error::Backend`] if the keyring cannot be read.
    fn keysets(&self) -> Result<KeysetMap, Error>;

    /// Makes all of `changes`, or none.
    ///
    /// # Errors
    ///
    /// [`Error::Lifecycle`] from [`KeysetMap::with_changes`]; [`Error::Randomness`]; [`Error::Backend`] if
    /// the changes could not be stored.
    fn change(
        &self,
        changes: &[Change<'_>],
        options: &ChangeOptions,
        rng: &mut KeyringRng<'_>,
    ) -> Result<ChangeOutcome, Error>;

    /// The versions of this keyring's master key.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownKey`]; [`Error::Backend`] if the keyring cannot be read.
    fn keyset(&self) -> Result<Keyset, Error> {
        Ok(self.keysets()?.resolve(self.key())?.clone())
    }

    /// Makes one change, now.
    ///
    /// # Errors
    ///
    /// Those of [`change`](Self::change).
    #[cfg(feature = "std")]
    fn change_now(&self, change: Change<'_>) -> Result<ChangeOutcome, Error> {
        self.change(&[change], &ChangeOptions::at(Timestamp::now()), &mut OsRandom)
    }

    /// Adds a fresh version and promotes it: new messages use it, old ones keep opening.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::Key`] if the key was erased; [`Error::Backend`] if the version could not be
    /// made or stored.
    #[cfg(feature = "std")]
    fn rotate(&self) -> Result<KeyVersion, Error> {
        added(self.change_now(Change::Rotate { key: self.key() })?)
    }

    /// Adds a fresh version, pending.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::Key`] if the key was erased; [`Error::Backend`] if the version could not be
    /// made or stored.
    #[cfg(feature = "std")]
    fn add_version(&self) -> Result<KeyVersion, Error> {
        let change =
            Change::AddVersion { key: self.key(), version: None, material: Material::Fresh };
        added(self.change_now(change)?)
    }

    /// Adds a pending version of imported key material.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::VersionNumber`] if `version` is not above every version there was;
    /// [`LifecycleError::KeyMaterial`] if the key is all zero or belongs to another version;
    /// [`LifecycleError::ImportRefused`] if the keyring generates its own keys.
    #[cfg(feature = "std")]
    fn import_version(&self, version: KeyVersion, key: &MasterKey) -> Result<ChangeOutcome, Error> {
        let (version, material) = (Some(version), Material::Imported(key));
        self.change_now(Change::AddVersion { key: self.key(), version, material })
    }

    /// Applies `operation` to a version.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownVersion`]; [`LifecycleError::VersionState`] if the state of the version
    /// does not allow it; the errors of the method of that operation.
    #[cfg(feature = "std")]
    fn operate(&self, version: KeyVersion, operation: Operation) -> Result<ChangeOutcome, Error> {
        self.change_now(Change::Version { key: self.key(), version, operation })
    }

    /// Makes `version` the primary; the former one stays enabled. It may be an older one: that
    /// rolls a bad rotation back.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownVersion`]; [`LifecycleError::VersionState`] if the version is disabled,
    /// compromised or destroyed.
    #[cfg(feature = "std")]
    fn promote(&self, version: KeyVersion) -> Result<ChangeOutcome, Error> {
        self.operate(version, Operation::Promote)
    }

    /// Lets a disabled version unwrap again.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownVersion`]; [`LifecycleError::VersionState`] if the version is not
    /// disabled.
    #[cfg(feature = "std")]
    fn enable(&self, version: KeyVersion) -> Result<ChangeOutcome, Error> {
        self.operate(version, Operation::Enable)
    }

    /// Stops a version from unwrapping; [`enable`](Self::enable) takes it back. The way to find
    /// out what still needs a version before it is destroyed.
    ///
    /// A stream that was begun under the version fails at its end with [`Error::StreamRefused`]
    /// and has to be encrypted again: after a rotation, wait for as long as the longest stream
    /// takes before the former version is disabled.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownVersion`]; [`LifecycleError::VersionState`] if the version is the
    /// primary or destroyed.
    #[cfg(feature = "std")]
    fn disable(&self, version: KeyVersion) -> Result<ChangeOutcome, Error> {
        self.operate(version, Operation::Disable)
    }

    /// Marks a version as compromised, in any state but destroyed. If it was the
    /// primary, nothing wraps until another is promoted.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownVersion`]; [`LifecycleError::VersionState`] if the version is destroyed
    /// or marked already.
    #[cfg(feature = "std")]
    fn mark_compromised(&self, version: KeyVersion) -> Result<ChangeOutcome, Error> {
        self.operate(version, Operation::MarkCompromised)
    }

    /// Has a disabled version destroyed once `after` has passed, 7 to 30 days; then
    /// [`destroy`](Self::destroy) does it, or a policy.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::DestructionDelay`]; [`LifecycleError::VersionState`] if the version is not
    /// disabled; [`LifecycleError::Guarded`] if the newest date on record is more than a day ahead of the
    /// clock.
    #[cfg(feature = "std")]
    fn schedule_destruction(
        &self,
        version: KeyVersion,
        after: Duration,
    ) -> Result<ChangeOutcome, Error> {
        self.operate(version, Operation::ScheduleDestruction { after })
    }

    /// Cancels a scheduled destruction; the version is disabled again.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownVersion`]; [`LifecycleError::VersionState`] if no destruction is
    /// scheduled.
    #[cfg(feature = "std")]
    fn cancel_destruction(&self, version: KeyVersion) -> Result<ChangeOutcome, Error> {
        self.operate(version, Operation::CancelDestruction)
    }

    /// Wipes the key material of a version whose destruction is due. Final. Streams that are
    /// being written under it fail at their end, as for [`disable`](Self::disable).
    ///
    /// # Errors
    ///
    /// [`LifecycleError::DestructionNotDue`]; [`LifecycleError::Guarded`] if the version is on hold,
    /// evidence is required, or the clock contradicts the record; [`LifecycleError::NotDestroyed`] if the
    /// material is on a token that did not destroy it: the version is destroyed on record, and the next
    /// change destroys the material.
    #[cfg(feature = "std")]
    fn destroy(&self, version: KeyVersion) -> Result<ChangeOutcome, Error> {
        self.operate(version, Operation::Destroy)
    }

    /// Wipes the key material of a disabled version now, whatever the date. Final: what was
    /// encrypted under it and not rewrapped is lost.
    ///
    /// A process that has not seen yet that the version is disabled can still wrap under it, and
    /// those messages are lost too: disable it, and wait for as long as every process may take to
    /// see that, and the longest stream that was begun under it may take to end.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::VersionState`] if the version is not disabled; [`LifecycleError::Guarded`] if it
    /// is on hold or evidence is required; [`LifecycleError::NotDestroyed`] as for
    /// [`destroy`](Self::destroy).
    #[cfg(feature = "std")]
    fn destroy_immediately(&self, version: KeyVersion) -> Result<ChangeOutcome, Error> {
        self.operate(version, Operation::DestroyImmediately)
    }

    /// Puts a version on hold: policies do not change it, and it is not destroyed.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownVersion`]; [`LifecycleError::Label`] if the reason has more than 256
    /// bytes or a control character.
    #[cfg(feature = "std")]
    fn hold(&self, version: KeyVersion, reason: &str) -> Result<ChangeOutcome, Error> {
        self.change_now(Change::Hold { key: self.key(), version: Some(version), reason })
    }

    /// Removes the hold of a version. Policies may then change a version that an operator had kept.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownVersion`].
    #[cfg(feature = "std")]
    fn release(&self, version: KeyVersion) -> Result<ChangeOutcome, Error> {
        self.change_now(Change::Release { key: self.key(), version: Some(version) })
    }

    /// Requires evidence for the destruction of versions, from now on: [`destroy`](Self::destroy) and the like are
    /// refused, and [`change`](Self::change) under [`ChangeOptions::on_evidence`] is not.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownKey`].
    #[cfg(feature = "std")]
    fn require_evidence(&self) -> Result<ChangeOutcome, Error> {
        self.change_now(Change::RequireEvidence { key: self.key() })
    }

    /// Removes the records of all versions up to `through`, which are destroyed.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::Key`] if one of the versions is not destroyed.
    #[cfg(feature = "std")]
    fn remove_records(&self, through: KeyVersion) -> Result<ChangeOutcome, Error> {
        self.change_now(Change::RemoveRecords { key: self.key(), through })
    }

    /// Wipes the key material of all versions of the master key `name`, whatever their states.
    /// Final: what was encrypted under it is lost, its name stays taken, and it takes no other
    /// version. An older copy of a key file still has the material.
    ///
    /// Streams and other processes are affected as by
    /// [`destroy_immediately`](Self::destroy_immediately).
    ///
    /// # Errors
    ///
    /// [`LifecycleError::Guarded`] if the key or one of its versions is on hold, or evidence is required;
    /// [`LifecycleError::Key`] if the key was erased before; [`LifecycleError::NotDestroyed`] as for
    /// [`destroy`](Self::destroy).
    #[cfg(feature = "std")]
    fn erase_key(&self, name: &str) -> Result<ChangeOutcome, Error> {
        self.change_now(Change::EraseKey { key: name })
    }

    /// Creates another master key, with a fresh version 1 as its primary.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::NameTaken`]; [`LifecycleError::KeyName`].
    #[cfg(feature = "std")]
    fn create_key(&self, name: &str) -> Result<ChangeOutcome, Error> {
        let (version, material) = (KeyVersion::FIRST, Material::Fresh);
        self.change_now(Change::CreateKey { key: name, version, material })
    }

    /// Makes `alias` stand for the master key `key`, in one step for every process.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::NameTaken`] if `alias` is the name of a key; [`LifecycleError::UnknownKey`].
    #[cfg(feature = "std")]
    fn set_alias(&self, alias: &str, key: &str) -> Result<ChangeOutcome, Error> {
        self.change_now(Change::SetAlias { alias, key })
    }
}

#[cfg(feature = "std")]
fn added(changed: ChangeOutcome) -> Result<KeyVersion, Error> {
    // A keyring that adds nothing and reports success is at fault.
    changed.added().ok_or(Error::NoPrimary)
}

macro_rules! forward_lifecycle {
    ($($pointer:ty),*) => {$(
        impl<K: Lifecycle + ?Sized> Lifecycle for $pointer {
            fn key(&self) -> &str {
                (**self).key()
            }

            fn keysets(&self) -> Result<KeysetMap, Error> {
                (**self).keysets()
            }

            fn change(
                &self,
                changes: &[Change<'_>],
                options: &ChangeOptions,
                rng: &mut KeyringRng<'_>,
            ) -> Result<ChangeOutcome, Error> {
                (**self).change(changes, options, rng)
            }
        }
    )*};
}

forward_lifecycle!(&K, alloc::boxed::Box<K>, alloc::sync::Arc<K>);
