//! The worked cases of SPEC 6: what becomes of each slot, and which calls a backend sees.

use super::compose::{compose, slots_of};
use super::{ROW, USUAL, version};
use crate::common::detached::{ReadDetached, WriteDetached};
use envelock::{
    DataKey, Envelope, Error, KeyName, Keyring, Lifecycle, MasterKey, MemoryKeyring,
    MigratingKeyring, MultiKeyring, Rewrap, RewrapOptions, SlotLabel, SlotOutcome, Timestamp,
    format::Slot,
    inspect,
    keyring::{Freshness, KeyringError, KeyringRng, PrimaryKey, Refusal, SlotWriter, WrapContext},
    keyset::{Change, ChangeOptions, Material},
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

const SPEC: &str = include_str!("../../../src/format/SPEC.md");

/// Notes what reaches the backend.
pub struct Noted<K> {
    pub keyring: K,
    calls: Arc<Mutex<Vec<String>>>,
}

impl<K> Noted<K> {
    fn new(keyring: K, calls: &Arc<Mutex<Vec<String>>>) -> Self {
        Noted { keyring, calls: calls.clone() }
    }

    fn note(&self, call: &str, label: &SlotLabel<'_>) {
        self.calls.lock().unwrap().push(format!("{call} {}{}", label.name, label.version));
    }

    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }
}

impl<K: Keyring> Keyring for Noted<K> {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.keyring.visit_primaries(visit)
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.keyring.visit_primaries(&mut |primary| self.note("wrap", &primary.label))?;
        self.keyring.wrap(data_key, context, slots, rng)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        self.note("unwrap", &slot.label);
        self.keyring.unwrap(slot, context, data_key)
    }

    fn rewrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.note("rewrap", &slot.label);
        self.keyring.rewrap(slot, context, slots, rng)
    }

    fn holds(
        &self,
        name: KeyName<'_>,
        visit: &mut dyn FnMut(KeyName<'_>),
    ) -> Result<(), KeyringError> {
        self.keyring.holds(name, visit)
    }

    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        self.keyring.freshness(slot)
    }
}

/// The keyrings of the cases, a message, and its slots by their names in the cases.
pub struct Scene {
    pub keyring: Noted<MemoryKeyring>,
    /// That of `e`, to which slots are added.
    pub escrow: Noted<MemoryKeyring>,
    pub message: Vec<u8>,
    slots: BTreeMap<String, Vec<u8>>,
}

pub fn import(keyring: &MemoryKeyring, key: &str, number: u32) {
    let byte = key.as_bytes()[0] << 4 | number as u8;
    let material = Material::Imported(&MasterKey::from_bytes(&[byte; 32]));
    let version = version(number);
    let change = match number {
        1 => Change::CreateKey { key, version, material },
        _ => Change::AddVersion { key, version: Some(version), material },
    };
    keyring
        .change(&[change], &ChangeOptions::at(Timestamp::now()), &mut envelock::OsRandom)
        .unwrap();
}

pub fn scene() -> Scene {
    let a = MemoryKeyring::import("a", version(1), &MasterKey::from_bytes(&[1; 32])).unwrap();
    import(&a, "b", 1);
    let b = a.with_key("b").unwrap();
    let e = MemoryKeyring::import("e", version(1), &MasterKey::from_bytes(&[5; 32])).unwrap();
    let all = MultiKeyring::new(a.with_key("a").unwrap()).with(b.with_key("b").unwrap()).unwrap();
    let all = all.with(e.with_key("e").unwrap()).unwrap();
    let envelope = Envelope::new(&all);
    let message = envelope.encrypt(b"payload", ROW).unwrap();
    let mut slots = BTreeMap::new();
    for (keyring, name, index, versions) in [(&a, "a", 0, [1, 4, 2]), (&b, "b", 1, [1, 9, 2])] {
        import(&a, name, 2);
        import(&a, name, versions[1]);
        for number in versions {
            keyring.promote(version(number)).unwrap();
            let header = envelope.rewrap(&message, USUAL).unwrap().into_header();
            slots.insert(format!("{name}{number}"), slots_of(&header).remove(index));
        }
    }
    slots.insert("e1".into(), slots_of(&message).remove(2));
    import(&e, "e", 2);
    e.promote(version(2)).unwrap();
    let header = envelope.rewrap(&message, USUAL).unwrap().into_header();
    slots.insert("e2".into(), slots_of(&header).remove(2));
    let mut foreign = slots["a1"].clone();
    foreign[16] = b'x';
    slots.insert("x".into(), foreign);
    a.mark_compromised(version(4)).unwrap();
    b.disable(version(9)).unwrap();
    let calls = Arc::default();
    Scene { keyring: Noted::new(a, &calls), escrow: Noted::new(e, &calls), message, slots }
}

