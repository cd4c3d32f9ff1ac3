//! Selection of library and token: each mistake has its exact error.

use crate::raw_token::{Slot, text};
use crate::token_env::{
    CatalogueDirectory, library, name, options, pkcs11_error, slot, token, variable,
};
use cryptoki_sys as ck;
use envelock::{Aad, Envelope, Error, Pkcs11Keyring, pkcs11};
use std::path::PathBuf;
use std::time::Duration;

fn probe(options: &pkcs11::Options) -> Error {
    options.token().and_then(|token| token.probe()).unwrap_err()
}

fn serial() -> String {
    text(&library().token_info(slot()).serialNumber).to_owned()
}

#[test]
fn unknown_label_is_reported_with_those_present() {
    let slots = library().slots().len();
    let options = options().token_label("nobody").recovery_timeout(Duration::from_millis(50));
    let error = probe(&options);
    let Some(pkcs11::Error::TokenNotFound { wanted, found }) = error.backend() else {
        panic!("{error:?}")
    };
    assert_eq!((&**wanted, found.len()), ("label \"nobody\"", slots));
    let label = variable("ENVELOCK_P11_LABEL");
    assert!(found.iter().any(|token| token.label == label && token.is_initialized));
    let text = format!("{label:?} (serial {:?})", serial());
    assert!(error.to_string().contains(&text), "{error:?}");
    if name() == "softhsm" {
        let blank = "one that is not initialised";
        assert!(error.to_string().contains(blank), "{error:?}");
    }
    // The token may be inserted later.
    assert!(error.is_retryable());
}

#[test]
fn serial_number_has_to_be_the_tokens_as_well() {
    let serial = serial();
    let token = options().token_serial(&serial).token().unwrap();
    assert_eq!(token.probe().unwrap().serial, serial);
    let wrong = options().token_serial(format!("{serial}x")).recovery_timeout(Duration::ZERO);
    let error = probe(&wrong);
    let Some(pkcs11::Error::TokenNotFound { wanted, .. }) = error.backend() else {
        panic!("{error:?}")
    };
    let label = variable("ENVELOCK_P11_LABEL");
    assert_eq!(*wanted, format!("label {label:?} and serial \"{serial}x\""));
}

/// A prefix of a label selects nothing.
#[test]
fn label_is_compared_as_a_whole() {
    let label = variable("ENVELOCK_P11_LABEL");
    for wrong in [&label[..label.len() - 1], &format!("{label}x"), &label.to_uppercase()] {
        let error = probe(&options().token_label(wrong).recovery_timeout(Duration::ZERO));
        assert!(matches!(error.backend(), Some(pkcs11::Error::TokenNotFound { .. })), "{error:?}");
    }
}

/// Options without a label select the only token: SoftHSM and opencryptoki also have slots without an
/// initialised token, NSS a token of its own.
#[test]
fn no_label_at_all_has_to_mean_one_token() {
    let module = variable("ENVELOCK_P11_MODULE");
    let mut any = pkcs11::Options::new(module).recovery_timeout(Duration::ZERO);
    if let Ok(reserved) = std::env::var("ENVELOCK_P11_RESERVED") {
        any = any.reserved(reserved);
    }
    let library = library();
    let is_set_up = |slot: &Slot| library.token_info(*slot).flags & ck::CKF_TOKEN_INITIALIZED != 0;
    let set_up = library.slots().into_iter().filter(is_set_up).count();
    assert!(name() != "softhsm" || library.slots().len() == set_up + 1);
    let connected = any.token().unwrap().probe();
    if set_up == 1 {
        assert_eq!(connected.unwrap().label, variable("ENVELOCK_P11_LABEL"));
        return;
    }
    let error = connected.unwrap_err();
    println!("{} tokens that are set up: {error:?}", set_up);
    let Some(pkcs11::Error::TokenNotUnique { wanted, .. }) = error.backend() else {
        panic!("{error:?}")
    };
    assert_eq!(&**wanted, "any label");
    assert!(!error.is_retryable());
}

fn load(path: &str) -> Result<pkcs11::Token, Error> {
    pkcs11::Options::new(path).token()
}

#[test]
fn impossible_library_is_named_and_not_loaded() {
    let directory = CatalogueDirectory::new();
    let garbage = directory.path("garbage.so");
    std::fs::write(&garbage, b"\x7fELF and nothing more").unwrap();
    let other = std::fs::read_dir("/lib/x86_64-linux-gnu").or(std::fs::read_dir("/lib")).unwrap();
    let is_libm = |path: &PathBuf| path.file_name().is_some_and(|name| name == "libm.so.6");
    let libm = other.filter_map(|entry| Some(entry.ok()?.path())).find(is_libm);
    let cases = [
        ("libsofthsm2.so", Some("its path is not absolute")),
        ("./lib.so", Some("its path is not absolute")),
        ("", Some("its path is not absolute")),
        ("/nonexistent/libp11.so", None),
        ("/", None),
        (garbage.to_str().unwrap(), None),
        (
            libm.as_ref().map_or("/nonexistent", |path| path.to_str().unwrap()),
            libm.as_ref().map(|_| "it has no function list of PKCS#11"),
        ),
    ];
    for (path, expected) in cases {
        let error = load(path).unwrap_err();
        let Some(pkcs11::Error::Library { path: found, what }) = error.backend() else {
            panic!("{error:?}")
        };
        let same = found.to_str() == Some(path) || found.starts_with("/");
        assert!(same, "{found:?}");
        assert!(expected.is_none_or(|expected| what == expected), "{path}: {what}");
        assert!(!what.is_empty() && !error.is_retryable());
    }
}

/// A link to a library is that library: it is initialised once in a process.
#[test]
fn link_to_the_library_is_the_same_library() {
    let directory = CatalogueDirectory::new();
    let link = directory.path("link.so");
    std::os::unix::fs::symlink(variable("ENVELOCK_P11_MODULE"), &link).unwrap();
    let keyring = directory.create("orders", &token());
    let message = Envelope::new(&keyring).encrypt(b"row", Aad::none()).unwrap();
    let pin = variable("ENVELOCK_P11_PIN");
    let token = pkcs11::Options::new(&link)
        .token_label(variable("ENVELOCK_P11_LABEL"))
        .pin_from(move || Ok(envelock::pkcs11::Pin::new(&pin)))
        .token()
        .unwrap();
    let second = Pkcs11Keyring::open_any(directory.path("catalogue"), &token).unwrap();
    assert_eq!(Envelope::new(&second).decrypt(&message, Aad::none()).unwrap(), b"row");
}

/// An algorithm that the token lacks is reported when a key is made, and nothing is made.
#[test]
fn algorithm_absent_from_token_is_refused_by_name() {
    let directory = CatalogueDirectory::new();
    let mut cases = vec![envelock::format::WrapAlgorithm::XAES_256_GCM];
    if name() == "opencryptoki" {
        cases.push(envelock::format::WrapAlgorithm::TOKEN_AES_256_GCM);
    }
    for algorithm in cases {
        let token = options().algorithm(algorithm).token().unwrap();
        let created = Pkcs11Keyring::create(directory.path("catalogue"), "orders", &token);
        let error = created.unwrap_err();
        let pkcs11::Error::Algorithm { what } = pkcs11_error(&error) else { panic!("{error:?}") };
        assert!(!what.is_empty() && !error.is_retryable());
        assert!(!directory.path("catalogue").exists());
    }
}
