//! The threads of rayon.

use crate::envelope::Envelope;
use crate::keyring::Keyring;
use crate::workers::Workers;
use alloc::sync::Arc;

/// The threads of the rayon pool that the caller runs in: the global one, unless the call is made
/// within `ThreadPool::install` of another.
#[derive(Clone, Copy, Debug, Default)]
pub struct RayonWorkers;

impl Workers for RayonWorkers {
    fn join(&self, one: &mut (dyn FnMut() + Send), other: &mut (dyn FnMut() + Send)) {
        rayon::join(one, other);
    }

    fn overlap(&self, here: &mut dyn FnMut(), elsewhere: &mut (dyn FnMut() + Send)) {
        rayon::in_place_scope(|scope| {
            scope.spawn(|_| elsewhere());
            here();
        });
    }

    fn threads(&self) -> usize {
        rayon::current_num_threads()
    }
}

impl<K: Keyring> Envelope<K> {
    /// Has the threads of rayon share the work: of the global pool, or of the one in whose
    /// `install` the call is made.
    ///
    /// Bodies of 256 KiB and more are split, in memory and streamed; readers and writers go on
    /// reading and writing meanwhile, and hold 1 MiB for each two threads. The bytes are the same.
    /// What takes less time than waking a thread stays on the calling one.
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