impl Scene {
    pub fn slot(&self, described: &str) -> Vec<u8> {
        let (name, kind) = described.split_once(' ').unwrap_or((described, ""));
        let mut slot = self.slots[name].clone();
        if kind == "damaged" {
            *slot.last_mut().unwrap() ^= 1;
        }
        slot
    }

    fn header(&self, described: &str) -> Vec<u8> {
        self.padded(described, 0)
    }

    pub fn padded(&self, described: &str, padding: usize) -> Vec<u8> {
        let slots: Vec<_> = described.split(", ").map(|slot| self.slot(slot)).collect();
        compose(&self.message, &slots, padding)
    }

    /// Both forms, which must agree; and the calls of the first.
    fn rewrap(
        &self,
        header: &[u8],
        options: RewrapOptions<'_>,
    ) -> (Result<Rewrap, Error>, Vec<String>) {
        let envelope = Envelope::new(&self.keyring);
        self.keyring.take();
        let rewrapped = envelope.rewrap(header, options);
        let calls = self.keyring.take();
        let mut copy = header.to_vec();
        match (&rewrapped, envelope.rewrap_in_place(&mut copy, options)) {
            (Ok(rewrapped), Ok(report)) => {
                assert_eq!(format!("{report:?}"), format!("{:?}", rewrapped.report()));
                assert_eq!(copy.len(), rewrapped.header().len());
            }
            (Err(error), Err(in_place)) => {
                assert_eq!(error.to_string(), in_place.to_string());
                assert_eq!(copy, header, "SPEC R-WHOLE");
            }
            (one, other) => panic!("{one:?}, {other:?}"),
        }
        assert_eq!(self.keyring.take(), calls);
        (rewrapped, calls)
    }
}

/// The outcome of a rewrap, in the words of the cases.
fn reported(scene: &Scene, before: &str, outcome: &Result<Rewrap, Error>) -> String {
    in_words(scene, before, outcome.as_ref().map(Rewrap::header))
}

pub fn in_words(scene: &Scene, before: &str, outcome: Result<&[u8], &Error>) -> String {
    match outcome {
        Ok(header) => {
            let old: Vec<_> = before.split(", ").map(|slot| scene.slot(slot)).collect();
            let describe = |slot: Vec<u8>| {
                let version = u32::from_be_bytes(slot[..4].try_into().unwrap());
                let name = slot[16] as char;
                match old.contains(&slot) {
                    true if name == 'x' => "x".into(),
                    true => format!("{name}{version}"),
                    false => format!("{name}{version} new"),
                }
            };
            slots_of(header).into_iter().map(describe).collect::<Vec<_>>().join(", ")
        }
        Err(Error::Refused { key, version, .. }) => format!("refused {key}{version}"),
        Err(Error::Authentication { .. }) => "not authentic".into(),
        Err(Error::NoKey { .. }) => "no key".into(),
        Err(Error::LastSlot { .. }) => "last".into(),
        Err(Error::MissingSlot { .. }) => "no slot".into(),
        Err(other) => panic!("{before}: {other:?}"),
    }
}

