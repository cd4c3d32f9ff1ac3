//! The file key: seals key material, and authenticates lines.

use super::fault::KeyFileFault;
use super::file_key_wrap;
use super::json::to_hex;
use super::protection_slots::ProtectionSlot;
use crate::crypto::mac::{MAC_LEN, Mac};
use crate::crypto::secret::{MASTER_KEY_LEN, MasterKey};
use crate::crypto::xaes::{NONCE_LEN, TAG_LEN, Xaes};
use crate::crypto::{compare, kdf};
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

/// The opened key of a key file.
///
/// It reads and writes the file, and changes its protections, without a secret, until the file key
/// is replaced.
pub struct FileKey {
    pub(super) id: KeyFileId,
    key: MasterKey,
    record: Mac,
    whole: Mac,
    seal: Box<Xaes>,
}

impl FileKey {
    /// A fresh file key.
    pub(super) fn generate(id: KeyFileId, rng: &mut KeyringRng<'_>) -> Result<Self, KeyFileFault> {
        let key = MasterKey::generate(rng).map_err(RandomnessUnavailable::of)?;
        Ok(FileKey::derive(key, id))
    }

    /// Opens the file key by the first of `slots` that opens.
    pub(super) fn open(
        id: KeyFileId,
        slots: &[ProtectionSlot],
        protection: &Protection,
    ) -> Result<Self, KeyFileFault> {
        Ok(FileKey::derive(file_key_wrap::unwrap_any(slots, id, protection)?, id))
    }

    /// A protection of this file key that replaces `slot` or is new. It is opened before it is
    /// returned: a file whose protection does not open loses every key.
    pub(super) fn protect(
        &self,
        slot: Option<&ProtectionSlot>,
        protection: &Protection,
        rng: &mut KeyringRng<'_>,
    ) -> Result<ProtectionSlot, KeyFileFault> {
        let new = file_key_wrap::wrap(&self.key, self.id, slot, protection, rng)?;
        let opened = file_key_wrap::unwrap_any(core::slice::from_ref(&new), self.id, protection)?;
        let is_same = compare::equal(opened.expose(), self.key.expose());
        if is_same { Ok(new) } else { Err(KeyFileFault::ReadBack) }
    }

    #[expect(clippy::expect_used, reason = "32 bytes are within the limits of HKDF and HMAC")]
    fn derive(key: MasterKey, id: KeyFileId) -> Self {
        let mut okm = Zeroizing::new([0; MASTER_KEY_LEN]);
        let mut expand = |label| {
            kdf::expand_sha256(key.expose(), &[label], okm.as_mut_slice()).expect("32 bytes");
            MasterKey::from_bytes(&okm)
        };
        let mac = Mac::new(expand(MAC_KEY_LABEL).expose()).expect("32 bytes");
        let seal = Box::new(Xaes::new(&expand(SEAL_KEY_LABEL)));
        // The key schedule was moved from there.
        crate::wiped::clear_stack();
        let record = mac.clone().with(RECORD_LABEL).with(&id.0);
        let whole = mac.with(WHOLE_LABEL).with(&id.0);
        FileKey { id, key, record, whole, seal }
    }

    /// Identifies the file key in memory.
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

    /// The MAC over the MACs of all lines before the end record (FORMAT F-WHOLE).
    pub(super) fn whole(&self) -> Mac {
        self.whole.clone()
    }

    /// Seals key material (FORMAT F-SEAL).
    pub(super) fn seal(
        &self,
        label: MaterialLabel<'_>,
        key: &MasterKey,
        rng: &mut KeyringRng<'_>,
    ) -> Result<SealedKey, KeyFileFault> {
        Ok(seal(&self.seal, &label.aad(self.id), key, rng)?)
    }

    /// Opens key material.
    pub(super) fn unseal(&self, label: MaterialLabel<'_>, sealed: &SealedKey) -> Option<MasterKey> {
        unseal(&self.seal, &label.aad(self.id), sealed)
    }
}

impl fmt::Debug for FileKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The version that sealed key material belongs to.
#[derive(Clone, Copy)]
pub(super) struct MaterialLabel<'a> {
    pub(super) name: KeyName<'a>,
    pub(super) version: KeyVersion,
    pub(super) id: MasterKeyId,
}

impl MaterialLabel<'_> {
    fn aad(&self, file: KeyFileId) -> alloc::vec::Vec<u8> {
        let name = self.name.as_str().as_bytes();
        let len = self.name.len_byte();
        let version = self.version.number().to_be_bytes();
        [MASTER_KEY_LABEL, &file.0, &[len], name, &version, &self.id.0].concat()
    }
}

/// Length of sealed key material: nonce, ciphertext, tag.
const SEALED_LEN: usize = NONCE_LEN + MASTER_KEY_LEN + TAG_LEN;

/// SealedKey key material.
pub(super) type SealedKey = [u8; SEALED_LEN];

/// The id of a key file: drawn at its creation, and the same for its life.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyFileId(pub [u8; 16]);

impl fmt::Display for KeyFileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&to_hex(&self.0))
    }
}

impl fmt::Debug for KeyFileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyFileId({self})")
    }
}

/// Seals `key` under a random nonce.
#[expect(clippy::expect_used, reason = "32 bytes are within the limits of the cipher")]
pub(super) fn seal(
    cipher: &Xaes,
    aad: &[u8],
    key: &MasterKey,
    rng: &mut KeyringRng<'_>,
) -> Result<SealedKey, RandomnessUnavailable> {
    let (mut nonce, mut ciphertext) = ([0; NONCE_LEN], [0; MASTER_KEY_LEN]);
    rng.try_fill_bytes(&mut nonce).map_err(RandomnessUnavailable::of)?;
    let tag = cipher.encrypt(&nonce, aad, key.expose(), &mut ciphertext).expect("32 bytes");
    let parts = nonce.into_iter().chain(ciphertext).chain(tag);
    let mut sealed = [0; SEALED_LEN];
    sealed.iter_mut().zip(parts).for_each(|(byte, part)| *byte = part);
    Ok(sealed)
}

/// Opens sealed key material.
pub(super) fn unseal(cipher: &Xaes, aad: &[u8], sealed: &SealedKey) -> Option<MasterKey> {
    let (nonce, rest) = sealed.split_first_chunk()?;
    let (ciphertext, tag) = rest.split_last_chunk()?;
    let mut key = Zeroizing::new([0; MASTER_KEY_LEN]);
    cipher.decrypt(nonce, aad, ciphertext, key.as_mut_slice(), tag).ok()?;
    Some(MasterKey::from_bytes(&key))
}
