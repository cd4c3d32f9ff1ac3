//! What an operator does in the middle of a page: pauses, closed windows, and changes of the keyring meanwhile.

use crate::common::{
    MemoryRecords, NOW, finished, forward_store, header, key, keyring, open, rng, run_to_end, stale,
};
use envelock::{Envelope, KeyVersion, Lifecycle, Timestamp, inspect};
use envelock_ops::drivers::Records as _;
use envelock_ops::stores::MemoryStore;
use envelock_ops::{
    Definition, End, EnvelopeOperation, ItemKey, Job, Limits, Operation, Page, Report, Shard,
    Start, Step, Store, StoreError, Task,
};
use std::sync::Arc;
use std::time::Duration;

/// Makes the steps of a job until its end or so many times, or until it has to wait.
fn steps(
    job: &mut Job,
    store: &dyn Store,
    keys: &dyn Operation,
    records: &mut MemoryRecords,
    (now, most): (Duration, usize),
) -> Option<End> {
    for _ in 0..most {
        match job.next(now, keys) {
            Step::List { after, most } => job.listed(store.list(after.as_ref(), most), now),
            Step::Work(mut work) => {
                work.run(store, keys, || Duration::ZERO);
                job.done(work, now);
            }
            Step::Probe(probe) => job.probed(probe.run(store), now),
            Step::Append(batch) => job.appended(records.append(&batch)),
            Step::Save { failures_at, failures, checkpoint } => {
                job.saved(records.save(failures_at, &failures, &checkpoint));
            }
            Step::Wait { until } if until > Some(now) => return None,
            Step::Wait { .. } => {}
            Step::Done(end) => return Some(end),
            step => panic!("{step:?}"),
        }
    }
    None
}

/// Returns how many headers are under each of versions 1 to 3.
fn versions(store: &envelock_ops::stores::MemoryStore) -> [usize; 3] {
    let headers = store.headers();
    let versions = headers.values().map(|header| {
        inspect(header).unwrap().slots().next().unwrap().label.version.number() as usize
    });
    versions.fold([0; 3], |mut counts, version| {
        counts[version - 1] += 1;
        counts
    })
}

#[test]
fn nothing_is_written_under_a_version_that_was_compromised_in_a_pause() {
    let paused = Limits { items_per_second: Some(0), ..Limits::default() };
    let closed = Limits { closed_until: NOW.as_secs() + 100, ..Limits::default() };
    let over = Limits { closes_at: Some(NOW.as_secs()), ..Limits::default() };
    for limits in [paused, closed, over] {
        let (keyring, store) = stale(60);
        let keys = EnvelopeOperation::new(Envelope::new(keyring.clone()), Task::rewrap());
        let definition = Definition::new("memory", Task::rewrap());
        let start = Start::new(NOW, store.properties());
        let mut records = MemoryRecords::default();
        let mut job = open(&definition, Shard::WHOLE, &records, &start, &keys).unwrap();
        // Save, list, and 20 items.
        assert!(steps(&mut job, &store, &keys, &mut records, (NOW, 22)).is_none());
        assert_eq!((job.prepared(), versions(&store)), (20, [60, 0, 0]));
        job.set_limits(limits);
        assert!(steps(&mut job, &store, &keys, &mut records, (NOW, 1000)).is_none());
        // What was prepared is finished, and no other item is begun.
        assert_eq!((job.prepared(), versions(&store)), (0, [40, 20, 0]));

        keyring.rotate_with_rng(Timestamp::UNIX_EPOCH, &mut rng(3)).unwrap();
        keyring.mark_compromised(KeyVersion::new(2).unwrap()).unwrap();
        job.set_limits(Limits::default());
        let later = NOW + Duration::from_secs(200);
        let end = steps(&mut job, &store, &keys, &mut records, (later, 1000)).unwrap();
        let report = finished(end);
        assert!(report.targets_changed);
        assert_eq!((report.tally.changed, versions(&store)), (60, [0, 20, 40]));
    }
}

#[test]
fn items_are_begun_again_if_the_primary_changes_before_they_are_logged_or_replaced() {
    // 22 steps prepare 20 of 50 items; after 53 (with the probe and the log) all are logged and none is replaced.
    for (before, later) in [(22, 0), (54, 2)] {
        let (keyring, store) = stale(50);
        let keys = EnvelopeOperation::new(Envelope::new(keyring.clone()), Task::rewrap());
        let definition = Definition::new("memory", Task::rewrap());
        let start = Start::new(NOW, store.properties());
        let mut records = MemoryRecords::default();
        let mut job = open(&definition, Shard::WHOLE, &records, &start, &keys).unwrap();
        assert!(steps(&mut job, &store, &keys, &mut records, (NOW, before)).is_none());
        assert_eq!((records.undo.is_empty(), versions(&store)), (later == 0, [50, 0, 0]));
        let two = KeyVersion::new(2).unwrap();
        keyring.promote(KeyVersion::FIRST).unwrap();
        keyring.rotate_with_rng(Timestamp::UNIX_EPOCH, &mut rng(3)).unwrap();
        keyring.disable(two).unwrap();
        let now = NOW + Duration::from_secs(later);
        let report = finished(steps(&mut job, &store, &keys, &mut records, (now, 1000)).unwrap());
        assert_eq!((report.tally.changed, report.tally.listed), (50, 50));
        assert_eq!(versions(&store), [0, 0, 50]);
    }
}

