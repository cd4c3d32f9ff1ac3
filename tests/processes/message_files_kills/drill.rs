//! Kills a worker, looks at what it left, and goes on from there.

use crate::common::process::Process;
use crate::message_files_kills::worker::{Manner, check, create};
use envelock::rand_core::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// How many changes a worker is left to finish, at most.
const MOST_FINISHED: u32 = 3;

/// How many times as many kills as are asked for there are at most.
const MOST_TIMES: u32 = 20;

/// Where the kills hit.
#[derive(Default)]
pub struct Report {
    kills: u32,
    /// A journal or an unfinished copy was there still.
    leftover: u32,
    /// The header was newer than what was acknowledged.
    newer: u32,
    /// How often another process read the message meanwhile.
    reads: u32,
    acknowledged: u32,
    took: Duration,
}

impl Report {
    /// Whether so many kills hit a change. Of a copy nothing is seen before it has its name.
    fn has_hit(&self, manner: Manner, torn: u32) -> bool {
        self.leftover + self.newer >= torn && (manner != Manner::InPlace || self.leftover >= 1)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { kills, leftover, newer, reads, acknowledged, took } = self;
        write!(
            f,
            "{kills} kills in {took:?}: {leftover} left a journal or a copy, {newer} a newer \
             header than acknowledged; {acknowledged} changes acknowledged, {reads} reads beside"
        )
    }
}

pub struct Drill<'a> {
    path: &'a Path,
    manner: Manner,
    rng: ChaCha20Rng,
    /// How long a change takes, of late.
    typical: Duration,
    report: Report,
}

impl Drill<'_> {
    /// Kills so often, and then on until enough kills hit a change for this to be a test: where they
    /// hit is the machine's.
    pub fn run(path: &Path, manner: Manner, kills: u32, seed: u64) -> Report {
        create(path, manner);
        let started = Instant::now();
        let is_over = AtomicBool::new(false);
        let mut drill = Drill {
            path,
            manner,
            rng: ChaCha20Rng::seed_from_u64(seed),
            typical: Duration::from_millis(5),
            report: Report::default(),
        };
        thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut reads = 0;
                loop {
                    check(path, manner);
                    reads += 1;
                    if is_over.load(Relaxed) {
                        break reads;
                    }
                    // It is to look on, not to take the processor.
                    thread::sleep(Duration::from_millis(2));
                }
            });
            // Whatever fails here, the reader has to hear of the end.
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                drill.kill(kills);
            }));
            is_over.store(true, Relaxed);
            drill.report.reads = reader.join().unwrap();
            outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        });
        drill.report.took = started.elapsed();
        drill.report
    }

    fn kill(&mut self, kills: u32) {
        while self.report.kills < kills || !self.report.has_hit(self.manner, kills / 10) {
            assert!(self.report.kills < kills * MOST_TIMES, "the kills miss: {}", self.report);
            self.kill_one();
        }
    }

    /// Starts a worker, lets it finish a few changes, and kills it some time after it began
    /// another one.
    fn kill_one(&mut self) {
        let path = self.path.to_str().unwrap();
        let mut worker = Process::start(super::MODULE, "work", &[path, self.manner.name()]);
        let mut acknowledged = check(self.path, self.manner);
        for _ in 0..self.rng.next_u32() % (MOST_FINISHED + 1) {
            worker.must_hear();
            let began = Instant::now();
            acknowledged = done(&worker.must_hear());
            self.report.acknowledged += 1;
            // Most kills are to hit a write, whatever else the machine does.
            self.typical = (self.typical * 7 + began.elapsed()) / 8;
        }
        let mut started = number_of(&worker.must_hear(), "start ");
        let delay = self.typical.mul_f64(f64::from(self.rng.next_u32() % 1_024) / 900.0);
        thread::sleep(delay);
        worker.kill();
        // Its output from before the kill is still in the pipe.
        while let Some(line) = worker.hear() {
            match line.strip_prefix("start ") {
                Some(number) => started = number.parse().unwrap(),
                None => acknowledged = done(&line),
            }
        }
        self.report.kills += 1;
        self.report.leftover += u32::from(!leftovers(self.path).is_empty());
        let found = check(self.path, self.manner);
        assert!((acknowledged..=started.max(acknowledged)).contains(&found), "{found}");
        self.report.newer += u32::from(found > acknowledged);
        // Every other time the next worker finds what this one left.
        if self.rng.next_u32().is_multiple_of(2) {
            let envelope = self.manner.envelope();
            envelope.keyring().promote(found + 1);
            self.manner.change(&envelope, self.path).unwrap();
            assert_eq!(leftovers(self.path), [""; 0]);
            assert_eq!(check(self.path, self.manner), found + 1);
        }
    }
}

fn number_of(line: &str, before: &str) -> u32 {
    line.strip_prefix(before).unwrap().parse().unwrap()
}

fn done(line: &str) -> u32 {
    number_of(line, "done ")
}

/// Files beside a message that are no messages.
pub fn leftovers(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path.parent().unwrap()).unwrap();
    let start = format!(".{}.", path.file_name().unwrap().to_str().unwrap());
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(&start)).collect()
}
