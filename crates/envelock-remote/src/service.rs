//! Calls of the back end, one item each.

use crate::ServiceError;
use crate::backend::{Backend, Decrypt, Decrypted, Description, Encrypt, Encrypted};
use crate::call::batch::Batches;
use crate::call::operation::Operations;
use crate::call::{CallError, CallOptions, with_own_deadline};
use envelock::KeyVersion;
use envelock::keyring::KeyringError;
use std::sync::Arc;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// Why a call did not succeed.
#[derive(Clone, Debug)]
pub(crate) struct Failure(CallError);

impl Failure {
    pub(crate) fn of(source: ServiceError) -> Self {
        Failure(CallError::Failed { attempts: 1, source })
    }

    /// Returns the failure of an answer that makes no sense.
    pub(crate) fn broken(text: String) -> Self {
        Failure::of(ServiceError::broken(text))
    }

    /// Returns the failure of a caller whose deadline has passed.
    pub(crate) fn deadline() -> Self {
        Failure(CallError::Deadline { attempts: 0, source: None })
    }

    /// Returns the failure of a keyring that was not asked to load its metadata.
    pub(crate) fn not_prepared() -> Self {
        Failure::of(ServiceError::unavailable("metadata is not loaded: await `prepare` first"))
    }

    /// Returns the last error of the service, if it answered.
    pub(crate) fn service_error(&self) -> Option<&ServiceError> {
        self.0.last()
    }

    /// Returns whether the deadline of the caller that made the call ended it.
    pub(crate) fn is_deadline(&self) -> bool {
        matches!(self.0, CallError::Deadline { .. })
    }

    pub(crate) fn is_unknown_key(&self) -> bool {
        matches!(self.service_error(), Some(ServiceError::UnknownKey))
    }
}

impl From<Failure> for KeyringError {
    fn from(failure: Failure) -> Self {
        failure.0.into()
    }
}

/// A slot's wrapped key, with what it is bound to.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Wrapped {
    pub(crate) version: KeyVersion,
    pub(crate) blob: Vec<u8>,
    pub(crate) context: Vec<u8>,
}

/// A data key, with what its wrap is bound to.
pub(crate) struct Plain {
    pub(crate) plaintext: Zeroizing<Vec<u8>>,
    pub(crate) context: Vec<u8>,
}

/// A back end, and how it is called.
pub(crate) struct Service<B> {
    backend: Arc<B>,
    operations: Operations<ServiceError>,
    encrypts: Batches<Arc<str>, Arc<Plain>, Encrypted, ServiceError>,
    decrypts: Batches<Arc<str>, Arc<Wrapped>, Decrypted, ServiceError>,
    reencrypts: Batches<Arc<str>, Arc<Wrapped>, Encrypted, ServiceError>,
}

impl<B: Backend> Service<B> {
    pub(crate) fn new(backend: B, options: CallOptions) -> Self {
        let most = backend.max_batch().get();
        Service {
            backend: Arc::new(backend),
            operations: Operations::new(options),
            encrypts: Batches::new(most),
            decrypts: Batches::new(most),
            reencrypts: Batches::new(most),
        }
    }

    pub(crate) fn backend(&self) -> &B {
        &self.backend
    }

    /// Returns the deadline of an operation that starts now.
    pub(crate) fn deadline(&self) -> Instant {
        self.operations.deadline()
    }

    pub(crate) async fn describe(&self, key: &str, until: Instant) -> Result<Description, Failure> {
        self.repeat(until, || self.backend.describe(key)).await
    }

    /// Runs an operation each of whose attempts is a call that may be made again.
    pub(crate) async fn repeat<T, F>(
        &self,
        until: Instant,
        start: impl Fn() -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, ServiceError>>,
    {
        with_own_deadline(until, self.operations.run_call(start)).await.map_err(Failure)
    }

    pub(crate) async fn encrypt(
        &self,
        key: Arc<str>,
        item: Arc<Plain>,
        until: Instant,
    ) -> Result<Encrypted, Failure> {
        self.batched(&self.encrypts, (key, item), until, |backend, key, items| async move {
            let items: Vec<_> = items.iter().map(|item| item.as_item()).collect();
            backend.encrypt(&key, &items).await
        })
        .await
    }

    pub(crate) async fn decrypt(
        &self,
        key: Arc<str>,
        item: Arc<Wrapped>,
        until: Instant,
    ) -> Result<Decrypted, Failure> {
        self.batched(&self.decrypts, (key, item), until, |backend, key, items| async move {
            let items: Vec<_> = items.iter().map(|item| item.as_item()).collect();
            backend.decrypt(&key, &items).await
        })
        .await
    }

    pub(crate) async fn reencrypt(
        &self,
        key: Arc<str>,
        item: Arc<Wrapped>,
        until: Instant,
    ) -> Result<Encrypted, Failure> {
        self.batched(&self.reencrypts, (key, item), until, |backend, key, items| async move {
            let items: Vec<_> = items.iter().map(|item| item.as_item()).collect();
            backend.reencrypt(&key, &items).await
        })
        .await
    }

    /// Runs an operation on one item, each of whose attempts is part of a batch that `send` makes.
    async fn batched<I, O, F>(
        &self,
        batches: &Batches<Arc<str>, Arc<I>, O, ServiceError>,
        (key, item): (Arc<str>, Arc<I>),
        until: Instant,
        send: impl FnOnce(Arc<B>, Arc<str>, Vec<Arc<I>>) -> F + Copy + Send + 'static,
    ) -> Result<O, Failure>
    where
        I: Send + Sync + 'static,
        O: Send + 'static,
        F: Future<Output = Result<Vec<Result<O, ServiceError>>, ServiceError>> + Send + 'static,
    {
        let call = self.operations.run(|deadline| {
            let (backend, name) = (Arc::clone(&self.backend), Arc::clone(&key));
            let item = (Arc::clone(&item), deadline);
            let send = move |items| send(backend, name, items);
            batches.call(self.operations.gate(), Arc::clone(&key), item, send)
        });
        with_own_deadline(until, call).await.map_err(Failure)
    }
}

impl Plain {
    fn as_item(&self) -> Encrypt<'_> {
        Encrypt { plaintext: &self.plaintext, context: &self.context }
    }
}

impl Wrapped {
    fn as_item(&self) -> Decrypt<'_> {
        Decrypt { version: self.version, blob: &self.blob, context: &self.context }
    }
}

#[cfg(all(test, feature = "test-util"))]
mod tests {
    use super::*;
    use crate::scripted::ScriptedService;
    use crate::with_deadline;
    use std::time::Duration;

    /// Another caller can be the first that polls a shared call, and leave before.
    #[tokio::test(start_paused = true)]
    async fn shared_call_has_the_deadline_of_its_starter() {
        let backend = ScriptedService::with_key("orders");
        backend.set_latency(Duration::from_secs(2));
        let service = Service::new(backend, CallOptions::default());
        let [early, late] = [1, 5].map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let described = with_deadline(early, service.describe("orders", late)).await;
        assert!(described.is_ok(), "{described:?}");
        let early = with_deadline(late, service.describe("orders", Instant::now())).await;
        assert!(early.is_err_and(|failure| failure.is_deadline()));
    }
}
