//! Changes to the master keys of a keyring: together or not at all, refused if another came in
//! between, never with material that was there before; and what a version protected is counted.

use crate::common;

use envelock::keyset::LifecycleError;
use envelock::{
    Aad, Envelope, Error, KeyVersion, Lifecycle, MasterKey, MemoryKeyring, Timestamp,
    keyset::{
        Change, ChangeOptions, ChangeOutcome, Material, Operation, Origin, Transition, VersionState,
    },
};

fn at(second: u64) -> Timestamp {
    Timestamp::from_unix_seconds(1_800_000_000 + second)
}

fn version(number: u32) -> KeyVersion {
    KeyVersion::new(number).unwrap()
}

fn keyring() -> MemoryKeyring {
    MemoryKeyring::create_with_rng("orders", at(0), &mut common::rng(1)).unwrap()
}

fn change(
    keyring: &MemoryKeyring,
    changes: &[Change],
    options: ChangeOptions,
) -> Result<ChangeOutcome, Error> {
    keyring.change_with_rng(changes, &options, &mut common::rng(2 + keyring.keysets()?.revision()))
}

const ROTATE: Change<'static> = Change::Rotate { key: "orders" };

#[test]
fn changes_are_made_together_or_not_at_all() {
    let keyring = keyring();
    let before = keyring.keysets().unwrap();
    let label = Change::SetLabel {
        key: "orders",
        version: version(1),
        name: "ticket",
        value: Some("OPS-7"),
    };
    let operate =
        |number, operation| Change::Version { key: "orders", version: version(number), operation };
    let alias = Change::SetAlias { alias: "now", key: "orders" };
    // Each batch fails in its last change.
    for failing in [
        vec![ROTATE, label, operate(2, Operation::Disable)],
        vec![label, alias, Change::RemoveAlias { alias: "orders" }],
        vec![alias, ROTATE, Change::SetAlias { alias: "orders", key: "now" }],
        vec![ROTATE, operate(1, Operation::Disable), operate(9, Operation::Enable)],
        vec![ROTATE, operate(1, Operation::Disable), Change::Rotate { key: "nobody" }],
    ] {
        assert!(change(&keyring, &failing, ChangeOptions::at(at(1))).is_err(), "{failing:?}");
        assert_eq!(keyring.keysets().unwrap(), before, "{failing:?}");
    }
    // The same without their last change; a later change sees the earlier ones.
    let batch =
        [ROTATE, label, alias, Change::Rotate { key: "now" }, operate(1, Operation::Disable)];
    let changed = change(&keyring, &batch, ChangeOptions::at(at(1))).unwrap();
    let state = |number, from, to| Transition::State {
        key: "orders".into(),
        version: version(number),
        from,
        to,
    };
    let added = |number| Transition::Added { key: "orders".into(), version: version(number) };
    use VersionState::{Disabled, Enabled, Pending, Primary};
    assert_eq!(changed.added(), Some(version(2)));
    assert_eq!(
        changed.transitions,
        [
            added(2),
            state(1, Primary, Enabled),
            state(2, Pending, Primary),
            Transition::Label { key: "orders".into(), version: version(1) },
            Transition::Alias { alias: "now".into(), from: None, to: Some("orders".into()) },
            added(3),
            state(2, Primary, Enabled),
            state(3, Pending, Primary),
            state(1, Enabled, Disabled),
        ]
    );
    let keyset = keyring.keyset().unwrap();
    assert_eq!(keyset.versions()[0].labels.get("ticket"), Some("OPS-7"));
    assert_eq!(keyring.keysets().unwrap().revision(), before.revision() + 1);
}

