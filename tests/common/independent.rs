//! Wrap algorithms 2 and 3 from DESIGN 4.3 alone, over primitives of others, and the header's
//! parts that they need.

use aes::Aes256;
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt};
use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, KeyInit};
use envelock::format::WrapAlgorithm;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// The key material of a version.
pub struct Material {
    pub algorithm: WrapAlgorithm,
    pub encrypt: [u8; 32],
    pub mac: [u8; 32],
}

/// The context that a wrap is bound to, read from a message.
#[derive(Clone)]
pub struct Bound {
    pub core: [u8; 22],
    pub algorithm: u8,
    pub version: u32,
    pub master_key_id: [u8; 8],
    pub name: Vec<u8>,
}

impl Bound {
    /// The label of the first slot of a message, read at its offsets.
    pub fn of(message: &[u8]) -> Self {
        let name_len = usize::from(message[25 + 13]);
        Bound {
            core: message[..22].try_into().unwrap(),
            algorithm: message[25 + 12],
            version: u32::from_be_bytes(message[25..29].try_into().unwrap()),
            master_key_id: message[29..37].try_into().unwrap(),
            name: message[41..41 + name_len].to_vec(),
        }
    }

    pub fn aad(&self) -> Vec<u8> {
        let mut aad = b"envelock wrap v1".to_vec();
        aad.extend_from_slice(&self.core);
        aad.push(self.algorithm);
        aad.extend_from_slice(&self.version.to_be_bytes());
        aad.extend_from_slice(&self.master_key_id);
        aad.push(self.name.len() as u8);
        aad.extend_from_slice(&self.name);
        aad
    }
}

/// The range of the wrapped key of the first slot in a message.
pub fn wrapped(message: &[u8]) -> std::ops::Range<usize> {
    let name_len = usize::from(message[25 + 13]);
    let len = usize::from(u16::from_be_bytes([message[25 + 14], message[25 + 15]]));
    41 + name_len..41 + name_len + len
}

impl Material {
    pub fn is_gcm(&self) -> bool {
        self.algorithm == WrapAlgorithm::TOKEN_AES_256_GCM
    }

    pub fn iv_len(&self) -> usize {
        if self.is_gcm() { 12 } else { 16 }
    }

    /// Wraps `key` with the first bytes of `iv`.
    pub fn wrap(&self, aad: &[u8], iv: [u8; 16], key: &[u8]) -> Vec<u8> {
        let iv = &iv[..self.iv_len()];
        let mut bytes = key.to_vec();
        if self.is_gcm() {
            let cipher = Aes256Gcm::new(&self.encrypt.into());
            let tag = cipher.encrypt_inout_detached(
                iv.try_into().unwrap(),
                aad,
                bytes.as_mut_slice().into(),
            );
            return [iv, &bytes, &tag.unwrap()].concat();
        }
        let cipher = Aes256::new(&self.encrypt.into());
        let mut previous: [u8; 16] = iv.try_into().unwrap();
        for block in bytes.chunks_exact_mut(16) {
            let mixed = xor(block.try_into().unwrap(), previous);
            let mut mixed = mixed.into();
            cipher.encrypt_block(&mut mixed);
            block.copy_from_slice(&mixed);
            previous = mixed.into();
        }
        let tag = self.tag(&[aad, iv, &bytes].concat());
        [iv, &bytes, &tag].concat()
    }

    /// Unwraps `blob`; `None` if it does not authenticate.
    pub fn unwrap(&self, aad: &[u8], blob: &[u8]) -> Option<Vec<u8>> {
        let (iv, rest) = blob.split_at(self.iv_len());
        if self.is_gcm() {
            let (bytes, tag) = rest.split_at(rest.len() - 16);
            let mut bytes = bytes.to_vec();
            let cipher = Aes256Gcm::new(&self.encrypt.into());
            let (iv, tag) = (iv.try_into().unwrap(), tag.try_into().unwrap());
            let buffer = bytes.as_mut_slice().into();
            return cipher.decrypt_inout_detached(iv, aad, buffer, tag).is_ok().then_some(bytes);
        }
        let (bytes, tag) = rest.split_at(rest.len() - 32);
        if self.tag(&[aad, iv, bytes].concat()) != tag {
            return None;
        }
        let cipher = Aes256::new(&self.encrypt.into());
        let mut previous: [u8; 16] = iv.try_into().unwrap();
        let mut key = Vec::new();
        for block in bytes.chunks_exact(16) {
            let block: [u8; 16] = block.try_into().unwrap();
            let mut decrypted = block.into();
            cipher.decrypt_block(&mut decrypted);
            key.extend_from_slice(&xor(decrypted.into(), previous));
            previous = block;
        }
        Some(key)
    }

    fn tag(&self, input: &[u8]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.mac).unwrap();
        mac.update(input);
        mac.finalize().into_bytes().into()
    }
}

fn xor(one: [u8; 16], other: [u8; 16]) -> [u8; 16] {
    std::array::from_fn(|index| one[index] ^ other[index])
}

/// The first 8 bytes of SHA-256: the id of a key that others named.
pub fn master_key_id(native: &[u8]) -> [u8; 8] {
    Sha256::digest(native)[..8].try_into().unwrap()
}

/// The `CKA_ID` of a key of ours; `role` is 1 of the AES key and 2 of the other.
pub fn object_id(master_key_id: [u8; 8], version: u32, name: &str, role: u8) -> Vec<u8> {
    let input = [&master_key_id[..], &version.to_be_bytes(), name.as_bytes()].concat();
    [&master_key_id[..], &Sha256::digest(input)[..8], &[role]].concat()
}

/// The check of a data key in an immutable core.
pub fn check(core: &[u8; 22], key: &[u8]) -> [u8; 8] {
    let (format_version, suite, r) = (core[4], core[5], &core[6..14]);
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(b"envelock data key id v1");
    mac.update(&[format_version, suite]);
    mac.update(r);
    mac.update(&[1]);
    mac.finalize().into_bytes()[..8].try_into().unwrap()
}
