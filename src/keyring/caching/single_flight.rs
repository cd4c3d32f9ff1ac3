//! One call of the inner keyring for all threads that want the same key at the same time.

use super::cached_keys::EntryKey;
use crate::crypto::secret::DataKey;
use crate::keyring::KeyringError;
use crate::sync::{Monitor, lock};
use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Mutex;

/// The result of a call.
pub(super) type Outcome = Result<Arc<DataKey>, KeyringError>;

enum CallState {
    Running,
    Finished(Outcome),
    /// The inner keyring panicked.
    Panicked,
}

/// The calls that are running.
#[derive(Default)]
pub(super) struct SingleFlight {
    calls: Mutex<BTreeMap<EntryKey, Arc<Monitor<CallState>>>>,
    waits: AtomicUsize,
}

/// The part of a thread in a call.
pub(super) enum Joined<'a> {
    /// It makes the call, also for the threads that come meanwhile.
    Leader(Leader<'a>),
    /// Another thread made it.
    Finished(Outcome),
    /// Another thread made it and panicked: try again.
    Panicked,
}

impl SingleFlight {
    /// The number of times that a thread waited.
    pub(super) fn waits(&self) -> u64 {
        // Saturates: a statistic.
        u64::try_from(self.waits.load(Relaxed)).unwrap_or(u64::MAX)
    }

    /// Waits for the running call for this key, or makes the caller its leader.
    pub(super) fn join(&self, key: EntryKey) -> Joined<'_> {
        let call = match lock(&self.calls).entry(key.clone()) {
            Entry::Occupied(entry) => {
                self.waits.fetch_add(1, Relaxed);
                entry.get().clone()
            }
            Entry::Vacant(entry) => {
                let call = entry.insert(Arc::new(Monitor::new(CallState::Running))).clone();
                return Joined::Leader(Leader { calls: self, key, call, is_finished: false });
            }
        };
        let mut state = call.lock();
        loop {
            match &*state {
                CallState::Running => state = call.wait(state),
                CallState::Finished(outcome) => return Joined::Finished(outcome.clone()),
                CallState::Panicked => return Joined::Panicked,
            }
        }
    }
}

/// The thread that makes a call. A drop without [`finish`](Self::finish), which only a panic can
/// cause, makes the waiting threads try again.
pub(super) struct Leader<'a> {
    calls: &'a SingleFlight,
    key: EntryKey,
    call: Arc<Monitor<CallState>>,
    is_finished: bool,
}

impl Leader<'_> {
    pub(super) fn key(&self) -> &EntryKey {
        &self.key
    }

    /// Gives the outcome to every thread that waits; a later thread calls again.
    pub(super) fn finish(mut self, outcome: Outcome) {
        self.is_finished = true;
        self.end(CallState::Finished(outcome));
    }

    fn end(&self, state: CallState) {
        lock(&self.calls.calls).remove(&self.key);
        *self.call.lock() = state;
        self.call.notify_all();
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        if !self.is_finished {
            self.end(CallState::Panicked);
        }
    }
}
