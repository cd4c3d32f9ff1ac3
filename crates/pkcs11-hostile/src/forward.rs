//! The real module behind, and the gate through which every call reaches it.

use std::ffi::OsString;
use std::sync::{OnceLock, PoisonError, RwLock};

use cryptoki_sys::*;
use libloading::{Library, Symbol};

/// Calls one member of the real function list. To be used within `unsafe`, with a reason.
macro_rules! ask {
    ($real:expr, $name:ident($($argument:expr),* $(,)?)) => {
        match $real.$name {
            Some(function) => function($($argument),*),
            None => cryptoki_sys::CKR_FUNCTION_NOT_SUPPORTED,
        }
    };
}
pub(crate) use ask;

const DEFAULT_MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// Calls hold it for reading. What ends the sessions of others holds it for writing: SoftHSM
/// 2.6.1 crashes when sessions are closed, or the user logged out, under a call that runs.
static GATE: RwLock<()> = RwLock::new(());

/// The function list of the real module, loaded on first use and never unloaded.
pub(crate) fn real() -> Option<&'static CK_FUNCTION_LIST> {
    static REAL: OnceLock<Option<CK_FUNCTION_LIST>> = OnceLock::new();
    REAL.get_or_init(|| {
        let path = std::env::var_os("HOSTILE_FORWARD").unwrap_or(OsString::from(DEFAULT_MODULE));
        load(&path)
            .map_err(|reason| eprintln!("hostile: {}: {reason}", path.to_string_lossy()))
            .ok()
    })
    .as_ref()
}

fn load(path: &OsString) -> Result<CK_FUNCTION_LIST, String> {
    // SAFETY: the initialisers of a PKCS#11 module run; the test that names the path trusts it.
    let library = unsafe { Library::new(path) }.map_err(|error| error.to_string())?;
    // SAFETY: the symbol has this type in every PKCS#11 module.
    let entry: Symbol<unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV> =
        unsafe { library.get(b"C_GetFunctionList\0") }.map_err(|error| error.to_string())?;
    let mut list = std::ptr::null_mut();
    // SAFETY: the argument is a place for one pointer.
    let code = unsafe { entry(&mut list) };
    if code != CKR_OK || list.is_null() {
        return Err(format!("C_GetFunctionList answers {code:#x}"));
    }
    // SAFETY: the module promises a list that lives as long as the module, which is for ever.
    let copy = unsafe { *list };
    std::mem::forget(library);
    Ok(copy)
}

/// Runs a call beside others.
pub(crate) fn beside<T>(call: impl FnOnce() -> T) -> T {
    let _inside = GATE.read().unwrap_or_else(PoisonError::into_inner);
    call()
}

/// Runs a call while nobody else is inside the real module.
pub(crate) fn alone<T>(call: impl FnOnce() -> T) -> T {
    let _inside = GATE.write().unwrap_or_else(PoisonError::into_inner);
    call()
}
