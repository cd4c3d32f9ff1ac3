//! What lets calls through to a service.

use super::breaker::{Admission, Breaker, End, Rejection};
use super::options::CallOptions;
use super::{Failure, Next, lock};
use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout_at};

/// Lets so many calls through at once, and none while the circuit is open.
pub(crate) struct Gate<E> {
    permits: Semaphore,
    call_timeout: Duration,
    circuit: Mutex<Circuit<E>>,
}

struct Circuit<E> {
    breaker: Breaker,
    /// The failure that opened it last.
    cause: Option<E>,
}

/// Why an attempt failed.
#[derive(Clone, Debug)]
pub(crate) enum AttemptError<E> {
    /// A call was made and failed.
    Failed(E),
    /// The circuit is open, and no call was made.
    Rejected(Rejection),
    /// The deadline had passed before a call, or ended it.
    Deadline,
}

impl<E: Failure> Gate<E> {
    pub(crate) fn new(options: &CallOptions) -> Self {
        let breaker = Breaker::new(options.circuit_failures, options.circuit_open_for);
        Gate {
            permits: Semaphore::new(options.max_in_flight),
            call_timeout: options.call_timeout,
            circuit: Mutex::new(Circuit { breaker, cause: None }),
        }
    }

    /// Waits for its turn, in the order of the first polls.
    pub(crate) async fn permit(&self) -> Permit<'_, E> {
        #[expect(clippy::expect_used, reason = "the semaphore is never closed")]
        let permit = self.permits.acquire().await.expect("an open semaphore");
        Permit { gate: self, _permit: permit }
    }

    /// Returns how many more calls may start.
    #[cfg(test)]
    pub(crate) fn available(&self) -> usize {
        self.permits.available_permits()
    }

    /// Returns the time until a call is made again and the failure behind it, if the circuit is open.
    pub(crate) fn open_circuit(&self) -> Option<(Duration, E)> {
        let circuit = lock(&self.circuit);
        let rejection = circuit.breaker.is_open(Instant::now())?;
        Some((rejection.retry_in, circuit.cause.clone()?))
    }
}

/// The leave to make one call. Its drop frees the place for the next.
pub(crate) struct Permit<'g, E: Failure> {
    gate: &'g Gate<E>,
    _permit: SemaphorePermit<'g>,
}

impl<E: Failure> Permit<'_, E> {
    /// Makes the call that `start` returns, unless `deadline` has passed or the circuit is open.
    ///
    /// The call is dropped at `deadline`.
    pub(crate) async fn call<T, F>(
        self,
        deadline: Instant,
        start: impl FnOnce() -> F,
    ) -> Result<T, AttemptError<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let now = Instant::now();
        if now >= deadline {
            return Err(AttemptError::Deadline);
        }
        let admission = lock(&self.gate.circuit).breaker.admit(now);
        let running =
            Running { gate: self.gate, admission: admission.map_err(AttemptError::Rejected)? };
        let timeout = super::after(now, self.gate.call_timeout);
        match timeout_at(deadline.min(timeout), start()).await {
            Ok(Ok(response)) => {
                running.end(None);
                Ok(response)
            }
            Ok(Err(error)) => {
                running.end(Some(&error));
                Err(AttemptError::Failed(error))
            }
            Err(_) if timeout <= deadline => {
                let error = E::no_response(self.gate.call_timeout);
                running.end(Some(&error));
                Err(AttemptError::Failed(error))
            }
            Err(_) => Err(AttemptError::Deadline),
        }
    }
}

/// A call that the breaker admitted. It counts as abandoned if it is dropped before its end.
struct Running<'g, E: Failure> {
    gate: &'g Gate<E>,
    admission: Admission,
}

impl<E: Failure> Running<'_, E> {
    fn end(self, error: Option<&E>) {
        let is_unavailable = error.is_some_and(|error| error.next() == Next::Unavailable);
        self.note(if is_unavailable { End::Unavailable } else { End::Responded }, error);
    }

    fn note(&self, end: End, error: Option<&E>) {
        let mut circuit = lock(&self.gate.circuit);
        if circuit.breaker.ended(self.admission, end, Instant::now()) {
            circuit.cause = error.cloned();
        }
    }
}

impl<E: Failure> Drop for Running<'_, E> {
    fn drop(&mut self) {
        // Has no effect after `end`.
        self.note(End::Abandoned, None);
    }
}
