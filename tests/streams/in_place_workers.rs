//! In place by several threads: the bytes of one thread, whatever is split where.

#![cfg(feature = "std")]

use envelock::{Aad, Envelope, Error, MemoryKeyring, Threads};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

const CHUNK: usize = 16_384;
const SEALED: usize = CHUNK + 16;

fn pools() -> Vec<Threads> {
    [2, 3, 4, 13].map(|most| Threads::new(most).with_min_len(CHUNK)).into()
}

fn plaintext(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(0x9E37_79B9) >> 11) as u8).collect()
}

/// Encrypts in place, always with the same randomness.
fn encrypted(envelope: &Envelope<&MemoryKeyring>, plaintext: &[u8]) -> Vec<u8> {
    let mut message = vec![0; envelope.message_len(plaintext.len()).unwrap()];
    let range = envelope.plaintext_range(plaintext.len()).unwrap();
    message[range.clone()].copy_from_slice(plaintext);
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    envelope.with_rng(&mut rng).encrypt_in_place(&mut message, range, Aad::none()).unwrap();
    message
}

#[test]
fn threads_make_the_same_bytes_in_place() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let serial = Envelope::new(&keyring);
    let lens = [15, 16, 17, 31, 33, 64, 100]
        .into_iter()
        .flat_map(|chunks| [0, 1, CHUNK - 1].map(|more| chunks * CHUNK + more))
        // Here a later part reads bytes that stand more than a chunk before its output.
        .chain([1_100 * CHUNK + 5, 2_600 * CHUNK + 16_000]);
    for len in lens {
        let plaintext = plaintext(len);
        let message = encrypted(&serial, &plaintext);
        for threads in pools() {
            let envelope = Envelope::new(&keyring).with_threads(threads);
            assert!(encrypted(&envelope, &plaintext) == message, "encrypts {len} bytes");
            let mut decrypted = message.clone();
            let found = envelope.decrypt_in_place(&mut decrypted, Aad::none()).unwrap();
            assert!(*found == *plaintext, "decrypts {len} bytes");
        }
    }
}

#[test]
fn one_changed_bit_wipes_the_whole_body() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring);
    let message = encrypted(&envelope, &plaintext(40 * CHUNK + 100));
    let header_len = envelope.header_len().unwrap();
    for threads in pools() {
        let envelope = Envelope::new(&keyring).with_threads(threads);
        for chunk in 0..41 {
            let mut changed = message.clone();
            changed[header_len + 56 + chunk * SEALED + 3] ^= 1;
            let refused = envelope.decrypt_in_place(&mut changed, Aad::none());
            assert!(matches!(refused, Err(Error::Authentication { .. })), "chunk {chunk}");
            assert!(changed[header_len..].iter().all(|byte| *byte == 0), "chunk {chunk}");
        }
    }
}
