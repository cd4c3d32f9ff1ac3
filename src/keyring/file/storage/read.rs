//! Reading a whole file that others may replace at the same time, and what makes a read durable.

use super::store::Store;
use crate::fs::{
    self, DirectoryFile, FileAction, FileError, FileStat, FileTime, Location, failed, fill,
    stat_of, uninterrupted,
};
use crate::keyring::file::error::KeyFileError;
use crate::sync::lock;
use crate::wiped::WipedBuffer;
use core::fmt;
use core::time::Duration;
use rustix::io::Errno;
use std::io;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};
use std::time::SystemTime;

/// The content of a file, wiped on drop: without a protection it is key material.
pub struct Loaded {
    bytes: WipedBuffer,
    fingerprint: Fingerprint,
}

impl Loaded {
    pub(super) fn new(bytes: WipedBuffer, fingerprint: Fingerprint) -> Self {
        Loaded { bytes, fingerprint }
    }

    /// Returns the whole content.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the fingerprint of the file when it was read.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").field("len", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens, checks and reads the file at `location`, and syncs its directory. Returns `None` if it
    /// changed meanwhile.
    pub(super) fn read(&self, location: &Location) -> Result<Option<Loaded>, KeyFileError> {
        let path = self.path();
        let mut file = location.open()?;
        let before = stat_of(&*file, path)?;
        self.check_key_file(&before)?;
        if !self.has_name(location, &*file, &before)? {
            return Ok(None);
        }
        let bytes = self.read_all(&mut *file, before.len)?;
        let after = stat_of(&*file, path)?;
        // Not `changed`: a replacement removes the name, and what was read stays whole.
        let is_same = bytes.len() as u64 == before.len
            && (before.len, before.modified) == (after.len, after.modified);
        if !is_same {
            return Ok(None);
        }
        self.sync_state.sync_for_reader(location, Some(&*file))?;
        Ok(Some(Loaded::new(bytes, Fingerprint::of(&before))))
    }

    /// Reports whether the file still had a name when it was opened.
    ///
    /// A mount of a single file fixes the inode, not the name: a replacement outside removes its
    /// last name, and inside the mount the name leads to the old inode until it is mounted again.
    fn has_name(
        &self,
        location: &Location,
        file: &dyn DirectoryFile,
        stat: &FileStat,
    ) -> Result<bool, KeyFileError> {
        let path = self.path();
        let is_mounted_alone = if stat.links == 0 {
            location.existing()?.is_same_file(stat)
        } else {
            uninterrupted(|| file.is_mount_root()).map_err(failed(FileAction::Inspect, path))?
        };
        if is_mounted_alone {
            return Err(KeyFileError::MountedAlone { path: path.to_path_buf() });
        }
        Ok(stat.links > 0)
    }

    /// Reads up to one byte more than `len`, so that a file that grows is noticed.
    fn read_all(
        &self,
        file: &mut dyn DirectoryFile,
        len: u64,
    ) -> Result<WipedBuffer, KeyFileError> {
        // Allocated once: growing would leave a copy of key material. `len` is within the limit.
        let room = usize::try_from(len).ok().and_then(|len| len.checked_add(1));
        let room = room.ok_or_else(|| self.too_large(len))?;
        let mut bytes = WipedBuffer::zeros(room);
        let filled = fill(&mut bytes, |rest, _| uninterrupted(|| file.read(rest)))
            .map_err(failed(FileAction::Read, self.path()))?;
        bytes.truncate(filled);
        Ok(bytes)
    }
}

/// How long before the read the last change must lie for a fingerprint to be settled. The kernel
/// keeps time in ticks of up to 10 ms; the rest is margin.
const TICK: Duration = Duration::from_millis(100);

/// The same for file systems that keep whole seconds; FAT keeps even ones.
const COARSE_TICK: Duration = Duration::from_millis(2_100);

/// Device, inode, length and times of a file, by which a change is noticed.
///
/// Two states can have one fingerprint: an inode is used again as soon as its last name is removed,
/// so a file that is replaced twice within one tick of the file system's clock can have inode,
/// length and times of the first again. That takes a second change within the tick of the first.
/// So a fingerprint counts only if the file had not changed for longer than a tick when it was read:
/// if it is not [settled](Self::is_settled), read the file again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    device: u64,
    inode: u64,
    len: u64,
    modified: FileTime,
    changed: FileTime,
}

impl Fingerprint {
    pub(crate) fn of(stat: &FileStat) -> Self {
        Fingerprint {
            device: stat.device,
            inode: stat.inode,
            len: stat.len,
            modified: stat.modified,
            changed: stat.changed,
        }
    }

    /// Returns that of a content in memory.
    pub(super) fn of_number(number: u64) -> Self {
        let (modified, changed) = (FileTime::default(), FileTime::default());
        Fingerprint { device: 0, inode: number, len: 0, modified, changed }
    }

