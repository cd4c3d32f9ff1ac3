//! What protects a key file: a passphrase, an outer keyring, a raw key, or nothing.

use super::error::KeyFileError;
use crate::crypto::secret::MasterKey;
use crate::error::Error;
use crate::fs::{FileAction, FileRules, SecretFault, failed, read_secret, read_secret_file};
use crate::keyring::Keyring;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use std::io::Read;
use std::path::Path;
use zeroize::Zeroizing;

/// What protects a key file, to make one and to open it.
///
/// The master keys of the file are sealed, and all of it is authenticated, under a *file key* of
/// its own; this says how that is kept. A file can have several, each of which opens it: a
/// passphrase, a token, a service, a recovery key. Changing them changes no master key.
///
/// | | keeps the file key | who reads the file and not this |
/// |---|---|---|
/// | [`passphrase`](Self::passphrase) | under Argon2id of a passphrase | tries passphrases, at its cost each |
/// | [`keyring`](Self::keyring) | as a message under another keyring: a token, a service | learns nothing |
/// | [`raw_key`](Self::raw_key) | under 32 bytes that the application has | learns nothing |
/// | [`unprotected_plaintext`](Self::unprotected_plaintext) | in the clear | **has every key** |
///
/// The secret is wiped on drop, and is not shown by `Debug`.
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
    /// A passphrase, stretched by Argon2id at the default cost.
    ///
    /// The bytes are used as they are: text is not normalised and no line end is cut off
    /// ([`passphrase_file`](Self::passphrase_file) cuts one off). The caller wipes its own copy. A
    /// new file refuses an empty one.
    pub fn passphrase(passphrase: impl AsRef<[u8]>) -> Self {
        Protection::passphrase_with_cost(passphrase, Argon2Cost::default())
    }

    /// As [`passphrase`](Self::passphrase), at another cost for files that are written; one that
    /// is opened has its own.
    pub fn passphrase_with_cost(passphrase: impl AsRef<[u8]>, cost: Argon2Cost) -> Self {
        let passphrase = Zeroizing::new(Box::from(passphrase.as_ref()));
        Protection::of(Secret::Passphrase { passphrase, cost })
    }

    /// A passphrase in the file `path`, which may be a link (`/run/secrets/passphrase`) or a
    /// descriptor (`/dev/fd/3`): its content of at most 4096 bytes without the line end behind it.
    ///
    /// # Errors
    ///
    /// [`Error::Backend`]: [`KeyFileError::Permissions`] if others than its owner may read or write
    /// it; [`FileError::Io`](crate::file::FileError::Io), with `InvalidData` for what is empty or too long.
    pub fn passphrase_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        Protection::passphrase_file_with(path, FileRules::new())
    }

    /// As [`passphrase_file`](Self::passphrase_file), of a mode that `rules` accept: Docker and
    /// Compose give secrets mode 0444, Kubernetes with `fsGroup` 0440. Its owner is not looked at.
    ///
    /// # Errors
    ///
    /// As there.
    pub fn passphrase_file_with(path: impl AsRef<Path>, rules: FileRules) -> Result<Self, Error> {
        let path = path.as_ref();
        match read_secret_file(path, rules) {
            Ok(passphrase) => Ok(Protection::passphrase(&*passphrase)),
            Err(SecretFault::Permissions(mode)) => {
                Err(KeyFileError::Permissions { path: path.to_path_buf(), mode }.into())
            }
            Err(SecretFault::Io(error)) => {
                Err(KeyFileError::from(failed(FileAction::Read, path)(error)).into())
            }
        }
    }

    /// The passphrase that `reader` gives up to its end, of at most 4096 bytes, without the line end
    /// behind it: standard input, a pipe, a descriptor that was handed down.
    ///
    /// # Errors
    ///
    /// [`FileError::Io`](crate::file::FileError::Io) with the path `passphrase`, and `InvalidData` for what is empty or too
    /// long.
    pub fn passphrase_from(reader: impl Read) -> Result<Self, Error> {
        match read_secret(reader) {
            Ok(passphrase) => Ok(Protection::passphrase(&*passphrase)),
            Err(error) => {
                Err(KeyFileError::from(failed(FileAction::Read, Path::new("passphrase"))(error))
                    .into())
            }
        }
    }

    /// Another keyring: the file key is a message under its primary.
    ///
    /// The file then needs the version that it is under: which one, [`FileKeyring::protections`]
    /// and [`FileKeyring::read_protections`] tell. After a rotation of that keyring,
    /// [`FileKeyring::rewrap_protection`] before the old version goes: a process that has the file
    /// open works on without it and is told
    /// ([`FileKeyring::outer_freshness`], [`Event::OuterKey`](crate::observe::Event::OuterKey)), and can
    /// still mend it; after the restart nobody can. A second protection, such as a recovery key
    /// that is kept elsewhere, opens the file in any case.
    ///
    /// [`FileKeyring::protections`]: crate::FileKeyring::protections
    /// [`FileKeyring::read_protections`]: crate::FileKeyring::read_protections
    /// [`FileKeyring::rewrap_protection`]: crate::FileKeyring::rewrap_protection
    /// [`FileKeyring::outer_freshness`]: crate::FileKeyring::outer_freshness
    pub fn keyring(keyring: Arc<dyn Keyring>) -> Self {
        Protection::of(Secret::Keyring(keyring))
    }

    /// Key material of the application: 32 uniformly random bytes, used for nothing else.
    ///
    /// A new file refuses an all-zero key.
    pub fn raw_key(key: MasterKey) -> Self {
        Protection::of(Secret::RawKey(key))
    }

    /// None: **whoever can read the file has every master key in it.** The file key stands in
    /// it in the clear, so authentication detects accidents and no attack.
    ///
    /// For tests, and where something else keeps the file from everyone (a sealed volume).
    pub fn unprotected_plaintext() -> Self {
        Protection::of(Secret::Unprotected)
    }

    fn of(secret: Secret) -> Self {
        Protection { secret, name: None }
    }

    /// The same, and a name for people that the file has in the clear: `recovery`,
    /// `hsm-frankfurt`. Opening takes no notice of it.
    ///
    /// It has the form of a key name, of at most 64 bytes; a write refuses another
    /// ([`ProtectionsFault::Name`](crate::file::ProtectionsFault::Name)).
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Protection { name: Some(name.into()), ..self }
    }

    /// Which kind it is.
    pub fn kind(&self) -> ProtectionKind {
        match &self.secret {
            Secret::Passphrase { .. } => ProtectionKind::Passphrase,
            Secret::Keyring(_) => ProtectionKind::Keyring,
            Secret::RawKey(_) => ProtectionKind::RawKey,
            Secret::Unprotected => ProtectionKind::Unprotected,
        }
    }
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
    /// The name of the kind, as key files have it.
    pub const fn name(self) -> &'static str {
        match self {
            ProtectionKind::Passphrase => "passphrase",
            ProtectionKind::Keyring => "keyring",
            ProtectionKind::RawKey => "raw key",
            ProtectionKind::Unprotected => "unprotected plaintext",
        }
    }
}

