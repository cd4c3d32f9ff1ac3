//! The options of a keyring on blocking threads.

use super::answers::Answers;
use super::threads::Threads;
use super::{Blocking, Inner};
use envelock::Keyring;
use std::fmt;
use std::sync::Arc;

/// The options of a [`Blocking`].
///
/// | option | default |
/// |---|---|
/// | [`max_in_flight`](Self::max_in_flight) | 16 calls, as many as a token's sessions by default |
/// | [`also_loads`](Self::also_loads) | no other name |
#[must_use = "`build` makes the keyring"]
pub struct BlockingBuilder<K> {
    keyring: K,
    max_in_flight: usize,
    names: Vec<Box<str>>,
}

impl<K: Keyring + 'static> BlockingBuilder<K> {
    pub(super) fn new(keyring: K) -> Self {
        BlockingBuilder { keyring, max_in_flight: 16, names: Vec::new() }
    }

    /// Sets how many calls run at once, each on a thread. Others wait, in the order in which they came. The runtime keeps
    /// threads that made calls for some seconds, and so can have more.
    ///
    /// A token serves as many calls as it has sessions. A key file is in memory, and has no use for more threads than
    /// the machine has processors.
    ///
    /// # Panics
    ///
    /// Panics if `calls` is zero.
    pub fn max_in_flight(mut self, calls: usize) -> Self {
        assert!(calls > 0, "calls in flight are at least 1");
        self.max_in_flight = calls;
        self
    }

    /// Loads which key `name` stands for, too: an alias that an operation names
    /// ([`RewrapOptions::retiring`](envelock::RewrapOptions::retiring)). The names of the primaries and of the slots
    /// of a message are always loaded.
    pub fn also_loads(mut self, name: &str) -> Self {
        self.names.push(name.into());
        self
    }

    /// Returns the keyring. Makes no call.
    pub fn build(self) -> Blocking<K> {
        Blocking(Arc::new(Inner {
            keyring: self.keyring,
            names: self.names.into(),
            threads: Arc::new(Threads::new(self.max_in_flight)),
            answers: Answers::default(),
        }))
    }
}

impl<K> fmt::Debug for BlockingBuilder<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingBuilder")
            .field("max_in_flight", &self.max_in_flight)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}
