//! One data key for several messages, within bounds, for the threads of a process (feature `std`).

use super::keys::{BatchKind, FailedWrap, FirstWrap, Found, ReusableKey, ReuseKeys, WrittenSlots};
use crate::body::ForkGuard;
use crate::format::SlotFault;
use crate::keyring::{Clock, Keyring, KeyringError, is_young, monotonic_clock};
use crate::sync::{Monitor, RwLock};
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use core::time::Duration;

/// Encrypts several messages under one data key, for a keyring whose wraps are expensive.
///
/// A batch is the messages of one data key and one suite, of envelopes that all verify their wraps
/// (`Envelope::with_wraps_verified`) or none of which does. It ends with its last message, its last
/// byte of plaintext or its age, whichever bound comes first. One value may be shared by several
/// envelopes over the same keyring.
///
/// ```
/// # fn main() -> Result<(), envelock::Error> {
/// use envelock::{Aad, DataKeyReuse, Envelope, MemoryKeyring};
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// let slow = MemoryKeyring::create("orders")?; // or a key management service
/// let reuse = Arc::new(DataKeyReuse::new(100, 1 << 20, Duration::from_secs(60)));
/// let envelope = Envelope::new(slow).with_data_key_reuse(reuse.clone());
/// for _ in 0..250 {
///     envelope.encrypt(b"hello", Aad::none())?;
/// }
/// assert_eq!(reuse.stats().wraps, 3);
/// # Ok(())
/// # }
/// ```
///
/// # Contract
///
/// - **A batch costs one wrap.** Its slots are kept with its data key; a further message calls
///   neither `wrap` nor a backend. Threads that need a key at once wait for one wrap, and share its
///   error. If that thread panics, or what is its own fails (its generator, the room in its buffer),
///   the next one wraps.
/// - **The state is asked before each further message**: the keyring must name the same labels as
///   its primaries and call each of them [`Freshness::Primary`](crate::keyring::Freshness::Primary). A
///   rotation, a disable, a compromise or another selected key ends the batch at once. If the
///   keyring fails, the message gets a data key of its own.
/// - **The bounds are exact**, also over many threads. A message longer than what is left of
///   the bytes gets a fresh key, and the batch goes on with whichever of the two has more left.
/// - The keyring counts one wrap for each batch; the bytes of its further messages are counted with
///   the next wrap under the same labels.
/// - In a child of `fork` every batch of the parent has ended.
///
/// Streams have a data key of their own: their length is not known before.
///
/// # Security
///
/// Bodies stay apart: each has a salt, and so a key, of its own. A batch shares its data key and
/// the data key id in its headers: the holder of the data key of one message reads all, and the id
/// shows that they belong together. Bodies of one batch with equal associated data can be exchanged,
/// so associated data must name the record.
///
/// The data key stays in memory until its batch ends, or until the next call after its age, since
/// nothing here runs on a timer. [`purge`](Self::purge) wipes it now, and so does dropping the value.
pub struct DataKeyReuse {
    messages: u64,
    bytes: u64,
    age: Duration,
    clock: Clock,
    table: RwLock<Table>,
    waits: AtomicUsize,
}

/// Counts of a [`DataKeyReuse`] since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReuseStats {
    /// Batches that were begun, each with one wrap.
    pub wraps: u64,
    /// Messages encrypted under a data key that was wrapped for another one.
    pub reused: u64,
    /// Messages that waited for the wrap of another one.
    pub waits: u64,
}

struct Table {
    /// The process whose batches these are.
    fork_guard: ForkGuard,
    open: Vec<Open>,
    /// Bytes of further messages that no wrap has counted yet, and the slots they are under.
    uncounted: Option<Uncounted>,
    stats: ReuseStats,
}

type Uncounted = (Arc<WrittenSlots>, u64);

/// The batch that takes the next messages of its kind, and what is left of its bounds.
struct Open {
    kind: BatchKind,
    batch: Arc<Batch>,
    messages_left: u64,
    bytes_left: u64,
}

/// One data key, wrapped or about to be. Its last user drops it.
struct Batch {
    /// When its wrap was begun.
    born: Duration,
    key: Monitor<BatchKey>,
}

enum BatchKey {
    BeingWrapped,
    Wrapped(Arc<ReusableKey>),
    Failed(FailedWrap),
    Ended,
}

/// The role of a message in a batch.
enum Role {
    Alone,
    First(Arc<Batch>, Option<Uncounted>),
    Further(Arc<Batch>),
}

