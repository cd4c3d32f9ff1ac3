//! Wrong results of C_GenerateKey.

use std::ffi::c_void;

use cryptoki_sys::*;

use crate::functions::Function::C_GenerateKey;
use crate::real_module::call_real;
use crate::state;
use crate::wrong_results::WrongResult::*;

pub(crate) unsafe fn generate(
    real: &CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    template: (*mut CK_ATTRIBUTE, CK_ULONG),
    key: *mut CK_OBJECT_HANDLE,
) -> CK_RV {
    let (start, count) = template;
    let attributes: &[CK_ATTRIBUTE] = if start.is_null() {
        &[]
    } else {
        // SAFETY: the caller's attributes, with their number.
        unsafe { std::slice::from_raw_parts(start, count as usize) }
    };
    let wrong = state::wrong_result(C_GenerateKey, |wrong| match wrong {
        GenerateZero => !key.is_null(),
        // Only a caller that states a length can get another one.
        GenerateShort => attributes.iter().any(|a| a.type_ == CKA_VALUE_LEN),
        _ => true,
    });
    let mut yes = CK_TRUE;
    let mut no = CK_FALSE;
    let mut short: CK_ULONG = 16;
    let mut changed = match wrong.map(|(wrong, _)| wrong) {
        Some(GenerateZero) => {
            // SAFETY: the caller's variable, which is not NULL.
            unsafe { key.write(0) };
            return CKR_OK;
        }
        Some(GenerateExtractable) => {
            replaced(attributes, CKA_EXTRACTABLE, (&raw mut yes).cast(), 1)
        }
        Some(GenerateNotSensitive) => replaced(attributes, CKA_SENSITIVE, (&raw mut no).cast(), 1),
        Some(GenerateShort) => {
            replaced(attributes, CKA_VALUE_LEN, (&raw mut short).cast(), size_of::<CK_ULONG>())
        }
        _ => attributes.to_vec(),
    };
    let count = changed.len() as CK_ULONG;
    let start = if changed.is_empty() { start } else { changed.as_mut_ptr() };
    // SAFETY: the caller's arguments; the template is a copy, whose values are alive.
    unsafe { call_real!(real, C_GenerateKey(session, mechanism, start, count, key)) }
}

/// A copy of a template in which one attribute has another value.
fn replaced(
    template: &[CK_ATTRIBUTE],
    kind: CK_ATTRIBUTE_TYPE,
    value: *mut c_void,
    len: usize,
) -> Vec<CK_ATTRIBUTE> {
    let mut copy: Vec<_> = template.iter().copied().filter(|a| a.type_ != kind).collect();
    copy.push(CK_ATTRIBUTE { type_: kind, pValue: value, ulValueLen: len as CK_ULONG });
    copy
}
