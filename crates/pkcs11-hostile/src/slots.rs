//! Slot ids as the caller sees them: real ones, until a lie moves them all.

use std::sync::atomic::{AtomicU64, Ordering};

use cryptoki_sys::{CK_SLOT_ID, CK_UNAVAILABLE_INFORMATION};

/// Added to a real id.
static OFFSET: AtomicU64 = AtomicU64::new(0);

/// A prime, so that old and new ids hardly ever meet.
const STEP: u64 = 1009;

/// The id to show for a real one.
pub(crate) fn shown(real: CK_SLOT_ID) -> CK_SLOT_ID {
    real.wrapping_add(OFFSET.load(Ordering::Relaxed) as CK_SLOT_ID)
}

/// The real id behind a shown one; what never was shown maps to an id that no slot has.
pub(crate) fn real(shown: CK_SLOT_ID) -> CK_SLOT_ID {
    let offset = OFFSET.load(Ordering::Relaxed) as CK_SLOT_ID;
    shown.checked_sub(offset).unwrap_or(CK_UNAVAILABLE_INFORMATION)
}

pub(crate) fn shift() {
    OFFSET.fetch_add(STEP, Ordering::Relaxed);
}

pub(crate) fn restore() {
    OFFSET.store(0, Ordering::Relaxed);
}
