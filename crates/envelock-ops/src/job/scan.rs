//! A page of headers that is counted while it is listed.

use crate::census::LabelCounts;
use crate::definition::Definition;
use crate::item::{ItemKey, Listed, Page};
use crate::shard::Shard;
use crate::store::{Store, StoredItem};
use crate::store_error::StoreError;
use envelock::inspect;

/// A page of a census of labels, which needs no call for each item where the store lists headers.
#[derive(Debug)]
pub struct Scan {
    after: Option<ItemKey>,
    most: usize,
    shard: Shard,
    allowed_names: Vec<String>,
}

/// What a [`Scan`] found.
#[derive(Debug)]
pub struct Scanned(pub(super) Found);

#[derive(Debug)]
pub(super) enum Found {
    /// The store lists no headers.
    Listed(Page),
    Counted(Counts),
    /// The store listed this key out of order.
    Disorder(ItemKey),
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) census: LabelCounts,
    /// How many items the census has.
    pub(super) counted: u64,
    /// The items of the shard that are not in the census: each is read, and has an outcome of its own.
    pub(super) rest: Vec<Listed>,
    pub(super) last: Option<ItemKey>,
    pub(super) is_last: bool,
}

impl Scan {
    pub(super) fn new(
        after: Option<ItemKey>,
        most: usize,
        shard: Shard,
        definition: &Definition,
    ) -> Self {
        Scan { after, most, shard, allowed_names: definition.allowed_names.clone() }
    }

    /// Makes the call, and counts what it lists.
    ///
    /// # Errors
    ///
    /// Those of [`Store::scan`] and of [`Store::list`].
    pub fn run(&self, store: &dyn Store) -> Result<Scanned, StoreError> {
        let mut counts = Counts::default();
        let mut last = self.after.as_ref().map_or(Vec::new(), |after| after.as_bytes().to_vec());
        let mut disorder = None;
        let scanned = store.scan(self.after.as_ref(), self.most, &mut |item| {
            let key = item.key.as_bytes();
            if *last >= *key {
                disorder.get_or_insert_with(|| item.key.clone());
            }
            // One allocation for the page, not one for each key.
            last.clear();
            last.extend_from_slice(key);
            self.count(&item, &mut counts);
        })?;
        let Some(is_last) = scanned else {
            let page = store.list(self.after.as_ref(), self.most)?;
            return Ok(Scanned(Found::Listed(page)));
        };
        let last = ItemKey::new(last).filter(|last| self.after.as_ref() != Some(last));
        Ok(Scanned(match disorder {
            Some(key) => Found::Disorder(key),
            None => Found::Counted(Counts { last, is_last, ..counts }),
        }))
    }

    fn count(&self, item: &StoredItem<'_>, counts: &mut Counts) {
        if !self.shard.has(item.key) {
            return;
        }
        let header = inspect(item.header).ok();
        let is_allowed = |name: &str| self.allowed_names.iter().any(|allowed| allowed == name);
        match header {
            Some(header)
                if self.allowed_names.is_empty()
                    || header.slots().all(|slot| is_allowed(slot.label.name.as_str())) =>
            {
                counts.census.count(header.slots().map(|slot| slot.label), item.bytes.unwrap_or(0));
                counts.counted += 1;
            }
            _ => counts.rest.push(Listed { key: item.key.clone(), bytes: item.bytes }),
        }
    }
}
