//! Tests that every CPU back end makes the same bytes: one digest over all that the body layer
//! and the envelope produce, a constant in this file (THREATS 45, figure G21).
//!
//! `ci/backend_agreement.sh` runs it under each back end of each provider of the AEADs.
//! `ENVELOCK_AGREEMENT=full` takes all 64 alignments of each length and a million random cases
//! instead of a sample.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use envelock::rand_core::{Rng, SeedableRng};
use envelock::{
    Aad, Envelope, KeyVersion, MasterKey, MemoryKeyring, Provider, RewrapOptions, Suite, danger,
};
use rand_chacha::ChaCha20Rng;
use sha2::{Digest, Sha512};

const SAMPLE: &str = "b86f3c0f2f2ed9edf8e8957e2f6ae9ab0107a1662db61ad1e13bc963f60a8be715128f6b4ce01955da497540d0d08db8528354cb63361227fffc85b3cea0b5e1";
const FULL: &str = "aa5d69861e00de6bc310c9147c6ef147ea89a32c9af49202169cd6d9b1714dcd92669295504e623210024a1870b1ad6cc4ee3d06f7ac527b0ad53b1dd21b8b58";

/// Longest length that is taken with each alignment.
const MAX_LEN: usize = 4096;
const ALIGNMENTS: usize = 64;

/// A buffer whose start can be put at any offset from a multiple of 64.
struct Misaligned {
    bytes: Vec<u8>,
    start: usize,
}

impl Misaligned {
    fn new(capacity: usize) -> Self {
        let bytes = vec![0; capacity + 2 * ALIGNMENTS];
        let start = bytes.as_ptr().align_offset(ALIGNMENTS);
        Misaligned { bytes, start }
    }

    fn at(&mut self, offset: usize, len: usize) -> &mut [u8] {
        &mut self.bytes[self.start + offset..][..len]
    }
}

/// Everything one case writes to.
struct Bench {
    digest: Sha512,
    rng: ChaCha20Rng,
    plaintext: Vec<u8>,
    source: Misaligned,
    target: Misaligned,
    /// The sealed chunk that the digest has last taken.
    taken: Vec<u8>,
    cases: usize,
}

impl Bench {
    fn new() -> Self {
        let mut rng = ChaCha20Rng::from_seed([45; 32]);
        let mut plaintext = vec![0; 3 * 16_384 + 16];
        rng.fill_bytes(&mut plaintext);
        let len = plaintext.len() + 16;
        let (source, target) = (Misaligned::new(len), Misaligned::new(len));
        let (digest, taken) = (Sha512::new(), Vec::new());
        Bench { digest, rng, plaintext, source, target, taken, cases: 0 }
    }

    /// One chunk from buffer to buffer and in place, there and back, at these alignments. What `repeats` a case at
    /// other alignments makes the bytes that the digest has taken.
    fn chunk(
        &mut self,
        keyed: &Keyed,
        (index, len): (u64, usize),
        (from, to): (usize, usize),
        repeats: bool,
    ) {
        let plaintext = &self.plaintext[..len];
        let source = self.source.at(from, len);
        source.copy_from_slice(plaintext);
        let sealed = self.target.at(to, len + 16);
        keyed.encryptor.encrypt_into(index, source, sealed).unwrap();
        if repeats {
            assert!(*sealed == self.taken[..], "other bytes at {len} from {from} to {to}");
        } else {
            self.digest.update(&*sealed);
            self.taken.clear();
            self.taken.extend_from_slice(sealed);
        }

        let tag = keyed.encryptor.encrypt_in_place(index, source).unwrap();
        assert!(*source == sealed[..len] && tag == sealed[len..], "in place differs at {len}");
        keyed.decryptor.decrypt_into(index, sealed, source).unwrap();
        assert!(source == plaintext, "decryption differs at {len}");
        assert!(keyed.decryptor.decrypt_in_place(index, sealed).unwrap() == plaintext);
        self.cases += 1;
    }

    fn every_length(&mut self, keyed: &Keyed, full: bool) {
        let boundaries = [16_368, 16_369, 16_383, 16_384];
        for len in (0..=MAX_LEN).chain(boundaries) {
            // The target's offset runs against the source's, so that each pair of offsets that
            // matters to a vector of 64 bytes comes up over the lengths.
            let first = len * 7 % ALIGNMENTS;
            let offsets = if full { 0..ALIGNMENTS } else { first..first + 1 };
            for from in offsets.clone() {
                let to = (len + 5 * from) % ALIGNMENTS;
                let index = [0, 1, 0xFF, (1 << 38) - 1][len % 4];
                self.chunk(keyed, (index, len), (from, to), from != offsets.start);
            }
        }
    }

