//! Wrong results of C_EncryptInit and C_DecryptInit: IVs, and operations that cannot begin.

use cryptoki_sys::*;

use crate::faults::iv::{self, CBC_IV, GCM_IV, MechanismKind};
use crate::functions::Function::{C_DecryptInit, C_EncryptInit};
use crate::real_module::call_real;
use crate::sessions::{self, Decrypting, DeferredInit, Encrypting, IvOut};
use crate::state;
use crate::wrong_results::WrongResult::{self, *};

fn is_stuck(session: CK_SESSION_HANDLE) -> bool {
    sessions::with(session, |it| it.is_stuck) == Some(true)
}

/// Begins an operation, unless the session is stuck.
pub(crate) fn begin(session: CK_SESSION_HANDLE, call: impl FnOnce() -> CK_RV) -> CK_RV {
    if is_stuck(session) { CKR_OPERATION_ACTIVE } else { call() }
}

pub(crate) unsafe fn encrypt(
    real: &CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    if is_stuck(session) {
        return CKR_OPERATION_ACTIVE;
    }
    // SAFETY: the caller's arguments.
    let kind = unsafe { MechanismKind::of(mechanism) };
    let wrong =
        state::wrong_result(C_EncryptInit, |wrong| suits(wrong, &kind)).map(|(wrong, _)| wrong);
    let call = |mechanism| {
        // SAFETY: the caller's mechanism, or a local one whose pointers are alive.
        unsafe { call_real!(real, C_EncryptInit(session, mechanism, key)) }
    };
    let mut out = IvOut::Nowhere;
    let code = match (kind, wrong) {
        (_, Some(GcmRefused)) => CKR_MECHANISM_INVALID,
        (MechanismKind::Gcm(params), Some(GcmAadIgnored)) => iv::without_aad(params, call),
        (MechanismKind::Gcm(params), Some(wrong)) => {
            let own = match wrong {
                GcmIvIgnored => [0; GCM_IV],
                _ => iv::own(real, session),
            };
            // SAFETY: the caller's parameters, alive during its call.
            unsafe { encrypt_gcm(wrong, params, own, &mut out, call) }
        }
        (MechanismKind::VendorGcm(params), Some(_)) if params.pIv.is_null() => {
            let own = iv::own(real, session);
            out = IvOut::Prepended(own);
            iv::with_gcm(params, &own, call)
        }
        (MechanismKind::VendorGcm(_), Some(_)) => CKR_MECHANISM_PARAM_INVALID,
        (MechanismKind::Cbc(number, caller), Some(wrong)) => {
            let own = match wrong {
                CbcIvIgnored => [0; CBC_IV],
                _ => iv::own(real, session),
            };
            let code = iv::with_cbc(number, &own, call);
            if wrong == CbcIvWritten && code == CKR_OK {
                // SAFETY: the caller's parameter, alive during its call.
                unsafe { iv::write_back(caller, &own) };
            }
            code
        }
        _ => call(mechanism),
    };
    if code == CKR_OK {
        sessions::with(session, |it| it.encrypting = Encrypting { tag: kind.tag(), iv: out });
    }
    code
}

/// Begins AES-GCM under an IV of the token, and decides where the token returns it. The IV in
/// `params` is alive.
unsafe fn encrypt_gcm(
    wrong: WrongResult,
    params: CK_GCM_PARAMS,
    own: [u8; GCM_IV],
    out: &mut IvOut,
    call: impl FnOnce(*mut CK_MECHANISM) -> CK_RV,
) -> CK_RV {
    let caller = iv::of_caller(&params);
    // SAFETY: the caller's arguments.
    if wrong == GcmCloudHsm && !unsafe { caller.is_zero() } {
        return CKR_MECHANISM_PARAM_INVALID;
    }
    let code = iv::with_gcm(params, &own, call);
    match wrong {
        GcmLuna => *out = IvOut::Appended(own),
        GcmIvWrittenLate => *out = IvOut::Written(caller, own),
        GcmIvWritten | GcmCloudHsm if code == CKR_OK => {
            // SAFETY: the caller's arguments.
            unsafe { iv::write_back(caller, &own) };
        }
        _ => {}
    }
    code
}

pub(crate) unsafe fn decrypt(
    real: &CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    if is_stuck(session) {
        return CKR_OPERATION_ACTIVE;
    }
    // SAFETY: the caller's arguments.
    let kind = unsafe { MechanismKind::of(mechanism) };
    let wrong =
        state::wrong_result(C_DecryptInit, |wrong| suits(wrong, &kind)).map(|(wrong, _)| wrong);
    let call = |mechanism| {
        // SAFETY: the caller's mechanism, or a local one whose pointers are alive.
        unsafe { call_real!(real, C_DecryptInit(session, mechanism, key)) }
    };
    let mut deferred = None;
    let code = match (kind, wrong) {
        (_, Some(GcmRefused)) => CKR_MECHANISM_INVALID,
        (MechanismKind::Gcm(params), Some(GcmAadIgnored)) => iv::without_aad(params, call),
        (MechanismKind::Gcm(params), Some(_)) => iv::with_gcm(params, &[0; GCM_IV], call),
        (MechanismKind::Cbc(number, _), Some(_)) => iv::with_cbc(number, &[0; CBC_IV], call),
        (MechanismKind::VendorGcm(params), Some(_)) if params.pIv.is_null() => {
            let aad = if params.pAAD.is_null() {
                Vec::new()
            } else {
                // SAFETY: the caller's data, with its length.
                unsafe { std::slice::from_raw_parts(params.pAAD, params.ulAADLen as usize) }
                    .to_vec()
            };
            deferred = Some(DeferredInit { key, aad, tag_bits: params.ulTagBits });
            // Without the ciphertext, only the session can be checked.
            let mut info = CK_SESSION_INFO::default();
            // SAFETY: a local variable.
            unsafe { call_real!(real, C_GetSessionInfo(session, &mut info)) }
        }
        (MechanismKind::VendorGcm(_), Some(_)) => CKR_MECHANISM_PARAM_INVALID,
        _ => call(mechanism),
    };
    if code == CKR_OK {
        sessions::with(session, |it| it.decrypting = Decrypting { tag: kind.tag(), deferred });
    }
    code
}

fn suits(wrong: WrongResult, kind: &MechanismKind) -> bool {
    match (wrong, kind) {
        (GcmVendorPrepends, MechanismKind::VendorGcm(_)) => true,
        (CbcIvIgnored | CbcIvAltered | CbcIvWritten, MechanismKind::Cbc(..)) => true,
        (GcmRefused | GcmLuna | GcmIvIgnored | GcmIvAltered, MechanismKind::Gcm(_)) => true,
        (GcmAadIgnored, MechanismKind::Gcm(params)) => params.ulAADLen > 0,
        (GcmIvWritten | GcmIvWrittenLate | GcmCloudHsm, MechanismKind::Gcm(params)) => {
            iv::of_caller(params).len > 0
        }
        _ => false,
    }
}
