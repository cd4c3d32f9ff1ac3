//! Modes and owners.

use super::{Scratch, child};
use crate::key_file_store::world;
use envelock::file::FileRules;
use envelock::test_access::key_file::{KeyFileError, Store};
use rustix::fs::Mode;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// The child: creates a file, and replaces another, under a umask given in octal.
pub fn write_under(umask: &str, folder: &Path) {
    rustix::process::umask(Mode::from_raw_mode(u32::from_str_radix(umask, 8).unwrap()));
    let store = Store::open(&folder.join("keys")).unwrap();
    match world::write(&store, true, b"new") {
        Ok(()) => world::write(&store, false, b"newer").unwrap(),
        Err(error) => {
            assert!(matches!(error, KeyFileError::Umask { mode: 0, .. }), "{error}");
            assert_eq!(fs::read_dir(folder).unwrap().count(), 1, "nothing but the lock file");
        }
    }
}

#[test]
fn files_are_private_under_every_umask() {
    for umask in ["000", "022", "077"] {
        let scratch = Scratch::new();
        assert!(child(umask, scratch.path()).wait().unwrap().success(), "umask {umask}");
        assert_eq!(mode(&scratch.key_file()), 0o600, "umask {umask}");
        assert_eq!(mode(&scratch.store().lock_path()), 0o600, "umask {umask}");
        assert_eq!(scratch.store().load().unwrap().bytes(), b"newer");
    }
    // A file that its owner could not read is not left behind.
    let scratch = Scratch::new();
    assert!(child("777", scratch.path()).wait().unwrap().success());
    assert!(!scratch.key_file().exists());
}

#[test]
fn access_of_others_is_refused_unless_allowed() {
    let scratch = Scratch::new();
    let store = scratch.store();
    world::write(&store, true, b"old").unwrap();
    let lenient = scratch.store().with_rules(FileRules::new().allow_permissions());
    for bad in [0o640, 0o620, 0o604, 0o602, 0o610, 0o601, 0o666, 0o677] {
        set_mode(&scratch.key_file(), bad);
        for error in [store.load().unwrap_err(), world::write(&store, false, b"new").unwrap_err()] {
            let KeyFileError::Permissions { path, mode } = &error else { panic!("{error}") };
            assert_eq!((path, *mode), (&scratch.key_file(), bad));
            assert!(error.to_string().contains(&format!("{bad:04o}")), "{error}");
        }
        assert_eq!(lenient.load().unwrap().bytes(), b"old");
    }
    for good in [0o600, 0o400, 0o700] {
        set_mode(&scratch.key_file(), good);
        assert_eq!(store.load().unwrap().bytes(), b"old");
    }
    set_mode(&scratch.key_file(), 0o644);
    world::write(&lenient, false, b"new").unwrap();
    assert_eq!(mode(&scratch.key_file()), 0o644);
    set_mode(&scratch.key_file(), 0o600);
    set_mode(&store.lock_path(), 0o666);
    let error = world::write(&store, false, b"newer").unwrap_err();
    assert!(matches!(error, KeyFileError::Permissions { mode: 0o666, .. }), "{error}");
    world::write(&lenient, false, b"newer").unwrap();
}

#[test]
fn foreign_owners_are_refused() {
    let scratch = Scratch::new();
    let store = scratch.store();
    world::write(&store, true, b"old").unwrap();
    let user = fs::metadata(scratch.path()).unwrap().uid();
    if user != 0 {
        println!("skipped: only root can give a file away; `limits` has it simulated");
        return;
    }
    chown(scratch.key_file(), Some(54321), None).unwrap();
    for error in [store.load().unwrap_err(), world::write(&store, false, b"new").unwrap_err()] {
        assert!(matches!(error, KeyFileError::Owner { owner: 54321, user: 0, .. }), "{error}");
    }
    assert_eq!(fs::read(scratch.key_file()).unwrap(), b"old");
    chown(scratch.key_file(), Some(0), None).unwrap();
    chown(store.lock_path(), Some(54321), None).unwrap();
    let error = world::write(&store, false, b"new").unwrap_err();
    assert!(
        matches!(&error, KeyFileError::Owner { path, .. } if *path == store.lock_path()),
        "{error}"
    );
}

const ACL: &str = "system.posix_acl_access";

/// Owner and group nothing, user 4321 and the mask read and write.
fn named_user_acl() -> Vec<u8> {
    let entry = |tag: u16, rights: u16, id: u32| {
        [&tag.to_le_bytes()[..], &rights.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    let entries = [
        entry(0x01, 6, u32::MAX),
        entry(0x02, 6, 4321),
        entry(0x04, 0, u32::MAX),
        entry(0x10, 6, u32::MAX),
        entry(0x20, 0, u32::MAX),
    ];
    [&2_u32.to_le_bytes()[..], &entries.concat()].concat()
}

fn acl(path: &Path) -> Option<Vec<u8>> {
    let mut acl = vec![0; 1 << 12];
    let len = rustix::fs::getxattr(path, ACL, &mut acl).ok()?;
    acl.truncate(len);
    Some(acl)
}

fn set_acl(path: &Path, name: &str) -> bool {
    let set = rustix::fs::setxattr(path, name, &named_user_acl(), rustix::fs::XattrFlags::empty());
    if let Err(error) = &set {
        assert_eq!(*error, rustix::io::Errno::OPNOTSUPP);
        println!("SKIPPED: no access control lists on {}", path.display());
    }
    set.is_ok()
}

#[test]
fn replaced_file_with_an_access_control_list_keeps_it() {
    let scratch = Scratch::new();
    let store = scratch.store().with_rules(FileRules::new().allow_permissions());
    world::write(&store, true, b"old").unwrap();
    if !set_acl(&scratch.key_file(), ACL) {
        return;
    }
    assert_eq!(mode(&scratch.key_file()), 0o660);
    world::write(&store, false, b"new").unwrap();
    assert_eq!(acl(&scratch.key_file()), Some(named_user_acl()));
    assert_eq!(mode(&scratch.key_file()), 0o660);
}

/// The default list of the directory is for new files. The one that is replaced had none.
#[test]
fn replaced_file_without_acl_gets_none() {
    let scratch = Scratch::new();
    let store = scratch.store().with_rules(FileRules::new().allow_permissions());
    world::write(&store, true, b"old").unwrap();
    set_mode(&scratch.key_file(), 0o640);
    if !set_acl(scratch.path(), "system.posix_acl_default") {
        return;
    }
    world::write(&store, false, b"new").unwrap();
    assert_eq!((acl(&scratch.key_file()), mode(&scratch.key_file())), (None, 0o640));
}

#[test]
fn replaced_file_of_another_owner_keeps_owner() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: only root gives files away; run this test as root");
        return;
    }
    let scratch = Scratch::new();
    let store = scratch.store().with_rules(FileRules::new().allow_permissions());
    world::write(&store, true, b"old").unwrap();
    std::os::unix::fs::chown(scratch.key_file(), Some(0), Some(4321)).unwrap();
    set_mode(&scratch.key_file(), 0o640);
    world::write(&store, false, b"new").unwrap();
    let stat = fs::metadata(scratch.key_file()).unwrap();
    assert_eq!((stat.uid(), stat.gid(), stat.mode() & 0o7777), (0, 4321, 0o640));
}
