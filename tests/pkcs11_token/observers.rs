//! An observer of a token may use the keyring of the event, whatever that keyring is doing.

use crate::token_env::{CatalogueDirectory, library, options, session, slot};
use cryptoki_sys as ck;
use envelock::{
    Aad, Envelope, Lifecycle, Pkcs11Keyring,
    observe::{Event, FnObserver, Observer},
    pkcs11::{self, ExternalKeyring, Pin},
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;

const ROW: Aad<'static> = Aad::new(b"row 7");

/// Ends the process if `work` takes too long: a deadlock would never end.
fn watched(work: impl FnOnce()) {
    let (done, ended) = mpsc::channel::<()>();
    let dog = std::thread::spawn(move || {
        if ended.recv_timeout(Duration::from_secs(600)) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("an observer that uses its keyring is never done");
            std::process::abort();
        }
    });
    work();
    drop(done);
    dog.join().unwrap();
}

#[test]
fn observer_may_use_keyring_in_middle_of_anything() {
    let directory = CatalogueDirectory::new();
    let used: Arc<OnceLock<(Pkcs11Keyring, Vec<u8>)>> = Arc::default();
    let heard = Arc::new(AtomicUsize::new(0));
    let (uses, hears) = (used.clone(), heard.clone());
    let observer = FnObserver::new(move |event: &Event<'_>| {
        if !matches!(event, Event::TokenLogin { .. } | Event::TokenReconnected { .. }) {
            return;
        }
        hears.fetch_add(1, Ordering::Relaxed);
        if let Some((keyring, message)) = uses.get() {
            assert_eq!(Envelope::new(keyring).decrypt(message, ROW).unwrap(), b"row");
        }
    });
    let observer: Arc<dyn Observer> = Arc::new(observer);
    let token = options().observer(observer).token().unwrap();
    let keyring = directory.create("orders", &token);
    let message = Envelope::new(&keyring).encrypt(b"row", ROW).unwrap();
    let second = keyring.with_key("orders").unwrap();
    assert!(used.set((second, message.clone())).is_ok());
    let before = heard.load(Ordering::Relaxed);
    let log_out = || assert_eq!(session().logout(), ck::CKR_OK);
    watched(|| {
        log_out();
        assert_eq!(Envelope::new(&keyring).decrypt(&message, ROW).unwrap(), b"row");
        log_out();
        Envelope::new(&keyring).encrypt(b"row", ROW).unwrap();
        log_out();
        keyring.rotate().unwrap();
        let version = keyring.add_version().unwrap();
        keyring.disable(version).unwrap();
        log_out();
        keyring.destroy_immediately(version).unwrap();
    });
    assert!(heard.load(Ordering::Relaxed) >= before + 4);
}

/// Another thread waits to change the keys, and must not block others. No logout happens while that
/// thread is in the token: some tokens crash on it.
#[test]
fn observer_may_use_keyring_during_a_change() {
    let directory = CatalogueDirectory::new();
    let used: Arc<OnceLock<(Pkcs11Keyring, Vec<u8>)>> = Arc::default();
    let (uses, (start, started)) = (used.clone(), mpsc::channel());
    let observer = FnObserver::new(move |event: &Event<'_>| {
        if let (Event::TokenLogin { .. }, Some((keyring, message))) = (event, uses.get()) {
            start.send(()).unwrap();
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(Envelope::new(keyring).decrypt(message, ROW).unwrap(), b"row");
        }
    });
    let observer: Arc<dyn Observer> = Arc::new(observer);
    let started = Mutex::new(started);
    let token = options().observer(observer).token().unwrap();
    let keyring = directory.create("orders", &token);
    let message = Envelope::new(&keyring).encrypt(b"row", ROW).unwrap();
    let second = keyring.with_key("orders").unwrap();
    assert!(used.set((second, message.clone())).is_ok());
    watched(|| {
        for _ in 0..3 {
            assert_eq!(session().logout(), ck::CKR_OK);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    started.lock().unwrap().recv().unwrap();
                    keyring.add_version().unwrap();
                });
                assert_eq!(Envelope::new(&keyring).decrypt(&message, ROW).unwrap(), b"row");
            });
        }
    });
}

/// For each operation that first needs the token.
#[test]
fn observer_sees_a_refused_login_of_any_caller() {
    let directory = CatalogueDirectory::new();
    drop(directory.create("orders", &options().token().unwrap()));
    // The observer of another test may keep its keyring alive, and logged in.
    assert_eq!(library().close_all(slot()), ck::CKR_OK);
    let wants: [fn(&pkcs11::Token, &CatalogueDirectory) -> bool; 4] = [
        |token, _| token.probe().is_err(),
        |token, directory| Pkcs11Keyring::create(directory.path("new"), "orders", token).is_err(),
        |token, directory| Pkcs11Keyring::open_any(directory.path("catalogue"), token).is_err(),
        |token, _| {
            let keys = crate::keys::keys(crate::token_env::best(), "none", "none");
            let keyring = ExternalKeyring::new(token, &keys).unwrap();
            Envelope::new(keyring).encrypt(b"row", ROW).is_err()
        },
    ];
    for want in wants {
        let heard = Arc::new(AtomicUsize::new(0));
        let hears = heard.clone();
        let observer = FnObserver::new(move |event: &Event<'_>| {
            if matches!(event, Event::TokenLoginRefused { .. }) {
                hears.fetch_add(1, Ordering::Relaxed);
            }
        });
        let observer: Arc<dyn Observer> = Arc::new(observer);
        let wrong = options().pin_from(|| Ok(Pin::new("00000004"))).observer(observer);
        assert!(want(&wrong.token().unwrap(), &directory));
        // A create tries to remove leftovers as well.
        assert!([1, 2].contains(&heard.load(Ordering::Relaxed)));
    }
}
