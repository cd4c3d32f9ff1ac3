//! The rewrap of a message in a file.
//!
//! In place, in this order: the journal with both headers, its sync, that of the directory; the
//! new header over the old one, its sync; the journal's removal. So whenever the header can be
//! torn, a durable journal is there that mends it; and it is removed only once the header is
//! durable. That removal need not be: a journal that comes back finds the new header whole.

use super::bytes::{read_header, write_at_start};
use super::error::{MessageFileError, not_durable, refused};
use super::journal::{Found, Journal, Verdict};
use super::lock::{Locked, WAIT};
use super::paths::MessagePaths;
use super::rewrite;
use crate::envelope::{Envelope, RewrapOptions, RewrapReport};
use crate::error::Error;
use crate::fs::{FileAction, uninterrupted};
use crate::keyring::Keyring;
use crate::random::RandomSource;
use alloc::vec::Vec;

/// What a rewrap did to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileChange {
    /// Nothing: no slot was to be changed.
    Unchanged,
    /// The header was overwritten; the body was neither read nor written.
    InPlace,
    /// The new header did not fit in the room of the old one, or the name of the file is too long for
    /// a journal beside it: the file was copied.
    Copied,
}

/// The outcome of a rewrap of a file.
#[derive(Clone, Debug)]
#[must_use = "a slot that was left is told here alone"]
pub struct FileRewrap {
    change: FileChange,
    report: RewrapReport,
}

impl FileRewrap {
    /// What was written.
    pub fn change(&self) -> FileChange {
        self.change
    }

    /// What was done with each slot, and why some were left.
    pub fn report(&self) -> &RewrapReport {
        &self.report
    }
}

pub(crate) fn rewrap_file<K: Keyring, R: RandomSource>(
    envelope: &Envelope<K, R>,
    place: &MessagePaths,
    options: RewrapOptions<'_>,
) -> Result<FileRewrap, Error> {
    let job = Job { place, message: Locked::message(place, WAIT)? };
    let Settled { header: old, is_mended } = job.settle(envelope)?;
    let (new, report) = envelope.rewrap(&old, options)?.into_parts();
    job.tidy()?;
    let change = match report.is_changed() {
        true if new.len() != old.len() => {
            rewrite::copy(place, &job.message, &old, &new)?;
            return Ok(FileRewrap { change: FileChange::Copied, report });
        }
        true => match job.overwrite(&old, &new)? {
            FileChange::Copied => return Ok(FileRewrap { change: FileChange::Copied, report }),
            change => change,
        },
        false if is_mended => FileChange::InPlace,
        false => {
            job.confirm()?;
            FileChange::Unchanged
        }
    };
    job.check_named()?;
    Ok(FileRewrap { change, report })
}

/// The header that a torn one is mended with: the new one, or the old one if only that opens, as
/// after a rotation that was taken back.
fn either<K: Keyring, R: RandomSource>(
    envelope: &Envelope<K, R>,
    journal: Journal,
) -> Result<Vec<u8>, Error> {
    let Journal { old, new } = journal;
    match envelope.check_opens(&new) {
        Ok(()) => Ok(new),
        // What may open later is not given up.
        Err(error) if error.is_retryable() || envelope.check_opens(&old).is_err() => Err(error),
        Err(_) => Ok(old),
    }
}

/// A header that is in the file, beside no journal.
struct Settled {
    header: Vec<u8>,
    /// Whether it was torn before.
    is_mended: bool,
}

struct Job<'a> {
    place: &'a MessagePaths,
    message: Locked,
}

impl Job<'_> {
    /// Makes sure that the message has one name, once it is known to be a message, and one that
    /// opens here.
    fn tidy(&self) -> Result<(), Error> {
        let path = &self.place.message.path;
        let links = || {
            let stat = uninterrupted(|| self.message.file.stat());
            stat.map(|stat| stat.links).map_err(refused(FileAction::Inspect, path))
        };
        if links()? > 1 {
            self.place.remove_temporary_names(&self.message.stat);
        }
        match links()? {
            0 | 1 => Ok(()),
            links => Err(MessageFileError::HardLinks { path: path.clone(), links }.into()),
        }
    }

    fn header(&self) -> Result<Vec<u8>, MessageFileError> {
        read_header(&*self.message.file)
            .map_err(refused(FileAction::Read, &self.place.message.path))
    }

    /// Finishes what another process began.
    fn settle<K: Keyring, R: RandomSource>(
        &self,
        envelope: &Envelope<K, R>,
    ) -> Result<Settled, Error> {
        let header = self.header()?;
        let journal = match self.place.read_journal(&self.message.stat)? {
            Found::Nothing => return Ok(Settled { header, is_mended: false }),
            Found::Invalid => None,
            Found::Journal(journal) => Some(journal),
        };
        let verdict = journal.as_ref().map_or(Verdict::Other, |journal| journal.verdict(&header));
        let is_mended = verdict == Verdict::Torn;
        // The journal is the last trace of a header until the one that stays has opened.
        let header = match journal {
            Some(journal) if is_mended => either(envelope, journal)?,
            _ => envelope.check_opens(&header).map(|()| header)?,
        };
        self.tidy()?;
        if verdict != Verdict::Other {
            // Even where nothing differs: what was read can be what a failed sync left in memory
            // alone, and only what is written anew is what the next sync is about.
            self.write_header(&header)?;
        }
        self.place.remove(&self.place.journal)?;
        Ok(Settled { header, is_mended })
    }

    /// Puts `new` in the place of `old`, of the same length.
    fn overwrite(&self, old: &[u8], new: &[u8]) -> Result<FileChange, Error> {
        let place = self.place;
        // A name that is too long for a journal beside it leaves the way that needs none.
        if !place.write_journal(&*self.message.file, old, new)? {
            rewrite::copy(place, &self.message, old, new)?;
            return Ok(FileChange::Copied);
        }
        if let Err(error) = rewrite::check_basis(place, &self.message, old) {
            drop(place.remove(&place.journal));
            return Err(error.into());
        }
        self.write_header(new).inspect_err(|error| {
            // A copy-on-write medium can be full. For readers that know nothing of journals the
            // old header is put back if that is possible; the journal stays in any case.
            if matches!(error, MessageFileError::Io { .. }) {
                drop(write_at_start(&*self.message.file, old));
            }
        })?;
        // The rewrap is done. A journal that cannot be removed finds its header whole.
        drop(place.remove(&place.journal));
        Ok(FileChange::InPlace)
    }

    /// Refuses if the name stands for another file by now, which nobody has rewrapped: somebody who
    /// does not heed the lock put it there.
    fn check_named(&self) -> Result<(), MessageFileError> {
        let Job { place, message } = self;
        match place.is_named(&place.message, &message.stat)? {
            true => Ok(()),
            false => Err(MessageFileError::Changed { path: place.message.path.clone() }),
        }
    }

    fn write_header(&self, header: &[u8]) -> Result<(), MessageFileError> {
        let path = &self.place.message.path;
        write_at_start(&*self.message.file, header).map_err(refused(FileAction::Write, path))?;
        self.message.file.sync().map_err(not_durable(path))
    }

    /// Makes durable what was found: whoever wrote it can have been killed before that, and the
    /// caller may destroy the old version once this returns.
    fn confirm(&self) -> Result<(), Error> {
        self.message.file.sync().map_err(not_durable(&self.place.message.path))?;
        Ok(self.place.sync_names()?)
    }
}
