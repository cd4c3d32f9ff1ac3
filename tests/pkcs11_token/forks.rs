//! A child of `fork` gets an error until it opens the token again; the parent does not notice it
//! (THREATS row 65).

use crate::keys::put;
use crate::token_env::{CatalogueDirectory, best, name, options, pkcs11_error, session, token};
use envelock::{
    Aad, Envelope, Error, Keyring, Lifecycle, Pkcs11Keyring,
    pkcs11::{self, ExternalKeyring},
};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Runs `work` in a child, and returns its exit status; a child that hangs is killed.
fn in_child(work: impl FnOnce() -> u8) -> i32 {
    // SAFETY: the child calls `work` and ends. It returns to no code that needs other threads, which
    // it lacks. The C library makes its allocator usable there.
    let child = unsafe { libc::fork() };
    assert!(child >= 0);
    if child == 0 {
        // SAFETY: ends this process after a while, if it has not ended by itself.
        unsafe { libc::alarm(600) };
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        // SAFETY: ends this process, without the exit handlers of the parent.
        unsafe { libc::_exit(i32::from(outcome.unwrap_or(99))) };
    }
    let mut status = 0;
    // SAFETY: waits for the child just made; the argument has room for its status.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    status
}

fn is_forked<T>(result: Result<T, Error>) -> bool {
    let error = result.err().expect("nothing works in a child");
    let forked = matches!(pkcs11_error(&error), pkcs11::Error::Forked);
    forked && !error.is_retryable()
}

#[test]
fn every_call_in_a_child_says_that_it_is_one() {
    let directory = CatalogueDirectory::new();
    let token = token();
    let keyring = directory.create("orders", &token);
    let envelope = Envelope::new(&keyring);
    let message = envelope.encrypt(b"row", Aad::none()).unwrap();
    let second = directory.path("second");
    let status = in_child(|| {
        let answers = [
            is_forked(envelope.encrypt(b"row", Aad::none())),
            is_forked(envelope.decrypt(&message, Aad::none())),
            is_forked(keyring.rotate()),
            is_forked(Pkcs11Keyring::open_any(directory.path("catalogue"), &token)),
            is_forked(Pkcs11Keyring::create(&second, "orders", &token)),
            is_forked(token.probe()),
        ];
        let wrong = answers.iter().position(|answer| !answer);
        wrong.map_or(0, |index| index as u8 + 1)
    });
    assert_eq!(status, 0);
    assert!(!second.exists());
    assert_eq!(envelope.decrypt(&message, Aad::none()).unwrap(), b"row");
    keyring.rotate().unwrap();
    envelope.encrypt(b"row", Aad::none()).unwrap();
}

/// With a deadline, calls are made in threads, and a child has none.
#[test]
fn child_does_not_wait_for_missing_threads() {
    let token = options().deadline(Duration::from_secs(600)).token().unwrap();
    let (_, keys) = put(&session(), best());
    let keyring = ExternalKeyring::new(&token, &keys).unwrap();
    let envelope = Envelope::new(&keyring);
    let message = envelope.encrypt(b"row", Aad::none()).unwrap();
    let status = in_child(|| {
        let wrap = is_forked(envelope.encrypt(b"row", Aad::none()));
        u8::from(!wrap || !is_forked(envelope.decrypt(&message, Aad::none())))
    });
    assert_eq!(status, 0);
    assert_eq!(envelope.decrypt(&message, Aad::none()).unwrap(), b"row");
}

/// Any lock may be locked by a thread of the parent at that moment.
#[test]
fn child_of_a_busy_parent_does_not_hang() {
    let (_, keys) = put(&session(), best());
    let keyring = ExternalKeyring::new(&token(), &keys).unwrap();
    let message = Envelope::new(&keyring).encrypt(b"row", Aad::none()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let envelope = Envelope::new(&keyring);
                while !done.load(Ordering::Relaxed) {
                    let message = envelope.encrypt(b"row", Aad::none()).unwrap();
                    assert_eq!(envelope.decrypt(&message, Aad::none()).unwrap(), b"row");
                }
            });
        }
        let statuses = (0..40).map(|_| {
            in_child(|| {
                let envelope = Envelope::new(&keyring);
                let wrap = is_forked(envelope.encrypt(b"row", Aad::none()));
                u8::from(!wrap || !is_forked(envelope.decrypt(&message, Aad::none())))
            })
        });
        let failed = statuses.filter(|status| *status != 0).take(1).collect::<Vec<_>>();
        done.store(true, Ordering::Relaxed);
        assert!(failed.is_empty(), "{failed:?}");
    });
}

/// SoftHSM, NSS and kryoptic share the parent's state with the child; opencryptoki is initialised
/// again in the child. The parent works on each of them.
#[test]
fn child_reopening_the_token_uses_it() {
    let directory = CatalogueDirectory::new();
    let keyring = directory.create("orders", &token());
    let envelope = Envelope::new(&keyring);
    let message = envelope.encrypt(b"row", Aad::none()).unwrap();
    let status = in_child(|| {
        let token = token();
        let keyring = Pkcs11Keyring::open_any(directory.path("catalogue"), &token).unwrap();
        let envelope = Envelope::new(&keyring);
        let first = envelope.decrypt(&message, Aad::none());
        let second = envelope.encrypt(b"row", Aad::none());
        u8::from(first.unwrap() != b"row") + u8::from(second.is_err())
    });
    assert_eq!(status, 0, "{}", name());
    for _ in 0..10 {
        assert_eq!(envelope.decrypt(&message, Aad::none()).unwrap(), b"row");
    }
    keyring.rotate().unwrap();
    keyring.visit_primaries(&mut |primary| assert_eq!(primary.label.version.number(), 2)).unwrap();
}
