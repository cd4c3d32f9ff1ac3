//! The interface of a store of headers.

use crate::item::{ItemKey, Page};
use crate::rewrite::Rewrite;
use crate::store_error::StoreError;
use std::sync::Arc;

/// A medium that stores headers, each under the key of its item.
///
/// Methods take `&self`, may block, and are called from several threads at once. `test_util::check` (feature
/// `test-util`) checks an implementation.
///
/// # Contract
///
/// - A change is visible to [`read`](Self::read) and durable when [`replace`](Self::replace) returns
///   [`Replaced::Done`]. After an error it may or may not have happened, and may happen later; the condition
///   then still holds.
/// - `replace` writes the new header only if the stored one is still the expected one. A store that does not
///   keep this loses the work of other writers, so a job probes it before its first write.
/// - No method but `replace`, [`rewrite`](Self::rewrite) and [`settle`](Self::settle) writes. A dry run calls none.
pub trait Store: Send + Sync {
    /// Returns what the store is. The result does not change.
    fn properties(&self) -> Properties;

    /// Returns the first items after `after`, at most `most`, by ascending key.
    ///
    /// A page that is not the last has at least one item. An item that exists during the whole
    /// listing is listed. An item that is created or deleted meanwhile may or may not be.
    ///
    /// # Errors
    ///
    /// [`StoreError`]. The listing is then tried again from the same key.
    fn list(&self, after: Option<&ItemKey>, most: usize) -> Result<Page, StoreError>;

    /// Calls `each` with the header of each of the first items after `after`, at most `most`, by ascending key, as
    /// [`list`](Self::list) would list them. Returns whether no item comes after these; `None`, without any call of `each`,
    /// if the store does not list headers faster than it reads them.
    ///
    /// A census of labels then makes no other call. `each` does not block, and calls no method of the store.
    ///
    /// The provided method returns `None`.
    ///
    /// # Errors
    ///
    /// [`StoreError`]. What `each` was called with is then forgotten, and the listing is tried again from the same key.
    fn scan(
        &self,
        after: Option<&ItemKey>,
        most: usize,
        each: &mut dyn FnMut(StoredItem<'_>),
    ) -> Result<Option<bool>, StoreError> {
        let _ = (after, most, each);
        Ok(None)
    }

    /// Returns the header of an item; `None` if the item does not exist.
    ///
    /// The bytes are exactly the header. If the item has none, they are the first bytes of the item, up to 64.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the item may exist and was not read.
    fn read(&self, item: &ItemKey) -> Result<Option<StoredHeader>, StoreError>;

    /// Replaces the header of an item by `new` if it is still `expected`. The body is unchanged.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the header was perhaps not replaced.
    fn replace(
        &self,
        item: &ItemKey,
        expected: Expected<'_>,
        new: &[u8],
    ) -> Result<Replaced, StoreError>;

    /// Replaces the whole message of an item by `new`, which has the same plaintext, if its header is still `expected`.
    ///
    /// Afterwards the item has the old message or the new one, whole and durable, whatever fails meanwhile. Nothing
    /// brings an old body back: it is given up only once [`Rewrite::verify`] has read the new one as it is stored.
    ///
    /// The provided method refuses, which is right for a store without bodies. Jobs call it only where
    /// [`Properties::rewrites_bodies`] is set.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the message was perhaps not replaced.
    fn rewrite(
        &self,
        item: &ItemKey,
        expected: Expected<'_>,
        new: Rewrite<'_>,
    ) -> Result<Replaced, StoreError> {
        let _ = (item, expected, new);
        Err(StoreError::broken("the store has no bodies"))
    }

    /// Makes the header of an item durable if it is still `expected`, and finishes a replacement of it that was
    /// cut off. Called for items that a killed job may have written, and where `read` returned `is_unsettled`.
    ///
    /// The provided method does nothing, which is right where a change is durable as soon as it is visible.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the header is perhaps not durable.
    fn settle(&self, item: &ItemKey, expected: Expected<'_>) -> Result<Replaced, StoreError> {
        let _ = (item, expected);
        Ok(Replaced::Done)
    }
}

macro_rules! forward_to_pointee {
    ($($pointer:ty),*) => {$(
        impl<S: Store + ?Sized> Store for $pointer {
            fn properties(&self) -> Properties {
                (**self).properties()
            }
            fn list(&self, after: Option<&ItemKey>, most: usize) -> Result<Page, StoreError> {
                (**self).list(after, most)
            }
            fn scan(
                &self,
                after: Option<&ItemKey>,
                most: usize,
                each: &mut dyn FnMut(StoredItem<'_>),
            ) -> Result<Option<bool>, StoreError> {
                (**self).scan(after, most, each)
            }
            fn read(&self, item: &ItemKey) -> Result<Option<StoredHeader>, StoreError> {
                (**self).read(item)
            }
            fn replace(
                &self,
                item: &ItemKey,
                expected: Expected<'_>,
                new: &[u8],
            ) -> Result<Replaced, StoreError> {
                (**self).replace(item, expected, new)
            }
            fn rewrite(
                &self,
                item: &ItemKey,
                expected: Expected<'_>,
                new: Rewrite<'_>,
            ) -> Result<Replaced, StoreError> {
                (**self).rewrite(item, expected, new)
            }
            fn settle(&self, item: &ItemKey, expected: Expected<'_>) -> Result<Replaced, StoreError> {
                (**self).settle(item, expected)
            }
        }
    )*};
}

forward_to_pointee!(&S, Box<S>, Arc<S>);

/// What a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "stores of other crates make it")]
pub struct Properties {
    /// A stable name, such as `dir:/srv/orders`. It is part of a job's definition.
    pub name: String,
    /// What tells its medium from another one at the same place, if anything does: a job does not go on over an empty
    /// mount point. It stays the same when the medium is mounted again.
    pub id: Option<String>,
    /// How strong its compare-and-swap is.
    pub compare_and_swap: CompareAndSwap,
    /// When a replacement of a header writes the whole message.
    pub moves_bodies: MovesBodies,
    /// Whether [`rewrite`](Store::rewrite) replaces whole messages.
    pub rewrites_bodies: bool,
    /// Whether [`read`](Store::read) returns when bodies were encrypted.
    pub dates_bodies: bool,
}

/// When a replacement of a header writes the whole message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MovesBodies {
    /// Never: headers are replaced by themselves.
    Never,
    /// Where the new header has another length than the old one.
    OtherLength,
    /// Always.
    Always,
}

/// How strong the compare-and-swap of a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompareAndSwap {
    /// The medium compares and replaces in one step.
    Strong,
    /// Only writers that use the same lock are excluded. Another writer's change is detected, unless it falls
    /// between the last comparison and the write.
    Advisory,
    /// Changes of other writers can be lost. Jobs that write refuse such a store.
    Missing,
}

