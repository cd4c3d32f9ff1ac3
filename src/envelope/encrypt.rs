//! Encryption: a data key, fresh unless one is reused, its wraps, and the body under it.

use super::length::body_len;
use super::opened::{Opened, Settings};
use super::reuse::{BatchKind, FailedWrap, Found, ReusableKey};
use super::rewrap::{refused_primary, verify_slot};
use super::{Envelope, WithRng};
use crate::aad::Aad;
use crate::body::{self, ChunkEncryptor, layout};
use crate::crypto::secret::DataKey;
use crate::error::Error;
use crate::format::{ImmutableCore, SlotFault, Suite};
use crate::keyring::{Keyring, KeyringError, SlotWriter, WrapContext, write_header};
use crate::random::RandomPool;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;
use rand_core::{TryCryptoRng, TryRng};

impl<K: Keyring, R: TryCryptoRng + ?Sized> WithRng<'_, K, R> {
    /// See [`Envelope::encrypt`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn encrypt(&mut self, plaintext: &[u8], aad: Aad<'_>) -> Result<Vec<u8>, Error> {
        retry_once(|| {
            let header_len = self.envelope.header_len()?;
            let body_len = body_len(plaintext.len())?;
            let len = header_len.checked_add(body_len).ok_or(Error::MessageTooLong)?;
            let mut message = vec![0; len];
            let (header, body) = message.split_at_mut(header_len);
            self.encrypt_detached_into(plaintext, aad, header, body)?;
            Ok(message)
        })
    }

    /// See [`Envelope::encrypt_into`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn encrypt_into(
        &mut self,
        plaintext: &[u8],
        aad: Aad<'_>,
        message: &mut [u8],
    ) -> Result<(), Error> {
        let header_len = self.envelope.header_len()?;
        let body_len = body_len(plaintext.len())?;
        let needed = header_len.checked_add(body_len).ok_or(Error::MessageTooLong)?;
        check_len(message, needed)?;
        let (header, body) = message.split_at_mut(header_len);
        self.encrypt_detached_into(plaintext, aad, header, body)
    }

    /// See [`Envelope::encrypt_in_place`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn encrypt_in_place(
        &mut self,
        message: &mut [u8],
        plaintext: Range<usize>,
        aad: Aad<'_>,
    ) -> Result<(), Error> {
        // The caller's range, not the keyring's present header length, says where the body is: a
        // rotation in between must not shift the plaintext.
        let too_short = Error::BufferLength { len: message.len(), needed: plaintext.end };
        let header_len = plaintext.start.checked_sub(layout::PREFIX_LEN);
        let parts = header_len.and_then(|len| message.split_at_mut_checked(len));
        let (header, body) = parts.ok_or(too_short)?;
        self.encrypt_detached_in_place(header, body, plaintext.len(), aad)
    }

    /// See [`Envelope::encrypt_detached`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn encrypt_detached(
        &mut self,
        plaintext: &[u8],
        aad: Aad<'_>,
    ) -> Result<(Vec<u8>, Vec<u8>), Error> {
        retry_once(|| {
            let mut header = vec![0; self.envelope.header_len()?];
            let mut body = vec![0; body_len(plaintext.len())?];
            self.encrypt_detached_into(plaintext, aad, &mut header, &mut body)?;
            Ok((header, body))
        })
    }

    /// See [`Envelope::encrypt_detached_into`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn encrypt_detached_into(
        &mut self,
        plaintext: &[u8],
        aad: Aad<'_>,
        header: &mut [u8],
        body: &mut [u8],
    ) -> Result<(), Error> {
        check_len(body, body_len(plaintext.len())?)?;
        let encryptor = self.begin(header, to_u64(plaintext.len())?, aad)?;
        body::encrypt_into(&encryptor, plaintext, body, self.envelope.settings.threads.as_deref())
    }

    /// See [`Envelope::encrypt_detached_in_place`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn encrypt_detached_in_place(
        &mut self,
        header: &mut [u8],
        body: &mut [u8],
        plaintext_len: usize,
        aad: Aad<'_>,
    ) -> Result<(), Error> {
        check_len(body, body_len(plaintext_len)?)?;
        let encryptor = self.begin(header, to_u64(plaintext_len)?, aad)?;
        body::in_place::encrypt(&encryptor, body, self.envelope.settings.threads.as_deref())
    }

    /// Draws a data key, has it wrapped into `header`, and sets up the body's encryption; or
    /// does so with a data key that was wrapped before. One of unknown length has a data key of its
    /// own: nobody could count its bytes.
    pub(super) fn begin(
        &mut self,
        header: &mut [u8],
        plaintext_len: Option<u64>,
        aad: Aad<'_>,
    ) -> Result<ChunkEncryptor, Error> {
        let envelope = self.envelope;
        let suite = envelope.suite;
        let mut pool = RandomPool::for_message(self.rng)?;
        let mut first = None;
        if let (Some(reuse), Some(len)) = (&envelope.reuse, plaintext_len) {
            let kind = BatchKind { suite, is_verified: envelope.verifies_wraps };
            let found = reuse.find(kind, len, &*envelope.keyring);
            match found.map_err(|failed| failed.into_error(&*envelope.keyring))? {
                Found::Wrapped(key) => {
                    let (core, salt) = (*key.core(), draw_salt(&mut pool)?);
                    let drawn = Drawn { core, data_key: key.data_key(), salt };
                    envelope.write_slots(header, &drawn, |slots| key.slots().push(slots))?;
                    return drawn.encryptor(&envelope.settings, aad);
                }
                Found::First(wrap) => first = Some(wrap),
                Found::Alone => {}
            }
        }
        // SPEC K-RANDOM: all of it anew.
        let mut data_key = DataKey::empty();
        let id_random = draw_data_key(suite, &mut data_key, &mut pool)?;
        let drawn = Drawn::new(suite, id_random, &data_key, &mut pool)?;
        let uncounted = first.as_ref().map_or(0, |first| first.uncounted());
        // Saturates: a statistic.
        let counted = plaintext_len.map(|len| len.saturating_add(uncounted));
        let context = WrapContext::for_message(&drawn.core, counted);
        envelope.write_slots(header, &drawn, |slots| {
            let wrapped = envelope.wrap_checked(&drawn, &context, slots, &mut pool);
            if let Some(first) = first {
                let key = || ReusableKey::new(&drawn.core, drawn.data_key, slots);
                let failed = |error: &KeyringError| FailedWrap {
                    error: error.clone(),
                    slots: slots.slots().len(),
                };
                first.end(wrapped.as_ref().map(|()| key()).map_err(failed));
            }
            wrapped
        })?;
        drawn.encryptor(&envelope.settings, aad)
    }
}

