//! Journals that were left, damaged, moved or planted.

use super::*;
use crate::common::detached::WriteDetached;
use crate::common::simulated_directory::{Kind, Plan, SimulatedDirectory, USER};
use envelock::file;
use envelock::test_access::key_file::FileKind;
use envelock::test_access::message_file::rewrap_file_in;
use envelock::{
    DataKey, Keyring, MemoryKeyring, RewrapOptions,
    file::FileChange,
    format::Slot,
    keyring::{KeyringError, KeyringRng, PrimaryKey, SlotWriter, WrapContext},
};
use std::ffi::OsStr;
use std::io::{Cursor, Seek, SeekFrom};
use std::os::unix::fs::{chown, symlink};
use std::sync::Arc;

const USUAL: RewrapOptions<'static> = RewrapOptions::new();

/// Leaves a message whose header was torn, with its journal, as a power failure does; returns the
/// bytes of the file.
pub fn torn(stored: &Stored) -> Vec<u8> {
    let directory = SimulatedDirectory::new();
    directory.plant("message", FileKind::Regular, &stored.message, 0o600, USER);
    directory.plan(Plan { record_disks: true, most_at_once: Some(60), ..Plan::default() });
    let shared = Arc::new(directory.clone());
    drop(rewrap_file_in(&stored.envelope, shared, OsStr::new("message"), USUAL).unwrap());
    let calls = directory.calls();
    let write = calls.iter().position(|call| call.kind == Kind::WriteAt).unwrap();
    let disk = &directory.recorded_disks()[write + 1];
    let torn = disk.bytes(OsStr::new("message")).unwrap().to_vec();
    assert!(stored.envelope.decrypt(&torn, ROW).is_err());
    fs::write(stored.path(), &torn).unwrap();
    fs::write(stored.journal(), disk.bytes(OsStr::new(".message.envelock-rewrap")).unwrap())
        .unwrap();
    torn
}

/// The message that is torn opens for a reader, and for everybody after a rewrap.
fn is_mended(stored: &Stored) {
    let before = stored.read();
    let file = MessageFile::open(stored.path()).unwrap();
    assert!(file.is_torn());
    let message = read_message(&stored.path());
    assert_eq!((version(&message), version(file.header())), (2, 2));
    assert_eq!(stored.envelope.decrypt(&message, ROW).unwrap(), text(200));
    assert_eq!(stored.read(), before, "a reader writes nothing");
    file::decrypt(
        &stored.envelope,
        stored.path(),
        stored.root.join("text"),
        ROW,
        file::NewFileOptions::new(),
    )
    .unwrap();
    assert_eq!(fs::read(stored.root.join("text")).unwrap(), text(200));
    fs::remove_file(stored.root.join("text")).unwrap();
    assert_eq!(
        file::rewrap(&stored.envelope, stored.path(), USUAL).unwrap().change(),
        FileChange::InPlace
    );
    assert_eq!(names(stored.root.path()), ["message"]);
    assert_eq!(stored.envelope.decrypt(&stored.read(), ROW).unwrap(), text(200));
    assert_eq!(version(&stored.read()), 2);
}

/// The rewrap is refused, and both files are as they were.
fn is_kept(stored: &Stored, envelope: &Envelope<impl envelock::Keyring>) -> Error {
    let read = || (stored.read(), fs::read(stored.journal()).ok());
    let (before, names_before) = (read(), names(stored.root.path()));
    let error = file::rewrap(envelope, stored.path(), USUAL).unwrap_err();
    assert_eq!(read(), before);
    assert_eq!(names(stored.root.path()), names_before);
    error
}

#[test]
fn torn_header_is_mended_and_read_before_that() {
    let stored = Stored::new(200, 0);
    torn(&stored);
    is_mended(&stored);
}

#[test]
fn journal_that_does_not_open_is_kept() {
    let stored = Stored::new(200, 0);
    torn(&stored);
    let unrelated = Envelope::new(MemoryKeyring::create("orders").unwrap());
    let error = is_kept(&stored, &unrelated);
    assert!(matches!(error, Error::NoKey { .. }), "{error:?}");
    is_mended(&stored);
}

/// Of a rotation that was taken back: version 2 does not open, and why.
struct TakenBack<'a>(&'a Elastic, fn() -> KeyringError);

impl Keyring for TakenBack<'_> {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        Keyring::visit_primaries(self.0, visit)
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.0.wrap(data_key, context, slots, rng)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        match slot.label.version.number() {
            2 => Err(self.1()),
            _ => self.0.unwrap(slot, context, data_key),
        }
    }
}

