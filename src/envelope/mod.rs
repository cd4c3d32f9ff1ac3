//! Encryption, decryption, rewraps and inspection of messages with a keyring.

mod asynchronous;
mod decrypt;
mod encrypt;
mod examine;
#[cfg(feature = "std")]
mod io;
mod length;
mod new_message;
mod opened;
#[cfg(feature = "std")]
mod opened_io;
mod replay;
mod rewrap;
mod scratch;
mod stream;

pub use asynchronous::AsyncEnvelope;
pub use examine::{Examination, SlotFinding};
pub use length::{body_len, plaintext_len};
pub use new_message::NewMessage;
pub use opened::OpenedKey;
pub(crate) use rewrap::refused_primary;
pub use rewrap::{GrantOptions, HeaderUpdate, Rewrap, RewrapOptions, RewrapReport, SlotOutcome};

use crate::crypto::provider::Provider;
use crate::error::Error;
use crate::format::{Header, KeyName, SlotLabel, Suite};
use crate::keyring::{Freshness, Keyring};
use crate::observe::Observer;
use crate::random::LockedRng;
use crate::random::OsRandom;
use crate::reuse::ReuseKeys;
use crate::threads::Threads;
use alloc::sync::Arc;
use core::fmt;
use opened::Settings;
use rand_core::TryCryptoRng;

/// Encrypts, decrypts and rewraps messages with a keyring.
///
/// Holds its settings and no secret, unless it gets a `DataKeyReuse`. Share it by reference, or create one
/// wherever it is needed. `K` may be a keyring, a reference to one, a `Box` or an `Arc`, also of
/// `dyn Keyring`.
///
/// Random bytes come from the operating system in one call (feature `std`), or from the generator of
/// [`with_rng`](Self::with_rng).
///
/// | | allocates | writes to |
/// |---|---|---|
/// | [`encrypt`](Self::encrypt), [`decrypt`](Self::decrypt) | the result | a new `Vec` |
/// | [`encrypt_into`](Self::encrypt_into), [`decrypt_into`](Self::decrypt_into) | nothing | the caller's buffer |
/// | [`encrypt_in_place`](Self::encrypt_in_place), [`decrypt_in_place`](Self::decrypt_in_place) | nothing | over its input |
/// | [`stream_encryptor`](Self::stream_encryptor), [`StreamDecryptor::open`](crate::stream::StreamDecryptor::open) | one chunk | the caller's buffers, piece by piece |
/// | [`RangeDecryptor::open`](crate::stream::RangeDecryptor::open) | nothing, or one chunk | the caller's buffer, any part |
/// | `encrypt_writer`, `encrypt_reader`, `encrypt_copy`, `decrypt_reader`, `decrypt_copy`, `range_reader` | a few chunks | `Read`, `Write` and `Seek` of `std` |
/// | `stream::{AsyncEncryptWriter, AsyncDecryptReader}` | a few chunks | `AsyncRead` and `AsyncWrite` of `tokio` |
/// | `file::{encrypt, decrypt, rewrap, add_slot, remove_name}` | 256 KiB | files, durably |
///
/// [`AsyncEnvelope`] has the operations over a keyring whose calls are awaited.
///
/// With a detached header each operation has two steps: one over the header, which calls the
/// keyring, and one over the body, which does not.
///
/// | | header | body |
/// |---|---|---|
/// | encrypt in memory | [`start`](Self::start) | [`NewMessage`]: `encrypt`, `encrypt_into`, `encrypt_in_place` |
/// | encrypt a stream | [`stream_encryptor`](Self::stream_encryptor), [`take_header`](crate::stream::StreamEncryptor::take_header) | the stream, `EncryptWriter::from_stream`, `EncryptReader::from_stream` |
/// | decrypt | [`open`](Self::open) | [`OpenedKey`]: `decrypt`, `decrypt_into`, `decrypt_in_place`, `decrypt_reader`, `decrypt_copy`, `range_reader` |
/// | decrypt piece by piece | [`MessageStart::detached`](crate::stream::MessageStart::detached) | [`OpenedKey::stream_decryptor`], [`OpenedKey::range_decryptor`] |
/// | change the keys that open it | [`rewrap`](Self::rewrap), [`add_slot`](Self::add_slot), [`remove_name`](Self::remove_name) | unchanged |
pub struct Envelope<K, R = OsRandom> {
    /// Shared with the streams of this envelope.
    keyring: Arc<K>,
    suite: Suite,
    reserved: usize,
    settings: Settings,
    observer: Option<Arc<dyn Observer>>,
    reuse: Option<Arc<dyn ReuseKeys>>,
    verifies_wraps: bool,
    random: R,
}

