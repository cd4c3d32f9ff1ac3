//! Final removals leave as little as possible and are not undone: removed records, erased keys,
//! aliases that moved, and files that are nearly full.

use super::{
    ROW, TestDirectory, create, decrypt, eager, encrypt, file_error, overwrite, raw, version,
};
use envelock::keyset::{KeyFault, LifecycleError};
use envelock::{
    Envelope, Error, FileKeyring, Keyring, Lifecycle, MasterKey, MemoryKeyring, OsRandom,
    RewrapOptions, Timestamp,
    file::{KeyFileError, KeyFileFault, Salvage},
    inspect,
    keyring::{Freshness, Refusal},
    keyset::{Change, ChangeOptions, Material, Operation, Transition, VersionState},
};
use std::fs;

fn destroy(keyring: &impl Lifecycle, number: u32) {
    keyring.disable(version(number)).unwrap();
    keyring.destroy_immediately(version(number)).unwrap();
}

fn freshness(keyring: &impl Keyring, message: &[u8]) -> Freshness {
    keyring.freshness(&inspect(message).unwrap().slots().next().unwrap().label).unwrap()
}

fn refusal(error: Error) -> Refusal {
    match error {
        Error::Refused { refusal, .. } => refusal,
        other => panic!("{other}"),
    }
}

fn fault(error: Error) -> KeyFault {
    match error {
        Error::Lifecycle(LifecycleError::Key { fault, .. }) => fault,
        other => panic!("{other}"),
    }
}

/// Messages of removed versions are answered as before, and the numbers are never used again.
fn check_removal<K: Lifecycle>(keyring: &K, encrypt: impl Fn(&K) -> Vec<u8>) {
    let mut messages = Vec::new();
    for _ in 0..3 {
        messages.push(encrypt(keyring));
        keyring.rotate().unwrap();
    }
    destroy(keyring, 1);
    let destroyed = Freshness::Refused(Refusal::Destroyed);
    let needed = fault(keyring.remove_records(version(2)).unwrap_err());
    let (number, state) = (version(2), VersionState::Enabled);
    assert_eq!(needed, KeyFault::RecordNeeded { version: number, state });
    let beyond = keyring.remove_records(version(9)).unwrap_err();
    assert!(
        matches!(beyond, Error::Lifecycle(LifecycleError::UnknownVersion { version, .. }) if version.number() == 9)
    );
    destroy(keyring, 2);
    let ids: Vec<_> =
        keyring.keyset().unwrap().versions().iter().map(|it| it.master_key_id).collect();
    let changed = keyring.remove_records(version(2)).unwrap();
    let (key, floor) = ("orders".into(), 3);
    assert_eq!(changed.transitions, [Transition::RecordsRemoved { key, floor }]);
    let keyset = keyring.keyset().unwrap();
    let numbers: Vec<_> = keyset.versions().iter().map(|it| it.version.number()).collect();
    assert_eq!((numbers, keyset.floor(), keyset.highest_version()), (vec![3, 4], 3, 4));
    assert_eq!(keyset.removed(), &ids[..2]);
    for message in &messages[..2] {
        assert_eq!(freshness(keyring, message), destroyed);
        let error = Envelope::new(keyring).decrypt(message, ROW).unwrap_err();
        assert_eq!(refusal(error), Refusal::Destroyed);
    }
    assert_eq!(Envelope::new(keyring).decrypt(&messages[2], ROW).unwrap(), b"text");
    for operation in [Operation::Enable, Operation::Promote, Operation::MarkCompromised] {
        match keyring.operate(version(2), operation).unwrap_err() {
            Error::Lifecycle(LifecycleError::VersionState {
                state: VersionState::Destroyed,
                ..
            }) => {}
            other => panic!("{other}"),
        }
    }
    // Removing them again changes nothing.
    assert_eq!(keyring.remove_records(version(1)).unwrap().transitions, []);
    assert_eq!(keyring.keyset().unwrap().floor(), 3);
    let again = keyring.import_version(version(2), &MasterKey::from_bytes(&[1; 32]));
    assert!(matches!(again, Err(Error::Lifecycle(LifecycleError::VersionNumber { .. }))));
    assert_eq!(keyring.rotate().unwrap(), version(5));
}

