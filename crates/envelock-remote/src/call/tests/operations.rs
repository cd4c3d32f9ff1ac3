use super::*;
use crate::call::error::CallError;
use crate::call::operation::Operations;
use crate::with_deadline;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::pending;

/// The times of the calls, and what is left of the script. Beyond its end every call succeeds.
struct Service {
    start: Instant,
    script: RefCell<VecDeque<Fault>>,
    calls: RefCell<Vec<u128>>,
}

impl Service {
    fn new(script: impl IntoIterator<Item = Fault>) -> Self {
        let script = RefCell::new(script.into_iter().collect());
        Service { start: Instant::now(), script, calls: RefCell::default() }
    }

    async fn call(&self) -> Result<(), Fault> {
        self.calls.borrow_mut().push(since(self.start).as_millis());
        self.script.borrow_mut().pop_front().map_or(Ok(()), Err)
    }

    async fn run(&self, options: CallOptions) -> Result<(), CallError<Fault>> {
        Operations::new(options).run_call(|| self.call()).await
    }

    fn calls(&self) -> Vec<u128> {
        self.calls.take()
    }
}

#[tokio::test(start_paused = true)]
async fn waits_double_and_are_jittered() {
    let service = Service::new(vec![Fault::Unavailable; 3]);
    service.run(options()).await.unwrap();
    assert_eq!(service.calls(), [0, 50, 150, 350]);
}

#[tokio::test(start_paused = true)]
async fn attempts_are_limited_and_the_last_failure_is_the_source() {
    let service =
        Service::new([Fault::Unavailable, Fault::Throttled(None), Fault::NoResponse(ms(7))]);
    let error = service.run(options().max_attempts(3)).await.unwrap_err();
    assert_eq!(error.to_string(), "service failed in attempt 3");
    assert_eq!((error.last(), service.calls().len()), (Some(&Fault::NoResponse(ms(7))), 3));
}

#[tokio::test(start_paused = true)]
async fn final_failure_is_not_retried() {
    let service = Service::new([Fault::Denied]);
    let error = service.run(options()).await.unwrap_err();
    assert!(matches!(error, CallError::Failed { attempts: 1, source: Fault::Denied }), "{error:?}");
    assert_eq!(service.calls(), [0]);
}

#[tokio::test(start_paused = true)]
async fn wait_that_the_service_asks_for_is_added() {
    let service = Service::new([Fault::Throttled(Some(ms(700)))]);
    service.run(options()).await.unwrap();
    assert_eq!(service.calls(), [0, 750]);
}

/// The wait that the service asks for ends at the deadline or later.
#[tokio::test(start_paused = true)]
async fn wait_beyond_the_deadline_fails_at_once() {
    for (asked, succeeds) in [(ms(949), true), (ms(950), false)] {
        let service = Service::new([Fault::Throttled(Some(asked))]);
        let ended = service.run(options().deadline(ms(1000))).await;
        assert_eq!(ended.is_ok(), succeeds);
        if let Err(error) = ended {
            assert_eq!(since(service.start), Duration::ZERO);
            assert_eq!(
                error.to_string(),
                "deadline leaves no time for another call after 1 failed"
            );
            assert_eq!(error.last(), Some(&Fault::Throttled(Some(asked))));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn hung_call_is_retried_and_the_deadline_ends_all() {
    let operations = Operations::<Fault>::new(options().call_timeout(ms(300)).deadline(ms(1000)));
    let start = Instant::now();
    let ended = operations.run_call(pending::<Result<(), _>>).await.unwrap_err();
    // 300, a wait of 50, 300, a wait of 100, and 250 of the third.
    assert!(matches!(ended, CallError::Deadline { attempts: 2, source: Some(_) }), "{ended:?}");
    assert_eq!((since(start), operations.gate().available()), (ms(1000), 64));
}

#[tokio::test(start_paused = true)]
async fn deadline_of_the_caller_holds_and_none_is_too_long() {
    let service = Service::new(vec![Fault::Unavailable; 9]);
    let deadline = Instant::now() + ms(100);
    let error = with_deadline(deadline, service.run(options())).await.unwrap_err();
    assert!(matches!(error, CallError::Deadline { attempts: 2, .. }), "{error:?}");
    assert_eq!(service.calls(), [0, 50]);
    let passed = with_deadline(Instant::now(), service.run(options())).await.unwrap_err();
    assert!(matches!(passed, CallError::Deadline { attempts: 0, source: None }), "{passed:?}");
    assert!(service.calls().is_empty());
    let forever = options().deadline(Duration::MAX).call_timeout(Duration::MAX);
    Service::new([]).run(forever).await.unwrap();
}

/// An operation that waits for its turn until its deadline makes no call then.
#[tokio::test(start_paused = true)]
async fn operation_without_its_turn_makes_no_call() {
    let operations = Operations::<Fault>::new(options().max_in_flight(1));
    let counts = Counts::default();
    let slow = operations.run_call(|| counts.call(ms(100)));
    let late =
        with_deadline(Instant::now() + ms(100), operations.run_call(|| counts.call(ms(100))));
    let (slow, late) = tokio::join!(slow, late);
    slow.unwrap();
    assert!(matches!(late, Err(CallError::Deadline { attempts: 0, .. })), "{late:?}");
    assert_eq!((counts.started(), operations.gate().available()), (1, 1));
}

/// Operations under way wait for the end of the outage, later ones fail until the circuit is half open.
#[tokio::test(start_paused = true)]
async fn open_circuit_fails_new_operations_and_delays_those_under_way() {
    let operations = Operations::new(options().circuit(2, ms(1000)).max_attempts(9));
    let service = Service::new(vec![Fault::Unavailable; 3]);
    let early = operations.run_call(|| service.call());
    let late = async {
        sleep(ms(60)).await;
        let error = operations.run_call(|| service.call()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "service failed too often in a row: no call is made for another 990 ms"
        );
        assert_eq!(error.last(), Some(&Fault::Unavailable));
    };
    let (early, ()) = tokio::join!(early, late);
    early.unwrap();
    // The second failure opens the circuit until 1050. The wait of 100 meets it open, and does not count. The
    // third is the probe, and opens it until 2250.
    assert_eq!(service.calls(), [0, 50, 1250, 3050]);
}

#[tokio::test(start_paused = true)]
async fn futures_are_send() {
    fn send<T: Send>(value: T) -> T {
        value
    }
    let operations = Operations::<Fault>::new(options());
    send(operations.run_call(async || Ok(()))).await.unwrap();
}
