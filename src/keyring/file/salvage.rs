//! Recovering a damaged key file: its intact records, in a new file.

use super::error::KeyFileError;
use super::format::{Damaged, KeyFileFault, Salvaged, salvage};
use super::keyring::FileKeyring;
use super::open_key_file::OpenKeyFile;
use super::options::{FileKeyringOptions, software};
use super::protection::Protection;
use super::snapshot::{Snapshot, at};
use crate::OsRandom;
use crate::error::Error;
use crate::format::KeyVersion;
use crate::keyring::wrapping_key::KeyMaterialStore;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use std::path::Path;

/// The revision of a damaged file whose revision is lost: above any that single changes reach.
const LOST_REVISION: u64 = 1 << 40;

/// The intact records of a damaged key file.
///
/// The damaged file is only read. [`create`](Self::create) writes the intact records to a new one.
/// Check [`damaged`](Self::damaged) first: messages under a lost version stay unreadable, and a
/// backup of the file may still have the version.
///
/// # Security
///
/// Each record is authenticated on its own, and the file as a whole is not. Anyone who could write
/// to the file could leave out records, or put back those of an earlier state of the same file.
pub struct Salvage {
    salvaged: Salvaged,
}

impl Salvage {
    /// Reads the intact records of the file `path`, which may be undamaged.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`] if the file cannot be read, or if `protection` opens neither its header nor
    /// the copy of the header at the end.
    pub fn read(path: impl AsRef<Path>, protection: &Protection) -> Result<Self, Error> {
        let options = FileKeyringOptions::new().allow_permissions();
        Salvage::read_with(path, protection, &options)
    }

    /// [`read`](Self::read) with the file rules of `options`, for a file of another owner.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read).
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

    /// Every intact version, with the name of its master key.
    pub fn intact(&self) -> &[(String, KeyVersion)] {
        &self.salvaged.intact
    }

    /// Every line that was not taken as it is, and why.
    pub fn damaged(&self) -> &[Damaged] {
        &self.salvaged.damaged
    }

    /// Returns the change number of the damaged file; `None` if it is lost.
    pub fn change_number(&self) -> Option<u64> {
        self.salvaged.revision.map(|_| self.salvaged.file.keysets().change())
    }

    /// Writes the intact records to a new file `path`, and opens it.
    ///
    /// Its change number is above that of the damaged file and the anchor of `options`; if it is
    /// lost, above any that single changes reach. A lost primary is not replaced: promote another
    /// version, or rotate.
    ///
    /// # Errors
    ///
    /// Those of [`FileKeyring::create`]; [`KeyFileFault::TokenVersion`] if a version is on a token;
    /// [`KeyFileFault::ChangeNumber`] if no higher change number exists. Nothing was written then.
    pub fn create(
        &self,
        path: impl AsRef<Path>,
        protection: &Protection,
        options: &FileKeyringOptions,
    ) -> Result<FileKeyring, Error> {
        self.create_with(path.as_ref(), protection, options, &software())
    }

    /// [`create`](Self::create), with external key material of `source`.
    pub(crate) fn create_with(
        &self,
        path: &Path,
        protection: &Protection,
        options: &FileKeyringOptions,
        source: &Arc<dyn KeyMaterialStore>,
    ) -> Result<FileKeyring, Error> {
        let store = options.store(path)?;
        if options.read_only {
            return Err(KeyFileError::ReadOnly { path: store.path().to_path_buf() }.into());
        }
        let last_load = self.salvaged.revision.unwrap_or(LOST_REVISION).max(options.anchor);
        let none_left = || at(store.path())(KeyFileFault::ChangeNumber);
        let revision = last_load.checked_add(1).ok_or_else(none_left)?;
        let state = Snapshot::salvaged(&self.salvaged, revision, protection, source, &mut OsRandom);
        let state = state.map_err(at(store.path()))?;
        Ok(FileKeyring::of(OpenKeyFile::create_with(store, options.clone(), state, protection)?))
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
