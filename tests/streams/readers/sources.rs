//! Sources that count how often they are asked, and give in pieces.

use envelock::stream::ReadAt;
use std::cell::RefCell;
use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes in pieces of a given length, each after an interruption. Panics if it is asked more often
/// than it takes to get all of it: a reader that asks permanently hangs on a socket (THREATS 24).
pub struct Pieces<'b> {
    rest: &'b [u8],
    most: usize,
    calls_left: usize,
    interrupt: bool,
}

impl<'b> Pieces<'b> {
    pub fn new(bytes: &'b [u8], most: usize) -> Self {
        // Each piece may need a call that is interrupted; the end may be met a few times; and
        // short buffers of the reader cut pieces in two.
        let calls_left = 2 * bytes.len().div_ceil(most) + 2 * bytes.len().div_ceil(4096) + 12;
        Pieces { rest: bytes, most, calls_left, interrupt: most % 2 == 1 }
    }
}

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.calls_left.checked_sub(1);
        self.calls_left = left.expect("a source was asked more often than it has bytes");
        if self.most % 2 == 1 {
            self.interrupt = !self.interrupt;
            if !self.interrupt {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
        let len = self.most.min(out.len()).min(self.rest.len());
        let (piece, rest) = self.rest.split_at(len);
        out[..len].copy_from_slice(piece);
        self.rest = rest;
        Ok(len)
    }
}

/// Bytes that can be read anywhere, and a note of what was read.
pub struct Counting<'b> {
    bytes: &'b [u8],
    /// The length that it reports.
    pub claimed: u64,
    /// Gives at most this at a time.
    most: usize,
    calls_left: AtomicUsize,
    pub read: Mutex<Vec<(u64, usize)>>,
}

impl<'b> Counting<'b> {
    pub fn new(bytes: &'b [u8]) -> Self {
        Counting::in_pieces(bytes, usize::MAX)
    }

    pub fn in_pieces(bytes: &'b [u8], most: usize) -> Self {
        let calls_left = AtomicUsize::new(usize::MAX);
        let (claimed, read) = (bytes.len() as u64, Mutex::new(Vec::new()));
        Counting { bytes, claimed, most, calls_left, read }
    }

    pub fn limit_calls(self, calls: usize) -> Self {
        self.calls_left.store(calls, Ordering::Relaxed);
        self
    }

    pub fn claiming(self, claimed: u64) -> Self {
        Counting { claimed, ..self }
    }

    pub fn take_read(&self) -> Vec<(u64, usize)> {
        std::mem::take(&mut self.read.lock().unwrap())
    }
}

impl ReadAt for Counting<'_> {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = self.calls_left.load(Ordering::Relaxed).checked_sub(1);
        self.calls_left.store(left.expect("asked too often"), Ordering::Relaxed);
        let most = out.len().min(self.most);
        let len = self.bytes.read_at(&mut out[..most], offset)?;
        self.read.lock().unwrap().push((offset, len));
        Ok(len)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.claimed)
    }
}

/// A step of a script: what one call of a source or sink does.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// As much as there is, at most so many bytes.
    Give(usize),
    /// Not now.
    Fail(io::ErrorKind),
    /// For good.
    Os(i32),
}

/// A source and a sink that do what a script says, over and over.
pub struct Scripted {
    pub bytes: Vec<u8>,
    pub position: usize,
    script: Vec<Step>,
    pub calls: usize,
    log: RefCell<Vec<usize>>,
}

impl Scripted {
    pub fn source(bytes: &[u8], script: Vec<Step>) -> Self {
        let log = RefCell::default();
        Scripted { bytes: bytes.to_vec(), position: 0, script, calls: 0, log }
    }

    pub fn sink(script: Vec<Step>) -> Self {
        Scripted::source(&[], script)
    }

    fn step(&mut self) -> io::Result<usize> {
        let step = self.script.get(self.calls % self.script.len().max(1)).copied();
        self.calls += 1;
        self.log.borrow_mut().push(self.position);
        match step {
            None => Ok(usize::MAX),
            Some(Step::Give(most)) => Ok(most),
            Some(Step::Fail(kind)) => Err(kind.into()),
            Some(Step::Os(code)) => Err(io::Error::from_raw_os_error(code)),
        }
    }
}

impl Read for Scripted {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let most = self.step()?;
        let rest = &self.bytes[self.position..];
        let len = most.min(out.len()).min(rest.len());
        out[..len].copy_from_slice(&rest[..len]);
        self.position += len;
        Ok(len)
    }
}

impl io::Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.step()?.min(bytes.len());
        self.bytes.extend_from_slice(&bytes[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.step().map(drop)
    }
}