#[test]
fn removed_records_leave_their_error_and_numbers() {
    let directory = TestDirectory::new();
    let file = create(&directory.join("orders.keys"));
    let memory = MemoryKeyring::create("orders").unwrap();
    check_removal(&file, |keyring| encrypt(keyring, "text"));
    check_removal(&memory, |it| Envelope::new(it).encrypt(b"text", ROW).unwrap());
    drop(file);
    let again = eager().open_any(directory.join("orders.keys"), &raw()).unwrap();
    assert_eq!(again.keyset().unwrap().floor(), 3);
}

/// A slot of the same name and number under other material is another keyring's, as before.
#[test]
fn removed_version_of_another_keyring_is_foreign() {
    let ours = MemoryKeyring::create("orders").unwrap();
    let theirs = MemoryKeyring::create("orders").unwrap();
    let message = Envelope::new(&theirs).encrypt(b"text", ROW).unwrap();
    ours.rotate().unwrap();
    destroy(&ours, 1);
    assert_eq!(freshness(&ours, &message), Freshness::NotMine);
    ours.remove_records(version(1)).unwrap();
    assert_eq!(freshness(&ours, &message), Freshness::NotMine);
}

/// Where no version was destroyed there is nothing to remove, and no floor is laid.
#[test]
fn missing_numbers_are_not_taken_for_destroyed() {
    let material = MasterKey::from_bytes(&[9; 32]);
    let keyring = MemoryKeyring::import("orders", version(5), &material).unwrap();
    let error = keyring.remove_records(version(3)).unwrap_err();
    assert!(
        matches!(error, Error::Lifecycle(LifecycleError::UnknownVersion { version, .. }) if version.number() == 3)
    );
    assert_eq!(keyring.keyset().unwrap().floor(), 0);
    keyring.import_version(version(9), &MasterKey::from_bytes(&[8; 32])).unwrap();
    keyring.promote(version(9)).unwrap();
    destroy(&keyring, 5);
    keyring.remove_records(version(8)).unwrap();
    assert_eq!(keyring.keyset().unwrap().floor(), 6);
}

#[test]
fn material_of_a_removed_record_is_not_imported_again() {
    let material = MasterKey::from_bytes(&[9; 32]);
    let keyring = MemoryKeyring::import("orders", version(1), &material).unwrap();
    keyring.rotate().unwrap();
    destroy(&keyring, 1);
    keyring.remove_records(version(1)).unwrap();
    keyring.create_key("other").unwrap();
    for key in ["orders", "other"] {
        let material = Material::Imported(&material);
        let change = Change::AddVersion { key, version: None, material };
        assert!(
            matches!(
                keyring.change_now(change),
                Err(Error::Lifecycle(LifecycleError::KeyMaterial))
            ),
            "{key}"
        );
    }
}

#[test]
fn file_before_a_removal_is_refused_once_seen() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let admin = create(&path);
    admin.rotate().unwrap();
    destroy(&admin, 1);
    let backup = fs::read(&path).unwrap();
    let service = eager().open_any(&path, &raw()).unwrap();
    admin.remove_records(version(1)).unwrap();
    service.reload().unwrap();
    let shrunk = fs::read(&path).unwrap();
    assert!(shrunk.len() < backup.len());
    overwrite(&path, &backup);
    let error = file_error(&service.reload().unwrap_err());
    assert!(matches!(error, KeyFileError::RolledBack { .. }));
    // Nor is one believed that went on from it, by however many changes.
    for _ in 0..3 {
        FileKeyring::open_any(&path, &raw()).unwrap().with_key("orders").unwrap().rotate().unwrap();
    }
    let error = file_error(&service.reload().unwrap_err());
    assert!(matches!(error, KeyFileError::Diverged { .. }), "{error:?}");
}

