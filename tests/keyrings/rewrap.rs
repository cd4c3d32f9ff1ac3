//! A rewrap replaces what it must of the header and not a byte more, or nothing at all.

mod cases;
pub mod compose;
mod examined;
mod grants;
mod opened;
mod services;
mod table;

use crate::common::detached::{ReadDetached, WriteDetached};
use compose::{compose, keyring, slots_by_version, slots_of};
use envelock::rand_core::SeedableRng;
use envelock::{
    Aad, DataKey, DataKeyId, Envelope, Error, KeyVersion, Keyring, Lifecycle, MemoryKeyring,
    RewrapOptions, SlotLabel, SlotOutcome, Suite,
    format::Slot,
    inspect,
    keyring::{Freshness, KeyringError, KeyringRng, PrimaryKey, Refusal, SlotWriter, WrapContext},
};
use rand_chacha::ChaCha20Rng;
use services::Services;
use std::sync::atomic::Ordering::Relaxed;

const ROW: Aad<'static> = Aad::new(b"row");
const USUAL: RewrapOptions = RewrapOptions::new();

fn version(number: u32) -> KeyVersion {
    KeyVersion::new(number).unwrap()
}

fn seeded() -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(7)
}

/// Rewraps in both forms, which must agree, and returns the new header. A failure must leave the
/// message as it was (SPEC R-WHOLE); no form touches the body (SPEC R-CORE).
fn rewrap<K: Keyring>(
    keyring: K,
    message: &[u8],
    options: RewrapOptions,
) -> Result<Vec<u8>, Error> {
    let envelope = Envelope::new(keyring);
    let header_len = inspect(message).unwrap().len();
    let mut copy = message.to_vec();
    let in_place = envelope.with_rng(&mut seeded()).rewrap_in_place(&mut copy, options);
    match envelope.with_rng(&mut seeded()).rewrap(message, options) {
        Ok(rewrapped) => {
            let changed = rewrapped.is_changed();
            assert_eq!(changed, rewrapped.header() != &message[..header_len]);
            assert_eq!(in_place.unwrap().is_changed(), changed);
            assert_eq!(rewrapped.header(), &copy[..header_len]);
            assert_eq!(copy[..22], message[..22]);
            assert_eq!(copy[header_len..], message[header_len..]);
            Ok(rewrapped.into_header())
        }
        Err(error) => {
            assert_eq!(format!("{:?}", in_place.unwrap_err()), format!("{error:?}"));
            assert_eq!(copy, message);
            Err(error)
        }
    }
}

fn versions_of(header: &[u8]) -> Vec<u32> {
    inspect(header).unwrap().slots().map(|slot| slot.label.version.number()).collect()
}

/// SPEC R-CORE, R-IDEMPOTENT; THREATS row 68.
#[test]
fn rewrap_keeps_body_data_key_id_and_associated_data() {
    for &suite in Suite::ALL {
        let keyring = MemoryKeyring::create("orders").unwrap();
        let envelope = Envelope::new(&keyring).with_suite(suite);
        for len in [0, 1, 16_384, 40_000] {
            let plaintext = vec![len as u8; len];
            let message = envelope.encrypt(&plaintext, ROW).unwrap();
            let id: DataKeyId = inspect(&message).unwrap().data_key_id();
            let new = keyring.rotate().unwrap();
            let header = rewrap(&keyring, &message, USUAL).unwrap();
            assert_eq!(versions_of(&header), [new.number()]);
            assert_eq!(inspect(&header).unwrap().data_key_id(), id);
            let rewrapped = [&header, &message[header.len()..]].concat();
            assert_eq!(envelope.decrypt(&rewrapped, ROW).unwrap(), plaintext);
            for other in [Aad::none(), Aad::new(b"other")] {
                let error = envelope.decrypt(&rewrapped, other).unwrap_err();
                assert!(matches!(error, Error::Authentication { .. }));
            }
            assert_eq!(rewrap(&keyring, &rewrapped, USUAL).unwrap(), header, "idempotent");
            assert!(!envelope.needs_rewrap(&rewrapped).unwrap());
        }
    }
}

