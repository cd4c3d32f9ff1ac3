//! The operations on messages in files.

use super::paths::MessagePaths;
use super::reencrypt::reencrypt_file;
use super::rewrap::{change_header, rewrap_file};
use super::transcode::{self, Target};
use super::{FileChange, FileRewrap, NewFileOptions};
use crate::aad::Aad;
use crate::envelope::{Envelope, GrantOptions, RewrapOptions};
use crate::error::Error;
use crate::format::Header;
use crate::keyring::Keyring;
use crate::random::RandomSource;
use crate::stream::StreamEncryptor;
use std::io::Read;
use std::path::Path;

#[cfg(doc)]
use crate::file::{FileAction, FileError, MessageFile, MessageFileError};

/// Rewraps the message in the file at `path`, as [`Envelope::rewrap`] does, durably. The
/// message opens with its old header or its new one wherever a crash interrupts.
///
/// If the new header fits in the room of the old one, as it usually does after a rotation, it
/// overwrites the old one; the body is neither read nor written. A journal of both headers,
/// `.<name>.envelock-rewrap`, stands beside the file meanwhile. If a power failure leaves it
/// there, [`MessageFile`] and [`decrypt`] still read the message, and the next `rewrap` repairs it with the new header, or with the old one if only that opens.
/// **Move or back up a file together with its journal**, if there is one.
///
/// If the new header does not fit, or the name of the file is too long for a journal beside it
/// (usually above 238 bytes), the message is copied and the copy renamed into place. Owner, group,
/// mode and access control list stay; other extended attributes do not.
/// [`Envelope::with_reserved`] reserves room for later slots.
///
/// After success the header is on the medium, also if nothing had to be changed, and the name
/// belongs to the file that has it: if the report is complete, the old version is no longer
/// needed. If another process replaced the file meanwhile without the lock, the error is
/// [`FileError::Changed`]: rewrap it again.
///
/// The file is locked by `flock`; a call waits for at most ten seconds for another writer. Readers
/// do not wait. The file can be a message, or a detached header alone. A link is not followed,
/// because the journal stands beside the file itself.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use envelock::{Aad, Envelope, Lifecycle, MemoryKeyring, RewrapOptions, file};
///
/// let envelope = Envelope::new(MemoryKeyring::create("orders")?);
/// # let path = std::env::temp_dir().join(format!("envelock-rewrap-{}.message", std::process::id()));
/// std::fs::write(&path, envelope.encrypt(b"hello", Aad::none())?)?;
/// envelope.keyring().rotate()?;
/// let done = file::rewrap(&envelope, &path, RewrapOptions::new())?;
/// assert_eq!(done.change(), file::FileChange::InPlace);
/// assert!(done.report().is_complete());
/// # std::fs::remove_file(&path)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Those of [`Envelope::rewrap`]; [`Error::Backend`] with a [`MessageFileError`]. After any
/// error the message opens as before, or with its new header.
///
/// The journal and the copy get the owner, group and mode of the message before anything is
/// overwritten. A process that may write the message but not give a file to its owner and group,
/// such as another member of the group, gets [`FileAction::SetOwner`] with `PermissionDenied`, and
/// nothing is changed: the rewrap is for the owner, as a member of the file's group, and for root.
///
/// # Requirements on the medium
///
/// Each byte of a write that was cut off is the old one or the new one, in any mixture, and what
/// was synced stays. If a sector reads as zeros, or as neither header has it, nothing is
/// overwritten, and the journal is kept as long as no slot opens. It consists of 24 bytes of magic,
/// the length L of a header (2 bytes, big-endian), the old header (L), the new one (L) and a check
/// (32). To repair such a file by hand, work on a copy: write the new header, or if that does not
/// open the old one, over its first L bytes, and decrypt it; then rewrap it again.
pub fn rewrap<K: Keyring, R: RandomSource>(
    envelope: &Envelope<K, R>,
    path: impl AsRef<Path>,
    options: RewrapOptions<'_>,
) -> Result<FileRewrap, Error> {
    rewrap_file(envelope, &MessagePaths::to_write(path.as_ref())?, options)
}

