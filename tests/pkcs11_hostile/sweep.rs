//! Every fault of the module, on every operation, once and permanently: no result is wrong, nothing
//! panics, the token is usable afterwards, and each outcome is the one in `verdicts.txt`.

use crate::hostile::{Hostile, PLAINTEXT, ROW, Scene, until_well, verdict};
use envelock::{Envelope, Error, KeyVersion, Lifecycle, Pkcs11Keyring, format::WrapAlgorithm};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Every fault once and permanently, with the command that injects it.
fn orders(hostile: &Hostile) -> Vec<(String, bool)> {
    let mut orders = Vec::new();
    for fault in hostile.faults() {
        match fault.split(' ').next() {
            // Commands with tests of their own.
            Some("random" | "random-codes" | "delay") => {}
            Some(list) if list.starts_with("list-") => {}
            // A second time they have no effect.
            Some("lose-sessions" | "logout") => orders.push((fault, false)),
            _ => {
                orders.push((format!("{fault} times 1"), false));
                orders.push((format!("{fault} always"), true));
            }
        }
    }
    orders
}

/// A fault that occurs once passes, however slow the machine is; a permanent one needs no long
/// recovery.
fn patience(always: bool) -> Duration {
    Duration::from_millis(if always { 60 } else { 10_000 })
}

/// The number of tries, each with four times the patience of the one before, if a fault had another
/// outcome: on a busy machine it may have passed before any operation.
const MOST_TRIES: u32 = 5;

/// Does `work` under a fault, and clears the fault.
fn under<T>(hostile: &Hostile, order: &str, work: impl FnOnce() -> T) -> T {
    hostile.send(order);
    let result = work();
    hostile.send("reset");
    result
}

/// A decryption under a fault: the right plaintext or an error.
fn decrypt(keyring: &Pkcs11Keyring, scene: &Scene, order: &str) -> String {
    let opened = Envelope::new(keyring).decrypt(&scene.message, ROW);
    if let Ok(opened) = &opened {
        assert_eq!(opened, PLAINTEXT, "{order}");
    }
    verdict(&opened)
}

/// The outcomes of a fault: for opening the catalogue, probing a key, encryption, decryption.
fn verdicts(hostile: &Hostile, scene: &Scene, order: &str) -> [String; 4] {
    let panics = |error| -> Pkcs11Keyring { panic!("around {order}: {error:?}") };
    let open = || until_well(|| scene.open()).unwrap_or_else(panics);
    let cold = under(hostile, order, || {
        // The fault is active from the initialisation of the library to the login.
        hostile.finalize();
        match scene.open() {
            Ok(keyring) => decrypt(&keyring, scene, order),
            Err(error) => verdict::<()>(&Err(error)),
        }
    });
    scene.forget_refused_pins();

    let keyring = open();
    let envelope = Envelope::new(&keyring);
    let untried = under(hostile, order, || envelope.encrypt(PLAINTEXT, ROW));
    if let Ok(message) = &untried {
        assert!(scene.opens(message), "{order}: what was encrypted does not open");
    }

    let before = until_well(|| envelope.encrypt(PLAINTEXT, ROW));
    assert!(before.is_ok(), "after {order}: {before:?}");
    let tried = under(hostile, order, || envelope.encrypt(PLAINTEXT, ROW));
    // A module that honoured IV and associated data at the probe and at the connection, and no longer
    // does, is noticed at the next connection.
    let turned = order.contains("-ignored always");
    if let (Ok(message), false) = (&tried, turned) {
        assert!(scene.opens(message), "{order}: what was encrypted does not open");
    }
    let warm = under(hostile, order, || decrypt(&keyring, scene, order));
    [cold, verdict(&untried), verdict(&tried), warm]
}

fn sweep(algorithm: WrapAlgorithm, file: &str, expected: &str) {
    let hostile = Hostile::new();
    let scene = Scene::new(algorithm);
    let mut table = String::from(
        "# fault | catalogue opened, message decrypted | key probed, message encrypted | encrypted \
         | decrypted\n",
    );
    // Under a sanitizer everything is slow: the outcomes differ, and are not compared.
    let any = std::env::var_os("ENVELOCK_ANY_VERDICT").is_some();
    let updates = std::env::var_os("UPDATE").is_some();
    for (order, always) in orders(&hostile) {
        for attempt in 0.. {
            scene.patience.set(patience(always) * 4_u32.pow(attempt));
            let verdicts = verdicts(&hostile, &scene, &order);
            for verdict in &verdicts {
                assert!(!verdict.starts_with("other"), "{order}: {verdict}");
            }
            let line = format!("{order} | {}", verdicts.join(" | "));
            let is_final = any || updates || !always || attempt == MOST_TRIES;
            if is_final || expected.lines().any(|expected| expected == line) {
                writeln!(table, "{line}").unwrap();
                break;
            }
            println!("once more, with more patience: {line}");
        }
    }
    scene.check("at the end");
    if any {
        return;
    }
    if updates {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pkcs11_hostile").join(file);
        fs::write(path, &table).unwrap();
        return;
    }
    for (expected, found) in expected.lines().zip(table.lines()) {
        assert_eq!(found, expected, "in {file}; UPDATE=1 writes it again");
    }
    assert_eq!(table.lines().count(), expected.lines().count());
}

#[test]
fn each_fault_of_gcm_matches_the_table() {
    let (file, expected) = ("verdicts_gcm.txt", include_str!("verdicts_gcm.txt"));
    sweep(WrapAlgorithm::TOKEN_AES_256_GCM, file, expected);
}

#[test]
fn each_fault_of_cbc_and_hmac_matches_the_table() {
    let (file, expected) = ("verdicts_cbc_hmac.txt", include_str!("verdicts_cbc_hmac.txt"));
    sweep(WrapAlgorithm::TOKEN_AES_256_CBC_HMAC, file, expected);
}

/// Faults while keys are made and destroyed: a version on record works.
#[test]
fn no_fault_makes_a_version_that_fails() {
    let hostile = Hostile::new();
    let mut made = 0;
    for (order, always) in orders(&hostile) {
        let scene = Scene::new(WrapAlgorithm::TOKEN_AES_256_GCM);
        scene.patience.set(patience(always));
        let keyring = until_well(|| scene.open()).unwrap();
        let rotated = under(&hostile, &order, || keyring.rotate());
        scene.check(&order);
        let Ok(version) = rotated else { continue };
        made += 1;
        let again = until_well(|| scene.open()).unwrap();
        assert_eq!(again.primary_version(), Some(version), "{order}");

        // The former version is destroyed under the fault; in the end it is destroyed.
        let former = KeyVersion::FIRST;
        keyring.disable(former).unwrap();
        if under(&hostile, &order, || keyring.destroy_immediately(former)).is_err() {
            until_well(|| keyring.rotate()).unwrap_or_else(|error| panic!("{order}: {error:?}"));
        }
        let refused = Envelope::new(&keyring).decrypt(&scene.message, ROW);
        assert!(matches!(refused, Err(Error::Refused { .. })), "{order}: {refused:?}");
    }
    assert!(made > 50, "{made}");
}
