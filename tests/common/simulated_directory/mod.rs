//! A directory in memory that records every system call, fails and interrupts at each, and knows
//! what a crash at each can leave.

// Each test file uses a part of it.
#![allow(dead_code)]

mod calls;
pub mod conductor;
pub mod disk;
pub mod schedule;

use calls::SimulatedFile;
use conductor::Conductor;
use disk::{Content, Disk, Inode};
use envelock::test_access::key_file::{DirectoryFile, FileKind, FileStat, FileTime};
use schedule::Schedule;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

pub const EPERM: i32 = 1;
pub const ENOENT: i32 = 2;
pub const EINTR: i32 = 4;
pub const EIO: i32 = 5;
pub const EAGAIN: i32 = 11;
pub const EACCES: i32 = 13;
pub const EEXIST: i32 = 17;
pub const EISDIR: i32 = 21;
pub const EINVAL: i32 = 22;
pub const ENOSPC: i32 = 28;
/// Linux, as all from here on; the tests that compare them run there.
pub const ENAMETOOLONG: i32 = 36;
pub const ENOSYS: i32 = 38;
pub const EOPNOTSUPP: i32 = 95;
pub const EROFS: i32 = 30;
pub const ELOOP: i32 = 40;
pub const EDQUOT: i32 = 122;

/// The user that the process is.
pub const USER: u32 = 1000;

/// Where simulated time starts: 2026, in nanoseconds since 1970.
pub const START: u64 = 1_770_000_000_123_456_789;

/// A system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Open,
    OpenWrite,
    Create,
    CreateUnnamed,
    Link,
    OpenLock,
    StatName,
    List,
    Rename,
    Unlink,
    SyncDirectory,
    StatFile,
    Read,
    ReadAt,
    Write,
    WriteAt,
    SetOwner,
    SetMode,
    SyncFile,
    TryLock,
    Unlock,
}

/// The fault of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails and does nothing.
    Error(i32),
    /// It does what it does and fails, as if the result of a server were lost.
    ErrorAfter(i32),
    /// It moves so many bytes at most.
    Short(usize),
}

/// One call that was made.
#[derive(Clone, Debug)]
pub struct Call {
    pub kind: Kind,
    /// The file, for calls on an open one.
    pub inode: Option<u64>,
    /// Where in the file and how much, at most, for calls at an offset.
    pub range: Option<(u64, usize)>,
    /// The name, for calls on one; the old one of a rename.
    pub name: Option<OsString>,
    /// The role of the thread, under a schedule.
    pub role: usize,
    pub failed: bool,
}

/// The object of a call.
#[derive(Clone, Copy)]
enum Of<'a> {
    Name(&'a OsStr),
    File(u64),
    Range(u64, (u64, usize)),
    Directory,
}

/// The faults of the simulator.
#[derive(Default)]
pub struct Plan {
    /// By the index of the call.
    pub faults: BTreeMap<usize, Fault>,
    /// To the next call of a kind, whichever it is.
    pub next_faults: BTreeMap<Kind, Fault>,
    /// Syncs that report success and make nothing durable, by their number among all syncs.
    pub ignored_syncs: BTreeSet<usize>,
    /// Syncs of threads in these roles answer success and make nothing durable.
    pub unsynced_roles: BTreeSet<usize>,
    /// Once a sync of the directory or of a file has failed, later ones of the same report success
    /// and make nothing durable: the kernel forgets what it could not write.
    pub forgets_failed_syncs: bool,
    /// The same of a file alone, and only for what is not written again.
    pub cleans_failed_syncs: bool,
    /// Before the call of that index, another process removes a name.
    pub removals: BTreeMap<usize, OsString>,
    /// Before the call of that index, another process writes into a file in place.
    pub edits: BTreeMap<usize, (OsString, Vec<u8>)>,
    /// Before the call of that index, another process syncs the directory.
    pub synced_before: Option<usize>,
    /// What other processes have made of the disk before the call of that index.
    pub disks: BTreeMap<usize, Disk>,
    /// The most that one read or write moves.
    pub most_at_once: Option<usize>,
    /// Whether an inode number is used again as soon as its last name is removed.
    pub reuse_inodes: bool,
    /// Whether time stops.
    pub is_frozen: bool,
    /// Whether the disk is kept before each call.
    pub record_disks: bool,
}