#[test]
fn salvage_of_lines_of_two_states_keeps_larger_floor() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let admin = create(&path);
    let message = encrypt(&admin, "text");
    admin.rotate().unwrap();
    let before = fs::read_to_string(&path).unwrap();
    destroy(&admin, 1);
    admin.remove_records(version(1)).unwrap();
    let after = fs::read_to_string(&path).unwrap();
    for (first, second) in [(&before, &after), (&after, &before)] {
        let mixed: String =
            first.lines().chain(second.lines()).map(|it| format!("{it}\n")).collect();
        overwrite(&path, mixed.as_bytes());
        let salvage = Salvage::read(&path, &raw()).unwrap();
        let to = directory.join("salvaged.keys");
        let keyring = salvage.create(&to, &raw(), &eager()).unwrap();
        let keyring = keyring.with_key("orders").unwrap();
        assert_eq!(keyring.keyset().unwrap().floor(), 2);
        assert_eq!(refusal(decrypt(&keyring, &message).unwrap_err()), Refusal::Destroyed);
        fs::remove_file(&to).unwrap();
    }
}

/// The results of an erased key, and the changes that it refuses.
fn check_erased<K: Lifecycle>(keyring: &K, message: &[u8]) {
    let refused = Envelope::new(keyring).decrypt(message, ROW).unwrap_err();
    assert_eq!(refusal(refused), Refusal::Destroyed);
    assert_eq!(freshness(keyring, message), Freshness::Refused(Refusal::Destroyed));
    let keysets = keyring.keysets().unwrap();
    let erased = keysets.keyset("acme").unwrap();
    assert!(erased.erased().is_some() && erased.primary().is_none());
    let material = Material::Fresh;
    for change in [
        Change::Rotate { key: "acme" },
        Change::AddVersion { key: "acme", version: None, material },
        Change::EraseKey { key: "acme" },
        Change::SetAlias { alias: "tenant", key: "acme" },
    ] {
        assert_eq!(fault(keyring.change_now(change).unwrap_err()), KeyFault::Erased, "{change:?}");
    }
    let again = keyring.create_key("acme").unwrap_err();
    assert!(matches!(again, Error::Lifecycle(LifecycleError::NameTaken { .. })));
}

fn tenant<K: Lifecycle>(keyring: &K) {
    keyring.create_key("acme").unwrap();
    for _ in 0..5 {
        keyring.change_now(Change::Rotate { key: "acme" }).unwrap();
    }
    use Operation::*;
    let schedule = ScheduleDestruction { after: envelock::keyset::MIN_DESTRUCTION_DELAY };
    for (number, operation) in
        [(1, Disable), (1, schedule), (2, Disable), (3, MarkCompromised), (4, MarkCompromised)]
    {
        let version = version(number);
        keyring.change_now(Change::Version { key: "acme", version, operation }).unwrap();
    }
    let material = Material::Fresh;
    keyring.change_now(Change::AddVersion { key: "acme", version: None, material }).unwrap();
}

