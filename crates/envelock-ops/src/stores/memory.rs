//! A store in memory.

use crate::item::{ItemKey, Listed, Page};
use crate::rewrite::Rewrite;
use crate::store::{
    CompareAndSwap, Expected, MovesBodies, Properties, Replaced, Store, StoredHeader, StoredItem,
};
use crate::store_error::StoreError;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Headers in memory, with or without their bodies: for tests, and for what the caller stores by itself afterwards.
#[derive(Debug, Default)]
pub struct MemoryStore {
    items: Mutex<BTreeMap<ItemKey, MemoryItem>>,
}

/// An item of a [`MemoryStore`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "callers make it")]
pub struct MemoryItem {
    /// The header.
    pub header: Vec<u8>,
    /// The body, if it is stored here.
    pub body: Option<Vec<u8>>,
    /// The associated data of the body, if it is stored here.
    pub associated_data: Option<Vec<u8>>,
}

impl MemoryItem {
    /// Returns the length of the message, if its body is stored here.
    fn message_len(&self) -> Option<u64> {
        self.body.as_ref().map(|body| (self.header.len() + body.len()) as u64)
    }
}

impl MemoryStore {
    /// Returns an empty store.
    pub fn new() -> Self {
        MemoryStore::default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ItemKey, MemoryItem>> {
        // Each change is one call on the map.
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the number of items.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Returns whether there is no item.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Sets an item to a header alone, without a condition.
    pub fn insert(&self, item: ItemKey, header: impl Into<Vec<u8>>) {
        self.insert_item(item, MemoryItem { header: header.into(), ..MemoryItem::default() });
    }

    /// Sets an item without a condition.
    pub fn insert_item(&self, item: ItemKey, new: MemoryItem) {
        self.lock().insert(item, new);
    }

    /// Sets the header of an item without a condition, and leaves its body.
    #[cfg(feature = "test-util")]
    pub(crate) fn set_header(&self, item: &ItemKey, header: &[u8]) {
        self.lock().entry(item.clone()).or_default().header = header.to_vec();
    }

    /// Removes an item.
    pub fn remove(&self, item: &ItemKey) -> Option<MemoryItem> {
        self.lock().remove(item)
    }

    /// Returns a header.
    pub fn header(&self, item: &ItemKey) -> Option<Vec<u8>> {
        self.lock().get(item).map(|found| found.header.clone())
    }

    /// Returns an item.
    pub fn item(&self, item: &ItemKey) -> Option<MemoryItem> {
        self.lock().get(item).cloned()
    }

    /// Returns a copy of all headers.
    pub fn headers(&self) -> BTreeMap<ItemKey, Vec<u8>> {
        self.lock().iter().map(|(key, item)| (key.clone(), item.header.clone())).collect()
    }

    /// Visits the first items after `after`. Returns whether there is no other.
    fn each(
        &self,
        after: Option<&ItemKey>,
        most: usize,
        mut each: impl FnMut(&ItemKey, &MemoryItem),
    ) -> bool {
        use std::ops::Bound::{Excluded, Unbounded};
        let items = self.lock();
        let lower = after.map_or(Unbounded, Excluded);
        let mut rest = items.range::<ItemKey, _>((lower, Unbounded));
        rest.by_ref().take(most).for_each(|(key, item)| each(key, item));
        rest.next().is_none()
    }

    /// Returns what an item becomes, or what its replacement ends with if it does not take place.
    pub(crate) fn rewritten(
        &self,
        item: &ItemKey,
        expected: Expected<'_>,
        mut new: Rewrite<'_>,
    ) -> Result<Result<MemoryItem, Replaced>, StoreError> {
        let Some(old) = self.item(item) else { return Ok(Err(Replaced::Gone)) };
        if old.header != expected.header {
            return Ok(Err(Replaced::Conflict));
        }
        let body = old.body.ok_or_else(|| StoreError::broken("the item has no body"))?;
        let mut written = Vec::new();
        new.encrypt(&mut body.as_slice(), &mut written)?;
        new.verify(&mut written.as_slice())?;
        let (header, body) = (new.header().to_vec(), Some(written));
        Ok(Ok(MemoryItem { header, body, ..old }))
    }

    /// Sets an item if its header is `expected`.
    pub(crate) fn set_if(&self, item: &ItemKey, expected: &[u8], new: MemoryItem) -> Replaced {
        match self.lock().get_mut(item) {
            None => Replaced::Gone,
            Some(found) if found.header != expected => Replaced::Conflict,
            Some(found) => {
                *found = new;
                Replaced::Done
            }
        }
    }
}

impl FromIterator<(ItemKey, Vec<u8>)> for MemoryStore {
    fn from_iter<T: IntoIterator<Item = (ItemKey, Vec<u8>)>>(items: T) -> Self {
        let item = |(key, header)| (key, MemoryItem { header, ..MemoryItem::default() });
        MemoryStore { items: Mutex::new(items.into_iter().map(item).collect()) }
    }
}

impl Store for MemoryStore {
    fn properties(&self) -> Properties {
        Properties {
            name: "memory".into(),
            id: None,
            compare_and_swap: CompareAndSwap::Strong,
            moves_bodies: MovesBodies::Never,
            rewrites_bodies: true,
            dates_bodies: false,
        }
    }

    fn list(&self, after: Option<&ItemKey>, most: usize) -> Result<Page, StoreError> {
        let mut items = Vec::new();
        let is_last = self.each(after, most, |key, item| {
            items.push(Listed::new(key.clone(), item.message_len()));
        });
        Ok(Page { items, is_last })
    }

    fn scan(
        &self,
        after: Option<&ItemKey>,
        most: usize,
        each: &mut dyn FnMut(StoredItem<'_>),
    ) -> Result<Option<bool>, StoreError> {
        let is_last = self.each(after, most, |key, item| {
            each(StoredItem { key, header: &item.header, bytes: item.message_len() });
        });
        Ok(Some(is_last))
    }

    fn read(&self, item: &ItemKey) -> Result<Option<StoredHeader>, StoreError> {
        let stored = |item: &MemoryItem| StoredHeader {
            header: item.header.clone(),
            associated_data: item.associated_data.clone(),
            ..StoredHeader::default()
        };
        Ok(self.lock().get(item).map(stored))
    }

    fn replace(
        &self,
        item: &ItemKey,
        expected: Expected<'_>,
        new: &[u8],
    ) -> Result<Replaced, StoreError> {
        Ok(match self.lock().get_mut(item) {
            None => Replaced::Gone,
            Some(found) if found.header != expected.header => Replaced::Conflict,
            Some(found) => {
                found.header = new.to_vec();
                Replaced::Done
            }
        })
    }

    fn rewrite(
        &self,
        item: &ItemKey,
        expected: Expected<'_>,
        new: Rewrite<'_>,
    ) -> Result<Replaced, StoreError> {
        // The body is encrypted without the lock, and the condition holds still if the header is the same.
        Ok(match self.rewritten(item, expected, new)? {
            Ok(new) => self.set_if(item, expected.header, new),
            Err(replaced) => replaced,
        })
    }
}
