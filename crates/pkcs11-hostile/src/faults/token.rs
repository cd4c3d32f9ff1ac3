//! Wrong results about slots and tokens.

use std::ffi::c_void;

use cryptoki_sys::*;

use crate::functions::Function::{C_GetSlotList, C_GetTokenInfo};
use crate::real_module::call_real;
use crate::wrong_results::WrongResult::*;
use crate::{slots, state};

pub(crate) unsafe fn slot_list(
    real: &CK_FUNCTION_LIST,
    present: CK_BBOOL,
    list: *mut CK_SLOT_ID,
    count: *mut CK_ULONG,
) -> CK_RV {
    // SAFETY: the caller's arguments.
    let code = unsafe { call_real!(real, C_GetSlotList(present, list, count)) };
    // SAFETY: the caller's variable for the count, or NULL.
    let Some(count) = (unsafe { count.as_mut() }) else { return code };
    if code != CKR_OK {
        return code;
    }
    let is_query = list.is_null();
    if !is_query {
        // SAFETY: after a success the real module has written that many ids.
        let ids = unsafe { std::slice::from_raw_parts_mut(list, *count as usize) };
        ids.iter_mut().for_each(|id| *id = slots::visible(*id));
    }
    let right = *count;
    match state::wrong_result(C_GetSlotList, |wrong| match wrong {
        SlotsNone | SlotsHuge => true,
        SlotsGrow => is_query && right > 0,
        SlotsShrink => !is_query && right > 0,
        _ => false,
    }) {
        Some((SlotsNone, _)) => *count = 0,
        Some((SlotsHuge, _)) => *count = CK_UNAVAILABLE_INFORMATION,
        Some(_) => *count = right - 1,
        None => {}
    }
    CKR_OK
}

pub(crate) unsafe fn info(
    real: &CK_FUNCTION_LIST,
    slot: CK_SLOT_ID,
    info: *mut CK_TOKEN_INFO,
) -> CK_RV {
    // SAFETY: the caller's arguments.
    let code = unsafe { call_real!(real, C_GetTokenInfo(slots::real(slot), info)) };
    if code != CKR_OK {
        return code;
    }
    // SAFETY: the caller's variable, which a success has filled.
    let Some(info) = (unsafe { info.as_mut() }) else { return code };
    let Some((wrong, argument)) = state::wrong_result(C_GetTokenInfo, |_| true) else {
        return code;
    };
    match wrong {
        TokenLabelNul => pad_with_nul(&mut info.label),
        TokenLabelGarbage => info.label[..4].copy_from_slice(&[0xff, 0xfe, 0xc3, 0x28]),
        // opencryptoki 3.8.1 has only the time of day. The rest is garbage.
        TokenTimeGarbage => info.utcTime = *b"10:28:50\xff\0\x80 \n%sZ",
        TokenSerialOther => info.serialNumber = *b"666             ",
        TokenPinCountLow => info.flags |= CKF_USER_PIN_COUNT_LOW,
        TokenPinFinalTry => info.flags |= CKF_USER_PIN_FINAL_TRY,
        TokenPinLocked => info.flags |= CKF_USER_PIN_LOCKED,
        TokenMaxSessions => {
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

pub(crate) unsafe fn wait(
    real: &CK_FUNCTION_LIST,
    flags: CK_FLAGS,
    slot: *mut CK_SLOT_ID,
    reserved: *mut c_void,
) -> CK_RV {
    // A waiting call would keep out C_Finalize, which alone can end the wait.
    if flags & CKF_DONT_BLOCK == 0 {
        return CKR_FUNCTION_NOT_SUPPORTED;
    }
    // SAFETY: the caller's arguments.
    let code = unsafe { call_real!(real, C_WaitForSlotEvent(flags, slot, reserved)) };
    // SAFETY: the caller's variable, which a success has filled.
    if let Some(slot) = unsafe { slot.as_mut() }
        && code == CKR_OK
    {
        *slot = slots::visible(*slot);
    }
    code
}