    /// Reports whether both are of one content: names, owner and mode may have changed in between.
    pub(crate) fn is_same_content(&self, other: &Fingerprint) -> bool {
        Fingerprint { changed: other.changed, ..*self } == *other
    }

    /// Reports whether every later content has another fingerprint, if the file was read at
    /// `read_at`: the time just *before* the load, by the clock of the file system's machine.
    ///
    /// A file with a date in the future is never settled: it is read each time.
    pub fn is_settled(&self, read_at: SystemTime) -> bool {
        let is_coarse = self.modified.nanoseconds == 0 && self.changed.nanoseconds == 0;
        let tick = if is_coarse { COARSE_TICK } else { TICK };
        let latest = self.modified.max(self.changed);
        // A file from before 1970 has not changed for long enough.
        let since_1970 =
            Duration::new(u64::try_from(latest.seconds).unwrap_or(0), latest.nanoseconds);
        since_1970
            .checked_add(tick)
            .and_then(|settled| SystemTime::UNIX_EPOCH.checked_add(settled))
            .is_some_and(|settled| settled <= read_at)
    }
}

/// The access that the syncs of the directory allow.
#[derive(Default)]
pub(super) struct SyncState {
    // Locked during each sync of the directory: two threads share its descriptor, and the kernel
    // reports an error to one of them only.
    level: Mutex<Level>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Level {
    /// Every sync succeeded.
    #[default]
    Full,
    /// The directory cannot be synced: nothing is pending that a sync could write, and what this
    /// process wrote might be lost.
    ReadOnly,
    /// A sync failed: what is read may be lost in a crash.
    Poisoned,
}

impl SyncState {
    /// Refuses after a failed sync of the directory.
    pub(super) fn check_readable(&self, path: &Path) -> Result<(), KeyFileError> {
        check(*self.level(), path)
    }

    /// Refuses after a failed sync, and where directories cannot be synced at all.
    pub(super) fn check_writable(&self, location: &Location) -> Result<(), KeyFileError> {
        let level = *self.level();
        check(level, &location.path)?;
        if level == Level::ReadOnly {
            return Err(directory_failed(location, io::ErrorKind::Unsupported.into()));
        }
        Ok(())
    }

    /// Records that the content of the directory is unknown.
    pub(super) fn poison(&self) {
        *self.level() = Level::Poisoned;
    }

    /// Takes over the state of a store that opened the same file again.
    pub(super) fn reset_to(&self, opened: &SyncState) {
        let level = *opened.level();
        *self.level() = level;
    }

    /// Syncs the directory for a rename by another process, of `file` for example; see
    /// [`Store::load`](super::Store::load).
    pub(super) fn sync_for_reader(
        &self,
        location: &Location,
        file: Option<&dyn DirectoryFile>,
    ) -> Result<(), KeyFileError> {
        let mut level = self.level();
        check(*level, &location.path)?;
        let error = match location.directory.sync() {
            Ok(()) => {
                // A link on the path can lead to another directory by now, which can be synced.
                *level = Level::Full;
                return Ok(());
            }
            Err(error) => error,
        };
        let error = match file {
            // A directory that can be searched and not read.
            Some(file) if error.kind() == io::ErrorKind::PermissionDenied => {
                match file.sync_file_system() {
                    Ok(()) => {
                        *level = Level::ReadOnly;
                        return Ok(());
                    }
                    Err(other) if other.kind() == io::ErrorKind::Unsupported => error,
                    Err(other) => other,
                }
            }
            _ => error,
        };
        if is_unsupported(&error) {
            *level = Level::ReadOnly;
            return Ok(());
        }
        *level = Level::Poisoned;
        Err(directory_failed(location, error))
    }

    /// Syncs the directory for a rename by this process.
    pub(super) fn sync_for_writer(&self, location: &Location) -> Result<(), FileError> {
        let mut level = self.level();
        let synced = match *level {
            Level::Poisoned => Err(io::Error::other("a sync of the directory failed earlier")),
            _ => location.directory.sync(),
        };
        synced.inspect_err(|_| *level = Level::Poisoned).map_err(fs::not_durable(&location.path))
    }

    fn level(&self) -> MutexGuard<'_, Level> {
        lock(&self.level)
    }
}

fn check(level: Level, path: &Path) -> Result<(), KeyFileError> {
    if level == Level::Poisoned {
        return Err(KeyFileError::Poisoned { path: path.to_path_buf() });
    }
    Ok(())
}

fn directory_failed(location: &Location, error: io::Error) -> KeyFileError {
    failed(FileAction::SyncDirectory, location.directory.path())(error).into()
}

/// Reports whether `error` means that directories cannot be synced there.
fn is_unsupported(error: &io::Error) -> bool {
    fs::is_unsupported(error) || Errno::from_io_error(error) == Some(Errno::BADF)
}
