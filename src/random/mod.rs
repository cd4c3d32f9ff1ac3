//! Randomness as an argument: the generator that keyrings see, drawn from the caller's in one go.

mod os;

pub use os::OsRandom;

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

/// What the operating system said of its generator.
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

    /// The number of the operating system's error, such as `ENOSYS` where a sandbox forbids the
    /// call; `None` if another generator failed, or the system gave no number.
    pub const fn raw_os_error(&self) -> Option<i32> {
        match self.source {
            Some(SystemError(code)) => Some(code),
            None => None,
        }
    }

    /// The error of any generator, with the number of the system's if it was that.
    pub(crate) fn of(error: impl core::error::Error) -> Self {
        let source = error.source().and_then(|source| source.downcast_ref::<SystemError>());
        RandomnessUnavailable { source: source.copied() }
    }
}

/// The generator handed to a keyring: any `rand_core` generator, its error made ours.
///
/// A keyring calls `rng.try_fill_bytes(&mut nonce)?`.
pub type KeyringRng<'a> = dyn TryCryptoRng<Error = RandomnessUnavailable> + 'a;

/// What one message needs: data key, its id, the salt, and the nonce of one wrap.
const MESSAGE_LEN: usize = 32 + 8 + 24 + 24;

/// A source of random bytes that several threads may share: [`OsRandom`](crate::OsRandom), or a
/// [`LockedRng`]. Sealed: [`Envelope::with_rng`](crate::Envelope::with_rng) takes any generator.
pub trait RandomSource: sealed::Sealed {
    /// Fills `out` with random bytes.
    ///
    /// # Errors
    ///
    /// The generator failed; `out` then holds nothing that may be used.
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomnessUnavailable>;
}

mod sealed {
    pub trait Sealed {}
    #[cfg(feature = "std")]
    impl Sealed for crate::OsRandom {}
    impl<G> Sealed for super::LockedRng<G> {}
}

/// A generator of the caller's behind a lock; made by
/// [`Envelope::with_rng`](crate::Envelope::with_rng).
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

/// Random bytes of one operation, drawn from the source in one call, wiped as they go and on
/// drop. Once used up, it asks the source again.
pub(crate) struct RandomPool<'r> {
    source: &'r dyn RandomSource,
    bytes: [u8; MESSAGE_LEN],
    left: usize,
}

impl<'r> RandomPool<'r> {
    /// Draws what encrypting one message under one slot takes.
    pub(crate) fn for_message(source: &'r dyn RandomSource) -> Result<Self, RandomnessUnavailable> {
        let mut pool = RandomPool::for_rewrap(source);
        source.fill(&mut pool.bytes)?;
        pool.left = MESSAGE_LEN;
        Ok(pool)
    }

    /// Draws nothing ahead.
    pub(crate) fn for_rewrap(source: &'r dyn RandomSource) -> Self {
        RandomPool { source, bytes: [0; MESSAGE_LEN], left: 0 }
    }
}

impl TryRng for RandomPool<'_> {
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
            // Never split a request: what is left of the pool stays for a smaller one.
            None => self.source.fill(out),
        }
    }
}

impl TryCryptoRng for RandomPool<'_> {}

impl Drop for RandomPool<'_> {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl fmt::Debug for RandomPool<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RandomPool").finish_non_exhaustive()
    }
}

/// Where none is drawn.
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
