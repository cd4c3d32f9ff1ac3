//! New encryptions: which items are due, what is refused, and directory trees under kills.

use crate::common::{MemoryRecords, NOW, finished, forward_store, key, open, run_to_end};
use envelock::{Aad, Envelope, KeyVersion, Lifecycle, MemoryKeyring, MultiKeyring, Suite, inspect};
use envelock_ops::stores::{MemoryItem, MemoryStore, Selection};
use envelock_ops::{
    Cause, Definition, End, EnvelopeOperation, Expected, FailureLimit, ItemKey, Job, Properties,
    Replaced, Rewrite, Shard, Start, StartError, Store, StoreError, StoredHeader, Task, UndoIndex,
    VersionName,
};
use std::sync::Arc;

type Keyring = Arc<MemoryKeyring>;

fn item(message: &[u8], associated_data: Option<&[u8]>) -> MemoryItem {
    let (header, body) = message.split_at(inspect(message).unwrap().len());
    MemoryItem {
        header: header.to_vec(),
        body: Some(body.to_vec()),
        associated_data: associated_data.map(<[u8]>::to_vec),
    }
}

fn operation(keyring: &Keyring, task: &Task) -> EnvelopeOperation<Keyring> {
    EnvelopeOperation::new(Envelope::new(keyring.clone()), task.clone())
}

fn definition(task: &Task) -> Definition {
    let failure_limit = FailureLimit { millionths: 999_999, confidence_thousandths: 999 };
    Definition { failure_limit, ..Definition::new("memory", task.clone()) }
}

fn plaintext(keyring: &Keyring, item: &MemoryItem, aad: &[u8]) -> Vec<u8> {
    let opened = Envelope::new(keyring).open(&item.header).unwrap();
    opened.decrypt(item.body.as_ref().unwrap(), Aad::new(aad)).unwrap()
}

#[test]
fn associated_data_comes_from_the_store_or_from_the_caller() {
    let keyring = Arc::new(MemoryKeyring::create("orders").unwrap());
    let envelope = Envelope::new(&keyring);
    let store = MemoryStore::new();
    let row = |number: u64| format!("row {number}").into_bytes();
    for number in 0..4 {
        let message = envelope.encrypt(b"payload", Aad::new(&row(number))).unwrap();
        let stored = row(number);
        store.insert_item(key(number), item(&message, (number < 2).then_some(&stored[..])));
    }
    let task = Task::reencrypt(Cause::DataKeyLeaked);
    let mut records = MemoryRecords::default();
    let keys = operation(&keyring, &task);
    let report = finished(run_to_end(&definition(&task), &store, &keys, &mut records));
    assert_eq!((report.tally.changed, report.tally.failed), (2, 2), "{}", report.tally);
    let lines = String::from_utf8(records.failures.clone()).unwrap();
    assert!(lines.contains("item-003") && lines.contains("associated data"), "{lines}");

    let keys = operation(&keyring, &task).associated_data(|key| {
        let number = key.to_string().trim_start_matches("item-").parse::<u64>().unwrap();
        format!("row {number}").into_bytes()
    });
    // What the first job did is in its log.
    let log = [UndoIndex::log_start(&definition(&task).id()), records.undo].concat();
    let earlier = Some(UndoIndex::read(&log).unwrap());
    let start = Start { earlier, ..Start::new(NOW, store.properties()) };
    let mut records = MemoryRecords::default();
    let mut job = open(&definition(&task), Shard::WHOLE, &records, &start, &keys).unwrap();
    let end = crate::common::run(&mut job, &store, &keys, &mut records, &mut NOW.clone());
    let tally = finished(end).tally;
    assert_eq!((tally.changed, tally.current), (2, 2), "{tally}");
    for number in 0..4 {
        let found = store.item(&key(number)).unwrap();
        assert_eq!(plaintext(&keyring, &found, &row(number)), b"payload");
    }
}

#[test]
fn lost_checkpoint_encrypts_nothing_twice() {
    let keyring = Arc::new(MemoryKeyring::create("orders").unwrap());
    let envelope = Envelope::new(&keyring);
    let store = MemoryStore::new();
    for number in 0..4 {
        store.insert_item(key(number), item(&envelope.encrypt(b"a", Aad::none()).unwrap(), None));
    }
    let task = Task::reencrypt(Cause::DataKeyLeaked);
    let (keys, mut records) = (operation(&keyring, &task), MemoryRecords::default());
    finished(run_to_end(&definition(&task), &store, &keys, &mut records));
    let (headers, undo_len) = (store.headers(), records.undo.len());
    records.checkpoint = None;
    let tally = finished(run_to_end(&definition(&task), &store, &keys, &mut records)).tally;
    assert_eq!((tally.changed, records.undo.len()), (4, undo_len));
    assert_eq!(store.headers(), headers);
}

