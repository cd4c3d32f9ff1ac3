//! One application on a file and on a token, and a migration from one to the other.

use crate::detached::{ReadDetached, WriteDetached};
use crate::independent::Bound;
use crate::token_env::{CatalogueDirectory, algorithms, best, options, token};
use envelock::{
    Aad, Envelope, Error, FileKeyring, KeyVersion, Keyring, Lifecycle, MigratingKeyring,
    Pkcs11Keyring, RewrapOptions, file::Protection, format::WrapAlgorithm, inspect,
};

const ROW: Aad<'static> = Aad::new(b"row 7");
const USUAL: RewrapOptions = RewrapOptions::new();

fn file(directory: &CatalogueDirectory) -> FileKeyring {
    let protection = Protection::passphrase("correct horse");
    FileKeyring::create(directory.path("file"), "orders", &protection).unwrap()
}

/// An application that does not depend on the kind of its keyring.
fn application(keyring: impl Lifecycle) {
    let envelope = Envelope::new(keyring);
    let old = envelope.encrypt(b"first", ROW).unwrap();
    let second = envelope.keyring().rotate().unwrap();
    let new = envelope.encrypt(b"second", ROW).unwrap();
    assert_eq!(Bound::of(&new).version, second.number());
    assert_eq!(envelope.decrypt(&old, ROW).unwrap(), b"first");
    assert_eq!(envelope.decrypt(&new, ROW).unwrap(), b"second");
    assert!(envelope.needs_rewrap(&old).unwrap() && !envelope.needs_rewrap(&new).unwrap());
    let header = envelope.rewrap(&old, USUAL).unwrap().into_header();
    let body = &old[inspect(&old).unwrap().len()..];
    envelope.keyring().disable(KeyVersion::FIRST).unwrap();
    envelope.decrypt(&old, ROW).unwrap_err();
    assert_eq!(envelope.decrypt_detached(&header, body, ROW).unwrap(), b"first");
    envelope.keyring().destroy_immediately(KeyVersion::FIRST).unwrap();
    assert_eq!(envelope.decrypt_detached(&header, body, ROW).unwrap(), b"first");
}

#[test]
fn application_runs_on_a_file_and_on_a_token() {
    let directory = CatalogueDirectory::new();
    application(file(&directory));
    application(directory.create("orders", &token()));
}

/// Rewraps the messages of one keyring to another, which then opens them alone.
fn hand_over(old: impl Keyring + 'static, new: impl Keyring + Clone + 'static, to: WrapAlgorithm) {
    let envelope = Envelope::new(&old);
    let messages =
        [b"one".as_slice(), b"two", b""].map(|text| envelope.encrypt(text, ROW).unwrap());
    let both = Envelope::new(MigratingKeyring::new(new.clone()).with(old).unwrap());
    let rewrapped = messages.each_ref().map(|message| {
        assert!(both.needs_rewrap(message).unwrap());
        let header = both.rewrap(message, USUAL).unwrap().into_header();
        assert!(!both.needs_rewrap(&header).unwrap());
        assert_eq!(Bound::of(&header).algorithm, to.id());
        let body_at = inspect(message).unwrap().len();
        [&header, &message[body_at..]].concat()
    });
    drop(both);
    let alone = Envelope::new(new);
    for ((message, old), text) in rewrapped.iter().zip(&messages).zip([&b"one"[..], b"two", b""]) {
        assert_eq!(alone.decrypt(message, ROW).unwrap(), text);
        assert!(matches!(alone.decrypt(old, ROW), Err(Error::NoKey { .. })));
    }
}

#[test]
fn messages_move_from_a_file_to_a_token_and_back() {
    for algorithm in algorithms() {
        let directory = CatalogueDirectory::new();
        let token = options().algorithm(algorithm).token().unwrap();
        let on_token = std::sync::Arc::new(directory.create("orders", &token));
        hand_over(file(&directory), on_token.clone(), algorithm);
        let second = CatalogueDirectory::new();
        hand_over(on_token, std::sync::Arc::new(file(&second)), WrapAlgorithm::XAES_256_GCM);
    }
}

/// Each key keeps its algorithm for life, whichever new ones get.
#[test]
fn both_algorithms_stand_in_one_catalogue() {
    let directory = CatalogueDirectory::new();
    let cbc = options().algorithm(WrapAlgorithm::TOKEN_AES_256_CBC_HMAC).token().unwrap();
    let first = directory.create("orders", &cbc);
    let old = Envelope::new(&first).encrypt(b"old", ROW).unwrap();
    drop(first);
    let keyring = Pkcs11Keyring::open_any(directory.path("catalogue"), &token()).unwrap();
    let second = Envelope::new(&keyring).encrypt(b"second", ROW).unwrap();
    assert_eq!(Bound::of(&second).version, 1);
    keyring.rotate().unwrap();
    let new = Envelope::new(&keyring).encrypt(b"new", ROW).unwrap();
    let found: Vec<_> = keyring.versions().iter().map(|version| version.algorithm).collect();
    assert_eq!(found, [WrapAlgorithm::TOKEN_AES_256_CBC_HMAC, best()]);
    for options in [options(), options().algorithm(WrapAlgorithm::TOKEN_AES_256_CBC_HMAC)] {
        let token = options.token().unwrap();
        let keyring = Pkcs11Keyring::open_any(directory.path("catalogue"), &token).unwrap();
        let envelope = Envelope::new(&keyring);
        for (message, text) in [(&old, &b"old"[..]), (&second, b"second"), (&new, b"new")] {
            assert_eq!(envelope.decrypt(message, ROW).unwrap(), text);
        }
        let header = envelope.rewrap(&old, USUAL).unwrap().into_header();
        assert_eq!(Bound::of(&header).algorithm, best().id());
    }
}

#[test]
fn retired_version_opens_nothing_that_was_rewrapped() {
    for algorithm in algorithms() {
        let directory = CatalogueDirectory::new();
        let keyring = directory.create("orders", &options().algorithm(algorithm).token().unwrap());
        let envelope = Envelope::new(&keyring);
        let mut messages: Vec<_> =
            (0..20_u8).map(|number| envelope.encrypt(&[number], ROW).unwrap()).collect();
        keyring.rotate().unwrap();
        let wraps = || keyring.keyset().unwrap().versions()[0].usage.wraps;
        let before = wraps();
        let options = USUAL.retiring("orders", KeyVersion::FIRST);
        for message in &mut messages {
            assert!(envelope.rewrap_in_place(message, options).unwrap().is_changed());
            assert!(!envelope.rewrap_in_place(message, options).unwrap().is_changed());
        }
        assert_eq!(wraps(), before, "an old version wraps nothing");
        keyring.disable(KeyVersion::FIRST).unwrap();
        keyring.destroy_immediately(KeyVersion::FIRST).unwrap();
        for (number, message) in messages.iter().enumerate() {
            assert_eq!(envelope.decrypt(message, ROW).unwrap(), [number as u8]);
        }
    }
}