/// A rewrap needs no body, so its cost cannot depend on one.
#[test]
fn header_alone_decides_over_a_rewrap() {
    let keyring = keyring("orders", 1);
    let envelope = Envelope::new(&keyring);
    let message = envelope.encrypt(&[1; 50_000], ROW).unwrap();
    keyring.rotate().unwrap();
    let header_len = inspect(&message).unwrap().len();
    let header = rewrap(&keyring, &message, USUAL).unwrap();
    for len in [header_len, header_len + 1, header_len + 60, 20_000] {
        assert_eq!(rewrap(&keyring, &message[..len], USUAL).unwrap(), header);
    }
    let garbage = [&message[..header_len], &[0xEE; 99]].concat();
    assert_eq!(rewrap(&keyring, &garbage, USUAL).unwrap(), header);
    for len in [0, 1, 43, header_len - 1] {
        let mut cut = message[..len].to_vec();
        assert!(envelope.rewrap(&cut, USUAL).is_err());
        assert!(envelope.rewrap_in_place(&mut cut, USUAL).is_err());
        assert_eq!(cut, message[..len]);
    }
}

/// Flips every bit of a header of three slots and rewraps: what opened before, opens after; and
/// what did not is changed only by a rewrap that succeeds.
fn flip_every_bit(versions: [usize; 2]) {
    let keyring = keyring("orders", 2);
    let (message, by_version) = slots_by_version(&keyring, Suite::default(), b"payload", ROW);
    let envelope = Envelope::new(&keyring);
    let mut foreign = by_version[0].clone();
    foreign[16] = b'O';
    let [one, two] = versions.map(|version| by_version[version - 1].clone());
    let header = compose(&message, &[one, two, foreign], 2);
    let body = &message[inspect(&message).unwrap().len()..];
    let (mut opened, mut rewrapped) = (0, 0);
    for bit in 0..header.len() * 8 {
        let mut changed = [&header, body].concat();
        changed[bit / 8] ^= 1 << (bit % 8);
        let before = changed.clone();
        let opens = envelope.decrypt(&changed, ROW).is_ok();
        match envelope.rewrap_in_place(&mut changed, USUAL) {
            Ok(_) => rewrapped += 1,
            Err(_) => assert_eq!(changed, before, "bit {bit}"),
        }
        if opens {
            assert_eq!(envelope.decrypt(&changed, ROW).unwrap(), b"payload", "bit {bit}");
            opened += 1;
        }
    }
    assert!(opened > 1_000 && rewrapped > 1_000, "{opened} opened, {rewrapped} rewrapped");
}

#[test]
fn no_flipped_bit_lets_a_rewrap_lose_a_message() {
    flip_every_bit([1, 2]);
    flip_every_bit([2, 1]);
}

/// SPEC R-NAME, R-FAIL: each name is rewrapped from its own slot, in its position, and none prevents
/// the rewrap of another.
#[test]
fn name_is_rewrapped_whatever_becomes_of_another() {
    let mut keyring = Services::new([("a", vec![40, 40], 1), ("b", vec![50, 50], 1)]);
    let message = Envelope::new(&keyring).encrypt(b"payload", ROW).unwrap();
    keyring.services[0].primary = 2;
    let header = rewrap(&keyring, &message, USUAL).unwrap();
    assert_eq!(versions_of(&header), [2, 1]);
    assert_eq!(slots_of(&header)[1], slots_of(&message)[1]);
    keyring.services[1].primary = 2;
    assert_eq!(versions_of(&rewrap(&keyring, &message, USUAL).unwrap()), [2, 2]);
    let names = |header: &[u8]| {
        let slots = inspect(header).unwrap().slots();
        slots.map(|slot| slot.label.name.as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&header), ["a", "b"]);

    keyring.services[1].down = true;
    let rewrapped = Envelope::new(&keyring).rewrap(&message, USUAL).unwrap();
    assert_eq!(versions_of(rewrapped.header()), [2, 1]);
    let report = rewrapped.report();
    assert!(!report.is_complete() && !report.relied_on_labels());
    let [SlotOutcome::Rewrapped, SlotOutcome::Backend(error)] = report.slots() else {
        panic!("{report:?}");
    };
    assert_eq!(error.cause().to_string(), "down");
    // It is unknown whether the version of the failed member is retired.
    let error = rewrap(&keyring, &message, USUAL.retiring("b", version(1))).unwrap_err();
    assert!(matches!(error, Error::Backend(_)) && error.is_retryable());
    let retiring = USUAL.retiring("a", version(1));
    assert_eq!(versions_of(&rewrap(&keyring, &message, retiring).unwrap()), [2, 1]);
    keyring.services[0].down = true;
    let error = rewrap(&keyring, &message, USUAL).unwrap_err();
    assert!(matches!(error, Error::Backend(_)) && error.is_retryable());

    keyring.services.iter_mut().for_each(|service| service.down = false);
    let mut damaged = message.clone();
    // The last byte of the wrapped key of "b".
    damaged[inspect(&message).unwrap().len() - 1] ^= 1;
    let rewrapped = Envelope::new(&keyring).rewrap(&damaged, USUAL).unwrap();
    assert_eq!(versions_of(rewrapped.header()), [2, 1]);
    assert!(matches!(
        rewrapped.report().slots(),
        [SlotOutcome::Rewrapped, SlotOutcome::NotVerified]
    ));
}