impl<K> Envelope<K> {
    /// Returns an envelope with the default suite and provider, and no reserved room.
    pub fn new(keyring: K) -> Self {
        Envelope {
            keyring: Arc::new(keyring),
            suite: Suite::default(),
            reserved: 0,
            settings: Settings::default(),
            observer: None,
            reuse: None,
            verifies_wraps: false,
            random: OsRandom,
        }
    }
}

impl<K, R> Envelope<K, R> {
    /// Encrypts with another suite, such as suite 4 for database fields. [`Suite`] says when to use each.
    /// Decryption uses the suite of the message.
    #[must_use]
    pub fn with_suite(mut self, suite: Suite) -> Self {
        self.suite = suite;
        self
    }

    /// Reserves `bytes` of padding after the slots of new headers, so that a larger slot of a later
    /// rewrap fits in place. A rewrap changes no name.
    ///
    /// With 8 bytes, the slot of any token key can replace the slot of a software key.
    #[must_use]
    pub fn with_reserved(mut self, bytes: usize) -> Self {
        self.reserved = bytes;
        self
    }

    /// Encrypts and decrypts bodies with another implementation than the fastest one compiled in.
    /// The bytes are the same.
    #[must_use]
    pub fn with_provider(mut self, provider: Provider) -> Self {
        self.settings.provider = provider;
        self
    }

    /// Encrypts and decrypts long bodies on several threads, in memory and streamed. The bytes are the
    /// same.
    ///
    /// A body in memory is split from 1 MiB on, with a thread for each 512 KiB; AES-GCM by `graviola` or
    /// AWS-LC from 2 MiB on, with a thread for each mebibyte. In place, 16 bytes for each chunk before the
    /// points of the split are then copied to allocated memory.
    ///
    /// Readers and writers of `std` use the threads with the other ciphers, and after
    /// [`Threads::with_min_len`] with every one, from the second mebibyte on, with half a mebibyte for each
    /// thread at a time. They buffer that twice: 2 MiB for two threads, at most 8 MiB. **A reader then
    /// collects that much before it returns a byte**, unless its source fails or would block. For files and
    /// bulk transfers, not for a peer that waits for a response. Asynchronous streams stay on the polling
    /// thread.
    ///
    /// ```
    /// # #[cfg(feature = "std")] fn main() -> Result<(), envelock::Error> {
    /// use envelock::{Aad, Envelope, MemoryKeyring, Threads};
    ///
    /// let keyring = MemoryKeyring::create("videos")?;
    /// let envelope = Envelope::new(keyring).with_threads(Threads::available());
    /// let message = envelope.encrypt(&vec![7; 1_000_000], Aad::none())?;
    /// assert_eq!(envelope.decrypt(&message, Aad::none())?, vec![7; 1_000_000]);
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "std"))] fn main() {}
    /// ```
    #[must_use]
    pub fn with_threads(mut self, threads: Threads) -> Self {
        self.settings.threads = Some(Arc::new(threads));
        self
    }

    /// Reports streams that are dropped before their end to `observer`
    /// ([`Event::StreamUnfinished`](crate::observe::Event::StreamUnfinished)). A forgotten `finish` compiles,
    /// and only a reader of the message refuses it. An
    /// [`ObservedKeyring`](crate::observe::ObservedKeyring) reports the operations of a keyring.
    ///
    /// ```
    /// # #[cfg(feature = "std")] fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use envelock::{Envelope, MemoryKeyring, observe::{Event, FnObserver}};
    /// use std::sync::Arc;
    ///
    /// // It runs in `drop`, also while a panic unwinds: count here, and let a test look at the count.
    /// let observer = FnObserver::new(|event: &Event<'_>| {
    ///     if let Event::StreamUnfinished = event {
    ///         eprintln!("finish was not called");
    ///     }
    /// });
    /// let keyring = MemoryKeyring::create("logs")?;
    /// let envelope = Envelope::new(keyring).with_observer(Arc::new(observer));
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "std"))] fn main() {}
    /// ```
    #[must_use]
    pub fn with_observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Unwraps each slot that a keyring wrote, and compares the data key, before a message or the
    /// start of a stream is returned. For a new or unreliable backend, since a slot that does not
    /// unwrap loses the message. Costs an unwrap for each slot, and nothing under a reused data key. A rewrap
    /// always does so, except under [`RewrapOptions::trusting_backend`].
    ///
    /// If a slot does not unwrap, the encryption fails with [`Error::Slot`] and
    /// [`SlotFault::Unproven`](crate::format::SlotFault::Unproven).
    #[must_use]
    pub fn with_wraps_verified(mut self) -> Self {
        self.verifies_wraps = true;
        self
    }

    /// Returns the keyring.
    pub fn keyring(&self) -> &K {
        &self.keyring
    }

    /// Returns the same envelope with random bytes from `rng`, a generator or a mutable reference to one,
    /// behind a lock.
    ///
    /// One message draws 88 bytes in one call: data key, data key id, salt and wrap nonce, in
    /// that order. A message under a reused data key (`with_data_key_reuse`) draws the salt alone, 24
    /// bytes. A generator that repeats its output discloses all messages: seed it again in a child of
    /// `fork`.
    pub fn with_rng<G: TryCryptoRng>(&self, rng: G) -> Envelope<K, LockedRng<G>> {
        let reuse = self.reuse.clone();
        Envelope { reuse, ..self.with(self.keyring.clone(), LockedRng::new(rng)) }
    }

    /// Returns an envelope with the same settings, and no reuse of data keys.
    fn with<K2, R2>(&self, keyring: Arc<K2>, random: R2) -> Envelope<K2, R2> {
        Envelope {
            keyring,
            suite: self.suite,
            reserved: self.reserved,
            settings: self.settings.clone(),
            observer: self.observer.clone(),
            reuse: None,
            verifies_wraps: self.verifies_wraps,
            random,
        }
    }
}

