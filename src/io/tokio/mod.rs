//! The writer and the reader over the traits of tokio, without a runtime.

mod decrypt_reader;
mod encrypt_writer;
mod poll_io;

pub use decrypt_reader::AsyncDecryptReader;
pub use encrypt_writer::AsyncEncryptWriter;

use super::batch::CHUNKS;
use crate::format::layout::CHUNK_LEN;
use core::task::{Context, Poll};
use std::io;

/// Bytes that one poll transforms: 30 to 60 microseconds of work.
const POLL_LEN: usize = CHUNKS * CHUNK_LEN;

/// Bytes after which a poll yields to other tasks, however ready both sides are.
const BUDGET_LEN: usize = 2 * POLL_LEN;

/// The cooperative budget of a reader or writer: a task that is always ready yields in between.
#[derive(Default)]
struct CoopBudget {
    /// Bytes since the task last yielded.
    spent: usize,
}

impl CoopBudget {
    /// Runs `step` unless the budget is spent, in which case the task is woken at once.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        step: impl FnOnce(&mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let polled = if self.spent < BUDGET_LEN {
            step(cx)
        } else {
            cx.waker().wake_by_ref();
            Poll::Pending
        };
        match &polled {
            Poll::Ready(Ok(len)) => self.spent += len,
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.spent = 0,
        }
        polled
    }
}
