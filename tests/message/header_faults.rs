//! The header reader reports the first fault, at its exact offset, and accepts the
//! canonical form only (THREATS 12, 13, G8).
//!
//! One test for each fault and its bounds; then the reader against `common::reference`, a second
//! one written from the byte tables, on random headers changed at random.

use crate::common;
use crate::common::detached::ReadDetached;
mod random;

use common::model::Answer;
use common::reference::{RefHeader, RefSlot, name_byte_allowed};
use common::rings::ring;
use common::rng;
use envelock::{
    Aad, Envelope, RewrapOptions, Suite,
    format::{HeaderFault, LooksLike, MessagePart},
    inspect,
};

/// Offset of slot 0.
const SLOT: usize = 25;

fn slot(algorithm: u8, name: &[u8], wrapped_len: usize) -> RefSlot {
    let wrapped = vec![0xAB; wrapped_len];
    RefSlot { version: 1, master_key_id: [7; 8], algorithm, name: name.to_vec(), wrapped }
}

fn header(suite: u8, slots: Vec<RefSlot>, padding: usize) -> RefHeader {
    let mut core = [0x55; 22];
    core[..6].copy_from_slice(&[0xE5, 0x4E, 0x56, 0x4C, 1, suite]);
    RefHeader { core, slots, padding }
}

/// A header of suite 1 with one slot of algorithm 1 named `orders`, and 4 bytes of padding.
fn usual() -> Vec<u8> {
    header(1, vec![slot(1, b"orders", 72)], 4).encode()
}

fn faulty(bytes: &[u8], offset: usize, fault: HeaderFault) {
    assert_eq!(Answer::of(&inspect(bytes)), Answer::Fault { offset, fault });
}

fn canonical(bytes: &[u8]) {
    assert_eq!(inspect(bytes).unwrap().as_bytes(), bytes);
}

fn with(mut bytes: Vec<u8>, at: usize, value: &[u8]) -> Vec<u8> {
    bytes[at..at + value.len()].copy_from_slice(value);
    bytes
}

/// SPEC H-MAGIC
#[test]
fn input_without_magic_is_no_message() {
    canonical(&usual());
    for at in 0..4 {
        for bit in 0..8 {
            let mut bytes = usual();
            bytes[at] ^= 1 << bit;
            assert_eq!(Answer::of(&inspect(&bytes)), Answer::NotEnvelock);
            assert_eq!(Answer::of(&inspect(&bytes[..at + 1])), Answer::NotEnvelock);
        }
    }
    assert_eq!(Answer::of(&inspect(b"")), Answer::NotEnvelock);
    let body_alone = [0x9C; 100];
    let error = inspect(&body_alone).unwrap_err();
    let expected = LooksLike::Unknown;
    assert!(
        matches!(error, envelock::Error::NotEnvelock { looks_like, .. } if looks_like == expected)
    );
}

/// SPEC H-FORMAT
#[test]
fn every_other_format_version_is_unknown() {
    for format in (0..=255).filter(|format| *format != 1) {
        faulty(&with(usual(), 4, &[format]), 4, HeaderFault::UnknownFormat(format));
    }
}

/// SPEC H-SUITE
#[test]
fn every_suite_but_1_to_4_is_unknown() {
    for suite in (0..=255).filter(|suite| !(1..=4).contains(suite)) {
        faulty(&with(usual(), 5, &[suite]), 5, HeaderFault::UnknownSuite(suite));
    }
    canonical(&header(2, vec![slot(1, b"orders", 56)], 0).encode());
    canonical(&header(3, vec![slot(1, b"orders", 72)], 0).encode());
    canonical(&header(4, vec![slot(1, b"orders", 72)], 0).encode());
}

/// SPEC H-LEN
#[test]
fn header_has_43_to_65535_bytes() {
    let shortest = header(1, vec![slot(128, b"a", 1)], 0).encode();
    assert_eq!(shortest.len(), 43);
    canonical(&shortest);
    for len in [0_u16, 1, 25, 41, 42] {
        let bytes = with(shortest.clone(), 22, &len.to_be_bytes());
        faulty(&bytes, 22, HeaderFault::HeaderLength(len));
    }
    let longest = header(1, vec![slot(128, b"a", 1)], 65_535 - 43).encode();
    assert_eq!(longest.len(), 65_535);
    canonical(&longest);
    // Two longest wrapped keys do not fit; one does, with all that remains as its neighbour's.
    let most = 65_535 - 25 - 2 * 17 - 32_768;
    canonical(&header(1, vec![slot(128, b"a", 32_768), slot(128, b"b", most)], 0).encode());
}

