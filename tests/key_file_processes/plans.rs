//! Sixteen processes apply one and the same plan.

use crate::directory::TestDirectory;
use crate::key_files::{raw, text};
use crate::process::{Process, listen, tell};
use envelock::{Applied, FileKeyring, Lifecycle, OsRandom, RotationPolicy};
use std::time::Duration;

const PROCESSES: usize = 16;
const ROUNDS: u32 = 5;

/// A child: makes the plan, tells its change number, and applies it when told to.
pub fn apply(path: &str) {
    let keyring = FileKeyring::open_any(path, &raw(7)).unwrap();
    while listen().is_some() {
        let keysets = keyring.keysets().unwrap();
        let primary = keysets.keyset("orders").unwrap().primary_record().unwrap();
        let now = primary.promoted.unwrap().plus(Duration::from_secs(91 * 86_400));
        let plan = RotationPolicy::every_90_days().plan(&keysets, "orders", now).unwrap();
        tell(&keysets.change().to_string());
        listen().unwrap();
        tell(match plan.apply_at(&keyring, now, &mut OsRandom).unwrap() {
            Applied::Done(_) => "done",
            Applied::Superseded { .. } => "superseded",
            other => panic!("{other:?}"),
        });
    }
}

#[test]
fn of_16_processes_that_apply_one_plan_exactly_one_rotates() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let keyring = FileKeyring::create(&path, "orders", &raw(7)).unwrap();
    let mut processes: Vec<_> =
        (0..PROCESSES).map(|_| Process::start("apply", &[text(&path)])).collect();
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
        assert_eq!(keyring.versions().len() as u32, round + 1);
    }
    processes.into_iter().for_each(|process| assert_eq!(process.end(), [""; 0]));
}
