//! `envelock census`: which versions the messages of a source need.

use super::job::console::{Console, grouped, now, stop_flag};
use super::job::failure_list::FirstLeft;
use super::job::settings::open_keyring;
use super::job::stages::parse_shard;
use crate::context::Context;
use crate::failure::of_ops::of_halt;
use crate::failure::{Exit, Failure, chain};
use crate::open_keyring::OpenKeyring;
use crate::open_source::{OpenStore, ReadOnly, Renamed, open_source, open_to_read};
use crate::output::{printable, shell_word};
use crate::source_locator::{ListFile, SourceLocator};
use crate::table::Table;
use crate::version_name::VersionName;
use clap::Args;
use envelock::keyring::WithoutVersions;
use envelock::{Envelope, Keyring};
use envelock_ops::drivers::run;
use envelock_ops::{
    Census as Counts, CensusMode, Definition, End, EnvelopeOperation, Job, LabelCensus, Operation,
    Report, Shard, Start, Store, Task,
};
use serde_json::json;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Arguments of `envelock census`.
#[derive(Args, Debug)]
pub struct Census {
    /// Messages: `dir:PATH`, `list:FILE`, `list:-`, `sqlite:FILE?...`, or a name of envelock.toml.
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Unwrap each slot and check its data key. Without it, labels count, which anyone can write.
    #[arg(long)]
    opened: bool,
    /// Open without this version, as if it was destroyed.
    #[arg(long, value_name = "KEY:VERSION", requires = "opened")]
    without: Vec<VersionName>,
    /// Count one part of the items: `3/16`, from 0 on, or `auto`.
    #[arg(long, value_name = "I/N", default_value = "0/1", value_parser = parse_shard)]
    shard: Shard,
    /// Write the report to this file, for `envelock job merge`.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Items at the same time.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: u16,
}

impl Census {
    /// Counts the messages of a source by the versions that they need. Nothing is written.
    ///
    /// # Errors
    ///
    /// Messages do not open, or the census is not complete.
    pub fn run(&self, context: &Context) -> Result<(), Failure> {
        let (source, of_source) = context.config()?.source(&self.source)?;
        if source_is_stdin(&source) {
            context.secrets().check_standard_input()?;
        }
        let (store, operation, keyring): (OpenStore, Box<dyn Operation>, _) = if self.opened {
            let (keyring, _) = open_keyring(context, of_source.as_deref())?;
            let keys: Arc<dyn Keyring> = keyring.lifecycle();
            let store = open_source(&source, Envelope::new(keys.clone()))?;
            let mut suffix = String::new();
            let mut without = WithoutVersions::new(keys);
            for version in &self.without {
                keyring.is_primary(version)?;
                without = without.and(&version.key, version.version)?;
                suffix += &format!(" without {version}");
            }
            let task = Task::Census { mode: CensusMode::Opened };
            let operation = EnvelopeOperation::new(Envelope::new(without), task);
            // The name has what is left out, so that reports of different questions are never added up.
            let store = Renamed { store: ReadOnly(store), suffix };
            (Box::new(store), Box::new(operation), Some(keyring))
        } else {
            (open_to_read(&source)?, Box::new(LabelCensus), None)
        };
        let mut first = FirstLeft::default();
        let report = self.count(context, &store, &*operation, keyring.as_ref(), &mut first)?;
        if let Some(path) = &self.report {
            let subject = printable(path);
            let json = serde_json::to_vec_pretty(&report).map_err(std::io::Error::from);
            json.and_then(|json| crate::new_file::replace(path, &json))
                .map_err(|error| Failure::io(subject, &error))?;
        }
        let item = first.item.as_ref().zip(source.root());
        let file = item.map(|(item, root)| root.join(OsStr::from_bytes(item.as_bytes())));
        let absent = first.absent.text(report.tally.absent);
        self.print(context, &report, file.as_deref(), &absent)
    }

