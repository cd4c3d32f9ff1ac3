//! The tasks: names added and removed, restores, censuses.

use crate::common::{
    MemoryRecords, NOW, finished, forward_store, header, key, open, run, run_to_end, stale,
};
use envelock::keyring::WithoutVersions;
use envelock::{Envelope, KeyVersion, Lifecycle, MemoryKeyring, MultiKeyring};
use envelock_ops::stores::{MemoryStore, Selection};
use envelock_ops::test_util::{Fault, FaultyStore};
use envelock_ops::{
    CensusMode, Definition, End, EnvelopeOperation, ItemKey, LabelCensus, Shard, Start, Store,
    StoreError, StoredHeader, StoredItem, Task, UndoIndex, Unopenable, VersionName,
};
use std::sync::Arc;

fn job(
    store: &MemoryStore,
    task: &Task,
    keys: &dyn envelock_ops::Operation,
) -> envelock_ops::Report {
    let definition = Definition { page: 3, ..Definition::new("memory", task.clone()) };
    finished(run_to_end(&definition, store, keys, &mut MemoryRecords::default()))
}

#[test]
fn name_is_added_once_and_the_other_removed_only_where_it_opens() {
    let (orders, store) = stale(5);
    let escrow = Arc::new(MemoryKeyring::create("escrow").unwrap());
    let add = Task::AddName { from_compromised: vec![] };
    let adding =
        EnvelopeOperation::new(Envelope::new(orders.clone()), add.clone()).adding(escrow.clone());
    let added = job(&store, &add, &adding);
    assert_eq!((added.tally.changed, added.tally.listed), (5, 5));
    assert_eq!(job(&store, &add, &adding).tally.current, 5);
    store.insert(key(9), header(&Envelope::new(&orders)));

    let remove = Task::RemoveName { name: "orders".into() };
    let removing = EnvelopeOperation::new(Envelope::new(escrow.clone()), remove.clone());
    let removed = job(&store, &remove, &removing);
    // The last slot of a message stays.
    assert_eq!((removed.tally.changed, removed.tally.failed), (5, 1));
    let escrow = Envelope::new(escrow);
    let opened = store.headers().values().filter(|header| escrow.open(header).is_ok()).count();
    assert_eq!(opened, 5);
}

#[test]
fn restore_puts_back_what_the_job_changed_and_nothing_else() {
    let (keyring, store) = stale(6);
    let first = store.headers();
    let keys = EnvelopeOperation::new(Envelope::new(keyring.clone()), Task::rewrap());
    let definition = Definition::new("memory", Task::rewrap());
    let mut records = MemoryRecords::default();
    finished(run_to_end(&definition, &store, &keys, &mut records));
    let foreign = header(&Envelope::new(&keyring));
    store.insert(key(2), foreign.clone());
    store.remove(&key(3));

    let log = [UndoIndex::log_start(&definition.id()), records.undo].concat();
    // A tail that was cut off is passed over.
    let index = UndoIndex::read(&[log.clone(), log[100..190].to_vec()].concat()).unwrap();
    assert!(index.damaged_bytes() > 0 && index.items().count() == 6);
    let task = Task::Restore { job: definition.id() };
    let selection = Selection::new(&store, "undo", index.items().cloned());
    let restore = Definition::new(selection.properties().name, task.clone());
    let envelope = Envelope::new(keyring.clone());
    let keys = EnvelopeOperation::new(envelope, task.clone()).restoring(index.clone());
    let mut records = MemoryRecords::default();
    let report = finished(run_to_end(&restore, &selection, &keys, &mut records));
    let tally = report.tally;
    assert_eq!((tally.changed, tally.excluded, tally.gone, tally.listed), (4, 1, 1, 6));
    assert_eq!(store.header(&key(2)), Some(foreign));
    assert_eq!(store.header(&key(0)).as_ref(), first.get(&key(0)));
    let again = finished(run_to_end(
        &Definition { seed: 1, ..restore.clone() },
        &selection,
        &keys,
        &mut MemoryRecords::default(),
    ));
    assert_eq!((again.tally.changed, again.tally.current), (0, 4));
}

