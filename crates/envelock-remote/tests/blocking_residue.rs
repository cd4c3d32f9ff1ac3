//! Tests that no data key outlives a call on a blocking thread: every block of the heap is searched when it is freed
//! (THREATS 47).

#![allow(dead_code, reason = "the spy is shared with other tests")]

#[path = "../../../tests/residue/spy.rs"]
mod spy;

use envelock::conformance::{TestMessage, TestRng};
use envelock::format::Slot;
use envelock::keyring::{
    AsyncKeyring, KeyringError, KeyringRng, PrimaryKey, PushedSlots, SlotWriter, WrapContext,
};
use envelock::{DataKey, Keyring, MemoryKeyring, Suite};
use envelock_remote::Blocking;
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::{Mutex, mpsc};
use std::time::Duration;
use tokio::runtime::Builder;

/// A keyring whose calls report that they have the data key, wait for the test, and panic if it ends the wait.
struct Held {
    keys: MemoryKeyring,
    has_key: mpsc::Sender<()>,
    go_on: Mutex<mpsc::Receiver<bool>>,
}

impl Held {
    fn wait(&self) {
        self.has_key.send(()).expect("a test");
        let goes_on = self.go_on.lock().expect("one call").recv_timeout(TIMEOUT);
        assert!(goes_on.expect("a test"), "the test wants a panic");
    }
}

const TIMEOUT: Duration = Duration::from_secs(20);

impl Keyring for Held {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.keys.visit_primaries(visit)
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.wait();
        self.keys.wrap(data_key, context, slots, rng)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        let result = self.keys.unwrap(slot, context, data_key);
        self.wait();
        result
    }
}

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Awaited,
    DroppedWhileItRuns,
    DroppedBeforeItRuns,
    Panic,
}

/// Polls `call` once, and then ends it.
async fn end_call(
    end: End,
    call: impl Future<Output = Result<(), KeyringError>>,
    (started, go_on): (mpsc::Receiver<()>, mpsc::Sender<bool>),
) {
    let mut call = Box::pin(call);
    let (free, busy) = mpsc::channel::<()>();
    if end == End::DroppedBeforeItRuns {
        tokio::task::spawn_blocking(move || busy.recv());
    }
    assert!(call.as_mut().now_or_never().is_none());
    if end == End::DroppedBeforeItRuns {
        drop(call);
        return free.send(()).unwrap();
    }
    started.recv_timeout(TIMEOUT).unwrap();
    match end {
        End::Panic => {
            go_on.send(false).unwrap();
            assert!(AssertUnwindSafe(call).catch_unwind().await.is_err());
        }
        End::Awaited => {
            go_on.send(true).unwrap();
            call.await.unwrap();
        }
        _ => {
            drop(call);
            go_on.send(true).unwrap();
        }
    }
}

/// Wraps or unwraps a data key that is searched for, and checks every block that was freed until the end of the thread.
fn check(unwraps: bool, end: End) {
    let keys = MemoryKeyring::create("orders").unwrap();
    let mut rng = TestRng::seeded(2 * end as u64 + u64::from(unwraps));
    let message = TestMessage::new(Suite::default(), &mut rng);
    for piece in message.data_key().expose().chunks_exact(8) {
        spy::register(u64::from_le_bytes(piece.try_into().unwrap()));
    }
    let slot = message.wrap(&keys, &mut rng).1.remove(0);
    let (has_key, started) = mpsc::channel();
    let (go_on, held) = mpsc::channel();
    let blocking = Blocking::new(Held { keys, has_key, go_on: Mutex::new(held) });
    let runtime = Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
    let (test, context) = ((started, go_on), message.context());
    if unwraps {
        let (slot, mut data_key) = (slot.slot(), DataKey::empty());
        let call = blocking.unwrap(&slot, &context, &mut data_key);
        runtime.block_on(end_call(end, call, test));
        assert_eq!(message.is_data_key(&data_key), end == End::Awaited);
    } else {
        let pushed = PushedSlots::of(context.suite(), |slots| {
            let call = blocking.wrap(message.data_key(), &context, slots, &mut rng);
            runtime.block_on(end_call(end, call, test));
            Ok(())
        });
        drop(pushed);
    }
    // Waits for the thread.
    drop(runtime);
    let hits = spy::hits();
    assert_eq!(hits, [0_usize; 0], "{end:?}, unwrap {unwraps}: sizes of freed blocks with keys");
}

// One test alone: the spy sees the whole process.
#[test]
fn data_key_of_a_call_is_wiped_however_it_ends() {
    let ends = [End::Awaited, End::DroppedWhileItRuns, End::DroppedBeforeItRuns, End::Panic];
    for end in ends {
        check(false, end);
        check(true, end);
    }
    assert_eq!(spy::registered(), 2 * ends.len() * Suite::default().data_key_len() / 8);
}
