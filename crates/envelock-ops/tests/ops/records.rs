//! The records of a job: written before what they are about, lost, damaged, and resumed from.

use crate::common::{MemoryRecords, NOW, definition, finished, keys, open, run, run_to_end, stale};
use envelock_ops::drivers::{self, Control, Records};
use envelock_ops::{
    Checkpoint, CheckpointError, End, Halt, Job, Limits, Shard, Start, Step, Store as _, UndoIndex,
};
use std::time::Duration;

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
    let keys = crate::common::keys(&keyring);
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
