//! Counters that many threads add to.

use super::WrapContext;
use crate::keyset::Usage;
use crate::sync::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// Counts up to 2^64 - 1, and stays there. Nothing else is ordered by a count.
#[derive(Default)]
struct Counter(AtomicU64);

impl Counter {
    /// Makes the count what `next` says; `false` if that says nothing.
    fn update(&self, next: impl Fn(u64) -> Option<u64>) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, next).is_ok()
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What this process used a key for, and how much of that is on record.
#[derive(Default)]
pub(crate) struct Counts {
    wraps: Counter,
    bytes: Counter,
    #[cfg(all(feature = "file", unix))]
    recorded_wraps: Counter,
    #[cfg(all(feature = "file", unix))]
    recorded_bytes: Counter,
}

impl Counts {
    /// Counts a wrap that is about to be made, unless the key would have more than `most` then.
    /// The first one counts `trials` more.
    pub(super) fn count(&self, context: &WrapContext<'_>, trials: u64, most: u64) -> bool {
        let next = |wraps: u64| {
            let trials = if wraps == 0 { trials } else { 0 };
            // Beyond what can be counted is beyond every limit.
            let next = wraps.checked_add(trials)?.checked_add(1)?;
            (next <= most).then_some(next)
        };
        let is_counted = self.wraps.update(next);
        if is_counted {
            let bytes = context.plaintext_len().unwrap_or(0);
            // Saturates: a statistic.
            self.bytes.update(|before| Some(before.saturating_add(bytes)));
        }
        is_counted
    }

    /// What the key was used for since it was set up.
    pub(super) fn used(&self) -> Usage {
        Usage { wraps: self.wraps.get(), bytes: self.bytes.get() }
    }

    /// The counts of a key that has wrapped `wraps` data keys.
    #[cfg(all(test, feature = "file", unix, any(not(envelock_shuttle), feature = "pkcs11")))]
    pub(crate) fn begun_with(wraps: u64) -> Self {
        let counts = Counts::default();
        counts.wraps.update(|_| Some(wraps));
        counts
    }
}

#[cfg(all(feature = "file", unix))]
impl Counts {
    /// How much of [`used`](Self::used) is on record, and what is reserved there besides.
    pub(super) fn recorded(&self) -> Usage {
        Usage { wraps: self.recorded_wraps.get(), bytes: self.recorded_bytes.get() }
    }

    /// Notes that so much is on record.
    pub(super) fn record(&self, recorded: Usage) {
        self.recorded_wraps.update(|_| Some(recorded.wraps));
        self.recorded_bytes.update(|_| Some(recorded.bytes));
    }

    /// Resets the counts.
    pub(super) fn clear(&self) {
        self.record(Usage::default());
        self.wraps.update(|_| Some(0));
        self.bytes.update(|_| Some(0));
    }
}
