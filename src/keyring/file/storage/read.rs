//! Reading a whole file that others may replace at the same time.

use super::fingerprint::Fingerprint;
use super::store::Store;
use crate::fs::{
    DirectoryFile, FileAction, FileStat, Location, failed, fill, stat_of, uninterrupted,
};
use crate::keyring::file::error::KeyFileError;
use alloc::vec::Vec;
use core::fmt;
use zeroize::Zeroizing;

/// The content of a file, wiped on drop: without a protection it is key material.
pub struct Loaded {
    bytes: Zeroizing<Vec<u8>>,
    fingerprint: Fingerprint,
}

impl Loaded {
    pub(super) fn new(bytes: Zeroizing<Vec<u8>>, fingerprint: Fingerprint) -> Self {
        Loaded { bytes, fingerprint }
    }

    /// The whole content.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The fingerprint of the file when it was read.
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
        self.check(&before)?;
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
    ) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
        // Allocated once: growing would leave a copy of key material. `len` is within the limit.
        let room = usize::try_from(len).ok().and_then(|len| len.checked_add(1));
        let room = room.ok_or_else(|| self.too_large(len))?;
        let mut bytes = Zeroizing::new(alloc::vec![0; room]);
        let filled = fill(&mut bytes, |rest, _| uninterrupted(|| file.read(rest)))
            .map_err(failed(FileAction::Read, self.path()))?;
        bytes.truncate(filled);
        Ok(bytes)
    }
}