#[test]
fn erased_key_is_destroyed_and_takes_no_change() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let file = create(&path);
    tenant(&file);
    let message = encrypt(&file.with_key("acme").unwrap(), "text");
    let before = file.keysets().unwrap().keyset("acme").unwrap().clone();
    let changed = file.erase_key("acme").unwrap();
    let destroyed_versions = changed.transitions.iter().filter(|it| {
        matches!(it, Transition::State { key, to: VersionState::Destroyed, .. } if key == "acme")
    });
    assert_eq!(destroyed_versions.count(), 7);
    assert_eq!(changed.transitions.last(), Some(&Transition::Erased { key: "acme".into() }));
    check_erased(&file, &message);
    let text = fs::read_to_string(&path).unwrap();
    let sealed = text.lines().filter(|it| it.contains(r#""kind":"version""#));
    let sealed = sealed.filter(|it| it.contains(r#""sealed""#));
    assert_eq!(sealed.count(), 1, "that of orders");
    let after = eager().open_any(&path, &raw()).unwrap();
    check_erased(&after.with_key("orders").unwrap(), &message);
    // Its records can go, and their ids stay.
    let remove = Change::RemoveRecords { key: "acme", through: version(7) };
    file.change_now(remove).unwrap();
    check_erased(&file, &message);
    let left = file.keysets().unwrap().keyset("acme").unwrap().clone();
    assert!(left.versions().is_empty());
    assert!(left.removed().iter().eq(before.versions().iter().map(|it| &it.master_key_id)));
    assert!(fs::read(&path).unwrap().len() < text.len());

    let memory = MemoryKeyring::create("orders").unwrap();
    tenant(&memory);
    let message = Envelope::new(memory.with_key("acme").unwrap()).encrypt(b"text", ROW).unwrap();
    memory.erase_key("acme").unwrap();
    check_erased(&memory, &message);
}

#[test]
fn erased_key_does_not_come_back_by_salvage_or_import() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let admin = create(&path);
    let material = MasterKey::from_bytes(&[5; 32]);
    let imported = Material::Imported(&material);
    admin
        .change_now(Change::CreateKey { key: "acme", version: version(1), material: imported })
        .unwrap();
    let message = encrypt(&admin.with_key("acme").unwrap(), "text");
    let before = fs::read_to_string(&path).unwrap();
    admin.erase_key("acme").unwrap();
    let erased = fs::read_to_string(&path).unwrap();
    admin.change_now(Change::RemoveRecords { key: "acme", through: version(1) }).unwrap();
    let removed = fs::read_to_string(&path).unwrap();
    let again = Change::CreateKey { key: "again", version: version(1), material: imported };
    assert!(matches!(admin.change_now(again), Err(Error::Lifecycle(LifecycleError::KeyMaterial))));
    for after in [&erased, &removed] {
        // With the line of the destroyed version, and without it.
        let without: Vec<&str> =
            after.lines().filter(|it| !it.contains(r#""state":"destroyed""#)).collect();
        for lines in [after.lines().collect(), without] {
            let mixed = before.lines().chain(lines).map(|it| format!("{it}\n"));
            overwrite(&path, mixed.collect::<String>().as_bytes());
            let salvage = Salvage::read(&path, &raw()).unwrap();
            let to = directory.join("salvaged.keys");
            let keyring = salvage.create(&to, &raw(), &eager()).unwrap();
            check_erased(&keyring.with_key("orders").unwrap(), &message);
            let again = keyring.with_key("orders").unwrap().change_now(again);
            assert!(matches!(again, Err(Error::Lifecycle(LifecycleError::KeyMaterial))));
            fs::remove_file(&to).unwrap();
        }
    }
}

/// `only_key(alias)` reads what it wrote, whatever the alias stands for now.
fn check_alias<K: Lifecycle>(keyring: &K, only: &dyn Fn() -> K) {
    keyring.create_key("2026").unwrap();
    keyring.create_key("2027").unwrap();
    keyring.set_alias("year", "2026").unwrap();
    let year = only();
    let old = Envelope::new(&year).encrypt(b"old", ROW).unwrap();
    let stale = Envelope::new(&year).encrypt(b"stale", ROW).unwrap();
    keyring.set_alias("year", "2027").unwrap();
    keyring.set_alias("year", "orders").unwrap();
    keyring.set_alias("year", "2027").unwrap();
    let keysets = keyring.keysets().unwrap();
    assert!(keysets.former_keys("year").eq(["2026", "orders"]));
    let year = only();
    let envelope = Envelope::new(&year);
    assert_eq!(envelope.decrypt(&old, ROW).unwrap(), b"old");
    // Under the primary of its own key, and a rewrap changes no name.
    assert!(!envelope.needs_rewrap(&old).unwrap());
    keyring.change_now(Change::Rotate { key: "2026" }).unwrap();
    assert!(envelope.needs_rewrap(&stale).unwrap());
    let rewrapped = envelope.rewrap(&stale, RewrapOptions::new()).unwrap().into_header();
    let label = inspect(&rewrapped).unwrap().slots().next().unwrap().label;
    assert_eq!((label.name.as_str(), label.version.number()), ("2026", 2));
    // A key that the alias never stood for stays out.
    keyring.create_key("secret").unwrap();
    keyring.set_alias("other", "secret").unwrap();
    assert_eq!(keyring.keysets().unwrap().former_keys("other").count(), 0);
}

#[test]
fn alias_alone_reads_its_messages_after_moves() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let file = create(&path);
    check_alias(&file, &|| file.only_key("year").unwrap());
    let memory = MemoryKeyring::create("orders").unwrap();
    check_alias(&memory, &|| memory.only_key("year").unwrap());
    let secret = encrypt(&file.with_key("secret").unwrap(), "text");
    assert!(matches!(
        decrypt(&file.only_key("year").unwrap(), &secret).unwrap_err(),
        Error::NoKey { .. }
    ));
    let again = FileKeyring::open_any(&path, &raw()).unwrap();
    assert!(again.keysets().unwrap().former_keys("year").eq(["2026", "orders"]));
    // A salvage keeps what is left of them.
    let salvaged = Salvage::read(&path, &raw()).unwrap();
    let new = salvaged.create(directory.join("new.keys"), &raw(), &eager()).unwrap();
    assert!(new.keysets().unwrap().former_keys("year").eq(["2026", "orders"]));
    // An alias that is removed forgets them.
    file.change_now(Change::RemoveAlias { alias: "year" }).unwrap();
    file.set_alias("year", "2027").unwrap();
    assert_eq!(file.keysets().unwrap().former_keys("year").count(), 0);
}

#[test]
fn alias_of_256_keys_switches_no_more() {
    let keyring = MemoryKeyring::create("0").unwrap();
    let names: Vec<String> = (0..258).map(|it| it.to_string()).collect();
    let create = names[1..].iter().map(|key| Change::CreateKey {
        key,
        version: version(1),
        material: Material::Fresh,
    });
    let terms = ChangeOptions::at(Timestamp::now());
    keyring.change(&create.collect::<Vec<_>>(), &terms, &mut OsRandom).unwrap();
    let moves: Vec<_> =
        names[..257].iter().map(|key| Change::SetAlias { alias: "a", key }).collect();
    keyring.change(&moves, &terms, &mut OsRandom).unwrap();
    assert_eq!(keyring.keysets().unwrap().former_keys("a").count(), 256);
    let refused = keyring.set_alias("a", "257").unwrap_err();
    assert_eq!(fault(refused), KeyFault::FormerKeys);
    keyring.set_alias("a", "0").unwrap();
    assert_eq!(keyring.keysets().unwrap().former_keys("a").count(), 256);
}

#[test]
fn file_without_change_numbers_encrypts_only() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let options = eager().at_least_change(u64::MAX);
    let keyring = options.create(&path, "orders", &raw()).unwrap();
    assert_eq!(keyring.change_number(), u64::MAX);
    let before = fs::read(&path).unwrap();
    assert!(matches!(
        keyring.rotate().unwrap_err(),
        Error::Lifecycle(LifecycleError::ChangeNumber)
    ));
    let spent = |error: Error| match file_error(&error) {
        KeyFileError::Content { fault: KeyFileFault::ChangeNumber, .. } => {}
        other => panic!("{other:?}"),
    };
    spent(keyring.add_protection(&raw().named("other")).unwrap_err());
    let message = encrypt(&keyring, "text");
    spent(keyring.flush().unwrap_err());
    assert_eq!(decrypt(&keyring, &message).unwrap(), b"text");
    assert!(fs::read(&path).unwrap() == before);
    let salvage = Salvage::read(&path, &raw()).unwrap();
    spent(salvage.create(directory.join("new.keys"), &raw(), &eager()).unwrap_err());
    // One less is the last one.
    let path = directory.join("last.keys");
    let options = eager().at_least_change(u64::MAX - 1);
    let keyring = options.create(&path, "orders", &raw()).unwrap();
    keyring.set_alias("now", "orders").unwrap();
    assert_eq!(keyring.change_number(), u64::MAX);
    assert!(matches!(
        keyring.set_alias("then", "orders").unwrap_err(),
        Error::Lifecycle(LifecycleError::ChangeNumber)
    ));
}
