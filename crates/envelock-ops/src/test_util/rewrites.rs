//! The conformance suite for stores that replace whole messages.

use super::conformance::{Check, Fixture, one_key, require, run, text};
use crate::item::ItemKey;
use crate::operation::{Item, Operation, Verdict};
use crate::rewrite::{NewBody, Rewrite};
use crate::store::{Replaced, Store, StoredHeader};
use crate::store_error::StoreError;
use envelock::{Aad, inspect};
use std::sync::atomic::{AtomicU32, Ordering};

/// What the suite for whole messages needs beside.
pub trait MessageFixture: Fixture {
    /// Creates an item with this message, or overwrites it, without a condition.
    fn put_message(&self, item: &ItemKey, message: &[u8]);

    /// Returns the message of an item, as it is stored.
    fn message(&self, item: &ItemKey) -> Vec<u8>;

    /// Returns a new message without associated data, of some length.
    fn new_message(&self) -> Vec<u8>;

    /// Returns the operation of [`Task::reencrypt`](crate::Task::reencrypt) with
    /// [`Cause::DataKeyLeaked`](crate::Cause::DataKeyLeaked) that opens the messages.
    fn operation(&self) -> &dyn Operation;
}

/// Checks a store against the contract of [`Store::rewrite`].
///
/// # Panics
///
/// If the store breaks the contract, with what it did.
pub fn check_rewrites<F: MessageFixture + Sync>(fixture: &F) {
    let checks: [(&str, Check<F>); 5] = [
        ("replaces header and body under a condition", replaces),
        ("keeps the new messages that it reports", keeps),
        ("keeps an old message that does not decrypt", refuses),
        ("replaces a message once among many writers", races),
        ("reports a message that is gone", gone),
    ];
    run(fixture, &checks);
}

/// Encrypts an item again under the condition that it is `stored`, and returns the new header too.
fn rewrite<F: MessageFixture>(
    fixture: &F,
    item: &ItemKey,
    stored: &StoredHeader,
) -> Result<(Result<Replaced, StoreError>, Vec<u8>), String> {
    let operation = fixture.operation();
    let Verdict::Reencrypt { message, associated_data } = operation.apply(&Item::new(item, stored))
    else {
        return Err("the operation of the fixture does not encrypt again".into());
    };
    let header = message.header().to_vec();
    let body = &mut NewBody { stream: Some(message), associated_data };
    let new = Rewrite { operation, old: &stored.header, header: &header, body };
    Ok((fixture.store().rewrite(item, stored.expected(), new), header))
}

fn read<F: MessageFixture>(fixture: &F, item: &ItemKey) -> Result<StoredHeader, String> {
    fixture.store().read(item).map_err(text)?.ok_or("the item is gone".into())
}

/// Requires that the item has a message with this header, which decrypts to the plaintext of `first`.
fn require_message<F: MessageFixture>(
    fixture: &F,
    item: &ItemKey,
    header: &[u8],
    first: &[u8],
) -> Result<(), String> {
    let plaintext = |message: &[u8]| {
        let header = inspect(message)?.as_bytes();
        let opened = fixture.operation().open(header)?;
        opened.decrypt(opened.body(message)?, Aad::none())
    };
    let (now, before) = (plaintext(&fixture.message(item)), plaintext(first));
    let now = now.map_err(|error| format!("a new message does not decrypt: {error}"))?;
    require(before.is_ok_and(|before| before == now), "a new message has another plaintext")?;
    require(read(fixture, item)?.header == header, "the new header was not written")
}

fn replaces<F: MessageFixture>(fixture: &F) -> Result<(), String> {
    let (item, first) = (one_key(fixture)?, fixture.new_message());
    fixture.put_message(&item, &fixture.new_message());
    let other = read(fixture, &item)?;
    fixture.put_message(&item, &first);
    let (refused, _) = rewrite(fixture, &item, &other)?;
    let refused = refused.map_err(text)?;
    require(refused == Replaced::Conflict, "a condition that does not hold was accepted")?;
    require(fixture.message(&item) == first, "a conflict changed the message")?;
    let stored = read(fixture, &item)?;
    let (done, header) = rewrite(fixture, &item, &stored)?;
    require(done.map_err(text)? == Replaced::Done, "a condition that holds was refused")?;
    require_message(fixture, &item, &header, &first)?;
    let (again, _) = rewrite(fixture, &item, &stored)?;
    require(again.map_err(text)? == Replaced::Conflict, "an old condition was accepted")?;
    require_message(fixture, &item, &header, &first)
}

fn keeps<F: MessageFixture>(fixture: &F) -> Result<(), String> {
    let mut written = Vec::new();
    for item in fixture.keys(48) {
        let first = fixture.new_message();
        fixture.put_message(&item, &first);
        let mut last = Vec::new();
        for _ in 0..4 {
            let (done, header) = rewrite(fixture, &item, &read(fixture, &item)?)?;
            require(done.map_err(text)? == Replaced::Done, "a condition that holds was refused")?;
            require_message(fixture, &item, &header, &first)?;
            last = header;
        }
        written.push((item, last, first));
    }
    written.iter().try_for_each(|(item, last, first)| require_message(fixture, item, last, first))
}

fn refuses<F: MessageFixture>(fixture: &F) -> Result<(), String> {
    let (item, mut damaged) = (one_key(fixture)?, fixture.new_message());
    damaged.last_mut().into_iter().for_each(|byte| *byte ^= 1);
    fixture.put_message(&item, &damaged);
    let (refused, _) = rewrite(fixture, &item, &read(fixture, &item)?)?;
    require(refused.is_err(), "a message that does not decrypt was replaced")?;
    require(fixture.message(&item) == damaged, "a message that does not decrypt was changed")
}

fn races<F: MessageFixture + Sync>(fixture: &F) -> Result<(), String> {
    let (item, first) = (one_key(fixture)?, fixture.new_message());
    for _ in 0..20 {
        fixture.put_message(&item, &first);
        let stored = read(fixture, &item)?;
        let (done, failed) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| match rewrite(fixture, &item, &stored) {
                    Ok((Ok(Replaced::Done), _)) => drop(done.fetch_add(1, Ordering::Relaxed)),
                    Ok((Ok(_), _)) => {}
                    _ => drop(failed.fetch_add(1, Ordering::Relaxed)),
                });
            }
        });
        require(failed.into_inner() == 0, "a replacement failed beside others")?;
        require(done.into_inner() == 1, "not exactly one of four writers replaced the message")?;
        require_message(fixture, &item, &read(fixture, &item)?.header, &first)?;
    }
    Ok(())
}

fn gone<F: MessageFixture>(fixture: &F) -> Result<(), String> {
    let item = one_key(fixture)?;
    fixture.put_message(&item, &fixture.new_message());
    let stored = read(fixture, &item)?;
    fixture.delete(&item);
    let (replaced, _) = rewrite(fixture, &item, &stored)?;
    require(replaced.map_err(text)? == Replaced::Gone, "a deleted message is replaced")?;
    let found = fixture.store().read(&item).map_err(text)?;
    require(found.is_none(), "a replacement created an item")
}
