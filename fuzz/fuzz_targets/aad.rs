//! Named associated data: only the canonical form decodes, and different pairs have different
//! bytes, in whatever order they were added.
#![no_main]

use envelock::{AadPairs, Error};
use envelock_fuzz::Input;
use envelock_fuzz::allocator::{self, BEFORE_AUTHENTICATION, Counting};
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const LABEL: &[u8] = b"envelock aad v1\0";

type Map = BTreeMap<String, Vec<u8>>;

fuzz_target!(|data: &[u8]| {
    decodes_only_itself(data);
    // The label costs a fuzzer much to find and says nothing.
    decodes_only_itself(&[LABEL, data].concat());

    let mut input = Input(data);
    let (one, other) = (pairs(&mut input), pairs(&mut input));
    let (one_bytes, other_bytes) = (encoded(&one), encoded(&other));
    let same = Map::from_iter(one) == Map::from_iter(other);
    assert_eq!(same, one_bytes == other_bytes);
    assert!(same || !one_bytes.starts_with(&other_bytes));
});

/// SPEC A-CANON
fn decodes_only_itself(bytes: &[u8]) {
    let limit = BEFORE_AUTHENTICATION + 8 * bytes.len();
    match allocator::limit(limit, || AadPairs::from_bytes(bytes)) {
        Ok(pairs) => {
            assert_eq!(pairs.to_bytes(), bytes);
            let map: Map = pairs.iter().map(|(name, value)| (name.into(), value.into())).collect();
            assert_eq!(write(&map), bytes);
            assert!(!map.contains_key(""));
        }
        Err(Error::AadEncoding { offset, .. }) => assert!(offset <= bytes.len()),
        Err(error) => panic!("not an error of an encoding: {error}"),
    }
}

/// Some pairs; few and short, so that two sets are alike often.
fn pairs(input: &mut Input<'_>) -> Vec<(String, Vec<u8>)> {
    let count = input.below(5);
    let mut part = || {
        let len = input.below(6);
        input.take(len).to_vec()
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let pairs: Vec<_> = (0..count).map(|_| (text(part()), part())).collect();
    let mut map = Map::new();
    pairs.into_iter().filter(|(name, value)| accepts(&mut map, name, value)).collect()
}

/// Whether the builder takes the pair, which must be so for a new, non-empty name only.
fn accepts(map: &mut Map, name: &str, value: &[u8]) -> bool {
    let mut pairs = AadPairs::new();
    for (name, value) in map.iter() {
        pairs.insert(name, value).expect("it went in before");
    }
    let accepted = pairs.insert(name, value).is_ok();
    assert_eq!(accepted, !name.is_empty() && !map.contains_key(name));
    if accepted {
        map.insert(name.into(), value.into());
    }
    accepted
}

/// The bytes of the pairs, the same for every order of insertion and for a second encoder.
fn encoded(pairs: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut forwards = AadPairs::new();
    let mut backwards = AadPairs::new();
    for (name, value) in pairs {
        forwards.insert(name, value).expect("names are distinct");
    }
    for (name, value) in pairs.iter().rev() {
        backwards.insert(name, value).expect("names are distinct");
    }
    let bytes = forwards.to_bytes();
    assert_eq!(bytes, backwards.to_bytes());
    assert_eq!(bytes, write(&pairs.iter().cloned().collect()));
    assert_eq!(AadPairs::from_bytes(&bytes).ok(), Some(forwards));
    bytes
}

/// A second encoder.
fn write(map: &Map) -> Vec<u8> {
    let mut out = LABEL.to_vec();
    out.extend((map.len() as u32).to_be_bytes());
    for (name, value) in map {
        for part in [name.as_bytes(), value] {
            out.extend((part.len() as u32).to_be_bytes());
            out.extend(part);
        }
    }
    out
}
