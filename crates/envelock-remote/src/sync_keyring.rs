//! A synchronous keyring over an asynchronous one.

use crate::generator::Seeded;
use crate::runtime_thread::{RuntimeThread, StartError};
use envelock::format::Slot;
use envelock::keyring::{
    AsyncKeyring, Freshness, KeyringError, KeyringRng, PrimaryKey, SlotWriter, WrapContext,
};
use envelock::{DataKey, KeyName, Keyring, SlotLabel};
use std::fmt;
use std::future::Future;

/// A [`Keyring`] over an [`AsyncKeyring`], for programs that do not await.
///
/// It runs a runtime of tokio on a thread of its own, where the client of the service is built and its connections
/// live. The calls of a [`RemoteKeyring`](crate::RemoteKeyring) are tasks of it. The thread that calls polls the operation
/// itself and sleeps between polls: a data key is in its memory, in that of the call, and of the client.
///
/// It works on any thread, also inside a runtime of the caller, of any kind. A call from a task stops the other
/// tasks of its thread: await an [`AsyncKeyring`] there instead. It does not survive a `fork`.
///
/// ```
/// use envelock::keyring::Inline;
/// use envelock::{Aad, Envelope, MemoryKeyring};
/// use envelock_remote::SyncKeyring;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let keyring = SyncKeyring::start(async || MemoryKeyring::create("orders").map(Inline::new))?;
/// let envelope = Envelope::new(keyring);
/// let message = envelope.encrypt(b"four boxes", Aad::none())?;
/// assert_eq!(envelope.decrypt(&message, Aad::none())?, b"four boxes");
/// # Ok(())
/// # }
/// ```
pub struct SyncKeyring<K> {
    /// Dropped before its runtime.
    keyring: K,
    runtime: RuntimeThread,
}

/// The keyring was called on its own runtime's thread.
#[derive(Debug, thiserror::Error)]
#[error("synchronous keyring was called on the thread of its own runtime, which it would stop")]
struct OwnThread;

impl<K> SyncKeyring<K> {
    /// Starts the thread, and builds the keyring on it by `build`.
    ///
    /// # Errors
    ///
    /// [`StartError::Thread`] if the system has no thread or no event queue left, [`StartError::Build`] with the
    /// error of `build`.
    ///
    /// # Panics
    ///
    /// Panics if `build` does.
    pub fn start<F, E>(build: impl FnOnce() -> F + Send + 'static) -> Result<Self, StartError<E>>
    where
        F: Future<Output = Result<K, E>>,
        K: Send + 'static,
        E: Send + 'static,
    {
        let (runtime, keyring) = RuntimeThread::start(build)?;
        Ok(SyncKeyring { keyring, runtime })
    }

    /// Returns the keyring. Await its calls in no other runtime: its connections belong to the own one.
    pub fn keyring(&self) -> &K {
        &self.keyring
    }
}

impl<K: AsyncKeyring> SyncKeyring<K> {
    /// Awaits `call` after the keyring is prepared for `labels`, by this thread.
    fn wait<T>(
        &self,
        labels: &[SlotLabel<'_>],
        call: impl Future<Output = Result<T, KeyringError>>,
    ) -> Result<T, KeyringError> {
        let prepared = async {
            self.keyring.prepare(labels).await?;
            call.await
        };
        self.block_on(prepared)?
    }

    /// Awaits `call` by this thread.
    pub(crate) fn block_on<T>(&self, call: impl Future<Output = T>) -> Result<T, KeyringError> {
        self.runtime.block_on(call).ok_or_else(|| KeyringError::broken(OwnThread))
    }

    /// Asks what the keyring has in memory once it is prepared for `labels`.
    fn ask<T>(
        &self,
        labels: &[SlotLabel<'_>],
        query: impl FnOnce(&K) -> Result<T, KeyringError>,
    ) -> Result<T, KeyringError> {
        self.wait(labels, async { Ok(()) })?;
        // Not while it is polled: the query calls the caller.
        query(&self.keyring)
    }
}

/// Each method prepares the keyring first, which is a call to the service if it has not what it needs in memory.
impl<K: AsyncKeyring> Keyring for SyncKeyring<K> {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.ask(&[], |keyring| keyring.visit_primaries(visit))
    }

    fn holds(
        &self,
        name: KeyName<'_>,
        visit: &mut dyn FnMut(KeyName<'_>),
    ) -> Result<(), KeyringError> {
        self.ask(&[], |keyring| keyring.holds(name, visit))
    }

    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        self.ask(&[*slot], |keyring| keyring.freshness(slot))
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        let mut rng = Seeded::from_rng(rng)?;
        self.wait(&[], self.keyring.wrap(data_key, context, slots, &mut rng))
    }

    fn wrap_under(
        &self,
        name: KeyName<'_>,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        let mut rng = Seeded::from_rng(rng)?;
        self.wait(&[], self.keyring.wrap_under(name, data_key, context, slots, &mut rng))
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        self.wait(&[slot.label], self.keyring.unwrap(slot, context, data_key))
    }

    fn rewrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        let mut rng = Seeded::from_rng(rng)?;
        self.wait(&[slot.label], self.keyring.rewrap(slot, context, slots, &mut rng))
    }
}

impl<K> fmt::Debug for SyncKeyring<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncKeyring").finish_non_exhaustive()
    }
}
