//! Files that are encrypted and decrypted: there as a whole, or not at all.

use super::*;
use crate::common::mount::Mount;
use envelock::file;
use envelock::test_access::key_file::{FileError, FileKind};
use envelock::{MemoryKeyring, file::FileAction};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

struct Files {
    root: TestDirectory,
    envelope: Envelope<Elastic>,
}

impl Files {
    fn new() -> Self {
        Files { root: TestDirectory::new(), envelope: Envelope::new(Elastic::new(72, 0)) }
    }

    fn encrypt(&self, from: &str, to: &str) -> Result<u64, Error> {
        let (from, to) = (self.root.join(from), self.root.join(to));
        file::encrypt(&self.envelope, from, to, ROW, file::NewFileOptions::new())
    }

    fn decrypt(&self, from: &str, to: &str) -> Result<u64, Error> {
        let (from, to) = (self.root.join(from), self.root.join(to));
        file::decrypt(&self.envelope, from, to, ROW, file::NewFileOptions::new())
    }

    fn decrypt_bytes(&self, message: &[u8]) -> Result<u64, Error> {
        fs::write(self.root.join("message"), message).unwrap();
        self.decrypt("message", "text")
    }
}

#[test]
fn files_of_every_length_there_and_back() {
    let files = Files::new();
    let path = |name| files.root.join(name);
    for len in [0, 1, 16_383, 16_384, 16_385, 131_072, 1_000_003] {
        fs::write(path("plain"), text(len)).unwrap();
        let message_len = files.encrypt("plain", "message").unwrap();
        let message = fs::read(path("message")).unwrap();
        assert_eq!(message_len, message.len() as u64);
        assert_eq!(files.envelope.decrypt(&message, ROW).unwrap(), text(len));
        let text_len = files.decrypt("message", "text").unwrap();
        assert_eq!((text_len, fs::read(path("text")).unwrap()), (len as u64, text(len)));
        for name in ["message", "text"] {
            assert_eq!(fs::metadata(path(name)).unwrap().mode() & 0o7777, 0o600);
        }
        assert_eq!(names(files.root.path()), ["message", "plain", "text"]);
        fs::remove_file(path("message")).unwrap();
        fs::remove_file(path("text")).unwrap();
    }
}

#[test]
fn existing_file_is_never_replaced() {
    let files = Files::new();
    let path = |name| files.root.join(name);
    fs::write(path("plain"), b"plain").unwrap();
    files.encrypt("plain", "message").unwrap();
    fs::write(path("file"), b"precious").unwrap();
    fs::create_dir(path("directory")).unwrap();
    symlink("nowhere", path("dangling")).unwrap();
    let before = names(files.root.path());
    for name in ["file", "directory", "dangling", "message"] {
        for error in
            [files.encrypt("plain", name).unwrap_err(), files.decrypt("message", name).unwrap_err()]
        {
            let error = file_error(error);
            assert!(
                matches!(&error, MessageFileError::File(FileError::Exists { path: p }) if *p == path(name))
            );
        }
    }
    assert_eq!(fs::read(path("file")).unwrap(), b"precious");
    assert_eq!(names(files.root.path()), before);
    for error in
        [files.encrypt("missing", "new").unwrap_err(), files.decrypt("missing", "new").unwrap_err()]
    {
        assert!(matches!(file_error(error), MessageFileError::File(FileError::NotFound { .. })));
    }
    let error = files.encrypt("directory", "new").unwrap_err();
    assert!(matches!(
        file_error(error),
        MessageFileError::File(FileError::Io { action: FileAction::Read, .. })
    ));
    assert_eq!(names(files.root.path()), before);
}

