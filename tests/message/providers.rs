//! Tests that the providers of the AEADs agree: every length to 4,096 bytes at 64 alignments,
//! in place and from buffer to buffer, each opening what the others made (THREATS 45); that a
//! failure leaves no plaintext with any of them (THREATS 29); and that an envelope uses the one
//! that it was configured with.
//!
//! With RustCrypto alone compiled in there is nothing to compare but the two ways through it, at
//! one pair of alignments for each length: `backend_agreement.sh` takes all of them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use envelock::danger::{self, ChunkDecryptor, ChunkEncryptor};
use envelock::rand_core::{Rng, SeedableRng};
use envelock::{
    Aad, Envelope, Error, KeyVersion, MasterKey, MemoryKeyring, Provider, Suite, inspect,
};
use rand_chacha::ChaCha20Rng;
use std::ops::Range;

const MAX_LEN: usize = 4096;
const ALIGNMENTS: usize = 64;
const TAG_LEN: usize = 16;

/// The content of an output buffer before a decryption that must not write plaintext to it.
const UNTOUCHED: u8 = 0xA5;

/// Both directions under one key, by one provider.
struct Keyed {
    provider: Provider,
    encryptor: ChunkEncryptor,
    decryptor: ChunkDecryptor,
}

impl Keyed {
    /// The same key with every provider.
    fn with_every_provider(suite: Suite) -> Vec<Self> {
        let (key, salt, context) = (&[0x42; 32][..suite.data_key_len()], [7; 24], b"context");
        let keyed = Provider::ALL.iter().map(|&provider| {
            let encryptor =
                danger::chunk_encryptor_with_provider(provider, suite, key, &salt, context)
                    .unwrap();
            let prefix = encryptor.prefix();
            let decryptor =
                danger::chunk_decryptor_with_provider(provider, suite, key, prefix, context)
                    .unwrap();
            Keyed { provider, encryptor, decryptor }
        });
        keyed.collect()
    }
}

/// A buffer whose start can be put at any offset from a multiple of 64.
struct Misaligned {
    bytes: Vec<u8>,
    start: usize,
}

impl Misaligned {
    fn new() -> Self {
        let bytes = vec![0; 16_384 + TAG_LEN + 2 * ALIGNMENTS];
        let start = bytes.as_ptr().align_offset(ALIGNMENTS);
        Misaligned { bytes, start }
    }

    fn at(&mut self, offset: usize, len: usize) -> &mut [u8] {
        &mut self.bytes[self.start + offset..][..len]
    }
}

/// Two buffers, and what is encrypted.
struct Bench {
    plaintext: Vec<u8>,
    source: Misaligned,
    target: Misaligned,
    cases: usize,
}

impl Bench {
    fn new() -> Self {
        let mut plaintext = vec![0; 16_384];
        ChaCha20Rng::seed_from_u64(45).fill_bytes(&mut plaintext);
        Bench { plaintext, source: Misaligned::new(), target: Misaligned::new(), cases: 0 }
    }

    /// One chunk by every provider, in place and into another buffer, and back by the next one.
    fn agree(&mut self, all: &[Keyed], index: u64, len: usize, from: usize, to: usize) {
        let plaintext = &self.plaintext[..len];
        let mut expected: Option<Vec<u8>> = None;
        for (nth, keyed) in all.iter().enumerate() {
            let name = keyed.provider;
            let source = self.source.at(from, len);
            source.copy_from_slice(plaintext);
            let sealed = self.target.at(to, len + TAG_LEN);
            keyed.encryptor.encrypt_into(index, source, sealed).unwrap();
            assert!(*source == *plaintext, "{name} wrote to its input at {len}");
            let expected = expected.get_or_insert_with(|| sealed.to_vec());
            assert!(*sealed == **expected, "{name} differs at {len}, {from} to {to}");
            let tag = keyed.encryptor.encrypt_in_place(index, source).unwrap();
            assert!(*source == sealed[..len], "{name} differs in place at {len}, {from}");
            assert!(tag == sealed[len..], "{name} has another tag in place at {len}, {from}");

            let other = &all[(nth + 1) % all.len()];
            let name = other.provider;
            other.decryptor.decrypt_into(index, sealed, source).unwrap();
            assert!(*source == *plaintext, "{name} decrypts otherwise at {len}, {to} to {from}");
            assert!(*sealed == **expected, "{name} wrote to its input at {len}");
            let opened = other.decryptor.decrypt_in_place(index, sealed).unwrap();
            assert!(*opened == *plaintext, "{name} decrypts otherwise in place at {len}, {to}");
            self.cases += 1;
        }
    }

    fn every_length_and_alignment(&mut self, suite: Suite) {
        let all = Keyed::with_every_provider(suite);
        for len in (0..=MAX_LEN).chain([16_368, 16_369, 16_383, 16_384]) {
            for from in alignments(len) {
                let to = (len + 5 * from) % ALIGNMENTS;
                self.agree(&all, [0, 1, 0xFF, (1 << 38) - 1][len % 4], len, from, to);
            }
        }
    }
}

