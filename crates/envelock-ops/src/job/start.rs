//! The beginning of a job, and what it refuses.

use super::page::PageWork;
use super::scan::FIRST_PAGE;
use super::{Job, Phase};
use crate::checkpoint::Checkpoint;
use crate::definition::{Definition, Task, VersionName};
use crate::limiter::Limiter;
use crate::limits::Limits;
use crate::operation::Operation;
use crate::planner::Cause;
use crate::shard::Shard;
use crate::stage::are_valid;
use crate::store::{CompareAndSwap, Properties};
use crate::undo::UndoIndex;
use envelock::SlotLabel;
use std::collections::VecDeque;
use std::time::Duration;

/// What a job needs to know when it begins, from the outside.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "callers fill it in")]
pub struct Start<'a> {
    /// The time, as a duration since 1970.
    pub now: Duration,
    /// What the store is.
    pub properties: Properties,
    /// The limits.
    pub limits: Limits,
    /// The change number of the keyring, where it has one (`FileKeyring`).
    pub keyring_change: Option<u64>,
    /// What tells the keyring from others, where it has such a thing: the ids of its master keys, oldest first. A job goes on
    /// with a keyring that still has the first or the last of those that it had.
    pub keyring_ids: Vec<String>,
    /// How many items the shard has by a listing, where they were counted.
    pub total: Option<u64>,
    /// The versions that items are expected to be under. The job refuses if one of them cannot be read.
    pub sources: &'a [SlotLabel<'a>],
    /// The undo log of an earlier job on the same items that left some as [`Failure::Unsettled`](crate::Failure).
    /// This job then repairs what that one has torn. To be given at each resume, too.
    pub earlier: Option<UndoIndex>,
    /// How much room the undo log needs and has, where that is known.
    pub undo_room: Option<UndoRoom>,
}

impl Start<'_> {
    /// Returns what every job needs.
    pub fn new(now: Duration, properties: Properties) -> Self {
        let limits = Limits::default();
        Start {
            now,
            properties,
            limits,
            keyring_change: None,
            keyring_ids: Vec::new(),
            total: None,
            sources: &[],
            earlier: None,
            undo_room: None,
        }
    }

    /// Returns what a checkpoint has of the keyring: the first id, since a backup of the key file lacks the last, and the
    /// last, since the record of the first can be removed.
    fn keyring_id(&self) -> Option<String> {
        let ids = &self.keyring_ids;
        let (first, last) = ids.first().zip(ids.last())?;
        Some(if first == last { first.clone() } else { format!("{first} {last}") })
    }
}

/// The room for the undo log, in bytes.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "two numbers")]
pub struct UndoRoom {
    /// What a dry run reported as `undo_bytes`.
    pub needed: u64,
    /// What is free where the log is written.
    pub free: u64,
}

