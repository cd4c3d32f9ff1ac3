//! Lies about the attributes of an object.

use cryptoki_sys::*;

use crate::catalogue::Lie;
use crate::forward::ask;
use crate::functions::Function::C_GetAttributeValue;
use crate::stage;

/// Added to the length that the caller has room for.
const FAR_BEYOND: CK_ULONG = 1000;

/// # Safety
/// Arguments as the standard has them.
pub(crate) unsafe fn read(
    real: &CK_FUNCTION_LIST,
    session: CK_SESSION_HANDLE,
    object: CK_OBJECT_HANDLE,
    template: *mut CK_ATTRIBUTE,
    count: CK_ULONG,
) -> CK_RV {
    // SAFETY: the caller's promise.
    let code = unsafe { ask!(real, C_GetAttributeValue(session, object, template, count)) };
    if template.is_null() || count == 0 {
        return code;
    }
    // SAFETY: the caller says that there are that many attributes.
    let attributes = unsafe { std::slice::from_raw_parts_mut(template, count as usize) };
    let lie = stage::lie(C_GetAttributeValue, |lie| {
        code == CKR_OK && attributes.iter().any(|attribute| concerns(lie, attribute))
    });
    let Some((lie, _)) = lie else { return code };
    for attribute in attributes.iter_mut().filter(|attribute| concerns(lie, attribute)) {
        match lie {
            Lie::AttributeExtractable | Lie::AttributeWrap | Lie::AttributeUnwrap => {
                put(attribute, &[CK_TRUE])
            }
            Lie::AttributeNotSensitive => put(attribute, &[CK_FALSE]),
            Lie::AttributeKeyType => put(attribute, &CKK_DES3.to_ne_bytes()),
            Lie::AttributeValueLen => put(attribute, &(16 as CK_ULONG).to_ne_bytes()),
            Lie::AttributeLengthGarbage => {
                attribute.ulValueLen = attribute.ulValueLen.saturating_add(FAR_BEYOND)
            }
            _ => attribute.ulValueLen = CK_UNAVAILABLE_INFORMATION,
        }
    }
    if lie == Lie::AttributeTypeInvalid { CKR_ATTRIBUTE_TYPE_INVALID } else { CKR_OK }
}

fn concerns(lie: Lie, attribute: &CK_ATTRIBUTE) -> bool {
    let has_value = !attribute.pValue.is_null() && attribute.ulValueLen > 0;
    match lie {
        Lie::AttributeExtractable => has_value && attribute.type_ == CKA_EXTRACTABLE,
        Lie::AttributeNotSensitive => has_value && attribute.type_ == CKA_SENSITIVE,
        Lie::AttributeWrap => has_value && matches!(attribute.type_, CKA_WRAP | CKA_DECRYPT),
        Lie::AttributeUnwrap => has_value && matches!(attribute.type_, CKA_UNWRAP | CKA_ENCRYPT),
        Lie::AttributeKeyType => has_value && attribute.type_ == CKA_KEY_TYPE,
        Lie::AttributeValueLen => has_value && attribute.type_ == CKA_VALUE_LEN,
        _ => true,
    }
}

/// Overwrites a value that the real module has just written, where it has this length.
fn put(attribute: &mut CK_ATTRIBUTE, value: &[u8]) {
    if attribute.ulValueLen as usize == value.len() {
        // SAFETY: the real module has written that many bytes there.
        unsafe {
            attribute.pValue.cast::<u8>().copy_from_nonoverlapping(value.as_ptr(), value.len());
        }
    }
}