/// SPEC H-COUNT
#[test]
fn header_has_1_to_16_slots_that_fit() {
    let slots = |count: u8| (0..count).map(|index| slot(128, &[b'a' + index], 1)).collect();
    for count in 1..=16 {
        canonical(&header(1, slots(count), 0).encode());
        let room_for = header(1, slots(count), 17).encode();
        let more = with(room_for, 24, &[count + 1]);
        faulty(&more, 24, HeaderFault::SlotCount(count + 1));
    }
    for count in [0, 17, 18, 255] {
        let bytes = with(header(1, slots(16), 5000).encode(), 24, &[count]);
        faulty(&bytes, 24, HeaderFault::SlotCount(count));
    }
}

/// SPEC H-VERSION
#[test]
fn version_zero_is_a_fault_and_every_other_is_none() {
    faulty(&with(usual(), SLOT, &[0; 4]), SLOT, HeaderFault::ZeroVersion);
    for version in [1, 0x100, 0x1_0000, 0x100_0000, u32::MAX] {
        canonical(&with(usual(), SLOT, &version.to_be_bytes()));
    }
}

/// SPEC H-ALG, H-OPAQUE
#[test]
fn algorithm_zero_is_a_fault_unknown_is_opaque() {
    let at = SLOT + 12;
    faulty(&with(usual(), at, &[0]), at, HeaderFault::ZeroAlgorithm);
    let ring = ring("orders", &[(1, 0x11), (2, 0x22)]);
    for algorithm in 4..=255 {
        let mut parts = header(1, vec![slot(algorithm, b"orders", 72), slot(1, b"b", 72)], 3);
        let bytes = parts.encode();
        canonical(&bytes);
        let read = inspect(&bytes).unwrap();
        assert_eq!(read.slots().next().unwrap().wrapped_key, [0xAB; 72]);
        // Not the keyring's, though the name is.
        let body = vec![0; 72];
        let opened = Envelope::new(&ring).decrypt_detached(&bytes, &body, Aad::none());
        let no_key = Answer::NoKey { key: "orders".into(), version: 1, slots: 2 };
        assert_eq!(Answer::of(&opened), no_key);
        let rewrapped = Envelope::new(&ring).rewrap(&bytes, RewrapOptions::new());
        assert_eq!(Answer::of(&rewrapped.map(|_| ())), no_key);
        parts.slots[0].wrapped = vec![1; 1];
        canonical(&parts.encode());
    }
}

/// SPEC H-FIRST: algorithms 1 to 3 fix a length, so the room is known to lack at their id.
#[test]
fn algorithm_with_impossible_length_fails_at_its_id() {
    for (suite, algorithm, exact) in
        [(1, 1, 72), (1, 2, 60), (1, 3, 80), (2, 1, 56), (2, 2, 44), (2, 3, 64), (3, 1, 72)]
    {
        let least = header(suite, vec![slot(algorithm, b"a", exact)], 0).encode();
        canonical(&least);
        let short = header(suite, vec![slot(200, b"a", exact - 1)], 0).encode();
        let at = SLOT + 12;
        faulty(&with(short, at, &[algorithm]), at, HeaderFault::AlgorithmRoom(algorithm));
        // The same room with another slot to follow.
        let two = vec![slot(200, b"a", exact - 1), slot(200, b"b", 1)];
        let short = header(suite, two, 0).encode();
        faulty(&with(short, at, &[algorithm]), at, HeaderFault::AlgorithmRoom(algorithm));
    }
}

/// SPEC H-NAME
#[test]
fn name_has_1_to_255_bytes_that_fit() {
    let at = SLOT + 13;
    faulty(&with(usual(), at, &[0]), at, HeaderFault::KeyNameLength(0));
    canonical(&header(1, vec![slot(1, &[b'n'; 255], 72)], 0).encode());
    // Six bytes of name and four of padding are there.
    for len in [11, 12, 255] {
        faulty(&with(usual(), at, &[len]), at, HeaderFault::KeyNameLength(len));
    }
    // A longer name takes of the wrapped key; that it then ends early is not the name's fault.
    let longer = with(usual(), at, &[10]);
    faulty(&longer, SLOT + 16 + 6, HeaderFault::KeyNameByte(0xAB));
}

/// SPEC H-NAME
#[test]
fn invalid_name_byte_is_reported_at_its_offset() {
    for index in 0..6 {
        for byte in 0..=255 {
            let at = SLOT + 16 + index;
            let bytes = with(usual(), at, &[byte]);
            if name_byte_allowed(index, byte) {
                canonical(&bytes);
            } else {
                faulty(&bytes, at, HeaderFault::KeyNameByte(byte));
                // Also where the input ends right behind it.
                faulty(&bytes[..=at], at, HeaderFault::KeyNameByte(byte));
            }
        }
    }
}

