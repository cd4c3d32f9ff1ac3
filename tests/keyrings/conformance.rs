//! The conformance suite passes the keyrings of this crate, and catches broken ones.

use crate::common::directory;
mod flawed;
mod meddled;
mod meeting;

mod remote;

use directory::TestDirectory;
use envelock::conformance::{self, Rule};
use envelock::conformance::{Fault, FaultyKeyring, Method};
use envelock::{
    CachingKeyring, FileKeyring, KeyVersion, Lifecycle, MasterKey, MemoryKeyring, MigratingKeyring,
    MultiKeyring,
    file::Protection,
    keyring::{KeyringError, Refusal},
    observe::ObservedKeyring,
};
use flawed::{Flaw, Flawed};
use meddled::{Meddled, Meddling};
use remote::{Mistake, Remote};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

fn memory() -> MemoryKeyring {
    MemoryKeyring::create("orders").unwrap()
}

#[test]
fn memory_keyring_conforms() {
    conformance::lifecycle(memory);
}

#[test]
fn memory_keyring_of_given_keys_conforms() {
    let key = || MasterKey::from_bytes(&[7; 32]);
    let version = KeyVersion::new(9).unwrap();
    conformance::lifecycle(|| MemoryKeyring::import("orders", version, &key()).unwrap());
}

#[test]
fn views_of_a_memory_keyring_conform() {
    conformance::lifecycle(|| {
        let keyring = memory();
        keyring.create_key("second").unwrap();
        keyring.set_alias("now", "second").unwrap();
        keyring.with_key("now").unwrap()
    });
    conformance::lifecycle(|| {
        let keyring = memory();
        keyring.create_key("second").unwrap();
        keyring.only_key("second").unwrap()
    });
    conformance::lifecycle(|| memory().refusing_compromised());
}

#[test]
fn pointers_to_a_keyring_conform() {
    let keyring = memory();
    conformance::keyring(|| &keyring);
    conformance::lifecycle(|| Box::new(memory()));
    conformance::lifecycle(|| Arc::new(memory()));
    conformance::lifecycle(|| -> Box<dyn Lifecycle> { Box::new(memory()) });
}

/// Makes key files in one directory.
struct Files {
    directory: TestDirectory,
    made: AtomicU32,
}

impl Files {
    fn new() -> Self {
        Files { directory: TestDirectory::new(), made: AtomicU32::new(0) }
    }

    fn create(&self, key: &str) -> FileKeyring {
        let number = self.made.fetch_add(1, Relaxed);
        let protection = Protection::raw_key(MasterKey::from_bytes(&[7; 32]));
        let path = self.directory.join(&format!("{number}.keys"));
        FileKeyring::create(path, key, &protection).unwrap()
    }
}

#[test]
fn file_keyring_conforms() {
    let files = Files::new();
    conformance::lifecycle(|| files.create("orders"));
}

#[test]
fn views_of_a_file_keyring_conform() {
    let files = Files::new();
    conformance::keyring(|| {
        let keyring = files.create("orders");
        keyring.create_key("second").unwrap();
        keyring.set_alias("now", "second").unwrap();
        keyring.with_key("now").unwrap()
    });
    conformance::keyring(|| {
        let keyring = files.create("orders");
        keyring.create_key("second").unwrap();
        keyring.only_key("second").unwrap().refusing_compromised()
    });
}

#[test]
fn observed_keyring_conforms() {
    conformance::lifecycle(|| ObservedKeyring::new(memory(), ()));
}

#[test]
fn combined_keyrings_conform() {
    let backup = || MemoryKeyring::create("backup").unwrap();
    let files = Files::new();
    conformance::keyring(|| MultiKeyring::new(memory()));
    conformance::keyring(|| MultiKeyring::new(memory()).with(backup()).unwrap());
    conformance::keyring(|| MigratingKeyring::new(memory()));
    conformance::keyring(|| MigratingKeyring::new(memory()).with(backup()).unwrap());
    // Moving from a file to memory: one name, other material.
    conformance::keyring(|| MigratingKeyring::new(memory()).with(files.create("orders")).unwrap());
}

