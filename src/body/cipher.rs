//! One chunk at a time, by index, without state.

#![expect(
    clippy::indexing_slicing,
    reason = "ranges of buffers that are sized here or were checked"
)]

use super::ForkGuard;
use crate::crypto::aead::{AnyAead, NONCE_LEN, Nonce};
use crate::crypto::compare;
use crate::crypto::provider::Provider;
use crate::crypto::secret::DataKey;
use crate::error::{Error, Unverified};
use crate::format::Suite;
use crate::format::layout::{
    CHUNK_LEN, COMMITMENT_LEN, ENCRYPTED_CHUNK_LEN, MAX_CHUNKS, PREFIX_LEN, SALT_LEN, TAG_LEN,
};
use core::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

const LABEL: &[u8] = b"c2sp.org/chunked-encryption@v1+";

/// Longest output of the key derivation: key, base nonce, commitment.
const MAX_DERIVED_LEN: usize = 32 + NONCE_LEN + COMMITMENT_LEN;

/// Key, base nonce and commitment of one body, in a buffer of its caller, so that they are not moved.
struct DerivedKeys<'d> {
    key: &'d [u8],
    base_nonce: &'d Nonce,
    commitment: &'d [u8; COMMITMENT_LEN],
}

impl<'d> DerivedKeys<'d> {
    /// Derives them (SPEC B-KDF). The context comes in two pieces: core and associated data (SPEC B-CONTEXT).
    fn derive(
        suite: Suite,
        input_key: &DataKey,
        salt: &[u8; SALT_LEN],
        context: [&[u8]; 2],
        derived: &'d mut [u8; MAX_DERIVED_LEN],
    ) -> Result<Self, Error> {
        let key_length = || key_length(suite, input_key);
        let needed = suite.data_key_len();
        if input_key.len() != needed {
            return Err(key_length());
        }
        let name = suite.aead().iana_name().as_bytes();
        let [core, aad] = context;
        let info = [LABEL, name, &[0], salt, core, aad];
        let derived = &mut derived[..needed + NONCE_LEN + COMMITMENT_LEN];
        input_key.expand(suite.hash(), &info, derived).map_err(|_| key_length())?;
        let (key, rest) = derived.split_at_checked(needed).ok_or_else(key_length)?;
        let (base_nonce, rest) = rest.split_first_chunk().ok_or_else(key_length)?;
        let commitment = rest.first_chunk().ok_or_else(key_length)?;
        Ok(DerivedKeys { key, base_nonce, commitment })
    }
}

fn key_length(suite: Suite, input_key: &DataKey) -> Error {
    Error::KeyLength { len: input_key.len(), needed: suite.data_key_len() }
}

/// Key and base nonce of one body.
struct ChunkCipher {
    aead: AnyAead,
    base_nonce: Zeroizing<Nonce>,
}

impl ChunkCipher {
    /// Base nonce XOR chunk number, big-endian, as wide as the nonce (SPEC B-NONCE).
    fn nonce(&self, index: u64) -> Zeroizing<Nonce> {
        // That of chunk 0 is the base nonce itself.
        let mut nonce = self.base_nonce.clone();
        let counter = index.to_be_bytes();
        let low_end = nonce.iter_mut().rev().zip(counter.iter().rev());
        low_end.for_each(|(byte, counter)| *byte ^= counter);
        nonce
    }
}

/// A chunk index and plaintext length that a message can have (SPEC B-MAX, B-LAST).
fn check_chunk(index: u64, len: usize) -> Result<(), Error> {
    if index < MAX_CHUNKS && len <= CHUNK_LEN { Ok(()) } else { Err(Error::Chunk { index, len }) }
}

/// A chunk index and a length with its tag that a message can have.
fn check_encrypted_chunk(index: u64, len: usize) -> Result<(), Error> {
    if index < MAX_CHUNKS && (TAG_LEN..=ENCRYPTED_CHUNK_LEN).contains(&len) {
        Ok(())
    } else {
        Err(Error::Chunk { index, len })
    }
}

/// Chunk `index` of `len` bytes with its tag does not verify. A short chunk is the end of a message
/// (SPEC B-LAST), so that one may as well have been cut off (SPEC B-WHAT).
fn unverified(index: u64, len: usize) -> Error {
    let part = if len == ENCRYPTED_CHUNK_LEN {
        Unverified::Chunk { index }
    } else {
        Unverified::End { index, len }
    };
    Error::Authentication { part }
}

