//! The raw AES-GCM of graviola. The other suite is RustCrypto's with this provider too.

use super::{Raw, Tag, nonce};
use envelock::Suite;
use graviola::aead::AesGcm;

impl Raw for AesGcm {
    fn encrypt(&self, index: u32, chunk: &mut [u8]) -> Tag {
        let mut tag = [0; 16];
        self.encrypt(&nonce(index), &[], chunk, &mut tag);
        tag
    }

    fn decrypt(&self, index: u32, chunk: &mut [u8], tag: &Tag) {
        self.decrypt(&nonce(index), &[], chunk, tag).expect("encrypted with this nonce");
    }

    /// A copy first: there are calls in place alone.
    fn encrypt_into(&self, index: u32, chunk: &[u8], out: &mut [u8]) -> Tag {
        out.copy_from_slice(chunk);
        Raw::encrypt(self, index, out)
    }

    fn decrypt_into(&self, index: u32, chunk: &[u8], tag: &Tag, out: &mut [u8]) {
        out.copy_from_slice(chunk);
        Raw::decrypt(self, index, out, tag);
    }
}

pub fn raw(suite: Suite) -> Box<dyn Raw> {
    match suite {
        Suite::ChunkedChaCha20Poly1305 => super::rustcrypto(suite),
        Suite::Cobblestone128 => Box::new(AesGcm::new(&[7; 16])),
        _ => Box::new(AesGcm::new(&[7; 32])),
    }
}
