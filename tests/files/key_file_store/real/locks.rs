//! The lock between processes and threads.

use super::{Scratch, child};
use crate::key_file_store::world::{self, content};
use envelock::test_access::key_file::{FileError, KeyFileError, Store};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(600);

/// The child: takes the lock and waits to be killed.
pub fn hold(folder: &Path) {
    let store = Store::open(&folder.join("keys")).unwrap();
    let _writer = store.lock(LONG).unwrap();
    println!("\nlocked");
    thread::sleep(LONG);
}

#[test]
fn lock_of_killed_process_blocks_no_other() {
    let scratch = Scratch::new();
    let store = scratch.store();
    world::write(&store, true, b"old").unwrap();
    for _ in 0..5 {
        let mut holder = child("hold the lock", scratch.path());
        let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "locked"));
        let error = store.lock(Duration::ZERO).unwrap_err();
        assert!(matches!(error, KeyFileError::File(FileError::Locked { .. })), "{error}");
        // Readers are not kept out.
        store.load().unwrap();
        holder.kill().unwrap();
        holder.wait().unwrap();
        store.lock(Duration::ZERO).unwrap().replace(b"old").unwrap();
    }
}

#[test]
fn wait_for_a_lock_is_bounded() {
    let scratch = Scratch::new();
    let (store, other) = (scratch.store(), scratch.store());
    let _writer = other.lock(Duration::ZERO).unwrap();
    for wait in [0, 1, 50, 200].map(Duration::from_millis) {
        let started = Instant::now();
        let error = store.lock(wait).unwrap_err();
        let took = started.elapsed();
        let KeyFileError::File(FileError::Locked { waited, path }) = &error else {
            panic!("{error}")
        };
        assert!(error.is_retryable() && *path == store.lock_path());
        assert!(wait <= *waited && *waited <= took && took < wait + LONG);
    }
}

/// Threads that share a store, and threads with a store each, never write at once.
#[test]
fn threads_exclude_each_other() {
    let scratch = Scratch::new();
    let shared = scratch.store();
    world::write(&shared, true, &0u32.to_be_bytes()).unwrap();
    let add = |store: &Store| {
        let mut writer = store.lock(LONG).unwrap();
        let loaded = writer.load().unwrap();
        let number = u32::from_be_bytes(loaded.bytes().try_into().unwrap());
        writer.replace(&(number + 1).to_be_bytes()).unwrap();
    };
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| (0..10).for_each(|_| add(&shared)));
            scope.spawn(|| (0..10).for_each(|_| add(&scratch.store())));
        }
    });
    assert_eq!(shared.load().unwrap().bytes(), 60u32.to_be_bytes());
}

/// The path counts, whatever became of the directory that it led to.
#[test]
fn store_follows_its_path() {
    let scratch = Scratch::new();
    let (here, there) = (scratch.path().join("here"), scratch.path().join("there"));
    fs::create_dir(&here).unwrap();
    let store = Store::open(&here.join("keys")).unwrap();
    world::write(&store, true, &content(1, 10)).unwrap();
    fs::rename(&here, &there).unwrap();
    assert!(store.load().is_err() && world::write(&store, false, &content(2, 10)).is_err());
    fs::create_dir(&here).unwrap();
    world::write(&store, true, &content(3, 10)).unwrap();
    assert_eq!(store.load().unwrap().bytes(), content(3, 10));
    assert_eq!(fs::read(there.join("keys")).unwrap(), content(1, 10));
}

/// No process sees a file in a directory that the path no longer leads to.
#[test]
fn writer_whose_path_moved_writes_nothing() {
    let scratch = Scratch::new();
    let (one, two) = (scratch.path().join("one"), scratch.path().join("two"));
    for directory in [&one, &two] {
        fs::create_dir(directory).unwrap();
        let store = Store::open(&directory.join("keys")).unwrap();
        world::write(&store, true, &content(1, 10)).unwrap();
    }
    let current = scratch.path().join("current");
    std::os::unix::fs::symlink(&one, &current).unwrap();
    let store = Store::open(&current.join("keys")).unwrap();
    let mut writer = store.lock(Duration::ZERO).unwrap();
    writer.load().unwrap();
    fs::remove_file(&current).unwrap();
    std::os::unix::fs::symlink(&two, &current).unwrap();
    let error = writer.replace(&content(2, 10)).unwrap_err();
    assert!(
        matches!(error, KeyFileError::File(FileError::Changed { .. })) && error.is_retryable(),
        "{error}"
    );
    drop(writer);
    world::write(&store, false, &content(2, 10)).unwrap();
    assert_eq!(fs::read(one.join("keys")).unwrap(), content(1, 10));
    assert_eq!(fs::read(two.join("keys")).unwrap(), content(2, 10));
}
