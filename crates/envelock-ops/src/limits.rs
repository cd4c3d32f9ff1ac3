//! Limits of a job, which can be changed while it runs, and concurrency that follows the latency of the store.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The limits of a job. All can be changed while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(
    clippy::exhaustive_structs,
    reason = "callers set some fields and take the others from `default`"
)]
pub struct Limits {
    /// Items that are begun in a second; `None` for no limit. 0 pauses the job.
    pub items_per_second: Option<u32>,
    /// Bytes that are moved in a second, where the store moves bodies with their headers.
    pub bytes_per_second: Option<u64>,
    /// Items at the same time, at most. At least 1.
    pub concurrency: u16,
    /// Items that are changed before the job halts; `None` for no limit. Counted over all runs.
    pub budget: Option<u64>,
    /// No item is begun before this time, in seconds since 1970: the start of the next window, which the caller
    /// computes from its calendar.
    pub closed_until: u64,
}

impl Default for Limits {
    /// Returns a concurrency of at most 8, and no other limit.
    fn default() -> Self {
        Limits {
            items_per_second: None,
            bytes_per_second: None,
            concurrency: 8,
            budget: None,
            closed_until: 0,
        }
    }
}

impl Limits {
    /// Reads limits from JSON, such as `{"items_per_second":500}`. What it leaves out has no limit.
    ///
    /// # Errors
    ///
    /// The text of the error of the parser.
    pub fn from_json(json: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(json).map_err(|error| error.to_string())
    }
}

/// Allows so much in a second, and a second's worth at once.
#[derive(Debug)]
struct Bucket {
    /// When the bucket is full again.
    full_at: Duration,
}

impl Bucket {
    /// Returns when something can be taken, if not now. More than a second's worth can be taken at once, and delays
    /// what follows.
    fn ready(&self, now: Duration) -> Result<(), Duration> {
        match self.full_at.checked_sub(Duration::from_secs(1)) {
            Some(ready) if ready > now => Err(ready),
            _ => Ok(()),
        }
    }

    fn take(&mut self, amount: u64, per_second: u64, now: Duration) {
        let nanos = u128::from(amount) * 1_000_000_000 / u128::from(per_second.max(1));
        let cost = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.full_at = self.full_at.max(now).saturating_add(cost);
    }
}

/// How long one window of the measurement of latency is.
const WINDOW: Duration = Duration::from_secs(1);

/// How long the latency is measured before it counts as the baseline.
const BASELINE: Duration = Duration::from_secs(60);

/// Additive increase, multiplicative decrease of the concurrency by the latency of reads.
#[derive(Debug)]
struct Concurrency {
    allowed: f64,
    began: Option<Duration>,
    window_ends: Duration,
    times: Vec<Duration>,
    baseline: Option<Duration>,
}

impl Concurrency {
    fn measure(&mut self, time: Duration, now: Duration, most: u16) {
        let began = *self.began.get_or_insert(now);
        // Enough for a percentile, and bounded.
        if self.times.len() < 10_000 {
            self.times.push(time);
        }
        if now < self.window_ends {
            return;
        }
        self.window_ends = now + WINDOW;
        self.times.sort_unstable();
        let Some(&p95) = self.times.get(self.times.len() * 95 / 100) else { return };
        self.times.clear();
        let baseline = self.baseline.get_or_insert(p95);
        if now < began + BASELINE {
            *baseline = (*baseline).min(p95);
        }
        if p95 > baseline.saturating_mul(2) + Duration::from_millis(1) {
            self.decrease();
        } else {
            self.allowed = (self.allowed + 1.0).min(f64::from(most.max(1)));
        }
    }

    fn decrease(&mut self) {
        self.allowed = (self.allowed * 0.7).max(1.0);
    }
}

/// Decides when the next item may begin.
#[derive(Debug)]
pub(crate) struct Limiter {
    limits: Limits,
    items: Bucket,
    bytes: Bucket,
    concurrency: Concurrency,
    /// No item begins before this time, because a back end asked for it or failed.
    back_off: Duration,
}

