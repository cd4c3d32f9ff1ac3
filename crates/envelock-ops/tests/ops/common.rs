//! Keys, headers and records that several tests use.

use envelock::{Aad, Envelope, Keyring, MemoryKeyring, RandomSource, Timestamp};
use envelock_ops::drivers::Records;
use envelock_ops::{
    Checkpoint, Definition, End, EnvelopeOperation, ItemKey, Job, Operation, Shard, Start,
    StartError, Step, Store, Task,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::io;
use std::sync::Arc;
use std::time::Duration;

pub type Rng = ChaCha8Rng;

pub fn rng(seed: u64) -> Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

pub fn keyring(name: &str, rng: &mut Rng) -> MemoryKeyring {
    MemoryKeyring::create_with_rng(name, Timestamp::UNIX_EPOCH, rng).unwrap()
}

pub fn header<K: Keyring, R: RandomSource>(envelope: &Envelope<K, R>) -> Vec<u8> {
    envelope.start(0, Aad::none()).unwrap().header().to_vec()
}

pub fn key(number: u64) -> ItemKey {
    ItemKey::new(format!("item-{number:03}")).unwrap()
}

/// The records of a job in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryRecords {
    pub undo: Vec<u8>,
    pub failures: Vec<u8>,
    pub checkpoint: Option<Vec<u8>>,
}

impl Records for MemoryRecords {
    fn append(&mut self, batch: &[u8]) -> io::Result<u64> {
        self.undo.extend_from_slice(batch);
        Ok(self.undo.len() as u64)
    }

    fn save(&mut self, at: u64, failures: &[u8], checkpoint: &[u8]) -> io::Result<()> {
        self.failures.truncate(at as usize);
        self.failures.extend_from_slice(failures);
        self.checkpoint = Some(checkpoint.to_vec());
        Ok(())
    }
}

/// Begins a job, or resumes it from its records, as the next process does.
pub fn open(
    definition: &Definition,
    shard: Shard,
    records: &MemoryRecords,
    start: &Start<'_>,
    operation: &dyn Operation,
) -> Result<Job, StartError> {
    let undo_len = records.undo.len() as u64;
    let Some(bytes) = &records.checkpoint else {
        return Job::new(definition.clone(), shard, (&records.undo, undo_len), start, operation);
    };
    let checkpoint = Checkpoint::read(bytes).unwrap();
    let tail = records.undo.get(checkpoint.undo_bytes() as usize..).unwrap_or_default();
    Job::resume(definition, shard, checkpoint, (tail, undo_len), start, operation)
}

/// Runs a job on this thread, on a clock that stands still but for waits.
pub fn run(
    job: &mut Job,
    store: &dyn Store,
    operation: &dyn Operation,
    records: &mut dyn Records,
    now: &mut Duration,
) -> End {
    run_gated(job, store, operation, records, now, |stage| stage.passes)
}

pub fn run_gated(
    job: &mut Job,
    store: &dyn Store,
    operation: &dyn Operation,
    records: &mut dyn Records,
    now: &mut Duration,
    gate: fn(&envelock_ops::StageReport) -> bool,
) -> End {
    loop {
        match job.next(*now, operation) {
            Step::List { after, most } => job.listed(store.list(after.as_ref(), most), *now),
            Step::Scan(scan) => job.scanned(scan.run(store), *now),
            Step::Work(mut work) => {
                work.run(store, operation, || Duration::ZERO);
                job.done(work, *now);
            }
            Step::Probe(probe) => job.probed(probe.run(store), *now),
            Step::Append(batch) => job.appended(records.append(&batch)),
            Step::Save { failures_at, failures, checkpoint } => {
                job.saved(records.save(failures_at, &failures, &checkpoint));
            }
            Step::Gate(stage) => job.decide(gate(&stage)),
            Step::Wait { until } => *now = until.expect("no work is out"),
            Step::Done(end) => return end,
            step => panic!("{step:?}"),
        }
    }
}

