//! What the headers of a source say before a job begins, by their labels: what is due, what cannot be read, and the
//! strata of what is due. Nothing is written, and no key is used.

use super::advice::Advice;
use super::console::{grouped, now};
use super::failure_list::FirstNames;
use super::task::Keys;
use crate::failure::{Exit, Failure, of_ops::of_halt};
use crate::open_keyring::OpenKeyring;
use crate::open_source::{OpenStore, ReadOnly};
use crate::output::Output;
use envelock::keyring::{Freshness, PrimaryKey};
use envelock::{Envelope, Error, Keyring, OpenedKey, SlotLabel, inspect};
use envelock_ops::drivers::{Control, run};
use envelock_ops::{
    Definition, End, Item, ItemKey, Job, Operation, Page, Properties, Replaced, Report, Shard,
    Stage, Start, StartError, Store, StoreError, StoredHeader, Task, Verdict, VersionName,
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Headers that are read at the same time.
const THREADS: u16 = 8;

/// How often progress is printed.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// A version of a key that labels name: its name, number and id.
pub type Label = (String, u32, String);

/// What was seen of a version.
#[derive(Clone, Debug)]
pub struct Seen {
    pub freshness: Option<Freshness>,
    /// Why messages that need the version cannot be opened.
    pub unreadable: Option<String>,
    pub items: u64,
    pub bytes: u64,
}

impl Seen {
    /// Whether the messages of another keyring have it: they are excluded, and fail nothing.
    pub fn is_foreign(&self) -> bool {
        self.freshness == Some(Freshness::NotMine)
    }
}

/// What the headers say.
pub struct Survey {
    pub versions: BTreeMap<Label, Seen>,
    /// The items that a list names and that do not exist, such as "a, b and 3 more"; `None` without any.
    pub absent: Option<String>,
    /// The bytes of the headers that are due.
    pub header_bytes: u64,
    pub advice: Advice,
    /// That of a dry run, whose changes are by labels alone.
    pub report: Box<Report>,
}

/// The keys of a job.
#[derive(Clone, Copy)]
pub struct JobKeys<'a> {
    pub keyring: &'a OpenKeyring,
    /// Slots of this one are added.
    pub other: Option<&'a OpenKeyring>,
    pub keys: &'a Keys,
}

impl Survey {
    /// Reads every header of a shard, and no body.
    ///
    /// # Errors
    ///
    /// The job would be refused whatever the headers are, the source cannot be read, or `stop` was set.
    pub fn make(
        definition: &Definition,
        shard: Shard,
        store: &OpenStore,
        job_keys: JobKeys<'_>,
        (output, stop): (Output, Option<Arc<AtomicBool>>),
    ) -> Result<Self, Failure> {
        let JobKeys { keyring, other, keys } = job_keys;
        let store = WithLengths {
            store: ReadOnly(store),
            bytes: Mutex::default(),
            missing: Mutex::default(),
        };
        let start = Start {
            keyring_change: keyring.change_number(),
            ..Start::new(now(), store.properties())
        };
        let dry = Definition {
            dry_run: true,
            stages: vec![Stage::all()],
            sample: Vec::new(),
            ..definition.clone()
        };
        let scan = SurveyScan {
            task: &definition.task,
            keys,
            envelope: keyring.envelope(),
            other: other.map(|other| -> Arc<dyn Keyring> { other.lifecycle() }),
            sizes: &store.bytes,
            targets: keys.targets().map_err(StartError::from)?,
            header_bytes: AtomicU64::new(0),
            advice: Advice::default(),
            versions: Mutex::default(),
        };
        let mut job = Job::new(dry, shard, (&[], 0), &start, &scan)?;
        let mut reading = Reading { output, stop, printed: Instant::now() };
        let report = match run(&mut job, THREADS, &store, &scan, &mut (), &mut reading) {
            End::Finished(report) => report,
            End::Halted { why, .. } => {
                let (exit, _) = of_halt(&why);
                let next = "repair the source, then run the command again";
                return Err(Failure::new(exit, crate::failure::chain(&why), next));
            }
            _ => {
                let what = "stopped while it read the headers: nothing was written";
                return Err(Failure::new(Exit::Stopped, what, "run the command again"));
            }
        };
        let absent = report.tally.absent;
        let (versions, header_bytes) = (scan.versions, scan.header_bytes.into_inner());
        let missing = store.missing.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Survey {
            versions: versions.into_inner().unwrap_or_else(PoisonError::into_inner),
            absent: (absent > 0).then(|| missing.text(absent)),
            header_bytes,
            advice: scan.advice,
            report,
        })
    }

    /// Returns the version that a message needs and that cannot be read, and why.
    pub fn unreadable(&self) -> Option<(VersionName, String)> {
        self.versions.iter().filter(|(_, seen)| !seen.is_foreign()).find_map(|(label, seen)| {
            let (name, version, _) = label;
            let version = VersionName { name: name.clone(), version: *version };
            seen.unreadable.clone().map(|why| (version, why))
        })
    }

    /// Refuses a source with a message that no version opens.
    ///
    /// # Errors
    ///
    /// [`StartError::Unreadable`].
    pub fn check(&self) -> Result<(), Failure> {
        match self.unreadable() {
            Some((version, why)) => Err(StartError::Unreadable { version, why }.into()),
            None => Ok(()),
        }
    }

    /// Returns what the first of several stages has of each stratum, whatever its size.
    pub fn sample(&self, stages: &[Stage]) -> Vec<u64> {
        match (stages, &self.report.strata) {
            ([first, _, ..], Some(strata)) => strata.sample(first),
            _ => Vec::new(),
        }
    }
}

