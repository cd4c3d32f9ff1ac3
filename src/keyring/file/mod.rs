//! The file keyring: master keys in one file that outlives crashes, writers and disk errors.
//!
//! `storage` keeps one file of bytes durably above [`crate::fs`] and knows nothing of keys.

mod change;
mod copy;
pub(crate) mod error;
pub(crate) mod format;
mod health;
mod keyring;
mod open_key_file;
mod options;
mod outer_keyrings;
mod protection;
mod protection_record;
mod read_only;
mod reload;
mod salvage;
mod snapshot;
pub(crate) mod storage;
#[cfg(all(test, not(envelock_shuttle)))]
#[path = "../../../tests/token_catalogue/mod.rs"]
mod token_catalogue;
mod usage;
mod wrap;

pub use error::KeyFileError;
pub use format::{
    Damaged, KeyFileFault, KeyFileLooksLike, ProtectionId, ProtectionsFault, RecordFault,
    RecordName, TextConversion,
};
pub use health::KeyFileHealth;
pub use keyring::FileKeyring;
pub use options::FileKeyringOptions;
pub use protection::{Argon2Cost, CostFault, Protection, ProtectionKind};
pub use protection_record::{AddedProtection, OuterFreshness, OuterKey, ProtectionRecord};
pub use read_only::ReadOnlyFileKeyring;
pub use salvage::Salvage;
