//! The message context that a wrap is bound to.

#![expect(
    clippy::indexing_slicing,
    reason = "ranges of buffers that are sized here or were checked"
)]

use super::KeyringError;
use crate::crypto::secret::DataKey;
use crate::format::codec;
use crate::format::{
    DataKeyId, ImmutableCore, MAX_KEY_NAME_LEN, OwnedSlot, Slot, SlotLabel, Suite,
};
use core::fmt;
use core::ops::Deref;

const LABEL: &[u8] = b"envelock wrap v1";
const REMOTE_LABEL: &[u8] = b"envelock remote wrap v1";

/// Remote label, immutable core, algorithm, master key id, name length, name. The other label is shorter by
/// more than a version.
const MAX_LEN: usize = REMOTE_LABEL.len() + 22 + 1 + 8 + 1 + MAX_KEY_NAME_LEN;
const _: () = assert!(REMOTE_LABEL.len() >= LABEL.len() + 4);

/// The immutable core of the message that a data key belongs to. A wrap is bound to it.
#[derive(Clone, Copy)]
pub struct WrapContext<'a> {
    core: &'a ImmutableCore,
    plaintext_len: Option<u64>,
    replaced: Option<SlotLabel<'a>>,
    is_proof: bool,
    trusts_backend: bool,
}

impl<'a> WrapContext<'a> {
    /// Returns the context of an unwrap or a rewrap.
    pub(crate) fn new(core: &'a ImmutableCore) -> Self {
        WrapContext::for_message(core, None)
    }

    /// Returns the context of a message that is being encrypted.
    pub(crate) fn for_message(core: &'a ImmutableCore, plaintext_len: Option<u64>) -> Self {
        WrapContext { core, plaintext_len, replaced: None, is_proof: false, trusts_backend: false }
    }

    /// Returns the context of a wrap that replaces the slot `replaced`.
    pub(crate) fn replacing(self, replaced: SlotLabel<'a>) -> Self {
        WrapContext { replaced: Some(replaced), ..self }
    }

    /// Returns the context of an unwrap that proves a slot which was just written.
    pub(crate) fn proving(core: &'a ImmutableCore) -> Self {
        WrapContext { is_proof: true, ..WrapContext::new(core) }
    }

    /// Returns whether the unwrap proves a slot that was just written.
    ///
    /// A cache passes it on to the keyring behind: a cached key proves nothing.
    pub fn is_proof(&self) -> bool {
        self.is_proof
    }

    /// Returns the context of a rewrap that leaves the proof of the new slot to the backend, or does not.
    pub(crate) fn trusting_backend(self, trusts_backend: bool) -> Self {
        WrapContext { trusts_backend, ..self }
    }

    /// Returns whether a rewrap leaves the proof of the new slot to the backend
    /// ([`RewrapOptions::trusting_backend`](crate::RewrapOptions::trusting_backend)).
    ///
    /// Only then may a keyring have a service re-encrypt on its own side, where nobody compares the data keys.
    pub fn trusts_backend(&self) -> bool {
        self.trusts_backend
    }

