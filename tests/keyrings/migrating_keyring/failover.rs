//! A fail-over encrypts as long as one member is available, and hides nothing that needs an operator.

use super::combine::{PLAINTEXT, ROW, label, labels, ring};
use envelock::conformance::{Fault, FaultyKeyring, Method};
use envelock::rand_core::{Rng, SeedableRng};
use envelock::{
    Envelope, Error, FailoverKeyring, Keyring, Lifecycle, MemoryKeyring, MigratingKeyring,
    MultiKeyring, RewrapOptions, Suite, inspect,
    keyring::{Freshness, KeyringError, Refusal},
};
use rand_chacha::ChaCha20Rng;
use std::io;
use std::sync::Arc;
use std::time::Duration;

const USUAL: RewrapOptions = RewrapOptions::new();

type Member = Arc<FaultyKeyring<MemoryKeyring>>;

fn member(name: &str, byte: u8) -> Member {
    Arc::new(FaultyKeyring::new(ring(name, byte)))
}

fn failover(members: &[Member]) -> FailoverKeyring {
    let (first, rest) = members.split_first().unwrap();
    let all = FailoverKeyring::new(first.clone());
    rest.iter().fold(all, |all, member| all.with(member.clone()).unwrap())
}

/// Every result of a wrap that failed.
fn failures() -> Vec<(KeyringError, bool)> {
    let source = || io::Error::other("no route");
    let limit = KeyringError::wrap_limit("near", envelock::KeyVersion::FIRST, 1);
    vec![
        (KeyringError::unavailable(source()), true),
        (KeyringError::broken(source()), true),
        (KeyringError::throttled(None, source()), true),
        (KeyringError::throttled(Some(Duration::from_secs(1)), source()), true),
        (KeyringError::denied(source()), false),
        (KeyringError::NoPrimary, false),
        (KeyringError::Refused(Refusal::Disabled), false),
        (KeyringError::unknown_key("near"), false),
        (limit, false),
        (KeyringError::NotMine, false),
        (KeyringError::Authentication, false),
    ]
}

#[test]
fn stand_in_wraps_only_for_an_unavailable_member() {
    for (failure, moves_on) in failures() {
        let members = [member("near", 1), member("far", 2)];
        let envelope = Envelope::new(failover(&members));
        members[0].always(Method::Wrap, Fault::Error(failure.clone()));
        let encrypted = envelope.encrypt(PLAINTEXT, ROW);
        assert_eq!(members[1].calls(Method::Wrap), usize::from(moves_on), "{failure:?}");
        assert_eq!(encrypted.is_ok(), moves_on, "{failure:?}");
        if let Ok(message) = encrypted {
            assert_eq!(labels(&message), [label("far", 1)]);
            assert_eq!(envelope.decrypt(&message, ROW).unwrap(), PLAINTEXT);
        }
        members[0].heal();
        let message = envelope.encrypt(PLAINTEXT, ROW).unwrap();
        assert_eq!(labels(&message), [label("near", 1)]);
    }
}

/// A stand-in that denies does not make an outage of the first final.
#[test]
fn error_of_several_may_change_on_retry() {
    let source = || io::Error::other("no route");
    let members = [member("near", 1), member("far", 2)];
    let envelope = Envelope::new(failover(&members));
    let wait = Duration::from_secs(3);
    members[0].always(Method::Wrap, Fault::Error(KeyringError::throttled(Some(wait), source())));
    members[1].always(Method::Wrap, Fault::Error(KeyringError::denied(source())));
    let error = envelope.encrypt(PLAINTEXT, ROW).unwrap_err();
    assert!(matches!(error, Error::Backend(_)), "{error:?}");
    assert_eq!((error.is_retryable(), error.retry_after()), (true, Some(wait)));
    members[0].always(Method::Wrap, Fault::Error(KeyringError::broken(source())));
    members[1].always(Method::Wrap, Fault::Error(KeyringError::unavailable(source())));
    assert!(envelope.encrypt(PLAINTEXT, ROW).unwrap_err().is_retryable());
    members[1].always(Method::Wrap, Fault::Error(KeyringError::broken(source())));
    assert!(!envelope.encrypt(PLAINTEXT, ROW).unwrap_err().is_retryable());
}

/// Whichever member wraps, and in whatever suite: names and numbers of slots differ.
#[test]
fn message_is_as_long_whichever_member_wraps() {
    let long = "f".repeat(60);
    for &suite in Suite::ALL {
        for (near, far) in [("n", long.as_str()), (long.as_str(), "f"), ("same", "size")] {
            let near = member(near, 1);
            let (first, second) = (member(far, 2), member("second", 3));
            let pair = MultiKeyring::new(first.clone()).with(second).unwrap();
            let all = FailoverKeyring::new(near.clone()).with(pair).unwrap();
            let envelope = Envelope::new(all).with_suite(suite);
            let len = envelope.header_len().unwrap();
            for is_down in [false, true] {
                let down = || KeyringError::unavailable(io::Error::other("down"));
                if is_down {
                    near.always(Method::Wrap, Fault::Error(down()));
                }
                let message = envelope.encrypt(PLAINTEXT, ROW).unwrap();
                assert_eq!(labels(&message).len(), 1 + usize::from(is_down));
                assert_eq!(inspect(&message).unwrap().len(), len);
                assert_eq!(envelope.decrypt(&message, ROW).unwrap(), PLAINTEXT);
            }
            // Slots that a member pushed before it failed are not kept.
            let down = KeyringError::unavailable(io::Error::other("down"));
            near.heal();
            near.always(Method::Wrap, Fault::ErrorAfter(down));
            assert_eq!(labels(&envelope.encrypt(PLAINTEXT, ROW).unwrap()).len(), 2);
        }
    }
}

