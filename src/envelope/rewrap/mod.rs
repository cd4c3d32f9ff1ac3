//! Rewrap: the same data key under the primary version. The body is untouched.

mod add;
mod grant;
mod job;
mod report;
mod retire;
mod write;

pub use grant::{GrantOptions, HeaderUpdate};
pub use report::{RewrapReport, SlotOutcome};

use super::decrypt::SlotFailures;
use super::{Envelope, OpenedKey};
use crate::crypto::compare;
use crate::crypto::secret::DataKey;
use crate::error::Error;
use crate::format::{Header, KeyVersion, MAX_SLOTS, Slot, SlotFault, SlotLabel};
use crate::keyring::{Keyring, KeyringError, PrimaryKey, Refusal, WrapContext, unwrap_verified};
use crate::random::{RandomPool, RandomSource};
use alloc::vec::Vec;
use core::fmt;
use job::RewrapJob;
use write::NewHeader;

/// Options of a rewrap.
#[derive(Clone, Copy, Debug, Default)]
pub struct RewrapOptions<'a> {
    retiring: Option<(&'a str, KeyVersion)>,
    compromised: NamedVersions<'a>,
    trust_backend: bool,
    opened: Option<&'a OpenedKey>,
}

/// Compromised versions that the caller names, as many as a header has slots.
#[derive(Clone, Copy, Debug, Default)]
struct NamedVersions<'a>([Option<(&'a str, KeyVersion)>; MAX_SLOTS]);

impl<'a> NamedVersions<'a> {
    const NONE: Self = NamedVersions([None; MAX_SLOTS]);

    /// Adds a version. One beyond the sixteenth is ignored.
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
    /// Returns the default: the old slot and the new one are verified.
    pub const fn new() -> Self {
        RewrapOptions {
            retiring: None,
            compromised: NamedVersions::NONE,
            trust_backend: false,
            opened: None,
        }
    }

    /// Fails with [`Error::OldVersionStillOpens`] if the new header would still have a slot under `version`
    /// of the key `name` that opens, or that is labelled with the primary version.
    ///
    /// An alias means the key that it stands for now. A header without any slot of that key is
    /// [`Error::MissingSlot`]. A slot that the keyring refuses by its state, or that is damaged, does
    /// not open. The rewrap also fails if it is unknown whether such a slot opens: the version is unknown or
    /// excluded, the backend is unavailable, or no slot of the name belongs to this keyring.
    ///
    /// The check uses the results of the rewrap and makes no call to a backend.
    #[must_use]
    pub const fn retiring(mut self, name: &'a str, version: KeyVersion) -> Self {
        self.retiring = Some((name, version));
        self
    }

    /// Rewraps slots under `version` of the key `name` although it is marked compromised.
    ///
    /// Without this, a slot under a compromised version that opens makes the whole rewrap fail with
    /// [`Error::Refused`], even if other slots open. A damaged slot does not. Call it once for each
    /// version, up to 16 times; further versions stay refused. A version that is not compromised is
    /// rewrapped anyway.
    ///
    /// # Security
    ///
    /// The holder of the compromised key can have the data key of every message that was ever under it. A
    /// rewrap does not restore secrecy. It only makes the destruction of the version possible. A new
    /// encryption restores the secrecy of messages that were not read yet. Nothing restores
    /// authenticity: the holder of the key may have written the message.
    #[must_use]
    pub fn from_compromised(mut self, name: &'a str, version: KeyVersion) -> Self {
        self.compromised = self.compromised.with(name, version);
        self
    }

    /// Uses the data key of `key` instead of an unwrap of the slot that it was opened from, if the header
    /// still has that slot. The owner of the slot wraps the data key under the same name. If several members
    /// of a combined keyring may be the owner, the slot is unwrapped again.
    ///
    /// All other slots are rewrapped as usual. A key of another message fails with
    /// [`Error::OtherMessage`]. A slot whose version is refused or unknown by now is left.
    #[must_use]
    pub const fn opened(mut self, key: &'a OpenedKey) -> Self {
        self.opened = Some(key);
        self
    }

