//! Helpers that several tests share: shapes of messages, a second reader of the header written
//! from the specification alone, and a model that says what every entry point must return.

// Each test file uses a part of these.
#![allow(dead_code)]

#[cfg(all(feature = "file", unix))]
pub mod clock;
pub mod detached;
pub mod directory;
#[cfg(all(feature = "file", unix))]
pub mod elastic;
pub mod entry;
pub mod independent;
pub mod kdf;
#[cfg(all(feature = "file", unix))]
pub mod key_files;
pub mod model;
#[cfg(all(feature = "file", unix))]
pub mod mount;
#[cfg(all(feature = "file", unix))]
pub mod process;
pub mod reference;
pub mod rings;
pub mod shapes;
#[cfg(all(feature = "file", unix))]
pub mod simulated_directory;
pub mod states;

use envelock::rand_core::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;

/// A generator that is the same in every run.
pub fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// A number in `0..bound`; the bias of the remainder does not matter here.
pub fn below(rng: &mut ChaCha20Rng, bound: usize) -> usize {
    (rng.next_u64() % bound as u64) as usize
}

/// `len` random bytes.
pub fn random_bytes(rng: &mut ChaCha20Rng, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// Whether rare events are looked for at length: under nextest's profile `soak`, which sets this variable.
pub fn is_soak() -> bool {
    std::env::var_os("NEXTEST_PROFILE").is_some_and(|profile| profile == "soak")
}
