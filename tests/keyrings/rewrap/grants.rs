//! Slots that are added for another keyring, and names that are removed (SPEC 6.1).

use super::cases::{Scene, import, in_words, scene};
use super::compose::{compose, keyring, slots_of};
use super::services::Services;
use super::{ROW, USUAL, seeded, version, versions_of};
use crate::common::detached::{ReadDetached, WriteDetached};
use envelock::{
    Aad, DataKey, Envelope, Error, GrantOptions, HeaderUpdate, Keyring, Lifecycle, MemoryKeyring,
    MultiKeyring, SlotLabel, Suite,
    format::{Slot, SlotFault},
    inspect,
    keyring::{Freshness, KeyringError, KeyringRng, PrimaryKey, Refusal, SlotWriter, WrapContext},
};

const GRANT: GrantOptions = GrantOptions::new();
const SPEC: &str = include_str!("../../../src/format/SPEC.md");

/// Adds in both forms, which must agree; a failure leaves the message as it was (SPEC R-WHOLE).
fn add<K: Keyring, T: Keyring + ?Sized>(
    from: K,
    message: &[u8],
    to: &T,
    options: GrantOptions<'_>,
) -> Result<HeaderUpdate, Error> {
    let envelope = Envelope::new(from);
    let len = inspect(message).unwrap().len();
    let mut copy = message.to_vec();
    let in_place = envelope.with_rng(&mut seeded()).add_slot_in_place(&mut copy, to, options);
    let added = envelope.with_rng(&mut seeded()).add_slot(message, to, options);
    match (&added, in_place) {
        (Ok(added), Ok(is_changed)) => {
            assert_eq!(added.header(), &copy[..len]);
            assert_eq!(added.is_changed(), is_changed);
            assert_eq!(copy[len..], message[len..], "SPEC R-CORE");
        }
        (Ok(added), Err(Error::HeaderRoom { needed, available, .. })) => {
            let header = inspect(added.header()).unwrap();
            assert_eq!((needed, available), (header.len() - header.padding_len(), len));
            assert!(needed > available);
            assert_eq!(copy, message, "SPEC R-WHOLE");
        }
        (
            Err(Error::HeaderRoom { needed, .. }),
            Err(Error::HeaderRoom { needed: reported, .. }),
        ) => {
            assert_eq!(reported, *needed);
            assert_eq!(copy, message, "SPEC R-WHOLE");
        }
        (Err(error), Err(in_place)) => {
            assert_eq!(format!("{error:?}"), format!("{in_place:?}"));
            assert_eq!(copy, message, "SPEC R-WHOLE");
        }
        (added, in_place) => panic!("{added:?}, {in_place:?}"),
    }
    if let Ok(added) = &added {
        assert_eq!(added.header()[..22], message[..22], "SPEC R-CORE");
        assert_eq!(added.is_changed(), added.header() != &message[..len]);
    }
    added
}

/// Removes in both forms, which must agree.
fn remove<K: Keyring>(keyring: K, message: &[u8], name: &str) -> Result<Vec<u8>, Error> {
    let envelope = Envelope::new(keyring);
    let len = inspect(message).unwrap().len();
    let mut copy = message.to_vec();
    let in_place = envelope.remove_name_in_place(&mut copy, name);
    let removed = envelope.remove_name(message, name);
    match (&removed, in_place) {
        (Ok(removed), Ok(())) => {
            assert!(removed.is_changed());
            assert_eq!(removed.header(), &copy[..len]);
            assert_eq!(copy[..22], message[..22], "SPEC R-CORE");
            assert_eq!(copy[len..], message[len..], "SPEC R-CORE");
        }
        (Err(error), Err(in_place)) => {
            assert_eq!(format!("{error:?}"), format!("{in_place:?}"));
            assert_eq!(copy, message, "SPEC R-WHOLE");
        }
        (removed, in_place) => panic!("{removed:?}, {in_place:?}"),
    }
    removed.map(HeaderUpdate::into_header)
}

/// The calls to both keyrings, without those that cost a backend nothing.
fn calls(scene: &Scene) -> Vec<String> {
    let mut calls = scene.keyring.take();
    calls.retain(|call| !call.starts_with("unwrap x") && call != "unwrap e1");
    calls
}

