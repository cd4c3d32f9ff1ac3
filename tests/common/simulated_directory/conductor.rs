//! Every interleaving of the system calls of several processes.
//!
//! Processes are threads that wait before each call until the conductor lets one of them go on. It
//! tries all orders, and the death of processes at any call, depth first, each from the beginning.
//! Two orders that leave the same files, and in which each process got the same results, go on alike,
//! so that only one of them is continued.

use super::schedule::{self, role};
use super::{Call, Kind, SimulatedDirectory};
use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Condvar, Mutex, MutexGuard};

/// The next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The process makes its next call.
    Call(usize),
    /// It is killed before its next call.
    Kill(usize),
}

/// How much is tried.
#[derive(Clone, Copy, Debug)]
pub struct Depth {
    /// How many processes are killed at most.
    pub kills: usize,
    /// Whether calls that no other process can see are tried in every order too.
    pub is_full: bool,
}

#[derive(Default)]
struct Process {
    /// Whether it waits to make a call.
    waits: bool,
    has_ended: bool,
    is_killed: bool,
    /// All that it was answered so far.
    history: u64,
    /// The number of releases of locks when it last met one that was taken.
    blocked_at: Option<u64>,
    /// How many files it has created.
    files: u64,
}

#[derive(Default)]
struct State {
    processes: Vec<Process>,
    granted: Option<usize>,
    releases: u64,
    /// The creator of a file, and its number among that process's files.
    creators: BTreeMap<u64, (usize, u64)>,
    /// The calls on a file.
    contents: BTreeMap<u64, u64>,
}

/// See the module.
pub struct Conductor {
    state: Mutex<State>,
    depth: Depth,
    /// A process waits, or has ended.
    arrived: Condvar,
    /// The process of that role may go on.
    granted: Vec<Condvar>,
}

fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl Conductor {
    fn new(processes: usize, depth: Depth) -> Self {
        let granted = (0..processes).map(|_| Condvar::new()).collect();
        Conductor { state: Mutex::default(), depth, arrived: Condvar::new(), granted }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Waits for the turn of the calling process; whether it is alive.
    pub fn arrive(&self, is_private: bool) -> bool {
        let role = role();
        let mut state = self.lock();
        if !state.processes[role].is_killed {
            // A call that no other process observes is done at once.
            if is_private && !self.depth.is_full {
                return true;
            }
            state.processes[role].waits = true;
            self.arrived.notify_one();
            let waits = |state: &mut State| state.granted != Some(role);
            state = self.granted[role].wait_while(state, waits).unwrap();
            state.granted = None;
            state.processes[role].waits = false;
        }
        !state.processes[role].is_killed
    }

    /// Notes what a process was answered: `seen` is all that the result can depend on, and `is_taken`
    /// whether it is that another one has a lock.
    pub(super) fn answered(&self, call: &Call, seen: u64, is_taken: bool) {
        let mut state = self.lock();
        let role = call.role;
        let releases = state.releases;
        let process = &mut state.processes[role];
        process.history = hash((process.history, call.kind, seen, call.failed));
        process.blocked_at = is_taken.then_some(releases);
        let changes =
            matches!(call.kind, Kind::Write | Kind::WriteAt | Kind::SetMode | Kind::SetOwner);
        if let Some(inode) = call.inode.filter(|_| changes && !call.failed) {
            let content = state.contents.entry(inode).or_default();
            *content = hash((*content, role, call.kind, call.range));
        }
    }

    /// Notes a file that the calling process has created.
    pub(super) fn created(&self, inode: u64) {
        let mut state = self.lock();
        let role = role();
        if let Some(process) = state.processes.get_mut(role) {
            process.files += 1;
            let number = process.files;
            state.creators.insert(inode, (role, number));
        }
    }

    pub(super) fn released(&self) {
        self.lock().releases += 1;
    }

    /// The state of a file, whatever its inode number.
    pub(super) fn known(&self, inode: Option<u64>, links: u64) -> u64 {
        let state = self.lock();
        hash(inode.map(|inode| {
            let planted = (usize::MAX, inode);
            let creator = state.creators.get(&inode).copied().unwrap_or(planted);
            (creator, state.contents.get(&inode).copied(), links)
        }))
    }

    /// Waits until no process runs.
    fn settle(&self) -> MutexGuard<'_, State> {
        let runs = |state: &mut State| {
            state.granted.is_some() || state.processes.iter().any(|p| !p.has_ended && !p.waits)
        };
        self.arrived.wait_while(self.lock(), runs).unwrap()
    }

    fn go(&self, step: Step) {
        let mut state = self.lock();
        let role = match step {
            Step::Call(role) => role,
            Step::Kill(role) => {
                state.processes[role].is_killed = true;
                role
            }
        };
        state.granted = Some(role);
        self.granted[role].notify_one();
    }

    /// The steps that are possible now.
    fn steps(&self) -> Vec<Step> {
        let state = self.settle();
        let alive = || state.processes.iter().enumerate().filter(|(_, p)| !p.has_ended);
        let is_free = |p: &Process| p.blocked_at.is_none_or(|at| at != state.releases);
        let mut steps: Vec<_> =
            alive().filter(|(_, p)| is_free(p)).map(|(role, _)| Step::Call(role)).collect();
        assert!(!steps.is_empty() || alive().next().is_none(), "each waits for another's lock");
        if state.processes.iter().filter(|p| p.is_killed).count() < self.depth.kills {
            steps.extend(alive().map(|(role, _)| Step::Kill(role)));
        }
        steps
    }

    fn fingerprint(&self, directory: &SimulatedDirectory) -> u64 {
        let names = directory.known_names(self);
        let state = self.lock();
        let processes: Vec<_> = state
            .processes
            .iter()
            .map(|p| (p.history, p.has_ended, p.is_killed, p.blocked_at == Some(state.releases)))
            .collect();
        hash((names, processes))
    }
}

