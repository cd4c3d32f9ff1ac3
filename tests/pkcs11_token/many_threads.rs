//! Figure G28: 32 threads with 1,000 calls each, every result verified, no error and no crash, while
//! versions are added and destroyed (THREATS row 65).

use crate::token_env::{CatalogueDirectory, algorithms, best, clear, name, options, token};
use envelock::{Aad, Envelope, Lifecycle, Pkcs11Keyring, format::WrapAlgorithm};
use std::sync::atomic::{AtomicUsize, Ordering};

const THREADS: usize = 32;

/// Calls of each thread: fewer on NSS, which takes 10 ms for a MAC and 0.1 ms for other calls.
fn calls(algorithm: WrapAlgorithm) -> usize {
    let is_gcm = algorithm == WrapAlgorithm::TOKEN_AES_256_GCM;
    match (&*name(), is_gcm) {
        ("nss", false) => 2,
        ("nss", true) => 50,
        (_, true) => 1_000,
        // The best algorithm of opencryptoki.
        (_, false) if algorithm == best() => 1_000,
        _ => 100,
    }
}

/// Rotates, and destroys versions that are two rotations old, until the work is done.
fn change(keyring: &Pkcs11Keyring, is_done: impl Fn() -> bool) -> u32 {
    let mut changes = 0;
    // Once in any case: the others may be done before.
    while changes == 0 || (!is_done() && changes < 20) {
        let newest = keyring.rotate().unwrap();
        let old = keyring.versions().into_iter().rev().nth(2).unwrap().version;
        // The messages of the threads need the first version.
        if old.number() > 1 {
            keyring.disable(old).unwrap();
            keyring.destroy_immediately(old).unwrap();
        }
        changes = newest.number() - 1;
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    changes
}

#[test]
fn thirty_two_threads_wrap_right_while_keys_change() {
    clear();
    for algorithm in algorithms() {
        let directory = CatalogueDirectory::new();
        let keyring = directory.create("orders", &options().algorithm(algorithm).token().unwrap());
        let first = Envelope::new(&keyring).encrypt(b"first", Aad::none()).unwrap();
        keyring.add_version().unwrap();
        let (calls, running) = (calls(algorithm), AtomicUsize::new(THREADS));
        let right = AtomicUsize::new(0);
        let changes = std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (keyring, first, running, right) = (&keyring, &first, &running, &right);
                scope.spawn(move || {
                    let envelope = Envelope::new(keyring);
                    for call in 0..calls {
                        if call % 2 == 0 {
                            let plain = envelope.decrypt(first, Aad::none()).unwrap();
                            assert_eq!(plain, b"first");
                        } else {
                            let text = format!("{thread} {call}");
                            // The keyring itself unwraps and compares each wrap.
                            envelope.encrypt(text.as_bytes(), Aad::none()).unwrap();
                        }
                        right.fetch_add(1, Ordering::Relaxed);
                    }
                    running.fetch_sub(1, Ordering::Relaxed);
                });
            }
            change(&keyring, || running.load(Ordering::Relaxed) == 0)
        });
        assert_eq!(right.into_inner(), THREADS * calls);
        println!("{}, {algorithm}: {} calls beside {changes} rotations", name(), THREADS * calls);
        assert!(changes > 0);
    }
}

/// More threads than sessions: they wait for each other.
#[test]
fn threads_share_few_sessions() {
    let directory = CatalogueDirectory::new();
    let token = options().max_sessions(2).token().unwrap();
    let keyring = directory.create("orders", &token);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let envelope = Envelope::new(&keyring);
                for _ in 0..5 {
                    let message = envelope.encrypt(b"row", Aad::none()).unwrap();
                    assert_eq!(envelope.decrypt(&message, Aad::none()).unwrap(), b"row");
                }
            });
        }
    });
}

/// Two token values of one library in one process, each with its own sessions.
#[test]
fn keyrings_and_tokens_share_one_library() {
    let directory = CatalogueDirectory::new();
    let keyring = directory.create("orders", &token());
    let message = Envelope::new(&keyring).encrypt(b"row", Aad::none()).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let path = directory.path("catalogue");
                    let keyring = Pkcs11Keyring::open_any(path, &token()).unwrap();
                    let plain = Envelope::new(&keyring).decrypt(&message, Aad::none()).unwrap();
                    assert_eq!(plain, b"row");
                }
            });
        }
    });
}
