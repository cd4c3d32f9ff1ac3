//! Sessions and the login.

use std::ffi::c_void;

use cryptoki_sys::*;

use crate::functions::Function::{C_Login, C_OpenSession};
use crate::real_module::call_real;
use crate::wrong_results::WrongResult::*;
use crate::{sessions, slots, state};

/// Arguments of C_OpenSession, without the slot and the handle.
pub(crate) struct Opening {
    pub(crate) flags: CK_FLAGS,
    pub(crate) application: *mut c_void,
    pub(crate) notify: CK_NOTIFY,
}

pub(crate) unsafe fn open(
    real: &CK_FUNCTION_LIST,
    slot: CK_SLOT_ID,
    opening: Opening,
    handle: *mut CK_SESSION_HANDLE,
) -> CK_RV {
    let slot = slots::real(slot);
    let other = sessions::any_of(slot);
    let wrong = state::wrong_result(C_OpenSession, |wrong| match wrong {
        SessionZero => !handle.is_null(),
        SessionShared => !handle.is_null() && other.is_some(),
        _ => false,
    });
    if let Some((wrong, _)) = wrong {
        let visible = if wrong == SessionShared { other.unwrap_or(0) } else { 0 };
        // SAFETY: the caller's variable, which is not NULL.
        unsafe { handle.write(visible) };
        return CKR_OK;
    }
    let Opening { flags, application, notify } = opening;
    // SAFETY: the caller's arguments.
    let code = unsafe { call_real!(real, C_OpenSession(slot, flags, application, notify, handle)) };
    if code == CKR_OK {
        // SAFETY: the real module has written it.
        sessions::opened(unsafe { handle.read() }, slot);
    }
    code
}

pub(crate) fn close(real: &CK_FUNCTION_LIST, session: CK_SESSION_HANDLE) -> CK_RV {
    // SAFETY: the argument is a number.
    let code = unsafe { call_real!(real, C_CloseSession(session)) };
    if code == CKR_OK {
        sessions::closed(session);
    }
    code
}

pub(crate) fn close_all(real: &CK_FUNCTION_LIST, slot: CK_SLOT_ID) -> CK_RV {
    let slot = slots::real(slot);
    // SAFETY: the argument is a number.
    let code = unsafe { call_real!(real, C_CloseAllSessions(slot)) };
    if code == CKR_OK {
        sessions::all_closed(slot);
    }
    code
}

pub(crate) unsafe fn info(
    real: &CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    info: *mut CK_SESSION_INFO,
) -> CK_RV {
    // SAFETY: the caller's arguments.
    let code = unsafe { call_real!(real, C_GetSessionInfo(session, info)) };
    // SAFETY: the caller's variable, which a success has filled.
    if let Some(info) = unsafe { info.as_mut() }
        && code == CKR_OK
    {
        info.slotID = slots::visible(info.slotID);
    }
    code
}

pub(crate) unsafe fn login(
    real: &CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: *mut CK_UTF8CHAR,
    pin_len: CK_ULONG,
) -> CK_RV {
    if state::wrong_result(C_Login, |wrong| wrong == LoginIgnored).is_some() {
        return CKR_OK;
    }
    // SAFETY: the caller's arguments.
    unsafe { call_real!(real, C_Login(session, user, pin, pin_len)) }
}
