//! Usage counters of a key, shared by threads.

use super::WrapContext;
use crate::keyset::Usage;
use crate::sync::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

/// A counter. No other memory access is ordered by it.
#[derive(Default)]
struct Counter(AtomicU64);

impl Counter {
    /// Sets the count to `next` of it. Returns `false` if that is `None`.
    fn update(&self, next: impl Fn(u64) -> Option<u64>) -> bool {
        self.0.fetch_update(Relaxed, Relaxed, next).is_ok()
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The usage of a key by this process, and the part of it that is recorded.
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
    /// Counts a wrap before it is made, and `trials` more with the first. Returns `false`, and counts
    /// nothing, if the key would exceed `most` wraps.
    pub(super) fn count(&self, context: &WrapContext<'_>, trials: u64, most: u64) -> bool {
        let next = |wraps: u64| {
            let trials = if wraps == 0 { trials } else { 0 };
            // An overflow exceeds every limit.
            let next = wraps.checked_add(trials)?.checked_add(1)?;
            (next <= most).then_some(next)
        };
        let is_counted = self.wraps.update(next);
        if is_counted && let Some(bytes) = context.plaintext_len() {
            // Saturates: a statistic.
            self.bytes.update(|before| Some(before.saturating_add(bytes)));
        }
        is_counted
    }

    /// Returns the usage since the key was loaded.
    pub(super) fn used(&self) -> Usage {
        Usage { wraps: self.wraps.get(), bytes: self.bytes.get() }
    }

    /// Returns the counts of a key that has wrapped `wraps` data keys.
    #[cfg(all(test, feature = "file", unix, any(not(envelock_shuttle), feature = "pkcs11")))]
    pub(crate) fn begun_with(wraps: u64) -> Self {
        let counts = Counts::default();
        counts.wraps.update(|_| Some(wraps));
        counts
    }
}

#[cfg(all(feature = "file", unix))]
impl Counts {
    /// Returns the recorded part of [`used`](Self::used), reservations included.
    pub(super) fn recorded(&self) -> Usage {
        Usage { wraps: self.recorded_wraps.get(), bytes: self.recorded_bytes.get() }
    }

    /// Sets the recorded part.
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