/// Encrypts the chunks of one body, in any order, each once.
///
/// A chunk of 16,384 bytes is never the last; a shorter one always is. Encrypting two different
/// chunks of one index breaks the cipher: a change means a new salt (SPEC B-SALT).
///
/// It belongs to the process that created it. In a child of `fork` it fails, since parent and child
/// would encrypt two chunks of one index.
pub struct ChunkEncryptor {
    cipher: ChunkCipher,
    prefix: [u8; PREFIX_LEN],
    fork_guard: Option<ForkGuard>,
}

impl ChunkEncryptor {
    /// `fork_guard` is older than the data key and the salt, since a keyring or a generator of the caller may
    /// fork too. `None` if the encryptor does not outlive the call that creates it.
    #[inline]
    pub(crate) fn new(
        provider: Provider,
        suite: Suite,
        input_key: &DataKey,
        salt: &[u8; SALT_LEN],
        context: [&[u8]; 2],
        fork_guard: Option<ForkGuard>,
    ) -> Result<Self, Error> {
        let mut derived = Zeroizing::new([0; MAX_DERIVED_LEN]);
        let keys = DerivedKeys::derive(suite, input_key, salt, context, &mut derived)?;
        let mut prefix = [0; PREFIX_LEN];
        let (salt_room, commitment_room) = prefix.split_at_mut(SALT_LEN);
        salt_room.copy_from_slice(salt);
        commitment_room.copy_from_slice(keys.commitment);
        let aead = AnyAead::new(provider, suite.aead(), keys.key);
        let aead = aead.map_err(|_| key_length(suite, input_key))?;
        let base_nonce = Zeroizing::new(*keys.base_nonce);
        Ok(ChunkEncryptor { cipher: ChunkCipher { aead, base_nonce }, prefix, fork_guard })
    }

    /// Salt and commitment: the first 56 bytes of the body.
    pub fn prefix(&self) -> &[u8; PREFIX_LEN] {
        &self.prefix
    }

    /// Encrypts chunk `index`, 0 to 16,384 bytes, in place and returns its tag.
    ///
    /// # Errors
    ///
    /// [`Error::Chunk`] if the chunk is longer or its index 2^38 or more; [`Error::Forked`]. It is
    /// then untouched.
    pub fn encrypt_in_place(&self, index: u64, chunk: &mut [u8]) -> Result<[u8; TAG_LEN], Error> {
        self.check_process()?;
        self.encrypt_chunk_in_place(index, chunk)
    }

    /// Whether the cipher is as fast as memory.
    pub(crate) fn is_fast(&self) -> bool {
        self.cipher.aead.is_fast()
    }

    /// Whether the cipher has calls in place alone.
    #[cfg(feature = "std")]
    pub(crate) fn is_in_place_only(&self) -> bool {
        self.cipher.aead.is_in_place_only()
    }

    /// Fails in another process than the one that began it (SPEC B-SALT).
    pub(crate) fn check_process(&self) -> Result<(), Error> {
        self.fork_guard.map_or(Ok(()), ForkGuard::check)
    }

    /// Encrypts chunk `index`, 0 to 16,384 bytes, in place and returns its tag.
    pub(crate) fn encrypt_chunk_in_place(
        &self,
        index: u64,
        chunk: &mut [u8],
    ) -> Result<[u8; TAG_LEN], Error> {
        let len = chunk.len();
        check_chunk(index, len)?;
        let nonce = self.cipher.nonce(index);
        // SPEC B-NOAAD: the context is bound by the key derivation.
        let tag = self.cipher.aead.as_aead().encrypt_in_place(&nonce, &[], chunk);
        tag.map_err(|_| Error::Chunk { index, len })
    }

    /// Encrypts chunk `index` from `plaintext` into `encrypted`, which is 16 bytes longer.
    pub(crate) fn encrypt_chunk_into(
        &self,
        index: u64,
        plaintext: &[u8],
        encrypted: &mut [u8],
    ) -> Result<(), Error> {
        let len = plaintext.len();
        check_chunk(index, len)?;
        let needed = len + TAG_LEN;
        if encrypted.len() != needed {
            return Err(Error::BufferLength { len: encrypted.len(), needed });
        }
        let (ciphertext, tag_out) = encrypted.split_at_mut(len);
        let nonce = self.cipher.nonce(index);
        let aead = self.cipher.aead.as_aead();
        let tag = aead
            .encrypt_into(&nonce, &[], plaintext, ciphertext)
            .map_err(|_| Error::Chunk { index, len })?;
        tag_out.copy_from_slice(&tag);
        Ok(())
    }

