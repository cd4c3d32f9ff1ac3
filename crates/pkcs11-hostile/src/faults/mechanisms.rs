//! Lies about what the token can do.

use cryptoki_sys::*;

use crate::catalogue::Lie;
use crate::forward::ask;
use crate::functions::Function::{C_GetMechanismInfo, C_GetMechanismList};
use crate::{slots, stage};

/// AES-GCM with the IV in front of the ciphertext, of AWS CloudHSM.
pub(crate) const CKM_CLOUDHSM_AES_GCM: CK_MECHANISM_TYPE = CKM_VENDOR_DEFINED | CKM_AES_GCM;

/// More mechanisms than any token has.
const MOST: usize = 4096;

/// # Safety
/// Arguments as the standard has them.
pub(crate) unsafe fn list(
    real: &CK_FUNCTION_LIST,
    slot: CK_SLOT_ID,
    list: *mut CK_MECHANISM_TYPE,
    count: *mut CK_ULONG,
) -> CK_RV {
    let slot = slots::real(slot);
    // SAFETY: the caller's place for the count, or NULL.
    let Some(count) = (unsafe { count.as_mut() }) else {
        // SAFETY: the caller's promise.
        return unsafe { ask!(real, C_GetMechanismList(slot, list, count)) };
    };
    let mut all = vec![0; MOST];
    let mut found = MOST as CK_ULONG;
    // SAFETY: a list of our own, and its length.
    let code = unsafe { ask!(real, C_GetMechanismList(slot, all.as_mut_ptr(), &mut found)) };
    if code != CKR_OK {
        return code;
    }
    all.truncate(found as usize);
    let is_query = list.is_null();
    let lie = stage::lie(C_GetMechanismList, |lie| lie != Lie::MechanismsGrow || is_query);
    match lie {
        Some((Lie::MechanismsWithoutGcm, _)) => all.retain(|mechanism| *mechanism != CKM_AES_GCM),
        Some((Lie::GcmVendorPrepends, _)) => all.push(CKM_CLOUDHSM_AES_GCM),
        _ => {}
    }
    let capacity = *count as usize;
    *count = all.len() as CK_ULONG;
    if !is_query && capacity < all.len() {
        return CKR_BUFFER_TOO_SMALL;
    }
    if !is_query {
        // SAFETY: the caller says that there is room for `capacity`, which is not less.
        unsafe { list.copy_from_nonoverlapping(all.as_ptr(), all.len()) };
    }
    match lie {
        Some((Lie::MechanismsGrow, _)) => *count = (all.len() as CK_ULONG).saturating_sub(1),
        Some((Lie::MechanismsHuge, _)) => *count = CK_UNAVAILABLE_INFORMATION,
        _ => {}
    }
    CKR_OK
}

/// # Safety
/// Arguments as the standard has them.
pub(crate) unsafe fn info(
    real: &CK_FUNCTION_LIST,
    slot: CK_SLOT_ID,
    mechanism: CK_MECHANISM_TYPE,
    info: *mut CK_MECHANISM_INFO,
) -> CK_RV {
    let lie = stage::lie(C_GetMechanismInfo, |lie| match lie {
        Lie::GcmVendorPrepends => mechanism == CKM_CLOUDHSM_AES_GCM,
        _ => true,
    });
    let asked = match lie {
        Some((Lie::GcmVendorPrepends, _)) => CKM_AES_GCM,
        _ => mechanism,
    };
    // SAFETY: the caller's promise.
    let code = unsafe { ask!(real, C_GetMechanismInfo(slots::real(slot), asked, info)) };
    // SAFETY: OK means that the caller's place has been filled.
    if let Some(info) = unsafe { info.as_mut() }
        && code == CKR_OK
        && matches!(lie, Some((Lie::MechanismNoEncrypt, _)))
    {
        info.flags &= !(CKF_ENCRYPT | CKF_DECRYPT);
    }
    code
}
