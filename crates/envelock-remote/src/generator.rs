//! A generator that goes to another thread.

use chacha20::ChaCha20Rng;
use envelock::keyring::{KeyringRng, RandomnessUnavailable};
use envelock::rand_core::{Rng, SeedableRng, TryCryptoRng, TryRng};
use zeroize::Zeroizing;

/// A generator that a keyring's generator has seeded, and that is `Send`.
pub(crate) struct Seeded(ChaCha20Rng);

impl Seeded {
    /// Draws a seed of 32 bytes from `rng`.
    pub(crate) fn from_rng(rng: &mut KeyringRng<'_>) -> Result<Self, RandomnessUnavailable> {
        let mut seed = Zeroizing::new([0; 32]);
        rng.try_fill_bytes(seed.as_mut_slice())?;
        Ok(Seeded(ChaCha20Rng::from_seed(*seed)))
    }
}

impl TryRng for Seeded {
    type Error = RandomnessUnavailable;

    fn try_next_u32(&mut self) -> Result<u32, RandomnessUnavailable> {
        Ok(self.0.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, RandomnessUnavailable> {
        Ok(self.0.next_u64())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), RandomnessUnavailable> {
        self.0.fill_bytes(out);
        Ok(())
    }
}

impl TryCryptoRng for Seeded {}
