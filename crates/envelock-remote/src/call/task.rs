//! A future as a task of its own.

use std::future::{Future, pending};
use std::panic::resume_unwind;
use tokio::task::JoinHandle;

/// Runs `future` as a task, so that it goes on while nobody polls this one. It is aborted when this one is dropped, and
/// its panic goes on here.
pub(crate) async fn as_task<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> T {
    let mut task = Aborted(tokio::spawn(future));
    match (&mut task.0).await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // Its runtime is shut down, and with it whoever awaits this.
            Err(_) => pending().await,
        },
    }
}

struct Aborted<T>(JoinHandle<T>);

impl<T> Drop for Aborted<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
