//! The conformance suite: the stores of this crate pass, and each faulty one is found.

use crate::common::{header, keyring, rng};
use envelock::{Envelope, Timestamp};
use envelock_ops::stores::MemoryStore;
use envelock_ops::test_util::{Fault, FaultyStore, Fixture, check};
use envelock_ops::{ItemKey, Store};
use std::panic::{AssertUnwindSafe, catch_unwind};

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

/// A store that reports two pages as one, or the cursor as a position, breaks the order of a listing.
#[test]
fn store_that_skips_or_repeats_items_is_found() {
    struct Lists(MemoryStore, bool);
    impl Store for Lists {
        fn properties(&self) -> envelock_ops::Properties {
            self.0.properties()
        }
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
                    let bound =
                        after.map(|key| envelock_ops::Listed { key: key.clone(), bytes: None });
                    page.items.splice(0..0, bound);
                    page.items.truncate(most);
                }
            }
            Ok(page)
        }
        fn read(
            &self,
            item: &ItemKey,
        ) -> Result<Option<envelock_ops::StoredHeader>, envelock_ops::StoreError> {
            self.0.read(item)
        }
        fn replace(
            &self,
            item: &ItemKey,
            expected: envelock_ops::Expected<'_>,
            new: &[u8],
        ) -> Result<envelock_ops::Replaced, envelock_ops::StoreError> {
            self.0.replace(item, expected, new)
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
