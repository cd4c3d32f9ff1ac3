//! A driver for the runtime of `tokio`.

use super::{Clock, Control, Records, TICK, consult, run_work};
use crate::job::{End, Job, Step};
use crate::operation::Operation;
use crate::store::Store;
use crate::work::Work;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio::time::timeout;

/// Work that was run, and the text of its panic.
type Ran = (Box<Work>, Option<String>);

/// Runs a job to its end on a runtime of `tokio`. Calls to the store and to the keys run on its threads for calls that
/// block, as many at the same time as the limits of the job allow.
///
/// `records` and `control` are called in place, and a sync of the undo log blocks for as long as the disk takes. If the
/// future is dropped, the job ends as after a kill: resume it from its records.
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub async fn run_async(
    job: &mut Job,
    store: Arc<dyn Store>,
    operation: Arc<dyn Operation>,
    records: &mut (dyn Records + Send),
    control: &mut (dyn Control + Send),
) -> End {
    let mut out: JoinSet<Ran> = JoinSet::new();
    let clock = Clock::start();
    let mut consulted: Option<Instant> = None;
    loop {
        if consulted.is_none_or(|at| at.elapsed() >= TICK) {
            consult(job, control, clock);
            consulted = Some(Instant::now());
        }
        match job.next(clock.now(), &*operation) {
            Step::List { after, most } => {
                let store = store.clone();
                let listed = spawn_blocking(move || store.list(after.as_ref(), most)).await;
                job.listed(joined(listed), clock.now());
            }
            Step::Scan(scan) => {
                let store = store.clone();
                let scanned = spawn_blocking(move || scan.run(&*store)).await;
                job.scanned(joined(scanned), clock.now());
            }
            Step::Work(work) => {
                let (store, operation) = (store.clone(), operation.clone());
                out.spawn_blocking(move || run_work(work, &*store, &*operation));
            }
            Step::Probe(probe) => {
                let store = store.clone();
                let probed = spawn_blocking(move || probe.run(&*store)).await;
                job.probed(joined(probed), clock.now());
            }
            Step::Append(batch) => job.appended(records.append(&batch)),
            Step::Save { failures_at, failures, checkpoint } => {
                job.saved(records.save(failures_at, &failures, &checkpoint));
            }
            Step::Gate(stage) => job.decide(control.gate(&stage)),
            Step::Wait { until } => {
                let most = until.map_or(TICK, |until| until.saturating_sub(clock.now()).min(TICK));
                wait(job, &mut out, most, clock).await;
            }
            Step::Done(end) => return end,
        }
        while let Some(ran) = out.try_join_next() {
            job.take_back(joined(ran), clock.now());
        }
    }
}

/// Waits for work to be done, for a time.
async fn wait(job: &mut Job, out: &mut JoinSet<Ran>, most: Duration, clock: Clock) {
    if out.is_empty() {
        tokio::time::sleep(most).await;
    } else if let Ok(Some(ran)) = timeout(most, out.join_next()).await {
        job.take_back(joined(ran), clock.now());
    }
}

/// Returns what a thread returned; goes on with the panic of a store that panics in a listing.
fn joined<T>(joined: Result<T, JoinError>) -> T {
    match joined {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that shuts down cancels, and it polls no future any more.
            Err(error) => std::panic::resume_unwind(Box::new(error.to_string())),
        },
    }
}
