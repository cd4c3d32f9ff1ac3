//! How each kind of protection keeps the file key.

use super::fault::{KeyFileFault, RecordFault, RecordName};
use super::json::{Fields, Object, to_hex};
use super::seal::{self, FileId, Sealed};
use crate::aad::Aad;
use crate::crypto::secret::{MASTER_KEY_LEN, MasterKey};
use crate::crypto::{argon2id, compare, kdf, xaes};
use crate::envelope::{Envelope, inspect};
use crate::error::Error;
use crate::keyring::Keyring;
use crate::keyring::file::protection::Secret;
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

/// The protection object of a new file key (FORMAT F-PROTECT).
pub(super) fn wrap(
    key: &MasterKey,
    id: FileId,
    protection: &Protection,
    rng: &mut KeyringRng<'_>,
) -> Result<String, KeyFileFault> {
    let object = Object::of_kind(protection.kind().name());
    let object = match &protection.0 {
        Secret::Passphrase { passphrase, cost } => {
            if passphrase.is_empty() {
                return Err(KeyFileFault::EmptySecret);
            }
            let refused = |fault| KeyFileFault::Argon2Cost { cost: *cost, fault };
            cost.check_for_write().map_err(refused)?;
            let mut salt = [0; SALT_LEN];
            rng.try_fill_bytes(&mut salt).map_err(|_| RandomnessUnavailable)?;
            let kek = stretch(passphrase, &salt, cost)?;
            let argon2id = Object::new()
                .number("memory_kib", cost.memory_kib.into())
                .number("passes", cost.passes.into())
                .number("lanes", cost.lanes.into())
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
            object.strings("keys", &labels(&message)?).hex("message", &message)
        }
        Secret::Unprotected => object.string("file_key", &Zeroizing::new(to_hex(key.expose()))),
    };
    Ok(object.end())
}

/// The file key that a protection object keeps.
pub(super) fn unwrap(
    text: &str,
    id: FileId,
    protection: &Protection,
) -> Result<MasterKey, KeyFileFault> {
    let mut fields = Fields::parse(text).map_err(at_header)?;
    let (found, offered) = (kind(&mut fields).map_err(at_header)?, protection.kind());
    match &protection.0 {
        _ if found != offered => Err(KeyFileFault::ProtectionKind { found, offered }),
        Secret::Passphrase { passphrase, .. } => {
            let (salt, cost) = argon2id_of(&mut fields).map_err(at_header)?;
            let wrapped = Wrapped::parse(&mut fields).map_err(at_header)?;
            // FORMAT F-COST: before anything is allocated or computed.
            let refused = |fault| KeyFileFault::Argon2Cost { cost, fault };
            cost.check_for_read().map_err(refused)?;
            Kek::new(&stretch(passphrase, &salt, &cost)?, found).unwrap(&wrapped, id)
        }
        Secret::RawKey(kek) => {
            let wrapped = Wrapped::parse(&mut fields).map_err(at_header)?;
            Kek::new(kek, found).unwrap(&wrapped, id)
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

/// The kind of a protection object.
pub(super) fn kind(fields: &mut Fields<'_>) -> Result<ProtectionKind, RecordFault> {
    let name = fields.string("kind")?;
    let kinds = [
        ProtectionKind::Passphrase,
        ProtectionKind::Keyring,
        ProtectionKind::RawKey,
        ProtectionKind::Unprotected,
    ];
    let found = kinds.into_iter().find(|kind| kind.name() == name);
    found.ok_or(RecordFault::UnknownName { field: "protection", name })
}

fn argon2id_of(fields: &mut Fields<'_>) -> Result<([u8; SALT_LEN], Argon2Cost), RecordFault> {
    let mut fields = Fields::parse(fields.raw("argon2id")?)?;
    let memory_kib = fields.small("memory_kib")?;
    let (passes, lanes) = (fields.small("passes")?, fields.small("lanes")?);
    Ok((fields.hex("salt")?, Argon2Cost { memory_kib, passes, lanes }))
}

fn stretch(passphrase: &[u8], salt: &[u8], cost: &Argon2Cost) -> Result<MasterKey, KeyFileFault> {
    let parameters = [cost.memory_kib, cost.passes, cost.lanes];
    argon2id::derive(passphrase, salt, parameters)
        .map_err(|_| KeyFileFault::OutOfMemory { cost: *cost })
}

fn unwrap_message(
    message: &[u8],
    id: FileId,
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

/// Name and version of each key that a message is under, for people to read.
fn labels(message: &[u8]) -> Result<Vec<String>, KeyFileFault> {
    let header = inspect(message).map_err(outer)?;
    let label = |slot: crate::format::Slot<'_>| {
        format!("{} version {}", slot.label.name, slot.label.version)
    };
    Ok(header.slots().map(label).collect())
}

fn aad(id: FileId) -> Vec<u8> {
    [FILE_KEY_LABEL, &id.0].concat()
}

fn at_header(what: RecordFault) -> KeyFileFault {
    KeyFileFault::Record { line: 1, record: RecordName::Header, what }
}

/// What a key derived from a secret keeps.
struct Wrapped {
    commitment: [u8; 32],
    sealed: Sealed,
}

impl Wrapped {
    fn parse(fields: &mut Fields<'_>) -> Result<Self, RecordFault> {
        Ok(Wrapped { commitment: fields.hex("commitment")?, sealed: fields.hex("sealed")? })
    }
}

/// A key that wraps the file key, with a commitment to it: no wrapped key opens under two
/// passphrases, so that nobody tests many with one answer (FORMAT F-COMMIT).
struct Kek {
    cipher: Option<(Box<xaes::Xaes>, [u8; 32])>,
}

impl Kek {
    fn new(kek: &MasterKey, kind: ProtectionKind) -> Self {
        let mut okm = Zeroizing::new([0; 2 * MASTER_KEY_LEN]);
        let info = [WRAP_LABEL, b" ", kind.name().as_bytes()];
        let derived = kdf::expand_sha256(kek.expose(), &info, okm.as_mut_slice());
        let parts = derived.ok().and_then(|()| {
            let (key, rest) = okm.split_first_chunk()?;
            Some((Box::new(xaes::Xaes::new(&MasterKey::from_bytes(key))), *rest.first_chunk()?))
        });
        Kek { cipher: parts }
    }

    fn wrap(
        &self,
        key: &MasterKey,
        id: FileId,
        object: Object,
        rng: &mut KeyringRng<'_>,
    ) -> Result<Object, KeyFileFault> {
        let (cipher, commitment) = self.cipher.as_ref().ok_or(KeyFileFault::Authentication)?;
        let sealed = seal::seal(cipher, &aad(id), key, rng)?;
        let sealed = sealed.ok_or(KeyFileFault::Authentication)?;
        Ok(object.hex("commitment", commitment).hex("sealed", &sealed))
    }

    fn unwrap(&self, wrapped: &Wrapped, id: FileId) -> Result<MasterKey, KeyFileFault> {
        let opened = self.cipher.as_ref().and_then(|(cipher, commitment)| {
            let committed = compare::equal(commitment, &wrapped.commitment);
            committed.then(|| seal::unseal(cipher, &aad(id), &wrapped.sealed))?
        });
        opened.ok_or(KeyFileFault::Authentication)
    }
}
