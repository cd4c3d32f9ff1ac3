//! The real module, and the lock around calls to it.

use std::ffi::OsString;
use std::sync::{OnceLock, PoisonError, RwLock};

use cryptoki_sys::*;
use libloading::{Library, Symbol};

/// Calls a function of the real module. The `unsafe` block of the user states why its arguments are
/// valid.
macro_rules! call_real {
    ($real:expr, $name:ident($($argument:expr),* $(,)?)) => {
        match $real.$name {
            Some(function) => function($($argument),*),
            None => cryptoki_sys::CKR_FUNCTION_NOT_SUPPORTED,
        }
    };
}
pub(crate) use call_real;

const DEFAULT_MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// Locked for reading by calls, and for writing by those that end sessions or the login: SoftHSM 2.6.1
/// crashes if that happens during another call.
static LOCK: RwLock<()> = RwLock::new(());

/// The function list of the real module, which is loaded at the first use and never unloaded.
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
    // SAFETY: this runs the initialisers of a PKCS#11 module that the test selects.
    let library = unsafe { Library::new(path) }.map_err(|error| error.to_string())?;
    // SAFETY: the symbol has this type in every PKCS#11 module.
    let entry: Symbol<unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV> =
        unsafe { library.get(b"C_GetFunctionList\0") }.map_err(|error| error.to_string())?;
    let mut list = std::ptr::null_mut();
    // SAFETY: a local variable.
    let code = unsafe { entry(&mut list) };
    if code != CKR_OK || list.is_null() {
        return Err(format!("C_GetFunctionList returned {code:#x}"));
    }
    // SAFETY: the list lives as long as the module, which is never unloaded.
    let copy = unsafe { *list };
    std::mem::forget(library);
    Ok(copy)
}

/// Runs a call, at the same time as others.
pub(crate) fn shared<T>(call: impl FnOnce() -> T) -> T {
    let _inside = LOCK.read().unwrap_or_else(PoisonError::into_inner);
    call()
}

/// Runs a call while no other call is inside the real module.
pub(crate) fn exclusive<T>(call: impl FnOnce() -> T) -> T {
    let _inside = LOCK.write().unwrap_or_else(PoisonError::into_inner);
    call()
}
