//! Several keyrings at once: encryption needs all of them, decryption any one.

use crate::combine;
use crate::common::detached::{ReadDetached, WriteDetached};

use combine::{PLAINTEXT, ROW, Said, Scripted, down, label, labels, ring, version};
use envelock::{
    Aad, Envelope, Error, Keyring, Lifecycle, MemoryKeyring, MultiKeyring, RewrapOptions,
    SlotOutcome, Suite,
    format::SlotFault,
    inspect,
    keyring::{Freshness, KeyringError, MAX_MEMBERS, Refusal},
};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

const USUAL: RewrapOptions = RewrapOptions::new();

fn multi(members: &[Arc<Scripted>]) -> MultiKeyring {
    let (first, rest) = members.split_first().unwrap();
    let multi = MultiKeyring::new(first.clone());
    rest.iter().fold(multi, |multi, member| multi.with(member.clone()).unwrap())
}

fn three() -> Vec<Arc<Scripted>> {
    ["orders", "backup", "recovery"]
        .iter()
        .zip(1..)
        .map(|(name, byte)| Scripted::new(ring(name, byte)))
        .collect()
}

#[test]
fn any_member_alone_opens_a_wrap_of_all() {
    for &suite in Suite::ALL {
        let members = three();
        let envelope = Envelope::new(multi(&members)).with_suite(suite);
        let message = envelope.encrypt(PLAINTEXT, ROW).unwrap();
        let expected = [label("orders", 1), label("backup", 1), label("recovery", 1)];
        assert_eq!(labels(&message), expected);
        assert_eq!(inspect(&message).unwrap().len(), envelope.header_len().unwrap());
        assert_eq!(envelope.decrypt(&message, ROW).unwrap(), PLAINTEXT);
        for member in &members {
            let alone = Envelope::new(member.clone());
            assert_eq!(alone.decrypt(&message, ROW).unwrap(), PLAINTEXT);
        }
        assert!(matches!(
            envelope.decrypt(&message, Aad::none()),
            Err(Error::Authentication { .. })
        ));
    }
}

/// The member that could not wrap could not open the message later.
#[test]
fn encryption_needs_every_member() {
    for missing in 0..3 {
        let members = three();
        let envelope = Envelope::new(multi(&members));
        members[missing].set(|script| script.down = true);
        assert!(matches!(envelope.encrypt(PLAINTEXT, ROW), Err(Error::Backend(_))));
        // Also if the header's length is known and `visit_primaries` is not called.
        let (mut header, mut body) = (vec![7; 400], vec![7; 72 + PLAINTEXT.len()]);
        let answer = envelope.encrypt_detached_into(PLAINTEXT, ROW, &mut header, &mut body);
        assert!(matches!(answer, Err(Error::Backend(_))));
        assert_eq!(header, [0; 400], "a header with fewer slots was left behind");
        assert_eq!(body, [7; 79]);
    }
}

#[test]
fn two_members_of_one_key_version_fail_at_first_wrap() {
    let same = Scripted::new(ring("orders", 1));
    let envelope = Envelope::new(multi(&[same.clone(), same]));
    let Err(Error::Slot(SlotFault::Duplicate { name, version: duplicate })) =
        envelope.encrypt(PLAINTEXT, ROW)
    else {
        panic!("not refused")
    };
    assert_eq!((name.as_str(), duplicate), ("orders", version(1)));
    // Of other material, the same name and version are two keys.
    let envelope =
        Envelope::new(multi(&[Scripted::new(ring("orders", 1)), Scripted::new(ring("orders", 2))]));
    let message = envelope.encrypt(PLAINTEXT, ROW).unwrap();
    assert_eq!(labels(&message), [label("orders", 1), label("orders", 1)]);
    for byte in [1, 2] {
        let alone = Envelope::new(ring("orders", byte));
        assert_eq!(alone.decrypt(&message, ROW).unwrap(), PLAINTEXT);
    }
}

#[test]
fn sixteen_members_are_the_most() {
    let name = |number: usize| format!("key{number}");
    let mut multi = MultiKeyring::new(ring(&name(0), 1));
    for number in 1..MAX_MEMBERS {
        multi = multi.with(ring(&name(number), 1 + number as u8)).unwrap();
    }
    assert_eq!(MAX_MEMBERS, 16);
    let message = Envelope::new(&multi).encrypt(PLAINTEXT, ROW).unwrap();
    assert_eq!(labels(&message).len(), 16);
    let last = Envelope::new(ring(&name(15), 16));
    assert_eq!(last.decrypt(&message, ROW).unwrap(), PLAINTEXT);
    let seventeenth = multi.with(ring("one-more", 99));
    assert!(matches!(seventeenth, Err(Error::TooManyMembers { most: 16, .. })));
}

/// A message of one slot, under a key that no member's script hides.
fn message_of(member: &Scripted) -> Vec<u8> {
    Envelope::new(&member.ring).encrypt(PLAINTEXT, ROW).unwrap()
}

