//! `envelock job plan`, `start` and `resume`.

use super::plan::Plan;
use super::run::{Run, count, shards};
use super::settings::{Settings, open_keyring};
use super::task::{TaskOptions, keys};
use super::{again, control, reencrypt, sources};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::open_source::{OpenStore, lasting_locator, open_source};
use crate::output::{printable, shell_word};
use crate::source_locator::SourceLocator;
use clap::Args;
use envelock_ops::{Definition, FailureLimit, Shard, Stage};
use std::path::{Path, PathBuf};

/// Arguments of `job plan` and `job start`.
#[derive(Args, Debug)]
pub struct JobOptions {
    /// Messages: `dir:PATH`, `dir:PATH?header=sidecar`, `list:FILE`, or a name of envelock.toml.
    #[arg(value_name = "SOURCE")]
    source: String,
    #[command(flatten)]
    task: TaskOptions,
    /// Begin with a few items: `default` for as many as prove the limit of failures, a number, or `none`.
    #[arg(long, value_name = "ITEMS", default_value = "default", help_heading = "Stages")]
    canary: String,
    /// The stages, each with a larger part of all items: `1%,10%`. The last one has all.
    #[arg(long, value_name = "PARTS", conflicts_with = "canary", help_heading = "Stages")]
    stages: Option<String>,
    /// Wait after each stage: 90s, 15m, 2h.
    #[arg(long, value_name = "TIME", value_parser = parse_time, default_value = "0s", help_heading = "Stages")]
    soak: std::time::Duration,
    /// Run this command after each stage, and go on if it exits with 0.
    #[arg(long, value_name = "CMD", help_heading = "Stages")]
    gate: Option<String>,
    /// How long the command of a gate has; then its answer is no.
    #[arg(long, value_name = "TIME", value_parser = parse_time, requires = "gate", help_heading = "Stages")]
    gate_timeout: Option<std::time::Duration>,
    /// The rate of failed items that is tolerated.
    #[arg(long, value_name = "PERCENT", default_value = "1%", help_heading = "Stages")]
    failure_limit: String,
    /// The confidence of a bound of that rate.
    #[arg(long, value_name = "PERCENT", default_value = "95%", help_heading = "Stages")]
    confidence: String,
    /// Items that are listed, logged and saved together.
    #[arg(long, value_name = "ITEMS", default_value_t = 500)]
    page: usize,
    /// How often an item is tried.
    #[arg(long, value_name = "TIMES", default_value_t = 3)]
    attempts: u8,
    /// A key that headers may be wrapped under; all by default.
    #[arg(long, value_name = "KEY")]
    allow_key: Vec<String>,
    /// Do one part of the items: `3/16`, from 0 on, or `auto` for what a scheduler set.
    #[arg(long, value_name = "I/N", default_value = "0/1", value_parser = parse_shard)]
    shard: Shard,
    /// The directory of the job, for its checkpoint, undo log and report [default: SOURCE.job].
    #[arg(short, long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
    /// A limit, such as items-per-second=500; `envelock job set --help` has all.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Arguments of `job start`.
#[derive(Args, Debug)]
pub struct StartJob {
    #[command(flatten)]
    options: JobOptions,
    /// Go on under these options where a job has others. The report has both.
    #[arg(long)]
    adopt: bool,
    /// Resume the part where it has begun, under the same options: for schedulers.
    #[arg(long, conflicts_with = "adopt")]
    or_resume: bool,
}

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

/// Parses `I/N` or `auto`.
pub fn parse_shard(text: &str) -> Result<Shard, String> {
    if text == "auto" {
        return Shard::auto(|name| std::env::var(name).ok()).map_err(|error| error.to_string());
    }
    let parts = text.split_once('/').and_then(|(index, count)| {
        Some((index.trim().parse::<u32>().ok()?, count.trim().parse::<u32>().ok()?))
    });
    let (index, count) = parts.ok_or("write I/N, such as 3/16, or auto")?;
    Shard::new(index, count).map_err(|error| error.to_string())
}

fn parse_time(text: &str) -> Result<std::time::Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.strip_prefix(digits) {
        Some("" | "s") => 1,
        Some("m" | "min") => 60,
        Some("h") => 3600,
        Some("d") => 86_400,
        _ => return Err("write 90s, 15m, 2h or 1d".into()),
    };
    let number: u64 = digits.parse().map_err(|_| "write 90s, 15m, 2h or 1d")?;
    Ok(std::time::Duration::from_secs(number.saturating_mul(unit)))
}

