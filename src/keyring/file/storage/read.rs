//! Reading the whole of a file that others may be replacing.

use super::fingerprint::Fingerprint;
use super::location::Place;
use super::permissions::{open_refused, refused};
use super::store::Store;
use crate::fs::{DirectoryFile, FileAction, FileStat, uninterrupted};
use crate::keyring::file::error::KeyFileError;
use alloc::vec::Vec;
use core::fmt;
use std::io;
use zeroize::Zeroize;

/// What a file held, wiped on drop: under no protection it is key material.
pub struct Loaded {
    bytes: Vec<u8>,
    fingerprint: Fingerprint,
}

impl Loaded {
    /// The whole content.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What the file can be known again by.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

impl fmt::Debug for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loaded").field("len", &self.bytes.len()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens, checks and reads the file at `place`, and syncs what names it; `None` if it changed
    /// meanwhile.
    pub(super) fn read(&self, place: &Place) -> Result<Option<Loaded>, KeyFileError> {
        let mut file = match uninterrupted(|| place.directory.open(&place.name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(KeyFileError::NotFound { path: self.path().to_path_buf() });
            }
            Err(error) => return Err(open_refused(FileAction::Open, self.path())(error)),
        };
        let before = self.stat_of(&*file)?;
        self.check(&before)?;
        if !self.is_current(place, &*file, &before)? {
            return Ok(None);
        }
        let loaded = Loaded {
            bytes: self.read_all(&mut *file, before.len)?,
            fingerprint: Fingerprint::of(&before),
        };
        let after = self.stat_of(&*file)?;
        // Not `changed`: a replacement takes the name away, and what was read stays whole.
        let is_same = loaded.bytes.len() as u64 == before.len
            && (before.len, before.modified) == (after.len, after.modified);
        if is_same {
            self.sync_state.sync_for_reader(place, Some(&*file))?;
        }
        Ok(is_same.then_some(loaded))
    }

    /// Whether the file still had a name when it was opened.
    ///
    /// A mount of a single file pins the file, not the name: whoever replaces it outside takes its
    /// last name away, and inside the mount the name leads to the old file for ever.
    fn is_current(
        &self,
        place: &Place,
        file: &dyn DirectoryFile,
        stat: &FileStat,
    ) -> Result<bool, KeyFileError> {
        let path = self.path();
        let is_pinned = if stat.links == 0 {
            place.stat()?.is_same_file(stat)
        } else {
            uninterrupted(|| file.is_mount_root()).map_err(refused(FileAction::Inspect, path))?
        };
        if is_pinned {
            return Err(KeyFileError::MountedAlone { path: path.to_path_buf() });
        }
        Ok(stat.links > 0)
    }

    fn stat_of(&self, file: &dyn DirectoryFile) -> Result<FileStat, KeyFileError> {
        uninterrupted(|| file.stat()).map_err(refused(FileAction::Inspect, self.path()))
    }

    /// Reads up to one byte more than `len`, by which a file that grows gives itself away.
    fn read_all(&self, file: &mut dyn DirectoryFile, len: u64) -> Result<Vec<u8>, KeyFileError> {
        // `len` has been checked against the limit. Allocated once: no copy of key material is
        // left behind by growing.
        let mut bytes =
            alloc::vec![0; usize::try_from(len).unwrap_or(usize::MAX).saturating_add(1)];
        let mut filled: usize = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match uninterrupted(|| file.read(rest)) {
                Ok(0) => break,
                Ok(read) => filled = filled.saturating_add(read),
                Err(error) => {
                    bytes.zeroize();
                    return Err(refused(FileAction::Read, self.path())(error));
                }
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}
