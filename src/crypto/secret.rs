//! Key material: wiped on drop, with one door each to the bytes.

#![expect(
    clippy::indexing_slicing,
    reason = "ranges of buffers that are sized here or were checked"
)]

use super::CryptoError;
use super::kdf::{self, ExpandKeys, Hash};
use alloc::boxed::Box;
use rand_core::TryCryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Longest data key of any suite, in bytes.
pub(crate) const MAX_DATA_KEY_LEN: usize = 32;

/// Length of a software master key, in bytes.
pub(crate) const MASTER_KEY_LEN: usize = 32;

/// The key of one message (or one bounded batch of messages), wiped on drop.
///
/// A keyring reads it with [`expose`](Self::expose) when it wraps and fills it with
/// [`set`](Self::set) or [`space`](Self::space) when it unwraps. It lives where the core put it
/// and is handed out by reference only, so that no copy is left behind by a move; it has no
/// `Clone`, `Debug` or `PartialEq`.
///
/// ```compile_fail
/// let key = envelock::DataKey::empty();
/// let copy = key.clone();
/// ```
/// ```compile_fail
/// println!("{:?}", envelock::DataKey::empty());
/// ```
/// ```compile_fail
/// let _ = envelock::DataKey::empty() == envelock::DataKey::empty();
/// ```
#[doc(alias = "DEK")]
pub struct DataKey {
    bytes: [u8; MAX_DATA_KEY_LEN],
    len: usize,
    /// HKDF-Expand that was set up with these bytes.
    expand: ExpandKeys,
}

impl DataKey {
    /// Length of the longest data key of any suite in bytes.
    pub const MAX_LEN: usize = MAX_DATA_KEY_LEN;

    /// Makes a data key of length zero, to be filled by an unwrap.
    pub const fn empty() -> Self {
        DataKey { bytes: [0; MAX_DATA_KEY_LEN], len: 0, expand: ExpandKeys::new() }
    }

    /// Returns the key bytes: 16 or 32 of them, or none before a fill.
    ///
    /// # Security
    ///
    /// These bytes decrypt the message. Do not log, store or compare them.
    pub fn expose(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Returns the length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether nothing has been filled in yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Replaces the key by a copy of `bytes`; returns `false`, leaving it empty, if they are
    /// more than 32.
    ///
    /// Any shorter length is accepted here: the core compares it with the suite's.
    #[must_use]
    pub fn set(&mut self, bytes: &[u8]) -> bool {
        match self.space(bytes.len()) {
            Some(space) => {
                space.copy_from_slice(bytes);
                true
            }
            None => false,
        }
    }

    /// Replaces the key by a copy of another.
    pub(crate) fn copy_from(&mut self, other: &DataKey) {
        self.bytes.copy_from_slice(&other.bytes);
        self.len = other.len;
        self.expand = other.expand.clone();
    }

    /// Sets up expansions with this hash, so that each of them begins with the key's blocks hashed.
    pub(crate) fn set_up(&mut self, hash: Hash) {
        self.expand.set_up(hash, &self.bytes[..self.len]);
    }

    /// Expands the key (RFC 5869) to `okm.len()` bytes.
    pub(crate) fn expand(
        &self,
        hash: Hash,
        info: &[&[u8]],
        okm: &mut [u8],
    ) -> Result<(), CryptoError> {
        let set_up = self.expand.expand(hash, info, okm);
        set_up.unwrap_or_else(|| kdf::expand(hash, self.expose(), info, okm))
    }

    /// Wipes the key and hands out `len` zero bytes to fill in place, or `None` beyond 32.
    pub fn space(&mut self, len: usize) -> Option<&mut [u8]> {
        self.wipe();
        let space = self.bytes.get_mut(..len)?;
        self.len = len;
        Some(space)
    }

    /// Makes it empty again.
    pub(crate) fn wipe(&mut self) {
        self.bytes.as_mut_slice().zeroize();
        self.len = 0;
        self.expand = ExpandKeys::new();
    }
}

impl Drop for DataKey {
    fn drop(&mut self) {
        self.wipe();
    }
}

impl ZeroizeOnDrop for DataKey {}

/// A 32-byte software master key, wiped on drop.
///
/// Kept in a box of fixed size, so that moving the value does not leave a copy behind.
///
/// ```compile_fail
/// fn leak(key: envelock::MasterKey) { println!("{key:?}") }
/// ```
/// ```compile_fail
/// fn copy(key: &envelock::MasterKey) -> envelock::MasterKey { key.clone() }
/// ```
/// ```compile_fail
/// fn compare(a: envelock::MasterKey, b: envelock::MasterKey) -> bool { a == b }
/// ```
#[doc(alias = "KEK")]
pub struct MasterKey(Box<[u8; MASTER_KEY_LEN]>);

impl MasterKey {
    /// Length of a software master key in bytes.
    pub const LEN: usize = MASTER_KEY_LEN;

    /// Draws a master key from `rng`.
    ///
    /// # Errors
    ///
    /// The generator's own error.
    pub fn generate<R: TryCryptoRng + ?Sized>(rng: &mut R) -> Result<Self, R::Error> {
        let mut key = MasterKey(Box::new([0; MASTER_KEY_LEN]));
        rng.try_fill_bytes(key.0.as_mut_slice())?;
        Ok(key)
    }

    /// Returns a key of imported key material.
    ///
    /// It must be uniformly random: a passphrase is not a key. The caller wipes its own copy.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Self {
        let mut key = MasterKey(Box::new([0; MASTER_KEY_LEN]));
        key.0.copy_from_slice(bytes);
        key
    }

    /// Copies key material of a length that is not known before, from a file or an environment.
    ///
    /// Returns `None` if it is not exactly 32 bytes. As for [`from_bytes`](Self::from_bytes), it
    /// must be uniformly random, and the caller wipes its own copy.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(MasterKey::from_bytes)
    }

    pub(crate) fn expose(&self) -> &[u8; MASTER_KEY_LEN] {
        &self.0
    }
}

impl Drop for MasterKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for MasterKey {}
