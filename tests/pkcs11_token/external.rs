//! Keys that were put on the token by other means: versions are configuration, and the token is not
//! called before it is needed.

use crate::independent::{Bound, master_key_id};
use crate::keys::{MAC_VALUE, VALUE, aes, fresh, secret, with};
use crate::raw_token::bytes;
use crate::token_env::{
    CatalogueDirectory, best, name, options, pkcs11_error, session, token, variable,
};
use cryptoki_sys as ck;
use envelock::keyset::LifecycleError;
use envelock::{
    Aad, Envelope, Error, KeyVersion, Keyring, RewrapOptions,
    format::WrapAlgorithm,
    keyring::Refusal,
    pkcs11::{self, ExternalKeyring, ExternalKeys, KeyRef, KeyWeakness, Pin},
};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const ROW: Aad<'static> = Aad::new(b"row 7");

fn version(number: u32) -> KeyVersion {
    KeyVersion::new(number).unwrap()
}

/// Adds a version by the best algorithm of the token.
fn with_version(keys: ExternalKeys, number: u32, key: KeyRef) -> ExternalKeys {
    if best() == WrapAlgorithm::TOKEN_AES_256_GCM {
        return keys.gcm(version(number), key);
    }
    let mac = fresh("mac");
    session().create(&secret(&mac, &MAC_VALUE)).unwrap();
    keys.cbc_hmac(version(number), key, KeyRef::label(mac))
}

/// A key on the token, by a label and an id of its own.
fn key() -> (KeyRef, KeyRef) {
    let (label, id) = (fresh("label"), fresh("id"));
    session().create(&with(aes(&label, &VALUE), bytes(ck::CKA_ID, &id))).unwrap();
    (KeyRef::label(label), KeyRef::id(id))
}

fn ring(keys: &ExternalKeys) -> ExternalKeyring {
    ExternalKeyring::new(&token(), keys).unwrap()
}

fn refusal(keyring: impl Keyring, message: &[u8]) -> Refusal {
    match Envelope::new(keyring).decrypt(message, ROW).unwrap_err() {
        Error::Refused { key, refusal, .. } if key == "orders" => refusal,
        error => panic!("{error:?}"),
    }
}

#[test]
fn nothing_is_asked_of_the_token_before_it_is_needed() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let absent = options().token_label("not there").recovery_timeout(std::time::Duration::ZERO);
    let absent = absent.pin_from(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(Pin::new("00000001"))
    });
    let keys = with_version(ExternalKeys::new("orders"), 1, KeyRef::label("none"));
    let keys = keys.primary(version(1));
    let keyring = ExternalKeyring::new(&absent.token().unwrap(), &keys).unwrap();
    let mut primaries = 0;
    keyring.visit_primaries(&mut |_| primaries += 1).unwrap();
    assert_eq!((primaries, asked.load(Ordering::Relaxed)), (1, 0));
    let envelope = Envelope::new(&keyring);
    assert!(envelope.message_len(100).unwrap() > 100);
    let error = envelope.encrypt(b"row", ROW).unwrap_err();
    assert!(matches!(pkcs11_error(&error), pkcs11::Error::TokenNotFound { .. }), "{error:?}");
    let missing = ring(&keys);
    let error = Envelope::new(&missing).encrypt(b"row", ROW).unwrap_err();
    assert!(matches!(pkcs11_error(&error), pkcs11::Error::KeyNotFound { .. }), "{error:?}");
}

/// Runs a tool, if it is installed, and returns its output.
fn tool(command: &mut Command) -> Option<String> {
    let Ok(output) = command.output() else {
        println!("SKIPPED: {:?} is missing", command.get_program());
        return None;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        println!("SKIPPED: {text}{}", String::from_utf8_lossy(&output.stderr));
        return None;
    }
    Some(text)
}

/// The documentation's claims about tools: a key of `pkcs11-tool` is refused with its reason, and one
/// of `examples/hsm_key.py` is accepted.
#[test]
fn keys_of_tools_are_treated_as_documented() {
    if name() != "softhsm" {
        return;
    }
    let (module, token) = (variable("ENVELOCK_P11_MODULE"), variable("ENVELOCK_P11_LABEL"));
    let pin = variable("ENVELOCK_P11_PIN");
    let wrap = |label: &str| {
        let keys = ExternalKeys::new("orders").gcm(version(1), KeyRef::label(label));
        Envelope::new(ring(&keys.primary(version(1)))).encrypt(b"row", ROW)
    };
    let label = fresh("tool");
    let mut command = Command::new("pkcs11-tool");
    command.args(["--module", &module, "--token-label", &token, "--login", "--pin", &pin]);
    command.args([
        "--keygen",
        "--key-type",
        "AES:32",
        "--sensitive",
        "--usage-decrypt",
        "--label",
        &label,
    ]);
    if tool(&mut command).is_some() {
        let error = wrap(&label).unwrap_err();
        let found = pkcs11_error(&error);
        let fault = KeyWeakness::WrapsAndDecrypts;
        assert!(
            matches!(found, pkcs11::Error::WeakKey { fault: it, .. } if *it == fault),
            "{found:?}"
        );
        assert!(found.to_string().contains("CKA_WRAP and CKA_UNWRAP false"), "{found}");
    }
    let (directory, label) = (CatalogueDirectory::new(), fresh("script"));
    let file = directory.path("pin");
    std::fs::write(&file, &pin).unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/hsm_key.py");
    let mut command = Command::new("/usr/bin/python3");
    command.args([script, &module, &token]).arg(&file).arg(&label);
    if tool(&mut command).is_some() {
        wrap(&label).unwrap();
        let (key, mac) = (KeyRef::label(&label), KeyRef::label(format!("{label}-mac")));
        let keys = ExternalKeys::new("orders").cbc_hmac(version(1), key, mac);
        Envelope::new(ring(&keys.primary(version(1)))).encrypt(b"row", ROW).unwrap();
    }
}

