//! Random generators: the interface for keyrings, and a pool that draws once for each message.

mod os;
mod recorded;

pub use os::OsRandom;
pub(crate) use recorded::RecordedRandom;

use crate::sync::RwLock;
use core::fmt;
use rand_core::{TryCryptoRng, TryRng};
use zeroize::Zeroize;

/// The random generator failed. Nothing was encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("random generator failed")]
pub struct RandomnessUnavailable {
    source: Option<SystemError>,
}

/// Error number of the operating system's generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("system error {0}")]
struct SystemError(i32);

impl RandomnessUnavailable {
    /// Returns the error of a generator that does not say why.
    pub const fn new() -> Self {
        RandomnessUnavailable { source: None }
    }

    /// Returns the error of the operating system's generator, with its number.
    pub const fn from_raw_os_error(code: i32) -> Self {
        RandomnessUnavailable { source: Some(SystemError(code)) }
    }

    /// Returns the error number of the operating system, such as `ENOSYS` where a sandbox forbids the
    /// call. Returns `None` if another generator failed or the system gave no number.
    pub const fn raw_os_error(&self) -> Option<i32> {
        match self.source {
            Some(SystemError(code)) => Some(code),
            None => None,
        }
    }

    /// Converts the error of any generator. Keeps the number of the operating system.
    pub(crate) fn of(error: impl core::error::Error) -> Self {
        let source = error.source().and_then(|source| source.downcast_ref::<SystemError>());
        RandomnessUnavailable { source: source.copied() }
    }
}

/// The generator that a keyring receives: a `rand_core` generator with the error of this crate.
///
/// A keyring calls `rng.try_fill_bytes(&mut nonce)?`.
pub type KeyringRng<'a> = dyn TryCryptoRng<Error = RandomnessUnavailable> + 'a;

/// Random bytes of one message: data key, data key id, salt, and the nonce of one wrap.
const MESSAGE_LEN: usize = 32 + 8 + 24 + 24;

/// A source of random bytes that several threads may share: [`OsRandom`](crate::OsRandom), or a
/// [`LockedRng`]. Sealed: [`Envelope::with_rng`](crate::Envelope::with_rng) takes any generator.
pub trait RandomSource: sealed::Sealed {
    /// Fills `out` with random bytes.
    ///
    /// # Errors
    ///
    /// [`RandomnessUnavailable`] if the generator failed. The content of `out` must not be used then.
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomnessUnavailable>;
}

mod sealed {
    pub trait Sealed {}
    #[cfg(feature = "std")]
    impl Sealed for crate::OsRandom {}
    impl<G> Sealed for super::LockedRng<G> {}
    impl<R> Sealed for super::RecordedRandom<'_, R> {}
}

/// A generator of the caller behind a lock. [`Envelope::with_rng`](crate::Envelope::with_rng) makes it.
pub struct LockedRng<G>(RwLock<G>);

impl<G> LockedRng<G> {
    pub(crate) fn new(generator: G) -> Self {
        LockedRng(RwLock::new(generator))
    }
}

impl<G: TryCryptoRng> RandomSource for LockedRng<G> {
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomnessUnavailable> {
        self.0.write().try_fill_bytes(out).map_err(RandomnessUnavailable::of)
    }
}

impl<G> fmt::Debug for LockedRng<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockedRng").finish_non_exhaustive()
    }
}

/// Random bytes of one operation, drawn from the source in one call and wiped on use and on drop.
/// An empty pool draws from the source directly.
pub(crate) struct RandomPool<'r, S: ?Sized = dyn RandomSource + 'r> {
    source: &'r S,
    bytes: [u8; MESSAGE_LEN],
    left: usize,
}

impl<'r> RandomPool<'r> {
    /// Draws the random bytes of one message with one slot.
    pub(crate) fn for_message(source: &'r dyn RandomSource) -> Result<Self, RandomnessUnavailable> {
        let mut pool = RandomPool::for_rewrap(source);
        source.fill(&mut pool.bytes)?;
        pool.left = MESSAGE_LEN;
        Ok(pool)
    }

    /// Returns an empty pool.
    pub(crate) fn for_rewrap(source: &'r dyn RandomSource) -> Self {
        RandomPool::empty(source)
    }
}

impl<'r, S: RandomSource + ?Sized> RandomPool<'r, S> {
    /// Returns an empty pool, which other threads may use where they may use `source`.
    pub(crate) fn empty(source: &'r S) -> Self {
        RandomPool { source, bytes: [0; MESSAGE_LEN], left: 0 }
    }
}

impl<S: RandomSource + ?Sized> TryRng for RandomPool<'_, S> {
    type Error = RandomnessUnavailable;

    fn try_next_u32(&mut self) -> Result<u32, RandomnessUnavailable> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, RandomnessUnavailable> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), RandomnessUnavailable> {
        let start = MESSAGE_LEN - self.left;
        match self.bytes.get_mut(start..).and_then(|left| left.get_mut(..out.len())) {
            Some(drawn) => {
                out.copy_from_slice(drawn);
                drawn.zeroize();
                self.left -= out.len();
                Ok(())
            }
            // A request is never split: the rest of the pool serves smaller ones.
            None => self.source.fill(out),
        }
    }
}

impl<S: RandomSource + ?Sized> TryCryptoRng for RandomPool<'_, S> {}

impl<S: ?Sized> Drop for RandomPool<'_, S> {
    fn drop(&mut self) {
        self.bytes.as_mut_slice().zeroize();
    }
}

impl<S: ?Sized> fmt::Debug for RandomPool<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RandomPool").finish_non_exhaustive()
    }
}

/// A generator that always fails, for operations that draw no random bytes.
pub(crate) struct NoRandomness;

impl TryRng for NoRandomness {
    type Error = RandomnessUnavailable;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Err(RandomnessUnavailable::new())
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Err(RandomnessUnavailable::new())
    }

    fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Self::Error> {
        Err(RandomnessUnavailable::new())
    }
}

impl TryCryptoRng for NoRandomness {}
