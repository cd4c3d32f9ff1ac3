//! A token that does not respond: a caller with a deadline goes on without it.

use crate::hostile::{Hostile, LONG, PLAINTEXT, ROW, Scene, quick, until_well, verdict};
use envelock::{Envelope, Lifecycle, Pkcs11Keyring, format::WrapAlgorithm, pkcs11};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn call_that_hangs_is_left_at_the_deadline() {
    let hostile = Hostile::new();
    let scene = Scene::new(WrapAlgorithm::TOKEN_AES_256_GCM);
    let token =
        quick(WrapAlgorithm::TOKEN_AES_256_GCM).deadline(DEADLINE).max_sessions(2).token().unwrap();
    let keyring = scene.open_by(&token).unwrap();
    let envelope = Envelope::new(&keyring);
    let message = envelope.encrypt(PLAINTEXT, ROW).unwrap();
    assert_eq!(envelope.decrypt(&message, ROW).unwrap(), PLAINTEXT);

    hostile.send("delay C_Decrypt 60000 always");
    for _ in 0..2 {
        assert_eq!(verdict(&envelope.decrypt(&message, ROW)), "deadline");
    }
    // Both threads hang, and the caller does not wait for them.
    let reported = Instant::now();
    assert_eq!(verdict(&envelope.decrypt(&message, ROW)), "hanging");
    assert!(reported.elapsed() < DEADLINE, "{:?}", reported.elapsed());

    // It responds again, and no fault is left.
    hostile.send("reset");
    assert_eq!(until_well(|| envelope.decrypt(&message, ROW)).unwrap(), PLAINTEXT);
    scene.check("after it hung");
}

const GCM: WrapAlgorithm = WrapAlgorithm::TOKEN_AES_256_GCM;

/// Longer than any call that returns, on any machine.
const DEADLINE: Duration = Duration::from_secs(2);

/// Calls that hang are given up soon, but after three deadlines, which one operation can wait for.
fn impatient() -> pkcs11::Options {
    let options = quick(GCM).recovery_timeout(DEADLINE * 2).hang_limit(DEADLINE * 5);
    options.deadline(DEADLINE).max_sessions(2)
}

/// Tries until it succeeds, or for too long.
fn comes_back(keyring: &Pkcs11Keyring, scene: &Scene) -> bool {
    let opened = until_well(|| Envelope::new(keyring).decrypt(&scene.message, ROW));
    opened.is_ok_and(|it| it == PLAINTEXT)
}

/// The library works but for calls that never return: their threads and sessions are replaced.
#[test]
fn calls_that_never_return_are_given_up_and_replaced() {
    let hostile = Hostile::new();
    let scene = Scene::new(GCM);
    let keyring = scene.open_by(&impatient().token().unwrap()).unwrap();
    let decrypt = || verdict(&Envelope::new(&keyring).decrypt(&scene.message, ROW));
    assert_eq!(decrypt(), "ok");
    hostile.send("reset; delay C_Decrypt 600000 times 2");
    assert_eq!([decrypt(), decrypt()], ["deadline", "deadline"]);
    assert_eq!(decrypt(), "hanging");
    assert!(comes_back(&keyring, &scene), "others took their place");
    assert_eq!((hostile.overlaps(), hostile.calls("C_Finalize")), (0, 0));
    // No key is made or destroyed while a call that hangs may return at any time.
    assert_eq!(verdict(&keyring.rotate()), "restart the process");
    hostile.send("clear");
    assert!(comes_back(&keyring, &scene));
    // The calls that hung have to return first.
    until_well(|| keyring.rotate()).unwrap();
    assert_eq!(hostile.overlaps(), 0);
    drop(keyring);
    hostile.send("reset");
    scene.check("after calls that never returned");
}

/// No call returns any more: every caller gets the permanent error at once.
#[test]
fn hung_library_asks_for_another_process() {
    let hostile = Hostile::new();
    let scene = Scene::new(GCM);
    let keyring = scene.open_by(&impatient().token().unwrap()).unwrap();
    let decrypt = || {
        let outcome = Envelope::new(&keyring).decrypt(&scene.message, ROW);
        let is_retryable = outcome.as_ref().is_err_and(|error| error.is_retryable());
        (verdict(&outcome), is_retryable)
    };
    hostile.send("reset; delay any 600000 always");
    let started = Instant::now();
    let mut reported = std::iter::repeat_with(|| {
        thread::sleep(Duration::from_millis(10));
        decrypt()
    });
    let (last, is_retryable) =
        reported.find(|(reported, _)| !["deadline", "hanging"].contains(&&**reported)).unwrap();
    assert_eq!((&*last, is_retryable), ("restart the process", false));
    assert!(started.elapsed() < LONG, "{:?}", started.elapsed());
    let again = Instant::now();
    assert_eq!(decrypt(), ("restart the process".into(), false));
    assert!(again.elapsed() < DEADLINE, "at once");
    assert_eq!((hostile.overlaps(), hostile.calls("C_Finalize")), (0, 0));
    hostile.send("clear");
    assert!(comes_back(&keyring, &scene), "the calls came back all the same");
    assert_eq!(hostile.overlaps(), 0);
}

