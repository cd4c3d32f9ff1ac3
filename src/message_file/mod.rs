//! Messages in files: rewrapped in place so that no crash loses one, read correctly after any crash,
//! encrypted and decrypted to files that appear complete or not at all.

mod error;
mod journal;
mod message;
mod options;
pub(crate) mod paths;
pub(crate) mod rewrap;
mod rewrite;
pub(crate) mod transcode;

pub use error::MessageFileError;
pub use message::MessageFile;
pub use options::NewFileOptions;
pub use rewrap::{FileChange, FileRewrap};

use crate::aad::Aad;
use crate::envelope::{Envelope, RewrapOptions};
use crate::error::Error;
use crate::keyring::Keyring;
use crate::random::RandomSource;
use paths::MessagePaths;
use std::path::Path;
use transcode::Target;

impl<K: Keyring, R: RandomSource> Envelope<K, R> {
    /// Rewraps the message in the file at `path`: as [`rewrap`](Self::rewrap), durably, and so
    /// that the message opens with its old header or its new one wherever a crash interrupts.
    ///
    /// If the new header fits in the room of the old one, which is the rule after a rotation, it
    /// is overwritten, whatever the length of the file, and the body is neither read nor written.
    /// A journal of both headers, `.<name>.envelock-rewrap`, stands beside the file from before
    /// until after. If it is left behind by a power failure, [`MessageFile`] and
    /// [`decrypt_file`](Self::decrypt_file) read the message all the same, and the next
    /// `rewrap_file` mends it, with the new header, or with the old one if only that opens. **A file that is moved or backed up takes its journal with it**, if
    /// there is one.
    ///
    /// If the new header does not fit, or the name of the file is too long for a journal beside it (of
    /// more than 238 bytes, as a rule), the message is copied and the copy renamed into place; owner,
    /// group, mode and access control list stay, other extended attributes do not. Room for later slots
    /// is reserved by [`with_reserved`](Self::with_reserved).
    ///
    /// Once this returns without an error, the header is on the medium, also where nothing was to
    /// be changed, and the name stands for the file that has it: where the report is complete, the
    /// old version can be let go. A file that somebody else put there meanwhile, without the lock, is
    /// [`FileError::Changed`]: rewrap it again.
    ///
    /// The file is locked by `flock`, and one who has the lock is waited for, for at most ten
    /// seconds. Readers do not wait. The file can be a message, or a detached header alone. A link is
    /// not followed, since a journal stands beside the file itself.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use envelock::{Aad, Envelope, Lifecycle, MemoryKeyring, RewrapOptions, file::FileChange};
    ///
    /// let envelope = Envelope::new(MemoryKeyring::create("orders")?);
    /// # let path = std::env::temp_dir().join(format!("envelock-rewrap-{}.message", std::process::id()));
    /// std::fs::write(&path, envelope.encrypt(b"hello", Aad::none())?)?;
    /// envelope.keyring().rotate()?;
    /// let done = envelope.rewrap_file(&path, RewrapOptions::new())?;
    /// assert_eq!(done.change(), FileChange::InPlace);
    /// assert!(done.report().is_complete());
    /// # std::fs::remove_file(&path)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`rewrap`](Self::rewrap); [`Error::Backend`]. The message opens as before, or with
    /// its new header, whatever the error.
    ///
    /// The journal, as the copy, is given the owner, group and mode of the message before anything
    /// is overwritten, since one in other hands would not be believed. Who may write the message and
    /// may not give a file away to its owner and group, such as another member of its group, gets
    /// [`FileAction::SetOwner`](crate::file::FileAction::SetOwner) with `PermissionDenied`, and nothing is
    /// changed: the rewrap is for the owner, as a member of the file's group, and for root.
    ///
    /// # What is asked of the medium
    ///
    /// That each byte of a write that was cut off is the old one or the new one, in any mixture, and
    /// that what was synced stays. A sector that reads as zeros, or as neither header has it, is not
    /// guessed at: nothing is overwritten, and the journal is kept as long as no slot opens. It
    /// holds both headers whole: 24 bytes of magic, the length L of a header (2 bytes, big-endian),
    /// the old header (L), the new one (L), a check (32). Mend such a file by hand, in a copy: put
    /// the new header, or if that does not open the old one, over its first L bytes, and see that it
    /// decrypts; then rewrap it again.
    pub fn rewrap_file(
        &self,
        path: impl AsRef<Path>,
        options: RewrapOptions<'_>,
    ) -> Result<FileRewrap, Error> {
        rewrap::rewrap_file(
            self,
            &MessagePaths::to_write(path.as_ref()).map_err(MessageFileError::from)?,
            options,
        )
    }

