//! The file key, and what is sealed and authenticated under it.

use super::fault::KeyFileFault;
use super::json;
use super::protection;
use super::protection_slot::ProtectionSlot;
use crate::crypto::mac::{MAC_LEN, Mac};
use crate::crypto::secret::{MASTER_KEY_LEN, MasterKey};
use crate::crypto::{CryptoError, compare, kdf, xaes};
use crate::format::{KeyName, KeyVersion, MasterKeyId};
use crate::keyring::file::Protection;
use crate::random::{KeyringRng, RandomnessUnavailable};
use alloc::boxed::Box;
use core::fmt;
use zeroize::Zeroizing;

const MAC_KEY_LABEL: &[u8] = b"envelock key file mac v1";
const SEAL_KEY_LABEL: &[u8] = b"envelock key file seal v1";
const RECORD_LABEL: &[u8] = b"envelock key file record v1";
const WHOLE_LABEL: &[u8] = b"envelock key file whole v1";
const MASTER_KEY_LABEL: &[u8] = b"envelock key file master key v1";

/// Length of sealed key material: nonce, ciphertext, tag.
pub(super) const SEALED_LEN: usize = xaes::NONCE_LEN + MASTER_KEY_LEN + xaes::TAG_LEN;

/// Key material under a file key.
pub(super) type Sealed = [u8; SEALED_LEN];

/// Names a key file: drawn when it is made, and the same for its life.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileId(pub [u8; 16]);

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&json::to_hex(&self.0))
    }
}

impl fmt::Debug for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileId({self})")
    }
}

/// The opened key of a key file.
///
/// Kept, it reads and writes the file, and puts it under other protections, without asking for a
/// secret again, until the file key is replaced.
pub struct FileKey {
    pub(super) id: FileId,
    key: MasterKey,
    record: Mac,
    whole: Mac,
    seal: Box<xaes::Xaes>,
}

impl FileKey {
    /// A fresh file key.
    pub(super) fn generate(id: FileId, rng: &mut KeyringRng<'_>) -> Result<Self, KeyFileFault> {
        let key = MasterKey::generate(rng).map_err(RandomnessUnavailable::of)?;
        FileKey::set_up(key, id)
    }

    /// Opens the file key that any of `stored` keeps.
    pub(super) fn open(
        id: FileId,
        stored: &[ProtectionSlot],
        protection: &Protection,
    ) -> Result<Self, KeyFileFault> {
        FileKey::set_up(protection::unwrap_any(stored, id, protection)?, id)
    }

    /// A protection of this file key, in the place of `slot` or a new one. It is opened again before
    /// it is given out: a file whose protection does not open loses every key in it.
    pub(super) fn protect(
        &self,
        slot: Option<&ProtectionSlot>,
        protection: &Protection,
        rng: &mut KeyringRng<'_>,
    ) -> Result<ProtectionSlot, KeyFileFault> {
        let stored = protection::wrap(&self.key, self.id, slot, protection, rng)?;
        let again = protection::unwrap_any(core::slice::from_ref(&stored), self.id, protection)?;
        let is_same = compare::equal(again.expose(), self.key.expose());
        if is_same { Ok(stored) } else { Err(KeyFileFault::ReadBack) }
    }

    fn set_up(key: MasterKey, id: FileId) -> Result<Self, KeyFileFault> {
        // Neither derivation nor HMAC has a length to refuse here.
        let derived = || {
            let mut okm = Zeroizing::new([0; MASTER_KEY_LEN]);
            kdf::expand_sha256(key.expose(), &[MAC_KEY_LABEL], okm.as_mut_slice())?;
            let mac = Mac::new(okm.as_slice())?;
            kdf::expand_sha256(key.expose(), &[SEAL_KEY_LABEL], okm.as_mut_slice())?;
            Ok((mac, Box::new(xaes::Xaes::new(&MasterKey::from_bytes(&okm)))))
        };
        let (mac, seal) = derived().map_err(|CryptoError| KeyFileFault::Authentication)?;
        let record = mac.clone().with(RECORD_LABEL).with(&id.0);
        let whole = mac.with(WHOLE_LABEL).with(&id.0);
        Ok(FileKey { id, key, record, whole, seal })
    }

    /// Tells file keys apart in memory.
    pub(super) fn fingerprint(&self) -> [u8; MAC_LEN] {
        self.mac("")
    }

    /// The MAC of a record (FORMAT F-MAC).
    pub(super) fn mac(&self, record: &str) -> [u8; MAC_LEN] {
        self.record.clone().with(record.as_bytes()).tag()
    }

    pub(super) fn verifies(&self, record: &str, mac: &[u8; MAC_LEN]) -> bool {
        self.record.clone().with(record.as_bytes()).verifies(mac)
    }

    /// What the MACs of all lines before the end record are put in, for its own field.
    pub(super) fn whole(&self) -> Mac {
        self.whole.clone()
    }

    /// Seals key material (FORMAT F-SEAL).
    pub(super) fn seal(
        &self,
        label: MaterialLabel<'_>,
        key: &MasterKey,
        rng: &mut KeyringRng<'_>,
    ) -> Result<Sealed, KeyFileFault> {
        let aad = label.aad(self.id);
        let sealed = seal(&self.seal, &aad, key, rng)?;
        sealed.ok_or(KeyFileFault::Authentication)
    }

    /// Opens key material.
    pub(super) fn unseal(&self, label: MaterialLabel<'_>, sealed: &Sealed) -> Option<MasterKey> {
        unseal(&self.seal, &label.aad(self.id), sealed)
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The version that sealed key material is of.
#[derive(Clone, Copy)]
pub(super) struct MaterialLabel<'a> {
    pub(super) name: KeyName<'a>,
    pub(super) version: KeyVersion,
    pub(super) id: MasterKeyId,
}

impl MaterialLabel<'_> {
    fn aad(&self, file: FileId) -> alloc::vec::Vec<u8> {
        let name = self.name.as_str().as_bytes();
        let len = self.name.len_byte();
        let version = self.version.number().to_be_bytes();
        [MASTER_KEY_LABEL, &file.0, &[len], name, &version, &self.id.0].concat()
    }
}

/// Seals 32 bytes under a random nonce; `None` does not happen.
pub(super) fn seal(
    cipher: &xaes::Xaes,
    aad: &[u8],
    key: &MasterKey,
    rng: &mut KeyringRng<'_>,
) -> Result<Option<Sealed>, RandomnessUnavailable> {
    let mut sealed = [0; SEALED_LEN];
    let Some((nonce, rest)) = sealed.split_first_chunk_mut() else { return Ok(None) };
    let Some((ciphertext, tag)) = rest.split_last_chunk_mut() else { return Ok(None) };
    rng.try_fill_bytes(nonce).map_err(RandomnessUnavailable::of)?;
    let Ok(made) = cipher.encrypt(nonce, aad, key.expose(), ciphertext) else { return Ok(None) };
    *tag = made;
    Ok(Some(sealed))
}

/// Opens 32 bytes.
pub(super) fn unseal(cipher: &xaes::Xaes, aad: &[u8], sealed: &Sealed) -> Option<MasterKey> {
    let (nonce, rest) = sealed.split_first_chunk()?;
    let (ciphertext, tag) = rest.split_last_chunk()?;
    let mut key = Zeroizing::new([0; MASTER_KEY_LEN]);
    cipher.decrypt(nonce, aad, ciphertext, key.as_mut_slice(), tag).ok()?;
    Some(MasterKey::from_bytes(&key))
}
