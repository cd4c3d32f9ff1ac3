//! Noticing that a file was changed.

use crate::common::simulated_directory::{Plan, START, SimulatedDirectory};
use crate::key_file_store::world::{self, content};
use std::time::{Duration, SystemTime};

fn at(nanoseconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(nanoseconds)
}

#[test]
fn fingerprint_changes_with_the_file_alone() {
    let directory = world::directory(Some(&content(1, 100)));
    let store = world::store(&directory);
    let taken = store.load().unwrap().fingerprint();
    assert_eq!(store.fingerprint().unwrap(), taken);
    world::write(&store, false, &content(2, 100)).unwrap();
    assert_ne!(store.fingerprint().unwrap(), taken);
    assert_eq!(store.fingerprint().unwrap(), store.load().unwrap().fingerprint());
}

/// Two replacements within a tick, an inode that is used again: the fingerprint is the same, the
/// content is not, and the fingerprint was not settled.
#[test]
fn fingerprint_within_one_tick_is_not_settled() {
    let directory = SimulatedDirectory::new();
    directory.plan(Plan { is_frozen: true, reuse_inodes: true, ..Plan::default() });
    let store = world::store(&directory);
    world::write(&store, true, &content(1, 100)).unwrap();
    let first = store.load().unwrap();
    world::write(&store, false, &content(2, 100)).unwrap();
    world::write(&store, false, &content(3, 100)).unwrap();
    assert_eq!(store.fingerprint().unwrap(), first.fingerprint());
    assert_ne!(store.load().unwrap().bytes(), first.bytes());
    assert!(!first.fingerprint().is_settled(at(START)));
}

#[test]
fn fingerprint_settles_after_a_hundred_milliseconds() {
    let directory = world::directory(Some(&content(1, 100)));
    let taken = world::store(&directory).load().unwrap().fingerprint();
    for (after, is_settled) in
        [(0, false), (99_999_999, false), (100_000_000, true), (100_000_001, true)]
    {
        assert_eq!(taken.is_settled(at(START + after)), is_settled, "{after} ns");
    }
    // Changed in the future.
    assert!(!taken.is_settled(at(START - 1)));
    assert!(!taken.is_settled(SystemTime::UNIX_EPOCH));
}

/// Where no nanoseconds are kept, the tick may be that of FAT, two seconds.
#[test]
fn fingerprint_of_whole_seconds_settles_later() {
    let directory = SimulatedDirectory::new();
    let whole = START / 1_000_000_000 * 1_000_000_000;
    directory.set_now(whole);
    directory.plan(Plan { is_frozen: true, ..Plan::default() });
    let store = world::store(&directory);
    world::write(&store, true, &content(1, 100)).unwrap();
    let taken = store.load().unwrap().fingerprint();
    assert!(!taken.is_settled(at(whole + 2_099_999_999)));
    assert!(taken.is_settled(at(whole + 2_100_000_000)));
}
