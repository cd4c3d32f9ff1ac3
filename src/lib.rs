#![doc = include_str!("lib.md")]
#![cfg_attr(not(test), no_std)]
// Each item that a feature adds says so on docs.rs.
#![cfg_attr(docsrs, feature(doc_cfg))]
// Feature `pkcs11` calls into C, in one module.
#![cfg_attr(not(all(feature = "pkcs11", unix)), forbid(unsafe_code))]
#![cfg_attr(all(feature = "pkcs11", unix), deny(unsafe_code))]
#![deny(missing_docs)]
// Without `std` the operations that docs link to have no method without a generator.
#![cfg_attr(feature = "std", deny(rustdoc::broken_intra_doc_links))]
#![cfg_attr(not(feature = "std"), allow(rustdoc::broken_intra_doc_links))]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

extern crate alloc;
// Code shared by integration tests and unit tests names the crate as its users do.
#[cfg(test)]
extern crate self as envelock;
#[cfg(feature = "std")]
extern crate std;

mod aad;
mod body;
#[cfg(feature = "test-util")]
pub mod conformance;
mod crypto;
#[cfg(feature = "hazmat")]
pub mod danger;
mod envelope;
mod error;
pub mod format;
#[cfg(all(feature = "file", unix))]
mod fs;
#[cfg(feature = "std")]
mod io;
pub mod keyring;
pub mod keyset;
#[cfg(all(feature = "file", unix))]
mod message_file;
pub mod observe;
pub mod policy;
mod random;
#[cfg(feature = "test-util")]
#[doc(hidden)]
pub mod test_access;
// Without `std` nothing keeps data keys.
#[cfg_attr(not(feature = "std"), allow(dead_code))]
mod reuse;
pub mod stream;
mod sync;
mod threads;
mod time;
mod wiped;

#[cfg(all(feature = "file", unix))]
pub mod guide {
    #![doc = include_str!("../docs/guide/mod.md")]

    #[doc = include_str!("../docs/guide/backup.md")]
    pub mod backup {}
    #[doc = include_str!("../docs/BENCHMARKS.md")]
    pub mod benchmarks {}
    #[doc = include_str!("../docs/COMPARE.md")]
    pub mod compare {}
    #[doc = include_str!("../docs/guide/custom_keyring.md")]
    pub mod custom_keyring {}
    #[doc = include_str!("../docs/guide/fleet.md")]
    pub mod fleet {}
    #[doc = include_str!("../docs/guide/hsm.md")]
    pub mod hsm {}
    #[doc = include_str!("../docs/HSM.md")]
    pub mod hsm_tokens {}
    #[doc = include_str!("../docs/guide/incident.md")]
    pub mod incident {}
    #[doc = include_str!("../docs/KEY_FILES.md")]
    pub mod key_files {}
    #[doc = include_str!("../docs/guide/table.md")]
    pub mod table {}
}

#[doc = include_str!("format/SPEC.md")]
pub mod spec {
    #[cfg(all(feature = "file", unix))]
    #[doc = include_str!("keyring/file/format/FORMAT.md")]
    pub mod key_file {}
}

#[cfg(all(feature = "file", unix))]
pub mod file {
    //! Master keys in a file, and messages in files.
    //!
    //! - [`FileKeyring`] keeps master keys in a file that several processes share, under a [`Protection`]: a
    //!   passphrase, another keyring, or 32 bytes. [`FileKeyringOptions`] has its settings,
    //!   [`ReadOnlyFileKeyring`] is for processes that never rotate, [`Salvage`] is for damaged files.
    //! - [`encrypt`] and [`decrypt`] go from path to path, and a file appears whole or not at all. [`rewrap`]
    //!   replaces the header of a message in a file durably. [`MessageFile`] reads a part of one.

