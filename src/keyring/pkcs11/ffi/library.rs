//! Loading of a PKCS#11 library, and its function list.

#![allow(unsafe_code)]

use super::failure::{CallFailure, CallFault, Function};
use alloc::string::{String, ToString};
use core::{fmt, ptr};
use cryptoki_sys as ck;
use std::path::Path;

/// The functions of a loaded library. It stays loaded, since its threads and exit handlers may run until
/// the process ends.
pub(crate) struct FunctionList {
    pub(crate) list: ck::CK_FUNCTION_LIST,
}

impl FunctionList {
    /// Loads the library at `path`, or returns the reason why it cannot. Gets its functions once:
    /// some libraries return another instance to a second call.
    pub(crate) fn load(path: &Path) -> Result<Self, String> {
        let not_pkcs11 = || "it has no function list of PKCS#11";
        // SAFETY: this runs the library's initialisers, which the caller requests by its path. The
        // documentation requires a path to code that the machine's administrator trusts.
        let library = unsafe { ck::Pkcs11::new(path) };
        let library = library.map_err(|error| error.to_string())?;
        let mut list = ptr::null_mut();
        let get = *library.C_GetFunctionList.as_ref().map_err(|_| not_pkcs11())?;
        // SAFETY: the argument is a valid location for a pointer, as the standard requires.
        let rv = unsafe { get(&raw mut list) };
        if rv != ck::CKR_OK || list.is_null() || !list.is_aligned() {
            return Err(not_pkcs11().into());
        }
        // SAFETY: a successful call returns a list that lives as long as the library. Its version is
        // the first field, and read before any other.
        let version = unsafe { (*list).version };
        if !(2..=3).contains(&version.major) {
            return Err(not_pkcs11().into());
        }
        // SAFETY: a list of version 2 or 3 from C_GetFunctionList has the layout of
        // CK_FUNCTION_LIST. Its pointers may be null, which `Option` allows.
        let list = unsafe { *list };
        // The functions must stay in memory.
        core::mem::forget(library);
        Ok(FunctionList { list })
    }
}

impl fmt::Debug for FunctionList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionList").finish_non_exhaustive()
    }
}

/// Calls a function of the list. The arguments must be those of the standard: each pointer is valid
/// for its length, for the duration of the call.
macro_rules! call {
    ($module:expr, $name:ident($($argument:expr),* $(,)?)) => {{
        use $crate::keyring::pkcs11::ffi::{Function, CallFailure, library};
        let function = $module.list.$name;
        let function = function.ok_or(CallFailure::missing(Function::$name))?;
        // SAFETY: the function is from the library's own list. The comment at each use states why
        // the arguments are those of the standard.
        let rv = unsafe { function($($argument),*) };
        library::check(Function::$name, rv)
    }};
}
pub(crate) use call;

pub(crate) fn check(function: Function, rv: ck::CK_RV) -> Result<(), CallFailure> {
    match rv {
        ck::CKR_OK => Ok(()),
        code => Err(CallFailure { function, fault: CallFault::Code(code) }),
    }
}