#[test]
fn caching_keyring_conforms() {
    let files = Files::new();
    conformance::keyring(|| CachingKeyring::new(memory()));
    conformance::keyring(|| CachingKeyring::new(files.create("orders")));
    let members = || MultiKeyring::new(memory()).with(MemoryKeyring::create("b").unwrap());
    conformance::keyring(|| CachingKeyring::new(members().unwrap()));
}

#[test]
fn keyring_without_faults_conforms() {
    conformance::lifecycle(|| FaultyKeyring::new(memory()));
}

#[test]
fn keyring_over_a_service_conforms() {
    conformance::keyring(|| Remote::new(Mistake::None));
    conformance::remote(|| remote::alone(Mistake::None));
    conformance::remote(remote::cached);
    conformance::remote(remote::beside_another);
    conformance::remote(remote::moving);
}

/// A keyring of this crate as its own service: another handle makes the changes.
struct Handles<K> {
    keyring: K,
    operator: Box<dyn Lifecycle>,
    look: fn(&K),
}

impl<K: envelock::Keyring> conformance::Controls for Handles<K> {
    type Keyring = K;

    fn keyring(&self) -> &K {
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
        (self.look)(&self.keyring);
    }
}

#[test]
fn keyrings_changed_through_another_handle_conform() {
    conformance::remote(|| {
        let keyring = Arc::new(memory());
        Handles { keyring: keyring.clone(), operator: Box::new(keyring), look: |_| () }
    });
    conformance::remote(|| {
        let operator = Box::new(Arc::new(memory()));
        let keyring = CachingKeyring::new(ObservedKeyring::new(Arc::clone(&operator), ()));
        Handles { keyring, operator, look: CachingKeyring::purge }
    });
    let files = Files::new();
    conformance::remote(|| {
        let operator = Box::new(files.create("orders"));
        let protection = Protection::raw_key(MasterKey::from_bytes(&[7; 32]));
        let keyring = FileKeyring::open(operator.path(), "orders", &protection).unwrap();
        Handles { keyring, operator, look: |keyring| assert!(keyring.reload().is_ok()) }
    });
}

/// The suite stops at a keyring that breaks this rule, and says so.
#[track_caller]
fn caught(what: &str, rule: Rule, check: impl FnOnce()) {
    let Err(panic) = catch_unwind(AssertUnwindSafe(check)) else { panic!("{what} passes") };
    let text = panic.downcast_ref::<String>().unwrap_or_else(|| panic!("{what}: no text"));
    let expected = format!("keyring breaks {rule:?} ({rule}): ");
    assert!(text.starts_with(&expected), "{what}: {text}, expected {rule:?}");
}

#[test]
fn every_flaw_of_a_keyring_is_caught() {
    conformance::keyring(|| Flawed::new(Flaw::None));
    for (flaw, rule) in [
        (Flaw::IgnoresAad, Rule::Authentication),
        (Flaw::IgnoresName, Rule::NotMine),
        (Flaw::IgnoresVersion, Rule::UnknownVersion),
        (Flaw::IgnoresId, Rule::NotMine),
        (Flaw::IgnoresAlgorithm, Rule::NotMine),
        (Flaw::FallsBackToPrimary, Rule::UnknownVersion),
        (Flaw::DeniesItsOwn, Rule::NotMine),
        (Flaw::WrapsUnderStale, Rule::Primary),
        (Flaw::PrimaryTooShort, Rule::Primary),
        (Flaw::PrimarySilent, Rule::Primary),
        (Flaw::FreshnessLies, Rule::Freshness),
        (Flaw::FillsNothing, Rule::RoundTrip),
        (Flaw::LeavesTheKey, Rule::NoKeyOnFailure),
        (Flaw::LosesHalfTheKey, Rule::RoundTrip),
        (Flaw::TakesTrailingBytes, Rule::Authentication),
        (Flaw::UnavailableWhenChanged, Rule::Authentication),
        (Flaw::LeaksTheKey, Rule::Secret),
        (Flaw::SwallowsNoRoom, Rule::Room),
        (Flaw::FixedNonceWithoutRandomness, Rule::Randomness),
        (Flaw::SharesScratch, Rule::Threads),
        (Flaw::RewrapsToAnotherName, Rule::Rewrap),
        (Flaw::RewrapsTwice, Rule::Rewrap),
        (Flaw::RewrapsToStale, Rule::Rewrap),
    ] {
        caught(&format!("{flaw:?}"), rule, || conformance::keyring(|| Flawed::new(flaw)));
    }
}

