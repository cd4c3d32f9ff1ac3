//! Real kills: a process that rewraps a message in a file, or encrypts it again, is killed at random
//! moments, again and again. The message is never lost, and no process is blocked, while others keep reading it.
//!
//! 280 kills by default; 1,200 under nextest's profile `soak`, and others with `ENVELOCK_SEED=<number>`.

#![cfg(all(feature = "file", unix))]

use crate::common::directory;
use crate::common::is_soak;
use crate::common::mount;
use crate::common::process;

mod drill;
mod race;
mod worker;

use directory::TestDirectory;
use drill::Drill;
use process::Process;
use worker::Manner;

const MODULE: &str = module_path!();

/// The entry of a child; does nothing in the parent.
#[test]
fn child_entry() {
    let Some((role, arguments)) = process::role() else { return };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match (role.as_str(), &arguments[..]) {
        ("work", [path, manner]) => worker::work(path.as_ref(), Manner::named(manner)),
        ("contend", [path, manner, number]) => {
            worker::contend(path.as_ref(), Manner::named(manner), number.parse().unwrap());
        }
        ("race", [place, number]) => race::run(place.as_ref(), number.parse().unwrap()),
        other => panic!("{other:?}"),
    }
}

fn seed() -> u64 {
    let seed = std::env::var("ENVELOCK_SEED").ok().map(|seed| seed.parse().unwrap());
    seed.unwrap_or(0x7265_7772)
}

fn kills(usual: u32) -> u32 {
    if is_soak() { usual * 1_000 / 230 + 1 } else { usual }
}

#[test]
fn no_message_is_lost_by_a_kill() {
    println!("seed {}", seed());
    let place = TestDirectory::new();
    for (manner, usual) in [(Manner::InPlace, 90), (Manner::Copy, 90), (Manner::Reencrypt, 40)] {
        let path = place.join(manner.name());
        println!("{}", Drill::run(&path, manner, kills(usual), seed()));
    }
}

#[test]
fn no_message_is_lost_on_an_ext4_of_its_own() {
    let place = TestDirectory::new();
    let Some(mount) = mount::Mount::ext4(place.path(), 16 << 20) else { return };
    for (manner, usual) in [(Manner::InPlace, 25), (Manner::Copy, 25), (Manner::Reencrypt, 10)] {
        let path = mount.join(manner.name());
        println!("{}", Drill::run(&path, manner, kills(usual), seed() + 1));
    }
}

#[test]
fn sixteen_processes_change_one_message_at_once() {
    for manner in Manner::ALL {
        let place = TestDirectory::new();
        let path = place.join("message");
        worker::create(&path, manner);
        let arguments = |number: u32| {
            [path.to_str().unwrap().to_owned(), manner.name().to_owned(), number.to_string()]
        };
        let mut children: Vec<Process> = (0..16)
            .map(|number| {
                let arguments = arguments(number);
                Process::start(MODULE, "contend", &arguments.each_ref().map(String::as_str))
            })
            .collect();
        children.iter_mut().for_each(|child| child.expect("ready"));
        children.iter_mut().for_each(|child| child.say("go"));
        let mut reads = 0;
        let reader = |reads: &mut u32| {
            worker::check(&path, manner);
            *reads += 1;
        };
        let mut done = 0;
        for child in children {
            reader(&mut reads);
            done += child.end().iter().filter(|line| *line == "done").count();
            reader(&mut reads);
        }
        println!("{manner:?}: {done} changes by 16 processes, {reads} reads beside");
        assert_eq!(done, 16 * worker::ROUNDS as usize);
        assert_eq!(drill::leftovers(&path), [""; 0]);
        worker::check(&path, manner);
    }
}
