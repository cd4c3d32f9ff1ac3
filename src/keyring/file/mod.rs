//! The file keyring: master keys in one file that outlives crashes, writers and disk errors.
//!
//! `storage` keeps one file of bytes durably above [`crate::fs`] and knows nothing of keys.

mod account;
mod attempts;
mod commit;
mod elsewhere;
pub(crate) mod error;
pub(crate) mod format;
mod health;
#[cfg(all(test, not(envelock_shuttle)))]
#[path = "../../../tests/held_keys/mod.rs"]
mod held_keys;
mod keyring;
mod news;
mod open;
mod options;
mod outer;
mod protection;
mod protections;
mod read_only;
mod salvage;
mod shared;
mod state;
pub(crate) mod storage;
mod successor;

pub use error::KeyFileError;
pub use format::{
    Damaged, KeyFileFault, KeyFileLooksLike, ProtectionId, ProtectionsFault, RecordFault,
    RecordName, TextConversion,
};
pub use health::KeyFileHealth;
pub use keyring::FileKeyring;
pub use options::FileKeyringOptions;
pub use protection::{Argon2Cost, CostFault, Protection, ProtectionKind};
pub use protections::{AddedProtection, OuterFreshness, OuterKey, ProtectionRecord};
pub use read_only::ReadOnlyFileKeyring;
pub use salvage::Salvage;