    /// Leaves all verification to a backend that re-encrypts on its own side, so that the data
    /// key never enters this process. For processes that may rewrap and not decrypt.
    ///
    /// # Security
    ///
    /// If the backend wraps another key, the message is lost, which only a later read detects. Use it
    /// only with a keyring that overrides [`Keyring::rewrap`]: that method then decides whether a slot
    /// opens. The report has its slots apart ([`SlotOutcome::Trusted`]). Labels of the primary version and
    /// of compromised versions are relied on without an unwrap.
    #[must_use]
    pub const fn trusting_backend(mut self) -> Self {
        self.trust_backend = true;
        self
    }
}

/// The result of a rewrap: the new header, and the outcome of each slot.
#[must_use = "it holds the new header, and says which slots were left"]
pub struct Rewrap {
    header: NewHeader,
    report: RewrapReport,
}

impl Rewrap {
    /// Returns the new header. If nothing changed, it equals the old one.
    pub fn header(&self) -> &[u8] {
        self.header.as_bytes()
    }

    /// Returns the new header by value.
    pub fn into_header(self) -> Vec<u8> {
        self.header.into_vec()
    }

    /// Overwrites the header of `message`, which is the message that was rewrapped, or its header alone.
    /// Allocates nothing, nor does [`Envelope::rewrap`] for headers of up to 1 KiB.
    ///
    /// The last step is one copy. In a memory map of a file a crash can tear it: use this where the medium
    /// replaces atomically, or with a journal.
    ///
    /// # Errors
    ///
    /// [`Error::HeaderRoom`] with the length that the slots need if the header is too short;
    /// [`Error::OtherMessage`] if `message` has another core; [`Error::NotEnvelock`], [`Error::Header`] or
    /// [`Error::Truncated`] if it has no header. Nothing is then changed.
    pub fn write_over(&self, message: &mut [u8]) -> Result<(), Error> {
        self.header.write_over(message)
    }

    /// Returns whether the header differs from the old one.
    pub fn is_changed(&self) -> bool {
        self.report.is_changed()
    }

    /// Returns the outcome of each slot, and why some were left.
    pub fn report(&self) -> &RewrapReport {
        &self.report
    }

    /// Returns header and report by value.
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
    /// only if the stored header is still the old one.
    ///
    /// - A slot that opens and is not under the primary is replaced in its position by a new one of the
    ///   same key name. If the header has the new slot already, the old one is removed.
    /// - Every other slot stays byte for byte, in order: slots of other keyrings, and slots that do not
    ///   open (refused, damaged, backend unavailable). They do not prevent the rewrap of others, and
    ///   [`Rewrap::report`] has the outcome of each slot.
    /// - Nothing is rewrapped if a slot opens under a version that is marked compromised and not
    ///   named by [`RewrapOptions::from_compromised`].
    /// - The new slot is unwrapped and verified before this returns.
    /// - The header keeps its length if its slots fit. Otherwise it gets as much padding as it had, or as
    ///   [`with_reserved`](Self::with_reserved) reserves if that is more, so that the next slots fit in
    ///   place again.
    ///
    /// Its calls to a backend, beside [`Keyring::freshness`](crate::Keyring::freshness) of each slot:
    ///
    /// | slots | calls |
    /// |---|---|
    /// | of every name of the keyring, all labelled with the primary version | none: the report says that it relies on labels |
    /// | one that is not under the primary | [`Keyring::rewrap`](crate::Keyring::rewrap), an unwrap and a wrap or one call of a service; then an unwrap as proof, unless the backend is trusted |
    /// | one under the primary, beside one of its name that is not | an unwrap |
    /// | one that is refused by its state, or belongs to another keyring | none |
    ///
    /// A keyring never gets a slot under another label than its own. [`RewrapOptions::retiring`] makes no
    /// call.
    ///
    /// # Errors
    ///
    /// - [`Error::NotEnvelock`], [`Error::Header`], [`Error::Truncated`]: the bytes are not a header.
    /// - [`Error::Backend`], [`Error::Refused`], [`Error::NoKey`], [`Error::Authentication`]: no slot opens.
    /// - [`Error::Refused`] with [`Refusal::Compromised`]: a slot opens under this compromised version.
    /// - [`Error::Refused`] with the new version: it is refused by now.
    /// - [`Error::NoPrimary`], [`Error::Backend`], [`Error::Randomness`], [`Error::Slot`]: the keyring did
    ///   not wrap.
    /// - [`Error::OldVersionStillOpens`], [`Error::MissingSlot`]: from [`RewrapOptions::retiring`].
    /// - [`Error::HeaderRoom`]: the header would have more than 65,535 bytes.
    #[doc(alias = "re-encrypt")]
    #[doc(alias = "rekey")]
    pub fn rewrap(&self, message: &[u8], options: RewrapOptions<'_>) -> Result<Rewrap, Error> {
        let old = Header::parse(message)?;
        // SPEC R-OPENED
        if let Some(key) = options.opened {
            key.of(&old)?;
        }
        let (keyring, reserved) = (&*self.keyring, self.reserved);
        let job = RewrapJob { keyring, old: &old, options: &options, reserved };
        let slots = old.slots().len();
        let mut rewrap = Rewrap { header: NewHeader::empty(), report: RewrapReport::new(slots) };
        let mut pool = RandomPool::for_rewrap(&self.random);
        job.run(&mut rewrap.header, &mut rewrap.report, &mut pool)?;
        Ok(rewrap)
    }
}

