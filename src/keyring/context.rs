//! What a wrap is bound to.

#![expect(
    clippy::indexing_slicing,
    reason = "ranges of buffers that are sized here or were checked"
)]

use super::KeyringError;
use crate::crypto::secret::DataKey;
use crate::format::codec;
use crate::format::{DataKeyId, ImmutableCore, MAX_KEY_NAME_LEN, SlotLabel, Suite};
use core::fmt;
use core::ops::Deref;

const LABEL: &[u8] = b"envelock wrap v1";

/// Label, immutable core, algorithm, version, master key id, name length, name.
const MAX_LEN: usize = LABEL.len() + 22 + 1 + 4 + 8 + 1 + MAX_KEY_NAME_LEN;

/// The message that a data key belongs to, as far as a wrap is bound to it: its immutable core.
#[derive(Clone, Copy)]
pub struct WrapContext<'a> {
    core: &'a ImmutableCore,
    plaintext_len: Option<u64>,
    replaced: Option<SlotLabel<'a>>,
}

impl<'a> WrapContext<'a> {
    /// The context of an unwrap or a rewrap.
    pub(crate) fn new(core: &'a ImmutableCore) -> Self {
        WrapContext { core, plaintext_len: None, replaced: None }
    }

    /// The context of a message that is being encrypted.
    pub(crate) fn for_message(core: &'a ImmutableCore, plaintext_len: Option<u64>) -> Self {
        WrapContext { core, plaintext_len, replaced: None }
    }

    /// The context of a wrap that takes the place of the slot `replaced`.
    pub(crate) fn replacing(self, replaced: SlotLabel<'a>) -> Self {
        WrapContext { replaced: Some(replaced), ..self }
    }

    /// The slot whose place the wrap takes: of several keyrings that hold its name, the one that has
    /// it wraps.
    pub(crate) fn replaced(&self) -> Option<&SlotLabel<'a>> {
        self.replaced.as_ref()
    }

    /// The suite, which fixes the data key's length.
    pub fn suite(&self) -> Suite {
        self.core.suite()
    }

    /// The data key id. It is in the clear in the header: never a nonce, never a cache key by
    /// itself.
    pub fn data_key_id(&self) -> DataKeyId {
        self.core.data_key_id()
    }

    /// Length in bytes of the plaintext that the data key is about to protect, and of what earlier
    /// data keys protected beyond their wraps where some are reused: known while a message in memory
    /// is encrypted, `None` while one is streamed, decrypted or rewrapped.
    ///
    /// For keyrings that count what a key version protects. It is not bound to the wrap.
    pub fn plaintext_len(&self) -> Option<u64> {
        self.plaintext_len
    }

    /// The bytes that a wrap under `label` authenticates besides the data key (SPEC K-AAD).
    ///
    /// Other algorithms than 1 to 3 use these, or bytes of their own that bind at least the
    /// core, the algorithm and the name; a backend that tells the version only in its answer
    /// compares that with the slot's.
    pub fn wrap_aad(&self, label: &SlotLabel<'_>) -> WrapAad {
        let name = label.name.as_str().as_bytes();
        let name_len = label.name.len_byte();
        let fields: [&[u8]; 7] = [
            LABEL,
            self.core.as_bytes(),
            &[label.algorithm.id()],
            &label.version.number().to_be_bytes(),
            &label.master_key_id.0,
            &[name_len],
            name,
        ];
        let mut bytes = [0; MAX_LEN];
        #[expect(clippy::expect_used, reason = "the room is that of the longest name")]
        let len = codec::concat(&mut bytes, &fields).expect("room for the longest name");
        WrapAad { bytes, len }
    }

    /// The immutable core: bytes 0..22 of the header.
    pub fn core_bytes(&self) -> &'a [u8; 22] {
        self.core.as_bytes()
    }

    /// Checks that `data_key` is this message's: its length, and in constant time its check.
    ///
    /// The core does so after every unwrap. A keyring needs it only between an unwrap and a
    /// wrap of its own, so that a rewrap cannot launder another key.
    ///
    /// # Errors
    ///
    /// [`KeyringError::Authentication`].
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

/// Associated data of a wrap, 52 to 307 bytes, on the stack. Public: it repeats the header.
#[derive(Clone)]
pub struct WrapAad {
    bytes: [u8; MAX_LEN],
    len: usize,
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
