//! A wrong PIN is sent once in a process, by any caller; each way to have no PIN has its error.
//! These tests run in processes of their own, where no user is logged in.

use crate::keys::{VALUE, aes, fresh, put};
use crate::process::{Process, send};
use crate::token_env::{
    CatalogueDirectory, best, library, name, options, pkcs11_error, session, slot, variable,
};
use cryptoki_sys as ck;
use envelock::{
    Aad, Envelope, Error, KeyVersion,
    format::WrapAlgorithm,
    pkcs11::{self, ExternalKeyring, ExternalKeys, KeyRef, Pin, PinFault},
};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, io};

/// A wrong PIN, of a length that every token accepts.
const WRONG: &str = "00000001";

fn with_pin(pin: &str) -> pkcs11::Token {
    let pin = pin.to_owned();
    options().pin_from(move || Ok(Pin::new(&pin))).token().unwrap()
}

/// Wraps under a key that the parent put on the token.
fn wrap(token: &pkcs11::Token, label: &str) -> Result<(), Error> {
    let (version, key) = (KeyVersion::FIRST, KeyRef::label(label));
    let mac = KeyRef::label(format!("{label}-mac"));
    let keys = ExternalKeys::new("orders");
    let keys = if best() == WrapAlgorithm::TOKEN_AES_256_GCM {
        keys.gcm(version, key)
    } else {
        keys.cbc_hmac(version, key, mac)
    };
    let keyring = ExternalKeyring::new(token, &keys.primary(version)).unwrap();
    Envelope::new(keyring).encrypt(b"row", Aad::none()).map(drop)
}

pub fn fault(result: Result<(), Error>) -> PinFault {
    let error = result.expect_err("not logged in");
    let pkcs11::Error::Login { fault } = pkcs11_error(&error) else { panic!("{error:?}") };
    assert_eq!(error.is_retryable(), matches!(fault, PinFault::Source { .. }));
    fault.clone()
}

fn flags() -> ck::CK_FLAGS {
    library().token_info(slot()).flags
}

pub fn child(role: &str, label: &str) {
    match role {
        "wrong pin" => wrong_pin(label),
        "pin files" => pin_files(label),
        "no pin" => no_pin(label),
        other => panic!("{other}"),
    }
    send("done");
}

/// Puts a key on the token, and runs a role in a child.
fn run(role: &str) {
    let label = fresh("login");
    let session = session();
    session.create(&aes(&label, &VALUE)).unwrap();
    session.create(&crate::keys::secret(&format!("{label}-mac"), &VALUE)).unwrap();
    drop(session);
    let mut child = Process::start(crate::MODULE, "logins", &[role, &label]);
    child.expect("done");
    assert!(child.end().is_empty());
}

#[test]
fn wrong_pin_is_tried_once_in_a_process() {
    run("wrong pin");
}

/// opencryptoki locks after three wrong PINs, kryoptic after ten: a token that repeats one is locked.
fn wrong_pin(label: &str) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let callback = move || {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(Pin::new(WRONG))
    };
    let shared = options().pin_from(callback).token().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..3 {
                    assert!(matches!(fault(wrap(&shared, label)), PinFault::Rejected));
                }
            });
        }
    });
    assert!(asked.load(Ordering::Relaxed) >= 12, "a new PIN needs no new process");
    for _ in 0..8 {
        assert!(matches!(fault(wrap(&with_pin(WRONG), label)), PinFault::Rejected));
    }
    let low = ck::CKF_USER_PIN_FINAL_TRY | ck::CKF_USER_PIN_LOCKED;
    assert_eq!(flags() & low, 0);
    if name() == "opencryptoki" {
        // One more attempt by hand shows in the flags, so there were at most two before.
        shared.forget_refused_pins();
        assert!(matches!(fault(wrap(&shared, label)), PinFault::Rejected));
        assert_eq!(flags() & low, ck::CKF_USER_PIN_FINAL_TRY);
        assert!(matches!(fault(wrap(&with_pin("00000002"), label)), PinFault::FinalTry));
        let right = variable("ENVELOCK_P11_PIN");
        assert!(matches!(fault(wrap(&with_pin(&right), label)), PinFault::FinalTry));
        let right = options().allow_final_try().token().unwrap();
        wrap(&right, label).unwrap();
        assert_eq!(flags() & low, 0);
    } else {
        let right = with_pin(&variable("ENVELOCK_P11_PIN"));
        wrap(&right, label).unwrap();
        drop(right);
        // The PIN stays refused until the application clears that.
        assert!(matches!(fault(wrap(&shared, label)), PinFault::Rejected));
        shared.forget_refused_pins();
        assert!(matches!(fault(wrap(&shared, label)), PinFault::Rejected));
    }
    wrap(&with_pin(&variable("ENVELOCK_P11_PIN")), label).unwrap();
}

