//! The second trait of a keyring: what an operator does to its master keys.

use super::Keyring;
use crate::error::Error;
use crate::keyset::{Change, ChangeOptions, ChangeOutcome, Keyset, KeysetMap};
#[cfg(feature = "std")]
use crate::keyset::{Material, Operation};
use crate::random::KeyringRng;
#[cfg(feature = "std")]
use crate::{OsRandom, crypto::secret::MasterKey, format::KeyVersion, time::Timestamp};
#[cfg(feature = "std")]
use core::time::Duration;

/// Lists and changes the master keys of a keyring: the operator's side.
///
/// An implementor keeps [`KeysetMap`], which decides what may be done, and does two things:
/// tell them, and make changes. The rest is provided, with the system's clock and randomness.
///
/// # Contract
///
/// - [`change`](Self::change) is atomic and durable: when it returns, every process that uses the
///   same keys has all of the changes or is about to, and a crash does not take them back. On
///   an error nothing has changed, unless the error says that nobody can know, or that
///   everything has and only a token did not follow ([`LifecycleError::NotDestroyed`](crate::keyset::LifecycleError::NotDestroyed)).
/// - Whoever wraps at the same time wraps under a version that can be unwrapped: a destroyed
///   version's material goes when no wrap under it is under way.
/// - Destroyed material is wiped, also where it was stored.
///
/// # Two ways to rotate
///
/// [`rotate`](Self::rotate) adds a version and promotes it at once. In a fleet where processes
/// get their keys at different times, [`add_version`](Self::add_version) first, wait until every
/// process has it (it unwraps already), then [`promote`](Self::promote).
pub trait Lifecycle: Keyring {
    /// The name or alias of the master key that this keyring wraps under, and that the provided
    /// methods change.
    fn key(&self) -> &str;

    /// Every master key with its versions, as they are now.
    ///
    /// # Errors
    ///
    /// [`Error::Backend`], or the keyring's own.
    fn keysets(&self) -> Result<KeysetMap, Error>;

    /// Makes all of `changes`, or none.
    ///
    /// # Errors
    ///
    /// Those of [`KeysetMap::with_changes`]; [`Error::Randomness`]; [`LifecycleError::NotDestroyed`](crate::keyset::LifecycleError::NotDestroyed); the
    /// keyring's own.
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
    /// As [`keysets`](Self::keysets); [`LifecycleError::UnknownKey`](crate::keyset::LifecycleError::UnknownKey).
    fn keyset(&self) -> Result<Keyset, Error> {
        Ok(self.keysets()?.resolve(self.key())?.clone())
    }

    /// Makes one change, now.
    ///
    /// # Errors
    ///
    /// As [`change`](Self::change).
    #[cfg(feature = "std")]
    fn change_now(&self, change: Change<'_>) -> Result<ChangeOutcome, Error> {
        self.change(&[change], &ChangeOptions::at(Timestamp::now()), &mut OsRandom)
    }

    /// Adds a fresh version and promotes it: new messages use it, old ones keep opening.
    ///
    /// # Errors
    ///
    /// As [`change`](Self::change).
    #[cfg(feature = "std")]
    fn rotate(&self) -> Result<KeyVersion, Error> {
        added(self.change_now(Change::Rotate { key: self.key() })?)
    }

    /// Adds a fresh version, pending.
    ///
    /// # Errors
    ///
    /// As [`change`](Self::change).
    #[cfg(feature = "std")]
    fn add_version(&self) -> Result<KeyVersion, Error> {
        let change =
            Change::AddVersion { key: self.key(), version: None, material: Material::Fresh };
        added(self.change_now(change)?)
    }

