//! What a job would do, by labels. Nothing is written, and no key is used.

use super::advice::Advice;
use super::console::{at_rate, grouped, now, readable};
use super::limits::describe;
use super::task::Keys;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::open_keyring::OpenKeyring;
use crate::open_source::{OpenStore, ReadOnly};
use crate::output::printable;
use crate::table::Table;
use envelock::keyring::{Freshness, PrimaryKey};
use envelock::{Envelope, Error, Keyring, OpenedKey, SlotLabel, inspect};
use envelock_ops::drivers::{Controls, run};
use envelock_ops::{
    CensusMode, Definition, End, Item, Job, LabelCensus, Operation, Report, Shard, Start, Store,
    Task, Use, Verdict, VersionName,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Items whose reads are timed one by one.
const TIMED: usize = 200;

/// A census of labels that also counts what is due.
struct Planning<'a> {
    task: &'a Task,
    envelope: Envelope<Arc<dyn Keyring>>,
    other: Option<Arc<dyn Keyring>>,
    due: AtomicU64,
    header_bytes: AtomicU64,
    undo_bytes: AtomicU64,
    advice: Advice,
    /// The versions that were seen, and what the keys say about each.
    versions: Mutex<BTreeMap<(String, u32, String), Seen>>,
}

#[derive(Clone, Debug)]
struct Seen {
    freshness: Option<Freshness>,
    unreadable: Option<String>,
}

impl Planning<'_> {
    fn is_due(&self, item: &Item<'_>) -> Result<bool, Error> {
        let header = item.stored.header.as_slice();
        let parsed = inspect(header)?;
        Ok(match (self.task, &self.other) {
            (Task::Rewrap { .. }, _) => self.envelope.needs_rewrap(header)?,
            (Task::RemoveName { name }, _) => {
                parsed.slots().any(|slot| slot.label.name.as_str() == name)
            }
            (Task::AddName { .. }, Some(other)) => {
                let mut has_all = true;
                let mut each = |primary: &PrimaryKey<'_>| {
                    has_all &= parsed.slots().any(|slot| slot.label.same_key(&primary.label));
                };
                // A keyring that cannot be read was refused before.
                let _ = other.visit_primaries(&mut each);
                !has_all
            }
            (Task::Reencrypt { cause, .. }, _) => {
                let keyring = self.envelope.keyring();
                let is_mine = |label| keyring.freshness(&label).ok() != Some(Freshness::NotMine);
                // The others are excluded.
                parsed.slots().any(|slot| is_mine(slot.label))
                    && self.advice.count(cause, &parsed, item.stored.body_written)
            }
            _ => false,
        })
    }

    fn note(&self, header: &[u8], keys: &Keys) {
        let Ok(parsed) = inspect(header) else { return };
        // A slot that cannot be read is no obstacle where another one opens the message.
        let opens = parsed.slots().any(|slot| matches!(keys.unreadable(&slot.label), Ok(None)));
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        for slot in parsed.slots() {
            let label = slot.label;
            let id = label.master_key_id.to_string();
            let key = (label.name.as_str().to_string(), label.version.number(), id);
            let seen = versions.entry(key).or_insert_with(|| Seen {
                freshness: self.envelope.keyring().freshness(&label).ok(),
                unreadable: None,
            });
            if !opens && seen.unreadable.is_none() {
                seen.unreadable = keys.unreadable(&label).ok().flatten();
            }
        }
    }
}

/// The planning of one source, with the keys of the job.
struct PlanningScan<'a>(&'a Planning<'a>, &'a Keys);

impl Operation for PlanningScan<'_> {
    fn apply(&self, item: &Item<'_>) -> Verdict {
        let PlanningScan(planning, keys) = self;
        let header = item.stored.header.as_slice();
        planning.note(header, keys);
        if planning.is_due(item).unwrap_or(false) {
            let key_len = item.key.as_bytes().len() as u64;
            planning.due.fetch_add(1, Ordering::Relaxed);
            planning.header_bytes.fetch_add(header.len() as u64, Ordering::Relaxed);
            planning.undo_bytes.fetch_add(30 + key_len + header.len() as u64, Ordering::Relaxed);
        }
        LabelCensus.apply(item)
    }

    fn open(&self, header: &[u8]) -> Result<OpenedKey, Error> {
        LabelCensus.open(header)
    }

    fn targets(&self) -> Result<Vec<VersionName>, Error> {
        Ok(Vec::new())
    }

    fn unreadable(&self, _: &SlotLabel<'_>) -> Result<Option<String>, Error> {
        Ok(None)
    }

    fn refusal(&self, task: &Task) -> Option<String> {
        LabelCensus.refusal(task)
    }
}

