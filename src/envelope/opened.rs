//! The opened key: what stands between a header and its body.

#![expect(clippy::indexing_slicing, reason = "the range is the one that was just decrypted")]

use super::Envelope;
use super::decrypt::{check_room, split, split_detached};
use super::length::plaintext_len_of_body;
use crate::aad::Aad;
use crate::body::{self, ChunkDecryptor, ChunkEncryptor, layout};
use crate::crypto::provider::Provider;
use crate::crypto::secret::DataKey;
use crate::error::Error;
use crate::format::{
    DataKeyId, Header, ImmutableCore, KeyName, KeyVersion, MasterKeyId, MessagePart, Slot,
    SlotLabel, Suite, WrapAlgorithm,
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

/// The checked data key of a message; made by [`Envelope::open`].
///
/// It decrypts the message, or parts of it, as often as is wanted, and asks no keyring. Each method
/// has the name, the arguments, the promises and the errors of the one of [`Envelope`] that opens the
/// header itself. [`RewrapOptions::opened`](crate::RewrapOptions::opened) rewraps by it.
///
/// It belongs to one immutable core: to the message that it was opened from, before and after every
/// rewrap, and to messages that share its data key. Any other is refused with
/// [`Error::OtherMessage`].
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
/// key.range_reader(&message, Aad::none())?.read_at(&mut part, 50_000)?;
/// assert_eq!(key.decrypt(&message, Aad::none())?[50_000..50_100], part);
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "std"))] fn main() {}
/// ```
///
/// # Security
///
/// Whoever holds it reads the message, whatever becomes of the master key: a version that is
/// disabled, compromised or destroyed later is not asked again. Drop it when the work is done. To
/// ask again in between, call [`Keyring::freshness`] with its [`label`](Self::label).
///
/// The data key is wiped on drop and leaves its place in memory for nobody; there is no `Clone`, no
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
    /// In a box, so that moving the value does not leave a copy behind.
    data_key: Box<DataKey>,
    name: Box<str>,
    version: KeyVersion,
    master_key_id: MasterKeyId,
    algorithm: WrapAlgorithm,
    wrapped_key: Box<[u8]>,
    settings: Settings,
}

/// What bodies are encrypted and decrypted with, beside their key.
#[derive(Clone, Default)]
pub(super) struct Settings {
    pub(super) provider: Provider,
    /// A pointer, since a record that moves carries the bytes of an absent part along.
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
    /// What is wrong with the header; if no slot opens, why, as [`decrypt`](Self::decrypt) says it.
    #[doc(alias = "unwrap")]
    pub fn open(&self, message: &[u8]) -> Result<OpenedKey, Error> {
        let header = Header::parse(message)?;
        let mut data_key = Box::new(DataKey::empty());
        let slot = self.unwrap_first(&header, &mut data_key)?;
        Ok(OpenedKey::new(header.core(), data_key, &slot, self.settings.clone()))
    }

    /// Opens `header` for one use of its key, which stays in its place. Allocates nothing.
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
    /// The data key that `slot` of a header with this core gave.
    fn new(
        core: &ImmutableCore,
        data_key: Box<DataKey>,
        slot: &Slot<'_>,
        settings: Settings,
    ) -> Self {
        let Slot { label, wrapped_key } = *slot;
        OpenedKey {
            core: *core,
            data_key,
            name: label.name.as_str().into(),
            version: label.version,
            master_key_id: label.master_key_id,
            algorithm: label.algorithm,
            wrapped_key: wrapped_key.into(),
            settings,
        }
    }

