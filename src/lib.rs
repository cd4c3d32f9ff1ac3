#![doc = include_str!("lib.md")]
#![cfg_attr(not(test), no_std)]
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
// What integration tests and unit tests share names the crate as its users do.
#[cfg(test)]
extern crate self as envelock;
#[cfg(feature = "std")]
extern crate std;

mod aad;
mod body;
mod bytes;
mod crypto;
pub mod danger;
mod envelope;
mod error;
#[cfg(all(feature = "file", unix))]
mod files;
mod format;
#[cfg(all(feature = "file", unix))]
mod fs;
#[cfg(feature = "std")]
mod io;
mod keyring;
mod keyset;
mod observe;
#[cfg(feature = "std")]
mod os_random;
mod plain_buffer;
mod policy;
mod process;
mod random;
#[cfg(feature = "std")]
mod reuse;
mod stream;
mod sync;
#[cfg(feature = "test-util")]
pub mod test_util;
mod threads;
mod time;
#[cfg(not(unix))]
mod unsupported;

#[doc = include_str!("format/SPEC.md")]
pub mod spec {
    #[cfg(all(feature = "file", unix))]
    #[doc = include_str!("keyring/file/format/FORMAT.md")]
    pub mod key_file {}
}

pub use aad::{Aad, AadFault, AadPairs};
pub use body::layout;
pub use crypto::provider::Provider;
pub use crypto::secret::{DataKey, MASTER_KEY_LEN, MAX_DATA_KEY_LEN, MasterKey};
pub use envelope::{
    Envelope, Examination, GrantOptions, HeaderUpdate, OpenedKey, Rewrap, RewrapOptions,
    RewrapReport, SlotFinding, SlotOutcome, WithRng, body_len, inspect, plaintext_len,
};
pub use error::{Error, KeyFault, Unverified};
#[cfg(all(feature = "file", unix))]
pub use files::{FileChange, FileRewrap, MessageFile, MessageFileError, NewFileOptions};
// The names say at compile time why they have nothing on other targets.
pub use format::{
    DataKeyId, FORMAT_VERSION, Header, HeaderFault, InvalidKeyName, KeyName, KeyVersion, LooksLike,
    MAGIC, MAX_HEADER_LEN, MAX_KEY_NAME_LEN, MAX_SLOTS, MAX_WRAPPED_KEY_LEN, MasterKeyId, Part,
    Slot, SlotFault, SlotLabel, SlotWriter, Slots, Suite, WrapAlgorithm,
};
#[cfg(all(feature = "file", unix))]
pub use fs::{FileAction, FileKind, FileRules};
#[cfg(feature = "tokio")]
pub use io::{AsyncDecryptReader, AsyncEncryptWriter};
#[cfg(feature = "std")]
pub use io::{
    DecryptReader, EncryptReader, EncryptWriter, RangeReader, ReadAt, SeekReader, SeekSource,
};
#[cfg(all(feature = "file", unix))]
pub use keyring::{
    AddedProtection, Argon2Cost, CostFault, Damaged, FileKeyring, FileKeyringOptions, KeyFileError,
    KeyFileFault, KeyFileHealth, KeyFileLooksLike, OuterFreshness, OuterKey, Protection,
    ProtectionId, ProtectionKind, ProtectionRecord, ProtectionsFault, ReadOnlyFileKeyring,
    RecordFault, RecordName, Salvage, TextConversion,
};
#[cfg(feature = "std")]
pub use keyring::{CacheClock, CachingKeyring, CachingOptions, CachingStats, InstantClock};
pub use keyring::{
    FailoverKeyring, Freshness, Keyring, KeyringError, Lifecycle, MAX_MEMBERS, MemoryKeyring,
    MigratingKeyring, MultiKeyring, PrimaryKey, Refusal, WithoutVersions, WrapAad, WrapContext,
};
#[cfg(all(feature = "pkcs11", unix))]
pub use keyring::{
    Pin, PinError, PinFault, Pkcs11AlgorithmReport, Pkcs11Error, Pkcs11ExternalKeyring,
    Pkcs11ExternalKeys, Pkcs11KeyRef, Pkcs11Keyring, Pkcs11Options, Pkcs11Report, Pkcs11Token,
    TokenCallFailure, TokenKeyFault, TokenLabel, WrongTokenAnswer,
};
pub use keyset::{
    Change, Changed, Guard, Hold, Keyset, Keysets, LabelFault, Labels, MAX_CLOCK_SKEW,
    MAX_DESTRUCTION_DELAY, MAX_KEYSET_NAME_LEN, MAX_LABEL_NAME_LEN, MAX_LABEL_VALUE_LEN,
    MAX_LABELS, MIN_DESTRUCTION_DELAY, Material, NewMaterial, NewMaterialFn, Operation, Origin,
    Terms, Transition, Usage, VersionRecord, VersionState,
};
#[cfg(feature = "metrics")]
pub use observe::MetricsObserver;
#[cfg(feature = "tracing")]
pub use observe::TracingObserver;
pub use observe::{Event, FnObserver, ObservedKeyring, Observer};
#[cfg(feature = "std")]
pub use os_random::OsRandom;
pub use policy::{Action, Applied, Due, MIN_GRACE, Plan, Plans, Reason, RotationPolicy, Warning};
pub use rand_core;
pub use random::{KeyringRng, RandomnessUnavailable};
#[cfg(feature = "std")]
pub use reuse::{DataKeyReuse, ReuseStats};
pub use stream::{
    MessageStart, Progress, RangeDecryptor, RangePlan, StreamDecryptor, StreamEncryptor,
};
pub use threads::Threads;
pub use time::Timestamp;
#[cfg(all(feature = "pkcs11", not(unix)))]
#[expect(deprecated, reason = "so that the note reaches who uses it")]
pub use unsupported::Pkcs11Keyring;
#[cfg(all(feature = "file", not(unix)))]
#[expect(deprecated, reason = "so that the note reaches who uses them")]
pub use unsupported::{FileKeyring, MessageFile};
