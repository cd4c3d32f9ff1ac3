//! A whole new file beside the place that it is for, which gets its name at the very end.
//!
//! Its name is fixed, so that what a dead process left is found without reading the directory;
//! its lock tells the dead from the living.

use super::bytes;
use super::error::{MessageFileError, not_durable, refused};
use super::lock::{Locked, WAIT, until_unlocked};
use super::place::{Name, Place};
use crate::fs::{FileAction, FileStat, rename_new, uninterrupted};
use std::io;

/// The unfinished file, locked from its first moment on; removed on drop unless it was put in
/// place, in which case whoever opens it waits for this one's end.
pub(super) struct Partial<'a> {
    place: &'a Place,
    locked: Locked,
    is_in_place: bool,
}

impl<'a> Partial<'a> {
    /// Creates it with mode 0600, once nobody else is at work for this place.
    pub(super) fn create(place: &'a Place) -> Result<Self, MessageFileError> {
        let Name { name, path } = &place.partial;
        let locked = until_unlocked(path, WAIT, || {
            match uninterrupted(|| place.directory.create_new(name)) {
                Ok(file) => Locked::lock(place, &place.partial, file),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    clear(place)?;
                    Ok(None)
                }
                Err(error) => Err(refused(FileAction::Create, path)(error)),
            }
        })?;
        Ok(Partial { place, locked, is_in_place: false })
    }

    pub(super) fn locked(&self) -> &Locked {
        &self.locked
    }

    /// Writes behind what was written before.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), MessageFileError> {
        bytes::write(&mut *self.locked.file, bytes)
            .map_err(refused(FileAction::Write, &self.place.partial.path))
    }

    /// Waits until it is on the medium.
    pub(super) fn sync(&self) -> Result<(), MessageFileError> {
        // Never tried again: a second one can answer success for what was lost.
        self.locked.file.sync().map_err(refused(FileAction::Sync, &self.place.partial.path))
    }

    /// Puts it in the place of the message, durably.
    pub(super) fn replace(self) -> Result<(), MessageFileError> {
        let place = self.place;
        self.put(|| place.directory.rename(&place.partial.name, &place.message.name))
    }

    /// Puts it where nothing is, durably.
    pub(super) fn appear(self) -> Result<(), MessageFileError> {
        let place = self.place;
        self.put(|| rename_new(&*place.directory, &place.partial.name, &place.message.name))
    }

    fn put(mut self, mut rename: impl FnMut() -> io::Result<()>) -> Result<(), MessageFileError> {
        let Name { path, .. } = &self.place.message;
        while let Err(error) = rename() {
            // Over a network, the answer of a rename that was done can get lost.
            match self.place.is_named(&self.place.message, &self.locked.stat) {
                Ok(true) => break,
                Ok(false) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(false) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(MessageFileError::Exists { path: path.clone() });
                }
                Ok(false) => return Err(refused(FileAction::Rename, path)(error)),
                Err(_) => return Err(not_durable(path)(error)),
            }
        }
        self.is_in_place = true;
        self.place.sync_names()
    }
}

impl Drop for Partial<'_> {
    fn drop(&mut self) {
        // A leftover does no harm, and the next one clears it away.
        if !self.is_in_place
            && self.place.is_named(&self.place.partial, &self.locked.stat).unwrap_or(false)
        {
            drop(self.place.remove(&self.place.partial));
        }
    }
}

/// Removes what a process left that was killed, or a power failure; never what somebody works on,
/// and nothing that cannot be such a leftover.
pub(super) fn clear(place: &Place) -> Result<(), MessageFileError> {
    let Some(partial) = place.stat(&place.partial)? else { return Ok(()) };
    // A crash can undo one half of a rename, so that the name stands for the message too.
    if place.is_named(&place.message, &partial)? {
        return place.remove(&place.partial);
    }
    let Name { name, path } = &place.partial;
    let file = match uninterrupted(|| place.directory.open_write(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(super::error::open_refused(path))?,
    };
    super::place::stat_regular(&*file, path)?;
    match Locked::lock(place, &place.partial, file)? {
        Some(dead) if is_leftover(place, &dead.stat)? => place.remove(&place.partial),
        Some(_) => Err(MessageFileError::Exists { path: path.clone() }),
        None => Ok(()),
    }
}

/// Whether a [`Partial`] can be what this is of: that has one name only, and belongs to who made
/// it, or already to the owner of the message.
fn is_leftover(place: &Place, partial: &FileStat) -> Result<bool, MessageFileError> {
    let message = place.stat(&place.message)?.map(|message| message.uid);
    let owners = [Some(0), Some(place.directory.effective_uid()), message];
    Ok(partial.links == 1 && owners.contains(&Some(partial.uid)))
}
