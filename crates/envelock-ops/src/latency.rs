//! The latency of reads, and concurrency that follows it.

use std::time::Duration;

/// How long one window of the measurement of latency is.
const WINDOW: Duration = Duration::from_secs(1);

/// How long the latency is measured before it counts as the baseline.
const BASELINE: Duration = Duration::from_secs(60);

/// Additive increase, multiplicative decrease of the concurrency by the latency of reads.
#[derive(Debug)]
pub(crate) struct Concurrency {
    allowed: f64,
    began: Option<Duration>,
    window_ends: Duration,
    times: Vec<Duration>,
    baseline: Option<Duration>,
    last: Latency,
}

/// The latency of reads in the last whole second, and the lowest of the first minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latency {
    /// Half of the reads were as fast.
    pub p50: Duration,
    /// 95 of 100 reads were as fast.
    pub p95: Duration,
    /// The lowest `p95` of a second in the first minute.
    pub baseline: Duration,
}

/// So many times of one window are kept: enough for a percentile, and bounded.
const MOST_TIMES: usize = 10_000;

impl Concurrency {
    pub(crate) fn new(most: u16) -> Self {
        Concurrency {
            allowed: f64::from(most.max(1)),
            began: None,
            window_ends: Duration::ZERO,
            times: Vec::new(),
            baseline: None,
            last: Latency::default(),
        }
    }

    /// Returns how many items may be worked on at the same time: at least 1, at most 65,535.
    pub(crate) fn allowed(&self) -> usize {
        self.allowed as usize
    }

    pub(crate) fn latency(&self) -> Latency {
        self.last
    }

    pub(crate) fn limit(&mut self, most: u16) {
        self.allowed = self.allowed.min(f64::from(most.max(1)));
    }

    /// Returns whether the time of a read is of use.
    pub(crate) fn measures(&self, now: Duration) -> bool {
        self.times.len() < MOST_TIMES || now >= self.window_ends
    }

    pub(crate) fn measure(&mut self, time: Duration, now: Duration, most: u16) {
        let began = *self.began.get_or_insert(now);
        if self.times.len() < MOST_TIMES {
            self.times.push(time);
        }
        if now < self.window_ends {
            return;
        }
        self.window_ends = now + WINDOW;
        self.times.sort_unstable();
        let at = |percent| self.times.get(self.times.len() * percent / 100).copied();
        let Some((p50, p95)) = at(50).zip(at(95)) else { return };
        self.times.clear();
        let baseline = self.baseline.get_or_insert(p95);
        if now < began + BASELINE {
            *baseline = (*baseline).min(p95);
        }
        self.last = Latency { p50, p95, baseline: *baseline };
        if p95 > baseline.saturating_mul(2) + Duration::from_millis(1) {
            self.decrease();
        } else {
            self.allowed = (self.allowed + 1.0).min(f64::from(most.max(1)));
        }
    }

    pub(crate) fn decrease(&mut self) {
        self.allowed = (self.allowed * 0.7).max(1.0);
    }
}
