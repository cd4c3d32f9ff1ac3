//! Some items of a store.

use crate::digest::{hex, sha256};
use crate::item::{ItemKey, Listed, Page};
use crate::rewrite::Rewrite;
use crate::store::{Expected, Properties, Replaced, Store, StoredHeader};
use crate::store_error::StoreError;
use std::fmt;

/// The listed items of another store: a list of paths, the failures of a job, or the items of an undo log.
///
/// An item that does not exist is listed, and is gone when it is read; one that is [required](Self::requiring) is absent.
pub struct Selection<S> {
    store: S,
    name: String,
    items: Vec<Listed>,
}

impl<S: Store> Selection<S> {
    /// Returns the listed items of `store`, each once. `name` tells the selection apart from others; it
    /// is part of the name of the store, and so of the definition of a job.
    pub fn new(store: S, name: &str, items: impl IntoIterator<Item = ItemKey>) -> Self {
        let mut items: Vec<_> = items.into_iter().collect();
        items.sort_unstable();
        items.dedup();
        let items = items.into_iter().map(|key| Listed::new(key, None)).collect();
        Selection { name: format!("{} of {}", name, store.properties().name), store, items }
    }

    /// Adds a digest of the items to the name. A job then refuses to go on with others, of which it would skip those
    /// before the item that it has come to.
    #[must_use]
    pub fn with_digest(mut self) -> Self {
        let lines = self.items.iter().flat_map(|item| [item.key.as_bytes(), b"\0"]);
        let digest = hex(&sha256(&lines.collect::<Vec<_>>()));
        self.name += &format!(", sha256 {}", digest.get(..16).unwrap_or(&digest));
        self
    }

    /// Requires that these items exist: one that does not is left, and listed as such.
    #[must_use]
    pub fn requiring(mut self, is_required: impl Fn(&ItemKey) -> bool) -> Self {
        for item in &mut self.items {
            item.is_required = is_required(&item.key);
        }
        self
    }
}

impl<S: Store> Store for Selection<S> {
    fn properties(&self) -> Properties {
        Properties { name: self.name.clone(), ..self.store.properties() }
    }

    fn list(&self, after: Option<&ItemKey>, most: usize) -> Result<Page, StoreError> {
        let from = after.map_or(0, |after| self.items.partition_point(|item| item.key <= *after));
        let rest = self.items.get(from..).unwrap_or_default();
        let items = rest.iter().take(most).cloned().collect();
        Ok(Page { items, is_last: rest.len() <= most })
    }

    fn read(&self, item: &ItemKey) -> Result<Option<StoredHeader>, StoreError> {
        self.store.read(item)
    }

    fn replace(
        &self,
        item: &ItemKey,
        expected: Expected<'_>,
        new: &[u8],
    ) -> Result<Replaced, StoreError> {
        self.store.replace(item, expected, new)
    }

    fn rewrite(
        &self,
        item: &ItemKey,
        expected: Expected<'_>,
        new: Rewrite<'_>,
    ) -> Result<Replaced, StoreError> {
        self.store.rewrite(item, expected, new)
    }

    fn settle(&self, item: &ItemKey, expected: Expected<'_>) -> Result<Replaced, StoreError> {
        self.store.settle(item, expected)
    }
}

impl<S> fmt::Debug for Selection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Selection")
            .field("name", &self.name)
            .field("items", &self.items.len())
            .finish_non_exhaustive()
    }
}
