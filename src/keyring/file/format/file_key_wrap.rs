//! How each kind of protection wraps the file key.

use super::fault::{KeyFileFault, ProtectionsFault, RecordFault, at_header};
use super::file_key::{self, KeyFileId, SealedKey};
use super::json::{Fields, Object, to_hex};
use super::protection_slots::{ProtectionId, ProtectionSlot};
use super::record::is_name;
use crate::aad::Aad;
use crate::crypto::secret::{MASTER_KEY_LEN, MasterKey};
use crate::crypto::{argon2id, compare, kdf, xaes};
use crate::envelope::{Envelope, inspect};
use crate::error::Error;
use crate::keyring::Keyring;
use crate::keyring::file::protection::Secret;
use crate::keyring::file::protection_record::OuterKey;
use crate::keyring::file::{Argon2Cost, Protection, ProtectionKind};
use crate::random::{KeyringRng, RandomnessUnavailable};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use zeroize::Zeroizing;

const WRAP_LABEL: &[u8] = b"envelock key file wrap v1";
const FILE_KEY_LABEL: &[u8] = b"envelock key file key v1";
const SALT_LEN: usize = 16;

/// A protection of the file key (FORMAT F-PROTECT) that replaces `slot`, or has a fresh id.
pub(super) fn wrap(
    key: &MasterKey,
    id: KeyFileId,
    slot: Option<&ProtectionSlot>,
    protection: &Protection,
    rng: &mut KeyringRng<'_>,
) -> Result<ProtectionSlot, KeyFileFault> {
    let slot_id = match slot {
        Some(slot) => slot.id,
        None => {
            let mut slot_id = [0; 8];
            rng.try_fill_bytes(&mut slot_id).map_err(RandomnessUnavailable::of)?;
            ProtectionId(slot_id)
        }
    };
    let name = protection.name.clone().or_else(|| slot?.name.clone());
    let mut object = Object::new().hex("id", &slot_id.0);
    if let Some(name) = &name {
        if !is_name(name) {
            return Err(KeyFileFault::Protections { what: ProtectionsFault::Name });
        }
        object = object.value("name", name);
    }
    let object = object.value("kind", protection.kind().name());
    let text = fields(key, id, protection, object, rng)?.end();
    Ok(ProtectionSlot { id: slot_id, name, kind: Some(protection.kind()), text })
}

/// The fields of a kind of protection.
fn fields(
    key: &MasterKey,
    id: KeyFileId,
    protection: &Protection,
    object: Object,
    rng: &mut KeyringRng<'_>,
) -> Result<Object, KeyFileFault> {
    Ok(match &protection.secret {
        Secret::Passphrase { passphrase, cost } => {
            if passphrase.is_empty() {
                return Err(KeyFileFault::EmptySecret);
            }
            let refused = |fault| KeyFileFault::Argon2Cost { cost: *cost, fault };
            cost.check_for_write().map_err(refused)?;
            let mut salt = [0; SALT_LEN];
            rng.try_fill_bytes(&mut salt).map_err(RandomnessUnavailable::of)?;
            let kek = stretch(passphrase, &salt, cost)?;
            let argon2id = Object::new()
                .value("memory_kib", &cost.memory_kib)
                .value("passes", &cost.passes)
                .value("lanes", &cost.lanes)
                .hex("salt", &salt)
                .end();
            Kek::new(&kek, protection.kind()).wrap(
                key,
                id,
                object.raw("argon2id", &argon2id),
                rng,
            )?
        }
        Secret::RawKey(kek) => {
            if compare::equal(kek.expose(), &[0; MASTER_KEY_LEN]) {
                return Err(KeyFileFault::EmptySecret);
            }
            Kek::new(kek, protection.kind()).wrap(key, id, object, rng)?
        }
        Secret::Keyring(keyring) => {
            let envelope = Envelope::new(&**keyring);
            let message = envelope.with_rng(rng).encrypt(key.expose(), Aad::new(&aad(id)));
            let message = message.map_err(outer)?;
            object.value("keys", &labels(&message)?).hex("message", &message)
        }
        Secret::Unprotected => object.value("file_key", &**Zeroizing::new(to_hex(key.expose()))),
    })
}

