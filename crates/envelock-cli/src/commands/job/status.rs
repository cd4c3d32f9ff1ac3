//! `envelock job status` and `merge`: what the records of jobs say.

use super::console::{grouped, now, readable};
use super::control::running;
use super::failure_list;
use super::left::{Finished, notes};
use super::limits::describe;
use super::listing::shards;
use super::parts::checkpoint;
use super::run::{CONTROL, tally_line};
use super::settings::Settings;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{printable, shell_word};
use clap::Args;
use envelock_ops::drivers::Controls;
use envelock_ops::{Checkpoint, MergeError, Report, Shard, Task, merge};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Arguments of `job status`.
#[derive(Args, Debug)]
pub struct JobStatus {
    /// The directory of the job.
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

impl JobStatus {
    /// Prints how far each shard is, from its last checkpoint.
    ///
    /// # Errors
    ///
    /// It is no directory of a job, or a checkpoint is damaged.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let settings = Settings::of_anyone(&self.directory)?;
        let running = running(&self.directory)?;
        let controls = Controls::read(self.directory.join(CONTROL)).map_err(|error| {
            Failure::from(error).naming("DIRECTORY", shell_word(&self.directory))
        })?;
        for (shard, path) in shards(&self.directory, ".checkpoint")? {
            let checkpoint = checkpoint(&path)?;
            let is_running = running.contains(&shard);
            let left = failure_list::reasons(&path.with_extension("failures.jsonl"));
            let state = state(&checkpoint, is_running, controls.paused);
            context.output().result(
                || text(shard, &settings, &checkpoint, state, &controls) + &why_left(&left),
                || {
                    json!({
                        "shard": shard,
                        "job": settings.definition.id(),
                        "state": state,
                        "running": is_running,
                        "stage": checkpoint.stage().0.saturating_add(1),
                        "stages": settings.definition.stages.len(),
                        "tally": checkpoint.tally(),
                        "left": left,
                        "controls": controls,
                        "written": checkpoint.written(),
                    })
                },
            )?;
        }
        Ok(())
    }
}

fn why_left(reasons: &[(String, u64)]) -> String {
    let line = |(why, items): &(String, u64)| {
        format!("\nleft {}: {}", grouped(*items), printable(Path::new(why)))
    };
    reasons.iter().map(line).collect()
}

fn state(checkpoint: &Checkpoint, is_running: bool, is_paused: bool) -> &'static str {
    match (checkpoint.is_finished(), is_running, checkpoint.stage().1) {
        (true, ..) => "finished",
        (_, true, _) if is_paused => "paused",
        (_, true, true) => "waits after a stage",
        (_, true, _) => "runs",
        (_, false, true) => "stopped after a stage",
        (_, false, _) => "stopped",
    }
}

fn text(
    shard: Shard,
    settings: &Settings,
    checkpoint: &Checkpoint,
    state: &str,
    controls: &Controls,
) -> String {
    let (stage, _) = checkpoint.stage();
    let age = now().saturating_sub(Duration::from_secs(checkpoint.written()));
    let mut text = format!(
        "shard {shard}  {state}  stage {} of {}  checkpoint {} old\n{}",
        stage.saturating_add(1),
        settings.definition.stages.len(),
        readable(Duration::from_secs(age.as_secs())),
        tally_line(&settings.definition.task, checkpoint.tally()),
    );
    let limits = describe(controls);
    if !limits.is_empty() {
        text += &format!("\nlimits {}", limits.join(" "));
    }
    for before in checkpoint.adopted() {
        text += &format!(
            "\nadopted from job {}, which had listed {}",
            before.job,
            grouped(before.tally.listed)
        );
    }
    text
}

/// Arguments of `job merge`.
#[derive(Args, Debug)]
pub struct MergeReports {
    /// Reports of the shards of one job, or directories that have them.
    #[arg(required = true, value_name = "REPORT")]
    reports: Vec<PathBuf>,
}

impl MergeReports {
    /// Adds up the reports of all shards.
    ///
    /// # Errors
    ///
    /// A shard is missing or not complete, or items are left.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let mut paths = Vec::new();
        for path in &self.reports {
            match path.is_dir() {
                true => paths.extend(shards(path, ".report.json")?.into_iter().map(|(_, it)| it)),
                false => paths.push(path.clone()),
            }
        }
        let reports = paths.iter().map(|path| read_report(path)).collect::<Result<Vec<_>, _>>()?;
        let merged = merge(&reports).map_err(|error| {
            let mut failure = Failure::from(error.clone());
            if let (MergeError::Missing(index), Some(report), [directory]) =
                (error, reports.first(), self.reports.as_slice())
                && directory.is_dir()
                && let Some(index) = index.first()
            {
                let (word, count) = (shell_word(directory), report.shard.count());
                failure.next = format!("`envelock job resume {word} --shard {index}/{count}`");
            }
            failure
        })?;
        let task = reports.first().map(|report| report.definition.task.clone());
        context.output().result(
            || {
                let mut text = format!("job {} in {} shards", merged.job, merged.shards);
                if let Some(task) = &task {
                    text += &format!("\n{}", tally_line(task, merged.tally));
                }
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
        let Some(task) = &task else { return Ok(()) };
        let list = |(path, report): (&PathBuf, &Report)| {
            failure_list::path(path.parent().unwrap_or(Path::new("")), report.shard)
        };
        let lists: Vec<PathBuf> = paths.iter().zip(&reports).map(list).collect();
        Finished {
            task,
            tally: merged.tally,
            targets_changed: merged.targets_changed,
            is_whole: !matches!(task, Task::Census { .. }),
            list: String::new(),
            absent: failure_list::absent(&lists, merged.tally.absent),
            disabled: None,
            new_job: "`envelock job start SOURCE -d NEW`".into(),
            retry: match self.reports.as_slice() {
                [directory] if directory.is_dir() => {
                    format!("`envelock job retry {}`", shell_word(directory))
                }
                paths => {
                    let directories = paths.iter().filter_map(|path| match path.is_dir() {
                        true => Some(path.as_path()),
                        false => path.parent(),
                    });
                    let words: BTreeSet<String> = directories.map(word_of_directory).collect();
                    let retry =
                        |word: &String| format!("`envelock job retry {word} --other-directories`");
                    words.iter().map(retry).collect::<Vec<_>>().join(", then ")
                }
            },
        }
        .result()
    }
}

fn word_of_directory(path: &Path) -> String {
    // That of a bare file name is empty.
    shell_word(if path.as_os_str().is_empty() { Path::new(".") } else { path })
}

pub fn read_report(path: &Path) -> Result<Report, Failure> {
    let subject = printable(path);
    let bytes = std::fs::read(path).map_err(|error| Failure::io(&subject, &error))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let what = format!("{subject} is no report of a job: {error}");
        Failure::new(Exit::Usage, what, "name files that end with `.report.json`")
    })
}
