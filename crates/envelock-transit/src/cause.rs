//! The causes of errors of the service.

use crate::answer::MAX_BODY;
use std::error::Error;
use std::fmt;

/// Why a request failed. The cause of a [`ServiceError`](envelock_remote::ServiceError).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The service was not reached, or the connection ended before its answer did.
    #[error("no answer from {address}")]
    #[non_exhaustive]
    NoAnswer {
        /// The address.
        address: String,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The service answered with an error.
    #[error("the service answers {status}{}", Listed(errors))]
    #[non_exhaustive]
    Status {
        /// The status of HTTP.
        status: u16,
        /// The errors that the service lists, without control characters and not longer than 300 bytes each.
        errors: Vec<String>,
    },
    /// The answer is not one of Transit.
    #[error("the answer of the service makes no sense: {what}")]
    #[non_exhaustive]
    Answer {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The answer is longer than this crate reads.
    #[error("the answer of the service is longer than {MAX_BODY} bytes")]
    TooLong,
    /// The source of tokens returned none.
    #[error("there is no token for the service")]
    #[non_exhaustive]
    Token {
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The name of the key cannot be that of a key of Transit.
    #[error(
        "{name} cannot be a key of Transit: letters, digits, '.', '_' and '-' alone, and a letter, a digit or \
         '_' at both ends"
    )]
    #[non_exhaustive]
    KeyName {
        /// The name.
        name: String,
    },
}

struct Listed<'a>(&'a [String]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = ": ";
        for error in self.0 {
            write!(f, "{separator}{error}")?;
            separator = "; ";
        }
        Ok(())
    }
}

/// A key of Transit that this crate does not use, with the command that makes one that it does.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "key {name} of Transit {what}; make another: bao write -f {mount}/keys/NAME type=aes256-gcm96 derived=true"
)]
#[non_exhaustive]
pub struct UnsuitableKey {
    /// The name of the key.
    pub name: String,
    /// The path of the engine.
    pub mount: String,
    /// What is wrong with the key.
    pub what: &'static str,
}
