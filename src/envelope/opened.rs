//! The opened key: the checked data key of a message.

#![expect(clippy::indexing_slicing, reason = "the range is the one that was just decrypted")]

use super::Envelope;
use super::decrypt::{check_room, split};
use super::length::plaintext_len_of_body;
use crate::aad::Aad;
use crate::body::{self, ChunkDecryptor, ChunkEncryptor, ForkGuard};
use crate::crypto::provider::Provider;
use crate::crypto::secret::DataKey;
use crate::error::Error;
use crate::format::layout;
use crate::format::{
    DataKeyId, Header, ImmutableCore, MessagePart, OwnedSlot, Slot, SlotLabel, Suite,
};
use crate::keyring::Keyring;
use crate::stream::{MessageStart, RangeDecryptor, StreamDecryptor};
use crate::threads::Threads;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use zeroize::ZeroizeOnDrop;

/// The checked data key of a message; created by [`Envelope::open`].
///
/// It decrypts bodies, or parts of them, any number of times without a call of the keyring. It takes bodies
/// without their header; [`body`](Self::body) returns the body of a message.
/// [`RewrapOptions::opened`](crate::RewrapOptions::opened) rewraps with it.
///
/// It belongs to one immutable core: to the message that it was opened from, before and after every
/// rewrap, and to messages that share its data key. The header of another message fails with
/// [`Error::OtherMessage`], the body of another alone with [`Error::Authentication`].
///
/// ```
/// # #[cfg(feature = "std")] fn main() -> Result<(), envelock::Error> {
/// use envelock::{Aad, Envelope, MemoryKeyring};
///
/// let envelope = Envelope::new(MemoryKeyring::create("videos")?);
/// let message = envelope.encrypt(&[7; 100_000], Aad::none())?;
///
/// let key = envelope.open(&message)?; // asks the keyring, and no later line does
/// assert_eq!(key.label().name.as_str(), "videos");
/// let mut part = [0; 100];
/// let body = key.body(&message)?;
/// key.range_reader(body, Aad::none())?.read_at(&mut part, 50_000)?;
/// assert_eq!(key.decrypt(body, Aad::none())?[50_000..50_100], part);
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "std"))] fn main() {}
/// ```
///
/// # Security
///
/// It decrypts the message even after the version of the master key is disabled, compromised or destroyed.
/// Drop it when the work is done. To check the version in between, call [`Keyring::freshness`] with its
/// [`label`](Self::label).
///
/// The data key is wiped on drop and is not moved in memory. There is no `Clone` and no
/// `PartialEq`, and `Debug` prints the label alone.
///
/// ```compile_fail
/// fn copy(key: &envelock::OpenedKey) -> envelock::OpenedKey { key.clone() }
/// ```
/// ```compile_fail
/// fn compare(a: &envelock::OpenedKey, b: &envelock::OpenedKey) -> bool { a == b }
/// ```
pub struct OpenedKey {
    core: ImmutableCore,
    /// Boxed, so that a move of the value leaves no copy behind.
    data_key: Box<DataKey>,
    slot: OwnedSlot,
    settings: Settings,
}

/// The settings of bodies, without their key.
#[derive(Clone, Default)]
pub(super) struct Settings {
    pub(super) provider: Provider,
    /// A pointer, since a move copies the bytes of an absent part.
    pub(super) threads: Option<Arc<Threads>>,
}

impl<K: Keyring, R> Envelope<K, R> {
    /// Unwraps the data key of a message and checks it, without its body.
    ///
    /// `message` is a message, its first bytes up to the end of its header, or its header alone. For a
    /// message that is decrypted once, [`decrypt`](Self::decrypt) does the same and allocates less.
    ///
    /// # Errors
    ///
    /// [`Error::NotEnvelock`], [`Error::Header`] or [`Error::Truncated`] if the bytes are not a header.
    /// [`Error::Backend`], [`Error::Refused`], [`Error::NoKey`] or [`Error::Authentication`] if no slot opens.
    #[doc(alias = "unwrap")]
    pub fn open(&self, message: &[u8]) -> Result<OpenedKey, Error> {
        let header = Header::parse(message)?;
        let mut data_key = Box::new(DataKey::empty());
        let slot = self.unwrap_first(&header, &mut data_key)?;
        Ok(OpenedKey::new(header.core(), data_key, &slot, self.settings.clone()))
    }

