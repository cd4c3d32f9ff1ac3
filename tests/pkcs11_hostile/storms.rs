//! Many threads, many faults that a token can come back from: nobody is told of any.

use crate::hostile::{Hostile, PLAINTEXT, ROW, Scene};
use crate::place::options;
use envelock::{Envelope, WrapAlgorithm};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

/// Each thread goes on until this many faults have struck.
const FAULTS: u64 = 400;
const THREADS: usize = 4;

fn storm(algorithm: WrapAlgorithm, seed: u64) {
    let hostile = Hostile::new();
    let scene = Scene::new(algorithm);
    let keyring = scene.open_by(&options().algorithm(algorithm).token().unwrap()).unwrap();
    let envelope = Envelope::new(&keyring);
    envelope.encrypt(PLAINTEXT, ROW).unwrap();
    // Each fault strikes all four, which are some hundred calls at work together.
    hostile.tell(&format!("storm {seed} 30 {FAULTS} calm 100"));
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
            assert!(started.elapsed() < Duration::from_secs(120), "{}", hostile.injected());
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
        storm(WrapAlgorithm::TOKEN_AES_256_GCM, seed);
        storm(WrapAlgorithm::TOKEN_AES_256_CBC_HMAC, seed);
    }
}
