//! Slots that no header can have.

use super::hostile::{Primary, stale, with_opaque_twin_of_the_primary};
use super::{fault, rewrap_error};
use crate::common::detached::WriteDetached;
use envelock::{
    Aad, Envelope, Error, KeyName, KeyVersion, Keyring, RewrapOptions, SlotLabel, Suite,
    format::{SlotFault, WrapAlgorithm},
    inspect,
    keyring::{KeyringError, PrimaryKey, SlotWriter},
};

type Answer = Result<(), KeyringError>;

/// Pushes slots, given name and label of the stale one.
type Pushes = fn(&SlotLabel<'_>, &mut SlotWriter<'_>) -> Answer;

fn numbered<'a>(label: &SlotLabel<'a>, version: u32) -> SlotLabel<'a> {
    SlotLabel {
        version: KeyVersion::new(version).unwrap(),
        algorithm: WrapAlgorithm::new(200).unwrap(),
        ..*label
    }
}

fn wrong_length(algorithm: u8, len: usize) -> SlotFault {
    SlotFault::WrappedKeyLength { algorithm: WrapAlgorithm::new(algorithm).unwrap(), len }
}

/// Slots that no header can contain, from a wrap or a rewrap.
fn impossible_slots() -> Vec<(Pushes, SlotFault)> {
    let duplicate =
        SlotFault::Duplicate { name: "orders".into(), version: KeyVersion::new(5).unwrap() };
    vec![
        (|_, _| Ok(()), SlotFault::None),
        (
            |label, slots| {
                slots.push(&numbered(label, 5), &[1])?;
                slots
                    .push(&SlotLabel { algorithm: label.algorithm, ..numbered(label, 5) }, &[2; 72])
            },
            duplicate,
        ),
        (|label, slots| slots.push(label, &[1; 71]), wrong_length(1, 71)),
        (|label, slots| slots.push(label, &[1; 73]), wrong_length(1, 73)),
        (|label, slots| slots.push(label, &[1; 56]), wrong_length(1, 56)),
        (|label, slots| slots.push(&numbered(label, 5), &[]), wrong_length(200, 0)),
        (|label, slots| slots.push(&numbered(label, 5), &[0; 32_769]), wrong_length(200, 32_769)),
        // The error of a push is swallowed: then nothing was pushed.
        (
            |label, slots| {
                let _ = slots.push(label, &[1; 71]);
                Ok(())
            },
            SlotFault::None,
        ),
    ]
}

/// SPEC R-NAME, R-WHOLE: a rewrap takes exactly one slot, of the same name, that a header can hold.
#[test]
fn rewrap_takes_exactly_one_slot_of_the_same_name() {
    let (mut keyring, message) = stale(Suite::Cobblestone256);
    let mut cases = impossible_slots();
    cases.push((
        |label, slots| {
            let name = KeyName::new("mallory").unwrap();
            slots.push(&SlotLabel { name, ..*label }, &[1; 72])
        },
        SlotFault::OtherName { name: "mallory".into() },
    ));
    cases.push((
        |label, slots| {
            slots.push(&numbered(label, 5), &[1])?;
            slots.push(&numbered(label, 6), &[1])
        },
        SlotFault::NotOne,
    ));
    cases.push((
        |label, slots| (5..22).try_for_each(|number| slots.push(&numbered(label, number), &[1])),
        SlotFault::TooMany,
    ));
    for (pushes, expected) in cases {
        keyring.rewrap = Some(Box::new(move |_, slot, _, slots, _| pushes(&slot.label, slots)));
        let error = rewrap_error(&keyring, &message, RewrapOptions::new());
        assert_eq!(*fault(&error), expected);
        // `trusting_backend` does not cover that.
        let error = rewrap_error(&keyring, &message, RewrapOptions::new().trusting_backend());
        assert_eq!(*fault(&error), expected);
    }
}

#[test]
fn encryption_takes_no_slots_that_header_cannot_hold() {
    let (mut keyring, _) = stale(Suite::Cobblestone256);
    let mut cases = impossible_slots();
    cases.push((
        |label, slots| (1..=17).try_for_each(|number| slots.push(&numbered(label, number), &[1])),
        SlotFault::TooMany,
    ));
    for (pushes, expected) in cases {
        keyring.wrap = Some(Box::new(move |honest, _, _, slots, _| {
            let mut pushed = Ok(());
            honest.visit_primaries(&mut |primary| pushed = pushes(&primary.label, slots))?;
            pushed
        }));
        let envelope = Envelope::new(&keyring).with_reserved(40_000);
        let (mut header, body) = (vec![0xA5; 41_000], b"plaintext");
        let mut room = [0xA5; 72 + 9];
        let error =
            envelope.encrypt_detached_into(body, Aad::none(), &mut header, &mut room).unwrap_err();
        assert_eq!(*fault(&error), expected);
        assert!(header.iter().all(|byte| *byte == 0), "the header is wiped");
        assert_eq!(room, [0xA5; 72 + 9], "the body is untouched");
        assert_eq!(*fault(&envelope.encrypt(body, Aad::none()).unwrap_err()), expected);
    }
}