    /// Opens `header` for one use of its key, which is not moved. Allocates nothing.
    pub(super) fn with_opened<T>(
        &self,
        header: &Header<'_>,
        read: impl FnOnce(Opened<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut data_key = DataKey::empty();
        self.unwrap_first(header, &mut data_key)?;
        read(Opened { core: header.core(), data_key: &data_key, settings: &self.settings })
    }
}

impl OpenedKey {
    /// Returns the key of a header with this core, unwrapped from `slot`.
    fn new(
        core: &ImmutableCore,
        data_key: Box<DataKey>,
        slot: &Slot<'_>,
        settings: Settings,
    ) -> Self {
        OpenedKey { core: *core, data_key, slot: slot.into(), settings }
    }

    /// Returns the label of the slot that opened: name, version, master key id and algorithm.
    pub fn label(&self) -> SlotLabel<'_> {
        self.slot.label()
    }

    /// Returns the slot that opened.
    pub(super) fn slot(&self) -> Slot<'_> {
        self.slot.as_slot()
    }

    /// Returns the suite of the message.
    pub fn suite(&self) -> Suite {
        self.core.suite()
    }

    /// Returns the data key id of the message.
    pub fn data_key_id(&self) -> DataKeyId {
        self.core.data_key_id()
    }

    /// Returns the body of a message: the bytes after its header.
    ///
    /// # Errors
    ///
    /// [`Error::NotEnvelock`] or [`Error::Header`] if the bytes are not a message; [`Error::OtherMessage`] if
    /// the message has another data key; [`Error::Truncated`] if no body has this length.
    pub fn body<'m>(&self, message: &'m [u8]) -> Result<&'m [u8], Error> {
        let (header, body) = split(message)?;
        self.of(&header).map(|_| body)
    }

    /// Returns the body of a message, to be decrypted in place.
    ///
    /// # Errors
    ///
    /// Those of [`body`](Self::body).
    pub fn body_mut<'m>(&self, message: &'m mut [u8]) -> Result<&'m mut [u8], Error> {
        let start = message.len() - self.body(message)?.len();
        Ok(&mut message[start..])
    }

    /// Decrypts a body to a new buffer.
    ///
    /// # Errors
    ///
    /// [`Error::Truncated`] and [`Error::MessageTooLong`] if no body has this length;
    /// [`Error::Authentication`] if the body or the associated data was changed, or belongs to another
    /// message.
    pub fn decrypt(&self, body: &[u8], aad: Aad<'_>) -> Result<Vec<u8>, Error> {
        self.key().decrypt(body, aad)
    }

    /// Decrypts a body into `plaintext`, which has exactly the plaintext's length. Allocates nothing.
    ///
    /// # Errors
    ///
    /// Those of [`decrypt`](Self::decrypt), and [`Error::BufferLength`]. `plaintext` is then unchanged or
    /// zeroed, and never has unverified bytes.
    pub fn decrypt_into(
        &self,
        body: &[u8],
        aad: Aad<'_>,
        plaintext: &mut [u8],
    ) -> Result<(), Error> {
        check_room(body, plaintext)?;
        self.key().decrypt_into(body, aad, plaintext)
    }

    /// Decrypts a body in place and returns the plaintext, which begins at byte 56. Allocates nothing.
    ///
    /// # Errors
    ///
    /// Those of [`decrypt`](Self::decrypt). If a chunk does not verify, the body is wiped; on every other
    /// error it is unchanged.
    pub fn decrypt_in_place<'b>(
        &self,
        body: &'b mut [u8],
        aad: Aad<'_>,
    ) -> Result<&'b mut [u8], Error> {
        self.key().decrypt_in_place(body, aad)
    }

    /// Returns a decryptor of the bytes after `start`, piece by piece. For a detached header, `start` is a
    /// [`MessageStart::detached`].
    ///
    /// # Errors
    ///
    /// [`Error::OtherMessage`] if the message has another data key; [`Error::Truncated`] if the start is not
    /// complete;
    /// [`Error::Authentication`] if the body's first 56 bytes do not verify.
    pub fn stream_decryptor(
        &self,
        start: &MessageStart,
        aad: Aad<'_>,
    ) -> Result<StreamDecryptor, Error> {
        let header = start.header()?;
        self.of(&header)?.stream_decryptor(start.prefix(&header)?, aad)
    }

    /// Returns a decryptor of any part of a message. `len` is the length in bytes of the
    /// message, or of the body if `start` is a [`MessageStart::detached`].
    ///
    /// # Errors
    ///
    /// Those of [`stream_decryptor`](Self::stream_decryptor); [`Error::Truncated`] if no message has this
    /// length.
    pub fn range_decryptor(
        &self,
        start: &MessageStart,
        len: u64,
        aad: Aad<'_>,
    ) -> Result<RangeDecryptor, Error> {
        let header = start.header()?;
        let place = start.body_place(&header, len)?;
        self.of(&header)?.range_decryptor(start.prefix(&header)?, place, aad)
    }

    /// Returns the key for bodies that may not be its own. The commitment decides.
    pub(crate) fn key(&self) -> Opened<'_> {
        let OpenedKey { core, data_key, settings, .. } = self;
        Opened { core, data_key, settings }
    }

    /// Returns the key if it belongs to the message with this header.
    pub(super) fn of(&self, header: &Header<'_>) -> Result<Opened<'_>, Error> {
        if self.core.as_bytes() != header.core().as_bytes() {
            let (opened, found) = (self.data_key_id(), header.data_key_id());
            return Err(Error::OtherMessage { opened, found });
        }
        Ok(self.key())
    }
}

