//! A driver with threads.

use super::{Clock, Control, Records, TICK, consult, run_work};
use crate::job::{End, Job, Step};
use crate::operation::Operation;
use crate::store::Store;
use crate::work::Work;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Work that was run, and the text of its panic.
type Ran = (Box<Work>, Option<String>);

/// More threads wait for each other.
const MOST_THREADS: u16 = 512;

/// Runs a job to its end, on this thread and `threads` others, at most 512 and as many as the system starts. Without one,
/// the work is done on this thread.
pub fn run(
    job: &mut Job,
    threads: u16,
    store: &dyn Store,
    operation: &dyn Operation,
    records: &mut dyn Records,
    control: &mut dyn Control,
) -> End {
    let (give, take) = channel::<Box<Work>>();
    let (give_back, take_back) = channel::<Ran>();
    let take = &Mutex::new(take);
    thread::scope(move |scope| {
        let spawn = |_: &u16| {
            let give_back = give_back.clone();
            let run = move || work_off(take, &give_back, store, operation);
            thread::Builder::new().spawn_scoped(scope, run).is_ok()
        };
        let started = (0..threads.clamp(1, MOST_THREADS)).take_while(spawn).count();
        // The threads end with the channel.
        let give = (started > 0).then_some(give);
        drive(job, give, &take_back, store, operation, records, control)
    })
}

fn drive(
    job: &mut Job,
    give: Option<Sender<Box<Work>>>,
    take_back: &Receiver<Ran>,
    store: &dyn Store,
    operation: &dyn Operation,
    records: &mut dyn Records,
    control: &mut dyn Control,
) -> End {
    let clock = Clock::start();
    let mut consulted: Option<Instant> = None;
    loop {
        if consulted.is_none_or(|at| at.elapsed() >= TICK) {
            consult(job, control, clock);
            consulted = Some(Instant::now());
        }
        match job.next(clock.now(), operation) {
            Step::List { after, most } => job.listed(store.list(after.as_ref(), most), clock.now()),
            Step::Scan(scan) => job.scanned(scan.run(store), clock.now()),
            Step::Work(work) => match &give {
                // The threads outlive the sender.
                Some(give) => drop(give.send(work)),
                None => job.take_back(run_work(work, store, operation), clock.now()),
            },
            Step::Probe(probe) => job.probed(probe.run(store), clock.now()),
            Step::Append(batch) => job.appended(records.append(&batch)),
            Step::Save { failures_at, failures, checkpoint } => {
                job.saved(records.save(failures_at, &failures, &checkpoint));
            }
            Step::Gate(stage) => job.decide(control.gate(&stage)),
            Step::Wait { until } => {
                let most = until.map_or(TICK, |until| until.saturating_sub(clock.now()).min(TICK));
                wait(job, take_back, most, clock);
            }
            Step::Done(end) => return end,
        }
        while let Ok(ran) = take_back.try_recv() {
            job.take_back(ran, clock.now());
        }
    }
}

/// Waits for work to be done, for a time.
fn wait(job: &mut Job, take_back: &Receiver<Ran>, most: Duration, clock: Clock) {
    match take_back.recv_timeout(most) {
        Ok(ran) => job.take_back(ran, clock.now()),
        Err(RecvTimeoutError::Timeout) => {}
        Err(RecvTimeoutError::Disconnected) => thread::sleep(most),
    }
}

/// Runs work until the channel is closed.
fn work_off(
    take: &Mutex<Receiver<Box<Work>>>,
    give_back: &Sender<Ran>,
    store: &dyn Store,
    operation: &dyn Operation,
) {
    loop {
        let taken = take.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(work) = taken else { return };
        if give_back.send(run_work(work, store, operation)).is_err() {
            return;
        }
    }
}