/// Whatever one member says, one that opens the slot is heard, before and behind it.
#[test]
fn error_of_member_hides_no_other_that_opens() {
    for said in Said::ALL {
        let (opens, other) = (Scripted::new(ring("orders", 1)), Scripted::new(ring("orders", 2)));
        other.set(|script| script.unwrap = Some(said.error()));
        let message = message_of(&opens);
        for members in [[opens.clone(), other.clone()], [other, opens]] {
            let envelope = Envelope::new(multi(&members));
            assert_eq!(envelope.decrypt(&message, ROW).unwrap(), PLAINTEXT, "{said:?}");
        }
    }
    // Nor does one that returns another key.
    let (opens, careless) = (Scripted::new(ring("orders", 1)), Scripted::new(ring("orders", 2)));
    careless.set(|script| script.careless = true);
    let message = message_of(&opens);
    let envelope = Envelope::new(multi(&[careless.clone(), opens]));
    assert_eq!(envelope.decrypt(&message, ROW).unwrap(), PLAINTEXT);
    let alone = Envelope::new(multi(&[careless]));
    assert!(matches!(alone.decrypt(&message, ROW), Err(Error::Authentication { .. })));
}

/// 64 pairs of results, and the combined result.
#[test]
fn most_informative_error_is_returned_if_none_opens() {
    let message = message_of(&Scripted::new(ring("orders", 1)));
    for first in Said::ALL {
        for second in Said::ALL {
            let members = [first, second].map(|said| {
                let member = Scripted::new(ring("orders", 9));
                member.set(|script| script.unwrap = Some(said.error()));
                member
            });
            let error = Envelope::new(multi(&members)).decrypt(&message, ROW).unwrap_err();
            assert_eq!(Said::of(&error), first.and(second), "{first:?} {second:?}");
        }
    }
}

fn every_freshness() -> [Freshness; 6] {
    [
        Freshness::NotMine,
        Freshness::Refused(Refusal::UnknownVersion),
        Freshness::Refused(Refusal::Disabled),
        Freshness::Stale,
        Freshness::Primary,
        Freshness::Compromised,
    ]
}

#[test]
fn slot_freshness_is_that_of_member_that_knows_most() {
    let member = Scripted::new(ring("orders", 1));
    let message = message_of(&member);
    let label = inspect(&message).unwrap().slots().next().unwrap().label;
    let answers = every_freshness();
    for (low, first) in answers.into_iter().enumerate() {
        for (high, second) in answers.into_iter().enumerate() {
            let members = [first, second].map(|freshness| {
                let member = Scripted::new(ring("orders", 9));
                member.set(|script| script.freshness = Some(freshness));
                member
            });
            let known = multi(&members).freshness(&label).unwrap();
            assert_eq!(known, answers[low.max(high)]);
        }
        // A member that fails might know more than one that does not use the slot.
        let (says, silent) = (Scripted::new(ring("orders", 8)), Scripted::new(ring("orders", 9)));
        says.set(|script| script.freshness = Some(first));
        silent.set(|script| script.freshness_down = true);
        for members in [[says.clone(), silent.clone()], [silent, says]] {
            match multi(&members).freshness(&label) {
                Ok(freshness) => assert!(low >= 3 && freshness == first, "{first:?}"),
                Err(KeyringError::Backend(_)) => assert!(low < 3, "{first:?}"),
                Err(error) => panic!("{error:?}"),
            }
        }
    }
}

/// SPEC R-NAME: each slot goes to its owner's primary, and to no other member's.
#[test]
fn rewrap_leaves_each_slot_with_its_owner() {
    let members = three();
    let envelope = Envelope::new(multi(&members));
    let message = envelope.encrypt(PLAINTEXT, ROW).unwrap();
    assert!(!envelope.needs_rewrap(&message).unwrap());
    assert!(!envelope.rewrap(&message, USUAL).unwrap().is_changed());
    let mut current = message.clone();
    for (rotated, versions) in [(1, [1, 2, 1]), (0, [2, 2, 1]), (2, [2, 2, 2])] {
        members[rotated].ring.rotate().unwrap();
        assert!(envelope.needs_rewrap(&current).unwrap());
        assert!(envelope.rewrap_in_place(&mut current, USUAL).unwrap().is_changed());
        let now: Vec<u32> = labels(&current).into_iter().map(|(_, version)| version).collect();
        assert_eq!(now, versions);
        assert!(!envelope.needs_rewrap(&current).unwrap());
        for member in &members {
            assert_eq!(Envelope::new(member.clone()).decrypt(&current, ROW).unwrap(), PLAINTEXT);
        }
    }
}

