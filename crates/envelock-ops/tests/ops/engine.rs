//! The engine: dry run, stages, threads, shards, two jobs at once.

use crate::common::{
    MemoryRecords, NOW, definition, finished, header, key, keys, open, run, run_gated, run_to_end,
    stale,
};
use envelock::{Envelope, MemoryKeyring};
use envelock_ops::drivers::{self, Records};
use envelock_ops::stores::MemoryStore;
use envelock_ops::{
    CompareAndSwap, Definition, End, Expected, Halt, ItemKey, Job, MergeError, Page, Properties,
    Replaced, Shard, Stage, Start, Store, StoreError, StoredHeader, merge,
};
use std::time::Duration;

/// A store that allows reads alone.
struct ReadOnly<'a>(&'a MemoryStore);

impl Store for ReadOnly<'_> {
    fn properties(&self) -> Properties {
        Properties { compare_and_swap: CompareAndSwap::Missing, ..self.0.properties() }
    }
    fn list(&self, after: Option<&ItemKey>, most: usize) -> Result<Page, StoreError> {
        self.0.list(after, most)
    }
    fn read(&self, item: &ItemKey) -> Result<Option<StoredHeader>, StoreError> {
        let stored = self.0.read(item)?;
        Ok(stored.map(|stored| StoredHeader { is_unsettled: true, ..stored }))
    }
    fn replace(&self, _: &ItemKey, _: Expected<'_>, _: &[u8]) -> Result<Replaced, StoreError> {
        panic!("a dry run writes")
    }
    fn settle(&self, _: &ItemKey, _: Expected<'_>) -> Result<Replaced, StoreError> {
        panic!("a dry run settles")
    }
}

/// Records that allow nothing.
struct NoRecords;

impl Records for NoRecords {
    fn append(&mut self, _: &[u8]) -> std::io::Result<u64> {
        panic!("a dry run logs")
    }
    fn save(&mut self, _: u64, _: &[u8], _: &[u8]) -> std::io::Result<()> {
        panic!("a dry run saves")
    }
}

#[test]
fn dry_run_writes_nothing_and_knows_the_length_of_the_undo_log() {
    let (keyring, store) = stale(10);
    let keys = keys(&keyring);
    let dry = Definition { dry_run: true, stages: stages(), ..definition() };
    let start = Start::new(NOW, ReadOnly(&store).properties());
    let mut job = Job::new(dry, Shard::WHOLE, (&[], 0), &start, &keys).unwrap();
    let end = run(&mut job, &ReadOnly(&store), &keys, &mut NoRecords, &mut NOW.clone());
    let planned = finished(end);
    assert_eq!((planned.tally.listed, planned.tally.changed), (10, 10));
    let mut records = MemoryRecords::default();
    finished(run_to_end(&definition(), &store, &keys, &mut records));
    assert_eq!(planned.undo_bytes, records.undo.len() as u64);
}

pub fn stages() -> Vec<Stage> {
    vec![Stage { up_to_millionths: 500_000, soak_seconds: 900 }, Stage::all()]
}

#[test]
fn stages_soak_and_ask_before_they_go_on() {
    let (keyring, store) = stale(40);
    let keys = keys(&keyring);
    let definition = Definition { stages: stages(), page: 10, ..definition() };
    let (mut records, mut now) = (MemoryRecords::default(), NOW);
    let start = Start::new(NOW, store.properties());
    let mut job = open(&definition, Shard::WHOLE, &records, &start, &keys).unwrap();
    // 20 items without a failure prove at most 14 %, not 1 %.
    let end = run(&mut job, &store, &keys, &mut records, &mut now);
    let End::Halted { why: Halt::Stage(stage), report } = end else { panic!("{end:?}") };
    assert!(now >= NOW + Duration::from_secs(900));
    assert!((10..30).contains(&stage.items) && !stage.passes, "{stage}");
    assert_eq!(report.tally.changed, stage.items);
    assert!(!report.is_complete);

    let start = Start::new(now, store.properties());
    let mut job = open(&definition, Shard::WHOLE, &records, &start, &keys).unwrap();
    let report = finished(run_gated(&mut job, &store, &keys, &mut records, &mut now, |_| true));
    assert_eq!((report.tally.changed, report.stages.len()), (40, 2));
}

#[test]
fn more_threads_than_the_system_starts_are_no_error() {
    let (keyring, store) = stale(20);
    let keys = keys(&keyring);
    let start = Start::new(NOW, store.properties());
    let mut job = Job::new(definition(), Shard::WHOLE, (&[], 0), &start, &keys).unwrap();
    let mut records = MemoryRecords::default();
    let end = drivers::run(&mut job, u16::MAX, &store, &keys, &mut records, &mut ());
    assert_eq!(finished(end).tally.changed, 20);
}

#[test]
fn shards_divide_the_items_and_their_reports_merge() {
    let (keyring, store) = stale(60);
    let keys = keys(&keyring);
    let mut reports = Vec::new();
    for index in 0..3 {
        let shard = Shard::new(index, 3).unwrap();
        let start = Start::new(NOW, store.properties());
        let mut job = Job::new(definition(), shard, (&[], 0), &start, &keys).unwrap();
        let end = run(&mut job, &store, &keys, &mut MemoryRecords::default(), &mut NOW.clone());
        reports.push(finished(end));
    }
    assert_eq!(merge(&reports[..2]), Err(MergeError::Missing(vec![2])));
    reports.push(reports[0].clone());
    let merged = merge(&reports).unwrap();
    assert_eq!((merged.tally.changed, merged.tally.listed), (60, 60));
    let other = Definition { seed: 1, ..definition() };
    let start = Start::new(NOW, store.properties());
    let mut job = Job::new(other, Shard::WHOLE, (&[], 0), &start, &keys).unwrap();
    let end = run(&mut job, &store, &keys, &mut MemoryRecords::default(), &mut NOW.clone());
    reports.push(finished(end));
    assert!(matches!(merge(&reports), Err(MergeError::OtherJob { .. })));
}

#[test]
fn two_jobs_at_once_change_each_item_once() {
    let (keyring, store) = stale(400);
    let keys = keys(&keyring);
    let reports = std::thread::scope(|scope| {
        let run = || {
            let start = Start::new(NOW, store.properties());
            let definition = Definition { page: 25, ..definition() };
            let mut job = Job::new(definition, Shard::WHOLE, (&[], 0), &start, &keys).unwrap();
            let mut records = MemoryRecords::default();
            finished(drivers::run(&mut job, 2, &store, &keys, &mut records, &mut ()))
        };
        let both = [scope.spawn(run), scope.spawn(run)];
        both.map(|thread| thread.join().unwrap())
    });
    let changed: u64 = reports.iter().map(|report| report.tally.changed).sum();
    assert_eq!(changed, 400);
    let envelope = Envelope::new(keyring.clone());
    assert!(store.headers().values().all(|header| !envelope.needs_rewrap(header).unwrap()));
}

#[test]
fn header_of_another_keyring_is_excluded() {
    let (keyring, store) = stale(1);
    let other = MemoryKeyring::create("payments").unwrap();
    store.insert(key(1), header(&Envelope::new(&other)));
    store.insert(key(2), b"%PDF-1.7".as_slice());
    let report =
        finished(run_to_end(&definition(), &store, &keys(&keyring), &mut MemoryRecords::default()));
    assert_eq!((report.tally.changed, report.tally.excluded), (1, 2));
}
