//! The crate's reader against the reference, on random headers changed at random.

use crate::common::model::Answer;
use crate::common::reference::{self, RefHeader, RefSlot, exact_wrapped_len};
use crate::common::{below, random_bytes, rng};
use envelock::inspect;
use rand_chacha::ChaCha20Rng;
use std::collections::BTreeMap;

/// Changed headers that are compared (THREATS G8).
const CASES: u64 = 200_000;

fn random_slot(rng: &mut ChaCha20Rng, suite: u8) -> RefSlot {
    // Few versions, ids and names, so that duplicates come up.
    let version = [1, 2, u32::MAX][below(rng, 3)];
    let master_key_id = [below(rng, 2) as u8; 8];
    let algorithm = [1, 1, 2, 3, 4, 128, 255][below(rng, 7)];
    let alphabet = b"abzAZ09._:/@+=-";
    let name_len = [1, 2, 3, 6, 40][below(rng, 5)];
    let mut name = vec![b"aZ9"[below(rng, 3)]];
    name.extend((1..name_len).map(|_| alphabet[below(rng, alphabet.len())]));
    let wrapped_len = match exact_wrapped_len(suite, algorithm) {
        Some(exact) => exact,
        None => [1, 2, 16, 300][below(rng, 4)],
    };
    RefSlot { version, master_key_id, algorithm, name, wrapped: random_bytes(rng, wrapped_len) }
}

fn random_header(rng: &mut ChaCha20Rng) -> RefHeader {
    let suite = 1 + below(rng, 4) as u8;
    let mut core: [u8; 22] = random_bytes(rng, 22).try_into().unwrap();
    core[..6].copy_from_slice(&[0xE5, 0x4E, 0x56, 0x4C, 1, suite]);
    let count = [1, 1, 2, 3, 16][below(rng, 5)];
    let slots = (0..count).map(|_| random_slot(rng, suite)).collect();
    RefHeader { core, slots, padding: [0, 0, 1, 17, 18, 60][below(rng, 6)] }
}

/// Changes `bytes` once, most often within a field that has a rule.
fn change(rng: &mut ChaCha20Rng, header: &RefHeader, bytes: &mut Vec<u8>) {
    let fields = header.fields();
    let (_, field) = &fields[below(rng, fields.len())];
    let at = if field.is_empty() { below(rng, bytes.len().max(1)) } else { field.start };
    let at = at.min(bytes.len().saturating_sub(1));
    let value = [0, 1, 0x7F, 0x80, 0xFF, below(rng, 256) as u8][below(rng, 6)];
    match below(rng, 8) {
        _ if bytes.is_empty() => bytes.push(value),
        0 => {
            let at = below(rng, bytes.len());
            bytes[at] ^= 1 << below(rng, 8);
        }
        1 => bytes[at] = value,
        2 => bytes[at] = bytes[at].wrapping_add([1, 255][below(rng, 2)]),
        3 => {
            let end = field.end.min(bytes.len());
            bytes[at..end.max(at)].fill(value);
        }
        4 => bytes.truncate(below(rng, bytes.len())),
        5 => bytes.insert(at, value),
        6 => drop(bytes.remove(at)),
        _ => {
            // The declared length: by a little, or to a bound.
            if let Some(length) = bytes.get_mut(22..24) {
                let old = u16::from_be_bytes([length[0], length[1]]);
                let near = old.wrapping_add(below(rng, 41) as u16).wrapping_sub(20);
                let new = [near, near, 42, 43, 0, u16::MAX][below(rng, 6)];
                length.copy_from_slice(&new.to_be_bytes());
            }
        }
    }
}

/// SPEC H-FIRST, H-CANON
#[test]
fn reader_agrees_with_reference_on_changed_headers() {
    let mut kinds: BTreeMap<String, u32> = BTreeMap::new();
    for seed in 0..CASES {
        let mut rng = rng(seed);
        let header = random_header(&mut rng);
        let mut bytes = header.encode();
        for _ in 0..below(&mut rng, 4) {
            change(&mut rng, &header, &mut bytes);
        }
        let kind = match (inspect(&bytes), reference::parse(&bytes)) {
            (Ok(read), Ok(expected)) => {
                assert_eq!(read.as_bytes(), expected.encode(), "seed {seed}");
                assert_eq!(bytes[..read.len()], expected.encode(), "seed {seed}");
                assert_eq!(read.padding_len(), expected.padding, "seed {seed}");
                let slots: Vec<RefSlot> = read.slots().map(|slot| copy(&slot)).collect();
                assert_eq!(slots, expected.slots, "seed {seed}");
                "valid".to_string()
            }
            (read, expected) => {
                let answer = Answer::of(&read);
                let expected = expected.map_or_else(Answer::from, |_| Answer::Opens);
                assert_eq!(answer, expected, "seed {seed}");
                kind(&answer)
            }
        };
        *kinds.entry(kind).or_default() += 1;
    }
    println!("{kinds:?}");
    // Twelve faults, cut, foreign, valid: each occurred often enough.
    assert_eq!(kinds.len(), 15, "{kinds:?}");
    assert!(kinds.values().all(|count| *count > 200), "{kinds:?}");
}

fn kind(answer: &Answer) -> String {
    let text = match answer {
        Answer::Fault { fault, .. } => format!("{fault:?}"),
        other => format!("{other:?}"),
    };
    text.chars().take_while(|letter| letter.is_alphanumeric()).collect()
}

fn copy(slot: &envelock::format::Slot<'_>) -> RefSlot {
    RefSlot {
        version: slot.label.version.number(),
        master_key_id: slot.label.master_key_id.0,
        algorithm: slot.label.algorithm.id(),
        name: slot.label.name.as_str().as_bytes().to_vec(),
        wrapped: slot.wrapped_key.to_vec(),
    }
}
