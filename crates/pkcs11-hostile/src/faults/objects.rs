//! Wrong results of searches and of C_DestroyObject.

use cryptoki_sys::*;

use crate::functions::Function::{C_DestroyObject, C_FindObjects};
use crate::real_module::call_real;
use crate::wrong_results::WrongResult::*;
use crate::{sessions, state};

/// A handle that no token assigns.
const GARBAGE: CK_OBJECT_HANDLE = 0x7bad_cafe;

/// How many objects are listed to find another one.
const MAX_LISTED: usize = 64;

pub(crate) unsafe fn find(
    real: &CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    list: *mut CK_OBJECT_HANDLE,
    max: CK_ULONG,
    count: *mut CK_ULONG,
) -> CK_RV {
    // SAFETY: the caller's arguments.
    let code = unsafe { call_real!(real, C_FindObjects(session, list, max, count)) };
    // SAFETY: the caller's variable for the count, or NULL.
    let Some(count) = (unsafe { count.as_mut() }) else { return code };
    if code != CKR_OK || list.is_null() {
        return code;
    }
    let found = *count as usize;
    // SAFETY: after a success the real module has written that many handles.
    let first = (found > 0).then(|| unsafe { *list });
    let mut foreign = None;
    let wrong = state::wrong_result(C_FindObjects, |wrong| match wrong {
        FindTwice => found > 0 && found < max as usize,
        FindForeign => found > 0,
        FindNothing => found > 0,
        FindGarbage => max > 0,
        _ => true,
    });
    if let Some((FindForeign, _)) = wrong {
        foreign = another(real, session, first);
    }
    match (wrong.map(|(wrong, _)| wrong), first) {
        (Some(FindNothing), _) => *count = 0,
        (Some(FindBeyond), _) => *count = max.saturating_add(1),
        (Some(FindHuge), _) => *count = CK_UNAVAILABLE_INFORMATION,
        (Some(FindTwice), Some(first)) => {
            // SAFETY: there was room for `max`, and only `found` of it is used.
            unsafe { list.add(found).write(first) };
            *count += 1;
        }
        (Some(FindForeign), Some(_)) => {
            // SAFETY: the first handle, which the real module has written.
            unsafe { list.write(foreign.unwrap_or(GARBAGE)) };
        }
        (Some(FindGarbage), _) => {
            // SAFETY: there is room for a handle, since `max` is not 0.
            unsafe { list.write(GARBAGE) };
            *count = (*count).max(1);
        }
        _ => {}
    }
    CKR_OK
}

/// An object of the same token other than `not`, found in another session, since the caller's search
/// is still active.
fn another(
    real: &CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    not: Option<CK_OBJECT_HANDLE>,
) -> Option<CK_OBJECT_HANDLE> {
    let slot = sessions::slot_of(session)?;
    let mut own = 0;
    let none = std::ptr::null_mut();
    let mut list = [0; MAX_LISTED];
    let mut count = 0;
    // SAFETY: every pointer is to a local variable, or NULL where the standard allows it.
    unsafe {
        let opened =
            call_real!(real, C_OpenSession(slot, CKF_SERIAL_SESSION, none, None, &mut own));
        if opened != CKR_OK {
            return None;
        }
        if call_real!(real, C_FindObjectsInit(own, std::ptr::null_mut(), 0)) == CKR_OK {
            let most = MAX_LISTED as CK_ULONG;
            if call_real!(real, C_FindObjects(own, list.as_mut_ptr(), most, &mut count)) != CKR_OK {
                count = 0;
            }
            call_real!(real, C_FindObjectsFinal(own));
        }
        call_real!(real, C_CloseSession(own));
    }
    list.iter().take(count as usize).copied().find(|handle| Some(*handle) != not)
}

pub(crate) fn destroy(
    real: &CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
) -> CK_RV {
    if state::wrong_result(C_DestroyObject, |wrong| wrong == DestroyIgnored).is_some() {
        return CKR_OK;
    }
    // SAFETY: the arguments are numbers.
    unsafe { call_real!(real, C_DestroyObject(session, object)) }
}
