//! Stages of a job, and what the items of one prove about the rest.

use crate::strata::{Strata, StratumCount};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Parts of a million.
const MILLION: u32 = 1_000_000;

/// A stage of a job: the items up to a part of all, chosen by a hash of their keys.
///
/// Each item is in exactly one stage. The choice does not depend on what the job writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "two numbers")]
pub struct Stage {
    /// The part of all items that is done after this stage, in millionths.
    pub up_to_millionths: u32,
    /// How long the job waits after this stage before it asks whether to go on, in seconds.
    pub soak_seconds: u64,
}

impl Stage {
    /// Returns the stage with all items.
    pub const fn all() -> Self {
        Stage { up_to_millionths: MILLION, soak_seconds: 0 }
    }

    /// Returns the stages canary, 1 %, 10 % and all for `items` items. The canary has as many items as prove
    /// the limit if none fails; stages that it contains are left out.
    pub fn canary(items: u64, limit: FailureLimit, soak_seconds: u64) -> Vec<Self> {
        // A fifth more, since the hash decides how many there are.
        let needed = limit.needed().saturating_mul(6).div_ceil(5);
        let part = u128::from(needed) * u128::from(MILLION) / u128::from(items.max(1)) + 1;
        let canary = u32::try_from(part).unwrap_or(MILLION).min(MILLION);
        let parts = [canary, 10_000, 100_000, MILLION];
        let mut stages: Vec<Stage> = Vec::new();
        for up_to_millionths in parts {
            if stages.last().is_none_or(|last| up_to_millionths > last.up_to_millionths) {
                stages.push(Stage { up_to_millionths, soak_seconds });
            }
        }
        if let Some(last) = stages.last_mut() {
            last.soak_seconds = 0;
        }
        stages
    }

    /// Returns whether an item with this hash is in this stage or an earlier one, by the size of the stage.
    pub(crate) fn has(&self, hash: u64) -> bool {
        // The product is below a million times 2^64.
        let part = (u128::from(hash) * u128::from(MILLION)) >> 64;
        part < u128::from(self.up_to_millionths)
    }
}

/// Returns whether stages grow and the last one has all items.
pub(crate) fn are_valid(stages: &[Stage]) -> bool {
    stages.is_sorted_by(|a, b| a.up_to_millionths < b.up_to_millionths)
        && stages.first().is_some_and(|stage| stage.up_to_millionths > 0)
        && stages.last().is_some_and(|stage| stage.up_to_millionths == MILLION)
}

/// The rate of failed items that a job tolerates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "two numbers")]
pub struct FailureLimit {
    /// The rate, in millionths.
    pub millionths: u32,
    /// The confidence of a bound, in thousandths: 950 or 990, for example.
    pub confidence_thousandths: u16,
}

impl Default for FailureLimit {
    /// Returns 1 % at a confidence of 95 %.
    fn default() -> Self {
        FailureLimit { millionths: 10_000, confidence_thousandths: 950 }
    }
}

impl FailureLimit {
    fn rate(self) -> f64 {
        f64::from(self.millionths) / f64::from(MILLION)
    }

    fn error(self) -> f64 {
        1.0 - f64::from(self.confidence_thousandths) / 1000.0
    }

    /// Returns whether both numbers are between nothing and all.
    pub(crate) fn is_valid(self) -> bool {
        (1..MILLION).contains(&self.millionths) && (1..1000).contains(&self.confidence_thousandths)
    }

    /// Returns how many items without a failure prove a rate below the limit: 299 for 1 % at 95 %.
    pub fn needed(self) -> u64 {
        // Saturates for limits that nobody can prove.
        (self.error().ln() / (1.0 - self.rate()).ln()).ceil() as u64
    }

    /// Returns whether `failures` of `items` prove that the rate is above the limit, so that the job halts.
    pub fn is_exceeded(self, failures: u64, items: u64) -> bool {
        failures > 0 && lower_bound(failures, items, self.error()) > self.rate()
    }

    /// Returns whether `failures` of `items` prove that the rate is below the limit.
    pub fn is_kept(self, failures: u64, items: u64) -> bool {
        upper_bound(failures, items, self.error()) < self.rate()
    }
}

/// What the items of a stage prove.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct StageReport {
    /// The number of the stage, from 0.
    pub stage: usize,
    /// The items that were tried: changed, current, or failed.
    pub items: u64,
    /// The items that failed.
    pub failures: u64,
    /// The items that were not tried, since other writers changed them in each attempt.
    #[serde(default)]
    pub conflicts: u64,
    /// How many items without a failure prove the limit of the job.
    #[serde(default)]
    pub needed: u64,
    /// The rate of failures is at most this, in millionths, at the confidence.
    pub at_most_millionths: u32,
    /// The confidence, in thousandths.
    pub confidence_thousandths: u16,
    /// Whether the rate is proven to be below the limit of the job, and that of no stratum above it.
    pub passes: bool,
    /// The strata that have failures.
    pub failing: Vec<StratumCount>,
}

/// The items of a stage.
#[derive(Clone, Copy)]
pub(crate) struct Tried {
    pub(crate) items: u64,
    pub(crate) failures: u64,
    pub(crate) conflicts: u64,
}

impl StageReport {
    pub(crate) fn new(stage: usize, tried: Tried, strata: &Strata, limit: FailureLimit) -> Self {
        let Tried { items, failures, conflicts } = tried;
        let failing = strata.counts().iter().filter(|count| count.failures > 0);
        let failing: Vec<_> = failing.cloned().collect();
        let is_exceeded = |of: &StratumCount| limit.is_exceeded(of.failures, of.items);
        let upper = upper_bound(failures, items, limit.error());
        StageReport {
            stage,
            items,
            failures,
            conflicts,
            needed: limit.needed(),
            // At most a million.
            at_most_millionths: (upper * f64::from(MILLION)).ceil() as u32,
            confidence_thousandths: limit.confidence_thousandths,
            passes: limit.is_kept(failures, items)
                && !is_mostly_conflicts(items, conflicts)
                && !failing.iter().any(is_exceeded),
            failing,
        }
    }

