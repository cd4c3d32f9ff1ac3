//! Key files on media that are full, out of inodes, or mounted for reading: the error is the
//! system's, what was there stays in use, and once there is room everything goes on.

#![cfg(all(feature = "file", unix))]

use crate::common::directory;
use crate::common::key_files;
use crate::common::mount;
mod mounts;

use directory::TestDirectory;
use envelock::{
    Envelope, Error, FileKeyring, Lifecycle,
    file::{FileAction, FileError, FileKeyringOptions, KeyFileError},
};
use key_files::{ROW, file_error, raw};
use mount::Mount;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// A key file with messages under its first versions.
struct Keys {
    path: PathBuf,
    keyring: FileKeyring,
    messages: Vec<Vec<u8>>,
}

impl Keys {
    fn create(mount: &Mount) -> Self {
        let path = mount.join("orders.keys");
        let keyring = FileKeyring::create(&path, "orders", &raw(7)).unwrap();
        let mut keys = Keys { path, keyring, messages: Vec::new() };
        for _ in 0..20 {
            keys.keyring.rotate().unwrap();
            keys.encrypt().unwrap();
        }
        keys
    }

    fn encrypt(&mut self) -> Result<(), Error> {
        let plaintext = format!("message {}", self.messages.len());
        self.messages.push(Envelope::new(&self.keyring).encrypt(plaintext.as_bytes(), ROW)?);
        Ok(())
    }

    /// Every message opens, with the keyring that is open and with a new one.
    fn assert_all_open(&self) {
        for keyring in [&self.keyring, &FileKeyring::open_any(&self.path, &raw(7)).unwrap()] {
            for (number, message) in self.messages.iter().enumerate() {
                let plaintext = Envelope::new(keyring).decrypt(message, ROW).unwrap();
                assert_eq!(plaintext, format!("message {number}").as_bytes());
            }
        }
    }

    /// Every change fails with `action` and `kind`, and nothing changes by it.
    fn assert_refused(&mut self, action: FileAction, kind: ErrorKind) {
        let before = fs::read(&self.path).unwrap();
        let names = names(self.path.parent().unwrap());
        let is_expected = |error: Error| {
            let error = file_error(&error);
            let KeyFileError::File(FileError::Io { action: found, source, .. }) = &error else {
                panic!("{error}")
            };
            assert_eq!((*found, source.kind()), (action, kind), "{error}");
            assert_eq!(error.is_retryable(), kind == ErrorKind::StorageFull);
        };
        for _ in 0..3 {
            is_expected(self.keyring.rotate().unwrap_err());
            let open = FileKeyring::open_any(&self.path, &raw(7)).unwrap();
            is_expected(open.rotate().unwrap_err());
            is_expected(open.replace_file_key(&[&raw(8)]).unwrap_err());
            // No block can be taken for a wrap that is to be reserved.
            let reserving = FileKeyringOptions::new().reserve_usage();
            let reserving = reserving.open_any(&self.path, &raw(7)).unwrap();
            is_expected(Envelope::new(&reserving).encrypt(b"lost", ROW).unwrap_err());
            // Any other wrap succeeds, also in a keyring that opens the file now.
            Envelope::new(&open).encrypt(b"counted", ROW).unwrap();
            is_expected(open.flush().unwrap_err());
            drop(open);
            (0..1_000).for_each(|_| drop(Envelope::new(&self.keyring).encrypt(b"", ROW).unwrap()));
            self.encrypt().unwrap();
            self.assert_all_open();
        }
        assert_eq!(fs::read(&self.path).unwrap(), before);
        assert_eq!(self::names(self.path.parent().unwrap()), names);
    }

