//! Lies told when an operation begins: about IVs, and about what can be begun at all.

use cryptoki_sys::*;

use crate::catalogue::Lie;
use crate::faults::iv::{self, CBC_IV, GCM_IV, Kind};
use crate::forward::ask;
use crate::functions::Function::{C_DecryptInit, C_EncryptInit};
use crate::sessions::{self, Decrypting, Encrypting, IvOut, PutOff};
use crate::stage;

/// Begins an operation that no lie but `stuck` concerns.
pub(crate) fn begin(session: CK_SESSION_HANDLE, call: impl FnOnce() -> CK_RV) -> CK_RV {
    if sessions::is_stuck(session) { CKR_OPERATION_ACTIVE } else { call() }
}

/// # Safety
/// Arguments as the standard has them.
pub(crate) unsafe fn encrypt(
    real: &CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    if sessions::is_stuck(session) {
        return CKR_OPERATION_ACTIVE;
    }
    // SAFETY: the caller's promise.
    let kind = unsafe { Kind::of(mechanism) };
    let lie = stage::lie(C_EncryptInit, |lie| suits(lie, &kind)).map(|(lie, _)| lie);
    let call = |mechanism| {
        // SAFETY: the caller's mechanism, or one of ours whose pointers are alive.
        unsafe { ask!(real, C_EncryptInit(session, mechanism, key)) }
    };
    let mut out = IvOut::Nowhere;
    let code = match (kind, lie) {
        (_, Some(Lie::GcmRefused)) => CKR_MECHANISM_INVALID,
        (Kind::Gcm(params), Some(Lie::GcmAadIgnored)) => iv::without_aad(params, call),
        (Kind::Gcm(params), Some(lie)) => {
            let own = match lie {
                Lie::GcmIvIgnored => [0; GCM_IV],
                _ => iv::own(real, session),
            };
            // SAFETY: the caller's parameters, alive during its call.
            unsafe { encrypt_gcm(lie, params, own, &mut out, call) }
        }
        (Kind::VendorGcm(params), Some(_)) if params.pIv.is_null() => {
            let own = iv::own(real, session);
            out = IvOut::Prepended(own);
            iv::with_gcm(params, &own, call)
        }
        (Kind::VendorGcm(_), Some(_)) => CKR_MECHANISM_PARAM_INVALID,
        (Kind::Cbc(number, caller), Some(lie)) => {
            let own = match lie {
                Lie::CbcIvIgnored => [0; CBC_IV],
                _ => iv::own(real, session),
            };
            let code = iv::with_cbc(number, &own, call);
            if lie == Lie::CbcIvWritten && code == CKR_OK {
                // SAFETY: the caller's parameter, alive during its call.
                unsafe { iv::write_back(caller, &own) };
            }
            code
        }
        _ => call(mechanism),
    };
    if code == CKR_OK {
        sessions::set_encrypting(session, Encrypting { tag: kind.tag(), iv: out });
    }
    code
}

/// Begins AES-GCM under an IV of the token's own, and decides where that is left.
///
/// # Safety
/// The IV in `params` is alive.
unsafe fn encrypt_gcm(
    lie: Lie,
    params: CK_GCM_PARAMS,
    own: [u8; GCM_IV],
    out: &mut IvOut,
    call: impl FnOnce(*mut CK_MECHANISM) -> CK_RV,
) -> CK_RV {
    let caller = iv::of_caller(&params);
    // SAFETY: the caller's promise.
    if lie == Lie::GcmCloudHsm && !unsafe { caller.is_zero() } {
        return CKR_MECHANISM_PARAM_INVALID;
    }
    let code = iv::with_gcm(params, &own, call);
    match lie {
        Lie::GcmLuna => *out = IvOut::Appended(own),
        Lie::GcmIvWrittenLate => *out = IvOut::Written(caller, own),
        Lie::GcmIvWritten | Lie::GcmCloudHsm if code == CKR_OK => {
            // SAFETY: the caller's promise.
            unsafe { iv::write_back(caller, &own) };
        }
        _ => {}
    }
    code
}

/// # Safety
/// Arguments as the standard has them.
pub(crate) unsafe fn decrypt(
    real: &CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    if sessions::is_stuck(session) {
        return CKR_OPERATION_ACTIVE;
    }
    // SAFETY: the caller's promise.
    let kind = unsafe { Kind::of(mechanism) };
    let lie = stage::lie(C_DecryptInit, |lie| suits(lie, &kind)).map(|(lie, _)| lie);
    let call = |mechanism| {
        // SAFETY: the caller's mechanism, or one of ours whose pointers are alive.
        unsafe { ask!(real, C_DecryptInit(session, mechanism, key)) }
    };
    let mut put_off = None;
    let code = match (kind, lie) {
        (_, Some(Lie::GcmRefused)) => CKR_MECHANISM_INVALID,
        (Kind::Gcm(params), Some(Lie::GcmAadIgnored)) => iv::without_aad(params, call),
        (Kind::Gcm(params), Some(_)) => iv::with_gcm(params, &[0; GCM_IV], call),
        (Kind::Cbc(number, _), Some(_)) => iv::with_cbc(number, &[0; CBC_IV], call),
        (Kind::VendorGcm(params), Some(_)) if params.pIv.is_null() => {
            let aad = if params.pAAD.is_null() {
                Vec::new()
            } else {
                // SAFETY: the caller says that the data is that long, and alive during its call.
                unsafe { std::slice::from_raw_parts(params.pAAD, params.ulAADLen as usize) }
                    .to_vec()
            };
            put_off = Some(PutOff { key, aad, tag_bits: params.ulTagBits });
            // Only a session can be wrong until the ciphertext is there.
            let mut info = CK_SESSION_INFO::default();
            // SAFETY: a place of ours.
            unsafe { ask!(real, C_GetSessionInfo(session, &mut info)) }
        }
        (Kind::VendorGcm(_), Some(_)) => CKR_MECHANISM_PARAM_INVALID,
        _ => call(mechanism),
    };
    if code == CKR_OK {
        sessions::set_decrypting(session, Decrypting { tag: kind.tag(), put_off });
    }
    code
}

fn suits(lie: Lie, kind: &Kind) -> bool {
    match (lie, kind) {
        (Lie::GcmVendorPrepends, Kind::VendorGcm(_)) => true,
        (Lie::CbcIvIgnored | Lie::CbcIvAltered | Lie::CbcIvWritten, Kind::Cbc(..)) => true,
        (Lie::GcmRefused | Lie::GcmLuna | Lie::GcmIvIgnored | Lie::GcmIvAltered, Kind::Gcm(_)) => {
            true
        }
        (Lie::GcmAadIgnored, Kind::Gcm(params)) => params.ulAADLen > 0,
        (Lie::GcmIvWritten | Lie::GcmIvWrittenLate | Lie::GcmCloudHsm, Kind::Gcm(params)) => {
            iv::of_caller(params).len > 0
        }
        _ => false,
    }
}