#[test]
fn planner_decides_which_items_are_due() {
    let keyring = Arc::new(MemoryKeyring::create("orders").unwrap());
    let old = Envelope::new(&keyring).with_suite(Suite::Cobblestone128);
    let store = MemoryStore::new();
    store.insert_item(key(0), item(&old.encrypt(b"a", Aad::none()).unwrap(), None));
    keyring.rotate().unwrap();
    let new = Envelope::new(&keyring);
    store.insert_item(key(1), item(&new.encrypt(b"b", Aad::none()).unwrap(), None));
    store.insert(key(2), b"text".to_vec());
    let other = Envelope::new(MemoryKeyring::create("payments").unwrap());
    store.insert_item(key(3), item(&other.encrypt(b"c", Aad::none()).unwrap(), None));

    let run = |cause: Cause| {
        let task = Task::reencrypt(cause);
        let keys = operation(&keyring, &task);
        let mut records = MemoryRecords::default();
        let tally = finished(run_to_end(&definition(&task), &store, &keys, &mut records)).tally;
        assert_eq!((tally.excluded, tally.failed), (2, 0));
        (tally.changed, tally.current)
    };
    let suite = |suite: Suite| Cause::SuiteDeprecated { suite: suite.id() };
    assert_eq!(run(suite(Suite::ChunkedChaCha20Poly1305)), (0, 2));
    assert_eq!(run(suite(Suite::Cobblestone128)), (1, 1));
    assert_eq!(run(suite(Suite::Cobblestone128)), (0, 2));
    let leaked = |headers_exposed| Cause::VersionLeaked {
        version: VersionName::new("orders", KeyVersion::FIRST),
        retired: None,
        headers_exposed,
    };
    assert_eq!(run(leaked(false)), (0, 2));
    assert_eq!(run(leaked(true)), (2, 0));
    assert_eq!(run(Cause::DataKeyLeaked), (2, 0));
}

#[test]
fn slot_of_another_name_is_not_lost() {
    let orders = Arc::new(MemoryKeyring::create("orders").unwrap());
    let escrow = Arc::new(MemoryKeyring::create("escrow").unwrap());
    let both = Arc::new(MultiKeyring::new(orders.clone()).with(escrow.clone()).unwrap());
    let store = MemoryStore::new();
    let message = Envelope::new(both.clone()).encrypt(b"payload", Aad::none()).unwrap();
    store.insert_item(key(0), item(&message, None));
    let task = Task::reencrypt(Cause::DataKeyLeaked);
    let mut records = MemoryRecords::default();
    let before = store.item(&key(0));
    let keys = operation(&orders, &task);
    let report = finished(run_to_end(&definition(&task), &store, &keys, &mut records));
    assert_eq!((report.tally.failed, store.item(&key(0))), (1, before));
    let lines = String::from_utf8(records.failures).unwrap();
    assert!(lines.contains("no slot of \\\"escrow\\\""), "{lines}");

    let keys = EnvelopeOperation::new(Envelope::new(both), task.clone());
    let mut records = MemoryRecords::default();
    let report = finished(run_to_end(&definition(&task), &store, &keys, &mut records));
    assert_eq!(report.tally.changed, 1);
    assert_eq!(plaintext(&escrow, &store.item(&key(0)).unwrap(), b""), b"payload");
}

#[test]
fn restore_refuses_what_was_encrypted_again() {
    let keyring = Arc::new(MemoryKeyring::create("orders").unwrap());
    let store = MemoryStore::new();
    let message = Envelope::new(&keyring).encrypt(b"payload", Aad::none()).unwrap();
    store.insert_item(key(0), item(&message, None));
    let task = Task::reencrypt(Cause::DataKeyLeaked);
    let mut records = MemoryRecords::default();
    let done = definition(&task);
    finished(run_to_end(&done, &store, &operation(&keyring, &task), &mut records));
    let after = store.item(&key(0)).unwrap();
    assert_ne!(after.header, item(&message, None).header);

    let log = [UndoIndex::log_start(&done.id()), records.undo].concat();
    let index = UndoIndex::read(&log).unwrap();
    let task = Task::Restore { job: done.id() };
    let selection = Selection::new(&store, "undo", index.items().cloned());
    let source = selection.properties().name;
    let keys = operation(&keyring, &task).restoring(index);
    let mut records = MemoryRecords::default();
    let restore = Definition { source, ..definition(&task) };
    let report = finished(run_to_end(&restore, &selection, &keys, &mut records));
    assert_eq!((report.tally.failed, report.tally.changed), (1, 0));
    let lines = String::from_utf8(records.failures).unwrap();
    assert!(lines.contains("encrypted again, which an undo log does not undo"), "{lines}");
    assert_eq!(store.item(&key(0)), Some(after));
}

