//! Several master keys in one keyring: aliases that are switched in one step, views that wrap
//! under one key, and tenants that open nothing but their own.

use crate::common;

use envelock::keyset::LifecycleError;
use envelock::{
    Aad, Envelope, Error, KeyVersion, Keyring, Lifecycle, MemoryKeyring, RewrapOptions, Timestamp,
    inspect,
    keyring::{Freshness, Refusal},
    keyset::{Change, ChangeOptions, ChangeOutcome, Material, Operation},
};

const ROW: Aad<'static> = Aad::new(b"row");
const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

fn change(keyring: &MemoryKeyring, changes: &[Change]) -> Result<ChangeOutcome, Error> {
    let seed = keyring.keysets().unwrap().revision();
    keyring.change_with_rng(changes, &ChangeOptions::at(NOW), &mut common::rng(seed))
}

fn create(key: &str) -> Change<'_> {
    Change::CreateKey { key, version: KeyVersion::FIRST, material: Material::Fresh }
}

/// Keys `blue` and `green`, and the alias `live` for blue.
fn keyring() -> MemoryKeyring {
    let keyring = MemoryKeyring::create_with_rng("blue", NOW, &mut common::rng(99)).unwrap();
    let alias = Change::SetAlias { alias: "live", key: "blue" };
    change(&keyring, &[create("green"), alias]).unwrap();
    keyring
}

fn encrypt(keyring: &MemoryKeyring) -> Vec<u8> {
    Envelope::new(keyring).encrypt(b"text", ROW).unwrap()
}

fn name_of(message: &[u8]) -> String {
    let header = inspect(message).unwrap();
    header.slots().next().unwrap().label.name.as_str().to_owned()
}

fn opens(keyring: &MemoryKeyring, message: &[u8]) -> bool {
    match Envelope::new(keyring).decrypt(message, ROW) {
        Ok(text) => text == b"text",
        Err(Error::NoKey { .. }) => false,
        Err(other) => panic!("{other:?}"),
    }
}

fn not_created(keyring: &MemoryKeyring, changes: &[Change]) -> Error {
    let before = keyring.keysets().unwrap();
    let error = change(keyring, changes).unwrap_err();
    assert_eq!(keyring.keysets().unwrap(), before);
    error
}

#[test]
fn name_is_a_key_s_or_an_alias_and_never_both() {
    let keyring = keyring();
    for taken in ["blue", "green", "live"] {
        let error = not_created(&keyring, &[create(taken)]);
        assert!(
            matches!(error, Error::Lifecycle(LifecycleError::NameTaken { name }) if name == taken)
        );
    }
    for taken in ["blue", "green"] {
        let error = not_created(&keyring, &[Change::SetAlias { alias: taken, key: "green" }]);
        assert!(
            matches!(error, Error::Lifecycle(LifecycleError::NameTaken { name }) if name == taken)
        );
        // A key is not removed by way of its alias' operation.
        let error = not_created(&keyring, &[Change::RemoveAlias { alias: taken }]);
        assert!(
            matches!(error, Error::Lifecycle(LifecycleError::UnknownKey { key }) if key == taken)
        );
    }
    let error = not_created(&keyring, &[Change::SetAlias { alias: "x", key: "nobody" }]);
    assert!(
        matches!(error, Error::Lifecycle(LifecycleError::UnknownKey { key }) if key == "nobody")
    );
    let longest = "a".repeat(64);
    for (wrong, offset) in [("", 0), ("-", 0), ("a b", 1), (&*format!("{longest}a"), 64)] {
        for changes in [create(wrong), Change::SetAlias { alias: wrong, key: "blue" }] {
            let error = not_created(&keyring, &[changes]);
            assert!(
                matches!(error, Error::Lifecycle(LifecycleError::KeyName(error)) if error.offset == offset),
                "{wrong:?}"
            );
        }
    }
    change(&keyring, &[Change::SetAlias { alias: &longest, key: "blue" }]).unwrap();
    // Case matters.
    change(&keyring, &[create("Blue")]).unwrap();
}