#[test]
fn larger_slot_takes_reserved_room_or_grows_header() {
    for (reserved, fits) in [(0, false), (19, false), (20, true), (21, true), (500, true)] {
        let mut keyring = Services::new([("a", vec![40, 60], 1)]);
        let envelope = Envelope::new(&keyring).with_reserved(reserved);
        let mut message = envelope.encrypt(b"payload", ROW).unwrap();
        let len = inspect(&message).unwrap().len();
        keyring.services[0].primary = 2;
        let envelope = Envelope::new(&keyring);
        let grown = envelope.rewrap(&message, USUAL).unwrap();
        assert!(grown.is_changed());
        let body = message[len..].to_vec();
        assert_eq!(envelope.decrypt_detached(grown.header(), &body, ROW).unwrap(), b"payload");
        let before = message.clone();
        match envelope.rewrap_in_place(&mut message, USUAL) {
            Ok(report) => {
                assert!(report.is_changed() && fits);
                assert_eq!(message[..len], *grown.header());
                assert_eq!(inspect(&message).unwrap().padding_len(), reserved - 20);
            }
            Err(Error::HeaderRoom { needed, available, .. }) => {
                assert!(!fits);
                assert_eq!((needed, available), (25 + 17 + 60, len));
                // SPEC R-GROW: what was reserved is there again.
                assert_eq!(inspect(grown.header()).unwrap().padding_len(), reserved);
                assert_eq!(message, before);
            }
            Err(other) => panic!("{other:?}"),
        }
        // And back: the header keeps its length, the difference is padding.
        keyring.services[0].primary = 1;
        let shrunk = Envelope::new(&keyring).rewrap(grown.header(), USUAL).unwrap();
        assert_eq!(shrunk.header().len(), grown.header().len());
    }
}

#[test]
fn headers_beyond_a_kilobyte_are_rewrapped_alike() {
    let keyring = keyring("orders", 1);
    for reserved in [878, 879, 880, 2_000, 65_535 - 119] {
        let envelope = Envelope::new(&keyring).with_reserved(reserved);
        let message = envelope.encrypt(b"payload", ROW).unwrap();
        keyring.rotate().unwrap();
        let header = rewrap(&keyring, &message, USUAL).unwrap();
        assert_eq!(header.len(), 119 + reserved);
        let body = &message[header.len()..];
        assert_eq!(envelope.decrypt_detached(&header, body, ROW).unwrap(), b"payload");
    }
    for lens in [[32, 495], [495, 496], [496, 33], [32_768, 32_768], [32, 32_768]] {
        let mut keyring = Services::new([("a", lens.to_vec(), 1)]);
        let reserved = lens[1].saturating_sub(lens[0]);
        let envelope = Envelope::new(&keyring).with_reserved(reserved);
        let message = envelope.encrypt(b"payload", ROW).unwrap();
        keyring.services[0].primary = 2;
        let header = rewrap(&keyring, &message, USUAL).unwrap();
        let body = &message[header.len()..];
        let plaintext = Envelope::new(&keyring).decrypt_detached(&header, body, ROW).unwrap();
        assert_eq!(plaintext, b"payload");
    }
    // Two slots of 32 KiB each leave no header for both.
    let mut keyring = Services::new([("a", vec![32, 32_768], 1), ("b", vec![32, 32_768], 1)]);
    let message = Envelope::new(&keyring).encrypt(b"payload", ROW).unwrap();
    keyring.services.iter_mut().for_each(|service| service.primary = 2);
    let error = Envelope::new(&keyring).rewrap(&message, USUAL).unwrap_err();
    assert!(matches!(error, Error::HeaderRoom { available: 65_535, .. }), "{error:?}");
}

/// Stale means "not the primary", never "lower".
#[test]
fn rollback_makes_the_newer_version_stale() {
    let keyring = keyring("orders", 2);
    let envelope = Envelope::new(&keyring);
    let message = envelope.encrypt(b"payload", ROW).unwrap();
    assert_eq!(versions_of(&message), [2]);
    assert!(!envelope.needs_rewrap(&message).unwrap());
    keyring.promote(version(1)).unwrap();
    assert!(envelope.needs_rewrap(&message).unwrap());
    let header = rewrap(&keyring, &message, USUAL.retiring("orders", version(2))).unwrap();
    assert_eq!(versions_of(&header), [1]);
    keyring.disable(version(2)).unwrap();
    let body = &message[header.len()..];
    assert_eq!(envelope.decrypt_detached(&header, body, ROW).unwrap(), b"payload");
}

