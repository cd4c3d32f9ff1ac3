//! An asynchronous keyring over one that may block.

mod answers;
mod builder;
mod threads;

pub use builder::BlockingBuilder;

use crate::generator::Seeded;
use crate::unwrap::wipe;
use answers::{Answers, owned_label};
use envelock::format::{OwnedSlot, Slot};
use envelock::keyring::{
    AsyncKeyring, AsyncKeyringRng, Freshness, KeyringError, KeyringLabels, OwnedWrapContext,
    PrimaryKey, PushedSlots, SlotWriter, WrapContext,
};
use envelock::{DataKey, KeyName, Keyring, SlotLabel};
use std::fmt;
use std::sync::Arc;
use threads::Threads;

/// An [`AsyncKeyring`] over a keyring that may block, such as a `FileKeyring` or a `Pkcs11Keyring`.
///
/// Each call of the keyring runs on one of tokio's blocking threads
/// ([`spawn_blocking`](tokio::task::spawn_blocking)). The executor's threads never call it. A clone is a handle of
/// the same keyring. For keyrings that never block, [`Inline`](envelock::keyring::Inline) is cheaper: an operation
/// goes to another thread and back twice or more, which takes longer than a wrap under a key in memory.
///
/// ```
/// use envelock::{Aad, AsyncEnvelope, FileKeyring, Lifecycle, file::Protection};
/// use envelock_remote::Blocking;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// # let directory = std::env::temp_dir().join(format!("envelock-blocking-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// # let path = directory.join("orders.keys");
/// let protection = Protection::passphrase("correct horse battery staple");
/// let open = move || FileKeyring::open_or_create(path, "orders", &protection);
/// let keyring = Blocking::new(tokio::task::spawn_blocking(open).await??);
///
/// let envelope = AsyncEnvelope::new(keyring.clone());
/// let message = envelope.encrypt(b"four boxes", Aad::none()).await?;
/// keyring.call(|keys| keys.rotate()).await??;
/// assert!(envelope.needs_rewrap(&message).await?);
/// assert_eq!(envelope.decrypt(&message, Aad::none()).await?, b"four boxes");
/// # std::fs::remove_dir_all(&directory)?;
/// # Ok(())
/// # })
/// # }
/// ```
///
/// # Answers
///
/// Slots and errors are those of the keyring. The methods of [`KeyringLabels`] return what
/// [`prepare`](AsyncKeyring::prepare) loaded, which asks the keyring each time: an operation sees each change that
/// was made before it began. An error of the keyring about its primaries, a label or a name is returned where the
/// operation needs that, and not by `prepare`. The states of the last 8,192 labels at least are kept.
///
/// # Cancellation, deadlines
///
/// Calls are made in the order in which they came. A call whose future is dropped before it begins is never made. One
/// that has begun goes on to its end and keeps its thread until then, and its result is dropped: data keys are wiped.
/// So nothing limits the time of a call but the keyring itself; `tokio::time::timeout` limits the time that an
/// operation waits for it.
///
/// A call needs no poll of its future to begin and to end, so that futures which nobody polls for a while keep no other
/// operation from a thread. Where several runtimes await one keyring, a thread of one may make the calls of another,
/// and a runtime that is dropped waits for that.
///
/// # Errors
///
/// Beside those of the keyring, each method returns [`KeyringError::Backend`], which is retryable if the runtime was
/// shut down before the call began, and is not if there is none: the future is polled outside of a runtime of tokio.
///
/// # Panics
///
/// A panic of the keyring goes on in the task that awaits the call, as if the keyring had been called there. Panics,
/// too, if the system has no thread for the runtime's first blocking call.
///
/// # Drop
///
/// The last handle drops the keyring where it is dropped itself. If that writes a file, as the usage counts of a
/// `FileKeyring`, [`call`](Self::call) writes them before: `keyring.call(|keys| keys.flush())`.
pub struct Blocking<K>(Arc<Inner<K>>);

struct Inner<K> {
    keyring: K,
    /// The names that are loaded beside those of labels.
    names: Box<[Box<str>]>,
    threads: Arc<Threads>,
    answers: Answers,
}