impl DataKeyReuse {
    /// One data key for `messages` messages of `bytes` bytes of plaintext in all, within less than
    /// `age` of its wrap. 0 or 1 messages are no reuse.
    pub fn new(messages: u64, bytes: u64, age: Duration) -> Self {
        DataKeyReuse {
            messages,
            bytes,
            age,
            clock: monotonic_clock(),
            table: RwLock::new(Table::new()),
            waits: AtomicUsize::new(0),
        }
    }

    /// Measures ages by `clock`, which returns the time since a fixed moment, instead of the system's
    /// monotonic clock. For tests and simulations: it runs under a lock and must not call this value.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        self.clock = Box::new(clock);
        self
    }

    /// Ends every batch, which wipes its data key as soon as no message under way uses it.
    pub fn purge(&self) {
        let ended = core::mem::take(&mut self.table.write().open);
        ended.iter().for_each(|open| open.batch.end());
    }

    /// Returns the counts since this value was made. Wipes the keys of batches past their age.
    pub fn stats(&self) -> ReuseStats {
        let mut table = self.table.write();
        table.sweep((self.clock)(), self.age);
        ReuseStats { waits: self.waits.load(Relaxed) as u64, ..table.stats }
    }

    /// Takes one message out of the bounds of the open batch, or begins another.
    fn admit(&self, kind: BatchKind, plaintext_len: u64) -> Role {
        let mut table = self.table.write();
        // Under the lock: no batch is born after the time that another message goes by.
        let now = (self.clock)();
        table.sweep(now, self.age);
        if let Some(at) = table.open.iter().position(|open| open.kind == kind)
            && let Some(batch) = table.take(at, plaintext_len)
        {
            return Role::Further(batch);
        }
        let left = (self.messages.checked_sub(1), self.bytes.checked_sub(plaintext_len));
        let (Some(messages_left @ 1..), Some(bytes_left)) = left else { return Role::Alone };
        if self.age.is_zero() {
            return Role::Alone;
        }
        let batch = Arc::new(Batch { born: now, key: Monitor::new(BatchKey::BeingWrapped) });
        let new = Open { kind, batch: batch.clone(), messages_left, bytes_left };
        match table.open.iter_mut().find(|open| open.kind == kind) {
            Some(old) if old.bytes_left >= bytes_left => return Role::Alone,
            Some(old) => *old = new,
            None => table.open.push(new),
        }
        // Saturates: a statistic.
        table.stats.wraps = table.stats.wraps.saturating_add(1);
        Role::First(batch, table.uncounted.take())
    }

    /// Ends a batch for all messages that have not got its key yet.
    fn end(&self, batch: &Arc<Batch>) {
        self.close(batch);
        batch.end();
    }

    /// Lets no further message into the batch.
    fn close(&self, batch: &Arc<Batch>) {
        self.table.write().open.retain(|open| !Arc::ptr_eq(&open.batch, batch));
    }

    fn first(
        &self,
        batch: Arc<Batch>,
        uncounted: Option<Uncounted>,
        keyring: &dyn Keyring,
    ) -> Found<'_> {
        // From here on a panic lets the others go.
        let mut first = First { reuse: self, batch, uncounted };
        // No wrap counts bytes that are under another version by now.
        first.uncounted.take_if(|(slots, _)| !slots.is_current(keyring).unwrap_or(false));
        Found::First(Box::new(first))
    }

    fn count(&self, slots: &Arc<WrittenSlots>, plaintext_len: u64) {
        let mut table = self.table.write();
        // Saturates: a statistic.
        table.stats.reused = table.stats.reused.saturating_add(1);
        table.add_uncounted((slots.clone(), plaintext_len));
    }
}

impl ReuseKeys for DataKeyReuse {
    fn find(
        &self,
        kind: BatchKind,
        plaintext_len: u64,
        keyring: &dyn Keyring,
    ) -> Result<Found<'_>, FailedWrap> {
        let mut has_ended = false;
        loop {
            let batch = match self.admit(kind, plaintext_len) {
                Role::Alone => return Ok(Found::Alone),
                Role::First(batch, uncounted) => return Ok(self.first(batch, uncounted, keyring)),
                Role::Further(batch) => batch,
            };
            let Some(key) = batch.wait(&self.waits)? else { continue };
            // After the wait, which may have been long.
            match key.slots().is_current(keyring) {
                Ok(true) if is_young(batch.born, (self.clock)(), self.age) => {
                    self.count(key.slots(), plaintext_len);
                    return Ok(Found::Wrapped(key));
                }
                Ok(_) => self.end(&batch),
                // The wrap of a fresh key returns the error.
                Err(_) => return Ok(Found::Alone),
            }
            // Where it ends each time, no message waits for another one again and again.
            if has_ended {
                return Ok(Found::Alone);
            }
            has_ended = true;
        }
    }
}