/// An unsupported operation of a file system, and its result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lacks {
    /// Files without a name.
    pub unnamed: bool,
    /// Moves that replace nothing.
    pub moves: bool,
    /// Second names of a file.
    pub links: bool,
    /// Locks.
    pub locks: bool,
    /// Syncs of a directory.
    pub directory_syncs: bool,
    /// Numbers of files that stay the same.
    pub identity: bool,
    /// Names of more than so many bytes, if not 0.
    pub names_over: usize,
}

pub const LACKS_NOTHING: Lacks = Lacks {
    unnamed: false,
    moves: false,
    links: false,
    locks: false,
    directory_syncs: false,
    identity: false,
    names_over: 0,
};

impl Lacks {
    pub fn is_nothing(self) -> bool {
        self == LACKS_NOTHING
    }

    fn refuses(is_lacking: bool, code: i32) -> io::Result<()> {
        if is_lacking { Err(io::Error::from_raw_os_error(code)) } else { Ok(()) }
    }
}

#[derive(Default)]
struct State {
    disk: Disk,
    plan: Plan,
    calls: Vec<Call>,
    disks: Vec<Disk>,
    syncs: usize,
    /// Files of which a sync failed; `None` is the directory.
    failed_syncs: BTreeSet<Option<u64>>,
    now: u64,
    lacks: Lacks,
    stats: u64,
    open: BTreeMap<u64, u64>,
    next_handle: u64,
    locks: BTreeMap<u64, u64>,
    schedule: Option<Arc<Schedule>>,
    conductor: Option<Arc<Conductor>>,
    /// The role that an open file belongs to.
    holders: BTreeMap<u64, usize>,
}

/// See the module.
#[derive(Clone, Default)]
pub struct SimulatedDirectory {
    state: Arc<Mutex<State>>,
}

impl SimulatedDirectory {
    pub fn new() -> Self {
        SimulatedDirectory::from_disk(Disk::default())
    }

    /// The disk that a machine finds after a crash.
    pub fn from_disk(disk: Disk) -> Self {
        let state = State { disk, now: START, ..State::default() };
        SimulatedDirectory { state: Arc::new(Mutex::new(state)) }
    }

