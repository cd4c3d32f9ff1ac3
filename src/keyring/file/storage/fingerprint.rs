//! Noticing that a file was changed, at the price of one `stat`.

use crate::fs::{FileStat, FileTime};
use core::time::Duration;
use std::time::SystemTime;

/// How long before it was read a file must have been changed for its stamp to be trusted. The
/// kernel keeps time in ticks of up to 10 ms; the rest is margin.
const TICK: Duration = Duration::from_millis(100);

/// The same for file systems that keep whole seconds: FAT keeps even ones.
const COARSE_TICK: Duration = Duration::from_millis(2_100);

/// What tells one state of a file from another: device, inode, length and times.
///
/// Two states can have one fingerprint: an inode is given out anew as soon as its last name is gone,
/// so a file that is replaced twice within one tick of the file system's clock can have inode,
/// length and times of the first again. That takes a second change within the tick of the first.
/// So a stamp is trusted only if the file had rested for longer than a tick when it was read:
/// whoever holds a stamp that is not [settled](Self::is_settled) reads the file once more.
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

    /// Whether both are of one content: names, owner and mode may have changed in between.
    pub(crate) fn is_same_content(&self, other: &Fingerprint) -> bool {
        Fingerprint { changed: other.changed, ..*self } == *other
    }

    /// Whether every later state of the file has another stamp, given that it was read at
    /// `read_at`: the time just *before* the load, by the clock of the file system's machine.
    ///
    /// A file from the future is never settled, which costs reads and no change goes unseen.
    pub fn is_settled(&self, read_at: SystemTime) -> bool {
        let is_coarse = self.modified.nanoseconds == 0 && self.changed.nanoseconds == 0;
        let tick = if is_coarse { COARSE_TICK } else { TICK };
        let latest = self.modified.max(self.changed);
        // A file from before 1970 has rested for long enough.
        let since_1970 =
            Duration::new(u64::try_from(latest.seconds).unwrap_or(0), latest.nanoseconds);
        since_1970
            .checked_add(tick)
            .and_then(|rested| SystemTime::UNIX_EPOCH.checked_add(rested))
            .is_some_and(|rested| rested <= read_at)
    }
}