#[test]
fn dry_run_and_store_without_bodies_write_nothing() {
    let keyring = Arc::new(MemoryKeyring::create("orders").unwrap());
    let store = MemoryStore::new();
    let message = Envelope::new(&keyring).encrypt(b"payload", Aad::none()).unwrap();
    store.insert_item(key(0), item(&message, None));
    let before = store.item(&key(0));
    let task = Task::reencrypt(Cause::DataKeyLeaked);
    let keys = operation(&keyring, &task);
    let dry = Definition { dry_run: true, ..definition(&task) };
    let mut records = MemoryRecords::default();
    let report = finished(run_to_end(&dry, &store, &keys, &mut records));
    assert_eq!((report.tally.changed, store.item(&key(0))), (1, before));
    assert!(records.undo.is_empty());

    let mut properties = store.properties();
    properties.rewrites_bodies = false;
    let start = Start::new(NOW, properties);
    let refusal = Job::new(definition(&task), Shard::WHOLE, (&[], 0), &start, &keys).err();
    assert!(matches!(refusal, Some(StartError::NoBodies(_))), "{refusal:?}");
    // A time spares messages where the store dates their bodies, and nowhere else.
    let version = VersionName::new("orders", KeyVersion::FIRST);
    let task =
        Task::reencrypt(Cause::VersionLeaked { version, retired: Some(1), headers_exposed: true });
    let opened = |dates_bodies| {
        let properties = Properties { dates_bodies, ..store.properties() };
        let (start, keys) = (Start::new(NOW, properties), operation(&keyring, &task));
        Job::new(definition(&task), Shard::WHOLE, (&[], 0), &start, &keys).err()
    };
    let refusal = opened(false);
    assert!(matches!(refusal, Some(StartError::NoBodyDates(_))), "{refusal:?}");
    assert!(opened(true).is_none());
    let task = Task::reencrypt(Cause::DataKeyLeaked);
    // An item that has a header alone fails, and does so for itself.
    store.insert(key(1), Envelope::new(&keyring).start(0, Aad::none()).unwrap().header().to_vec());
    let end = run_to_end(&definition(&task), &store, &keys, &mut records);
    let End::Finished(report) = end else { panic!("{end:?}") };
    assert_eq!((report.tally.changed, report.tally.failed), (1, 1));
}

/// A store that knows when bodies were encrypted: each item at the second of its number.
struct Dated(MemoryStore);

impl Store for Dated {
    forward_store!(list, replace);

    fn properties(&self) -> Properties {
        Properties { dates_bodies: true, ..self.0.properties() }
    }
    fn read(&self, item: &ItemKey) -> Result<Option<StoredHeader>, StoreError> {
        let number = (0..10).find(|&number| key(number) == *item);
        let dated = |stored| StoredHeader { body_written: number, ..stored };
        Ok(self.0.read(item)?.map(dated))
    }
    fn rewrite(
        &self,
        item: &ItemKey,
        expected: Expected<'_>,
        new: Rewrite<'_>,
    ) -> Result<Replaced, StoreError> {
        self.0.rewrite(item, expected, new)
    }
}

/// A body that was written after the version was retired was never under it.
#[test]
fn bodies_of_after_the_retirement_are_spared_where_the_store_dates_them() {
    let keyring = Arc::new(MemoryKeyring::create("orders").unwrap());
    let envelope = Envelope::new(keyring.clone());
    let store = MemoryStore::new();
    keyring.rotate().unwrap();
    for number in 0..10 {
        let message = envelope.encrypt(b"payload", Aad::none()).unwrap();
        store.insert_item(key(number), item(&message, None));
    }
    let before = store.headers();
    let store = Dated(store);
    let version = VersionName::new("orders", KeyVersion::FIRST);
    let task =
        Task::reencrypt(Cause::VersionLeaked { version, retired: Some(6), headers_exposed: true });
    let keys = operation(&keyring, &task);
    let mut records = MemoryRecords::default();
    let report = finished(run_to_end(&definition(&task), &store, &keys, &mut records));
    assert_eq!((report.tally.changed, report.tally.current), (7, 3));
    let after = store.0.headers();
    let spared = before.keys().filter(|key| before.get(*key) == after.get(*key));
    assert_eq!(spared.cloned().collect::<Vec<_>>(), [key(7), key(8), key(9)]);
}
