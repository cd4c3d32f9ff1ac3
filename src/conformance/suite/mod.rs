//! The suite: tests of a keyring by the contracts of [`Keyring`] and [`Lifecycle`], call by call.

mod binding;
mod contract;
mod lifecycle;
mod probe;
mod races;
mod remote;
mod states;
mod threads;

pub use remote::Controls;

use crate::format::Suite;
use crate::keyring::{Keyring, Lifecycle};
use core::fmt;
use probe::Probe;

/// A rule of the contract. A panic of the suite begins with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// `visit_primaries` visits what `wrap` pushes: the same labels in order, and room enough.
    Primary,
    /// What was wrapped unwraps to the same key, over whatever stood there before.
    RoundTrip,
    /// A slot that differs in name, master key id or algorithm is another keyring's.
    NotMine,
    /// A version that is not known is refused as unknown, and nothing stands in for it.
    UnknownVersion,
    /// A wrapped key that was changed or moved does not authenticate.
    Authentication,
    /// A failure leaves no key behind.
    NoKeyOnFailure,
    /// A rewrap pushes one slot of the same name, which unwraps to the same key.
    Rewrap,
    /// Freshness agrees with `visit_primaries` and `unwrap`.
    Freshness,
    /// `holds` visits the names of the slots that `wrap` pushes, and none for a name of nobody.
    Holds,
    /// `wrap_under` pushes one slot of that name, under its primary; for a name that is not held it is
    /// `UnknownKey`.
    WrapUnder,
    /// What is wrapped after a rotation behind the keyring's back opens, and so does what was before.
    Rotation,
    /// A service that does not let the caller use the key is `Denied`.
    Denied,
    /// A service that is called too often is `Throttled`, with the wait that it asks for.
    Throttled,
    /// A service that does not answer is `Unavailable` and retryable.
    Unavailable,
    /// A generator that fails is `Randomness`, and nothing is pushed.
    Randomness,
    /// An error of the slot writer is passed on.
    Room,
    /// No error repeats a secret.
    Secret,
    /// Calls from many threads at once do not disturb each other.
    Threads,
    /// The state table of [`VersionState`](crate::keyset::VersionState).
    States,
    /// Changes are made together or not at all.
    AllOrNothing,
    /// A change is refused if the caller did not see the one before, when it asked for that.
    CompareAndSwap,
    /// Version numbers grow, and none is used twice.
    Numbers,
    /// Key material that is all zero or was there before is refused.
    Material,
    /// Names and aliases: one thing each, switched in one step.
    Names,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::Primary => "primary visits what wrap pushes",
            Rule::RoundTrip => "what was wrapped unwraps to the same key",
            Rule::NotMine => "another keyring's slot is not mine",
            Rule::UnknownVersion => "an unknown version is refused as unknown",
            Rule::Authentication => "a changed wrap does not authenticate",
            Rule::NoKeyOnFailure => "a failure leaves no key behind",
            Rule::Rewrap => "a rewrap pushes one slot of the same name and key",
            Rule::Freshness => "freshness agrees with primary and unwrap",
            Rule::Holds => "holds visits the names that wrap pushes, and no other",
            Rule::WrapUnder => "wrap_under pushes one slot of that name",
            Rule::Rotation => "a rotation behind the keyring's back loses nothing",
            Rule::Denied => "a denial is told as one",
            Rule::Throttled => "a throttled call is told as one",
            Rule::Unavailable => "an outage is told as one",
            Rule::Randomness => "a failed generator is an error, and no slot",
            Rule::Room => "an error of the slot writer is passed on",
            Rule::Secret => "no error repeats a secret",
            Rule::Threads => "many threads do not disturb each other",
            Rule::States => "the state table holds",
            Rule::AllOrNothing => "changes are made together or not at all",
            Rule::CompareAndSwap => "a change upon an unseen one is refused",
            Rule::Numbers => "version numbers grow and are not reused",
            Rule::Material => "zero and known key material is refused",
            Rule::Names => "a name is one thing, and switched in one step",
        })
    }
}

impl Rule {
    /// Stops the judgement.
    #[track_caller]
    pub(super) fn broken(self, what: impl fmt::Display) -> ! {
        panic!("keyring breaks {self:?} ({self}): {what}")
    }

    #[track_caller]
    pub(super) fn check(self, holds: bool, what: impl fmt::Display) {
        if !holds {
            self.broken(what)
        }
    }
}

/// Judges the keyrings that `factory` makes by the contract of [`Keyring`].
///
/// Each call of `factory` gives a keyring that can wrap; whether two of them have the same master
/// keys is left open. Takes some 20,000 calls and eight threads.
///
/// # Panics
///
/// If a [`Rule`] is broken.
pub fn keyring<K: Keyring>(factory: impl Fn() -> K) {
    for &suite in Suite::ALL {
        let keyring = factory();
        let probe = Probe::new(&keyring, suite, u64::from(suite.id()));
        let slots = contract::judge(&probe);
        binding::judge(&probe, &slots);
        contract::judge_names(&probe, &slots);
        contract::judge_rewraps(&probe, &slots);
        contract::judge_failures(&probe, slots.len());
        contract::judge_strangers(&probe, &slots, &factory());
        contract::judge_messages(&keyring, suite);
    }
    threads::judge(&factory());
}

/// Judges what shows only when the service behind a keyring changes or fails; [`keyring`] judges the
/// rest.
///
/// Each call of `factory` gives a service with one version of one key, and a keyring over it that can
/// wrap. Takes some 500 calls.
///
/// # Panics
///
/// If a [`Rule`] is broken.
pub fn remote<C: Controls>(factory: impl Fn() -> C) {
    remote::judge(&factory);
}

/// Judges the keyrings that `factory` makes by the contracts of [`Keyring`] and [`Lifecycle`].
///
/// Each call of `factory` gives a keyring of its own, no other's changes visible in it, whose key
/// has a primary, no other version, and room for more; the suite creates more keys and aliases.
/// It makes changes at times of its own, in the year 2040.
///
/// # Panics
///
/// If a [`Rule`] is broken.
pub fn lifecycle<K: Lifecycle>(factory: impl Fn() -> K) {
    keyring(&factory);
    states::judge(&factory);
    lifecycle::judge(&factory);
    races::judge(&factory);
}