    fn count(
        &self,
        context: &Context,
        store: &OpenStore,
        operation: &dyn Operation,
        keyring: Option<&OpenKeyring>,
        first: &mut FirstLeft,
    ) -> Result<Report, Failure> {
        let mode = keyring.map_or(CensusMode::Labels, |_| CensusMode::Opened);
        let definition = Definition::new(store.properties().name, Task::Census { mode });
        let mut start = Start::new(now(), store.properties());
        start.limits.concurrency = self.concurrency;
        if let Some(keyring) = keyring {
            start.keyring_ids = keyring.ids()?;
            start.keyring_change = keyring.change_number();
        }
        let mut job = Job::new(definition, self.shard, (&[], 0), &start, operation)?;
        let mut console = Console::new(context.output(), stop_flag()?, None);
        let end = run(&mut job, self.concurrency, store, operation, first, &mut console);
        console.finish();
        match end {
            End::Finished(report) => Ok(*report),
            End::Halted { why, .. } => {
                let (exit, _) = of_halt(&why);
                Err(Failure::new(exit, chain(&why), "repair the source, then count again"))
            }
            _ => Err(Failure::new(
                Exit::Stopped,
                "stopped",
                "count again: a census begins at the start",
            )),
        }
    }

    fn print(
        &self,
        context: &Context,
        report: &Report,
        file: Option<&Path>,
        absent: &str,
    ) -> Result<(), Failure> {
        let counts = report.census.clone().unwrap_or_default();
        let tally = report.tally;
        context.output().result(
            || {
                let of = match self.opened {
                    true => "by the versions that open them now",
                    false => "by labels, which are no evidence",
                };
                let links = match tally.links {
                    0 => String::new(),
                    links => format!("{} symbolic links, which are not followed, ", grouped(links)),
                };
                let gone = match tally.gone {
                    0 => String::new(),
                    gone => format!("{} that do not exist, ", grouped(gone)),
                };
                format!(
                    "{}: {} items {of}; {} not envelock, {links}{gone}{} not readable\n{}",
                    report.definition.source,
                    grouped(tally.listed),
                    grouped(tally.excluded.saturating_sub(tally.links)),
                    grouped(tally.failed),
                    table(&counts),
                )
            },
            || json!(report),
        )?;
        let unopenable: u64 = counts.unopenable.iter().map(|(_, items)| items).sum();
        if unopenable == 0 && tally.is_complete() {
            return Ok(());
        }
        let absent = match tally.absent {
            0 => String::new(),
            items => format!("{} listed items do not exist: {absent}", grouped(items)),
        };
        if unopenable == 0 && tally.left() == tally.absent {
            let next = "correct the list, or put back what is missing, then count again";
            return Err(Failure::new(Exit::ItemsLeft, absent, next));
        }
        let what = match (unopenable, self.without.is_empty()) {
            (0, _) => format!("{} items were not counted", grouped(tally.failed)),
            (items, true) => format!("{} items do not open", grouped(items)),
            (items, false) => format!(
                "{} items do not open without {}",
                grouped(items),
                self.without.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            ),
        };
        let what = if absent.is_empty() { what } else { format!("{what}; {absent}") };
        let next = match self.without.is_empty() {
            true => {
                let file = file.map_or("FILE".into(), shell_word);
                format!("`envelock inspect {file}` shows which keys a message needs")
            }
            false => format!(
                "`envelock job plan {}` shows what a rewrap would do",
                shell_word(Path::new(&self.source))
            ),
        };
        Err(Failure::new(Exit::ItemsLeft, what, next))
    }
}

fn source_is_stdin(source: &SourceLocator) -> bool {
    matches!(source, SourceLocator::List { from: ListFile::StandardInput, .. })
}

/// Returns the counts as a table.
pub fn table(counts: &Counts) -> String {
    let mut table = Table::new(&["KEY", "VERSION", "ID", "LABELLED", "OPENED", "SOLE", "BYTES"]);
    for version in &counts.uses {
        table.row([
            version.name.clone(),
            version.version.to_string(),
            version.id.clone(),
            grouped(version.labelled),
            grouped(version.opened),
            grouped(version.sole),
            grouped(version.bytes),
        ]);
    }
    let mut text = table.to_string();
    for (why, items) in &counts.unopenable {
        text += &format!("not opened: {} items, {why}\n", grouped(*items));
    }
    if counts.uncounted_slots > 0 {
        text += &format!(
            "{} slots of more versions were not counted\n",
            grouped(counts.uncounted_slots)
        );
    }
    text
}
