//! Encryption: a data key, fresh unless one is reused, its wraps, and the body under it.

use super::Envelope;
use super::length::body_len;
use super::new_message::NewMessage;
use super::opened::{Opened, Settings};
use super::rewrap::{refused_primary, verify_slot};
use super::scratch::Scratch;
use crate::aad::Aad;
use crate::body::{self, ChunkEncryptor, ForkGuard};
use crate::crypto::secret::DataKey;
use crate::error::Error;
use crate::format::layout;
use crate::format::{ImmutableCore, SlotFault, Suite};
use crate::keyring::{Keyring, KeyringError, SlotWriter, WrapContext, write_header};
use crate::random::{RandomPool, RandomSource};
use crate::reuse::{BatchKind, FailedWrap, Found, ReusableKey};
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use rand_core::TryRng;

impl<K: Keyring, R: RandomSource> Envelope<K, R> {
    /// Encrypts `plaintext` under a fresh data key and returns header and body in one.
    ///
    /// `aad` must be given again at decryption; it is authenticated and not stored.
    ///
    /// # Errors
    ///
    /// - [`Error::WrapLimit`]: the primary version has wrapped as many data keys as it may; rotate.
    /// - [`Error::NoPrimary`], [`Error::Refused`], [`Error::Lifecycle`] for an unknown or unselected key:
    ///   the keyring has nothing to wrap with.
    /// - [`Error::Backend`], [`Error::Randomness`]: the back end or the generator failed.
    /// - [`Error::Slot`]: the keyring offered a slot that a header cannot have.
    /// - [`Error::MessageTooLong`]; [`Error::HeaderRoom`] beyond 65,535 bytes of header.
    pub fn encrypt(&self, plaintext: &[u8], aad: Aad<'_>) -> Result<Vec<u8>, Error> {
        retry_once(|| {
            let header_len = self.header_len()?;
            let body_len = body_len(plaintext.len())?;
            let len = header_len.checked_add(body_len).ok_or(Error::MessageTooLong)?;
            let mut message = vec![0; len];
            let (header, body) = message.split_at_mut(header_len);
            self.encrypt_parts(plaintext, aad, header, body)?;
            Ok(message)
        })
    }

    /// Encrypts `plaintext` into `message`, which has exactly
    /// [`message_len`](Self::message_len) bytes. Allocates nothing.
    ///
    /// # Errors
    ///
    /// Those of [`encrypt`](Self::encrypt), and [`Error::BufferLength`].
    pub fn encrypt_into(
        &self,
        plaintext: &[u8],
        aad: Aad<'_>,
        message: &mut [u8],
    ) -> Result<(), Error> {
        let header_len = self.header_len()?;
        let body_len = body_len(plaintext.len())?;
        let needed = header_len.checked_add(body_len).ok_or(Error::MessageTooLong)?;
        check_len(message, needed)?;
        let (header, body) = message.split_at_mut(header_len);
        self.encrypt_parts(plaintext, aad, header, body)
    }