#[test]
fn truncated_or_changed_message_makes_no_file() {
    let files = Files::new();
    let message = files.envelope.encrypt(&text(40_000), ROW).unwrap();
    let header_len = envelock::inspect(&message).unwrap().len();
    let edges = [header_len, header_len + 56, header_len + 56 + 16_400, header_len + 56 + 32_800];
    let mut lens: Vec<usize> = (0..message.len()).step_by(97).collect();
    lens.extend(edges.iter().flat_map(|edge| [edge - 1, *edge, edge + 1]));
    lens.push(message.len() - 1);
    let flips = (0..message.len()).step_by(89).map(|at| {
        let mut flipped = message.clone();
        flipped[at] ^= 1 << (at % 8);
        flipped
    });
    let chunk = |i: usize| header_len + 56 + i * 16_400..header_len + 56 + (i + 1) * 16_400;
    let mut swapped = message.clone();
    swapped.copy_within(chunk(1), chunk(0).start);
    let others = [
        [&message[..], &[0]].concat(),
        [&message[..], &message[..]].concat(),
        swapped,
        [&message[..chunk(0).start], &message[chunk(1).start..]].concat(),
        Vec::new(),
        b"plain text".to_vec(),
    ];
    let cut = lens.into_iter().map(|len| message[..len].to_vec());
    let mut cases = 0;
    for bad in cut.chain(flips).chain(others) {
        let expected = files.envelope.decrypt(&bad, ROW).unwrap_err();
        let error = files.decrypt_bytes(&bad).unwrap_err();
        // One that is read in order meets the change before it can miss the end.
        let is_alike = std::mem::discriminant(&error) == std::mem::discriminant(&expected)
            || matches!(error, Error::Authentication { .. } | Error::Truncated { .. });
        assert!(is_alike, "{error:?}, {expected:?}");
        assert_eq!(names(files.root.path()), ["message"]);
        cases += 1;
    }
    println!("{cases} bad messages");
    assert!(
        file::decrypt(
            &files.envelope,
            files.root.join("message"),
            files.root.join("text"),
            Aad::none(),
            file::NewFileOptions::new()
        )
        .is_err()
    );
    assert_eq!(names(files.root.path()), ["message"]);
    assert_eq!(files.decrypt_bytes(&message).unwrap(), 40_000);
}

/// A file with the name of an unfinished one obstructs nothing, and is untouched.
#[test]
fn unfinished_files_of_others_are_kept() {
    let files = Files::new();
    let path = |name| files.root.join(name);
    fs::write(path("plain"), text(1_000)).unwrap();
    let unfinished = [".message.envelock-partial", ".0123456789abcdef.envelock-partial"];
    for name in unfinished {
        fs::write(path(name), b"precious").unwrap();
    }
    symlink(path("plain"), path(".text.envelock-partial")).unwrap();
    files.encrypt("plain", "message").unwrap();
    files.decrypt("message", "text").unwrap();
    files.envelope.keyring().promote(2);
    drop(file::rewrap(&files.envelope, path("message"), Default::default()).unwrap());
    for name in unfinished {
        assert_eq!(fs::read(path(name)).unwrap(), b"precious");
    }
    assert_eq!(names(files.root.path()).len(), 6);
}

/// A file that is to be read, under the name of the journal of the one to be written.
#[test]
fn readable_file_is_never_taken_for_a_leftover() {
    let ours = ".new.envelock-rewrap";
    let files = Files::new();
    let path = |name: &str| files.root.join(name);
    let is_refused = |error: Error, before: &[String]| {
        let error = file_error(error);
        let MessageFileError::SourceInTheWay { path: found } = &error else { panic!("{error:?}") };
        assert_eq!((found, error.is_retryable()), (&path(ours), false));
        assert_eq!(names(files.root.path()), before);
    };
    fs::write(path(ours), text(1_000)).unwrap();
    fs::hard_link(path(ours), path("other")).unwrap();
    symlink(path(ours), path("link")).unwrap();
    let before = names(files.root.path());
    for from in [ours, "other", "link", &format!("./{ours}")] {
        is_refused(files.encrypt(from, "new").unwrap_err(), &before);
    }
    fs::remove_file(path("other")).unwrap();
    let before = names(files.root.path());
    is_refused(files.encrypt(ours, "new").unwrap_err(), &before);
    assert_eq!(fs::read(path(ours)).unwrap(), text(1_000));

    let mut message = files.envelope.encrypt(&text(1_000), ROW).unwrap();
    for _ in 0..2 {
        fs::write(path(ours), &message).unwrap();
        is_refused(files.decrypt(ours, "new").unwrap_err(), &before);
        assert_eq!(fs::read(path(ours)).unwrap(), message);
        // The same for one that does not decrypt.
        message.pop();
    }
    // A link of that name to what is to be read.
    fs::rename(path(ours), path("plain")).unwrap();
    symlink("plain", path(ours)).unwrap();
    let before = names(files.root.path());
    is_refused(files.encrypt(ours, "new").unwrap_err(), &before);
}

