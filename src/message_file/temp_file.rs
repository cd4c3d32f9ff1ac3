//! A whole new file, which gets its name at the very end.
//!
//! It has no name until then where the system has such files, so that a process that is killed
//! leaves nothing. Elsewhere it has a random one, which no other process ever uses: nothing has to
//! be agreed on with others, and nothing of theirs can be taken for this one.

use super::bytes;
use super::error::{MessageFileError, not_durable, refused};
use super::lock::Locked;
use super::options::{NewFileOptions, OWNER_ONLY};
use super::owner::resemble;
use super::paths::{MessagePaths, Name};
use crate::error::Error;
use crate::fs::{DirectoryFile, FileAction, is_unsupported, move_new, uninterrupted};
use alloc::boxed::Box;
use std::ffi::OsStr;
use std::io;
use std::path::Path;

/// How many random names are tried before `EEXIST` is believed.
const NAME_ATTEMPTS: usize = 4;

/// The unfinished file. A temporary name of it is removed on drop.
pub(super) struct TempFile<'a> {
    place: &'a MessagePaths,
    file: Box<dyn DirectoryFile>,
    temporary: Option<Name>,
}

impl<'a> TempFile<'a> {
    /// Creates it with mode 0600.
    pub(super) fn create(place: &'a MessagePaths) -> Result<Self, Error> {
        match uninterrupted(|| place.directory.create_unnamed()) {
            Ok(file) => Ok(TempFile { place, file, temporary: None }),
            // Whatever is wrong, the other way meets it too, and answers for it.
            Err(_) => {
                let (file, name) = temporary(place, |name| place.directory.create_new(name))?;
                Ok(TempFile { place, file, temporary: Some(name) })
            }
        }
    }

    pub(super) fn file(&self) -> &dyn DirectoryFile {
        &*self.file
    }

    /// What errors name: the temporary name, or that of the place.
    pub(super) fn path(&self) -> &Path {
        &self.temporary.as_ref().unwrap_or(&self.place.message).path
    }

    /// Writes behind what was written before.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), MessageFileError> {
        bytes::write(&mut *self.file, bytes).map_err(refused(FileAction::Write, self.path()))
    }

    /// Waits until it is on the medium.
    pub(super) fn sync(&self) -> Result<(), MessageFileError> {
        // Never tried again: a second one can answer success for what was lost.
        self.file.sync().map_err(refused(FileAction::Sync, self.path()))
    }

    /// Puts it where it belongs, with what is asked of its access, durably.
    pub(super) fn finish(mut self, options: NewFileOptions) -> Result<(), Error> {
        loop {
            let replaced = if options.replaces { Locked::replaced(self.place)? } else { None };
            match &replaced {
                Some(old) => resemble(self.file(), &*old.file, self.path())?,
                None if options.mode != OWNER_ONLY => {
                    uninterrupted(|| self.file.set_mode(options.mode))
                        .map_err(refused(FileAction::SetOwner, self.path()))?;
                }
                None => {}
            }
            self.sync()?;
            if replaced.is_some() {
                return self.replace();
            }
            match self.appear() {
                // It came to be a moment ago.
                Err(MessageFileError::Exists { .. }) if options.replaces => {}
                Err(MessageFileError::Io { source, .. })
                    if options.replaces && is_unsupported(&source) =>
                {
                    return self.replace();
                }
                appeared => return Ok(appeared?),
            }
        }
    }

    /// Puts it where nothing is, durably.
    fn appear(&self) -> Result<(), MessageFileError> {
        let MessagePaths { directory, message, .. } = self.place;
        self.put(|| match &self.temporary {
            None => self.file.link_new(&message.name),
            Some(name) => move_new(&**directory, &name.name, &message.name),
        })
    }

    /// Puts it in the place of what has its name, durably.
    pub(super) fn replace(&mut self) -> Result<(), Error> {
        let MessagePaths { directory, message, .. } = self.place;
        // A rename needs a name to begin with.
        if self.temporary.is_none() {
            let link = |name: &OsStr| self.file.link_new(name);
            self.temporary = Some(temporary(self.place, link)?.1);
        }
        let from = self.temporary.as_ref().unwrap_or(message);
        Ok(self.put(|| directory.rename(&from.name, &message.name))?)
    }

    fn put(&self, mut call: impl FnMut() -> io::Result<()>) -> Result<(), MessageFileError> {
        let Name { path, .. } = &self.place.message;
        while let Err(error) = call() {
            // The answer of a call that was done can get lost, over a network.
            match self.is_in_place() {
                Ok(true) => break,
                Ok(false) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(false) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return Err(MessageFileError::Exists { path: path.clone() });
                }
                Ok(false) => return Err(refused(FileAction::Rename, path)(error)),
                Err(_) => return Err(not_durable(path)(error)),
            }
        }
        self.place.sync_names()
    }

    fn is_in_place(&self) -> Result<bool, MessageFileError> {
        let stat = uninterrupted(|| self.file.stat())
            .map_err(refused(FileAction::Inspect, self.path()))?;
        self.place.is_named(&self.place.message, &stat)
    }
}

impl Drop for TempFile<'_> {
    fn drop(&mut self) {
        // Nothing has that name once the file is in place; and never another file.
        if let Some(name) = &self.temporary {
            drop(self.place.remove(name));
        }
    }
}

/// Does what needs a name that nothing has with one that nobody can foresee.
fn temporary<T>(
    place: &MessagePaths,
    mut call: impl FnMut(&OsStr) -> io::Result<T>,
) -> Result<(T, Name), Error> {
    let mut attempts = NAME_ATTEMPTS;
    loop {
        attempts = attempts.saturating_sub(1);
        let name = place.temporary()?;
        match call(&name.name) {
            Ok(answer) => return Ok((answer, name)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempts > 0 => {}
            Err(error) => {
                // A call that fails can have been done, over a network.
                drop(place.remove(&name));
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(refused(FileAction::Create, &name.path)(error).into());
                }
            }
        }
    }
}
