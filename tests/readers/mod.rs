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
use std::sync::{Arc, Mutex};
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

    fn spawn(&self, job: Box<dyn FnOnce() + Send>) {
        // It is never run, and never dropped either: nobody may wait for it.
        std::mem::forget(job);
    }

    fn threads(&self) -> usize {
        self.0
    }
}

/// A pool for the jobs of streams, of so many threads, that does with a job what it likes.
pub struct Jobs {
    pub threads: usize,
    pub spawn: fn(&Jobs, Box<dyn FnOnce() + Send>),
    /// Jobs that are run later.
    pub late: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
}

impl Jobs {
    pub fn new(threads: usize, spawn: fn(&Jobs, Box<dyn FnOnce() + Send>)) -> Arc<Self> {
        Arc::new(Jobs { threads, spawn, late: Mutex::default() })
    }

    /// Drops every job.
    pub fn dropping() -> Arc<Self> {
        Jobs::new(4, |_, job| drop(job))
    }

    /// Runs every job at once, on the calling thread.
    pub fn at_once() -> Arc<Self> {
        Jobs::new(4, |_, job| job())
    }

    /// Runs a job only when the next ones come, on a thread of its own: some pieces are turned by
    /// the caller before, some after.
    pub fn late() -> Arc<Self> {
        Jobs::new(3, |pool, job| {
            let mut late = pool.late.lock().unwrap();
            late.push(job);
            if late.len() > 1 {
                let job = late.remove(0);
                std::thread::spawn(job);
            }
        })
    }

    /// Keeps every job until [`Self::run_late`].
    pub fn keeping(threads: usize) -> Arc<Self> {
        Jobs::new(threads, |pool, job| pool.late.lock().unwrap().push(job))
    }

    pub fn run_late(&self) -> usize {
        let late = std::mem::take(&mut *self.late.lock().unwrap());
        let count = late.len();
        late.into_iter().for_each(|job| job());
        count
    }
}

impl Workers for Jobs {
    fn least_len(&self) -> usize {
        1
    }

    fn join(&self, one: &mut (dyn FnMut() + Send), other: &mut (dyn FnMut() + Send)) {
        one();
        other();
    }

    fn spawn(&self, job: Box<dyn FnOnce() + Send>) {
        (self.spawn)(self, job);
    }

    fn threads(&self) -> usize {
        self.threads
    }
}

/// Everybody that may share the work. Pieces are small, and go from thread to thread also in short
/// messages.
pub fn pools() -> Vec<(&'static str, Option<Arc<dyn Workers>>)> {
    vec![
        ("serial", None),
        ("a thread", Some(Arc::new(Threads(1)))),
        ("four threads", Some(Arc::new(Threads(4)))),
        ("idle pool", Some(Arc::new(Idle(1)))),
        ("idle pool of four", Some(Arc::new(Idle(4)))),
        ("dropped jobs", Some(Jobs::dropping())),
        ("jobs at once", Some(Jobs::at_once())),
        ("late jobs", Some(Jobs::late())),
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
