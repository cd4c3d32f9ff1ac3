//! Lies about slots and tokens.

use std::ffi::c_void;

use cryptoki_sys::*;

use crate::catalogue::Lie;
use crate::forward::ask;
use crate::functions::Function::{C_GetSlotList, C_GetTokenInfo};
use crate::{slots, stage};

/// # Safety
/// Arguments as the standard has them.
pub(crate) unsafe fn slot_list(
    real: &CK_FUNCTION_LIST,
    present: CK_BBOOL,
    list: *mut CK_SLOT_ID,
    count: *mut CK_ULONG,
) -> CK_RV {
    // SAFETY: the caller's promise.
    let code = unsafe { ask!(real, C_GetSlotList(present, list, count)) };
    // SAFETY: the caller's place for the count, or NULL.
    let Some(count) = (unsafe { count.as_mut() }) else { return code };
    if code != CKR_OK {
        return code;
    }
    let is_query = list.is_null();
    if !is_query {
        // SAFETY: OK means that the real module has written that many ids there.
        let ids = unsafe { std::slice::from_raw_parts_mut(list, *count as usize) };
        ids.iter_mut().for_each(|id| *id = slots::shown(*id));
    }
    let honest = *count;
    match stage::lie(C_GetSlotList, |lie| match lie {
        Lie::SlotsNone | Lie::SlotsHuge => true,
        Lie::SlotsGrow => is_query && honest > 0,
        Lie::SlotsShrink => !is_query && honest > 0,
        _ => false,
    }) {
        Some((Lie::SlotsNone, _)) => *count = 0,
        Some((Lie::SlotsHuge, _)) => *count = CK_UNAVAILABLE_INFORMATION,
        Some(_) => *count = honest - 1,
        None => {}
    }
    CKR_OK
}

/// # Safety
/// Arguments as the standard has them.
pub(crate) unsafe fn info(
    real: &CK_FUNCTION_LIST,
    slot: CK_SLOT_ID,
    info: *mut CK_TOKEN_INFO,
) -> CK_RV {
    // SAFETY: the caller's promise.
    let code = unsafe { ask!(real, C_GetTokenInfo(slots::real(slot), info)) };
    if code != CKR_OK {
        return code;
    }
    // SAFETY: OK means that the caller's place has been filled.
    let Some(info) = (unsafe { info.as_mut() }) else { return code };
    let Some((lie, argument)) = stage::lie(C_GetTokenInfo, |_| true) else { return code };
    match lie {
        Lie::TokenLabelNul => pad_with_nul(&mut info.label),
        Lie::TokenLabelGarbage => info.label[..4].copy_from_slice(&[0xff, 0xfe, 0xc3, 0x28]),
        // opencryptoki 3.8.1 has the time of day alone; the rest is worse.
        Lie::TokenTimeGarbage => info.utcTime = *b"10:28:50\xff\0\x80 \n%sZ",
        Lie::TokenSerialOther => info.serialNumber = *b"666             ",
        Lie::TokenPinCountLow => info.flags |= CKF_USER_PIN_COUNT_LOW,
        Lie::TokenPinFinalTry => info.flags |= CKF_USER_PIN_FINAL_TRY,
        Lie::TokenPinLocked => info.flags |= CKF_USER_PIN_LOCKED,
        Lie::TokenMaxSessions => {
            info.ulMaxSessionCount = argument;
            info.ulMaxRwSessionCount = argument;
        }
        _ => {}
    }
    code
}

fn pad_with_nul(label: &mut [u8]) {
    for byte in label.iter_mut().rev().take_while(|byte| **byte == b' ') {
        *byte = 0;
    }
}

/// # Safety
/// Arguments as the standard has them.
pub(crate) unsafe fn wait(
    real: &CK_FUNCTION_LIST,
    flags: CK_FLAGS,
    slot: *mut CK_SLOT_ID,
    reserved: *mut c_void,
) -> CK_RV {
    // Who waits would hold the gate, and C_Finalize, which alone can wake it, could not pass.
    if flags & CKF_DONT_BLOCK == 0 {
        return CKR_FUNCTION_NOT_SUPPORTED;
    }
    // SAFETY: the caller's promise.
    let code = unsafe { ask!(real, C_WaitForSlotEvent(flags, slot, reserved)) };
    // SAFETY: OK means that the caller's place has been filled.
    if let Some(slot) = unsafe { slot.as_mut() }
        && code == CKR_OK
    {
        *slot = slots::shown(*slot);
    }
    code
}