fn cases(title: &str) -> Vec<(&'static str, &'static str, Vec<&'static str>)> {
    let block = SPEC.split(&format!("```text\n{title}\n")).nth(1).unwrap();
    let lines = block.split("```").next().unwrap().lines();
    let parse = |case: &'static str| {
        let (before, rest) = case.split_once("->").unwrap();
        let (after, calls) = rest.split_once(':').unwrap();
        let calls = calls.trim().split(", ").filter(|call| !call.is_empty());
        (before.trim(), after.trim(), calls.collect())
    };
    lines.map(parse).collect()
}

fn opens<K: Keyring>(keyring: K, header: &[u8], message: &[u8]) -> bool {
    let body = &message[inspect(message).unwrap().len()..];
    let opened = Envelope::new(keyring).decrypt_detached(header, body, ROW);
    opened.inspect(|opened| assert_eq!(opened, b"payload")).is_ok()
}

/// SPEC G-OPEN, G-ADD, G-PROOF.
#[test]
fn every_worked_case_of_adding_is_so() {
    let scene = scene();
    let cases = cases("adds");
    assert_eq!(cases.len(), 14);
    for (before, after, expected) in cases {
        let header = scene.padded(before, 200);
        scene.keyring.take();
        let outcome = Envelope::new(&scene.keyring).add_slot(&header, &scene.escrow, GRANT);
        assert_eq!(calls(&scene), expected, "{before}");
        let update = outcome.as_ref().map(HeaderUpdate::header);
        assert_eq!(in_words(&scene, before, update), after, "{before}");
        let agreed = add(&scene.keyring, &header, &scene.escrow, GRANT);
        assert_eq!(agreed.is_ok(), outcome.is_ok());
        let Ok(outcome) = outcome else { continue };
        let header = outcome.into_header();
        assert!(opens(&scene.escrow, &header, &scene.message), "{before}");
        let again = add(&scene.keyring, &header, &scene.escrow, GRANT).unwrap();
        assert!(!again.is_changed() && again.header() == header, "{before}");
    }
}

/// SPEC G-REMOVE.
#[test]
fn every_worked_case_of_removing_is_so() {
    let scene = scene();
    let cases = cases("removes b");
    assert_eq!(cases.len(), 8);
    for (before, after, expected) in cases {
        let header = scene.padded(before, 3);
        scene.keyring.take();
        let outcome = Envelope::new(&scene.keyring).remove_name(&header, "b");
        assert_eq!(calls(&scene), expected, "{before}");
        let update = outcome.as_ref().map(HeaderUpdate::header);
        assert_eq!(in_words(&scene, before, update), after, "{before}");
        match remove(&scene.keyring, &header, "b") {
            Ok(removed) => {
                assert_eq!(removed.len(), header.len());
                assert!(opens(&scene.keyring, &removed, &scene.message), "{before}");
            }
            Err(Error::LastSlot { key, .. } | Error::MissingSlot { key, .. }) => {
                assert_eq!(key, "b")
            }
            Err(other) => panic!("{before}: {other:?}"),
        }
    }
}

/// It is no revocation.
#[test]
fn old_header_puts_a_removed_slot_back() {
    let scene = scene();
    let old = scene.padded("a2, e2", 0);
    let new = remove(&scene.keyring, &old, "e").unwrap();
    assert!(opens(&scene.escrow, &old, &scene.message));
    assert!(!opens(&scene.escrow, &new, &scene.message));
    assert!(opens(&scene.keyring, &new, &scene.message));
}

/// A message goes to a key of another name, in another keyring.
#[test]
fn message_moves_to_a_key_of_another_name() {
    for &suite in Suite::ALL {
        let (old, new) = (keyring("eu-1", 2), MemoryKeyring::create("eu-2").unwrap());
        let message = Envelope::new(&old).with_suite(suite).encrypt(b"payload", ROW).unwrap();
        let both = add(&old, &message, &new, GRANT).unwrap().into_header();
        // The old keyring alone knows of no other slot that opens.
        let error = remove(&old, &both, "eu-1").unwrap_err();
        assert!(matches!(error, Error::LastSlot { key, .. } if key == "eu-1"));
        let moved = remove(&new, &both, "eu-1").unwrap();
        assert!(opens(&new, &moved, &message) && !opens(&old, &moved, &message));
        assert_eq!(moved[25..37], envelock::keyring::primary_index_bytes(&new).unwrap());
        assert!(!Envelope::new(&new).needs_rewrap(&moved).unwrap());
    }
}