#[test]
fn alias_of_an_alias_stands_for_the_key() {
    let keyring = keyring();
    let chain = Change::SetAlias { alias: "now", key: "live" };
    change(&keyring, &[chain]).unwrap();
    let aliases = |keyring: &MemoryKeyring| {
        let keysets = keyring.keysets().unwrap();
        keysets.aliases().map(|(a, b)| format!("{a}={b}")).collect::<Vec<_>>()
    };
    assert_eq!(aliases(&keyring), ["live=blue", "now=blue"]);
    // It does not follow the other alias.
    change(&keyring, &[Change::SetAlias { alias: "live", key: "green" }]).unwrap();
    assert_eq!(aliases(&keyring), ["live=green", "now=blue"]);
    let itself = Change::SetAlias { alias: "live", key: "live" };
    change(&keyring, &[itself]).unwrap();
    assert_eq!(aliases(&keyring), ["live=green", "now=blue"]);
}

#[test]
fn every_operation_takes_an_alias_for_its_key() {
    let keyring = keyring();
    let version = |number| KeyVersion::new(number).unwrap();
    let operate =
        |number, operation| Change::Version { key: "live", version: version(number), operation };
    let label = Change::SetLabel { key: "live", version: version(1), name: "a", value: Some("b") };
    let add = Change::AddVersion { key: "live", version: None, material: Material::Fresh };
    let rotate = Change::Rotate { key: "live" };
    change(&keyring, &[rotate, add, label, operate(3, Operation::Promote)]).unwrap();
    let keysets = keyring.keysets().unwrap();
    let blue = keysets.resolve("live").unwrap();
    assert_eq!((blue.name().as_str(), blue.primary()), ("blue", Some(version(3))));
    assert_eq!(blue, keysets.keyset("blue").unwrap());
    assert!(keysets.keyset("live").is_none(), "an alias is no keyset");
    assert_eq!(blue.version(version(1)).unwrap().labels.get("a"), Some("b"));
    assert_eq!(keysets.keyset("green").unwrap().versions().len(), 1);
}

#[test]
fn switch_and_its_rollback_are_one_change_each() {
    let keyring = keyring();
    let live = keyring.with_key("live").unwrap();
    assert_eq!((live.key(), keyring.key()), ("live", "blue"));
    let blue = encrypt(&live);
    keyring.set_alias("live", "green").unwrap();
    let green = encrypt(&live);
    assert_eq!((name_of(&blue), name_of(&green)), ("blue".into(), "green".into()));
    // Earlier messages keep opening, and are not moved to the other key.
    assert!(opens(&live, &blue) && opens(&live, &green) && opens(&keyring, &green));
    let envelope = Envelope::new(&live);
    assert!(!envelope.needs_rewrap(&blue).unwrap());
    assert!(!envelope.rewrap(&blue, RewrapOptions::new()).unwrap().is_changed());
    keyring.set_alias("live", "blue").unwrap();
    assert_eq!(name_of(&encrypt(&live)), "blue");
    assert!(opens(&live, &green));
    // A rotation of the alias' key reaches every holder.
    live.rotate().unwrap();
    assert_eq!(keyring.primary_version(), KeyVersion::new(2));
    assert!(envelope.needs_rewrap(&blue).unwrap());
}

/// SPEC R-NAME.
#[test]
fn rewrap_never_crosses_names() {
    let keyring = keyring();
    let green = keyring.with_key("green").unwrap();
    let message = encrypt(&green);
    keyring.rotate().unwrap();
    let envelope = Envelope::new(&keyring);
    assert!(!envelope.needs_rewrap(&message).unwrap());
    green.rotate().unwrap();
    assert!(envelope.needs_rewrap(&message).unwrap());
    let rewrapped = envelope.rewrap(&message, RewrapOptions::new()).unwrap();
    assert!(rewrapped.is_changed());
    assert_eq!(name_of(rewrapped.header()), "green");
    // Nothing wraps under green: nothing is rewrapped to blue instead.
    green.mark_compromised(KeyVersion::new(2).unwrap()).unwrap();
    let refused = envelope.rewrap(&message, RewrapOptions::new());
    assert!(matches!(refused, Err(Error::NoPrimary)), "{refused:?}");
    assert!(opens(&keyring, &message));
}

