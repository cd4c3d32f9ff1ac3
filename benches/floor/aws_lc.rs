//! The raw AEADs of AWS-LC.

use super::{Raw, Tag, nonce};
use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use envelock::Suite;

struct AwsLc(LessSafeKey);

fn unique(index: u32) -> Nonce {
    Nonce::assume_unique_for_key(nonce(index))
}

impl Raw for AwsLc {
    fn encrypt(&self, index: u32, chunk: &mut [u8]) -> Tag {
        let tag = self.0.seal_in_place_separate_tag(unique(index), Aad::empty(), chunk);
        tag.expect("shorter than 64 GiB").as_ref().try_into().expect("16 bytes")
    }

    fn decrypt(&self, index: u32, chunk: &mut [u8], tag: &Tag) {
        let opened = self.0.open_in_place_separate_tag(unique(index), Aad::empty(), tag, chunk);
        opened.expect("encrypted with this nonce");
    }

    fn encrypt_into(&self, index: u32, chunk: &[u8], out: &mut [u8]) -> Tag {
        let (mut tag, key, aad) = ([0; 16], &self.0, Aad::empty());
        let sealed = key.seal_out_of_place_scatter(unique(index), aad, chunk, out, &[], &mut tag);
        sealed.expect("shorter than 64 GiB");
        tag
    }

    fn decrypt_into(&self, index: u32, chunk: &[u8], tag: &Tag, out: &mut [u8]) {
        let opened = self.0.open_separate_gather(unique(index), Aad::empty(), chunk, tag, out);
        opened.expect("encrypted with this nonce");
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
