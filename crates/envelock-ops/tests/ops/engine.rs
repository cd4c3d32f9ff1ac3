//! The engine: order of persistence, dry run, stages, limits, stop, panics, shards.

use crate::common::{
    MemoryRecords, NOW, finished, forward_operation, header, key, open, run, run_gated, run_to_end,
    stale,
};
use envelock::{Envelope, MemoryKeyring};
use envelock_ops::drivers::{self, Control, Records};
use envelock_ops::stores::{MemoryStore, Selection};
use envelock_ops::test_util::{Fault, FaultyStore};
use envelock_ops::{
    CensusMode, Checkpoint, CheckpointError, CompareAndSwap, Definition, End, EnvelopeOperation,
    Expected, FailureLimit, Halt, Item, ItemKey, Job, Limits, MergeError, Operation, Page,
    Properties, Replaced, Shard, Stage, Start, Step, Store, StoreError, StoredHeader, Task,
    UndoIndex, Verdict, merge,
};
use std::sync::Arc;
use std::time::Duration;

fn keys(keyring: &Arc<MemoryKeyring>) -> EnvelopeOperation<Arc<MemoryKeyring>> {
    EnvelopeOperation::new(Envelope::new(keyring.clone()), Task::rewrap())
}

fn definition() -> Definition {
    Definition { page: 4, ..Definition::new("memory", Task::rewrap()) }
}

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

fn stages() -> Vec<Stage> {
    vec![Stage { up_to_millionths: 500_000, soak_seconds: 900 }, Stage::all()]
}

#[test]
fn each_old_header_is_in_the_log_before_it_is_replaced() {
    let (keyring, store) = stale(10);
    let (keys, first) = (keys(&keyring), store.headers());
    let mut records = MemoryRecords::default();
    let start = Start::new(NOW, store.properties());
    let mut job = open(&definition(), Shard::WHOLE, &records, &start, &keys).unwrap();
    loop {
        match job.next(NOW, &keys) {
            Step::List { after, most } => job.listed(store.list(after.as_ref(), most), NOW),
            Step::Work(mut work) => {
                work.run(&store, &keys, || Duration::ZERO);
                let log = [UndoIndex::log_start(&definition().id()), records.undo.clone()].concat();
                let logged = UndoIndex::read(&log).unwrap();
                let is_logged = logged.items().any(|item| item == work.key());
                assert!(is_logged || store.header(work.key()) == first.get(work.key()).cloned());
                job.done(work, NOW);
            }
            Step::Probe(probe) => job.probed(probe.run(&store), NOW),
            Step::Append(batch) => job.appended(records.append(&batch)),
            Step::Save { failures_at, failures, checkpoint } => {
                job.saved(records.save(failures_at, &failures, &checkpoint));
            }
            Step::Done(end) => {
                assert_eq!(finished(end).tally.changed, 10);
                return;
            }
            _ => {}
        }
    }
}

#[test]
fn log_that_cannot_be_written_halts_before_anything_is_replaced() {
    struct Full(MemoryRecords);
    impl Records for Full {
        fn append(&mut self, _: &[u8]) -> std::io::Result<u64> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn save(&mut self, at: u64, failures: &[u8], new: &[u8]) -> std::io::Result<()> {
            self.0.save(at, failures, new)
        }
    }
    let (keyring, store) = stale(5);
    let (keys, first) = (keys(&keyring), store.headers());
    let start = Start::new(NOW, store.properties());
    let mut job = Job::new(definition(), Shard::WHOLE, (&[], 0), &start, &keys).unwrap();
    let mut full = Full(MemoryRecords::default());
    let end = run(&mut job, &store, &keys, &mut full, &mut NOW.clone());
    assert!(matches!(end, End::Halted { why: Halt::Records(_), .. }), "{end:?}");
    assert_eq!(store.headers(), first);
}

#[test]
fn store_that_ignores_conditions_is_found_before_the_first_write() {
    let (keyring, store) = stale(5);
    let first = store.headers();
    let store = FaultyStore::new(store, 1, &[Fault::IgnoresConditions], 1, 0);
    let definition = Definition { source: "faulty".into(), ..definition() };
    let end = run_to_end(&definition, &store, &keys(&keyring), &mut MemoryRecords::default());
    assert!(matches!(end, End::Halted { why: Halt::NoCompareAndSwap, .. }), "{end:?}");
    assert_eq!(store.inner().headers(), first);
}