#[test]
fn torn_header_is_repaired_with_the_old_one() {
    let stored = Stored::new(200, 0);
    let torn = torn(&stored);
    stored.envelope.keyring().promote(1);
    // A message that may open later keeps its journal.
    let unreachable = || KeyringError::unavailable(std::io::Error::other("no network"));
    let envelope = Envelope::new(TakenBack(stored.envelope.keyring(), unreachable));
    assert!(is_kept(&stored, &envelope).is_retryable());
    assert_eq!(stored.read(), torn);

    let envelope = Envelope::new(TakenBack(stored.envelope.keyring(), || KeyringError::NotMine));
    let mut file = MessageFile::open(stored.path()).unwrap();
    let former = file.former_header().unwrap().to_vec();
    assert_eq!((version(file.header()), version(&former)), (2, 1));
    assert_eq!((former.len(), file.is_torn()), (file.header().len(), true));
    assert_eq!(former, stored.message[..former.len()]);
    file.seek(SeekFrom::Start(former.len() as u64)).unwrap();
    let mut plaintext = Vec::new();
    let message = Cursor::new(former).chain(file);
    envelope.decrypt_reader(message, ROW).unwrap().read_to_end(&mut plaintext).unwrap();
    assert_eq!(plaintext, text(200));
    file::decrypt(
        &envelope,
        stored.path(),
        stored.root.join("text"),
        ROW,
        file::NewFileOptions::new(),
    )
    .unwrap();
    assert_eq!(fs::read(stored.root.join("text")).unwrap(), text(200));
    fs::remove_file(stored.root.join("text")).unwrap();

    assert_eq!(
        file::rewrap(&envelope, stored.path(), USUAL).unwrap().change(),
        FileChange::InPlace
    );
    assert_eq!(stored.read(), stored.message);
    assert_eq!(names(stored.root.path()), ["message"]);
    assert_eq!(MessageFile::open(stored.path()).unwrap().former_header(), None);
    assert_eq!(
        file::rewrap(&envelope, stored.path(), USUAL).unwrap().change(),
        FileChange::Unchanged
    );
}

/// A file that neither header explains is not changed; both headers are kept for a repair by hand.
#[test]
fn zeroed_or_garbled_sector_is_kept_with_its_journal() {
    let stored = Stored::new(200, 0);
    let mut garbled = torn(&stored);
    let len = envelock::inspect(&stored.message).unwrap().len();
    for byte in [0, 0xee] {
        garbled[len - 60..len].fill(byte);
        fs::write(stored.path(), &garbled).unwrap();
        assert!(matches!(is_kept(&stored, &stored.envelope), Error::Authentication { .. }));
        assert!(!MessageFile::open(stored.path()).unwrap().is_torn());
    }
    // As the documentation of `file::rewrap` has it.
    let journal = fs::read(stored.journal()).unwrap();
    assert_eq!(usize::from(u16::from_be_bytes([journal[24], journal[25]])), len);
    assert_eq!(journal.len(), 24 + 2 + 2 * len + 32);
    for (at, number) in [(26, 1), (26 + len, 2)] {
        garbled[..len].copy_from_slice(&journal[at..at + len]);
        assert_eq!(version(&garbled), number);
        assert_eq!(stored.envelope.decrypt(&garbled, ROW).unwrap(), text(200));
    }
    fs::write(stored.path(), &garbled).unwrap();
    assert_eq!(
        file::rewrap(&stored.envelope, stored.path(), USUAL).unwrap().change(),
        FileChange::Unchanged
    );
    assert_eq!(names(stored.root.path()), ["message"]);
}

#[test]
fn damaged_journal_is_ignored_and_kept_while_needed() {
    let stored = Stored::new(200, 0);
    let torn = torn(&stored);
    let journal = fs::read(stored.journal()).unwrap();
    let cuts = (0..journal.len()).step_by(7).map(|len| journal[..len].to_vec());
    let flips = (0..journal.len()).map(|at| {
        let mut flipped = journal.clone();
        flipped[at] ^= 1 << (at % 8);
        flipped
    });
    let longer = [[&journal[..], &[0]].concat(), vec![0; journal.len()]];
    let mut cases = 0;
    for damaged in cuts.chain(flips).chain(longer) {
        fs::write(stored.journal(), &damaged).unwrap();
        // With the message torn nothing opens, and nothing is thrown away.
        let error = stored.envelope.decrypt(&read_message(&stored.path()), ROW).unwrap_err();
        assert!(matches!(error, Error::Authentication { .. }), "{error:?}");
        let error = is_kept(&stored, &stored.envelope);
        assert!(matches!(error, Error::Authentication { .. }), "{error:?}");
        // With an intact message it obstructs nothing.
        fs::write(stored.path(), &stored.message).unwrap();
        assert_eq!(read_message(&stored.path()), stored.message);
        let done = file::rewrap(&stored.envelope, stored.path(), USUAL).unwrap();
        assert_eq!(
            (done.change(), names(stored.root.path())),
            (FileChange::InPlace, vec!["message".into()])
        );
        fs::write(stored.path(), &torn).unwrap();
        cases += 1;
    }
    println!("{cases} damaged journals");
    fs::write(stored.journal(), &journal).unwrap();
    is_mended(&stored);
}

