//! The raw AEADs of AWS-LC.

use super::{Raw, Tag};
use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use envelock::Suite;
use envelock::stream::layout::CHUNK_LEN;

struct AwsLc(LessSafeKey);

fn nonce(index: u32) -> Nonce {
    let mut nonce = [0; 12];
    nonce[8..].copy_from_slice(&index.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

impl Raw for AwsLc {
    fn encrypt_chunks(&self, buffer: &mut [u8], tags: &mut Vec<Tag>) {
        tags.clear();
        for (index, chunk) in (0..).zip(buffer.chunks_mut(CHUNK_LEN)) {
            let tag = self.0.seal_in_place_separate_tag(nonce(index), Aad::empty(), chunk);
            tags.push(tag.expect("shorter than 64 GiB").as_ref().try_into().expect("16 bytes"));
        }
    }

    fn decrypt_chunks(&self, buffer: &mut [u8], tags: &[Tag]) {
        for ((index, chunk), tag) in (0..).zip(buffer.chunks_mut(CHUNK_LEN)).zip(tags) {
            let opened = self.0.open_in_place_separate_tag(nonce(index), Aad::empty(), tag, chunk);
            opened.expect("encrypted by encrypt_chunks");
        }
    }

    fn encrypt_whole(&self, buffer: &mut [u8]) -> Tag {
        let tag = self.0.seal_in_place_separate_tag(nonce(0), Aad::empty(), buffer);
        tag.expect("shorter than 64 GiB").as_ref().try_into().expect("16 bytes")
    }

    fn decrypt_whole(&self, buffer: &mut [u8], tag: &Tag) {
        let opened = self.0.open_in_place_separate_tag(nonce(0), Aad::empty(), tag, buffer);
        opened.expect("encrypted by encrypt_whole");
    }
}

pub fn raw(suite: Suite) -> Box<dyn Raw> {
    let key = match suite {
        Suite::Cobblestone128 => UnboundKey::new(&AES_128_GCM, &[7; 16]),
        Suite::ChunkedChaCha20Poly1305 => UnboundKey::new(&CHACHA20_POLY1305, &[7; 32]),
        _ => UnboundKey::new(&AES_256_GCM, &[7; 32]),
    };
    Box::new(AwsLc(LessSafeKey::new(key.expect("a key of its length"))))
}
