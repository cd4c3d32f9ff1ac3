//! `envelock job`: work on many messages that survives kills, and counts each of them once.

mod advice;
mod again;
mod check;
pub mod console;
mod control;
mod counts;
pub mod failure_list;
mod left;
mod limits;
mod listing;
mod merge;
pub mod money;
mod parts;
mod plan;
mod reencrypt;
mod resume;
mod run;
pub mod settings;
pub mod stages;
mod start;
mod status;
mod survey;
mod task;
mod window;

use crate::context::Context;
use crate::failure::Failure;
use clap::Subcommand;

/// Commands on jobs.
#[derive(Subcommand)]
pub enum Job {
    /// Show what a job would do, by labels. Nothing is written.
    Plan(start::JobOptions),
    /// Rewrap every message of a source after a rotation, add or remove a key, or encrypt again.
    Start(start::StartJob),
    /// Resume a job that was stopped, killed or halted, or let a paused one go on.
    Resume(resume::ResumeJob),
    /// Show how far a job is.
    Status(status::JobStatus),
    /// Change the limits of a job while it runs.
    Set(control::SetJob),
    /// Let a job begin no item until `resume`.
    Pause(control::PauseJob),
    /// Stop a job cleanly.
    Stop(control::StopJob),
    /// Try the items again that are left.
    Retry(again::RetryJob),
    /// Put the old headers back.
    Undo(again::UndoJob),
    /// Add up the reports of the shards of a job.
    Merge(merge::MergeReports),
}

impl Job {
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        match self {
            Job::Plan(plan) => plan.plan(context),
            Job::Start(start) => start.run(context),
            Job::Resume(resume) => resume.run(context),
            Job::Status(status) => status.run(context),
            Job::Set(set) => set.run(context),
            Job::Pause(pause) => pause.run(context),
            Job::Stop(stop) => stop.run(context),
            Job::Retry(retry) => retry.run(context),
            Job::Undo(undo) => undo.run(context),
            Job::Merge(merge) => merge.run(context),
        }
    }
}
