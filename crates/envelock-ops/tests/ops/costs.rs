//! Calls: how many there are, how many in a second, what they cost; and names that a source may not have.

use crate::common::{
    MemoryRecords, NOW, finished, header, key, keys, open, run, run_to_end, stale,
};
use envelock::{Aad, Envelope, Lifecycle, MemoryKeyring, MultiKeyring};
use envelock_ops::stores::{Directory, Layout, MemoryStore};
use envelock_ops::{
    Calls, Cause, CensusMode, Definition, End, EnvelopeOperation, Halt, LabelCensus, Limits,
    Prices, Report, Shard, Start, Store, Task, UndoIndex,
};
use std::sync::Arc;
use std::time::Duration;

const PRICES: Prices = Prices { list: 5_000, read: 400, write: 5_000, key: 3_000 };

fn definition() -> Definition {
    Definition { page: 10, prices: PRICES, ..Definition::new("memory", Task::rewrap()) }
}

/// Runs or resumes the job with limits. Returns how long it took on its clock, too.
fn limited(
    keyring: &Arc<MemoryKeyring>,
    store: &MemoryStore,
    limits: Limits,
    records: &mut MemoryRecords,
) -> (End, Duration) {
    let start = Start { limits, ..Start::new(NOW, store.properties()) };
    let keys = keys(keyring);
    let mut job = open(&definition(), Shard::WHOLE, records, &start, &keys).unwrap();
    let mut now = NOW;
    let end = run(&mut job, store, &keys, records, &mut now);
    (end, now - NOW)
}

fn calls(report: &Report) -> [u64; 4] {
    let Calls { lists, reads, writes, keys, .. } = report.calls;
    [lists, reads, writes, keys]
}

#[test]
fn dry_run_forecasts_the_calls_of_the_job() {
    let (keyring, store) = stale(60);
    store.insert(key(100), header(&Envelope::new(&keyring)));
    store.insert(key(101), b"text".to_vec());
    let dry = Definition { dry_run: true, ..definition() };
    let forecast =
        finished(run_to_end(&dry, &store, &keys(&keyring), &mut MemoryRecords::default()));
    let (end, _) = limited(&keyring, &store, Limits::default(), &mut MemoryRecords::default());
    let report = finished(end);
    // Each of the 60 is read, replaced and read back; the probe before the first write is not an item's.
    assert_eq!(calls(&report), [7, 122, 60, 180]);
    assert_eq!(calls(&forecast), calls(&report));
    assert_eq!(report.spent(), 7 * 5_000 + 122 * 400 + 60 * 5_000 + 180 * 3_000);
}

/// Runs a task over one directory, on a clock that stands still but for waits. Returns its report, its undo log and how long
/// it took.
fn over_files(
    store: &Directory<Arc<MemoryKeyring>>,
    (task, dry_run): (&Task, bool),
    keys: &EnvelopeOperation<Arc<MemoryKeyring>>,
    limits: Limits,
) -> (Report, Vec<u8>, Duration) {
    let name = store.properties().name;
    let definition = Definition { dry_run, ..Definition::new(name, task.clone()) };
    let start = Start { limits, ..Start::new(NOW, store.properties()) };
    let mut records = MemoryRecords::default();
    let mut job = open(&definition, Shard::WHOLE, &records, &start, keys).unwrap();
    let mut now = NOW;
    let report = finished(run(&mut job, store, keys, &mut records, &mut now));
    let log = [UndoIndex::log_start(&definition.id()), records.undo].concat();
    (report, log, now - NOW)
}