impl ProtectionKind {
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

/// What one guess of a passphrase costs: the parameters of Argon2id.
///
/// The default is the second recommendation of RFC 9106, section 4: 64 MiB, 3 passes, 4 lanes; a
/// tenth of a second or so on one core. It is paid once for each opening of a file.
///
/// A file that is written takes no less than the smallest of OWASP's equivalent choices, and a
/// file that is read no more than the caps, since whoever can write to it chooses what every
/// reader pays: 1 GiB, so not the 2 GiB of RFC 9106's first recommendation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "Argon2id has three parameters")]
pub struct Argon2Cost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes, which share the memory; computed one after the other here.
    pub lanes: u32,
}

impl Argon2Cost {
    /// Least memory of a file that is written, in KiB: 7 MiB.
    pub const MIN_MEMORY_KIB: u32 = 7 * 1024;
    /// Least memory times passes of a file that is written, in KiB.
    pub const MIN_MEMORY_PASSES: u64 = 5 * Self::MIN_MEMORY_KIB as u64;
    /// Most memory, in KiB: 1 GiB.
    pub const MAX_MEMORY_KIB: u32 = 1 << 20;
    /// Most passes.
    pub const MAX_PASSES: u32 = 64;
    /// Most lanes.
    pub const MAX_LANES: u32 = 16;
    /// Most memory times passes, in KiB: four passes over 1 GiB, a few seconds.
    pub const MAX_MEMORY_PASSES: u64 = 4 * Self::MAX_MEMORY_KIB as u64;

    fn memory_passes(&self) -> u64 {
        u64::from(self.memory_kib).saturating_mul(self.passes.into())
    }

    /// Checks that it is Argon2's and below the caps (FORMAT F-COST).
    pub(super) fn check_for_read(&self) -> Result<(), CostFault> {
        let too_costly = self.memory_kib > Self::MAX_MEMORY_KIB
            || self.passes > Self::MAX_PASSES
            || self.lanes > Self::MAX_LANES
            || self.memory_passes() > Self::MAX_MEMORY_PASSES;
        if too_costly {
            return Err(CostFault::TooCostly);
        }
        let least_memory = u64::from(self.lanes).saturating_mul(8);
        if self.passes == 0 || self.lanes == 0 || u64::from(self.memory_kib) < least_memory {
            return Err(CostFault::Invalid);
        }
        Ok(())
    }

    /// What is left of `budget`, memory times passes, once this was computed.
    ///
    /// # Errors
    ///
    /// [`CostFault::TooCostly`] if it is more.
    pub(super) fn paid_from(&self, budget: u64) -> Result<u64, CostFault> {
        budget.checked_sub(self.memory_passes()).ok_or(CostFault::TooCostly)
    }

    /// Checks besides that it is not too weak to be written.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CostFault {
    /// Above a cap: reading the file would take too much memory or time.
    TooCostly,
    /// A file that is written would be guessed too easily.
    TooWeak,
    /// No parameters of Argon2: no pass, no lane, or less than 8 KiB for each lane.
    Invalid,
}

impl fmt::Display for CostFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CostFault::TooCostly => "more than a file may ask for",
            CostFault::TooWeak => "too weak for a new file",
            CostFault::Invalid => "not parameters of Argon2id",
        })
    }
}
