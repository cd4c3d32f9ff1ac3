//! The result of a rewrap: the header that a rewrap in memory makes, and every other byte
//! unchanged.

use super::*;
use crate::common::detached::ReadDetached;
use envelock::file;
use envelock::{
    KeyVersion, Lifecycle, MemoryKeyring, RewrapOptions, Suite, body_len, file::FileChange, inspect,
};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown};

const USUAL: RewrapOptions<'static> = RewrapOptions::new();

#[test]
fn file_equals_rewrap_in_memory_but_for_the_nonce() {
    for &suite in Suite::ALL {
        for (len, reserved) in [(0, 0), (1, 7), (16_384, 500), (100_000, 5_000)] {
            let directory = TestDirectory::new();
            let path = directory.join("message");
            let envelope = Envelope::new(MemoryKeyring::create("orders").unwrap());
            let envelope = envelope.with_suite(suite).with_reserved(reserved);
            let message = envelope.encrypt(&text(len), ROW).unwrap();
            fs::write(&path, &message).unwrap();
            assert_eq!(
                file::rewrap(&envelope, &path, USUAL).unwrap().change(),
                FileChange::Unchanged
            );
            assert_eq!(fs::read(&path).unwrap(), message);
            envelope.keyring().rotate().unwrap();
            let inode = fs::metadata(&path).unwrap().ino();
            assert_eq!(
                file::rewrap(&envelope, &path, USUAL).unwrap().change(),
                FileChange::InPlace
            );
            assert_eq!(fs::metadata(&path).unwrap().ino(), inode);
            assert_eq!(names(directory.path()), ["message"]);

            let found = fs::read(&path).unwrap();
            let header_len = inspect(&message).unwrap().len();
            assert_eq!(found[header_len..], message[header_len..]);
            assert_eq!(found.len(), header_len + body_len(len).unwrap());
            let in_memory = envelope.rewrap(&message, USUAL).unwrap();
            let (found, expected) =
                (inspect(&found).unwrap(), inspect(in_memory.header()).unwrap());
            let slots = |header: &envelock::Header<'_>| {
                header.slots().map(|s| (s.label.version, s.wrapped_key.len())).collect::<Vec<_>>()
            };
            assert_eq!(slots(&found), slots(&expected));
            assert_eq!(found.data_key_id(), expected.data_key_id());
            assert_eq!(found.padding_len(), expected.padding_len());
            let message = read_message(&path);
            assert_eq!(message, fs::read(&path).unwrap());
            assert_eq!(envelope.decrypt(&message, ROW).unwrap(), text(len));
        }
    }
}

#[test]
fn longer_header_is_copied_with_mode_and_owner() {
    for len in [0, 200, 700_000] {
        let stored = Stored::new(len, 24);
        fs::set_permissions(stored.path(), fs::Permissions::from_mode(0o640)).unwrap();
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            chown(stored.path(), Some(4_321), Some(8_765)).unwrap();
        }
        let before = fs::metadata(stored.path()).unwrap();
        let envelope = &stored.envelope;
        assert_eq!(
            file::rewrap(envelope, stored.path(), USUAL).unwrap().change(),
            FileChange::Copied
        );
        let after = fs::metadata(stored.path()).unwrap();
        assert_ne!(after.ino(), before.ino());
        assert_eq!((after.mode(), after.uid()), (before.mode(), before.uid()));
        assert_eq!(after.gid(), before.gid());
        assert_eq!(after.len(), before.len() + 24);
        let (found, header_len) = (stored.read(), inspect(&stored.message).unwrap().len());
        assert_eq!(found[header_len + 24..], stored.message[header_len..]);
        assert_eq!(envelope.decrypt(&found, ROW).unwrap(), text(len));
        assert_eq!(names(stored.root.path()), ["message"]);
        // Next time it fits: the version before needs less.
        envelope.keyring().promote(1);
        assert_eq!(
            file::rewrap(envelope, stored.path(), USUAL).unwrap().change(),
            FileChange::InPlace
        );
        assert_eq!(envelope.decrypt(&stored.read(), ROW).unwrap(), text(len));
    }
}

#[test]
fn detached_header_is_a_file_too() {
    let stored = Stored::new(200, 0);
    let (header, body) = stored.message.split_at(inspect(&stored.message).unwrap().len());
    fs::write(stored.path(), header).unwrap();
    assert_eq!(
        file::rewrap(&stored.envelope, stored.path(), USUAL).unwrap().change(),
        FileChange::InPlace
    );
    let header = stored.read();
    assert_eq!(version(&header), 2);
    assert_eq!(stored.envelope.decrypt_detached(&header, body, ROW).unwrap(), text(200));
}

