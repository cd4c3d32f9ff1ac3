//! Moving from one keyring to another: the first wraps, any unwraps, a rewrap hands over.

use crate::combine;
use crate::common::detached::{ReadDetached, WriteDetached};
mod failover;
mod names;
mod without;

use combine::{PLAINTEXT, ROW, Said, Scripted, down, label, labels, ring, version};
use envelock::rand_core::{Rng, SeedableRng};
use envelock::{
    Envelope, Error, Keyring, Lifecycle, MigratingKeyring, MultiKeyring, RewrapOptions, Suite,
    inspect,
    keyring::{Freshness, KeyringError, MAX_MEMBERS, Refusal},
};
use rand_chacha::ChaCha20Rng;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

const USUAL: RewrapOptions = RewrapOptions::new();

fn migrating(members: &[Arc<Scripted>]) -> MigratingKeyring {
    let (first, rest) = members.split_first().unwrap();
    let all = MigratingKeyring::new(first.clone());
    rest.iter().fold(all, |all, member| all.with(member.clone()).unwrap())
}

fn message_of(member: &Scripted) -> Vec<u8> {
    Envelope::new(&member.ring).encrypt(PLAINTEXT, ROW).unwrap()
}

fn opens(member: &Arc<Scripted>, header: &[u8], message: &[u8]) -> bool {
    let body = &message[inspect(message).unwrap().len()..];
    Envelope::new(&member.ring)
        .decrypt_detached(header, body, ROW)
        .is_ok_and(|plain| plain == PLAINTEXT)
}

/// The new and the old backend, both with version 1 of `orders`.
fn moving() -> [Arc<Scripted>; 2] {
    [Scripted::new(ring("orders", 1)), Scripted::new(ring("orders", 2))]
}

#[test]
fn new_messages_are_the_firsts_and_old_ones_open() {
    for &suite in Suite::ALL {
        let [new, old] = moving();
        let ancient = Scripted::new(ring("legacy", 3));
        let members = [new.clone(), old.clone(), ancient.clone()];
        let envelope = Envelope::new(migrating(&members)).with_suite(suite);
        let message = envelope.encrypt(PLAINTEXT, ROW).unwrap();
        assert_eq!(labels(&message), [label("orders", 1)]);
        assert!(opens(&new, &message[..inspect(&message).unwrap().len()], &message));
        for member in &members {
            let envelope_of = Envelope::new(&member.ring).with_suite(suite);
            let message = envelope_of.encrypt(PLAINTEXT, ROW).unwrap();
            assert_eq!(envelope.decrypt(&message, ROW).unwrap(), PLAINTEXT);
        }
    }
}

/// The same name and the same version: their material differs, and so do their ids.
#[test]
fn rewrap_hands_a_message_over_to_the_first() {
    for old_versions in 0..3 {
        let [new, old] = moving();
        for _ in 0..old_versions {
            old.ring.rotate().unwrap();
        }
        let message = message_of(&old);
        let envelope = Envelope::new(migrating(&[new.clone(), old.clone()]));
        assert!(envelope.needs_rewrap(&message).unwrap());
        let rewrapped = envelope.rewrap(&message, USUAL).unwrap();
        assert_eq!(labels(rewrapped.header()), [label("orders", 1)]);
        assert!(opens(&new, rewrapped.header(), &message));
        assert!(!opens(&old, rewrapped.header(), &message));
        assert!(!envelope.needs_rewrap(rewrapped.header()).unwrap());
        assert!(!envelope.rewrap(rewrapped.header(), USUAL).unwrap().is_changed());
        // And on to the first's next version, which it does itself.
        new.ring.rotate().unwrap();
        assert!(envelope.needs_rewrap(rewrapped.header()).unwrap());
        let rewrapped = envelope.rewrap(rewrapped.header(), USUAL).unwrap();
        assert_eq!(labels(rewrapped.header()), [label("orders", 2)]);
        assert!(opens(&new, rewrapped.header(), &message));
    }
}

