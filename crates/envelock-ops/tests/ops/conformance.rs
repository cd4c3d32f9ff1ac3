//! The conformance suite: the stores of this crate pass, and each faulty one is found.

use crate::common::{forward_store, header, keyring, rng};
use envelock::{Aad, Envelope, MemoryKeyring, Timestamp, inspect};
use envelock_ops::stores::{MemoryItem, MemoryStore};
use envelock_ops::test_util::{Fault, FaultyStore, Fixture, MessageFixture, check, check_rewrites};
use envelock_ops::{Cause, EnvelopeOperation, ItemKey, Operation, Store, Task};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

fn headers() -> [Vec<u8>; 3] {
    let mut rng = rng(5);
    let keyring = keyring("orders", &mut rng);
    let envelope = Envelope::new(&keyring);
    let (old, other) = (header(&envelope), header(&envelope));
    keyring.rotate_with_rng(Timestamp::UNIX_EPOCH, &mut rng).unwrap();
    let new = envelope.rewrap(&old, Default::default()).unwrap().into_header();
    [old, new, other]
}

fn keys(count: usize) -> Vec<ItemKey> {
    (0..count.max(64))
        .map(|number| ItemKey::new(format!("d{}/m{number:03}", number / 10)).unwrap())
        .collect()
}

/// A store, and how its items are written and deleted by others.
struct Of<S, P, D> {
    store: S,
    put: P,
    delete: D,
}

impl<S: Store, P: Fn(&S, &ItemKey, &[u8]), D: Fn(&S, &ItemKey)> Fixture for Of<S, P, D> {
    type Store = S;
    fn store(&self) -> &S {
        &self.store
    }
    fn put(&self, item: &ItemKey, header: &[u8]) {
        (self.put)(&self.store, item, header);
    }
    fn delete(&self, item: &ItemKey) {
        (self.delete)(&self.store, item);
    }
    fn keys(&self, count: usize) -> Vec<ItemKey> {
        keys(count)
    }
    fn headers(&self) -> [Vec<u8>; 3] {
        headers()
    }
}

#[test]
fn memory_conforms() {
    check(&Of {
        store: MemoryStore::new(),
        put: |store: &MemoryStore, item: &ItemKey, header: &[u8]| {
            store.insert(item.clone(), header)
        },
        delete: |store: &MemoryStore, item: &ItemKey| drop(store.remove(item)),
    });
}

#[cfg(unix)]
#[test]
fn directories_conform() {
    use envelock_ops::stores::{Directory, Layout};
    // The one of the headers, since a directory unwraps what it writes.
    let keyring = || {
        let mut rng = rng(5);
        let keyring = keyring("orders", &mut rng);
        keyring.rotate_with_rng(Timestamp::UNIX_EPOCH, &mut rng).unwrap();
        keyring
    };
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let write = |item: &ItemKey, header: &[u8]| {
        let path = root.join(item.to_string());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, header).unwrap();
    };
    let remove = |item: &ItemKey| std::fs::remove_file(root.join(item.to_string())).unwrap();
    for layout in [Layout::Inline, Layout::Sidecar { suffix: "".into() }] {
        let store = Directory::new(root, layout, Envelope::new(keyring()));
        check(&Of {
            store: &store,
            put: |_: &_, item: &ItemKey, header: &[u8]| write(item, header),
            delete: |_: &_, item: &ItemKey| remove(item),
        });
    }
}

#[test]
fn faulty_store_is_found() {
    for &fault in Fault::ALL {
        let faulty = || {
            check(&Of {
                store: FaultyStore::new(MemoryStore::new(), 11, &[fault], 6, u32::MAX),
                put: |store: &FaultyStore, item: &ItemKey, header: &[u8]| {
                    store.inner().insert(item.clone(), header);
                },
                delete: |store: &FaultyStore, item: &ItemKey| drop(store.inner().remove(item)),
            });
        };
        let found = catch_unwind(AssertUnwindSafe(faulty)).expect_err("it passes");
        let text = found.downcast_ref::<String>().expect("text");
        assert!(text.starts_with("the store does not keep the rule"), "{fault:?}: {text}");
    }
}

fn new_keyring() -> Arc<MemoryKeyring> {
    Arc::new(keyring("orders", &mut rng(5)))
}

type Put<'a, S> = &'a (dyn Fn(&S, &ItemKey, &[u8]) + Sync);
type Get<'a, S> = &'a (dyn Fn(&S, &ItemKey) -> Vec<u8> + Sync);
type Delete<'a, S> = &'a (dyn Fn(&S, &ItemKey) + Sync);

/// A store of whole messages, and how others write, read and delete them.
struct Messages<'a, S> {
    store: S,
    put: Put<'a, S>,
    get: Get<'a, S>,
    delete: Delete<'a, S>,
    operation: EnvelopeOperation<Arc<MemoryKeyring>>,
}

