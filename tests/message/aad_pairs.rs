//! Named associated data has one form: different sets of pairs never have the same bytes, and
//! nothing but the form of a set decodes.

use envelock::rand_core::{Rng, SeedableRng};
use envelock::{Aad, AadFault, AadPairs, Envelope, Error, MemoryKeyring};
use rand_chacha::ChaCha20Rng;
use std::collections::{BTreeMap, HashMap};

const LABEL: &[u8] = b"envelock aad v1\0";

fn pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> AadPairs {
    let with = |set: AadPairs, (name, value): (&str, &[u8])| set.with(name, value).unwrap();
    pairs.into_iter().fold(AadPairs::new(), with)
}

fn bytes<'a>(list: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    pairs(list).to_bytes()
}

fn offset(error: Error) -> usize {
    match error {
        Error::AadEncoding { offset, .. } => offset,
        other => panic!("{other:?}"),
    }
}

/// Names and values over an alphabet that looks like lengths and counts, so that a form without
/// lengths, or with truncated ones, collides at once.
fn random_set(rng: &mut ChaCha20Rng) -> BTreeMap<String, Vec<u8>> {
    let mut set = BTreeMap::new();
    let mut bits = rng.next_u64();
    let mut draw = |below: u64| {
        let drawn = bits % below;
        bits /= below;
        drawn as usize
    };
    for _ in 0..draw(4) {
        let name = (0..=draw(2)).map(|_| ["\0", "\u{1}", ":"][draw(3)]).collect();
        let value = (0..draw(4)).map(|_| [0, 1, 4, b':'][draw(4)]).collect();
        set.insert(name, value);
    }
    set
}

/// SPEC A-CANON, over 1,000,000 pairs of random sets: as many sets, each compared with all.
#[test]
fn equal_sets_and_no_others_have_equal_bytes() {
    const SEED: u64 = 1;
    let mut rng = ChaCha20Rng::seed_from_u64(SEED);
    let mut seen: HashMap<Vec<u8>, BTreeMap<String, Vec<u8>>> = HashMap::new();
    let mut sets = 0_usize;
    for _ in 0..1_000_000 {
        let set = random_set(&mut rng);
        let form = bytes(set.iter().map(|(name, value)| (&**name, &**value)));
        match seen.get(&form) {
            Some(first) => assert_eq!(*first, set, "seed {SEED}: two sets of one form {form:?}"),
            None => {
                let reversed = bytes(set.iter().rev().map(|(name, value)| (&**name, &**value)));
                assert_eq!(form, reversed, "seed {SEED}: order of insertion matters to {set:?}");
                let decoded = AadPairs::from_bytes(&form).unwrap();
                let listed = decoded.iter().map(|(name, value)| (name.into(), value.into()));
                assert_eq!(listed.collect::<BTreeMap<_, _>>(), set, "seed {SEED}");
                seen.insert(form, set);
                sets += 1;
            }
        }
    }
    assert!(sets > 50_000, "only {sets} different sets: too few to collide");
}

/// SPEC A-CANON: what decodes is the form of what it decodes to; and it is another set.
#[test]
fn every_changed_form_is_refused_or_another_set() {
    let originals = [
        pairs([]),
        pairs([("a", &b""[..])]),
        pairs([("a", &b"1"[..]), ("b", b"22")]),
        pairs([("row", &[0, 0, 0, 1][..]), ("table", b"orders"), ("tenant", b"acme")]),
        pairs([("ü", &[0xFF][..]), ("日本", b"\0\0\0\0")]),
    ];
    let (mut refused, mut others) = (0, 0);
    for original in &originals {
        let form = original.to_bytes();
        let mut check = |changed: &[u8]| match AadPairs::from_bytes(changed) {
            Ok(decoded) => {
                assert_eq!(decoded.to_bytes(), changed);
                assert_ne!(&decoded, original);
                others += 1;
            }
            Err(error) => {
                assert!(offset(error) <= changed.len());
                refused += 1;
            }
        };
        for bit in 0..form.len() * 8 {
            let mut changed = form.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            check(&changed);
        }
        for len in 0..form.len() {
            check(&form[..len]);
            for byte in [0, 1, 0xFF] {
                check(&[&form[..len], &[byte], &form[len..]].concat());
            }
            check(&[&form[..len], &form[len + 1..]].concat());
        }
        for extra in 1..40 {
            check(&[&form[..], &vec![0; extra]].concat());
            check(&[&form[..], &form[..extra.min(form.len())]].concat());
        }
    }
    assert!(refused > 1_500 && others > 300, "{refused} refused, {others} others");
}