/// SPEC R-LABELS, R-KEEP, R-FAIL, R-COMPROMISED, R-IDEMPOTENT.
#[test]
fn every_worked_case_of_the_specification_is_so() {
    let scene = scene();
    let cases = SPEC.split("```text\nrewraps\n").nth(1).unwrap().split("```").next().unwrap();
    let mut count = 0;
    for case in cases.lines() {
        let (before, rest) = case.split_once("->").unwrap();
        let (after, calls) = rest.split_once(':').unwrap();
        let (before, after) = (before.trim(), after.trim());
        let calls: Vec<_> = calls.trim().split(", ").filter(|call| !call.is_empty()).collect();
        let header = scene.header(before);
        let (outcome, made) = scene.rewrap(&header, USUAL);
        assert_eq!(reported(&scene, before, &outcome), after, "{case}");
        assert_eq!(made, calls, "{case}");
        if let Ok(rewrapped) = outcome {
            let report = rewrapped.report();
            assert_eq!(report.slots().len(), before.split(", ").count());
            assert_eq!(rewrapped.header() != header, report.is_changed(), "{case}");
            // Without a call it went by labels, and says so.
            assert!(!made.is_empty() || report.relied_on_labels(), "{case}");
            let is_left = ["b1 damaged", "b9 disabled", "a4 damaged"];
            assert_eq!(report.is_complete(), !is_left.iter().any(|left| before.contains(left)));
            let (again, _) = scene.rewrap(rewrapped.header(), USUAL);
            assert!(!again.unwrap().is_changed(), "{case}");
        }
        count += 1;
    }
    assert_eq!(count, 16);
}

/// The reasons of what was left, slot by slot.
#[test]
fn report_names_each_slot_left_and_the_reason() {
    use SlotOutcome::{
        Current, Labelled, Merged, NotMine, NotVerified, Refused, Rewrapped, Superseded,
    };
    let scene = scene();
    let report = |before: &str| {
        let header = scene.header(before);
        let (outcome, _) = scene.rewrap(&header, USUAL);
        outcome.unwrap().into_parts().1
    };
    assert!(matches!(
        report("a1 stale, x, b9 disabled, b1 damaged").slots(),
        [Rewrapped, NotMine, Refused(Refusal::Disabled), NotVerified]
    ));
    assert!(matches!(report("a1 stale, x, a2 primary").slots(), [Merged, NotMine, Current]));
    assert!(matches!(report("a2 damaged, x, a1 stale").slots(), [Superseded, NotMine, Rewrapped]));
    assert!(matches!(report("a1 stale, b2 primary").slots(), [Rewrapped, Labelled]));
    assert!(matches!(report("a2 damaged, x").slots(), [Labelled, NotMine]));
}

/// A version is retired by what the rewrap has seen: no call more, and none that must fail.
#[test]
fn retiring_a_version_costs_no_call() {
    let scene = scene();
    for before in ["a1 stale", "a1 stale, b1 damaged", "a1 stale, x, a2 primary", "a2 primary"] {
        let header = scene.header(before);
        let (_, usual) = scene.rewrap(&header, USUAL);
        let (outcome, calls) = scene.rewrap(&header, USUAL.retiring("a", version(1)));
        assert!(outcome.is_ok() && calls == usual, "{before}: {calls:?}");
    }
    // Damaged and disabled slots do not open; one that is labelled with the primary may.
    for (before, name, number, is_retired) in [
        ("a2 primary, b1 damaged", "b", 1, true),
        ("a2 primary, b9 disabled", "b", 9, true),
        ("a2 primary", "a", 2, false),
        ("a1 stale, b2 primary", "b", 2, false),
        ("a1 stale", "a", 2, false),
    ] {
        let header = scene.header(before);
        let (outcome, _) = scene.rewrap(&header, USUAL.retiring(name, version(number)));
        match outcome {
            Ok(_) => assert!(is_retired, "{before}"),
            Err(Error::OldVersionStillOpens { .. }) => assert!(!is_retired, "{before}"),
            Err(other) => panic!("{before}: {other:?}"),
        }
    }
}

/// An alias means the key that it stands for: a version that still opens is not let go by another
/// of its names.
#[test]
fn version_is_retired_by_an_alias_as_by_its_name() {
    let scene = scene();
    let set = |key: &'static str| {
        let change = Change::SetAlias { alias: "current", key };
        let terms = ChangeOptions::at(Timestamp::now());
        scene.keyring.keyring.change(&[change], &terms, &mut envelock::OsRandom).unwrap();
    };
    for (key, number, before, is_retired) in [
        ("a", 1, "a1 stale", true),
        ("a", 2, "a2 primary", false),
        ("a", 2, "a1 stale", false),
        ("b", 2, "a1 stale, b2 primary", false),
        ("b", 1, "a1 stale, b2 primary", true),
    ] {
        set(key);
        let header = scene.header(before);
        for name in [key, "current"] {
            let (outcome, _) = scene.rewrap(&header, USUAL.retiring(name, version(number)));
            match outcome {
                Ok(_) => assert!(is_retired, "{before} {name}"),
                Err(Error::OldVersionStillOpens { key: reported, .. }) => {
                    assert!(!is_retired && reported == key, "{before} {name}");
                }
                Err(other) => panic!("{before} {name}: {other:?}"),
            }
        }
    }
    set("b");
    let (outcome, _) =
        scene.rewrap(&scene.header("a1 stale"), USUAL.retiring("current", version(1)));
    assert!(matches!(outcome, Err(Error::MissingSlot { key, .. }) if key == "current"));
}