#[test]
fn unseen_concurrent_change_is_refused() {
    let keyring = keyring();
    let seen = keyring.keysets().unwrap().change();
    let options = ChangeOptions::at(at(1)).if_unchanged_since(seen);
    let changed = change(&keyring, &[ROTATE], options).unwrap();
    assert_eq!(changed.change, seen + 1);
    let before = keyring.keysets().unwrap();
    match change(&keyring, &[ROTATE], options).unwrap_err() {
        Error::Lifecycle(LifecycleError::Conflict { expected, found }) => {
            assert_eq!((expected, found), (seen, changed.change));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(keyring.keysets().unwrap(), before);
    // An unconditional change is not refused. A wrap is no change.
    Envelope::new(&keyring).encrypt(b"", Aad::none()).unwrap();
    let options = ChangeOptions::at(at(1)).if_unchanged_since(changed.change);
    change(&keyring, &[ROTATE], options).unwrap();
    change(&keyring, &[ROTATE], ChangeOptions::at(at(1))).unwrap();
    assert_eq!(keyring.primary_version(), Some(version(4)));
    // A refusal spends no revision, and a failed change is no change.
    let seen = keyring.keysets().unwrap().change();
    let failed = change(&keyring, &[Change::RemoveAlias { alias: "no" }], ChangeOptions::at(at(1)));
    assert!(matches!(failed, Err(Error::Lifecycle(LifecycleError::UnknownKey { .. }))));
    change(&keyring, &[ROTATE], ChangeOptions::at(at(2)).if_unchanged_since(seen)).unwrap();
}

#[test]
fn material_that_was_destroyed_does_not_come_back() {
    let keyring = keyring();
    let key = MasterKey::from_bytes(&[7; 32]);
    let import = |name: &'static str| Change::AddVersion {
        key: name,
        version: None,
        material: Material::Imported(&key),
    };
    let other = Change::CreateKey { key: "other", version: version(3), material: Material::Fresh };
    change(&keyring, &[other, import("orders")], ChangeOptions::at(at(1))).unwrap();
    let refused = |keyring: &MemoryKeyring| {
        let before = keyring.keysets().unwrap();
        for name in ["orders", "other"] {
            let result = change(keyring, &[import(name)], ChangeOptions::at(at(1)));
            assert!(
                matches!(result, Err(Error::Lifecycle(LifecycleError::KeyMaterial))),
                "{name}: {result:?}"
            );
        }
        let create = Change::CreateKey {
            key: "third",
            version: version(1),
            material: Material::Imported(&key),
        };
        let result = change(keyring, &[create], ChangeOptions::at(at(1)));
        assert!(matches!(result, Err(Error::Lifecycle(LifecycleError::KeyMaterial))), "{result:?}");
        assert_eq!(keyring.keysets().unwrap(), before);
    };
    refused(&keyring);
    keyring.disable(version(2)).unwrap();
    refused(&keyring);
    keyring.destroy_immediately(version(2)).unwrap();
    refused(&keyring);
    let zero = MasterKey::from_bytes(&[0; 32]);
    let import =
        Change::AddVersion { key: "orders", version: None, material: Material::Imported(&zero) };
    let result = change(&keyring, &[import], ChangeOptions::at(at(1)));
    assert!(matches!(result, Err(Error::Lifecycle(LifecycleError::KeyMaterial))));
    let origins: Vec<_> = keyring.versions().iter().map(|record| record.origin).collect();
    assert_eq!(origins, [Origin::Generated, Origin::Imported]);
}

#[test]
fn usage_is_counted_and_outlives_the_key_material() {
    let keyring = keyring();
    let envelope = Envelope::new(&keyring);
    (0..3).for_each(|_| drop(envelope.encrypt(b"", Aad::none()).unwrap()));
    let wraps = |number: usize| keyring.versions()[number].usage.wraps;
    assert_eq!(wraps(0), 3);
    keyring.rotate().unwrap();
    envelope.encrypt(b"", Aad::none()).unwrap();
    assert_eq!((wraps(0), wraps(1)), (3, 1));
    keyring.disable(version(1)).unwrap();
    keyring.destroy_immediately(version(1)).unwrap();
    assert_eq!((wraps(0), wraps(1)), (3, 1), "a record stays when its material goes");
}