#[test]
fn restore_refuses_a_header_that_does_not_open_any_more() {
    let (keyring, store) = stale(2);
    let keys = EnvelopeOperation::new(Envelope::new(keyring.clone()), Task::rewrap());
    let definition = Definition::new("memory", Task::rewrap());
    let mut records = MemoryRecords::default();
    finished(run_to_end(&definition, &store, &keys, &mut records));
    keyring.disable(KeyVersion::FIRST).unwrap();
    let log = [UndoIndex::log_start(&definition.id()), records.undo].concat();
    let index = UndoIndex::read(&log).unwrap();
    let task = Task::Restore { job: definition.id() };
    let keys = EnvelopeOperation::new(Envelope::new(keyring), task.clone()).restoring(index);
    let limits = envelock_ops::FailureLimit { millionths: 999_999, confidence_thousandths: 950 };
    let restore = Definition { failure_limit: limits, ..Definition::new("memory", task) };
    let mut records = MemoryRecords::default();
    let before = store.headers();
    let report = finished(run_to_end(&restore, &store, &keys, &mut records));
    assert_eq!((report.tally.failed, report.tally.changed), (2, 0));
    assert_eq!(store.headers(), before);
    assert!(String::from_utf8(records.failures).unwrap().contains("enable the version"));
}

#[test]
fn census_counts_labels_without_a_key_and_what_opens_with_one() {
    let (keyring, store) = stale(4);
    let escrow = Arc::new(MemoryKeyring::create("escrow").unwrap());
    let both = Envelope::new(MultiKeyring::new(keyring.clone()).with(escrow.clone()).unwrap());
    (10..13).for_each(|number| store.insert(key(number), header(&both)));
    let mut forged = header(&Envelope::new(&keyring));
    let last = forged.len() - 1;
    forged[last] ^= 1;
    store.insert(key(20), forged);
    store.insert(key(21), header(&Envelope::new(&escrow)));
    store.insert(key(22), b"text".as_slice());

    let labels = Task::Census { mode: CensusMode::Labels };
    let report = job(&store, &labels, &LabelCensus);
    assert_eq!((report.tally.current, report.tally.excluded), (9, 1));
    let uses: Vec<_> = report.census.unwrap().uses;
    let seen: Vec<_> =
        uses.iter().map(|u| (u.name.as_str(), u.version, u.labelled, u.opened, u.sole)).collect();
    assert_eq!(seen, [("escrow", 1, 4, 0, 1), ("orders", 1, 4, 0, 4), ("orders", 2, 4, 0, 1)]);

    let opened = Task::Census { mode: CensusMode::Opened };
    let keys = EnvelopeOperation::new(Envelope::new(keyring.clone()), opened.clone());
    let census = job(&store, &opened, &keys).census.unwrap();
    let seen: Vec<_> =
        census.uses.iter().map(|u| (u.name.as_str(), u.version, u.opened, u.sole)).collect();
    assert_eq!(seen, [("escrow", 1, 0, 0), ("orders", 1, 4, 4), ("orders", 2, 3, 3)]);
    assert_eq!(census.unopenable, [(Unopenable::OtherKeyring, 1), (Unopenable::NotVerified, 1)]);

    // Without version 1, what is under it alone does not open.
    let without = WithoutVersions::new(keyring).and("orders", KeyVersion::FIRST).unwrap();
    let keys = EnvelopeOperation::new(Envelope::new(without), opened.clone());
    let census = job(&store, &opened, &keys).census.unwrap();
    assert!(census.unopenable.contains(&(Unopenable::Refused, 4)), "{census:?}");
}