impl Table {
    fn new() -> Self {
        let (open, uncounted, stats) = Default::default();
        Table { fork_guard: ForkGuard::new(), open, uncounted, stats }
    }

    /// Drops what is too old, and what a child of `fork` has from its parent: no thread of the child
    /// ends a wrap that is under way there.
    fn sweep(&mut self, now: Duration, age: Duration) {
        if self.fork_guard.check().is_err() {
            *self = Table { stats: self.stats, ..Table::new() };
        }
        self.open.retain(|open| is_young(open.batch.born, now, age));
    }

    /// Takes one message out of the bounds of a batch, if it fits. The last one closes it.
    fn take(&mut self, at: usize, plaintext_len: u64) -> Option<Arc<Batch>> {
        let open = self.open.get_mut(at)?;
        let messages_left = open.messages_left.checked_sub(1)?;
        open.bytes_left = open.bytes_left.checked_sub(plaintext_len)?;
        open.messages_left = messages_left;
        let batch = open.batch.clone();
        if messages_left == 0 {
            self.open.swap_remove(at);
        }
        Some(batch)
    }

    fn add_uncounted(&mut self, (slots, bytes): Uncounted) {
        let earlier = match &self.uncounted {
            Some((known, earlier)) if known.has_labels_of(&slots) => *earlier,
            _ => 0,
        };
        // Saturates: a statistic.
        self.uncounted = Some((slots, earlier.saturating_add(bytes)));
    }
}

impl Batch {
    /// The key once it is wrapped, or `None` if the batch has ended before.
    fn wait(&self, waits: &AtomicUsize) -> Result<Option<Arc<ReusableKey>>, FailedWrap> {
        let mut key = self.key.lock();
        if matches!(*key, BatchKey::BeingWrapped) {
            waits.fetch_add(1, Relaxed);
        }
        loop {
            match &*key {
                BatchKey::BeingWrapped => key = self.key.wait(key),
                BatchKey::Wrapped(wrapped) => return Ok(Some(wrapped.clone())),
                BatchKey::Failed(failed) => return Err(failed.clone()),
                BatchKey::Ended => return Ok(None),
            }
        }
    }

    /// Changes `BeingWrapped`; what has ended stays so. Returns whether it was that.
    fn decide(&self, decided: BatchKey) -> bool {
        let mut key = self.key.lock();
        let is_open = matches!(*key, BatchKey::BeingWrapped);
        if is_open {
            *key = decided;
            drop(key);
            self.key.notify_all();
        }
        is_open
    }

    fn end(&self) {
        *self.key.lock() = BatchKey::Ended;
        self.key.notify_all();
    }
}

/// The message that begins a batch.
struct First<'r> {
    reuse: &'r DataKeyReuse,
    batch: Arc<Batch>,
    uncounted: Option<Uncounted>,
}

impl FirstWrap for First<'_> {
    fn uncounted(&self) -> u64 {
        self.uncounted.as_ref().map_or(0, |(_, bytes)| *bytes)
    }

    fn end(mut self: Box<Self>, wrapped: Result<Arc<ReusableKey>, FailedWrap>) {
        match wrapped {
            Ok(key) => {
                self.uncounted = None;
                self.batch.decide(BatchKey::Wrapped(key));
            }
            // Its own generator, its own buffer: others may do better. See `drop`.
            Err(FailedWrap {
                error: KeyringError::Randomness(_) | KeyringError::Slot(SlotFault::Room { .. }),
                ..
            }) => {}
            Err(failed) => {
                self.reuse.close(&self.batch);
                self.batch.decide(BatchKey::Failed(failed));
            }
        }
    }
}

impl Drop for First<'_> {
    fn drop(&mut self) {
        if let Some(uncounted) = self.uncounted.take() {
            self.reuse.table.write().add_uncounted(uncounted);
        }
        if matches!(*self.batch.key.lock(), BatchKey::BeingWrapped) {
            self.reuse.close(&self.batch);
            self.batch.decide(BatchKey::Ended);
        }
    }
}

impl fmt::Debug for DataKeyReuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DataKeyReuse")
            .field("messages", &self.messages)
            .field("bytes", &self.bytes)
            .field("age", &self.age)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
