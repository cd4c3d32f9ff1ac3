//! Unwraps.

use crate::ServiceError;
use crate::backend::{Backend, Decrypted, Description};
use crate::inner::{Inner, ServiceKey};
use crate::service::{Failure, Wrapped};
use crate::state;
use envelock::DataKey;
use envelock::format::Slot;
use envelock::keyring::{KeyringError, WrapContext};
use std::sync::Arc;
use tokio::time::Instant;

impl<B: Backend> Inner<B> {
    /// Unwraps `slot` into `data_key`, which is checked against the message and empty after an error.
    pub(crate) async fn unwrap(
        self: &Arc<Self>,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        wipe(data_key);
        let deadline = self.service.deadline();
        let (key, _, wrapped) = self.open_slot(slot, context, deadline).await?;
        let opened = match context.is_proof() {
            // A call that began before the slot was known to be written proves nothing.
            true => self.decrypt(key, wrapped, deadline).await,
            false => self.decrypt_once_for_all(key, wrapped, deadline).await,
        };
        let opened = opened.map_err(|failure| self.not_opened(key, failure))?;
        if !data_key.set(opened.expose()) || context.verify(data_key).is_err() {
            wipe(data_key);
            return Err(KeyringError::Authentication);
        }
        Ok(())
    }

    /// Returns the key of a slot that may be opened, its metadata, and what the service opens (SPEC O-MINE).
    pub(crate) async fn open_slot(
        self: &Arc<Self>,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        deadline: Instant,
    ) -> Result<(&Arc<ServiceKey>, Arc<Description>, Arc<Wrapped>), KeyringError> {
        let Slot { label, wrapped_key } = slot;
        let key = self.key_of(label).ok_or(KeyringError::NotMine)?;
        let description = self.of_slot(key, label, deadline).await?;
        state::state_of(&description, label)?;
        let most = self.service.backend().max_wrapped_key_len();
        if wrapped_key.is_empty() || wrapped_key.len() > most {
            return Err(KeyringError::Authentication);
        }
        let context = context.remote_wrap_aad(label).to_vec();
        let wrapped = Wrapped { version: label.version, blob: wrapped_key.to_vec(), context };
        Ok((key, description, Arc::new(wrapped)))
    }

    async fn decrypt(
        &self,
        key: &ServiceKey,
        wrapped: Arc<Wrapped>,
        deadline: Instant,
    ) -> Result<Arc<Decrypted>, Failure> {
        self.service.decrypt(key.shared_name(), wrapped, deadline).await.map(Arc::new)
    }

    /// Decrypts in one call with others that want the same wrapped key in the same message.
    async fn decrypt_once_for_all(
        self: &Arc<Self>,
        key: &Arc<ServiceKey>,
        wrapped: Arc<Wrapped>,
        deadline: Instant,
    ) -> Result<Arc<Decrypted>, Failure> {
        let start = || {
            let (inner, key, wrapped) = (Arc::clone(self), Arc::clone(key), Arc::clone(&wrapped));
            async move { inner.decrypt(&key, wrapped, deadline).await }
        };
        let same = (key.shared_name(), Arc::clone(&wrapped));
        self.decrypts.run(same, deadline, None, start).await
    }

    /// Returns the error of an unwrap. Metadata that it contradicts is loaded again before its next use.
    fn not_opened(&self, key: &ServiceKey, failure: Failure) -> KeyringError {
        if let Some(ServiceError::Refused(_) | ServiceError::UnknownKey) = failure.service_error() {
            key.expire();
        }
        failure.into()
    }
}

pub(crate) fn wipe(data_key: &mut DataKey) {
    #[expect(clippy::expect_used, reason = "there is room for none")]
    data_key.space(0).expect("no byte");
}
