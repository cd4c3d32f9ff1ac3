//! Lies in the function list itself.

use std::sync::{Mutex, PoisonError};

use cryptoki_sys::*;

use crate::catalogue::Lie;
use crate::functions::{self, Function};
use crate::stage;

/// What follows the members of 2.40 in a list of 3.x, all NULL, so that a caller who believes
/// the version finds memory there.
const BEYOND: usize = size_of::<CK_FUNCTION_LIST_3_2>() - size_of::<CK_FUNCTION_LIST>();

#[repr(C)]
struct Padded {
    list: CK_FUNCTION_LIST,
    beyond: [u8; BEYOND],
}

/// Every changed list: whoever got one may use it to the end, so none is freed, and none is lost
/// either, which a sanitizer would report.
static GIVEN: Mutex<Vec<&'static Padded>> = Mutex::new(Vec::new());

/// The list to answer: `honest`, or a changed copy that lives for ever; NULL where that is the lie.
pub(crate) fn list(honest: *mut CK_FUNCTION_LIST) -> *mut CK_FUNCTION_LIST {
    let Some((lie, argument)) = stage::lie(Function::C_GetFunctionList, |_| true) else {
        return honest;
    };
    // SAFETY: `honest` is our own static list.
    let mut list = unsafe { *honest };
    match lie {
        Lie::ListNull => return std::ptr::null_mut(),
        Lie::ListVersion3 => list.version = CK_VERSION { major: 3, minor: 0 },
        Lie::ListVersionGarbage => list.version = CK_VERSION { major: 255, minor: 255 },
        Lie::ListNullMember => {
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