#[test]
fn item_is_begun_again_although_the_primary_is_what_it_was_at_first() {
    let (keyring, store) = stale(60);
    let keys = EnvelopeOperation::new(Envelope::new(keyring.clone()), Task::rewrap());
    let definition = Definition::new("memory", Task::rewrap());
    let start = Start::new(NOW, store.properties());
    let mut records = MemoryRecords::default();
    let mut job = open(&definition, Shard::WHOLE, &records, &start, &keys).unwrap();
    assert!(steps(&mut job, &store, &keys, &mut records, (NOW, 22)).is_none());
    let (two, three) = (KeyVersion::new(2).unwrap(), KeyVersion::new(3).unwrap());
    keyring.rotate_with_rng(Timestamp::UNIX_EPOCH, &mut rng(3)).unwrap();
    assert!(steps(&mut job, &store, &keys, &mut records, (NOW, 20)).is_none());
    assert_eq!(job.prepared(), 40);
    keyring.promote(two).unwrap();
    keyring.disable(three).unwrap();
    let report = finished(steps(&mut job, &store, &keys, &mut records, (NOW, 1000)).unwrap());
    assert_eq!((report.tally.changed, versions(&store)), (60, [0, 60, 0]));
}

#[test]
fn pages_take_about_five_seconds_where_items_are_slow() {
    let (keyring, store) = stale(700);
    let keys = EnvelopeOperation::new(Envelope::new(keyring), Task::rewrap());
    let definition = Definition::new("memory", Task::rewrap());
    let (mut records, mut now) = (MemoryRecords::default(), NOW);
    let start = Start::new(NOW, store.properties());
    let mut job = open(&definition, Shard::WHOLE, &records, &start, &keys).unwrap();
    let mut saves: Vec<(Vec<u8>, Duration)> = Vec::new();
    let end = loop {
        if let Some(end) = steps(&mut job, &store, &keys, &mut records, (now, 1)) {
            break end;
        }
        let saved = records.checkpoint.clone().unwrap_or_default();
        if saves.last().is_none_or(|(last, _)| *last != saved) {
            saves.push((saved, now));
        }
        // Each item is read and replaced in two steps.
        now += Duration::from_millis(100);
    };
    assert_eq!(finished(end).tally.changed, 700);
    let gaps: Vec<_> = saves.windows(2).map(|two| (two[1].1 - two[0].1).as_secs()).collect();
    assert!(gaps.len() > 6 && gaps[2..].iter().all(|gap| *gap <= 6), "{gaps:?}");
}

/// Remembers how many items each listing asked for.
struct Asked(envelock_ops::stores::MemoryStore, std::sync::Mutex<Vec<usize>>);

impl Store for Asked {
    forward_store!(properties, read, replace);

    fn list(&self, after: Option<&ItemKey>, most: usize) -> Result<Page, StoreError> {
        self.1.lock().unwrap().push(most);
        self.0.list(after, most)
    }
}

#[test]
fn first_page_is_small_and_the_next_ones_grow_while_they_are_fast() {
    let (keyring, store) = stale(900);
    let store = Asked(store, std::sync::Mutex::default());
    let keys = EnvelopeOperation::new(Envelope::new(keyring), Task::rewrap());
    let definition = Definition::new("memory", Task::rewrap());
    let mut records = MemoryRecords::default();
    let report = finished(run_to_end(&definition, &store, &keys, &mut records));
    assert_eq!(report.tally.changed, 900);
    assert_eq!(*store.1.lock().unwrap(), [50, 100, 200, 400, 500]);
}

/// Runs a job with `customers` selected over 60 messages under `orders`, whose key is rotated after so many steps.
fn rotated_after(steps_before: usize, is_stale: bool) -> Report {
    let customers = keyring("customers", &mut rng(1));
    customers.create_key("orders").unwrap();
    let orders = Arc::new(customers.with_key("orders").unwrap());
    let envelope = Envelope::new(orders.clone());
    let store: MemoryStore = (0..60).map(|number| (key(number), header(&envelope))).collect();
    if is_stale {
        orders.rotate().unwrap();
    }
    let keys = EnvelopeOperation::new(Envelope::new(customers), Task::rewrap());
    let definition = Definition::new("memory", Task::rewrap());
    let start = Start::new(NOW, store.properties());
    let mut records = MemoryRecords::default();
    let mut job = open(&definition, Shard::WHOLE, &records, &start, &keys).unwrap();
    assert!(steps(&mut job, &store, &keys, &mut records, (NOW, steps_before)).is_none());
    orders.rotate().unwrap();
    let later = NOW + Duration::from_secs(2);
    finished(steps(&mut job, &store, &keys, &mut records, (later, 1000)).unwrap())
}

#[test]
fn rotation_of_a_key_that_is_not_selected() {
    let targets = |report: &Report| {
        report.targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    let report = rotated_after(90, true);
    assert!(report.targets_changed);
    assert_eq!(targets(&report), "customers:1 orders:2 orders:3");
    // Items that were current under the former primary.
    let report = rotated_after(30, false);
    assert!(report.targets_changed);
    assert_eq!(targets(&report), "customers:1 orders:1 orders:2");
    // Before the first item.
    let report = rotated_after(2, false);
    assert!(!report.targets_changed);
    assert_eq!(targets(&report), "customers:1 orders:2");
}