impl<'a, S: Store> Messages<'a, S> {
    fn new(store: S, put: Put<'a, S>, get: Get<'a, S>, delete: Delete<'a, S>) -> Self {
        let task = Task::reencrypt(Cause::DataKeyLeaked);
        let operation = EnvelopeOperation::new(Envelope::new(new_keyring()), task);
        Messages { store, put, get, delete, operation }
    }
}

impl<S: Store> Fixture for Messages<'_, S> {
    type Store = S;
    fn store(&self) -> &S {
        &self.store
    }
    fn put(&self, item: &ItemKey, header: &[u8]) {
        (self.put)(&self.store, item, header);
    }
    fn delete(&self, item: &ItemKey) {
        (self.delete)(&self.store, item);
    }
    fn keys(&self, count: usize) -> Vec<ItemKey> {
        keys(count)
    }
    fn headers(&self) -> [Vec<u8>; 3] {
        headers()
    }
}

impl<S: Store> MessageFixture for Messages<'_, S> {
    fn put_message(&self, item: &ItemKey, message: &[u8]) {
        (self.put)(&self.store, item, message);
    }
    fn message(&self, item: &ItemKey) -> Vec<u8> {
        (self.get)(&self.store, item)
    }
    fn new_message(&self) -> Vec<u8> {
        Envelope::new(new_keyring()).encrypt(&[7; 20_000], Aad::none()).unwrap()
    }
    fn operation(&self) -> &dyn Operation {
        &self.operation
    }
}

fn put_in_memory(store: &MemoryStore, item: &ItemKey, message: &[u8]) {
    let (header, body) = message.split_at(inspect(message).unwrap().len());
    let new = MemoryItem { body: Some(body.to_vec()), ..MemoryItem::default() };
    store.insert_item(item.clone(), MemoryItem { header: header.to_vec(), ..new });
}

fn get_from_memory(store: &MemoryStore, item: &ItemKey) -> Vec<u8> {
    let item = store.item(item).unwrap();
    [item.header, item.body.unwrap()].concat()
}

#[test]
fn whole_messages_in_memory_conform() {
    let delete = |store: &MemoryStore, item: &ItemKey| drop(store.remove(item));
    check_rewrites(&Messages::new(MemoryStore::new(), &put_in_memory, &get_from_memory, &delete));
}

#[cfg(unix)]
#[test]
fn whole_messages_in_files_conform() {
    use envelock_ops::stores::{Directory, Layout};
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().to_path_buf();
    let path = move |item: &ItemKey| root.join(item.to_string());
    let store = Directory::new(directory.path(), Layout::Inline, Envelope::new(new_keyring()));
    check_rewrites(&Messages::new(
        store,
        &|_, item, message| {
            std::fs::create_dir_all(path(item).parent().unwrap()).unwrap();
            std::fs::write(path(item), message).unwrap();
        },
        &|_, item| std::fs::read(path(item)).unwrap(),
        &|_, item| std::fs::remove_file(path(item)).unwrap(),
    ));
}

#[test]
fn store_that_breaks_whole_messages_is_found() {
    for &fault in Fault::ALL {
        let store = FaultyStore::new(MemoryStore::new(), 11, &[fault], 6, u32::MAX);
        let messages = Messages::new(
            store,
            &|store, item, message| put_in_memory(store.inner(), item, message),
            &|store, item| get_from_memory(store.inner(), item),
            &|store, item| drop(store.inner().remove(item)),
        );
        let found = catch_unwind(AssertUnwindSafe(|| check_rewrites(&messages)));
        let found = found.expect_err("it passes");
        let text = found.downcast_ref::<String>().expect("text");
        assert!(text.starts_with("the store does not keep the rule"), "{fault:?}: {text}");
    }
}

/// A store that reports two pages as one, or the cursor as a position, breaks the order of a listing.
#[test]
fn store_that_skips_or_repeats_items_is_found() {
    struct Lists(MemoryStore, bool);
    impl Store for Lists {
        forward_store!(properties, read, replace);

        fn list(
            &self,
            after: Option<&ItemKey>,
            most: usize,
        ) -> Result<envelock_ops::Page, envelock_ops::StoreError> {
            let mut page = self.0.list(after, most)?;
            match self.1 {
                // It takes a full page for the last one.
                true => page.is_last = page.items.len() < most || after.is_some(),
                // It begins with the bound.
                false => {
                    let bound = after.map(|key| envelock_ops::Listed::new(key.clone(), None));
                    page.items.splice(0..0, bound);
                    page.items.truncate(most);
                }
            }
            Ok(page)
        }
    }
    for skips in [true, false] {
        let lists = || {
            check(&Of {
                store: Lists(MemoryStore::new(), skips),
                put: |store: &Lists, item: &ItemKey, header: &[u8]| {
                    store.0.insert(item.clone(), header)
                },
                delete: |store: &Lists, item: &ItemKey| drop(store.0.remove(item)),
            });
        };
        let found = catch_unwind(AssertUnwindSafe(lists)).expect_err("it passes");
        assert!(found.downcast_ref::<String>().unwrap().contains("lists every item once"));
    }
}