#[cfg(all(feature = "file", unix))]
impl<K: Keyring, R> Envelope<K, R> {
    /// Checks that a slot of `header` opens.
    pub(crate) fn check_opens(&self, header: &[u8]) -> Result<(), Error> {
        let header = Header::parse_detached(header)?;
        let context = WrapContext::new(header.core());
        let mut failures = SlotFailures::default();
        for slot in header.slots() {
            match verify_slot(&*self.keyring, &context, &slot) {
                Ok(()) => return Ok(()),
                Err(error) => failures.add(&slot, error),
            }
        }
        Err(failures.into_error(&header))
    }
}

/// Returns that a primary was refused to wrap: the first for which `is_it` returns `true`, by position and
/// label.
pub(crate) fn refused_primary<K: Keyring + ?Sized>(
    keyring: &K,
    refusal: Refusal,
    is_it: impl Fn(usize, &SlotLabel<'_>) -> bool,
) -> Error {
    let (mut refused, mut at) = (None, 0_usize);
    // If the keyring fails now, the error names no version.
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

/// Unwraps a new slot of a header as proof that it opens (SPEC R-PROOF, G-PROOF). Returns the error of a
/// backend that did not decide this.
///
/// `verified` is empty, or the data key of the header, whose check is not computed again then.
fn prove_slot<K: Keyring + ?Sized>(
    keyring: &K,
    header: &Header<'_>,
    new: &Slot<'_>,
    verified: &DataKey,
) -> Result<Option<KeyringError>, Error> {
    let context = WrapContext::proving(header.core());
    let mut data_key = DataKey::empty();
    let proof = match verified.is_empty() {
        true => unwrap_verified(keyring, new, &context, &mut data_key),
        false => keyring.unwrap(new, &context, &mut data_key).and_then(|()| {
            let is_same = compare::equal(data_key.expose(), verified.expose());
            if is_same { Ok(()) } else { Err(KeyringError::Authentication) }
        }),
    };
    match proof {
        Ok(()) => Ok(None),
        Err(KeyringError::NotMine | KeyringError::Authentication) => {
            Err(Error::Slot(SlotFault::Unproven))
        }
        // The new version, not the old one: it was disabled in between, for example.
        Err(error @ KeyringError::Refused(_)) => {
            Err(SlotFailures::of(new, error).into_error(header))
        }
        Err(error) => Ok(Some(error)),
    }
}