/// SPEC R-NAME: another name stays with its owner, and what is under the owner's primary needs
/// no rewrap, for none would move it (SPEC R-IDEMPOTENT).
#[test]
fn slot_of_another_name_stays_with_its_owner() {
    let (new, old) = (Scripted::new(ring("orders", 1)), Scripted::new(ring("legacy", 2)));
    let message = message_of(&old);
    let envelope = Envelope::new(migrating(&[new, old.clone()]));
    assert!(!envelope.needs_rewrap(&message).unwrap());
    assert!(!envelope.rewrap(&message, USUAL).unwrap().is_changed());
    old.ring.rotate().unwrap();
    assert!(envelope.needs_rewrap(&message).unwrap());
    let rewrapped = envelope.rewrap(&message, USUAL).unwrap();
    assert_eq!(labels(rewrapped.header()), [label("legacy", 2)]);
    assert!(opens(&old, rewrapped.header(), &message));
    assert!(!envelope.needs_rewrap(rewrapped.header()).unwrap());
}

/// A first member of several names takes over each slot under its own name alone.
#[test]
fn first_member_of_several_names_takes_its_own_slots() {
    for name in ["orders", "backup"] {
        let old = Scripted::new(ring(name, 7));
        let (orders, backup) = (Scripted::new(ring("orders", 1)), Scripted::new(ring("backup", 2)));
        let first = MultiKeyring::new(orders.clone()).with(backup.clone()).unwrap();
        let envelope = Envelope::new(MigratingKeyring::new(first).with(old.clone()).unwrap());
        let message = message_of(&old);
        assert!(envelope.needs_rewrap(&message).unwrap());
        let rewrapped = envelope.rewrap(&message, USUAL).unwrap();
        assert_eq!(labels(rewrapped.header()), [label(name, 1)]);
        let owner = if name == "orders" { orders } else { backup };
        assert!(opens(&owner, rewrapped.header(), &message));
    }
}

#[test]
fn error_of_first_hides_no_second_that_opens() {
    for said in Said::ALL {
        let [new, old] = moving();
        let message = message_of(&old);
        new.set(|script| script.unwrap = Some(said.error()));
        let envelope = Envelope::new(migrating(&[new, old]));
        assert_eq!(envelope.decrypt(&message, ROW).unwrap(), PLAINTEXT, "{said:?}");
    }
    // All of its methods down.
    let [new, old] = moving();
    let message = message_of(&old);
    new.set(|script| script.down = true);
    let envelope = Envelope::new(migrating(&[new.clone(), old.clone()]));
    assert_eq!(envelope.decrypt(&message, ROW).unwrap(), PLAINTEXT);
    let unavailable = |error: Error| assert!(matches!(error, Error::Backend(_)));
    unavailable(envelope.encrypt(PLAINTEXT, ROW).unwrap_err());
    unavailable(envelope.rewrap(&message, USUAL).unwrap_err());
    unavailable(envelope.needs_rewrap(&message).unwrap_err());
    // A message without an owner is not "no key" while the first member might have it.
    let unrelated = message_of(&Scripted::new(ring("orders", 9)));
    unavailable(envelope.decrypt(&unrelated, ROW).unwrap_err());
    new.set(|script| script.down = false);
    assert!(matches!(envelope.decrypt(&unrelated, ROW), Err(Error::NoKey { .. })));
    // An old member that is down stops nothing of the first's.
    old.set(|script| script.down = true);
    let message = envelope.encrypt(PLAINTEXT, ROW).unwrap();
    assert_eq!(envelope.decrypt(&message, ROW).unwrap(), PLAINTEXT);
    new.ring.rotate().unwrap();
    assert!(envelope.rewrap(&message, USUAL).unwrap().is_changed());
    unavailable(envelope.decrypt(&unrelated, ROW).unwrap_err());
}