fn still_opens(error: &Error) -> (&str, u32) {
    match error {
        Error::OldVersionStillOpens { key, version, .. } => (key, version.number()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn version_is_retired_once_no_slot_opens_under_it() {
    let keyring = keyring("orders", 1);
    let message = Envelope::new(&keyring).encrypt(b"payload", ROW).unwrap();
    // It is still the primary.
    let error = rewrap(&keyring, &message, USUAL.retiring("orders", version(1))).unwrap_err();
    assert_eq!(still_opens(&error), ("orders", 1));
    keyring.rotate().unwrap();
    // It is the new one.
    let error = rewrap(&keyring, &message, USUAL.retiring("orders", version(2))).unwrap_err();
    assert_eq!(still_opens(&error), ("orders", 2));
    let header = rewrap(&keyring, &message, USUAL.retiring("orders", version(1))).unwrap();
    assert_eq!(versions_of(&header), [2]);
    // Nothing to do, and nothing under it; or it never was.
    for number in [1, 9] {
        let options = USUAL.retiring("orders", version(number));
        assert_eq!(rewrap(&keyring, &header, options).unwrap(), header);
    }
    // This keyring does not decide on another keyring's slot of that version.
    let mut foreign = slots_of(&message).remove(0);
    foreign[16] = b'O';
    let both = compose(&message, &[foreign, slots_of(&message).remove(0)], 0);
    let header = rewrap(&keyring, &both, USUAL.retiring("orders", version(1))).unwrap();
    assert_eq!(versions_of(&header), [1, 2]);
}

#[test]
fn version_of_another_name_is_not_retired_yet() {
    let mut keyring = Services::new([("a", vec![40, 40], 1), ("b", vec![40, 40], 1)]);
    let message = Envelope::new(&keyring).encrypt(b"payload", ROW).unwrap();
    keyring.services[0].primary = 2;
    for options in [USUAL, USUAL.trusting_backend()] {
        let error = rewrap(&keyring, &message, options.retiring("b", version(1))).unwrap_err();
        assert_eq!(still_opens(&error), ("b", 1));
        let header = rewrap(&keyring, &message, options.retiring("a", version(1))).unwrap();
        assert_eq!(versions_of(&header), [2, 1]);
    }
    keyring.services[1].primary = 2;
    for options in [USUAL, USUAL.trusting_backend()] {
        let header = rewrap(&keyring, &message, options.retiring("b", version(1))).unwrap();
        assert_eq!(versions_of(&header), [2, 2]);
    }
}

/// For a process that may rewrap and not decrypt: SPEC R-PROOF is left to the backend.
#[test]
fn trusted_backend_rewraps_without_giving_a_key_away() {
    let mut keyring = Services::new([("a", vec![40, 40], 1)]);
    let message = Envelope::new(&keyring).encrypt(b"payload", ROW).unwrap();
    keyring.services[0].primary = 2;
    keyring.exports = false;
    let error = rewrap(&keyring, &message, USUAL).unwrap_err();
    assert!(!error.is_retryable());
    keyring.asked.store(0, Relaxed);
    let trusting = USUAL.trusting_backend();
    let header = rewrap(&keyring, &message, trusting.retiring("a", version(1))).unwrap();
    assert_eq!(rewrap(&keyring, &header, trusting).unwrap(), header);
    assert_eq!(keyring.asked.load(Relaxed), 0, "no data key was asked for");
    keyring.exports = true;
    let body = &message[header.len()..];
    let opened = Envelope::new(&keyring).decrypt_detached(&header, body, ROW).unwrap();
    assert_eq!(opened, b"payload");
    // Slots that the back end itself refuses stay refused.
    let mut damaged = message.clone();
    damaged[header.len() - 1] ^= 1;
    let error = rewrap(&keyring, &damaged, trusting).unwrap_err();
    assert!(matches!(error, Error::Authentication { .. }), "{error:?}");
}

/// The primary's label over a damaged wrap, beside a slot that opens.
#[test]
fn damaged_primary_slot_displaces_no_good_one() {
    let keyring = keyring("orders", 2);
    let (message, slots) = slots_by_version(&keyring, Suite::default(), b"payload", ROW);
    let mut damaged = slots[1].clone();
    damaged[60] ^= 1;
    let header = compose(&message, &[damaged, slots[0].clone()], 0);
    let body = &message[inspect(&message).unwrap().len()..];
    let envelope = Envelope::new(&keyring);
    assert_eq!(envelope.decrypt_detached(&header, body, ROW).unwrap(), b"payload");
    if let Ok(rewrapped) = rewrap(&keyring, &header, USUAL.trusting_backend()) {
        assert_eq!(envelope.decrypt_detached(&rewrapped, body, ROW).unwrap(), b"payload");
    }
}

/// "A slot of an unknown version stays", also with a trusted back end.
#[test]
fn slot_of_unknown_version_stays_with_trusted_backend() {
    let keyring = keyring("orders", 2);
    let (message, slots) = slots_by_version(&keyring, Suite::default(), b"payload", ROW);
    let mut unknown = slots[0].clone();
    unknown[3] = 9;
    let trusting = USUAL.trusting_backend();
    let header = compose(&message, &[slots[0].clone(), unknown.clone()], 0);
    assert_eq!(versions_of(&rewrap(&keyring, &header, trusting).unwrap()), [2, 9]);
    let header = compose(&message, &[unknown, slots[0].clone()], 0);
    assert_eq!(versions_of(&rewrap(&keyring, &header, trusting).unwrap()), [9, 2]);
}

/// `needs_rewrap` promises what a rewrap would do.
#[test]
fn slot_of_unknown_version_needs_no_rewrap() {
    let keyring = keyring("orders", 2);
    let (message, slots) = slots_by_version(&keyring, Suite::default(), b"payload", ROW);
    let mut unknown = slots[0].clone();
    unknown[3] = 9;
    let header = compose(&message, &[slots[1].clone(), unknown], 0);
    assert_eq!(rewrap(&keyring, &header, USUAL).unwrap(), header);
    assert!(!Envelope::new(&keyring).needs_rewrap(&header).unwrap());
}

/// Two master keys of one name, as two environments may have: each wraps a slot of its own.
struct Two(MemoryKeyring, MemoryKeyring);

impl Keyring for Two {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.0.visit_primaries(visit)?;
        self.1.visit_primaries(visit)
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.0.wrap(data_key, context, slots, rng)?;
        self.1.wrap(data_key, context, slots, rng)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        match self.0.unwrap(slot, context, data_key) {
            Err(KeyringError::NotMine) => self.1.unwrap(slot, context, data_key),
            answer => answer,
        }
    }

    fn rewrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        match self.0.rewrap(slot, context, slots, rng) {
            Err(KeyringError::NotMine) => self.1.rewrap(slot, context, slots, rng),
            answer => answer,
        }
    }

    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        match self.0.freshness(slot)? {
            Freshness::NotMine => self.1.freshness(slot),
            answer => Ok(answer),
        }
    }
}

