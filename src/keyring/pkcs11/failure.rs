//! What the failure of a call means (the error map of PKCS#11, which has no one meaning per code).

use super::error::{Error, KeyWeakness, PinFault, WrongResponse};
use super::ffi::{CallFailure, CallFault, Function, ck};

/// Why an attempt did not succeed.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// A call failed.
    Call(CallFailure),
    /// A decryption was refused by a code that may mean a forged input or a sick device.
    Ambiguous(CallFailure),
    /// Somebody logged in meanwhile, or the connection was given up.
    Superseded,
    /// The input does not authenticate.
    Authentication,
    /// The key is not there, though somebody is logged in.
    KeyMissing,
    /// There is more than one.
    KeyNotUnique,
    /// The key must not be used.
    WeakKey(KeyWeakness),
    /// An answer was wrong.
    Wrong(WrongResponse),
    /// Somebody has to be logged in.
    Login(PinFault),
    /// Anything that another attempt does not change, or that has its words already.
    Error(Error),
}

/// What to do about a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// The session is of no use: take another.
    Session,
    /// The object is not known by this number any more, or nobody is logged in.
    Stale,
    /// The device, or anything: find out by asking it.
    Device,
    /// The library is not set up.
    Restart,
    /// The same call will fail in the same way.
    Permanent,
}

impl From<CallFailure> for Failure {
    fn from(failure: CallFailure) -> Self {
        Failure::Call(failure)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Error(error)
    }
}

/// The remedy that a failed call begins at.
pub(crate) fn remedy(failure: &CallFailure) -> Remedy {
    let code = match failure.fault {
        CallFault::Code(rv) => rv.0,
        CallFault::Length | CallFault::Handle => return Remedy::Session,
        CallFault::Missing => return Remedy::Permanent,
    };
    match code {
        ck::CKR_SESSION_HANDLE_INVALID
        | ck::CKR_SESSION_CLOSED
        | ck::CKR_OPERATION_ACTIVE
        | ck::CKR_OPERATION_NOT_INITIALIZED
        | ck::CKR_BUFFER_TOO_SMALL
        | ck::CKR_SESSION_COUNT => Remedy::Session,
        ck::CKR_OBJECT_HANDLE_INVALID | ck::CKR_KEY_HANDLE_INVALID | ck::CKR_USER_NOT_LOGGED_IN => {
            Remedy::Stale
        }
        ck::CKR_CRYPTOKI_NOT_INITIALIZED => Remedy::Restart,
        ck::CKR_MECHANISM_INVALID
        | ck::CKR_MECHANISM_PARAM_INVALID
        | ck::CKR_ARGUMENTS_BAD
        | ck::CKR_ATTRIBUTE_READ_ONLY
        | ck::CKR_ATTRIBUTE_SENSITIVE
        | ck::CKR_ATTRIBUTE_TYPE_INVALID
        | ck::CKR_ATTRIBUTE_VALUE_INVALID
        | ck::CKR_TEMPLATE_INCOMPLETE
        | ck::CKR_TEMPLATE_INCONSISTENT
        | ck::CKR_TOKEN_WRITE_PROTECTED
        | ck::CKR_SESSION_READ_ONLY
        | ck::CKR_ACTION_PROHIBITED
        | ck::CKR_KEY_SIZE_RANGE
        | ck::CKR_KEY_FUNCTION_NOT_PERMITTED
        | ck::CKR_KEY_TYPE_INCONSISTENT
        | ck::CKR_FUNCTION_NOT_SUPPORTED => Remedy::Permanent,
        _ => Remedy::Device,
    }
}

/// Whether the token has disabled the key for this use, by either of two codes.
pub(crate) fn is_disabled(failure: &CallFailure) -> bool {
    let init = matches!(
        failure.function,
        Function::C_EncryptInit | Function::C_DecryptInit | Function::C_SignInit
    );
    let codes = [ck::CKR_KEY_FUNCTION_NOT_PERMITTED, ck::CKR_KEY_TYPE_INCONSISTENT];
    init && failure.code().is_some_and(|code| codes.contains(&code))
}

/// Whether the mechanism or its parameter is not to the token's liking.
pub(crate) fn is_mechanism(failure: &CallFailure) -> bool {
    let codes = [
        ck::CKR_MECHANISM_INVALID,
        ck::CKR_MECHANISM_PARAM_INVALID,
        ck::CKR_ARGUMENTS_BAD,
        ck::CKR_FUNCTION_NOT_SUPPORTED,
        ck::CKR_KEY_TYPE_INCONSISTENT,
    ];
    failure.fault == CallFault::Missing || failure.code().is_some_and(|code| codes.contains(&code))
}

/// What a refused authenticated decryption means: some tokens have a code for a wrong tag, others
/// answer that something is wrong with them.
pub(crate) fn of_decryption(failure: CallFailure) -> Failure {
    if failure.function != Function::C_Decrypt {
        return Failure::Call(failure);
    }
    match failure.code() {
        Some(
            ck::CKR_ENCRYPTED_DATA_INVALID
            | ck::CKR_ENCRYPTED_DATA_LEN_RANGE
            | ck::CKR_DATA_INVALID
            | ck::CKR_DATA_LEN_RANGE
            | ck::CKR_SIGNATURE_INVALID
            | ck::CKR_AEAD_DECRYPT_FAILED,
        ) => Failure::Authentication,
        Some(ck::CKR_GENERAL_ERROR | ck::CKR_FUNCTION_FAILED | ck::CKR_DEVICE_ERROR) => {
            Failure::Ambiguous(failure)
        }
        Some(code) if code >= ck::CKR_VENDOR_DEFINED => Failure::Ambiguous(failure),
        _ => Failure::Call(failure),
    }
}

/// Whether there are too few sessions, or too little room, for this one call: nothing is lost.
pub(crate) fn is_of_few_sessions(failure: &CallFailure) -> bool {
    let codes = [ck::CKR_SESSION_COUNT, ck::CKR_BUFFER_TOO_SMALL];
    failure.code().is_none_or(|code| codes.contains(&code))
}

/// Whether the session itself is gone, so that its number may be another's by now.
pub(crate) fn is_session_gone(failure: &CallFailure) -> bool {
    let codes = [
        ck::CKR_SESSION_HANDLE_INVALID,
        ck::CKR_SESSION_CLOSED,
        ck::CKR_CRYPTOKI_NOT_INITIALIZED,
        ck::CKR_DEVICE_REMOVED,
    ];
    failure.code().is_some_and(|code| codes.contains(&code))
}
