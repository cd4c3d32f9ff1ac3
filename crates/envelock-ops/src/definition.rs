//! The definition of a job: what is done, to which items, in which stages.

use crate::calls::{KEY_CALLS, Prices};
use crate::digest::{hex, sha256};
use crate::item::ItemKey;
use crate::planner::Cause;
use crate::stage::{FailureLimit, Stage};
use crate::strata::stage_hash;
use envelock::{KeyVersion, SlotLabel};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The definition of a job. All shards and all runs of one job have the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::exhaustive_structs,
    reason = "callers set some fields and take the others from `new`"
)]
pub struct Definition {
    /// The name of the store ([`Properties::name`](crate::Properties::name)).
    pub source: String,
    /// What is done to each item.
    pub task: Task,
    /// Whether nothing is written. `changed` then counts what would be.
    pub dry_run: bool,
    /// The stages, each with a larger part of the items. The last one has all.
    pub stages: Vec<Stage>,
    /// Decides which items come in which stage. Another seed selects others.
    pub seed: u64,
    /// Items that come in the first stage whatever its size, by their hashes in ascending order:
    /// [`Strata::sample`](crate::Strata::sample) of a dry run.
    pub sample: Vec<u64>,
    /// The rate of failed items above which the job halts.
    pub failure_limit: FailureLimit,
    /// The names of the keys that headers may be wrapped under; empty for all. For rules of residency: a job refuses another
    /// target, and a census lists the items that have a slot of another name.
    pub allowed_names: Vec<String>,
    /// What calls cost, for [`Limits::spend`](crate::Limits::spend) and the report.
    pub prices: Prices,
    /// How many items are listed, logged and saved together. One sync of the undo log serves so many.
    pub page: usize,
    /// How often an item is tried before it counts as a conflict or a failure.
    pub attempts: u8,
}

impl Definition {
    /// Returns a definition with one stage, pages of 500 items and three attempts, which halts if more than
    /// 1 % of the items fail.
    pub fn new(source: impl Into<String>, task: Task) -> Self {
        Definition {
            source: source.into(),
            task,
            dry_run: false,
            stages: vec![Stage::all()],
            seed: 0,
            sample: Vec::new(),
            failure_limit: FailureLimit::default(),
            allowed_names: Vec::new(),
            prices: Prices::default(),
            page: 500,
            attempts: 3,
        }
    }

    /// Returns the id of the job: the SHA-256 of its definition as JSON, in hexadecimal.
    pub fn id(&self) -> String {
        #[expect(clippy::expect_used, reason = "the definition has no map and no float")]
        let json = serde_json::to_vec(self).expect("a definition is JSON");
        hex(&sha256(&[&json]))
    }

    /// Returns the stage that has the item.
    pub(crate) fn stage_of(&self, key: &ItemKey) -> usize {
        if self.stages.len() < 2 {
            return 0;
        }
        let hash = stage_hash(self.seed, key);
        if self.sample.binary_search(&hash).is_ok() {
            return 0;
        }
        let in_stage = |stage: &Stage| stage.has(hash);
        self.stages.iter().position(in_stage).unwrap_or(self.stages.len() - 1)
    }

    /// Returns whether headers may have slots of this name.
    pub(crate) fn allows(&self, name: &str) -> bool {
        self.allowed_names.is_empty() || self.allowed_names.iter().any(|allowed| allowed == name)
    }

    /// Returns whether items can be written.
    pub(crate) fn writes(&self) -> bool {
        !self.dry_run && !matches!(self.task, Task::Census { .. })
    }
}

/// What is done to each item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
#[non_exhaustive]
pub enum Task {
    /// Slots are rewrapped under the primary version.
    Rewrap {
        /// The versions that are to be primary; the job refuses if one is not. Empty: whatever is primary.
        to: Vec<VersionName>,
        /// Compromised versions that are rewrapped from.
        from_compromised: Vec<VersionName>,
        /// The version that must not open the new header.
        retiring: Option<VersionName>,
        /// Whether a key service makes new slots on its side, which nobody proves
        /// ([`RewrapOptions::trusting_backend`](envelock::RewrapOptions::trusting_backend)). Not for directories, which
        /// unwrap a slot of each header before they write it.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        trusts_backend: bool,
    },
    /// Bodies are encrypted again under new data keys, where [`advise`](crate::advise) says so.
    Reencrypt {
        /// The versions that are to be primary, as for a rewrap.
        to: Vec<VersionName>,
        /// Why; decides which items are due.
        cause: Cause,
    },
    /// Slots of another keyring are added.
    AddName {
        /// Compromised versions that are opened for it.
        from_compromised: Vec<VersionName>,
    },
    /// The slots of a name are removed.
    RemoveName {
        /// The name.
        name: String,
    },
    /// Old headers are put back from the undo log of another job.
    Restore {
        /// The id of the job that is undone.
        job: String,
    },
    /// Items are counted by the versions that open them. Nothing is changed.
    Census {
        /// What is relied on.
        mode: CensusMode,
    },
}

impl Task {
    /// Returns a rewrap to whatever is primary, from no compromised version.
    pub fn rewrap() -> Self {
        Task::Rewrap {
            to: Vec::new(),
            from_compromised: Vec::new(),
            retiring: None,
            trusts_backend: false,
        }
    }

    /// Returns whether nobody proves what is written.
    pub(crate) fn trusts_backend(&self) -> bool {
        matches!(self, Task::Rewrap { trusts_backend: true, .. })
    }

    /// Returns the calls of the keys for an item that is changed.
    pub(crate) fn key_calls(&self) -> u64 {
        if self.trusts_backend() { 1 } else { KEY_CALLS }
    }

    /// Returns a new encryption under whatever is primary.
    pub fn reencrypt(cause: Cause) -> Self {
        Task::Reencrypt { to: Vec::new(), cause }
    }

    /// Returns the word for what was done to an item that was changed.
    pub fn verb(&self) -> &'static str {
        match self {
            Task::Rewrap { .. } => "rewrapped",
            Task::Reencrypt { .. } => "encrypted again",
            Task::AddName { .. } => "added",
            Task::RemoveName { .. } => "removed",
            Task::Restore { .. } => "restored",
            Task::Census { .. } => "counted",
        }
    }
}

/// What a census relies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CensusMode {
    /// The labels of the headers, without a key. Anyone who can write a header can write a label.
    Labels,
    /// Each slot is unwrapped and its data key checked.
    Opened,
}

/// A version of a named master key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "a name and a version")]
pub struct VersionName {
    /// The key name.
    pub name: String,
    /// The version, not 0.
    pub version: u32,
}

impl VersionName {
    /// Returns the name of a version.
    pub fn new(name: impl Into<String>, version: KeyVersion) -> Self {
        VersionName { name: name.into(), version: version.number() }
    }

    /// Returns whether a slot is labelled so.
    pub(crate) fn is_of(&self, label: &SlotLabel<'_>) -> bool {
        label.name.as_str() == self.name && label.version.number() == self.version
    }
}

impl fmt::Display for VersionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.name, self.version)
    }
}
