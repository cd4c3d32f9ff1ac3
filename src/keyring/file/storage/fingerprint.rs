//! A file that was changed is noticed by one `stat`.

use crate::fs::{FileStat, FileTime};
use core::time::Duration;
use std::time::SystemTime;

/// How long before the read the last change must lie for a fingerprint to be settled. The kernel
/// keeps time in ticks of up to 10 ms; the rest is margin.
const TICK: Duration = Duration::from_millis(100);

/// The same for file systems that keep whole seconds; FAT keeps even ones.
const COARSE_TICK: Duration = Duration::from_millis(2_100);

/// Device, inode, length and times of a file, by which a change is noticed.
///
/// Two states can have one fingerprint: an inode is given out anew as soon as its last name is gone,
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