/// SPEC R-KEEP, R-IDEMPOTENT: no slot gives way to another master key's.
#[test]
fn two_master_keys_of_one_name_keep_a_slot_each() {
    let orders = || MemoryKeyring::create("orders").unwrap();
    let two = Two(orders(), orders());
    let message = Envelope::new(&two).encrypt(b"payload", ROW).unwrap();
    let opens_with_each = |header: &[u8]| {
        let body = &message[inspect(&message).unwrap().len()..];
        [&two.0, &two.1].into_iter().all(|keyring| {
            Envelope::new(keyring)
                .decrypt_detached(header, body, ROW)
                .is_ok_and(|p| p == b"payload")
        })
    };
    let header = rewrap(&two, &message, USUAL).unwrap();
    assert_eq!(header, message[..header.len()], "all is under a primary");
    assert!(opens_with_each(&header));
    for (keyring, versions) in [(&two.0, [2, 1]), (&two.1, [2, 2])] {
        keyring.rotate().unwrap();
        let header = rewrap(&two, &message, USUAL).unwrap();
        assert_eq!(versions_of(&header), versions);
        assert!(opens_with_each(&header));
    }
}

/// `retiring` fails if it is unknown whether the version still opens, since a destruction relies on it.
#[test]
fn version_that_is_unknown_here_is_not_retired() {
    let writer = keyring("orders", 2);
    let (message, slots) = slots_by_version(&writer, Suite::default(), b"payload", ROW);
    let mut unknown = slots[1].clone();
    unknown[3] = 9;
    let header = compose(&message, &[slots[1].clone(), unknown], 0);
    assert_eq!(rewrap(&writer, &header, USUAL).unwrap(), header);
    let error = rewrap(&writer, &header, USUAL.retiring("orders", version(9))).unwrap_err();
    assert!(matches!(error, Error::Refused { refusal: Refusal::UnknownVersion, .. }), "{error:?}");
}