#[test]
fn store_that_lies_halts_the_job_and_what_it_tore_is_repaired() {
    for fault in [Fault::Loses, Fault::TearsSilently] {
        let (keyring, store) = stale(5);
        let store = FaultyStore::new(store, 3, &[fault], 1, 1);
        let definition = Definition { source: "faulty".into(), ..definition() };
        let mut records = MemoryRecords::default();
        let end = run_to_end(&definition, &store, &keys(&keyring), &mut records);
        assert!(matches!(end, End::Halted { why: Halt::Mismatch(_), .. }), "{end:?}");
        let envelope = Envelope::new(&keyring);
        assert!(store.inner().headers().values().all(|header| envelope.open(header).is_ok()));
        let report = finished(run_to_end(&definition, &store, &keys(&keyring), &mut records));
        assert_eq!((report.tally.changed, report.tally.listed), (5, 5));
    }
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

/// Fails for some items.
struct Failing<O>(O, fn(&ItemKey) -> bool);

impl<O: Operation> Operation for Failing<O> {
    forward_operation!(open, targets, writes, unreadable, refusal);

    fn apply(&self, item: &Item<'_>) -> Verdict {
        assert!(!item.key.to_string().contains("013"), "one item panics");
        match (self.1)(item.key) {
            true => Verdict::Failed(envelock::Error::MessageTooLong.into()),
            false => self.0.apply(item),
        }
    }
}

#[test]
fn bad_items_never_stop_the_rest_below_the_limit_and_halt_above_it() {
    let (keyring, store) = stale(300);
    let keys = keys(&keyring);
    let one = Failing(keys, |item| item.to_string() == "item-007");
    let limit = FailureLimit { millionths: 50_000, confidence_thousandths: 950 };
    let few = Definition { failure_limit: limit, page: 50, ..definition() };
    let mut records = MemoryRecords::default();
    let start = Start::new(NOW, store.properties());
    let mut job = open(&few, Shard::WHOLE, &records, &start, &one).unwrap();
    let report = finished(drivers::run(&mut job, 3, &store, &one, &mut records, &mut ()));
    assert_eq!((report.tally.changed, report.tally.failed), (298, 2));
    let lines = String::from_utf8(records.failures).unwrap();
    assert_eq!(lines.lines().count(), 2);
    assert!(lines.contains("item-007") && lines.contains("one item panics"), "{lines}");

    let (keyring, store) = stale(300);
    let keys = crate::engine::keys(&keyring);
    let all = Failing(keys, |_| true);
    let end =
        run_to_end(&Definition { page: 10, ..few }, &store, &all, &mut MemoryRecords::default());
    let End::Halted { why: Halt::FailureRate { failures: 10, items: 10 }, .. } = end else {
        panic!("{end:?}")
    };
}

/// Runs a job over so many current items of which some are cut off.
fn run_over_current(items: u64, cut_off: u64, definition: &Definition) -> End {
    let (keyring, _) = stale(0);
    let envelope = Envelope::new(keyring.clone());
    let message =
        |number| if number < cut_off { header(&envelope)[..40].into() } else { header(&envelope) };
    let store: MemoryStore = (0..items).map(|number| (key(number), message(number))).collect();
    let keys = EnvelopeOperation::new(envelope, definition.task.clone());
    let start = Start::new(NOW, store.properties());
    let mut job = Job::new(definition.clone(), Shard::WHOLE, (&[], 0), &start, &keys).unwrap();
    run(&mut job, &store, &keys, &mut MemoryRecords::default(), &mut NOW.clone())
}

#[test]
fn bad_item_halts_no_census_no_plan_and_no_second_run() {
    let census = |mode| Definition::new("memory", Task::Census { mode });
    let staged = Definition { stages: stages(), ..definition() };
    for definition in [
        census(CensusMode::Opened),
        Definition { stages: stages(), ..census(CensusMode::Opened) },
        Definition { dry_run: true, ..definition() },
        definition(),
        staged.clone(),
    ] {
        let tally = finished(run_over_current(1_200, 1, &definition)).tally;
        assert_eq!((tally.failed, tally.current), (1, 1_199), "{definition:?}");
    }
    // One of three proves nothing.
    assert_eq!(finished(run_over_current(3, 1, &definition())).tally.failed, 1);
    // A census of bad items alone counts them.
    assert_eq!(finished(run_over_current(20, 20, &census(CensusMode::Opened))).tally.failed, 20);
    let end = run_over_current(100, 12, &definition());
    assert!(matches!(end, End::Halted { why: Halt::FailureRate { .. }, .. }), "{end:?}");
}

#[test]
fn emptied_source_halts_a_job_once_and_a_few_deleted_items_do_not() {
    let (keyring, store) = stale(100);
    let run = |present: u64, records: &mut MemoryRecords| {
        let left = MemoryStore::new();
        let headers = store.headers().into_iter().take(present as usize);
        headers.for_each(|(key, header)| left.insert(key, header));
        let all = Selection::new(&left, "all", (0..100).map(key));
        let definition = Definition { source: all.properties().name, page: 50, ..definition() };
        run_to_end(&definition, &all, &keys(&keyring), records)
    };
    assert_eq!(finished(run(60, &mut MemoryRecords::default())).tally.gone, 40);
    let mut records = MemoryRecords::default();
    let End::Halted { why: Halt::Gone { gone: 50, items: 50 }, report } = run(0, &mut records)
    else {
        panic!("no halt")
    };
    assert!(!report.is_complete);
    assert_eq!(finished(run(0, &mut records)).tally.gone, 100);
}

#[test]
fn job_that_listed_fewer_items_than_were_counted_does_not_finish() {
    let run = |items, total, records: &mut MemoryRecords| {
        let (keyring, store) = stale(items);
        let start = Start { total: Some(total), ..Start::new(NOW, store.properties()) };
        let keys = keys(&keyring);
        let mut job = open(&definition(), Shard::WHOLE, records, &start, &keys).unwrap();
        run(&mut job, &store, &keys, records, &mut NOW.clone())
    };
    let mut records = MemoryRecords::default();
    let end = run(80, 200, &mut records);
    let End::Halted { why: Halt::Missing { listed: 80, total: 200 }, report } = end else {
        panic!("{end:?}")
    };
    assert!(!report.is_complete);
    // The count of the beginning binds the runs that follow.
    let end = run(80, 80, &mut records);
    assert!(matches!(end, End::Halted { why: Halt::Missing { .. }, .. }), "{end:?}");
    for total in [80, 88, 10] {
        finished(run(80, total, &mut MemoryRecords::default()));
    }
    finished(run(0, 9, &mut MemoryRecords::default()));
}

#[test]
fn last_page_that_is_not_saved_is_not_complete() {
    struct FailsAt(u32);
    impl Records for FailsAt {
        fn append(&mut self, _: &[u8]) -> std::io::Result<u64> {
            Ok(1)
        }
        fn save(&mut self, _: u64, _: &[u8], _: &[u8]) -> std::io::Result<()> {
            self.0 -= 1;
            if self.0 == 0 { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
    }
    let (keyring, store) = stale(4);
    let keys = keys(&keyring);
    let start = Start::new(NOW, store.properties());
    let mut job = Job::new(definition(), Shard::WHOLE, (&[], 0), &start, &keys).unwrap();
    let end = run(&mut job, &store, &keys, &mut FailsAt(2), &mut NOW.clone());
    let End::Halted { why: Halt::Records(_), report } = end else { panic!("{end:?}") };
    assert_eq!((report.is_complete, report.tally.changed), (false, 4));
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
fn budget_halts_with_everything_on_record_and_a_higher_one_goes_on() {
    let (keyring, store) = stale(10);
    let (keys, mut records) = (keys(&keyring), MemoryRecords::default());
    for (budget, changed) in [(3, 3), (3, 3), (7, 7)] {
        let limits = Limits { budget: Some(budget), ..Limits::default() };
        let start = Start { limits, ..Start::new(NOW, store.properties()) };
        let mut job = open(&definition(), Shard::WHOLE, &records, &start, &keys).unwrap();
        let end = run(&mut job, &store, &keys, &mut records, &mut NOW.clone());
        assert!(matches!(end, End::Halted { why: Halt::Budget(_), .. }), "{end:?}");
        let current = keyring.primary_version().unwrap();
        let is_new = |header: &&Vec<u8>| {
            envelock::inspect(header).unwrap().slots().all(|slot| slot.label.version == current)
        };
        assert_eq!(store.headers().values().filter(is_new).count(), changed);
    }
    let report = finished(run_to_end(&definition(), &store, &keys, &mut records));
    assert_eq!((report.tally.changed, report.tally.current), (10, 0));
}

#[test]
fn stop_and_resume_count_each_item_once() {
    struct Stop(u32);
    impl Control for Stop {
        fn is_stopped(&mut self) -> bool {
            self.0 += 1;
            self.0 > 1
        }
        fn limits(&mut self) -> Option<Limits> {
            Some(Limits { items_per_second: Some(20), ..Limits::default() })
        }
    }
    let (keyring, store) = stale(50);
    let (keys, mut records) = (keys(&keyring), MemoryRecords::default());
    let start = Start::new(NOW, store.properties());
    let mut job = open(&definition(), Shard::WHOLE, &records, &start, &keys).unwrap();
    let end = drivers::run(&mut job, 2, &store, &keys, &mut records, &mut Stop(0));
    assert!(matches!(end, End::Stopped(_)), "{end:?}");
    let report = finished(run_to_end(&definition(), &store, &keys, &mut records));
    assert_eq!((report.tally.changed, report.tally.listed), (50, 50));
}

#[test]
fn lost_checkpoint_changes_no_count_and_a_lost_undo_log_only_the_restore() {
    let (keyring, store) = stale(10);
    let (keys, mut records) = (keys(&keyring), MemoryRecords::default());
    finished(run_to_end(&definition(), &store, &keys, &mut records));
    records.checkpoint = None;
    let report = finished(run_to_end(&definition(), &store, &keys, &mut records));
    assert_eq!((report.tally.changed, report.tally.current), (10, 0));

    let (keyring, store) = stale(10);
    let keys = crate::engine::keys(&keyring);
    let mut records = MemoryRecords::default();
    let limits = Limits { budget: Some(5), ..Limits::default() };
    let start = Start { limits, ..Start::new(NOW, store.properties()) };
    let mut job = open(&definition(), Shard::WHOLE, &records, &start, &keys).unwrap();
    let _ = run(&mut job, &store, &keys, &mut records, &mut NOW.clone());
    records.undo.clear();
    let report = finished(run_to_end(&definition(), &store, &keys, &mut records));
    assert!(report.undo_lost);
    assert_eq!(report.tally.changed + report.tally.current, 10);
}

#[test]
fn checkpoint_with_any_changed_byte_is_refused() {
    let (keyring, store) = stale(3);
    let mut records = MemoryRecords::default();
    finished(run_to_end(&definition(), &store, &keys(&keyring), &mut records));
    let bytes = records.checkpoint.unwrap();
    assert!(Checkpoint::read(&bytes).unwrap().is_finished());
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(Checkpoint::read(&changed).is_err(), "byte {at}");
        assert_eq!(Checkpoint::read(&bytes[..at]), Err(CheckpointError::Damaged));
    }
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
fn store_that_lists_out_of_order_or_nothing_halts() {
    struct Lists(fn() -> Page);
    impl Store for Lists {
        fn properties(&self) -> Properties {
            MemoryStore::new().properties()
        }
        fn list(&self, _: Option<&ItemKey>, _: usize) -> Result<Page, StoreError> {
            Ok((self.0)())
        }
        fn read(&self, _: &ItemKey) -> Result<Option<StoredHeader>, StoreError> {
            Ok(None)
        }
        fn replace(&self, _: &ItemKey, _: Expected<'_>, _: &[u8]) -> Result<Replaced, StoreError> {
            Ok(Replaced::Gone)
        }
    }
    let (keyring, _) = stale(0);
    fn one(number: u64) -> envelock_ops::Listed {
        envelock_ops::Listed::new(key(number), None)
    }
    let halts = |store: Lists| match run_to_end(
        &definition(),
        &store,
        &keys(&keyring),
        &mut MemoryRecords::default(),
    ) {
        End::Halted { why, .. } => why,
        other => panic!("{other:?}"),
    };
    let twice = Lists(|| Page { items: vec![one(1), one(1)], is_last: true });
    assert!(matches!(halts(twice), Halt::Order(_)));
    // The same page again: a store that takes the cursor for a position.
    let again = Lists(|| Page { items: vec![one(1)], is_last: false });
    assert!(matches!(halts(again), Halt::Order(_)));
    assert!(matches!(halts(Lists(Page::default)), Halt::NoProgress));
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

#[cfg(feature = "tokio")]
#[test]
fn tokio_driver_does_what_the_threads_do() {
    let (keyring, store) = stale(30);
    let store = Arc::new(store);
    let keys = Arc::new(Failing(keys(&keyring), |item| item.to_string() == "item-007"));
    let limit = FailureLimit { millionths: 500_000, confidence_thousandths: 950 };
    let definition = Definition { failure_limit: limit, ..definition() };
    let mut records = MemoryRecords::default();
    let start = Start::new(NOW, store.properties());
    let mut job = open(&definition, Shard::WHOLE, &records, &start, &*keys).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut control = ();
    let run = drivers::run_async(&mut job, store.clone(), keys, &mut records, &mut control);
    let report = finished(runtime.block_on(run));
    // One fails, and one panics twice.
    assert_eq!((report.tally.changed, report.tally.failed), (28, 2));
    assert!(Checkpoint::read(&records.checkpoint.unwrap()).unwrap().is_finished());
}
