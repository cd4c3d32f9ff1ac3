//! Tests that no key outlives its use: every block of the heap is searched when it is freed, and
//! the whole process at the end (THREATS 47, figure G19).
//!
//! Searched for are 8-byte pieces of every master key, its XAES subkey, every data key, every
//! derived key and base nonce, plain and under both pads of HMAC. An AES key schedule begins
//! with its key, so that it is found too. What the test knows of them is masked.
//!
//! Moves of records would carry pieces of keys from the stack to the heap, in padding and in absent
//! parts. What prevents that (SECURITY.md) was tested with incremental and with other compilations.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[allow(dead_code)]
#[path = "../common/detached.rs"]
mod detached;
mod memory;
mod spy;

use crate::detached::WriteDetached;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use envelock::rand_core::{SeedableRng, TryCryptoRng, TryRng};
use envelock::{
    Aad, Envelope, KeyVersion, Lifecycle, MasterKey, MemoryKeyring, RewrapOptions, Suite,
    Timestamp, danger, inspect,
    keyset::{Change, ChangeOptions, Material},
};
use rand_chacha::ChaCha20Rng;
use std::convert::Infallible;
use zeroize::Zeroize;

const SEQUENCES: usize = 1_000;
const OPERATIONS: usize = 20;

/// Most 8-byte pieces of key that may be left on the stack. A stack is not wiped as a whole: Rust moves
/// values, and compilers spill registers. The figure must not grow.
const STACK_CEILING: usize = 60;

/// Most pieces that moves of a `ChunkEncryptor` may carry from the stack into its padding.
const PADDING_CEILING: usize = 60;

/// A generator whose state does not hold what it gave out, unlike that of a buffered cipher.
#[derive(Clone)]
struct Source(u64);

impl Source {
    fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Registers the next `words` of its output as a key, without drawing them.
    fn register_next(&self, words: usize) {
        let mut ahead = self.clone();
        for _ in 0..words {
            spy::register(ahead.word());
        }
    }

    fn register_next_master_key(&self) {
        self.register_next(4);
        let mut key = [0; 32];
        let _ = self.clone().try_fill_bytes(&mut key);
        register_subkey(&key);
        key.zeroize();
    }
}

