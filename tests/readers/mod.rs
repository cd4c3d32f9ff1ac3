//! What the judges of streams share: one list of everything that decrypts, the sources it reads
//! from, and what it may answer.

// Each test file uses a part of these.
#![allow(dead_code)]

pub mod expect;
pub mod sources;
pub mod subject;
pub mod table;

use envelock::{Workers, rand_core::Rng};
use std::sync::Arc;

/// Plaintext bytes of a full chunk, by the specification.
pub const CHUNK: usize = 16_384;
/// The same with its tag.
pub const SEALED: usize = CHUNK + 16;
/// Salt and commitment.
pub const PREFIX: usize = 56;
/// What output buffers hold before a call.
pub const FILLING: u8 = 0xA5;

/// Threads of one scope each, as the smallest pool there is.
pub struct Threads;

impl Workers for Threads {
    // Whatever is short is shared too: it is what is judged here.
    fn least_len(&self) -> usize {
        1
    }

    fn join(&self, one: &mut (dyn FnMut() + Send), other: &mut (dyn FnMut() + Send)) {
        std::thread::scope(|scope| {
            scope.spawn(one);
            other();
        });
    }

    fn overlap(&self, here: &mut dyn FnMut(), elsewhere: &mut (dyn FnMut() + Send)) {
        std::thread::scope(|scope| {
            scope.spawn(elsewhere);
            here();
        });
    }

    /// Batches of 16 chunks: the smallest that are shared.
    fn threads(&self) -> usize {
        1
    }
}

/// A pool that is asked in vain: whoever calls it has to do the work.
pub struct Idle;

impl Workers for Idle {
    // Whatever is short is shared too: it is what is judged here.
    fn least_len(&self) -> usize {
        1
    }

    fn join(&self, _: &mut (dyn FnMut() + Send), _: &mut (dyn FnMut() + Send)) {}

    fn overlap(&self, _: &mut dyn FnMut(), _: &mut (dyn FnMut() + Send)) {}

    fn threads(&self) -> usize {
        1
    }
}

/// Everybody that may share the work.
pub fn pools() -> Vec<(&'static str, Option<Arc<dyn Workers>>)> {
    vec![
        ("serial", None),
        ("threads", Some(Arc::new(Threads))),
        ("idle pool", Some(Arc::new(Idle))),
        #[cfg(feature = "parallel")]
        ("rayon", Some(Arc::new(envelock::RayonWorkers))),
    ]
}

/// Plaintext without a zero and without [`FILLING`]: what leaks is told apart from both.
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