/// Members of one length reserve nothing.
#[test]
fn header_of_members_alike_is_as_long_as_of_one() {
    let members = [member("near", 1), member("afar", 2)];
    for &suite in Suite::ALL {
        let one = Envelope::new(&members[0]).with_suite(suite).header_len().unwrap();
        let envelope = Envelope::new(failover(&members)).with_suite(suite);
        assert_eq!(envelope.header_len().unwrap(), one);
    }
}

#[test]
fn slot_under_any_member_primary_is_current() {
    let members = [member("orders", 1), member("orders", 2)];
    let all = failover(&members);
    for owner in &members {
        let message = Envelope::new(owner).encrypt(PLAINTEXT, ROW).unwrap();
        let slot = inspect(&message).unwrap().slots().next().unwrap();
        assert_eq!(all.freshness(&slot.label).unwrap(), Freshness::Primary);
        let envelope = Envelope::new(&all);
        assert!(!envelope.needs_rewrap(&message).unwrap());
        owner.rotate().unwrap();
        assert!(envelope.needs_rewrap(&message).unwrap());
        let rewrapped = envelope.rewrap(&message, USUAL).unwrap();
        assert!(!Envelope::new(owner).needs_rewrap(rewrapped.header()).unwrap());
    }
    // Of the same members, a migration brings back what a stand-in wrapped.
    let message = Envelope::new(&members[1]).encrypt(PLAINTEXT, ROW).unwrap();
    let [near, far] = members;
    let back = Envelope::new(MigratingKeyring::new(near.clone()).with(far).unwrap());
    let rewrapped = back.rewrap(&message, USUAL).unwrap();
    assert!(!Envelope::new(near).needs_rewrap(rewrapped.header()).unwrap());
}

/// Which member wraps, which error comes out, and what opens, against a model.
#[test]
fn random_outages_are_met_as_a_model_says() {
    const NAMES: [&str; 3] = ["one", "second", "the-third"];
    for seed in 0..300 {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let members: Vec<Member> = (0..3).map(|at| member(NAMES[at], at as u8 + 1)).collect();
        let all = failures();
        let mut picks = Vec::new();
        for member in &members {
            let pick = rng.next_u32() as usize % (all.len() + 4);
            picks.push(all.get(pick).cloned());
            if let Some((failure, _)) = all.get(pick) {
                member.always(Method::Wrap, Fault::Error(failure.clone()));
            }
        }
        // The first member that succeeds, or fails with an error that is not skipped.
        let end = picks.iter().position(|pick| pick.as_ref().is_none_or(|(_, moves)| !moves));
        let wraps = end.filter(|at| picks[*at].is_none());
        let asked = end.map_or(3, |at| at + 1);
        let may_pass = picks[..asked].iter().flatten().any(|(failure, _)| failure.is_retryable());
        let envelope = Envelope::new(failover(&members));
        match (envelope.encrypt(PLAINTEXT, ROW), wraps) {
            (Ok(message), Some(at)) => {
                assert_eq!(labels(&message), [label(NAMES[at], 1)], "seed {seed}");
                assert_eq!(envelope.decrypt(&message, ROW).unwrap(), PLAINTEXT);
            }
            (Err(error), None) => assert_eq!(error.is_retryable(), may_pass, "seed {seed} {error}"),
            (encrypted, wraps) => panic!("seed {seed}: {encrypted:?}, {wraps:?}"),
        }
        for (at, member) in members.iter().enumerate() {
            assert_eq!(member.calls(Method::Wrap), usize::from(at < asked), "seed {seed}");
        }
    }
}

#[test]
fn wrap_that_is_refused_names_the_version() {
    let members = [member("orders", 1), member("backup", 2)];
    members[1].always(Method::Wrap, Fault::Error(KeyringError::Refused(Refusal::Disabled)));
    let both = MultiKeyring::new(members[0].clone()).with(members[1].clone()).unwrap();
    let error = Envelope::new(both).encrypt(PLAINTEXT, ROW).unwrap_err();
    let Error::Refused { key, version, refusal, .. } = &error else { panic!("{error:?}") };
    let first = envelock::KeyVersion::FIRST;
    assert_eq!((key.as_str(), *version, *refusal), ("backup", first, Refusal::Disabled));
}