/// What a job would do.
pub struct Plan {
    definition: Definition,
    report: Box<Report>,
    due: u64,
    header_bytes: u64,
    undo_bytes: u64,
    advice: Advice,
    refusal: Option<Failure>,
    versions: BTreeMap<(String, u32, String), Seen>,
    /// The times of reads, in order.
    reads: Vec<Duration>,
    calls_a_back_end: bool,
}

impl Plan {
    /// Reads every header of the source, and none of its bodies.
    ///
    /// # Errors
    ///
    /// The job would be refused, or the source cannot be read.
    pub fn make(
        definition: &Definition,
        shard: Shard,
        store: &OpenStore,
        keyring: &OpenKeyring,
        other: Option<&OpenKeyring>,
        keys: &Keys,
    ) -> Result<Self, Failure> {
        let store = ReadOnly(store);
        // What the job itself refuses.
        let start = Start {
            keyring_change: Some(keyring.file().change_number()),
            ..Start::new(now(), store.properties())
        };
        Job::new(definition.clone(), shard, (&[], 0), &start, keys)?;
        let planning = Planning {
            task: &definition.task,
            envelope: keyring.envelope(),
            other: other.map(|other| -> Arc<dyn Keyring> { other.lifecycle() }),
            due: AtomicU64::new(0),
            header_bytes: AtomicU64::new(0),
            undo_bytes: AtomicU64::new(0),
            advice: Advice::default(),
            versions: Mutex::default(),
        };
        let reads = time_reads(&store)?;
        let report = read_labels(&store, shard, &PlanningScan(&planning, keys))?;
        Ok(Plan {
            definition: definition.clone(),
            report,
            due: planning.due.into_inner(),
            header_bytes: planning.header_bytes.into_inner(),
            undo_bytes: planning.undo_bytes.into_inner(),
            advice: planning.advice,
            refusal: super::reencrypt::check(&definition.task, keys).err(),
            versions: planning.versions.into_inner().unwrap_or_else(PoisonError::into_inner),
            reads,
            calls_a_back_end: keyring.given.starts_with("pkcs11:"),
        })
    }

    /// Prints the plan.
    ///
    /// # Errors
    ///
    /// A version that items are under cannot be read, or standard output cannot be written.
    pub fn print(
        mut self,
        context: &Context,
        directory: &Path,
        controls: &Controls,
        start: &str,
    ) -> Result<(), Failure> {
        let (output, refusal) = (context.output(), self.refusal.take());
        output.result(|| self.text(directory, controls), || self.json())?;
        let unreadable = self.versions.iter().find_map(|((name, version, _), seen)| {
            // Another keyring's items are excluded, and fail nothing.
            let why = seen.unreadable.as_ref();
            let is_mine = seen.freshness != Some(Freshness::NotMine);
            why.filter(|_| is_mine).map(|why| (name, version, why))
        });
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        match unreadable {
            Some((name, version, why)) => {
                let what = format!("items under {name}:{version} would fail: {why}");
                let next = format!(
                    "`envelock key show {name}`; `--from-compromised {name}:{version}` allows a compromised one"
                );
                Err(Failure::new(Exit::Refused, what, next))
            }
            None => {
                output.progress(|| format!("next: {start}"), || json!({ "next": start }));
                Ok(())
            }
        }
    }

    fn at(&self, percent: usize) -> Duration {
        let at = self.reads.len().saturating_mul(percent) / 100;
        self.reads.get(at).copied().unwrap_or_default()
    }

    fn uses(&self) -> &[Use] {
        self.report.census.as_ref().map_or(&[], |census| &census.uses)
    }

