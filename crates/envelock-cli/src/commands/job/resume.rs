//! `envelock job resume`.

use super::run::Run;
use super::settings::Settings;
use super::stages::parse_shard;
use super::{again, control};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::shell_word;
use clap::Args;
use envelock_ops::Shard;
use std::path::{Path, PathBuf};

/// Arguments of `job resume`.
#[derive(Args, Debug)]
pub struct ResumeJob {
    /// The directory of the job.
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
    /// The part of the items: `3/16`, from 0 on, or `auto` [default: the shard that is not finished].
    #[arg(long, value_name = "I/N", value_parser = parse_shard)]
    shard: Option<Shard>,
    /// A limit, such as items-per-second=500.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Release the stage that the job waits at, whatever it proved.
    #[arg(long)]
    release: bool,
}

impl ResumeJob {
    /// Lets a paused job go on, or resumes one that does not run.
    ///
    /// # Errors
    ///
    /// The job is refused, or did not finish with nothing left.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let settings = Settings::read(&self.directory)?;
        let running = control::running(&self.directory)?;
        let is_mine = |shard: &Shard| self.shard.is_none_or(|wanted| wanted == *shard);
        if running.iter().any(is_mine) {
            if self.release {
                let what = "the job still runs: a stage is released once it is stopped";
                let next = format!("`envelock job stop {}`", shell_word(&self.directory));
                return Err(Failure::new(Exit::Refused, what, next));
            }
            return control::go_on(context, &self.directory, &self.set);
        }
        let shard = match self.shard {
            Some(shard) => shard,
            None => super::parts::unfinished(&self.directory)?,
        };
        resume(context, &self.directory, &settings, shard, &self.set, self.release)
    }
}

/// Resumes a shard by the settings of its job.
pub fn resume(
    context: &Context,
    directory: &Path,
    settings: &Settings,
    shard: Shard,
    set: &[String],
    releases: bool,
) -> Result<(), Failure> {
    let keyring = settings.open_keyring(context)?;
    let (store, keys, earlier) = again::open(context, settings, &keyring)?;
    Run {
        context,
        directory,
        settings,
        shard,
        keyring: &keyring,
        keys: &keys,
        store: &store,
        earlier,
        set,
        adopts: false,
        resumes: true,
        releases,
    }
    .run()
}
