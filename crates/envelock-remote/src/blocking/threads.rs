//! Calls on the blocking threads of a runtime.

use crate::call::lock;
use envelock::keyring::KeyringError;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Makes calls in the order in which they came, on a bounded number of blocking threads.
///
/// A thread makes calls until none is left. So a call needs no poll of its caller to begin, and a caller that does not
/// poll keeps no other from a thread.
pub(super) struct Threads {
    most: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The calls that have not begun, by number.
    calls: BTreeMap<u64, Call>,
    last_call: u64,
    /// How many threads make calls, or are about to.
    threads: usize,
}

type Call = Box<dyn FnOnce() + Send>;

/// Why a call was not made.
#[derive(Debug, thiserror::Error)]
enum NotCalled {
    #[error(
        "keyring on blocking threads was awaited outside of a runtime of tokio: await it in a task"
    )]
    NoRuntime,
    #[error("runtime was shut down before it called the keyring")]
    ShutDown,
}

impl Threads {
    pub(super) fn new(most: usize) -> Self {
        Threads { most, state: Mutex::default() }
    }

    /// Makes `call` on a blocking thread, and goes on with its panic. If the future is dropped before the call begins,
    /// it is never made.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, KeyringError> {
        let runtime = Handle::try_current();
        let runtime = runtime.map_err(|_| KeyringError::broken(NotCalled::NoRuntime))?;
        let (sender, result) = oneshot::channel();
        let call = move || {
            // A result that nobody awaits is dropped here.
            drop(sender.send(catch_unwind(AssertUnwindSafe(call))));
        };
        let _queued = self.begin(&runtime, Box::new(call));
        match result.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(panic)) => resume_unwind(panic),
            Err(_) => Err(KeyringError::unavailable(NotCalled::ShutDown)),
        }
    }

    fn begin(self: &Arc<Self>, runtime: &Handle, call: Call) -> Queued {
        let mut state = lock(&self.state);
        state.last_call += 1;
        let number = state.last_call;
        state.calls.insert(number, call);
        let queued = Queued { threads: Arc::clone(self), number };
        if state.threads < self.most {
            state.threads += 1;
            drop(state);
            let mut thread = Thread { of: Arc::clone(self), is_counted: true };
            drop(runtime.spawn_blocking(move || thread.make_calls()));
        }
        queued
    }
}

/// The place of a call whose future still exists.
struct Queued {
    threads: Arc<Threads>,
    number: u64,
}

impl Drop for Queued {
    fn drop(&mut self) {
        let call = lock(&self.threads.state).calls.remove(&self.number);
        // Not under the lock: it drops what the caller gave.
        drop(call);
    }
}

/// A blocking thread that makes calls.
struct Thread {
    of: Arc<Threads>,
    is_counted: bool,
}

impl Thread {
    fn make_calls(&mut self) {
        while let Some(call) = self.next() {
            call();
        }
    }

    fn next(&mut self) -> Option<Call> {
        let mut state = lock(&self.of.state);
        let next = state.calls.pop_first();
        if next.is_none() {
            state.threads -= 1;
            self.is_counted = false;
        }
        next.map(|(_, call)| call)
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if !self.is_counted {
            return;
        }
        // The runtime was shut down before the thread began.
        let mut state = lock(&self.of.state);
        state.threads -= 1;
        let left =
            if state.threads == 0 { std::mem::take(&mut state.calls) } else { BTreeMap::new() };
        drop(state);
        drop(left);
    }
}
