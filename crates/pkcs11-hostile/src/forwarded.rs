//! The functions that are only forwarded: they have no wrong results.

use cryptoki_sys::*;

use crate::exports::{Len, Object, Session, first};
use crate::faults::pass;
use crate::functions::Function;
use crate::real_module::call_real;

/// Defines the functions of each list of parameters.
macro_rules! forwarded {
    ($($arguments:tt => $($name:ident)*;)*) => {$($(forwarded!(@ $name $arguments);)*)*};
    (@ $name:ident ($($argument:ident: $type:ty),*)) => {
        #[allow(non_snake_case)] // the names of the standard
        pub(crate) unsafe extern "C" fn $name($($argument: $type),*) -> CK_RV {
            pass(Function::$name, first!($($argument),*), |real| {
                // SAFETY: the arguments are valid for the real function, since they are for this one.
                unsafe { call_real!(real, $name($($argument),*)) }
            })
        }
    };
}

#[rustfmt::skip]
forwarded! {
    (a: *mut CK_INFO) => C_GetInfo;
    (a: Session) => C_Logout C_FindObjectsFinal C_GetFunctionStatus C_CancelFunction;
    (a: Session, b: *mut u8, c: Len) =>
        C_InitPIN C_DigestUpdate C_SignUpdate C_VerifyUpdate C_VerifyFinal C_SeedRandom C_GenerateRandom;
    (a: Session, b: *mut u8, c: *mut Len) =>
        C_GetOperationState C_EncryptFinal C_DecryptFinal C_DigestFinal C_SignFinal;
    (a: Session, b: *mut u8, c: Len, d: *mut u8, e: Len) => C_SetPIN C_Verify;
    (a: Session, b: *mut u8, c: Len, d: *mut u8, e: *mut Len) =>
        C_EncryptUpdate C_DecryptUpdate C_Digest C_SignRecover C_VerifyRecover
        C_DigestEncryptUpdate C_DecryptDigestUpdate C_SignEncryptUpdate C_DecryptVerifyUpdate;
    (a: Session, b: *mut u8, c: Len, d: Object, e: Object) => C_SetOperationState;
    (a: Session, b: Object) => C_DigestKey;
    (a: Session, b: Object, c: *mut Len) => C_GetObjectSize;
    (a: Session, b: *mut CK_ATTRIBUTE, c: Len, d: *mut Object) => C_CreateObject;
    (a: Session, b: Object, c: *mut CK_ATTRIBUTE, d: Len, e: *mut Object) => C_CopyObject;
    (a: Session, b: Object, c: *mut CK_ATTRIBUTE, d: Len) => C_SetAttributeValue;
    (a: Session, b: *mut CK_MECHANISM) => C_DigestInit;
    (a: Session, b: *mut CK_MECHANISM, c: Object) => C_SignRecoverInit C_VerifyRecoverInit;
    (a: Session, b: *mut CK_MECHANISM, c: *mut CK_ATTRIBUTE, d: Len, e: *mut CK_ATTRIBUTE, f: Len,
        g: *mut Object, h: *mut Object) => C_GenerateKeyPair;
    (a: Session, b: *mut CK_MECHANISM, c: Object, d: Object, e: *mut u8, f: *mut Len) => C_WrapKey;
    (a: Session, b: *mut CK_MECHANISM, c: Object, d: *mut u8, e: Len, f: *mut CK_ATTRIBUTE, g: Len,
        h: *mut Object) => C_UnwrapKey;
    (a: Session, b: *mut CK_MECHANISM, c: Object, d: *mut CK_ATTRIBUTE, e: Len, f: *mut Object) =>
        C_DeriveKey;
}
