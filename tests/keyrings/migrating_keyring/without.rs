//! A keyring that does without versions: whatever opens through it opens without them.

use super::combine::{PLAINTEXT, ROW, ring, version};
use envelock::keyset::LifecycleError;
use envelock::rand_core::{Rng, SeedableRng};
use envelock::{
    Envelope, Error, GrantOptions, KeyVersion, Keyring, Lifecycle, MemoryKeyring, MultiKeyring,
    RewrapOptions, inspect,
    keyring::{Freshness, Refusal, WithoutVersions},
};
use rand_chacha::ChaCha20Rng;
use std::sync::Arc;

const USUAL: RewrapOptions = RewrapOptions::new();

fn freshness(keyring: &dyn Keyring, message: &[u8]) -> Freshness {
    let slot = inspect(message).unwrap().slots().next().unwrap();
    keyring.freshness(&slot.label).unwrap()
}

fn is_excluded(error: &Error, name: &str, number: u32) -> bool {
    matches!(error, Error::Refused { key, version, refusal: Refusal::Excluded, .. }
        if key == name && version.number() == number)
}

#[test]
fn listed_version_neither_opens_nor_wraps() {
    let keyring = ring("orders", 1);
    let message = Envelope::new(&keyring).encrypt(PLAINTEXT, ROW).unwrap();
    let without = WithoutVersions::new(&keyring).and("orders", KeyVersion::FIRST).unwrap();
    let envelope = Envelope::new(&without);
    // While it is the primary.
    let error = envelope.encrypt(PLAINTEXT, ROW).unwrap_err();
    assert!(is_excluded(&error, "orders", 1), "{error:?}");
    assert!(!error.is_retryable());
    for rotated in [false, true] {
        if rotated {
            keyring.rotate().unwrap();
        }
        assert_eq!(freshness(&without, &message), Freshness::Refused(Refusal::Excluded));
        let error = envelope.decrypt(&message, ROW).unwrap_err();
        assert!(is_excluded(&error, "orders", 1), "{error:?}");
        let error = envelope.rewrap(&message, USUAL).unwrap_err();
        assert!(is_excluded(&error, "orders", 1), "{error:?}");
        assert!(envelope.needs_rewrap(&message).unwrap());
    }
    // Other messages open.
    let fresh = envelope.encrypt(PLAINTEXT, ROW).unwrap();
    assert_eq!(envelope.decrypt(&fresh, ROW).unwrap(), PLAINTEXT);
    let rewrapped = Envelope::new(&keyring).rewrap(&message, USUAL).unwrap();
    assert!(!envelope.needs_rewrap(rewrapped.header()).unwrap());
    // Nor does a rewrap write under one.
    let back = WithoutVersions::new(&keyring).and("orders", version(2)).unwrap();
    let report = Envelope::new(&back).rewrap(&message, USUAL);
    let error = report.unwrap_err();
    assert!(is_excluded(&error, "orders", 2), "{error:?}");
    // Nor does a grant.
    let error = Envelope::new(ring("orders", 1)).add_slot(&message, &back, GrantOptions::new());
    let error = error.unwrap_err();
    assert!(is_excluded(&error, "orders", 2), "{error:?}");
}

/// SPEC R-FAIL: an old slot that stays is not retired because this keyring does without it, or
/// because the new version may not wrap.
#[test]
fn version_that_opens_or_is_needed_is_not_retired() {
    let (keyring, escrow) = (ring("orders", 1), Arc::new(ring("escrow", 2)));
    let keyring = Arc::new(keyring);
    let both = MultiKeyring::new(keyring.clone()).with(escrow.clone()).unwrap();
    let message = Envelope::new(both).encrypt(PLAINTEXT, ROW).unwrap();
    keyring.rotate().unwrap();
    let retiring = USUAL.retiring("orders", KeyVersion::FIRST);
    for excluded in [1, 2] {
        let without = WithoutVersions::new(keyring.clone());
        let without = without.and("orders", version(excluded)).unwrap();
        let both = MultiKeyring::new(without).with(escrow.clone()).unwrap();
        let error = Envelope::new(both).rewrap(&message, retiring).unwrap_err();
        assert!(is_excluded(&error, "orders", excluded), "{error:?}");
    }
    let both = MultiKeyring::new(keyring.clone()).with(escrow).unwrap();
    let rewrapped = Envelope::new(both).rewrap(&message, retiring).unwrap().into_header();
    keyring.disable(KeyVersion::FIRST).unwrap();
    assert!(Envelope::new(keyring).open(&rewrapped).is_ok());
}

#[test]
fn other_material_under_a_listed_version_opens() {
    let (ours, other) = (ring("orders", 1), ring("orders", 2));
    let foreign = Envelope::new(&other).encrypt(PLAINTEXT, ROW).unwrap();
    let without = WithoutVersions::new(&ours).and("orders", KeyVersion::FIRST).unwrap();
    assert_eq!(freshness(&without, &foreign), Freshness::NotMine);
    let error = Envelope::new(&without).decrypt(&foreign, ROW).unwrap_err();
    assert!(matches!(error, Error::NoKey { .. }), "{error:?}");
}

/// A name that is misspelt, or an alias, would prove everything.
#[test]
fn name_that_keyring_does_not_hold_cannot_be_listed() {
    let keyring = ring("orders", 1);
    keyring.set_alias("current", "orders").unwrap();
    for name in ["ordres", "current"] {
        let error = WithoutVersions::new(&keyring).and(name, KeyVersion::FIRST).unwrap_err();
        assert!(
            matches!(&error, Error::Lifecycle(LifecycleError::UnknownKey { key }) if key == name),
            "{error:?}"
        );
    }
    let error = WithoutVersions::new(&keyring).and("no name", KeyVersion::FIRST).unwrap_err();
    assert!(matches!(error, Error::Lifecycle(LifecycleError::KeyName(_))), "{error:?}");
}

#[test]
fn random_lists_refuse_as_modelled() {
    for seed in 0..40 {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let keyring = MemoryKeyring::create("orders").unwrap();
        let envelope = Envelope::new(&keyring);
        let messages: Vec<Vec<u8>> = (0..6)
            .map(|_| {
                let message = envelope.encrypt(PLAINTEXT, ROW).unwrap();
                keyring.rotate().unwrap();
                message
            })
            .collect();
        let listed = rng.next_u32() % 128;
        let is_listed = |number: u32| listed >> (number - 1) & 1 == 1;
        let all = (1..=7).filter(|number| is_listed(*number));
        let without = all.fold(WithoutVersions::new(&keyring), |without, number| {
            without.and("orders", version(number)).unwrap()
        });
        let without = Envelope::new(without);
        assert_eq!(without.encrypt(PLAINTEXT, ROW).is_err(), is_listed(7), "seed {seed}");
        for (number, message) in (1..).zip(&messages) {
            match without.decrypt(message, ROW) {
                Ok(plaintext) => assert!(!is_listed(number) && plaintext == PLAINTEXT),
                Err(error) => assert!(is_listed(number) && is_excluded(&error, "orders", number)),
            }
            let is_rewrapped = without.rewrap(message, USUAL).is_ok_and(|it| it.is_changed());
            assert_eq!(is_rewrapped, !is_listed(number) && !is_listed(7), "seed {seed} {number}");
        }
    }
}