/// SPEC A-LABEL, A-SORT, A-UNIQUE, A-UTF, A-LEN, A-FIRST, each with the offset of the field that breaks it.
#[test]
fn form_that_breaks_a_rule_is_refused_at_the_offset() {
    fn form(count: u32, parts: &[&[u8]]) -> Vec<u8> {
        let parts = parts.iter().flat_map(|part| {
            let len = part.len() as u32;
            [&len.to_be_bytes()[..], part].concat()
        });
        LABEL.iter().copied().chain(count.to_be_bytes()).chain(parts).collect()
    }
    let refused = |bytes: &[u8]| offset(AadPairs::from_bytes(bytes).unwrap_err());
    assert_eq!(form(1, &[b"a", b"1"]), bytes([("a", &b"1"[..])]));

    assert_eq!(refused(b""), 0);
    assert_eq!(refused(&LABEL[..15]), 0);
    assert_eq!(refused(b"envelock aad v2\0\0\0\0\0"), 0);
    assert_eq!(refused(LABEL), 16, "no count");
    assert_eq!(refused(&form(2, &[b"b", b"", b"a", b""])), 29, "not sorted");
    assert_eq!(refused(&form(2, &[b"B", b"", b"A", b""])), 29, "not sorted");
    assert_eq!(refused(&form(2, &[b"a", b"1", b"a", b"2"])), 30, "twice");
    assert_eq!(refused(&form(1, &[b"", b""])), 20, "empty name");
    assert_eq!(refused(&form(1, &[b"\xFF", b""])), 20, "no UTF-8");
    assert_eq!(AadPairs::from_bytes(&form(0, &[])).unwrap(), AadPairs::new(), "no pairs");
    assert_eq!(refused(&form(1, &[b"a"])), 25, "no value");
    assert_eq!(refused(&form(2, &[b"a", b""])), 29, "one pair too few");
    assert_eq!(refused(&form(0, &[b"a", b""])), 20, "one pair too many");
    assert_eq!(refused(&form(u32::MAX, &[b"a", b""])), 29, "count");
    let mut long = form(1, &[b"a", b"1"]);
    long[20..24].fill(0xFF);
    assert_eq!(refused(&long), 20, "name length");
    let mut long = form(1, &[b"a", b"1"]);
    long[25..29].fill(0xFF);
    assert_eq!(refused(&long), 25, "value length");
}