    pub use crate::fs::{FileAction, FileError, FileKind, FileRules};
    pub use crate::keyring::file::{
        AddedProtection, Argon2Cost, CostFault, Damaged, FileKeyring, FileKeyringOptions,
        KeyFileError, KeyFileFault, KeyFileHealth, KeyFileLooksLike, OuterFreshness, OuterKey,
        Protection, ProtectionId, ProtectionKind, ProtectionRecord, ProtectionsFault,
        ReadOnlyFileKeyring, RecordFault, RecordName, Salvage, TextConversion,
    };
    pub use crate::message_file::{
        FileChange, FileRewrap, MessageFile, MessageFileError, NewFileOptions, add_slot, decrypt,
        decrypt_from, encrypt, encrypt_from, reencrypt, remove_name, replace_header, rewrap,
    };
}

/// Master keys in a file, and messages in files, which need Unix: nothing on this target.
#[cfg(all(feature = "file", not(unix)))]
pub mod file {
    /// Missing on this target: key files need the locks, owners and modes of Unix.
    #[deprecated = "key files need Unix: implement `Keyring`, or use `MemoryKeyring`"]
    #[derive(Debug)]
    pub enum FileKeyring {}

    /// Missing on this target: message files need the locks and renames of Unix.
    #[deprecated = "message files need Unix: use the readers and writers of `Envelope`"]
    #[derive(Debug)]
    pub enum MessageFile {}
}

#[cfg(all(feature = "pkcs11", unix))]
pub mod pkcs11 {
    //! Master keys on a PKCS#11 token.
    //!
    //! [`Options`] opens a [`Token`] by the path of its library, a label and a PIN. [`Pkcs11Keyring`] has the
    //! token generate master keys; [`ExternalKeyring`] uses keys that other tools made. [`Token::probe`]
    //! reports what a token supports. The page [`hsm_tokens`](crate::guide::hsm_tokens) has the tokens that
    //! were tested.

    pub use crate::keyring::pkcs11::{
        AlgorithmReport, CallFailure, Error, ExternalKeyring, ExternalKeys, KeyRef, KeyWeakness,
        Options, Pin, PinError, PinFault, Pkcs11Keyring, Report, Token, TokenLabel, WrongResponse,
    };
}

/// Master keys on a PKCS#11 token, which need Unix: nothing on this target.
#[cfg(all(feature = "pkcs11", not(unix)))]
pub mod pkcs11 {
    /// Missing on this target: the catalogue of a token is a key file, which needs Unix.
    #[deprecated = "tokens need Unix: implement `Keyring`"]
    #[derive(Debug)]
    pub enum Pkcs11Keyring {}
}

pub use aad::{Aad, AadFault, AadPairs};
pub use crypto::provider::Provider;
pub use crypto::secret::{DataKey, MasterKey};
pub use envelope::{
    AsyncEnvelope, Envelope, Examination, GrantOptions, HeaderUpdate, NewMessage, OpenedKey,
    Rewrap, RewrapOptions, RewrapReport, SlotFinding, SlotOutcome, body_len, inspect,
    plaintext_len,
};
pub use error::{BackendError, BackendFailure, Error, Unverified};
#[cfg(feature = "file")]
#[cfg_attr(not(unix), expect(deprecated, reason = "its note reaches the user of the name"))]
pub use file::FileKeyring;
pub use format::{DataKeyId, Header, KeyName, KeyVersion, MasterKeyId, SlotLabel, Suite};
#[cfg(feature = "std")]
pub use keyring::CachingKeyring;
pub use keyring::{
    FailoverKeyring, Keyring, Lifecycle, MemoryKeyring, MigratingKeyring, MultiKeyring,
};
#[cfg(feature = "pkcs11")]
#[cfg_attr(not(unix), expect(deprecated, reason = "its note reaches the user of the name"))]
pub use pkcs11::Pkcs11Keyring;
pub use policy::RotationPolicy;
pub use rand_core;
pub use random::{LockedRng, OsRandom, RandomSource};
#[cfg(feature = "std")]
pub use reuse::{DataKeyReuse, ReuseStats};
pub use threads::Threads;
pub use time::Timestamp;
