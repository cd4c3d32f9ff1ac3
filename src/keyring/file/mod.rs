//! The file keyring: master keys in one file that outlives crashes, writers and disk errors.
//!
//! `store` keeps one file of bytes durably above [`crate::fs`] and knows nothing of keys.

mod account;
mod attempts;
mod bytes;
pub(crate) mod check;
mod elsewhere;
pub(crate) mod error;
pub(crate) mod format;
mod health;
#[cfg(all(test, not(envelock_shuttle)))]
#[path = "../../../tests/held_keys/mod.rs"]
mod held_keys;
mod keyring;
pub(crate) mod lock;
mod news;
mod open;
mod options;
mod outer;
pub(crate) mod place;
mod protection;
mod protections;
pub(crate) mod read;
mod read_only;
mod salvage;
mod shared;
pub(crate) mod stamp;
mod state;
pub(crate) mod store;
mod successor;
pub(crate) mod trust;
mod write;
pub(crate) mod writer;

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
