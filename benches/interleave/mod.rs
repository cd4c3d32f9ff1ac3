//! Measures lanes beside each other: one sample of each lane a round, in an order that rotates from
//! round to round, and medians of the ratio within a round.
//!
//! Whatever slows the machine for longer than a round slows every lane of it alike, so a ratio is
//! stable where a time is not.
//!
//! Shared by several benchmarks; each uses a part of it.
#![allow(dead_code)]

pub mod lanes;

use std::time::{Duration, Instant};

/// Nanoseconds for one operation: there (encrypt) and back (decrypt).
pub type Sample = [f64; 2];

/// Something that can be measured: a batch of operations there, and a batch back.
pub type Lane<'a> = Box<dyn FnMut() -> Sample + 'a>;

/// Fewest rounds of a group, however long they take.
const MIN_ROUNDS: usize = 9;

/// The samples of a group, by lane and round.
pub struct Rounds(Vec<Vec<Sample>>);

impl Rounds {
    /// Median time of one lane, in nanoseconds.
    pub fn time(&self, lane: usize, way: usize) -> f64 {
        median(self.0[lane].iter().map(|sample| sample[way]))
    }

    /// Median speed of one lane as a part of another's: above 1, it is the faster one.
    pub fn speed(&self, lane: usize, floor: usize, way: usize) -> f64 {
        let rounds = self.0[lane].iter().zip(&self.0[floor]);
        median(rounds.map(|(lane, floor)| floor[way] / lane[way]))
    }

    /// Median of what is left of one lane's time without that of `parts`, in nanoseconds.
    pub fn difference(&self, lane: usize, parts: &[usize], way: usize) -> f64 {
        let rounds = self.0[lane].iter().enumerate();
        median(rounds.map(|(round, sample)| {
            let parts = parts.iter().map(|part| self.0[*part][round][way]);
            sample[way] - parts.sum::<f64>()
        }))
    }
}

/// Measures `lanes` one after the other until `budget` is spent.
///
/// At its turn a lane runs twice, and the second run counts: the first brings its buffers back
/// to the cache that the other lanes have filled with theirs.
pub fn interleave(lanes: &mut [Lane<'_>], budget: Duration) -> Rounds {
    at_least(MIN_ROUNDS, lanes, budget)
}

/// The same for fewer rounds, of operations that take seconds.
pub fn at_least(fewest: usize, lanes: &mut [Lane<'_>], budget: Duration) -> Rounds {
    let mut rounds = vec![Vec::new(); lanes.len()];
    let start = Instant::now();
    for round in 0.. {
        if round >= fewest && start.elapsed() > budget {
            break;
        }
        for offset in 0..lanes.len() {
            let lane = (round + offset) % lanes.len();
            lanes[lane]();
            rounds[lane].push(lanes[lane]());
        }
    }
    Rounds(rounds)
}

/// Nanoseconds for one of `count` operations that `batch` does.
pub fn time(count: usize, batch: impl FnOnce()) -> f64 {
    let start = Instant::now();
    batch();
    start.elapsed().as_nanos() as f64 / count as f64
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
