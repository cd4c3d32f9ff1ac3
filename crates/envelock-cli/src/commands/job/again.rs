//! `envelock job retry` and `undo`: jobs over the records of another one.

use super::console::grouped;
use super::failure_list;
use super::listing::shards;
use super::parts::{Open, checkpoint, list, of_job};
use super::resume::resume;
use super::run::Run;
use super::settings::{Settings, open_keyring};
use super::task::{Keys, keys};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::open_keyring::OpenKeyring;
use crate::open_source::{OpenStore, absolute, lasting_locator, open_source};
use crate::output::{printable, shell_word};
use crate::source_locator::SourceLocator;
use clap::Args;
use envelock_ops::stores::Selection;
use envelock_ops::{Definition, ItemKey, Shard, Task, UndoIndex};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Arguments of `job retry`.
#[derive(Args, Debug)]
pub struct RetryJob {
    /// The directory of the job.
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
    /// Other associated data than the job had, as for its `--re-encrypt`.
    #[arg(long, value_name = "TEXT")]
    aad: Option<String>,
    /// The other parts of the job have directories of their own.
    #[arg(long)]
    other_directories: bool,
    /// A limit, such as items-per-second=500.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Arguments of `job undo`.
#[derive(Args, Debug)]
pub struct UndoJob {
    /// The directory of the job.
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
    /// The source, if job.json is lost or damaged; `-k` then names the keyring.
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// A limit, such as items-per-second=500.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Opens what a job works on: its store, its keys, and the undo log of the job that it follows.
pub fn open(
    context: &Context,
    settings: &Settings,
    keyring: &OpenKeyring,
) -> Result<(OpenStore, Keys, Option<UndoIndex>), Failure> {
    let wrong = || Failure::usage("job.json has no locator of a source", "start a new job");
    let source = SourceLocator::parse(&settings.source)?.ok_or_else(wrong)?;
    let mut store = open_source(&source, keyring.envelope())?;
    let mut earlier = None;
    let undo = settings.undoes.as_deref().map(undo_log).transpose()?;
    if let Some(undo) = &undo {
        let id = undo.job().map_or("", String::as_str);
        store = Box::new(Selection::new(store, &selection("undo log", id), undo.items().cloned()));
    }
    if let Some(of) = &settings.retries {
        earlier = Some(logs_until(of)?);
        let before = store.properties().name;
        let left = failure_list::left(of)?;
        let base = open_source(&source, keyring.envelope())?;
        let id = Settings::read(of)?.definition.id();
        let absent = left.iter().filter(|left| left.is_absent).map(|left| left.item.clone());
        let absent: BTreeSet<ItemKey> = absent.collect();
        let items = left.into_iter().map(|left| left.item);
        let chosen = Selection::new(base, &selection("failures", &id), items)
            .requiring(|item| absent.contains(item));
        // A retry of an undo names both.
        store = if undo.is_some() { named(chosen, before) } else { Box::new(chosen) };
    }
    let add = settings.add.as_deref().map(|add| context.other_keyring(add)).transpose()?;
    let (task, aad) = (&settings.definition.task, settings.aad.as_deref());
    let keys = keys(keyring, task, add.as_ref(), undo, aad);
    Ok((store, keys, earlier))
}

/// Reads the undo logs of a job and of its retries up to the one in `of`, oldest first: each can have torn an item.
fn logs_until(of: &Path) -> Result<UndoIndex, Failure> {
    let mut all = vec![of_job(of)?];
    if let [job] = all.as_slice() {
        add_retries(&job.clone(), &mut all);
    }
    let until = all.iter().position(|directory| directory == of);
    let mut whole = UndoIndex::default();
    for directory in all.iter().take(until.map_or(all.len(), |until| until + 1)) {
        whole = whole.merge(undo_log(directory)?);
    }
    Ok(whole)
}

fn named(store: Selection<OpenStore>, before: String) -> OpenStore {
    Box::new(crate::open_source::Renamed { store, suffix: format!(" of {before}") })
}

fn selection(what: &str, id: &str) -> String {
    format!("{what} of job {}", id.get(..16).unwrap_or(id))
}

/// Reads the undo logs of all shards.
pub fn undo_log(directory: &Path) -> Result<UndoIndex, Failure> {
    let mut whole = UndoIndex::default();
    for (_, path) in shards(directory, ".undo")? {
        let log = std::fs::read(&path).map_err(|error| Failure::io(printable(&path), &error))?;
        let index = UndoIndex::read(&log).map_err(|error| {
            let what = format!("{}: {error}", printable(&path));
            Failure::new(Exit::NotVerified, what, "take the file from a backup")
        })?;
        whole = whole.merge(index);
    }
    Ok(whole)
}

/// Returns the directory of a job over the records of another: the last one if it is not finished, or a new one.
fn directory_for(of: &Path, what: &str) -> Result<(PathBuf, bool), Failure> {
    let name = |number: u32| of.join(format!("{what}-{number}"));
    let mut number = 1_u32;
    while Settings::exist(&name(number)) {
        let known = shards(&name(number), ".checkpoint")?;
        let is_open = match known.first() {
            Some((_, path)) => !checkpoint(path)?.is_finished(),
            None => true,
        };
        if is_open {
            return Ok((name(number), true));
        }
        number = number.saturating_add(1);
    }
    Ok((name(number), false))
}

impl RetryJob {
    /// Tries the items again that are left, with the undo log of the job for what it has torn.
    ///
    /// # Errors
    ///
    /// The job still runs, or items are left again.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        // What a retry leaves is tried by the next retry of the job, so that an undo finds all of them.
        let job = of_job(&self.directory)?;
        let before = self.with_aad(Settings::read(&job)?)?;
        stopped_or_refuse(&job, "retry")?;
        self.finished_or_refuse(&job)?;
        let (directory, is_there) = directory_for(&job, "retry")?;
        if is_there {
            let settings = self.with_aad(Settings::read(&directory)?)?;
            return resume(context, &directory, &settings, Shard::WHOLE, &self.set, false);
        }
        // After a retry, what that one has left.
        let of = last_retry(&job)?;
        if failure_list::left(&of)?.is_empty() {
            return context.output().result(
                || "nothing is left".into(),
                || serde_json::json!({ "summary": null, "left": 0 }),
            );
        }
        let settings = Settings { retries: Some(absolute(&of)?), gate: None, ..before };
        start(context, &directory, settings, &self.set)
    }

