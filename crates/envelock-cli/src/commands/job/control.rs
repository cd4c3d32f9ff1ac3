//! `envelock job set`, `pause` and `stop`: what changes a job that runs.

use super::console::now;
use super::limits;
use super::listing::shards;
use super::run::CONTROL;
use super::settings::Settings;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::output::{printable, shell_word};
use clap::Args;
use envelock_ops::Shard;
use envelock_ops::drivers::Controls;
use serde_json::json;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Arguments of `job set`.
#[derive(Args, Debug)]
pub struct SetJob {
    /// The directory of the job.
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
    /// items-per-second=N, bytes-per-second=N, requests-per-second=N, key-calls-per-second=N, concurrency=N, budget=N, spend=AMOUNT, outage-seconds=N, `window=22:00-05:00
    /// Europe/Berlin`; `none` lifts a limit.
    #[arg(required = true, value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

/// Arguments of `job pause`.
#[derive(Args, Debug)]
pub struct PauseJob {
    /// The directory of the job.
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

/// Arguments of `job stop`.
#[derive(Args, Debug)]
pub struct StopJob {
    /// The directory of the job.
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
    /// How many seconds to wait until it has stopped.
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
}

/// Returns the shards that a process works on.
///
/// # Errors
///
/// The directory cannot be read.
pub fn running(directory: &Path) -> Result<Vec<Shard>, Failure> {
    let mut running = Vec::new();
    for (shard, path) in shards(directory, ".lock")? {
        let file = File::open(&path).map_err(|error| Failure::io(printable(&path), &error))?;
        // A shared lock, so that two commands that look do not see each other.
        if matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)) {
            running.push(shard);
        }
    }
    Ok(running)
}

/// Changes the controls of a job. No change of another process is lost.
///
/// # Errors
///
/// It is no directory of a job, or the controls cannot be read or written.
pub fn change(
    directory: &Path,
    change: impl FnOnce(&mut Controls) -> Result<(), Failure>,
) -> Result<Controls, Failure> {
    // A directory of something else gets no file.
    Settings::read(directory)?;
    let path = directory.join(CONTROL);
    let lock_path = directory.join("job.control.lock");
    let lock = File::options().write(true).create(true).truncate(false).open(&lock_path);
    let lock = lock.and_then(|file| file.lock().map(|()| file));
    let _lock = lock.map_err(|error| Failure::io(printable(&lock_path), &error))?;
    let mut controls = Controls::read(&path)?;
    change(&mut controls)?;
    controls.write(&path)?;
    Ok(controls)
}

fn say(
    context: &Context,
    text: &str,
    controls: &Controls,
    is_running: bool,
) -> Result<(), Failure> {
    let suffix = if is_running { "" } else { "; no process works on the job now" };
    context.output().result(
        || format!("{text}{suffix}"),
        || json!({ "controls": controls, "running": is_running }),
    )
}

impl SetJob {
    /// Changes limits. A job that runs follows within a second, one that does not when it is resumed.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let prices = Settings::read(&self.directory)?.definition.prices;
        let controls = change(&self.directory, |controls| {
            limits::apply(controls, &self.settings, now())?;
            limits::check_spend(controls, prices)
        })?;
        say(context, &limits::text(&controls), &controls, !running(&self.directory)?.is_empty())
    }
}

impl PauseJob {
    /// Lets a job begin no item until `job resume`.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let controls = change(&self.directory, |controls| {
            controls.paused = true;
            Ok(())
        })?;
        say(context, "paused", &controls, !running(&self.directory)?.is_empty())
    }
}

/// Lets a paused job go on.
pub fn go_on(context: &Context, directory: &Path, settings: &[String]) -> Result<(), Failure> {
    let controls = change(directory, |controls| {
        controls.paused = false;
        limits::apply(controls, settings, now())
    })?;
    say(context, "goes on", &controls, true)
}

impl StopJob {
    /// Stops the processes of a job, cleanly, and waits for them.
    ///
    /// # Errors
    ///
    /// One still runs after the time.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let directory = &self.directory;
        let stop = u64::try_from(now().as_millis()).ok();
        let controls = change(directory, |controls| {
            controls.stop = stop;
            Ok(())
        })?;
        let was_running = !running(directory)?.is_empty();
        let began = Instant::now();
        loop {
            let left = running(directory)?;
            if left.is_empty() {
                break;
            }
            if began.elapsed() > Duration::from_secs(self.wait) {
                let list: Vec<String> = left.iter().map(ToString::to_string).collect();
                let what = format!("shards {} still run", list.join(", "));
                let next = format!("`envelock job status {}`", shell_word(directory));
                return Err(Failure::new(Exit::TryLater, what, next));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        say(context, "stopped", &controls, was_running)
    }
}