    /// Encrypts in place. `message` has exactly [`message_len`](Self::message_len) bytes, with the plaintext
    /// at `plaintext`, the [`plaintext_range`](Self::plaintext_range). Room before it that the slots do
    /// not need becomes padding. Allocates nothing.
    ///
    /// ```
    /// # #[cfg(feature = "std")] fn main() -> Result<(), envelock::Error> {
    /// use envelock::{Aad, Envelope, MemoryKeyring};
    ///
    /// let envelope = Envelope::new(MemoryKeyring::create("orders")?);
    /// let plaintext = b"four score";
    /// let mut message = vec![0; envelope.message_len(plaintext.len())?];
    /// let range = envelope.plaintext_range(plaintext.len())?;
    /// message[range.clone()].copy_from_slice(plaintext);
    /// envelope.encrypt_in_place(&mut message, range, Aad::none())?;
    /// assert_eq!(envelope.decrypt_in_place(&mut message, Aad::none())?, plaintext);
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "std"))] fn main() {}
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`encrypt_into`](Self::encrypt_into); [`Error::HeaderRoom`] if a rotation in between has made
    /// the header longer. The plaintext is then unchanged.
    pub fn encrypt_in_place(
        &self,
        message: &mut [u8],
        plaintext: Range<usize>,
        aad: Aad<'_>,
    ) -> Result<(), Error> {
        // The body begins where the caller's range says, since a rotation in between can change the
        // header length of the keyring.
        let too_short = Error::BufferLength { len: message.len(), needed: plaintext.end };
        let header_len = plaintext.start.checked_sub(layout::PREFIX_LEN);
        let parts = header_len.and_then(|len| message.split_at_mut_checked(len));
        let (header, body) = parts.ok_or(too_short)?;
        check_len(body, body_len(plaintext.len())?)?;
        let encryptor = self.begin(header, to_u64(plaintext.len())?, aad, None)?;
        body::in_place::encrypt(&encryptor, body, self.settings.threads.as_deref())
    }

    /// Begins a message with a detached header: wraps a data key for a plaintext of `plaintext_len` bytes.
    /// The returned value encrypts the body.
    ///
    /// ```
    /// # #[cfg(feature = "std")] fn main() -> Result<(), envelock::Error> {
    /// use envelock::{Aad, Envelope, MemoryKeyring};
    ///
    /// let envelope = Envelope::new(MemoryKeyring::create("orders")?);
    /// let message = envelope.start(10, Aad::none())?;
    /// let header = message.header().to_vec();
    /// let body = message.encrypt(b"four score")?;
    /// assert_eq!(envelope.open(&header)?.decrypt(&body, Aad::none())?, b"four score");
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "std"))] fn main() {}
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`encrypt`](Self::encrypt).
    pub fn start(&self, plaintext_len: usize, aad: Aad<'_>) -> Result<NewMessage, Error> {
        retry_once(|| {
            let fork_guard = ForkGuard::new();
            let mut header = Scratch::zeroed(self.header_len()?);
            let header_bytes = header.as_mut_bytes();
            let encryptor =
                self.begin(header_bytes, to_u64(plaintext_len)?, aad, Some(fork_guard))?;
            let threads = self.settings.threads.clone();
            Ok(NewMessage { header, encryptor, plaintext_len, threads })
        })
    }

    fn encrypt_parts(
        &self,
        plaintext: &[u8],
        aad: Aad<'_>,
        header: &mut [u8],
        body: &mut [u8],
    ) -> Result<(), Error> {
        match self.begin(header, to_u64(plaintext.len())?, aad, None) {
            // By reference: a move would copy a key schedule.
            Ok(ref encryptor) => {
                body::encrypt_body(encryptor, plaintext, body, self.settings.threads.as_deref())
            }
            Err(error) => Err(error),
        }
    }

    /// Draws a data key or reuses one, writes its slots to `header`, and derives the keys of the body. A
    /// message of unknown length has a data key of its own, since its bytes cannot be counted in advance.
    pub(super) fn begin(
        &self,
        header: &mut [u8],
        plaintext_len: Option<u64>,
        aad: Aad<'_>,
        fork_guard: Option<ForkGuard>,
    ) -> Result<ChunkEncryptor, Error> {
        let suite = self.suite;
        let mut first = None;
        if let (Some(reuse), Some(len)) = (&self.reuse, plaintext_len) {
            let kind = BatchKind { suite, is_verified: self.verifies_wraps };
            let found = reuse.find(kind, len, &*self.keyring);
            match found.map_err(|failed| failed.into_error(&*self.keyring))? {
                Found::Wrapped(key) => {
                    let mut salt = [0; layout::SALT_LEN];
                    self.random.fill(&mut salt)?;
                    let core = *key.core();
                    let parts = RandomParts { core, data_key: key.data_key(), salt };
                    self.write_slots(header, &parts, |slots| key.slots().push(slots))?;
                    return parts.encryptor(&self.settings, aad, fork_guard);
                }
                Found::First(wrap) => first = Some(wrap),
                Found::Alone => {}
            }
        }
        // SPEC K-RANDOM: every part is drawn for this message.
        let mut pool = RandomPool::for_message(&self.random)?;
        let mut data_key = DataKey::empty();
        let id_random = draw_data_key(suite, &mut data_key, &mut pool)?;
        let parts = RandomParts::new(suite, id_random, &data_key, &mut pool)?;
        let uncounted = first.as_ref().map_or(0, |first| first.uncounted());
        // Saturates: a statistic.
        let counted = plaintext_len.map(|len| len.saturating_add(uncounted));
        let context = WrapContext::for_message(&parts.core, counted);
        self.write_slots(header, &parts, |slots| {
            let wrapped = self.wrap_checked(&parts, &context, slots, &mut pool);
            if let Some(first) = first {
                let key = || ReusableKey::new(&parts.core, parts.data_key, slots);
                let failed = |error: &KeyringError| FailedWrap {
                    error: error.clone(),
                    slots: slots.slots().len(),
                };
                first.end(wrapped.as_ref().map(|()| key()).map_err(failed));
            }
            wrapped
        })?;
        parts.encryptor(&self.settings, aad, fork_guard)
    }
}

