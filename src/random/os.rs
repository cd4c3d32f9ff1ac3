//! The generator of the operating system: one system call for each message, no state.

#[cfg(feature = "std")]
use super::{RandomSource, RandomnessUnavailable};
#[cfg(feature = "std")]
use rand_core::{TryCryptoRng, TryRng};

/// The operating system's random generator. It generates with feature `std` alone; without that it is
/// only the name of the generator that an [`Envelope`](crate::Envelope) does not have.
///
/// Without state, so that neither `fork` nor the clone of a value repeats a byte.
#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::exhaustive_structs, reason = "it has no state, and callers write its name")]
pub struct OsRandom;

#[cfg(feature = "std")]
impl TryRng for OsRandom {
    type Error = RandomnessUnavailable;

    fn try_next_u32(&mut self) -> Result<u32, RandomnessUnavailable> {
        getrandom::u32().map_err(failed)
    }

    fn try_next_u64(&mut self) -> Result<u64, RandomnessUnavailable> {
        getrandom::u64().map_err(failed)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), RandomnessUnavailable> {
        self.fill(out)
    }
}

#[cfg(feature = "std")]
impl TryCryptoRng for OsRandom {}

#[cfg(feature = "std")]
impl RandomSource for OsRandom {
    fn fill(&self, out: &mut [u8]) -> Result<(), RandomnessUnavailable> {
        getrandom::fill(out).map_err(failed)
    }
}

#[cfg(feature = "std")]
fn failed(error: getrandom::Error) -> RandomnessUnavailable {
    let code = error.raw_os_error();
    code.map_or_else(RandomnessUnavailable::new, RandomnessUnavailable::from_raw_os_error)
}
