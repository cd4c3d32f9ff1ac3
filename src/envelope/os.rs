//! The encrypting and rewrapping operations with randomness of the operating system.

use super::{Envelope, GrantOptions, HeaderUpdate, Rewrap, RewrapOptions, RewrapReport};
use crate::OsRandom;
use crate::aad::Aad;
use crate::error::Error;
use crate::keyring::Keyring;
use crate::stream::StreamEncryptor;
use alloc::vec::Vec;
use core::ops::Range;

impl<K: Keyring> Envelope<K> {
    /// Encrypts `plaintext` under a fresh data key and returns header and body in one.
    ///
    /// `aad` must be given again at decryption; it is authenticated and not stored.
    ///
    /// # Errors
    ///
    /// [`Error::NoPrimary`], [`Error::Unavailable`], [`Error::Randomness`], [`Error::Slot`] from
    /// the keyring; [`Error::MessageTooLong`]; [`Error::HeaderRoom`] beyond 65,535 bytes.
    pub fn encrypt(&self, plaintext: &[u8], aad: Aad<'_>) -> Result<Vec<u8>, Error> {
        self.with_rng(&mut OsRandom).encrypt(plaintext, aad)
    }

    /// Encrypts `plaintext` into `message`, which has exactly
    /// [`message_len`](Self::message_len) bytes. Allocates nothing.
    ///
    /// # Errors
    ///
    /// As [`encrypt`](Self::encrypt), and [`Error::BufferLength`].
    pub fn encrypt_into(
        &self,
        plaintext: &[u8],
        aad: Aad<'_>,
        message: &mut [u8],
    ) -> Result<(), Error> {
        self.with_rng(&mut OsRandom).encrypt_into(plaintext, aad, message)
    }

    /// Encrypts in place: `message` has exactly [`message_len`](Self::message_len) bytes, and
    /// the plaintext stands at [`plaintext_range`](Self::plaintext_range), which is given again.
    /// What the slots do not fill in front of it becomes padding. Allocates nothing.
    ///
    /// ```
    /// # fn main() -> Result<(), envelock::Error> {
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
    /// ```
    ///
    /// # Errors
    ///
    /// As [`encrypt_into`](Self::encrypt_into); [`Error::HeaderRoom`] if a rotation since has made
    /// the header longer. The plaintext is then untouched.
    pub fn encrypt_in_place(
        &self,
        message: &mut [u8],
        plaintext: Range<usize>,
        aad: Aad<'_>,
    ) -> Result<(), Error> {
        self.with_rng(&mut OsRandom).encrypt_in_place(message, plaintext, aad)
    }

    /// Encrypts to a header and a body that are kept apart. Their bytes are those of a message
    /// in one.
    ///
    /// # Errors
    ///
    /// As [`encrypt`](Self::encrypt).
    pub fn encrypt_detached(
        &self,
        plaintext: &[u8],
        aad: Aad<'_>,
    ) -> Result<(Vec<u8>, Vec<u8>), Error> {
        self.with_rng(&mut OsRandom).encrypt_detached(plaintext, aad)
    }

    /// Encrypts `plaintext` into `body`, of exactly [`body_len`](crate::body_len) bytes, and
    /// into `header`, of [`header_len`](Self::header_len) bytes or more: all of it becomes the
    /// header, what the slots do not fill its padding. Allocates nothing.
    ///
    /// # Errors
    ///
    /// As [`encrypt`](Self::encrypt), and [`Error::BufferLength`]. `header` is then wiped or
    /// untouched.
    pub fn encrypt_detached_into(
        &self,
        plaintext: &[u8],
        aad: Aad<'_>,
        header: &mut [u8],
        body: &mut [u8],
    ) -> Result<(), Error> {
        self.with_rng(&mut OsRandom).encrypt_detached_into(plaintext, aad, header, body)
    }

    /// Encrypts in place: `plaintext_len` bytes of plaintext stand in `body` from byte 56 on, and
    /// `body` has exactly [`body_len`](crate::body_len) bytes. For `header` see
    /// [`encrypt_detached_into`](Self::encrypt_detached_into). Allocates nothing.
    ///
    /// # Errors
    ///
    /// As there. The plaintext is then untouched.
    pub fn encrypt_detached_in_place(
        &self,
        header: &mut [u8],
        body: &mut [u8],
        plaintext_len: usize,
        aad: Aad<'_>,
    ) -> Result<(), Error> {
        self.with_rng(&mut OsRandom).encrypt_detached_in_place(header, body, plaintext_len, aad)
    }

