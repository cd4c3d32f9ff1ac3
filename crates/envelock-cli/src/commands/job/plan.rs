//! What a job would do, by labels. Nothing is written, and no key is used.

use super::console::{at_rate, grouped, readable};
use super::limits::describe;
use super::money::text_of_sum;
use super::survey::{JobKeys, Label, Seen, Survey};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::open_source::{OpenStore, ReadOnly};
use crate::output::printable;
use crate::table::Table;
use envelock::keyring::Freshness;
use envelock_ops::drivers::Controls;
use envelock_ops::{Definition, Prices, STRATUM_SAMPLE, Store, Task};
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// Items whose reads are timed one by one.
const TIMED: usize = 200;

/// What a job would do.
pub struct Plan {
    definition: Definition,
    survey: Survey,
    refusal: Option<Failure>,
    /// The times of reads, in order.
    reads: Vec<Duration>,
    calls_a_back_end: bool,
}

impl Plan {
    /// Returns the plan of a job whose headers were read.
    ///
    /// # Errors
    ///
    /// The source cannot be listed.
    pub fn make(
        definition: Definition,
        survey: Survey,
        store: &OpenStore,
        job_keys: JobKeys<'_>,
    ) -> Result<Self, Failure> {
        Ok(Plan {
            refusal: super::reencrypt::check(&definition.task, job_keys.keys).err(),
            definition,
            survey,
            reads: time_reads(&ReadOnly(store))?,
            calls_a_back_end: job_keys.keyring.given.starts_with("pkcs11:"),
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
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        match (self.survey.unreadable(), &self.survey.absent) {
            (Some((version, why)), _) => {
                let what = format!("items under {version} would fail: {why}");
                let next = format!(
                    "`envelock key show {}`; `--from-compromised {version}` allows a compromised one",
                    version.name
                );
                Err(Failure::new(Exit::Refused, what, next))
            }
            (None, Some(names)) => {
                let items = grouped(self.survey.report.tally.absent);
                let what = format!("{items} listed items do not exist: {names}");
                let next = "correct the list, or put back what is missing, then plan again";
                Err(Failure::new(Exit::ItemsLeft, what, next))
            }
            (None, None) => {
                output.progress(|| format!("next: {start}"), || json!({ "next": start }));
                Ok(())
            }
        }
    }

    fn at(&self, percent: usize) -> Duration {
        let at = self.reads.len().saturating_mul(percent) / 100;
        self.reads.get(at).copied().unwrap_or_default()
    }

    fn due(&self) -> u64 {
        self.survey.report.tally.changed
    }

    /// Returns the items that are messages.
    fn items(&self) -> u64 {
        self.due() + self.survey.report.tally.current
    }

    /// Returns the calls of a token, of which each item that is due takes three.
    fn token_calls(&self) -> u64 {
        if self.calls_a_back_end { self.survey.report.calls.keys } else { 0 }
    }

    fn text(&self, directory: &Path, controls: &Controls) -> String {
        let (survey, items, due) = (&self.survey, self.items(), self.due());
        let tally = survey.report.tally;
        let mut text = format!(
            "{}: {} items, {} not envelock or not readable; by labels, which are no evidence\n",
            self.definition.source,
            grouped(tally.listed),
            grouped(tally.excluded + tally.failed),
        );
        let mut table = Table::new(&["KEY", "VERSION", "STATE", "ITEMS", "BYTES"]);
        for ((name, version, _), seen) in &survey.versions {
            table.row([
                name.clone(),
                version.to_string(),
                state(seen).into(),
                grouped(seen.items),
                grouped(seen.bytes),
            ]);
        }
        text += &table.to_string();
        text += &survey.advice.text();
        let p50 = self.at(50);
        let reads = p50.saturating_mul(u32::try_from(items).unwrap_or(u32::MAX));
        // Each item that is due is read again after it was written.
        let again = p50.saturating_mul(u32::try_from(due).unwrap_or(u32::MAX));
        let at_once = u32::from(controls.limits.concurrency.max(1));
        let moved = survey.report.calls.moved_bytes;
        let written = match self.definition.task {
            Task::Reencrypt { .. } => format!("{} bytes of messages read and", grouped(moved)),
            _ if moved > 0 => format!("{} bytes of messages copied and", grouped(moved)),
            _ => format!("{} bytes of headers", grouped(survey.header_bytes)),
        };
        text += &format!(
            "\nforecast  {} of {} to be {}, {} written, {} calls of a token",
            grouped(due),
            grouped(items),
            self.definition.task.verb(),
            written,
            grouped(self.token_calls()),
        );
        text += &format!(
            "\n          {} and the writes; {} reads took {} (p50), {} (p95)",
            readable((reads + again) / at_once),
            self.reads.len(),
            readable(p50),
            readable(self.at(95)),
        );
        if let Some(rate) = controls.limits.items_per_second {
            text += &format!("\n          {}", at_rate(items, rate.into()));
        }
        if self.definition.prices != Prices::default() {
            text +=
                &format!("\n          costs {} by its prices", text_of_sum(survey.report.spent()));
        }
        let undo = grouped(survey.report.undo_bytes);
        text += &format!("\nundo log  {undo} bytes in {}", printable(directory));
        let limits = describe(controls);
        if !limits.is_empty() {
            text += &format!("\nlimits    {}", limits.join(" "));
        }
        text + &self.stages()
    }

    fn stages(&self) -> String {
        let Definition { stages, sample, failure_limit: limit, .. } = &self.definition;
        let parts: Vec<String> = stages
            .iter()
            .map(|stage| format!("{} %", f64::from(stage.up_to_millionths) / 10_000.0))
            .collect();
        let mut text = format!(
            "\nstages    {}; {} items without a failure prove less than {} % at {} %",
            parts.join(", "),
            limit.needed(),
            f64::from(limit.millionths) / 10_000.0,
            f64::from(limit.confidence_thousandths) / 10.0,
        );
        if let (false, Some(strata)) = (sample.is_empty(), &self.survey.report.strata) {
            text += &format!(
                "\n          strata in the first: {}, each with {STRATUM_SAMPLE} items or all; by version, suite, slots, \
                 size and directory",
                strata.counts().len()
            );
        }
        text
    }

    fn json(&self) -> Value {
        let survey = &self.survey;
        let micros = |percent| self.at(percent).as_micros() as u64;
        let version = |((name, version, id), seen): (&Label, &Seen)| {
            json!({
                "use": {
                    "name": name, "version": version, "id": id, "labelled": seen.items,
                    "bytes": seen.bytes,
                },
                "state": state(seen),
            })
        };
        json!({
            "plan": {
                "definition": self.definition,
                "evidence": "labels",
                "tally": survey.report.tally,
                "versions": survey.versions.iter().map(version).collect::<Vec<_>>(),
                "strata": survey.report.strata.as_ref().map_or(0, |strata| strata.counts().len()),
                "advice": survey.advice.json(),
                "due": self.due(),
                "header_bytes": survey.header_bytes,
                "undo_bytes": survey.report.undo_bytes,
                "calls": survey.report.calls,
                "cost_billionths": survey.report.spent(),
                "token_calls": self.token_calls(),
                "read_microseconds": { "p50": micros(50), "p95": micros(95) },
            },
        })
    }
}

fn state(seen: &Seen) -> &'static str {
    match seen.freshness {
        Some(Freshness::NotMine) => "another keyring's",
        _ if seen.unreadable.is_some() => "cannot be read",
        Some(Freshness::Refused(_)) => "cannot be read",
        Some(Freshness::Primary) => "primary",
        Some(Freshness::Compromised) => "compromised",
        _ => "older",
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