/// Parses a percentage into parts of a whole.
fn parts(text: &str, whole: f64) -> Result<u32, Failure> {
    let wrong = || Failure::usage(format!("{text:?} is no percentage"), "write `1%` or `0.1%`");
    let percent: f64 = text.trim().trim_end_matches('%').parse().map_err(|_| wrong())?;
    let parts = (percent / 100.0 * whole).round();
    // Neither nothing nor more than all.
    if parts >= 1.0 && parts <= whole { Ok(parts as u32) } else { Err(wrong()) }
}

impl JobOptions {
    fn definition(
        &self,
        source: String,
        items: impl FnOnce() -> Result<u64, Failure>,
    ) -> Result<Definition, Failure> {
        let confidence = parts(&self.confidence, 1000.0)?;
        let failure_limit = FailureLimit {
            millionths: parts(&self.failure_limit, 1_000_000.0)?,
            // At most 1,000.
            confidence_thousandths: confidence as u16,
        };
        let stages = match &self.stages {
            Some(stages) => self.given_stages(stages)?,
            None => self.canary_stages(failure_limit, items)?,
        };
        Ok(Definition {
            stages,
            failure_limit,
            allowed_names: self.allow_key.clone(),
            page: self.page,
            attempts: self.attempts,
            ..Definition::new(source, self.task.task()?)
        })
    }

    fn given_stages(&self, stages: &str) -> Result<Vec<Stage>, Failure> {
        let soak_seconds = self.soak.as_secs();
        let mut given = Vec::new();
        for part in stages.split(',') {
            given.push(Stage { up_to_millionths: parts(part, 1_000_000.0)?, soak_seconds });
        }
        if given.last().is_none_or(|last| last.up_to_millionths < 1_000_000) {
            given.push(Stage::all());
        }
        Ok(given)
    }

    fn canary_stages(
        &self,
        limit: FailureLimit,
        items: impl FnOnce() -> Result<u64, Failure>,
    ) -> Result<Vec<Stage>, Failure> {
        let soak_seconds = self.soak.as_secs();
        if self.canary == "none" {
            return Ok(vec![Stage::all()]);
        }
        if self.shard.count() > 1 {
            let what =
                "the canary of a divided job would depend on when each part counts the items";
            let next = "give every part the same stages, `--stages 1%,10%`, or `--canary none`";
            return Err(Failure::usage(what, next));
        }
        let items = items()?;
        if self.canary == "default" {
            return Ok(Stage::canary(items, limit, soak_seconds));
        }
        let wanted: u64 = self.canary.parse().map_err(|_| {
            Failure::usage(
                format!("{:?} is no canary", self.canary),
                "`--canary 300`, `default` or `none`",
            )
        })?;
        let part = u128::from(wanted).saturating_mul(1_000_000) / u128::from(items.max(1));
        let up_to_millionths = u32::try_from(part).unwrap_or(1_000_000).clamp(1, 1_000_000);
        let mut stages = vec![Stage { up_to_millionths, soak_seconds }];
        if up_to_millionths < 1_000_000 {
            stages.push(Stage::all());
        }
        Ok(stages)
    }

    /// Returns the directory of the job: `orders.job` for `orders` and for `dir:/srv/orders`.
    fn directory(&self, source: &SourceLocator) -> PathBuf {
        if let Some(directory) = &self.directory {
            return directory.clone();
        }
        let path = match source {
            SourceLocator::Directory { path, .. } => path.clone(),
            SourceLocator::List { root, .. } => root.clone(),
        };
        let name = match self.source.contains(':') {
            true => path.file_name().map(|name| name.to_string_lossy().into_owned()),
            false => Some(self.source.clone()),
        };
        PathBuf::from(format!("{}.job", name.unwrap_or_else(|| "envelock".into())))
    }

    /// Prints what a job would do. Nothing is written.
    ///
    /// # Errors
    ///
    /// The job would be refused, or the source cannot be read.
    pub fn plan(&self, context: &Context) -> Result<(), Failure> {
        let (source, of_source) = context.config()?.source(&self.source)?;
        let (keyring, _) = open_keyring(context, of_source.as_deref())?;
        let store = open_source(&source, keyring.envelope())?;
        let name = store.properties().name;
        let definition = self.definition(name, || total(&store))?;
        let (add, aad) = (self.task.add.as_deref(), self.task.reencrypt.aad.as_deref());
        let keys = keys(context, &keyring, &definition.task, add, None, aad)?;
        let other = add.map(|add| context.other_keyring(add)).transpose()?;
        let directory = self.directory(&source);
        let plan = Plan::make(&definition, self.shard, &store, &keyring, other.as_ref(), &keys)?;
        let mut controls = envelock_ops::drivers::Controls::default();
        super::limits::apply(&mut controls, &self.set, super::console::now())?;
        let start = command_line();
        plan.print(context, &directory, &controls, &start)
    }
}