#[test]
fn rewrap_from_compromised_versions_only_where_they_are_named() {
    let (keyring, store) = stale(3);
    keyring.mark_compromised(KeyVersion::FIRST).unwrap();
    let limits = envelock_ops::FailureLimit { millionths: 999_999, confidence_thousandths: 950 };
    let unnamed = Definition { failure_limit: limits, ..Definition::new("memory", Task::rewrap()) };
    let keys = EnvelopeOperation::new(Envelope::new(keyring.clone()), Task::rewrap());
    let report = finished(run_to_end(&unnamed, &store, &keys, &mut MemoryRecords::default()));
    assert_eq!((report.tally.failed, report.tally.changed), (3, 0));
    let version = VersionName::new("orders", KeyVersion::FIRST);
    let named = Task::Rewrap {
        to: vec![],
        from_compromised: vec![version.clone()],
        retiring: Some(version),
        trusts_backend: false,
    };
    let keys = EnvelopeOperation::new(Envelope::new(keyring), named.clone());
    assert_eq!(job(&store, &named, &keys).tally.changed, 3);
}

#[test]
fn trusted_rewraps_are_counted_apart() {
    let (keyring, store) = stale(5);
    let keys = |task: &Task| EnvelopeOperation::new(Envelope::new(keyring.clone()), task.clone());
    let task =
        Task::Rewrap { to: vec![], from_compromised: vec![], retiring: None, trusts_backend: true };
    let trusting = job(&store, &task, &keys(&task));
    let text = "changed 5 + current 0 + excluded 0 + conflict 0 + gone 0 + failed 0 = listed 5; 5 of the changed are \
                trusted, and not proven";
    assert_eq!(trusting.tally.to_string(), text);
    assert_eq!((trusting.tally.trusted, trusting.calls.keys), (5, 5));
    assert!(trusting.tally.is_balanced() && trusting.tally.is_complete());
    keyring.rotate().unwrap();
    let proven = job(&store, &Task::rewrap(), &keys(&Task::rewrap()));
    assert_eq!((proven.tally.changed, proven.tally.trusted, proven.calls.keys), (5, 0, 15));
    assert_eq!(trusting.tally.plus(proven.tally).trusted, 5);
    // The id of a job that proves is what it was.
    let written = serde_json::to_string(&Task::rewrap()).unwrap();
    assert_eq!(written, r#"{"rewrap":{"to":[],"from_compromised":[],"retiring":null}}"#);
}

#[test]
fn slot_that_is_left_is_told_and_the_rest_of_the_header_is_changed() {
    let (keyring, store) = stale(1);
    let payments = Arc::new(MemoryKeyring::create("payments").unwrap());
    let both = Arc::new(MultiKeyring::new(keyring.clone()).with(payments.clone()).unwrap());
    store.insert(key(1), header(&Envelope::new(both.clone())));
    payments.rotate().unwrap();
    payments.disable(KeyVersion::FIRST).unwrap();
    keyring.rotate().unwrap();
    let keys = EnvelopeOperation::new(Envelope::new(both), Task::rewrap());
    let definition = Definition::new("memory", Task::rewrap());
    let mut records = MemoryRecords::default();
    let start = Start::new(NOW, store.properties());
    let mut job = open(&definition, Shard::WHOLE, &records, &start, &keys).unwrap();
    let end = run(&mut job, &store, &keys, &mut records, &mut NOW.clone());
    let End::Finished(report) = end else { panic!("{end:?}") };
    assert_eq!((report.tally.changed, report.tally.partly), (2, 1));
    assert!(!report.tally.is_complete());
    let lines = String::from_utf8(records.failures).unwrap();
    assert!(lines.contains("partly") && lines.contains("disabled"), "{lines}");
}

/// A store that lists headers only if it is told to.
struct Scans<S>(S, bool);

impl<S: Store> Store for Scans<S> {
    forward_store!(list, read, replace);

    fn properties(&self) -> envelock_ops::Properties {
        envelock_ops::Properties { name: "memory".into(), ..self.0.properties() }
    }
    fn scan(
        &self,
        after: Option<&ItemKey>,
        most: usize,
        each: &mut dyn FnMut(StoredItem<'_>),
    ) -> Result<Option<bool>, StoreError> {
        if self.1 { self.0.scan(after, most, each) } else { Ok(None) }
    }
}

#[test]
fn census_of_listed_headers_counts_what_reads_count() {
    let (keyring, store) = stale(40);
    let other = Arc::new(MemoryKeyring::create("payments").unwrap());
    let both = MultiKeyring::new(keyring).with(other.clone()).unwrap();
    (50..60).for_each(|number| store.insert(key(number), header(&Envelope::new(&both))));
    (60..65).for_each(|number| store.insert(key(number), header(&Envelope::new(&other))));
    store.insert(key(70), b"%PDF-1.7".as_slice());
    let cut = header(&Envelope::new(&other));
    store.insert(key(71), &cut[..cut.len() - 1]);
    let census = |store: &dyn Store, index: u32, count: u32, allowed_names: Vec<String>| {
        let task = Task::Census { mode: CensusMode::Labels };
        let page = 7;
        let definition = Definition { page, allowed_names, ..Definition::new("memory", task) };
        let (shard, start) =
            (Shard::new(index, count).unwrap(), Start::new(NOW, store.properties()));
        let mut records = MemoryRecords::default();
        let mut job = open(&definition, shard, &records, &start, &LabelCensus).unwrap();
        let end = run(&mut job, store, &LabelCensus, &mut records, &mut NOW.clone());
        let report = finished(end);
        (report.tally, report.census, records.failures, report.calls.reads)
    };
    for allowed in [vec![], vec!["orders".to_string()]] {
        for (index, count) in [(0, 1), (0, 3), (1, 3), (2, 3)] {
            let read = census(&Scans(&store, false), index, count, allowed.clone());
            let scanned = census(&Scans(&store, true), index, count, allowed.clone());
            assert_eq!((read.0, &read.1), (scanned.0, &scanned.1));
            assert_eq!(sorted(&read.2), sorted(&scanned.2));
            assert!(scanned.3 < read.3, "{} {}", scanned.3, read.3);
        }
    }
    let whole = census(&Scans(&store, true), 0, 1, vec![]);
    let tally = whole.0;
    assert_eq!((tally.listed, tally.current, tally.excluded, tally.failed), (57, 55, 1, 1));
    // What a listing handed out before it failed counts once.
    let copy = || store.headers().into_iter().collect::<MemoryStore>();
    for seed in 0..100 {
        let faulty = FaultyStore::new(copy(), seed, &[Fault::Fails], 4, 3);
        let found = census(&Scans(&faulty, true), 0, 1, vec![]);
        assert_eq!((found.0, &found.1), (whole.0, &whole.1), "seed {seed}");
    }
}

fn sorted(lines: &[u8]) -> Vec<String> {
    let mut lines: Vec<_> = String::from_utf8_lossy(lines).lines().map(Into::into).collect();
    lines.sort();
    lines
}

/// A store from which one item is deleted as soon as it was read.
struct Deleting<'a>(&'a MemoryStore, ItemKey);

impl Store for Deleting<'_> {
    forward_store!(properties, list, replace);

    fn read(&self, item: &ItemKey) -> Result<Option<StoredHeader>, StoreError> {
        let stored = self.0.read(item);
        if *item == self.1 {
            self.0.remove(item);
        }
        stored
    }
}

#[test]
fn named_item_that_never_existed_is_left() {
    let (keyring, store) = stale(4);
    let keys = EnvelopeOperation::new(Envelope::new(keyring), Task::rewrap());
    store.remove(&key(2));
    store.remove(&key(3));
    // One is deleted while the job works on it, and one is not required.
    let deleting = Deleting(&store, key(1));
    let named = Selection::new(&deleting, "named", (0..4).map(key)).requiring(|it| *it != key(3));
    let definition = Definition::new(named.properties().name, Task::rewrap());
    let mut records = MemoryRecords::default();
    let tally = finished(run_to_end(&definition, &named, &keys, &mut records)).tally;
    assert_eq!((tally.changed, tally.gone, tally.absent, tally.listed), (1, 3, 1, 4));
    assert_eq!((tally.left(), tally.is_balanced()), (1, true));
    let line = r#"{"item":"item-002","outcome":"absent","retryable":false,"why":"it was named, and does not exist"}"#;
    assert_eq!(String::from_utf8(records.failures).unwrap(), format!("{line}\n"));
}
