//! Protections of a key file: a passphrase, an outer keyring, a raw key, or none.

use super::error::KeyFileError;
use crate::crypto::secret::MasterKey;
use crate::error::Error;
use crate::fs::{FileAction, FileRules, SecretFault, failed, read_secret, read_secret_file};
use crate::keyring::Keyring;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use std::io::{self, Read};
use std::path::Path;
use zeroize::Zeroizing;

/// A protection of a key file, to create and to open the file.
///
/// A *file key* seals the master keys of the file and authenticates all of it; a protection wraps the
/// file key. A file can have several, each of which opens it: a passphrase, a token, a service, a
/// recovery key. A change of protections changes no master key.
///
/// | | wraps the file key | an attacker with the file alone |
/// |---|---|---|
/// | [`passphrase`](Self::passphrase) | under Argon2id of a passphrase | guesses passphrases, at the cost of Argon2id |
/// | [`keyring`](Self::keyring) | as a message under another keyring: a token, a service | learns nothing |
/// | [`raw_key`](Self::raw_key) | under 32 bytes of the application | learns nothing |
/// | [`unprotected_plaintext`](Self::unprotected_plaintext) | in the clear | **has every key** |
///
/// The secret is wiped on drop. `Debug` does not show it.
pub struct Protection {
    pub(super) secret: Secret,
    pub(super) name: Option<String>,
}

pub(super) enum Secret {
    Passphrase { passphrase: Zeroizing<Box<[u8]>>, cost: Argon2Cost },
    Keyring(Arc<dyn Keyring>),
    RawKey(MasterKey),
    Unprotected,
}

impl Protection {
    /// Returns the protection by a passphrase, stretched by Argon2id at the default cost.
    ///
    /// The bytes are used unchanged: text is not normalised and no line end is removed
    /// ([`passphrase_file`](Self::passphrase_file) removes one). The caller wipes its own copy. A new
    /// file refuses an empty passphrase.
    pub fn passphrase(passphrase: impl AsRef<[u8]>) -> Self {
        Protection::passphrase_with_cost(passphrase, Argon2Cost::default())
    }

    /// Returns the protection by a passphrase at another cost for files that are written. An existing file has its own cost.
    pub fn passphrase_with_cost(passphrase: impl AsRef<[u8]>, cost: Argon2Cost) -> Self {
        let passphrase = Zeroizing::new(Box::from(passphrase.as_ref()));
        Protection::of(Secret::Passphrase { passphrase, cost })
    }

