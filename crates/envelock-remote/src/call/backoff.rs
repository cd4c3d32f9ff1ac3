//! The wait before the next attempt.

use std::time::Duration;

/// Exponential backoff with full jitter: a wait is anything from zero to a bound that doubles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub(crate) first: Duration,
    pub(crate) most: Duration,
}

impl Backoff {
    /// Returns the wait after failure number `failure`, from 1. `random` is uniform.
    pub(crate) fn wait(&self, failure: u32, random: u64) -> Duration {
        let doublings = failure.saturating_sub(1).min(31);
        // Saturates: `most` bounds it.
        let bound = self.first.saturating_mul(1 << doublings).min(self.most);
        // 53 bits are exact in a double, and less than 2^53 of them is less than 1.
        let share = (random >> 11) as f64 / (1_u64 << 53) as f64;
        bound.mul_f64(share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff =
        Backoff { first: Duration::from_millis(100), most: Duration::from_secs(2) };

    #[test]
    fn bound_doubles_up_to_the_most() {
        let bound = |failure| BACKOFF.wait(failure, u64::MAX).as_millis();
        assert_eq!(
            [1, 2, 3, 5, 6, 7, u32::MAX].map(bound),
            [100, 200, 400, 1600, 2000, 2000, 2000]
        );
    }

    #[test]
    fn jitter_is_full() {
        assert_eq!(BACKOFF.wait(1, 0), Duration::ZERO);
        assert_eq!(BACKOFF.wait(1, 1 << 63), Duration::from_millis(50));
        assert_eq!(BACKOFF.wait(6, 1 << 62), Duration::from_millis(500));
    }

    #[test]
    fn wait_without_a_bound_does_not_overflow() {
        let backoff = Backoff { first: Duration::MAX, most: Duration::MAX };
        assert_eq!(backoff.wait(40, 0), Duration::ZERO);
        assert!(backoff.wait(40, 1 << 63) > Duration::from_secs(1 << 62));
    }
}