/// Decides by labels what a job would do to each item.
struct SurveyScan<'a> {
    task: &'a Task,
    keys: &'a Keys,
    envelope: Envelope<Arc<dyn Keyring>>,
    other: Option<Arc<dyn Keyring>>,
    sizes: &'a Mutex<BTreeMap<ItemKey, u64>>,
    /// What headers are wrapped under.
    targets: Vec<VersionName>,
    header_bytes: AtomicU64,
    advice: Advice,
    /// The versions that were seen, and what the keys say about each.
    versions: Mutex<BTreeMap<Label, Seen>>,
}

impl SurveyScan<'_> {
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

    /// Returns whether the new header is as long as the old one, as far as names tell: slots of a name are as long as each
    /// other where one kind of keyring wrapped them.
    fn keeps_length(&self, item: &Item<'_>) -> bool {
        let (Task::Rewrap { .. }, Ok(parsed)) = (self.task, inspect(&item.stored.header)) else {
            return false;
        };
        parsed.slots().all(|slot| {
            let label = slot.label;
            let is_mine =
                self.envelope.keyring().freshness(&label).ok() != Some(Freshness::NotMine);
            !is_mine || self.targets.iter().any(|to| to.name.len() == label.name.as_str().len())
        })
    }

    fn note(&self, item: &Item<'_>) {
        let Ok(parsed) = inspect(&item.stored.header) else { return };
        let bytes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner).remove(item.key);
        // A slot that cannot be read is no obstacle where another one opens the message.
        let opens =
            parsed.slots().any(|slot| matches!(self.keys.unreadable(&slot.label), Ok(None)));
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let mut counted = BTreeSet::new();
        for slot in parsed.slots() {
            let label = slot.label;
            let id = label.master_key_id.to_string();
            let key = (label.name.as_str().to_string(), label.version.number(), id);
            let is_first = counted.insert(key.clone());
            let seen = versions.entry(key).or_insert_with(|| Seen {
                freshness: self.envelope.keyring().freshness(&label).ok(),
                unreadable: None,
                items: 0,
                bytes: 0,
            });
            if is_first {
                seen.items = seen.items.saturating_add(1);
                seen.bytes = seen.bytes.saturating_add(bytes.unwrap_or(0));
            }
            if !opens && seen.unreadable.is_none() {
                seen.unreadable = self.keys.unreadable(&label).ok().flatten();
            }
        }
    }
}

impl Operation for SurveyScan<'_> {
    fn apply(&self, item: &Item<'_>) -> Verdict {
        self.note(item);
        match self.is_due(item) {
            Ok(true) => {
                let len = item.stored.header.len() as u64;
                self.header_bytes.fetch_add(len, Ordering::Relaxed);
                // A dry run looks at the length of the new header, and keeps nothing of it.
                let new = if self.keeps_length(item) { len } else { 0 };
                Verdict::Change { header: vec![0; usize::try_from(new).unwrap_or(0)], left: None }
            }
            Ok(false) => Verdict::Current,
            Err(error) => error.into(),
        }
    }

    fn open(&self, header: &[u8]) -> Result<OpenedKey, Error> {
        self.keys.open(header)
    }

    fn targets(&self) -> Result<Vec<VersionName>, Error> {
        self.keys.targets()
    }

    fn writes(&self, label: &SlotLabel<'_>) -> Result<bool, Error> {
        self.keys.writes(label)
    }

    fn unreadable(&self, label: &SlotLabel<'_>) -> Result<Option<String>, Error> {
        self.keys.unreadable(label)
    }

    fn refusal(&self, task: &Task) -> Option<String> {
        self.keys.refusal(task)
    }
}

/// A store that is read, and remembers the lengths of what it listed until each item is read.
struct WithLengths<S> {
    store: ReadOnly<S>,
    bytes: Mutex<BTreeMap<ItemKey, u64>>,
    /// The first items that did not exist.
    missing: Mutex<FirstNames>,
}

impl<S: Store> Store for WithLengths<S> {
    fn properties(&self) -> Properties {
        self.store.properties()
    }

    fn list(&self, after: Option<&ItemKey>, most: usize) -> Result<Page, StoreError> {
        let page = self.store.list(after, most)?;
        let mut bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        // A page is listed when nothing of the one before is left.
        bytes.clear();
        bytes.extend(page.items.iter().filter_map(|item| Some((item.key.clone(), item.bytes?))));
        Ok(page)
    }

    fn read(&self, item: &ItemKey) -> Result<Option<StoredHeader>, StoreError> {
        let stored = self.store.read(item)?;
        if stored.is_none() {
            let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
            missing.add(item.clone());
        }
        Ok(stored)
    }

    fn replace(
        &self,
        item: &ItemKey,
        expected: envelock_ops::Expected<'_>,
        new: &[u8],
    ) -> Result<Replaced, StoreError> {
        self.store.replace(item, expected, new)
    }
}

/// Prints how many headers were read, and stops on a signal.
struct Reading {
    output: Output,
    stop: Option<Arc<AtomicBool>>,
    printed: Instant,
}

impl Control for Reading {
    fn is_stopped(&mut self) -> bool {
        self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed))
    }

    fn progress(&mut self, job: &Job) {
        if self.printed.elapsed() < LINE_EVERY {
            return;
        }
        self.printed = Instant::now();
        let items = job.tally().listed;
        self.output.progress(
            || format!("reading headers: {}", grouped(items)),
            || json!({ "status": "reading", "headers": items }),
        );
    }
}
