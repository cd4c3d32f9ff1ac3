//! What the judges of streams share: one list of everything that decrypts, the sources it reads
//! from, and what it may answer.

// Each test file uses a part of these.
#![allow(dead_code)]

pub mod expect;
pub mod sources;
pub mod subject;
pub mod table;
#[path = "../common/threads.rs"]
mod threads;

use envelock::{Envelope, Keyring, Workers, rand_core::Rng};
use std::sync::Arc;
use threads::Threads;

/// Plaintext bytes of a full chunk, by the specification.
pub const CHUNK: usize = 16_384;
/// The same with its tag.
pub const SEALED: usize = CHUNK + 16;
/// Salt and commitment.
pub const PREFIX: usize = 56;
/// What output buffers hold before a call.
pub const FILLING: u8 = 0xA5;

/// A pool of so many threads that is asked in vain: whoever calls it has to do the work.
pub struct Idle(pub usize);

impl Workers for Idle {
    // Whatever is short is shared too: it is what is judged here.
    fn least_len(&self) -> usize {
        1
    }

    fn join(&self, _: &mut (dyn FnMut() + Send), _: &mut (dyn FnMut() + Send)) {}

    fn overlap(&self, _: &mut dyn FnMut(), _: &mut (dyn FnMut() + Send)) {}

    fn threads(&self) -> usize {
        self.0
    }
}

/// Everybody that may share the work. With one thread batches are small, and go beside input and
/// output also in short messages; with four they are split.
pub fn pools() -> Vec<(&'static str, Option<Arc<dyn Workers>>)> {
    vec![
        ("serial", None),
        ("a thread", Some(Arc::new(Threads(1)))),
        ("four threads", Some(Arc::new(Threads(4)))),
        ("idle pool", Some(Arc::new(Idle(1)))),
        ("idle pool of four", Some(Arc::new(Idle(4)))),
        #[cfg(feature = "parallel")]
        ("rayon", Some(Arc::new(envelock::RayonWorkers))),
    ]
}

/// An envelope whose work is shared by `workers`, if there are any.
pub fn shared<K: Keyring>(keyring: K, workers: Option<Arc<dyn Workers>>) -> Envelope<K> {
    let envelope = Envelope::new(keyring);
    match workers {
        Some(workers) => envelope.with_workers(workers),
        None => envelope,
    }
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