#[test]
fn most_informative_error_is_returned_if_none_opens() {
    let message = message_of(&Scripted::new(ring("orders", 8)));
    for first in Said::ALL {
        for second in Said::ALL {
            let members = moving();
            for (member, said) in members.iter().zip([first, second]) {
                member.set(|script| script.unwrap = Some(said.error()));
            }
            let envelope = Envelope::new(migrating(&members));
            let expected = first.and(second);
            let error = envelope.decrypt(&message, ROW).unwrap_err();
            assert_eq!(Said::of(&error), expected, "{first:?} {second:?}");
            // A rewrap says so too: nothing of it is written.
            members.iter().for_each(|member| {
                member.set(|script| script.freshness = Some(Freshness::Stale));
            });
            let error = envelope.rewrap(&message, USUAL).unwrap_err();
            // No slot goes to a first member that is unavailable or denies the call.
            let expected = match first {
                Said::Denied | Said::Broken | Said::Throttled | Said::Unavailable => first,
                _ => expected,
            };
            assert_eq!(Said::of(&error), expected, "{first:?} {second:?}: rewrap");
        }
    }
}

/// The whole table: what the first and the second say of a slot, and what both are.
#[test]
fn slot_under_another_primary_is_stale() {
    use Freshness::{Compromised, NotMine, Primary, Refused, Stale};
    let (unknown, disabled) = (Refused(Refusal::UnknownVersion), Refused(Refusal::Disabled));
    let ranked = [NotMine, unknown, disabled, Stale, Primary, Compromised];
    let foreign = message_of(&Scripted::new(ring("orders", 8)));
    let other_name = message_of(&Scripted::new(ring("legacy", 8)));
    for (message, same_name) in [(foreign, true), (other_name, false)] {
        let label = inspect(&message).unwrap().slots().next().unwrap().label;
        for first in ranked {
            for second in ranked {
                let members = moving();
                for (member, freshness) in members.iter().zip([first, second]) {
                    member.set(|script| script.freshness = Some(freshness));
                }
                let rank = |of| ranked.iter().position(|other| *other == of);
                let second = if second == Primary && same_name { Stale } else { second };
                let expected = if rank(second) > rank(first) { second } else { first };
                let freshness = migrating(&members).freshness(&label).unwrap();
                assert_eq!(freshness, expected, "{first:?} {second:?}");
            }
            let members = moving();
            members[0].set(|script| script.freshness = Some(first));
            members[1].set(|script| script.freshness_down = true);
            let answer = migrating(&members).freshness(&label);
            match first {
                Stale | Primary | Compromised => assert_eq!(answer.unwrap(), first),
                _ => assert!(matches!(answer, Err(KeyringError::Backend(_)))),
            }
        }
        let members = moving();
        members[0].set(|script| script.freshness_down = true);
        // Stale there, it might be under the first's primary all the same.
        members[1].set(|script| script.freshness = Some(Stale));
        let answer = migrating(&members).freshness(&label);
        assert!(matches!(answer, Err(KeyringError::Backend(_))));
    }
}

/// A data key that another member unwrapped is verified before the first wraps it.
#[test]
fn careless_old_member_hands_over_nothing() {
    let [new, old] = moving();
    let message = message_of(&old);
    old.set(|script| script.careless = true);
    let envelope = Envelope::new(migrating(&[new.clone(), old]));
    assert!(matches!(envelope.rewrap(&message, USUAL), Err(Error::Authentication { .. })));
    let trusting = USUAL.trusting_backend();
    assert!(matches!(envelope.rewrap(&message, trusting), Err(Error::Authentication { .. })));
    assert_eq!(new.counts.wrap.load(Relaxed), 0);
}

/// SPEC R-COMPROMISED: a compromised version of the backend that is left behind, too.
#[test]
fn compromised_old_version_moves_only_if_named() {
    let [new, old] = moving();
    let message = message_of(&old);
    old.ring.rotate().unwrap();
    old.set(|script| script.compromised = Some(1));
    let envelope = Envelope::new(migrating(&[new.clone(), old.clone()]));
    assert!(envelope.needs_rewrap(&message).unwrap());
    let error = envelope.rewrap(&message, USUAL).unwrap_err();
    assert_eq!(Said::of(&error), Said::Refused(Refusal::Compromised));
    let named = USUAL.from_compromised("orders", version(1));
    let rewrapped = envelope.rewrap(&message, named).unwrap();
    assert!(opens(&new, rewrapped.header(), &message));
    // A strict member refuses it by any name, and its slot stays.
    old.set(|script| script.strict = true);
    for options in [USUAL, named] {
        let error = envelope.rewrap(&message, options).unwrap_err();
        assert_eq!(Said::of(&error), Said::Refused(Refusal::Compromised));
    }
}

