//! The threads of rayon.

use crate::envelope::Envelope;
use crate::keyring::Keyring;
use crate::workers::Workers;
use alloc::boxed::Box;
use alloc::sync::Arc;

/// The threads of the rayon pool that a call is made in: the global one, or that in whose `install`
/// it is made. What reads and writes looks for it at every call.
///
/// For a pool of your own wherever the calls are made, implement [`Workers`] for it:
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use envelock::{Aad, Envelope, MemoryKeyring, Workers};
///
/// struct Pool(rayon::ThreadPool);
///
/// impl Workers for Pool {
///     fn join(&self, one: &mut (dyn FnMut() + Send), other: &mut (dyn FnMut() + Send)) {
///         self.0.join(one, other);
///     }
///     fn spawn(&self, job: Box<dyn FnOnce() + Send>) {
///         self.0.spawn(job);
///     }
///     fn threads(&self) -> usize {
///         self.0.current_num_threads()
///     }
/// }
///
/// let pool = Pool(rayon::ThreadPoolBuilder::new().num_threads(2).build()?);
/// let keyring = MemoryKeyring::create("videos")?;
/// let envelope = Envelope::new(keyring).with_workers(std::sync::Arc::new(pool));
/// let message = envelope.encrypt(&vec![7; 1_000_000], Aad::none())?;
/// assert_eq!(envelope.decrypt(&message, Aad::none())?, vec![7; 1_000_000]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct RayonWorkers;

impl Workers for RayonWorkers {
    fn join(&self, one: &mut (dyn FnMut() + Send), other: &mut (dyn FnMut() + Send)) {
        if rayon::current_thread_index().is_some() {
            rayon::join(one, other);
        } else {
            // From outside of the pool this thread takes its part too, and one is woken less.
            rayon::in_place_scope(|scope| {
                scope.spawn(|_| other());
                one();
            });
        }
    }

    fn spawn(&self, job: Box<dyn FnOnce() + Send>) {
        rayon::spawn(job);
    }

    fn threads(&self) -> usize {
        rayon::current_num_threads()
    }

    /// A mebibyte: to wake a thread takes as long as to encrypt some hundred kilobytes.
    fn least_len(&self) -> usize {
        1 << 20
    }
}

impl<K: Keyring> Envelope<K> {
    /// Has the threads of rayon share the work: of the global pool, or of the one in whose
    /// `install` a call is made ([`RayonWorkers`]).
    ///
    /// Bodies of a mebibyte and more are split in memory, and shared in streams from the fifth
    /// mebibyte on; what is shorter stays on the calling thread. The bytes are the same. Readers and
    /// writers go on reading and writing meanwhile, and hold some 1.5 MiB for two threads. **A reader
    /// gathers half a mebibyte for two threads, and more for more, before it gives anything out,
    /// and reads ahead of what it has given**; if its source fails or would block, it first gives
    /// out what it has. For files and bulk transfers, not for a peer that waits for an answer.
    ///
    /// As with rayon everywhere: while a thread of the pool waits for others in a call on a body in
    /// memory, it may run other tasks of the same pool. Streams read, write and wait on the calling
    /// thread alone, and wait only for what another thread is at work on: where the pool is busy,
    /// the calling thread does the work itself.
    ///
    /// ```
    /// # fn main() -> Result<(), envelock::Error> {
    /// use envelock::{Aad, Envelope, MemoryKeyring};
    ///
    /// let envelope = Envelope::new(MemoryKeyring::create("videos")?).in_parallel();
    /// let message = envelope.encrypt(&vec![7; 1_000_000], Aad::none())?;
    /// assert_eq!(envelope.decrypt(&message, Aad::none())?, vec![7; 1_000_000]);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn in_parallel(self) -> Self {
        self.with_workers(Arc::new(RayonWorkers))
    }
}
