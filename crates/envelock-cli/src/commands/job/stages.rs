//! The stages of a job: how many items come first, and when the rest follows.

use crate::failure::Failure;
use clap::Args;
use envelock_ops::{FailureLimit, Shard, Stage};
use std::time::Duration;

/// Arguments of the stages of a job.
#[derive(Args, Debug)]
#[command(next_help_heading = "Stages")]
pub struct StageOptions {
    /// Begin with a few items: `default` for as many as prove the limit of failures, a number, or `none`.
    #[arg(long, value_name = "ITEMS", default_value = "default")]
    canary: String,
    /// The stages, each with a larger part of all items: `1%,10%`. The last one has all.
    #[arg(long, value_name = "PARTS", conflicts_with = "canary")]
    stages: Option<String>,
    /// Add to the first stage 30 items of each stratum, or all: of each version, suite, number of slots, size and top directory
    /// [default: yes with the default canary].
    #[arg(long, value_name = "yes|no", value_parser = parse_yes)]
    strata: Option<bool>,
    /// Wait after each stage: 90s, 15m, 2h.
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "0s")]
    soak: Duration,
    /// Run this command after each stage, and go on if it exits with 0.
    #[arg(long, value_name = "CMD")]
    pub gate: Option<String>,
    /// How long the command of a gate has; then its answer is no.
    #[arg(long, value_name = "TIME", value_parser = parse_time, requires = "gate")]
    pub gate_timeout: Option<Duration>,
    /// The rate of failed items that is tolerated.
    #[arg(long, value_name = "PERCENT", default_value = "1%")]
    failure_limit: String,
    /// The confidence of a bound of that rate.
    #[arg(long, value_name = "PERCENT", default_value = "95%")]
    confidence: String,
}

fn parse_yes(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("write yes or no".into()),
    }
}

/// Parses `I/N` or `auto`.
pub fn parse_shard(text: &str) -> Result<Shard, String> {
    if text == "auto" {
        return Shard::auto(|name| std::env::var(name).ok()).map_err(|error| error.to_string());
    }
    let parts = text.split_once('/').and_then(|(index, count)| {
        Some((index.trim().parse::<u32>().ok()?, count.trim().parse::<u32>().ok()?))
    });
    let (index, count) = parts.ok_or("write I/N, such as 3/16, or auto")?;
    Shard::new(index, count).map_err(|error| error.to_string())
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.strip_prefix(digits) {
        Some("" | "s") => 1,
        Some("m" | "min") => 60,
        Some("h") => 3600,
        Some("d") => 86_400,
        _ => return Err("write 90s, 15m, 2h or 1d".into()),
    };
    let number: u64 = digits.parse().map_err(|_| "write 90s, 15m, 2h or 1d")?;
    Ok(Duration::from_secs(number.saturating_mul(unit)))
}

/// Parses a percentage into parts of a whole.
fn parts(text: &str, whole: f64) -> Result<u32, Failure> {
    let wrong = || Failure::usage(format!("{text:?} is no percentage"), "write `1%` or `0.1%`");
    let percent: f64 = text.trim().trim_end_matches('%').parse().map_err(|_| wrong())?;
    let parts = (percent / 100.0 * whole).round();
    // Neither nothing nor more than all.
    if parts >= 1.0 && parts <= whole { Ok(parts as u32) } else { Err(wrong()) }
}

impl StageOptions {
    /// Returns the limit of failures.
    ///
    /// # Errors
    ///
    /// A percentage is wrong.
    pub fn limit(&self) -> Result<FailureLimit, Failure> {
        let confidence = parts(&self.confidence, 1000.0)?;
        Ok(FailureLimit {
            millionths: parts(&self.failure_limit, 1_000_000.0)?,
            // At most 1,000.
            confidence_thousandths: confidence as u16,
        })
    }

    /// Returns whether the stages depend on how many items there are.
    pub fn are_counted(&self) -> bool {
        self.stages.is_none() && self.canary != "none"
    }

    /// Returns whether the first stage has items of each stratum.
    pub fn has_strata(&self) -> bool {
        self.strata.unwrap_or(self.stages.is_none() && self.canary == "default")
    }

    /// Returns the stages that are given, or one with all items where they are counted later.
    ///
    /// # Errors
    ///
    /// A stage or the canary is wrong, or the parts of a job would have different stages.
    pub fn given(&self, shard: Shard) -> Result<Vec<Stage>, Failure> {
        if self.strata == Some(true) && shard.count() > 1 {
            let what =
                "the strata of a divided job would depend on when each part reads the headers";
            return Err(Failure::usage(what, "leave `--strata yes` away"));
        }
        if let Some(stages) = &self.stages {
            let soak_seconds = self.soak.as_secs();
            let mut given = Vec::new();
            for part in stages.split(',') {
                given.push(Stage { up_to_millionths: parts(part, 1_000_000.0)?, soak_seconds });
            }
            if given.last().is_none_or(|last| last.up_to_millionths < 1_000_000) {
                given.push(Stage::all());
            }
            return Ok(given);
        }
        if self.are_counted() && shard.count() > 1 {
            let what =
                "the canary of a divided job would depend on when each part counts the items";
            let next = "give every part the same stages, `--stages 1%,10%`, or `--canary none`";
            return Err(Failure::usage(what, next));
        }
        self.wanted()?;
        Ok(vec![Stage::all()])
    }

    /// Returns the stages for so many items.
    ///
    /// # Errors
    ///
    /// The canary is wrong.
    pub fn counted(&self, limit: FailureLimit, items: u64) -> Result<Vec<Stage>, Failure> {
        let soak_seconds = self.soak.as_secs();
        let Some(wanted) = self.wanted()? else {
            return Ok(Stage::canary(items, limit, soak_seconds));
        };
        let part = u128::from(wanted).saturating_mul(1_000_000) / u128::from(items.max(1));
        let up_to_millionths = u32::try_from(part).unwrap_or(1_000_000).clamp(1, 1_000_000);
        let mut stages = vec![Stage { up_to_millionths, soak_seconds }];
        if up_to_millionths < 1_000_000 {
            stages.push(Stage::all());
        }
        Ok(stages)
    }

    /// Returns the items of the canary that are given; `None` for `default` and `none`.
    fn wanted(&self) -> Result<Option<u64>, Failure> {
        if matches!(self.canary.as_str(), "default" | "none") {
            return Ok(None);
        }
        self.canary.parse().map(Some).map_err(|_| {
            let what = format!("{:?} is no canary", self.canary);
            Failure::usage(what, "`--canary 300`, `default` or `none`")
        })
    }
}
