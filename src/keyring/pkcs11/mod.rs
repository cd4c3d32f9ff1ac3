//! Master keys on a PKCS#11 token.
//!
//! | | |
//! |---|---|
//! | `ffi` | calls into the library: the unsafe code |
//! | `token` | an open token: the loaded library, connections, sessions, login, deadlines |
//! | `token::recovery` | retries after a lost session, login or device |
//! | `key` | key objects, and wrapping and unwrapping under them |
//! | `failure` | the meaning of return codes |
//! | `keyring`, `token_protection` | keys that the token generates, recorded in a key file |
//! | `external_keyring`, `external_keys` | keys that were put on the token by other means |

mod error;
mod external_keyring;
mod external_keys;
mod failure;
mod ffi;
mod key;
mod keyring;
mod report;
mod token;
mod token_protection;

pub use error::{Error, KeyWeakness, PinFault, TokenLabel, WrongResponse};
pub use external_keyring::ExternalKeyring;
pub use external_keys::{ExternalKeys, KeyRef};
pub use ffi::CallFailure;
pub use keyring::Pkcs11Keyring;
pub use report::{AlgorithmReport, Report};
pub use token::Token;
pub use token::options::Options;
pub use token::pin::{Pin, PinError};
