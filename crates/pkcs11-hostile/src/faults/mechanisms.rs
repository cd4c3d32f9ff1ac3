//! Wrong results about mechanisms.

use cryptoki_sys::*;

use crate::functions::Function::{C_GetMechanismInfo, C_GetMechanismList};
use crate::real_module::call_real;
use crate::wrong_results::WrongResult::*;
use crate::{slots, state};

/// AES-GCM with the IV before the ciphertext, of AWS CloudHSM.
pub(crate) const CKM_CLOUDHSM_AES_GCM: CK_MECHANISM_TYPE = CKM_VENDOR_DEFINED | CKM_AES_GCM;

/// More mechanisms than any token has.
const MAX_MECHANISMS: usize = 4096;

pub(crate) unsafe fn list(
    real: &CK_FUNCTION_LIST,
    slot: CK_SLOT_ID,
    list: *mut CK_MECHANISM_TYPE,
    count: *mut CK_ULONG,
) -> CK_RV {
    let slot = slots::real(slot);
    // SAFETY: the caller's variable for the count, or NULL.
    let Some(count) = (unsafe { count.as_mut() }) else {
        // SAFETY: the caller's arguments.
        return unsafe { call_real!(real, C_GetMechanismList(slot, list, count)) };
    };
    let mut all = vec![0; MAX_MECHANISMS];
    let mut found = MAX_MECHANISMS as CK_ULONG;
    // SAFETY: a local list, with its length.
    let code = unsafe { call_real!(real, C_GetMechanismList(slot, all.as_mut_ptr(), &mut found)) };
    if code != CKR_OK {
        return code;
    }
    all.truncate(found as usize);
    let is_query = list.is_null();
    let wrong =
        state::wrong_result(C_GetMechanismList, |wrong| wrong != MechanismsGrow || is_query);
    match wrong {
        Some((MechanismsWithoutGcm, _)) => all.retain(|mechanism| *mechanism != CKM_AES_GCM),
        Some((GcmVendorPrepends, _)) => all.push(CKM_CLOUDHSM_AES_GCM),
        _ => {}
    }
    let capacity = *count as usize;
    *count = all.len() as CK_ULONG;
    if !is_query && capacity < all.len() {
        return CKR_BUFFER_TOO_SMALL;
    }
    if !is_query {
        // SAFETY: the caller's list has room for `capacity` entries, which is enough.
        unsafe { list.copy_from_nonoverlapping(all.as_ptr(), all.len()) };
    }
    match wrong {
        Some((MechanismsGrow, _)) => *count = (all.len() as CK_ULONG).saturating_sub(1),
        Some((MechanismsHuge, _)) => *count = CK_UNAVAILABLE_INFORMATION,
        _ => {}
    }
    CKR_OK
}

pub(crate) unsafe fn info(
    real: &CK_FUNCTION_LIST,
    slot: CK_SLOT_ID,
    mechanism: CK_MECHANISM_TYPE,
    info: *mut CK_MECHANISM_INFO,
) -> CK_RV {
    let wrong = state::wrong_result(C_GetMechanismInfo, |wrong| match wrong {
        GcmVendorPrepends => mechanism == CKM_CLOUDHSM_AES_GCM,
        _ => true,
    });
    let asked = match wrong {
        Some((GcmVendorPrepends, _)) => CKM_AES_GCM,
        _ => mechanism,
    };
    // SAFETY: the caller's arguments.
    let code = unsafe { call_real!(real, C_GetMechanismInfo(slots::real(slot), asked, info)) };
    // SAFETY: the caller's variable, which a success has filled.
    if let Some(info) = unsafe { info.as_mut() }
        && code == CKR_OK
        && matches!(wrong, Some((MechanismNoEncrypt, _)))
    {
        info.flags &= !(CKF_ENCRYPT | CKF_DECRYPT);
    }
    code
}
