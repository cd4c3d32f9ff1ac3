//! An operation: attempts within a deadline.

use super::backoff::Backoff;
use super::breaker::Rejection;
use super::error::CallError;
use super::gate::{AttemptError, Gate};
use super::options::{CallOptions, Jitter};
use super::{Failure, Next, deadline, lock};
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout_at};

/// Runs operations on one service.
pub(crate) struct Operations<E> {
    gate: Arc<Gate<E>>,
    deadline: Duration,
    max_attempts: u32,
    backoff: Backoff,
    jitter: Mutex<Box<Jitter>>,
}

impl<E: Failure> Operations<E> {
    pub(crate) fn new(options: CallOptions) -> Self {
        Operations {
            gate: Arc::new(Gate::new(&options)),
            deadline: options.deadline,
            max_attempts: options.max_attempts,
            backoff: options.backoff,
            jitter: Mutex::new(options.jitter),
        }
    }

    /// Returns what every call goes through.
    pub(crate) fn gate(&self) -> &Arc<Gate<E>> {
        &self.gate
    }

    /// Returns the deadline of an operation that starts now.
    pub(crate) fn deadline(&self) -> Instant {
        deadline::of_operation(self.deadline)
    }

    /// Runs an operation each of whose attempts is one call, which `start` returns.
    pub(crate) async fn run_call<T, F>(&self, start: impl Fn() -> F) -> Result<T, CallError<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        self.run(async |deadline| self.gate.permit().await.call(deadline, &start).await).await
    }

    /// Runs an operation. `attempt` receives its deadline and makes at most one call.
    ///
    /// Attempts that find the circuit open wait for its end, and do not count.
    pub(crate) async fn run<T, F>(
        &self,
        mut attempt: impl FnMut(Instant) -> F,
    ) -> Result<T, CallError<E>>
    where
        F: Future<Output = Result<T, AttemptError<E>>>,
    {
        let deadline = self.deadline();
        if let Some((retry_in, source)) = self.gate.open_circuit() {
            return Err(CallError::CircuitOpen { retry_in, source });
        }
        let mut failed = Failed { attempts: 0, last: None };
        let mut waits = 0_u32;
        loop {
            // What is polled at the deadline may not start a call.
            if Instant::now() >= deadline {
                return Err(failed.at_deadline());
            }
            let asked = match timeout_at(deadline, attempt(deadline)).await {
                Ok(Ok(value)) => return Ok(value),
                Err(_) | Ok(Err(AttemptError::Deadline)) => return Err(failed.at_deadline()),
                Ok(Err(AttemptError::Rejected(Rejection { retry_in }))) => retry_in,
                Ok(Err(AttemptError::Failed(error))) => {
                    failed.attempts = failed.attempts.saturating_add(1);
                    let asked = match error.next() {
                        Next::Throttled { retry_after } => retry_after.unwrap_or_default(),
                        Next::Unavailable => Duration::ZERO,
                        Next::Final => return Err(failed.finally(error)),
                    };
                    if failed.attempts >= self.max_attempts {
                        return Err(failed.finally(error));
                    }
                    failed.last = Some(error);
                    asked
                }
            };
            waits = waits.saturating_add(1);
            let random = (lock(&self.jitter))();
            let wait = asked.saturating_add(self.backoff.wait(waits, random));
            let next = super::after(Instant::now(), wait);
            if next >= deadline {
                return Err(failed.at_deadline());
            }
            sleep_until(next).await;
        }
    }
}

/// The failed attempts of an operation.
struct Failed<E> {
    attempts: u32,
    last: Option<E>,
}

impl<E: Failure> Failed<E> {
    fn finally(self, source: E) -> CallError<E> {
        CallError::Failed { attempts: self.attempts, source }
    }

    fn at_deadline(self) -> CallError<E> {
        CallError::Deadline { attempts: self.attempts, source: self.last }
    }
}