/// Adds slots of the keyring `to` to the message in the file at `path`, as
/// [`Envelope::add_slot`] does, durably as by [`rewrap`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use envelock::{Aad, Envelope, GrantOptions, MemoryKeyring, file};
///
/// let envelope = Envelope::new(MemoryKeyring::create("orders")?);
/// # let path = std::env::temp_dir().join(format!("envelock-grant-{}.message", std::process::id()));
/// std::fs::write(&path, envelope.encrypt(b"hello", Aad::none())?)?;
/// let escrow = Envelope::new(MemoryKeyring::create("escrow")?);
/// file::add_slot(&envelope, &path, escrow.keyring(), GrantOptions::new())?;
/// assert_eq!(escrow.decrypt(&std::fs::read(&path)?, Aad::none())?, b"hello");
/// file::remove_name(&escrow, &path, "orders")?;
/// assert!(envelope.decrypt(&std::fs::read(&path)?, Aad::none()).is_err());
/// # std::fs::remove_file(&path)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Those of [`Envelope::add_slot`]; [`Error::Backend`] with a [`MessageFileError`].
pub fn add_slot<K: Keyring, R: RandomSource, T: Keyring + ?Sized>(
    envelope: &Envelope<K, R>,
    path: impl AsRef<Path>,
    to: &T,
    options: GrantOptions<'_>,
) -> Result<FileChange, Error> {
    let paths = MessagePaths::to_write(path.as_ref())?;
    let grant = |header: &[u8]| Ok((envelope.add_slot(header, to, options)?.into_header(), ()));
    Ok(change_header(envelope, &paths, grant)?.0)
}

/// Removes the slots of `name` from the message in the file at `path`, as
/// [`Envelope::remove_name`] does, durably as by [`rewrap`].
///
/// # Errors
///
/// Those of [`Envelope::remove_name`]; [`Error::Backend`] with a [`MessageFileError`].
pub fn remove_name<K: Keyring, R: RandomSource>(
    envelope: &Envelope<K, R>,
    path: impl AsRef<Path>,
    name: &str,
) -> Result<FileChange, Error> {
    let paths = MessagePaths::to_write(path.as_ref())?;
    let removal = |header: &[u8]| Ok((envelope.remove_name(header, name)?.into_header(), ()));
    Ok(change_header(envelope, &paths, removal)?.0)
}

/// Replaces the header of the message in the file at `path` by `new` if it is still `old`, durably as by
/// [`rewrap`]. Returns `None` if the file has another header, which then stays.
///
/// For a header that was made in memory by [`Envelope::rewrap`], or for an old one that is put back. A slot of `new` is
/// unwrapped first: a header that does not open replaces none. With `new` equal to `old`, the header is made durable, and a change that was
/// cut off is finished; `envelope` decides then which of its two headers opens. `None` can also mean that this
/// call finished such a change to `new`: read the header again.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use envelock::{Aad, Envelope, Lifecycle, MemoryKeyring, RewrapOptions, file};
///
/// let envelope = Envelope::new(MemoryKeyring::create("orders")?);
/// # let path = std::env::temp_dir().join(format!("envelock-replace-{}.message", std::process::id()));
/// std::fs::write(&path, envelope.encrypt(b"hello", Aad::none())?)?;
/// envelope.keyring().rotate()?;
/// let old = file::MessageFile::open(&path)?.header().to_vec();
/// let new = envelope.rewrap(&old, RewrapOptions::new())?.into_header();
/// assert!(file::replace_header(&envelope, &path, &old, &new)?.is_some());
/// assert!(file::replace_header(&envelope, &path, &old, &new)?.is_none());
/// # std::fs::remove_file(&path)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`Error::Backend`] with a [`MessageFileError`]; [`Error::Header`] or [`Error::DetachedHeaderLength`] if `new` is not
/// a header, [`Error::OtherMessage`] if it is one of another message than `old`; those of
/// [`Envelope::open`] if `new` does not open, and after a change that was cut off. Nothing is then changed.
pub fn replace_header<K: Keyring, R: RandomSource>(
    envelope: &Envelope<K, R>,
    path: impl AsRef<Path>,
    old: &[u8],
    new: &[u8],
) -> Result<Option<FileChange>, Error> {
    let (before, after) = (Header::parse_detached(old)?, Header::parse_detached(new)?);
    if before.core().as_bytes() != after.core().as_bytes() {
        let (opened, found) = (after.data_key_id(), before.data_key_id());
        return Err(Error::OtherMessage { opened, found });
    }
    let paths = MessagePaths::to_write(path.as_ref())?;
    let replacement = |header: &[u8]| {
        let is_old = header == old;
        if is_old && new != old {
            envelope.check_opens(new)?;
        }
        Ok((if is_old { new } else { header }.to_vec(), is_old))
    };
    let (change, is_old) = change_header(envelope, &paths, replacement)?;
    Ok(is_old.then_some(change))
}

