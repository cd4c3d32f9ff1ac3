//! The suite that every keyring of this crate passes.

use crate::token_env::{CatalogueDirectory, algorithms, clear, options, token};
use envelock::conformance;
use envelock::{KeyVersion, Lifecycle, Pkcs11Keyring, format::WrapAlgorithm};
use std::cell::RefCell;

/// Catalogues with directories of their own, which are removed at the end.
fn check(lifecycle: bool, algorithm: WrapAlgorithm) {
    let directories = RefCell::new(Vec::new());
    let token = options().algorithm(algorithm).token().unwrap();
    let factory = || {
        let directory = CatalogueDirectory::new();
        let keyring = directory.create("orders", &token);
        assert_eq!(keyring.versions()[0].algorithm, algorithm);
        directories.borrow_mut().push(directory);
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
        check(true, algorithm);
    }
}

/// Another handle of the same catalogue makes the changes.
struct Handles {
    keyring: Pkcs11Keyring,
    operator: Pkcs11Keyring,
    _directory: CatalogueDirectory,
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
fn changes_by_another_handle_lose_nothing() {
    let token = token();
    conformance::remote(|| {
        let directory = CatalogueDirectory::new();
        let operator = directory.create("orders", &token);
        let keyring = Pkcs11Keyring::open(directory.path("catalogue"), "orders", &token).unwrap();
        Handles { keyring, operator, _directory: directory }
    });
    clear();
}

#[test]
fn chooses_the_best_algorithm_by_itself() {
    let directory = CatalogueDirectory::new();
    let keyring: Pkcs11Keyring = directory.create("orders", &token());
    assert_eq!(keyring.versions()[0].algorithm, crate::token_env::best());
}
