//! `envelock job merge`: the sum of the reports of all shards.

use super::counts::tally_line;
use super::failure_list;
use super::left::{Finished, notes};
use super::listing::shards;
use super::settings::Settings;
use super::start::free_name;
use super::status::read_report;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{printable, shell_word};
use clap::Args;
use envelock_ops::{MergeError, Merged, Report, Task, merge};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Arguments of `job merge`.
#[derive(Args, Debug)]
pub struct MergeReports {
    /// Reports of the shards of one job, or directories that have them.
    #[arg(required = true, value_name = "REPORT")]
    reports: Vec<PathBuf>,
}

/// A report and the file that it was read from.
struct Read {
    path: PathBuf,
    report: Report,
}

impl Read {
    /// Returns the directory of its job.
    fn directory(&self) -> &Path {
        match self.path.parent() {
            // That of a bare file name is empty.
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }
}

impl MergeReports {
    /// Adds up the reports of all shards.
    ///
    /// # Errors
    ///
    /// A shard is missing or not complete, or items are left.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let mut all = Vec::new();
        for path in &self.reports {
            let paths = match path.is_dir() {
                true => shards(path, ".report.json")?.into_iter().map(|(_, path)| path).collect(),
                false => vec![path.clone()],
            };
            for path in paths {
                let report = read_report(&path)?;
                all.push(Read { path, report });
            }
        }
        let reports: Vec<Report> = all.iter().map(|read| read.report.clone()).collect();
        let merged = merge(&reports).map_err(|error| self.refused(&error, &all))?;
        let Some(first) = all.first() else { return Ok(()) };
        let task = &first.report.definition.task;
        context.output().result(
            || {
                let mut text = format!(
                    "job {} in {} shards\n{}",
                    merged.job,
                    merged.shards,
                    tally_line(task, merged.tally)
                );
                text += &notes(merged.targets_changed, merged.undo_lost);
                if !merged.census.uses.is_empty() || !merged.census.unopenable.is_empty() {
                    text += &format!("\n{}", crate::commands::census::table(&merged.census));
                }
                text
            },
            || {
                json!({
                    "job": merged.job,
                    "shards": merged.shards,
                    "tally": merged.tally,
                    "census": merged.census,
                    "population": merged.population,
                    "targets_changed": merged.targets_changed,
                    "undo_lost": merged.undo_lost,
                })
            },
        )?;
        self.left(&merged, task, &all)
    }

    /// Says what is left of the whole job.
    fn left(&self, merged: &Merged, task: &Task, all: &[Read]) -> Result<(), Failure> {
        let list = |read: &Read| failure_list::path(read.directory(), read.report.shard);
        let lists: Vec<PathBuf> = all.iter().map(list).collect();
        let directories: BTreeSet<&Path> = all.iter().map(Read::directory).collect();
        let others = match self.reports.as_slice() {
            [directory] if directory.is_dir() => "",
            _ => " --other-directories",
        };
        let retry =
            |directory: &&Path| format!("`envelock job retry {}{others}`", shell_word(directory));
        let retries: Vec<String> = directories.iter().map(retry).collect();
        Finished {
            task,
            tally: merged.tally,
            targets_changed: merged.targets_changed,
            is_whole: !matches!(task, Task::Census { .. }),
            list: String::new(),
            absent: failure_list::absent(&lists, merged.tally.absent),
            disabled: None,
            new_job: new_job(&directories),
            retry: retries.join(", then "),
        }
        .result()
    }

    /// Names the files and the commands of reports that are not added up.
    fn refused(&self, error: &MergeError, all: &[Read]) -> Failure {
        let failure = Failure::from(error.clone());
        let (Some(first), Some(given)) = (all.first(), self.reports.first()) else {
            // Directories without a report.
            let what = format!("{} has no report of a job", self.given());
            let given =
                self.reports.first().map_or_else(|| "DIRECTORY".into(), |it| shell_word(it));
            return Failure::new(failure.exit, what, format!("`envelock job resume {given}`"));
        };
        let is_of_first = |read: &&Read| {
            read.report.job == first.report.job
                && read.report.shard.count() == first.report.shard.count()
        };
        match error {
            MergeError::OtherJob { .. } => {
                let other = all.iter().find(|read| !is_of_first(read)).unwrap_or(first);
                let (first, other) = (printable(&first.path), printable(&other.path));
                let next =
                    format!("merge {first} and {other} each with the reports of its own job");
                failure.of(other).with_next(next)
            }
            MergeError::Counts { .. } => {
                let wrong = all.iter().find(|read| !read.report.tally.is_balanced());
                let path = &wrong.unwrap_or(first).path;
                let next = format!(
                    "take {} from a backup: it is not as the job wrote it",
                    shell_word(path)
                );
                failure.of(printable(path)).with_next(next)
            }
            MergeError::Missing(missing) => {
                let index = missing.first().copied().unwrap_or_default();
                let count = first.report.shard.count();
                let part = all.iter().find(|read| read.report.shard.index() == index);
                let directory = match (part, self.reports.as_slice()) {
                    (Some(part), _) => Some(part.directory()),
                    (None, [_]) if given.is_dir() => Some(given.as_path()),
                    _ => None,
                };
                let next = match directory.map(shell_word) {
                    Some(word) => format!("`envelock job resume {word} --shard {index}/{count}`"),
                    None => format!("name its report, too: `{index}-of-{count}.report.json`"),
                };
                failure.with_next(next)
            }
            _ => failure,
        }
    }

    fn given(&self) -> String {
        self.reports.iter().map(|path| printable(path)).collect::<Vec<_>>().join(", ")
    }
}

/// Returns the command that starts a job on the same source for what is primary now, as far as a directory tells it.
fn new_job(directories: &BTreeSet<&Path>) -> String {
    let settings = directories.iter().find_map(|directory| {
        Settings::of_anyone(directory).ok().map(|settings| (settings, *directory))
    });
    let (source, directory) = match settings {
        Some((settings, directory)) => {
            (shell_word(Path::new(&settings.source)), shell_word(&free_name(directory)))
        }
        None => ("SOURCE".into(), "NEW".into()),
    };
    format!("`envelock job start {source} -d {directory}`")
}
