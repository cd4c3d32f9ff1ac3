//! The report of a shard, and that of a whole job.

use crate::calls::Calls;
use crate::census::{Census, Use};
use crate::checkpoint::{Adopted, Checkpoint};
use crate::definition::{Definition, VersionName};
use crate::outcome::Tally;
use crate::population::Population;
use crate::shard::Shard;
use crate::stage::StageReport;
use crate::strata::Strata;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const FORMAT: &str = "envelock job report";
const VERSION: u32 = 1;

/// The report of one shard of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Report {
    format: String,
    version: u32,
    /// The id of the job.
    pub job: String,
    /// Its definition.
    pub definition: Definition,
    /// The shard.
    pub shard: Shard,
    /// Whether every item of the shard was dealt with. A report of a job that was stopped or halted is not complete.
    pub is_complete: bool,
    /// The counts.
    pub tally: Tally,
    /// Which items were listed, as a digest; `None` in a census of labels over a store that lists headers.
    #[serde(default)]
    pub population: Option<Population>,
    /// The ids of the first and of the last master key of the keyring, with a space between them, or the one that it has:
    /// where the caller gave them.
    #[serde(default)]
    pub keyring_id: Option<String>,
    /// The change number of the keyring, where it has one.
    #[serde(default)]
    pub keyring_change: Option<u64>,
    /// What a census found.
    pub census: Option<Census>,
    /// The calls that were made; in a dry run, those that the job would make. A run that was killed had made some more.
    pub calls: Calls,
    /// What the stages proved.
    pub stages: Vec<StageReport>,
    /// In a dry run, the strata of the items that would be changed.
    pub strata: Option<Strata>,
    /// The primaries when the shard began, and those of other names that its slots are under.
    #[serde(default)]
    pub targets: Vec<VersionName>,
    /// Whether the primaries changed while the job ran, so that "current" had two meanings: run it again.
    pub targets_changed: bool,
    /// The length of the undo log; in a dry run, the length that it would have.
    pub undo_bytes: u64,
    /// Whether the undo log was cut, so that not every header can be restored.
    pub undo_lost: bool,
    /// The definitions that the job had before, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adopted: Vec<Adopted>,
    /// When the job began, in seconds since 1970.
    pub began: u64,
    /// When the report was made, in seconds since 1970.
    pub ended: u64,
}

impl Report {
    pub(crate) fn new(state: &Checkpoint, now: u64) -> Self {
        Report {
            format: FORMAT.into(),
            version: VERSION,
            job: state.job.clone(),
            definition: state.definition.clone(),
            shard: state.shard,
            is_complete: state.is_finished,
            tally: state.tally,
            population: state.population,
            keyring_id: state.keyring_id.clone(),
            keyring_change: state.keyring_change,
            census: (!state.census.is_empty()).then(|| state.census.clone()),
            calls: state.calls,
            stages: state.stages.clone(),
            strata: state.definition.dry_run.then(|| state.strata.clone()),
            targets: state.targets.clone(),
            targets_changed: state.targets_changed,
            undo_bytes: state.undo_bytes,
            undo_lost: state.undo_lost,
            adopted: state.adopted.clone(),
            began: state.began,
            ended: now,
        }
    }

    /// Returns what the calls cost by the prices of the definition, in billionths of a unit of currency.
    pub fn spent(&self) -> u64 {
        self.calls.cost(self.definition.prices)
    }

    /// Returns the versions that slots name although the definition does not allow the name. Their items are in the
    /// list of failures of a census, as `not_allowed`.
    pub fn not_allowed(&self) -> impl Iterator<Item = &Use> {
        let uses = self.census.iter().flat_map(|census| &census.uses);
        uses.filter(|used| !self.definition.allows(&used.name))
    }
}