#[test]
fn name_is_not_empty_and_not_there_twice() {
    let mut set = pairs([("a", &b"1"[..])]);
    let before = set.clone();
    for (name, fault) in [("", AadFault::EmptyName), ("a", AadFault::Duplicate)] {
        match set.insert(name, b"2").unwrap_err() {
            Error::AadPair { name: reported, fault: why, .. } => {
                assert_eq!((&*reported, why), (name, fault))
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(set, before, "a refused pair changes nothing");
        assert!(set.clone().with(name, b"2").is_err());
    }
    set.insert("A", b"").unwrap();
    assert_eq!(set.iter().collect::<Vec<_>>(), [("A", &b""[..]), ("a", b"1")]);
}

/// THREATS row 10: joined strings do not distinguish these.
#[test]
fn values_that_joined_strings_confuse_stay_apart() {
    let forms = [
        bytes([("path", &b"a:b"[..])]),
        bytes([("path", &b"a"[..]), ("path2", b"b")]),
        bytes([("path:a", &b"b"[..])]),
        bytes([("p", &b"ath=a:b"[..])]),
        bytes([("path", &b"a:"[..]), ("b", b"")]),
        bytes([("path", &b"a"[..]), ("b", b"")]),
        bytes([("path", &b""[..]), ("a", b"b")]),
        bytes([("path", &b""[..]), ("a:b", b"")]),
        bytes([]),
        bytes([("path", &b""[..])]),
        bytes([("path", &b"\0"[..])]),
        bytes([("path\0", &b""[..])]),
    ];
    for (index, form) in forms.iter().enumerate() {
        assert!(!forms[..index].contains(form), "{index}");
    }
}

#[test]
fn text_is_neither_normalised_nor_folded() {
    // Composed and decomposed é, the Kelvin sign, full-width a, upper case.
    let names = ["é", "e\u{301}", "K", "\u{212A}", "a", "\u{FF41}", "A", "a ", "a\0"];
    for (index, name) in names.iter().enumerate() {
        let form = bytes([(*name, &b"1"[..])]);
        assert_eq!(AadPairs::from_bytes(&form).unwrap().iter().next(), Some((*name, &b"1"[..])));
        for other in &names[..index] {
            assert_ne!(form, bytes([(*other, &b"1"[..])]));
            assert_ne!(
                bytes([("n", name.as_bytes())]),
                bytes([("n", other.as_bytes())]),
                "values are bytes"
            );
        }
    }
    let all = bytes(names.map(|name| (name, &b""[..])));
    assert_eq!(AadPairs::from_bytes(&all).unwrap().iter().count(), names.len());
}

/// SPEC A-LEN: lengths have four bytes, so nothing wraps at two.
#[test]
fn lengths_around_65_536_are_whole() {
    let mut forms = Vec::new();
    for len in [0, 1, 65_535, 65_536, 65_537, 131_072] {
        let value = vec![b'v'; len];
        let name = "n".repeat(len + 1);
        let sets = [pairs([("a", &value[..])]), pairs([(&*name, &b"v"[..])])];
        for (set, name_and_value) in sets.into_iter().zip([1 + len, len + 1 + 1]) {
            let form = set.to_bytes();
            assert_eq!(form.len(), 16 + 4 + 4 + 4 + name_and_value);
            assert_eq!(AadPairs::from_bytes(&form).unwrap(), set);
            forms.push(form);
        }
    }
    forms.sort();
    forms.dedup();
    assert_eq!(forms.len(), 12);
}

#[test]
fn message_opens_under_equal_pairs_in_any_order() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring);
    let written = bytes([("tenant", &b"acme"[..]), ("row", b"42")]);
    let message = envelope.encrypt(b"payload", Aad::new(&written)).unwrap();
    let again = bytes([("row", &b"42"[..]), ("tenant", b"acme")]);
    assert_eq!(envelope.decrypt(&message, Aad::new(&again)).unwrap(), b"payload");
    for other in [
        bytes([("row", &b"4"[..]), ("tenant", b"2acme")]),
        bytes([("row", &b"acme"[..]), ("tenant", b"42")]),
        bytes([("row", &b"42"[..])]),
        bytes([]),
        Vec::new(),
    ] {
        let error = envelope.decrypt(&message, Aad::new(&other)).unwrap_err();
        assert!(matches!(error, Error::Authentication { .. }));
    }
}

#[test]
fn no_value_is_shown_by_debug() {
    let set = pairs([("tenant", &b"acme"[..])]);
    assert_eq!(format!("{set:?}"), r#"{"tenant"}"#);
    assert_eq!(format!("{:?}", Aad::new(b"acme")), "Aad(4 bytes)");
    assert_eq!(Aad::none(), Aad::new(b""));
}

/// SPEC A-LABEL, A-SORT, A-LEN: the example of section 7, which was written by hand.
#[test]
fn example_of_the_specification_is_right() {
    let pairs = AadPairs::new().with("tenant", "acme").unwrap().with("row", "42").unwrap();
    let example = hex::encode(pairs.to_bytes());
    let (first, second) = example.split_at(64);
    let specification = include_str!("../../src/format/SPEC.md");
    assert!(specification.contains(&format!("\n{first}\n{second}\n")), "{example}");
}
