//! A keyring over a key service.

use crate::ServiceError;
use crate::backend::Backend;
use crate::builder::RemoteKeyringBuilder;
use crate::inner::Inner;
use crate::state;
use crate::wrap::Proof;
use envelock::format::{InvalidKeyName, Slot};
use envelock::keyring::{
    AsyncKeyring, AsyncKeyringRng, Freshness, KeyringError, KeyringLabels, PrimaryKey, SlotWriter,
    WrapContext,
};
use envelock::{DataKey, KeyName, SlotLabel};
use futures_util::future::{join, join_all};
use std::fmt;
use std::sync::Arc;

/// A keyring over a key service that is called asynchronously.
///
/// It wraps under one master key of the service, and opens messages of others if
/// [`also_opens`](RemoteKeyringBuilder::also_opens) names them. A clone is a handle of the same keyring.
///
/// # Calls
///
/// | operation | calls |
/// |---|---|
/// | encrypt | encrypt, then decrypt as proof of the wrapped key, beside a describe unless the answer has the [key's id](crate::Encrypted::master_key_id) |
/// | decrypt | decrypt |
/// | rewrap of a stale slot | decrypt, encrypt, decrypt as proof; under [`trusting_backend`] one re-encrypt |
/// | each, with metadata that is older than [`fresh_for`](RemoteKeyringBuilder::fresh_for) | describe |
///
/// Equal unwraps at the same time share one call, and so do loads of metadata. A slot of another name, algorithm or
/// master key id causes no decryption, nor does one under a version that is known to be disabled or destroyed.
///
/// # Metadata
///
/// The states of versions are cached. They are used for a minute, then loaded again: in the background by a task of
/// tokio, or before the operation if they are much older. If that fails they are used for another hour, then each
/// operation reports the failure. An answer of the service that contradicts them has them loaded again at once: after a
/// rotation the next message is labelled with the new version.
///
/// # Wrong answers
///
/// A wrapped key is decrypted and compared with the data key before the slot is written, and its version must be the
/// primary that the service describes. A wrong answer costs a second call. If that is wrong, too, the error is
/// [`KeyringError::Backend`], not retryable.
///
/// [`trusting_backend`]: envelock::RewrapOptions::trusting_backend
pub struct RemoteKeyring<B>(Arc<Inner<B>>);

impl<B: Backend> RemoteKeyring<B> {
    /// Returns a keyring that wraps under the master key `key` of `backend`, with the default options. Makes no call.
    ///
    /// # Errors
    ///
    /// [`InvalidKeyName`] if no slot can have this name.
    pub fn new(backend: B, key: &str) -> Result<Self, InvalidKeyName> {
        RemoteKeyringBuilder::new(backend, key).build()
    }

    /// Returns the options of a keyring that wraps under the master key `key` of `backend`.
    pub fn builder(backend: B, key: &str) -> RemoteKeyringBuilder<B> {
        RemoteKeyringBuilder::new(backend, key)
    }

    pub(crate) fn from_inner(inner: Inner<B>) -> Self {
        RemoteKeyring(Arc::new(inner))
    }

    /// Returns the back end.
    pub fn backend(&self) -> &B {
        self.0.service.backend()
    }

    /// Returns the name of the master key that wraps.
    pub fn key(&self) -> &str {
        self.0.own.name().as_str()
    }

    /// Runs calls of the back end on the master key that wraps, each of which may be made again.
    pub(crate) async fn repeat<'a, T, F>(
        &'a self,
        start: impl Fn(&'a B, &'a str) -> F,
    ) -> Result<T, KeyringError>
    where
        F: Future<Output = Result<T, ServiceError>>,
    {
        let service = &self.0.service;
        let call = || start(service.backend(), self.key());
        Ok(service.repeat(service.deadline(), call).await?)
    }

    /// Forgets the metadata of all keys, and the failures to load it. The next operation loads it.
    pub fn forget_metadata(&self) {
        self.0.forget_metadata();
    }
}

impl<B> Clone for RemoteKeyring<B> {
    fn clone(&self) -> Self {
        RemoteKeyring(Arc::clone(&self.0))
    }
}

impl<B> fmt::Debug for RemoteKeyring<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.keys().map(|key| key.name().as_str()).collect();
        f.debug_struct("RemoteKeyring").field("keys", &names).finish_non_exhaustive()
    }
}

impl<B: Backend> KeyringLabels for RemoteKeyring<B> {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        let inner = &self.0;
        let description = inner.in_memory(&inner.own)?;
        let version = description.primary.ok_or(KeyringError::NoPrimary)?;
        visit(&PrimaryKey {
            label: inner.label(&inner.own, &description, version),
            max_wrapped_key_len: Some(inner.service.backend().max_wrapped_key_len()),
        });
        Ok(())
    }

    fn holds(
        &self,
        name: KeyName<'_>,
        visit: &mut dyn FnMut(KeyName<'_>),
    ) -> Result<(), KeyringError> {
        if self.0.key(name).is_some() {
            visit(name);
        }
        Ok(())
    }

    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        let Some(key) = self.0.key_of(slot) else { return Ok(Freshness::NotMine) };
        state::freshness(&*self.0.in_memory(key)?, slot)
    }
}

impl<B: Backend> AsyncKeyring for RemoteKeyring<B> {
    /// Loads the metadata of the keys of `labels` and of the key that wraps. With labels a failure is none of this
    /// method: the slots of other keys open all the same, and [`KeyringLabels`] reports it.
    async fn prepare(&self, labels: &[SlotLabel<'_>]) -> Result<(), KeyringError> {
        let inner = &self.0;
        let deadline = inner.service.deadline();
        if labels.is_empty() {
            inner.description(&inner.own, deadline).await?;
            return Ok(());
        }
        // Equal loads share one call. The metadata keeps the failures.
        let own = labels.iter().filter_map(|label| Some((inner.key_of(label)?, label)));
        let labelled = own.map(|(key, label)| inner.of_slot(key, label, deadline));
        let _ = join(join_all(labelled), inner.description(&inner.own, deadline)).await;
        Ok(())
    }

    async fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        _: &mut AsyncKeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.0.wrap(&self.0.own, data_key, context, Proof::of_wrap(&self.0), slots).await
    }

    async fn wrap_under(
        &self,
        name: KeyName<'_>,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        _: &mut AsyncKeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        let unknown = || KeyringError::unknown_key(name.as_str());
        let key = self.0.key(name).ok_or_else(unknown)?;
        self.0.wrap(key, data_key, context, Proof::of_wrap(&self.0), slots).await
    }

    async fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        self.0.unwrap(slot, context, data_key).await
    }

    async fn rewrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        _: &mut AsyncKeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        if context.trusts_backend() {
            return self.0.reencrypt(slot, context, slots).await;
        }
        let mut data_key = Box::new(DataKey::empty());
        self.0.unwrap(slot, context, &mut data_key).await?;
        let key = self.0.key(slot.label.name).ok_or(KeyringError::NotMine)?;
        // The caller of a rewrap unwraps the new slot.
        self.0.wrap(key, &data_key, context, Proof::ByCaller, slots).await
    }
}
