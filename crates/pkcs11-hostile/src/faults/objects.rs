//! Lies about which objects there are.

use cryptoki_sys::*;

use crate::catalogue::Lie;
use crate::forward::ask;
use crate::functions::Function::{C_DestroyObject, C_FindObjects};
use crate::{sessions, stage};

/// A handle that no token gives out.
const GARBAGE: CK_OBJECT_HANDLE = 0x7bad_cafe;

/// Objects to look at for a foreign one.
const MANY: usize = 64;

/// # Safety
/// Arguments as the standard has them.
pub(crate) unsafe fn find(
    real: &CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    list: *mut CK_OBJECT_HANDLE,
    max: CK_ULONG,
    count: *mut CK_ULONG,
) -> CK_RV {
    // SAFETY: the caller's promise.
    let code = unsafe { ask!(real, C_FindObjects(session, list, max, count)) };
    // SAFETY: the caller's place for the count, or NULL.
    let Some(count) = (unsafe { count.as_mut() }) else { return code };
    if code != CKR_OK || list.is_null() {
        return code;
    }
    let found = *count as usize;
    // SAFETY: OK means that the real module has written that many handles there.
    let first = (found > 0).then(|| unsafe { *list });
    let mut foreign = None;
    let lie = stage::lie(C_FindObjects, |lie| match lie {
        Lie::FindTwice => found > 0 && found < max as usize,
        Lie::FindForeign => found > 0,
        Lie::FindNothing => found > 0,
        Lie::FindGarbage => max > 0,
        _ => true,
    });
    if let Some((Lie::FindForeign, _)) = lie {
        foreign = another(real, session, first);
    }
    match (lie.map(|(lie, _)| lie), first) {
        (Some(Lie::FindNothing), _) => *count = 0,
        (Some(Lie::FindBeyond), _) => *count = max.saturating_add(1),
        (Some(Lie::FindHuge), _) => *count = CK_UNAVAILABLE_INFORMATION,
        (Some(Lie::FindTwice), Some(first)) => {
            // SAFETY: there was room for `max`, and only `found` of it is used.
            unsafe { list.add(found).write(first) };
            *count += 1;
        }
        (Some(Lie::FindForeign), Some(_)) => {
            // SAFETY: the place of the first handle, which has been written before.
            unsafe { list.write(foreign.unwrap_or(GARBAGE)) };
        }
        (Some(Lie::FindGarbage), _) => {
            // SAFETY: `max` is not 0, so there is a first place.
            unsafe { list.write(GARBAGE) };
            *count = (*count).max(1);
        }
        _ => {}
    }
    CKR_OK
}

/// An object of the same token other than this one, found in a session of our own, because the
/// search of the caller's is still open.
fn another(
    real: &CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    not: Option<CK_OBJECT_HANDLE>,
) -> Option<CK_OBJECT_HANDLE> {
    let slot = sessions::slot_of(session)?;
    let mut own = 0;
    let none = std::ptr::null_mut();
    let mut list = [0; MANY];
    let mut count = 0;
    // SAFETY: every pointer is to a variable of ours, or NULL where the standard allows it.
    unsafe {
        let opened = ask!(real, C_OpenSession(slot, CKF_SERIAL_SESSION, none, None, &mut own));
        if opened != CKR_OK {
            return None;
        }
        if ask!(real, C_FindObjectsInit(own, std::ptr::null_mut(), 0)) == CKR_OK {
            let most = MANY as CK_ULONG;
            if ask!(real, C_FindObjects(own, list.as_mut_ptr(), most, &mut count)) != CKR_OK {
                count = 0;
            }
            ask!(real, C_FindObjectsFinal(own));
        }
        ask!(real, C_CloseSession(own));
    }
    list.iter().take(count as usize).copied().find(|handle| Some(*handle) != not)
}

pub(crate) fn destroy(
    real: &CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
) -> CK_RV {
    if stage::lie(C_DestroyObject, |lie| lie == Lie::DestroyIgnored).is_some() {
        return CKR_OK;
    }
    // SAFETY: plain numbers go in.
    unsafe { ask!(real, C_DestroyObject(session, object)) }
}