    /// Encrypts a message piece by piece: header first, then the body. Without any I/O; for
    /// `Read` and `Write` see `encrypt_reader` and `encrypt_writer`.
    ///
    /// A stream has a data key of its own, also where others are reused.
    ///
    /// # Errors
    ///
    /// As [`encrypt`](Self::encrypt).
    pub fn stream_encryptor<'k>(&self, aad: Aad<'_>) -> Result<StreamEncryptor<'k>, Error>
    where
        K: 'k,
    {
        self.with_rng(&mut OsRandom).stream_encryptor(aad)
    }

    /// As [`stream_encryptor`](Self::stream_encryptor), with the header apart.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn stream_encryptor_detached<'k>(
        &self,
        aad: Aad<'_>,
    ) -> Result<(Vec<u8>, StreamEncryptor<'k>), Error>
    where
        K: 'k,
    {
        self.with_rng(&mut OsRandom).stream_encryptor_detached(aad)
    }

    /// Wraps the data key anew under the primary version and returns the new header.
    ///
    /// `message` is a message or its header alone: neither the body nor the associated data is
    /// needed, and no byte of the body changes. To store the header, compare and swap: write it
    /// only if the old one is still there.
    ///
    /// - A slot that opens and is not under the primary gives way to a new one of the same key
    ///   name, in its place; where the header has the slot that it would become, to that one.
    /// - Every other slot stays byte for byte, in order: other keyrings', and those that do not
    ///   open (refused, damaged, of a backend that does not answer). None of these keeps the others
    ///   from being rewrapped; [`Rewrap::report`] says of each slot what was done and why.
    /// - Nothing is rewrapped if a slot opens under a version that is marked compromised and not
    ///   named by [`RewrapOptions::from_compromised`].
    /// - The new slot is unwrapped and verified before this returns.
    /// - The header keeps its length unless its slots outgrow it. Then it is given as much padding as
    ///   it had, or as [`with_reserved`](Self::with_reserved) says if that is more, so that the next
    ///   slots fit in place again.
    ///
    /// What it asks of a backend, beside [`Keyring::freshness`](crate::Keyring::freshness) of each slot:
    ///
    /// | slots | calls |
    /// |---|---|
    /// | of every name of the keyring, all labelled with the primary version | none: the report says that it went by labels |
    /// | one that is not under the primary | [`Keyring::rewrap`](crate::Keyring::rewrap), an unwrap and a wrap or one call of a service; then an unwrap as proof, unless the backend is trusted |
    /// | one under the primary, beside one of its name that is not | an unwrap |
    /// | one that is refused by its state, or another keyring's | none |
    ///
    /// No slot is offered to a keyring under another label than its own, and
    /// [`RewrapOptions::retiring`] costs nothing.
    ///
    /// # Errors
    ///
    /// What is wrong with the header; if no slot opens, why, as [`decrypt`](Self::decrypt) says it;
    /// from the keyring's wrap as [`encrypt`](Self::encrypt); [`Error::Refused`] with the new
    /// version if that is refused by now; [`Error::OldVersionStillOpens`] and
    /// [`Error::MissingSlot`] by [`RewrapOptions::retiring`]; [`Error::Refused`] with
    /// [`Refusal::Compromised`](crate::keyring::Refusal::Compromised) and the version to be named;
    /// [`Error::HeaderRoom`] beyond 65,535 bytes. Nothing is then changed.
    #[doc(alias = "re-encrypt")]
    #[doc(alias = "rekey")]
    pub fn rewrap(&self, message: &[u8], options: RewrapOptions<'_>) -> Result<Rewrap, Error> {
        self.with_rng(&mut OsRandom).rewrap(message, options)
    }

    /// As [`rewrap`](Self::rewrap), over the header of `message`, which keeps its length. Returns
    /// what was done with each slot. Allocates nothing for headers of up to 1 KiB.
    ///
    /// The header is written by one copy at the very end. A crash within a write to disk can
    /// tear it: use this where the medium replaces atomically, or behind a journal.
    ///
    /// # Errors
    ///
    /// As [`rewrap`](Self::rewrap), and [`Error::HeaderRoom`] if the new slots do not fit, with the
    /// length that holds them all. Nothing is then changed, and the wraps are spent: where that
    /// can be, call [`rewrap`](Self::rewrap) and compare the lengths.
    pub fn rewrap_in_place(
        &self,
        message: &mut [u8],
        options: RewrapOptions<'_>,
    ) -> Result<RewrapReport, Error> {
        self.with_rng(&mut OsRandom).rewrap_in_place(message, options)
    }

    /// Adds slots that another keyring wraps, and returns the new header: an escrow copy, a second
    /// region, the first half of a move to a key of another name
    /// ([`remove_name`](Self::remove_name) is the second).
    ///
    /// `message` is a message or its header alone; no byte of the body changes. This keyring opens
    /// the message, `to` wraps its data key under its primaries. To store the header, compare and
    /// swap.
    ///
    /// - The new slots stand behind those that are there, which stay byte for byte, in order.
    /// - A slot of the same name, version and id that is in the header already and opens with `to`
    ///   is left, so that a job can begin again: where all are there, nothing changes and nothing
    ///   is wrapped. One that does not open gives its place to the new one. A slot of an older
    ///   version stays; a rewrap by `to` merges it.
    /// - Each new slot is unwrapped by `to` and verified before this returns, unless
    ///   [`GrantOptions::trusting_wrap`].
    /// - A slot under a version that is marked compromised is not opened, unless
    ///   [`GrantOptions::from_compromised`] names it.
    /// - The header grows as that of a [`rewrap`](Self::rewrap).
    ///
    /// ```
    /// # fn main() -> Result<(), envelock::Error> {
    /// use envelock::{Aad, Envelope, GrantOptions, MemoryKeyring};
    ///
    /// let (orders, escrow) = (MemoryKeyring::create("orders")?, MemoryKeyring::create("escrow")?);
    /// let envelope = Envelope::new(&orders);
    /// let (header, body) = envelope.encrypt_detached(b"payload", Aad::none())?;
    /// let header = envelope.add_slot(&header, &escrow, GrantOptions::new())?.into_header();
    /// for keyring in [&orders, &escrow] {
    ///     let opened = Envelope::new(keyring).decrypt_detached(&header, &body, Aad::none())?;
    ///     assert_eq!(opened, b"payload");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// What is wrong with the header; if no slot opens, why, as [`decrypt`](Self::decrypt) says it,
    /// with [`Refusal::Compromised`](crate::keyring::Refusal::Compromised) and the version to be named; from
    /// `to` as [`encrypt`](Self::encrypt); [`Error::Slot`] with
    /// [`SlotFault::Unproven`](crate::format::SlotFault::Unproven) if a new slot does not open, or
    /// [`SlotFault::TooMany`](crate::format::SlotFault::TooMany) beyond 16; [`Error::HeaderRoom`] beyond
    /// 65,535 bytes. Nothing is then changed.
    ///
    /// # Security
    ///
    /// Whoever holds a key of `to` can from now on open the message, and has its data key: no
    /// [`remove_name`](Self::remove_name) takes that back.
    #[doc(alias = "grant")]
    #[doc(alias = "escrow")]
    pub fn add_slot<T: Keyring + ?Sized>(
        &self,
        message: &[u8],
        to: &T,
        options: GrantOptions<'_>,
    ) -> Result<HeaderUpdate, Error> {
        self.with_rng(&mut OsRandom).add_slot(message, to, options)
    }

    /// As [`add_slot`](Self::add_slot), over the header of `message`, which keeps its length: the
    /// room comes from its padding ([`with_reserved`](Self::with_reserved)). Returns whether
    /// anything changed. Allocates nothing for headers, and new slots, of up to 1 KiB.
    ///
    /// # Errors
    ///
    /// As there, and [`Error::HeaderRoom`] with the length that holds all slots if they do not
    /// fit. Nothing is then changed, and the wraps are spent.
    pub fn add_slot_in_place<T: Keyring + ?Sized>(
        &self,
        message: &mut [u8],
        to: &T,
        options: GrantOptions<'_>,
    ) -> Result<bool, Error> {
        self.with_rng(&mut OsRandom).add_slot_in_place(message, to, options)
    }
}
