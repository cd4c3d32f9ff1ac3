//! Failures of calls.

use core::fmt;
use cryptoki_sys as ck;

/// Return values and their names.
macro_rules! names {
    ($($name:ident),* $(,)?) => {
        const NAMES: &[(ck::CK_RV, &str)] = &[$((ck::$name, stringify!($name))),*];
    };
}

names! {
    CKR_HOST_MEMORY, CKR_SLOT_ID_INVALID, CKR_GENERAL_ERROR, CKR_FUNCTION_FAILED, CKR_ARGUMENTS_BAD,
    CKR_CANT_LOCK, CKR_ATTRIBUTE_READ_ONLY, CKR_ATTRIBUTE_SENSITIVE, CKR_ATTRIBUTE_TYPE_INVALID,
    CKR_ATTRIBUTE_VALUE_INVALID, CKR_ACTION_PROHIBITED, CKR_DATA_INVALID, CKR_DATA_LEN_RANGE,
    CKR_DEVICE_ERROR, CKR_DEVICE_MEMORY, CKR_DEVICE_REMOVED, CKR_ENCRYPTED_DATA_INVALID,
    CKR_ENCRYPTED_DATA_LEN_RANGE, CKR_AEAD_DECRYPT_FAILED, CKR_FUNCTION_CANCELED,
    CKR_FUNCTION_NOT_SUPPORTED, CKR_KEY_HANDLE_INVALID, CKR_KEY_SIZE_RANGE,
    CKR_KEY_TYPE_INCONSISTENT, CKR_KEY_FUNCTION_NOT_PERMITTED, CKR_MECHANISM_INVALID,
    CKR_MECHANISM_PARAM_INVALID, CKR_OBJECT_HANDLE_INVALID, CKR_OPERATION_ACTIVE,
    CKR_OPERATION_NOT_INITIALIZED, CKR_PIN_INCORRECT, CKR_PIN_INVALID, CKR_PIN_LEN_RANGE,
    CKR_PIN_EXPIRED, CKR_PIN_LOCKED, CKR_SESSION_CLOSED, CKR_SESSION_COUNT,
    CKR_SESSION_HANDLE_INVALID, CKR_SESSION_READ_ONLY, CKR_SIGNATURE_INVALID,
    CKR_SIGNATURE_LEN_RANGE, CKR_TEMPLATE_INCOMPLETE, CKR_TEMPLATE_INCONSISTENT,
    CKR_TOKEN_NOT_PRESENT, CKR_TOKEN_NOT_RECOGNIZED, CKR_TOKEN_WRITE_PROTECTED,
    CKR_USER_ALREADY_LOGGED_IN, CKR_USER_NOT_LOGGED_IN, CKR_USER_PIN_NOT_INITIALIZED,
    CKR_USER_TYPE_INVALID, CKR_USER_ANOTHER_ALREADY_LOGGED_IN, CKR_USER_TOO_MANY_TYPES,
    CKR_RANDOM_NO_RNG, CKR_BUFFER_TOO_SMALL, CKR_CRYPTOKI_NOT_INITIALIZED,
    CKR_CRYPTOKI_ALREADY_INITIALIZED,
}

/// Writes a return value by its name.
fn write_rv(rv: ck::CK_RV, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match NAMES.iter().find(|(value, _)| *value == rv) {
        Some((_, name)) => f.write_str(name),
        None if rv >= ck::CKR_VENDOR_DEFINED => write!(f, "vendor code {rv:#x}"),
        None => write!(f, "code {rv:#x}"),
    }
}

macro_rules! functions {
    ($($name:ident),* $(,)?) => {
        /// A function of the interface, by its name in the standard.
        #[expect(non_camel_case_types, clippy::enum_variant_names, reason = "the names of the standard")]
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Function {
            $($name),*
        }

        impl Function {
            const fn name(self) -> &'static str {
                match self {
                    $(Function::$name => stringify!($name)),*
                }
            }
        }
    };
}

functions! {
    C_Initialize, C_Finalize, C_GetSlotList, C_GetTokenInfo, C_GetMechanismList, C_GetMechanismInfo,
    C_OpenSession, C_CloseSession, C_GetSessionInfo, C_Login, C_CreateObject, C_DestroyObject,
    C_GetAttributeValue, C_FindObjectsInit, C_FindObjects, C_FindObjectsFinal, C_EncryptInit,
    C_Encrypt, C_DecryptInit, C_Decrypt, C_SignInit, C_Sign, C_GenerateKey,
}

/// How a call failed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallFault {
    /// It returned another value than `CKR_OK`.
    Code(ck::CK_RV),
    /// It returned a length beyond the buffer, or not the one of the operation.
    Length,
    /// It returned an invalid handle, or one that is in use.
    Handle,
    /// The library does not have the function.
    Missing,
}

/// A failed call to a PKCS#11 library. `Display` uses the names of the standard.
#[derive(Clone, PartialEq, Eq)]
pub struct CallFailure {
    pub(crate) function: Function,
    pub(crate) fault: CallFault,
}

impl CallFailure {
    /// Returns the name of the function.
    pub const fn function(&self) -> &'static str {
        self.function.name()
    }

    /// Returns the return value (`CKR_...`); `None` if the call succeeded with a wrong result, or the library
    /// does not have the function.
    pub fn return_value(&self) -> Option<core::ffi::c_ulong> {
        self.code()
    }

    /// The return value.
    pub(crate) fn code(&self) -> Option<ck::CK_RV> {
        match self.fault {
            CallFault::Code(rv) => Some(rv),
            _ => None,
        }
    }

    pub(crate) fn missing(function: Function) -> Self {
        CallFailure { function, fault: CallFault::Missing }
    }

    pub(crate) fn length(function: Function) -> Self {
        CallFailure { function, fault: CallFault::Length }
    }
}

/// The result of a call.
pub(crate) type Result<T> = core::result::Result<T, CallFailure>;

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.function.name())?;
        match self.fault {
            CallFault::Code(rv) => {
                f.write_str("returned ")?;
                write_rv(rv, f)
            }
            CallFault::Length => f.write_str("returned a wrong length"),
            CallFault::Handle => f.write_str("returned an invalid handle"),
            CallFault::Missing => f.write_str("is missing"),
        }
    }
}

impl fmt::Debug for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallFailure({self})")
    }
}
