//! The bare ciphers, as anyone would call them.

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use chacha20poly1305::ChaCha20Poly1305;
use envelock::Suite;
use xaes_256_gcm::Xaes256Gcm;

/// Opens `sealed` with the bare AEAD of a suite, without associated data.
pub fn open(suite: Suite, key: &[u8], nonce: &[u8; 12], sealed: &[u8]) -> Option<Vec<u8>> {
    let (mut text, tag) = split(sealed);
    let nonce = nonce.into();
    let buffer = text[..].as_mut().into();
    let tag = tag.into();
    match suite {
        Suite::Cobblestone128 => {
            Aes128Gcm::new_from_slice(key).unwrap().decrypt_inout_detached(nonce, &[], buffer, &tag)
        }
        Suite::ChunkedChaCha20Poly1305 => ChaCha20Poly1305::new_from_slice(key)
            .unwrap()
            .decrypt_inout_detached(nonce, &[], buffer, &tag),
        _ => {
            Aes256Gcm::new_from_slice(key).unwrap().decrypt_inout_detached(nonce, &[], buffer, &tag)
        }
    }
    .ok()?;
    Some(text)
}

/// Opens `sealed` with bare XAES-256-GCM.
pub fn open_xaes(key: &[u8; 32], nonce: &[u8; 24], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (mut text, tag) = split(sealed);
    let cipher = Xaes256Gcm::new(key.into());
    let buffer = text[..].as_mut().into();
    cipher.decrypt_inout_detached(nonce.into(), aad, buffer, &tag.into()).ok()?;
    Some(text)
}

fn split(sealed: &[u8]) -> (Vec<u8>, [u8; 16]) {
    let (text, tag) = sealed.split_last_chunk().unwrap();
    (text.to_vec(), *tag)
}
