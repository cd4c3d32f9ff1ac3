//! Links, FIFOs and directories that an attacker put at the path of the file, of its lock and of its
//! temporary files.

use super::Scratch;
use crate::key_file_store::world;
use envelock::file::FileRules;
use envelock::test_access::key_file::{FileError, FileKind, KeyFileError};
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

/// Plants it at `planted_path`; a link leads to the file `target` in the same directory.
fn plant(planted: Planted, planted_path: &Path) {
    let target = planted_path.with_file_name("target");
    if !target.exists() {
        fs::write(&target, "target").unwrap();
    }
    set_private(&target);
    match planted {
        Planted::Symlink => symlink(&target, planted_path).unwrap(),
        Planted::DanglingSymlink => {
            symlink(planted_path.with_file_name("nothing"), planted_path).unwrap()
        }
        Planted::HardLink => fs::hard_link(&target, planted_path).unwrap(),
        Planted::Fifo => {
            rustix::fs::mknodat(CWD, planted_path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
                .unwrap();
        }
        Planted::Directory => fs::create_dir(planted_path).unwrap(),
    }
}

fn set_private(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Nothing was written through what was planted, and it is still there.
fn assert_untouched(planted: Planted, planted_path: &Path) {
    assert_eq!(fs::read(planted_path.with_file_name("target")).unwrap(), b"target");
    assert!(!planted_path.with_file_name("nothing").exists());
    let kind = fs::symlink_metadata(planted_path).unwrap().file_type();
    match planted {
        Planted::Symlink | Planted::DanglingSymlink => assert!(kind.is_symlink()),
        Planted::HardLink => assert!(kind.is_file()),
        Planted::Fifo => assert!(!kind.is_file() && !kind.is_dir() && !kind.is_symlink()),
        Planted::Directory => assert!(kind.is_dir()),
    }
}

fn assert_refused(planted: Planted, planted_path: &Path, error: &KeyFileError) {
    let expected = match planted {
        Planted::Fifo => FileKind::Fifo,
        Planted::Directory => FileKind::Directory,
        _ => FileKind::Symlink,
    };
    let is_exact = matches!(
        error,
        KeyFileError::File(FileError::NotRegular { path, kind }) if path == planted_path && *kind == expected
    );
    assert!(is_exact, "{planted:?}: {error:?}");
}

#[test]
fn planted_file_is_refused() {
    for planted in [Planted::Fifo, Planted::Directory] {
        let scratch = Scratch::new();
        let (store, planted_path) = (scratch.store(), scratch.key_file());
        plant(planted, &planted_path);
        assert_refused(planted, &planted_path, &store.load().unwrap_err());
        assert_refused(planted, &planted_path, &world::write(&store, false, b"new").unwrap_err());
        assert_untouched(planted, &planted_path);
    }
}

#[test]
fn planted_new_file_is_left_alone() {
    for planted in ALL {
        let scratch = Scratch::new();
        plant(planted, &scratch.key_file());
        let error = world::write(&scratch.store(), true, b"new").unwrap_err();
        assert!(
            matches!(error, KeyFileError::File(FileError::Exists { .. })),
            "{planted:?}: {error}"
        );
        assert_untouched(planted, &scratch.key_file());
    }
}

/// The link stays, and what it leads to is replaced there.
#[test]
fn link_of_ours_is_followed_by_readers_and_writers() {
    let scratch = Scratch::new();
    let (store, planted_path) = (scratch.store(), scratch.key_file());
    plant(Planted::Symlink, &planted_path);
    assert_eq!(store.load().unwrap().bytes(), b"target");
    world::write(&store, false, b"new").unwrap();
    assert_eq!(store.load().unwrap().bytes(), b"new");
    assert!(fs::symlink_metadata(&planted_path).unwrap().file_type().is_symlink());
    assert_eq!(fs::read(planted_path.with_file_name("target")).unwrap(), b"new");
    assert!(planted_path.with_file_name("target.lock").exists());

    let scratch = Scratch::new();
    plant(Planted::DanglingSymlink, &scratch.key_file());
    let error = scratch.store().load().unwrap_err();
    assert!(matches!(error, KeyFileError::File(FileError::NotFound { .. })), "{error}");
}

#[test]
fn link_in_a_circle_is_an_error() {
    let scratch = Scratch::new();
    symlink(scratch.key_file(), scratch.key_file()).unwrap();
    let error = scratch.store().load().unwrap_err();
    assert!(matches!(error, KeyFileError::File(FileError::Io { .. })), "{error}");
}

#[test]
fn link_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: only root gives links away; run this test as root");
        return;
    }
    let refused = |scratch: &Scratch| {
        for error in [
            scratch.store().load().unwrap_err(),
            world::write(&scratch.store(), false, b"new").unwrap_err(),
        ] {
            assert!(matches!(error, KeyFileError::Owner { owner: 1234, .. }), "{error}");
        }
        let allowed = scratch.store().with_rules(FileRules::new().allow_owner(1234));
        assert_eq!(allowed.load().unwrap().bytes(), b"target");
    };
    let scratch = Scratch::new();
    plant(Planted::Symlink, &scratch.key_file());
    std::os::unix::fs::lchown(scratch.key_file(), Some(1234), None).unwrap();
    refused(&scratch);

    let scratch = Scratch::new();
    plant(Planted::Symlink, &scratch.key_file());
    std::os::unix::fs::chown(scratch.path(), Some(1234), None).unwrap();
    refused(&scratch);
}

/// A snapshot by hard links (`cp -al`): the copy keeps the old content, since the file is replaced.
#[test]
fn file_with_a_second_name_is_read_and_replaced() {
    let scratch = Scratch::new();
    let (store, planted_path) = (scratch.store(), scratch.key_file());
    plant(Planted::HardLink, &planted_path);
    plant(Planted::HardLink, &store.lock_path());
    assert_eq!(store.load().unwrap().bytes(), b"target");
    world::write(&store, false, b"new").unwrap();
    assert_eq!(store.load().unwrap().bytes(), b"new");
    assert_eq!(fs::read(planted_path.with_file_name("target")).unwrap(), b"target");
}

#[test]
fn planted_lock_file_is_refused() {
    for planted in ALL.into_iter().filter(|planted| *planted != Planted::HardLink) {
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
fn planted_temporary_file_is_left_alone() {
    for planted in ALL {
        let scratch = Scratch::new();
        let store = scratch.store();
        let planted_path = scratch.path().join(".keys.0123456789abcdef.tmp");
        plant(planted, &planted_path);
        world::write(&store, true, b"new").unwrap();
        assert_eq!(store.load().unwrap().bytes(), b"new");
        match planted {
            // A name of ours for a regular file is a leftover; the other name keeps the file.
            Planted::HardLink => {
                assert!(!planted_path.exists());
                assert_eq!(fs::read(planted_path.with_file_name("target")).unwrap(), b"target");
            }
            _ => assert_untouched(planted, &planted_path),
        }
    }
}
