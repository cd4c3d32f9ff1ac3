//! A key service in memory that fails on demand, for tests.

mod fault;
mod keys;

pub use fault::{Fault, Method};

use crate::backend::{Backend, Decrypt, Decrypted, Description, Encrypt, Encrypted};
use crate::call::lock;
use crate::{ServiceError, scripted::keys::Keys};
use envelock::KeyVersion;
use envelock::format::WrapAlgorithm;
use envelock::keyset::VersionState;
use fault::Script;
use std::future::pending;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A key service in memory, whose keys are changed and whose answers are wrong as a test orders.
///
/// It wraps by AES-256-GCM with random nonces, bound to the context. A clone is a handle of the same service. A fault
/// of one call comes before one that lasts. Time is the clock of tokio.
#[derive(Clone)]
pub struct ScriptedService {
    algorithm: WrapAlgorithm,
    max_batch: NonZeroUsize,
    state: Arc<Mutex<State>>,
}

struct State {
    keys: Keys,
    script: Script,
    latency: Duration,
    calls: Vec<Call>,
    running: usize,
    most_running: usize,
}

/// A call that the service has received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call {
    /// The method.
    pub method: Method,
    /// The number of its items, or 1 for a description.
    pub items: usize,
    /// When it was received.
    pub at: Instant,
}

impl Default for ScriptedService {
    fn default() -> Self {
        ScriptedService::new()
    }
}

impl ScriptedService {
    /// Returns a service without keys and without faults. Its wrap algorithm is 255.
    pub fn new() -> Self {
        #[expect(clippy::expect_used, reason = "255 is not zero")]
        let algorithm = WrapAlgorithm::new(255).expect("an algorithm");
        let (keys, script) = (Keys::default(), Script::default());
        let (latency, calls) = (Duration::ZERO, Vec::new());
        let state = State { keys, script, latency, calls, running: 0, most_running: 0 };
        let max_batch = NonZeroUsize::MIN;
        ScriptedService { algorithm, max_batch, state: Arc::new(Mutex::new(state)) }
    }

    /// Returns a service with the key `key`, whose primary is version 1.
    pub fn with_key(key: &str) -> Self {
        let service = ScriptedService::new();
        service.create(key);
        service
    }

    /// Returns a handle that says it has another wrap algorithm.
    #[must_use]
    pub fn with_algorithm(mut self, algorithm: WrapAlgorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Returns a handle that takes so many items in a call.
    #[must_use]
    pub fn with_max_batch(mut self, items: NonZeroUsize) -> Self {
        self.max_batch = items;
        self
    }

    /// Has the answer to an encryption report the id of the key from now on.
    pub fn report_ids(&self) {
        lock(&self.state).keys.reports_ids = true;
    }

    /// Creates a key, or replaces it by one of other material.
    pub fn create(&self, key: &str) {
        lock(&self.state).keys.create(key);
    }

    /// Gives the material of `key` the second name `alias`: versions, states and id are shared from now on.
    pub fn share(&self, key: &str, alias: &str) {
        lock(&self.state).keys.share(key, alias);
    }

    /// Removes a key.
    pub fn remove(&self, key: &str) {
        lock(&self.state).keys.remove(key);
    }

    /// Adds a version and makes it the primary. Returns it, or `None` if there is no such key.
    pub fn rotate(&self, key: &str) -> Option<KeyVersion> {
        lock(&self.state).keys.rotate(key)
    }

    /// Makes a version the primary. Returns whether there is one.
    pub fn promote(&self, key: &str, version: KeyVersion) -> bool {
        lock(&self.state).keys.promote(key, version)
    }

    /// Sets the state of a version. Returns whether there is one. A version that is destroyed loses its material.
    pub fn set_state(&self, key: &str, version: KeyVersion, state: VersionState) -> bool {
        lock(&self.state).keys.set_state(key, version, state)
    }

    /// Sets how long each call takes.
    pub fn set_latency(&self, latency: Duration) {
        lock(&self.state).latency = latency;
    }

    /// Has each call of `method` fail, until [`heal`](Self::heal).
    pub fn always(&self, method: Method, fault: Fault) {
        lock(&self.state).script.always(method, fault);
    }

    /// Has every call fail, until [`heal`](Self::heal).
    pub fn fail(&self, fault: Fault) {
        Method::ALL.into_iter().for_each(|method| self.always(method, fault));
    }

    /// Has the next calls of `method` fail in this order. `None` is a call without a fault.
    pub fn next(&self, method: Method, faults: impl IntoIterator<Item = Option<Fault>>) {
        lock(&self.state).script.next(method, faults);
    }

    /// Ends all faults.
    pub fn heal(&self) {
        lock(&self.state).script = Script::default();
    }

    /// Returns the calls since the last time, in the order in which they came.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut lock(&self.state).calls)
    }

