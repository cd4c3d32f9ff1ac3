//! What a failed call means. PKCS#11 assigns its return values no single meaning.

use super::error::{Error, KeyWeakness, PinFault, WrongResponse};
use super::ffi::{CallFailure, CallFault, Function, ck};

/// Why an attempt failed.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// A call failed.
    Call(CallFailure),
    /// A decryption failed with a code for a forged input or a faulty device.
    Ambiguous(CallFailure),
    /// Another login began during the attempt, or the connection was replaced.
    Superseded,
    /// The input does not authenticate.
    Authentication,
    /// The user is logged in, and the key is not there.
    KeyMissing,
    /// Several objects have the name of the key.
    KeyNotUnique,
    /// The attributes of the key are not accepted.
    WeakKey(KeyWeakness),
    /// A result was wrong.
    Wrong(WrongResponse),
    /// The user is not logged in.
    Login(PinFault),
    /// Another attempt changes nothing.
    Error(Error),
}

impl Failure {
    /// The return value of the failed call, if that is the reason.
    pub(crate) fn code(&self) -> Option<ck::CK_RV> {
        if let Failure::Call(call) = self { call.code() } else { None }
    }
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

/// Whether the token has disabled the key for this use: tokens return one of two codes.
pub(crate) fn is_disabled(failure: &CallFailure) -> bool {
    let init = matches!(
        failure.function,
        Function::C_EncryptInit | Function::C_DecryptInit | Function::C_SignInit
    );
    let codes = [ck::CKR_KEY_FUNCTION_NOT_PERMITTED, ck::CKR_KEY_TYPE_INCONSISTENT];
    init && failure.code().is_some_and(|code| codes.contains(&code))
}

/// Whether the token does not support the mechanism or its parameter.
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

/// Classifies a failed authenticated decryption: some tokens have a code for a wrong tag, others
/// return one for a faulty device.
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

/// Why the token refused a login; `None` for other failures of the call.
pub(crate) fn pin_fault(failure: &CallFailure) -> Option<PinFault> {
    Some(match failure.code()? {
        ck::CKR_PIN_INCORRECT | ck::CKR_PIN_INVALID | ck::CKR_PIN_LEN_RANGE => PinFault::Rejected,
        ck::CKR_PIN_LOCKED => PinFault::Locked,
        ck::CKR_PIN_EXPIRED => PinFault::Expired,
        ck::CKR_USER_PIN_NOT_INITIALIZED => PinFault::NotInitialized,
        ck::CKR_USER_ANOTHER_ALREADY_LOGGED_IN => PinFault::OtherUser,
        _ => return None,
    })
}

/// The error of a failure that concerns no single key.
impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Call(failure) | Failure::Ambiguous(failure) => Error::Call { failure },
            Failure::Superseded => Error::NoSession,
            // The input is known to be valid.
            Failure::Authentication | Failure::KeyMissing | Failure::KeyNotUnique => {
                Error::Wrong { fault: WrongResponse::DoesNotUnwrap }
            }
            Failure::WeakKey(_) => Error::Wrong { fault: WrongResponse::Generated },
            Failure::Wrong(fault) => Error::Wrong { fault },
            Failure::Login(fault) => Error::Login { fault },
            Failure::Error(error) => error,
        }
    }
}