/// A dead library is initialised again after C_Finalize, which must not run beside a call that hangs.
#[test]
fn hung_dead_library_is_not_set_up_again() {
    let hostile = Hostile::new();
    let scene = Scene::new(GCM);
    let keyring = scene.open_by(&impatient().token().unwrap()).unwrap();
    let decrypt = || verdict(&Envelope::new(&keyring).decrypt(&scene.message, ROW));
    hostile.send("reset; delay C_Decrypt 600000");
    assert_eq!(decrypt(), "deadline");
    hostile.send("dead DEVICE_ERROR");
    let mut reported = (0..6_000).map(|_| {
        thread::sleep(Duration::from_millis(10));
        decrypt()
    });
    let reported = reported.find(|reported| reported == "restart the process");
    assert!(reported.is_some());
    assert_eq!((hostile.overlaps(), hostile.calls("C_Finalize")), (0, 0));
    hostile.send("clear");
    assert!(comes_back(&keyring, &scene), "initialised again once no call was inside");
    assert!(hostile.calls("C_Finalize") > 0);
    assert_eq!(hostile.overlaps(), 0);
}

/// A recovery ends after its time limit, here four seconds, whatever the calls return.
#[test]
fn recovery_ends_at_its_time_limit() {
    let hostile = Hostile::new();
    let scene = Scene::new(GCM);
    let patience = Duration::from_secs(4);
    let keyring = scene.open_by(&quick(GCM).recovery_timeout(patience).token().unwrap()).unwrap();
    for fault in ["fail any DEVICE_ERROR", "fail C_Decrypt GENERAL_ERROR"] {
        hostile.send("reset");
        hostile.send(&format!("{fault} always"));
        let started = Instant::now();
        Envelope::new(&keyring).decrypt(&scene.message, ROW).unwrap_err();
        let took = started.elapsed();
        assert!((patience..patience + LONG).contains(&took), "{fault}: {took:?}");
    }
    // A failure that ends within it is no error: the token is unavailable for as long.
    hostile.send("reset");
    let keyring = scene.open_by(&quick(GCM).recovery_timeout(LONG).token().unwrap()).unwrap();
    hostile.send("fail any DEVICE_REMOVED always");
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(patience);
            hostile.send("reset");
        });
        let opened = Envelope::new(&keyring).decrypt(&scene.message, ROW);
        assert_eq!(opened.unwrap(), PLAINTEXT);
    });
}

/// Any code that a library returns for every call until it is initialised again.
#[test]
fn dead_library_of_any_code_is_set_up_again() {
    let hostile = Hostile::new();
    let scene = Scene::new(GCM);
    let keyring = scene.open().unwrap();
    for code in [
        "SESSION_HANDLE_INVALID",
        "SESSION_CLOSED",
        "OPERATION_ACTIVE",
        "OPERATION_NOT_INITIALIZED",
        "USER_NOT_LOGGED_IN",
        "KEY_HANDLE_INVALID",
        "OBJECT_HANDLE_INVALID",
        "HOST_MEMORY",
        "DEVICE_ERROR",
        "CRYPTOKI_NOT_INITIALIZED",
        "0x80000001",
    ] {
        hostile.send("reset");
        hostile.send(&format!("dead {code}"));
        let opened = Envelope::new(&keyring).decrypt(&scene.message, ROW);
        assert_eq!(opened.unwrap_or_else(|error| panic!("{code}: {error:?}")), PLAINTEXT);
        assert_eq!(hostile.calls("C_Finalize"), 1, "{code}");
    }
}

/// A change of keys has a deadline as well, also by default.
#[test]
fn change_that_never_returns_is_left_at_the_deadline() {
    let hostile = Hostile::new();
    let scene = Scene::new(GCM);
    let keyring = scene.open_by(&impatient().token().unwrap()).unwrap();
    hostile.send("reset; delay C_GenerateKey 600000");
    assert_eq!(verdict(&keyring.rotate()), "deadline");
    assert_ne!(verdict(&Envelope::new(&keyring).decrypt(&scene.message, ROW)), "ok");
    hostile.send("clear");
    assert!(comes_back(&keyring, &scene));
    // The calls that hung have to return first.
    until_well(|| keyring.rotate()).unwrap();
    assert_eq!(hostile.overlaps(), 0);
    let printed = format!("{:?}", quick(GCM));
    assert!(printed.contains("AfterRecovery"), "{printed}");
}