impl<K: Keyring, R> Envelope<K, R> {
    /// Encrypts several messages under one data key, within the bounds of `reuse`. Without it every
    /// message has its own. Decryption does not change.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn with_data_key_reuse(mut self, reuse: Arc<crate::DataKeyReuse>) -> Self {
        self.reuse = Some(reuse);
        self
    }

    /// Returns whether a slot of this keyring is under another version than the primary.
    ///
    /// `message` is a message, or its header alone. The result depends on the labels of the header,
    /// which are unverified. A version is stale if it is not the primary, whatever its number.
    ///
    /// The result stays `true` after a rewrap that left a slot because it does not open. A job over many
    /// messages therefore goes through them once, and does not wait until all are `false`. It is
    /// `true`, too, under a version that is marked compromised, which a rewrap refuses unless
    /// [`RewrapOptions::from_compromised`] names it.
    ///
    /// # Errors
    ///
    /// [`Error::NotEnvelock`], [`Error::Header`] or [`Error::Truncated`] if the bytes are not a header;
    /// [`Error::Backend`]; [`Error::NoPrimary`].
    pub fn needs_rewrap(&self, message: &[u8]) -> Result<bool, Error> {
        let header = Header::parse(message)?;
        for slot in header.slots() {
            match self.freshness(&slot.label)? {
                Freshness::NotMine | Freshness::Primary => {}
                Freshness::Stale | Freshness::Compromised => return Ok(true),
                // A rewrap keeps it beside a slot under the primary.
                Freshness::Refused(_) if self.has_primary(&header, slot.label.name)? => {}
                Freshness::Refused(_) => return Ok(true),
            }
        }
        Ok(false)
    }

    fn has_primary(&self, header: &Header<'_>, name: KeyName<'_>) -> Result<bool, Error> {
        for slot in header.slots().filter(|slot| slot.label.name == name) {
            if self.freshness(&slot.label)? == Freshness::Primary {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn freshness(&self, label: &SlotLabel<'_>) -> Result<Freshness, Error> {
        self.keyring.freshness(label).map_err(Error::from_wrap)
    }
}

impl<K: fmt::Debug, R> fmt::Debug for Envelope<K, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("keyring", &self.keyring)
            .field("suite", &self.suite)
            .field("reserved", &self.reserved)
            .field("provider", &self.settings.provider)
            .finish()
    }
}

/// Reads the header of a message without any key. **The result is unverified.**
///
/// `message` is a message, its header alone, or its first bytes. 4 KiB hold eleven software slots with the
/// longest names, or 16 with names of up to 160 bytes, and little reserved room. For a longer header the
/// error has the number of bytes that are needed.
///
/// # Errors
///
/// [`Error::NotEnvelock`] with the format that the bytes resemble; [`Error::Truncated`] with the
/// header's length if `message` ends within it; [`Error::Header`] with the offset of the first invalid
/// field.
#[doc(alias = "peek")]
#[doc(alias = "parse")]
pub fn inspect(message: &[u8]) -> Result<Header<'_>, Error> {
    Header::parse(message)
}