/// SPEC H-WRAPLEN, H-BOUND; THREATS 12: no length of a tag can be chosen.
#[test]
fn algorithms_1_to_3_have_one_length_and_no_short_tag() {
    for (suite, algorithm, exact) in [(1, 1, 72), (1, 2, 60), (1, 3, 80), (2, 1, 56), (3, 3, 80)] {
        for len in (1..=exact + 40).filter(|len| *len != exact) {
            let bytes = header(suite, vec![slot(algorithm, b"orders", len)], 100).encode();
            faulty(&bytes, SLOT + 14, HeaderFault::WrappedKeyLength(len as u16));
        }
    }
}

/// SPEC H-WRAPLEN, H-BOUND
#[test]
fn opaque_wrapped_key_has_1_to_32768_bytes_that_fit() {
    let at = SLOT + 14;
    for len in [1_usize, 2, 32_767, 32_768] {
        canonical(&header(1, vec![slot(9, b"a", len)], 0).encode());
    }
    let longest = header(1, vec![slot(9, b"a", 32_768)], 20_000).encode();
    for len in [0_u16, 32_769, 65_535] {
        let bytes = with(longest.clone(), at, &len.to_be_bytes());
        faulty(&bytes, at, HeaderFault::WrappedKeyLength(len));
    }
    let small = header(1, vec![slot(9, b"a", 5), slot(9, b"b", 1)], 0).encode();
    faulty(&with(small.clone(), at, &[0, 6]), at, HeaderFault::WrappedKeyLength(6));
    faulty(&with(small, at, &[0x80, 0]), at, HeaderFault::WrappedKeyLength(32_768));
}

/// SPEC H-DUPLICATE
#[test]
fn two_slots_of_one_name_version_and_id_are_a_fault() {
    let first = slot(1, b"orders", 72);
    let at = SLOT + 16 + 6 + 72;
    for algorithm in [1, 2, 200] {
        let len = if algorithm == 2 { 60 } else { 72 };
        let same = slot(algorithm, b"orders", len);
        let bytes = header(1, vec![first.clone(), same.clone()], 0).encode();
        faulty(&bytes, at + 16, HeaderFault::DuplicateSlot);
        // Not the first alone.
        let between = slot(1, b"b", 72);
        let bytes = header(1, vec![first.clone(), between, same.clone()], 0).encode();
        faulty(&bytes, at + 16 + 1 + 72 + 16, HeaderFault::DuplicateSlot);
        for other in [
            RefSlot { version: 2, ..same.clone() },
            RefSlot { master_key_id: [8; 8], ..same.clone() },
            RefSlot { name: b"Orders".to_vec(), ..same.clone() },
            RefSlot { name: b"order".to_vec(), ..same.clone() },
        ] {
            canonical(&header(1, vec![first.clone(), other], 0).encode());
        }
    }
}

/// SPEC H-PAD
#[test]
fn nonzero_padding_is_reported_at_its_first_byte() {
    let bytes = header(1, vec![slot(1, b"orders", 72)], 300).encode();
    let start = bytes.len() - 300;
    for at in start..bytes.len() {
        let changed = with(bytes.clone(), at, &[1]);
        faulty(&changed, at, HeaderFault::Padding);
        faulty(&changed[..=at], at, HeaderFault::Padding);
        if at + 1 < bytes.len() {
            faulty(&with(changed, at + 1, &[0x80]), at, HeaderFault::Padding);
        }
    }
}

/// A cut header says how much of it is needed: 43 bytes, then what it declares.
#[test]
fn cut_header_says_how_long_it_is() {
    let bytes = usual();
    for len in 1..bytes.len() {
        let needed = if len < 24 { 43 } else { bytes.len() as u64 };
        let expected = Answer::Truncated { part: MessagePart::Header, len: len as u64, needed };
        assert_eq!(Answer::of(&inspect(&bytes[..len])), expected);
    }
}

/// SPEC H-DETACHED
#[test]
fn detached_header_is_as_long_as_it_says() {
    for &suite in Suite::ALL {
        let envelope = Envelope::new(ring("orders", &[(1, 0x11)])).with_suite(suite);
        let message = envelope.with_rng(&mut rng(3)).encrypt(b"text", Aad::none()).unwrap();
        let declared = inspect(&message).unwrap().len();
        let body = &message[declared..];
        assert_eq!(
            envelope.decrypt_detached(&message[..declared], body, Aad::none()).unwrap(),
            b"text"
        );
        for len in declared + 1..=message.len() {
            let header = &message[..len];
            let expected = Answer::DetachedLength { declared, len };
            let opened = envelope.decrypt_detached(header, body, Aad::none());
            assert_eq!(Answer::of(&opened), expected);
            let mut out = [0xA5; 4];
            let opened = envelope.decrypt_detached_into(header, body, Aad::none(), &mut out);
            assert_eq!((Answer::of(&opened), out), (expected.clone(), [0xA5; 4]));
            let mut left = body.to_vec();
            let opened = envelope.decrypt_detached_in_place(header, &mut left, Aad::none());
            assert_eq!((Answer::of(&opened), &left[..]), (expected, body));
        }
    }
}
