//! The journal of a rewrap in place: both headers, so that a torn header is found and repaired.
//!
//! ```text
//! magic (24) || header length L (2, big-endian) || old header (L) || new header (L) || check (32)
//! ```
//!
//! The check finds a journal whose write was cut off. It does not keep anybody from forging one: a
//! journal counts only as far as [`Journal::state_of`] finds that the file consists of the two headers,
//! byte by byte.
//!
//! That is also the assumption on the medium: each byte of a write that was cut off is the old one
//! or the new one. A sector of zeros or garbage is [`HeaderState::Other`], as is any file that another
//! process wrote meanwhile. The two cannot be told apart, so nothing is overwritten, the journal stays
//! while the file does not open, and both headers are in it for a repair by hand (see
//! [`rewrap`](crate::file::rewrap)).

use super::error::MessageFileError;
use super::paths::MessagePaths;
use crate::crypto::kdf;
use crate::format::{Header, MAX_HEADER_LEN};
use crate::fs::{
    DirectoryFile, FileAction, FileError, FileStat, Location, copy_ownership, failed, is_absent,
    is_too_long, open_failed, read_at, stat_regular, uninterrupted, write_all,
};
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

/// The header of a file, compared with its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderState {
    /// The old header: no byte of the new one was written.
    Old,
    /// The new header.
    New,
    /// Some bytes of one and some of the other: a write was cut off, or is under way.
    Torn,
    /// Neither, so that the journal says nothing about it.
    Other,
}

/// The file that has the name of the journal.
pub(super) enum JournalFile {
    Missing,
    /// A journal whose write was cut off, or another file.
    Invalid,
    Valid(Journal),
}

impl Journal {
    pub(super) fn state_of(&self, header: &[u8]) -> HeaderState {
        let is_mixed = || {
            header.len() == self.old.len()
                && header
                    .iter()
                    .zip(self.old.iter().zip(&self.new))
                    .all(|(byte, (old, new))| byte == old || byte == new)
        };
        match header {
            _ if header == self.old => HeaderState::Old,
            _ if header == self.new => HeaderState::New,
            _ if is_mixed() => HeaderState::Torn,
            _ => HeaderState::Other,
        }
    }

    fn encode(old: &[u8], new: &[u8]) -> Option<Vec<u8>> {
        let len = u16::try_from(new.len()).ok().filter(|_| old.len() == new.len())?.to_be_bytes();
        let check = check(&len, old, new)?;
        Some([MAGIC.as_slice(), &len, old, new, &check].concat())
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

    /// Reads the journal of the message of `stat`.
    pub(super) fn read(
        paths: &MessagePaths,
        message: &FileStat,
    ) -> Result<JournalFile, MessageFileError> {
        let Location { directory, name, path } = &paths.journal;
        let foreign = || MessageFileError::ForeignJournal { path: path.clone() };
        let not_ours = |error| match error {
            FileError::NotRegular { .. } => foreign(),
            error => error.into(),
        };
        let file = match uninterrupted(|| directory.open(name)) {
            Err(error) if is_absent(&error) => return Ok(JournalFile::Missing),
            opened => opened.map_err(open_failed(FileAction::Open, path)).map_err(not_ours)?,
        };
        let stat = stat_regular(&*file, path).map_err(not_ours)?;
        // In a directory where everybody may create files, everybody may create one of this name.
        if ![message.uid, 0, directory.effective_uid()].contains(&stat.uid) {
            return Err(foreign());
        }
        let Some(len) = usize::try_from(stat.len).ok().filter(|&len| len <= MAX_LEN) else {
            return Ok(JournalFile::Invalid);
        };
        let mut bytes = alloc::vec![0; len];
        let read = read_at(&*file, &mut bytes, 0).map_err(failed(FileAction::Read, path))?;
        let journal = bytes.get(..read).and_then(Journal::decode);
        Ok(journal.map_or(JournalFile::Invalid, JournalFile::Valid))
    }

    /// Writes the journal of the open `message`, durably. Returns `false` if its name is too long for
    /// the file system.
    pub(super) fn write(
        paths: &MessagePaths,
        message: &dyn DirectoryFile,
        old: &[u8],
        new: &[u8],
    ) -> Result<bool, FileError> {
        let Location { directory, name, path } = &paths.journal;
        let bytes = Journal::encode(old, new)
            .ok_or(io::ErrorKind::InvalidInput.into())
            .map_err(failed(FileAction::Write, path))?;
        let mut file = match uninterrupted(|| directory.create_new(name)) {
            Err(error) if is_too_long(&error) => return Ok(false),
            created => created.map_err(failed(FileAction::Create, path))?,
        };
        let written = copy_ownership(message, &*file, path)
            .and_then(|()| write_all(&mut *file, &bytes).map_err(failed(FileAction::Write, path)))
            .and_then(|()| file.sync().map_err(failed(FileAction::Sync, path)))
            .and_then(|()| {
                let synced = paths.journal.sync_directory();
                synced.map_err(failed(FileAction::SyncDirectory, directory.path()))
            });
        // The header was not touched yet.
        written.inspect_err(|_| drop(paths.journal.remove())).map(|()| true)
    }
}

/// A checksum by HKDF-Expand, whose key is public.
fn check(len: &[u8], old: &[u8], new: &[u8]) -> Option<[u8; CHECK_LEN]> {
    let mut check = [0; CHECK_LEN];
    kdf::expand_sha256(MAGIC, &[len, old, new], &mut check).ok()?;
    Some(check)
}
