//! Events that are recorded under a lock, and delivered once no lock is held.

use super::Observer;
use crate::sync::lock;
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::sync::Mutex;

/// Recorded events of one back end, in the order of their recording.
pub(crate) struct EventQueue<E> {
    observer: Option<Arc<dyn Observer>>,
    recorded: Mutex<Vec<E>>,
}

impl<E> EventQueue<E> {
    pub(crate) fn new(observer: Option<Arc<dyn Observer>>) -> Self {
        EventQueue { observer, recorded: Mutex::new(Vec::new()) }
    }

    /// Whether there is an observer.
    pub(crate) fn is_observed(&self) -> bool {
        self.observer.is_some()
    }

    /// Records an event, if there is an observer.
    pub(crate) fn push(&self, event: E) {
        if self.is_observed() {
            lock(&self.recorded).push(event);
        }
    }

    /// Delivers the recorded events by `send`. The caller holds no lock, not even one of a keyring:
    /// the observer may use the keyring that reports.
    pub(crate) fn publish(&self, send: impl Fn(&dyn Observer, E)) {
        let Some(observer) = &self.observer else { return };
        let recorded = core::mem::take(&mut *lock(&self.recorded));
        recorded.into_iter().for_each(|event| send(&**observer, event));
    }
}