/// The file key, by the first slot of the offered kind that opens (FORMAT F-OPEN).
///
/// If none opens, returns the fault that says most: a back end that does not respond, a version
/// that is refused, a wrong secret, no key.
pub(super) fn unwrap_any(
    all: &[ProtectionSlot],
    id: KeyFileId,
    protection: &Protection,
) -> Result<MasterKey, KeyFileFault> {
    let offered = protection.kind();
    // FORMAT F-COST: what one opening can be made to pay, whatever the file says.
    let mut budget = Argon2Cost::MAX_MEMORY_PASSES;
    let mut fault: Option<KeyFileFault> = None;
    for stored in all.iter().filter(|stored| stored.kind == Some(offered)) {
        match unwrap(&stored.text, id, protection, &mut budget) {
            Ok(key) => return Ok(key),
            Err(new) if fault.as_ref().is_none_or(|fault| rank(&new) < rank(fault)) => {
                fault = Some(new);
            }
            Err(_) => {}
        }
    }
    Err(fault.unwrap_or_else(|| other_kind(all, offered)))
}

fn rank(fault: &KeyFileFault) -> u8 {
    match fault {
        fault if fault.is_retryable() => 0,
        KeyFileFault::OuterKeyring(error) => match **error {
            Error::Refused { .. } => 1,
            Error::NoKey { .. } => 4,
            _ => 2,
        },
        KeyFileFault::Authentication => 3,
        _ => 5,
    }
}

/// The fault of a file without a protection of the offered kind.
fn other_kind(all: &[ProtectionSlot], offered: ProtectionKind) -> KeyFileFault {
    let mut found: Vec<_> = all.iter().filter_map(|stored| stored.kind).collect();
    found.dedup();
    match all.first() {
        Some(first) if found.is_empty() => {
            let kind = Fields::parse(&first.text).and_then(|mut it| it.string("kind"));
            at_header(match kind {
                Ok(name) => RecordFault::UnknownName { field: "protection", name },
                Err(what) => what,
            })
        }
        _ => KeyFileFault::ProtectionKind { found, offered },
    }
}

/// The file key, by one protection object of the offered kind.
fn unwrap(
    text: &str,
    id: KeyFileId,
    protection: &Protection,
    budget: &mut u64,
) -> Result<MasterKey, KeyFileFault> {
    let mut fields = Fields::parse(text).map_err(at_header)?;
    let kind = protection.kind();
    match &protection.secret {
        Secret::Passphrase { passphrase, .. } => {
            let (salt, cost) = argon2id_of(&mut fields).map_err(at_header)?;
            let wrapped = wrapped(&mut fields).map_err(at_header)?;
            // FORMAT F-COST: before anything is allocated or computed.
            let refused = |fault| KeyFileFault::Argon2Cost { cost, fault };
            cost.check_for_read().map_err(refused)?;
            *budget = cost.paid_from(*budget).map_err(refused)?;
            Kek::new(&stretch(passphrase, &salt, &cost)?, kind).unwrap(&wrapped, id)
        }
        Secret::RawKey(kek) => {
            let wrapped = wrapped(&mut fields).map_err(at_header)?;
            Kek::new(kek, kind).unwrap(&wrapped, id)
        }
        Secret::Keyring(keyring) => {
            unwrap_message(&fields.bytes("message").map_err(at_header)?, id, &**keyring)
        }
        Secret::Unprotected => {
            let key = fields.hex("file_key").map(Zeroizing::new).map_err(at_header)?;
            Ok(MasterKey::from_bytes(&key))
        }
    }
}

/// The cost of a passphrase.
pub(super) fn cost(text: &str) -> Result<Argon2Cost, RecordFault> {
    Ok(argon2id_of(&mut Fields::parse(text)?)?.1)
}

/// The outer keys of a protection by a keyring: any one of them opens it.
pub(super) fn outer_keys(text: &str) -> Result<Vec<OuterKey>, RecordFault> {
    let message = Fields::parse(text)?.bytes("message")?;
    let header = inspect(&message).map_err(|_| RecordFault::Value { field: "message" })?;
    Ok(header.slots().map(|slot| OuterKey::of(&slot.label)).collect())
}

