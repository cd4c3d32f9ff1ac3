//! Calls from eight threads at once.

use super::Rule;
use super::probe::{Expected, Probe};
use super::races::together;
use crate::format::Suite;
use crate::keyring::Keyring;
use std::format;
use std::panic::{AssertUnwindSafe, catch_unwind};

const ROUNDS: u64 = 40;

/// Each thread wraps and unwraps data keys of its own, and unwraps one that all share.
pub(super) fn test<K: Keyring>(keyring: &K) {
    let shared = Probe::new(keyring, Suite::ALL[0], 1_000).wrap();
    let run = || together(|thread| work(keyring, thread, &shared));
    if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
        let text = panic.downcast_ref::<std::string::String>();
        let text = text.map_or("a panic in the keyring", |text| text);
        Rule::Threads.broken(format!("one of eight threads failed: {text}"));
    }
}

fn work<K: Keyring>(keyring: &K, thread: u64, shared: &[crate::conformance::TestSlot]) {
    for (round, suite) in (0..ROUNDS).zip(Suite::ALL.iter().copied().cycle()) {
        let probe = Probe::new(keyring, suite, thread * ROUNDS + round);
        for slot in probe.wrap() {
            probe.expect(&slot, Expected::Opens, "a slot wrapped by this thread");
        }
        let probe = Probe::new(keyring, Suite::ALL[0], 1_000);
        for slot in shared {
            probe.expect(slot, Expected::Opens, "a slot that all threads unwrap");
        }
    }
}