    fn assert_goes_on(&mut self) {
        let versions = self.keyring.versions().len();
        for number in 1..=3 {
            assert_eq!(self.keyring.rotate().unwrap().number() as usize, versions + number);
            self.encrypt().unwrap();
        }
        self.assert_all_open();
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Writes until there is no room for a single byte.
fn fill(path: &Path) {
    let mut file = File::create_new(path).unwrap();
    for len in [1 << 16, 1 << 12, 1] {
        loop {
            // The room that a last, short write leaves is for the smaller ones.
            if let Err(error) = file.write_all(&vec![0; len]) {
                assert_eq!(error.kind(), ErrorKind::StorageFull);
                break;
            }
        }
    }
}

fn survives_a_full(mount: &Mount) {
    let mut keys = Keys::create(mount);
    for round in 0..3 {
        let ballast = mount.join("ballast");
        fill(&ballast);
        keys.assert_refused(FileAction::Write, ErrorKind::StorageFull);
        // A new key file finds no room either, and leaves nothing but its lock.
        let other = mount.join(&format!("other-{round}.keys"));
        let error = FileKeyring::create(&other, "orders", &raw(7)).unwrap_err();
        let KeyFileError::File(FileError::Io { source, .. }) = file_error(&error) else {
            panic!("{error}")
        };
        assert_eq!(source.kind(), ErrorKind::StorageFull);
        assert!(!other.exists());
        fs::remove_file(&ballast).unwrap();
        keys.assert_goes_on();
        assert_eq!(FileKeyring::create(&other, "orders", &raw(7)).unwrap().versions().len(), 1);
    }
}

#[test]
fn full_tmpfs_keeps_state_and_recovers() {
    let directory = TestDirectory::new();
    let Some(mount) = Mount::tmpfs(directory.path(), "size=512k") else { return };
    survives_a_full(&mount);
}

#[test]
fn full_ext4_keeps_state_and_recovers() {
    let directory = TestDirectory::new();
    let Some(mount) = Mount::ext4(directory.path(), 4 << 20) else { return };
    survives_a_full(&mount);
}

#[test]
fn without_inode_for_temporary_file_nothing_changes() {
    let directory = TestDirectory::new();
    let Some(mount) = Mount::tmpfs(directory.path(), "size=512k,nr_inodes=16") else { return };
    let mut keys = Keys::create(&mount);
    for _ in 0..3 {
        let mut ballast = Vec::new();
        loop {
            let path = mount.join(&format!("ballast-{}", ballast.len()));
            match File::create_new(&path) {
                Ok(_) => ballast.push(path),
                Err(error) => break assert_eq!(error.kind(), ErrorKind::StorageFull),
            }
        }
        assert!(ballast.len() > 3);
        keys.assert_refused(FileAction::Create, ErrorKind::StorageFull);
        ballast.iter().for_each(|path| fs::remove_file(path).unwrap());
        keys.assert_goes_on();
    }
}

fn survives_a_read_only(mount: &Mount) {
    let mut keys = Keys::create(mount);
    for _ in 0..3 {
        mount.remount("ro");
        keys.assert_refused(FileAction::OpenLock, ErrorKind::ReadOnlyFilesystem);
        let read_only =
            FileKeyringOptions::new().read_only().open_any(&keys.path, &raw(7)).unwrap();
        let error = file_error(&read_only.rotate().unwrap_err());
        assert!(matches!(error, KeyFileError::ReadOnly { .. }), "{error}");
        let message = Envelope::new(&read_only).encrypt(b"uncounted", ROW).unwrap();
        assert_eq!(Envelope::new(&keys.keyring).decrypt(&message, ROW).unwrap(), b"uncounted");
        let error = FileKeyring::create(mount.join("new.keys"), "orders", &raw(7)).unwrap_err();
        let KeyFileError::File(FileError::Io { source, .. }) = file_error(&error) else {
            panic!("{error}")
        };
        assert_eq!(source.kind(), ErrorKind::ReadOnlyFilesystem);
        mount.remount("rw");
        keys.assert_goes_on();
    }
}

#[test]
fn read_only_tmpfs_is_read_and_recovers() {
    let directory = TestDirectory::new();
    let Some(mount) = Mount::tmpfs(directory.path(), "size=1m") else { return };
    survives_a_read_only(&mount);
}

#[test]
fn read_only_ext4_is_read_and_recovers() {
    let directory = TestDirectory::new();
    let Some(mount) = Mount::ext4(directory.path(), 4 << 20) else { return };
    survives_a_read_only(&mount);
}
