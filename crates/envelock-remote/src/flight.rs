//! One call for all callers that want the same.

use crate::call::lock;
use crate::service::Failure;
use futures_util::future::{BoxFuture, FutureExt, Shared, WeakShared};
use std::borrow::Borrow;
use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use tokio::time::{Instant, timeout_at};

/// The calls that are running, by what they ask for.
///
/// No task is spawned: all callers poll the call. If the caller that started it leaves, the others continue it; it is
/// dropped with the last of them.
pub(crate) struct Flights<K, T> {
    running: Arc<Mutex<HashMap<K, Flight<T>>>>,
    /// The number of the last call that was started.
    last: AtomicU64,
}

struct Flight<T> {
    number: u64,
    deadline: Instant,
    call: WeakShared<BoxFuture<'static, T>>,
}

/// A call that this caller has joined or started.
pub(crate) struct Joined<T> {
    pub(crate) call: Shared<BoxFuture<'static, T>>,
    /// The deadline of the caller that started it, if that is another one.
    pub(crate) other_deadline: Option<Instant>,
}

impl<K, T> Flights<K, T>
where
    K: Eq + Hash + Clone + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    pub(crate) fn new() -> Self {
        Flights { running: Arc::default(), last: AtomicU64::new(0) }
    }

    /// Returns a number that only calls which start later exceed.
    pub(crate) fn now(&self) -> u64 {
        self.last.load(Relaxed)
    }

    /// Joins the call for `key`, if its number is above `floor`. Otherwise starts one.
    pub(crate) fn join<F>(
        &self,
        key: K,
        deadline: Instant,
        floor: Option<u64>,
        start: impl FnOnce() -> F,
    ) -> Joined<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        // Dropped behind the lock: the last one to leave a call takes it out of the table.
        let found;
        let mut running = lock(&self.running);
        found = running
            .get(&key)
            .and_then(|flight| Some((flight.call.upgrade()?, flight.number, flight.deadline)));
        if let Some((call, number, deadline)) = &found
            && floor.is_none_or(|floor| *number > floor)
        {
            return Joined { call: call.clone(), other_deadline: Some(*deadline) };
        }
        let number = self.last.fetch_add(1, Relaxed) + 1;
        let entry = Entry { running: Arc::clone(&self.running), key: key.clone(), number };
        let work = start();
        let call = async move {
            let _entry = entry;
            work.await
        };
        let call = call.boxed().shared();
        if let Some(weak) = call.downgrade() {
            running.insert(key, Flight { number, deadline, call: weak });
        }
        drop(running);
        Joined { call, other_deadline: None }
    }

    pub(crate) fn is_running<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        lock(&self.running).contains_key(key)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        lock(&self.running).len()
    }
}

impl<K, T> Flights<K, Result<T, Failure>>
where
    K: Eq + Hash + Clone + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    /// Returns the result of the call for `key`, which is that of another caller or started here. It starts again
    /// if the other caller's deadline ended it.
    pub(crate) async fn run<F>(
        &self,
        key: K,
        deadline: Instant,
        floor: Option<u64>,
        start: impl Fn() -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        loop {
            let Joined { call, other_deadline } = self.join(key.clone(), deadline, floor, &start);
            match timeout_at(deadline, call).await {
                Err(_) => return Err(Failure::deadline()),
                Ok(Err(failure))
                    if failure.is_deadline()
                        && other_deadline.is_some_and(|other| other < deadline) => {}
                Ok(result) => return result,
            }
        }
    }
}

/// A place in the table, given back when the call ends or is dropped.
struct Entry<K: Eq + Hash, T> {
    running: Arc<Mutex<HashMap<K, Flight<T>>>>,
    key: K,
    number: u64,
}

impl<K: Eq + Hash, T> Drop for Entry<K, T> {
    fn drop(&mut self) {
        let mut running = lock(&self.running);
        // A later call may have the place by now.
        if running.get(&self.key).is_some_and(|flight| flight.number == self.number) {
            running.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;
    use tokio::time::sleep;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(9)
    }

    /// Starts a call of a second that counts.
    fn joined(
        flights: &Flights<u8, u8>,
        calls: &Arc<AtomicUsize>,
        floor: Option<u64>,
    ) -> Joined<u8> {
        let calls = Arc::clone(calls);
        flights.join(1, soon(), floor, || async move {
            calls.fetch_add(1, Relaxed);
            sleep(Duration::from_secs(1)).await;
            7
        })
    }

    #[tokio::test(start_paused = true)]
    async fn callers_of_the_same_share_one_call() {
        let (flights, calls) = (Flights::new(), Arc::default());
        let first = joined(&flights, &calls, None);
        let second = joined(&flights, &calls, None);
        assert!(first.other_deadline.is_none() && second.other_deadline.is_some());
        assert_eq!(tokio::join!(first.call, second.call), (7, 7));
        assert_eq!((calls.load(Relaxed), flights.len()), (1, 0));
        assert_eq!(joined(&flights, &calls, None).call.await, 7);
        assert_eq!(calls.load(Relaxed), 2, "the result of an earlier call is not kept");
    }

    #[tokio::test(start_paused = true)]
    async fn call_goes_on_without_the_caller_that_started_it() {
        let (flights, calls) = (Flights::new(), Arc::default());
        let leader = tokio::spawn(joined(&flights, &calls, None).call);
        tokio::task::yield_now().await;
        let follower = tokio::spawn(joined(&flights, &calls, None).call);
        tokio::task::yield_now().await;
        leader.abort();
        assert_eq!((follower.await.unwrap(), calls.load(Relaxed)), (7, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn call_without_callers_is_dropped() {
        let (flights, calls) = (Flights::new(), Arc::default());
        let only = joined(&flights, &calls, None);
        assert_eq!(flights.len(), 1);
        drop(only);
        assert_eq!((calls.load(Relaxed), flights.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn call_that_started_too_early_is_not_joined() {
        let (flights, calls) = (Flights::new(), Arc::default());
        let early = joined(&flights, &calls, None);
        let now = flights.now();
        let late = joined(&flights, &calls, Some(now));
        let same = joined(&flights, &calls, Some(now));
        assert!(late.other_deadline.is_none() && same.other_deadline.is_some());
        tokio::join!(early.call, late.call, same.call);
        assert_eq!((calls.load(Relaxed), flights.len()), (2, 0));
    }
}