    /// Adds a version of key material from elsewhere, pending.
    ///
    /// # Errors
    ///
    /// As [`change`](Self::change): [`LifecycleError::VersionNumber`](crate::keyset::LifecycleError::VersionNumber) if `version` is not above every
    /// version there was, [`LifecycleError::KeyMaterial`](crate::keyset::LifecycleError::KeyMaterial) if the key is all zero or there already.
    #[cfg(feature = "std")]
    fn import_version(&self, version: KeyVersion, key: &MasterKey) -> Result<ChangeOutcome, Error> {
        let (version, material) = (Some(version), Material::Imported(key));
        self.change_now(Change::AddVersion { key: self.key(), version, material })
    }

    /// Applies `operation` to a version.
    ///
    /// # Errors
    ///
    /// As [`change`](Self::change).
    #[cfg(feature = "std")]
    fn operate(&self, version: KeyVersion, operation: Operation) -> Result<ChangeOutcome, Error> {
        self.change_now(Change::Version { key: self.key(), version, operation })
    }

    /// Makes `version` the primary; the former one stays enabled. It may be an older one: that
    /// rolls a bad rotation back.
    ///
    /// # Errors
    ///
    /// As [`change`](Self::change).
    #[cfg(feature = "std")]
    fn promote(&self, version: KeyVersion) -> Result<ChangeOutcome, Error> {
        self.operate(version, Operation::Promote)
    }

    /// Lets a disabled version unwrap again.
    ///
    /// # Errors
    ///
    /// As [`change`](Self::change).
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
    /// As [`change`](Self::change).
    #[cfg(feature = "std")]
    fn disable(&self, version: KeyVersion) -> Result<ChangeOutcome, Error> {
        self.operate(version, Operation::Disable)
    }

    /// Notes that others know a version, whatever its state, unless it is destroyed. If it was the
    /// primary, nothing wraps until another is promoted.
    ///
    /// # Errors
    ///
    /// As [`change`](Self::change).
    #[cfg(feature = "std")]
    fn mark_compromised(&self, version: KeyVersion) -> Result<ChangeOutcome, Error> {
        self.operate(version, Operation::MarkCompromised)
    }

    /// Has a disabled version destroyed once `after` has passed, 7 to 30 days; then
    /// [`destroy`](Self::destroy) does it, or a policy.
    ///
    /// # Errors
    ///
    /// As [`change`](Self::change); [`LifecycleError::DestructionDelay`](crate::keyset::LifecycleError::DestructionDelay); [`LifecycleError::Guarded`](crate::keyset::LifecycleError::Guarded) if the newest date
    /// on record is more than a day ahead of the clock.
    #[cfg(feature = "std")]
    fn schedule_destruction(
        &self,
        version: KeyVersion,
        after: Duration,
    ) -> Result<ChangeOutcome, Error> {
        self.operate(version, Operation::ScheduleDestruction { after })
    }

    /// Takes a scheduled destruction back; the version is disabled.
    ///
    /// # Errors
    ///
    /// As [`change`](Self::change).
    #[cfg(feature = "std")]
    fn cancel_destruction(&self, version: KeyVersion) -> Result<ChangeOutcome, Error> {
        self.operate(version, Operation::CancelDestruction)
    }

    /// Wipes the key material of a version whose destruction is due. Final. Streams that are still
    /// written under it fail at their end, as at [`disable`](Self::disable).
    ///
    /// # Errors
    ///
    /// As [`change`](Self::change); [`LifecycleError::DestructionNotDue`](crate::keyset::LifecycleError::DestructionNotDue); [`LifecycleError::Guarded`](crate::keyset::LifecycleError::Guarded) if the version is
    /// held, evidence is required, or the clock contradicts the record; [`LifecycleError::NotDestroyed`](crate::keyset::LifecycleError::NotDestroyed) if the
    /// material is on a token that did not destroy it: the version is destroyed all the same,
    /// and the next change finishes that.
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
    /// As [`change`](Self::change); [`LifecycleError::Guarded`](crate::keyset::LifecycleError::Guarded) if the version is held or evidence is required.
    #[cfg(feature = "std")]
    fn destroy_immediately(&self, version: KeyVersion) -> Result<ChangeOutcome, Error> {
        self.operate(version, Operation::DestroyImmediately)
    }

