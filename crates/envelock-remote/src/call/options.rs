//! The settings of calls.

use super::backoff::Backoff;
use envelock::OsRandom;
use envelock::rand_core::TryRng;
use std::fmt;
use std::time::Duration;

/// The generator of the jitter: returns 64 uniform bits.
pub(crate) type Jitter = dyn FnMut() -> u64 + Send;

/// How a remote keyring calls its service: how many calls at once, how long, and how often again.
///
/// | option | default |
/// |---|---|
/// | [`max_in_flight`](Self::max_in_flight) | 64 calls |
/// | [`deadline`](Self::deadline) | 10 s for each operation |
/// | [`call_timeout`](Self::call_timeout) | 3 s for each call |
/// | [`max_attempts`](Self::max_attempts) | 4 calls for each operation |
/// | [`backoff`](Self::backoff) | 100 ms at first, 2 s at most |
/// | [`circuit`](Self::circuit) | open for 2 s after 8 failures in a row |
pub struct CallOptions {
    pub(crate) max_in_flight: usize,
    pub(crate) deadline: Duration,
    pub(crate) call_timeout: Duration,
    pub(crate) max_attempts: u32,
    pub(crate) backoff: Backoff,
    pub(crate) circuit_failures: u32,
    pub(crate) circuit_open_for: Duration,
    pub(crate) jitter: Box<Jitter>,
}

impl Default for CallOptions {
    fn default() -> Self {
        CallOptions {
            max_in_flight: 64,
            deadline: Duration::from_secs(10),
            call_timeout: Duration::from_secs(3),
            max_attempts: 4,
            backoff: Backoff { first: Duration::from_millis(100), most: Duration::from_secs(2) },
            circuit_failures: 8,
            circuit_open_for: Duration::from_secs(2),
            // Without a generator the waits have no jitter, and are the longest.
            jitter: Box::new(|| OsRandom.try_next_u64().unwrap_or(u64::MAX)),
        }
    }
}

impl CallOptions {
    /// Sets how many calls run at once. Others wait, in the order in which they came.
    ///
    /// # Panics
    ///
    /// Panics if `calls` is zero or more than [`tokio::sync::Semaphore::MAX_PERMITS`].
    #[must_use]
    pub fn max_in_flight(mut self, calls: usize) -> Self {
        assert!(
            (1..=tokio::sync::Semaphore::MAX_PERMITS).contains(&calls),
            "calls in flight are 1 to Semaphore::MAX_PERMITS"
        );
        self.max_in_flight = calls;
        self
    }

    /// Sets the time of an operation with all its attempts, where the caller gives no deadline
    /// ([`with_deadline`](crate::with_deadline)).
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets the time of one call. A call without a response by then is dropped, and the service counts as
    /// unavailable.
    ///
    /// A call that its callers' deadlines end earlier says nothing of the service.
    #[must_use]
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// Sets how many calls an operation makes at most. One means no retry.
    ///
    /// # Panics
    ///
    /// Panics if `attempts` is zero.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        assert!(attempts > 0, "an operation has at least one attempt");
        self.max_attempts = attempts;
        self
    }

    /// Sets the waits between attempts: a random time up to `first`, which doubles with each attempt up to
    /// `most`.
    ///
    /// The wait that a service asks for is added. An operation fails at once if the wait ends after its deadline.
    #[must_use]
    pub fn backoff(mut self, first: Duration, most: Duration) -> Self {
        self.backoff = Backoff { first, most };
        self
    }

    /// Sets after how many failures in a row the circuit opens, and for how long. Zero failures never open it.
    ///
    /// Calls without a response and those that found the service unavailable count, throttled ones do not. While
    /// the circuit is open no call is made: new operations fail at once, those under way wait for its end, within
    /// their deadlines. Then one call is the probe, whose end closes or opens the circuit.
    #[must_use]
    pub fn circuit(mut self, failures: u32, open_for: Duration) -> Self {
        (self.circuit_failures, self.circuit_open_for) = (failures, open_for);
        self
    }

    /// Sets the generator of the waits' jitter, which returns 64 uniform bits. The default draws from
    /// [`OsRandom`].
    #[must_use]
    pub fn jitter(mut self, generator: impl FnMut() -> u64 + Send + 'static) -> Self {
        self.jitter = Box::new(generator);
        self
    }
}

impl fmt::Debug for CallOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallOptions")
            .field("max_in_flight", &self.max_in_flight)
            .field("deadline", &self.deadline)
            .field("call_timeout", &self.call_timeout)
            .field("max_attempts", &self.max_attempts)
            .field("backoff", &self.backoff)
            .field("circuit", &(self.circuit_failures, self.circuit_open_for))
            .finish_non_exhaustive()
    }
}