    fn state(&self, version: &Use) -> &'static str {
        let key = (version.name.clone(), version.version, version.id.clone());
        match self.versions.get(&key) {
            Some(Seen { unreadable: Some(_), freshness, .. })
                if *freshness != Some(Freshness::NotMine) =>
            {
                "cannot be read"
            }
            Some(Seen { freshness: Some(Freshness::NotMine), .. }) => "another keyring's",
            Some(Seen { freshness: Some(Freshness::Refused(_)), .. }) => "cannot be read",
            Some(Seen { freshness: Some(Freshness::Primary), .. }) => "primary",
            Some(Seen { freshness: Some(Freshness::Compromised), .. }) => "compromised",
            _ => "older",
        }
    }

    fn text(&self, directory: &Path, controls: &Controls) -> String {
        let tally = self.report.tally;
        let items = tally.current;
        let mut text = format!(
            "{}: {} items, {} not envelock or not readable; by labels, which are no evidence\n",
            self.definition.source,
            grouped(tally.listed),
            grouped(tally.excluded + tally.failed),
        );
        let mut table = Table::new(&["KEY", "VERSION", "STATE", "ITEMS", "BYTES"]);
        for version in self.uses() {
            table.row([
                version.name.clone(),
                version.version.to_string(),
                self.state(version).into(),
                grouped(version.labelled),
                grouped(version.bytes),
            ]);
        }
        text += &table.to_string();
        text += &self.advice.text();
        let p50 = self.at(50);
        let reads = p50.saturating_mul(u32::try_from(items).unwrap_or(u32::MAX));
        // Each item that is due is read again after it was written.
        let due = p50.saturating_mul(u32::try_from(self.due).unwrap_or(u32::MAX));
        let at_once = u32::from(controls.limits.concurrency.max(1));
        let written = match self.definition.task {
            Task::Reencrypt { .. } => "bodies read and".into(),
            _ => format!("{} bytes of headers", grouped(self.header_bytes)),
        };
        text += &format!(
            "\nforecast  {} of {} to be {}, {} written, {} calls of a token",
            grouped(self.due),
            grouped(items),
            self.definition.task.verb(),
            written,
            if self.calls_a_back_end { grouped(self.due.saturating_mul(2)) } else { "0".into() },
        );
        text += &format!(
            "\n          {} and the writes; {} reads took {} (p50), {} (p95)",
            readable((reads + due) / at_once),
            self.reads.len(),
            readable(p50),
            readable(self.at(95)),
        );
        if let Some(rate) = controls.limits.items_per_second {
            text += &format!("\n          {}", at_rate(items, rate.into()));
        }
        text +=
            &format!("\nundo log  {} bytes in {}", grouped(self.undo_bytes), printable(directory));
        let limits = describe(controls);
        if !limits.is_empty() {
            text += &format!("\nlimits    {}", limits.join(" "));
        }
        let parts: Vec<String> = self
            .definition
            .stages
            .iter()
            .map(|stage| format!("{} %", f64::from(stage.up_to_millionths) / 10_000.0))
            .collect();
        let limit = self.definition.failure_limit;
        text + &format!(
            "\nstages    {}; {} items without a failure prove less than {} % at {} %",
            parts.join(", "),
            limit.needed(),
            f64::from(limit.millionths) / 10_000.0,
            f64::from(limit.confidence_thousandths) / 10.0,
        )
    }

    fn json(&self) -> serde_json::Value {
        let micros = |percent| self.at(percent).as_micros() as u64;
        let versions: Vec<_> = self
            .uses()
            .iter()
            .map(|version| json!({ "use": version, "state": self.state(version) }))
            .collect();
        json!({
            "plan": {
                "definition": self.definition,
                "evidence": "labels",
                "tally": self.report.tally,
                "versions": versions,
                "advice": self.advice.json(),
                "due": self.due,
                "header_bytes": self.header_bytes,
                "undo_bytes": self.undo_bytes,
                "token_calls": if self.calls_a_back_end { self.due.saturating_mul(2) } else { 0 },
                "read_microseconds": { "p50": micros(50), "p95": micros(95) },
            },
        })
    }
}

/// Times the reads of the first items, one after the other.
fn time_reads(store: &dyn Store) -> Result<Vec<Duration>, Failure> {
    let page = store.list(None, TIMED)?;
    let mut times = Vec::with_capacity(page.items.len());
    for item in page.items {
        let began = Instant::now();
        // One that cannot be read is counted below.
        let _ = store.read(&item.key);
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

/// Reads every header, in several threads.
fn read_labels(
    store: &dyn Store,
    shard: Shard,
    judge: &dyn Operation,
) -> Result<Box<Report>, Failure> {
    let task = Task::Census { mode: CensusMode::Labels };
    let definition = Definition::new(store.properties().name, task);
    let start = Start::new(now(), store.properties());
    let mut job = Job::new(definition, shard, (&[], 0), &start, judge)?;
    match run(&mut job, 8, store, judge, &mut (), &mut ()) {
        End::Finished(report) => Ok(report),
        End::Halted { why, .. } => {
            let (exit, _) = crate::failure::of_ops::of_halt(&why);
            let next = "repair the source, then plan again";
            Err(Failure::new(exit, crate::failure::chain(&why), next))
        }
        _ => Err(Failure::new(Exit::Stopped, "stopped", "plan again")),
    }
}