/// The sum of the reports of all shards of a job.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Merged {
    /// The id of the job.
    pub job: String,
    /// The counts of all shards.
    pub tally: Tally,
    /// Which items all shards listed, if all reports say.
    pub population: Option<Population>,
    /// The census of all shards.
    pub census: Census,
    /// The calls of all shards.
    pub calls: Calls,
    /// In a dry run, the strata of all shards.
    pub strata: Strata,
    /// How many shards there are.
    pub shards: u32,
    /// Whether the primaries changed while a shard ran, or between two shards.
    pub targets_changed: bool,
    /// Whether the undo log of a shard was cut.
    pub undo_lost: bool,
}

/// Why reports are not merged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// There is no report.
    #[error("no report is given")]
    Nothing,
    /// The reports are of different jobs, or of one job that was divided in different ways.
    #[error(
        "report of shard {shard} of job {job} does not belong to shard {of_first} of job {expected}"
    )]
    OtherJob {
        /// The job of the report.
        job: String,
        /// Its shard.
        shard: String,
        /// The job of the first report.
        expected: String,
        /// The shard of the first report.
        of_first: String,
    },
    /// The counts of a report do not add up: it was changed, or is of a job that failed.
    #[error("counts of the report of shard {shard} do not add up to the items that it listed")]
    Counts {
        /// The shard.
        shard: String,
    },
    /// Shards have no report.
    #[error("no complete report of shard {} (counted from 0): run or resume it", list(.0))]
    Missing(Vec<u32>),
}

fn list(shards: &[u32]) -> String {
    shards.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

/// Adds up the reports of all shards of a job. Of two reports of one shard, the later one counts.
///
/// # Errors
///
/// [`MergeError`]; a missing or incomplete shard is an error, since the sum would look complete.
pub fn merge(reports: &[Report]) -> Result<Merged, MergeError> {
    let first = reports.first().ok_or(MergeError::Nothing)?;
    let mut shards: BTreeMap<u32, &Report> = BTreeMap::new();
    for report in reports {
        if report.job != first.job || report.shard.count() != first.shard.count() {
            return Err(MergeError::OtherJob {
                job: report.job.clone(),
                shard: report.shard.to_string(),
                expected: first.job.clone(),
                of_first: first.shard.to_string(),
            });
        }
        let before = shards.get(&report.shard.index());
        let is_newer = before.is_none_or(|before| {
            (before.is_complete, before.ended) <= (report.is_complete, report.ended)
        });
        if is_newer {
            shards.insert(report.shard.index(), report);
        }
    }
    let is_missing = |index: &u32| shards.get(index).is_none_or(|report| !report.is_complete);
    let missing: Vec<u32> = (0..first.shard.count()).filter(is_missing).collect();
    if !missing.is_empty() {
        return Err(MergeError::Missing(missing));
    }
    if let Some(report) = shards.values().find(|report| !report.tally.is_balanced()) {
        return Err(MergeError::Counts { shard: report.shard.to_string() });
    }
    let mut merged = Merged {
        job: first.job.clone(),
        tally: Tally::default(),
        population: Some(Population::default()),
        census: Census::default(),
        calls: Calls::default(),
        strata: Strata::default(),
        shards: first.shard.count(),
        targets_changed: has_two_of_a_name(shards.values().flat_map(|report| &report.targets)),
        undo_lost: false,
    };
    for report in shards.values() {
        merged.tally = merged.tally.plus(report.tally);
        let populations = merged.population.zip(report.population);
        merged.population = populations.map(|(sum, more)| sum.plus(more));
        merged.calls = merged.calls.plus(report.calls);
        merged.targets_changed |= report.targets_changed;
        merged.undo_lost |= report.undo_lost;
        if let Some(census) = &report.census {
            merged.census.merge(census);
        }
        if let Some(strata) = &report.strata {
            merged.strata.merge(strata);
        }
    }
    Ok(merged)
}

fn has_two_of_a_name<'a>(versions: impl Iterator<Item = &'a VersionName>) -> bool {
    let mut by_name = BTreeMap::new();
    versions.into_iter().any(|it| *by_name.entry(&it.name).or_insert(it.version) != it.version)
}
