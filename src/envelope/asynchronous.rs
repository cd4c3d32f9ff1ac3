//! Encryption, decryption and rewraps with an asynchronous keyring.

use super::replay::Replay;
use super::rewrap::{GrantOptions, HeaderUpdate, Rewrap, RewrapOptions};
use super::{Envelope, Examination, NewMessage, OpenedKey};
use crate::aad::Aad;
use crate::error::Error;
use crate::format::{Header, SlotLabel};
use crate::keyring::{AsyncKeyring, KeyringLabels};
use crate::random::{OsRandom, RandomSource, RecordedRandom};
use crate::stream::{
    Completion, LabelCheck, MessageStart, RangeDecryptor, StreamDecryptor, StreamEncryptor,
};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

/// An [`Envelope`] over an [`AsyncKeyring`].
///
/// Its methods over headers are those of [`Envelope`], awaited; bodies are encrypted and decrypted by the same
/// values: [`NewMessage`], [`OpenedKey`] and the streams. The messages are the same too. Futures are `Send`,
/// need no runtime, and have no effect if they are dropped before their end.
///
/// An [`Envelope`] with the settings becomes one by `From`. It has no data key reuse.
///
/// ```
/// # #[cfg(feature = "std")] fn main() -> Result<(), envelock::Error> {
/// # fn block_on<T>(future: impl Future<Output = T>) -> T {
/// #     let mut future = std::pin::pin!(future);
/// #     let mut context = std::task::Context::from_waker(std::task::Waker::noop());
/// #     loop {
/// #         if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
/// #             return value;
/// #         }
/// #     }
/// # }
/// # block_on(async {
/// use envelock::keyring::Inline;
/// use envelock::{Aad, AsyncEnvelope, MemoryKeyring};
///
/// let envelope = AsyncEnvelope::new(Inline::new(MemoryKeyring::create("orders")?));
/// let message = envelope.encrypt(b"four boxes", Aad::none()).await?;
/// assert_eq!(envelope.decrypt(&message, Aad::none()).await?, b"four boxes");
/// # Ok(())
/// # })
/// # }
/// # #[cfg(not(feature = "std"))] fn main() {}
/// ```
pub struct AsyncEnvelope<K, R = OsRandom>(Envelope<K, R>);

/// The envelope of one run of an operation.
type Run<'a, K, R> = Envelope<Replay<'a, K>, RecordedRandom<'a, R>>;

impl<K> AsyncEnvelope<K> {
    /// Returns an envelope with the settings of [`Envelope::new`].
    pub fn new(keyring: K) -> Self {
        AsyncEnvelope(Envelope::new(keyring))
    }
}

impl<K, R> From<Envelope<K, R>> for AsyncEnvelope<K, R> {
    fn from(envelope: Envelope<K, R>) -> Self {
        AsyncEnvelope(envelope)
    }
}

impl<K, R> AsyncEnvelope<K, R> {
    /// Returns the keyring.
    pub fn keyring(&self) -> &K {
        self.0.keyring()
    }
}

impl<K: AsyncKeyring, R: RandomSource + Sync> AsyncEnvelope<K, R> {
    /// Encrypts a message with an inline header to a new buffer. See [`Envelope::encrypt`].
    ///
    /// # Errors
    ///
    /// Those of [`Envelope::encrypt`].
    pub async fn encrypt(&self, plaintext: &[u8], aad: Aad<'_>) -> Result<Vec<u8>, Error> {
        let new = self.start(plaintext.len(), aad).await?;
        new.into_message(plaintext)
    }

    /// Starts a message whose body is encrypted by the result. See [`Envelope::start`].
    ///
    /// # Errors
    ///
    /// Those of [`Envelope::start`].
    pub async fn start(&self, plaintext_len: usize, aad: Aad<'_>) -> Result<NewMessage, Error> {
        self.run(&[], |envelope| envelope.start(plaintext_len, aad)).await
    }

