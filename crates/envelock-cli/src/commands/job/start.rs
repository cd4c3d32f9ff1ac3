//! `envelock job plan` and `start`.

use super::console::stop_flag;
use super::listing::shards;
use super::plan::Plan;
use super::run::Run;
use super::settings::{Settings, open_keyring};
use super::stages::{StageOptions, parse_shard};
use super::survey::{JobKeys, Survey};
use super::task::{Keys, TaskOptions, keys};
use super::{money, reencrypt};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::open_keyring::OpenKeyring;
use crate::open_source::{OpenStore, lasting_locator, open_source};
use crate::output::{printable, shell_word};
use crate::source_locator::SourceLocator;
use clap::Args;
use envelock_ops::drivers::Controls;
use envelock_ops::{Definition, Job, Prices, Shard, Start, Store as _};
use std::path::{Path, PathBuf};

/// Arguments of `job plan` and `job start`.
#[derive(Args, Debug)]
pub struct JobOptions {
    /// Messages: `dir:PATH`, `dir:PATH?header=sidecar`, `list:FILE`,
    /// `sqlite:FILE?table=TABLE&key=COLUMN&header=COLUMN`, or a name of envelock.toml.
    #[arg(value_name = "SOURCE")]
    source: String,
    #[command(flatten)]
    task: TaskOptions,
    #[command(flatten)]
    stages: StageOptions,
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
    /// What a million calls cost: `list`, `read`, `write` or `key`, such as write=5, for `--set spend=12.50`. Also
    /// `[sources.NAME.prices]` of envelock.toml.
    #[arg(long, value_name = "CALL=PRICE")]
    price: Vec<String>,
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

/// A source with the keys of a job, and what the options say of it.
struct Opened {
    directory: PathBuf,
    store: OpenStore,
    keyring: OpenKeyring,
    other: Option<OpenKeyring>,
    keys: Keys,
    /// Without what depends on the items.
    settings: Settings,
}

impl Opened {
    fn job_keys(&self) -> JobKeys<'_> {
        JobKeys { keyring: &self.keyring, other: self.other.as_ref(), keys: &self.keys }
    }
}

impl JobOptions {
    /// Opens the source and the keys, and refuses what is refused whatever the items are.
    fn open(&self, context: &Context, is_plan: bool) -> Result<Opened, Failure> {
        self.open_or_fail(context, is_plan).map_err(|failure| self.naming_source(failure))
    }

    /// Names the source in the command that tries it.
    fn naming_source(&self, failure: Failure) -> Failure {
        let source = shell_word(Path::new(&self.source));
        failure.naming("`envelock doctor`", format!("`envelock doctor {source}`"))
    }

    fn open_or_fail(&self, context: &Context, is_plan: bool) -> Result<Opened, Failure> {
        let (source, of_source) = context.config()?.source(&self.source)?;
        let directory = self.directory(&source);
        // A plan needs no second call.
        let locator = if is_plan { String::new() } else { lasting_locator(&source)? };
        let (keyring, keyring_name) = open_keyring(context, of_source.as_deref())?;
        let store = open_source(&source, keyring.envelope())?;
        let definition = Definition {
            stages: self.stages.given(self.shard)?,
            failure_limit: self.stages.limit()?,
            allowed_names: self.allow_key.clone(),
            prices: self.prices(context)?,
            page: self.page,
            attempts: self.attempts,
            ..Definition::new(store.properties().name, self.task.task()?)
        };
        self.task.check_retiring(&keyring)?;
        super::limits::apply(&mut Controls::default(), &self.set, super::console::now())?;
        let add = self.task.add.as_deref();
        let other = add.map(|add| context.other_keyring(add)).transpose()?;
        let aad = self.task.reencrypt.aad.as_deref();
        let keys = keys(&keyring, &definition.task, other.as_ref(), None, aad);
        let start = Start::new(super::console::now(), store.properties());
        Job::new(definition.clone(), self.shard, (&[], 0), &start, &keys)?;
        let mut settings = Settings::new(locator, keyring_name, definition);
        settings.gate.clone_from(&self.stages.gate);
        settings.gate_seconds = self.stages.gate_timeout.map(|time| time.as_secs());
        settings.aad.clone_from(&self.task.reencrypt.aad);
        settings.add = add.map(super::settings::lasting).transpose()?;
        Ok(Opened { directory, store, keyring, other, keys, settings })
    }