/// A name that is misspelt is no slot's, nor is an alias that there is not.
#[test]
fn name_that_no_slot_has_is_not_retired() {
    let scene = scene();
    for before in ["a1 stale", "a2 primary"] {
        for name in ["current", "A", "", "b"] {
            let header = scene.header(before);
            let (outcome, _) = scene.rewrap(&header, USUAL.retiring(name, version(1)));
            assert!(
                matches!(&outcome, Err(Error::MissingSlot { key, .. }) if key == name),
                "{before} {name}: {outcome:?}"
            );
        }
    }
}

/// SPEC R-FAIL: this report does not say whether another keyring's key still opens a slot, so it must
/// not say that the version is retired: its operator would destroy it.
#[test]
fn version_of_a_missing_name_is_not_retired() {
    let scene = scene();
    for before in ["a1 stale, x", "a2 primary, x", "x, a2 primary, b9 disabled"] {
        for options in [USUAL, USUAL.trusting_backend()] {
            let header = scene.header(before);
            let (outcome, _) = scene.rewrap(&header, options.retiring("x", version(1)));
            assert_eq!(reported(&scene, before, &outcome), "refused x1", "{before}");
            let (outcome, _) = scene.rewrap(&header, options.retiring("x", version(7)));
            assert!(outcome.is_ok(), "no slot is under it: {before}");
        }
    }
}

/// SPEC R-LABELS: with a trusted back end no call is made for slots that are current.
#[test]
fn trusted_backend_gets_no_call_for_current_slots() {
    let scene = scene();
    let trusting = USUAL.trusting_backend();
    for (before, after, calls) in [
        ("a2 primary", "a2", &[][..]),
        ("a2 primary, b9 disabled", "a2, b9", &[]),
        ("a1 stale", "a2 new", &["rewrap a1"]),
        ("a1 stale, b2 primary", "a2 new, b2", &["rewrap a1"]),
        ("a2 damaged, x, a1 stale", "x, a2 new", &["rewrap a1"]),
        ("a4 damaged, b1 stale", "refused a4", &[]),
    ] {
        let header = scene.header(before);
        let (outcome, made) = scene.rewrap(&header, trusting);
        assert_eq!(reported(&scene, before, &outcome), after);
        assert_eq!(made, calls, "{before}");
        // SPEC R-PROOF: the report says that nobody has proven the new slot.
        if let Ok(rewrap) = outcome {
            let report = rewrap.report();
            let outcomes = report.slots().iter();
            let trusted = outcomes.filter(|outcome| matches!(outcome, SlotOutcome::Trusted));
            assert_eq!(trusted.count(), calls.len(), "{report:?}");
            assert_eq!(report.relied_on_backend(), !calls.is_empty(), "{report:?}");
        }
    }
}

/// The version that is refused is the new one, which was disabled before it could be proven.
#[test]
fn refused_new_version_is_reported_by_its_name() {
    struct Refusing(MemoryKeyring);

    impl Keyring for Refusing {
        fn visit_primaries(
            &self,
            visit: &mut dyn FnMut(&PrimaryKey<'_>),
        ) -> Result<(), KeyringError> {
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
            match slot.label.version.number() {
                2 => Err(KeyringError::Refused(Refusal::Disabled)),
                _ => self.0.unwrap(slot, context, data_key),
            }
        }

        fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
            self.0.freshness(slot)
        }
    }

    let keyring = Refusing(super::keyring("orders", 1));
    let message = Envelope::new(&keyring).encrypt(b"payload", ROW).unwrap();
    keyring.0.rotate().unwrap();
    let error = super::rewrap(&keyring, &message, USUAL).unwrap_err();
    let Error::Refused { key, version, refusal: Refusal::Disabled, .. } = error else {
        panic!("{error:?}");
    };
    assert_eq!((&*key, version.number()), ("orders", 2));
}

