//! The floors that envelock is compared with: the same ciphers of the same crates, without envelock.
//!
//! Shared by every benchmark; each uses a part of it.
#![allow(dead_code)]

#[cfg(feature = "aws-lc-rs")]
pub mod aws_lc;
pub mod gcm;
#[cfg(all(feature = "graviola", any(target_arch = "x86_64", target_arch = "aarch64")))]
pub mod graviola;
pub mod hand_rolled;
pub mod primitives;

use aes_gcm::aead::consts::{U12, U16};
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aead::{AeadCore, AeadInOut, KeyInit};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use chacha20poly1305::ChaCha20Poly1305;
use envelock::format::layout::CHUNK_LEN;
use envelock::{Provider, Suite};

/// Sizes of plaintext that the issue asks for, in bytes.
pub const SIZES: [usize; 7] = [0, 64, 1 << 10, 16 << 10, 64 << 10, 1 << 20, 16 << 20];

/// Associated data of every benchmark: what names one record.
pub const AAD: &[u8] = b"invoices/2026/0042";

pub type Tag = [u8; 16];

/// A raw AEAD, its key set up once: neither key derivation nor header nor commitment.
pub trait Raw: Sync {
    /// One call, in place or from one buffer to another of the same length.
    fn encrypt(&self, index: u32, chunk: &mut [u8]) -> Tag;
    fn decrypt(&self, index: u32, chunk: &mut [u8], tag: &Tag);
    fn encrypt_into(&self, index: u32, chunk: &[u8], out: &mut [u8]) -> Tag;
    fn decrypt_into(&self, index: u32, chunk: &[u8], tag: &Tag, out: &mut [u8]);

    /// In place, in calls of 16 KiB: the floor of every operation on a body.
    fn encrypt_chunks(&self, buffer: &mut [u8], tags: &mut Vec<Tag>) {
        tags.clear();
        for (index, chunk) in (0..).zip(buffer.chunks_mut(CHUNK_LEN)) {
            tags.push(self.encrypt(index, chunk));
        }
    }

    fn decrypt_chunks(&self, buffer: &mut [u8], tags: &[Tag]) {
        for ((index, chunk), tag) in (0..).zip(buffer.chunks_mut(CHUNK_LEN)).zip(tags) {
            self.decrypt(index, chunk, tag);
        }
    }

    /// Between two buffers, in calls of 16 KiB; each tag stands behind its chunk.
    fn encrypt_between(&self, plaintext: &[u8], sealed: &mut [u8]) {
        let chunks = plaintext.chunks(CHUNK_LEN).zip(sealed.chunks_mut(SEALED_CHUNK_LEN));
        for (index, (chunk, sealed)) in (0..).zip(chunks) {
            let (out, tag) = sealed.split_last_chunk_mut().expect("room for a tag");
            *tag = self.encrypt_into(index, chunk, out);
        }
    }

    fn decrypt_between(&self, sealed: &[u8], plaintext: &mut [u8]) {
        let chunks = sealed.chunks(SEALED_CHUNK_LEN).zip(plaintext.chunks_mut(CHUNK_LEN));
        for (index, (sealed, out)) in (0..).zip(chunks) {
            let (chunk, tag) = sealed.split_last_chunk().expect("ends in a tag");
            self.decrypt_into(index, chunk, tag, out);
        }
    }

    /// Copies each chunk with its tag to `out`, round and round, and decrypts it there: the least that a
    /// reader does, whose source gives bytes and not a buffer.
    fn read(&self, sealed: &[u8], out: &mut [u8]) {
        let rooms = out.len() / CHUNK_LEN;
        for (index, sealed) in (0..).zip(sealed.chunks(SEALED_CHUNK_LEN)) {
            let room = index as usize % rooms * CHUNK_LEN;
            let room = &mut out[room..room + sealed.len() - 16];
            let (chunk, tag) = sealed.split_last_chunk().expect("ends in a tag");
            room.copy_from_slice(chunk);
            self.decrypt(index, room, tag);
        }
    }
}

/// A chunk and its tag.
pub const SEALED_CHUNK_LEN: usize = CHUNK_LEN + 16;

/// Length of `len` bytes of plaintext with a tag behind each chunk.
pub fn sealed_len(len: usize) -> usize {
    len + len.div_ceil(CHUNK_LEN) * 16
}

struct RawAead<C>(C);

impl<C> Raw for RawAead<C>
where
    C: AeadCore<NonceSize = U12, TagSize = U16> + AeadInOut + Sync,
{
    fn encrypt(&self, index: u32, chunk: &mut [u8]) -> Tag {
        let tag = self.0.encrypt_inout_detached(&nonce(index).into(), &[], chunk.into());
        tag.expect("shorter than 64 GiB").into()
    }

    fn decrypt(&self, index: u32, chunk: &mut [u8], tag: &Tag) {
        let nonce = nonce(index).into();
        let opened = self.0.decrypt_inout_detached(&nonce, &[], chunk.into(), tag.into());
        opened.expect("encrypted with this nonce");
    }

    fn encrypt_into(&self, index: u32, chunk: &[u8], out: &mut [u8]) -> Tag {
        let buffer = InOutBuf::new(chunk, out).expect("equal lengths");
        let tag = self.0.encrypt_inout_detached(&nonce(index).into(), &[], buffer);
        tag.expect("shorter than 64 GiB").into()
    }

    fn decrypt_into(&self, index: u32, chunk: &[u8], tag: &Tag, out: &mut [u8]) {
        let buffer = InOutBuf::new(chunk, out).expect("equal lengths");
        let nonce = nonce(index).into();
        let opened = self.0.decrypt_inout_detached(&nonce, &[], buffer, tag.into());
        opened.expect("encrypted with this nonce");
    }
}

fn nonce(index: u32) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[8..].copy_from_slice(&index.to_be_bytes());
    nonce
}

/// The AEAD of `suite`, from the crate that envelock takes it from with this provider.
pub fn raw(provider: Provider, suite: Suite) -> Box<dyn Raw> {
    match provider {
        #[cfg(feature = "aws-lc-rs")]
        Provider::AwsLcRs => aws_lc::raw(suite),
        #[cfg(all(feature = "graviola", any(target_arch = "x86_64", target_arch = "aarch64")))]
        Provider::Graviola if provider.is_supported() => graviola::raw(suite),
        _ => rustcrypto(suite),
    }
}

fn rustcrypto(suite: Suite) -> Box<dyn Raw> {
    match suite {
        Suite::Cobblestone128 => Box::new(RawAead(Aes128Gcm::new(&[7; 16].into()))),
        Suite::ChunkedChaCha20Poly1305 => Box::new(RawAead(ChaCha20Poly1305::new(&[7; 32].into()))),
        _ => Box::new(RawAead(Aes256Gcm::new(&[7; 32].into()))),
    }
}

pub fn suite_name(suite: Suite) -> &'static str {
    match suite {
        Suite::Cobblestone256 => "AES-256-GCM",
        Suite::Cobblestone128 => "AES-128-GCM",
        Suite::ChunkedAes256GcmSha256 => "AES-256-GCM, SHA-256",
        _ => "ChaCha20-Poly1305",
    }
}

pub fn size_name(size: usize) -> String {
    match size {
        0..1024 => format!("{size} B"),
        1024..1_048_576 => format!("{} KiB", size >> 10),
        _ => format!("{} MiB", size >> 20),
    }
}