    /// Returns the slot that the wrap replaces. Of several keyrings with its name, its owner wraps.
    pub(crate) fn replaced(&self) -> Option<&SlotLabel<'a>> {
        self.replaced.as_ref()
    }

    /// Returns the suite, which fixes the length of the data key.
    pub fn suite(&self) -> Suite {
        self.core.suite()
    }

    /// Returns the data key id. The header has it in the clear, so it is no nonce, and no cache key by itself.
    pub fn data_key_id(&self) -> DataKeyId {
        self.core.data_key_id()
    }

    /// Returns the length in bytes of the plaintext that the data key is about to protect. `None` for
    /// a stream, a decryption and a rewrap.
    ///
    /// Under reuse of data keys it includes the messages that earlier data keys encrypted without a wrap.
    /// For keyrings that count the bytes under a key version. The wrap is not bound to it.
    pub fn plaintext_len(&self) -> Option<u64> {
        self.plaintext_len
    }

    /// Returns the associated data of a wrap under `label` (SPEC K-AAD).
    ///
    /// Algorithms other than 1 to 3 use these bytes, or bytes of their own that bind at least the
    /// core, the algorithm and the name. A service that chooses the version itself takes
    /// [`remote_wrap_aad`](Self::remote_wrap_aad).
    pub fn wrap_aad(&self, label: &SlotLabel<'_>) -> WrapAad {
        WrapAad::new(&[
            LABEL,
            self.core.as_bytes(),
            &[label.algorithm.id()],
            &label.version.number().to_be_bytes(),
            &label.master_key_id.0,
            &[label.name.len_byte()],
            label.name.as_bytes(),
        ])
    }

    /// Returns the associated data of a wrap under `label` by a service that chooses the version (SPEC
    /// K-REMOTE).
    ///
    /// Those of [`wrap_aad`](Self::wrap_aad) under another label and without the version, which is known
    /// from the answer alone. The keyring compares the version of the answer with that of the slot.
    pub fn remote_wrap_aad(&self, label: &SlotLabel<'_>) -> WrapAad {
        WrapAad::new(&[
            REMOTE_LABEL,
            self.core.as_bytes(),
            &[label.algorithm.id()],
            &label.master_key_id.0,
            &[label.name.len_byte()],
            label.name.as_bytes(),
        ])
    }

    /// Returns the immutable core: bytes 0..22 of the header.
    pub fn core_bytes(&self) -> &'a [u8; 22] {
        self.core.as_bytes()
    }

    /// Checks that `data_key` belongs to this message: its length, and in constant time its check.
    ///
    /// The core does so after every unwrap. A keyring needs it only between an unwrap and a
    /// wrap of its own, so that a rewrap cannot exchange the data key.
    ///
    /// # Errors
    ///
    /// [`KeyringError::Authentication`] if it does not.
    pub fn verify(&self, data_key: &DataKey) -> Result<(), KeyringError> {
        if self.core.names(data_key) { Ok(()) } else { Err(KeyringError::Authentication) }
    }
}

impl fmt::Debug for WrapContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrapContext")
            .field("suite", &self.suite())
            .field("data_key_id", &self.data_key_id())
            .finish()
    }
}

/// A [`WrapContext`] that owns what it refers to, for a call that outlives its caller's borrow. Nothing in it is
/// secret.
#[derive(Clone)]
pub struct OwnedWrapContext {
    core: ImmutableCore,
    plaintext_len: Option<u64>,
    /// Without its wrapped key.
    replaced: Option<OwnedSlot>,
    is_proof: bool,
    trusts_backend: bool,
}

impl OwnedWrapContext {
    /// Returns the context, equal to that which it was made from.
    pub fn as_context(&self) -> WrapContext<'_> {
        WrapContext {
            core: &self.core,
            plaintext_len: self.plaintext_len,
            replaced: self.replaced.as_ref().map(OwnedSlot::label),
            is_proof: self.is_proof,
            trusts_backend: self.trusts_backend,
        }
    }
}

impl From<&WrapContext<'_>> for OwnedWrapContext {
    fn from(context: &WrapContext<'_>) -> Self {
        let slot = |label| OwnedSlot::from(&Slot { label, wrapped_key: &[] });
        OwnedWrapContext {
            core: *context.core,
            plaintext_len: context.plaintext_len,
            replaced: context.replaced.map(slot),
            is_proof: context.is_proof,
            trusts_backend: context.trusts_backend,
        }
    }
}

impl PartialEq for OwnedWrapContext {
    fn eq(&self, other: &Self) -> bool {
        let values = |c: &Self| (*c.core.as_bytes(), c.plaintext_len, c.is_proof, c.trusts_backend);
        values(self) == values(other) && self.replaced == other.replaced
    }
}

impl fmt::Debug for OwnedWrapContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_context().fmt(f)
    }
}

/// Associated data of a wrap, 53 to 310 bytes, on the stack. Nothing in it is secret.
#[derive(Clone)]
pub struct WrapAad {
    bytes: [u8; MAX_LEN],
    len: usize,
}

impl WrapAad {
    fn new(fields: &[&[u8]]) -> Self {
        let mut aad = WrapAad { bytes: [0; MAX_LEN], len: 0 };
        #[expect(clippy::expect_used, reason = "the room is that of the longest name")]
        let len = codec::concat(&mut aad.bytes, fields).expect("room for the longest name");
        aad.len = len;
        aad
    }
}

impl Deref for WrapAad {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl fmt::Debug for WrapAad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WrapAad({} bytes)", self.len)
    }
}
