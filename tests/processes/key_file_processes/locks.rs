//! A writer that stops holds the others up for as long as they are willing to wait.

use crate::common::directory::TestDirectory;
use crate::common::key_files::{ROW, file_error, raw, text};
use crate::common::process::{Process, listen, send};
use envelock::test_access::key_file::Store;
use envelock::{
    Envelope, FileKeyring, Lifecycle,
    file::{FileError, FileKeyringOptions, KeyFileError},
};
use rustix::process::Signal;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(3_600);

/// More than a busy machine lets a thread that is due wait.
const SLACK: Duration = Duration::from_secs(300);

/// A child: has the lock from its start until the signal to release it.
pub fn hold(path: &str) {
    let store = Store::open(Path::new(path)).unwrap();
    let writer = store.lock(LONG).unwrap();
    send("locked");
    listen().unwrap();
    drop(writer);
    send("released");
}

#[test]
fn stopped_writer_delays_others_within_their_bound() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let patient = FileKeyringOptions::new().lock_wait(LONG).create(&path, "orders", &raw(7));
    let patient = patient.unwrap();
    let message = Envelope::new(&patient).encrypt(b"readable", ROW).unwrap();

    let mut holder = Process::start(super::MODULE, "hold", &[text(&path)]);
    holder.expect("locked");
    holder.stop();
    // It would give the lock back now, if it ran.
    holder.say("release");
    for wait in [0, 1, 50, 300].map(Duration::from_millis) {
        let impatient = FileKeyringOptions::new().lock_wait(wait).open_any(&path, &raw(7)).unwrap();
        let started = Instant::now();
        let error = file_error(&impatient.rotate().unwrap_err());
        let took = started.elapsed();
        let KeyFileError::File(FileError::Locked { path: lock, waited }) = &error else {
            panic!("{error}")
        };
        assert_eq!(*lock, directory.join("orders.keys.lock"));
        assert!(error.is_retryable());
        assert!(*waited >= wait && took >= *waited && took < wait + SLACK, "{wait:?} {took:?}");
        // A wrap is counted in memory, and readers do not notice.
        let counted = FileKeyringOptions::new().lock_wait(LONG).open_any(&path, &raw(7)).unwrap();
        let started = Instant::now();
        Envelope::new(&counted).encrypt(b"now", ROW).unwrap();
        // Tries the lock once.
        drop(counted);
        assert!(started.elapsed() < SLACK);
        // A wrap that is reserved says the same as a change.
        let options = FileKeyringOptions::new().lock_wait(wait).reserve_usage();
        let reserving = options.open_any(&path, &raw(7)).unwrap();
        let error = Envelope::new(&reserving).encrypt(b"later", ROW).unwrap_err();
        assert!(error.is_retryable());
        assert!(matches!(file_error(&error), KeyFileError::File(FileError::Locked { .. })));
        assert_eq!(Envelope::new(&impatient).decrypt(&message, ROW).unwrap(), b"readable");
        assert_eq!(
            FileKeyring::open_any(&path, &raw(7)).unwrap().change_number(),
            patient.change_number()
        );
    }

    thread::scope(|scope| {
        let waiting = scope.spawn(|| patient.rotate());
        thread::sleep(Duration::from_millis(100));
        assert!(!waiting.is_finished());
        holder.signal(Signal::CONT);
        assert_eq!(waiting.join().unwrap().unwrap().number(), 2);
    });
    assert_eq!(holder.end(), ["released"]);
    assert_eq!(FileKeyring::open_any(&path, &raw(7)).unwrap().versions().len(), 2);
}

#[test]
fn killed_stopped_writer_blocks_no_other() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let options = FileKeyringOptions::new().lock_wait(Duration::ZERO);
    let keyring = options.create(&path, "orders", &raw(7)).unwrap();
    for round in 2..12 {
        let mut holder = Process::start(super::MODULE, "hold", &[text(&path)]);
        holder.expect("locked");
        holder.stop();
        assert!(matches!(
            file_error(&keyring.rotate().unwrap_err()),
            KeyFileError::File(FileError::Locked { .. })
        ));
        holder.kill();
        assert_eq!(keyring.rotate().unwrap().number(), round);
    }
}