/// Mistakes that only the calls reveal, whatever the service does.
#[test]
fn every_mistake_in_keyring_over_service_is_caught() {
    for (mistake, rule) in [
        (Mistake::AadWithoutCore, Rule::Authentication),
        (Mistake::PrimaryForUnknown, Rule::UnknownVersion),
        (Mistake::IgnoresId, Rule::NotMine),
        (Mistake::HoldsNothing, Rule::Holds),
        (Mistake::HoldsAnything, Rule::Holds),
        (Mistake::WrapsUnderAnother, Rule::WrapUnder),
        (Mistake::WrapsUnderAnyName, Rule::WrapUnder),
        (Mistake::WrapsUnderTwice, Rule::WrapUnder),
        (Mistake::WrapsTwice, Rule::Primary),
    ] {
        caught(&format!("{mistake:?}"), rule, || conformance::keyring(|| Remote::new(mistake)));
    }
}

#[test]
fn every_mistake_about_the_service_is_caught() {
    for (mistake, rule) in [
        (Mistake::AadWithoutName, Rule::Authentication),
        (Mistake::AadWithoutAlgorithm, Rule::Authentication),
        (Mistake::LabelsByMemory, Rule::Rotation),
        (Mistake::OutageIsAuthentication, Rule::Unavailable),
        (Mistake::OutageIsNotMine, Rule::Unavailable),
        (Mistake::FreshnessByOrder, Rule::Freshness),
        (Mistake::FreshnessForgetsDisabled, Rule::Freshness),
        (Mistake::DisabledIsAuthentication, Rule::States),
        (Mistake::DeniedIsUnavailable, Rule::Denied),
        (Mistake::ThrottledIsFinal, Rule::Throttled),
        (Mistake::ThrottledLosesTheWait, Rule::Throttled),
        (Mistake::RemembersTheOutage, Rule::Unavailable),
        (Mistake::AsksForForeignNames, Rule::NotMine),
    ] {
        // Only a change of the service reveals it.
        conformance::keyring(|| Remote::new(mistake));
        caught(&format!("{mistake:?}"), rule, || conformance::remote(|| remote::alone(mistake)));
    }
}

#[test]
fn every_meddling_with_a_lifecycle_is_caught() {
    for (meddling, rule) in [
        (Meddling::OneByOne, Rule::AllOrNothing),
        (Meddling::NoCompareAndSwap, Rule::CompareAndSwap),
        (Meddling::CheckThenSwap, Rule::CompareAndSwap),
        (Meddling::WrongRefusal, Rule::States),
        (Meddling::StaleForDisabled, Rule::States),
        (Meddling::ForgetsDestroyed, Rule::States),
        (Meddling::WrongChange, Rule::States),
        (Meddling::EarlyDestruction, Rule::States),
        (Meddling::AnyDelay, Rule::States),
        (Meddling::AliasOverKey, Rule::Names),
        (Meddling::RewrapsToItsOwn, Rule::Rewrap),
        (Meddling::SilentNoRandomness, Rule::Randomness),
        (Meddling::TellsNoAddition, Rule::States),
    ] {
        let factory = || Meddled::new(memory(), meddling);
        caught(&format!("{meddling:?}"), rule, || conformance::lifecycle(factory));
    }
}

