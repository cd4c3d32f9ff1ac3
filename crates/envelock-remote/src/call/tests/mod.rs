//! Gates, operations and batches on a paused clock.

mod batches;
mod gates;
mod operations;

use super::{CallOptions, Failure, Next};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A failure of the services of these tests.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("denied")]
    Denied,
    #[error("throttled")]
    Throttled(Option<Duration>),
    #[error("unavailable")]
    Unavailable,
    #[error("no response within {0:?}")]
    NoResponse(Duration),
    #[error("{1} responses to {0} items")]
    Count(usize, usize),
}

impl Failure for Fault {
    fn next(&self) -> Next {
        match self {
            Fault::Denied | Fault::Count(..) => Next::Final,
            Fault::Throttled(retry_after) => Next::Throttled { retry_after: *retry_after },
            Fault::Unavailable | Fault::NoResponse(_) => Next::Unavailable,
        }
    }

    fn no_response(after: Duration) -> Self {
        Fault::NoResponse(after)
    }

    fn wrong_count(items: usize, responses: usize) -> Self {
        Fault::Count(items, responses)
    }
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Waits that are half of their bounds.
fn options() -> CallOptions {
    CallOptions::default().jitter(|| 1 << 63)
}

/// Counts calls, and those that run.
#[derive(Default)]
struct Counts {
    started: AtomicUsize,
    running: AtomicUsize,
    most: AtomicUsize,
}

struct Running<'c>(&'c Counts);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Counts {
    async fn call(&self, latency: Duration) -> Result<(), Fault> {
        self.started.fetch_add(1, Ordering::Relaxed);
        let running = self.running.fetch_add(1, Ordering::Relaxed) + 1;
        let _running = Running(self);
        self.most.fetch_max(running, Ordering::Relaxed);
        sleep(latency).await;
        Ok(())
    }

    fn started(&self) -> usize {
        self.started.load(Ordering::Relaxed)
    }
}

fn since(start: Instant) -> Duration {
    start.elapsed()
}