/// Names that mean something to others mean nothing here.
#[test]
fn files_beside_a_message_are_kept() {
    let files = Files::new();
    let path = |name: &str| files.root.join(name);
    for name in [".video.partial", ".video.rewrap", "video.envelock-partial"] {
        fs::write(path(name), text(1_000)).unwrap();
        files.encrypt(name, "video").unwrap();
        files.envelope.keyring().promote(2);
        drop(file::rewrap(&files.envelope, path("video"), Default::default()).unwrap());
        files.envelope.keyring().promote(1);
        assert_eq!(names(files.root.path()).len(), 2);
        assert_eq!(fs::read(path(name)).unwrap(), text(1_000));
        fs::remove_file(path(name)).unwrap();
        fs::remove_file(path("video")).unwrap();
    }
    // A rewrap of `video` would take it for a leftover.
    fs::write(path("plain"), text(1_000)).unwrap();
    files.encrypt("plain", "message").unwrap();
    for name in [".video.envelock-partial", ".video.envelock-rewrap"] {
        for error in
            [files.encrypt("plain", name).unwrap_err(), files.decrypt("message", name).unwrap_err()]
        {
            assert!(matches!(file_error(error), MessageFileError::File(FileError::Name { .. })));
        }
    }
    assert_eq!(names(files.root.path()), ["message", "plain"]);
}

/// Only beside a message that opens is anything ours.
#[test]
fn rewrap_of_no_message_touches_nothing_beside_it() {
    let files = Files::new();
    let path = |name: &str| files.root.join(name);
    let message = files.envelope.encrypt(b"four score", ROW).unwrap();
    let other = Envelope::new(MemoryKeyring::create("orders").unwrap());
    let foreign = other.encrypt(b"four score", ROW).unwrap();
    fs::write(path(".foo.envelock-partial"), b"precious").unwrap();
    for bytes in [b"plain text", &message[..50], &foreign[..]] {
        fs::write(path("foo"), bytes).unwrap();
        file::rewrap(&files.envelope, path("foo"), Default::default()).unwrap_err();
        assert_eq!(fs::read(path(".foo.envelock-partial")).unwrap(), b"precious");
        assert_eq!(fs::read(path("foo")).unwrap(), bytes);
    }
    fs::write(path("foo"), message).unwrap();
    drop(file::rewrap(&files.envelope, path("foo"), Default::default()).unwrap());
    assert_eq!(names(files.root.path()), [".foo.envelock-partial", "foo"]);
}

#[test]
fn full_medium_leaves_no_new_file_and_the_old_message() {
    let root = TestDirectory::new();
    let Some(mount) = Mount::tmpfs(root.path(), "size=1m") else { return };
    let files = Files::new();
    let message = files.envelope.encrypt(&text(600_000), ROW).unwrap();
    fs::write(mount.join("message"), &message).unwrap();
    fs::write(files.root.join("plain"), text(600_000)).unwrap();
    let mut errors = vec![
        file::decrypt(
            &files.envelope,
            mount.join("message"),
            mount.join("text"),
            ROW,
            file::NewFileOptions::new(),
        )
        .unwrap_err(),
        file::encrypt(
            &files.envelope,
            files.root.join("plain"),
            mount.join("other"),
            ROW,
            file::NewFileOptions::new(),
        )
        .unwrap_err(),
    ];
    // No room for a journal either.
    let mut ballast = fs::File::create_new(mount.join("ballast")).unwrap();
    while ballast.write_all(&[0; 512]).is_ok() {}
    files.envelope.keyring().promote(2);
    errors.push(
        file::rewrap(&files.envelope, mount.join("message"), Default::default()).unwrap_err(),
    );
    for error in errors {
        let error = file_error(error);
        let MessageFileError::File(FileError::Io { action: FileAction::Write, source, .. }) =
            &error
        else {
            panic!("{error:?}")
        };
        assert_eq!(source.kind(), ErrorKind::StorageFull);
        assert!(error.is_retryable());
    }
    assert_eq!(names(mount.path()), ["ballast", "message"]);
    assert_eq!(fs::read(mount.join("message")).unwrap(), message);
    drop(ballast);
    fs::remove_file(mount.join("ballast")).unwrap();
    drop(file::rewrap(&files.envelope, mount.join("message"), Default::default()).unwrap());
    let found = fs::read(mount.join("message")).unwrap();
    assert_eq!(files.envelope.decrypt(&found, ROW).unwrap(), text(600_000));
}

