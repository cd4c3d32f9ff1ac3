//! The parts of a job, by the records in its directory.

use super::listing::shards;
use super::settings::Settings;
use crate::failure::{Exit, Failure};
use crate::open_source::absolute;
use crate::output::{printable, shell_word};
use envelock_ops::{Checkpoint, Shard};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The shards of a directory that are not finished.
pub struct Open {
    /// Those with a checkpoint.
    pub begun: Vec<Shard>,
    /// Those of the same count without one.
    pub absent: Vec<Shard>,
}

impl Open {
    /// Reads the checkpoints of a directory.
    ///
    /// # Errors
    ///
    /// One is damaged.
    pub fn of(directory: &Path) -> Result<Self, Failure> {
        let known = shards(directory, ".checkpoint")?;
        let (mut begun, mut absent) = (Vec::new(), Vec::new());
        for (shard, path) in &known {
            if !checkpoint(path)?.is_finished() {
                begun.push(*shard);
            }
        }
        let is_known = |shard: &Shard| known.iter().any(|(it, _)| it == shard);
        let counts: BTreeSet<u32> = known.iter().map(|(shard, _)| shard.count()).collect();
        for count in counts {
            let all = (0..count).filter_map(|index| Shard::new(index, count).ok());
            absent.extend(all.filter(|shard| !is_known(shard)));
        }
        Ok(Open { begun, absent })
    }
}

/// Returns the first shards of several, as text.
pub fn list(shards: &[Shard]) -> String {
    let mut list: Vec<String> = shards.iter().take(8).map(ToString::to_string).collect();
    if shards.len() > list.len() {
        list.push("...".into());
    }
    list.join(", ")
}

/// Returns the shard that is not finished; of a job that is finished, its last one.
///
/// # Errors
///
/// Several are not, or one never began.
pub fn unfinished(directory: &Path) -> Result<Shard, Failure> {
    let open = Open::of(directory)?;
    match (open.begun.as_slice(), open.absent.as_slice()) {
        ([shard], _) => Ok(*shard),
        ([], []) => {
            let known = shards(directory, ".checkpoint")?;
            Ok(known.last().map_or(Shard::WHOLE, |(shard, _)| *shard))
        }
        (begun, absent) => {
            let open = [begun, absent].concat();
            let what = format!("shards {} are not finished", list(&open));
            let first = open.first().map_or_else(String::new, ToString::to_string);
            let next = format!("`envelock job resume {} --shard {first}`", shell_word(directory));
            Err(Failure::usage(what, next))
        }
    }
}

/// Reads a checkpoint.
///
/// # Errors
///
/// It is damaged.
pub fn checkpoint(path: &Path) -> Result<Checkpoint, Failure> {
    let subject = printable(path);
    let bytes = std::fs::read(path).map_err(|error| Failure::io(&subject, &error))?;
    Checkpoint::read(&bytes).map_err(|error| {
        let (file, directory) = (shell_word(path), path.parent().map_or_else(String::new, shell_word));
        let next = format!(
            "`mv {file} {file}.damaged`, then `envelock job resume {directory}`: what is done is found as current"
        );
        Failure::new(Exit::NotVerified, format!("{subject}: {error}"), next)
    })
}

/// Returns the directory of the job that a retry belongs to; that of another job is its own.
///
/// # Errors
///
/// It is no directory of a job.
pub fn of_job(directory: &Path) -> Result<PathBuf, Failure> {
    let mut job = directory.to_path_buf();
    while Settings::read(&job)?.retries.is_some() {
        let above = absolute(&job)?.parent().map(Path::to_path_buf);
        let Some(above) = above.filter(|above| Settings::exist(above)) else { break };
        // A path that was given relative stays so.
        let parent = job.parent().filter(|parent| !parent.as_os_str().is_empty());
        job = parent.map_or(above, Path::to_path_buf);
    }
    Ok(job)
}
