//! The calls of an operation: no search once a key is known, and no result of a library that is not
//! what it should be.

use crate::hostile::{Hostile, PLAINTEXT, ROW, Scene, quick, verdict};
use crate::token_env::{options, variable};
use envelock::{Envelope, Lifecycle, format::WrapAlgorithm, pkcs11};
use std::ffi::CString;
use std::fs;

/// Searching takes longer the more keys there are, so it is done once for each connection.
#[test]
fn no_search_is_made_for_a_key_that_is_known() {
    let hostile = Hostile::new();
    for (algorithm, wrap, unwrap) in [
        (WrapAlgorithm::TOKEN_AES_256_GCM, [1, 1, 0], [0, 1, 0]),
        (WrapAlgorithm::TOKEN_AES_256_CBC_HMAC, [1, 1, 2], [0, 1, 1]),
    ] {
        let scene = Scene::new(algorithm);
        let keyring = scene.open().unwrap();
        keyring.rotate().unwrap();
        let envelope = Envelope::new(&keyring);
        let message = envelope.encrypt(PLAINTEXT, ROW).unwrap();
        for (work, expected) in [("wrap", wrap), ("unwrap", unwrap)] {
            hostile.send("reset");
            for _ in 0..100 {
                if work == "wrap" {
                    envelope.encrypt(PLAINTEXT, ROW).unwrap();
                } else {
                    envelope.decrypt(&message, ROW).unwrap();
                }
            }
            for (function, times) in ["C_Encrypt", "C_Decrypt", "C_Sign"].into_iter().zip(expected)
            {
                let calls = hostile.calls(function);
                // Up to ten times a second, and on a slow machine each time, a key has to be verified
                // again.
                let proofs = if work == "wrap" && times > 0 { 100 } else { 0 };
                let expected = 100 * times..=100 * times + proofs;
                assert!(expected.contains(&calls), "{algorithm} {work} {function}: {calls}");
                assert_eq!(hostile.calls(&format!("{function}Init")), calls);
            }
            for function in [
                "C_FindObjectsInit",
                "C_GetAttributeValue",
                "C_OpenSession",
                "C_GetSessionInfo",
                "C_Login",
                "C_GetTokenInfo",
            ] {
                assert_eq!(hostile.calls(function), 0, "{algorithm} {work} {function}");
            }
        }
    }
}

/// A wrong PIN is sent once, however often it is needed.
#[test]
fn refused_pin_is_not_offered_again() {
    let hostile = Hostile::new();
    let scene = Scene::new(WrapAlgorithm::TOKEN_AES_256_GCM);
    hostile.finalize();
    hostile.send("reset; fail C_Login PIN_INCORRECT always");
    for _ in 0..20 {
        assert_eq!(verdict(&scene.open()), "the PIN is wrong");
    }
    assert_eq!(hostile.calls("C_Login"), 1);
    hostile.send("reset");
    assert_eq!(verdict(&scene.open()), "the PIN is wrong", "until the application clears it");
    assert_eq!(hostile.calls("C_Login"), 0);
    scene.forget_refused_pins();
    scene.check("once the PIN may be offered again");
}

/// Each library has one function list, so every fault in it gets a copy of the module.
#[test]
fn no_library_is_refused_and_lacks_are_named() {
    let hostile = Hostile::new();
    let module = variable("ENVELOCK_P11_MODULE");
    let directory = crate::token_env::CatalogueDirectory::new();
    for (number, fault, expected) in [
        (0, "list-null", "it has no function list of PKCS#11"),
        (1, "list-version-garbage", "it has no function list of PKCS#11"),
        (2, "list-null-member C_OpenSession", "C_OpenSession is missing"),
        (3, "list-null-member C_EncryptInit", "C_EncryptInit is missing"),
        (4, "list-version-3", "ok"),
    ] {
        let copy = directory.path(&format!("module-{number}.so"));
        fs::copy(&module, &copy).unwrap();
        // SAFETY: a copy of the module of this repository, which has that function.
        unsafe {
            let library = libloading::Library::new(&copy).unwrap();
            let command: libloading::Symbol<
                '_,
                unsafe extern "C" fn(*const std::ffi::c_char) -> std::ffi::c_int,
            > = library.get(b"hostile_command\0").unwrap();
            let text = CString::new(format!("{fault} always")).unwrap();
            assert_eq!(command(text.as_ptr()), 0);
            std::mem::forget(library);
        }
        // All copies share SoftHSM behind them, and its initialisation.
        let pin = variable("ENVELOCK_P11_PIN");
        let token = envelock::pkcs11::Options::new(&copy)
            .token_label(variable("ENVELOCK_P11_LABEL"))
            .pin_from(move || Ok(envelock::pkcs11::Pin::new(&pin)))
            .token();
        let report = token.and_then(|token| token.probe());
        let said = match &report {
            Ok(report) => match &report.algorithms[0].error {
                None => "ok".into(),
                Some(error) => error.to_string(),
            },
            Err(error) => match error.backend() {
                Some(pkcs11::Error::Library { what, .. }) => what.clone(),
                Some(error) => error.to_string(),
                None => panic!("{fault}: {error:?}"),
            },
        };
        assert!(said.ends_with(expected), "{fault}: {said}");
    }
    drop(hostile);
    assert!(options().token().is_ok());
    assert!(quick(WrapAlgorithm::TOKEN_AES_256_GCM).token().is_ok());
}
