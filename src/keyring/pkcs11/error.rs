//! Errors of a token.

use super::ffi::CallFailure;
use super::token::recovery::{Remedy, remedy_of};
use crate::format::KeyVersion;
use crate::random::RandomnessUnavailable;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use std::path::PathBuf;

/// Why an operation on a token failed.
///
/// No variant contains a PIN or a key. Return values have their names in the standard.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The library could not be loaded, or is not a PKCS#11 module.
    #[error("cannot load PKCS#11 library {}: {what}", path.display())]
    Library {
        /// The path of the library.
        path: PathBuf,
        /// The reason, from the dynamic linker for example.
        what: String,
    },

    /// The process is a child, by `fork`, of the one that opened the token. Open it again here.
    #[error("the parent process opened the token: open it again in this one")]
    Forked,

    /// No slot has the selected token.
    #[error("no token has {wanted}: {}", list(found))]
    TokenNotFound {
        /// The selected label or serial number.
        wanted: String,
        /// The tokens of the library.
        found: Vec<TokenLabel>,
    },

    /// Several tokens have the selected label. Select by the serial number.
    #[error("several tokens have {wanted}, select by serial number: {}", list(found))]
    TokenNotUnique {
        /// The selected label or serial number.
        wanted: String,
        /// The tokens that match.
        found: Vec<TokenLabel>,
    },

    /// The login failed. A PIN that was refused is not tried again, so that the token does not lock.
    #[error("cannot log in to the token: {fault}")]
    Login {
        /// The reason.
        fault: PinFault,
    },

    /// A call into the library failed, and recovery did not help.
    #[error("{failure}")]
    Call {
        /// The call and its return value.
        failure: CallFailure,
    },

    /// The key is not on the token: it was destroyed, or the token was initialised again. On a
    /// cluster, a new key may not be on every machine yet.
    #[error("key {key} version {version} is not on the token")]
    KeyNotFound {
        /// The key name.
        key: String,
        /// The version.
        version: KeyVersion,
    },

    /// Several objects of the token have the name of the key.
    #[error("key {key} version {version} is on the token more than once")]
    KeyNotUnique {
        /// The key name.
        key: String,
        /// The version.
        version: KeyVersion,
    },

    /// The attributes of the key allow a use that discloses it or weakens it.
    #[error("key {key} version {version} on the token is not safe to use: {fault}")]
    WeakKey {
        /// The key name.
        key: String,
        /// The version.
        version: KeyVersion,
        /// The weakness.
        fault: KeyWeakness,
    },

    /// The token supports neither wrap algorithm, or not the selected one.
    #[error("the token cannot wrap: {what}")]
    Algorithm {
        /// The result of each attempt.
        what: String,
    },

    /// The token reported success, and its result is wrong.
    #[error("the token returned a wrong result: {fault}")]
    Wrong {
        /// What is wrong.
        fault: WrongResponse,
    },

    /// The operation took longer than the deadline. Its call may still be running.
    #[error("the token did not respond within {} ms", after.as_millis())]
    Deadline {
        /// The deadline.
        after: Duration,
    },

    /// Earlier calls have not returned, and block this one.
    #[error("the token hangs: {calls} calls have not returned")]
    Hanging {
        /// How many.
        calls: usize,
    },

    /// Calls have hung for longer than
    /// [`Options::hang_limit`](crate::pkcs11::Options::hang_limit), and the library cannot be
    /// restarted while they are inside. Only a new process helps.
    #[error("{calls} calls into the PKCS#11 library never returned: restart the process")]
    RestartProcess {
        /// How many.
        calls: usize,
    },

    /// Every session of the token was in use for the whole recovery timeout, or was lost.
    #[error("no session of the token is free")]
    NoSession,

    /// The random generator failed.
    #[error(transparent)]
    Randomness(RandomnessUnavailable),

    /// Keys that are recorded as destroyed are still on the token. The next change tries again.
    #[error("destroyed keys are still on the token: {count}")]
    NotDestroyed {
        /// The number of objects.
        count: usize,
    },
}

impl Error {
    /// Returns whether the same operation may succeed later without an intervention.
    pub fn is_retryable(&self) -> bool {
        match self {
            Error::Call { failure } => remedy_of(failure) != Remedy::None,
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
}

crate::error::backend_error!(Error);

/// The names of a token in a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenLabel {
    /// The label.
    pub label: String,
    /// The serial number.
    pub serial: String,
    /// Whether the token is initialised. If not, it has no label yet.
    pub is_initialized: bool,
}

impl fmt::Display for TokenLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_initialized {
            return f.write_str("one that is not initialised");
        }
        write!(f, "{:?} (serial {:?})", self.label, self.serial)
    }
}

fn list(tokens: &[TokenLabel]) -> String {
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
    /// The PIN is wrong.
    Rejected,
    /// The PIN is locked. The token's security officer can unlock it.
    Locked,
    /// The PIN has expired.
    Expired,
    /// The token has no user PIN yet.
    NotInitialized,
    /// Another wrong PIN would lock the token, and
    /// [`Options::allow_final_try`](crate::pkcs11::Options::allow_final_try) is not set.
    FinalTry,
    /// Other code in this process has logged in another user, such as the security officer.
    OtherUser,
    /// The token reported a successful login, and no user is logged in.
    Ignored,
    /// The source of the PIN failed.
    Source {
        /// Its error.
        source: Arc<dyn core::error::Error + Send + Sync>,
    },
    /// Others than its owner have access to the file with the PIN.
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
            PinFault::OtherUser => f.write_str("this process has logged in another user"),
            PinFault::Ignored => f.write_str("the login succeeded, and no user is logged in"),
            PinFault::Source { source } => write!(f, "no PIN: {source}"),
            PinFault::FilePermissions { path, mode } => {
                write!(f, "others can access {}: mode {mode:04o}", path.display())
            }
        }
    }
}

/// Why a key on a token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyWeakness {
    /// Its value can be read: it is not sensitive.
    #[error("its value can be read")]
    NotSensitive,
    /// It can be wrapped and so leave the token.
    #[error("it can be extracted")]
    Extractable,
    /// It decrypts and also wraps other keys, or encrypts and unwraps them: every user of the token
    /// can read keys with it. [`ExternalKeyring`](crate::pkcs11::ExternalKeyring) describes how to
    /// make a key that is accepted.
    #[error("it also wraps or unwraps keys: make one with CKA_WRAP and CKA_UNWRAP false")]
    WrapsAndDecrypts,
    /// It is not an AES key of 256 bits, or not a MAC key of at least 256 bits.
    #[error("it has another type or length")]
    Type,
}

/// How the result of a token is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WrongResponse {
    /// Its output does not decrypt to its input.
    #[error("its output does not unwrap")]
    DoesNotUnwrap,
    /// It encrypted under the same IV twice, or under an IV of zeros.
    #[error("it ignores the initialisation vector")]
    IvIgnored,
    /// It found another object.
    #[error("it found another object")]
    OtherObject,
    /// It ignored the associated data.
    #[error("it ignores associated data")]
    AadIgnored,
    /// Its output is its input.
    #[error("it does not encrypt")]
    NotEncrypted,
    /// A known-answer test failed: the mechanism is not the one of its name.
    #[error("a known-answer test failed")]
    KnownAnswer,
    /// It generated a key without the requested attributes.
    #[error("the generated key lacks the requested attributes")]
    Generated,
}