    /// Refuses while a shard has items that it did not try.
    fn finished_or_refuse(&self, job: &Path) -> Result<(), Failure> {
        let Open { begun, absent } = Open::of(job)?;
        let word = shell_word(job);
        let (what, next) = if let Some(shard) = begun.first() {
            let what = format!("shards {} of the job are not finished", list(&begun));
            (what, format!("`envelock job resume {word} --shard {shard}`"))
        } else if let (Some(shard), false) = (absent.first(), self.other_directories) {
            let what = format!("shards {} of the job have no records here", list(&absent));
            let resume = format!("`envelock job resume {word} --shard {shard}`");
            (what, format!("{resume}, or add `--other-directories` if they have their own"))
        } else if shards(job, ".checkpoint")?.is_empty() {
            let what = format!("the job in {} did not begin", printable(job));
            (what, format!("`envelock job resume {word}`"))
        } else {
            return Ok(());
        };
        Err(Failure::new(Exit::Refused, what, next))
    }
}

impl RetryJob {
    fn with_aad(&self, mut settings: Settings) -> Result<Settings, Failure> {
        let is_new = matches!(settings.definition.task, Task::Reencrypt { .. });
        if self.aad.is_some() && !is_new {
            let what = "the job encrypts nothing again, so no associated data is needed";
            return Err(Failure::usage(what, "leave `--aad` away"));
        }
        settings.aad = self.aad.clone().or(settings.aad);
        Ok(settings)
    }
}

/// Returns the last finished retry of a job, or the job.
fn last_retry(of: &Path) -> Result<PathBuf, Failure> {
    let (next, _) = directory_for(of, "retry")?;
    let number =
        next.to_string_lossy().rsplit('-').next().and_then(|text| text.parse::<u32>().ok());
    Ok(match number {
        Some(number @ 2..) => of.join(format!("retry-{}", number.saturating_sub(1))),
        _ => of.to_path_buf(),
    })
}

impl UndoJob {
    /// Puts old headers back: those of retries first, then those of the job.
    ///
    /// # Errors
    ///
    /// The job still runs, or an old header does not open any more.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        stopped_or_refuse(&self.directory, "undo")?;
        if let Task::Reencrypt { .. } = self.settings(context, &self.directory)?.definition.task {
            let what = format!(
                "the job in {} encrypted messages again, which cannot be undone: the old bodies are gone",
                printable(&self.directory)
            );
            let next = "messages of before the job come from a backup alone";
            return Err(Failure::new(Exit::Refused, what, next));
        }
        let mut all = vec![self.directory.clone()];
        add_retries(&self.directory, &mut all);
        all.reverse();
        let mut first = Ok(());
        for directory in all {
            let undone = self.undo(context, &directory);
            first = first.and(undone);
        }
        first
    }

