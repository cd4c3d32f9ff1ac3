//! A store in memory.

use crate::item::{ItemKey, Listed, Page};
use crate::store::{
    CompareAndSwap, Expected, Properties, Replaced, Store, StoreError, StoredHeader, Token,
};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Headers in memory, for tests and for headers that the caller stores by itself afterwards.
#[derive(Debug, Default)]
pub struct MemoryStore {
    items: Mutex<BTreeMap<ItemKey, Vec<u8>>>,
}

impl MemoryStore {
    /// Returns an empty store.
    pub fn new() -> Self {
        MemoryStore::default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ItemKey, Vec<u8>>> {
        // Each change is one call on the map.
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets a header without a condition.
    pub fn insert(&self, item: ItemKey, header: impl Into<Vec<u8>>) {
        self.lock().insert(item, header.into());
    }

    /// Removes an item.
    pub fn remove(&self, item: &ItemKey) -> Option<Vec<u8>> {
        self.lock().remove(item)
    }

    /// Returns a header.
    pub fn header(&self, item: &ItemKey) -> Option<Vec<u8>> {
        self.lock().get(item).cloned()
    }

    /// Returns a copy of all headers.
    pub fn headers(&self) -> BTreeMap<ItemKey, Vec<u8>> {
        self.lock().clone()
    }
}

impl FromIterator<(ItemKey, Vec<u8>)> for MemoryStore {
    fn from_iter<T: IntoIterator<Item = (ItemKey, Vec<u8>)>>(items: T) -> Self {
        MemoryStore { items: Mutex::new(items.into_iter().collect()) }
    }
}

impl Store for MemoryStore {
    fn properties(&self) -> Properties {
        Properties {
            name: "memory".into(),
            compare_and_swap: CompareAndSwap::Strong,
            moves_bodies: false,
        }
    }

    fn list(&self, after: Option<&ItemKey>, most: usize) -> Result<Page, StoreError> {
        use std::ops::Bound::{Excluded, Unbounded};
        let items = self.lock();
        let lower = after.map_or(Unbounded, Excluded);
        let mut rest = items.range::<ItemKey, _>((lower, Unbounded));
        let listed = |(key, _): (&ItemKey, _)| Listed { key: key.clone(), bytes: None };
        let page = rest.by_ref().take(most).map(listed).collect();
        Ok(Page { items: page, is_last: rest.next().is_none() })
    }

    fn read(&self, item: &ItemKey) -> Result<Option<StoredHeader>, StoreError> {
        let stored = |header| StoredHeader { header, token: Token::default(), is_unsettled: false };
        Ok(self.header(item).map(stored))
    }

    fn replace(
        &self,
        item: &ItemKey,
        expected: Expected<'_>,
        new: &[u8],
    ) -> Result<Replaced, StoreError> {
        Ok(match self.lock().get_mut(item) {
            None => Replaced::Gone,
            Some(header) if header != expected.header => Replaced::Conflict,
            Some(header) => {
                *header = new.to_vec();
                Replaced::Done
            }
        })
    }
}
