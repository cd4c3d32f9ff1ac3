//! An encrypting stream that was dropped before its end.

use crate::observe::{Event, Observer};
use alloc::sync::Arc;

/// Tells an observer when it is dropped, unless that was called off.
pub(crate) struct Unfinished {
    observer: Option<Arc<dyn Observer>>,
}

impl Unfinished {
    /// Tells `observer`, if there is one.
    pub(crate) fn new(observer: Option<Arc<dyn Observer>>) -> Self {
        Unfinished { observer }
    }

    /// The stream has ended, or its failure was told.
    pub(crate) fn call_off(&mut self) {
        self.observer = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(observer) = self.observer.take() {
            observer.event(&Event::StreamUnfinished);
        }
    }
}
