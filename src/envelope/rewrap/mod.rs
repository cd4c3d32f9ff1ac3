//! Rewrap: the same data key under the primary version; the body is not touched.

mod add;
mod grant;
mod job;
mod report;
mod retire;
mod write;

pub use grant::{GrantOptions, HeaderUpdate};
pub use report::{RewrapReport, SlotOutcome};

use super::decrypt::Failures;
use super::{Envelope, OpenedKey};
use crate::crypto::secret::DataKey;
use crate::error::Error;
use crate::format::{Header, KeyVersion, MAX_SLOTS, Slot, SlotFault, SlotLabel};
use crate::keyring::{Keyring, KeyringError, PrimaryKey, Refusal, WrapContext, unwrap_verified};
use crate::random::{RandomPool, RandomSource};
use alloc::vec::Vec;
use core::fmt;
use job::RewrapJob;
use write::NewHeader;

/// What a rewrap is asked to make sure of.
#[derive(Clone, Copy, Debug, Default)]
pub struct RewrapOptions<'a> {
    retiring: Option<(&'a str, KeyVersion)>,
    compromised: NamedVersions<'a>,
    trust_backend: bool,
    opened: Option<&'a OpenedKey>,
}

/// Compromised versions that a caller names, as many as a header has slots.
#[derive(Clone, Copy, Debug, Default)]
struct NamedVersions<'a>([Option<(&'a str, KeyVersion)>; MAX_SLOTS]);

impl<'a> NamedVersions<'a> {
    const NONE: Self = NamedVersions([None; MAX_SLOTS]);

    /// Adds a version; one beyond the sixteenth stays unnamed.
    fn with(mut self, name: &'a str, version: KeyVersion) -> Self {
        if let Some(free) = self.0.iter_mut().find(|named| named.is_none()) {
            *free = Some((name, version));
        }
        self
    }

    fn has(&self, label: &SlotLabel<'_>) -> bool {
        self.0.contains(&Some((label.name.as_str(), label.version)))
    }
}

impl<'a> RewrapOptions<'a> {
    /// The usual: verify the old slot and the new one.
    pub const fn new() -> Self {
        RewrapOptions {
            retiring: None,
            compromised: NamedVersions::NONE,
            trust_backend: false,
            opened: None,
        }
    }

    /// Refuses with [`Error::OldVersionStillOpens`] if a slot under `version` of the key `name`
    /// that opens, or is labelled with the primary version, would still be in the new header.
    ///
    /// A slot of that version that this keyring does not know, was told to do without, or cannot ask
    /// about now, is an error too, as is one of a name of which no slot is this keyring's: nobody here can tell. One
    /// that the keyring refuses by its state does not open, nor does one that was found damaged.
    /// An alias means the key that it stands for now. A header without any slot of that key is
    /// [`Error::MissingSlot`].
    ///
    /// Goes by what the rewrap has seen: costs no call to a backend.
    #[must_use]
    pub const fn retiring(mut self, name: &'a str, version: KeyVersion) -> Self {
        self.retiring = Some((name, version));
        self
    }

    /// Rewraps slots under `version` of the key `name` although it is marked compromised.
    ///
    /// Without this the whole rewrap fails with [`Error::Refused`] and nothing is written, even
    /// if other slots would open: nobody must believe that a rewrap has mended the message. That
    /// is so where a slot under it opens; a damaged one is left, and stops nothing.
    /// Several versions are named by several calls, as many as a header has slots (16); what is
    /// named beyond that stays refused. A version that is not compromised is rewrapped anyway.
    ///
    /// # Security
    ///
    /// The holder of the compromised key has, or can have, the data key of every message that was
    /// ever under it. A rewrap restores nothing there: it only lets the version go. Decrypting
    /// and encrypting again restores the secrecy of what is not read yet. Nothing restores
    /// authenticity: the holder of the key may have made the message.
    #[must_use]
    pub fn from_compromised(mut self, name: &'a str, version: KeyVersion) -> Self {
        self.compromised = self.compromised.with(name, version);
        self
    }

    /// Wraps the data key that `key` holds, where the slot that it was opened from stands in the
    /// header: that slot needs no unwrap, and gives way to one of its own name alone, by the member of a
    /// combined keyring that has it; where labels do not tell which, it is unwrapped again. Every other
    /// slot is treated as without it.
    ///
    /// A key of another message is refused with [`Error::OtherMessage`]. A slot whose version is
    /// refused by now, or unknown here, stays as it is, although the key is at hand.
    #[must_use]
    pub const fn opened(mut self, key: &'a OpenedKey) -> Self {
        self.opened = Some(key);
        self
    }

    /// Leaves all verification to a backend that re-encrypts on its own side, so that the data
    /// key never enters this process; for processes that may rewrap and not decrypt.
    ///
    /// # Security
    ///
    /// If the backend wraps another key, the message is lost, and nobody notices before it is
    /// read. It makes sense only with a keyring that overrides [`Keyring::rewrap`]; that method
    /// is then also what decides whether a slot opens, and a label that names the primary version
    /// is believed. A version that is marked compromised and not named refuses by its label, too.
    #[must_use]
    pub const fn trusting_backend(mut self) -> Self {
        self.trust_backend = true;
        self
    }
}

