//! Every combination of slots that a header can have, as the documentation treats it.

use super::compose::{compose, keyring, slots_by_version, slots_of};
use super::{ROW, USUAL, rewrap, version};
use envelock::{Envelope, Error, Lifecycle, Suite, inspect, keyring::Refusal};

/// A slot as the keyring of `every_combination_of_slots` sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Primary,
    Stale,
    OtherStale,
    Disabled,
    Damaged,
    Unknown,
    OtherName,
    OtherMaterial,
    Opaque,
}

use Kind::{
    Damaged, Disabled, Opaque, OtherMaterial, OtherName, OtherStale, Primary, Stale, Unknown,
};

const KINDS: [Kind; 9] =
    [Primary, Stale, OtherStale, Disabled, Damaged, Unknown, OtherName, OtherMaterial, Opaque];

impl Kind {
    fn opens(self) -> bool {
        matches!(self, Primary | Stale | OtherStale)
    }
}

/// What the documentation of `Envelope::rewrap` says: the new header's slots, `None` standing for
/// a fresh one; or the error.
fn expected(kinds: &[Kind]) -> Result<Vec<Option<Kind>>, &'static str> {
    if !kinds.iter().any(|kind| kind.opens()) {
        let refused = kinds.iter().find(|kind| matches!(kind, Disabled | Unknown));
        return Err(match refused {
            Some(Disabled) => "disabled",
            Some(_) => "unknown",
            None if kinds.contains(&Damaged) => "authentication",
            None => "no key",
        });
    }
    // The slot of the primary keeps its position; a new one takes the position of the first.
    let first = kinds.iter().position(|kind| *kind == Primary);
    let new = first.is_some().then_some(Primary);
    let first = first.or(kinds.iter().position(|kind| kind.opens()));
    let slots = kinds.iter().enumerate().filter_map(|(index, kind)| match kind {
        _ if Some(index) == first => Some(new),
        kind if kind.opens() => None,
        kind => Some(Some(*kind)),
    });
    Ok(slots.collect())
}

fn error_kind(error: &Error) -> &'static str {
    match error {
        Error::Refused { refusal: Refusal::Disabled, version, .. } => {
            assert_eq!(version.number(), 3);
            "disabled"
        }
        Error::Refused { refusal: Refusal::UnknownVersion, version, .. } => {
            assert_eq!(version.number(), 9);
            "unknown"
        }
        Error::Authentication { .. } => "authentication",
        Error::NoKey { .. } => "no key",
        other => panic!("{other:?}"),
    }
}

/// All ordered selections of 1 to 4 kinds.
fn selections() -> Vec<Vec<Kind>> {
    fn extend(start: &[Kind], all: &mut Vec<Vec<Kind>>) {
        for kind in KINDS.into_iter().filter(|kind| !start.contains(kind)) {
            let longer = [start, &[kind]].concat();
            if longer.len() < 4 {
                extend(&longer, all);
            }
            all.push(longer);
        }
    }
    let mut all = Vec::new();
    extend(&[], &mut all);
    all
}

/// SPEC R-KEEP, R-WHOLE, H-OPAQUE, over 9 + 72 + 504 + 3,024 headers.
#[test]
fn every_combination_of_slots_matches_its_document() {
    let keyring = keyring("orders", 5);
    let (message, by_version) = slots_by_version(&keyring, Suite::default(), b"payload", ROW);
    keyring.disable(version(3)).unwrap();
    let body = &message[inspect(&message).unwrap().len()..];
    let bytes = |kind: Kind| {
        let with = |version: usize, change: &dyn Fn(&mut Vec<u8>)| {
            let mut slot = by_version[version - 1].clone();
            change(&mut slot);
            slot
        };
        match kind {
            Primary => with(5, &|_| {}),
            Stale => with(1, &|_| {}),
            OtherStale => with(2, &|_| {}),
            Disabled => with(3, &|_| {}),
            Damaged => with(4, &|slot| slot[60] ^= 1),
            Unknown => with(1, &|slot| slot[3] = 9),
            OtherName => with(1, &|slot| slot[16] = b'O'),
            OtherMaterial => with(1, &|slot| slot[4] ^= 1),
            Opaque => with(1, &|slot| {
                slot[4] ^= 2;
                slot[12] = 77;
            }),
        }
    };
    let selections = selections();
    assert_eq!(selections.len(), 3_609);
    for kinds in selections {
        let slots: Vec<_> = kinds.iter().map(|kind| bytes(*kind)).collect();
        let header = compose(&message, &slots, 3);
        match (rewrap(&keyring, &header, USUAL), expected(&kinds)) {
            (Ok(rewrapped), Ok(expected)) => {
                let found = slots_of(&rewrapped);
                assert_eq!(found.len(), expected.len(), "{kinds:?}");
                for (found, expected) in found.iter().zip(expected) {
                    match expected {
                        Some(kind) => assert_eq!(*found, bytes(kind), "{kinds:?}"),
                        None => assert_eq!(found[..22], by_version[4][..22], "{kinds:?}"),
                    }
                }
                assert_eq!(rewrapped.len(), header.len(), "what is freed becomes padding");
                assert_eq!(rewrap(&keyring, &rewrapped, USUAL).unwrap(), rewrapped, "{kinds:?}");
                let whole = [&rewrapped, body].concat();
                assert_eq!(Envelope::new(&keyring).decrypt(&whole, ROW).unwrap(), b"payload");
            }
            (Err(error), Err(expected)) => assert_eq!(error_kind(&error), expected, "{kinds:?}"),
            (result, expected) => panic!("{kinds:?}: {result:?}, not {expected:?}"),
        }
    }
}