/// A link, a FIFO and standard input are read; nothing is written beside them.
#[test]
fn sources_that_are_links_or_pipes_are_read() {
    let files = Files::new();
    let path = |name: &str| files.root.join(name);
    let message = files.envelope.encrypt(&text(100_000), ROW).unwrap();
    // As a volume of a cluster is laid out: what is mounted is a link by way of a link.
    fs::create_dir(path("..release")).unwrap();
    fs::write(path("..release").join("message"), &message).unwrap();
    symlink("..release", path("..data")).unwrap();
    symlink("..data/message", path("message")).unwrap();
    assert_eq!(MessageFile::open(path("message")).unwrap().path(), path("message"));
    assert_eq!(read_message(&path("message")), message);
    files.decrypt("message", "text").unwrap();
    assert_eq!(fs::read(path("text")).unwrap(), text(100_000));
    // A link to nothing is nothing.
    symlink("nowhere", path("dangling")).unwrap();
    for error in [
        MessageFile::open(path("dangling")).unwrap_err(),
        files.decrypt("dangling", "new").unwrap_err(),
    ] {
        let error = file_error(error);
        let is_expected = matches!(&error, MessageFileError::File(FileError::NotFound { path: p }) if *p == path("dangling"));
        assert!(is_expected, "{error:?}");
    }

    let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
    rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), fifo, mode, 0).unwrap();
    for bytes in [&message[..], &message[..50_000]] {
        fs::remove_file(path("text")).unwrap();
        std::thread::scope(|scope| {
            // A writer waits for the reader, which may end.
            scope.spawn(|| drop(fs::write(path("fifo"), bytes)));
            let done = files.decrypt("fifo", "text");
            assert_eq!(done.is_ok(), bytes.len() == message.len(), "{done:?}");
        });
        assert_eq!(path("text").exists(), bytes.len() == message.len());
        fs::write(path("text"), b"").unwrap();
    }
    std::thread::scope(|scope| {
        scope.spawn(|| fs::write(path("fifo"), text(1_000)).unwrap());
        files.encrypt("fifo", "new").unwrap();
    });
    assert_eq!(files.envelope.decrypt(&fs::read(path("new")).unwrap(), ROW).unwrap(), text(1_000));
}

/// By the path of a descriptor, as `/dev/stdin` is one: of a file, of one without a name, of a pipe.
#[cfg(target_os = "linux")]
#[test]
fn sources_that_are_descriptors_are_read() {
    use std::os::fd::AsRawFd;
    let files = Files::new();
    let path = |name: &str| files.root.join(name);
    let message = files.envelope.encrypt(&text(100_000), ROW).unwrap();
    fs::write(path("message"), &message).unwrap();
    let file = fs::File::open(path("message")).unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    for (round, fd) in
        [file.as_raw_fd(), file.as_raw_fd(), reader.as_raw_fd()].into_iter().enumerate()
    {
        let descriptor = format!("/proc/self/fd/{fd}");
        std::thread::scope(|scope| {
            if round == 2 {
                scope.spawn(|| {
                    writer.write_all(&message).unwrap();
                    drop(std::mem::replace(&mut writer, std::io::pipe().unwrap().1));
                });
            }
            let to = path(&format!("text{round}"));
            file::decrypt(&files.envelope, &descriptor, &to, ROW, file::NewFileOptions::new())
                .unwrap();
            assert_eq!(fs::read(to).unwrap(), text(100_000));
        });
        drop(fs::remove_file(path("message")));
    }
}

