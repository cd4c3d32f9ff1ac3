//! Files that are too large, and media that are full.

use super::Scratch;
use crate::key_file_store::world::{self, content};
use envelock::test_access::key_file::{
    FileAction, FileError, KeyFileError, MAX_KEY_FILE_LEN, Store,
};
use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

#[test]
fn file_has_64_mib_at_most() {
    let scratch = Scratch::new();
    let store = scratch.store();
    world::write(&store, true, b"small").unwrap();
    let file = OpenOptions::new().write(true).open(scratch.key_file()).unwrap();
    for (len, is_fine) in [
        (MAX_KEY_FILE_LEN - 1, true),
        (MAX_KEY_FILE_LEN, true),
        (MAX_KEY_FILE_LEN + 1, false),
        // Sparse: there is no room for it on the medium or in memory.
        (1 << 40, false),
    ] {
        file.set_len(len).unwrap();
        match store.load() {
            Ok(loaded) => assert!(is_fine && loaded.bytes().len() as u64 == len),
            Err(error) => assert!(
                matches!(error, KeyFileError::TooLarge { len: found, most: MAX_KEY_FILE_LEN, .. }
                    if found == len && !is_fine),
                "{error}"
            ),
        }
    }
    file.set_len(5).unwrap();
    let too_long = vec![0; MAX_KEY_FILE_LEN as usize + 1];
    let error = world::write(&store, false, &too_long).unwrap_err();
    assert!(matches!(error, KeyFileError::TooLarge { .. }), "{error}");
    assert_eq!(store.load().unwrap().bytes(), b"small");
}

/// Unmounts on drop.
struct Mount<'a>(&'a Path);

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.0).status());
    }
}

#[test]
fn full_medium_leaves_the_old_file() {
    let scratch = Scratch::new();
    let mount_point = scratch.path().join("small");
    fs::create_dir(&mount_point).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs"])
        .arg(&mount_point)
        .output();
    match &mounted {
        Ok(output) if output.status.success() => {}
        _ => {
            println!("skipped: no tmpfs can be mounted here: {mounted:?}");
            return;
        }
    }
    let _mount = Mount(&mount_point);
    let store = Store::open(&mount_point.join("keys")).unwrap();
    let old = content(1, 600 << 10);
    world::write(&store, true, &old).unwrap();
    for _ in 0..3 {
        let error = world::write(&store, false, &content(2, 600 << 10)).unwrap_err();
        let KeyFileError::File(FileError::Io { action: FileAction::Write, source, .. }) = &error
        else {
            panic!("{error:?}")
        };
        assert_eq!(source.kind(), ErrorKind::StorageFull);
        assert!(error.is_retryable());
        assert_eq!(store.load().unwrap().bytes(), old);
        assert_eq!(fs::read_dir(&mount_point).unwrap().count(), 2, "nothing is left over");
    }
    // Smaller files are still written.
    let small = content(3, 100 << 10);
    world::write(&store, false, &small).unwrap();
    assert_eq!(store.load().unwrap().bytes(), small);
}