    /// The same on a file system that cannot do some things.
    pub fn lacking(self, lacks: Lacks) -> Self {
        self.state().lacks = lacks;
        self
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub fn disk(&self) -> Disk {
        self.state().disk.clone()
    }

    /// What is behind a name, now.
    pub fn content(&self, name: &str) -> Option<Content> {
        let disk = &self.state().disk;
        disk.lookup(OsStr::new(name)).map(|inode| disk.inodes[&inode].visible.clone())
    }

    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    /// The disk before each call since recording began, and the disk now.
    pub fn recorded_disks(&self) -> Vec<Disk> {
        let state = self.state();
        state.disks.iter().cloned().chain([state.disk.clone()]).collect()
    }

    /// Sets what is to happen from now on; calls are counted from 0 again.
    pub fn plan(&self, plan: Plan) {
        let mut state = self.state();
        state.plan = plan;
        state.calls.clear();
        state.disks.clear();
        state.syncs = 0;
        state.failed_syncs.clear();
    }

    pub fn set_now(&self, now: u64) {
        self.state().now = now;
    }

    pub fn set_schedule(&self, schedule: Option<Arc<Schedule>>) {
        self.state().schedule = schedule;
    }

    /// Puts something durable there, without a call.
    pub fn plant(&self, name: &str, kind: FileKind, bytes: &[u8], mode: u32, uid: u32) {
        let mut state = self.state();
        let inode = state.add(kind, mode, uid);
        let content = Content::new(bytes.to_vec());
        let file = state.disk.inodes.get_mut(&inode).unwrap();
        (file.visible, file.durable) = (content.clone(), content);
        state.disk.set_name(OsStr::new(name), Some(inode));
        state.disk.sync_names();
    }

    /// Gives a file another name, durably.
    pub fn link(&self, from: &str, to: &str) {
        let mut state = self.state();
        let inode = state.disk.lookup(OsStr::new(from));
        state.disk.set_name(OsStr::new(to), inode);
        state.disk.sync_names();
    }

    /// One call: waits for its turn, is recorded, fails or does `effect`.
    fn call<T>(
        &self,
        kind: Kind,
        of: Of<'_>,
        effect: impl FnOnce(&mut State, usize) -> io::Result<T>,
    ) -> io::Result<T> {
        let schedule = self.state().schedule.clone();
        let _step = schedule.as_ref().map(|schedule| schedule.step());
        let conductor = self.state().conductor.clone();
        let is_alive =
            conductor.as_ref().is_none_or(|conductor| conductor.arrive(self.is_private(kind, of)));
        if !is_alive {
            return Err(io::Error::from_raw_os_error(EIO));
        }
        let mut state = self.state();
        let seen = conductor.as_ref().map(|conductor| state.seen(conductor, of));
        let index = state.calls.len();
        if let Some(disk) = state.plan.disks.remove(&index) {
            state.disk = disk;
        }
        if state.plan.synced_before == Some(index) {
            state.disk.sync_names();
        }
        if state.plan.record_disks {
            let disk = state.disk.clone();
            state.disks.push(disk);
        }
        if !state.plan.is_frozen {
            state.now += 1_000_000;
        }
        if let Some(name) = state.plan.removals.remove(&index) {
            state.disk.set_name(&name, None);
        }
        if let Some((name, bytes)) = state.plan.edits.remove(&index) {
            let file = state.disk.lookup(&name).unwrap();
            state.overwrite(file, bytes);
        }
        let next = state.plan.next_faults.remove(&kind);
        let fault = state.plan.faults.get(&index).copied().or(next);
        let most = match fault {
            Some(Fault::Short(most)) => most,
            _ => state.plan.most_at_once.unwrap_or(usize::MAX),
        };
        let answer = match fault {
            Some(Fault::Error(code)) => Err(io::Error::from_raw_os_error(code)),
            _ => effect(&mut state, most),
        };
        let (name, inode, range) = match of {
            Of::Name(name) => (Some(name.to_os_string()), None, None),
            Of::File(inode) => (None, Some(inode), None),
            Of::Range(inode, range) => (None, Some(inode), Some(range)),
            Of::Directory => (None, None, None),
        };
        let is_lost = matches!(fault, Some(Fault::ErrorAfter(_)));
        let failed = answer.is_err() || is_lost;
        if failed && matches!(kind, Kind::SyncFile | Kind::SyncDirectory) {
            state.failed_syncs.insert(inode);
            // A page that could not be written counts as clean, until it is written again.
            if let Some(inode) = inode.filter(|_| state.plan.cleans_failed_syncs) {
                state.disk.inodes.get_mut(&inode).unwrap().is_clean = true;
            }
        }
        let call = Call { kind, inode, range, name, role: schedule::role(), failed };
        if let Some((conductor, seen)) = conductor.zip(seen) {
            let is_taken = kind == Kind::TryLock && failed && !state.lacks.locks;
            conductor.answered(&call, seen, is_taken);
        }
        state.calls.push(call);
        // A result that gets lost can be an open file, which locks the state when it closes.
        drop(state);
        match fault {
            Some(Fault::ErrorAfter(code)) => {
                drop(answer);
                Err(io::Error::from_raw_os_error(code))
            }
            _ => answer,
        }
    }

    /// Whether no other process can see the call: on a file that only this one has open, and that has
    /// no name that another one knows; or a read.
    fn is_private(&self, kind: Kind, of: Of<'_>) -> bool {
        let state = self.state();
        let is_partial = |name: &OsStr| conductor::plain(name) != name;
        match of {
            Of::Name(name) => {
                let inode = state.disk.lookup(name);
                let names = inode.map(|inode| state.disk.names_of(inode)).unwrap_or_default();
                is_partial(name)
                    && kind != Kind::Rename
                    && names.iter().all(|name| is_partial(name))
            }
            Of::Directory => kind != Kind::List,
            Of::File(inode) | Of::Range(inode, _) => {
                let role = schedule::role();
                let mut ids = state.open.iter().filter(|(_, open)| **open == inode);
                let is_own = ids.all(|(id, _)| state.holders[id] == role)
                    && state.disk.names_of(inode).iter().all(|name| is_partial(name));
                // No read sees another process's write, so that all orders of reads are alike.
                assert!(is_own || !matches!(kind, Kind::Write | Kind::WriteAt), "a shared file");
                is_own || matches!(kind, Kind::Read | Kind::ReadAt)
            }
        }
    }

    fn handle(&self, state: &mut State, inode: u64) -> Box<dyn DirectoryFile> {
        state.next_handle += 1;
        let id = state.next_handle;
        state.open.insert(id, inode);
        state.holders.insert(id, schedule::role());
        Box::new(SimulatedFile { directory: self.clone(), id, inode, offset: 0 })
    }
}

impl State {
    fn add(&mut self, kind: FileKind, mode: u32, uid: u32) -> u64 {
        let is_used = |inode: &u64| {
            !self.plan.reuse_inodes
                || self.disk.links(*inode) > 0
                || self.open.values().any(|open| open == inode)
        };
        let highest = self.disk.inodes.keys().last().copied().unwrap_or(10);
        let inode = self.disk.inodes.keys().copied().find(|i| !is_used(i)).unwrap_or(highest + 1);
        let (visible, durable) = (Content::new(Vec::new()), Content::new(Vec::new()));
        let (modified, changed) = (self.now, self.now);
        let (pending, is_clean, gid) = (Vec::new(), false, uid);
        let file =
            Inode { kind, mode, uid, gid, visible, durable, pending, is_clean, modified, changed };
        self.disk.inodes.insert(inode, file);
        if let Some(conductor) = &self.conductor {
            conductor.created(inode);
        }
        inode
    }

