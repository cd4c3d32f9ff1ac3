//! Comparison whose time does not depend on where two values differ.

use subtle::ConstantTimeEq;

/// Returns whether both slices are equal; only their lengths may leak.
pub(crate) fn equal(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}