/// SPEC G-OPEN: a message that the holder of a compromised key may have written gets no slot.
#[test]
fn compromised_version_opens_only_if_named() {
    let scene = scene();
    let header = scene.padded("a4", 0);
    let named = |name, number| GRANT.from_compromised(name, version(number));
    for options in [GRANT, named("a", 1), named("b", 4), GRANT.trusting_wrap()] {
        let error = add(&scene.keyring, &header, &scene.escrow, options).unwrap_err();
        let Error::Refused { key, version, refusal: Refusal::Compromised, .. } = error else {
            panic!("{error:?}");
        };
        assert_eq!((&*key, version.number()), ("a", 4));
    }
    let both = named("b", 4).from_compromised("a", version(4));
    let added = add(&scene.keyring, &header, &scene.escrow, both).unwrap();
    assert!(opens(&scene.escrow, added.header(), &scene.message));
}

/// SPEC G-ADD, of several slots at once.
#[test]
fn only_the_slots_that_are_missing_are_added() {
    let scene = scene();
    let f = keyring("f", 1);
    let (e, f) = (scene.escrow.keyring.with_key("e").unwrap(), f.with_key("f").unwrap());
    let to = MultiKeyring::new(e).with(f).unwrap();
    let names = |header: &[u8]| {
        let slots = inspect(header).unwrap().slots();
        slots.map(|slot| slot.label.to_string_of_name_and_version()).collect::<Vec<_>>().join(" ")
    };
    for (before, after) in [
        ("a2", "a2 e2 f1"),
        ("a2, e2", "a2 e2 f1"),
        ("e2 damaged, a2", "e2 a2 f1"),
        ("e1, a2, x", "e1 a2 x1 e2 f1"),
    ] {
        let header = scene.padded(before, 300);
        let added = add(&scene.keyring, &header, &to, GRANT).unwrap();
        assert_eq!(names(added.header()), after, "{before}");
        Envelope::new(&to).verify_slots(added.header(), &["e", "f"]).unwrap();
        // Of the old slots, only one that was damaged is not there byte for byte.
        let old = slots_of(&header);
        let kept = slots_of(added.header()).into_iter().filter(|slot| old.contains(slot)).count();
        assert_eq!(kept, old.len() - usize::from(before.contains("damaged")));
        assert!(!add(&scene.keyring, added.header(), &to, GRANT).unwrap().is_changed());
    }
}

trait Named {
    fn to_string_of_name_and_version(&self) -> String;
}

impl Named for SlotLabel<'_> {
    fn to_string_of_name_and_version(&self) -> String {
        format!("{}{}", self.name, self.version)
    }
}

/// SPEC H-COUNT, R-GROW.
#[test]
fn header_takes_sixteen_slots_and_all_the_room_it_has() {
    let scene = scene();
    let foreign = |number: u8| {
        let mut slot = scene.slot("x");
        slot[3] = number;
        slot
    };
    for (foreign_count, fits) in [(14, true), (15, false)] {
        let slots = [(1..=foreign_count).map(foreign).collect(), vec![scene.slot("a2")]].concat();
        let header = compose(&scene.message, &slots, 500);
        match add(&scene.keyring, &header, &scene.escrow, GRANT) {
            Ok(added) => {
                assert!(fits);
                assert_eq!(slots_of(added.header())[..slots.len()], slots);
            }
            Err(Error::Slot(SlotFault::TooMany)) => assert!(!fits),
            Err(other) => panic!("{other:?}"),
        }
    }
    let len = scene.slot("e2").len();
    for padding in [0, 1, len - 1, len, len + 1, 65_535 - 25 - scene.slot("a2").len()] {
        let header = scene.padded("a2", padding);
        // `add` compares with the form in place, and its length that is needed.
        let added = add(&scene.keyring, &header, &scene.escrow, GRANT).unwrap();
        let left = inspect(added.header()).unwrap().padding_len();
        assert_eq!(left, padding.checked_sub(len).unwrap_or(padding));
        let envelope = Envelope::new(&scene.keyring).with_reserved(9);
        let reserved = envelope.add_slot(&header, &scene.escrow, GRANT).unwrap();
        let left = inspect(reserved.header()).unwrap().padding_len();
        assert_eq!(left, padding.checked_sub(len).unwrap_or(padding.max(9)));
    }
}

