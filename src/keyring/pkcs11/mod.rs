//! Keys on a PKCS#11 token.
//!
//! From below: `ffi` calls the library; `module` and its `gate` say who is inside of it; `connection`
//! has its sessions, and `permits` say who works in them; `token` and `ladder` do work there until
//! it succeeds or its `term` is over; `deadline` lets callers go before that; `operations` wraps and unwraps
//! by `gcm` or `etm`; `key` is one version of a master key, `source` makes and destroys them, and
//! `keyring` puts them under the records of a key file, which `seal` protects; `external` has keys
//! of others.

mod connection;
mod deadline;
mod error;
mod etm;
mod external;
mod external_keys;
mod failure;
mod ffi;
mod gate;
mod gcm;
mod key;
mod keyring;
mod ladder;
mod module;
mod news;
mod object;
mod operations;
mod options;
mod permits;
mod pin;
mod probe;
mod report;
mod scratch;
mod seal;
mod source;
mod term;
mod token;

pub use error::{PinFault, Pkcs11Error, TokenKeyFault, TokenLabel, WrongTokenAnswer};
pub use external::Pkcs11ExternalKeyring;
pub use external_keys::{Pkcs11ExternalKeys, Pkcs11KeyRef};
pub use ffi::TokenCallFailure;
pub use keyring::Pkcs11Keyring;
pub use options::Pkcs11Options;
pub use pin::{Pin, PinError};
pub use report::{Pkcs11AlgorithmReport, Pkcs11Report};
pub use token::Pkcs11Token;
