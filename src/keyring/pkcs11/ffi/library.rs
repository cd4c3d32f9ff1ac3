//! Loading a PKCS#11 library, and the functions that it has.

#![allow(unsafe_code)]

use super::failure::{CallFailure, CallFault, Function, Rv};
use alloc::string::{String, ToString};
use core::{fmt, ptr};
use cryptoki_sys as ck;
use std::path::Path;

/// A loaded library. It stays loaded: its threads and exit handlers may run until the process ends.
pub struct FunctionList {
    pub(crate) list: ck::CK_FUNCTION_LIST,
}

/// Why a library could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// The dynamic linker refused it.
    Linker(String),
    /// It has no function list of PKCS#11 version 2 or 3.
    NotPkcs11,
}

impl FunctionList {
    /// Loads the library at `path`, and asks once for its functions: some libraries answer a second
    /// call with another instance.
    pub(crate) fn load(path: &Path) -> Result<Self, LoadError> {
        // SAFETY: running the library's initialisers is what the caller asks for by naming it; it
        // is trusted code of the machine's administrator, as the documentation says.
        let library = unsafe { ck::Pkcs11::new(path) };
        let library = library.map_err(|error| LoadError::Linker(error.to_string()))?;
        let mut list = ptr::null_mut();
        let get = *library.C_GetFunctionList.as_ref().map_err(|_| LoadError::NotPkcs11)?;
        // SAFETY: the argument is a valid place for a pointer, as the standard asks.
        let rv = unsafe { get(&raw mut list) };
        if rv != ck::CKR_OK || list.is_null() || !list.is_aligned() {
            return Err(LoadError::NotPkcs11);
        }
        // SAFETY: a successful call gives a list that lives as long as the library. Its version
        // comes first, and is read before anything else of it.
        let version = unsafe { (*list).version };
        if !(2..=3).contains(&version.major) {
            return Err(LoadError::NotPkcs11);
        }
        // SAFETY: a list of version 2 or 3 that C_GetFunctionList gives has the layout of
        // CK_FUNCTION_LIST, of pointers that may be null, which `Option` is.
        let list = unsafe { *list };
        // Not unloaded, for the functions to stay where they are.
        core::mem::forget(library);
        Ok(FunctionList { list })
    }
}

impl fmt::Debug for FunctionList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FunctionList").finish_non_exhaustive()
    }
}

/// Calls a function of the list. The arguments must be what the standard asks for: each pointer
/// valid for the length beside it, for the duration of the call.
macro_rules! call {
    ($module:expr, $name:ident($($argument:expr),* $(,)?)) => {{
        use $crate::keyring::pkcs11::ffi::{Function, CallFailure, library};
        let function = $module.list.$name;
        let function = function.ok_or(CallFailure::missing(Function::$name))?;
        // SAFETY: the function comes from the library's own list, and the comment at the place
        // of use says why its arguments are what the standard asks for.
        let rv = unsafe { function($($argument),*) };
        library::check(Function::$name, rv)
    }};
}
pub(crate) use call;

pub(crate) fn check(function: Function, rv: ck::CK_RV) -> Result<(), CallFailure> {
    match rv {
        ck::CKR_OK => Ok(()),
        code => Err(CallFailure { function, fault: CallFault::Code(Rv(code)) }),
    }
}