/// The outcome of a rewrap: the header now, and what was done with each slot.
#[must_use = "it holds the new header, and says which slots were left"]
pub struct Rewrap {
    header: NewHeader,
    report: RewrapReport,
}

impl Rewrap {
    /// The header now; byte for byte the old one if nothing changed.
    pub fn header(&self) -> &[u8] {
        self.header.as_bytes()
    }

    /// The header now, by value.
    pub fn into_header(self) -> Vec<u8> {
        self.header.into_vec()
    }

    /// Writes the header over that of `message`, which keeps its length: the message that was
    /// rewrapped, or its header alone. Allocates nothing, nor does [`Envelope::rewrap`] for headers of
    /// up to 1 KiB.
    ///
    /// It is written by one copy at the very end. A crash within a write to disk can tear it: use this
    /// where the medium replaces atomically, or behind a journal.
    ///
    /// # Errors
    ///
    /// [`Error::HeaderRoom`] with the length that the slots need if they have outgrown the header;
    /// [`Error::OtherMessage`]; what is wrong with the header of `message`. Nothing is then changed.
    pub fn write_over(&self, message: &mut [u8]) -> Result<(), Error> {
        self.header.write_over(message)
    }

    /// Whether the header differs from the old one.
    pub fn is_changed(&self) -> bool {
        self.report.is_changed()
    }

    /// What was done with each slot, and why some were left.
    pub fn report(&self) -> &RewrapReport {
        &self.report
    }

    /// Header and report by value.
    pub fn into_parts(self) -> (Vec<u8>, RewrapReport) {
        (self.header.into_vec(), self.report)
    }
}

impl fmt::Debug for Rewrap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rewrap")
            .field("header_len", &self.header().len())
            .field("report", &self.report)
            .finish()
    }
}

impl<K: Keyring, R: RandomSource> Envelope<K, R> {
    /// Wraps the data key again under the primary version and returns the new header.
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
        let old = Header::parse(message)?;
        // SPEC R-OPENED
        if let Some(key) = options.opened {
            key.of(&old)?;
        }
        let (keyring, reserved) = (&*self.keyring, self.reserved);
        let job = RewrapJob { keyring, old: &old, options, reserved };
        let (new, report) = job.run(&mut RandomPool::for_rewrap(&self.random))?;
        Ok(Rewrap { header: NewHeader::new(&old, new), report })
    }
}

#[cfg(all(feature = "file", unix))]
impl<K: Keyring, R> Envelope<K, R> {
    /// Makes sure that a slot of `header` opens.
    pub(crate) fn check_opens(&self, header: &[u8]) -> Result<(), Error> {
        let header = Header::parse_detached(header)?;
        let context = WrapContext::new(header.core());
        let mut failures = Failures::default();
        for slot in header.slots() {
            match verify_slot(&*self.keyring, &context, &slot) {
                Ok(()) => return Ok(()),
                Err(error) => failures.add(&slot, error),
            }
        }
        Err(failures.into_error(&header))
    }
}

/// Says of a primary that it was refused to wrap: the first of those that `is_it`, of which that is
/// told by place and label.
pub(crate) fn refused_primary<K: Keyring + ?Sized>(
    keyring: &K,
    refusal: Refusal,
    is_it: impl Fn(usize, &SlotLabel<'_>) -> bool,
) -> Error {
    let (mut refused, mut at) = (None, 0_usize);
    // A keyring that does not answer now names no version.
    let _ = keyring.visit_primaries(&mut |PrimaryKey { label, .. }| {
        if refused.is_none() && is_it(at, label) {
            let key = label.name.as_str().into();
            refused = Some(Error::Refused { key, version: label.version, refusal });
        }
        at += 1;
    });
    refused.unwrap_or_else(|| Error::from_wrap(KeyringError::Refused(refusal)))
}

/// Unwraps a slot and checks the data key, which is then wiped.
pub(super) fn verify_slot<K: Keyring + ?Sized>(
    keyring: &K,
    context: &WrapContext<'_>,
    slot: &Slot<'_>,
) -> Result<(), KeyringError> {
    let mut data_key = DataKey::empty();
    unwrap_verified(keyring, slot, context, &mut data_key)
}

/// Proves a new slot of a header: what does not open is not given out (SPEC R-PROOF, G-PROOF).
/// Returns what a backend says that does not say whether it opens.
fn prove_slot<K: Keyring + ?Sized>(
    keyring: &K,
    header: &Header<'_>,
    new: &Slot<'_>,
) -> Result<Option<KeyringError>, Error> {
    match verify_slot(keyring, &WrapContext::new(header.core()), new) {
        Ok(()) => Ok(None),
        Err(KeyringError::NotMine | KeyringError::Authentication) => {
            Err(Error::Slot(SlotFault::Unproven))
        }
        // The new version was disabled meanwhile, say: it is that one, not the old one.
        Err(error @ KeyringError::Refused(_)) => Err(Failures::of(new, error).into_error(header)),
        Err(error) => Ok(Some(error)),
    }
}