#[test]
fn unavailable_member_stops_no_rewrap_of_others() {
    for first_is_down in [true, false] {
        let (up, other) = (Scripted::new(ring("orders", 1)), Scripted::new(ring("backup", 2)));
        let members = match first_is_down {
            true => [other.clone(), up.clone()],
            false => [up.clone(), other.clone()],
        };
        let envelope = Envelope::new(multi(&members));
        let both = envelope.encrypt(PLAINTEXT, ROW).unwrap();
        let message = message_of(&up);
        up.ring.rotate().unwrap();
        other.set(|script| script.down = true);
        let rewrapped = envelope.rewrap(&message, USUAL).unwrap();
        assert_eq!(labels(rewrapped.header()), [label("orders", 2)]);
        // The member cannot decide about its own slot: that one stays, and is reported.
        let rewrapped = envelope.rewrap(&both, USUAL).unwrap();
        let report = rewrapped.report();
        assert!(report.is_changed() && !report.is_complete());
        assert_eq!(
            report.slots().iter().filter(|slot| matches!(slot, SlotOutcome::Rewrapped)).count(),
            1
        );
        let body = &both[inspect(&both).unwrap().len()..];
        let opened = envelope.decrypt_detached(rewrapped.header(), body, ROW).unwrap();
        assert_eq!(opened, PLAINTEXT);
        assert_eq!(envelope.decrypt(&both, ROW).unwrap(), PLAINTEXT);
    }
}

/// A member that gives up half-way cannot leave a second slot behind.
#[test]
fn first_member_that_can_rewrap_does() {
    let (first, second) = (Scripted::new(ring("orders", 1)), Scripted::new(ring("orders", 1)));
    let envelope = Envelope::new(multi(&[first.clone(), second.clone()]));
    let message = message_of(&first);
    second.ring.rotate().unwrap();
    first.ring.rotate().unwrap();
    // Both own the slot: the first takes it.
    let rewrapped = envelope.rewrap(&message, USUAL).unwrap();
    let alone = Envelope::new(first.clone());
    let body = &message[inspect(&message).unwrap().len()..];
    assert_eq!(alone.decrypt_detached(rewrapped.header(), body, ROW).unwrap(), PLAINTEXT);
    // And if it refuses, the second.
    first.set(|script| script.unwrap = Some(KeyringError::Refused(Refusal::Disabled)));
    let rewrapped = envelope.rewrap(&message, USUAL).unwrap();
    let alone = Envelope::new(second.clone());
    assert_eq!(alone.decrypt_detached(rewrapped.header(), body, ROW).unwrap(), PLAINTEXT);
    second.set(|script| script.unwrap = Some(down()));
    assert!(matches!(envelope.rewrap(&message, USUAL), Err(Error::Backend(_))));
}

/// SPEC R-COMPROMISED, through a member.
#[test]
fn members_compromised_version_is_compromised() {
    let members = three();
    let envelope = Envelope::new(multi(&members));
    let message = envelope.encrypt(PLAINTEXT, ROW).unwrap();
    members[2].ring.rotate().unwrap();
    members[2].set(|script| script.compromised = Some(1));
    let Err(Error::Refused { key, refusal: Refusal::Compromised, .. }) =
        envelope.rewrap(&message, USUAL)
    else {
        panic!("rewrapped")
    };
    assert_eq!(key, "recovery");
    let named = USUAL.from_compromised("recovery", version(1));
    let header = envelope.rewrap(&message, named).unwrap().into_header();
    assert_eq!(labels(&header)[2], label("recovery", 2));
}

#[test]
fn members_behind_a_handle_are_changed_and_nested() {
    let orders = Arc::new(MemoryKeyring::create("orders").unwrap());
    let inner = MultiKeyring::new(orders.clone()).with(ring("backup", 2)).unwrap();
    let boxed: Box<dyn Keyring> = Box::new(ring("recovery", 3));
    let outer = MultiKeyring::new(boxed).with(inner).unwrap();
    let envelope = Envelope::new(outer);
    let mut message = envelope.encrypt(PLAINTEXT, ROW).unwrap();
    orders.rotate().unwrap();
    assert!(envelope.rewrap_in_place(&mut message, USUAL).unwrap().is_changed());
    let expected = [label("recovery", 1), label("orders", 2), label("backup", 1)];
    assert_eq!(labels(&message), expected);
    assert_eq!(envelope.decrypt(&message, ROW).unwrap(), PLAINTEXT);
}

/// The backend of a member is not asked about what is not its own, nor after another opened.
#[test]
fn members_are_asked_in_order_and_no_more_than_needed() {
    let members = three();
    let envelope = Envelope::new(multi(&members));
    let message = envelope.encrypt(PLAINTEXT, ROW).unwrap();
    envelope.decrypt(&message, ROW).unwrap();
    let unwraps: Vec<usize> =
        members.iter().map(|member| member.counts.unwrap.load(Relaxed)).collect();
    assert_eq!(unwraps, [1, 0, 0]);
}
