//! The driver for the runtime of tokio.

use crate::common::{MemoryRecords, NOW, definition, finished, keys, open, stale};
use crate::halts::Failing;
use envelock_ops::{Checkpoint, Definition, FailureLimit, Shard, Start, Store, drivers};
use std::sync::Arc;

#[test]
fn tokio_driver_does_what_the_threads_do() {
    let (keyring, store) = stale(30);
    let store = Arc::new(store);
    let keys = Arc::new(Failing(keys(&keyring), |item| item.to_string() == "item-007"));
    let limit = FailureLimit { millionths: 500_000, confidence_thousandths: 950 };
    let definition = Definition { failure_limit: limit, ..definition() };
    let mut records = MemoryRecords::default();
    let start = Start::new(NOW, store.properties());
    let mut job = open(&definition, Shard::WHOLE, &records, &start, &*keys).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut control = ();
    let run = drivers::run_async(&mut job, store.clone(), keys, &mut records, &mut control);
    let report = finished(runtime.block_on(run));
    // One fails, and one panics twice.
    assert_eq!((report.tally.changed, report.tally.failed), (28, 2));
    assert!(Checkpoint::read(&records.checkpoint.unwrap()).unwrap().is_finished());
}