    /// Returns the settings of a job; if they cannot be read, those of its checkpoint and of this call.
    fn settings(&self, context: &Context, of: &Path) -> Result<Settings, Failure> {
        let (read, known) = (Settings::read(of), shards(of, ".checkpoint")?);
        match (read, &self.source, known.first()) {
            (Err(_), Some(source), Some((_, path))) => {
                let (source, of_source) = context.config()?.source(source)?;
                let (_, keyring) = open_keyring(context, of_source.as_deref())?;
                let definition = checkpoint(path)?.definition().clone();
                Ok(Settings::new(lasting_locator(&source)?, keyring, definition))
            }
            (Err(failure), None, Some(_)) => {
                let next =
                    format!("{}; an undo goes on without it by `--source SOURCE`", failure.next);
                Err(Failure { next, ..failure })
            }
            (read, ..) => read,
        }
    }

    fn undo(&self, context: &Context, of: &Path) -> Result<(), Failure> {
        let before = self.settings(context, of)?;
        let (directory, is_there) = directory_for(of, "undo")?;
        let log = undo_log(of)?;
        let all_or_fail = all_or_fail(of, &log);
        if is_there {
            let settings = Settings::read(&directory)?;
            return resume(context, &directory, &settings, Shard::WHOLE, &self.set, false)
                .and(all_or_fail);
        }
        let Some(job) = log.job().cloned() else {
            let what = format!("{} has no undo log", printable(of));
            return Err(Failure::new(
                Exit::CouldNotRun,
                what,
                "promote the older version, and run a job",
            ));
        };
        let definition = Definition { task: Task::Restore { job }, ..before.definition };
        let settings = Settings {
            undoes: Some(absolute(of)?),
            retries: None,
            add: None,
            aad: None,
            gate: None,
            definition,
            ..before
        };
        start(context, &directory, settings, &self.set).and(all_or_fail)
    }
}

/// Adds the retries of a job in the order of their runs, each before its own.
fn add_retries(of: &Path, all: &mut Vec<PathBuf>) {
    let name = |number: u32| of.join(format!("retry-{number}"));
    for retry in (1..).map(name).take_while(|retry| Settings::exist(retry)) {
        all.push(retry.clone());
        add_retries(&retry, all);
    }
}

/// Fails if a log may lack the records of items that were changed.
fn all_or_fail(of: &Path, log: &UndoIndex) -> Result<(), Failure> {
    let (mut changed, mut most) = (0_u64, 0_u64);
    for (_, path) in shards(of, ".checkpoint")? {
        // A damaged checkpoint has no count to compare, and hinders no restore.
        let Ok(checkpoint) = checkpoint(&path) else { continue };
        let tally = checkpoint.tally();
        let before = checkpoint.adopted().iter().map(|before| before.tally.changed).max();
        changed += tally.changed.max(before.unwrap_or(0));
        // These can have a record, too.
        most += tally.conflict + tally.gone + tally.failed;
    }
    let (records, damaged) = (log.items().count() as u64, log.damaged_bytes());
    // A kill leaves half a record of an item that was not changed.
    let needed = if damaged == 0 { changed } else { changed + most };
    if records >= needed {
        return Ok(());
    }
    let what = format!(
        "the undo log in {} has records of {} items, of {} that were changed, and {} damaged bytes: no header \
         without a record is restored",
        printable(of),
        grouped(records),
        grouped(changed),
        grouped(damaged)
    );
    let source = Settings::read(of).map_or_else(|_| "SOURCE".into(), |settings| settings.source);
    let next = format!(
        "take the log from a backup, and undo again; `envelock census {} --opened` counts what is under which version",
        shell_word(Path::new(&source))
    );
    Err(Failure::new(Exit::NotVerified, what, next))
}

/// Starts a job over the records of another. Its items are those of the selection, in one stage.
fn start(
    context: &Context,
    directory: &Path,
    mut settings: Settings,
    set: &[String],
) -> Result<(), Failure> {
    let keyring = settings.open_keyring(context)?;
    let (store, keys, earlier) = open(context, &settings, &keyring)?;
    let task = settings.definition.task.clone();
    let before = &settings.definition;
    settings.definition = Definition {
        failure_limit: before.failure_limit,
        allowed_names: before.allowed_names.clone(),
        attempts: before.attempts,
        ..Definition::new(store.properties().name, task)
    };
    // Few items, of which many fail again: each is listed, and none halts the rest.
    settings.definition.failure_limit.millionths = 999_999;
    Run {
        context,
        directory,
        settings: &settings,
        shard: Shard::WHOLE,
        keyring: &keyring,
        keys: &keys,
        store: &store,
        earlier,
        set,
        adopts: false,
        resumes: false,
        releases: false,
    }
    .run()
}

/// Refuses while a process works on the job.
fn stopped_or_refuse(directory: &Path, verb: &str) -> Result<(), Failure> {
    if super::control::running(directory)?.is_empty() {
        return Ok(());
    }
    let word = shell_word(directory);
    let what = format!("the job in {} still runs", printable(directory));
    let next = format!("`envelock job stop {word}`, then `envelock job {verb} {word}`");
    Err(Failure::new(Exit::Refused, what, next))
}
