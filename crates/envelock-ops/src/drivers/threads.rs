//! A driver with threads.

use super::{Control, Records, TICK, consult, now, run_work};
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

/// Runs a job to its end, on this thread and `threads` others.
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
        for _ in 0..threads.max(1) {
            let give_back = give_back.clone();
            scope.spawn(move || work_off(take, &give_back, store, operation));
        }
        let end = drive(job, &give, &take_back, store, operation, records, control);
        // The threads end with the channel.
        drop(give);
        end
    })
}

fn drive(
    job: &mut Job,
    give: &Sender<Box<Work>>,
    take_back: &Receiver<Ran>,
    store: &dyn Store,
    operation: &dyn Operation,
    records: &mut dyn Records,
    control: &mut dyn Control,
) -> End {
    let mut consulted: Option<Instant> = None;
    loop {
        if consulted.is_none_or(|at| at.elapsed() >= TICK) {
            consult(job, control);
            consulted = Some(Instant::now());
        }
        match job.next(now(), operation) {
            Step::List { after, most } => job.listed(store.list(after.as_ref(), most), now()),
            Step::Scan(scan) => job.scanned(scan.run(store), now()),
            Step::Work(work) => {
                // The threads outlive the sender.
                let _ = give.send(work);
            }
            Step::Probe(probe) => job.probed(probe.run(store), now()),
            Step::Append(batch) => job.appended(records.append(&batch)),
            Step::Save { failures_at, failures, checkpoint } => {
                job.saved(records.save(failures_at, &failures, &checkpoint));
            }
            Step::Gate(stage) => job.decide(control.gate(&stage)),
            Step::Wait { until } => {
                let most = until.map_or(TICK, |until| until.saturating_sub(now()).min(TICK));
                wait(job, take_back, most);
            }
            Step::Done(end) => return end,
        }
        while let Ok(ran) = take_back.try_recv() {
            job.take_back(ran, now());
        }
    }
}

/// Waits for work to be done, for a time.
fn wait(job: &mut Job, take_back: &Receiver<Ran>, most: Duration) {
    match take_back.recv_timeout(most) {
        Ok(ran) => job.take_back(ran, now()),
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
