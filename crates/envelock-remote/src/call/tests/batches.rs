use super::*;
use crate::call::batch::Batches;
use crate::call::gate::{AttemptError, Gate};
use futures_util::FutureExt;
use std::future::pending;
use std::sync::{Arc, Mutex};
use tokio::task::{JoinSet, yield_now};
use tokio::time::timeout;

type Attempt = Result<u32, AttemptError<Fault>>;

/// Calls that respond with the doubles of their items.
struct Service {
    gate: Arc<Gate<Fault>>,
    batches: Batches<u8, u32, u32, Fault>,
    calls: Arc<Mutex<Vec<Vec<u32>>>>,
    fault: Option<Fault>,
}

impl Service {
    fn new(max_items: usize, options: &CallOptions) -> Self {
        let gate = Arc::new(Gate::new(options));
        Service { gate, batches: Batches::new(max_items), calls: Arc::default(), fault: None }
    }

    async fn call(&self, key: u8, item: u32, deadline: Instant) -> Attempt {
        let (calls, fault) = (Arc::clone(&self.calls), self.fault.clone());
        let send = |items: Vec<u32>| async move {
            calls.lock().unwrap().push(items.clone());
            sleep(ms(20)).await;
            let double = |item| if item == 13 { Err(Fault::Denied) } else { Ok(2 * item) };
            fault.map_or_else(|| Ok(items.into_iter().map(double).collect()), Err)
        };
        self.batches.call(&self.gate, key, (item, deadline), send).await
    }

    /// The items of each call since the last look, in the order of the first of each.
    fn calls(&self) -> Vec<Vec<u32>> {
        let mut calls = std::mem::take(&mut *self.calls.lock().unwrap());
        calls.sort();
        calls
    }
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

/// Polls once.
fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    future.now_or_never().is_none()
}

/// Starts a task for each item.
fn spawn(service: &Arc<Service>, items: impl IntoIterator<Item = u32>) -> JoinSet<(u32, Attempt)> {
    let mut tasks = JoinSet::new();
    for item in items {
        let service = Arc::clone(service);
        tasks.spawn(async move { (item, service.call(0, item, far()).await) });
    }
    tasks
}

#[tokio::test(start_paused = true)]
async fn callers_of_one_turn_share_calls_and_errors_are_per_item() {
    let service = Arc::new(Service::new(8, &options()));
    let start = Instant::now();
    for (item, response) in spawn(&service, 0..20).join_all().await {
        match response {
            Ok(double) => assert_eq!(double, 2 * item),
            Err(error) => {
                assert!(item == 13 && matches!(error, AttemptError::Failed(Fault::Denied)))
            }
        }
    }
    assert_eq!(since(start), ms(20));
    assert_eq!(service.calls().iter().map(Vec::len).collect::<Vec<_>>(), [8, 8, 4]);
}

#[tokio::test(start_paused = true)]
async fn batches_of_one_are_calls_of_their_own() {
    let service = Arc::new(Service::new(1, &options()));
    spawn(&service, 0..5).join_all().await;
    assert_eq!(service.calls(), [[0], [1], [2], [3], [4]]);
}

#[tokio::test(start_paused = true)]
async fn keys_have_calls_of_their_own() {
    let service = Service::new(8, &options());
    let (a, b, c) = tokio::join!(
        service.call(1, 1, far()),
        service.call(2, 2, far()),
        service.call(1, 3, far())
    );
    assert_eq!([a, b, c].map(Result::unwrap), [2, 4, 6]);
    assert_eq!(service.calls(), [vec![1, 3], vec![2]]);
}

/// A batch takes items until the gate lets its call through.
#[tokio::test(start_paused = true)]
async fn batch_grows_while_it_waits_for_its_turn() {
    let service = Arc::new(Service::new(8, &options().max_in_flight(1)));
    let mut tasks = spawn(&service, [1]);
    sleep(ms(5)).await;
    for item in [2, 3, 4] {
        let service = Arc::clone(&service);
        tasks.spawn(async move { (item, service.call(0, item, far()).await) });
        sleep(ms(2)).await;
    }
    assert!(tasks.join_all().await.iter().all(|(_, response)| response.is_ok()));
    assert_eq!(service.calls(), [vec![1], vec![2, 3, 4]]);
}

