//! The circuit breaker, a state machine without a clock.

use std::time::Duration;
use tokio::time::Instant;

/// Lets no call through for a while, once so many in a row found no service.
#[derive(Debug)]
pub(crate) struct Breaker {
    failures: u32,
    open_for: Duration,
    state: State,
    /// The number of changes between open and closed. A call that began before the last says nothing new.
    epoch: u64,
}

#[derive(Debug)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen,
}

/// The leave to make one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admission {
    epoch: u64,
}

/// Why a call is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    /// The time until the circuit is half open, or zero while the probe is running.
    pub(crate) retry_in: Duration,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The service responded, be it with an error.
    Responded,
    /// The service was not there.
    Unavailable,
    /// The caller left before.
    Abandoned,
}

impl Breaker {
    /// Returns a closed one, which opens for `open_for` at `failures` in a row. Zero never opens.
    pub(crate) fn new(failures: u32, open_for: Duration) -> Self {
        Breaker { failures, open_for, state: State::Closed { failures: 0 }, epoch: 0 }
    }

    /// Returns the time until the circuit is half open, if it is open.
    pub(crate) fn is_open(&self, now: Instant) -> Option<Rejection> {
        match self.state {
            State::Open { until } if now < until => Some(Rejection { retry_in: until - now }),
            _ => None,
        }
    }

    /// Admits a call, which is the probe if the time of an open circuit is over.
    pub(crate) fn admit(&mut self, now: Instant) -> Result<Admission, Rejection> {
        if let Some(rejection) = self.is_open(now) {
            return Err(rejection);
        }
        match self.state {
            State::Closed { .. } => {}
            State::Open { .. } => self.enter(State::HalfOpen),
            State::HalfOpen => return Err(Rejection { retry_in: Duration::ZERO }),
        }
        Ok(Admission { epoch: self.epoch })
    }

    /// Takes note of the end of a call. Returns whether the circuit has opened by it.
    pub(crate) fn ended(&mut self, call: Admission, end: End, now: Instant) -> bool {
        if call.epoch != self.epoch {
            return false;
        }
        match (&mut self.state, end) {
            (State::Closed { failures }, End::Responded) => *failures = 0,
            (State::Closed { failures }, End::Unavailable) => {
                *failures = failures.saturating_add(1);
                if *failures == self.failures {
                    return self.open(now);
                }
            }
            (State::HalfOpen, End::Responded) => self.enter(State::Closed { failures: 0 }),
            (State::HalfOpen, End::Unavailable) => return self.open(now),
            // The next call is the probe.
            (State::HalfOpen, End::Abandoned) => self.enter(State::Open { until: now }),
            (State::Closed { .. }, End::Abandoned) | (State::Open { .. }, _) => {}
        }
        false
    }

    fn open(&mut self, now: Instant) -> bool {
        self.enter(State::Open { until: super::after(now, self.open_for) });
        true
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.epoch += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(2);

    fn after(failures: u32, now: Instant) -> Breaker {
        let mut breaker = Breaker::new(3, OPEN_FOR);
        for _ in 0..failures {
            let call = breaker.admit(now).unwrap();
            breaker.ended(call, End::Unavailable, now);
        }
        breaker
    }

    #[test]
    fn third_failure_in_a_row_opens() {
        let now = Instant::now();
        let mut breaker = after(2, now);
        let call = breaker.admit(now).unwrap();
        breaker.ended(call, End::Responded, now);
        for opens in [false, false, true] {
            let call = breaker.admit(now).unwrap();
            assert_eq!(breaker.ended(call, End::Unavailable, now), opens);
        }
        assert_eq!(breaker.admit(now), Err(Rejection { retry_in: OPEN_FOR }));
    }

    #[test]
    fn calls_that_were_abandoned_do_not_count() {
        let now = Instant::now();
        let mut breaker = after(2, now);
        for _ in 0..9 {
            let call = breaker.admit(now).unwrap();
            assert!(!breaker.ended(call, End::Abandoned, now));
        }
        let call = breaker.admit(now).unwrap();
        assert!(breaker.ended(call, End::Unavailable, now));
    }

    #[test]
    fn one_probe_decides_once_the_time_is_over() {
        let now = Instant::now();
        let then = now + OPEN_FOR;
        for (end, closes) in [(End::Responded, true), (End::Unavailable, false)] {
            let mut breaker = after(3, now);
            let early = then - Duration::from_nanos(1);
            assert_eq!(breaker.admit(early), Err(Rejection { retry_in: Duration::from_nanos(1) }));
            let probe = breaker.admit(then).unwrap();
            assert_eq!(breaker.admit(then), Err(Rejection { retry_in: Duration::ZERO }));
            assert_eq!(breaker.ended(probe, end, then), !closes);
            assert_eq!(breaker.admit(then).is_ok(), closes);
            assert_eq!(breaker.is_open(then).is_some(), !closes);
        }
    }

    #[test]
    fn abandoned_probe_gives_way_to_the_next() {
        let now = Instant::now();
        let then = now + OPEN_FOR;
        let mut breaker = after(3, now);
        let probe = breaker.admit(then).unwrap();
        breaker.ended(probe, End::Abandoned, then);
        assert!(breaker.admit(then).is_ok());
        assert!(breaker.admit(then).is_err());
    }

    #[test]
    fn ends_of_earlier_calls_change_nothing() {
        let now = Instant::now();
        let then = now + OPEN_FOR;
        let mut breaker = Breaker::new(1, OPEN_FOR);
        let early = [(); 4].map(|()| breaker.admit(now).unwrap());
        let opening = breaker.admit(now).unwrap();
        assert!(breaker.ended(opening, End::Unavailable, now));
        breaker.ended(early[0], End::Responded, now);
        assert!(breaker.admit(now).is_err());
        breaker.ended(early[1], End::Unavailable, now + OPEN_FOR / 2);
        let probe = breaker.admit(then).unwrap();
        breaker.ended(early[2], End::Abandoned, then);
        assert!(breaker.admit(then).is_err());
        breaker.ended(probe, End::Responded, then);
        assert!(!breaker.ended(early[3], End::Unavailable, then));
        assert!(breaker.admit(then).is_ok());
    }

    #[test]
    fn limit_of_zero_never_opens() {
        let now = Instant::now();
        let mut breaker = Breaker::new(0, OPEN_FOR);
        for _ in 0..100 {
            let call = breaker.admit(now).unwrap();
            assert!(!breaker.ended(call, End::Unavailable, now));
        }
    }
}