/// Slots beyond 1 KiB, and beyond a header.
#[test]
fn large_slots_are_added_as_far_as_a_header_goes() {
    let from = keyring("orders", 1);
    let message = Envelope::new(&from).encrypt(b"payload", ROW).unwrap();
    let len = inspect(&message).unwrap().len();
    for (lens, fits) in [
        (&[32][..], true),
        (&[1_007], true),
        (&[1_008], true),
        (&[32_768], true),
        (&[500, 507], true),
        (&[500, 508], true),
        (&[32_768, 65_535 - 119 - 34 - 32_768], true),
        (&[32_768, 65_535 - 119 - 34 - 32_767], false),
        (&[32_768, 32_768], false),
    ] {
        let names = ["a", "b"];
        let to = Services::new(lens.iter().zip(names).map(|(len, name)| (name, vec![*len], 1)));
        let needed = len + lens.iter().map(|len| 17 + len).sum::<usize>();
        match add(&from, &message, &to, GRANT) {
            Ok(added) => {
                assert!(fits);
                assert_eq!(added.header().len(), needed);
                assert!(opens(&to, added.header(), &message));
            }
            Err(Error::HeaderRoom { needed: reported, available: 65_535, .. }) => {
                assert!(!fits && reported == needed, "{reported} {needed}");
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

/// A keyring that wraps, and returns a chosen result of an unwrap.
struct Writes<'k> {
    keyring: &'k MemoryKeyring,
    /// Wraps this instead of the data key.
    instead: Option<[u8; 32]>,
    answer: Option<KeyringError>,
}

impl Keyring for Writes<'_> {
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
        match &self.instead {
            None => self.keyring.wrap(data_key, context, slots, rng),
            Some(key) => {
                let mut other = DataKey::empty();
                assert!(other.set(key));
                self.keyring.wrap(&other, context, slots, rng)
            }
        }
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        match &self.answer {
            Some(answer) => Err(answer.clone()),
            None => self.keyring.unwrap(slot, context, data_key),
        }
    }

    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        self.keyring.freshness(slot)
    }
}

/// SPEC G-PROOF.
#[test]
fn slot_that_does_not_open_is_not_given_out() {
    let (from, escrow) = (keyring("orders", 1), keyring("escrow", 1));
    let message = Envelope::new(&from).encrypt(b"payload", ROW).unwrap();
    let to = |instead, answer| Writes { keyring: &escrow, instead, answer };
    let refused = || KeyringError::Refused(Refusal::Disabled);
    let down = || KeyringError::unavailable(std::io::Error::other("down"));
    let is_unproven = |error| matches!(error, Error::Slot(SlotFault::Unproven));
    for to in [
        to(Some([7; 32]), None),
        to(None, Some(KeyringError::NotMine)),
        to(None, Some(KeyringError::Authentication)),
    ] {
        assert!(is_unproven(add(&from, &message, &to, GRANT).unwrap_err()));
    }
    let error = add(&from, &message, &to(None, Some(refused())), GRANT).unwrap_err();
    assert!(matches!(error, Error::Refused { key, .. } if key == "escrow"));
    let error = add(&from, &message, &to(None, Some(down())), GRANT).unwrap_err();
    assert!(matches!(error, Error::Backend(_)));
    // A recipient that cannot unwrap here is trusted, if the caller says so.
    let trusting = GRANT.trusting_wrap();
    for answer in [KeyringError::NotMine, refused(), down()] {
        let to = to(None, Some(answer));
        let added = add(&from, &message, &to, trusting).unwrap();
        assert!(opens(&escrow, added.header(), &message));
        assert!(!add(&from, added.header(), &to, trusting).unwrap().is_changed());
    }
    let added = add(&from, &message, &to(Some([7; 32]), None), trusting).unwrap();
    assert!(!opens(&escrow, added.header(), &message), "what trust costs");
    // Without `trusting_wrap` the same slot is found and repaired.
    let mended = add(&from, added.header(), &escrow, GRANT).unwrap();
    assert!(mended.is_changed() && opens(&escrow, mended.header(), &message));
    assert_eq!(versions_of(mended.header()), [1, 1]);
}