/// A keyring with versions 1 and 2, and a store with so many items under version 1.
pub fn stale(items: u64) -> (Arc<MemoryKeyring>, envelock_ops::stores::MemoryStore) {
    let mut rng = rng(1);
    let keyring = Arc::new(keyring("orders", &mut rng));
    let envelope = Envelope::new(keyring.clone());
    let store = (0..items).map(|number| (key(number), header(&envelope))).collect();
    keyring.rotate_with_rng(Timestamp::UNIX_EPOCH, &mut rng).unwrap();
    (keyring, store)
}

/// A rewrap with the keys of this keyring.
pub fn keys(keyring: &Arc<MemoryKeyring>) -> EnvelopeOperation<Arc<MemoryKeyring>> {
    EnvelopeOperation::new(Envelope::new(keyring.clone()), Task::rewrap())
}

/// A rewrap of small pages.
pub fn definition() -> Definition {
    Definition { page: 4, ..Definition::new("memory", Task::rewrap()) }
}

pub const NOW: Duration = Duration::from_secs(1_800_000_000);

/// Runs a job from its records to its end.
pub fn run_to_end(
    definition: &Definition,
    store: &dyn Store,
    operation: &dyn Operation,
    records: &mut MemoryRecords,
) -> End {
    let start = Start::new(NOW, store.properties());
    let mut job = open(definition, Shard::WHOLE, records, &start, operation).unwrap();
    run(&mut job, store, operation, records, &mut NOW.clone())
}

/// Returns the report of a job that must finish.
pub fn finished(end: End) -> envelock_ops::Report {
    match end {
        End::Finished(report) => *report,
        other => panic!("{other:?}"),
    }
}

/// Writes methods of an operation that wraps another one, its field 0, by those of that one.
macro_rules! forward_operation {
    ($($method:ident),*) => {
        $($crate::common::forward_operation!(@ $method);)*
    };
    (@ open) => {
        fn open(&self, header: &[u8]) -> Result<envelock::OpenedKey, envelock::Error> {
            self.0.open(header)
        }
    };
    (@ targets) => {
        fn targets(&self) -> Result<Vec<envelock_ops::VersionName>, envelock::Error> {
            self.0.targets()
        }
    };
    (@ writes) => {
        fn writes(&self, label: &envelock::SlotLabel<'_>) -> Result<bool, envelock::Error> {
            self.0.writes(label)
        }
    };
    (@ unreadable) => {
        fn unreadable(
            &self,
            label: &envelock::SlotLabel<'_>,
        ) -> Result<Option<String>, envelock::Error> {
            self.0.unreadable(label)
        }
    };
    (@ refusal) => {
        fn refusal(&self, task: &envelock_ops::Task) -> Option<String> {
            self.0.refusal(task)
        }
    };
}
pub(crate) use forward_operation;

/// Writes methods of a store that wraps another one, its field 0, by those of that one.
macro_rules! forward_store {
    ($($method:ident),*) => {
        $($crate::common::forward_store!(@ $method);)*
    };
    (@ properties) => {
        fn properties(&self) -> envelock_ops::Properties {
            self.0.properties()
        }
    };
    (@ list) => {
        fn list(
            &self,
            after: Option<&envelock_ops::ItemKey>,
            most: usize,
        ) -> Result<envelock_ops::Page, envelock_ops::StoreError> {
            self.0.list(after, most)
        }
    };
    (@ read) => {
        fn read(
            &self,
            item: &envelock_ops::ItemKey,
        ) -> Result<Option<envelock_ops::StoredHeader>, envelock_ops::StoreError> {
            self.0.read(item)
        }
    };
    (@ replace) => {
        fn replace(
            &self,
            item: &envelock_ops::ItemKey,
            expected: envelock_ops::Expected<'_>,
            new: &[u8],
        ) -> Result<envelock_ops::Replaced, envelock_ops::StoreError> {
            self.0.replace(item, expected, new)
        }
    };
}
pub(crate) use forward_store;
