//! A thread that runs a runtime, whose futures other threads poll.

use std::future::Future;
use std::io;
use std::panic::resume_unwind;
use std::sync::mpsc;
use std::thread::{self, ThreadId};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Runs the timers, sockets and tasks of a runtime until it is dropped.
pub(crate) struct RuntimeThread {
    handle: Handle,
    id: ThreadId,
    /// Its drop ends the thread.
    _stop: oneshot::Sender<()>,
}

/// Why a [`SyncKeyring`](crate::SyncKeyring) did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError<E> {
    /// The system did not give a thread or what a runtime needs.
    #[error("runtime of the synchronous keyring did not start")]
    Thread(#[source] io::Error),
    /// The keyring was not built.
    #[error(transparent)]
    Build(E),
}

impl RuntimeThread {
    /// Starts the thread and awaits `build` on it.
    pub(crate) fn start<K, F, E>(
        build: impl FnOnce() -> F + Send + 'static,
    ) -> Result<(Self, K), StartError<E>>
    where
        F: Future<Output = Result<K, E>>,
        K: Send + 'static,
        E: Send + 'static,
    {
        let (stop, stopped) = oneshot::channel::<()>();
        let (started, start) = mpsc::channel();
        let run = move || {
            let runtime = match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(StartError::Thread(error)))),
            };
            let built = runtime.block_on(async { build().await });
            let is_built = built.is_ok();
            // A caller that has gone does not receive it.
            let _ = started.send(match built {
                Ok(keyring) => Ok((runtime.handle().clone(), keyring)),
                Err(error) => Err(StartError::Build(error)),
            });
            drop(started);
            if is_built {
                let _ = runtime.block_on(stopped);
            }
            // Blocking work of the client may hang, and nobody waits for it.
            runtime.shutdown_background();
        };
        let name = "envelock-runtime".to_owned();
        let thread = thread::Builder::new().name(name).spawn(run).map_err(StartError::Thread)?;
        match start.recv() {
            Ok(started) => {
                let (handle, keyring) = started?;
                Ok((RuntimeThread { handle, id: thread.thread().id(), _stop: stop }, keyring))
            }
            Err(mpsc::RecvError) => match thread.join() {
                Err(panic) => resume_unwind(panic),
                #[expect(clippy::unreachable, reason = "the thread sends before it ends")]
                Ok(()) => unreachable!("a runtime thread that ended before its start"),
            },
        }
    }

    /// Polls `future` by this thread until its end. Returns `None` on the runtime's own thread, whose timers
    /// and sockets would wait for the future, and it for them.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> Option<F::Output> {
        if thread::current().id() == self.id {
            return None;
        }
        let _inside = self.handle.enter();
        // Inside a task, timers and sockets yield when the budget of the task is used up. It is never renewed
        // here, and so the future would be polled for ever.
        Some(pollster::block_on(tokio::task::unconstrained(future)))
    }
}
