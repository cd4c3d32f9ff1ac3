//! One poll of an asynchronous source or sink, as `Read` and `Write`.

use core::pin::Pin;
use core::task::{Context, Poll};
use std::io::{self, Read, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A source or sink within one poll: where it is pending, calls return `WouldBlock`.
pub(super) struct PollIo<'p, 'c, T> {
    inner: &'p mut T,
    cx: &'p mut Context<'c>,
    is_pending: bool,
}

impl<T: Unpin> PollIo<'_, '_, T> {
    /// Runs `step` over `inner`; pending if `inner` was.
    pub(super) fn poll<U>(
        inner: &mut T,
        cx: &mut Context<'_>,
        step: impl FnOnce(&mut PollIo<'_, '_, T>) -> io::Result<U>,
    ) -> Poll<io::Result<U>> {
        let mut io = PollIo { inner, cx, is_pending: false };
        match step(&mut io) {
            // `inner` itself may return this error, and then nothing would wake the task.
            Err(error) if io.is_pending && error.kind() == io::ErrorKind::WouldBlock => {
                Poll::Pending
            }
            result => Poll::Ready(result),
        }
    }

    fn call<U>(
        &mut self,
        poll: impl FnOnce(Pin<&mut T>, &mut Context<'_>) -> Poll<io::Result<U>>,
    ) -> io::Result<U> {
        match poll(Pin::new(self.inner), self.cx) {
            Poll::Ready(result) => result,
            Poll::Pending => {
                self.is_pending = true;
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
    }
}

impl<R: AsyncRead + Unpin> Read for PollIo<'_, '_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = out.len();
        let mut room = ReadBuf::new(out);
        self.call(|source, cx| source.poll_read(cx, &mut room))?;
        // A source may put another buffer in the place of `room`.
        Ok(room.filled().len().min(most))
    }
}

impl<W: AsyncWrite + Unpin> Write for PollIo<'_, '_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.call(|sink, cx| sink.poll_write(cx, bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.call(|sink, cx| sink.poll_flush(cx))
    }
}

impl<W: AsyncWrite + Unpin> PollIo<'_, '_, W> {
    pub(super) fn shutdown(&mut self) -> io::Result<()> {
        self.call(|sink, cx| sink.poll_shutdown(cx))
    }
}