    fn released(&self) {
        if let Some(conductor) = &self.conductor {
            conductor.released();
        }
    }

    /// All that the result of a call can depend on.
    fn seen(&self, conductor: &Conductor, of: Of<'_>) -> u64 {
        use std::hash::{Hash, Hasher};
        let mut hasher = std::collections::hash_map::DefaultHasher::new();
        let inode = match of {
            Of::Name(name) => {
                conductor::plain(name).hash(&mut hasher);
                self.disk.lookup(name)
            }
            Of::File(inode) => Some(inode),
            Of::Range(inode, range) => {
                range.hash(&mut hasher);
                Some(inode)
            }
            Of::Directory => None,
        };
        let links = inode.map_or(0, |inode| self.disk.links(inode));
        conductor.known(inode, links).hash(&mut hasher);
        hasher.finish()
    }

    fn overwrite(&mut self, inode: u64, bytes: Vec<u8>) {
        let now = self.now;
        let file = self.disk.inodes.get_mut(&inode).unwrap();
        file.write(Content::new(bytes));
        (file.modified, file.changed) = (now, now);
    }

    fn find(&self, name: &OsStr) -> io::Result<u64> {
        let most = self.lacks.names_over;
        Lacks::refuses(most > 0 && name.len() > most, ENAMETOOLONG)?;
        self.disk.lookup(name).ok_or_else(|| io::Error::from_raw_os_error(ENOENT))
    }

    fn file_stat(&mut self, inode: u64) -> FileStat {
        self.stats += 1;
        let shown = if self.lacks.identity { inode + 1_000 * self.stats } else { inode };
        let file = &self.disk.inodes[&inode];
        let time = |nanoseconds: u64| FileTime {
            seconds: (nanoseconds / 1_000_000_000) as i64,
            nanoseconds: (nanoseconds % 1_000_000_000) as u32,
        };
        FileStat {
            kind: file.kind,
            mode: file.mode,
            uid: file.uid,
            gid: file.gid,
            links: self.disk.links(inode),
            len: file.visible.bytes().len() as u64,
            device: 1,
            inode: shown,
            modified: time(file.modified),
            changed: time(file.changed),
        }
    }

    fn link(&mut self, inode: u64, to: &OsStr) -> io::Result<()> {
        Lacks::refuses(self.disk.lookup(to).is_some(), EEXIST)?;
        self.touch(inode);
        self.disk.set_name(to, Some(inode));
        Ok(())
    }

    /// Counts a sync, and returns whether it makes anything durable.
    fn is_effective_sync(&mut self, inode: Option<u64>) -> bool {
        let number = self.syncs;
        self.syncs += 1;
        let is_forgotten = self.plan.forgets_failed_syncs && self.failed_syncs.contains(&inode);
        let is_deaf = self.plan.unsynced_roles.contains(&schedule::role());
        !is_forgotten && !is_deaf && !self.plan.ignored_syncs.contains(&number)
    }

    fn touch(&mut self, inode: u64) {
        let now = self.now;
        self.disk.inodes.get_mut(&inode).unwrap().changed = now;
    }
}
