//! The suite that every keyring of this crate passes.

use crate::token_env::{Place, algorithms, clear, options, token};
use envelock::conformance;
use envelock::{KeyVersion, Lifecycle, Pkcs11Keyring, format::WrapAlgorithm};
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

/// Another handle of the same catalogue makes the changes.
struct Handles {
    keyring: Pkcs11Keyring,
    operator: Pkcs11Keyring,
    _place: Place,
}

impl conformance::Controls for Handles {
    type Keyring = Pkcs11Keyring;

    fn keyring(&self) -> &Pkcs11Keyring {
        &self.keyring
    }

    fn rotate(&self) -> bool {
        self.operator.rotate().is_ok()
    }

    fn promote(&self, version: KeyVersion) -> bool {
        self.operator.promote(version).is_ok()
    }

    fn disable(&self, version: KeyVersion) -> bool {
        self.operator.disable(version).is_ok()
    }

    fn forget(&self) {
        self.keyring.catalogue().reload().unwrap();
    }
}

#[test]
fn loses_nothing_to_changes_by_another_handle() {
    let token = token();
    conformance::remote(|| {
        let place = Place::new();
        let operator = place.create("orders", &token);
        let keyring = Pkcs11Keyring::open(place.path("catalogue"), "orders", &token).unwrap();
        Handles { keyring, operator, _place: place }
    });
    clear();
}

#[test]
fn chooses_the_best_algorithm_by_itself() {
    let place = Place::new();
    let keyring: Pkcs11Keyring = place.create("orders", &token());
    assert_eq!(keyring.versions()[0].algorithm, crate::token_env::best());
}
