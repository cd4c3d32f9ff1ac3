//! A sound keyring over a table of keys, and every flaw that a test can select.

use super::meeting::Meeting;
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce, Tag};
use envelock::{
    DataKey, KeyName, KeyVersion, Keyring, MasterKeyId, SlotLabel,
    format::{Slot, SlotFault, WrapAlgorithm},
    keyring::{Freshness, KeyringError, KeyringRng, PrimaryKey, Refusal, SlotWriter, WrapContext},
};
use std::sync::Mutex;

type Answer = Result<(), KeyringError>;

/// Its mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    None,
    IgnoresAad,
    IgnoresName,
    IgnoresVersion,
    IgnoresId,
    IgnoresAlgorithm,
    FallsBackToPrimary,
    DeniesItsOwn,
    WrapsUnderStale,
    PrimaryTooShort,
    PrimarySilent,
    FreshnessLies,
    FillsNothing,
    LeavesTheKey,
    LosesHalfTheKey,
    TakesTrailingBytes,
    UnavailableWhenChanged,
    LeaksTheKey,
    SwallowsNoRoom,
    FixedNonceWithoutRandomness,
    SharesScratch,
    RewrapsToAnotherName,
    RewrapsTwice,
    RewrapsToStale,
}

/// Two versions of one key; the second wraps.
pub struct Flawed {
    pub flaw: Flaw,
    pub scratch: Mutex<Vec<u8>>,
    meeting: Meeting,
}

impl Flawed {
    pub fn new(flaw: Flaw) -> Self {
        Flawed { flaw, scratch: Mutex::default(), meeting: Meeting::new() }
    }

    fn is(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    fn cipher(version: u32) -> Aes256Gcm {
        Aes256Gcm::new(&[version as u8; 32].into())
    }

    fn label(version: u32) -> SlotLabel<'static> {
        SlotLabel {
            name: KeyName::new("table").unwrap(),
            version: KeyVersion::new(version).unwrap(),
            master_key_id: MasterKeyId([version as u8; 8]),
            algorithm: WrapAlgorithm::new(200).unwrap(),
        }
    }

    fn push(
        &self,
        data_key: &DataKey,
        label: &SlotLabel<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Answer {
        let mut nonce = [0; 12];
        match rng.try_fill_bytes(&mut nonce) {
            Err(_) if self.is(Flaw::FixedNonceWithoutRandomness) => {}
            result => result?,
        }
        let mut wrapped = data_key.expose().to_vec();
        if self.is(Flaw::LosesHalfTheKey) {
            wrapped.truncate(16);
        }
        if self.is(Flaw::SharesScratch) {
            self.scratch.lock().unwrap().clone_from(&wrapped);
            self.meeting.wait();
            wrapped.clone_from(&self.scratch.lock().unwrap());
        }
        let aad = self.aad(label, context);
        let cipher = Flawed::cipher(label.version.number());
        let nonce_ = Nonce::from(nonce);
        let tag = cipher.encrypt_inout_detached(&nonce_, &aad, wrapped.as_mut_slice().into());
        let binding = context.wrap_aad(label).to_vec();
        let mut blob = [&nonce[..], &wrapped, &tag.unwrap()].concat();
        if self.is(Flaw::LeavesTheKey) {
            blob.extend_from_slice(&binding);
        }
        match slots.push(label, &blob) {
            Err(_) if self.is(Flaw::SwallowsNoRoom) => Ok(()),
            Err(KeyringError::Slot(SlotFault::Room { .. })) if self.is(Flaw::LeaksTheKey) => {
                let text = format!("no room for {:?}", data_key.expose());
                Err(KeyringError::unavailable(std::io::Error::other(text)))
            }
            answer => answer,
        }
    }

    fn aad(&self, label: &SlotLabel<'_>, context: &WrapContext<'_>) -> Vec<u8> {
        let fixed = Flawed::label(label.version.number().clamp(1, 2));
        match self.flaw {
            Flaw::IgnoresAad | Flaw::LeavesTheKey => vec![],
            // It does not bind fields that it ignores.
            Flaw::IgnoresName | Flaw::IgnoresAlgorithm | Flaw::IgnoresId => {
                context.wrap_aad(&fixed).to_vec()
            }
            Flaw::IgnoresVersion => context.wrap_aad(&Flawed::label(2)).to_vec(),
            _ => context.wrap_aad(label).to_vec(),
        }
    }

    /// The version whose key opens a slot of this label.
    fn version_of(&self, label: &SlotLabel<'_>) -> Result<u32, KeyringError> {
        let name = label.name.as_str() == "table" || self.is(Flaw::IgnoresName);
        let algorithm = label.algorithm.id() == 200 || self.is(Flaw::IgnoresAlgorithm);
        if !name || !algorithm {
            return Err(if self.is(Flaw::DeniesItsOwn) {
                KeyringError::Authentication
            } else {
                KeyringError::NotMine
            });
        }
        let number = match label.version.number() {
            number @ 1..=2 => number,
            _ if self.is(Flaw::FallsBackToPrimary) || self.is(Flaw::IgnoresVersion) => 2,
            _ => return Err(KeyringError::Refused(Refusal::UnknownVersion)),
        };
        if label.master_key_id.0 != [number as u8; 8] && !self.is(Flaw::IgnoresId) {
            return Err(KeyringError::NotMine);
        }
        Ok(number)
    }
}

impl Keyring for Flawed {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Answer {
        let room = match self.flaw {
            Flaw::PrimarySilent => return Ok(()),
            Flaw::PrimaryTooShort => 59,
            Flaw::LeavesTheKey => 200,
            _ => 60,
        };
        visit(&PrimaryKey { label: Flawed::label(2), max_wrapped_key_len: Some(room) });
        Ok(())
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Answer {
        let version = if self.is(Flaw::WrapsUnderStale) { 1 } else { 2 };
        self.push(data_key, &Flawed::label(version), context, slots, rng)
    }