/// The work of one process, with its result.
pub type Work<'a, T> = Box<dyn Fn(&SimulatedDirectory) -> T + Send + Sync + 'a>;

/// One order, run to its end.
pub struct Outcome<T> {
    pub steps: Vec<Step>,
    /// The result of each process, unless it was killed.
    pub answers: Vec<Option<T>>,
    pub directory: SimulatedDirectory,
}

/// How much was tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Explored {
    pub runs: usize,
    pub states: usize,
    pub ends: usize,
}

/// Runs all orders of `works` on what `make` returns; calls `look` in every state, and `check` at
/// every end.
pub fn explore<T: Send>(
    depth: Depth,
    make: impl Fn() -> SimulatedDirectory,
    works: &[Work<'_, T>],
    mut look: impl FnMut(&SimulatedDirectory, bool),
    mut check: impl FnMut(Outcome<T>),
) -> Explored {
    let mut explored = Explored::default();
    let (mut visited, mut pending) = (HashSet::new(), vec![Vec::new()]);
    while let Some(prefix) = pending.pop() {
        explored.runs += 1;
        let directory = make();
        let conductor = std::sync::Arc::new(Conductor::new(works.len(), depth));
        directory.set_conductor(Some(conductor.clone()));
        let (steps, answers) = std::thread::scope(|scope| {
            let threads: Vec<_> = works
                .iter()
                .enumerate()
                .map(|(role, work)| {
                    let (conductor, directory) = (&conductor, &directory);
                    conductor.lock().processes.push(Process::default());
                    let thread = scope.spawn(move || {
                        let ended = Ended(conductor, role);
                        let answer = schedule::in_role(role, || work(directory));
                        drop(ended);
                        answer
                    });
                    // One process runs at a time, so that each run of an order is the same.
                    drop(conductor.settle());
                    thread
                })
                .collect();
            let order = catch_unwind(AssertUnwindSafe(|| {
                let mut steps = Vec::new();
                loop {
                    let possible = conductor.steps();
                    look(&directory, steps.is_empty());
                    let step = match prefix.get(steps.len()) {
                        Some(step) => *step,
                        None if possible.is_empty() => return Some(steps),
                        None if !visited.insert(conductor.fingerprint(&directory)) => return None,
                        None => {
                            for other in &possible[1..] {
                                pending.push([&steps[..], &[*other]].concat());
                            }
                            possible[0]
                        }
                    };
                    steps.push(step);
                    conductor.go(step);
                }
            }));
            // No process is left waiting.
            for role in 0..works.len() {
                if !conductor.settle().processes[role].has_ended {
                    conductor.go(Step::Kill(role));
                }
            }
            drop(conductor.settle());
            let steps = order.unwrap_or_else(|panic| resume_unwind(panic));
            let answers: Vec<T> = threads.into_iter().map(|t| t.join().unwrap()).collect();
            (steps, answers)
        });
        directory.set_conductor(None);
        // An order that was not continued has no end of its own.
        if let Some(steps) = steps {
            explored.ends += 1;
            let state = conductor.lock();
            let is_killed = |role: usize| state.processes[role].is_killed;
            let answers = answers.into_iter().enumerate();
            let answers = answers.map(|(role, a)| (!is_killed(role)).then_some(a)).collect();
            check(Outcome { steps, answers, directory });
        }
    }
    explored.states = visited.len();
    explored
}

/// Reports to the conductor that a process has ended, also by a panic.
struct Ended<'a>(&'a Conductor, usize);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.lock().processes[self.1].has_ended = true;
        self.0.arrived.notify_one();
    }
}

impl SimulatedDirectory {
    pub fn set_conductor(&self, conductor: Option<std::sync::Arc<Conductor>>) {
        self.state().conductor = conductor;
    }

    /// The target of each name, and the process that has locked it; random names by their targets.
    fn known_names(&self, conductor: &Conductor) -> Vec<(OsString, u64, Option<usize>)> {
        let state = self.state();
        let mut names: Vec<_> = state
            .disk
            .list()
            .into_iter()
            .map(|name| {
                let inode = state.disk.lookup(&name);
                let known = conductor.known(inode, inode.map_or(0, |i| state.disk.links(i)));
                let holder = inode.and_then(|inode| state.locks.get(&inode));
                let holder = holder.and_then(|id| state.holders.get(id)).copied();
                (plain(&name), known, holder)
            })
            .collect();
        names.sort();
        names
    }
}

/// A name, without what is random in it.
pub(super) fn plain(name: &OsStr) -> OsString {
    let is_random = name.to_string_lossy().ends_with(".envelock-partial");
    if is_random { "unfinished".into() } else { name.to_os_string() }
}
