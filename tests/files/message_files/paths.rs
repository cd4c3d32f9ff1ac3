//! Which files are worked on at all.

use super::*;
use envelock::file;
use envelock::test_access::key_file::{FileError, FileKind};
use envelock::{
    RewrapOptions,
    file::{FileAction, FileChange},
};
use std::io::ErrorKind;
use std::os::unix::fs::symlink;

const USUAL: RewrapOptions<'static> = RewrapOptions::new();

fn refused(stored: &Stored, path: &Path) -> MessageFileError {
    let error = file_error(file::rewrap(&stored.envelope, path, USUAL).unwrap_err());
    assert_eq!(stored.read(), stored.message);
    error
}

#[test]
fn links_directories_and_fifos_are_refused() {
    let stored = Stored::new(200, 0);
    let link = stored.root.join("link");
    symlink(stored.path(), &link).unwrap();
    let directory = stored.root.join("directory");
    fs::create_dir(&directory).unwrap();
    let fifo = stored.root.join("fifo");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    for (path, expected) in
        [(&link, FileKind::Symlink), (&directory, FileKind::Directory), (&fifo, FileKind::Fifo)]
    {
        let mut errors = vec![refused(&stored, path)];
        match MessageFile::open(path) {
            // Nothing is written by a reader, so that it follows links.
            Ok(_) => assert_eq!(expected, FileKind::Symlink),
            Err(error) => errors.push(file_error(error)),
        }
        for error in errors {
            let MessageFileError::File(FileError::NotRegular { kind, path: found }) = &error else {
                panic!("{error:?}")
            };
            assert_eq!((*kind, found), (expected, path));
        }
    }
    // Under two names a journal stands beside one only; to read it does no harm.
    fs::hard_link(stored.path(), stored.root.join("other")).unwrap();
    let error = refused(&stored, &stored.path());
    assert!(matches!(error, MessageFileError::HardLinks { links: 2, .. }), "{error:?}");
    assert_eq!(read_message(&stored.path()), stored.message);
}

#[test]
fn path_has_to_name_a_file() {
    let stored = Stored::new(200, 0);
    let missing = stored.root.join("missing");
    assert!(
        matches!(refused(&stored, &missing), MessageFileError::File(FileError::NotFound { path }) if path == missing)
    );
    let error = refused(&stored, &missing.join("message"));
    let MessageFileError::File(FileError::Io { action: FileAction::OpenDirectory, source, .. }) =
        &error
    else {
        panic!("{error:?}")
    };
    assert_eq!(source.kind(), ErrorKind::NotFound);
    for path in ["..", "/", "", "message/", "message/."] {
        let error = refused(&stored, &stored.root.join(path));
        let is_expected = matches!(error, MessageFileError::File(FileError::Name { .. }))
            || (path.is_empty()
                && matches!(error, MessageFileError::File(FileError::NotRegular { .. })));
        assert!(is_expected, "{path:?}: {error:?}");
    }
}

/// A journal needs 17 bytes more than the name, of which 255 are allowed.
#[test]
fn names_of_every_length_are_read_and_rewrapped() {
    for len in [1, 236, 237, 238, 239, 246, 254, 255] {
        let stored = Stored::new(200, 0);
        let path = stored.root.join(&"m".repeat(len));
        fs::rename(stored.path(), &path).unwrap();
        assert_eq!(read_message(&path), stored.message);
        let expected = if len <= 238 { FileChange::InPlace } else { FileChange::Copied };
        assert_eq!(file::rewrap(&stored.envelope, &path, USUAL).unwrap().change(), expected);
        assert_eq!(
            file::rewrap(&stored.envelope, &path, USUAL).unwrap().change(),
            FileChange::Unchanged
        );
        assert_eq!(version(&fs::read(&path).unwrap()), 2);
        let to = stored.root.join(&"t".repeat(len));
        file::decrypt(&stored.envelope, &path, &to, ROW, file::NewFileOptions::new()).unwrap();
        assert_eq!(fs::read(&to).unwrap(), text(200));
        fs::remove_file(&path).unwrap();
        file::encrypt(&stored.envelope, &to, &path, ROW, file::NewFileOptions::new()).unwrap();
        assert_eq!(names(stored.root.path()), ["m".repeat(len), "t".repeat(len)]);
    }
    let stored = Stored::new(200, 0);
    let error = refused(&stored, &stored.root.join(&"m".repeat(256)));
    let MessageFileError::File(FileError::Io { action: FileAction::Open, source, .. }) = &error
    else {
        panic!("{error:?}")
    };
    assert_eq!(source.kind(), ErrorKind::InvalidFilename);
}

/// Mounted for reading, a message is read, torn or not, and nothing is written.
#[test]
fn torn_message_is_read_on_read_only_medium() {
    let root = TestDirectory::new();
    let Some(mount) = mount::Mount::tmpfs(root.path(), "size=1m") else { return };
    let stored = Stored::new(200, 0);
    let torn = journals::torn(&stored);
    fs::copy(stored.path(), mount.join("message")).unwrap();
    fs::copy(stored.journal(), mount.join(".message.envelock-rewrap")).unwrap();
    mount.remount("ro");
    assert_eq!(fs::read(mount.join("message")).unwrap(), torn);
    let message = read_message(&mount.join("message"));
    assert_eq!(stored.envelope.decrypt(&message, ROW).unwrap(), text(200));
    let error = file::rewrap(&stored.envelope, mount.join("message"), USUAL).unwrap_err();
    let MessageFileError::File(FileError::Io { action: FileAction::Open, source, .. }) =
        file_error(error)
    else {
        panic!()
    };
    assert_eq!(source.kind(), ErrorKind::ReadOnlyFilesystem);
    mount.remount("rw");
    drop(file::rewrap(&stored.envelope, mount.join("message"), USUAL).unwrap());
    assert_eq!(names(mount.path()), ["message"]);
    let message = fs::read(mount.join("message")).unwrap();
    assert_eq!(stored.envelope.decrypt(&message, ROW).unwrap(), text(200));
}
