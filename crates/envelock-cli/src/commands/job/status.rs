//! `envelock job status` and `merge`: what the records of jobs say.

use super::check::check;
use super::console::{grouped, now, readable};
use super::control::running;
use super::counts::tally_line;
use super::failure_list;
use super::limits::describe;
use super::listing::shards;
use super::parts::checkpoint;
use super::run::CONTROL;
use super::settings::Settings;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{printable, shell_word};
use clap::Args;
use envelock_ops::drivers::Controls;
use envelock_ops::{Checkpoint, Report, Shard, Tally};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Arguments of `job status`.
#[derive(Args, Debug)]
pub struct JobStatus {
    /// The directory of the job.
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
    /// Open the keyring and the source of the job, and say why they would not let it go on. Nothing is written.
    #[arg(long)]
    check: bool,
}

impl JobStatus {
    /// Prints how far each shard is, from its last checkpoint.
    ///
    /// # Errors
    ///
    /// It is no directory of a job, a checkpoint is damaged, or a check finds that the job would be refused.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let settings = Settings::of_anyone(&self.directory)?;
        let running = running(&self.directory)?;
        let controls = Controls::read(self.directory.join(CONTROL))?;
        let known = shards(&self.directory, ".checkpoint")?;
        if known.is_empty() {
            self.not_begun(context, &settings, !running.is_empty())?;
        }
        let mut open = Vec::new();
        for (shard, path) in known.clone() {
            let checkpoint = checkpoint(&path)?;
            let is_running = running.contains(&shard);
            if !is_running && !checkpoint.is_finished() {
                open.push((shard, Some(path.clone())));
            }
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
        if known.is_empty() && running.is_empty() {
            open.push((Shard::WHOLE, None));
        }
        if self.check { check(context, &self.directory, &open) } else { Ok(()) }
    }

    /// Says that no part of the job has begun, and what begins it.
    fn not_begun(
        &self,
        context: &Context,
        settings: &Settings,
        is_running: bool,
    ) -> Result<(), Failure> {
        let output = context.output();
        let state = if is_running { "begins" } else { "not begun" };
        output.result(
            || match is_running {
                true => "the job begins now: it has no checkpoint so far".into(),
                false => "the job has not begun: it has no checkpoint".into(),
            },
            || {
                json!({
                    "shard": null, "job": settings.definition.id(), "state": state,
                    "running": is_running, "tally": Tally::default(),
                })
            },
        )?;
        if !is_running {
            let next = format!("`envelock job resume {}`", shell_word(&self.directory));
            output.progress(|| format!("next: {next}"), || json!({ "next": next }));
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

pub fn read_report(path: &Path) -> Result<Report, Failure> {
    let subject = printable(path);
    let bytes = std::fs::read(path).map_err(|error| Failure::io(&subject, &error))?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let what = format!("{subject} is no report of a job: {error}");
        Failure::new(Exit::Usage, what, "name files that end with `.report.json`")
    })
}
