//! The checkpoint of one shard of a job (FORMAT 1): one JSON object that ends with a check of itself.

use crate::calls::Calls;
use crate::census::Census;
use crate::definition::{Definition, Task, VersionName};
use crate::digest::{hex, sha256};
use crate::item::ItemKey;
use crate::job::{Start, StartError};
use crate::operation::Operation;
use crate::outcome::Tally;
use crate::population::Population;
use crate::shard::Shard;
use crate::stage::StageReport;
use crate::store::Properties;
use crate::strata::Strata;
use serde::{Deserialize, Serialize};

const FORMAT: &str = "envelock job";
const VERSION: u32 = 1;

/// What stands before the check.
const CHECK: &str = ",\"check\":\"";

/// The state of one shard of a job between two pages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    pub(crate) format: String,
    pub(crate) version: u32,
    /// The id of the definition, for people and tools.
    pub(crate) job: String,
    pub(crate) definition: Definition,
    pub(crate) shard: Shard,
    /// The stage under way, from 0.
    pub(crate) stage: usize,
    /// The last key that was dealt with in this stage: an exclusive lower bound of the rest.
    pub(crate) after: Option<ItemKey>,
    /// Whether the stage has no more items and waits for a decision, since when (seconds since 1970).
    pub(crate) at_gate_since: Option<u64>,
    pub(crate) is_finished: bool,
    pub(crate) tally: Tally,
    /// Of the items that were listed; `None` where headers were counted while they were listed.
    #[serde(default)]
    pub(crate) population: Option<Population>,
    /// Items tried and failed in this stage.
    pub(crate) stage_items: u64,
    pub(crate) stage_failures: u64,
    #[serde(default)]
    pub(crate) stage_conflicts: u64,
    /// The same by stratum; in a dry run over all stages.
    pub(crate) strata: Strata,
    pub(crate) stages: Vec<StageReport>,
    pub(crate) census: Census,
    pub(crate) calls: Calls,
    /// The primaries when the job began.
    pub(crate) targets: Vec<VersionName>,
    /// Whether the primaries have changed since.
    pub(crate) targets_changed: bool,
    /// The change number of the keyring, where it has one.
    pub(crate) keyring_change: Option<u64>,
    /// The keyring, where it has an id.
    #[serde(default)]
    pub(crate) keyring_id: Option<String>,
    /// The medium of the items, where the store can tell it from another of the same name.
    #[serde(default)]
    pub(crate) source_id: Option<String>,
    /// How many items the shard had when the job began, where that was counted.
    #[serde(default)]
    pub(crate) total: Option<u64>,
    /// Whether the job has halted since most items were gone. It halts so once.
    #[serde(default)]
    pub(crate) halted_for_gone: bool,
    /// The length of the undo log: records behind it belong to the page that comes next.
    pub(crate) undo_bytes: u64,
    /// Whether the undo log is shorter than it was, so that not everything can be restored.
    pub(crate) undo_lost: bool,
    pub(crate) failures_bytes: u64,
    /// The definitions that the job had before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) adopted: Vec<Adopted>,
    /// Seconds since 1970.
    pub(crate) began: u64,
    pub(crate) written: u64,
}

/// A definition under which a job ran before it went on under another one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Adopted {
    /// The id of the job until then.
    pub job: String,
    /// Its definition until then.
    pub definition: Definition,
    /// The counts until then.
    pub tally: Tally,
    /// When it changed, in seconds since 1970.
    pub at: u64,
}

/// Why a checkpoint is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The check at the end is missing or does not belong to the rest.
    #[error(
        "checkpoint is damaged: remove it, and the job begins again and finds what is done in its undo log"
    )]
    Damaged,
    /// The checkpoint is not one of this version.
    #[error("not a checkpoint of version 1: {0}")]
    Format(String),
}

impl Checkpoint {
    pub(crate) fn new(definition: Definition, shard: Shard, now: u64) -> Self {
        Checkpoint {
            format: FORMAT.into(),
            version: VERSION,
            job: definition.id(),
            definition,
            shard,
            stage: 0,
            after: None,
            at_gate_since: None,
            is_finished: false,
            tally: Tally::default(),
            population: Some(Population::default()),
            stage_items: 0,
            stage_failures: 0,
            stage_conflicts: 0,
            strata: Strata::default(),
            stages: Vec::new(),
            census: Census::default(),
            calls: Calls::default(),
            targets: Vec::new(),
            targets_changed: false,
            keyring_change: None,
            keyring_id: None,
            source_id: None,
            total: None,
            halted_for_gone: false,
            undo_bytes: 0,
            undo_lost: false,
            failures_bytes: 0,
            adopted: Vec::new(),
            began: now,
            written: now,
        }
    }