#[test]
fn key_is_found_by_label_and_by_id() {
    let (label, id) = key();
    let by = |reference: &KeyRef| {
        let keys = with_version(ExternalKeys::new("orders"), 1, reference.clone());
        Envelope::new(ring(&keys.primary(version(1)))).encrypt(b"row", ROW).unwrap()
    };
    let (one, other) = (by(&label), by(&id));
    assert_ne!(Bound::of(&one).master_key_id, Bound::of(&other).master_key_id);
    let keys = with_version(ExternalKeys::new("orders"), 1, id).primary(version(1));
    let by_id = Envelope::new(ring(&keys));
    assert!(matches!(by_id.decrypt(&one, ROW), Err(Error::NoKey { .. })));
    // A second secret for the MAC stands there under algorithm 3: what is found is the first.
    if best() == WrapAlgorithm::TOKEN_AES_256_GCM {
        assert_eq!(by_id.decrypt(&other, ROW).unwrap(), b"row");
    }
    let native = fresh("native");
    session().create(&with(aes("any", &VALUE), bytes(ck::CKA_ID, &native))).unwrap();
    let keys = ExternalKeys::new("orders");
    let keys = with_version(keys, 1, KeyRef::id(native.clone())).primary(version(1));
    let message = Envelope::new(ring(&keys)).encrypt(b"row", ROW).unwrap();
    assert_eq!(Bound::of(&message).master_key_id, master_key_id(native.as_bytes()));
}

/// A rotation by configuration: a version is added first, and becomes the primary later.
#[test]
fn versions_are_rotated_by_configuration() {
    let (first, second) = (key().0, key().0);
    let one = with_version(ExternalKeys::new("orders"), 1, first);
    let both = with_version(one.clone(), 2, second);
    let old = ring(&both.clone().primary(version(1)));
    let message = Envelope::new(&old).encrypt(b"row", ROW).unwrap();
    let new = ring(&both.clone().primary(version(2)));
    let envelope = Envelope::new(&new);
    assert_eq!(envelope.decrypt(&message, ROW).unwrap(), b"row");
    assert!(envelope.needs_rewrap(&message).unwrap());
    let rewrapped = envelope.rewrap(&message, RewrapOptions::new()).unwrap();
    assert_eq!(Bound::of(rewrapped.header()).version, 2);
    let ahead = Envelope::new(&new).encrypt(b"ahead", ROW).unwrap();
    assert_eq!(Envelope::new(&old).decrypt(&ahead, ROW).unwrap(), b"ahead");
    // A process that does not have the version yet.
    let behind = ring(&one.primary(version(1)));
    assert_eq!(refusal(&behind, &ahead), Refusal::UnknownVersion);
}

#[test]
fn states_are_configuration() {
    let keys = with_version(ExternalKeys::new("orders"), 1, key().0);
    let message = Envelope::new(ring(&keys.clone().primary(version(1)))).encrypt(b"row", ROW);
    let message = message.unwrap();
    assert_eq!(refusal(ring(&keys.clone().disabled(version(1))), &message), Refusal::Disabled);
    let marked = ring(&keys.clone().compromised(version(1)));
    assert_eq!(Envelope::new(&marked).decrypt(&message, ROW).unwrap(), b"row");
    assert_eq!(refusal(marked.refusing_compromised(), &message), Refusal::Compromised);
    for without in [
        keys.clone(),
        keys.clone().disabled(version(1)).primary(version(1)),
        keys.clone().primary(version(1)).compromised(version(1)),
        ExternalKeys::new("orders"),
    ] {
        let error = Envelope::new(ring(&without)).encrypt(b"row", ROW).unwrap_err();
        assert!(matches!(error, Error::NoPrimary), "{error:?}");
    }
}

#[test]
fn impossible_configurations_are_refused() {
    let reference = KeyRef::label("one");
    let keys = || with_version(ExternalKeys::new("orders"), 1, reference.clone());
    let error = |keys| ExternalKeyring::new(&token(), &keys).unwrap_err();
    let twice = with_version(keys(), 2, reference.clone());
    assert!(matches!(error(twice), Error::Lifecycle(LifecycleError::KeyMaterial)));
    // One text as a label and as an id would make one master key id.
    let same = with_version(keys(), 2, KeyRef::id("one"));
    assert!(matches!(error(same), Error::Lifecycle(LifecycleError::KeyMaterial)));
    let unknown = error(keys().primary(version(7)));
    assert!(
        matches!(unknown, Error::Lifecycle(LifecycleError::UnknownVersion { version: found, .. }) if found == version(7))
    );
    for name in ["", "no name at all!", &"x".repeat(300)] {
        let keys = with_version(ExternalKeys::new(name), 1, reference.clone());
        assert!(matches!(error(keys), Error::Lifecycle(LifecycleError::KeyName(_))), "{name}");
    }
}