#[tokio::test(start_paused = true)]
async fn callers_that_leave_do_not_cancel_the_others() {
    for left in [1, 2, 3] {
        let service = Arc::new(Service::new(8, &options().max_in_flight(1)));
        let call = |item| Box::pin(timeout(ms(100), service.call(0, item, far())));
        let mut calls: Vec<_> = (1..=3).map(|item| Some(call(item))).collect();
        for call in calls.iter_mut().flatten() {
            assert!(is_pending(call));
        }
        // The task lets others come first, and then makes the call.
        yield_now().await;
        yield_now().await;
        for call in calls.iter_mut().flatten() {
            assert!(is_pending(call));
        }
        assert_eq!(service.calls(), [[1, 2, 3]]);
        calls[left - 1] = None;
        for (item, call) in (1..).zip(calls) {
            if let Some(call) = call {
                assert_eq!(call.await.unwrap().unwrap(), 2 * item, "without {left}");
            }
        }
        assert_eq!(service.gate.available(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn items_of_callers_that_left_are_not_sent() {
    let service = Arc::new(Service::new(2, &options()));
    let call = |item| Box::pin(service.call(0, item, far()));
    let (mut a, mut b) = (call(1), call(2));
    assert!(is_pending(&mut a));
    drop(a);
    assert!(is_pending(&mut b));
    let mut c = call(3);
    assert!(is_pending(&mut c));
    drop(b);
    assert_eq!(c.await.unwrap(), 6);
    assert_eq!(service.calls(), [[3]]);
}

#[tokio::test(start_paused = true)]
async fn last_caller_ends_the_call_and_frees_its_permit() {
    let service = Service::new(8, &options().max_in_flight(1));
    let both = async { tokio::join!(service.call(0, 1, far()), service.call(0, 2, far())) };
    assert!(timeout(ms(5), both).await.is_err());
    yield_now().await;
    assert_eq!((service.calls().len(), service.gate.available()), (1, 1));
    assert_eq!(service.call(0, 3, far()).await.unwrap(), 6);
    assert_eq!(service.calls(), [[3]]);
}

#[tokio::test(start_paused = true)]
async fn failure_of_the_call_is_that_of_each_caller() {
    let service =
        Arc::new(Service { fault: Some(Fault::Unavailable), ..Service::new(8, &options()) });
    let responses = spawn(&service, 0..3).join_all().await;
    assert_eq!(responses.len(), 3);
    for (_, response) in responses {
        assert!(matches!(response, Err(AttemptError::Failed(Fault::Unavailable))), "{response:?}");
    }
    assert_eq!(service.calls().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn wrong_number_of_responses_fails_each_caller() {
    let gate = Arc::new(Gate::<Fault>::new(&options()));
    let batches = Batches::<(), u32, u32, Fault>::new(8);
    let call = |item| batches.call(&gate, (), (item, far()), async |_| Ok(vec![Ok(1); 3]));
    let (a, b) = tokio::join!(call(1), call(2));
    for response in [a, b] {
        assert!(matches!(response, Err(AttemptError::Failed(Fault::Count(2, 3)))), "{response:?}");
    }
}

/// Each caller waits no longer than it wants, and the call goes on for the others.
#[tokio::test(start_paused = true)]
async fn items_past_their_deadline_are_not_sent_and_the_call_ends_at_the_latest() {
    let gate = Arc::new(Gate::<Fault>::new(&options().max_in_flight(1)));
    let batches = Batches::<(), u32, u32, Fault>::new(8);
    let start = Instant::now();
    let permit = gate.permit().await;
    let sent = Arc::new(Mutex::new(Vec::new()));
    let call = |item, left| {
        let sent = Arc::clone(&sent);
        batches.call(&gate, (), (item, start + left), move |items| async move {
            *sent.lock().unwrap() = items;
            pending().await
        })
    };
    let busy = async {
        sleep(ms(20)).await;
        drop(permit);
    };
    let (a, b, c, ()) = tokio::join!(call(1, ms(20)), call(2, ms(50)), call(3, ms(90)), busy);
    for response in [a, b, c] {
        assert!(matches!(response, Err(AttemptError::Deadline)), "{response:?}");
    }
    assert_eq!((sent.lock().unwrap().clone(), since(start)), (vec![2, 3], ms(90)));
    assert_eq!(gate.available(), 1);
}