/// SPEC G-OPEN, K-CHECK: what is wrapped is the data key of this message.
#[test]
fn slot_of_another_message_opens_nothing_to_be_added() {
    let (from, escrow) = (keyring("orders", 1), keyring("escrow", 1));
    let altering = Writes { keyring: &from, instead: Some([7; 32]), answer: None };
    let message = Envelope::new(&altering).encrypt(b"payload", ROW).unwrap();
    let error = add(&from, &message, &escrow, GRANT).unwrap_err();
    assert!(matches!(error, Error::Authentication { .. }), "{error:?}");
}

/// A slot is not reported as the last if another may open later.
#[test]
fn unavailable_backend_changes_nothing() {
    let mut services = Services::new([("a", vec![40], 1), ("b", vec![40], 1)]);
    let message = Envelope::new(&services).encrypt(b"payload", ROW).unwrap();
    let escrow = keyring("escrow", 1);
    services.services[0].down = true;
    let added = add(&services, &message, &escrow, GRANT).unwrap();
    assert!(opens(&escrow, added.header(), &message), "b has opened");
    let error = remove(&services, &message, "b").unwrap_err();
    assert!(matches!(error, Error::Backend(_)) && error.is_retryable());
    services.services[1].down = true;
    let error = add(&services, &message, &escrow, GRANT).unwrap_err();
    assert!(matches!(error, Error::Backend(_)) && error.is_retryable());
    // The keyring that is to wrap: of a slot that is there it is not known whether it opens.
    let error = add(&escrow, added.header(), &services, GRANT).unwrap_err();
    assert!(matches!(error, Error::Backend(_)) && error.is_retryable());
}

/// Names are compared byte by byte, and an alias is no slot's name.
#[test]
fn name_that_no_slot_has_is_not_removed() {
    let scene = scene();
    let header = scene.padded("a2, b2, x", 0);
    for name in ["B", "", "bb", "b ", "current"] {
        let error = remove(&scene.keyring, &header, name).unwrap_err();
        assert!(matches!(error, Error::MissingSlot { key, .. } if key == name));
    }
    assert_eq!(slots_of(&remove(&scene.keyring, &header, "x").unwrap()).len(), 2);
}

/// What a rotation of the second keyring leaves behind, a rewrap by it merges.
#[test]
fn slot_of_older_version_stays_and_is_merged() {
    let (from, escrow) = (keyring("orders", 1), keyring("escrow", 1));
    let message = Envelope::new(&from).encrypt(b"payload", ROW).unwrap();
    let first = add(&from, &message, &escrow, GRANT).unwrap().into_header();
    import(&escrow, "escrow", 2);
    escrow.promote(version(2)).unwrap();
    let second = add(&from, &first, &escrow, GRANT).unwrap().into_header();
    assert_eq!(versions_of(&second), [1, 1, 2]);
    let merged = super::rewrap(&escrow, &second, USUAL).unwrap();
    assert_eq!(versions_of(&merged), [1, 2]);
    assert!(opens(&from, &merged, &message) && opens(&escrow, &merged, &message));
}

/// Neither body nor associated data is needed.
#[test]
fn header_alone_decides_over_grants() {
    let (from, escrow) = (keyring("orders", 1), keyring("escrow", 1));
    let message = Envelope::new(&from).encrypt(&[1; 50_000], Aad::new(b"other")).unwrap();
    let len = inspect(&message).unwrap().len();
    let header = add(&from, &message, &escrow, GRANT).unwrap().into_header();
    for end in [len, len + 1, len + 60, 20_000] {
        assert_eq!(add(&from, &message[..end], &escrow, GRANT).unwrap().header(), header);
    }
    for end in [0, 1, 43, len - 1] {
        let mut cut = message[..end].to_vec();
        let envelope = Envelope::new(&from);
        assert!(envelope.add_slot(&cut, &escrow, GRANT).is_err());
        assert!(envelope.add_slot_in_place(&mut cut, &escrow, GRANT).is_err());
        assert!(envelope.remove_name(&cut, "orders").is_err());
        assert!(envelope.remove_name_in_place(&mut cut, "orders").is_err());
        assert!(envelope.examine(&cut).is_err());
        assert!(envelope.verify_slots(&cut, &[]).is_err());
        assert_eq!(cut, message[..end]);
    }
}