/// Why a job does not begin. Nothing was read or written.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The definition contradicts itself.
    #[error("the definition is invalid: {0}")]
    Definition(&'static str),
    /// The store is not that of the definition.
    #[error("the job is defined for {defined}, and the store is {found}")]
    OtherSource {
        /// The name in the definition.
        defined: String,
        /// The name of the store.
        found: String,
    },
    /// The store has no compare-and-swap.
    #[error("{0} has no compare-and-swap, so that work of other writers would be lost")]
    NoCompareAndSwap(String),
    /// The store does not replace bodies.
    #[error("{0} does not replace bodies together with their headers: encrypt to new names")]
    NoBodies(String),
    /// The store does not know which bodies are newer than the time at which the version was retired: each would count as
    /// older.
    #[error(
        "{0} does not know when a body was written, so that the time spares none: leave it out"
    )]
    NoBodyDates(String),
    /// A version that is to be primary is not. Applications would go on wrapping under another one.
    #[error("{0} is not primary: promote it first, or plan the job for what is primary")]
    NotPrimary(VersionName),
    /// The keyring wraps under a name that the definition does not allow.
    #[error("headers would be wrapped under {0}, which the definition does not allow")]
    NameNotAllowed(VersionName),
    /// Items under this version cannot be read.
    #[error("items under {version} cannot be rewrapped: {why}")]
    Unreadable {
        /// The version.
        version: VersionName,
        /// Why.
        why: String,
    },
    /// The keyring is older than that of the checkpoint.
    #[error("the keyring has change {found} and had {saved} before: use the newer key file")]
    OlderKeyring {
        /// The change number now.
        found: u64,
        /// That of the checkpoint.
        saved: u64,
    },
    /// The keyring is not that of the checkpoint. Items of the other one would be excluded.
    #[error("the keyring is {found}, and the job began with {saved}: use that one")]
    OtherKeyring {
        /// The keyring now.
        found: String,
        /// That of the checkpoint.
        saved: String,
    },
    /// The store has another medium than that of the checkpoint, such as an empty mount point.
    #[error(
        "{0} is not what it was when the job began: mount it again, or adopt the job, which begins again"
    )]
    OtherMedium(String),
    /// The undo log does not fit.
    #[error("the undo log needs {needed} bytes and {free} are free: use another directory")]
    UndoRoom {
        /// The bytes that are needed.
        needed: u64,
        /// The bytes that are free.
        free: u64,
    },
    /// The checkpoint is of another definition.
    #[error("the checkpoint belongs to job {found}, not {defined}: use another directory")]
    OtherJob {
        /// The id of the definition.
        defined: String,
        /// The id in the checkpoint.
        found: String,
    },
    /// The checkpoint is of another shard.
    #[error("the checkpoint belongs to shard {found}, not {given}")]
    OtherShard {
        /// The shard that is given.
        given: Shard,
        /// That of the checkpoint.
        found: Shard,
    },
    /// The keys do not serve for the task.
    #[error("the task cannot be done: {0}")]
    Keys(String),
    /// The keyring cannot be read.
    #[error(transparent)]
    Envelope(#[from] envelock::Error),
}

impl Job {
    /// Begins one shard of a job.
    ///
    /// `undo` is the records of its undo log and the length of it: an earlier run whose checkpoint was lost may have left
    /// some. Items that have their new header count as changed. A new log is `(&[], len)`.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub fn new(
        definition: Definition,
        shard: Shard,
        undo: (&[u8], u64),
        start: &Start<'_>,
        operation: &dyn Operation,
    ) -> Result<Self, StartError> {
        let (records, undo_len) = undo;
        check(&definition, start, operation)?;
        let mut state = Checkpoint::new(definition, shard, start.now.as_secs());
        state.targets = operation.targets()?;
        if !state.definition.dry_run {
            state.undo_bytes = undo_len.saturating_sub(records.len() as u64);
        }
        // The first checkpoint comes before the first item, so that a crash in the first page is counted exactly.
        Ok(Job::with_state(state, UndoIndex::tail(records), undo_len, start))
    }

    /// Resumes one shard of a job from its checkpoint.
    ///
    /// `undo_tail` is the undo log from [`Checkpoint::undo_bytes`] on, and `undo_len` its whole length. Items in the
    /// tail that have their new header count as changed, since the job changed them after the checkpoint.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub fn resume(
        definition: &Definition,
        shard: Shard,
        checkpoint: Checkpoint,
        undo: (&[u8], u64),
        start: &Start<'_>,
        operation: &dyn Operation,
    ) -> Result<Self, StartError> {
        let (undo_tail, undo_len) = undo;
        if checkpoint.definition != *definition {
            let (defined, found) = (definition.id(), checkpoint.job);
            return Err(StartError::OtherJob { defined, found });
        }
        if checkpoint.shard != shard {
            return Err(StartError::OtherShard { given: shard, found: checkpoint.shard });
        }
        check(definition, start, operation)?;
        // Change numbers of two keyrings say nothing about each other.
        let ids = start.keyring_id().zip(checkpoint.keyring_id.clone());
        let has =
            |saved: &str| saved.split(' ').any(|id| start.keyring_ids.iter().any(|it| it == id));
        if let Some((found, saved)) = ids.filter(|(_, saved)| !has(saved)) {
            return Err(StartError::OtherKeyring { found, saved });
        }
        let changes = start.keyring_change.zip(checkpoint.keyring_change);
        if let Some((found, saved)) = changes.filter(|(found, saved)| found < saved) {
            return Err(StartError::OlderKeyring { found, saved });
        }
        if !checkpoint.has_source(&start.properties) {
            return Err(StartError::OtherMedium(definition.source.clone()));
        }
        let mut state = checkpoint;
        state.undo_lost |= undo_len < state.undo_bytes;
        // What it adopted, and what it is bound to, is on record before anything else is done.
        Ok(Job::with_state(state, UndoIndex::tail(undo_tail), undo_len, start))
    }

    fn with_state(
        mut state: Checkpoint,
        records: UndoIndex,
        undo_len: u64,
        start: &Start<'_>,
    ) -> Self {
        state.keyring_change = start.keyring_change.or(state.keyring_change);
        state.keyring_id = start.keyring_id().or(state.keyring_id);
        state.source_id = state.source_id.or(start.properties.id.clone());
        state.total = state.total.or(start.total);
        Job {
            page_size: state.definition.page.min(FIRST_PAGE),
            state,
            properties: start.properties.clone(),
            phase: Phase::Save,
            limiter: Limiter::new(start.limits),
            records,
            earlier: start.earlier.clone().unwrap_or_default(),
            page: PageWork::default(),
            counted: VecDeque::new(),
            failures: Vec::new(),
            undo_len,
            checked_at: Duration::ZERO,
            is_probed: false,
            witness: None,
            run_items: 0,
            run_failures: 0,
            run_gone: 0,
            is_mostly_gone: false,
            is_stopping: false,
            halt: None,
        }
    }
}