#[test]
fn tenant_opens_nothing_but_its_own() {
    let keyring = keyring();
    let [blue, green] = ["blue", "green"].map(|name| keyring.only_key(name).unwrap());
    let [to_blue, to_green] = [&blue, &green].map(encrypt);
    assert_eq!((name_of(&to_blue), name_of(&to_green)), ("blue".into(), "green".into()));
    assert_eq!((opens(&blue, &to_blue), opens(&blue, &to_green)), (true, false));
    assert_eq!((opens(&green, &to_blue), opens(&green, &to_green)), (false, true));
    assert!(opens(&keyring, &to_blue) && opens(&keyring, &to_green));
    let header = inspect(&to_green).unwrap();
    let label = header.slots().next().unwrap().label;
    assert_eq!(blue.freshness(&label).unwrap(), Freshness::NotMine);
    let rewrapped = Envelope::new(&blue).rewrap(&to_green, RewrapOptions::new());
    assert!(matches!(rewrapped, Err(Error::NoKey { .. })), "{rewrapped:?}");
    assert!(!Envelope::new(&blue).needs_rewrap(&to_green).unwrap());
    // A view of a tenant's view has no more than that.
    let wider = blue.with_key("blue").unwrap();
    assert!(!opens(&wider, &to_green));
    for view in [keyring.with_key("nobody"), keyring.only_key("nobody")] {
        assert!(
            matches!(view, Err(Error::Lifecycle(LifecycleError::UnknownKey { key })) if key == "nobody")
        );
    }
}

#[test]
fn view_of_a_removed_alias_wraps_nothing() {
    let keyring = keyring();
    let (live, only) = (keyring.with_key("live").unwrap(), keyring.only_key("live").unwrap());
    let message = encrypt(&only);
    assert!(opens(&only, &message));
    change(&keyring, &[Change::RemoveAlias { alias: "live" }]).unwrap();
    for view in [&live, &only] {
        let encrypted = Envelope::new(view).encrypt(b"text", ROW);
        let Err(Error::Lifecycle(LifecycleError::UnknownKey { key })) = &encrypted else {
            panic!("{encrypted:?}")
        };
        assert_eq!(key, "live");
        assert!(view.primary_version().is_none() && view.versions().is_empty());
        assert!(matches!(view.keyset(), Err(Error::Lifecycle(LifecycleError::UnknownKey { .. }))));
        assert!(matches!(view.rotate(), Err(Error::Lifecycle(LifecycleError::UnknownKey { .. }))));
    }
    // The one opens what the keyring has, the other stands for nothing.
    assert!(opens(&live, &message) && !opens(&only, &message));
    let header = inspect(&message).unwrap();
    let label = header.slots().next().unwrap().label;
    assert_eq!(only.freshness(&label).unwrap(), Freshness::NotMine);
    change(&keyring, &[Change::SetAlias { alias: "live", key: "blue" }]).unwrap();
    assert!(opens(&only, &message));
}

#[test]
fn strict_view_refuses_what_other_views_open() {
    let keyring = keyring();
    let strict = keyring.refusing_compromised();
    let message = encrypt(&keyring);
    assert!(opens(&strict, &message));
    keyring.rotate().unwrap();
    assert!(opens(&strict, &message));
    keyring.mark_compromised(KeyVersion::FIRST).unwrap();
    // Views of the strict view are strict.
    for view in [&strict, &strict.with_key("green").unwrap(), &strict.only_key("blue").unwrap()] {
        let envelope = Envelope::new(view);
        let rewrapped = envelope.rewrap(&message, RewrapOptions::new()).map(|_| vec![]);
        for result in [envelope.decrypt(&message, ROW), rewrapped] {
            let Err(Error::Refused { refusal: Refusal::Compromised, version, .. }) = result else {
                panic!("{result:?}")
            };
            assert_eq!(version, KeyVersion::FIRST);
        }
        let header = inspect(&message).unwrap();
        let freshness = view.freshness(&header.slots().next().unwrap().label).unwrap();
        assert_eq!(freshness, Freshness::Refused(Refusal::Compromised));
        assert!(envelope.needs_rewrap(&message).unwrap());
    }
    assert!(opens(&keyring, &message));
    // Away from it only by name.
    let envelope = Envelope::new(&keyring);
    assert!(envelope.rewrap(&message, RewrapOptions::new()).is_err());
    let named = RewrapOptions::new().from_compromised("blue", KeyVersion::FIRST);
    let rewrapped = envelope.rewrap(&message, named).unwrap();
    let mut rescued = rewrapped.into_header();
    rescued.extend_from_slice(&message[inspect(&message).unwrap().len()..]);
    assert!(opens(&strict, &rescued));
}