/// Encrypts the message in the file at `path` again, under the data key of `new`, if its header is still `old`.
/// Returns whether it was; if not, nothing was changed but a header that an earlier change left torn.
///
/// For what a [`rewrap`] does not mend: a data key that leaked, a version that leaked with old headers, a
/// suite. `new` is [`Envelope::stream_encryptor`] with the same associated data, before any output; its
/// [`header`](StreamEncryptor::header) is that of the file afterwards. `envelope` opens both.
///
/// Memory is constant. The new message is written to a file without a name in the same directory, as by
/// [`encrypt`], decrypted from there as the system has it in memory, synced, and renamed over the old one, which
/// is whole until then. Owner, group, mode and access control list stay; other extended attributes do not. The
/// file is locked meanwhile, as by [`rewrap`], and needs as much room again. Readers that have it open go on with
/// the old message. Blocks of the old one stay on the medium until they are overwritten, and backups have it
/// still.
///
/// A header that is stored apart from its body cannot be replaced together with it: encrypt to another name.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use envelock::{Aad, Envelope, MemoryKeyring, file};
///
/// let envelope = Envelope::new(MemoryKeyring::create("orders")?);
/// # let path = std::env::temp_dir().join(format!("envelock-again-{}.message", std::process::id()));
/// std::fs::write(&path, envelope.encrypt(b"hello", Aad::none())?)?;
/// let old = file::MessageFile::open(&path)?.header().to_vec();
/// let new = envelope.stream_encryptor(Aad::none())?;
/// assert!(file::reencrypt(&envelope, &path, &old, new, Aad::none())?);
/// assert!(envelope.open(&old)?.body(&std::fs::read(&path)?).is_err());
/// assert_eq!(envelope.decrypt(&std::fs::read(&path)?, Aad::none())?, b"hello");
/// # std::fs::remove_file(&path)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Those of [`Envelope::decrypt`] for the old message, and for the new one if `new` has other associated data;
/// [`Error::Backend`] with a [`MessageFileError`]; [`Error::NotEnvelock`] if `new` has output something or has
/// failed. The old message stays, but after [`FileError::NotDurable`], where it can be either.
pub fn reencrypt<K: Keyring, R: RandomSource>(
    envelope: &Envelope<K, R>,
    path: impl AsRef<Path>,
    old: &[u8],
    new: StreamEncryptor<'_>,
    aad: Aad<'_>,
) -> Result<bool, Error> {
    reencrypt_file(envelope, &MessagePaths::to_write(path.as_ref())?, old, new, aad)
}

