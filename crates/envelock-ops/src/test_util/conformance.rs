//! The conformance suite for stores.

use crate::item::{ItemKey, Listed, Page};
use crate::store::{CompareAndSwap, Expected, Replaced, Store, StoredItem, Token};
use crate::store_error::StoreError;
use std::sync::atomic::{AtomicU32, Ordering};

/// What the suite needs beside the store.
///
/// Items are headers that are written by other means than the store's `replace`, as an application writes messages.
pub trait Fixture {
    /// The store.
    type Store: Store;

    /// Returns the store.
    fn store(&self) -> &Self::Store;

    /// Creates an item with this header, or overwrites it, without a condition.
    fn put(&self, item: &ItemKey, header: &[u8]);

    /// Deletes an item.
    fn delete(&self, item: &ItemKey);

    /// Returns the keys of new items, all different, by ascending order: at least as many as `count`.
    fn keys(&self, count: usize) -> Vec<ItemKey>;

    /// Returns two headers of one message, and a header of another message. All have the same length.
    fn headers(&self) -> [Vec<u8>; 3];
}

/// Checks one rule, and says how it is broken.
pub(super) type Check<F> = fn(&F) -> Result<(), String>;

/// Checks a store against the contract of [`Store`].
///
/// # Panics
///
/// If the store breaks the contract, with what it did.
pub fn check<F: Fixture + Sync>(fixture: &F) {
    let checks: [(&str, Check<F>); 8] = [
        ("reads what was written", reads),
        ("replaces under a condition alone", replaces),
        ("keeps what it reports", keeps),
        ("ignores no token", tokens),
        ("replaces once among many writers", races),
        ("lists every item once, in order", lists),
        ("lists headers as it lists and reads", scans),
        ("reports what is gone", gone),
    ];
    run(fixture, &checks);
}

#[expect(clippy::panic, reason = "a suite reports a broken rule by a panic")]
pub(super) fn run<F>(fixture: &F, checks: &[(&str, Check<F>)]) {
    for (rule, check) in checks {
        if let Err(found) = check(fixture) {
            panic!("the store does not keep the rule \"{rule}\": {found}");
        }
    }
}

pub(super) fn text(error: StoreError) -> String {
    error.to_string()
}

pub(super) fn require(holds: bool, otherwise: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

pub(super) fn one_key<F: Fixture>(fixture: &F) -> Result<ItemKey, String> {
    fixture.keys(1).into_iter().next().ok_or("the fixture has no key".into())
}

fn header_of<F: Fixture>(fixture: &F, item: &ItemKey) -> Result<Option<Vec<u8>>, String> {
    Ok(fixture.store().read(item).map_err(text)?.map(|stored| stored.header))
}

fn reads<F: Fixture>(fixture: &F) -> Result<(), String> {
    let (item, [old, ..]) = (one_key(fixture)?, fixture.headers());
    fixture.put(&item, &old);
    require(header_of(fixture, &item)?.as_ref() == Some(&old), "read returns other bytes")?;
    require(fixture.store().properties() == fixture.store().properties(), "its properties change")
}

fn replaces<F: Fixture>(fixture: &F) -> Result<(), String> {
    let (store, item, [old, new, other]) = (fixture.store(), one_key(fixture)?, fixture.headers());
    fixture.put(&item, &old);
    let none = Token::default();
    let wrong = Expected { header: &new, token: &none };
    let refused = store.replace(&item, wrong, &other).map_err(text)?;
    require(refused == Replaced::Conflict, "a condition that does not hold was accepted")?;
    require(header_of(fixture, &item)?.as_ref() == Some(&old), "a conflict changed the item")?;
    let stored = store.read(&item).map_err(text)?.ok_or("the item is gone")?;
    let done = store.replace(&item, stored.expected(), &new).map_err(text)?;
    require(done == Replaced::Done, "a condition that holds was refused")?;
    require(header_of(fixture, &item)?.as_ref() == Some(&new), "the new header was not written")?;
    let again = store.replace(&item, stored.expected(), &new).map_err(text)?;
    require(again == Replaced::Conflict, "an old condition was accepted")?;
    let stored = store.read(&item).map_err(text)?.ok_or("the item is gone")?;
    let settled = store.settle(&item, stored.expected()).map_err(text)?;
    require(settled == Replaced::Done, "a header that was read cannot be settled")?;
    require(header_of(fixture, &item)?.as_ref() == Some(&new), "settle changed the header")
}

/// Finds what happens at some calls alone: a header that is lost, doubled, delayed or torn.
fn keeps<F: Fixture>(fixture: &F) -> Result<(), String> {
    let (store, [old, new, _]) = (fixture.store(), fixture.headers());
    for item in fixture.keys(64) {
        fixture.put(&item, &old);
        let (mut from, mut to) = (&old, &new);
        for _ in 0..8 {
            let stored = store.read(&item).map_err(text)?.ok_or("an item is gone")?;
            require(stored.header == *from, "a header is not what was written last")?;
            let replaced = store.replace(&item, stored.expected(), to).map_err(text)?;
            require(replaced == Replaced::Done, "a condition that holds was refused")?;
            (from, to) = (to, from);
        }
    }
    for item in fixture.keys(64) {
        require(header_of(fixture, &item)? == Some(old.clone()), "a header changed afterwards")?;
    }
    Ok(())
}

fn tokens<F: Fixture>(fixture: &F) -> Result<(), String> {
    let (store, item, [old, new, other]) = (fixture.store(), one_key(fixture)?, fixture.headers());
    fixture.put(&item, &old);
    let first = store.read(&item).map_err(text)?.ok_or("the item is gone")?;
    fixture.put(&item, &other);
    let replaced = store.replace(&item, first.expected(), &new).map_err(text)?;
    require(replaced == Replaced::Conflict, "the change of another writer was overwritten")?;
    require(header_of(fixture, &item)? == Some(other), "a conflict changed the item")
}

fn races<F: Fixture + Sync>(fixture: &F) -> Result<(), String> {
    let (store, item, [old, new, _]) = (fixture.store(), one_key(fixture)?, fixture.headers());
    require(
        store.properties().compare_and_swap != CompareAndSwap::Missing,
        "it has no compare-and-swap",
    )?;
    for _ in 0..20 {
        fixture.put(&item, &old);
        let stored = store.read(&item).map_err(text)?.ok_or("the item is gone")?;
        let (done, failed) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| match store.replace(&item, stored.expected(), &new) {
                    Ok(Replaced::Done) => drop(done.fetch_add(1, Ordering::Relaxed)),
                    Ok(_) => {}
                    Err(_) => drop(failed.fetch_add(1, Ordering::Relaxed)),
                });
            }
        });
        require(failed.into_inner() == 0, "a replacement failed beside others")?;
        require(done.into_inner() == 1, "not exactly one of four writers replaced the header")?;
    }
    Ok(())
}

