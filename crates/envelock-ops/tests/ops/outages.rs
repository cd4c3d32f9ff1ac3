//! Back ends that are away, for a while or for good, and items that only look so.

use crate::common::{
    MemoryRecords, NOW, finished, forward_operation, forward_store, key, keys, open, run,
    run_to_end, stale,
};
use envelock::{BackendError, Envelope, Error};
use envelock_ops::drivers::Records as _;
use envelock_ops::stores::MemoryStore;
use envelock_ops::{
    BackEnd, Definition, End, EnvelopeOperation, Expected, FailureLimit, Halt, Item, ItemKey,
    Limits, Operation, Page, Replaced, Shard, Start, Step, Store, StoreError, StoredHeader, Task,
    Verdict, VersionName,
};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Decides whether a call fails, by its number and its item.
type IsAway = fn(u32, &ItemKey) -> bool;

/// A back end, and how often it was called.
struct Away<T>(T, AtomicU32, IsAway);

impl<T> Away<T> {
    fn new(back_end: T, is_away: IsAway) -> Self {
        Away(back_end, AtomicU32::new(0), is_away)
    }

    fn is_away(&self, item: &ItemKey) -> bool {
        (self.2)(self.1.fetch_add(1, Ordering::Relaxed), item)
    }
}

/// An error with its reason in the source.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the item")]
struct CannotOpen(#[source] std::io::Error);

impl Store for Away<&MemoryStore> {
    forward_store!(properties, list, replace);

    fn read(&self, item: &ItemKey) -> Result<Option<StoredHeader>, StoreError> {
        match self.is_away(item) {
            true => Err(StoreError::unavailable(CannotOpen(std::io::ErrorKind::TimedOut.into()))),
            false => self.0.read(item),
        }
    }
}

impl<O: Operation> Operation for Away<O> {
    forward_operation!(targets, writes, unreadable, refusal);

    fn apply(&self, item: &Item<'_>) -> Verdict {
        match self.is_away(item.key) {
            true => Verdict::from(Error::Backend(throttled())),
            false => self.0.apply(item),
        }
    }
    fn open(&self, header: &[u8]) -> Result<envelock::OpenedKey, Error> {
        match self.is_away(&key(0)) {
            true => Err(Error::Backend(throttled())),
            false => self.0.open(header),
        }
    }
}

fn throttled() -> BackendError {
    let cause = std::io::Error::other("too many requests");
    BackendError::throttled(Some(Duration::from_secs(20)), cause)
}

fn definition() -> Definition {
    let limit = FailureLimit { millionths: 900_000, confidence_thousandths: 950 };
    Definition { failure_limit: limit, page: 100, ..Definition::new("memory", Task::rewrap()) }
}

fn limits(outage_seconds: Option<u64>) -> Limits {
    Limits { concurrency: 1, outage_seconds, ..Limits::default() }
}

/// Runs a job over 40 items. Returns how it ended, and how long it took by the virtual clock.
fn run_away(is_away: IsAway, limits: Limits) -> (End, Duration) {
    let (keyring, store) = stale(40);
    let (store, keys, mut now) = (Away::new(&store, is_away), keys(&keyring), NOW);
    let start = Start { limits, ..Start::new(NOW, store.properties()) };
    let mut records = MemoryRecords::default();
    let mut job = open(&definition(), Shard::WHOLE, &records, &start, &keys).unwrap();
    let end = run(&mut job, &store, &keys, &mut records, &mut now);
    (end, now - NOW)
}

#[test]
fn scattered_bad_items_delay_nothing() {
    let (end, waited) = run_away(|_, item| item.to_string().ends_with('7'), limits(Some(300)));
    let report = finished(end);
    assert_eq!((report.tally.failed, waited), (4, Duration::ZERO));
}

#[test]
fn bad_items_in_a_row_are_no_outage_while_another_item_works() {
    // 20 items fail for good. An item that worked before says each time that the store is there.
    let (end, waited) = run_away(|_, item| *item >= key(20), limits(Some(1)));
    let report = finished(end);
    assert_eq!((report.tally.changed, report.tally.failed), (20, 20));
    assert!(waited > Duration::ZERO && waited < Duration::from_secs(5), "{waited:?}");
}

#[test]
fn short_outage_is_waited_for_and_fails_no_item() {
    // After 15 reads, the next 12 fail: 5 items, then 7 probes.
    let (end, waited) = run_away(|call, _| (15..27).contains(&call), limits(Some(300)));
    assert_eq!(finished(end).tally.changed, 40);
    assert!((60..150).contains(&waited.as_secs()), "{waited:?}");
}

#[test]
fn long_outage_halts_and_a_later_run_finishes() {
    let (keyring, store) = stale(40);
    let keys = keys(&keyring);
    let mut records = MemoryRecords::default();
    let away = Away::new(&store, |call, _| call >= 100);
    // 40 reads and 40 written with a read back: the outage is between two writes.
    let away = Away(away.0, AtomicU32::new(40), away.2);
    let start = Start { limits: limits(Some(300)), ..Start::new(NOW, store.properties()) };
    let mut job = open(&definition(), Shard::WHOLE, &records, &start, &keys).unwrap();
    let mut now = NOW;
    let end = run(&mut job, &away, &keys, &mut records, &mut now);
    let End::Halted { why: why @ Halt::Outage { .. }, .. } = end else { panic!("{end:?}") };
    let text = why.to_string();
    assert!(text.starts_with("the store is away for 3") && text.contains("timed out"), "{text}");
    assert!(why.is_retryable() && now - NOW >= Duration::from_secs(300));
    let calls = away.1.load(Ordering::Relaxed);
    assert!(calls < 100 + 5 + 3 + 15, "{calls} calls to a store that is away");
    let report = finished(run_to_end(&definition(), &store, &keys, &mut records));
    assert_eq!((report.tally.changed, report.tally.current), (40, 0));
}

#[test]
fn throttled_keys_get_the_time_that_they_ask_for() {
    let (keyring, store) = stale(40);
    let keys = Away::new(keys(&keyring), |call, _| call == 10);
    let start = Start { limits: limits(Some(300)), ..Start::new(NOW, store.properties()) };
    let mut records = MemoryRecords::default();
    let mut job = open(&definition(), Shard::WHOLE, &records, &start, &keys).unwrap();
    let mut now = NOW;
    let report = finished(run(&mut job, &store, &keys, &mut records, &mut now));
    assert_eq!((report.tally.changed, now - NOW), (40, Duration::from_secs(20)));
}

#[test]
fn outage_is_reported_while_it_lasts() {
    let (keyring, store) = stale(40);
    let (keys, away) = (keys(&keyring), Away::new(&store, |_, _| true));
    let start = Start { limits: limits(None), ..Start::new(NOW, store.properties()) };
    let records = MemoryRecords::default();
    let mut job = open(&definition(), Shard::WHOLE, &records, &start, &keys).unwrap();
    assert!(job.outage().is_none());
    // For ever means that the items decide: each fails in all its attempts.
    let mut now = NOW;
    let report = finished(run(&mut job, &away, &keys, &mut records.clone(), &mut now));
    assert_eq!(report.tally.failed, 40);
    let outage = job.outage().unwrap();
    assert_eq!((outage.back_end, outage.since), (BackEnd::Store, NOW));
    assert!(outage.why.contains("timed out"));
}

/// A store whose listings, or keys whose primaries, are away until a number of calls.
struct AwayUntil<T>(T, AtomicU32, u32);

impl<T> AwayUntil<T> {
    fn is_away(&self) -> bool {
        self.1.fetch_add(1, Ordering::Relaxed) < self.2
    }
}

impl Store for AwayUntil<&MemoryStore> {
    forward_store!(properties, read);

    fn list(&self, after: Option<&ItemKey>, most: usize) -> Result<Page, StoreError> {
        match self.is_away() {
            true => Err(StoreError::unavailable("timed out")),
            false => self.0.list(after, most),
        }
    }
    fn replace(
        &self,
        item: &ItemKey,
        old: Expected<'_>,
        new: &[u8],
    ) -> Result<Replaced, StoreError> {
        self.0.replace(item, old, new)
    }
}

impl<O: Operation> Operation for AwayUntil<O> {
    forward_operation!(open, writes, unreadable, refusal);

    fn apply(&self, item: &Item<'_>) -> Verdict {
        self.0.apply(item)
    }
    fn targets(&self) -> Result<Vec<VersionName>, Error> {
        // The job begins with two calls.
        match (2..self.2).contains(&self.1.fetch_add(1, Ordering::Relaxed)) {
            true => Err(Error::Backend(throttled())),
            false => self.0.targets(),
        }
    }
}

/// Runs a job whose listings, or whose targets, fail so often.
fn run_until(listings: u32, targets: u32, limits: Limits) -> (End, Duration) {
    let (keyring, store) = stale(4);
    let store = AwayUntil(&store, AtomicU32::new(0), listings);
    let start = Start { limits, ..Start::new(NOW, store.properties()) };
    let keys = AwayUntil(keys(&keyring), AtomicU32::new(0), 2 + targets);
    let (mut records, mut now) = (MemoryRecords::default(), NOW);
    let mut job = open(&definition(), Shard::WHOLE, &records, &start, &keys).unwrap();
    let end = run(&mut job, &store, &keys, &mut records, &mut now);
    (end, now - NOW)
}

#[test]
fn listings_and_targets_that_fail_are_waited_for_as_items_are() {
    for (listings, targets, back_end) in [(8, 0, BackEnd::Store), (0, 8, BackEnd::Keys)] {
        let (end, waited) = run_until(listings, targets, limits(Some(300)));
        assert_eq!(finished(end).tally.changed, 4);
        assert!((60..=200).contains(&waited.as_secs()), "{waited:?}");
        let (end, waited) = run_until(listings * 9, targets * 9, limits(Some(300)));
        let End::Halted { why: Halt::Outage { outage, .. }, .. } = end else { panic!("{end:?}") };
        assert_eq!(outage.back_end, back_end);
        assert!((300..=380).contains(&waited.as_secs()), "{waited:?}");
    }
}

#[test]
fn pause_is_no_outage() {
    let (keyring, store) = stale(40);
    let (keys, away) = (keys(&keyring), Away::new(&store, |call, _| (20..27).contains(&call)));
    let start = Start { limits: limits(Some(300)), ..Start::new(NOW, store.properties()) };
    let mut records = MemoryRecords::default();
    let mut job = open(&definition(), Shard::WHOLE, &records, &start, &keys).unwrap();
    let paused = Limits { items_per_second: Some(0), ..limits(Some(300)) };
    let (mut now, mut is_paused) = (NOW, false);
    let end = loop {
        if job.outage().is_some() && !is_paused {
            (is_paused, now) = (true, now + Duration::from_secs(60));
            job.set_limits(paused);
        }
        if is_paused && now > NOW + Duration::from_secs(4_000) {
            job.set_limits(limits(Some(300)));
        }
        match job.next(now, &keys) {
            Step::List { after, most } => job.listed(away.list(after.as_ref(), most), now),
            Step::Work(mut work) => {
                work.run(&away, &keys, || Duration::ZERO);
                job.done(work, now);
            }
            Step::Probe(probe) => job.probed(probe.run(&away), now),
            Step::Append(batch) => job.appended(records.append(&batch)),
            Step::Save { failures_at, failures, checkpoint } => {
                job.saved(records.save(failures_at, &failures, &checkpoint));
            }
            Step::Wait { until } => now = until.unwrap(),
            Step::Done(end) => break end,
            step => panic!("{step:?}"),
        }
    };
    // Seven calls failed, of which two were probes after the pause.
    assert_eq!(finished(end).tally.changed, 40);
    assert!(is_paused && away.1.load(Ordering::Relaxed) > 27);
}

/// The reason of the operating system is the source of an error.
#[test]
fn reasons_in_files_and_of_outages_have_the_sources() {
    let (keyring, store) = stale(20);
    let keys = EnvelopeOperation::new(Envelope::new(keyring), Task::rewrap());
    let definition = Definition {
        failure_limit: FailureLimit { millionths: 900_000, ..FailureLimit::default() },
        ..Definition::new("memory", Task::rewrap())
    };
    let text = "store failed: cannot open the item: timed out";
    let one_is_away = Away::new(&store, |_, item| *item == key(3));
    let mut records = MemoryRecords::default();
    let report = finished(run_to_end(&definition, &one_is_away, &keys, &mut records));
    assert_eq!((report.tally.changed, report.tally.failed), (19, 1));
    let lines = String::from_utf8(records.failures).unwrap();
    assert!(lines.contains(text), "{lines}");
    let all_are_away = Away::new(&store, |_, _| true);
    let end = run_to_end(&definition, &all_are_away, &keys, &mut MemoryRecords::default());
    let End::Halted { why: Halt::Outage { outage, .. }, .. } = end else { panic!("{end:?}") };
    assert_eq!(outage.why, text);
}

fn away_now() -> Result<(), Error> {
    Err(Error::Backend(throttled()))
}

/// Keys whose judgement of what is written fails from call to call.
struct NotJudged<O>(O, AtomicU32, fn(u32) -> Result<(), Error>);

impl<O: Operation> Operation for NotJudged<O> {
    forward_operation!(open, targets, unreadable, refusal);

    fn apply(&self, item: &Item<'_>) -> Verdict {
        self.0.apply(item)
    }
    fn writes(&self, label: &envelock::SlotLabel<'_>) -> Result<bool, Error> {
        (self.2)(self.1.fetch_add(1, Ordering::Relaxed))?;
        self.0.writes(label)
    }
}

fn run_not_judged(judge: fn(u32) -> Result<(), Error>) -> (End, MemoryRecords, Duration) {
    let (keyring, store) = stale(12);
    let keys = NotJudged(keys(&keyring), AtomicU32::new(0), judge);
    let start = Start { limits: limits(Some(300)), ..Start::new(NOW, store.properties()) };
    let (mut records, mut now) = (MemoryRecords::default(), NOW);
    let mut job = open(&definition(), Shard::WHOLE, &records, &start, &keys).unwrap();
    let end = run(&mut job, &store, &keys, &mut records, &mut now);
    (end, records, now - NOW)
}

#[test]
fn label_that_cannot_be_judged_is_no_conflict() {
    // A short outage is waited for.
    let (end, _, waited) = run_not_judged(|call| if call < 3 { away_now() } else { Ok(()) });
    assert_eq!(finished(end).tally.changed, 12);
    assert_eq!(waited, Duration::from_secs(60));
    // A long one halts with its cause, although the primaries are still known.
    let (end, records, _) = run_not_judged(|_| away_now());
    let End::Halted { why: why @ Halt::Outage { .. }, report } = end else { panic!("{end:?}") };
    assert_eq!((report.tally.conflict, records.failures.len()), (0, 0));
    assert!(why.is_retryable());
    let text = why.to_string();
    assert!(text.starts_with("the keyring is away for 3") && text.contains("too many"), "{text}");
    // What is final fails the item, and no other.
    let (end, records, _) = run_not_judged(|call| match call {
        0 => Err(Error::NoPrimary),
        _ => Ok(()),
    });
    let tally = finished(end).tally;
    assert_eq!((tally.changed, tally.failed, tally.conflict), (11, 1, 0));
    let lines = String::from_utf8(records.failures).unwrap();
    let line = "\"item\":\"item-000\",\"outcome\":\"failed\",\"retryable\":false";
    assert!(lines.contains(line), "{lines}");
}
