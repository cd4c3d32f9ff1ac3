//! Items of several callers in one call.

use super::gate::{AttemptError, Gate};
use super::task::as_task;
use super::{Failure, lock};
use futures_util::future::{BoxFuture, FutureExt, Shared, WeakShared};
use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Collects the items that come for a key until their call starts.
///
/// That is one turn of the executor later, and when the gate lets the call through. The call is a task, which is aborted
/// when the last of its callers leaves: a caller that is not polled, as in a buffered stream whose consumer awaits
/// another call, would keep its permit from that one for ever. Items of callers that have left before it starts are not
/// sent.
pub(crate) struct Batches<K, I, O, E> {
    max_items: usize,
    open: Arc<Open<K, I, O, E>>,
}

/// The batches that still take items.
type Open<K, I, O, E> = Mutex<HashMap<K, Batch<I, O, E>>>;

struct Batch<I, O, E> {
    items: Arc<Mutex<Vec<Item<I, O, E>>>>,
    call: WeakShared<BoxFuture<'static, ()>>,
}

struct Item<I, O, E> {
    value: I,
    deadline: Instant,
    response: oneshot::Sender<Result<O, AttemptError<E>>>,
}

impl<K, I, O, E> Batches<K, I, O, E>
where
    K: Eq + Hash + Clone + Send + 'static,
    I: Send + 'static,
    O: Send + 'static,
    E: Failure,
{
    /// Returns batches of at most `max_items`, which is not zero.
    pub(crate) fn new(max_items: usize) -> Self {
        Batches { max_items, open: Arc::default() }
    }

    /// Sends `value` in the next call for `key`, and returns the response to it.
    ///
    /// `send` makes the call if this is the first item of its batch. It returns a response for each item, in
    /// order. The call ends at the latest deadline of its items.
    pub(crate) async fn call<F>(
        &self,
        gate: &Arc<Gate<E>>,
        key: K,
        (value, deadline): (I, Instant),
        send: impl FnOnce(Vec<I>) -> F + Send + 'static,
    ) -> Result<O, AttemptError<E>>
    where
        F: Future<Output = Result<Vec<Result<O, E>>, E>> + Send + 'static,
    {
        let (response, received) = oneshot::channel();
        let call = self.join(gate, key, Item { value, deadline, response }, send);
        call.await;
        // A call that ends without a response had left out the item: its deadline had passed.
        received.await.unwrap_or(Err(AttemptError::Deadline))
    }

    /// Adds an item to the open batch of `key`, or to a new one.
    fn join<F>(
        &self,
        gate: &Arc<Gate<E>>,
        key: K,
        item: Item<I, O, E>,
        send: impl FnOnce(Vec<I>) -> F + Send + 'static,
    ) -> Shared<BoxFuture<'static, ()>>
    where
        F: Future<Output = Result<Vec<Result<O, E>>, E>> + Send + 'static,
    {
        let mut open = lock(&self.open);
        let joined = open.get(&key).and_then(|batch| Some((batch.call.upgrade()?, &batch.items)));
        if let Some((call, items)) = joined {
            let mut items = lock(items);
            items.push(item);
            if items.len() >= self.max_items {
                items.retain(|item| !item.response.is_closed());
            }
            let is_full = items.len() >= self.max_items;
            drop(items);
            if is_full {
                open.remove(&key);
            }
            return call;
        }
        let items = Arc::new(Mutex::new(vec![item]));
        let closing =
            Closing { open: Arc::clone(&self.open), key: key.clone(), items: Arc::clone(&items) };
        let (gate, takes_others) = (Arc::clone(gate), self.max_items > 1);
        let call = as_task(async move {
            if takes_others {
                // The callers that are behind in the queue come first.
                tokio::task::yield_now().await;
            }
            run(gate, closing, send).await;
        });
        let call = call.boxed().shared();
        if takes_others && let Some(call) = call.downgrade() {
            open.insert(key, Batch { items, call });
        }
        call
    }
}

/// Closes a batch once, at the latest when it is dropped.
struct Closing<K: Eq + Hash, I, O, E> {
    open: Arc<Open<K, I, O, E>>,
    key: K,
    items: Arc<Mutex<Vec<Item<I, O, E>>>>,
}

impl<K: Eq + Hash, I, O, E> Closing<K, I, O, E> {
    /// Takes the items. Later ones go to another batch.
    fn close(&self) -> Vec<Item<I, O, E>> {
        let mut open = lock(&self.open);
        if open.get(&self.key).is_some_and(|batch| Arc::ptr_eq(&batch.items, &self.items)) {
            open.remove(&self.key);
        }
        std::mem::take(&mut *lock(&self.items))
    }
}

impl<K: Eq + Hash, I, O, E> Drop for Closing<K, I, O, E> {
    fn drop(&mut self) {
        self.close();
    }
}

async fn run<K, I, O, E, F>(
    gate: Arc<Gate<E>>,
    closing: Closing<K, I, O, E>,
    send: impl FnOnce(Vec<I>) -> F,
) where
    K: Eq + Hash,
    E: Failure,
    F: Future<Output = Result<Vec<Result<O, E>>, E>>,
{
    let permit = gate.permit().await;
    let now = Instant::now();
    let mut values = Vec::new();
    let mut responses = Vec::new();
    let mut latest = now;
    for item in closing.close() {
        if item.deadline > now && !item.response.is_closed() {
            latest = latest.max(item.deadline);
            values.push(item.value);
            responses.push(item.response);
        }
    }
    if values.is_empty() {
        return;
    }
    let sent = values.len();
    // A caller that has left does not receive its response.
    match permit.call(latest, || send(values)).await {
        Ok(results) if results.len() == sent => {
            for (response, result) in responses.into_iter().zip(results) {
                let _ = response.send(result.map_err(AttemptError::Failed));
            }
        }
        Ok(results) => {
            let error = AttemptError::Failed(E::wrong_count(sent, results.len()));
            fail(responses, &error);
        }
        Err(error) => fail(responses, &error),
    }
}

fn fail<O, E: Clone>(
    responses: Vec<oneshot::Sender<Result<O, AttemptError<E>>>>,
    error: &AttemptError<E>,
) {
    for response in responses {
        let _ = response.send(Err(error.clone()));
    }
}
