//! Links, FIFOs and directories in the place of the file, its lock and its temporary files.

use super::Scratch;
use crate::world;
use envelock::test_util::key_file::{FileKind, KeyFileError};
use rustix::fs::{CWD, FileType, Mode};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Planted {
    Symlink,
    DanglingSymlink,
    HardLink,
    Fifo,
    Directory,
}

const ALL: [Planted; 5] = [
    Planted::Symlink,
    Planted::DanglingSymlink,
    Planted::HardLink,
    Planted::Fifo,
    Planted::Directory,
];

/// Puts it at `place`; what is linked to is the file `target` beside.
fn plant(planted: Planted, place: &Path) {
    let target = place.with_file_name("target");
    fs::write(&target, "target").unwrap();
    set_private(&target);
    match planted {
        Planted::Symlink => symlink(&target, place).unwrap(),
        Planted::DanglingSymlink => symlink(place.with_file_name("nothing"), place).unwrap(),
        Planted::HardLink => fs::hard_link(&target, place).unwrap(),
        Planted::Fifo => {
            rustix::fs::mknodat(CWD, place, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        }
        Planted::Directory => fs::create_dir(place).unwrap(),
    }
}

fn set_private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Nothing was written through what was planted, and it is still there.
fn assert_untouched(planted: Planted, place: &Path) {
    assert_eq!(fs::read(place.with_file_name("target")).unwrap(), b"target");
    assert!(!place.with_file_name("nothing").exists());
    let kind = fs::symlink_metadata(place).unwrap().file_type();
    match planted {
        Planted::Symlink | Planted::DanglingSymlink => assert!(kind.is_symlink()),
        Planted::HardLink => assert!(kind.is_file()),
        Planted::Fifo => assert!(!kind.is_file() && !kind.is_dir() && !kind.is_symlink()),
        Planted::Directory => assert!(kind.is_dir()),
    }
}

fn assert_refused(planted: Planted, place: &Path, error: &KeyFileError) {
    let is_exact = match (planted, error) {
        (Planted::HardLink, KeyFileError::HardLinks { path, links: 2 }) => path == place,
        (_, KeyFileError::NotRegular { path, kind }) => {
            let expected = match planted {
                Planted::Symlink | Planted::DanglingSymlink => FileKind::Symlink,
                Planted::Fifo => FileKind::Fifo,
                _ => FileKind::Directory,
            };
            path == place && *kind == expected
        }
        _ => false,
    };
    assert!(is_exact, "{planted:?}: {error:?}");
}

#[test]
fn what_stands_in_the_place_of_the_file_is_refused() {
    for planted in ALL {
        let scratch = Scratch::new();
        let (store, place) = (scratch.store(), scratch.key_file());
        plant(planted, &place);
        assert_refused(planted, &place, &store.load().unwrap_err());
        assert_refused(planted, &place, &world::write(&store, false, b"new").unwrap_err());
        let error = world::write(&store, true, b"new").unwrap_err();
        assert!(matches!(error, KeyFileError::Exists { .. }), "{planted:?}: {error}");
        assert_untouched(planted, &place);
    }
}

#[test]
fn what_stands_in_the_place_of_the_lock_file_is_refused() {
    for planted in ALL {
        let scratch = Scratch::new();
        let store = scratch.store();
        plant(planted, &store.lock_path());
        let error = world::write(&store, true, b"new").unwrap_err();
        assert_refused(planted, &store.lock_path(), &error);
        assert_untouched(planted, &store.lock_path());
        assert!(!scratch.key_file().exists());
    }
}

/// Under a name of our temporary files nothing is opened, written or followed.
#[test]
fn what_stands_in_the_place_of_a_temporary_file_is_left_alone() {
    for planted in ALL {
        let scratch = Scratch::new();
        let store = scratch.store();
        let place = scratch.path().join(".keys.0123456789abcdef.tmp");
        plant(planted, &place);
        world::write(&store, true, b"new").unwrap();
        assert_eq!(store.load().unwrap().bytes(), b"new");
        match planted {
            // A name of ours for a regular file is a leftover; the other name keeps the file.
            Planted::HardLink => {
                assert!(!place.exists());
                assert_eq!(fs::read(place.with_file_name("target")).unwrap(), b"target");
            }
            _ => assert_untouched(planted, &place),
        }
    }
}
