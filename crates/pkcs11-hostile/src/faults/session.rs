//! Sessions and the login.

use std::ffi::c_void;

use cryptoki_sys::*;

use crate::catalogue::Lie;
use crate::forward::ask;
use crate::functions::Function::{C_Login, C_OpenSession};
use crate::{sessions, slots, stage};

/// What C_OpenSession takes besides the slot and the place for the handle.
pub(crate) struct Opening {
    pub(crate) flags: CK_FLAGS,
    pub(crate) application: *mut c_void,
    pub(crate) notify: CK_NOTIFY,
}

/// # Safety
/// Arguments as the standard has them.
pub(crate) unsafe fn open(
    real: &CK_FUNCTION_LIST,
    slot: CK_SLOT_ID,
    opening: Opening,
    handle: *mut CK_SESSION_HANDLE,
) -> CK_RV {
    let slot = slots::real(slot);
    let other = sessions::any_of(slot);
    let lie = stage::lie(C_OpenSession, |lie| match lie {
        Lie::SessionZero => !handle.is_null(),
        Lie::SessionShared => !handle.is_null() && other.is_some(),
        _ => false,
    });
    if let Some((lie, _)) = lie {
        let shown = if lie == Lie::SessionShared { other.unwrap_or(0) } else { 0 };
        // SAFETY: not NULL, and the caller's place for one handle.
        unsafe { handle.write(shown) };
        return CKR_OK;
    }
    let Opening { flags, application, notify } = opening;
    // SAFETY: the caller's promise.
    let code = unsafe { ask!(real, C_OpenSession(slot, flags, application, notify, handle)) };
    if code == CKR_OK {
        // SAFETY: the real module has just written it.
        sessions::opened(unsafe { handle.read() }, slot);
    }
    code
}

pub(crate) fn close(real: &CK_FUNCTION_LIST, session: CK_SESSION_HANDLE) -> CK_RV {
    // SAFETY: a plain number goes in.
    let code = unsafe { ask!(real, C_CloseSession(session)) };
    if code == CKR_OK {
        sessions::closed(session);
    }
    code
}

pub(crate) fn close_all(real: &CK_FUNCTION_LIST, slot: CK_SLOT_ID) -> CK_RV {
    let slot = slots::real(slot);
    // SAFETY: a plain number goes in.
    let code = unsafe { ask!(real, C_CloseAllSessions(slot)) };
    if code == CKR_OK {
        sessions::all_closed(slot);
    }
    code
}

/// # Safety
/// Arguments as the standard has them.
pub(crate) unsafe fn info(
    real: &CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    info: *mut CK_SESSION_INFO,
) -> CK_RV {
    // SAFETY: the caller's promise.
    let code = unsafe { ask!(real, C_GetSessionInfo(session, info)) };
    // SAFETY: OK means that the caller's place has been filled.
    if let Some(info) = unsafe { info.as_mut() }
        && code == CKR_OK
    {
        info.slotID = slots::shown(info.slotID);
    }
    code
}

/// # Safety
/// Arguments as the standard has them.
pub(crate) unsafe fn login(
    real: &CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: *mut CK_UTF8CHAR,
    pin_len: CK_ULONG,
) -> CK_RV {
    if stage::lie(C_Login, |lie| lie == Lie::LoginIgnored).is_some() {
        return CKR_OK;
    }
    // SAFETY: the caller's promise.
    unsafe { ask!(real, C_Login(session, user, pin, pin_len)) }
}
