//! Helpers of the tests of streams: one list of everything that decrypts, the sources it reads
//! from, and the results that it may return.

// Each test file uses a part of these.
#![allow(dead_code)]

pub mod expect;
pub mod sources;
pub mod subject;
pub mod table;

use envelock::{Envelope, Keyring, Threads, rand_core::Rng};

/// Plaintext bytes of a full chunk, by the specification.
pub const CHUNK: usize = 16_384;
/// The same with its tag.
pub const SEALED: usize = CHUNK + 16;
/// Salt and commitment.
pub const PREFIX: usize = 56;
/// The content of output buffers before a call.
pub const FILLING: u8 = 0xA5;

/// Every set of threads that may share the work. Short messages are shared too, for the test.
pub fn pools() -> Vec<(&'static str, Option<Threads>)> {
    let threads = |most| Some(Threads::new(most).with_min_len(1));
    vec![
        ("serial", None),
        ("one thread", threads(1)),
        ("two threads", threads(2)),
        ("five threads", threads(5)),
    ]
}

/// An envelope whose work is shared by `threads`, if there are any.
pub fn shared<K: Keyring>(keyring: K, threads: Option<Threads>) -> Envelope<K> {
    let envelope = Envelope::new(keyring);
    match threads {
        Some(threads) => envelope.with_threads(threads),
        None => envelope,
    }
}

/// Plaintext without a zero and without [`FILLING`]: what leaks is distinguished from both.
pub fn plaintext(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rng(seed).fill_bytes(&mut bytes);
    bytes.iter_mut().for_each(|byte| *byte = 1 + *byte % 0xA4);
    bytes
}

/// A generator that is the same in every run.
pub fn rng(seed: u64) -> rand_chacha::ChaCha20Rng {
    envelock::rand_core::SeedableRng::seed_from_u64(seed)
}

/// A number in `0..bound`; the bias of the remainder does not matter here.
pub fn below(rng: &mut rand_chacha::ChaCha20Rng, bound: usize) -> usize {
    (rng.next_u64() % bound as u64) as usize
}
