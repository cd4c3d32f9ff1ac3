//! What can go wrong between a keyring and its token.

use super::failure::{Failure, Remedy, remedy};
use super::ffi::{CallFailure, LoadError};
use crate::format::KeyVersion;
use crate::random::RandomnessUnavailable;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use std::path::PathBuf;

/// Why a token did not do what was asked.
///
/// No variant holds a PIN or a key. What a call answered is given by the names of the standard.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The library could not be loaded, or is none of PKCS#11.
    #[error("cannot load PKCS#11 library {}: {what}", path.display())]
    Library {
        /// Its path.
        path: PathBuf,
        /// What the dynamic linker said.
        what: String,
    },

    /// The process is a child, by `fork`, of the one that opened the token. Open it anew here.
    #[error("token was opened by the parent process: open it anew in this one")]
    Forked,

    /// No slot has the token that was asked for.
    #[error("no token has {wanted}: {}", tokens_in_words(found))]
    TokenNotFound {
        /// Label or serial number that were asked for.
        wanted: String,
        /// The tokens that are there.
        found: Vec<TokenLabel>,
    },

    /// More than one token has the label: ask for the serial number.
    #[error("more than one token has {wanted}, name its serial number: {}", tokens_in_words(found))]
    TokenNotUnique {
        /// What was asked for.
        wanted: String,
        /// Those that have it.
        found: Vec<TokenLabel>,
    },

    /// Logging in failed. Nothing tries the same PIN again, so that the token does not lock.
    #[error("cannot log in to the token: {fault}")]
    Login {
        /// Why.
        fault: PinFault,
    },

    /// A call failed, and going over it again did not help.
    #[error("{failure}")]
    Call {
        /// Which call, and how.
        failure: CallFailure,
    },

    /// A key that should be on the token is not there: it was destroyed, or the token was set up
    /// anew. A token of several machines may not have a new key everywhere yet.
    #[error("key {key} version {version} is not on the token")]
    KeyNotFound {
        /// The key name.
        key: String,
        /// The version.
        version: KeyVersion,
    },

    /// More than one object of the token is named like the key.
    #[error("key {key} version {version} is on the token more than once")]
    KeyNotUnique {
        /// The key name.
        key: String,
        /// The version.
        version: KeyVersion,
    },

    /// The key on the token may be used in a way that gives it away or weakens it.
    #[error("key {key} version {version} on the token is not to be trusted: {fault}")]
    WeakKey {
        /// The key name.
        key: String,
        /// The version.
        version: KeyVersion,
        /// What is wrong with it.
        fault: KeyWeakness,
    },

    /// The token can do neither of the wrap algorithms, or not the one that was asked for.
    #[error("token cannot wrap: {what}")]
    Algorithm {
        /// What was tried, and what came of it.
        what: String,
    },

    /// The token answered, and the answer is wrong.
    #[error("token answered wrongly: {fault}")]
    Wrong {
        /// How.
        fault: WrongResponse,
    },

    /// The token took longer than the deadline. The call may still be under way.
    #[error("token did not answer within {} ms", after.as_millis())]
    Deadline {
        /// The deadline.
        after: Duration,
    },

    /// Earlier calls are still under way, so that nothing more can be asked.
    #[error("token hangs: {calls} calls are still under way")]
    Hanging {
        /// How many.
        calls: usize,
    },

    /// Calls have been under way for so long that they were given up
    /// ([`Options::hang_limit`](crate::pkcs11::Options::hang_limit)), and the library cannot be
    /// set up anew as long as they are inside. Only a new process helps.
    #[error("{calls} calls into the PKCS#11 library never returned: restart the process")]
    RestartProcess {
        /// How many.
        calls: usize,
    },

    /// Every session of the token was in use for too long, or lost again and again.
    #[error("no session of the token was free")]
    NoSession,

    /// The random generator failed.
    #[error(transparent)]
    Randomness(RandomnessUnavailable),

    /// A key was destroyed on record, and is still on the token. The next change tries again.
    #[error("destroyed keys are still on the token: {count}")]
    NotDestroyed {
        /// How many objects.
        count: usize,
    },
}

crate::error::backend_error!(Error);

impl Error {
    /// Whether the same call may succeed later without anybody's doing.
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::Call { failure } => remedy(failure) != Remedy::Permanent,
            Error::TokenNotFound { .. }
            | Error::Wrong { .. }
            | Error::Deadline { .. }
            | Error::Hanging { .. }
            | Error::NoSession
            | Error::Randomness(_)
            | Error::NotDestroyed { .. } => true,
            Error::Login { fault } => {
                matches!(fault, PinFault::Source { .. } | PinFault::Ignored | PinFault::OtherUser)
            }
            Error::Library { .. }
            | Error::Forked
            | Error::RestartProcess { .. }
            | Error::KeyNotFound { .. }
            | Error::TokenNotUnique { .. }
            | Error::KeyNotUnique { .. }
            | Error::WeakKey { .. }
            | Error::Algorithm { .. } => false,
        }
    }

    /// The error of a failure that has to do with no one key.
    pub(crate) fn from_failure(failure: Failure) -> Self {
        match failure {
            Failure::Call(failure) | Failure::Ambiguous(failure) => Error::Call { failure },
            Failure::Superseded => Error::NoSession,
            // Of what was sound a moment ago.
            Failure::Authentication | Failure::KeyMissing | Failure::KeyNotUnique => {
                Error::Wrong { fault: WrongResponse::DoesNotUnwrap }
            }
            Failure::WeakKey(_) => Error::Wrong { fault: WrongResponse::Generated },
            Failure::Wrong(fault) => Error::Wrong { fault },
            Failure::Login(fault) => Error::Login { fault },
            Failure::Error(error) => error,
        }
    }

    pub(crate) fn library(path: PathBuf, error: LoadError) -> Self {
        let what = match error {
            LoadError::Linker(what) => what,
            LoadError::NotPkcs11 => "it has no function list of PKCS#11".into(),
        };
        Error::Library { path, what }
    }
}