    fn prices(&self, context: &Context) -> Result<Prices, Failure> {
        let mut prices = context.config()?.prices(&self.source)?;
        for price in &self.price {
            money::set_price(&mut prices, price).map_err(|fault| {
                let next = "write `--price write=5` for 5 of your currency for a million calls";
                Failure::usage(format!("{price:?}: {fault}"), next)
            })?;
        }
        Ok(prices)
    }

    /// Adds what depends on the items to a definition.
    fn finish(&self, definition: &mut Definition, survey: &Survey) -> Result<(), Failure> {
        if self.stages.are_counted() {
            let items = survey.report.tally.listed;
            definition.stages = self.stages.counted(definition.failure_limit, items)?;
        }
        // The parts of a divided job have the same definition, whenever each reads the headers.
        if self.stages.has_strata() && self.shard.count() == 1 {
            definition.sample = survey.sample(&definition.stages);
        }
        Ok(())
    }

    /// Returns the directory of the job: `orders.job` for `orders` and for `dir:/srv/orders`.
    fn directory(&self, source: &SourceLocator) -> PathBuf {
        if let Some(directory) = &self.directory {
            return directory.clone();
        }
        let path = match source {
            SourceLocator::Directory { path, .. } | SourceLocator::List { root: path, .. } => path,
            SourceLocator::Rows(rows) => &rows.database,
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
        let opened = self.open(context, true)?;
        let mut definition = opened.settings.definition.clone();
        let mut controls = Controls::default();
        super::limits::apply(&mut controls, &self.set, super::console::now())?;
        super::limits::check_spend(&controls, definition.prices)?;
        let (job_keys, output) = (opened.job_keys(), context.output());
        let survey = Survey::make(&definition, self.shard, &opened.store, job_keys, (output, None))
            .map_err(|failure| self.naming_source(failure))?;
        self.finish(&mut definition, &survey)?;
        let plan = Plan::make(definition, survey, &opened.store, job_keys)?;
        plan.print(context, &opened.directory, &controls, &command_line())
    }
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
        let mut opened = options.open(context, false)?;
        let (is_there, has_begun) = self.settle(&opened.directory, &mut opened.settings)?;
        reencrypt::check(&opened.settings.definition.task, &opened.keys)?;
        if !has_begun {
            let stop = (context.output(), Some(stop_flag()?));
            let definition = &opened.settings.definition;
            let job_keys = opened.job_keys();
            let survey = Survey::make(definition, options.shard, &opened.store, job_keys, stop)
                .map_err(|failure| options.naming_source(failure))?;
            survey.check()?;
            if !is_there {
                options.finish(&mut opened.settings.definition, &survey)?;
            }
        }
        Run {
            context,
            directory: &opened.directory,
            settings: &opened.settings,
            shard: options.shard,
            keyring: &opened.keyring,
            keys: &opened.keys,
            store: &opened.store,
            earlier: None,
            set: &options.set,
            adopts: self.adopt,
            resumes: false,
            releases: false,
        }
        .run()
    }

    /// Takes from the settings of a directory what depended on the items when its job began. Returns whether it has this job,
    /// and whether this part of it has begun.
    ///
    /// # Errors
    ///
    /// The directory has this part of the job already, or another job.
    fn settle(&self, directory: &Path, settings: &mut Settings) -> Result<(bool, bool), Failure> {
        if self.adopt || !Settings::exist(directory) {
            return Ok((false, false));
        }
        let there = Settings::read(directory)?;
        let word = shell_word(directory);
        let shard = self.options.shard;
        let begun = shards(directory, ".checkpoint")?;
        let has_shard = begun.iter().any(|(there, _)| *there == shard);
        if self.options.stages.are_counted() {
            settings.definition.stages.clone_from(&there.definition.stages);
        }
        settings.definition.sample.clone_from(&there.definition.sample);
        let is_same = there == *settings;
        let other = begun.iter().find(|(there, _)| there.count() != shard.count());
        if let (true, Some((other, _))) = (is_same, other) {
            let (count, asked) = (other.count(), shard.count());
            let what =
                format!("{} has this job in {count} shards, not {asked}", printable(directory));
            let next = format!("`--shard I/{count}` begins another shard of it");
            return Err(Failure::new(Exit::Refused, what, next));
        }
        if is_same && (self.or_resume || !has_shard) {
            return Ok((true, has_shard));
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
pub fn free_name(directory: &Path) -> PathBuf {
    let stem = directory.with_extension("");
    let name = |number: u32| PathBuf::from(format!("{}-{number}.job", stem.display()));
    (2..).map(name).find(|name| !name.exists()).unwrap_or_else(|| name(2))
}
