//! Beginning and end of the connection.

use std::ffi::c_void;

use cryptoki_sys::*;

use crate::catalogue::Lie;
use crate::forward::ask;
use crate::functions::Function::C_Initialize;
use crate::{sessions, slots, stage};

/// # Safety
/// Arguments as the standard has them.
pub(crate) unsafe fn initialize(real: &CK_FUNCTION_LIST, arguments: *mut c_void) -> CK_RV {
    // SAFETY: the caller's promise.
    let code = unsafe { ask!(real, C_Initialize(arguments)) };
    if code == CKR_OK && stage::lie(C_Initialize, |lie| lie == Lie::SlotIdsChange).is_some() {
        slots::shift();
    }
    code
}

/// # Safety
/// Arguments as the standard has them.
pub(crate) unsafe fn finalize(real: &CK_FUNCTION_LIST, reserved: *mut c_void) -> CK_RV {
    // SAFETY: the caller's promise; the gate keeps everybody else out.
    let code = unsafe { ask!(real, C_Finalize(reserved)) };
    if code == CKR_OK {
        sessions::forget();
        stage::revive();
    }
    code
}
