//! C_Initialize and C_Finalize.

use std::ffi::c_void;

use cryptoki_sys::*;

use crate::functions::Function::C_Initialize;
use crate::real_module::call_real;
use crate::wrong_results::WrongResult::*;
use crate::{sessions, slots, state};

pub(crate) unsafe fn initialize(real: &CK_FUNCTION_LIST, arguments: *mut c_void) -> CK_RV {
    // SAFETY: the caller's arguments.
    let code = unsafe { call_real!(real, C_Initialize(arguments)) };
    if code == CKR_OK && state::wrong_result(C_Initialize, |wrong| wrong == SlotIdsChange).is_some()
    {
        slots::shift();
    }
    code
}

pub(crate) unsafe fn finalize(real: &CK_FUNCTION_LIST, reserved: *mut c_void) -> CK_RV {
    // SAFETY: the caller's arguments; no other call is inside.
    let code = unsafe { call_real!(real, C_Finalize(reserved)) };
    if code == CKR_OK {
        sessions::forget();
        state::revive();
    }
    code
}