impl<K: Keyring, R> Envelope<K, R> {
    /// Wraps the data key, and unwraps each new slot if the envelope verifies wraps. An encryption calls the
    /// keyring nowhere else.
    fn wrap_checked(
        &self,
        parts: &RandomParts<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        pool: &mut RandomPool<'_>,
    ) -> Result<(), KeyringError> {
        self.keyring.wrap(parts.data_key, context, slots, pool)?;
        if !self.verifies_wraps {
            return Ok(());
        }
        let context = WrapContext::proving(&parts.core);
        let mut written = slots.slots();
        written.try_for_each(|slot| match verify_slot(&*self.keyring, &context, &slot) {
            Err(KeyringError::NotMine | KeyringError::Authentication) => {
                Err(SlotFault::Unproven.into())
            }
            answer => answer,
        })
    }

    fn write_slots(
        &self,
        header: &mut [u8],
        parts: &RandomParts<'_>,
        write: impl FnOnce(&mut SlotWriter<'_>) -> Result<(), KeyringError>,
    ) -> Result<(), Error> {
        let mut refused = None;
        let written = write_header(header, &parts.core, |slots| {
            let wrapped = write(slots);
            if let Err(KeyringError::Refused(refusal)) = &wrapped {
                refused = Some((slots.slots().len(), *refusal));
            }
            wrapped
        });
        written.map_err(|error| match refused {
            Some((slots, refusal)) => refused_primary(&*self.keyring, refusal, |at, _| at == slots),
            None => self.with_room_for_all(error),
        })
    }
}

/// Draws the data key of a message, and the random half of its id.
fn draw_data_key(
    suite: Suite,
    data_key: &mut DataKey,
    pool: &mut RandomPool<'_>,
) -> Result<[u8; 8], Error> {
    let needed = suite.data_key_len();
    let space = data_key.space(needed).ok_or(Error::KeyLength { len: 0, needed })?;
    pool.try_fill_bytes(space)?;
    let mut id_random = [0; 8];
    pool.try_fill_bytes(&mut id_random)?;
    Ok(id_random)
}

/// SPEC B-SALT: drawn for every body, also under a reused data key.
fn draw_salt(pool: &mut RandomPool<'_>) -> Result<[u8; layout::SALT_LEN], Error> {
    let mut salt = [0; layout::SALT_LEN];
    pool.try_fill_bytes(&mut salt)?;
    Ok(salt)
}

/// A message whose random parts are drawn. Its data key is not moved while a keyring wraps it.
struct RandomParts<'k> {
    core: ImmutableCore,
    data_key: &'k DataKey,
    salt: [u8; layout::SALT_LEN],
}

impl<'k> RandomParts<'k> {
    fn new(
        suite: Suite,
        id_random: [u8; 8],
        data_key: &'k DataKey,
        pool: &mut RandomPool<'_>,
    ) -> Result<Self, Error> {
        let (len, needed) = (data_key.len(), suite.data_key_len());
        if len != needed {
            return Err(Error::KeyLength { len, needed });
        }
        let salt = draw_salt(pool)?;
        let core = ImmutableCore::generate(suite, id_random, data_key)
            .map_err(|_| Error::KeyLength { len, needed })?;
        Ok(RandomParts { core, data_key, salt })
    }

    /// Derives the keys of its body.
    #[inline]
    fn encryptor(
        &self,
        settings: &Settings,
        aad: Aad<'_>,
        fork_guard: Option<ForkGuard>,
    ) -> Result<ChunkEncryptor, Error> {
        let key = Opened { core: &self.core, data_key: self.data_key, settings };
        key.encryptor(&self.salt, aad, fork_guard)
    }
}

impl<K: Keyring, R> Envelope<K, R> {
    /// Returns the range of the plaintext in the buffer of [`encrypt_in_place`](Self::encrypt_in_place). It
    /// begins 56 bytes after the header that would be written now.
    ///
    /// # Errors
    ///
    /// Those of [`message_len`](Self::message_len).
    pub fn plaintext_range(&self, plaintext_len: usize) -> Result<Range<usize>, Error> {
        let start = self.header_len()? + layout::PREFIX_LEN;
        let end = start.checked_add(plaintext_len).ok_or(Error::MessageTooLong)?;
        Ok(start..end)
    }
}

/// Runs `encrypt` again if the header did not fit: a rotation to another kind of key came in between.
pub(super) fn retry_once<T>(mut encrypt: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    match encrypt() {
        Err(Error::HeaderRoom { .. }) => encrypt(),
        other => other,
    }
}

fn to_u64(len: usize) -> Result<Option<u64>, Error> {
    u64::try_from(len).map(Some).map_err(|_| Error::MessageTooLong)
}

pub(super) fn check_len(buffer: &[u8], needed: usize) -> Result<(), Error> {
    let len = buffer.len();
    if len == needed { Ok(()) } else { Err(Error::BufferLength { len, needed }) }
}