    /// Starts a stream. See [`Envelope::stream_encryptor`].
    ///
    /// Before its end the stream asks [`KeyringLabels::freshness`] whether the message will open, from
    /// memory. Await [`AsyncKeyring::prepare`] before the end to ask the back end.
    ///
    /// # Errors
    ///
    /// Those of [`Envelope::stream_encryptor`].
    pub async fn stream_encryptor<'k>(&self, aad: Aad<'_>) -> Result<StreamEncryptor<'k>, Error>
    where
        K: 'k,
    {
        let begun = self.run(&[], |envelope| envelope.begin_stream(aad)).await?;
        let labels = Arc::new(Labels(self.0.keyring.clone()));
        Ok(self.0.stream_of(begun, |header, observer| Completion::new(labels, header, observer)))
    }

    /// Unwraps the data key of a message. See [`Envelope::open`].
    ///
    /// # Errors
    ///
    /// Those of [`Envelope::open`].
    pub async fn open(&self, message: &[u8]) -> Result<OpenedKey, Error> {
        self.run(&labels(message)?, |envelope| envelope.open(message)).await
    }

    /// Decrypts a message to a new buffer. See [`Envelope::decrypt`].
    ///
    /// # Errors
    ///
    /// Those of [`Envelope::decrypt`].
    pub async fn decrypt(&self, message: &[u8], aad: Aad<'_>) -> Result<Vec<u8>, Error> {
        let (_, body) = super::decrypt::split(message)?;
        self.open(message).await?.decrypt(body, aad)
    }

    /// Starts to decrypt a stream. See [`StreamDecryptor::open`].
    ///
    /// # Errors
    ///
    /// Those of [`StreamDecryptor::open`].
    pub async fn stream_decryptor(
        &self,
        start: &MessageStart,
        aad: Aad<'_>,
    ) -> Result<StreamDecryptor, Error> {
        let labels = labels(start.header()?.as_bytes())?;
        self.run(&labels, |envelope| envelope.stream_decryptor(start, aad)).await
    }

    /// Starts to decrypt parts of a message of `len` bytes. See [`RangeDecryptor::open`].
    ///
    /// # Errors
    ///
    /// Those of [`RangeDecryptor::open`].
    pub async fn range_decryptor(
        &self,
        start: &MessageStart,
        len: u64,
        aad: Aad<'_>,
    ) -> Result<RangeDecryptor, Error> {
        let labels = labels(start.header()?.as_bytes())?;
        self.run(&labels, |envelope| envelope.range_decryptor(start, len, aad)).await
    }

    /// Wraps the data key of a message under the primary version. See [`Envelope::rewrap`].
    ///
    /// # Errors
    ///
    /// Those of [`Envelope::rewrap`].
    pub async fn rewrap(
        &self,
        message: &[u8],
        options: RewrapOptions<'_>,
    ) -> Result<Rewrap, Error> {
        self.run(&labels(message)?, |envelope| envelope.rewrap(message, options)).await
    }

    /// Returns whether a slot of this keyring is under another version than the primary. See
    /// [`Envelope::needs_rewrap`].
    ///
    /// # Errors
    ///
    /// Those of [`Envelope::needs_rewrap`].
    pub async fn needs_rewrap(&self, message: &[u8]) -> Result<bool, Error> {
        self.run(&labels(message)?, |envelope| envelope.needs_rewrap(message)).await
    }

    /// Opens each slot of a message. See [`Envelope::examine`].
    ///
    /// # Errors
    ///
    /// Those of [`Envelope::examine`].
    pub async fn examine<'m>(&self, message: &'m [u8]) -> Result<Examination<'m>, Error> {
        self.run(&labels(message)?, |envelope| envelope.examine(message)).await
    }

    /// Checks that a slot of each name opens. See [`Envelope::verify_slots`].
    ///
    /// # Errors
    ///
    /// Those of [`Envelope::verify_slots`].
    pub async fn verify_slots(&self, message: &[u8], names: &[&str]) -> Result<(), Error> {
        self.run(&labels(message)?, |envelope| envelope.verify_slots(message, names)).await
    }

    /// Adds slots for the keyring `to`. See [`Envelope::add_slot`].
    ///
    /// # Errors
    ///
    /// Those of [`Envelope::add_slot`].
    pub async fn add_slot<T: AsyncKeyring + ?Sized>(
        &self,
        message: &[u8],
        to: &T,
        options: GrantOptions<'_>,
    ) -> Result<HeaderUpdate, Error> {
        let labels = labels(message)?;
        to.prepare(&labels).await.map_err(Error::from_wrap)?;
        let to = Replay::new(to);
        self.run_beside(&to, &labels, |envelope| envelope.add_slot(message, &to, options)).await
    }

    /// Removes the slots of a name. See [`Envelope::remove_name`].
    ///
    /// # Errors
    ///
    /// Those of [`Envelope::remove_name`].
    pub async fn remove_name(&self, message: &[u8], name: &str) -> Result<HeaderUpdate, Error> {
        self.run(&labels(message)?, |envelope| envelope.remove_name(message, name)).await
    }

    async fn run<T>(
        &self,
        labels: &[SlotLabel<'_>],
        operation: impl Fn(&Run<'_, K, R>) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        let none = Replay::new(self.keyring());
        self.run_beside(&none, labels, operation).await
    }

    /// Runs `operation` until it misses no response, neither of this keyring nor of `other`.
    async fn run_beside<T, K2: AsyncKeyring + ?Sized>(
        &self,
        other: &Replay<'_, K2>,
        labels: &[SlotLabel<'_>],
        operation: impl Fn(&Run<'_, K, R>) -> Result<T, Error> + Send,
    ) -> Result<T, Error> {
        self.keyring().prepare(labels).await.map_err(Error::from_wrap)?;
        let random = &self.0.random;
        let envelope =
            self.0.with(Arc::new(Replay::new(self.keyring())), RecordedRandom::new(random));
        loop {
            envelope.random.rewind();
            let result = operation(&envelope);
            if !envelope.keyring.is_missing() && !other.is_missing() {
                return result;
            }
            drop(result);
            envelope.keyring.respond(random).await;
            other.respond(random).await;
        }
    }
}

impl<K: fmt::Debug, R> fmt::Debug for AsyncEnvelope<K, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AsyncEnvelope").field(&self.0).finish()
    }
}

/// The labels of a message, which a keyring prepares for.
fn labels(message: &[u8]) -> Result<Vec<SlotLabel<'_>>, Error> {
    Ok(Header::parse(message)?.slots().map(|slot| slot.label).collect())
}

/// Asks an asynchronous keyring from memory.
struct Labels<K>(Arc<K>);

impl<K: KeyringLabels> LabelCheck for Labels<K> {
    fn label_freshness(
        &self,
        label: &SlotLabel<'_>,
    ) -> Result<crate::keyring::Freshness, crate::keyring::KeyringError> {
        self.0.freshness(label)
    }
}
