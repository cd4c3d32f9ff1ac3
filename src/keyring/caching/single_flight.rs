//! One call of the inner keyring for all threads that want the same key at once.

use super::entries::EntryKey;
use crate::crypto::secret::DataKey;
use crate::keyring::KeyringError;
use crate::sync::lock;
use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, PoisonError};

/// What came of a call.
pub(super) type Landing = Result<Arc<DataKey>, KeyringError>;

enum State {
    UnderWay,
    Landed(Landing),
    /// The inner keyring panicked.
    Lost,
}

/// One call, and who waits for it.
struct Flight {
    state: Mutex<State>,
    done: Condvar,
}

/// The calls under way.
#[derive(Default)]
pub(super) struct Flights {
    by_key: Mutex<BTreeMap<EntryKey, Arc<Flight>>>,
    waits: AtomicUsize,
}

/// What a thread finds that wants a key.
pub(super) enum Boarding<'a> {
    /// It makes the call, for all that come meanwhile.
    Leads(Leader<'a>),
    /// Another made it.
    Landed(Landing),
    /// Another made it and panicked: try again.
    Lost,
}

impl Flights {
    /// How often a thread came to wait.
    pub(super) fn waits(&self) -> u64 {
        u64::try_from(self.waits.load(Relaxed)).unwrap_or(u64::MAX)
    }

    /// Waits for the call for this key that is under way, or becomes the one that makes it.
    pub(super) fn board(&self, key: &EntryKey) -> Boarding<'_> {
        let flight = match lock(&self.by_key).entry(key.clone()) {
            Entry::Occupied(entry) => {
                self.waits.fetch_add(1, Relaxed);
                entry.get().clone()
            }
            Entry::Vacant(entry) => {
                let flight = Flight { state: Mutex::new(State::UnderWay), done: Condvar::new() };
                let flight = entry.insert(Arc::new(flight)).clone();
                return Boarding::Leads(Leader {
                    flights: self,
                    key: key.clone(),
                    flight,
                    landed: false,
                });
            }
        };
        let mut state = lock(&flight.state);
        loop {
            match &*state {
                State::UnderWay => {
                    let waited = flight.done.wait(state);
                    state = waited.unwrap_or_else(PoisonError::into_inner);
                }
                State::Landed(landing) => return Boarding::Landed(landing.clone()),
                State::Lost => return Boarding::Lost,
            }
        }
    }
}

/// The thread that makes a call. If it goes without [`land`](Self::land), which only a panic can
/// bring about, the others are let go.
pub(super) struct Leader<'a> {
    flights: &'a Flights,
    key: EntryKey,
    flight: Arc<Flight>,
    landed: bool,
}

impl Leader<'_> {
    pub(super) fn key(&self) -> &EntryKey {
        &self.key
    }

    /// Gives the result to everyone who waits, and to nobody who comes later.
    pub(super) fn land(mut self, landing: Landing) {
        self.landed = true;
        self.end(State::Landed(landing));
    }

    fn end(&self, state: State) {
        lock(&self.flights.by_key).remove(&self.key);
        *lock(&self.flight.state) = state;
        self.flight.done.notify_all();
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        if !self.landed {
            self.end(State::Lost);
        }
    }
}
