//! Wrong results of C_GetAttributeValue.

use cryptoki_sys::*;

use crate::functions::Function::C_GetAttributeValue;
use crate::real_module::call_real;
use crate::state;
use crate::wrong_results::WrongResult::{self, *};

/// How much longer a value is reported to be than it is.
const FAR_BEYOND: CK_ULONG = 1000;

pub(crate) unsafe fn read(
    real: &CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    // SAFETY: the caller's arguments.
    let code = unsafe { call_real!(real, C_GetAttributeValue(session, object, template, count)) };
    if template.is_null() || count == 0 {
        return code;
    }
    // SAFETY: the caller's attributes, with their number.
    let attributes = unsafe { std::slice::from_raw_parts_mut(template, count as usize) };
    let wrong = state::wrong_result(C_GetAttributeValue, |wrong| {
        code == CKR_OK && attributes.iter().any(|attribute| concerns(wrong, attribute))
    });
    let Some((wrong, _)) = wrong else { return code };
    for attribute in attributes.iter_mut().filter(|attribute| concerns(wrong, attribute)) {
        match wrong {
            AttributeExtractable | AttributeWrap | AttributeUnwrap => put(attribute, &[CK_TRUE]),
            AttributeNotSensitive => put(attribute, &[CK_FALSE]),
            AttributeKeyType => put(attribute, &CKK_DES3.to_ne_bytes()),
            AttributeValueLen => put(attribute, &(16 as CK_ULONG).to_ne_bytes()),
            AttributeLengthGarbage => {
                attribute.ulValueLen = attribute.ulValueLen.saturating_add(FAR_BEYOND)
            }
            _ => attribute.ulValueLen = CK_UNAVAILABLE_INFORMATION,
        }
    }
    if wrong == AttributeTypeInvalid { CKR_ATTRIBUTE_TYPE_INVALID } else { CKR_OK }
}

fn concerns(wrong: WrongResult, attribute: &CK_ATTRIBUTE) -> bool {
    let has_value = !attribute.pValue.is_null() && attribute.ulValueLen > 0;
    match wrong {
        AttributeExtractable => has_value && attribute.type_ == CKA_EXTRACTABLE,
        AttributeNotSensitive => has_value && attribute.type_ == CKA_SENSITIVE,
        AttributeWrap => has_value && matches!(attribute.type_, CKA_WRAP | CKA_DECRYPT),
        AttributeUnwrap => has_value && matches!(attribute.type_, CKA_UNWRAP | CKA_ENCRYPT),
        AttributeKeyType => has_value && attribute.type_ == CKA_KEY_TYPE,
        AttributeValueLen => has_value && attribute.type_ == CKA_VALUE_LEN,
        _ => true,
    }
}

/// Overwrites a value that the real module has written, if it has this length.
fn put(attribute: &mut CK_ATTRIBUTE, value: &[u8]) {
    if attribute.ulValueLen as usize == value.len() {
        // SAFETY: the real module has written that many bytes.
        unsafe {
            attribute.pValue.cast::<u8>().copy_from_nonoverlapping(value.as_ptr(), value.len());
        }
    }
}