    fn unwrap(&self, slot: &Slot<'_>, context: &WrapContext<'_>, data_key: &mut DataKey) -> Answer {
        let number = self.version_of(&slot.label)?;
        if self.is(Flaw::FillsNothing) {
            return Ok(());
        }
        let changed = match self.flaw {
            Flaw::UnavailableWhenChanged => {
                KeyringError::unavailable(std::io::Error::other("bad request"))
            }
            _ => KeyringError::Authentication,
        };
        let failed = || changed.clone();
        let mut wrapped_key = slot.wrapped_key;
        let mut binding = None;
        if self.is(Flaw::TakesTrailingBytes) {
            let len = context.suite().data_key_len() + 28;
            wrapped_key = wrapped_key.get(..len).ok_or_else(failed)?;
        }
        if self.is(Flaw::LeavesTheKey) {
            let len = context.suite().data_key_len() + 28;
            let parts = wrapped_key.split_at_checked(len).ok_or_else(failed)?;
            (wrapped_key, binding) = (parts.0, Some(parts.1));
        }
        let (nonce, rest) = wrapped_key.split_first_chunk::<12>().ok_or_else(failed)?;
        let (wrapped, tag) = rest.split_last_chunk::<16>().ok_or_else(failed)?;
        let space = data_key.space(wrapped.len()).ok_or_else(failed)?;
        space.copy_from_slice(wrapped);
        let (nonce, tag) = (Nonce::from(*nonce), Tag::from(*tag));
        let aad = self.aad(&slot.label, context);
        let opened =
            Flawed::cipher(number).decrypt_inout_detached(&nonce, &aad, space.into(), &tag);
        opened.map_err(|_| failed())?;
        // Looks at what it is bound to when the key is out already.
        match binding {
            Some(binding) if *binding != *context.wrap_aad(&slot.label) => Err(failed()),
            _ => Ok(()),
        }
    }

    fn rewrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Answer {
        let mut data_key = DataKey::empty();
        self.unwrap(slot, context, &mut data_key)?;
        context.verify(&data_key)?;
        let label = Flawed::label(2);
        match self.flaw {
            Flaw::RewrapsToAnotherName => {
                let label = SlotLabel { name: KeyName::new("other").unwrap(), ..label };
                self.push(&data_key, &label, context, slots, rng)
            }
            Flaw::RewrapsTwice => {
                self.push(&data_key, &Flawed::label(1), context, slots, rng)?;
                self.push(&data_key, &label, context, slots, rng)
            }
            Flaw::RewrapsToStale => self.push(&data_key, &Flawed::label(1), context, slots, rng),
            _ => self.push(&data_key, &label, context, slots, rng),
        }
    }

    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        Ok(match self.version_of(slot) {
            _ if self.is(Flaw::FreshnessLies) => Freshness::Primary,
            Ok(2) if slot.version.number() == 2 => Freshness::Primary,
            Ok(_) => Freshness::Stale,
            Err(KeyringError::Refused(refusal)) => Freshness::Refused(refusal),
            Err(_) => Freshness::NotMine,
        })
    }
}
