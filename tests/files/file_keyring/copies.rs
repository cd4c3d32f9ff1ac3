//! Copies of a master key in another keyring: its states, and what is left out or refused.

use super::*;
use Operation::*;
use envelock::DataKey;
use envelock::format::Slot;
use envelock::keyring::{KeyringError, KeyringRng, PrimaryKey, SlotWriter, WrapContext};
use envelock::keyset::{ChangeOptions, ChangeOutcome, KeysetMap, Material};

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

/// A keyring that is told that it will be changed.
struct Meanwhile<F>(MemoryKeyring, F);

impl<F: Fn(&MemoryKeyring) + Send + Sync> Keyring for Meanwhile<F> {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.0.visit_primaries(visit)
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.0.wrap(data_key, context, slots, rng)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        self.0.unwrap(slot, context, data_key)
    }
}

impl<F: Fn(&MemoryKeyring) + Send + Sync> Lifecycle for Meanwhile<F> {
    fn key(&self) -> &str {
        self.0.key()
    }

    fn keysets(&self) -> Result<KeysetMap, Error> {
        self.0.keysets()
    }

    fn change(
        &self,
        changes: &[Change<'_>],
        options: &ChangeOptions,
        rng: &mut KeyringRng<'_>,
    ) -> Result<ChangeOutcome, Error> {
        (self.1)(&self.0);
        self.0.change(changes, options, rng)
    }
}

/// A version that another process destroys is destroyed before the copy or after it: once the destruction is reported,
/// whoever looks for copies finds this one.
#[test]
fn source_is_not_changed_under_a_copy() {
    let directory = TestDirectory::new();
    let path = directory.join("orders.keys");
    let file = create(&path);
    file.rotate().unwrap();
    let impatient = FileKeyringOptions::new().lock_wait(Duration::ZERO);
    let other = impatient.open(&path, "orders", &raw()).unwrap();
    let refused = std::sync::atomic::AtomicU32::new(0);
    let to = Meanwhile(MemoryKeyring::create("other").unwrap(), |_: &MemoryKeyring| {
        let error = file_error(&other.disable(version(1)).unwrap_err());
        assert!(matches!(error, KeyFileError::File(FileError::Locked { .. })), "{error:?}");
        refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    });
    file.copy_key(&to).unwrap();
    assert_eq!(refused.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert_eq!(states(&to.0), states(&file));
    other.disable(version(1)).unwrap();
}

#[test]
fn copy_to_a_keyring_that_changes_meanwhile_changes_nothing() {
    let directory = TestDirectory::new();
    let file = create(&directory.join("orders.keys"));
    let to = Meanwhile(MemoryKeyring::create("other").unwrap(), |to: &MemoryKeyring| {
        to.rotate().unwrap();
    });
    let error = file.copy_key(&to).unwrap_err();
    let Error::Lifecycle(LifecycleError::Conflict { expected, found }) = error else {
        panic!("{error:?}");
    };
    assert_eq!(found, expected + 1);
    assert!(to.keysets().unwrap().keyset("orders").is_none());
}

/// Two copies in opposite directions wait for each other, and not for long.
#[test]
fn copy_from_a_locked_file_is_refused_and_from_one_that_cannot_be_locked_is_made() {
    let directory = TestDirectory::new();
    let paths = [directory.join("a.keys"), directory.join("b.keys")];
    let impatient = || FileKeyringOptions::new().lock_wait(Duration::ZERO);
    let [a, b] = paths.each_ref().map(|path| impatient().create(path, "orders", &raw()).unwrap());
    let lock = fs::File::open(directory.join("a.keys.lock")).unwrap();
    lock.lock().unwrap();
    let to = MemoryKeyring::create("other").unwrap();
    let error = a.copy_key(&to).unwrap_err();
    assert!(matches!(file_error(&error), KeyFileError::File(FileError::Locked { .. })));
    assert!(error.is_retryable());
    assert!(to.keysets().unwrap().keyset("orders").is_none());
    // As on a medium that cannot be written, where nothing changes.
    let read_only = impatient().read_only().open(&paths[0], "orders", &raw()).unwrap();
    read_only.copy_key(&to).unwrap();
    assert_eq!(states(&to), states(&a));
    drop(lock);
    // A lock that others can take, and this process cannot: they can change the file meanwhile.
    let lock = directory.join("a.keys.lock");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    let to = MemoryKeyring::create("other").unwrap();
    let error = a.copy_key(&to).unwrap_err();
    let KeyFileError::File(FileError::NotRegular { path, .. }) = file_error(&error) else {
        panic!("{error:?}")
    };
    assert_eq!(*path, lock);
    assert!(to.keysets().unwrap().keyset("orders").is_none());
    fs::remove_dir(&lock).unwrap();
    let before = b.keysets().unwrap();
    // The name is there with other material.
    let error = a.copy_key(&b).unwrap_err();
    assert!(matches!(error, Error::Lifecycle(LifecycleError::VersionNumber { .. })), "{error:?}");
    assert_eq!(b.keysets().unwrap().change(), before.change());
}

/// A number is used once, and material has one name.
#[test]
fn version_that_the_other_keyring_cannot_have_is_refused() {
    let directory = TestDirectory::new();
    let file = create(&directory.join("orders.keys"));
    file.rotate().unwrap();
    let refused = |to: &MemoryKeyring| {
        let before = to.keysets().unwrap().change();
        let error = file.copy_key(to).unwrap_err();
        assert_eq!(to.keysets().unwrap().change(), before);
        let Error::Lifecycle(error) = error else { panic!("{error:?}") };
        error
    };
    // Higher numbers, and no version 2.
    let to = MemoryKeyring::create("other").unwrap();
    let snapshot = MemoryKeyring::create("empty").unwrap();
    file.copy_key(&snapshot).unwrap();
    let key = "orders";
    let change = |to: &MemoryKeyring, change| to.change_now(change).map(drop).unwrap();
    let imported = MasterKey::from_bytes(&[9; 32]);
    let material = Material::Imported(&imported);
    change(&to, Change::CreateKey { key, version: version(3), material });
    let error = refused(&to);
    assert!(
        matches!(error, LifecycleError::VersionNumber { last, .. } if last == version(3)),
        "{error:?}"
    );
    // Its record was removed there.
    let first = version(1);
    for operation in [Disable, DestroyImmediately] {
        change(&snapshot, Change::Version { key, version: first, operation });
    }
    assert!(file.copy_key(&snapshot).unwrap().transitions.is_empty(), "it stays destroyed");
    change(&snapshot, Change::RemoveRecords { key, through: first });
    let error = refused(&snapshot);
    assert!(matches!(error, LifecycleError::VersionNumber { .. }), "{error:?}");
    // The material is there under another name.
    let named = MemoryKeyring::import("invoices", version(1), &MasterKey::from_bytes(&[9; 32]));
    let to = named.unwrap();
    let same = create(&directory.join("same.keys"));
    same.change_now(Change::AddVersion { key, version: None, material }).unwrap();
    let error = same.copy_key(&to).unwrap_err();
    assert!(matches!(error, Error::Lifecycle(LifecycleError::KeyMaterial)), "{error:?}");
    assert!(to.keysets().unwrap().keyset("orders").is_none());
}

/// Whatever happened to a key: what opens here opens there, and nothing else.
#[test]
fn copy_opens_what_the_source_opens() {
    let mut rng = crate::common::rng(16);
    let (mut copied, mut refused) = (0, 0);
    for round in 0..40 {
        let directory = TestDirectory::new();
        let file = create(&directory.join("orders.keys"));
        let mut messages = vec![encrypt(&file, "text")];
        for _ in 0..10 {
            let highest = file.keyset().unwrap().highest_version();
            let version = version(1 + crate::common::below(&mut rng, highest as usize) as u32);
            let after = envelock::keyset::MIN_DESTRUCTION_DELAY;
            let operations = [
                Promote,
                Disable,
                Disable,
                Enable,
                MarkCompromised,
                ScheduleDestruction { after },
                CancelDestruction,
                DestroyImmediately,
            ];
            let material = Material::Fresh;
            let change = match crate::common::below(&mut rng, operations.len() + 3) {
                at if at < operations.len() => {
                    Change::Version { key: "orders", version, operation: operations[at] }
                }
                8 => Change::AddVersion { key: "orders", version: None, material },
                _ => Change::Rotate { key: "orders" },
            };
            // Many are refused in the state of the version.
            drop(file.change_now(change));
            messages.extend(Envelope::new(&file).encrypt(b"text", ROW));
        }
        let to = MemoryKeyring::create("other").unwrap();
        match file.copy_key(&to) {
            Ok(_) => copied += 1,
            Err(Error::Lifecycle(LifecycleError::VersionState { operation: Promote, .. })) => {
                refused += 1;
                assert!(to.keysets().unwrap().keyset("orders").is_none());
                continue;
            }
            Err(error) => panic!("round {round}: {error:?}"),
        }
        for message in &messages {
            let (here, there) = (decrypt(&file, message), Envelope::new(&to).decrypt(message, ROW));
            assert_eq!(here.is_ok(), there.is_ok(), "round {round}: {here:?}, {there:?}");
        }
        let mut expected = states(&file);
        expected.retain(|(_, state)| {
            !matches!(state, VersionState::Destroyed | VersionState::DestroyScheduled)
        });
        assert_eq!(states(&to), expected, "round {round}");
    }
    println!("{copied} copied, {refused} refused");
    assert!(copied > 20);
}
