//! IVs that the token generates, and the mechanism parameters with them.

use std::sync::atomic::{AtomicU64, Ordering};

use cryptoki_sys::*;

use crate::faults::mechanisms::CKM_CLOUDHSM_AES_GCM;
use crate::real_module::call_real;
use crate::sessions::CallerBytes;

pub(crate) const GCM_IV: usize = 12;
pub(crate) const CBC_IV: usize = 16;

/// A mechanism, as far as wrong results depend on it.
#[derive(Clone, Copy)]
pub(crate) enum MechanismKind {
    Gcm(CK_GCM_PARAMS),
    /// With the IV before the ciphertext.
    VendorGcm(CK_GCM_PARAMS),
    /// With its number and its IV.
    Cbc(CK_MECHANISM_TYPE, CallerBytes),
    Other,
}

impl MechanismKind {
    /// `mechanism` is NULL or a mechanism with the parameter of its number.
    pub(crate) unsafe fn of(mechanism: *mut CK_MECHANISM) -> MechanismKind {
        // SAFETY: the caller's arguments.
        let Some(mechanism) = (unsafe { mechanism.as_ref() }) else { return MechanismKind::Other };
        let (start, len) = (mechanism.pParameter, mechanism.ulParameterLen as usize);
        match mechanism.mechanism {
            _ if start.is_null() => MechanismKind::Other,
            CKM_AES_GCM if len == size_of::<CK_GCM_PARAMS>() => {
                // SAFETY: the parameter of AES-GCM, with its length; it may be unaligned.
                MechanismKind::Gcm(unsafe { start.cast::<CK_GCM_PARAMS>().read_unaligned() })
            }
            CKM_CLOUDHSM_AES_GCM if len == size_of::<CK_GCM_PARAMS>() => {
                // SAFETY: the vendor documents the parameter of AES-GCM.
                MechanismKind::VendorGcm(unsafe { start.cast::<CK_GCM_PARAMS>().read_unaligned() })
            }
            CKM_AES_CBC | CKM_AES_CBC_PAD if len == CBC_IV => {
                MechanismKind::Cbc(mechanism.mechanism, CallerBytes { start: start.cast(), len })
            }
            _ => MechanismKind::Other,
        }
    }

    /// The length of the tag after a ciphertext.
    pub(crate) fn tag(&self) -> usize {
        match self {
            MechanismKind::Gcm(params) | MechanismKind::VendorGcm(params) => {
                params.ulTagBits as usize / 8
            }
            _ => 0,
        }
    }
}

/// The caller's IV.
pub(crate) fn of_caller(params: &CK_GCM_PARAMS) -> CallerBytes {
    let len = if params.pIv.is_null() { 0 } else { params.ulIvLen as usize };
    CallerBytes { start: params.pIv, len }
}

/// Overwrites the caller's IV, which is alive, as far as there is room.
pub(crate) unsafe fn write_back(to: CallerBytes, iv: &[u8]) {
    // SAFETY: the memory is alive, and no more than its length is written.
    unsafe { to.start.copy_from(iv.as_ptr(), iv.len().min(to.len)) };
}

/// An IV from the random generator of the token, or from a counter if that fails.
pub(crate) fn own<const N: usize>(real: &CK_FUNCTION_LIST, session: CK_SESSION_HANDLE) -> [u8; N] {
    static COUNTER: AtomicU64 = AtomicU64::new(1);
    let mut iv = [0; N];
    // SAFETY: a local array, with its length.
    let code =
        unsafe { call_real!(real, C_GenerateRandom(session, iv.as_mut_ptr(), N as CK_ULONG)) };
    if code != CKR_OK || iv == [0; N] {
        let count = COUNTER.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        iv[N - count.len()..].copy_from_slice(&count);
    }
    iv
}

/// Calls with AES-GCM under another IV.
pub(crate) fn with_gcm(
    params: CK_GCM_PARAMS,
    iv: &[u8; GCM_IV],
    call: impl FnOnce(*mut CK_MECHANISM) -> CK_RV,
) -> CK_RV {
    let mut iv = *iv;
    let params = CK_GCM_PARAMS {
        pIv: iv.as_mut_ptr(),
        ulIvLen: GCM_IV as CK_ULONG,
        ulIvBits: 8 * GCM_IV as CK_ULONG,
        ..params
    };
    with_params(params, call)
}

/// Calls with AES-GCM without the associated data.
pub(crate) fn without_aad(
    params: CK_GCM_PARAMS,
    call: impl FnOnce(*mut CK_MECHANISM) -> CK_RV,
) -> CK_RV {
    with_params(CK_GCM_PARAMS { pAAD: std::ptr::null_mut(), ulAADLen: 0, ..params }, call)
}

fn with_params(mut params: CK_GCM_PARAMS, call: impl FnOnce(*mut CK_MECHANISM) -> CK_RV) -> CK_RV {
    call(&mut CK_MECHANISM {
        mechanism: CKM_AES_GCM,
        pParameter: (&raw mut params).cast(),
        ulParameterLen: size_of::<CK_GCM_PARAMS>() as CK_ULONG,
    })
}

/// Calls with AES-CBC under another IV.
pub(crate) fn with_cbc(
    mechanism: CK_MECHANISM_TYPE,
    iv: &[u8; CBC_IV],
    call: impl FnOnce(*mut CK_MECHANISM) -> CK_RV,
) -> CK_RV {
    let mut iv = *iv;
    call(&mut CK_MECHANISM {
        mechanism,
        pParameter: iv.as_mut_ptr().cast(),
        ulParameterLen: CBC_IV as CK_ULONG,
    })
}
