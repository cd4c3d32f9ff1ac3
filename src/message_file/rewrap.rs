//! A change of the header of a message in a file: a rewrap, a grant, the removal of a name.
//!
//! In place, in this order: the journal with both headers, its sync, that of the directory; the
//! new header over the old one, its sync; the removal of the journal. So whenever the header can be
//! torn, a durable journal repairs it, and the journal is removed only once the header is durable.
//! The removal need not be durable: a journal that comes back finds the new header whole.

use super::error::MessageFileError;
use super::journal::{HeaderState, Journal, JournalFile};
use super::message::read_header;
use super::paths::MessagePaths;
use crate::envelope::{Envelope, RewrapOptions, RewrapReport};
use crate::error::Error;
use crate::fs::{
    FileAction, FileError, FileLock, FileStat, TempFile, copy_ownership, failed, not_durable,
    read_at, stat_of, write_at_start,
};
use crate::keyring::Keyring;
use crate::random::RandomSource;
use alloc::vec::Vec;
use std::io;

/// How much is copied at once.
const BUFFER_LEN: usize = 256 * 1024;

/// How a file was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileChange {
    /// Nothing was written: the header stays as it is.
    Unchanged,
    /// The header was overwritten; the body was neither read nor written.
    InPlace,
    /// The file was copied: the new header is longer than the old one, or the name of the file is too
    /// long for a journal beside it.
    Copied,
}

/// The outcome of a rewrap of a file.
#[derive(Clone, Debug)]
#[must_use = "only this reports the slots that were left"]
pub struct FileRewrap {
    change: FileChange,
    report: RewrapReport,
}

impl FileRewrap {
    /// Returns how the file was changed.
    pub fn change(&self) -> FileChange {
        self.change
    }

    /// Returns what was done with each slot, and why some were left.
    pub fn report(&self) -> &RewrapReport {
        &self.report
    }
}

/// Rewraps the message in a file.
pub(crate) fn rewrap_file<K: Keyring, R: RandomSource>(
    envelope: &Envelope<K, R>,
    paths: &MessagePaths,
    options: RewrapOptions<'_>,
) -> Result<FileRewrap, Error> {
    let rewrap = |header: &[u8]| Ok(envelope.rewrap(header, options)?.into_parts());
    let (change, report) = change_header(envelope, paths, rewrap)?;
    Ok(FileRewrap { change, report })
}

/// Replaces the header of the message in a file, durably, by what `change` returns for it.
pub(crate) fn change_header<K: Keyring, R: RandomSource, T>(
    envelope: &Envelope<K, R>,
    paths: &MessagePaths,
    change: impl FnOnce(&[u8]) -> Result<(Vec<u8>, T), Error>,
) -> Result<(FileChange, T), Error> {
    let job = HeaderChange::begin(paths)?;
    let (old, is_repaired) = job.recover(envelope)?;
    let (new, outcome) = change(&old)?;
    job.require_one_name()?;
    Ok((job.commit(&old, &new, is_repaired).map_err(MessageFileError::from)?, outcome))
}

/// The change of one header, under the lock of its file.
pub(super) struct HeaderChange<'a> {
    paths: &'a MessagePaths,
    pub(super) message: FileLock,
}

impl<'a> HeaderChange<'a> {
    pub(super) fn begin(paths: &'a MessagePaths) -> Result<Self, MessageFileError> {
        Ok(HeaderChange { paths, message: paths.lock()? })
    }

    /// Finishes a change that was cut off. Returns the header that is in the file from now on, with
    /// no journal beside it, and whether it was repaired.
    pub(super) fn recover<K: Keyring, R: RandomSource>(
        &self,
        envelope: &Envelope<K, R>,
    ) -> Result<(Vec<u8>, bool), Error> {
        let header = read_header(&*self.message.file)
            .map_err(failed(FileAction::Read, &self.paths.message.path))
            .map_err(MessageFileError::from)?;
        let journal = match Journal::read(self.paths, &self.message.stat)? {
            JournalFile::Missing => return Ok((header, false)),
            JournalFile::Invalid => None,
            JournalFile::Valid(journal) => Some(journal),
        };
        let state =
            journal.as_ref().map_or(HeaderState::Other, |journal| journal.state_of(&header));
        let is_torn = state == HeaderState::Torn;
        // Until one header has opened, the journal is the last copy of the other.
        let header = match journal {
            Some(journal) if is_torn => choose(envelope, journal)?,
            _ => envelope.check_opens(&header).map(|()| header)?,
        };
        self.require_one_name()?;
        if state != HeaderState::Other {
            // Also where nothing differs: what was read can be in memory alone after a failed sync,
            // and a sync writes only what was written again.
            self.write_header(&header).map_err(MessageFileError::from)?;
        }
        self.paths.journal.remove().map_err(MessageFileError::from)?;
        Ok((header, is_torn))
    }

    /// Refuses a message with several names, once it is known to be a message that opens here.
    pub(super) fn require_one_name(&self) -> Result<(), MessageFileError> {
        let path = &self.paths.message.path;
        let links = || stat_of(&*self.message.file, path).map(|stat| stat.links);
        if links()? > 1 {
            self.paths.remove_temporary_names(&self.message.stat);
        }
        match links()? {
            0 | 1 => Ok(()),
            links => Err(MessageFileError::HardLinks { path: path.clone(), links }),
        }
    }

