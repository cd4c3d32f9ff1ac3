//! The raw AES-GCM of graviola. The other suite is RustCrypto's with this provider too.

use super::{Raw, Tag};
use envelock::Suite;
use envelock::stream::layout::CHUNK_LEN;
use graviola::aead::AesGcm;

fn nonce(index: u32) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[8..].copy_from_slice(&index.to_be_bytes());
    nonce
}

impl Raw for AesGcm {
    fn encrypt_chunks(&self, buffer: &mut [u8], tags: &mut Vec<Tag>) {
        tags.clear();
        for (index, chunk) in (0..).zip(buffer.chunks_mut(CHUNK_LEN)) {
            let mut tag = [0; 16];
            self.encrypt(&nonce(index), &[], chunk, &mut tag);
            tags.push(tag);
        }
    }

    fn decrypt_chunks(&self, buffer: &mut [u8], tags: &[Tag]) {
        for ((index, chunk), tag) in (0..).zip(buffer.chunks_mut(CHUNK_LEN)).zip(tags) {
            let opened = self.decrypt(&nonce(index), &[], chunk, tag);
            opened.expect("encrypted by encrypt_chunks");
        }
    }

    fn encrypt_whole(&self, buffer: &mut [u8]) -> Tag {
        let mut tag = [0; 16];
        self.encrypt(&nonce(0), &[], buffer, &mut tag);
        tag
    }

    fn decrypt_whole(&self, buffer: &mut [u8], tag: &Tag) {
        self.decrypt(&nonce(0), &[], buffer, tag).expect("encrypted by encrypt_whole");
    }
}

pub fn raw(suite: Suite) -> Box<dyn Raw> {
    match suite {
        Suite::ChunkedChaCha20Poly1305 => super::rustcrypto(suite),
        Suite::Cobblestone128 => Box::new(AesGcm::new(&[7; 16])),
        _ => Box::new(AesGcm::new(&[7; 32])),
    }
}