impl<K: Keyring> Envelope<K> {
    /// Has the data key wrapped, and each slot unwrapped where that is asked for: all that a keyring
    /// is asked of a message.
    fn wrap_checked<R: TryCryptoRng + ?Sized>(
        &self,
        drawn: &Drawn<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        pool: &mut RandomPool<'_, R>,
    ) -> Result<(), KeyringError> {
        self.keyring.wrap(drawn.data_key, context, slots, pool)?;
        if !self.verifies_wraps {
            return Ok(());
        }
        let context = WrapContext::new(&drawn.core);
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
        drawn: &Drawn<'_>,
        write: impl FnOnce(&mut SlotWriter<'_>) -> Result<(), KeyringError>,
    ) -> Result<(), Error> {
        let mut refused = None;
        let written = write_header(header, &drawn.core, |slots| {
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
fn draw_data_key<R: TryCryptoRng + ?Sized>(
    suite: Suite,
    data_key: &mut DataKey,
    pool: &mut RandomPool<'_, R>,
) -> Result<[u8; 8], Error> {
    let needed = suite.data_key_len();
    let space = data_key.space(needed).ok_or(Error::KeyLength { len: 0, needed })?;
    pool.try_fill_bytes(space)?;
    let mut id_random = [0; 8];
    pool.try_fill_bytes(&mut id_random)?;
    Ok(id_random)
}

/// SPEC B-SALT: anew for every body, also under a data key that has served before.
fn draw_salt<R: TryCryptoRng + ?Sized>(
    pool: &mut RandomPool<'_, R>,
) -> Result<[u8; layout::SALT_LEN], Error> {
    let mut salt = [0; layout::SALT_LEN];
    pool.try_fill_bytes(&mut salt)?;
    Ok(salt)
}

/// A message that is begun: all that is random of it is drawn, and its data key stays in its place
/// while a keyring wraps it, now or after an `await`.
struct Drawn<'k> {
    core: ImmutableCore,
    data_key: &'k DataKey,
    salt: [u8; layout::SALT_LEN],
}

impl<'k> Drawn<'k> {
    fn new<R: TryCryptoRng + ?Sized>(
        suite: Suite,
        id_random: [u8; 8],
        data_key: &'k DataKey,
        pool: &mut RandomPool<'_, R>,
    ) -> Result<Self, Error> {
        let (len, needed) = (data_key.len(), suite.data_key_len());
        if len != needed {
            return Err(Error::KeyLength { len, needed });
        }
        let salt = draw_salt(pool)?;
        let core = ImmutableCore::generate(suite, id_random, data_key)
            .map_err(|_| Error::KeyLength { len, needed })?;
        Ok(Drawn { core, data_key, salt })
    }

    /// Sets up the encryption of its body.
    fn encryptor(&self, settings: &Settings, aad: Aad<'_>) -> Result<ChunkEncryptor, Error> {
        let key = Opened { core: &self.core, data_key: self.data_key, settings };
        key.encryptor(&self.salt, aad)
    }
}

impl<K: Keyring> Envelope<K> {
    /// Where the plaintext stands in the buffer that [`encrypt_in_place`](Self::encrypt_in_place)
    /// takes: behind the header that would be written now, and 56 bytes.
    ///
    /// # Errors
    ///
    /// As [`message_len`](Self::message_len).
    pub fn plaintext_range(&self, plaintext_len: usize) -> Result<Range<usize>, Error> {
        let start = self.header_len()? + layout::PREFIX_LEN;
        let end = start.checked_add(plaintext_len).ok_or(Error::MessageTooLong)?;
        Ok(start..end)
    }
}

/// Runs `encrypt` again if the header did not fit: a rotation to another kind of key came between
/// asking for its length and the wrap.
pub(super) fn retry_once<T>(mut encrypt: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    match encrypt() {
        Err(Error::HeaderRoom { .. }) => encrypt(),
        other => other,
    }
}

fn to_u64(len: usize) -> Result<Option<u64>, Error> {
    u64::try_from(len).map(Some).map_err(|_| Error::MessageTooLong)
}

fn check_len(buffer: &[u8], needed: usize) -> Result<(), Error> {
    let len = buffer.len();
    if len == needed { Ok(()) } else { Err(Error::BufferLength { len, needed }) }
}