    /// Puts `new` in the place of `old`.
    fn commit(&self, old: &[u8], new: &[u8], is_repaired: bool) -> Result<FileChange, FileError> {
        let change = if new == old {
            if is_repaired {
                FileChange::InPlace
            } else {
                // The process that wrote it can have been killed before its sync, and the caller may
                // destroy the old version next.
                self.sync_header()?;
                self.paths.sync_names()?;
                FileChange::Unchanged
            }
        } else if new.len() == old.len()
            && Journal::write(self.paths, &*self.message.file, old, new)?
        {
            self.overwrite(old, new)?;
            FileChange::InPlace
        } else {
            self.copy(old, new)?;
            return Ok(FileChange::Copied);
        };
        // A process that does not use the lock can have replaced the file, which is not rewrapped then.
        if !self.message.is_current()? {
            return Err(FileError::Changed { path: self.paths.message.path.clone() });
        }
        Ok(change)
    }

    /// Overwrites the header `old` by `new`, of which there is a journal.
    fn overwrite(&self, old: &[u8], new: &[u8]) -> Result<(), FileError> {
        let journal = &self.paths.journal;
        self.check_unchanged(old).inspect_err(|_| drop(journal.remove()))?;
        self.write_header(new).inspect_err(|error| {
            // A copy-on-write medium can be full. For readers that ignore journals the old header is
            // written back if that is possible; the journal stays.
            if matches!(error, FileError::Io { .. }) {
                drop(write_at_start(&*self.message.file, old));
            }
        })?;
        // A journal that cannot be removed finds its header whole.
        drop(journal.remove());
        Ok(())
    }

    /// Replaces the file by one with the header `new` in the place of `old`, durably.
    fn copy(&self, old: &[u8], new: &[u8]) -> Result<(), FileError> {
        let path = &self.paths.message.path;
        let (mut file, before) = self.new_file()?;
        file.write(new)?;
        let mut buffer = alloc::vec![0; BUFFER_LEN];
        let mut at = old.len() as u64;
        loop {
            let read = read_at(&*self.message.file, &mut buffer, at)
                .map_err(failed(FileAction::Read, path))?;
            let bytes = buffer.get(..read).ok_or(io::ErrorKind::InvalidData.into());
            file.write(bytes.map_err(failed(FileAction::Read, path))?)?;
            // Saturates: more than `before.len` is refused below.
            at = at.saturating_add(read as u64);
            if read < BUFFER_LEN {
                break;
            }
        }
        if at != before.len {
            return Err(FileError::Changed { path: path.clone() });
        }
        self.put(file, old, &before)
    }

    /// Creates the file that is to replace the message, with its owner and mode, and returns the `stat` of
    /// the message.
    pub(super) fn new_file(&self) -> Result<(TempFile<'_>, FileStat), FileError> {
        let HeaderChange { paths, message } = self;
        let before = stat_of(&*message.file, &paths.message.path)?;
        let file = paths.new_file()?;
        copy_ownership(&*message.file, file.file(), file.path())?;
        Ok((file, before))
    }

    /// Puts the complete `file` in the place of the message, durably, unless a process that does not use the
    /// lock changed that meanwhile.
    pub(super) fn put(
        &self,
        mut file: TempFile<'_>,
        old: &[u8],
        before: &FileStat,
    ) -> Result<(), FileError> {
        let path = &self.paths.message.path;
        file.sync()?;
        let after = stat_of(&*self.message.file, path)?;
        if (before.len, before.modified) != (after.len, after.modified) {
            return Err(FileError::Changed { path: path.clone() });
        }
        self.check_unchanged(old)?;
        file.replace()?;
        self.paths.sync_names()
    }

    /// Refuses if a process that does not use the lock replaced the file or its header.
    fn check_unchanged(&self, old: &[u8]) -> Result<(), FileError> {
        let path = &self.paths.message.path;
        let header = read_header(&*self.message.file).map_err(failed(FileAction::Read, path))?;
        if header != old || !self.message.is_current()? {
            return Err(FileError::Changed { path: path.clone() });
        }
        Ok(())
    }

    fn write_header(&self, header: &[u8]) -> Result<(), FileError> {
        write_at_start(&*self.message.file, header)
            .map_err(failed(FileAction::Write, &self.paths.message.path))?;
        self.sync_header()
    }

    fn sync_header(&self) -> Result<(), FileError> {
        self.message.file.sync().map_err(not_durable(&self.paths.message.path))
    }
}

/// Returns the header that replaces a torn one: the new one, or the old one if only that opens, as
/// after a rotation that was undone.
fn choose<K: Keyring, R: RandomSource>(
    envelope: &Envelope<K, R>,
    journal: Journal,
) -> Result<Vec<u8>, Error> {
    let Journal { old, new } = journal;
    match envelope.check_opens(&new) {
        Ok(()) => Ok(new),
        // A header that may open later is kept.
        Err(error) if error.is_retryable() || envelope.check_opens(&old).is_err() => Err(error),
        Err(_) => Ok(old),
    }
}
