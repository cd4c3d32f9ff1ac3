//! Files that change under the reader, links that a crash leaves, and names.

use crate::common::simulated_directory::{EIO, Fault, Kind, Plan, SimulatedDirectory, USER};
use crate::key_file_store::world::{self, LOCK, NAME, content};
use envelock::test_access::key_file::{FileError, FileKind, KeyFileError, Store};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Loads while another process writes `bytes` into the file in place before each of the calls `at`.
fn load_edited(at: &[usize], bytes: &[u8]) -> Result<Vec<u8>, KeyFileError> {
    let directory = world::directory(Some(&content(1, 1000)));
    let edits = at.iter().map(|&at| (at, (OsString::from(NAME), bytes.to_vec()))).collect();
    directory.plan(Plan { edits, most_at_once: Some(400), ..Plan::default() });
    world::store(&directory).load().map(|loaded| loaded.bytes().to_vec())
}

#[test]
fn file_resized_during_read_is_read_again() {
    for len in [1, 999, 1000, 1001, 5000] {
        for at in 0..8 {
            let bytes = content(2, len);
            let found = load_edited(&[at], &bytes).unwrap();
            // Before the last look at the file, the edit is seen; after, it is another's time.
            let expected = if at <= 6 { bytes } else { content(1, 1000) };
            assert_eq!(found, expected, "{len} bytes at call {at}");
        }
    }
    let always: Vec<usize> = (0..100).collect();
    let error = load_edited(&always, &content(2, 1000)).unwrap_err();
    assert!(
        matches!(error, KeyFileError::File(FileError::Changed { .. })) && error.is_retryable(),
        "{error}"
    );
}

/// Half a rename leaves two names, and so does a snapshot by hard links.
#[test]
fn file_of_several_names_is_read_and_replaced() {
    let directory = world::directory(Some(&content(1, 10)));
    directory.link(NAME, ".keys.00112233445566aa.tmp");
    directory.link(NAME, "copy");
    assert_eq!(world::load(&directory).unwrap(), Some(content(1, 10)));
    world::write(&world::store(&directory), false, b"new").unwrap();
    assert_eq!(world::load(&directory).unwrap().unwrap(), b"new");
    assert_eq!(directory.disk().bytes(OsStr::new("copy")), Some(&content(1, 10)[..]));
}

/// Only what has exactly the form of our temporary names is taken for one.
#[test]
fn other_files_are_not_leftovers() {
    let others = [
        ".keys.0123456789abcde.tmp",
        ".keys.0123456789abcdef0.tmp",
        ".keys.0123456789ABCDEF.tmp",
        ".keys.0123456789abcdef.tm",
        ".keys2.0123456789abcdef.tmp",
        "keys.0123456789abcdef.tmp",
        ".keys0123456789abcdef.tmp",
        "keys.tmp",
    ];
    let directory = world::directory(None);
    for name in others {
        directory.plant(name, FileKind::Regular, b"other", 0o600, USER);
    }
    for kind in [FileKind::Symlink, FileKind::Fifo, FileKind::Directory, FileKind::Other] {
        directory.plant(&format!(".keys.{:016x}.tmp", kind as u8), kind, b"", 0o777, USER);
    }
    world::write(&world::store(&directory), true, b"new").unwrap();
    let left = directory.disk().list();
    assert_eq!(left.len(), others.len() + 4 + 2, "{left:?}");
    assert!(others.iter().all(|name| left.contains(&OsString::from(name))));
}

#[test]
fn impossible_names_are_refused() {
    let directory = Arc::new(SimulatedDirectory::new());
    let longest = "n".repeat(233);
    Store::in_directory(directory.clone(), OsStr::new(&longest)).unwrap();
    let too_long = "n".repeat(234);
    for name in ["", ".", "..", "a/b", "/", "a/", "a\0b", &too_long] {
        let error = Store::in_directory(directory.clone(), OsStr::new(name)).unwrap_err();
        assert!(matches!(error, KeyFileError::File(FileError::Name { .. })), "{name:?}: {error}");
    }
    for path in ["", "..", "/", "a/..", "/tmp/x/", "/tmp/x/."] {
        let error = Store::open(Path::new(path)).unwrap_err();
        assert!(matches!(error, KeyFileError::File(FileError::Name { .. })), "{path:?}: {error}");
    }
}

#[test]
fn create_refuses_existing_and_replace_missing_name() {
    for kind in [FileKind::Regular, FileKind::Symlink, FileKind::Directory, FileKind::Fifo] {
        let directory = world::directory(None);
        directory.plant(NAME, kind, b"there", 0o644, 7);
        let error = world::write(&world::store(&directory), true, b"new").unwrap_err();
        assert!(matches!(error, KeyFileError::File(FileError::Exists { .. })), "{kind}: {error}");
        assert_eq!(directory.disk().bytes(OsStr::new(NAME)), Some(&b"there"[..]));
    }
    let error = world::write(&world::store(&world::directory(None)), false, b"new").unwrap_err();
    assert!(matches!(error, KeyFileError::File(FileError::NotFound { .. })), "{error}");
}

#[test]
fn foreign_owners_are_refused_and_root_is_not() {
    for name in [NAME, LOCK] {
        for (uid, is_fine) in [(USER, true), (0, true), (USER + 1, false)] {
            let directory = SimulatedDirectory::new();
            directory.plant(NAME, FileKind::Regular, b"old", 0o600, USER);
            directory.plant(name, FileKind::Regular, b"old", 0o600, uid);
            let result = world::write(&world::store(&directory), false, b"new");
            assert_eq!(result.is_ok(), is_fine, "{name} of {uid}: {result:?}");
            if let Err(error) = result {
                assert!(matches!(
                    error,
                    KeyFileError::Owner { owner: 1001, user: USER, path } if path.ends_with(name)
                ));
            }
        }
    }
}

#[test]
fn lock_is_given_back_on_drop() {
    let directory = world::directory(Some(b"old"));
    let store = world::store(&directory);
    let first = store.lock(Duration::ZERO).unwrap();
    assert!(matches!(
        store.lock(Duration::ZERO),
        Err(KeyFileError::File(FileError::Locked { .. }))
    ));
    drop(first);
    drop(store.lock(Duration::ZERO).unwrap());
}

/// A rename whose result and outcome are both unknown promises nothing.
#[test]
fn rename_of_unknown_outcome_is_not_durable() {
    let directory = world::directory(Some(b"old"));
    world::write(&world::store(&directory), false, b"one").unwrap();
    directory.plan(Plan::default());
    world::write(&world::store(&directory), false, b"two").unwrap();
    let rename = directory.calls().iter().position(|c| c.kind == Kind::Rename).unwrap();
    let faults =
        BTreeMap::from([(rename, Fault::ErrorAfter(EIO)), (rename + 1, Fault::Error(EIO))]);
    directory.plan(Plan { faults, ..Plan::default() });
    let store = world::store(&directory);
    let error = world::write(&store, false, b"six").unwrap_err();
    assert!(matches!(error, KeyFileError::File(FileError::NotDurable { .. })), "{error}");
    assert!(matches!(store.load(), Err(KeyFileError::Poisoned { .. })));
    assert_eq!(world::load(&directory).unwrap().unwrap(), b"six");
}