/// A header that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "stores of other crates make it")]
pub struct StoredHeader {
    /// The header.
    pub header: Vec<u8>,
    /// What the medium compares instead of the header, such as an entity tag; empty if it has no such thing.
    pub token: Token,
    /// Whether [`settle`](Store::settle) has something to finish.
    pub is_unsettled: bool,
    /// The associated data of the body, if the store has it.
    pub associated_data: Option<Vec<u8>>,
    /// When the body was encrypted, in seconds since 1970, if the store knows it. The time of a change of the header is
    /// another one.
    pub body_written: Option<u64>,
}

/// An item of a listing with headers.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "stores of other crates make it")]
pub struct StoredItem<'a> {
    /// The key.
    pub key: &'a ItemKey,
    /// The header, as [`Store::read`] returns it.
    pub header: &'a [u8],
    /// The length of the whole message in bytes, if the listing has it.
    pub bytes: Option<u64>,
}

impl StoredHeader {
    /// Returns the condition that the header is still this one.
    pub fn expected(&self) -> Expected<'_> {
        Expected { header: &self.header, token: &self.token }
    }
}

/// A value of the medium that changes with the item. Opaque; may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "stores of other crates make it")]
pub struct Token(pub Vec<u8>);

/// The condition of a replacement.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "stores of other crates use it")]
pub struct Expected<'a> {
    /// The header that the item must still have.
    pub header: &'a [u8],
    /// The token that it was read with. If it is empty, the store compares the header.
    pub token: &'a Token,
}

/// The outcome of a replacement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub enum Replaced {
    /// The item has the new header.
    Done,
    /// The item has another header than the expected one. Nothing was changed.
    Conflict,
    /// The item does not exist.
    Gone,
    /// The medium has no room for a header of this length. Nothing was changed.
    NoRoom,
}
