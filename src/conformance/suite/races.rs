//! Changes from many threads while others use the keys.

use super::Rule;
use super::lifecycle::primaries;
use super::probe::{Expected, Probe};
use super::states::{NOW, Subject, change, listed};
use crate::conformance::TestRng;
use crate::crypto::secret::DataKey;
use crate::error::Error;
use crate::format::Suite;
use crate::keyring::{KeyringError, Lifecycle, Refusal};
use crate::keyset::{Change, ChangeOptions, LifecycleError, Operation};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::format;
use std::sync::Barrier;
use std::vec::Vec;

const THREADS: u64 = 8;

pub(super) fn test<K: Lifecycle>(factory: &impl Fn() -> K) {
    test_one_winner(&Subject::new(factory()));
    test_rotations(&Subject::new(factory()));
    test_use_meanwhile(&Subject::new(factory()));
    test_toggling(&Subject::new(factory()));
}

/// Runs `work` in eight threads that start together.
pub(super) fn together<T: Send>(work: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let start = Barrier::new(THREADS as usize);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let (start, work) = (&start, &work);
                scope.spawn(move || {
                    start.wait();
                    work(thread)
                })
            })
            .collect();
        let joined = workers.into_iter().map(|worker| worker.join());
        joined
            .map(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// Of several conditional rotations on the same change number one succeeds.
fn test_one_winner<K: Lifecycle>(subject: &Subject<K>) {
    for round in 0..10 {
        let (keysets, keyset) = listed(&subject.keyring);
        let options = ChangeOptions::at(NOW).if_unchanged_since(keysets.change());
        let results = together(|thread| {
            let mut rng = TestRng::seeded(round * THREADS + thread + 1);
            subject.keyring.change(&[Change::Rotate { key: &subject.name }], &options, &mut rng)
        });
        let won = results.iter().filter(|result| result.is_ok()).count();
        let others = results.iter().filter_map(|result| result.as_ref().err());
        let reported = others
            .clone()
            .all(|error| matches!(error, Error::Lifecycle(LifecycleError::Conflict { .. })));
        let others: Vec<_> = others.collect();
        Rule::CompareAndSwap.check(reported && won == 1, format!("{won} of 8 rotate: {others:?}"));
        let grown = listed(&subject.keyring).1.highest_version();
        let one = grown == keyset.highest_version() + 1;
        Rule::CompareAndSwap
            .check(one, format!("{} versions became {grown}", keyset.highest_version()));
    }
}

/// Unconditional rotations are all made, each with a number of its own.
fn test_rotations<K: Lifecycle>(subject: &Subject<K>) {
    let before = listed(&subject.keyring).1.highest_version();
    let added = together(|thread| {
        let rotate = |round| {
            let mut rng = TestRng::seeded(500 + thread * 5 + round);
            let changes = [Change::Rotate { key: &subject.name }];
            let result = subject.keyring.change(&changes, &ChangeOptions::at(NOW), &mut rng);
            result.map(|changed| changed.added())
        };
        (0..5).map(rotate).collect::<Vec<_>>()
    });
    let mut numbers = Vec::new();
    for result in added.into_iter().flatten() {
        match result {
            Ok(Some(version)) => numbers.push(version.number()),
            other => Rule::Threads.broken(format!("a rotation among others: {other:?}")),
        }
    }
    numbers.sort_unstable();
    let expected: Vec<_> = (before + 1..=before + 40).collect();
    let unique = numbers == expected;
    Rule::Numbers.check(unique, format!("40 rotations from {before} took {numbers:?}"));
}

/// Slots that are wrapped during rotations open.
fn test_use_meanwhile<K: Lifecycle>(subject: &Subject<K>) {
    let rotating = AtomicBool::new(true);
    let kept = together(|thread| {
        if thread == 0 {
            for _ in 0..20 {
                let result = change(
                    &subject.keyring,
                    &[Change::Rotate { key: &subject.name }],
                    ChangeOptions::at(NOW),
                );
                if let Err(error) = result {
                    rotating.store(false, Relaxed);
                    Rule::Threads.broken(format!("a rotation while keys are used: {error:?}"));
                }
                std::thread::yield_now();
            }
            rotating.store(false, Relaxed);
            return Vec::new();
        }
        let mut kept = Vec::new();
        let mut round = 0;
        while kept.is_empty() || (rotating.load(Relaxed) && round < 1_000) {
            round += 1;
            let seed = thread * 1_000 + round;
            let probe = Probe::new(&subject.keyring, Suite::ALL[0], seed);
            let slots = probe.wrap();
            for slot in &slots {
                probe.expect(slot, Expected::Opens, "a slot, at once, while others rotate");
            }
            kept.push((seed, slots));
        }
        kept
    });
    for (seed, slots) in kept.into_iter().flatten() {
        let probe = Probe::new(&subject.keyring, Suite::ALL[0], seed);
        for slot in slots {
            probe.expect(&slot, Expected::Opens, "a slot that was wrapped while others rotated");
        }
    }
    let primary = listed(&subject.keyring).1.primary();
    let reported = primaries(&subject.keyring).iter().any(|version| Some(*version) == primary);
    Rule::Primary
        .check(reported, "visit_primaries does not visit the version that was promoted last");
}

/// A version that is disabled and enabled again opens, or is refused as disabled.
fn test_toggling<K: Lifecycle>(subject: &Subject<K>) {
    let probe = Probe::new(&subject.keyring, Suite::ALL[0], 1);
    let slots = probe.wrap();
    subject.must(subject.version, Operation::Promote);
    let toggling = AtomicBool::new(true);
    together(|thread| {
        let operate = |operation| subject.operate(subject.first, operation, NOW);
        if thread == 0 {
            let toggle = || operate(Operation::Disable).and_then(|_| operate(Operation::Enable));
            let result = (0..20).try_for_each(|_| toggle().map(drop));
            toggling.store(false, Relaxed);
            if let Err(error) = result {
                Rule::Threads.broken(format!("a disable while keys are used: {error:?}"));
            }
            return;
        }
        let probe = Probe::new(&subject.keyring, Suite::ALL[0], 1);
        while toggling.load(Relaxed) {
            for slot in slots.iter().filter(|slot| slot.name == subject.name) {
                let mut data_key = DataKey::empty();
                match probe.message.unwrap_over(&subject.keyring, slot, &mut data_key) {
                    Ok(()) if probe.message.is_data_key(&data_key) => {}
                    Err(KeyringError::Refused(Refusal::Disabled)) => {}
                    result => Rule::Threads.broken(format!("while it is disabled: {result:?}")),
                }
            }
        }
    });
}
