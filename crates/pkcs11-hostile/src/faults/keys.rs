//! Lies in the making of keys.

use std::ffi::c_void;

use cryptoki_sys::*;

use crate::catalogue::Lie;
use crate::forward::ask;
use crate::functions::Function::C_GenerateKey;
use crate::stage;

/// # Safety
/// Arguments as the standard has them.
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
        // SAFETY: the caller says that there are that many attributes.
        unsafe { std::slice::from_raw_parts(start, count as usize) }
    };
    let lie = stage::lie(C_GenerateKey, |lie| match lie {
        Lie::GenerateZero => !key.is_null(),
        // A caller that states no length is not lied to about it.
        Lie::GenerateShort => attributes.iter().any(|a| a.type_ == CKA_VALUE_LEN),
        _ => true,
    });
    let mut truth = CK_TRUE;
    let mut falsehood = CK_FALSE;
    let mut short: CK_ULONG = 16;
    let changed = match lie.map(|(lie, _)| lie) {
        Some(Lie::GenerateZero) => {
            // SAFETY: not NULL, and the caller's place for one handle.
            unsafe { key.write(0) };
            return CKR_OK;
        }
        Some(Lie::GenerateExtractable) => {
            replaced(attributes, CKA_EXTRACTABLE, (&raw mut truth).cast(), 1)
        }
        Some(Lie::GenerateNotSensitive) => {
            replaced(attributes, CKA_SENSITIVE, (&raw mut falsehood).cast(), 1)
        }
        Some(Lie::GenerateShort) => {
            replaced(attributes, CKA_VALUE_LEN, (&raw mut short).cast(), size_of::<CK_ULONG>())
        }
        _ => attributes.to_vec(),
    };
    let mut changed = changed;
    let count = changed.len() as CK_ULONG;
    let start = if changed.is_empty() { start } else { changed.as_mut_ptr() };
    // SAFETY: the caller's arguments; the template is a copy, whose values all still live.
    unsafe { ask!(real, C_GenerateKey(session, mechanism, start, count, key)) }
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
