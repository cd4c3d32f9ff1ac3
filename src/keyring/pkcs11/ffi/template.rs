//! Attributes of objects, and their layout in memory.

use alloc::vec::Vec;
use core::ffi::c_void;
use core::{mem, ptr};
use cryptoki_sys as ck;

/// The value of an attribute.
#[derive(Clone, Copy)]
enum AttributeValue<'a> {
    Bool(bool),
    Number(ck::CK_ULONG),
    Bytes(&'a [u8]),
}

/// An attribute of an object.
#[derive(Clone, Copy)]
pub(crate) struct Attribute<'a> {
    kind: ck::CK_ATTRIBUTE_TYPE,
    value: AttributeValue<'a>,
}

impl<'a> Attribute<'a> {
    pub(crate) fn bool(kind: ck::CK_ATTRIBUTE_TYPE, value: bool) -> Self {
        Attribute { kind, value: AttributeValue::Bool(value) }
    }

    pub(crate) fn number(kind: ck::CK_ATTRIBUTE_TYPE, value: ck::CK_ULONG) -> Self {
        Attribute { kind, value: AttributeValue::Number(value) }
    }

    pub(crate) fn bytes(kind: ck::CK_ATTRIBUTE_TYPE, value: &'a [u8]) -> Self {
        Attribute { kind, value: AttributeValue::Bytes(value) }
    }
}

static TRUE: ck::CK_BBOOL = ck::CK_TRUE;
static FALSE: ck::CK_BBOOL = ck::CK_FALSE;

/// The attributes in the layout of PKCS#11. The pointers are into `attributes` and what they borrow,
/// and are read only.
pub(crate) fn raw(attributes: &[Attribute<'_>]) -> Vec<ck::CK_ATTRIBUTE> {
    let raw = |attribute: &Attribute<'_>| {
        let (pointer, len): (*const c_void, usize) = match &attribute.value {
            AttributeValue::Bool(value) => {
                let value = if *value { &TRUE } else { &FALSE };
                (ptr::from_ref(value).cast(), mem::size_of::<ck::CK_BBOOL>())
            }
            AttributeValue::Number(value) => {
                (ptr::from_ref(value).cast(), mem::size_of::<ck::CK_ULONG>())
            }
            AttributeValue::Bytes(bytes) => (bytes.as_ptr().cast(), bytes.len()),
        };
        ck::CK_ATTRIBUTE {
            type_: attribute.kind,
            pValue: pointer.cast_mut(),
            ulValueLen: ulong(len),
        }
    };
    attributes.iter().map(raw).collect()
}

/// A length in the type of PKCS#11.
#[expect(clippy::expect_used, reason = "the longest input is one key and its associated data")]
pub(crate) fn ulong(len: usize) -> ck::CK_ULONG {
    ck::CK_ULONG::try_from(len).expect("a length of some kilobytes")
}
