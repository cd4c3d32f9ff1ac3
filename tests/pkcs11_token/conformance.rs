//! The suite that every keyring of this crate passes.

use crate::place::{Place, algorithms, clear, options, token};
use envelock::test_util::conformance;
use envelock::{Pkcs11Keyring, WrapAlgorithm};
use std::cell::RefCell;

/// Catalogues of their own, whose directories stay until the end.
fn judge(lifecycle: bool, algorithm: WrapAlgorithm) {
    let places = RefCell::new(Vec::new());
    let token = options().algorithm(algorithm).token().unwrap();
    let factory = || {
        let place = Place::new();
        let keyring = place.create("orders", &token);
        assert_eq!(keyring.versions()[0].algorithm, algorithm);
        places.borrow_mut().push(place);
        keyring
    };
    if lifecycle {
        conformance::lifecycle(factory);
    } else {
        conformance::keyring(factory);
    }
    clear();
}

#[test]
fn keeps_every_rule_of_keyrings_and_lifecycles() {
    for algorithm in algorithms() {
        judge(true, algorithm);
    }
}

#[test]
fn chooses_the_best_algorithm_by_itself() {
    let place = Place::new();
    let keyring: Pkcs11Keyring = place.create("orders", &token());
    assert_eq!(keyring.versions()[0].algorithm, crate::place::best());
}