    /// Returns the protection by a passphrase in the file `path`, which may be a link (`/run/secrets/passphrase`) or a
    /// descriptor (`/dev/fd/3`): at most 4096 bytes, without a final line end.
    ///
    /// # Errors
    ///
    /// [`Error::Backend`]: [`KeyFileError::Permissions`] if others than its owner may read or write
    /// it; [`FileError::Io`](crate::file::FileError::Io), with `InvalidData` for what is empty or too long.
    pub fn passphrase_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        Protection::passphrase_file_with(path, FileRules::new())
    }

    /// [`passphrase_file`](Self::passphrase_file) of a mode that `rules` accept: secrets of Docker and
    /// Compose have mode 0444, of Kubernetes with `fsGroup` 0440. The owner is not checked.
    ///
    /// # Errors
    ///
    /// Those of [`passphrase_file`](Self::passphrase_file).
    pub fn passphrase_file_with(path: impl AsRef<Path>, rules: FileRules) -> Result<Self, Error> {
        let path = path.as_ref();
        match read_secret_file(path, rules) {
            Ok(passphrase) => Ok(Protection::passphrase(&*passphrase)),
            Err(SecretFault::Permissions(mode)) => {
                Err(KeyFileError::Permissions { path: path.to_path_buf(), mode }.into())
            }
            Err(SecretFault::Io(error)) => Err(unread(path, error)),
        }
    }

    /// Returns the protection by a passphrase read from `reader` to its end, at most 4096 bytes, without a final line end:
    /// standard input, a pipe, an inherited descriptor.
    ///
    /// # Errors
    ///
    /// [`FileError::Io`](crate::file::FileError::Io) with the path `passphrase`; its kind is `InvalidData` for empty or too
    /// long content.
    pub fn passphrase_from(reader: impl Read) -> Result<Self, Error> {
        match read_secret(reader) {
            Ok(passphrase) => Ok(Protection::passphrase(&*passphrase)),
            Err(error) => Err(unread(Path::new("passphrase"), error)),
        }
    }

    /// Another keyring: the file key is a message under its primary.
    ///
    /// The file then needs that version, which [`FileKeyring::protections`] and
    /// [`FileKeyring::read_protections`] return. After a rotation of that keyring call
    /// [`FileKeyring::rewrap_protection`] before the old version is destroyed. A process that has the
    /// file open works without the outer version, reports its loss
    /// ([`FileKeyring::outer_freshness`], [`Event::OuterKey`](crate::observe::Event::OuterKey)), and
    /// can still rewrap; after its restart the file does not open. A second protection, such as an
    /// offline recovery key, opens the file in any case.
    ///
    /// [`FileKeyring::protections`]: crate::FileKeyring::protections
    /// [`FileKeyring::read_protections`]: crate::FileKeyring::read_protections
    /// [`FileKeyring::rewrap_protection`]: crate::FileKeyring::rewrap_protection
    /// [`FileKeyring::outer_freshness`]: crate::FileKeyring::outer_freshness
    pub fn keyring(keyring: Arc<dyn Keyring>) -> Self {
        Protection::of(Secret::Keyring(keyring))
    }

    /// Key material of the application: 32 uniformly random bytes with no other use.
    ///
    /// A new file refuses an all-zero key.
    pub fn raw_key(key: MasterKey) -> Self {
        Protection::of(Secret::RawKey(key))
    }

    /// None: **anyone who can read the file has every master key in it.** The file key is in the
    /// clear, so authentication detects accidents and no attack.
    ///
    /// For tests, and for files that other means protect (a sealed volume).
    pub fn unprotected_plaintext() -> Self {
        Protection::of(Secret::Unprotected)
    }

    fn of(secret: Secret) -> Self {
        Protection { secret, name: None }
    }

    /// Sets a name for people, which the file has in the clear: `recovery`, `hsm-frankfurt`. Opening
    /// ignores it.
    ///
    /// It has the form of a key name of at most 64 bytes; a write refuses other names
    /// ([`ProtectionsFault::Name`](crate::file::ProtectionsFault::Name)).
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Protection { name: Some(name.into()), ..self }
    }

    /// Returns the kind.
    pub fn kind(&self) -> ProtectionKind {
        match &self.secret {
            Secret::Passphrase { .. } => ProtectionKind::Passphrase,
            Secret::Keyring(_) => ProtectionKind::Keyring,
            Secret::RawKey(_) => ProtectionKind::RawKey,
            Secret::Unprotected => ProtectionKind::Unprotected,
        }
    }
}

fn unread(path: &Path, error: io::Error) -> Error {
    KeyFileError::from(failed(FileAction::Read, path)(error)).into()
}

impl fmt::Debug for Protection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Protection({})", self.kind())
    }
}

/// A kind of [`Protection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProtectionKind {
    /// [`Protection::passphrase`]
    Passphrase,
    /// [`Protection::keyring`]
    Keyring,
    /// [`Protection::raw_key`]
    RawKey,
    /// [`Protection::unprotected_plaintext`]
    Unprotected,
}

impl ProtectionKind {
    /// Returns the name of the kind in key files.
    pub const fn name(self) -> &'static str {
        match self {
            ProtectionKind::Passphrase => "passphrase",
            ProtectionKind::Keyring => "keyring",
            ProtectionKind::RawKey => "raw key",
            ProtectionKind::Unprotected => "unprotected plaintext",
        }
    }

    const ALL: [ProtectionKind; 4] = [
        ProtectionKind::Passphrase,
        ProtectionKind::Keyring,
        ProtectionKind::RawKey,
        ProtectionKind::Unprotected,
    ];

    /// The kind of a name in a key file.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl fmt::Display for ProtectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The parameters of Argon2id: the cost of one guess of a passphrase, and of one opening.
