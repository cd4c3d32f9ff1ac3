//! The state that commands change: armed faults, and counts of calls and faults.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cryptoki_sys::{CK_RV, CK_ULONG};

use crate::commands::{ArmedFault, Command, Fault};
use crate::functions::Function;
use crate::random_faults::RandomFaults;
use crate::wrong_results::WrongResult;
use crate::{overlaps, sessions, slots};

struct State {
    armed: Vec<ArmedFault>,
    random: Option<RandomFaults>,
    dead: Option<CK_RV>,
    /// How often sleeping calls were woken.
    wakes: u64,
}

static STATE: Mutex<State> =
    Mutex::new(State { armed: Vec::new(), random: None, dead: None, wakes: 0 });
static WAKE: Condvar = Condvar::new();
static CALLS: [AtomicU64; Function::ALL.len()] = [const { AtomicU64::new(0) }; _];
static INJECTED: AtomicU64 = AtomicU64::new(0);

/// The longest sleep, so that no clock overflows.
const MAX_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs commands, all of them under one lock.
pub(crate) fn run(commands: &[Command]) {
    let mut state = state();
    for command in commands {
        match command {
            Command::Arm(armed) => state.armed.push(*armed),
            Command::Random(options) => state.random = Some(RandomFaults::new(*options)),
            Command::Clear | Command::Reset => {
                state.armed.clear();
                state.random = None;
                state.wakes += 1;
                WAKE.notify_all();
            }
        }
        if *command == Command::Reset {
            state.dead = None;
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

/// The source of a fault, to which a fault that could not be injected is returned.
#[derive(Clone, Copy)]
pub(crate) enum FaultSource {
    Armed(ArmedFault),
    Random,
}

/// The fault of a call before it is forwarded.
pub(crate) enum Next {
    Nothing,
    Dead(CK_RV),
    Inject(Fault, FaultSource),
}

/// The next fault of this call that does not depend on its arguments. The caller records it, or
/// returns it by [`put_back`].
pub(crate) fn next(function: Function) -> Next {
    let mut state = state();
    if let Some(code) = state.dead
        && !function.is_excluded()
    {
        return Next::Dead(code);
    }
    let general = |fault: &Fault| !matches!(fault, Fault::Wrong(..) | Fault::Delay(_));
    let armed = state.take(function, general);
    let random = match armed {
        None => state.random.as_mut().and_then(|random| random.draw(function)),
        Some(_) => None,
    };
    let (fault, source) = match (armed, random) {
        (Some(armed), _) => (armed.fault, FaultSource::Armed(armed)),
        (None, Some(fault)) => (fault, FaultSource::Random),
        (None, None) => return Next::Nothing,
    };
    if let Fault::Dead(code) = fault {
        state.dead = Some(code);
    }
    Next::Inject(fault, source)
}

/// Takes back a fault that changed nothing, so that the next call has it.
pub(crate) fn put_back(source: FaultSource) {
    let mut state = state();
    match source {
        FaultSource::Random => state.random.iter_mut().for_each(RandomFaults::put_back),
        // Used faults stay in the list, so it is there unless the test has cleared it since.
        FaultSource::Armed(taken) => {
            let same = |armed: &&mut ArmedFault| armed.fault == taken.fault && armed.on == taken.on;
            if let Some(left) = state.armed.iter_mut().find(same).and_then(|it| it.times.as_mut()) {
                *left += 1;
            }
        }
    }
}

/// Ends the fault of a dead device, after C_Finalize.
pub(crate) fn revive() {
    state().dead = None;
}

/// The wrong result of this call, among those that `applies` accepts, with its argument. A call that
/// `applies` excludes does not count.
pub(crate) fn wrong_result(
    function: Function,
    applies: impl Fn(WrongResult) -> bool,
) -> Option<(WrongResult, CK_ULONG)> {
    let armed = state().take(function, |fault| match fault {
        Fault::Wrong(wrong, _) => applies(*wrong),
        _ => false,
    })?;
    record(function, &armed.fault);
    match armed.fault {
        Fault::Wrong(wrong, argument) => Some((wrong, argument)),
        _ => None,
    }
}

/// Sleeps for the delay of this call, or until `clear` or `reset`. Other calls go on meanwhile.
pub(crate) fn sleep(function: Function) {
    let mut state = state();
    let Some(armed) = state.take(function, |fault| matches!(fault, Fault::Delay(_))) else {
        return;
    };
    record(function, &armed.fault);
    let Fault::Delay(ms) = armed.fault else { return };
    let wakes = state.wakes;
    let longest = Duration::from_millis(ms).min(MAX_DELAY);
    let slept = WAKE.wait_timeout_while(state, longest, |state| state.wakes == wakes);
    drop(slept);
}

/// Counts a fault, and prints it if the environment asks for that.
pub(crate) fn record(function: Function, fault: &Fault) {
    INJECTED.fetch_add(1, Ordering::Relaxed);
    if std::env::var_os("HOSTILE_TRACE").is_some() {
        eprintln!("hostile: {}: {fault:x?}", function.name());
    }
}

impl State {
    /// Counts the call for every matching fault, and takes the first one that is due.
    fn take(&mut self, function: Function, wanted: impl Fn(&Fault) -> bool) -> Option<ArmedFault> {
        let mut due = None;
        for armed in &mut self.armed {
            if !armed.covers(function) || !wanted(&armed.fault) {
                continue;
            }
            if armed.after > 0 {
                armed.after -= 1;
            } else if due.is_none() && armed.times != Some(0) {
                armed.times = armed.times.map(|times| times - 1);
                due = Some(*armed);
            }
        }
        due
    }
}
