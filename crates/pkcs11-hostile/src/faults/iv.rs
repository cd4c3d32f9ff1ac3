//! IVs of the token's own, and the parameters that carry them.

use std::sync::atomic::{AtomicU64, Ordering};

use cryptoki_sys::*;

use crate::faults::mechanisms::CKM_CLOUDHSM_AES_GCM;
use crate::forward::ask;
use crate::sessions::CallerBytes;

pub(crate) const GCM_IV: usize = 12;
pub(crate) const CBC_IV: usize = 16;

/// A mechanism as far as lies care.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Gcm(CK_GCM_PARAMS),
    /// With the IV in front of the ciphertext.
    VendorGcm(CK_GCM_PARAMS),
    /// With a number, and a parameter of 16 bytes.
    Cbc(CK_MECHANISM_TYPE, CallerBytes),
    Other,
}

impl Kind {
    /// # Safety
    /// `mechanism` is NULL or a mechanism with the parameter that belongs to its number.
    pub(crate) unsafe fn of(mechanism: *mut CK_MECHANISM) -> Kind {
        // SAFETY: the caller's promise.
        let Some(mechanism) = (unsafe { mechanism.as_ref() }) else { return Kind::Other };
        let (start, len) = (mechanism.pParameter, mechanism.ulParameterLen as usize);
        match mechanism.mechanism {
            _ if start.is_null() => Kind::Other,
            CKM_AES_GCM if len == size_of::<CK_GCM_PARAMS>() => {
                // SAFETY: this is the parameter of AES-GCM, of its length; alignment is not asked.
                Kind::Gcm(unsafe { start.cast::<CK_GCM_PARAMS>().read_unaligned() })
            }
            CKM_CLOUDHSM_AES_GCM if len == size_of::<CK_GCM_PARAMS>() => {
                // SAFETY: the vendor documents the parameter of AES-GCM.
                Kind::VendorGcm(unsafe { start.cast::<CK_GCM_PARAMS>().read_unaligned() })
            }
            CKM_AES_CBC | CKM_AES_CBC_PAD if len == CBC_IV => {
                Kind::Cbc(mechanism.mechanism, CallerBytes { start: start.cast(), len })
            }
            _ => Kind::Other,
        }
    }

    /// Bytes of the tag behind a ciphertext.
    pub(crate) fn tag(&self) -> usize {
        match self {
            Kind::Gcm(params) | Kind::VendorGcm(params) => params.ulTagBits as usize / 8,
            _ => 0,
        }
    }
}

/// The caller's IV.
pub(crate) fn of_caller(params: &CK_GCM_PARAMS) -> CallerBytes {
    let len = if params.pIv.is_null() { 0 } else { params.ulIvLen as usize };
    CallerBytes { start: params.pIv, len }
}

/// Overwrites the caller's IV as far as there is room.
///
/// # Safety
/// `to` is memory of the caller's that is alive.
pub(crate) unsafe fn write_back(to: CallerBytes, iv: &[u8]) {
    // SAFETY: the caller's promise; no more than the length that was given.
    unsafe { to.start.copy_from(iv.as_ptr(), iv.len().min(to.len)) };
}

/// An IV that nobody foresees: by the token's generator, or counted where that fails.
pub(crate) fn own<const N: usize>(real: &CK_FUNCTION_LIST, session: CK_SESSION_HANDLE) -> [u8; N] {
    static COUNTER: AtomicU64 = AtomicU64::new(1);
    let mut iv = [0; N];
    // SAFETY: an array of ours, and its length.
    let code = unsafe { ask!(real, C_GenerateRandom(session, iv.as_mut_ptr(), N as CK_ULONG)) };
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
