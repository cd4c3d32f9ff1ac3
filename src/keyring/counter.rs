//! A counter that many threads add to, on machines with and without 64-bit atomics.

#[cfg(not(target_has_atomic = "64"))]
use crate::sync::RwLock;
#[cfg(target_has_atomic = "64")]
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts up to 2^64 - 1: 584 years of one a nanosecond, 16 EiB.
#[derive(Default)]
pub(super) struct Counter {
    #[cfg(target_has_atomic = "64")]
    count: AtomicU64,
    #[cfg(not(target_has_atomic = "64"))]
    count: RwLock<u64>,
}

#[cfg(target_has_atomic = "64")]
impl Counter {
    /// Adds `by` and returns the sum.
    pub(super) fn add(&self, by: u64) -> u64 {
        // A sum alone: nothing else is ordered by it.
        let before = self.count.fetch_add(by, Relaxed);
        before.saturating_add(by)
    }

    /// Takes back `by`, which was added before.
    #[cfg(all(feature = "file", unix))]
    pub(super) fn take_back(&self, by: u64) {
        self.count.fetch_sub(by, Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.count.load(Relaxed)
    }
}

#[cfg(not(target_has_atomic = "64"))]
impl Counter {
    /// Adds `by` and returns the sum.
    pub(super) fn add(&self, by: u64) -> u64 {
        let mut count = self.count.write();
        *count = count.saturating_add(by);
        *count
    }

    /// Takes back `by`, which was added before.
    #[cfg(all(feature = "file", unix))]
    pub(super) fn take_back(&self, by: u64) {
        let mut count = self.count.write();
        *count = count.saturating_sub(by);
    }

    pub(super) fn get(&self) -> u64 {
        *self.count.read()
    }
}
