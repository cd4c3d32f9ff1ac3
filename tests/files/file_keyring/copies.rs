//! Copies of a master key in another keyring: its states, and what is left out or refused.

use super::*;
use Operation::*;
use envelock::keyset::Material;

/// Adds versions 2 to 6 of `orders`, and leads each version to another state.
fn in_many_states(keyring: &FileKeyring) {
    for _ in 0..4 {
        keyring.rotate().unwrap();
    }
    let schedule = ScheduleDestruction { after: envelock::keyset::MIN_DESTRUCTION_DELAY };
    for (number, operation) in [(2, Disable), (3, Disable), (3, schedule), (4, MarkCompromised)] {
        let version = version(number);
        keyring.change_now(Change::Version { key: "orders", version, operation }).unwrap();
    }
    let material = Material::Fresh;
    keyring.change_now(Change::AddVersion { key: "orders", version: None, material }).unwrap();
    keyring.change_now(Change::RequireEvidence { key: "orders" }).unwrap();
}

fn states(keyring: &dyn Lifecycle) -> Vec<(u32, VersionState)> {
    let keysets = keyring.keysets().unwrap();
    let versions = keysets.keyset("orders").unwrap().versions();
    versions.iter().map(|it| (it.version.number(), it.state)).collect()
}

#[test]
fn copied_key_has_the_states_of_all_versions_that_are_not_to_be_destroyed() {
    let directory = TestDirectory::new();
    let file = create(&directory.join("orders.keys"));
    in_many_states(&file);
    let other = MemoryKeyring::create("other").unwrap();
    file.copy_key(&other).unwrap();
    let mut expected = states(&file);
    expected.retain(|(number, _)| *number != 3);
    assert_eq!(states(&other), expected);
    use VersionState::*;
    let of = |number| expected.iter().find(|it| it.0 == number).unwrap().1;
    assert_eq!([1, 2, 4, 5, 6].map(of), [Enabled, Disabled, Compromised, Primary, Pending]);
    assert!(other.keysets().unwrap().keyset("orders").unwrap().evidence_required());
    let message = encrypt(&file, "text");
    assert_eq!(Envelope::new(&other).decrypt(&message, ROW).unwrap(), b"text");

    let before = other.keysets().unwrap();
    assert!(file.copy_key(&other).unwrap().transitions.is_empty());
    assert_eq!(other.keysets().unwrap().change(), before.change());
}

#[test]
fn version_that_was_never_primary_becomes_none_by_a_copy() {
    let directory = TestDirectory::new();
    let file = create(&directory.join("orders.keys"));
    let material = Material::Fresh;
    file.change_now(Change::AddVersion { key: "orders", version: None, material }).unwrap();
    for operation in [
        MarkCompromised,
        Disable,
        ScheduleDestruction { after: envelock::keyset::MIN_DESTRUCTION_DELAY },
    ] {
        let version = version(1);
        file.change_now(Change::Version { key: "orders", version, operation }).unwrap();
    }
    let other = MemoryKeyring::create("other").unwrap();
    let error = file.copy_key(&other).unwrap_err();
    let Error::Lifecycle(LifecycleError::VersionState { version, state, operation, .. }) = error
    else {
        panic!("{error:?}");
    };
    assert_eq!((version.number(), state, operation), (2, VersionState::Pending, Promote));
    assert!(other.keysets().unwrap().keyset("orders").is_none());
}
