//! Where threads meet, so that one does in the middle of another what an unsound keyring allows.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::{self, ThreadId};

pub struct Meeting {
    /// The thread of the test, which meets no other.
    check: ThreadId,
    arrived: AtomicUsize,
}

impl Meeting {
    /// Created by the thread of the test.
    pub fn new() -> Self {
        Meeting { check: thread::current().id(), arrived: AtomicUsize::new(0) }
    }

    /// Waits, in any thread but that of the suite, until two threads are here: the suite starts several
    /// that do the same.
    pub fn wait(&self) {
        if thread::current().id() == self.check {
            return;
        }
        self.arrived.fetch_add(1, Relaxed);
        while self.arrived.load(Relaxed) < 2 {
            thread::yield_now();
        }
    }
}
