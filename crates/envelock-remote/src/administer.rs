//! The operations of an operator on the master key of a service.

use crate::{Backend, RemoteKeyring, ServiceError, SyncKeyring};
use envelock::format::WrapAlgorithm;
use envelock::keyring::{KeyringError, KeyringRng};
use envelock::keyset::{
    Change, ChangeOptions, ChangeOutcome, KeysetMap, LifecycleError, Material, NewMaterial, Origin,
};
use envelock::{BackendError, Error, Lifecycle, MasterKeyId};

/// A back end whose master keys an operator changes, by the [`Lifecycle`] of a [`SyncKeyring`].
///
/// It has the operations of the service, and no records of its own. A service makes one change at a time, and
/// compares nothing: the records of before are read just before the change.
pub trait Administer: Backend {
    /// Returns the record of the master key `key`, and none if the service has no key of this name.
    ///
    /// The change number is another one whenever the record is, and so may become smaller.
    ///
    /// # Errors
    ///
    /// Those of [`describe`](Backend::describe), except [`ServiceError::UnknownKey`].
    fn keysets(&self, key: &str) -> impl Future<Output = Result<KeysetMap, ServiceError>> + Send;

    /// Checks that the service can make a change to the master key `key`, whose record is in `before`.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::NotOffered`]. Others are those of [`KeysetMap::with_changes`], which is asked afterwards.
    fn check(
        &self,
        key: &str,
        before: &KeysetMap,
        change: &Change<'_>,
    ) -> Result<(), LifecycleError>;

    /// Makes a change of which `before` are the records, and that they and [`check`](Self::check) allow.
    ///
    /// It is called again if an answer is lost, and then makes only what is not made yet.
    ///
    /// # Errors
    ///
    /// Those of the service.
    fn change(
        &self,
        before: &KeysetMap,
        change: &Change<'_>,
    ) -> impl Future<Output = Result<(), ServiceError>> + Send;
}

/// Changes the master key that the keyring wraps under, and no other.
///
/// A change is made only once if an answer is lost within the deadline. After an error that is retryable it may have
/// been made: read the key again, or repeat the change under
/// [`if_unchanged_since`](ChangeOptions::if_unchanged_since). Two operators at the same moment may both succeed.
impl<B: Administer> Lifecycle for SyncKeyring<RemoteKeyring<B>> {
    fn key(&self) -> &str {
        self.keyring().key()
    }

    fn keysets(&self) -> Result<KeysetMap, Error> {
        self.administer(B::keysets)
    }

    fn change(
        &self,
        changes: &[Change<'_>],
        options: &ChangeOptions,
        _: &mut KeyringRng<'_>,
    ) -> Result<ChangeOutcome, Error> {
        let before = self.keysets()?;
        self.check_offered(&before, changes, options)?;
        let backend = self.keyring().backend();
        let (_, mut outcome) = before.with_changes(changes, options, &mut |_, _, material| {
            planned_material(material, backend.algorithm())
        })?;
        for change in changes {
            let made = self.administer(|backend, _| backend.change(&before, change));
            // It may have been made although its answer is lost.
            self.keyring().forget_metadata();
            made?;
        }
        // The change is made, whether or not its number can be read. A number that is wrong is a conflict later.
        if let Ok(after) = self.keysets() {
            outcome.change = after.change();
        }
        Ok(outcome)
    }
}

impl<B: Administer> SyncKeyring<RemoteKeyring<B>> {
    /// Checks that the service offers `changes` to its key, whose record is in `before`. Makes no call.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::NotOffered`].
    pub fn check_offered(
        &self,
        before: &KeysetMap,
        changes: &[Change<'_>],
        options: &ChangeOptions,
    ) -> Result<(), LifecycleError> {
        let key = self.keyring().key();
        let refused = |why: &str, instead: String| {
            Err(LifecycleError::NotOffered { key: key.into(), why: why.into(), instead })
        };
        if options.evidence().is_some() {
            return refused("the service keeps no evidence", "keep it elsewhere".into());
        }
        match changes {
            [] => Ok(()),
            [Change::CreateKey { key: other, .. }] if *other != key => {
                let instead = format!("create {other} by a keyring that is opened for it");
                refused("the keyring changes no other key", instead)
            }
            [change] => self.keyring().backend().check(key, before, change),
            _ => refused("the service makes one change at a time", "make them one by one".into()),
        }
    }

    fn administer<'a, T, F>(&'a self, start: impl Fn(&'a B, &'a str) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, ServiceError>>,
    {
        let answer = self.block_on(self.keyring().repeat(start));
        answer.and_then(|answer| answer).map_err(|error| match error {
            KeyringError::Backend(error) => error.into(),
            // Such as the refusal of a key that was deleted a moment ago.
            other => BackendError::broken(other).into(),
        })
    }
}

/// Stands for the key material of a version that the service makes, in records that are thrown away. It has an id of
/// its own: all versions of a service's key have one id, which records do not allow for a new version.
fn planned_material(
    material: Material<'_>,
    algorithm: WrapAlgorithm,
) -> Result<NewMaterial, Error> {
    if let Material::Imported(_) = material {
        return Err(LifecycleError::ImportRefused.into());
    }
    let master_key_id = MasterKeyId(*b"planned ");
    Ok(NewMaterial { master_key_id, algorithm, origin: Origin::Token })
}
