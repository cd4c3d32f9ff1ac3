//! Why the keyring and the source of a job would not let it go on: what a start and a resume refuse, without a lock and without
//! a write.

use super::again;
use super::console::{now, stop_flag};
use super::parts::checkpoint;
use super::run::Run;
use super::settings::Settings;
use crate::context::Context;
use crate::failure::Failure;
use envelock_ops::drivers::WorkDirectoryError;
use envelock_ops::{Job, Shard, Start, Store as _};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Checks shards that are not finished, each with its checkpoint if it has begun.
///
/// # Errors
///
/// The keyring or the source does not open, or a shard would be refused.
pub fn check(
    context: &Context,
    directory: &Path,
    shards: &[(Shard, Option<PathBuf>)],
) -> Result<(), Failure> {
    if shards.is_empty() {
        return Ok(());
    }
    let settings = Settings::read(directory)?;
    let keyring = settings.open_keyring(context)?;
    let (store, keys, earlier) = again::open(context, &settings, &keyring)?;
    for (shard, checkpoint) in shards {
        let run = Run {
            context,
            directory,
            settings: &settings,
            shard: *shard,
            keyring: &keyring,
            keys: &keys,
            store: &store,
            earlier: earlier.clone(),
            set: &[],
            adopts: false,
            resumes: true,
            releases: false,
        };
        run.check(checkpoint.as_deref())?;
    }
    let (text, what) = ("its keyring and its source let the job go on", "passed");
    context.output().result(|| text.into(), || json!({ "check": what }))
}

impl Run<'_> {
    fn check(&self, begun: Option<&Path>) -> Result<(), Failure> {
        let definition = &self.settings.definition;
        let start = Start {
            keyring_change: self.keyring.change_number(),
            keyring_ids: self.keyring.ids()?,
            ..Start::new(now(), self.store.properties())
        };
        let (job, change) = match begun {
            Some(path) => {
                let state = checkpoint(path)?;
                // The log says nothing about keys and source.
                let (change, undo) = (state.keyring_change(), (&[][..], state.undo_bytes()));
                (Job::resume(definition, self.shard, state, undo, &start, self.keys), change)
            }
            // As if the keyring was changed: no run has read the headers.
            None => (Job::new(definition.clone(), self.shard, (&[], 0), &start, self.keys), None),
        };
        let refused = |error| self.refused(WorkDirectoryError::Start(error), begun.is_some());
        job.map(drop).map_err(refused)?;
        self.check_versions(Some(change), &stop_flag()?)
    }
}
