//! Files that are full, or will be (FORMAT F-BOUNDS): that is reported while there is time, and
//! removed records make room.

use super::craft::{self, Crafter};
use super::make::version;
use envelock::{
    FileKeyring, Lifecycle, OsRandom, Timestamp,
    file::{FileKeyringOptions, KeyFileError, KeyFileFault, Protection},
    keyset::{Change, ChangeOptions, Operation},
    observe::{Event, FnObserver},
};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

const MAX_FILE_LEN: usize = 64 << 20;

/// A directory of this test's own.
fn directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("full-{name}"));
    drop(std::fs::remove_dir_all(&directory));
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// Writes a file of 20 versions whose size is `bytes`, by unknown records.
fn write(path: &Path, bytes: usize) {
    let (mut records, crafter) = craft::unprotected();
    let fill = |records: &mut Vec<String>, mut bytes: usize| {
        while bytes > 0 {
            // The rest of a line: its frame and the kind.
            let line = bytes.min(60_000);
            let text = "x".repeat(line.checked_sub(120).unwrap());
            records.push(format!(r#"{{"kind":"filler","text":"{text}"}}"#));
            bytes -= line;
        }
    };
    let size = |records: &[String]| {
        write_file(path, &crafter, records);
        open(path, FileKeyringOptions::new()).health().size
    };
    let before = size(&records);
    fill(&mut records, bytes - before - 1_000);
    let left = bytes - size(&records);
    fill(&mut records, left);
    let off = size(&records).abs_diff(bytes);
    assert!(off <= 20, "{off}");
}

fn write_file(path: &Path, crafter: &Crafter, records: &[String]) {
    use std::os::unix::fs::OpenOptionsExt;
    drop(std::fs::remove_file(path));
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).unwrap();
    std::io::Write::write_all(&mut file, &crafter.file(records)).unwrap();
}

fn open(path: &Path, options: FileKeyringOptions) -> FileKeyring {
    let none = Protection::unprotected_plaintext();
    options.open_any(path, &none).unwrap().with_key("orders").unwrap()
}

/// The percentages that an observer got.
fn observed(path: &Path) -> (FileKeyring, Arc<Mutex<Vec<u8>>>) {
    let reported = Arc::new(Mutex::new(Vec::new()));
    let to = reported.clone();
    let observer = FnObserver::new(move |event: &Event<'_>| {
        if let Event::KeyFileFilling { percent, .. } = event {
            to.lock().unwrap().push(*percent);
        }
    });
    (open(path, FileKeyringOptions::new().observer(Arc::new(observer))), reported)
}

#[test]
fn full_file_rotates_once_records_are_removed() {
    let path = directory("again").join("orders.keys");
    write(&path, MAX_FILE_LEN - 300);
    let (keyring, reported) = observed(&path);
    assert_eq!(keyring.health().filled, 99);
    match keyring.rotate().unwrap_err() {
        error
            if matches!(
                error.backend(),
                Some(KeyFileError::Content { fault: KeyFileFault::TooLong, .. })
            ) => {}
        other => panic!("{other}"),
    }
    assert!(reported.lock().unwrap().is_empty(), "nothing was changed");
    // Version 1 is destroyed already; versions 2 and 3 are not.
    let operate = |number, operation| {
        let version = version(number);
        Change::Version { key: "orders", version, operation }
    };
    let changes = [
        operate(2, Operation::Disable),
        operate(2, Operation::DestroyImmediately),
        operate(3, Operation::DestroyImmediately),
        Change::RemoveRecords { key: "orders", through: version(3) },
        Change::Rotate { key: "orders" },
    ];
    keyring.change(&changes, &ChangeOptions::at(Timestamp::now()), &mut OsRandom).unwrap();
    assert_eq!(keyring.keyset().unwrap().floor(), 4);
    assert_eq!(*reported.lock().unwrap(), [99]);
    assert!(keyring.health().size < MAX_FILE_LEN - 300);
}

#[test]
fn fill_is_reported_from_80_per_cent() {
    let path = directory("filling").join("orders.keys");
    let threshold = MAX_FILE_LEN.div_ceil(5) * 4;
    write(&path, threshold - 400);
    let (keyring, reported) = observed(&path);
    keyring.set_alias("soon", "orders").unwrap();
    assert_eq!(keyring.health().filled, 79);
    assert!(reported.lock().unwrap().is_empty());
    keyring.rotate().unwrap();
    assert_eq!(*reported.lock().unwrap(), [80]);
    // Another process reports it as well, when it looks at the file.
    let (other, heard) = observed(&path);
    keyring.rotate().unwrap();
    other.reload().unwrap();
    assert_eq!(*heard.lock().unwrap(), [80]);
}
