//! Circuit breakers: what fails as a whole is not called for a while, and then once.

use std::time::Duration;

/// So many first attempts that fail in a row count as an outage.
const OUTAGE: u32 = 5;

/// The longest wait before a probe, and the longest that a back end can ask for.
const LONGEST: Duration = Duration::from_secs(60);

/// What a job calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackEnd {
    /// The store of the items.
    Store,
    /// The keyring, or the service behind it.
    Keys,
}

impl std::fmt::Display for BackEnd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            BackEnd::Store => "store",
            BackEnd::Keys => "keyring",
        })
    }
}

/// What one piece of work says about a back end.
#[derive(Clone, Debug)]
pub(crate) enum Sign {
    Works,
    Fails {
        why: String,
        is_throttled: bool,
        retry_after: Option<Duration>,
        /// A later attempt says more about the item than about the back end.
        is_first_attempt: bool,
    },
    /// It was not called, or failed for a reason of the item.
    Unknown,
}

/// What may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passage {
    Free,
    /// One piece of work, to find out whether the back end works again.
    Probe(BackEnd),
    /// Nothing until this time; without a time, until the probe comes back.
    Wait(Option<Duration>),
}

#[derive(Debug)]
pub(crate) struct Breaker {
    back_end: BackEnd,
    state: State,
    failures_in_a_row: u32,
    /// How often it opened since it last worked.
    opened: u32,
    outage: Option<Outage>,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Duration },
    Probing,
}

/// A back end that is unavailable or throttled.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outage {
    /// The back end.
    pub back_end: BackEnd,
    /// Since when nothing is known to work, as a duration since 1970.
    pub since: Duration,
    /// The text of its last error.
    pub why: String,
}

/// Returns how long to wait after a number of failures: 250 ms, doubled each time.
pub(crate) fn wait(failures: u32, asked: Option<Duration>) -> Duration {
    let doubled = Duration::from_millis(250).saturating_mul(1 << failures.min(8));
    asked.unwrap_or(doubled).min(LONGEST)
}

impl Breaker {
    pub(crate) fn new(back_end: BackEnd) -> Self {
        let state = State::Closed;
        Breaker { back_end, state, failures_in_a_row: 0, opened: 0, outage: None }
    }

    pub(crate) fn passage(&self, now: Duration) -> Passage {
        match self.state {
            State::Closed => Passage::Free,
            State::Open { until } if now < until => Passage::Wait(Some(until)),
            State::Open { .. } => Passage::Probe(self.back_end),
            State::Probing => Passage::Wait(None),
        }
    }

    /// Takes note that what begins now is the probe.
    pub(crate) fn probes(&mut self) {
        self.state = State::Probing;
    }

    /// Takes note of what a piece of work says. Returns whether the breaker opens.
    pub(crate) fn saw(&mut self, sign: Sign, now: Duration) -> bool {
        match sign {
            Sign::Works => {
                // Work that began before the breaker opened does not close it.
                if !matches!(self.state, State::Open { .. }) {
                    *self = Breaker::new(self.back_end);
                }
                false
            }
            Sign::Unknown => {
                if self.state == State::Probing {
                    self.state = State::Open { until: now };
                }
                false
            }
            Sign::Fails { why, is_throttled, retry_after, is_first_attempt } => {
                if let Some(outage) = &mut self.outage {
                    outage.why.clone_from(&why);
                }
                self.failures_in_a_row += u32::from(is_first_attempt);
                let opens = match self.state {
                    State::Closed => is_throttled || self.failures_in_a_row >= OUTAGE,
                    State::Probing => true,
                    State::Open { .. } => false,
                };
                if opens {
                    self.open(why, retry_after, now);
                }
                opens
            }
        }
    }

    pub(crate) fn open(&mut self, why: String, retry_after: Option<Duration>, now: Duration) {
        self.opened += 1;
        self.state = State::Open { until: now + wait(self.opened, retry_after) };
        let back_end = self.back_end;
        self.outage.get_or_insert(Outage { back_end, since: now, why });
    }

    /// Returns the outage, while there is one.
    pub(crate) fn outage(&self) -> Option<&Outage> {
        self.outage.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_000);
    const MILLI: Duration = Duration::from_millis(1);

    fn fails(is_first_attempt: bool) -> Sign {
        Sign::Fails { why: "away".into(), is_throttled: false, retry_after: None, is_first_attempt }
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::new(BackEnd::Store);
        assert!((1..OUTAGE).all(|_| !breaker.saw(fails(true), NOW)));
        assert_eq!(breaker.passage(NOW), Passage::Free);
        assert!(breaker.saw(fails(true), NOW));
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_one_probe_closes_it() {
        let mut breaker = opened();
        let until = NOW + 500 * MILLI;
        assert_eq!(breaker.passage(until - MILLI), Passage::Wait(Some(until)));
        assert_eq!(breaker.passage(until), Passage::Probe(BackEnd::Store));
        breaker.probes();
        assert_eq!(breaker.passage(until), Passage::Wait(None));
        assert!(!breaker.saw(Sign::Works, until));
        assert_eq!((breaker.passage(until), breaker.outage()), (Passage::Free, None));
    }

    #[test]
    fn failed_probe_waits_longer_and_the_outage_goes_on() {
        let (mut breaker, mut now, mut waits) = (opened(), NOW, Vec::new());
        for _ in 0..9 {
            let Passage::Wait(Some(until)) = breaker.passage(now) else { panic!("open") };
            waits.push((until - now).as_millis());
            now = until;
            breaker.probes();
            assert!(breaker.saw(fails(false), now));
        }
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(breaker.outage().expect("an outage").since, NOW);
    }

    #[test]
    fn later_attempts_and_work_that_began_earlier_decide_nothing() {
        let mut breaker = Breaker::new(BackEnd::Keys);
        assert!((0..100).all(|_| !breaker.saw(fails(false), NOW)));
        let mut breaker = opened();
        assert!(!breaker.saw(Sign::Works, NOW) && !breaker.saw(fails(true), NOW));
        assert!(matches!(breaker.passage(NOW), Passage::Wait(Some(_))));
        // The probe did not call the back end: the next work is one.
        breaker.probes();
        breaker.saw(Sign::Unknown, NOW);
        assert_eq!(breaker.passage(NOW), Passage::Probe(BackEnd::Store));
    }

    #[test]
    fn one_throttled_call_opens_it_for_as_long_as_is_asked() {
        let mut breaker = Breaker::new(BackEnd::Keys);
        let retry_after = Some(Duration::from_secs(7));
        let why = "slow down".into();
        let sign = Sign::Fails { why, is_throttled: true, retry_after, is_first_attempt: false };
        assert!(breaker.saw(sign, NOW));
        assert_eq!(breaker.passage(NOW), Passage::Wait(Some(NOW + Duration::from_secs(7))));
    }
}