    /// Holds a version: policies leave it alone, and it is not destroyed.
    ///
    /// # Errors
    ///
    /// As [`change`](Self::change); [`LifecycleError::Label`](crate::keyset::LifecycleError::Label) if the reason has more than 256 bytes or a
    /// control character.
    #[cfg(feature = "std")]
    fn hold(&self, version: KeyVersion, reason: &str) -> Result<ChangeOutcome, Error> {
        self.change_now(Change::Hold { key: self.key(), version: Some(version), reason })
    }

    /// Lets policies go on with a version that is held, or that an operator keeps as it is.
    ///
    /// # Errors
    ///
    /// As [`change`](Self::change).
    #[cfg(feature = "std")]
    fn release(&self, version: KeyVersion) -> Result<ChangeOutcome, Error> {
        self.change_now(Change::Release { key: self.key(), version: Some(version) })
    }

    /// Has versions destroyed on evidence only, from now on: [`destroy`](Self::destroy) and the like are
    /// refused, and [`change`](Self::change) under [`ChangeOptions::on_evidence`] is not.
    ///
    /// # Errors
    ///
    /// As [`change`](Self::change).
    #[cfg(feature = "std")]
    fn require_evidence(&self) -> Result<ChangeOutcome, Error> {
        self.change_now(Change::RequireEvidence { key: self.key() })
    }

    /// Removes the records of all versions up to `through`, which are destroyed.
    ///
    /// # Errors
    ///
    /// As [`change`](Self::change): [`LifecycleError::Key`](crate::keyset::LifecycleError::Key) if one of them is not destroyed.
    #[cfg(feature = "std")]
    fn remove_records(&self, through: KeyVersion) -> Result<ChangeOutcome, Error> {
        self.change_now(Change::RemoveRecords { key: self.key(), through })
    }

    /// Wipes the key material of all versions of the master key `name`, whatever their states.
    /// Final: what was encrypted under it is lost, its name stays taken, and it takes no other
    /// version. An older copy of a key file still has the material.
    ///
    /// What is said of streams and of processes at
    /// [`destroy_immediately`](Self::destroy_immediately) holds here.
    ///
    /// # Errors
    ///
    /// As [`change`](Self::change): [`LifecycleError::Guarded`](crate::keyset::LifecycleError::Guarded) if it or a version of it is on hold, or is destroyed
    /// on evidence only; [`LifecycleError::Key`](crate::keyset::LifecycleError::Key) if it was erased before; [`LifecycleError::NotDestroyed`](crate::keyset::LifecycleError::NotDestroyed) as
    /// [`destroy`](Self::destroy).
    #[cfg(feature = "std")]
    fn erase_key(&self, name: &str) -> Result<ChangeOutcome, Error> {
        self.change_now(Change::EraseKey { key: name })
    }

    /// Makes another master key of that name, with a fresh version 1 as its primary.
    ///
    /// # Errors
    ///
    /// As [`change`](Self::change): [`LifecycleError::NameTaken`](crate::keyset::LifecycleError::NameTaken), [`LifecycleError::KeyName`](crate::keyset::LifecycleError::KeyName).
    #[cfg(feature = "std")]
    fn create_key(&self, name: &str) -> Result<ChangeOutcome, Error> {
        let (version, material) = (KeyVersion::FIRST, Material::Fresh);
        self.change_now(Change::CreateKey { key: name, version, material })
    }

    /// Has `alias` stand for the master key `key` from now on, in one step for everybody.
    ///
    /// # Errors
    ///
    /// As [`change`](Self::change): [`LifecycleError::NameTaken`](crate::keyset::LifecycleError::NameTaken), [`LifecycleError::UnknownKey`](crate::keyset::LifecycleError::UnknownKey).
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
