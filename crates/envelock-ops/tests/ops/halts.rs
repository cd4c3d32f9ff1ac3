//! What halts a job: stores that do not keep their word, bad items, a source that is gone, a budget.

use crate::common::{
    MemoryRecords, NOW, definition, finished, forward_operation, header, key, keys, open, run,
    run_to_end, stale,
};
use crate::engine::stages;
use envelock::Envelope;
use envelock_ops::drivers;
use envelock_ops::stores::{MemoryStore, Selection};
use envelock_ops::test_util::{Fault, FaultyStore};
use envelock_ops::{
    CensusMode, Definition, End, EnvelopeOperation, Expected, FailureLimit, Halt, Item, ItemKey,
    Job, Limits, Operation, Page, Properties, Replaced, Shard, Start, Store, StoreError,
    StoredHeader, Task, Verdict,
};

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

/// Fails for some items.
pub struct Failing<O>(pub O, pub fn(&ItemKey) -> bool);

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
    let keys = crate::common::keys(&keyring);
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