    /// Returns the bytes of the file.
    #[expect(clippy::expect_used, reason = "the checkpoint has no map with other keys than text")]
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut json = serde_json::to_string(self).expect("a checkpoint is JSON");
        json.pop();
        let check = hex(&sha256(&[json.as_bytes()]));
        json.push_str(CHECK);
        json.push_str(&check);
        json.push_str("\"}\n");
        json.into_bytes()
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`].
    pub fn read(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let text = std::str::from_utf8(bytes).map_err(|_| CheckpointError::Damaged)?;
        let (body, check) = text.rsplit_once(CHECK).ok_or(CheckpointError::Damaged)?;
        if check.strip_suffix("\"}\n") != Some(&hex(&sha256(&[body.as_bytes()]))) {
            return Err(CheckpointError::Damaged);
        }
        let format = |why: String| CheckpointError::Format(why);
        let checkpoint: Checkpoint = serde_json::from_str(&format!("{body}}}"))
            .map_err(|error| format(error.to_string()))?;
        if checkpoint.format != FORMAT || checkpoint.version != VERSION {
            return Err(format(format!("{} version {}", checkpoint.format, checkpoint.version)));
        }
        if checkpoint.job != checkpoint.definition.id() {
            return Err(format("the id is not that of the definition".into()));
        }
        Ok(checkpoint)
    }

    /// Returns the checkpoint from which the job goes on under another definition, and keeps the one that it had.
    ///
    /// With another task, seed, stages or sample, or if the store has another [`id`](crate::Properties::id), the job begins again, since its counts would have two meanings: what was
    /// changed is then current. Otherwise it goes on where it was.
    ///
    /// # Errors
    ///
    /// [`StartError::OtherJob`] if the task is of another kind, [`StartError::OtherSource`] if the items are others.
    pub fn adopt(
        self,
        definition: &Definition,
        start: &Start<'_>,
        operation: &dyn Operation,
    ) -> Result<Self, StartError> {
        let old = &self.definition;
        let has_source = self.has_source(&start.properties);
        if old == definition && has_source {
            return Ok(self);
        }
        let kind = |task: &Task| (std::mem::discriminant(task), task.trusts_backend());
        if kind(&old.task) != kind(&definition.task) {
            return Err(StartError::OtherJob { defined: definition.id(), found: self.job });
        }
        if old.source != definition.source {
            let (defined, found) = (old.source.clone(), definition.source.clone());
            return Err(StartError::OtherSource { defined, found });
        }
        // These decide what was done to which items so far.
        let done =
            |of: &Definition| (of.task.clone(), of.seed, of.stages.clone(), of.sample.clone());
        let goes_on = done(old) == done(definition) && has_source;
        let mut adopted = self.adopted.clone();
        let (job, definition_before) = (self.job.clone(), old.clone());
        adopted.push(Adopted {
            job,
            definition: definition_before,
            tally: self.tally,
            at: start.now.as_secs(),
        });
        if goes_on {
            let (job, definition) = (definition.id(), definition.clone());
            return Ok(Checkpoint { job, definition, adopted, ..self });
        }
        let Checkpoint { shard, keyring_change, keyring_id, undo_bytes, undo_lost, began, .. } =
            self;
        let targets = operation.targets()?;
        let new = Checkpoint::new(definition.clone(), shard, began);
        Ok(Checkpoint {
            targets,
            keyring_change,
            keyring_id,
            undo_bytes,
            undo_lost,
            adopted,
            ..new
        })
    }

    /// Returns whether the store may be the one that the job began with.
    pub(crate) fn has_source(&self, properties: &Properties) -> bool {
        self.source_id.is_none() || self.source_id == properties.id
    }

    /// Returns the id of the job that the undo log begins with.
    pub(crate) fn undo_job(&self) -> &str {
        self.adopted.first().map_or(&self.job, |first| &first.job)
    }

    /// Returns the change number that the keyring had when the last run began, if it has one.
    pub fn keyring_change(&self) -> Option<u64> {
        self.keyring_change
    }

    /// Returns the definitions that the job had before, oldest first.
    pub fn adopted(&self) -> &[Adopted] {
        &self.adopted
    }

    /// Returns when the checkpoint was written, in seconds since 1970.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Returns the stage under way, from 0, and whether it waits for a decision.
    pub fn stage(&self) -> (usize, bool) {
        (self.stage, self.at_gate_since.is_some())
    }

    /// Returns the definition of the job.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// Returns the shard.
    pub fn shard(&self) -> Shard {
        self.shard
    }

    /// Returns the counts so far.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Returns whether the job has ended.
    pub fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// Returns the offset in the undo log from which [`Job::resume`](crate::Job::resume) needs it.
    pub fn undo_bytes(&self) -> u64 {
        self.undo_bytes
    }
}
