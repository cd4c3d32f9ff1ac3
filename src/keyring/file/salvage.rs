//! Going on from a damaged key file: what is intact, in a new file.

use super::error::KeyFileError;
use super::format::{Damaged, KeyFileFault, Salvaged, salvage};
use super::inner::Inner;
use super::keyring::FileKeyring;
use super::options::{FileKeyringOptions, software};
use super::protection::Protection;
use super::snapshot::{Snapshot, at};
use crate::OsRandom;
use crate::error::Error;
use crate::format::KeyVersion;
use crate::keyring::held::KeySource;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use std::path::Path;

/// The revision of a file whose own is lost.
const BEYOND_ANY: u64 = 1 << 40;

/// What is intact of a key file that does not open any more.
///
/// The damaged file is only read. [`create`](Self::create) makes a new one of what was found;
/// look at [`damaged`](Self::damaged) first, since messages under a version that is lost stay
/// unreadable, and a copy of the file may still have it.
///
/// # Security
///
/// A file as a whole vouches for what belongs together; salvage goes by single records, each of
/// which is authentic. Whoever could write to the file could leave out records, or put back
/// those of an earlier state of the same file.
pub struct Salvage {
    salvaged: Salvaged,
}

impl Salvage {
    /// Reads what is intact of the file `path`. Works on intact files, too.
    ///
    /// # Errors
    ///
    /// [`Error::Backend`] if the file cannot be read, or if `protection` opens neither its header
    /// nor the copy of it at the end.
    pub fn read(path: impl AsRef<Path>, protection: &Protection) -> Result<Self, Error> {
        let options = FileKeyringOptions::new().allow_permissions();
        Salvage::read_with(path, protection, &options)
    }

    /// As [`read`](Self::read), by the rules of `options`: of a file of another owner, for
    /// instance.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn read_with(
        path: impl AsRef<Path>,
        protection: &Protection,
        options: &FileKeyringOptions,
    ) -> Result<Self, Error> {
        let store = options.store(path.as_ref())?;
        let loaded = store.load()?;
        let salvaged = salvage(loaded.bytes(), protection).map_err(at(store.path()))?;
        Ok(Salvage { salvaged })
    }

    /// Every version that is intact, with the name of its master key.
    pub fn intact(&self) -> &[(String, KeyVersion)] {
        &self.salvaged.intact
    }

    /// Every line of the file that is of no use, and why.
    pub fn damaged(&self) -> &[Damaged] {
        &self.salvaged.damaged
    }

    /// The change number of the damaged file; `None` if it is lost.
    pub fn change_number(&self) -> Option<u64> {
        self.salvaged.revision.map(|_| self.salvaged.file.keysets().change())
    }

    /// Writes what is intact to a new file `path`, and opens it.
    ///
    /// Its change number is above that of the damaged file, or the one that `options` demand if that
    /// is higher; where it is lost, above any that a file can have come to by single changes. A primary that was lost is not replaced: promote another version, or rotate.
    ///
    /// # Errors
    ///
    /// As [`FileKeyring::create`]; [`KeyFileFault::TokenVersion`] if a version is on a token:
    /// nothing was written. [`KeyFileFault::ChangeNumber`] if there is none above that of the damaged
    /// file.
    pub fn create(
        &self,
        path: impl AsRef<Path>,
        protection: &Protection,
        options: &FileKeyringOptions,
    ) -> Result<FileKeyring, Error> {
        self.create_with(path.as_ref(), protection, options, &software())
    }

    /// As [`create`](Self::create), for a file whose versions are those of `source`.
    ///
    /// # Errors
    ///
    /// As there.
    pub(crate) fn create_with(
        &self,
        path: &Path,
        protection: &Protection,
        options: &FileKeyringOptions,
        source: &Arc<dyn KeySource>,
    ) -> Result<FileKeyring, Error> {
        let store = options.store(path)?;
        if options.read_only {
            return Err(KeyFileError::ReadOnly { path: store.path().to_path_buf() }.into());
        }
        let last_load = self.salvaged.revision.unwrap_or(BEYOND_ANY).max(options.anchor);
        let none_left = || at(store.path())(KeyFileFault::ChangeNumber);
        let revision = last_load.checked_add(1).ok_or_else(none_left)?;
        let state = Snapshot::salvaged(&self.salvaged, revision, protection, source, &mut OsRandom);
        let state = state.map_err(at(store.path()))?;
        Ok(FileKeyring::of(Inner::create_with(store, options.clone(), state, protection)?))
    }
}

impl fmt::Debug for Salvage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Salvage")
            .field("intact", &self.intact())
            .field("damaged", &self.damaged())
            .finish_non_exhaustive()
    }
}
