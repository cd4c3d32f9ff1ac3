//! Runs every operation on secrets under memcheck, with the secrets marked undefined: a branch or
//! an address that depends on one is reported (THREATS 41, 42 and 43, figure G18).
//!
//! `ci/constant_time.sh` builds and runs it. What a verdict decides (a tag, a commitment or a
//! check is right or wrong; a master key is not all zero) is public: the script suppresses
//! reports of these branches alone, each by its name.

mod blocks;
mod cpu;
mod entries;
mod leaks;
mod memcheck;

use std::process::ExitCode;

/// One operation on secrets, and how it is to end.
struct Entry {
    name: String,
    run: Box<dyn Fn()>,
}

fn main() -> ExitCode {
    if !memcheck::is_running() {
        eprintln!("run this under valgrind: see ci/constant_time.sh");
        return ExitCode::FAILURE;
    }
    if std::env::args().any(|argument| argument == "--cpu") {
        cpu::main();
        println!("{}", envelock::Provider::default());
        return ExitCode::SUCCESS;
    }
    let leaking = std::env::args().any(|argument| argument == "--leak");
    let entries = if leaking { leaks::all() } else { entries::all() };
    let mut wrong = 0;
    for entry in &entries {
        let before = memcheck::reports();
        (entry.run)();
        let reports = memcheck::reports() - before;
        println!("{reports:4} reports  {}", entry.name);
        wrong += usize::from((reports > 0) != leaking);
    }
    println!("{} entry points, {wrong} not as expected", entries.len());
    if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
