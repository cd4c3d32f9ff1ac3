//! What an open key file tells of itself, and opening it anew in place.

use super::error::KeyFileError;
use super::format::KeyFileFault;
use super::inner::{Inner, LoadedKeysets};
use super::keyring::FileKeyring;
use super::protection::Protection;
use super::protection_record::OuterFreshness;
use super::snapshot::at;
use crate::error::Error;
use crate::format::KeyVersion;
use crate::keyset::VersionRecord;
use alloc::vec::Vec;
use core::time::Duration;

/// How an open key file is: what an endpoint for health checks reports.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KeyFileHealth {
    /// How long ago the file was last looked at. While nothing is encrypted or decrypted, nobody
    /// looks; [`FileKeyring::reload`] does.
    pub last_look: Duration,
    /// Why the file could not be loaded at the last look, if it could not: nothing is wrapped
    /// until it can be.
    pub last_error: Option<KeyFileError>,
    /// The number of the last change that is loaded.
    pub change: u64,
    /// Why the file cannot be changed from here, as far as that can be told without a change:
    /// it was opened read-only, its medium or directory cannot be written, a newer library
    /// must write it.
    pub write_error: Option<KeyFileError>,
    /// The length of the file in bytes, with the room that its counters can still take: 64 MiB at
    /// most, and no change is made that would go beyond.
    pub size: usize,
    /// How much of 64 MiB that is, in per cent. From 80 on each change is told
    /// ([`Event::KeyFileFilling`](crate::observe::Event::KeyFileFilling)).
    pub filled: u8,
    /// How the outer keys stand that keep the file key: as [`FileKeyring::outer_freshness`].
    pub outer: Vec<OuterFreshness>,
}

impl FileKeyring {
    /// The number of the last change of the file, looked at now; of what is loaded if it cannot be
    /// read. An anchor for [`at_least_change`](crate::file::FileKeyringOptions::at_least_change).
    ///
    /// It grows by one with each change of keys, states, names, labels and protections, and never
    /// with usage.
    pub fn change_number(&self) -> u64 {
        self.reloaded_keysets().change()
    }

    /// The primary version of this keyring's master key. Looks at the file as
    /// [`change_number`](Self::change_number) does.
    pub fn primary_version(&self) -> Option<KeyVersion> {
        self.reloaded_keysets().resolve(&self.selection.key).ok()?.primary()
    }

    /// The record of every version of this keyring's master key, lowest first. Looks at the file
    /// as [`change_number`](Self::change_number) does.
    pub fn versions(&self) -> Vec<VersionRecord> {
        drop(self.inner.reload());
        let keysets = self.inner.keysets_with_usage();
        let keyset = keysets.resolve(&self.selection.key);
        keyset.map(|keyset| keyset.versions().to_vec()).unwrap_or_default()
    }

    /// The keysets of the file as it is now, or what was loaded of it if it cannot be read; why,
    /// tells [`last_error`](Self::last_error).
    fn reloaded_keysets(&self) -> LoadedKeysets {
        drop(self.inner.reload());
        self.inner.keysets()
    }

    /// How the file is, without a look at its content: a few system calls, and no lock.
    pub fn health(&self) -> KeyFileHealth {
        let inner = &self.inner;
        let state = inner.snapshot().clone();
        KeyFileHealth {
            last_look: inner.since_poll(),
            last_error: inner.last_error(),
            change: state.keys.keysets.change(),
            size: state.size(),
            filled: state.filled(),
            write_error: inner.check_writable().err(),
            outer: inner.outer_freshness(),
        }
    }

    /// Opens the file anew in place: this handle, every other one of the same opening
    /// ([`with_key`](Self::with_key)), and each [`Envelope`](crate::Envelope) over one of them go
    /// on with what the file holds now, whatever was known of it before.
    ///
    /// For a file that is refused ([`KeyFileError::RolledBack`], [`KeyFileError::Diverged`],
    /// [`KeyFileError::Poisoned`], a replaced file key), once somebody has decided that what is
    /// there now is right. Versions that only the former content had are gone from then on.
    ///
    /// # Errors
    ///
    /// As [`open_any`](Self::open_any) with the options of the first opening, the anchor among
    /// them. After an error everything stays as it was.
    pub fn reopen(&self, protection: &Protection) -> Result<(), Error> {
        Ok(self.inner.reopen(protection)?)
    }
}

impl Inner {
    /// Why the file cannot be written, as far as that can be told.
    fn check_writable(&self) -> Result<(), KeyFileError> {
        if self.options.read_only {
            return Err(self.read_only_error());
        }
        if let Some(name) = self.snapshot().unknown_critical() {
            let fault = KeyFileFault::UnknownCritical { name: name.into() };
            return Err(at(self.path())(fault));
        }
        self.store.check_writable()
    }
}