/// How a token in a slot calls itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenLabel {
    /// Its label.
    pub label: String,
    /// Its serial number.
    pub serial: String,
    /// Whether it was set up; if not, it has no label of its own yet.
    pub is_initialized: bool,
}

impl fmt::Display for TokenLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_initialized {
            return f.write_str("one that is not set up");
        }
        write!(f, "{:?} (serial {:?})", self.label, self.serial)
    }
}

fn tokens_in_words(tokens: &[TokenLabel]) -> String {
    if tokens.is_empty() {
        return "the library has none".into();
    }
    let words: Vec<_> = tokens.iter().map(TokenLabel::to_string).collect();
    format!("there are {}", words.join(", "))
}

/// Why a login failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PinFault {
    /// The token says that the PIN is wrong.
    Rejected,
    /// The PIN is locked: the token's security officer has to unlock it.
    Locked,
    /// The PIN has to be changed.
    Expired,
    /// The token has no user PIN yet.
    NotInitialized,
    /// One more wrong PIN would lock the token, and that was not allowed.
    FinalTry,
    /// Another user, the security officer, is logged in by another part of this process.
    OtherUser,
    /// The login was answered with success, and nobody is logged in.
    Ignored,
    /// The PIN could not be had.
    Source {
        /// What its source said.
        source: Arc<dyn core::error::Error + Send + Sync>,
    },
    /// Others than its owner may read the file with the PIN.
    FilePermissions {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

impl fmt::Display for PinFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PinFault::Rejected => f.write_str("the PIN is wrong"),
            PinFault::Locked => f.write_str("the PIN is locked"),
            PinFault::Expired => f.write_str("the PIN has expired"),
            PinFault::NotInitialized => f.write_str("the token has no user PIN"),
            PinFault::FinalTry => f.write_str("another wrong PIN would lock the token"),
            PinFault::OtherUser => f.write_str("another user is logged in in this process"),
            PinFault::Ignored => f.write_str("the token says yes and logs nobody in"),
            PinFault::Source { source } => write!(f, "the PIN could not be had: {source}"),
            PinFault::FilePermissions { path, mode } => {
                write!(f, "others may read {}: mode {mode:04o}", path.display())
            }
        }
    }
}

/// What is wrong with a key on a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyWeakness {
    /// Its value can be read: it is not sensitive.
    NotSensitive,
    /// It can be wrapped out of the token.
    Extractable,
    /// It can wrap other keys, or unwrap them, beside decrypting and encrypting: whoever may use
    /// the token can read keys by it. [`ExternalKeyring`](crate::pkcs11::ExternalKeyring) says
    /// how to make one that is accepted.
    WrapsAndDecrypts,
    /// It is no AES key of 256 bits, or no secret for a MAC of at least 256.
    Type,
}

impl fmt::Display for KeyWeakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            KeyWeakness::NotSensitive => "its value can be read",
            KeyWeakness::Extractable => "it can be extracted",
            KeyWeakness::WrapsAndDecrypts => {
                "it wraps or unwraps keys besides: make one with CKA_WRAP and CKA_UNWRAP false"
            }
            KeyWeakness::Type => "it is of another type or length",
        })
    }
}

/// How a token's answer was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WrongResponse {
    /// What it wrapped does not unwrap to the same.
    DoesNotUnwrap,
    /// It encrypted under the same IV twice, or under an IV of zeros.
    IvIgnored,
    /// It found another object than it was asked for.
    OtherObject,
    /// It left the associated data out.
    AadIgnored,
    /// It gave back what it was to encrypt.
    NotEncrypted,
    /// A known answer is another one here: the mechanism is not what it is called.
    KnownAnswer,
    /// It generated a key other than it was told to.
    Generated,
}

impl fmt::Display for WrongResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WrongResponse::DoesNotUnwrap => "what it wrapped does not unwrap",
            WrongResponse::IvIgnored => "it ignores the initialisation vector",
            WrongResponse::OtherObject => "it found another object",
            WrongResponse::AadIgnored => "it ignores associated data",
            WrongResponse::NotEncrypted => "it does not encrypt",
            WrongResponse::KnownAnswer => "a known answer is another one here",
            WrongResponse::Generated => "a new key has not the attributes asked for",
        })
    }
}