impl Limiter {
    pub(crate) fn new(limits: Limits) -> Self {
        Limiter {
            limits,
            items: Bucket { full_at: Duration::ZERO },
            bytes: Bucket { full_at: Duration::ZERO },
            concurrency: Concurrency {
                allowed: f64::from(limits.concurrency.max(1)),
                began: None,
                window_ends: Duration::ZERO,
                times: Vec::new(),
                baseline: None,
            },
            back_off: Duration::ZERO,
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn set(&mut self, limits: Limits) {
        self.limits = limits;
        let most = f64::from(limits.concurrency.max(1));
        self.concurrency.allowed = self.concurrency.allowed.min(most);
    }

    /// Returns how many items may be worked on at the same time now.
    pub(crate) fn concurrency(&self) -> usize {
        // At least 1 and at most 65,535.
        self.concurrency.allowed as usize
    }

    /// Lets an item begin, or returns when to ask again.
    pub(crate) fn begin(&mut self, moved: u64, now: Duration) -> Result<(), Duration> {
        let closed = Duration::from_secs(self.limits.closed_until).max(self.back_off);
        if now < closed {
            return Err(closed);
        }
        if self.limits.items_per_second == Some(0) {
            return Err(now + Duration::from_secs(1));
        }
        let (items, bytes) = (self.limits.items_per_second, self.limits.bytes_per_second);
        items.map_or(Ok(()), |_| self.items.ready(now))?;
        bytes.map_or(Ok(()), |_| self.bytes.ready(now))?;
        if let Some(rate) = items {
            self.items.take(1, rate.into(), now);
        }
        if let Some(rate) = bytes {
            self.bytes.take(moved, rate, now);
        }
        Ok(())
    }

    /// Lets a listing begin, or returns when to ask again.
    pub(crate) fn begin_listing(&self, now: Duration) -> Result<(), Duration> {
        if now < self.back_off { Err(self.back_off) } else { Ok(()) }
    }

    pub(crate) fn measure(&mut self, time: Duration, now: Duration) {
        self.concurrency.measure(time, now, self.limits.concurrency);
    }

    /// Slows down after a failure that may pass: less at once, and nothing for a while.
    pub(crate) fn slow_down(&mut self, wait: Duration, now: Duration) {
        self.concurrency.decrease();
        self.back_off = self.back_off.max(now + wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Counts the items that begin until `end`, on a clock that jumps to the time that is returned.
    fn begun(limiter: &mut Limiter, mut now: Duration, end: Duration) -> u32 {
        let mut begun = 0;
        while now < end {
            match limiter.begin(1000, now) {
                Ok(()) => begun += 1,
                Err(until) => now = until.max(now + Duration::from_millis(1)),
            }
        }
        begun
    }

    #[test]
    fn rates_are_kept_and_can_be_changed() {
        let mut limiter = Limiter::new(Limits { items_per_second: Some(50), ..Limits::default() });
        assert!((500..=552).contains(&begun(&mut limiter, SECOND, 11 * SECOND)));
        limiter.set(Limits { bytes_per_second: Some(100_000), ..Limits::default() });
        assert!((995..=1105).contains(&begun(&mut limiter, 20 * SECOND, 30 * SECOND)));
        limiter.set(Limits { items_per_second: Some(0), ..Limits::default() });
        assert_eq!(begun(&mut limiter, 40 * SECOND, 50 * SECOND), 0);
        limiter.set(Limits { closed_until: 70, items_per_second: Some(10), ..Limits::default() });
        assert!((10..=22).contains(&begun(&mut limiter, 60 * SECOND, 71 * SECOND)));
    }

    #[test]
    fn concurrency_follows_the_latency() {
        let mut limiter = Limiter::new(Limits::default());
        let mut now = SECOND;
        let mut measure = |limiter: &mut Limiter, millis, seconds| {
            for _ in 0..seconds * 10 {
                now += Duration::from_millis(100);
                limiter.measure(Duration::from_millis(millis), now);
            }
            limiter.concurrency()
        };
        assert_eq!(measure(&mut limiter, 4, 70), 8);
        assert_eq!(measure(&mut limiter, 40, 20), 1);
        assert_eq!(measure(&mut limiter, 4, 20), 8);
        limiter.slow_down(SECOND, SECOND);
        assert_eq!(limiter.concurrency(), 5);
    }
}