#[test]
fn disabled_version_of_either_member_is_refused() {
    for owner in [0, 1] {
        let members = moving();
        members[owner].ring.rotate().unwrap();
        let message = message_of(&members[owner]);
        members[owner].ring.rotate().unwrap();
        members[owner].ring.disable(version(2)).unwrap();
        // The other one has no version 2: what is known of a state says more.
        let envelope = Envelope::new(migrating(&members));
        let error = envelope.decrypt(&message, ROW).unwrap_err();
        assert_eq!(Said::of(&error), Said::Refused(Refusal::Disabled));
        let error = envelope.rewrap(&message, USUAL).unwrap_err();
        assert_eq!(Said::of(&error), Said::Refused(Refusal::Disabled));
    }
}

#[test]
fn first_that_cannot_wrap_leaves_message_where_it_is() {
    let [new, old] = moving();
    let message = message_of(&old);
    let envelope = Envelope::new(migrating(&[new.clone(), old.clone()]));
    // It reports its primary, and does not wrap.
    new.set(|script| script.unwrap = Some(down()));
    let mut copy = message.clone();
    assert!(matches!(envelope.rewrap_in_place(&mut copy, USUAL), Err(Error::Backend(_))));
    assert_eq!(copy, message);
    assert_eq!(envelope.decrypt(&copy, ROW).unwrap(), PLAINTEXT);
}

#[test]
fn sixteen_members_are_the_most() {
    let mut fallback = MigratingKeyring::new(ring("orders", 1));
    for byte in 2..=MAX_MEMBERS as u8 {
        fallback = fallback.with(ring("orders", byte)).unwrap();
    }
    for byte in 1..=MAX_MEMBERS as u8 {
        let message = message_of(&Scripted::new(ring("orders", byte)));
        assert_eq!(Envelope::new(&fallback).decrypt(&message, ROW).unwrap(), PLAINTEXT);
    }
    let seventeenth = fallback.with(ring("orders", 17));
    assert!(matches!(seventeenth, Err(Error::TooManyMembers { most: 16, .. })));
}

/// Seeds 0 to 199: backends that rotate, disable and enable at will, messages of all of them; what
/// opens goes to the first and settles, what does not stays.
#[test]
fn whatever_opens_is_handed_over_and_settles() {
    for seed in 0..200 {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let members: Vec<_> = (1..=3).map(|byte| Scripted::new(ring("orders", byte))).collect();
        let envelope = Envelope::new(migrating(&members));
        let mut messages = Vec::new();
        for _ in 0..20 {
            let member = &members[rng.next_u32() as usize % 3];
            let number = version(1 + rng.next_u32() % 4);
            match rng.next_u32() % 5 {
                0 => drop(member.ring.rotate()),
                1 => drop(member.ring.disable(number)),
                2 => drop(member.ring.enable(number)),
                _ => messages.push(message_of(member)),
            }
        }
        for message in &mut messages {
            let opened = envelope.decrypt(message, ROW).is_ok();
            match envelope.rewrap_in_place(message, USUAL) {
                Ok(_) => {
                    assert!(opened, "seed {seed}");
                    assert!(!envelope.needs_rewrap(message).unwrap(), "seed {seed}");
                    let first = Envelope::new(&members[0].ring);
                    assert_eq!(first.decrypt(message, ROW).unwrap(), PLAINTEXT, "seed {seed}");
                }
                Err(error) => {
                    assert!(!opened, "seed {seed}: {error:?}");
                    assert_eq!(
                        Said::of(&error),
                        Said::of(&envelope.decrypt(message, ROW).unwrap_err()),
                        "seed {seed}"
                    );
                }
            }
        }
    }
}
