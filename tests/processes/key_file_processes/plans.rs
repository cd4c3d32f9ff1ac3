//! Sixteen processes apply one and the same plan.

use crate::common::directory::TestDirectory;
use crate::common::key_files::{raw, text};
use crate::common::process::{Process, listen, send};
use envelock::{FileKeyring, Lifecycle, OsRandom, RotationPolicy, policy::PlanOutcome};
use std::time::Duration;

const PROCESSES: usize = 16;
const ROUNDS: u32 = 5;

/// A child: makes the plan, reports its change number, and applies it on a signal.
pub fn apply(path: &str) {
    let keyring = FileKeyring::open_any(path, &raw(7)).unwrap();
    while listen().is_some() {
        let keysets = keyring.keysets().unwrap();
        let primary = keysets.keyset("orders").unwrap().primary_record().unwrap();
        let now = primary.promoted.unwrap().plus(Duration::from_secs(91 * 86_400));
        let plan = RotationPolicy::every_90_days().plan(&keysets, "orders", now).unwrap();
        send(&keysets.change().to_string());
        listen().unwrap();
        send(word(plan.apply_at(&keyring, now, &mut OsRandom).unwrap(), plan.change()));
    }
}

/// As [`apply`], of the plans of all keys.
pub fn apply_all(path: &str) {
    let keyring = FileKeyring::open_any(path, &raw(7)).unwrap();
    while listen().is_some() {
        let keysets = keyring.keysets().unwrap();
        let primary = keysets.keyset("orders").unwrap().primary_record().unwrap();
        let now = primary.promoted.unwrap().plus(Duration::from_secs(91 * 86_400));
        let plans = RotationPolicy::every_90_days().plan_all(&keysets, now);
        send(&keysets.change().to_string());
        listen().unwrap();
        send(word(plans.apply_at(&keyring, now, &mut OsRandom).unwrap(), plans.change()));
    }
}

fn word(applied: PlanOutcome, planned: u64) -> &'static str {
    match applied {
        PlanOutcome::Applied(changed) if changed.change == planned + 1 => "done",
        // Exactly the change of the one who came first.
        PlanOutcome::Superseded { change } if change == planned + 1 => "superseded",
        other => panic!("{other:?}"),
    }
}

#[test]
fn plan_of_16_processes_rotates_exactly_once() {
    race("apply", &[]);
}

#[test]
fn plans_of_all_keys_of_16_processes_apply_once() {
    race("apply all", &["acme", "globex"]);
}

fn race(role: &str, more: &[&str]) {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let keyring = FileKeyring::create(&path, "orders", &raw(7)).unwrap();
    more.iter().for_each(|name| drop(keyring.create_key(name).unwrap()));
    let mut processes: Vec<_> =
        (0..PROCESSES).map(|_| Process::start(super::MODULE, role, &[text(&path)])).collect();
    for round in 1..=ROUNDS {
        processes.iter_mut().for_each(|process| process.say("plan"));
        let change = keyring.reload().unwrap().to_string();
        processes.iter_mut().for_each(|process| process.expect(&change));
        processes.iter_mut().for_each(|process| process.say("apply"));
        let answers: Vec<_> = processes.iter_mut().map(Process::must_hear).collect();
        let count = |word: &str| answers.iter().filter(|answer| *answer == word).count();
        assert_eq!((count("done"), count("superseded")), (1, PROCESSES - 1));
        keyring.reload().unwrap();
        assert_eq!(keyring.primary_version().unwrap().number(), round + 1);
        for keyset in keyring.keysets().unwrap().iter() {
            assert_eq!(keyset.versions().len() as u32, round + 1);
        }
    }
    processes.into_iter().for_each(|process| assert_eq!(process.end(), [""; 0]));
}
