//! The journal of a rewrap in place: both headers, so that a torn one can be told and mended.
//!
//! ```text
//! magic (24) || header length L (2, big-endian) || old header (L) || new header (L) || check (32)
//! ```
//!
//! The check tells a journal that was written to its end from one that was not. It keeps nobody
//! from making one: what a journal says counts only as far as [`Journal::verdict`] finds the
//! file to be made of the two headers, byte by byte.
//!
//! That is also the assumption on the medium: each byte of a write that was cut off is the old one
//! or the new one. A sector of zeros or garbage is [`Verdict::Other`], as is any file that somebody
//! else has written meanwhile: which of the two it is cannot be told, so nothing is overwritten, the
//! journal stays while the file does not open, and both headers are in it for a mend by hand (see
//! [`Envelope::rewrap_file`](crate::Envelope::rewrap_file)).

use super::bytes::{read_at, write};
use super::error::{MessageFileError, open_refused, refused};
use super::paths::{MessagePaths, Name, is_absent, is_too_long, stat_regular};
use crate::crypto::kdf;
use crate::format::codec::concat;
use crate::format::{Header, MAX_HEADER_LEN};
use crate::fs::{DirectoryFile, FileAction, FileStat, uninterrupted};
use alloc::vec::Vec;
use std::io;

const MAGIC: &[u8; 24] = b"envelock rewrap journal\n";
const CHECK_LEN: usize = 32;
const MAX_LEN: usize = MAGIC.len() + 2 + 2 * MAX_HEADER_LEN + CHECK_LEN;

/// Two headers of one message, of the same length.
pub(super) struct Journal {
    pub(super) old: Vec<u8>,
    pub(super) new: Vec<u8>,
}

/// What a file begins with, beside its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The old header: the new one was not begun.
    Old,
    /// The new header.
    New,
    /// Some bytes of one and some of the other: a write was cut off, or is under way.
    Torn,
    /// Something else, so that the journal tells nothing of it.
    Other,
}

/// What has the name of a journal.
pub(super) enum Found {
    Nothing,
    /// A file that no journal was written to, to its end.
    Invalid,
    Journal(Journal),
}

impl Journal {
    pub(super) fn verdict(&self, header: &[u8]) -> Verdict {
        let is_mixed = || {
            header.len() == self.old.len()
                && header
                    .iter()
                    .zip(self.old.iter().zip(&self.new))
                    .all(|(byte, (old, new))| byte == old || byte == new)
        };
        match header {
            _ if header == self.old => Verdict::Old,
            _ if header == self.new => Verdict::New,
            _ if is_mixed() => Verdict::Torn,
            _ => Verdict::Other,
        }
    }

    fn encode(old: &[u8], new: &[u8]) -> Option<Vec<u8>> {
        let len = u16::try_from(new.len()).ok().filter(|_| old.len() == new.len())?.to_be_bytes();
        let check = check(&len, old, new)?;
        let parts: [&[u8]; 5] = [MAGIC, &len, old, new, &check];
        let mut bytes = alloc::vec![0; parts.iter().map(|part| part.len()).sum()];
        concat(&mut bytes, &parts)?;
        Some(bytes)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(MAGIC)?;
        let (len, rest) = rest.split_first_chunk::<2>()?;
        let header_len = usize::from(u16::from_be_bytes(*len));
        let (old, rest) = rest.split_at_checked(header_len)?;
        let (new, claimed) = rest.split_at_checked(header_len)?;
        if check(len, old, new)? != *claimed {
            return None;
        }
        let cores = (Header::parse_detached(old).ok()?, Header::parse_detached(new).ok()?);
        let is_one_message = cores.0.core().as_bytes() == cores.1.core().as_bytes();
        is_one_message.then(|| Journal { old: old.to_vec(), new: new.to_vec() })
    }
}

/// A checksum, by the hash that is there; its key is no secret.
fn check(len: &[u8], old: &[u8], new: &[u8]) -> Option<[u8; CHECK_LEN]> {
    let mut check = [0; CHECK_LEN];
    kdf::expand_sha256(MAGIC, &[len, old, new], &mut check).ok()?;
    Some(check)
}

impl MessagePaths {
    /// Reads the journal of the message that `message` is the `stat` of.
    pub(super) fn read_journal(&self, message: &FileStat) -> Result<Found, MessageFileError> {
        let Name { name, path } = &self.journal;
        let foreign = || MessageFileError::ForeignJournal { path: path.clone() };
        let file = match uninterrupted(|| self.directory.open(name)) {
            Err(error) if is_absent(&error) => return Ok(Found::Nothing),
            opened => opened.map_err(open_refused(path)),
        };
        let file = match file {
            Ok(file) => file,
            Err(MessageFileError::NotRegular { .. }) => return Err(foreign()),
            Err(error) => return Err(error),
        };
        let stat = match stat_regular(&*file, path) {
            Err(MessageFileError::NotRegular { .. }) => return Err(foreign()),
            other => other?,
        };
        // In a directory where everybody may create files, everybody may create one of this name.
        if ![message.uid, 0, self.directory.effective_uid()].contains(&stat.uid) {
            return Err(foreign());
        }
        let Some(len) = usize::try_from(stat.len).ok().filter(|&len| len <= MAX_LEN) else {
            return Ok(Found::Invalid);
        };
        let mut bytes = alloc::vec![0; len];
        let read = read_at(&*file, &mut bytes, 0).map_err(refused(FileAction::Read, path))?;
        let journal = bytes.get(..read).and_then(Journal::decode);
        Ok(journal.map_or(Found::Invalid, Found::Journal))
    }

    /// Writes the journal of the open `message`, durably; answers `false` if
    /// its name is too long for the file system.
    pub(super) fn write_journal(
        &self,
        message: &dyn DirectoryFile,
        old: &[u8],
        new: &[u8],
    ) -> Result<bool, MessageFileError> {
        let Name { name, path } = &self.journal;
        let bytes = Journal::encode(old, new)
            .ok_or(io::ErrorKind::InvalidInput.into())
            .map_err(refused(FileAction::Write, path))?;
        let mut file = match uninterrupted(|| self.directory.create_new(name)) {
            Err(error) if is_too_long(&error) => return Ok(false),
            created => created.map_err(refused(FileAction::Create, path))?,
        };
        let filled = super::owner::resemble(&*file, message, path)
            .and_then(|()| write(&mut *file, &bytes).map_err(refused(FileAction::Write, path)))
            .and_then(|()| file.sync().map_err(refused(FileAction::Sync, path)))
            .and_then(|()| {
                let directory = self.directory.path();
                self.sync_directory().map_err(refused(FileAction::SyncDirectory, directory))
            });
        // Nothing has been done yet that it would be needed for.
        filled.inspect_err(|_| drop(self.remove(&self.journal))).map(|()| true)
    }
}