fn lists<F: Fixture>(fixture: &F) -> Result<(), String> {
    let (store, [old, ..]) = (fixture.store(), fixture.headers());
    let mut keys = fixture.keys(64);
    keys.truncate(64);
    keys.iter().for_each(|item| fixture.put(item, &old));
    for most in [1, 7, 64, 1000] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let Page { items, is_last } = store.list(after.as_ref(), most).map_err(text)?;
            require(items.len() <= most, "a page has more items than asked for")?;
            require(is_last || !items.is_empty(), "a page that is not the last is empty")?;
            for item in items {
                require(after.as_ref() < Some(&item.key), "keys do not ascend behind the bound")?;
                after = Some(item.key.clone());
                found.push(item.key);
            }
            if is_last {
                break;
            }
        }
        let is_listed = |item: &ItemKey| found.binary_search(item).is_ok();
        require(keys.iter().all(is_listed), "an item is not listed")?;
    }
    // A bound is a key, not a position: it need not exist.
    let (Some(first), Some(second)) = (keys.first(), keys.get(1)) else { return Ok(()) };
    fixture.delete(first);
    let page = store.list(Some(first), 1).map_err(text)?;
    let next = page.items.first().map(|item| &item.key);
    require(next.is_some_and(|next| next <= second), "a bound that was deleted skips items")
}

fn scans<F: Fixture>(fixture: &F) -> Result<(), String> {
    let (store, [old, ..]) = (fixture.store(), fixture.headers());
    fixture.keys(64).iter().for_each(|item| fixture.put(item, &old));
    for most in [1, 7, 1000] {
        let mut after = None;
        loop {
            let mut found = Vec::new();
            let mut each = |item: StoredItem<'_>| {
                found.push((item.key.clone(), item.header.to_vec(), item.bytes));
            };
            let scanned = store.scan(after.as_ref(), most, &mut each).map_err(text)?;
            let Some(is_last) = scanned else {
                return require(found.is_empty(), "it lists headers and says that it does not");
            };
            let Page { items, is_last: is_end } = store.list(after.as_ref(), most).map_err(text)?;
            let mut listed = Vec::new();
            for Listed { key, bytes, .. } in items {
                let header = header_of(fixture, &key)?.ok_or("an item is gone")?;
                listed.push((key, header, bytes));
            }
            require(found == listed && is_last == is_end, "a page with headers is another one")?;
            after = listed.pop().map(|(key, ..)| key);
            if is_last {
                break;
            }
        }
    }
    Ok(())
}

fn gone<F: Fixture>(fixture: &F) -> Result<(), String> {
    let (store, item, [old, new, _]) = (fixture.store(), one_key(fixture)?, fixture.headers());
    fixture.put(&item, &old);
    let stored = store.read(&item).map_err(text)?.ok_or("the item is gone")?;
    fixture.delete(&item);
    require(store.read(&item).map_err(text)?.is_none(), "a deleted item is read")?;
    let replaced = store.replace(&item, stored.expected(), &new).map_err(text)?;
    require(replaced == Replaced::Gone, "a deleted item is replaced")?;
    require(store.read(&item).map_err(text)?.is_none(), "a replacement created an item")
}
