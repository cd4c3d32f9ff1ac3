//! Real kills: a process that changes a key file is killed at random moments, again and again. No
//! acknowledged change is lost, and no process is blocked, while another process keeps decrypting.
//!
//! 200 kills and more by default; 1,000 under nextest's profile `soak`, and others with
//! `ENVELOCK_SEED=<number>`.

#![cfg(all(feature = "file", unix))]

use crate::common::directory;
use crate::common::is_soak;
use crate::common::key_files;
use crate::common::mount;
use crate::common::process;

mod drill;
mod model;
mod worker;

use directory::TestDirectory;
use drill::Drill;
use std::time::Duration;

const MODULE: &str = module_path!();

/// The entry of a child; does nothing in the parent.
#[test]
fn child_entry() {
    let Some((role, arguments)) = process::role() else { return };
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match (role.as_str(), &arguments[..]) {
        ("work", [path, key, protect, seed]) => {
            worker::work(path, key.parse().unwrap(), *protect == "protect", seed.parse().unwrap());
        }
        ("read", [path]) => {
            let (refresh, rest) = (Duration::from_millis(10), Duration::from_millis(5));
            key_files::read_until_the_end(path, refresh, rest);
        }
        other => panic!("{other:?}"),
    }
}

fn seed() -> u64 {
    let seed = std::env::var("ENVELOCK_SEED").ok().map(|seed| seed.parse().unwrap());
    seed.unwrap_or(0x6b69_6c6c)
}

#[test]
fn nothing_that_was_acknowledged_is_lost_by_a_kill() {
    let (kills, protected) = if is_soak() { (750, 250) } else { (150, 60) };
    let directory = TestDirectory::new();
    println!("seed {}", seed());
    let mut drill = Drill::new(directory.path(), "orders.keys", seed());
    drill.start_reader();
    drill.run(kills);
    println!("{}", drill.end());

    // A reader cannot follow the file under another protection, so none reads here.
    let mut drill = Drill::new(directory.path(), "moving.keys", seed() + 1);
    drill.change_protection();
    drill.run(protected);
    println!("{}", drill.end());
}

#[test]
fn nothing_is_lost_on_an_ext4_of_its_own() {
    let kills = if is_soak() { 250 } else { 50 };
    let directory = TestDirectory::new();
    let Some(mount) = mount::Mount::ext4(directory.path(), 16 << 20) else { return };
    let mut drill = Drill::new(mount.path(), "orders.keys", seed() + 2);
    drill.start_reader();
    drill.run(kills);
    println!("{}", drill.end());
}
