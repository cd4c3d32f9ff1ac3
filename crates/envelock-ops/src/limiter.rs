//! Decides when the next item of a job may begin: rates, windows, back ends that are away.

use crate::breaker::{BackEnd, Breaker, Outage, Passage, Sign};
use crate::calls::Calls;
use crate::error_text::with_sources;
use crate::latency::{Concurrency, Latency};
use crate::limits::Limits;
use crate::store_error::StoreError;
use std::time::Duration;

/// Allows so much in a second, and a second's worth at once.
#[derive(Debug, Default)]
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

/// Decides when the next item may begin.
#[derive(Debug)]
pub(crate) struct Limiter {
    limits: Limits,
    items: Bucket,
    bytes: Bucket,
    requests: Bucket,
    key_calls: Bucket,
    concurrency: Concurrency,
    store: Breaker,
    keys: Breaker,
    /// Whether a call for no item was the last that failed, of the store and of the keys. The next one that works ends
    /// the outage, as an item does otherwise.
    has_failed: [bool; 2],
    /// A time of the caller's clock, and the same by the calendar.
    calendar: (Duration, Duration),
    /// When the job was last paused or its window closed: what is not called is not away.
    closed_at: Duration,
}

impl Limiter {
    pub(crate) fn new(limits: Limits) -> Self {
        Limiter {
            limits,
            items: Bucket::default(),
            bytes: Bucket::default(),
            requests: Bucket::default(),
            key_calls: Bucket::default(),
            concurrency: Concurrency::new(limits.concurrency),
            store: Breaker::new(BackEnd::Store),
            keys: Breaker::new(BackEnd::Keys),
            has_failed: [false; 2],
            calendar: (Duration::ZERO, Duration::ZERO),
            closed_at: Duration::ZERO,
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn set(&mut self, limits: Limits) {
        self.limits = limits;
        self.concurrency.limit(limits.concurrency);
    }

    /// Returns how many items may be worked on at the same time now.
    pub(crate) fn concurrency(&self) -> usize {
        self.concurrency.allowed()
    }

    /// Lets an item begin, or returns when to ask again.
    pub(crate) fn begin(&mut self, now: Duration) -> Result<(), Duration> {
        self.is_open(now)?;
        let Limits { items_per_second, key_calls_per_second, .. } = self.limits;
        items_per_second.map_or(Ok(()), |_| self.items.ready(now))?;
        self.bytes_ready(now)?;
        key_calls_per_second.map_or(Ok(()), |_| self.key_calls.ready(now))?;
        self.requests_ready(now)?;
        if let Some(rate) = items_per_second {
            self.items.take(1, rate.into(), now);
        }
        Ok(())
    }

    /// Lets bytes move, or returns when to ask again.
    pub(crate) fn bytes_ready(&self, now: Duration) -> Result<(), Duration> {
        self.limits.bytes_per_second.map_or(Ok(()), |_| self.bytes.ready(now))
    }

    fn requests_ready(&self, now: Duration) -> Result<(), Duration> {
        self.limits.requests_per_second.map_or(Ok(()), |_| self.requests.ready(now))
    }

    /// Takes what was called and moved from the buckets, so that what follows waits for it.
    pub(crate) fn charge(&mut self, calls: Calls, now: Duration) {
        let Limits { bytes_per_second, requests_per_second, key_calls_per_second, .. } =
            self.limits;
        if let Some(rate) = bytes_per_second {
            self.bytes.take(calls.moved_bytes, rate, now);
        }
        if let Some(rate) = requests_per_second {
            self.requests.take(calls.requests(), rate.into(), now);
        }
        if let Some(rate) = key_calls_per_second {
            self.key_calls.take(calls.keys, rate.into(), now);
        }
    }

    pub(crate) fn set_calendar(&mut self, now: Duration, calendar: Duration) {
        self.calendar = (now, calendar);
    }

    /// Returns when to ask again, if the window is closed or the job paused.
    pub(crate) fn is_open(&mut self, now: Duration) -> Result<(), Duration> {
        let Limits { closed_until, closes_at, items_per_second, .. } = self.limits;
        let (at, calendar) = self.calendar;
        let today = calendar.saturating_add(now.saturating_sub(at));
        let opens_in = Duration::from_secs(closed_until).saturating_sub(today);
        let closes_at = closes_at.filter(|closes| *closes > closed_until);
        let is_closed = closes_at.is_some_and(|closes| today >= Duration::from_secs(closes));
        let until = match opens_in {
            // The caller knows when it opens again.
            Duration::ZERO if is_closed || items_per_second == Some(0) => {
                now + Duration::from_secs(1)
            }
            Duration::ZERO => return Ok(()),
            opens_in => now.saturating_add(opens_in),
        };
        self.closed_at = now;
        Err(until)
    }

    /// Lets a listing begin, or returns when to ask again.
    pub(crate) fn begin_listing(&mut self, now: Duration) -> Result<(), Duration> {
        self.is_open(now)?;
        self.store_ready(now)
    }

    /// Lets a call of the store begin that finishes what was begun, or returns when to ask again.
    pub(crate) fn store_ready(&self, now: Duration) -> Result<(), Duration> {
        self.requests_ready(now)?;
        match self.store.passage(now) {
            Passage::Wait(Some(until)) => Err(until),
            _ => Ok(()),
        }
    }

    /// Returns how many items a page has, at most: as many as begin in five seconds, so that a slow job that is stopped
    /// loses no more.
    pub(crate) fn page(&self, most: usize) -> usize {
        let Some(rate) = self.limits.items_per_second else { return most };
        let five_seconds = usize::try_from(rate).unwrap_or(usize::MAX).saturating_mul(5);
        most.min(five_seconds.max(1))
    }

    /// Returns what the breakers let begin.
    pub(crate) fn passage(&self, now: Duration) -> Passage {
        match (self.store.passage(now), self.keys.passage(now)) {
            (Passage::Wait(store), Passage::Wait(keys)) => Passage::Wait(store.max(keys)),
            (wait @ Passage::Wait(_), _) | (_, wait @ Passage::Wait(_)) => wait,
            (Passage::Free, keys) => keys,
            (store, _) => store,
        }
    }

    /// Takes note that what begins now is the probe of every back end that waits for one.
    pub(crate) fn probes(&mut self, now: Duration) {
        for breaker in [&mut self.store, &mut self.keys] {
            if matches!(breaker.passage(now), Passage::Probe(_)) {
                breaker.probes();
            }
        }
    }

    /// Takes note of what a piece of work says about the back ends.
    pub(crate) fn saw(&mut self, store: Sign, keys: Sign, now: Duration) {
        let (store, keys) = (self.store.saw(store, now), self.keys.saw(keys, now));
        if store || keys {
            self.concurrency.decrease();
        }
    }

    /// Takes note of a listing or a probe of the store that failed.
    pub(crate) fn store_failed(&mut self, error: &StoreError, now: Duration) {
        self.store.open(with_sources(error), error.retry_after(), now);
        self.has_failed[0] = true;
        self.concurrency.decrease();
    }

    /// Takes note of one that worked.
    pub(crate) fn store_works(&mut self) {
        if std::mem::take(&mut self.has_failed[0]) {
            self.store = Breaker::new(BackEnd::Store);
        }
    }

    /// Takes note of a call of the keys for no item that failed.
    pub(crate) fn keys_failed(&mut self, error: &envelock::Error, now: Duration) {
        let asked = match error {
            envelock::Error::Backend(error) => error.retry_after(),
            _ => None,
        };
        self.keys.open(with_sources(error), asked, now);
        self.has_failed[1] = true;
    }

    /// Takes note of one that worked.
    pub(crate) fn keys_work(&mut self) {
        if std::mem::take(&mut self.has_failed[1]) {
            self.keys = Breaker::new(BackEnd::Keys);
        }
    }

    /// Lets a call of the keys for no item begin, or returns when to ask again.
    pub(crate) fn keys_ready(&self, now: Duration) -> Result<(), Duration> {
        match self.keys.passage(now) {
            Passage::Wait(Some(until)) if self.has_failed[1] => Err(until),
            _ => Ok(()),
        }
    }

    /// Returns the longer outage, while there is one.
    pub(crate) fn outage(&self) -> Option<&Outage> {
        let outages = [self.store.outage(), self.keys.outage()];
        outages.into_iter().flatten().min_by_key(|outage| outage.since)
    }

    /// Returns the outage that has gone on for longer than the limits allow.
    pub(crate) fn endless_outage(&self, now: Duration) -> Option<&Outage> {
        let most = Duration::from_secs(self.limits.outage_seconds?);
        let since = |outage: &Outage| outage.since.max(self.closed_at);
        self.outage().filter(|outage| now >= since(outage).saturating_add(most))
    }

    pub(crate) fn latency(&self) -> Latency {
        self.concurrency.latency()
    }

    /// Returns whether the time of a read that begins now is of use: asking for the time costs more than a read in memory.
    pub(crate) fn measures(&self, now: Duration) -> bool {
        self.concurrency.measures(now)
    }

    pub(crate) fn measure(&mut self, time: Duration, now: Duration) {
        self.concurrency.measure(time, now, self.limits.concurrency);
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
            match limiter.begin(now) {
                Ok(()) => {
                    limiter.charge(
                        Calls { reads: 2, writes: 1, lists: 0, keys: 4, moved_bytes: 1000 },
                        now,
                    );
                    begun += 1;
                }
                Err(until) => now = until.max(now + Duration::from_millis(1)),
            }
        }
        begun
    }

    #[test]
    fn rates_are_kept_and_can_be_changed() {
        let mut limiter = Limiter::new(Limits { items_per_second: Some(50), ..Limits::default() });
        assert!((500..=552).contains(&begun(&mut limiter, SECOND, 11 * SECOND)));
        assert_eq!((limiter.page(500), limiter.page(7)), (250, 7));
        limiter.set(Limits { bytes_per_second: Some(100_000), ..Limits::default() });
        assert!((995..=1105).contains(&begun(&mut limiter, 20 * SECOND, 30 * SECOND)));
        limiter.set(Limits { requests_per_second: Some(300), ..Limits::default() });
        assert!((995..=1105).contains(&begun(&mut limiter, 40 * SECOND, 50 * SECOND)));
        limiter.set(Limits { key_calls_per_second: Some(400), ..Limits::default() });
        assert!((995..=1105).contains(&begun(&mut limiter, 60 * SECOND, 70 * SECOND)));
        limiter.set(Limits { items_per_second: Some(0), ..Limits::default() });
        assert_eq!(begun(&mut limiter, 80 * SECOND, 90 * SECOND), 0);
        limiter.set(Limits { closed_until: 110, items_per_second: Some(10), ..Limits::default() });
        assert!((10..=22).contains(&begun(&mut limiter, 100 * SECOND, 111 * SECOND)));
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
        limiter.store_failed(&StoreError::throttled(None, "too many requests"), SECOND);
        assert_eq!(limiter.concurrency(), 5);
        let latency = limiter.latency();
        assert_eq!((latency.p95.as_millis(), latency.baseline.as_millis()), (4, 4));
    }

    #[test]
    fn windows_go_by_the_calendar_and_rates_by_the_clock() {
        let window = Limits { closed_until: 1_000, closes_at: Some(1_100), ..Limits::default() };
        let mut limiter = Limiter::new(Limits { items_per_second: Some(1), ..window });
        limiter.set_calendar(50 * SECOND, 990 * SECOND);
        assert_eq!(limiter.begin(51 * SECOND), Err(60 * SECOND));
        assert!(limiter.begin(60 * SECOND).is_ok());
        // The calendar is set back by an hour, and forth: the second item is due in one second all the same.
        limiter.set_calendar(60 * SECOND, Duration::ZERO);
        assert_eq!(limiter.begin(60 * SECOND), Err(1_060 * SECOND));
        limiter.set_calendar(60 * SECOND, 1_001 * SECOND);
        assert!(limiter.begin(61 * SECOND).is_ok());
        assert!(limiter.begin(160 * SECOND).is_err(), "the window has closed");
    }

    #[test]
    fn nothing_begins_outside_a_window() {
        let window =
            |closed_until, closes_at| Limits { closed_until, closes_at, ..Limits::default() };
        let begins = |limits, at| Limiter::new(limits).begin(at * SECOND).is_ok();
        let inside = [59, 60, 69, 70].map(|at| begins(window(60, Some(70)), at));
        assert_eq!(inside, [false, true, true, false]);
        assert!(begins(window(60, Some(50)), 61), "the end of a window that is over");
        assert_eq!(Limiter::new(window(60, None)).begin_listing(SECOND), Err(60 * SECOND));
    }
}
