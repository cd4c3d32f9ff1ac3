//! The key derivations of the specification over `hmac` and `sha2`, apart from the crate's own.

use envelock::Suite;
use hmac::{EagerHash, Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha512};

/// HKDF-Expand (RFC 5869, section 2.3).
fn expand<D: EagerHash>(key: &[u8], info: &[u8], len: usize) -> Vec<u8> {
    let mut okm: Vec<u8> = Vec::new();
    let mut counter = 0_u8;
    let mut previous = Vec::new();
    while okm.len() < len {
        counter += 1;
        let mut mac = <Hmac<D> as KeyInit>::new_from_slice(key).unwrap();
        mac.update(&[&previous[..], info, &[counter]].concat());
        previous = mac.finalize().into_bytes().to_vec();
        okm.extend_from_slice(&previous);
    }
    okm.truncate(len);
    okm
}

/// HKDF-Expand with SHA-512.
pub fn expand_sha512(key: &[u8], info: &[u8], len: usize) -> Vec<u8> {
    expand::<Sha512>(key, info, len)
}

/// HKDF-Expand with SHA-256.
pub fn expand_sha256(key: &[u8], info: &[u8], len: usize) -> Vec<u8> {
    expand::<Sha256>(key, info, len)
}

/// Key, base nonce and commitment of a body.
pub struct BodyKeys {
    pub key: Vec<u8>,
    pub nonce: [u8; 12],
    pub commitment: [u8; 32],
}

/// Derives the keys of a body (SPEC B-KDF, B-CONTEXT).
pub fn body_keys(suite: Suite, data_key: &[u8], salt: &[u8; 24], context: &[u8]) -> BodyKeys {
    let (name, key_len) = match suite {
        Suite::Cobblestone256 | Suite::ChunkedAes256GcmSha256 => ("AEAD_AES_256_GCM", 32),
        Suite::Cobblestone128 => ("AEAD_AES_128_GCM", 16),
        Suite::ChunkedChaCha20Poly1305 => ("AEAD_CHACHA20_POLY1305", 32),
        _ => unreachable!("{suite}"),
    };
    let label = format!("c2sp.org/chunked-encryption@v1+{name}\0");
    let info = [label.as_bytes(), salt, context].concat();
    let len = key_len + 12 + 32;
    let okm = match suite {
        Suite::ChunkedAes256GcmSha256 => expand_sha256(data_key, &info, len),
        _ => expand_sha512(data_key, &info, len),
    };
    BodyKeys {
        key: okm[..key_len].to_vec(),
        nonce: okm[key_len..key_len + 12].try_into().unwrap(),
        commitment: okm[key_len + 12..].try_into().unwrap(),
    }
}

/// The data key id that names `data_key`: `random`, then the check (SPEC K-CHECK).
pub fn data_key_id(suite: Suite, random: &[u8; 8], data_key: &[u8]) -> [u8; 16] {
    let info = [b"envelock data key id v1", &[1, suite.id()][..], random].concat();
    let check = expand_sha256(data_key, &info, 8);
    [&random[..], &check].concat().try_into().unwrap()
}

/// The id of a software master key (SPEC K-MASTER).
pub fn master_key_id(key: &[u8; 32]) -> [u8; 8] {
    expand_sha256(key, b"envelock master key id v1", 8).try_into().unwrap()
}