    /// Returns whether nothing speaks against the next stage: the stage passes, or nothing failed among too few items to
    /// prove the limit. The next stage has more of them.
    pub fn is_clean(&self) -> bool {
        self.passes || self.failures == 0 && !is_mostly_conflicts(self.items, self.conflicts)
    }

    /// Returns how many items without a failure are missing for a proof of the limit, if nothing failed and any are.
    pub fn missing(&self) -> Option<u64> {
        self.needed.checked_sub(self.items).filter(|&missing| missing > 0 && self.failures == 0)
    }
}

/// Returns whether so few items were tried that they stand for nothing.
fn is_mostly_conflicts(items: u64, conflicts: u64) -> bool {
    conflicts > 0 && conflicts >= items
}

impl fmt::Display for StageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StageReport { stage, items, failures, conflicts, .. } = self;
        let upper = f64::from(self.at_most_millionths) / 10_000.0;
        let confidence = f64::from(self.confidence_thousandths) / 10.0;
        let number = stage + 1;
        if items + conflicts == 0 {
            return write!(f, "stage {number}: no items");
        }
        write!(
            f,
            "stage {number}: {failures} of {items} failed, at most {upper:.4} % at {confidence} %"
        )?;
        if *conflicts > 0 {
            write!(f, "; {conflicts} not tried, changed by other writers")?;
        }
        for StratumCount { stratum, items, failures, .. } in self.failing.iter().take(3) {
            write!(f, "; {failures} of {items} of {stratum}")?;
        }
        Ok(())
    }
}

/// Returns the upper one-sided Clopper-Pearson bound of a rate (Biometrika 26, 1934): the rate at which `failures`
/// or fewer of `items` have the probability `error`.
fn upper_bound(failures: u64, items: u64, error: f64) -> f64 {
    if failures >= items {
        return 1.0;
    }
    bisect(|rate| at_most(failures, items, rate) > error)
}

/// Returns the lower bound: the rate at which `failures` or more of `items` have the probability `error`.
fn lower_bound(failures: u64, items: u64, error: f64) -> f64 {
    let Some(fewer) = failures.checked_sub(1) else { return 0.0 };
    bisect(|rate| 1.0 - at_most(fewer, items, rate) < error)
}

/// Returns the rate up to which `is_below` holds.
fn bisect(is_below: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if is_below(middle) { low = middle } else { high = middle }
    }
    high
}

/// Returns the probability of at most `failures` of `items` at a rate: the sum of the binomial terms, in
/// logarithms so that none underflows.
fn at_most(failures: u64, items: u64, rate: f64) -> f64 {
    let (n, odds) = (items as f64, rate.ln() - (-rate).ln_1p());
    let mut term = n * (-rate).ln_1p();
    let mut sum = term;
    for k in 0..failures {
        term += (n - k as f64).ln() - (k as f64 + 1.0).ln() + odds;
        let (high, low) = if sum > term { (sum, term) } else { (term, sum) };
        sum = high + (low - high).exp().ln_1p();
        // What follows is below the precision of the sum.
        if term < sum - 50.0 && (k as f64) > n * rate {
            break;
        }
    }
    sum.exp().min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::ItemKey;

    #[test]
    fn bounds_are_those_of_the_tables() {
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 5e-5, "{found}");
        near(upper_bound(0, 300, 0.05), 0.00994);
        near(upper_bound(0, 2995, 0.05), 0.0009997);
        near(upper_bound(0, 4603, 0.01), 0.0009999);
        // R: binom.test(3, 10, alternative = "less" and "greater").
        near(upper_bound(3, 10, 0.05), 0.60662);
        near(lower_bound(3, 10, 0.05), 0.08726);
        near(upper_bound(3000, 100_000, 0.05), 0.03090);
        assert!((upper_bound(7, 7, 0.05) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn one_failure_of_three_does_not_halt_and_many_do() {
        let limit = FailureLimit { millionths: 50_000, confidence_thousandths: 950 };
        assert!(!limit.is_exceeded(0, 3) && !limit.is_exceeded(0, 0));
        let strict = FailureLimit::default();
        assert!(!strict.is_exceeded(1, 100) && strict.is_exceeded(10, 100));
        assert!(strict.is_kept(0, 299) && !strict.is_kept(0, 298));
        assert_eq!(strict.needed(), 299);
    }

    #[test]
    fn each_item_is_in_one_stage_and_parts_are_as_large_as_said() {
        let stages = Stage::canary(100_000, FailureLimit::default(), 60);
        assert!(are_valid(&stages));
        let mut counts = vec![0_u32; stages.len()];
        let definition = crate::Definition {
            seed: 7,
            stages: stages.clone(),
            ..crate::Definition::new("memory", crate::Task::rewrap())
        };
        for number in 0..20_000_u32 {
            let key = ItemKey::new(number.to_be_bytes()).expect("4 bytes");
            counts[definition.stage_of(&key)] += 1;
        }
        assert_eq!(stages.len(), 4);
        assert!((40..110).contains(&counts[0]), "{counts:?}");
        assert!((1500..2000).contains(&counts[2]), "{counts:?}");
        assert_eq!(Stage::canary(100, FailureLimit::default(), 60), [Stage::all()]);
    }
}
