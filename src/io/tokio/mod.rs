//! The writer and the reader over the traits of tokio: they hold no runtime, and work in pieces.

mod decrypt_reader;
mod encrypt_writer;
mod envelope;

pub use decrypt_reader::AsyncDecryptReader;
pub use encrypt_writer::AsyncEncryptWriter;

use super::error::Latch;
use crate::body::layout::CHUNK_LEN;
use core::task::{Context, Poll};
use std::io;

/// Chunks that one poll turns: work of some 30 to 60 microseconds.
const CHUNKS: usize = 4;

/// Bytes that go through before others have their turn, however ready both sides are.
const TURN_LEN: usize = 2 * CHUNKS * CHUNK_LEN;

/// What both directions keep between polls: the failure there was, and whose turn it is.
#[derive(Default)]
struct Pace {
    latch: Latch,
    /// Bytes that went through since others last had a turn.
    done: usize,
}

impl Pace {
    /// The failure there was.
    fn check(&self) -> io::Result<()> {
        self.latch.check()
    }

    /// Ready if there may be more work; else others run first, and this task is woken at once.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.done < TURN_LEN {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn worked(&mut self, len: usize) {
        // Saturates: a pause is due long before.
        self.done = self.done.saturating_add(len);
    }

    /// Keeps what a poll answered.
    fn keep<T>(&mut self, answer: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match answer {
            Poll::Ready(answer) => Poll::Ready(self.latch.keep(answer)),
            Poll::Pending => {
                self.done = 0;
                Poll::Pending
            }
        }
    }
}

/// Polls again until no signal interrupts.
fn uninterrupted<T>(mut poll: impl FnMut() -> Poll<io::Result<T>>) -> Poll<io::Result<T>> {
    loop {
        match poll() {
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            answer => return answer,
        }
    }
}