/// Encrypts the file `from` to a new file `to`. Returns the length of the message in bytes.
///
/// Memory is constant. The message is written to a file without a name in the directory of `to`,
/// synced, and gets its name at the end, so that `to` appears complete or not at all after a
/// crash, and when several processes write to the same name. It has mode 0600. `from` stays; it
/// can be a link, a FIFO or `/dev/stdin`.
///
/// Where there are no files without a name (other systems than Linux, network file systems), the
/// file is called `.<16 digits>.envelock-partial` until then, and everywhere while it replaces
/// another file. A process that is killed then leaves it behind, and no other process touches it:
/// remove those that are older than any process. Where the file system has neither `renameat2`
/// nor hard links, an existing file could be replaced by accident, so that the call fails with
/// `Unsupported` unless [replacing](NewFileOptions::replace) is allowed.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use envelock::{Aad, Envelope, MemoryKeyring, file::{self, NewFileOptions}};
///
/// # let path = std::env::temp_dir().join(format!("envelock-whole-{}", std::process::id()));
/// # std::fs::create_dir(&path)?;
/// # let (plain, message, back) = (path.join("plain"), path.join("message"), path.join("back"));
/// let envelope = Envelope::new(MemoryKeyring::create("orders")?);
/// std::fs::write(&plain, b"hello")?;
/// file::encrypt(&envelope, &plain, &message, Aad::none(), NewFileOptions::new())?;
/// let len = file::decrypt(&envelope, &message, &back, Aad::none(), NewFileOptions::new())?;
/// assert_eq!(len, 5);
/// assert_eq!(std::fs::read(&back)?, b"hello");
/// # std::fs::remove_dir_all(&path)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Those of [`Envelope::encrypt`]; [`Error::Backend`] with [`FileError::Exists`] if anything
/// has the name `to`, or where it may be replaced [`FileError::NotRegular`] or
/// [`FileError::Locked`], and with [`MessageFileError::SourceInTheWay`] if `from` has the name of its
/// journal.
pub fn encrypt<K: Keyring, R: RandomSource>(
    envelope: &Envelope<K, R>,
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    aad: Aad<'_>,
    options: NewFileOptions,
) -> Result<u64, Error> {
    let paths = &MessagePaths::to_write(to.as_ref())?;
    transcode::encrypt_file(envelope, from.as_ref(), &Target { paths, options }, aad)
}

/// Decrypts the message in the file `from` to a new file `to`. Returns the length of the plaintext
/// in bytes.
///
/// As with [`encrypt`], `to` appears only once the last byte of the message is verified. Until then the plaintext is in a file without a name, or with a temporary
/// one, that only its owner can read; an error removes it. The message is read as by
/// [`MessageFile`], or in order if it is a FIFO or the like.
///
/// # Errors
///
/// Those of [`Envelope::decrypt`]; [`Error::Backend`] with [`FileError::Exists`] if anything
/// has the name `to`, or where it may be replaced [`FileError::NotRegular`] or
/// [`FileError::Locked`], and with [`MessageFileError::SourceInTheWay`] if `from` has the name of its
/// journal.
pub fn decrypt<K: Keyring, R: RandomSource>(
    envelope: &Envelope<K, R>,
    from: impl AsRef<Path>,
    to: impl AsRef<Path>,
    aad: Aad<'_>,
    options: NewFileOptions,
) -> Result<u64, Error> {
    let paths = &MessagePaths::to_write(to.as_ref())?;
    transcode::decrypt_file(envelope, from.as_ref(), &Target { paths, options }, aad)
}

/// Encrypts what `source` returns up to its end to a new file `to`, as by [`encrypt`]: for an open file, a pipe or a
/// socket. Returns the length of the message in bytes.
///
/// # Errors
///
/// Those of [`encrypt`]; [`Error::Io`] of `source`. A source that is `to` itself, or its journal, is not recognised.
pub fn encrypt_from<K: Keyring, R: RandomSource>(
    envelope: &Envelope<K, R>,
    source: impl Read,
    to: impl AsRef<Path>,
    aad: Aad<'_>,
    options: NewFileOptions,
) -> Result<u64, Error> {
    let paths = &MessagePaths::to_write(to.as_ref())?;
    transcode::encrypt(envelope, source, None, &Target { paths, options }, aad)
}

/// Decrypts the message that goes up to the end of `source` to a new file `to`, as by [`decrypt`]. Returns the length
/// of the plaintext in bytes.
///
/// # Errors
///
/// Those of [`decrypt`]; [`Error::Io`] of `source`. A header that a crash tore is not repaired from its journal.
pub fn decrypt_from<K: Keyring, R: RandomSource>(
    envelope: &Envelope<K, R>,
    source: impl Read,
    to: impl AsRef<Path>,
    aad: Aad<'_>,
    options: NewFileOptions,
) -> Result<u64, Error> {
    let paths = &MessagePaths::to_write(to.as_ref())?;
    transcode::decrypt_from(envelope, source, &Target { paths, options }, aad)
}