///
/// The default is the second recommendation of RFC 9106, section 4: 64 MiB, 3 passes, 4 lanes; about
/// a tenth of a second on one core.
///
/// A write refuses less than the smallest of OWASP's equivalent choices. A read refuses more than the
/// maxima, since a writer of the file chooses the cost of every reader: 1 GiB of memory, which
/// excludes the 2 GiB of RFC 9106's first recommendation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "Argon2id has three parameters")]
pub struct Argon2Cost {
    /// Memory in KiB, 8 for each lane at least.
    pub memory_kib: u32,
    /// Passes over the memory, 1 to 64.
    pub passes: u32,
    /// Lanes, 1 to 16, which share the memory; computed one after the other here.
    pub lanes: u32,
}

impl Argon2Cost {
    /// Least memory of a file that is written, in KiB: 7 MiB.
    pub const MIN_MEMORY_KIB: u32 = 7 * 1024;
    /// Least memory times passes of a file that is written, in KiB.
    pub const MIN_MEMORY_PASSES: u64 = 5 * Self::MIN_MEMORY_KIB as u64;
    /// Most memory, in KiB: 1 GiB.
    pub const MAX_MEMORY_KIB: u32 = 1 << 20;
    /// Most passes: 64.
    pub const MAX_PASSES: u32 = 64;
    /// Most lanes: 16.
    pub const MAX_LANES: u32 = 16;
    /// Most memory times passes, in KiB: four passes over 1 GiB, a few seconds.
    pub const MAX_MEMORY_PASSES: u64 = 4 * Self::MAX_MEMORY_KIB as u64;

    fn memory_passes(&self) -> u64 {
        // Saturates: never, since both factors have 32 bits.
        u64::from(self.memory_kib).saturating_mul(self.passes.into())
    }

    /// Checks that the parameters are valid and below the maxima (FORMAT F-COST).
    pub(super) fn check_for_read(&self) -> Result<(), CostFault> {
        let too_costly = self.memory_kib > Self::MAX_MEMORY_KIB
            || self.passes > Self::MAX_PASSES
            || self.lanes > Self::MAX_LANES
            || self.memory_passes() > Self::MAX_MEMORY_PASSES;
        if too_costly {
            return Err(CostFault::TooCostly);
        }
        // RFC 9106, section 3.1: at least 8 KiB for each lane.
        if self.passes == 0 || self.lanes == 0 || self.memory_kib / 8 < self.lanes {
            return Err(CostFault::Invalid);
        }
        Ok(())
    }

    /// The rest of `budget`, memory times passes, after this cost.
    pub(super) fn paid_from(&self, budget: u64) -> Result<u64, CostFault> {
        budget.checked_sub(self.memory_passes()).ok_or(CostFault::TooCostly)
    }

    /// Checks also that the cost is not too weak for a file that is written.
    pub(super) fn check_for_write(&self) -> Result<(), CostFault> {
        self.check_for_read()?;
        let weak = self.memory_kib < Self::MIN_MEMORY_KIB
            || self.memory_passes() < Self::MIN_MEMORY_PASSES;
        if weak { Err(CostFault::TooWeak) } else { Ok(()) }
    }
}

impl Default for Argon2Cost {
    fn default() -> Self {
        Argon2Cost { memory_kib: 64 * 1024, passes: 3, lanes: 4 }
    }
}

impl fmt::Display for Argon2Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} KiB, {} passes, {} lanes", self.memory_kib, self.passes, self.lanes)
    }
}

/// Why a cost is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CostFault {
    /// Above a maximum: an opening would take too much memory or time.
    #[error("more than a file may ask for")]
    TooCostly,
    /// Below a minimum: a passphrase of a file that is written would be guessed too easily.
    #[error("too weak for a new file")]
    TooWeak,
    /// Invalid for Argon2: no pass, no lane, or less than 8 KiB for each lane.
    #[error("not parameters of Argon2id")]
    Invalid,
}