    /// Bodies of several chunks through the layer that knows their layout.
    fn whole_bodies(&mut self, suite: Suite) {
        for len in [0, 1, 16_383, 16_384, 16_385, 32_768, 49_151, 49_152, 49_153] {
            let key: [u8; 32] = self.random();
            let salt: [u8; 24] = self.random();
            let key = &key[..suite.data_key_len()];
            let context = &self.plaintext[..len % 70];
            let plaintext = &self.plaintext[..len];
            let body = danger::encrypt_body(suite, key, &salt, context, plaintext).unwrap();
            assert!(danger::decrypt_body(suite, key, context, &body).unwrap() == plaintext);
            self.digest.update(&body);
            self.cases += 1;
        }
    }

    /// Whole messages: data key check, wrap, rewrap and every form of the body.
    fn messages(&mut self, suite: Suite) {
        let key = MasterKey::from_bytes(&self.random());
        let keyring = MemoryKeyring::import("agreement", KeyVersion::FIRST, &key).unwrap();
        let envelope = Envelope::new(&keyring).with_suite(suite);
        for len in (0..1100).step_by(11).chain([16_383, 16_384, 49_152]) {
            let aad = Aad::new(&self.plaintext[..len % 300]);
            let plaintext = &self.plaintext[..len];
            let position = self.rng.get_word_pos();
            let message = envelope.with_rng(&mut self.rng).encrypt(plaintext, aad).unwrap();
            let mut in_place = vec![0; message.len()];
            let range = envelope.plaintext_range(len).unwrap();
            in_place[range.clone()].copy_from_slice(plaintext);
            self.rng.set_word_pos(position);
            envelope.with_rng(&mut self.rng).encrypt_in_place(&mut in_place, range, aad).unwrap();
            assert!(message == in_place, "in place differs at {len}");
            assert!(envelope.decrypt_in_place(&mut in_place, aad).unwrap() == plaintext);
            self.digest.update(&message);
            self.cases += 1;
            if len % 110 == 0 {
                self.digest.update(rewrapped(&envelope, &message, &mut self.rng));
            }
        }
    }

    fn random_cases(&mut self, suite: Suite, count: usize) {
        for _ in 0..count {
            let keyed = Keyed::random(suite, &mut self.rng);
            let draw = self.rng.next_u64();
            let len = draw as usize % 512;
            let (from, to) = ((draw >> 16) as usize % 64, (draw >> 32) as usize % 64);
            self.chunk(&keyed, (draw >> 26, len), (from, to), false);
        }
    }

    fn random<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.rng.fill_bytes(&mut bytes);
        bytes
    }
}

/// The header of `message` under the next version of its key.
fn rewrapped(
    envelope: &Envelope<&MemoryKeyring>,
    message: &[u8],
    rng: &mut ChaCha20Rng,
) -> Vec<u8> {
    envelope.keyring().rotate_with_rng(envelock::Timestamp::UNIX_EPOCH, rng).unwrap();
    let rewrap = envelope.with_rng(rng).rewrap(message, RewrapOptions::new()).unwrap();
    assert!(rewrap.is_changed());
    rewrap.into_header()
}

/// Both directions under one key.
struct Keyed {
    encryptor: danger::ChunkEncryptor,
    decryptor: danger::ChunkDecryptor,
}

impl Keyed {
    fn random(suite: Suite, rng: &mut ChaCha20Rng) -> Self {
        let (mut key, mut salt, mut context) = ([0; 32], [0; 24], [0; 33]);
        rng.fill_bytes(&mut key);
        rng.fill_bytes(&mut salt);
        rng.fill_bytes(&mut context);
        let key = &key[..suite.data_key_len()];
        let encryptor = danger::chunk_encryptor(suite, key, &salt, &context).unwrap();
        let decryptor = danger::chunk_decryptor(suite, key, encryptor.prefix(), &context).unwrap();
        Keyed { encryptor, decryptor }
    }
}

/// SPEC B-KDF, SPEC B-NONCE, SPEC K-MASTER: the bytes do not depend on the machine.
#[test]
fn every_back_end_makes_the_same_bytes() {
    let full = std::env::var("ENVELOCK_AGREEMENT").is_ok_and(|value| value == "full");
    let mut bench = Bench::new();
    for &suite in Suite::ALL {
        let keyed = Keyed::random(suite, &mut bench.rng);
        bench.every_length(&keyed, full);
        bench.whole_bodies(suite);
        bench.messages(suite);
        bench.random_cases(suite, if full { 333_334 } else { 1_000 });
    }
    let digest = bench.digest.finalize();
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let provider = Provider::default();
    println!("agreement: {provider}, {} cases, digest {digest}", bench.cases);
    assert_eq!(digest, if full { FULL } else { SAMPLE });
}