impl ZeroizeOnDrop for OpenedKey {}

impl fmt::Debug for OpenedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenedKey")
            .field("data_key_id", &self.data_key_id())
            .field("label", &self.label())
            .finish_non_exhaustive()
    }
}

/// Where the body does not begin.
pub(super) const TRUNCATED: Error = Error::Truncated { part: MessagePart::Body, len: 0, needed: 0 };

/// A data key that was checked or drawn, and the core and settings of its bodies. It encrypts and decrypts
/// bodies without a keyring.
#[derive(Clone, Copy)]
pub(crate) struct Opened<'a> {
    pub(super) core: &'a ImmutableCore,
    pub(super) data_key: &'a DataKey,
    pub(super) settings: &'a Settings,
}

impl Opened<'_> {
    pub(super) fn decrypt(self, body: &[u8], aad: Aad<'_>) -> Result<Vec<u8>, Error> {
        match self.decryptor(prefix(body)?, aad) {
            // By reference: a move would copy a key schedule.
            Ok(ref decryptor) => {
                let mut plaintext = vec![0; plaintext_len_of_body(body.len())?];
                body::decrypt_body(decryptor, body, &mut plaintext, self.threads())?;
                Ok(plaintext)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn decrypt_into(
        self,
        body: &[u8],
        aad: Aad<'_>,
        plaintext: &mut [u8],
    ) -> Result<(), Error> {
        let decryptor = self.decryptor(prefix(body)?, aad)?;
        body::decrypt_body(&decryptor, body, plaintext, self.threads())
    }

    pub(super) fn decrypt_in_place<'b>(
        self,
        body: &'b mut [u8],
        aad: Aad<'_>,
    ) -> Result<&'b mut [u8], Error> {
        let decryptor = self.decryptor(prefix(body)?, aad)?;
        let range = body::in_place::decrypt(&decryptor, body, self.threads())?;
        Ok(&mut body[range])
    }

    pub(crate) fn stream_decryptor(
        self,
        prefix: &[u8; layout::PREFIX_LEN],
        aad: Aad<'_>,
    ) -> Result<StreamDecryptor, Error> {
        Ok(StreamDecryptor::new(self.decryptor(prefix, aad)?, self.threads().cloned()))
    }

    pub(crate) fn range_decryptor(
        self,
        prefix: &[u8; layout::PREFIX_LEN],
        (body_offset, body_len): (u64, u64),
        aad: Aad<'_>,
    ) -> Result<RangeDecryptor, Error> {
        let threads = self.threads().cloned();
        RangeDecryptor::new(self.decryptor(prefix, aad)?, threads, body_offset, body_len)
    }

    /// Verifies the commitment.
    #[inline]
    fn decryptor(
        self,
        prefix: &[u8; layout::PREFIX_LEN],
        aad: Aad<'_>,
    ) -> Result<ChunkDecryptor, Error> {
        let Opened { core, data_key, settings } = self;
        let context = [&core.as_bytes()[..], aad.as_bytes()];
        ChunkDecryptor::new(settings.provider, core.suite(), data_key, prefix, context)
    }

    /// Derives the keys of a body with this salt, which no other body has.
    #[inline]
    pub(super) fn encryptor(
        self,
        salt: &[u8; layout::SALT_LEN],
        aad: Aad<'_>,
        fork_guard: Option<ForkGuard>,
    ) -> Result<ChunkEncryptor, Error> {
        let Opened { core, data_key, settings } = self;
        let context = [&core.as_bytes()[..], aad.as_bytes()];
        ChunkEncryptor::new(settings.provider, core.suite(), data_key, salt, context, fork_guard)
    }

    fn threads(&self) -> Option<&Threads> {
        self.settings.threads.as_deref()
    }
}

/// Salt and commitment.
fn prefix(body: &[u8]) -> Result<&[u8; layout::PREFIX_LEN], Error> {
    body.first_chunk().ok_or(TRUNCATED)
}