    /// Returns how many calls of `method` have come since calls were taken.
    pub fn calls(&self, method: Method) -> usize {
        lock(&self.state).calls.iter().filter(|call| call.method == method).count()
    }

    /// Returns how many calls are running.
    pub fn running(&self) -> usize {
        lock(&self.state).running
    }

    /// Returns how many calls have run at once at most.
    pub fn most_running(&self) -> usize {
        lock(&self.state).most_running
    }

    /// Begins a call: waits, and returns its fault.
    async fn begin(
        &self,
        method: Method,
        items: usize,
    ) -> Result<(Running, Option<Fault>), ServiceError> {
        let (running, latency, fault) = {
            let mut state = lock(&self.state);
            state.calls.push(Call { method, items, at: Instant::now() });
            state.running += 1;
            state.most_running = state.most_running.max(state.running);
            (Running(Arc::clone(&self.state)), state.latency, state.script.fault(method))
        };
        if let Some(Fault::Panic) = fault {
            std::panic::resume_unwind(Box::new("scripted"));
        }
        if let Some(Fault::Hang) = fault {
            pending::<()>().await;
        }
        let slow = match fault {
            Some(Fault::Slow(time)) => time,
            _ => Duration::ZERO,
        };
        sleep(latency + slow).await;
        match fault.and_then(Fault::error) {
            Some(error) => Err(error),
            None => Ok((running, fault)),
        }
    }
}

/// A call that counts as running until it is dropped.
struct Running(Arc<Mutex<State>>);

impl Drop for Running {
    fn drop(&mut self) {
        lock(&self.0).running -= 1;
    }
}

impl Backend for ScriptedService {
    fn algorithm(&self) -> WrapAlgorithm {
        self.algorithm
    }

    fn max_wrapped_key_len(&self) -> usize {
        keys::OVERHEAD + 32
    }

    fn max_batch(&self) -> NonZeroUsize {
        self.max_batch
    }

    async fn describe(&self, key: &str) -> Result<Description, ServiceError> {
        let (_running, fault) = self.begin(Method::Describe, 1).await?;
        let description = lock(&self.state).keys.describe(key)?;
        Ok(match fault {
            Some(Fault::NoVersions) => Description { versions: [].into(), ..description },
            _ => description,
        })
    }

    async fn encrypt(
        &self,
        key: &str,
        items: &[Encrypt<'_>],
    ) -> Result<Vec<Result<Encrypted, ServiceError>>, ServiceError> {
        let (_running, fault) = self.begin(Method::Encrypt, items.len()).await?;
        let mut state = lock(&self.state);
        let made = items.iter().map(|item| state.keys.encrypt(key, *item, fault));
        let mut made: Vec<_> = made.collect();
        if let Some(Fault::MissingAnswer) = fault {
            made.pop();
        }
        Ok(made)
    }

    async fn decrypt(
        &self,
        key: &str,
        items: &[Decrypt<'_>],
    ) -> Result<Vec<Result<Decrypted, ServiceError>>, ServiceError> {
        let (_running, fault) = self.begin(Method::Decrypt, items.len()).await?;
        let state = lock(&self.state);
        let mut opened: Vec<_> =
            items.iter().map(|item| state.keys.decrypt(key, *item, fault)).collect();
        if let Some(Fault::MissingAnswer) = fault {
            opened.pop();
        }
        Ok(opened)
    }

    async fn reencrypt(
        &self,
        key: &str,
        items: &[Decrypt<'_>],
    ) -> Result<Vec<Result<Encrypted, ServiceError>>, ServiceError> {
        let (_running, fault) = self.begin(Method::Reencrypt, items.len()).await?;
        let mut state = lock(&self.state);
        let again = items.iter().map(|item| {
            let opened = state.keys.decrypt(key, *item, None)?;
            let plain = Encrypt { plaintext: opened.expose(), context: item.context };
            state.keys.encrypt(key, plain, fault)
        });
        Ok(again.collect())
    }
}
