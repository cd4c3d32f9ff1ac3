//! One process of a job, which is killed in any step, with whatever it was about to write.

use super::world::{Keys, World};
use crate::common::MemoryRecords;
use envelock_ops::drivers::Records;
use envelock_ops::{Call, End, Job, Step, Store, Work};
use std::time::Duration;

/// How a process ended.
pub enum Ended {
    Killed,
    End(Box<End>),
}

/// Runs one process of a job, which can be killed in every step.
pub fn process(
    world: &mut World,
    job: &mut Job,
    keys: &Keys,
    records: &mut MemoryRecords,
) -> Ended {
    // With the time when each was given out: what changes later is not the fault of the job.
    let mut out: Vec<(Duration, Box<Work>)> = Vec::new();
    for _ in 0..100_000 {
        world.interfere();
        world.now += Duration::from_millis(1);
        if world.rotates && world.random.one_in(30) {
            world.now += Duration::from_secs(3);
        }
        if world.operates && world.random.one_in(20) {
            job.set_limits(world.limits());
        }
        let dies = world.kills > 0 && world.random.one_in(60);
        world.kills -= u32::from(dies);
        if !out.is_empty() && world.random.one_in(2) {
            let at = world.random.below(out.len() as u64) as usize;
            match one_call(&mut out[at], world, keys, dies) {
                Progress::Killed => return Ended::Killed,
                Progress::Returned => job.done(out.swap_remove(at).1, world.now),
                Progress::Called => {}
            }
            continue;
        }
        let store = &world.store;
        match job.next(world.now, keys) {
            Step::List { after, most } => job.listed(store.list(after.as_ref(), most), world.now),
            Step::Scan(scan) => job.scanned(scan.run(store), world.now),
            Step::Work(work) => out.push((world.now, work)),
            Step::Probe(probe) => job.probed(probe.run(store), world.now),
            Step::Append(batch) if dies => {
                world.interrupted_append(records, &batch);
                return Ended::Killed;
            }
            Step::Append(batch) => job.appended(records.append(&batch)),
            Step::Save { failures_at, failures, checkpoint } if dies => {
                world.interrupted_save(records, failures_at, &failures, &checkpoint);
                return Ended::Killed;
            }
            Step::Save { failures_at, failures, checkpoint } => {
                job.saved(records.save(failures_at, &failures, &checkpoint));
            }
            Step::Gate(_) => job.decide(!world.random.one_in(8)),
            Step::Wait { until } => match until {
                Some(until) if out.is_empty() => world.now = world.now.max(until),
                _ => {}
            },
            Step::Done(end) => return Ended::End(Box::new(end)),
            step => panic!("{step:?}"),
        }
        if dies {
            return Ended::Killed;
        }
    }
    panic!("the job does not end");
}

enum Progress {
    Called,
    Returned,
    Killed,
}

fn one_call(
    (given, work): &mut (Duration, Box<Work>),
    world: &mut World,
    keys: &Keys,
    dies: bool,
) -> Progress {
    let call = work.next(keys);
    match &call {
        Call::Replace { item, expected, new } => {
            world.check_new(item, expected.header, new, *given)
        }
        Call::Rewrite { item, expected, new } => {
            world.check_new(item, expected.header, new.header(), *given);
        }
        _ => {}
    }
    match call {
        Call::Read(item) => {
            let read = world.store.read(item);
            work.was_read(read);
        }
        Call::Replace { item, expected, new } if dies => {
            world.store.interrupted_replace(item, expected.header, new);
        }
        Call::Rewrite { item, expected, new } if dies => {
            world.store.interrupted_rewrite(item, expected, new);
        }
        Call::Rewrite { item, expected, new } => {
            let rewritten = world.store.rewrite(item, expected, new);
            work.was_written(rewritten);
        }
        Call::Replace { item, expected, new } => {
            let replaced = world.store.replace(item, expected, new);
            work.was_written(replaced);
        }
        Call::Settle { item, expected } => {
            let settled = world.store.settle(item, expected);
            work.was_written(settled);
        }
        Call::Return => return Progress::Returned,
        call => panic!("{call:?}"),
    }
    if dies { Progress::Killed } else { Progress::Called }
}

/// The records of a job, whose writes can be cut off.
impl World {
    fn interrupted_append(&mut self, records: &mut MemoryRecords, batch: &[u8]) {
        let len = self.random.below(batch.len() as u64 + 1) as usize;
        let mut part = batch[..len].to_vec();
        if self.random.one_in(3) && len > 0 {
            // A block that did not reach the medium before one behind it.
            let at = self.random.below(len as u64) as usize;
            part[at..].iter_mut().take(30).for_each(|byte| *byte = 0);
        }
        records.undo.extend(part);
    }

    fn interrupted_save(
        &mut self,
        records: &mut MemoryRecords,
        at: u64,
        failures: &[u8],
        new: &[u8],
    ) {
        match self.random.below(3) {
            0 => {}
            1 => {
                let old = records.checkpoint.take();
                records.save(at, failures, new).unwrap();
                records.checkpoint = old;
            }
            _ => records.save(at, failures, new).unwrap(),
        }
    }
}