/// Each growth reserves the same room again, however often (SPEC R-GROW).
#[test]
fn reserved_padding_survives_growth() {
    let padding = |header: &[u8]| inspect(header).unwrap().padding_len();
    let grow = |reserved: usize, again: usize| {
        let mut keyring = super::Services::new([("a", vec![40, 60, 80, 30_000, 32_700], 1)]);
        let writer = Envelope::new(&keyring).with_reserved(reserved);
        let mut header = writer.encrypt_detached(b"payload", ROW).unwrap().0;
        let mut paddings = Vec::new();
        for primary in 2..=5 {
            keyring.services[0].primary = primary;
            let envelope = Envelope::new(&keyring).with_reserved(again);
            header = envelope.rewrap(&header, USUAL).unwrap().into_header();
            paddings.push(padding(&header));
        }
        paddings
    };
    assert_eq!(grow(0, 0), [0, 0, 0, 0]);
    assert_eq!(grow(10, 0), [10, 10, 10, 10]);
    assert_eq!(grow(0, 10), [10, 10, 10, 10]);
    // 20 bytes more each fit twice; then as much as there was is reserved.
    assert_eq!(grow(45, 0)[..2], [25, 5]);
    assert_eq!(grow(10, 500)[..2], [500, 480]);
    // A header has 65,535 bytes and no more.
    let large = 65_535 - 25 - 17 - 30_000;
    assert_eq!(grow(1_000, large + 9)[2], large);
}

/// The error says what all slots need, not those up to the first that does not fit.
#[test]
fn room_for_several_slots_is_reported_at_once() {
    let keyring =
        super::Services::new([("a", vec![60], 1), ("b", vec![70], 1), ("c", vec![80], 1)]);
    let envelope = Envelope::new(&keyring).with_reserved(9);
    let needed = 25 + 3 * 17 + 60 + 70 + 80;
    assert_eq!(envelope.header_len().unwrap(), needed + 9);
    let mut body = vec![0; envelock::body_len(7).unwrap()];
    for available in [0, 30, 110, 200, needed - 1] {
        let mut header = vec![0; available];
        let error =
            envelope.encrypt_detached_into(b"payload", ROW, &mut header, &mut body).unwrap_err();
        let Error::HeaderRoom { needed: reported, available: there, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!((reported, there), (needed, available));
    }
    let mut header = vec![0; needed];
    envelope.encrypt_detached_into(b"payload", ROW, &mut header, &mut body).unwrap();
}

/// Two keyrings with one name and equal versions: a report that is complete, and an old keyring
/// that is really dropped, agree (THREATS 81).
#[test]
fn moved_slots_open_without_the_old_keyring() {
    let old = super::keyring("orders", 1);
    let new = MemoryKeyring::create("orders").unwrap();
    let message = Envelope::new(&old).encrypt(b"payload", ROW).unwrap();
    let body = &message[inspect(&message).unwrap().len()..];
    let moving = MigratingKeyring::new(Arc::new(new.with_key("orders").unwrap()));
    let moving = Envelope::new(moving.with(old).unwrap());
    assert!(moving.needs_rewrap(&message).unwrap());
    let now = envelock::keyring::primary_index_bytes(moving.keyring()).unwrap();
    let examined = Envelope::new(&new).examine(&message).unwrap().opened().count();
    assert!(message[25..29] == now[..4] && message[25..37] != now && examined == 0);
    let rewrapped = moving.rewrap(&message, USUAL).unwrap();
    assert!(rewrapped.is_changed() && rewrapped.report().is_complete());
    assert!(!moving.needs_rewrap(rewrapped.header()).unwrap());
    assert_eq!(rewrapped.header()[25..37], now);
    assert_eq!(Envelope::new(&new).examine(rewrapped.header()).unwrap().opened().count(), 1);
    drop(moving);
    let opened = Envelope::new(&new).decrypt_detached(rewrapped.header(), body, ROW).unwrap();
    assert_eq!(opened, b"payload");
}