impl<K: Keyring + 'static> Blocking<K> {
    /// Returns the asynchronous form of `keyring`, with the default options. Makes no call.
    pub fn new(keyring: K) -> Self {
        BlockingBuilder::new(keyring).build()
    }

    /// Returns the options of the asynchronous form of `keyring`.
    pub fn builder(keyring: K) -> BlockingBuilder<K> {
        BlockingBuilder::new(keyring)
    }

    /// Runs `call` with the keyring on a blocking thread, and returns its result: for a rotation, a flush, and
    /// whatever else the keyring has.
    ///
    /// # Errors
    ///
    /// [`KeyringError::Backend`] if there is no runtime, or it was shut down before.
    ///
    /// # Panics
    ///
    /// Panics if `call` does.
    pub async fn call<T: Send + 'static>(
        &self,
        call: impl FnOnce(&K) -> T + Send + 'static,
    ) -> Result<T, KeyringError> {
        self.run(move |inner| call(&inner.keyring)).await
    }

    async fn run<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Inner<K>) -> T + Send + 'static,
    ) -> Result<T, KeyringError> {
        let inner = Arc::clone(&self.0);
        self.0.threads.run(move || call(&inner)).await
    }

    async fn push(
        &self,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        call: impl FnOnce(&K, &WrapContext<'_>, &mut SlotWriter<'_>) -> Result<(), KeyringError>
        + Send
        + 'static,
    ) -> Result<(), KeyringError> {
        let context = OwnedWrapContext::from(context);
        let pushed = self.call(move |keyring| {
            let context = context.as_context();
            PushedSlots::of(context.suite(), |slots| call(keyring, &context, slots))
        });
        pushed.await?.push_to(slots)
    }
}

impl<K: Keyring + 'static> KeyringLabels for Blocking<K> {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.0.answers.visit_primaries(visit)
    }

    fn holds(
        &self,
        name: KeyName<'_>,
        visit: &mut dyn FnMut(KeyName<'_>),
    ) -> Result<(), KeyringError> {
        self.0.answers.holds(name, visit)
    }

    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        self.0.answers.freshness(slot)
    }
}

impl<K: Keyring + 'static> AsyncKeyring for Blocking<K> {
    async fn prepare(&self, labels: &[SlotLabel<'_>]) -> Result<(), KeyringError> {
        let labels: Vec<_> = labels.iter().map(owned_label).collect();
        self.run(move |inner| inner.answers.load(&inner.keyring, &labels, &inner.names)).await
    }

    async fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut AsyncKeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        let (data_key, mut rng) = (copy_of(data_key), Seeded::from_rng(rng)?);
        let wrap = move |keyring: &K, context: &WrapContext<'_>, slots: &mut SlotWriter<'_>| {
            keyring.wrap(&data_key, context, slots, &mut rng)
        };
        self.push(context, slots, wrap).await
    }

    async fn wrap_under(
        &self,
        name: KeyName<'_>,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut AsyncKeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        let (data_key, mut rng) = (copy_of(data_key), Seeded::from_rng(rng)?);
        let name = name.as_str().to_owned();
        let wrap = move |keyring: &K, context: &WrapContext<'_>, slots: &mut SlotWriter<'_>| {
            let name = KeyName::new(&name).map_err(|_| KeyringError::unknown_key(&*name))?;
            keyring.wrap_under(name, &data_key, context, slots, &mut rng)
        };
        self.push(context, slots, wrap).await
    }

    async fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        wipe(data_key);
        let (slot, context) = (OwnedSlot::from(slot), OwnedWrapContext::from(context));
        let opened = self.call(move |keyring| {
            let mut data_key = Box::new(DataKey::empty());
            keyring.unwrap(&slot.as_slot(), &context.as_context(), &mut data_key)?;
            Ok::<_, KeyringError>(data_key)
        });
        copy(&*opened.await??, data_key);
        Ok(())
    }

    async fn rewrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut AsyncKeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        let (slot, mut rng) = (OwnedSlot::from(slot), Seeded::from_rng(rng)?);
        let rewrap = move |keyring: &K, context: &WrapContext<'_>, slots: &mut SlotWriter<'_>| {
            keyring.rewrap(&slot.as_slot(), context, slots, &mut rng)
        };
        self.push(context, slots, rewrap).await
    }
}

/// Copies a data key to a box, which leaves nothing behind where it moves.
fn copy_of(data_key: &DataKey) -> Box<DataKey> {
    let mut copied = Box::new(DataKey::empty());
    copy(data_key, &mut copied);
    copied
}

#[expect(clippy::expect_used, reason = "every data key has room for every other")]
fn copy(from: &DataKey, to: &mut DataKey) {
    to.space(from.len()).expect("as many bytes").copy_from_slice(from.expose());
}

impl<K> Clone for Blocking<K> {
    fn clone(&self) -> Self {
        Blocking(Arc::clone(&self.0))
    }
}

impl<K: fmt::Debug> fmt::Debug for Blocking<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Blocking").field(&self.0.keyring).finish()
    }
}
