//! Slot ids that the caller gets: the real ones plus an offset, which a fault changes.

use std::sync::atomic::{AtomicU64, Ordering};

use cryptoki_sys::{CK_SLOT_ID, CK_UNAVAILABLE_INFORMATION};

static OFFSET: AtomicU64 = AtomicU64::new(0);

/// A prime, so that old and new ids rarely coincide.
const STEP: u64 = 1009;

/// The caller's id of a real one.
pub(crate) fn visible(real: CK_SLOT_ID) -> CK_SLOT_ID {
    real.wrapping_add(OFFSET.load(Ordering::Relaxed) as CK_SLOT_ID)
}

/// The real id of a caller's one; an id that no slot has, for an unknown one.
pub(crate) fn real(visible: CK_SLOT_ID) -> CK_SLOT_ID {
    let offset = OFFSET.load(Ordering::Relaxed) as CK_SLOT_ID;
    visible.checked_sub(offset).unwrap_or(CK_UNAVAILABLE_INFORMATION)
}

pub(crate) fn shift() {
    OFFSET.fetch_add(STEP, Ordering::Relaxed);
}

pub(crate) fn restore() {
    OFFSET.store(0, Ordering::Relaxed);
}
