//! Wrong function lists.

use std::sync::{Mutex, PoisonError};

use cryptoki_sys::*;

use crate::functions::{self, Function};
use crate::state;
use crate::wrong_results::WrongResult::*;

/// The members that version 3.x adds to the list of version 2.40, all NULL, so that a caller that
/// expects them reads valid memory.
const BEYOND: usize = size_of::<CK_FUNCTION_LIST_3_2>() - size_of::<CK_FUNCTION_LIST>();

#[repr(C)]
struct Padded {
    list: CK_FUNCTION_LIST,
    beyond: [u8; BEYOND],
}

/// Every changed list. None is freed, since a caller may use it until the process ends. Each stays
/// reachable, since a sanitizer reports leaks.
static GIVEN: Mutex<Vec<&'static Padded>> = Mutex::new(Vec::new());

/// The list to return: `right`, a changed copy, or NULL.
pub(crate) fn list(right: *mut CK_FUNCTION_LIST) -> *mut CK_FUNCTION_LIST {
    let Some((wrong, argument)) = state::wrong_result(Function::C_GetFunctionList, |_| true) else {
        return right;
    };
    // SAFETY: `right` is the static list of this module.
    let mut list = unsafe { *right };
    match wrong {
        ListNull => return std::ptr::null_mut(),
        ListVersion3 => list.version = CK_VERSION { major: 3, minor: 0 },
        ListVersionGarbage => list.version = CK_VERSION { major: 255, minor: 255 },
        ListNullMember => {
            if let Some(member) = Function::ALL.get(argument as usize) {
                list = functions::without(list, *member);
            }
        }
        _ => {}
    }
    let padded: &'static Padded = Box::leak(Box::new(Padded { list, beyond: [0; BEYOND] }));
    GIVEN.lock().unwrap_or_else(PoisonError::into_inner).push(padded);
    (&raw const *padded).cast_mut().cast()
}