fn argon2id_of(fields: &mut Fields<'_>) -> Result<([u8; SALT_LEN], Argon2Cost), RecordFault> {
    let mut fields = Fields::parse(fields.raw("argon2id")?)?;
    let cost = Argon2Cost {
        memory_kib: fields.value("memory_kib")?,
        passes: fields.value("passes")?,
        lanes: fields.value("lanes")?,
    };
    Ok((fields.hex("salt")?, cost))
}

fn stretch(passphrase: &[u8], salt: &[u8], cost: &Argon2Cost) -> Result<MasterKey, KeyFileFault> {
    let parameters = [cost.memory_kib, cost.passes, cost.lanes];
    argon2id::derive(passphrase, salt, parameters)
        .map_err(|_| KeyFileFault::OutOfMemory { cost: *cost })
}

fn unwrap_message(
    message: &[u8],
    id: KeyFileId,
    keyring: &dyn Keyring,
) -> Result<MasterKey, KeyFileFault> {
    let mut key = Zeroizing::new([0; MASTER_KEY_LEN]);
    let opened =
        Envelope::new(keyring).decrypt_into(message, Aad::new(&aad(id)), key.as_mut_slice());
    opened.map_err(outer)?;
    Ok(MasterKey::from_bytes(&key))
}

fn outer(error: Error) -> KeyFileFault {
    match error {
        Error::Authentication { .. } | Error::BufferLength { .. } => KeyFileFault::Authentication,
        Error::Randomness(error) => KeyFileFault::Randomness(error),
        error => KeyFileFault::OuterKeyring(Box::new(error)),
    }
}

/// Name and version of each slot of a message, for people to read.
fn labels(message: &[u8]) -> Result<Vec<String>, KeyFileFault> {
    let header = inspect(message).map_err(outer)?;
    let label = |slot: crate::format::Slot<'_>| {
        format!("{} version {}", slot.label.name, slot.label.version)
    };
    Ok(header.slots().map(label).collect())
}

fn aad(id: KeyFileId) -> Vec<u8> {
    [FILE_KEY_LABEL, &id.0].concat()
}

/// The commitment and the file key, wrapped under a key-encryption key.
fn wrapped(fields: &mut Fields<'_>) -> Result<([u8; MASTER_KEY_LEN], SealedKey), RecordFault> {
    Ok((fields.hex("commitment")?, fields.hex("sealed")?))
}

/// A key that wraps the file key, with a commitment to it: no wrapped key opens under two
/// passphrases, so that one answer tests one passphrase (FORMAT F-COMMIT).
struct Kek {
    cipher: Box<xaes::Xaes>,
    commitment: [u8; MASTER_KEY_LEN],
}

impl Kek {
    #[expect(clippy::expect_used, reason = "64 bytes are within the limit of HKDF")]
    fn new(kek: &MasterKey, kind: ProtectionKind) -> Self {
        let mut okm = Zeroizing::new([[0; MASTER_KEY_LEN]; 2]);
        let info = [WRAP_LABEL, b" ", kind.name().as_bytes()];
        kdf::expand_sha256(kek.expose(), &info, okm.as_flattened_mut()).expect("64 bytes");
        let [key, commitment] = &*okm;
        let cipher = Box::new(xaes::Xaes::new(&MasterKey::from_bytes(key)));
        // The key schedule was moved from there.
        crate::wiped::clear_stack();
        Kek { cipher, commitment: *commitment }
    }

    fn wrap(
        &self,
        key: &MasterKey,
        id: KeyFileId,
        object: Object,
        rng: &mut KeyringRng<'_>,
    ) -> Result<Object, KeyFileFault> {
        let sealed = file_key::seal(&self.cipher, &aad(id), key, rng)?;
        Ok(object.hex("commitment", &self.commitment).hex("sealed", &sealed))
    }

    fn unwrap(
        &self,
        (commitment, sealed): &([u8; MASTER_KEY_LEN], SealedKey),
        id: KeyFileId,
    ) -> Result<MasterKey, KeyFileFault> {
        if !compare::equal(&self.commitment, commitment) {
            return Err(KeyFileFault::Authentication);
        }
        let opened = file_key::unseal(&self.cipher, &aad(id), sealed);
        opened.ok_or(KeyFileFault::Authentication)
    }
}