    /// Encrypts the file `from` to a new file `to`; answers the length of the message in bytes.
    ///
    /// Goes through in constant memory. The message is written to a file without a name in the
    /// directory of `to`, synced, and gets its name at the end, so that `to` is there as a whole or
    /// not at all, whenever a crash comes, and whoever else writes to the same name. It has mode
    /// 0600. `from` stays; it can be a link, a FIFO or `/dev/stdin`.
    ///
    /// Where there are no files without a name (other systems than Linux, network file systems), it
    /// has the name `.<16 digits>.envelock-partial` until then, and so has everywhere, for the moment of
    /// the rename, what takes the place of another file. A process that is killed then leaves it
    /// behind, and nothing else ever touches it: remove what is older than any process. Where
    /// there is neither `renameat2` nor a second name for a file, what exists cannot be kept from
    /// being replaced, and the file is refused with `Unsupported`, unless
    /// [that is asked for](NewFileOptions::replace).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use envelock::{Aad, Envelope, MemoryKeyring};
    ///
    /// # let path = std::env::temp_dir().join(format!("envelock-whole-{}", std::process::id()));
    /// # std::fs::create_dir(&path)?;
    /// # let (plain, message, back) = (path.join("plain"), path.join("message"), path.join("back"));
    /// let envelope = Envelope::new(MemoryKeyring::create("orders")?);
    /// std::fs::write(&plain, b"hello")?;
    /// envelope.encrypt_file(&plain, &message, Aad::none())?;
    /// assert_eq!(envelope.decrypt_file(&message, &back, Aad::none())?, 5);
    /// assert_eq!(std::fs::read(&back)?, b"hello");
    /// # std::fs::remove_dir_all(&path)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`encrypt`](Self::encrypt); [`Error::Backend`], with
    /// [`FileError::Exists`] if anything has the name `to`, and
    /// [`MessageFileError::SourceInTheWay`] if `from` is what has the name of its journal.
    pub fn encrypt_file(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        aad: Aad<'_>,
    ) -> Result<u64, Error> {
        self.encrypt_file_with(from, to, aad, NewFileOptions::new())
    }

    /// As [`encrypt_file`](Self::encrypt_file), with options: to replace what is there, or to give the
    /// file another mode.
    ///
    /// # Errors
    ///
    /// As there. If something is to be replaced, [`FileError::NotRegular`] in place of
    /// [`FileError::Exists`], and [`FileError::Locked`].
    pub fn encrypt_file_with(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        aad: Aad<'_>,
        options: NewFileOptions,
    ) -> Result<u64, Error> {
        let paths = &MessagePaths::to_write(to.as_ref()).map_err(MessageFileError::from)?;
        transcode::encrypt_file(self, from.as_ref(), &Target { paths, options }, aad)
    }

    /// Decrypts the message in the file `from` to a new file `to`; answers the length of the
    /// plaintext in bytes.
    ///
    /// As [`encrypt_file`](Self::encrypt_file): `to` is there only once the last byte of the
    /// message was verified. What was decrypted until then has no name, or one beside `to` where
    /// there are no files without one, is readable for its owner alone, and gone on an error. The
    /// message is read as [`MessageFile`] reads it, or in order where it is a FIFO or the like.
    ///
    /// # Errors
    ///
    /// As [`decrypt`](Self::decrypt); [`Error::Backend`], with [`FileError::Exists`] if
    /// anything has the name `to`, and [`MessageFileError::SourceInTheWay`] if `from` is what has the
    /// name of its journal.
    pub fn decrypt_file(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        aad: Aad<'_>,
    ) -> Result<u64, Error> {
        self.decrypt_file_with(from, to, aad, NewFileOptions::new())
    }

    /// As [`decrypt_file`](Self::decrypt_file), with options: to replace what is there, or to give the
    /// file another mode.
    ///
    /// # Errors
    ///
    /// As there. If something is to be replaced, [`FileError::NotRegular`] in place of
    /// [`FileError::Exists`], and [`FileError::Locked`].
    pub fn decrypt_file_with(
        &self,
        from: impl AsRef<Path>,
        to: impl AsRef<Path>,
        aad: Aad<'_>,
        options: NewFileOptions,
    ) -> Result<u64, Error> {
        let paths = &MessagePaths::to_write(to.as_ref()).map_err(MessageFileError::from)?;
        transcode::decrypt_file(self, from.as_ref(), &Target { paths, options }, aad)
    }
}