#[test]
fn file_without_openable_message_is_unchanged() {
    let stored = Stored::new(200, 0);
    let message = &stored.message;
    let changed = |at: usize| {
        let mut changed = message.clone();
        changed[at] ^= 1;
        changed
    };
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (Vec::new(), "NotEnvelock"),
        (b"plain text".to_vec(), "NotEnvelock"),
        (message[..10].to_vec(), "Truncated"),
        (message[..24].to_vec(), "Truncated"),
        (message[..100].to_vec(), "Truncated"),
        (changed(4), "Header"),
        (changed(8), "Authentication"),
        (changed(26), "Refused"),
        (changed(60), "Authentication"),
    ];
    for (bytes, expected) in cases {
        fs::write(stored.path(), &bytes).unwrap();
        let error = file::rewrap(&stored.envelope, stored.path(), USUAL).unwrap_err();
        let is_expected = format!("{error:?}").starts_with(expected)
            || (expected == "Refused" && matches!(error, Error::Authentication { .. }));
        assert!(is_expected, "{expected}: {error:?}");
        assert_eq!(stored.read(), bytes);
        assert_eq!(names(stored.root.path()), ["message"]);
    }
    // A refused rewrap changes nothing.
    fs::write(stored.path(), message).unwrap();
    let retiring = USUAL.retiring("elastic", KeyVersion::new(2).unwrap());
    let error = file::rewrap(&stored.envelope, stored.path(), retiring).unwrap_err();
    assert!(matches!(error, Error::OldVersionStillOpens { .. }), "{error:?}");
    assert_eq!(stored.read(), *message);
}

#[test]
fn file_beyond_4_gib_is_rewrapped_as_fast_as_any() {
    let stored = Stored::new(0, 0);
    let file = fs::OpenOptions::new().write(true).open(stored.path()).unwrap();
    let len = (5 << 30) + 7;
    // Sparse: no body that opens, but one that must not be touched.
    file.set_len(len).unwrap();
    file.write_at(b"the end", len - 7).unwrap();
    let blocks = file.metadata().unwrap().blocks();
    assert_eq!(
        file::rewrap(&stored.envelope, stored.path(), USUAL).unwrap().change(),
        FileChange::InPlace
    );
    let after = file.metadata().unwrap();
    assert_eq!((after.len(), after.blocks()), (len, blocks));
    let message = MessageFile::open(stored.path()).unwrap();
    let mut end = [0; 100];
    assert_eq!(message.read_at(&mut end, len - 7).unwrap(), 7);
    assert_eq!(&end[..7], b"the end");
    assert_eq!(message.len(), len);
}

/// An access control list, as Linux keeps it: the owner, another user, the group, the mask, others.
#[cfg(target_os = "linux")]
fn acl(user: u32, group: u16, mask: u16) -> Vec<u8> {
    const NOBODY: u32 = u32::MAX;
    let entries =
        [(1, 6, NOBODY), (2, 6, user), (4, group, NOBODY), (16, mask, NOBODY), (32, 0, NOBODY)];
    let mut acl = 2_u32.to_le_bytes().to_vec();
    for (tag, bits, id) in entries {
        acl.extend(u16::to_le_bytes(tag));
        acl.extend(u16::to_le_bytes(bits));
        acl.extend(u32::to_le_bytes(id));
    }
    acl
}

/// With a list the group bits of the mode are its mask: without it the group would get them.
#[cfg(target_os = "linux")]
#[test]
fn acl_survives_every_way_to_replace_a_file() {
    const NAME: &str = "system.posix_acl_access";
    let get = |path: &Path| {
        let mut acl = vec![0; 100];
        let len = rustix::fs::getxattr(path, NAME, &mut acl).unwrap();
        acl.truncate(len);
        acl
    };
    let acl = acl(1_234, 0, 6);
    for (growth, expected) in [(0, FileChange::InPlace), (24, FileChange::Copied)] {
        let stored = Stored::new(200, growth);
        rustix::fs::setxattr(stored.path(), NAME, &acl, rustix::fs::XattrFlags::empty()).unwrap();
        assert_eq!(fs::metadata(stored.path()).unwrap().mode() & 0o7777, 0o660);
        assert_eq!(
            file::rewrap(&stored.envelope, stored.path(), USUAL).unwrap().change(),
            expected
        );
        assert_eq!(get(&stored.path()), acl);
        fs::write(stored.root.join("text"), b"text").unwrap();
        let options = file::NewFileOptions::new().replace();
        let envelope = &stored.envelope;
        file::encrypt(envelope, stored.root.join("text"), stored.path(), ROW, options).unwrap();
        assert_eq!(get(&stored.path()), acl);
        assert_eq!(fs::metadata(stored.path()).unwrap().mode() & 0o7777, 0o660);
        assert_eq!(envelope.decrypt(&stored.read(), ROW).unwrap(), b"text");
    }
}

#[test]
fn header_that_does_not_open_replaces_none() {
    let stored = Stored::new(1_000, 0);
    let old = MessageFile::open(stored.path()).unwrap().header().to_vec();
    let new = stored.envelope.rewrap(&old, RewrapOptions::new()).unwrap().into_header();
    let mut forged = new.clone();
    *forged.last_mut().unwrap() ^= 1;
    let replace =
        |old: &[u8], new: &[u8]| file::replace_header(&stored.envelope, stored.path(), old, new);
    let error = replace(&old, &forged).unwrap_err();
    assert!(matches!(error, Error::Authentication { .. }), "{error}");
    assert!(stored.read() == stored.message && !stored.journal().exists());
    assert!(replace(&new, &old).unwrap().is_none());
    assert!(replace(&old, &new).unwrap().is_some());
    assert!(stored.read().starts_with(&new));
}