#[test]
fn pin_file_is_private_and_read_at_each_login() {
    run("pin files");
}

fn pin_files(label: &str) {
    let directory = CatalogueDirectory::new();
    let path = directory.path("pin");
    let token = options().pin_file(&path).token().unwrap();
    let missing = fault(wrap(&token, label));
    let PinFault::Source { source } = &missing else { panic!("{missing:?}") };
    let source = source.downcast_ref::<io::Error>().unwrap();
    assert_eq!(source.kind(), io::ErrorKind::NotFound);
    fs::write(&path, format!("{}\n", variable("ENVELOCK_P11_PIN"))).unwrap();
    for mode in [0o644, 0o640, 0o606, 0o601] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let found = fault(wrap(&token, label));
        let PinFault::FilePermissions { path: named, mode: found } = &found else {
            panic!("{found:?}")
        };
        assert_eq!((named, *found), (&path, mode));
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, WRONG).unwrap();
    assert!(matches!(fault(wrap(&token, label)), PinFault::Rejected));
    // The same token value, once the file is right.
    fs::write(&path, format!("{}\r\n", variable("ENVELOCK_P11_PIN"))).unwrap();
    wrap(&token, label).unwrap();
    for mode in [0o400, 0o600] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let reopened = options().pin_file(&path).token().unwrap();
        wrap(&reopened, label).unwrap();
    }
}

#[test]
fn missing_pin_and_missing_reply_differ() {
    run("no pin");
}

fn no_pin(label: &str) {
    let silent = options().pin_from(|| Err("the vault is closed".into())).token().unwrap();
    let found = fault(wrap(&silent, label));
    let PinFault::Source { source } = &found else { panic!("{found:?}") };
    assert_eq!(source.to_string(), "the vault is closed");
    // Without a login the keys are hidden, and no key can be made.
    let mut options = pkcs11::Options::new(variable("ENVELOCK_P11_MODULE"))
        .token_label(variable("ENVELOCK_P11_LABEL"));
    if let Ok(reserved) = std::env::var("ENVELOCK_P11_RESERVED") {
        options = options.reserved(reserved);
    }
    let open = options.token().unwrap();
    let error = wrap(&open, label).unwrap_err();
    let found = pkcs11_error(&error);
    assert!(matches!(found, pkcs11::Error::KeyNotFound { .. }), "{found:?}");
    let directory = CatalogueDirectory::new();
    let created = envelock::Pkcs11Keyring::create(directory.path("catalogue"), "orders", &open);
    let error = created.unwrap_err();
    let found = pkcs11_error(&error);
    let pkcs11::Error::Call { failure } = found else { panic!("{found:?}") };
    assert_eq!(failure.return_value(), Some(ck::CKR_USER_NOT_LOGGED_IN), "{failure}");
    // An empty PIN is a wrong one, and is not sent twice either.
    for _ in 0..2 {
        assert!(matches!(fault(wrap(&with_pin(""), label)), PinFault::Rejected));
    }
    wrap(&with_pin(&variable("ENVELOCK_P11_PIN")), label).unwrap();
}

/// Errors name the token and the fault, and never the PIN.
#[test]
fn nothing_that_is_printed_shows_a_pin() {
    let pin = variable("ENVELOCK_P11_PIN");
    let token = with_pin(&pin);
    let (_, keys) = put(&session(), best());
    let keyring = ExternalKeyring::new(&token, &keys).unwrap();
    let report = token.probe().unwrap();
    for text in [format!("{token:?}"), format!("{keyring:?}"), format!("{report:?} {report}")] {
        assert!(!text.contains(&pin), "{text}");
    }
}