    /// The slot that opened: its name, version, master key id and algorithm.
    pub fn label(&self) -> SlotLabel<'_> {
        SlotLabel {
            name: KeyName::checked(&self.name),
            version: self.version,
            master_key_id: self.master_key_id,
            algorithm: self.algorithm,
        }
    }

    /// The whole slot that opened.
    pub(super) fn slot(&self) -> Slot<'_> {
        Slot { label: self.label(), wrapped_key: &self.wrapped_key }
    }

    /// The suite of the message.
    pub fn suite(&self) -> Suite {
        self.core.suite()
    }

    /// The data key id of the message.
    pub fn data_key_id(&self) -> DataKeyId {
        self.core.data_key_id()
    }

    /// See [`Envelope::decrypt`].
    ///
    /// # Errors
    ///
    /// As there, and [`Error::OtherMessage`]; none of a keyring.
    pub fn decrypt(&self, message: &[u8], aad: Aad<'_>) -> Result<Vec<u8>, Error> {
        let (header, body) = split(message)?;
        self.of(&header)?.decrypt(body, aad)
    }

    /// See [`Envelope::decrypt_into`].
    ///
    /// # Errors
    ///
    /// As there, and [`Error::OtherMessage`]; none of a keyring.
    pub fn decrypt_into(
        &self,
        message: &[u8],
        aad: Aad<'_>,
        plaintext: &mut [u8],
    ) -> Result<(), Error> {
        let (header, body) = split(message)?;
        check_room(body, plaintext)?;
        self.of(&header)?.decrypt_into(body, aad, plaintext)
    }

    /// See [`Envelope::decrypt_in_place`].
    ///
    /// # Errors
    ///
    /// As there, and [`Error::OtherMessage`]; none of a keyring.
    pub fn decrypt_in_place<'m>(
        &self,
        message: &'m mut [u8],
        aad: Aad<'_>,
    ) -> Result<&'m mut [u8], Error> {
        let (header, _) = split(message)?;
        let (key, header_len) = (self.of(&header)?, header.len());
        let body = message.get_mut(header_len..).ok_or(TRUNCATED)?;
        key.decrypt_in_place(body, aad)
    }

    /// See [`Envelope::decrypt_detached`].
    ///
    /// # Errors
    ///
    /// As there, and [`Error::OtherMessage`]; none of a keyring.
    pub fn decrypt_detached(
        &self,
        header: &[u8],
        body: &[u8],
        aad: Aad<'_>,
    ) -> Result<Vec<u8>, Error> {
        self.of(&split_detached(header, body)?)?.decrypt(body, aad)
    }

    /// See [`Envelope::decrypt_detached_into`].
    ///
    /// # Errors
    ///
    /// As there, and [`Error::OtherMessage`]; none of a keyring.
    pub fn decrypt_detached_into(
        &self,
        header: &[u8],
        body: &[u8],
        aad: Aad<'_>,
        plaintext: &mut [u8],
    ) -> Result<(), Error> {
        let header = split_detached(header, body)?;
        check_room(body, plaintext)?;
        self.of(&header)?.decrypt_into(body, aad, plaintext)
    }

    /// See [`Envelope::decrypt_detached_in_place`].
    ///
    /// # Errors
    ///
    /// As there, and [`Error::OtherMessage`]; none of a keyring.
    pub fn decrypt_detached_in_place<'b>(
        &self,
        header: &[u8],
        body: &'b mut [u8],
        aad: Aad<'_>,
    ) -> Result<&'b mut [u8], Error> {
        self.of(&split_detached(header, body)?)?.decrypt_in_place(body, aad)
    }

    /// See [`Envelope::stream_decryptor`].
    ///
    /// # Errors
    ///
    /// As there, and [`Error::OtherMessage`]; none of a keyring.
    pub fn stream_decryptor(
        &self,
        start: &MessageStart,
        aad: Aad<'_>,
    ) -> Result<StreamDecryptor, Error> {
        let header = start.header()?;
        self.of(&header)?.stream_decryptor(start.prefix(&header)?, aad)
    }

    /// See [`Envelope::range_decryptor`].
    ///
    /// # Errors
    ///
    /// As there, and [`Error::OtherMessage`]; none of a keyring.
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

    /// The key, if it is that of the message with this header.
    pub(super) fn of(&self, header: &Header<'_>) -> Result<Opened<'_>, Error> {
        if self.core.as_bytes() != header.core().as_bytes() {
            let (opened, found) = (self.data_key_id(), header.data_key_id());
            return Err(Error::OtherMessage { opened, found });
        }
        let OpenedKey { core, data_key, settings, .. } = self;
        Ok(Opened { core, data_key, settings })
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

/// A data key that was checked or drawn, in its place; and what its bodies are bound to and made
/// with. Bodies are encrypted and decrypted by it alone, whatever keyring it came from, and whenever
/// that answered.
#[derive(Clone, Copy)]
pub(super) struct Opened<'a> {
    pub(super) core: &'a ImmutableCore,
    pub(super) data_key: &'a DataKey,
    pub(super) settings: &'a Settings,
}

impl Opened<'_> {
    pub(super) fn decrypt(self, body: &[u8], aad: Aad<'_>) -> Result<Vec<u8>, Error> {
        let decryptor = self.decryptor(prefix(body)?, aad)?;
        let mut plaintext = vec![0; plaintext_len_of_body(body.len())?];
        body::decrypt_into(&decryptor, body, &mut plaintext, self.threads())?;
        Ok(plaintext)
    }

    pub(super) fn decrypt_into(
        self,
        body: &[u8],
        aad: Aad<'_>,
        plaintext: &mut [u8],
    ) -> Result<(), Error> {
        let decryptor = self.decryptor(prefix(body)?, aad)?;
        body::decrypt_into(&decryptor, body, plaintext, self.threads())
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

    pub(super) fn stream_decryptor(
        self,
        prefix: &[u8; layout::PREFIX_LEN],
        aad: Aad<'_>,
    ) -> Result<StreamDecryptor, Error> {
        Ok(StreamDecryptor::new(self.decryptor(prefix, aad)?, self.threads().cloned()))
    }

    pub(super) fn range_decryptor(
        self,
        prefix: &[u8; layout::PREFIX_LEN],
        (body_offset, body_len): (u64, u64),
        aad: Aad<'_>,
    ) -> Result<RangeDecryptor, Error> {
        let threads = self.threads().cloned();
        RangeDecryptor::new(self.decryptor(prefix, aad)?, threads, body_offset, body_len)
    }

    /// Verifies the commitment.
    fn decryptor(
        self,
        prefix: &[u8; layout::PREFIX_LEN],
        aad: Aad<'_>,
    ) -> Result<ChunkDecryptor, Error> {
        let Opened { core, data_key, settings } = self;
        let context = [&core.as_bytes()[..], aad.as_bytes()];
        ChunkDecryptor::new(settings.provider, core.suite(), data_key.expose(), prefix, context)
    }

    /// Sets up the encryption of a body with this salt, which no other has.
    pub(super) fn encryptor(
        self,
        salt: &[u8; layout::SALT_LEN],
        aad: Aad<'_>,
    ) -> Result<ChunkEncryptor, Error> {
        let Opened { core, data_key, settings } = self;
        let context = [&core.as_bytes()[..], aad.as_bytes()];
        ChunkEncryptor::new(settings.provider, core.suite(), data_key.expose(), salt, context)
    }

    fn threads(&self) -> Option<&Threads> {
        self.settings.threads.as_deref()
    }
}

/// Salt and commitment.
fn prefix(body: &[u8]) -> Result<&[u8; layout::PREFIX_LEN], Error> {
    body.first_chunk().ok_or(TRUNCATED)
}