    /// Encrypts chunk `index` from `plaintext` into `encrypted`, which is 16 bytes longer.
    ///
    /// # Errors
    ///
    /// Those of [`encrypt_in_place`](Self::encrypt_in_place); [`Error::BufferLength`] if `encrypted` has
    /// another length.
    #[cfg(feature = "hazmat")]
    pub fn encrypt_into(
        &self,
        index: u64,
        plaintext: &[u8],
        encrypted: &mut [u8],
    ) -> Result<(), Error> {
        self.check_process()?;
        self.encrypt_chunk_into(index, plaintext, encrypted)
    }
}

/// Cipher and base nonce wipe themselves; the prefix is public.
impl ZeroizeOnDrop for ChunkEncryptor {}

impl fmt::Debug for ChunkEncryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkEncryptor").finish_non_exhaustive()
    }
}

/// Decrypts the chunks of one body, in any order. Its existence proves the commitment.
///
/// A verified chunk is authentic at its index. Only a chunk of fewer than 16,384 bytes is the end of a
/// message.
pub struct ChunkDecryptor {
    cipher: ChunkCipher,
}

impl ChunkDecryptor {
    #[inline]
    pub(crate) fn new(
        provider: Provider,
        suite: Suite,
        input_key: &DataKey,
        prefix: &[u8; PREFIX_LEN],
        context: [&[u8]; 2],
    ) -> Result<Self, Error> {
        let Some((salt, commitment)) = prefix.split_first_chunk() else {
            return Err(Error::BODY_START);
        };
        let mut derived = Zeroizing::new([0; MAX_DERIVED_LEN]);
        let keys = DerivedKeys::derive(suite, input_key, salt, context, &mut derived)?;
        // SPEC B-COMMIT: before any chunk, and in constant time.
        if !compare::equal(keys.commitment, commitment) {
            return Err(Error::BODY_START);
        }
        let aead = AnyAead::new(provider, suite.aead(), keys.key);
        let aead = aead.map_err(|_| key_length(suite, input_key))?;
        let base_nonce = Zeroizing::new(*keys.base_nonce);
        Ok(ChunkDecryptor { cipher: ChunkCipher { aead, base_nonce } })
    }

    /// Whether the cipher is as fast as memory.
    pub(crate) fn is_fast(&self) -> bool {
        self.cipher.aead.is_fast()
    }

    /// Whether the cipher has calls in place alone.
    #[cfg(feature = "std")]
    pub(crate) fn is_in_place_only(&self) -> bool {
        self.cipher.aead.is_in_place_only()
    }

    /// Verifies and decrypts chunk `index` with its tag, 16 to 16,400 bytes, in place, and
    /// returns its plaintext.
    ///
    /// # Errors
    ///
    /// [`Error::Authentication`] if the tag does not verify, and [`Error::Chunk`] if no message
    /// has such a chunk. No plaintext is left in `encrypted`.
    pub fn decrypt_in_place<'s>(
        &self,
        index: u64,
        encrypted: &'s mut [u8],
    ) -> Result<&'s mut [u8], Error> {
        check_encrypted_chunk(index, encrypted.len())?;
        let len = encrypted.len();
        let (chunk, tag) =
            encrypted.split_last_chunk_mut().ok_or_else(|| unverified(index, len))?;
        let nonce = self.cipher.nonce(index);
        let aead = self.cipher.aead.as_aead();
        match aead.decrypt_in_place(&nonce, &[], chunk, tag) {
            Ok(()) => Ok(chunk),
            Err(_) => {
                chunk.zeroize();
                Err(unverified(index, len))
            }
        }
    }

    /// Verifies and decrypts chunk `index` with its tag from `encrypted` into `plaintext`, which is
    /// 16 bytes shorter.
    ///
    /// # Errors
    ///
    /// Those of [`decrypt_in_place`](Self::decrypt_in_place), with `plaintext` wiped;
    /// [`Error::BufferLength`] if it has another length.
    pub fn decrypt_into(
        &self,
        index: u64,
        encrypted: &[u8],
        plaintext: &mut [u8],
    ) -> Result<(), Error> {
        check_encrypted_chunk(index, encrypted.len())?;
        let len = encrypted.len();
        let (chunk, tag) = encrypted.split_last_chunk().ok_or_else(|| unverified(index, len))?;
        if plaintext.len() != chunk.len() {
            return Err(Error::BufferLength { len: plaintext.len(), needed: chunk.len() });
        }
        let nonce = self.cipher.nonce(index);
        let aead = self.cipher.aead.as_aead();
        aead.decrypt_into(&nonce, &[], chunk, plaintext, tag).map_err(|_| {
            plaintext.zeroize();
            unverified(index, len)
        })
    }
}

/// Cipher and base nonce wipe themselves.
impl ZeroizeOnDrop for ChunkDecryptor {}

impl fmt::Debug for ChunkDecryptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChunkDecryptor").finish_non_exhaustive()
    }
}
