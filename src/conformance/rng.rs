//! A reproducible random generator, which can fail.

use crate::crypto::kdf;
use crate::random::RandomnessUnavailable;
use rand_core::{TryCryptoRng, TryRng};

/// A random generator for tests: the same seed gives the same bytes in every run.
///
/// # Security
///
/// For tests alone. The seed gives away every key.
#[derive(Debug)]
pub struct TestRng {
    seed: u64,
    /// The number of requests before the generator fails.
    left: usize,
    asked: usize,
}

impl TestRng {
    /// Returns a generator that never fails.
    pub const fn seeded(seed: u64) -> Self {
        TestRng { seed, left: usize::MAX, asked: 0 }
    }

    /// Returns a generator that fails after `requests` requests.
    pub const fn failing_after(requests: usize) -> Self {
        TestRng { seed: 0, left: requests, asked: 0 }
    }

    /// Returns the number of requests, failures included.
    pub const fn asked(&self) -> usize {
        self.asked
    }
}

impl TryRng for TestRng {
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
        self.asked += 1;
        self.left = self.left.checked_sub(1).ok_or(RandomnessUnavailable::new())?;
        let (seed, request) = (self.seed.to_be_bytes(), self.asked.to_be_bytes());
        for (block, chunk) in out.chunks_mut(32).enumerate() {
            let info: [&[u8]; 2] = [&request, &block.to_be_bytes()];
            kdf::expand_sha256(&seed, &info, chunk).map_err(|_| RandomnessUnavailable::new())?;
        }
        Ok(())
    }
}

impl TryCryptoRng for TestRng {}
