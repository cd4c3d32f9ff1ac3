//! Many threads and many faults from which a token recovers: no caller gets an error.

use crate::hostile::{Hostile, LONG, PLAINTEXT, ROW, Scene, until_well};
use crate::token_env::options;
use envelock::{Envelope, Lifecycle, format::WrapAlgorithm, pkcs11};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// Each thread goes on until this many faults have struck.
const FAULTS: u64 = 400;
const THREADS: usize = 4;

fn random_faults(algorithm: WrapAlgorithm, seed: u64) {
    let hostile = Hostile::new();
    let scene = Scene::new(algorithm);
    let token = options().algorithm(algorithm).recovery_timeout(LONG).token().unwrap();
    let keyring = scene.open_by(&token).unwrap();
    let envelope = Envelope::new(&keyring);
    envelope.encrypt(PLAINTEXT, ROW).unwrap();
    // Each fault hits all four threads, which have some hundred calls in progress.
    hostile.send(&format!("random {seed} 30 {FAULTS} gap 100"));
    let (done, pairs) = (AtomicBool::new(false), AtomicU64::new(0));
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    let message = envelope.encrypt(PLAINTEXT, ROW).unwrap();
                    assert_eq!(envelope.decrypt(&message, ROW).unwrap(), PLAINTEXT);
                    assert_eq!(envelope.decrypt(&scene.message, ROW).unwrap(), PLAINTEXT);
                    pairs.fetch_add(1, Relaxed);
                }
            });
        }
        while hostile.injected() < FAULTS {
            assert!(started.elapsed() < LONG, "{}", hostile.injected());
            thread::sleep(Duration::from_millis(20));
        }
        thread::sleep(Duration::from_millis(100));
        done.store(true, Relaxed);
    });
    println!(
        "{algorithm}: {} faults, {} rounds, 0 errors, {:.1} s",
        hostile.injected(),
        pairs.load(Relaxed),
        started.elapsed().as_secs_f64()
    );
}

#[test]
fn four_threads_see_nothing_of_four_hundred_faults() {
    for seed in [1, 2] {
        random_faults(WrapAlgorithm::TOKEN_AES_256_GCM, seed);
        random_faults(WrapAlgorithm::TOKEN_AES_256_CBC_HMAC, seed);
    }
}

/// Operations under faults that never end, by many threads: every one of them succeeds, and no call
/// overlaps another that PKCS#11 forbids. `ENVELOCK_OPERATIONS` is their number, for a longer run.
fn soak(faults: &str, options: pkcs11::Options, threads: usize, operations: u64) {
    let operations =
        std::env::var("ENVELOCK_OPERATIONS").map_or(operations, |it| it.parse().unwrap());
    let hostile = Hostile::new();
    let algorithm = WrapAlgorithm::TOKEN_AES_256_GCM;
    let scene = Scene::new(algorithm);
    let token = options.algorithm(algorithm).recovery_timeout(LONG).token().unwrap();
    let keyring = scene.open_by(&token).unwrap();
    let envelope = Envelope::new(&keyring);
    envelope.encrypt(PLAINTEXT, ROW).unwrap();
    hostile.send("reset");
    hostile.send(faults);
    let (done, longest) = (AtomicU64::new(0), AtomicU64::new(0));
    let started = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while done.fetch_add(1, Relaxed) < operations {
                    let began = Instant::now();
                    if done.load(Relaxed).is_multiple_of(8) {
                        envelope.encrypt(PLAINTEXT, ROW).unwrap();
                    } else {
                        assert_eq!(envelope.decrypt(&scene.message, ROW).unwrap(), PLAINTEXT);
                    }
                    longest.fetch_max(began.elapsed().as_millis() as u64, Relaxed);
                }
            });
        }
        // Meanwhile keys are made, and other tokens of the library are opened and closed.
        let mut changes = 0;
        while done.load(Relaxed) < operations {
            if changes < 20 {
                keyring.rotate().unwrap();
                changes += 1;
            }
            let other = until_well(|| scene.open()).unwrap();
            let opened = until_well(|| Envelope::new(&other).decrypt(&scene.message, ROW));
            assert_eq!(opened.unwrap(), PLAINTEXT);
            thread::sleep(Duration::from_millis(50));
        }
    });
    let (injected, overlaps) = (hostile.injected(), hostile.overlaps());
    println!(
        "{faults}: {operations} operations, {injected} faults, {overlaps} overlaps, longest {} ms, \
         {:.1} s",
        longest.into_inner(),
        started.elapsed().as_secs_f64()
    );
    assert!(injected > 0);
    assert_eq!(overlaps, 0);
}

/// With one failure in twenty calls, the anchor was once closed while other threads used it.
#[test]
fn no_call_overlaps_another_while_one_in_twenty_fails() {
    soak("random-codes 1 50 1000000000", options().no_deadline(), 32, 30_000);
}

#[test]
fn no_call_overlaps_another_under_endless_faults() {
    soak("random 7 5 1000000000 gap 0", options(), 32, 70_000);
}