#[test]
fn messages_that_are_copied_count_and_wait_and_headers_in_place_do_not() {
    let keyring = Arc::new(MemoryKeyring::create("orders").unwrap());
    let envelope = Envelope::new(keyring.clone());
    let root = tempfile::tempdir().unwrap();
    let write = |number: usize| {
        let message = envelope.encrypt(&[0; 10_000], Aad::none()).unwrap();
        std::fs::write(root.path().join(number.to_string()), &message).unwrap();
        message.len() as u64
    };
    let bytes: u64 = (0..10).map(write).sum();
    keyring.rotate().unwrap();
    let store = Directory::new(root.path(), Layout::Inline, Envelope::new(keyring.clone()));
    let slow = Limits { bytes_per_second: Some(bytes / 10), ..Limits::default() };

    let (rewrapped, _, took) = over_files(&store, (&Task::rewrap(), false), &keys(&keyring), slow);
    assert_eq!((rewrapped.tally.changed, rewrapped.calls.moved_bytes), (10, 0));
    assert_eq!(took, Duration::ZERO);

    let escrow = Arc::new(MemoryKeyring::create("escrow").unwrap());
    let add = Task::AddName { from_compromised: vec![] };
    let adding = EnvelopeOperation::new(Envelope::new(keyring.clone()), add.clone()).adding(escrow);
    let (forecast, _, _) = over_files(&store, (&add, true), &adding, Limits::default());
    let (added, log, took) = over_files(&store, (&add, false), &adding, slow);
    assert_eq!(added.tally.changed, 10);
    assert_eq!((forecast.calls.moved_bytes, added.calls.moved_bytes), (bytes, bytes));
    assert!((8..=10).contains(&took.as_secs()), "{took:?}");

    // The slots go again, and the copies are shorter.
    let undo = Task::Restore { job: added.job.clone() };
    let index = UndoIndex::read(&log).unwrap();
    let undoing =
        EnvelopeOperation::new(Envelope::new(keyring.clone()), undo.clone()).restoring(index);
    let (restored, _, took) = over_files(&store, (&undo, false), &undoing, slow);
    assert_eq!(restored.tally.changed, 10);
    assert!(restored.calls.moved_bytes > bytes && took.as_secs() >= 8, "{took:?}");

    let again = Task::reencrypt(Cause::DataKeyLeaked);
    let encrypting = EnvelopeOperation::new(Envelope::new(keyring), again.clone());
    let (forecast, _, _) = over_files(&store, (&again, true), &encrypting, Limits::default());
    let (encrypted, _, _) = over_files(&store, (&again, false), &encrypting, slow);
    assert_eq!((forecast.calls.moved_bytes, encrypted.calls.moved_bytes), (bytes, bytes));
}

#[test]
fn requests_and_calls_of_keys_in_a_second_are_limited() {
    let most = |limits| {
        let (keyring, store) = stale(60);
        let (end, took) = limited(&keyring, &store, limits, &mut MemoryRecords::default());
        assert_eq!(finished(end).tally.changed, 60);
        took.as_secs_f64()
    };
    // 186 requests and 180 calls, a second's worth of them at once. Work that is out runs over.
    let requests = most(Limits { requests_per_second: Some(10), ..Limits::default() });
    assert!((15.0..19.0).contains(&requests), "{requests}");
    let keys = most(Limits { key_calls_per_second: Some(20), ..Limits::default() });
    assert!((7.0..9.5).contains(&keys), "{keys}");
    assert!(most(Limits::default()) < 0.1);
}

#[test]
fn spending_stops_before_the_limit_and_goes_on_when_it_is_raised() {
    let (keyring, store) = stale(60);
    let mut records = MemoryRecords::default();
    let spend = Some(200_000);
    let limits = Limits { spend, ..Limits::default() };
    let (end, _) = limited(&keyring, &store, limits, &mut records);
    let End::Halted { why: Halt::Spend { spent }, .. } = end else { panic!("{end:?}") };
    let item = 2 * 400 + 5_000 + 3 * 3_000;
    assert!(spent <= 200_000 && spent > 200_000 - 2 * item - 5_000, "{spent}");
    // The same limit changes nothing more than is left of a page.
    let (end, _) = limited(&keyring, &store, limits, &mut records);
    assert!(matches!(end, End::Halted { why: Halt::Spend { .. }, .. }), "{end:?}");
    let (end, _) = limited(&keyring, &store, Limits::default(), &mut records);
    let report = finished(end);
    assert_eq!(report.tally.changed, 60);
    assert!(report.spent() > 60 * item, "{}", report.spent());
}

#[test]
fn census_lists_items_with_names_that_are_not_allowed() {
    let (keyring, store) = stale(3);
    let other = Arc::new(MemoryKeyring::create("orders-us").unwrap());
    store.insert(key(10), header(&Envelope::new(other.clone())));
    let both = MultiKeyring::new(keyring.clone()).with(other).unwrap();
    store.insert(key(11), header(&Envelope::new(both)));
    let census = |allowed: &[&str]| {
        let task = Task::Census { mode: CensusMode::Labels };
        let allowed_names = allowed.iter().map(|name| name.to_string()).collect();
        let definition = Definition { allowed_names, ..Definition::new("memory", task) };
        let mut records = MemoryRecords::default();
        let report = finished(run_to_end(&definition, &store, &LabelCensus, &mut records));
        let names: Vec<_> =
            report.not_allowed().map(|used| (used.name.clone(), used.labelled)).collect();
        (names, String::from_utf8(records.failures).unwrap())
    };
    assert_eq!(census(&[]), (vec![], String::new()));
    let (names, lines) = census(&["orders"]);
    assert_eq!(names, [("orders-us".to_string(), 2)]);
    let lines: Vec<_> = lines.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].contains("item-010") && lines[1].contains("item-011"), "{lines:?}");
    assert!(lines.iter().all(|line| line.contains("not_allowed")), "{lines:?}");
    let (names, _) = census(&["orders-us"]);
    assert_eq!(names, [("orders".to_string(), 3), ("orders".to_string(), 1)]);
}