/// All of them where providers are compared, else one that goes round with the length.
fn alignments(len: usize) -> Range<usize> {
    if Provider::ALL.len() > 1 {
        return 0..ALIGNMENTS;
    }
    let only = len * 7 % ALIGNMENTS;
    only..only + 1
}

fn agrees(suite: Suite) {
    let mut bench = Bench::new();
    bench.every_length_and_alignment(suite);
    let providers = Provider::ALL.len();
    assert_eq!(bench.cases, (MAX_LEN + 5) * alignments(0).len() * providers);
}

#[test]
fn aes_256_gcm_is_the_same_with_every_provider() {
    agrees(Suite::Cobblestone256);
}

#[test]
fn aes_128_gcm_is_the_same_with_every_provider() {
    agrees(Suite::Cobblestone128);
}

#[test]
fn chacha20_poly1305_is_the_same_with_every_provider() {
    agrees(Suite::ChunkedChaCha20Poly1305);
}

/// One change anywhere in a chunk or its tag, at lengths around every vector width.
#[test]
fn failure_leaves_no_plaintext_with_any_provider() {
    let mut plaintext = vec![0; 16_384];
    ChaCha20Rng::seed_from_u64(29).fill_bytes(&mut plaintext);
    for &suite in Suite::ALL {
        for keyed in Keyed::with_every_provider(suite) {
            for len in (0..=300).chain([1023, 1024, 1025, 4095, 4097, 16_383, 16_384]) {
                let mut sealed = vec![0; len + TAG_LEN];
                keyed.encryptor.encrypt_into(5, &plaintext[..len], &mut sealed).unwrap();
                for at in [0, len / 2, len, len + TAG_LEN - 1] {
                    sealed[at] ^= 4;
                    leaves_nothing(&keyed, &sealed, &format!("{} {suite} {len}", keyed.provider));
                    sealed[at] ^= 4;
                }
            }
        }
    }
}

fn leaves_nothing(keyed: &Keyed, sealed: &[u8], name: &str) {
    let mut output = vec![UNTOUCHED; sealed.len() - TAG_LEN];
    let refused = keyed.decryptor.decrypt_into(5, sealed, &mut output);
    assert!(matches!(refused, Err(Error::Authentication { .. })), "{name}: {refused:?}");
    assert!(output.iter().all(|byte| *byte == 0), "{name}");
    let mut buffer = sealed.to_vec();
    let refused = keyed.decryptor.decrypt_in_place(5, &mut buffer).map(|_| ());
    assert!(matches!(refused, Err(Error::Authentication { .. })), "{name}: {refused:?}");
    let (chunk, tag) = buffer.split_at(sealed.len() - TAG_LEN);
    assert!(chunk.iter().all(|byte| *byte == 0) && *tag == sealed[chunk.len()..], "{name}");
}

/// Whole messages of the same random bytes are the same, and open with every provider.
#[test]
fn envelopes_of_every_provider_make_the_same_messages() {
    let keyring =
        MemoryKeyring::import("providers", KeyVersion::FIRST, &MasterKey::from_bytes(&[9; 32]))
            .unwrap();
    let aad = Aad::new(b"records/42");
    for &suite in Suite::ALL {
        let envelopes = Provider::ALL.iter().map(|&provider| {
            let envelope = Envelope::new(&keyring).with_suite(suite).with_provider(provider);
            assert!(format!("{envelope:?}").contains(&format!("provider: {provider:?}")));
            envelope
        });
        let envelopes: Vec<_> = envelopes.collect();
        for len in [0, 1, 64, 16_383, 16_384, 40_000] {
            let plaintext = vec![0x5A; len];
            let messages = envelopes.iter().map(|envelope| {
                let mut rng = ChaCha20Rng::seed_from_u64(1);
                envelope.with_rng(&mut rng).encrypt(&plaintext, aad).unwrap()
            });
            let messages: Vec<_> = messages.collect();
            for (message, envelope) in messages.iter().rev().zip(&envelopes) {
                assert!(*message == messages[0], "{suite} {len}");
                assert!(envelope.decrypt(message, aad).unwrap() == plaintext, "{suite} {len}");
                assert_eq!(inspect(message).unwrap().suite(), suite);
            }
        }
    }
}

#[test]
fn default_provider_is_the_first_that_the_processor_runs() {
    let first = Provider::ALL.iter().find(|provider| provider.is_supported());
    assert_eq!(Some(&Provider::default()), first);
    assert!(Provider::RustCrypto.is_supported());
    assert_eq!(Provider::ALL.last(), Some(&Provider::RustCrypto));
    let names: Vec<_> = Provider::ALL.iter().map(ToString::to_string).collect();
    let compiled_in =
        [("aws-lc-rs", cfg!(feature = "aws-lc-rs")), ("graviola", cfg!(feature = "graviola"))];
    let mut expected: Vec<_> =
        compiled_in.iter().filter(|(_, is_in)| *is_in).map(|(name, _)| *name).collect();
    expected.push("RustCrypto");
    assert_eq!(names, expected);
}
