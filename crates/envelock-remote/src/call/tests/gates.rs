use super::*;
use crate::call::gate::{AttemptError, Gate};
use std::future::pending;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio::time::timeout;

fn far() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_run_than_permits() {
    let gate = Arc::new(Gate::<Fault>::new(&options().max_in_flight(8)));
    let counts = Arc::new(Counts::default());
    let start = Instant::now();
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let (gate, counts) = (Arc::clone(&gate), Arc::clone(&counts));
        calls.spawn(async move {
            let call = || counts.call(ms(20));
            gate.permit().await.call(far(), call).await.unwrap();
        });
    }
    calls.join_all().await;
    assert_eq!((counts.started(), counts.most.load(Ordering::Relaxed)), (100, 8));
    assert_eq!((since(start), gate.available()), (ms(20 * 13), 8));
}

#[tokio::test(start_paused = true)]
async fn dropped_call_frees_its_permit_at_once() {
    let gate = Gate::<Fault>::new(&options().max_in_flight(1));
    let hung = async { gate.permit().await.call(far(), pending::<Result<(), _>>).await };
    assert!(timeout(ms(5), hung).await.is_err());
    assert_eq!(gate.available(), 1);
    let waiting = gate.permit().await;
    assert!(timeout(ms(5), gate.permit()).await.is_err());
    drop(waiting);
    assert_eq!(gate.available(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_call_starts_at_or_after_its_deadline() {
    let gate = Gate::<Fault>::new(&options());
    for (left, calls) in [(Duration::ZERO, 0), (Duration::from_nanos(1), 1)] {
        let counts = Counts::default();
        let call = || counts.call(Duration::ZERO);
        let _ = gate.permit().await.call(Instant::now() + left, call).await;
        assert_eq!(counts.started(), calls, "{left:?} left");
    }
}

#[tokio::test(start_paused = true)]
async fn running_call_is_dropped_at_its_deadline() {
    let gate = Gate::<Fault>::new(&options());
    let (counts, start) = (Counts::default(), Instant::now());
    let call = || counts.call(ms(900));
    let ended = gate.permit().await.call(start + ms(100), call).await;
    assert!(matches!(ended, Err(AttemptError::Deadline)), "{ended:?}");
    assert_eq!((since(start), counts.running.load(Ordering::Relaxed)), (ms(100), 0));
}

#[tokio::test(start_paused = true)]
async fn hung_calls_open_the_circuit_and_callers_in_a_hurry_do_not() {
    let gate = Gate::<Fault>::new(&options().call_timeout(ms(500)).circuit(2, ms(1000)));
    let hang =
        async |deadline| gate.permit().await.call(deadline, pending::<Result<(), Fault>>).await;
    for _ in 0..9 {
        assert!(matches!(hang(Instant::now() + ms(400)).await, Err(AttemptError::Deadline)));
    }
    for _ in 0..2 {
        assert!(gate.open_circuit().is_none());
        let ended = hang(far()).await;
        assert!(matches!(ended, Err(AttemptError::Failed(Fault::NoResponse(_)))), "{ended:?}");
    }
    assert_eq!(gate.open_circuit(), Some((ms(1000), Fault::NoResponse(ms(500)))));
    assert!(matches!(hang(far()).await, Err(AttemptError::Rejected(_))));
    assert_eq!(gate.available(), 64);
}

#[tokio::test(start_paused = true)]
async fn throttled_calls_do_not_open_the_circuit() {
    let gate = Gate::new(&options().circuit(1, ms(1000)));
    for fault in [Fault::Throttled(None), Fault::Denied, Fault::Unavailable] {
        assert!(gate.open_circuit().is_none());
        let ended = gate.permit().await.call(far(), || async { Err::<(), _>(fault) }).await;
        assert!(matches!(ended, Err(AttemptError::Failed(_))), "{ended:?}");
    }
    assert!(gate.open_circuit().is_some());
}

#[tokio::test(start_paused = true)]
async fn dropped_probe_leaves_the_circuit_half_open() {
    let gate = Gate::new(&options().circuit(1, ms(1000)));
    let fail = || async { Err::<(), _>(Fault::Unavailable) };
    let _ = gate.permit().await.call(far(), fail).await;
    sleep(ms(1000)).await;
    let probe = async { gate.permit().await.call(far(), pending::<Result<(), _>>).await };
    let mut probe = Box::pin(probe);
    assert!(timeout(ms(1), &mut probe).await.is_err());
    let beside = gate.permit().await.call(far(), || async { Ok(()) }).await;
    assert!(matches!(beside, Err(AttemptError::Rejected(_))), "{beside:?}");
    drop(probe);
    gate.permit().await.call(far(), || async { Ok(()) }).await.unwrap();
    gate.permit().await.call(far(), || async { Ok(()) }).await.unwrap();
}