#[test]
fn journal_reveals_nothing_of_another_message() {
    let stored = Stored::new(200, 0);
    torn(&stored);
    let journal = fs::read(stored.journal()).unwrap();
    let envelope = &stored.envelope;
    envelope.keyring().promote(1);
    let other = envelope.encrypt(b"another", ROW).unwrap();
    envelope.keyring().promote(2);
    // Old, and restored; new, and finished by another process; another message at the path; one that
    // continues from the journal's new header.
    let next = {
        let mut next = stored.message.clone();
        envelope.keyring().promote(3);
        assert!(envelope.rewrap_in_place(&mut next, USUAL).unwrap().is_changed());
        envelope.keyring().promote(2);
        next
    };
    for (message, plaintext) in
        [(&stored.message, text(200)), (&other, b"another".to_vec()), (&next, text(200))]
    {
        fs::write(stored.path(), message).unwrap();
        fs::write(stored.journal(), &journal).unwrap();
        let file = MessageFile::open(stored.path()).unwrap();
        assert!(!file.is_torn());
        assert_eq!(read_message(&stored.path()), *message);
        assert_eq!(
            file::rewrap(envelope, stored.path(), USUAL).unwrap().change(),
            FileChange::InPlace
        );
        assert_eq!(names(stored.root.path()), ["message"]);
        assert_eq!(envelope.decrypt(&stored.read(), ROW).unwrap(), plaintext);
        assert_eq!(version(&stored.read()), 2);
    }
    // One that opens here with no slot keeps both files as they are.
    let unrelated = Envelope::new(MemoryKeyring::create("orders").unwrap());
    fs::write(stored.path(), unrelated.encrypt(b"of another key", ROW).unwrap()).unwrap();
    fs::write(stored.journal(), &journal).unwrap();
    assert!(matches!(is_kept(&stored, &stored.envelope), Error::NoKey { .. }));
    assert_eq!(
        file::rewrap(&unrelated, stored.path(), USUAL).unwrap().change(),
        FileChange::Unchanged
    );
    assert_eq!(names(stored.root.path()), ["message"]);
}

#[test]
fn planted_journal_is_not_touched() {
    let stored = Stored::new(200, 0);
    let torn = torn(&stored);
    let is_foreign = |error| {
        let error = file_error(error);
        let MessageFileError::ForeignJournal { path } = &error else { panic!("{error:?}") };
        assert_eq!(*path, stored.journal());
    };
    if rustix::process::geteuid().is_root() {
        chown(stored.journal(), Some(4_321), None).unwrap();
        is_foreign(is_kept(&stored, &stored.envelope));
        assert_eq!(read_message(&stored.path()), torn);
        // Of the owner of the message it counts.
        chown(stored.path(), Some(4_321), None).unwrap();
        is_mended(&stored);
    }
    fs::write(stored.path(), &stored.message).unwrap();
    drop(fs::remove_file(stored.journal()));
    let plant: [&dyn Fn(); 3] = [
        &|| fs::create_dir(stored.journal()).unwrap(),
        &|| symlink(stored.path(), stored.journal()).unwrap(),
        &|| {
            let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
            rustix::fs::mknodat(rustix::fs::CWD, stored.journal(), fifo, mode, 0).unwrap();
        },
    ];
    for plant in plant {
        plant();
        is_foreign(file::rewrap(&stored.envelope, stored.path(), USUAL).unwrap_err());
        assert_eq!(read_message(&stored.path()), stored.message);
        assert_eq!(stored.read(), stored.message);
        drop(fs::remove_dir(stored.journal()).or_else(|_| fs::remove_file(stored.journal())));
    }
    // A file that is larger than any journal, and the name of a foreign file.
    let precious = stored.root.join("precious");
    fs::write(&precious, b"precious").unwrap();
    fs::hard_link(&precious, stored.journal()).unwrap();
    assert_eq!(
        file::rewrap(&stored.envelope, stored.path(), USUAL).unwrap().change(),
        FileChange::InPlace
    );
    assert_eq!(fs::read(&precious).unwrap(), b"precious");
    fs::File::create_new(stored.journal()).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(
        file::rewrap(&stored.envelope, stored.path(), USUAL).unwrap().change(),
        FileChange::Unchanged
    );
    assert_eq!(names(stored.root.path()), ["message", "precious"]);
}