#[test]
fn every_fault_on_demand_is_caught() {
    let down = || KeyringError::unavailable(std::io::Error::other("down"));
    for (method, fault, rule) in [
        (Method::Primary, Fault::Error(down()), Rule::Primary),
        (Method::Primary, Fault::ErrorAfter(down()), Rule::Primary),
        (Method::Primary, Fault::NoSlot, Rule::Primary),
        (Method::Primary, Fault::Twice, Rule::Primary),
        (Method::Wrap, Fault::Error(down()), Rule::RoundTrip),
        (Method::Wrap, Fault::ErrorAfter(down()), Rule::RoundTrip),
        (Method::Wrap, Fault::NoSlot, Rule::Primary),
        (Method::Wrap, Fault::Twice, Rule::RoundTrip),
        (Method::Wrap, Fault::WrongKey, Rule::RoundTrip),
        (Method::Unwrap, Fault::Error(down()), Rule::RoundTrip),
        (Method::Unwrap, Fault::Error(KeyringError::NotMine), Rule::RoundTrip),
        (Method::Unwrap, Fault::ErrorAfter(KeyringError::Authentication), Rule::NoKeyOnFailure),
        (Method::Unwrap, Fault::NoKey, Rule::RoundTrip),
        (Method::Unwrap, Fault::WrongKey, Rule::RoundTrip),
        (Method::Unwrap, Fault::KeyLength(31), Rule::RoundTrip),
        (Method::Rewrap, Fault::Error(down()), Rule::Rewrap),
        (Method::Rewrap, Fault::ErrorAfter(down()), Rule::Rewrap),
        (Method::Rewrap, Fault::NoSlot, Rule::Rewrap),
        (Method::Rewrap, Fault::Twice, Rule::Rewrap),
        (Method::Rewrap, Fault::WrongKey, Rule::RoundTrip),
        (Method::Freshness, Fault::Error(down()), Rule::Freshness),
        (Method::Freshness, Fault::Freshness(envelock::keyring::Freshness::Stale), Rule::Freshness),
    ] {
        // Always, and once in a while; every second rewrap fails of itself there.
        for n in 1..=if method == Method::Rewrap { 1 } else { 2 } {
            let what = format!("{method:?} {fault:?} every {n}");
            let factory = || {
                let keyring = FaultyKeyring::new(memory());
                keyring.every(method, n, fault.clone());
                keyring
            };
            let result = catch_unwind(AssertUnwindSafe(|| conformance::keyring(factory)));
            assert!(result.is_err(), "{what} passes");
            if n == 1 {
                caught(&what, rule, || conformance::keyring(factory));
            }
        }
    }
}

#[test]
fn faulty_keyring_fails_as_ordered_and_counts() {
    let keyring = FaultyKeyring::new(memory());
    let refused = || KeyringError::Refused(Refusal::Disabled);
    keyring.always(Method::Primary, Fault::Error(KeyringError::NoPrimary));
    keyring.next(Method::Primary, [None, Some(Fault::Error(refused()))]);
    let primary = || envelock::Keyring::visit_primaries(&keyring, &mut |_| {});
    assert!(primary().is_ok());
    assert!(matches!(primary(), Err(KeyringError::Refused(Refusal::Disabled))));
    assert!(matches!(primary(), Err(KeyringError::NoPrimary)));
    keyring.every(Method::Primary, 3, Fault::Error(refused()));
    let answers = [(); 7].map(|()| primary().is_ok());
    assert_eq!(answers, [true, true, false, true, true, false, true]);
    keyring.heal();
    assert!((0..9).all(|_| primary().is_ok()));
    assert_eq!((keyring.calls(Method::Primary), keyring.calls(Method::Wrap)), (19, 0));
    assert_eq!(keyring.inner().primary_version(), Some(KeyVersion::FIRST));
}