/// Returns the first version that is to be primary and is not.
pub(super) fn missing_target(
    definition: &Definition,
    targets: &[VersionName],
) -> Option<VersionName> {
    let (Task::Rewrap { to, .. } | Task::Reencrypt { to, .. }) = &definition.task else {
        return None;
    };
    to.iter().find(|version| !targets.contains(version)).cloned()
}

fn check(
    definition: &Definition,
    start: &Start<'_>,
    operation: &dyn Operation,
) -> Result<(), StartError> {
    let invalid = |why| Err(StartError::Definition(why));
    if !are_valid(&definition.stages) {
        return invalid("stages must grow, and the last one must have all items");
    }
    if !definition.sample.is_sorted() {
        return invalid("the sample must ascend");
    }
    if !definition.failure_limit.is_valid() {
        return invalid("the limit of failures and its confidence must be between nothing and all");
    }
    if definition.page == 0 || definition.attempts == 0 {
        return invalid("a page has at least one item, which is tried at least once");
    }
    let Properties { name, compare_and_swap, .. } = &start.properties;
    if definition.source != *name {
        let (defined, found) = (definition.source.clone(), name.clone());
        return Err(StartError::OtherSource { defined, found });
    }
    if definition.writes() && *compare_and_swap == CompareAndSwap::Missing {
        return Err(StartError::NoCompareAndSwap(name.clone()));
    }
    if matches!(definition.task, Task::Reencrypt { .. }) && !start.properties.rewrites_bodies {
        return Err(StartError::NoBodies(name.clone()));
    }
    let has_time = matches!(
        definition.task,
        Task::Reencrypt { cause: Cause::VersionLeaked { retired: Some(_), .. }, .. }
    );
    if has_time && !start.properties.dates_bodies {
        return Err(StartError::NoBodyDates(name.clone()));
    }
    if let Some(why) = operation.refusal(&definition.task) {
        return Err(StartError::Keys(why));
    }
    let targets = operation.targets()?;
    if let Some(missing) = missing_target(definition, &targets) {
        return Err(StartError::NotPrimary(missing));
    }
    if let Some(target) = targets.iter().find(|target| !definition.allows(&target.name)) {
        return Err(StartError::NameNotAllowed(target.clone()));
    }
    for label in start.sources {
        if let Some(why) = operation.unreadable(label)? {
            let version = VersionName::new(label.name.as_str(), label.version);
            return Err(StartError::Unreadable { version, why });
        }
    }
    match start.undo_room {
        Some(UndoRoom { needed, free }) if definition.writes() && needed > free => {
            Err(StartError::UndoRoom { needed, free })
        }
        _ => Ok(()),
    }
}