/// Returns how many items a store has.
fn total(store: &OpenStore) -> Result<u64, Failure> {
    Ok(count(store, Shard::WHOLE, &|| false)?.map_or(0, |(items, _)| items))
}

/// Returns the command that does what was planned: this call, with another verb.
fn command_line() -> String {
    let mut words: Vec<String> =
        std::env::args_os().skip(1).map(|word| shell_word(Path::new(&word))).collect();
    // An argument before the verb can be the same word.
    let at = words
        .windows(2)
        .position(|pair| matches!(pair, [job, plan] if job == "job" && plan == "plan"));
    if let Some(verb) = at.and_then(|at| words.get_mut(at + 1)) {
        *verb = "start".into();
    }
    format!("envelock {}", words.join(" "))
}

impl StartJob {
    /// Starts the job, in a directory without another.
    ///
    /// # Errors
    ///
    /// The job is refused, or did not finish with nothing left.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let options = &self.options;
        let (source, of_source) = context.config()?.source(&options.source)?;
        let directory = options.directory(&source);
        let locator = lasting_locator(&source)?;
        let (keyring, keyring_name) = open_keyring(context, of_source.as_deref())?;
        let store = open_source(&source, keyring.envelope())?;
        let name = store.properties().name;
        let mut definition = options.definition(name, || total(&store))?;
        let is_counted = options.stages.is_none() && options.canary != "none";
        if self.or_resume && is_counted && Settings::exist(&directory) {
            // The source can have more items now than when the stages were made.
            definition.stages = Settings::read(&directory)?.definition.stages;
        }
        let mut settings = Settings::new(locator, keyring_name, definition);
        settings.gate.clone_from(&options.gate);
        settings.gate_seconds = options.gate_timeout.map(|time| time.as_secs());
        settings.aad.clone_from(&options.task.reencrypt.aad);
        settings.add = options.task.add.as_deref().map(super::settings::lasting).transpose()?;
        self.check_directory(&directory, &settings)?;
        let task = &settings.definition.task;
        let (add, aad) = (options.task.add.as_deref(), settings.aad.as_deref());
        let keys = keys(context, &keyring, task, add, None, aad)?;
        reencrypt::check(task, &keys)?;
        sources::check(&store, &keyring, &keys)?;
        Run {
            context,
            directory: &directory,
            settings: &settings,
            shard: options.shard,
            keyring: &keyring,
            keys: &keys,
            store: &store,
            earlier: None,
            set: &options.set,
            adopts: self.adopt,
            resumes: false,
            releases: false,
        }
        .run()
    }

    /// Refuses a directory with this shard of a job, or with another job.
    fn check_directory(&self, directory: &Path, settings: &Settings) -> Result<(), Failure> {
        if self.adopt || !Settings::exist(directory) {
            return Ok(());
        }
        let there = Settings::read(directory)?;
        let word = shell_word(directory);
        let shard = self.options.shard;
        let has_shard = shards(directory, ".checkpoint")?.iter().any(|(there, _)| *there == shard);
        let is_same = there.definition == settings.definition
            && (&there.aad, &there.keyring) == (&settings.aad, &settings.keyring);
        if is_same && (self.or_resume || !has_shard) {
            return Ok(());
        }
        let what = match is_same {
            true => format!("{} has this job already", printable(directory)),
            false => format!("{} has another job", printable(directory)),
        };
        let free = free_name(directory);
        let next = format!(
            "`envelock job resume {word}` goes on with it; a new one needs a directory: `-d {}`",
            shell_word(&free)
        );
        Err(Failure::new(Exit::Refused, what, next))
    }
}

/// Returns a name beside that of a directory that exists.
fn free_name(directory: &Path) -> PathBuf {
    let stem = directory.with_extension("");
    let name = |number: u32| PathBuf::from(format!("{}-{number}.job", stem.display()));
    (2..).map(name).find(|name| !name.exists()).unwrap_or_else(|| name(2))
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