#[test]
fn target_is_replaced_on_request_and_keeps_access() {
    let files = Files::new();
    let path = |name: &str| files.root.join(name);
    let replacing = file::NewFileOptions::new().replace();
    fs::write(path("plain"), text(1_000)).unwrap();
    fs::write(path("message"), b"an older one").unwrap();
    fs::set_permissions(path("message"), fs::Permissions::from_mode(0o640)).unwrap();
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        chown(path("message"), Some(4_321), Some(8_765)).unwrap();
    }
    let before = fs::metadata(path("message")).unwrap();
    let open_file = fs::File::open(path("message")).unwrap();
    files.encrypt("plain", "message").unwrap_err();
    assert_eq!(fs::read(path("message")).unwrap(), b"an older one");
    file::encrypt(&files.envelope, path("plain"), path("message"), ROW, replacing).unwrap();
    let found = fs::read(path("message")).unwrap();
    assert_eq!(files.envelope.decrypt(&found, ROW).unwrap(), text(1_000));
    let after = fs::metadata(path("message")).unwrap();
    assert_eq!(
        (after.mode(), after.uid(), after.gid()),
        (before.mode(), before.uid(), before.gid())
    );
    assert_ne!(after.ino(), before.ino());
    assert_eq!(open_file.metadata().unwrap().len(), 12, "an open reader keeps the old file");

    // A file onto itself; and one that did not exist.
    file::decrypt(&files.envelope, path("message"), path("message"), ROW, replacing).unwrap();
    assert_eq!(fs::read(path("message")).unwrap(), text(1_000));
    file::encrypt(&files.envelope, path("plain"), path("new"), ROW, replacing.mode(0o644)).unwrap();
    assert_eq!(fs::metadata(path("new")).unwrap().mode() & 0o7777, 0o644);
    // A message that does not decrypt replaces no file.
    fs::write(path("plain"), b"not a message").unwrap();
    file::decrypt(&files.envelope, path("plain"), path("message"), ROW, replacing).unwrap_err();
    assert_eq!(fs::read(path("message")).unwrap(), text(1_000));
    for (name, kind) in [("link", FileKind::Symlink), ("directory", FileKind::Directory)] {
        match kind {
            FileKind::Symlink => symlink("message", path(name)).unwrap(),
            _ => fs::create_dir(path(name)).unwrap(),
        }
        let to = path(name);
        let error = file::encrypt(&files.envelope, path("plain"), &to, ROW, replacing).unwrap_err();
        let error = file_error(error);
        assert!(
            matches!(error, MessageFileError::File(FileError::NotRegular { kind: k, .. }) if k == kind),
            "{error:?}"
        );
    }
    assert_eq!(names(files.root.path()), ["directory", "link", "message", "new", "plain"]);
}

/// Runs `work` as a user whom no rule is waived for, or as this one where it is no root.
#[cfg(target_os = "linux")]
fn as_nobody(work: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            if rustix::process::geteuid().is_root() {
                // SAFETY: integers alone are passed; without the wrapper of libc the call is about
                // this thread only.
                let done = unsafe { libc::syscall(libc::SYS_setresuid, -1, NOBODY, -1) };
                assert_eq!(done, 0);
            }
            work();
        });
    });
}

#[cfg(target_os = "linux")]
const NOBODY: u32 = 65_534;

/// A directory that can be searched and not read is enough for a reader.
#[cfg(target_os = "linux")]
#[test]
fn message_in_directory_that_cannot_be_listed_is_read() {
    let files = Files::new();
    let path = |name: &str| files.root.join(name);
    let set_mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let (hidden, own) = (path("hidden"), path("own"));
    for directory in [&hidden, &own] {
        fs::create_dir(directory).unwrap();
    }
    let message = files.envelope.encrypt(&text(1_000), ROW).unwrap();
    fs::write(hidden.join("message"), &message).unwrap();
    set_mode(&hidden.join("message"), 0o644);
    set_mode(files.root.path(), 0o711);
    set_mode(&hidden, 0o311);
    if rustix::process::geteuid().is_root() {
        chown(&own, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    as_nobody(|| {
        fs::read_dir(&hidden).unwrap_err();
        assert_eq!(read_message(&hidden.join("message")), message);
        let to = own.join("text");
        file::decrypt(
            &files.envelope,
            hidden.join("message"),
            &to,
            ROW,
            file::NewFileOptions::new(),
        )
        .unwrap();
        assert_eq!((fs::read(to).unwrap(), names(&own)), (text(1_000), vec!["text".into()]));
        // A writer has to make the name durable, and cannot there.
        let error = file::encrypt(
            &files.envelope,
            own.join("text"),
            hidden.join("new"),
            ROW,
            file::NewFileOptions::new(),
        );
        let error = file_error(error.unwrap_err());
        let is_expected = matches!(
            error,
            MessageFileError::File(FileError::Io { action: FileAction::OpenDirectory, .. })
        );
        assert!(is_expected, "{error:?}");
    });
    set_mode(&hidden, 0o700);
    assert_eq!(names(&hidden), ["message"]);
}
