//! The health of an open key file.

use super::error::KeyFileError;
use super::format::KeyFileFault;
use super::keyring::FileKeyring;
use super::open_key_file::{LoadedKeysets, OpenKeyFile};
use super::protection::Protection;
use super::protection_record::OuterFreshness;
use super::snapshot::at;
use crate::error::Error;
use crate::format::KeyVersion;
use crate::keyset::VersionRecord;
use alloc::vec::Vec;
use core::time::Duration;

/// The health of an open key file, for an endpoint of health checks.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KeyFileHealth {
    /// The time since the file was last polled. While nothing is encrypted or decrypted, only
    /// [`FileKeyring::reload`] polls.
    pub since_poll: Duration,
    /// Why the last poll could not load the file, if it could not: until a poll succeeds, wraps
    /// fail.
    pub last_error: Option<KeyFileError>,
    /// The change number that is loaded.
    pub change: u64,
    /// Why this process cannot change the file, as far as a check without a change finds: it is
    /// opened read-only, its medium or directory is not writable, or only a newer library writes it.
    pub write_error: Option<KeyFileError>,
    /// The length of the file in bytes, with room for its counters to grow. A change beyond 64 MiB
    /// fails.
    pub size: usize,
    /// `size` in per cent of 64 MiB. From 80 on each change is reported
    /// ([`Event::KeyFileFilling`](crate::observe::Event::KeyFileFilling)).
    pub filled: u8,
    /// The freshness of the outer keys, as returned by [`FileKeyring::outer_freshness`].
    pub outer: Vec<OuterFreshness>,
}

impl FileKeyring {
    /// Returns the change number of the file, polled now; the loaded one if the file cannot be read. An
    /// anchor for [`at_least_change`](crate::file::FileKeyringOptions::at_least_change).
    ///
    /// It grows by one with each change of keys, states, names, labels and protections, and never
    /// with usage.
    pub fn change_number(&self) -> u64 {
        self.reloaded_keysets().change()
    }

    /// Returns the primary version of this keyring's master key. Polls the file, as
    /// [`change_number`](Self::change_number) does.
    pub fn primary_version(&self) -> Option<KeyVersion> {
        self.reloaded_keysets().resolve(&self.selection.key).ok()?.primary()
    }

    /// Returns the record of every version of this keyring's master key, lowest first. Polls the file, as
    /// [`change_number`](Self::change_number) does.
    pub fn versions(&self) -> Vec<VersionRecord> {
        drop(self.open_file.reload());
        let keysets = self.open_file.keysets_with_usage();
        let keyset = keysets.resolve(&self.selection.key);
        keyset.map_or_else(|_| Vec::new(), |keyset| keyset.versions().to_vec())
    }

    /// The keysets of the file, polled now; the loaded ones if the file cannot be read.
    fn reloaded_keysets(&self) -> LoadedKeysets {
        drop(self.open_file.reload());
        self.open_file.keysets()
    }

    /// Returns the health of the file, without a poll: a few system calls, and no lock.
    pub fn health(&self) -> KeyFileHealth {
        let open_file = &self.open_file;
        let state = open_file.snapshot().clone();
        KeyFileHealth {
            since_poll: open_file.since_poll(),
            last_error: open_file.last_error(),
            change: state.keys.keysets.change(),
            size: state.size(),
            filled: state.filled(),
            write_error: open_file.check_writable().err(),
            outer: open_file.outer_freshness(),
        }
    }

    /// Opens the file again in place, whatever its history: this handle, every handle derived from
    /// the same opening ([`with_key`](Self::with_key)), and each [`Envelope`](crate::Envelope) over
    /// one of them use the new content.
    ///
    /// For a file that is refused ([`KeyFileError::RolledBack`], [`KeyFileError::Diverged`],
    /// [`KeyFileError::Poisoned`], a replaced file key), once an operator has decided that its
    /// content is right. Versions that only the former content had no longer unwrap.
    ///
    /// # Errors
    ///
    /// Those of [`open_any`](Self::open_any), with the options of the first opening, the anchor
    /// among them. After an error nothing has changed.
    pub fn reopen(&self, protection: &Protection) -> Result<(), Error> {
        Ok(self.open_file.reopen(&self.open_file.store.reopened(), protection)?)
    }
}

impl OpenKeyFile {
    /// Finds, without a write, why the file cannot be written.
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
