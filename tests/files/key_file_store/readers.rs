//! A content that a reader has seen survives, in any order of its calls and a writer's.

use crate::common::simulated_directory::disk::Disk;
use crate::common::simulated_directory::{Fault, Kind, Plan, SimulatedDirectory, USER};
use crate::key_file_store::world::{self, LOCK, NAME, content};
use envelock::file::FileRules;
use envelock::test_access::key_file::{
    Directory, DirectoryFile, FileError, FileKind, FileStat, KeyFileError, Store,
};
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::sync::Arc;

const WRITER: usize = 0;
const READER: usize = 1;

/// A directory whose sync does nothing.
struct Unsynced(SimulatedDirectory);

impl Directory for Unsynced {
    fn path(&self) -> &Path {
        self.0.path()
    }
    fn effective_uid(&self) -> u32 {
        self.0.effective_uid()
    }
    fn open(&self, name: &OsStr) -> io::Result<Box<dyn DirectoryFile>> {
        self.0.open(name)
    }
    fn open_write(&self, name: &OsStr) -> io::Result<Box<dyn DirectoryFile>> {
        self.0.open_write(name)
    }
    fn create_new(&self, name: &OsStr) -> io::Result<Box<dyn DirectoryFile>> {
        self.0.create_new(name)
    }
    fn open_lock(&self, name: &OsStr) -> io::Result<Box<dyn DirectoryFile>> {
        self.0.open_lock(name)
    }
    fn stat(&self, name: &OsStr) -> io::Result<FileStat> {
        self.0.stat(name)
    }
    fn list(&self) -> io::Result<Vec<OsString>> {
        self.0.list()
    }
    fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn rename_new(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        self.0.rename_new(from, to)
    }
    fn unlink(&self, name: &OsStr) -> io::Result<()> {
        self.0.unlink(name)
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Visits every order of `writer` calls of the one and `reader` calls of the other; those that begin alike come
/// one after the other.
fn interleavings(
    order: &mut Vec<usize>,
    writer: usize,
    reader: usize,
    visit: &mut impl FnMut(&[usize]),
) {
    if writer + reader == 0 {
        return visit(order);
    }
    for (role, left, writer, reader) in [
        (WRITER, writer, writer.wrapping_sub(1), reader),
        (READER, reader, writer, reader.wrapping_sub(1)),
    ] {
        if left > 0 {
            order.push(role);
            interleavings(order, writer, reader, visit);
            order.pop();
        }
    }
}

struct Outcome {
    orders: usize,
    saw_new: usize,
    lost: usize,
}

/// Runs a writer and a reader in every order, and crashes at every moment after the reader
/// returned the new content.
///
/// A reader changes nothing but by its sync, which comes last. So an order is how far the writer is at
/// each call of the reader, which finds the disk as the writer has left it there.
fn run(is_new: bool, with_sync: bool) -> Outcome {
    let (old, new) = ((!is_new).then(|| content(1, 9)), content(2, 9));
    let written = |synced_before| {
        let directory = SimulatedDirectory::new();
        directory.plant(LOCK, FileKind::Regular, b"", 0o600, USER);
        if let Some(old) = &old {
            directory.plant(NAME, FileKind::Regular, old, 0o600, USER);
        }
        directory.plan(Plan { record_disks: true, synced_before, ..Plan::default() });
        world::write(&world::store(&directory), is_new, &new).unwrap();
        directory.recorded_disks()
    };
    let unsynced = written(None);
    let writer_calls = unsynced.len() - 1;
    let mut synced: Vec<_> = (0..=writer_calls).map(|before| written(Some(before))).collect();
    synced[writer_calls][writer_calls].sync_names();
    // A reader that finds nothing is done sooner; this is the longest it takes.
    let reader_calls = 6;
    let mut outcome = Outcome { orders: 0, saw_new: 0, lost: 0 };
    let mut verdicts: HashMap<(usize, Option<usize>), usize> = HashMap::new();
    let mut losses = |returned: usize, at_sync: Option<usize>| {
        let lost = (returned..=writer_calls).map(|done| {
            // How far the writer was at the crash and at the reader's sync decides what is left.
            *verdicts.entry((done, at_sync)).or_insert_with(|| {
                let disk = &at_sync.map_or(&unsynced, |at_sync| &synced[at_sync])[done];
                let mut lost = 0;
                disk.crash(&mut |image| {
                    let found = world::load(&SimulatedDirectory::from_disk(image)).unwrap();
                    lost += usize::from(found.as_ref() != Some(&new));
                });
                lost
            })
        });
        lost.sum::<usize>()
    };
    // An order that begins with what decided the last run would repeat it.
    let (mut decided, mut last) = (None::<Vec<usize>>, None);
    interleavings(&mut Vec::new(), writer_calls, reader_calls, &mut |order| {
        if !decided.as_ref().is_some_and(|decided| order.starts_with(decided)) {
            let calls: Vec<usize> = (0..order.len()).filter(|at| order[*at] == READER).collect();
            // Before each of the reader's calls, the others are the writer's.
            let done: Vec<usize> = calls.iter().enumerate().map(|(own, at)| at - own).collect();
            let (found, made) = read_in_order(&unsynced, &done, with_sync);
            assert!(found == old || found.as_ref() == Some(&new), "the reader saw neither");
            let is_sync = |kind: &Kind| *kind == Kind::SyncDirectory;
            let first_sync = made.iter().position(is_sync);
            assert!(first_sync.is_none_or(|sync| sync + 1 == made.len()), "{made:?}");
            let at = |call: usize| done.get(call).copied().unwrap_or(writer_calls);
            decided =
                Some(order[..calls.get(made.len() - 1).map_or(order.len(), |c| c + 1)].to_vec());
            let returned = at(made.len() - 1);
            let is_seen = found.as_ref() == Some(&new);
            last = is_seen.then(|| losses(returned, first_sync.map(at)));
        }
        outcome.orders += 1;
        outcome.saw_new += usize::from(last.is_some());
        outcome.lost += last.unwrap_or(0);
    });
    outcome
}

/// Reads while a writer leaves `disks` one after the other, of which it has left `done` before each
/// call and all before further ones; with the calls that were made.
fn read_in_order(disks: &[Disk], done: &[usize], with_sync: bool) -> (Option<Vec<u8>>, Vec<Kind>) {
    let directory = SimulatedDirectory::new();
    let mut before: BTreeMap<usize, Disk> =
        done.iter().enumerate().map(|(call, done)| (call, disks[*done].clone())).collect();
    before.insert(done.len(), disks.last().unwrap().clone());
    directory.plan(Plan { disks: before, ..Plan::default() });
    let seen: Arc<dyn Directory> = match with_sync {
        true => Arc::new(directory.clone()),
        false => Arc::new(Unsynced(directory.clone())),
    };
    let found = match Store::in_directory(seen, OsStr::new(NAME)).unwrap().load() {
        Ok(loaded) => Some(loaded.bytes().to_vec()),
        Err(KeyFileError::File(FileError::NotFound { .. })) => None,
        Err(error) => panic!("{error}"),
    };
    let made: Vec<Kind> = directory.calls().iter().map(|call| call.kind).collect();
    let changes_nothing = |kind: &Kind| {
        use Kind::{Open, Read, StatFile, StatName, SyncDirectory};
        matches!(kind, Open | Read | StatFile | StatName | SyncDirectory)
    };
    assert!(made.iter().all(changes_nothing), "{made:?}");
    (found, made)
}

#[test]
fn state_seen_by_a_reader_survives_every_crash() {
    for is_new in [true, false] {
        let outcome = run(is_new, true);
        println!("new {is_new}: {} orders, {} saw the new", outcome.orders, outcome.saw_new);
        assert!(outcome.orders > 10_000 && outcome.saw_new > 20);
        assert_eq!(outcome.lost, 0);
    }
}

#[test]
fn crash_without_the_readers_sync_reverts_its_state() {
    for is_new in [true, false] {
        let outcome = run(is_new, false);
        println!("new {is_new}: {} losses in {} orders", outcome.lost, outcome.orders);
        assert!(outcome.lost > 0);
    }
}

/// A directory whose files have another identity at each look, or no name at all.
struct Odd {
    directory: SimulatedDirectory,
    number: std::sync::atomic::AtomicU64,
    links: Option<u64>,
}

impl Odd {
    fn over(directory: &SimulatedDirectory, links: Option<u64>) -> Store {
        let number = std::sync::atomic::AtomicU64::new(1 << 40);
        let odd = Odd { directory: directory.clone(), number, links };
        Store::in_directory(Arc::new(odd), OsStr::new(NAME)).unwrap()
    }

    fn stat(&self, mut stat: FileStat) -> FileStat {
        match self.links {
            Some(links) => stat.links = links,
            None => {
                stat.inode = self.number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
        stat
    }
}

/// Returned once for a chosen file.
struct OddFile {
    file: Box<dyn DirectoryFile>,
    stat: FileStat,
}

impl DirectoryFile for OddFile {
    fn stat(&self) -> io::Result<FileStat> {
        Ok(self.stat)
    }
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.file.read(out)
    }
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(out, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(bytes, offset)
    }
    fn set_owner(&self, uid: u32, gid: u32) -> io::Result<()> {
        self.file.set_owner(uid, gid)
    }
    fn set_mode(&self, mode: u32) -> io::Result<()> {
        self.file.set_mode(mode)
    }
    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
    fn try_lock(&self) -> io::Result<()> {
        self.file.try_lock()
    }
    fn unlock(&self) -> io::Result<()> {
        self.file.unlock()
    }
}

impl Directory for Odd {
    fn path(&self) -> &Path {
        self.directory.path()
    }
    fn effective_uid(&self) -> u32 {
        self.directory.effective_uid()
    }
    fn open(&self, name: &OsStr) -> io::Result<Box<dyn DirectoryFile>> {
        let file = self.directory.open(name)?;
        let stat = self.stat(file.stat()?);
        Ok(Box::new(OddFile { file, stat }))
    }
    fn open_write(&self, name: &OsStr) -> io::Result<Box<dyn DirectoryFile>> {
        let file = self.directory.open_write(name)?;
        let stat = self.stat(file.stat()?);
        Ok(Box::new(OddFile { file, stat }))
    }
    fn create_new(&self, name: &OsStr) -> io::Result<Box<dyn DirectoryFile>> {
        self.directory.create_new(name)
    }
    fn open_lock(&self, name: &OsStr) -> io::Result<Box<dyn DirectoryFile>> {
        let file = self.directory.open_lock(name)?;
        let stat = self.stat(file.stat()?);
        Ok(Box::new(OddFile { file, stat }))
    }
    fn stat(&self, name: &OsStr) -> io::Result<FileStat> {
        Ok(Odd::stat(self, self.directory.stat(name)?))
    }
    fn list(&self) -> io::Result<Vec<OsString>> {
        self.directory.list()
    }
    fn rename(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        self.directory.rename(from, to)
    }
    fn rename_new(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        self.directory.rename_new(from, to)
    }
    fn unlink(&self, name: &OsStr) -> io::Result<()> {
        self.directory.unlink(name)
    }
    fn sync(&self) -> io::Result<()> {
        self.directory.sync()
    }
}

#[test]
fn changing_inode_number_is_read_and_fails_the_writer() {
    let directory = world::directory(Some(&content(1, 10)));
    let store = Odd::over(&directory, None);
    assert_eq!(store.load().unwrap().bytes(), content(1, 10));
    let (hour, started) = (std::time::Duration::from_secs(3_600), std::time::Instant::now());
    let error = store.lock(hour).unwrap_err();
    assert!(
        matches!(&error, KeyFileError::File(FileError::UnstableIdentity { path }) if path.ends_with(LOCK))
    );
    assert!(!error.is_retryable() && started.elapsed() < hour);
}

/// A mount of a single file, after the file was replaced outside.
#[test]
fn name_that_leads_to_a_file_without_names_is_refused() {
    let directory = world::directory(Some(&content(1, 10)));
    let error = Odd::over(&directory, Some(0)).load().unwrap_err();
    assert!(matches!(&error, KeyFileError::MountedAlone { path } if path.ends_with(NAME)));
    assert!(error.to_string().contains("mount its directory") && !error.is_retryable());
}

/// A process that may write the directory can put another's file there at that moment.
#[test]
fn lock_file_of_another_user_keeps_owner_and_mode() {
    const OTHER: u32 = USER + 1;
    const ENOENT: i32 = 2;
    let directory = SimulatedDirectory::new();
    directory.plant(NAME, FileKind::Regular, &content(1, 9), 0o660, OTHER);
    directory.plant(LOCK, FileKind::Regular, b"", 0o600, USER);
    let next_faults = BTreeMap::from([(Kind::OpenWrite, Fault::Error(ENOENT))]);
    directory.plan(Plan { next_faults, ..Plan::default() });
    let rules = FileRules::new().allow_permissions().allow_owner(OTHER);
    let store = world::store(&directory).with_rules(rules);
    drop(store.lock(std::time::Duration::ZERO).unwrap());
    let stat = directory.stat(OsStr::new(LOCK)).unwrap();
    assert_eq!((stat.uid, stat.mode), (USER, 0o600));
}
