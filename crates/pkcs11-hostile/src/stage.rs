//! What is armed, what has struck, and what has been called: the one state that commands change.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cryptoki_sys::{CK_RV, CK_ULONG};

use crate::catalogue::Lie;
use crate::functions::Function;
use crate::script::{Command, Fault, Order};
use crate::storm::Storm;
use crate::{overlaps, sessions, slots};

struct Stage {
    armed: Vec<Order>,
    storm: Option<Storm>,
    dead: Option<CK_RV>,
    /// Changes when sleepers shall wake.
    generation: u64,
}

static STAGE: Mutex<Stage> =
    Mutex::new(Stage { armed: Vec::new(), storm: None, dead: None, generation: 0 });
static WAKE: Condvar = Condvar::new();
static CALLS: [AtomicU64; Function::ALL.len()] = [const { AtomicU64::new(0) }; _];
static INJECTED: AtomicU64 = AtomicU64::new(0);

/// Longest sleep there is, so that no clock overflows.
const LONGEST_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

fn stage() -> MutexGuard<'static, Stage> {
    STAGE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Carries commands out, all of them at one moment.
pub(crate) fn obey(commands: &[Command]) {
    let mut stage = stage();
    for command in commands {
        match command {
            Command::Arm(order) => stage.armed.push(*order),
            Command::Storm(order) => stage.storm = Some(Storm::new(*order)),
            Command::Clear | Command::Reset => {
                stage.armed.clear();
                stage.storm = None;
                stage.generation += 1;
                WAKE.notify_all();
            }
        }
        if *command == Command::Reset {
            stage.dead = None;
            CALLS.iter().for_each(|calls| calls.store(0, Ordering::Relaxed));
            INJECTED.store(0, Ordering::Relaxed);
            overlaps::forget();
            sessions::forget_operations();
            slots::restore();
        }
    }
}

pub(crate) fn count(function: Function) {
    CALLS[function.index()].fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn calls(function: Function) -> u64 {
    CALLS[function.index()].load(Ordering::Relaxed)
}

pub(crate) fn injected() -> u64 {
    INJECTED.load(Ordering::Relaxed)
}

/// Where a fault came from, so that one that could not be injected can be given back.
#[derive(Clone, Copy)]
pub(crate) enum Source {
    Order(Order),
    Storm,
}

/// What happens to a call before it is forwarded.
pub(crate) enum Next {
    Nothing,
    Dead(CK_RV),
    Strike(Fault, Source),
}

/// The next fault on this call among those that need to know no more of it than its function;
/// whoever carries it out notes it, or gives it back.
pub(crate) fn next(function: Function) -> Next {
    let mut stage = stage();
    if let Some(code) = stage.dead
        && !function.is_spared()
    {
        return Next::Dead(code);
    }
    let general = |fault: &Fault| !matches!(fault, Fault::Lie(..) | Fault::Delay(_));
    let ordered = stage.take(function, general);
    let stormy = match ordered {
        None => stage.storm.as_mut().and_then(|storm| storm.draw(function)),
        Some(_) => None,
    };
    let (fault, source) = match (ordered, stormy) {
        (Some(order), _) => (order.fault, Source::Order(order)),
        (None, Some(fault)) => (fault, Source::Storm),
        (None, None) => return Next::Nothing,
    };
    if let Fault::Dead(code) = fault {
        stage.dead = Some(code);
    }
    Next::Strike(fault, source)
}

/// Takes back a fault that found nothing to harm: it waits for the next call.
pub(crate) fn refund(source: Source) {
    let mut stage = stage();
    match source {
        Source::Storm => stage.storm.iter_mut().for_each(Storm::refund),
        // Spent orders stay in the list, so it is there unless the test has cleared it since.
        Source::Order(order) => {
            let same = |armed: &&mut Order| armed.fault == order.fault && armed.on == order.on;
            if let Some(left) = stage.armed.iter_mut().find(same).and_then(|o| o.times.as_mut()) {
                *left += 1;
            }
        }
    }
}

/// The device has been finalised, which is what revives a dead one.
pub(crate) fn revive() {
    stage().dead = None;
}

/// The lie to tell on this call, among those wanted, with its argument.
///
/// `wanted` says whether a lie makes sense here; a call on which it does not is not counted.
pub(crate) fn lie(function: Function, wanted: impl Fn(Lie) -> bool) -> Option<(Lie, CK_ULONG)> {
    let order = stage().take(function, |fault| match fault {
        Fault::Lie(lie, _) => wanted(*lie),
        _ => false,
    })?;
    note(function, &order.fault);
    match order.fault {
        Fault::Lie(lie, argument) => Some((lie, argument)),
        _ => None,
    }
}

/// Sleeps as long as is ordered for this call, or until `clear` or `reset`. No lock is held
/// meanwhile but the one that a sleeper gives up.
pub(crate) fn sleep(function: Function) {
    let mut stage = stage();
    let Some(order) = stage.take(function, |fault| matches!(fault, Fault::Delay(_))) else {
        return;
    };
    note(function, &order.fault);
    let Fault::Delay(ms) = order.fault else { return };
    let generation = stage.generation;
    let longest = Duration::from_millis(ms).min(LONGEST_DELAY);
    let slept = WAKE.wait_timeout_while(stage, longest, |stage| stage.generation == generation);
    drop(slept);
}

/// Counts a fault, and tells of it where the environment asks for that.
pub(crate) fn note(function: Function, fault: &Fault) {
    INJECTED.fetch_add(1, Ordering::Relaxed);
    if std::env::var_os("HOSTILE_TRACE").is_some() {
        eprintln!("hostile: {}: {fault:x?}", function.name());
    }
}

impl Stage {
    /// Counts the call for every matching order, and takes the first that is due.
    fn take(&mut self, function: Function, wanted: impl Fn(&Fault) -> bool) -> Option<Order> {
        let mut due = None;
        for order in &mut self.armed {
            if !order.covers(function) || !wanted(&order.fault) {
                continue;
            }
            if order.after > 0 {
                order.after -= 1;
            } else if due.is_none() && order.times != Some(0) {
                order.times = order.times.map(|times| times - 1);
                due = Some(*order);
            }
        }
        due
    }
}
