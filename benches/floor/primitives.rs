//! The primitives of a 64-byte message one by one, from the crates and with the features that
//! envelock uses, on inputs of the same lengths. The wrap is that of a crate of its own, over RustCrypto's
//! AES-GCM.

use super::gcm::Gcm;
use aes_gcm::KeyInit;
use aes_gcm::aead::AeadInOut;
use hmac::{EagerHash, Hmac, Mac};
use sha2::{Sha256, Sha512};
use std::hint::black_box;
use xaes_256_gcm::Xaes256Gcm;

/// Data key, data key id, salt, wrap nonce.
pub const RANDOM_LEN: usize = 88;

/// Label, core, algorithm, version, master key id, name length, a name of 8 bytes.
pub const WRAP_AAD_LEN: usize = 16 + 22 + 1 + 4 + 8 + 1 + 8;

/// Label, format version, suite, random half of the data key id.
const CHECK_INFO_LEN: usize = 23 + 2 + 8;

/// Label, AEAD name, a zero, salt, core.
const BODY_INFO_LEN: usize = 31 + 16 + 1 + 24 + 22;

pub fn os_random<const N: usize>() -> [u8; N] {
    let mut random = [0; N];
    getrandom::fill(&mut random).expect("OS randomness");
    random
}

/// HKDF-Expand as `envelock` needs it, over `hmac`: the key is shorter than `hkdf` allows.
fn expand<D: EagerHash>(key: &[u8], info: &[&[u8]], okm: &mut [u8], block: usize) {
    let keyed = Hmac::<D>::new_from_slice(key).expect("any length");
    let mut previous = hmac::digest::Output::<Hmac<D>>::default();
    for (counter, out) in (1..=u8::MAX).zip(okm.chunks_mut(block)) {
        let mut mac = keyed.clone();
        if counter > 1 {
            mac.update(&previous);
        }
        info.iter().for_each(|piece| mac.update(piece));
        mac.update(&[counter]);
        previous = mac.finalize().into_bytes();
        out.copy_from_slice(&previous[..out.len()]);
    }
}

/// Check of a data key: 8 bytes by SHA-256.
pub fn check(key: &[u8; 32]) -> [u8; 8] {
    let mut check = [0; 8];
    expand::<Sha256>(key, &[black_box(&[1; CHECK_INFO_LEN])], &mut check, 32);
    check
}

/// The same by SHA-256, as in suite 4.
pub fn derive_sha256(key: &[u8; 32], aad: &[u8]) -> [u8; 76] {
    let mut derived = [0; 76];
    expand::<Sha256>(key, &[black_box(&[1; BODY_INFO_LEN]), aad], &mut derived, 32);
    derived
}

/// Body key, base nonce and commitment: 76 bytes by SHA-512.
pub fn derive(key: &[u8; 32], aad: &[u8]) -> [u8; 76] {
    let mut derived = [0; 76];
    expand::<Sha512>(key, &[black_box(&[1; BODY_INFO_LEN]), aad], &mut derived, 64);
    derived
}

pub fn set_up(key: &[u8; 32]) -> Gcm {
    Gcm::new(key)
}

pub fn aead_encrypt(cipher: &Gcm, buffer: &mut [u8]) -> [u8; 16] {
    cipher.encrypt(&[3; 12], &[], buffer)
}

pub fn aead_decrypt(cipher: &Gcm, buffer: &mut [u8], tag: &[u8; 16]) {
    cipher.decrypt(&[3; 12], &[], buffer, tag);
}

/// A master key's cipher, and one data key wrapped by it.
pub struct Wrap {
    cipher: Xaes256Gcm,
    nonce: [u8; 24],
    wrapped: [u8; 32],
    tag: [u8; 16],
}

impl Wrap {
    pub fn new() -> Self {
        let cipher = Xaes256Gcm::new(&[9; 32].into());
        let mut wrap = Wrap { cipher, nonce: [4; 24], wrapped: [0; 32], tag: [0; 16] };
        (wrap.wrapped, wrap.tag) = wrap.wrap(&[7; 32], &wrap.nonce);
        wrap
    }

    pub fn wrap(&self, key: &[u8; 32], nonce: &[u8; 24]) -> ([u8; 32], [u8; 16]) {
        let mut wrapped = *key;
        let aad = black_box([2; WRAP_AAD_LEN]);
        let tag =
            self.cipher.encrypt_inout_detached(nonce.into(), &aad, wrapped.as_mut_slice().into());
        (wrapped, tag.expect("32 bytes").into())
    }

    pub fn unwrap(&self) -> [u8; 32] {
        let mut key = self.wrapped;
        let aad = black_box([2; WRAP_AAD_LEN]);
        let buffer = key.as_mut_slice().into();
        let opened =
            self.cipher.decrypt_inout_detached(&self.nonce.into(), &aad, buffer, &self.tag.into());
        opened.expect("wrapped by wrap");
        key
    }
}

/// All that encrypting `buffer` must compute, and nothing else.
pub fn encrypt_all(wrap: &Wrap, buffer: &mut [u8], aad: &[u8]) -> [u8; 16] {
    let random = os_random::<RANDOM_LEN>();
    let key = random.first_chunk().expect("88 bytes");
    black_box(check(key));
    black_box(wrap.wrap(key, random.last_chunk().expect("88 bytes")));
    let derived = derive(key, aad);
    let cipher = set_up(derived.first_chunk().expect("76 bytes"));
    aead_encrypt(&cipher, buffer)
}

/// All that decrypting `buffer` must compute. Its cipher is another than the derived one, so
/// that there is something to decrypt; the derived key is set up all the same.
pub fn decrypt_all(wrap: &Wrap, cipher: &Gcm, buffer: &mut [u8], tag: &[u8; 16]) {
    let key = wrap.unwrap();
    black_box(check(&key));
    let derived = derive(&key, super::AAD);
    black_box(set_up(derived.first_chunk().expect("76 bytes")));
    aead_decrypt(cipher, buffer, tag);
}

/// All that a rewrap must compute: unwrap, check, wrap, unwrap, check.
pub fn rewrap_all(wrap: &Wrap, nonce: &[u8; 24]) {
    let key = wrap.unwrap();
    black_box(check(&key));
    black_box(wrap.wrap(&key, nonce));
    let key = wrap.unwrap();
    black_box(check(&key));
}
