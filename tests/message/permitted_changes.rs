//! The only changes to a message that pass, by design (DESIGN 4.1, "What the mutable part does
//! not promise"): padding resized consistently, slots that no reader opens stripped, reordered,
//! damaged or added, an older header restored, and a body exchanged for another that shares its data
//! key, core and associated data. Each opens by every entry point; where a reader can demand more,
//! the test shows that it gets it.

use crate::common;
use crate::common::detached::WriteDetached;

use common::entry::{assert_opens, try_all};
use common::model::Answer;
use common::reference::{self, RefHeader, RefSlot};
use common::rings::{Member, Several, Spy, ring, version};
use common::rng;
use envelock::{
    Aad, Envelope, Error, Lifecycle, MemoryKeyring, MultiKeyring, RewrapOptions, Suite, danger,
    keyring::Refusal,
};

const AAD: &[u8] = b"row 42";
const PLAINTEXT: &[u8] = b"the quick brown fox";

fn orders() -> MemoryKeyring {
    ring("orders", &[(1, 0x11)])
}

/// A message with slots of `orders`, of a foreign keyset, and of an algorithm unknown here.
fn message(suite: Suite) -> (RefHeader, Vec<u8>) {
    let opaque =
        Member::Opaque { name: "escrow".into(), version: 3, algorithm: 200, wrapped: vec![9; 50] };
    let backup = Member::Ring(ring("backup", &[(7, 0x77)]));
    let writer = Several(vec![Member::Ring(orders()), backup, opaque]);
    let writer = Envelope::new(writer).with_suite(suite).with_reserved(10);
    let message = writer.with_rng(&mut rng(7)).encrypt(PLAINTEXT, Aad::new(AAD)).unwrap();
    let header = reference::parse(&message).unwrap();
    assert_eq!((header.slots.len(), header.padding), (3, 10));
    let body = message[header.len()..].to_vec();
    (header, body)
}

/// Makes sure that a changed header still opens the body, in every suite.
fn opens_after(change: impl Fn(&mut RefHeader)) {
    for &suite in Suite::ALL {
        let (mut header, body) = message(suite);
        change(&mut header);
        let changed = [header.encode(), body].concat();
        assert_opens(&Envelope::new(orders()), &changed, AAD, PLAINTEXT);
    }
}

#[test]
fn padding_may_be_resized_consistently() {
    for padding in [0, 1, 9, 11, 1000] {
        opens_after(|header| header.padding = padding);
    }
    opens_after(|header| header.padding += 65_535 - header.len());
}

#[test]
fn unopened_slot_may_be_stripped() {
    opens_after(|header| drop(header.slots.remove(1)));
    opens_after(|header| drop(header.slots.remove(2)));
    opens_after(|header| header.slots.truncate(1));
}

#[test]
fn slots_may_be_reordered() {
    for (a, b) in [(0, 1), (0, 2), (1, 2)] {
        opens_after(|header| header.slots.swap(a, b));
    }
}

#[test]
fn unopened_slot_may_be_damaged() {
    for index in [1, 2] {
        opens_after(|header| header.slots[index].wrapped[0] ^= 1);
        opens_after(|header| header.slots[index].version += 1);
        opens_after(|header| header.slots[index].master_key_id = [0; 8]);
        opens_after(|header| header.slots[index].name = b"nobody".to_vec());
    }
    opens_after(|header| header.slots[2].algorithm = 4);
    opens_after(|header| header.slots[2].wrapped = vec![0; 32_768]);
}

#[test]
fn slot_that_does_not_open_may_be_added() {
    let slot = |name: &[u8], version| RefSlot {
        version,
        master_key_id: [5; 8],
        algorithm: 1,
        name: name.to_vec(),
        wrapped: Vec::new(),
    };
    // Another's, one of the reader's name and other material, one of an unknown version.
    for added in [slot(b"mallory", 1), slot(b"orders", 1), slot(b"orders", 9)] {
        for at in [0, 1, 3] {
            opens_after(|header| {
                let wrapped = header.slots[0].wrapped.clone();
                header.slots.insert(at, RefSlot { wrapped, ..added.clone() });
            });
        }
    }
}

/// A slot that is stripped, or that has rubbish under its label, is found by opening it.
#[test]
fn reader_with_required_slots_sees_changed_ones() {
    let names = ["a", "b", "c"];
    let [a, b, c] = names.map(|name| ring(name, &[(1, name.as_bytes()[0])]));
    let all = MultiKeyring::new(a).with(b).unwrap().with(c).unwrap();
    let envelope = Envelope::new(&all);
    let message = envelope.encrypt(b"payload", Aad::none()).unwrap();
    let header = reference::parse(&message).unwrap();
    envelope.verify_slots(&message, &names).unwrap();
    envelope.verify_slots(&message, &[]).unwrap();
    for (index, name) in names.iter().enumerate() {
        let mut stripped = header.clone();
        stripped.slots.remove(index);
        let refused = envelope.verify_slots(&stripped.encode(), &names).unwrap_err();
        assert!(matches!(&refused, Error::MissingSlot { key, .. } if key == name), "{refused:?}");
        let mut damaged = header.clone();
        damaged.slots[index].wrapped.fill(0xAA);
        let bytes = damaged.encode();
        assert_eq!(
            envelope
                .decrypt(&[&bytes, &message[header.encode().len()..]].concat(), Aad::none())
                .unwrap(),
            b"payload"
        );
        let refused = envelope.verify_slots(&bytes, &names).unwrap_err();
        assert!(matches!(refused, Error::Authentication { .. }), "{refused:?}");
    }
    let refused = envelope.verify_slots(&message, &["A"]).unwrap_err();
    assert!(matches!(refused, Error::MissingSlot { key, .. } if key == "A"));
}

#[test]
fn older_header_opens_until_its_version_is_disabled() {
    for &suite in Suite::ALL {
        let ring = ring("orders", &[(1, 0x11), (2, 0x22)]);
        let (old, body) = message(suite);
        let old = [old.encode(), body].concat();
        let envelope = Envelope::new(&ring);
        let mut new = old.clone();
        assert!(envelope.rewrap_in_place(&mut new, RewrapOptions::new()).unwrap().is_changed());
        assert_opens(&envelope, &new, AAD, PLAINTEXT);
        assert_opens(&envelope, &old, AAD, PLAINTEXT);
        ring.disable(version(1)).unwrap();
        assert_opens(&envelope, &new, AAD, PLAINTEXT);
        let header_len = reference::parse(&old).unwrap().len();
        let refused =
            Answer::Refused { key: "orders".into(), version: 1, refusal: Refusal::Disabled };
        assert_eq!(try_all(&envelope, &old, header_len, AAD).answer(), refused);
    }
}

#[test]
fn bodies_of_one_data_key_are_interchangeable() {
    for &suite in Suite::ALL {
        let writer = Envelope::new(Spy::new(orders())).with_suite(suite);
        let mut rng = rng(8);
        let (header, _) = writer.with_rng(&mut rng).encrypt_detached(b"", Aad::new(AAD)).unwrap();
        let context = [&header[..22], AAD].concat();
        for salt in 0..4 {
            let data_key = writer.keyring().last();
            let plaintext = [salt; 30];
            let body = danger::encrypt_body(suite, &data_key, &[salt; 24], &context, &plaintext);
            let message = [&header[..], &body.unwrap()].concat();
            assert_opens(&Envelope::new(orders()), &message, AAD, &plaintext);
            // Associated data that names the record keeps them apart.
            let moved = try_all(&writer, &message, header.len(), b"row 43");
            assert_eq!(moved.answer(), Answer::Authentication);
        }
    }
}