#[test]
fn sixteen_slots_are_written_and_the_right_one_opens() {
    let (mut keyring, _) = stale(Suite::Cobblestone256);
    keyring.primary = Some(Box::new(|honest, visit| {
        honest.visit_primaries(&mut |primary| {
            for number in 100..115 {
                let label = numbered(&primary.label, number);
                visit(&PrimaryKey { label, max_wrapped_key_len: Some(1) });
            }
            visit(primary);
        })
    }));
    keyring.wrap = Some(Box::new(|honest, key, context, slots, rng| {
        let mut pushed = Ok(());
        honest.visit_primaries(&mut |primary| {
            let mut labels = (100..115).map(|number| numbered(&primary.label, number));
            pushed = labels.try_for_each(|label| slots.push(&label, &[1]));
        })?;
        pushed?;
        honest.wrap(key, context, slots, rng)
    }));
    let message = Envelope::new(&keyring).encrypt(b"payload", Aad::none()).unwrap();
    assert_eq!(inspect(&message).unwrap().slots().len(), 16);
    assert_eq!(inspect(&message).unwrap().padding_len(), 0);
    keyring.counts();
    assert_eq!(Envelope::new(&keyring).decrypt(&message, Aad::none()).unwrap(), b"payload");
    assert_eq!(keyring.counts(), (0, 16), "one unwrap a slot");
    assert!(!Envelope::new(&keyring).rewrap(&message, RewrapOptions::new()).unwrap().is_changed());
}

#[test]
fn wrong_lengths_of_a_primary_cost_room_and_no_data() {
    let (mut keyring, _) = stale(Suite::Cobblestone256);
    let visits = |len: Option<usize>| -> Box<Primary> {
        Box::new(move |honest, visit| {
            honest.visit_primaries(&mut |primary| {
                let label = numbered(&primary.label, 5);
                visit(&PrimaryKey { label, max_wrapped_key_len: len });
            })
        })
    };
    // Larger than the 72 bytes that come: the rest is padding.
    keyring.primary = Some(visits(Some(100)));
    let message = Envelope::new(&keyring).encrypt(b"payload", Aad::none()).unwrap();
    assert_eq!(inspect(&message).unwrap().padding_len(), 28);
    assert_eq!(Envelope::new(&keyring).decrypt(&message, Aad::none()).unwrap(), b"payload");
    for (len, available) in [(Some(71), 118), (None, 47), (Some(0), 47)] {
        keyring.primary = Some(visits(len));
        let error = Envelope::new(&keyring).encrypt(b"payload", Aad::none()).unwrap_err();
        let Error::HeaderRoom { needed: 119, available: there, .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!(there, available);
    }
    // SPEC H-BOUND: no claim of a length is believed to the point of allocating it.
    for len in [65_536, usize::MAX] {
        keyring.primary = Some(visits(Some(len)));
        let error = Envelope::new(&keyring).encrypt(b"payload", Aad::none()).unwrap_err();
        assert!(matches!(error, Error::HeaderRoom { available: 65_535, .. }), "{error:?}");
    }
}

/// Otherwise an attacker who can write a header could have the next rewrap make it unreadable. SPEC
/// H-DUPLICATE, W-ONE.
#[test]
fn rewrap_beside_opaque_twin_writes_no_duplicate() {
    let (keyring, mut message) = with_opaque_twin_of_the_primary();
    let (envelope, aad) = (Envelope::new(&keyring), Aad::new(b"row"));
    assert_eq!(envelope.decrypt(&message, aad).unwrap(), b"payload");
    for options in [RewrapOptions::new(), RewrapOptions::new().trusting_backend()] {
        let header = envelope.rewrap(&message, options).unwrap().into_header();
        let labels: Vec<_> = inspect(&header).unwrap().slots().map(|slot| slot.label).collect();
        assert_eq!((labels.len(), labels[0].version.number()), (1, 2));
    }
    assert!(envelope.rewrap_in_place(&mut message, RewrapOptions::new()).unwrap().is_changed());
    assert_eq!(envelope.decrypt(&message, aad).unwrap(), b"payload");
}