impl TryRng for Source {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.word() as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.word())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for piece in out.chunks_mut(8) {
            piece.copy_from_slice(&self.word().to_le_bytes()[..piece.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for Source {}

fn register_bytes(key: &[u8]) {
    for piece in key.chunks_exact(8) {
        spy::register(u64::from_le_bytes(piece.try_into().unwrap()));
    }
}

/// The subkey that XAES-256-GCM keeps beside its key schedule: AES of zero, doubled.
fn register_subkey(key: &[u8; 32]) {
    let mut block = aes::Block::default();
    aes::Aes256::new(key.into()).encrypt_block(&mut block);
    let mut doubled = u128::from_be_bytes(block.0);
    doubled = (doubled << 1) ^ (0x87 * (doubled >> 127));
    register_bytes(&doubled.to_be_bytes());
    doubled.zeroize();
    block.zeroize();
}

/// Registers the key and the base nonce that the body of `message` is under.
fn register_derived(message: &[u8], data_key: &[u8], aad: &[u8]) {
    let header = inspect(message).unwrap();
    let name: &[u8] = match header.suite() {
        Suite::Cobblestone128 => b"AEAD_AES_128_GCM",
        Suite::ChunkedChaCha20Poly1305 => b"AEAD_CHACHA20_POLY1305",
        _ => b"AEAD_AES_256_GCM",
    };
    let salt = &message[header.len()..][..24];
    let label = b"c2sp.org/chunked-encryption@v1+".as_slice();
    let info = [label, name, &[0], salt, &message[..22], aad].concat();
    let mut derived = [0; 44];
    let derived = &mut derived[..data_key.len() + 12];
    danger::hkdf_expand(header.suite(), data_key, &info, derived).unwrap();
    register_bytes(&derived[..data_key.len() + 8]);
    derived.zeroize();
}

/// A message, and the associated data that it opens with.
struct Stored {
    message: Vec<u8>,
    plaintext_len: usize,
}

/// One keyring's life.
struct Life<'k> {
    source: Source,
    choices: ChaCha20Rng,
    keyring: &'k MemoryKeyring,
    messages: Vec<Stored>,
}

const AAD: &[u8] = b"records/42";

impl Life<'_> {
    fn choose(&mut self, below: usize) -> usize {
        use envelock::rand_core::Rng;
        self.choices.next_u32() as usize % below
    }

    fn step(&mut self) {
        match self.choose(10) {
            0..=2 => self.encrypt(),
            3 | 4 => self.decrypt(),
            5 => self.fail(),
            6 => self.rewrap(),
            7 => self.rotate(),
            8 => self.disable_and_enable(),
            _ => self.drive_chunks(),
        }
    }

    fn encrypt(&mut self) {
        let suite = Suite::ALL[self.choose(Suite::ALL.len())];
        let plaintext_len = [0, 64, 700, 20_000][self.choose(4)];
        let envelope = Envelope::new(self.keyring).with_suite(suite);
        self.source.register_next(suite.data_key_len() / 8);
        let mut data_key = vec![0; suite.data_key_len()];
        let _ = self.source.clone().try_fill_bytes(&mut data_key);
        let plaintext = vec![1; plaintext_len];
        let form = self.choose(3);
        let envelope_rng = envelope.with_rng(&mut self.source);
        let message = match form {
            0 => envelope_rng.encrypt(&plaintext, Aad::new(AAD)).unwrap(),
            1 => {
                let (mut header, body) =
                    envelope_rng.encrypt_detached(&plaintext, Aad::new(AAD)).unwrap();
                header.extend(body);
                header
            }
            _ => {
                let mut message = vec![0; envelope.message_len(plaintext_len).unwrap()];
                let range = envelope.plaintext_range(plaintext_len).unwrap();
                envelope_rng.encrypt_in_place(&mut message, range, Aad::new(AAD)).unwrap();
                message
            }
        };
        register_derived(&message, &data_key, AAD);
        data_key.zeroize();
        self.messages.push(Stored { message, plaintext_len });
    }

    fn decrypt(&mut self) {
        let form = self.choose(4);
        let envelope = Envelope::new(self.keyring);
        for stored in &self.messages {
            match form {
                3 => {
                    // Moved, so that a copy would stay behind.
                    let keys = vec![envelope.open(&stored.message).unwrap()];
                    for key in keys {
                        let body = key.body(&stored.message).unwrap();
                        drop(key.decrypt(body, Aad::new(AAD)).unwrap());
                        assert!(key.decrypt(body, Aad::none()).is_err());
                    }
                }
                0 => drop(envelope.decrypt(&stored.message, Aad::new(AAD)).unwrap()),
                1 => {
                    let mut plaintext = vec![0; stored.plaintext_len];
                    let aad = Aad::new(AAD);
                    envelope.decrypt_into(&stored.message, aad, &mut plaintext).unwrap();
                }
                _ => {
                    let mut message = stored.message.clone();
                    envelope.decrypt_in_place(&mut message, Aad::new(AAD)).unwrap();
                }
            }
        }
    }

    /// Failures leave as little behind as success does.
    fn fail(&mut self) {
        let at = self.choose(1000);
        let envelope = Envelope::new(self.keyring);
        for stored in &self.messages {
            assert!(envelope.decrypt(&stored.message, Aad::none()).is_err());
            let mut message = stored.message.clone();
            let at = 55 + at % (message.len() - 55);
            message[at] ^= 1;
            assert!(envelope.decrypt_in_place(&mut message, Aad::new(AAD)).is_err());
        }
    }

    fn rewrap(&mut self) {
        let form = self.choose(2);
        let envelope = Envelope::new(self.keyring);
        let envelope_rng = envelope.with_rng(&mut self.source);
        for stored in &mut self.messages {
            if form == 0 {
                let options = RewrapOptions::new();
                drop(envelope_rng.rewrap_in_place(&mut stored.message, options).unwrap());
            } else {
                let rewrap = envelope_rng.rewrap(&stored.message, RewrapOptions::new()).unwrap();
                let len = rewrap.header().len();
                stored.message[..len].copy_from_slice(&rewrap.into_header());
            }
        }
    }

    fn rotate(&mut self) {
        self.source.register_next_master_key();
        if self.choose(2) == 0 {
            self.keyring.rotate_with_rng(Timestamp::UNIX_EPOCH, &mut self.source).unwrap();
        } else {
            let key = self.keyring.key();
            let add = Change::AddVersion { key, version: None, material: Material::Fresh };
            let terms = ChangeOptions::at(Timestamp::UNIX_EPOCH);
            let changed = self.keyring.change_with_rng(&[add], &terms, &mut self.source);
            let version = changed.unwrap().added().unwrap();
            // The same material again: refused, and wiped.
            let mut copy = MasterKey::generate(&mut self.source.clone()).unwrap();
            self.source.register_next_master_key();
            let next = version.next().unwrap();
            self.keyring.import_version(next, &copy).unwrap();
            assert!(self.keyring.import_version(next.next().unwrap(), &copy).is_err());
            copy = MasterKey::generate(&mut self.source).unwrap();
            drop(copy);
            self.keyring.promote(version).unwrap();
        }
    }

    fn disable_and_enable(&mut self) {
        let primary = self.keyring.primary_version();
        let versions = self.keyring.versions();
        for record in versions.iter().filter(|record| Some(record.version) != primary) {
            self.keyring.disable(record.version).unwrap();
        }
        for stored in &self.messages {
            // Opens or is refused, whichever version it is under.
            let _ = Envelope::new(self.keyring).decrypt(&stored.message, Aad::new(AAD));
        }
        for record in versions.iter().filter(|record| Some(record.version) != primary) {
            self.keyring.enable(record.version).unwrap();
        }
    }

    /// A chunk cipher on the heap: its block is searched when it goes.
    fn drive_chunks(&mut self) {
        let suite = Suite::ALL[self.choose(Suite::ALL.len())];
        self.source.register_next(suite.data_key_len() / 8);
        let mut key = vec![0; suite.data_key_len()];
        let _ = self.source.try_fill_bytes(&mut key);
        let encryptor = danger::chunk_encryptor(suite, &key, &[3; 24], &[0; 22]).unwrap();
        spy::expect_padding(&encryptor);
        let encryptor = Box::new(encryptor);
        let mut chunk = vec![0; 100];
        let tag = encryptor.encrypt_in_place(0, &mut chunk).unwrap();
        chunk.extend(tag);
        let prefix = encryptor.prefix();
        let decryptor = danger::chunk_decryptor(suite, &key, prefix, &[0; 22]).unwrap();
        // Both have padding, and one type is expected at a time.
        drop(encryptor);
        spy::expect_padding(&decryptor);
        let decryptor = Box::new(decryptor);
        decryptor.decrypt_in_place(0, &mut chunk).unwrap();
        // Derived as for a message whose header is its 22 bytes of context and the salt.
        register_chunk_keys(suite, &key);
        key.zeroize();
    }
}

fn register_chunk_keys(suite: Suite, key: &[u8]) {
    let name = match suite {
        Suite::Cobblestone128 => "AEAD_AES_128_GCM",
        Suite::ChunkedChaCha20Poly1305 => "AEAD_CHACHA20_POLY1305",
        _ => "AEAD_AES_256_GCM",
    };
    let label = ["c2sp.org/chunked-encryption@v1+", name, "\0"].concat();
    let info = [label.as_bytes(), &[3; 24], &[0; 22]].concat();
    let mut derived = [0; 44];
    let derived = &mut derived[..key.len() + 12];
    danger::hkdf_expand(suite, key, &info, derived).unwrap();
    register_bytes(&derived[..key.len() + 8]);
    derived.zeroize();
}

fn live(sequence: usize) {
    let mut source = Source(sequence as u64 ^ 0x0A5E_ED00_0000_0000);
    source.register_next_master_key();
    let keyring = if sequence.is_multiple_of(2) {
        MemoryKeyring::create_with_rng("orders", Timestamp::UNIX_EPOCH, &mut source).unwrap()
    } else {
        let mut bytes = [0; 32];
        let _ = source.try_fill_bytes(&mut bytes);
        let key = MasterKey::from_bytes(&bytes);
        bytes.zeroize();
        MemoryKeyring::import("orders", KeyVersion::new(7).unwrap(), &key).unwrap()
    };
    let choices = ChaCha20Rng::seed_from_u64(sequence as u64);
    let mut life = Life { source, choices, keyring: &keyring, messages: Vec::new() };
    for _ in 0..OPERATIONS {
        life.step();
    }
}

// One test alone: the spy sees the whole process.
#[test]
fn no_freed_block_and_no_heap_holds_a_key() {
    assert_spy_sees();
    for sequence in 0..SEQUENCES {
        live(sequence);
        let hits = spy::hits();
        assert_eq!(hits.len(), 0, "sequence {sequence} freed blocks of {hits:?} bytes with keys");
    }
    let found = memory::scan();
    let padding_hits = spy::padding_hits();
    println!(
        "{SEQUENCES} sequences of {OPERATIONS} operations, {} pieces of key",
        spy::registered()
    );
    println!("freed: {} blocks, {} bytes, 0 hits", spy::blocks_freed(), spy::bytes_freed());
    println!("padding of moved chunk ciphers: {padding_hits} hits (ceiling {PADDING_CEILING})");
    println!("heap and statics: {} bytes, {} hits", found.heap_bytes, found.heap_hits);
    println!(
        "stack: {} bytes, {} hits (ceiling {STACK_CEILING})",
        found.stack_bytes, found.stack_hits
    );
    assert_eq!(found.heap_hits, 0, "keys on the heap");
    assert!(padding_hits <= PADDING_CEILING, "{padding_hits} keys in padding");
    assert!(found.stack_hits <= STACK_CEILING, "{} keys on the stack", found.stack_hits);
}

/// The spy finds what is there to be found, freed or alive.
fn assert_spy_sees() {
    let mut source = Source(1);
    source.register_next(1);
    let mut leaked = vec![0; 100];
    leaked[51..59].copy_from_slice(&source.word().to_le_bytes());
    let alive = memory::scan();
    assert!(alive.heap_hits >= 1, "the scan of the process sees nothing");
    drop(leaked);
    assert_eq!(spy::hits(), [100], "the spy sees nothing");
    spy::forget_hits();
}
