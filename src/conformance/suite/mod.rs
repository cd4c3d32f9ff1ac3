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
    /// `visit_primaries` visits the slots that `wrap` pushes: the same labels in order, with enough room.
    Primary,
    /// A wrapped key unwraps to the same key, and overwrites the key in the buffer.
    RoundTrip,
    /// A slot that differs in name, master key id or algorithm belongs to another keyring.
    NotMine,
    /// An unknown version is refused as unknown, and no other version is tried instead.
    UnknownVersion,
    /// A wrapped key that was changed, or moved to another message or label, does not authenticate.
    Authentication,
    /// A failure leaves no key behind.
    NoKeyOnFailure,
    /// A rewrap pushes one slot of the same name, which unwraps to the same key.
    Rewrap,
    /// Freshness agrees with `visit_primaries` and `unwrap`.
    Freshness,
    /// `holds` visits the names of the slots that `wrap` pushes, and nothing for an unknown name.
    Holds,
    /// `wrap_under` pushes one slot of that name, under its primary. For an unknown name it fails with
    /// `UnknownKey`.
    WrapUnder,
    /// After a rotation at the service, slots from before and after it open.
    Rotation,
    /// A service that does not let the caller use the key is reported as `Denied`.
    Denied,
    /// A service that is called too often is reported as `Throttled`, with the wait that it asks for.
    Throttled,
    /// A service that cannot be reached is reported as `Unavailable` and retryable.
    Unavailable,
    /// A failed generator is reported as `Randomness`, and no slot is pushed.
    Randomness,
    /// An error of the slot writer is returned unchanged.
    Room,
    /// No error repeats a secret.
    Secret,
    /// Calls from many threads at once return what they return alone.
    Threads,
    /// The state table of [`VersionState`](crate::keyset::VersionState).
    States,
    /// Changes are made together or not at all.
    AllOrNothing,
    /// A conditional change is refused if the keyset was changed since.
    CompareAndSwap,
    /// Version numbers grow, and none is used twice.
    Numbers,
    /// Key material that is all zero, or was used before, is refused.
    Material,
    /// A name is either a key or an alias, and an alias switches in one step.
    Names,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::Primary => "visit_primaries visits the slots that wrap pushes",
            Rule::RoundTrip => "a wrapped key unwraps to the same key",
            Rule::NotMine => "another keyring's slot is not mine",
            Rule::UnknownVersion => "an unknown version is refused as unknown",
            Rule::Authentication => "a changed wrap does not authenticate",
            Rule::NoKeyOnFailure => "a failure leaves no key behind",
            Rule::Rewrap => "a rewrap pushes one slot of the same name and key",
            Rule::Freshness => "freshness agrees with visit_primaries and unwrap",
            Rule::Holds => "holds visits the names that wrap pushes, and no other",
            Rule::WrapUnder => "wrap_under pushes one slot of that name",
            Rule::Rotation => "slots open after a rotation at the service",
            Rule::Denied => "a denial is reported as denied",
            Rule::Throttled => "a throttled call is reported as throttled",
            Rule::Unavailable => "an outage is reported as unavailable",
            Rule::Randomness => "a failed generator is an error, and no slot is pushed",
            Rule::Room => "an error of the slot writer is returned unchanged",
            Rule::Secret => "no error repeats a secret",
            Rule::Threads => "calls from many threads return what they return alone",
            Rule::States => "states change as the table says",
            Rule::AllOrNothing => "changes are made together or not at all",
            Rule::CompareAndSwap => "a conditional change after another is refused",
            Rule::Numbers => "version numbers grow and are not reused",
            Rule::Material => "zero and known key material is refused",
            Rule::Names => "a name is a key or an alias, and an alias switches in one step",
        })
    }
}

impl Rule {
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

/// Tests the keyrings that `factory` returns by the contract of [`Keyring`].
///
/// Each call of `factory` returns a keyring that can wrap. Two of them may have the same master
/// keys. Takes some 20,000 calls and eight threads.
///
/// # Panics
///
/// If a [`Rule`] is broken.
pub fn keyring<K: Keyring>(factory: impl Fn() -> K) {
    for &suite in Suite::ALL {
        let keyring = factory();
        let probe = Probe::new(&keyring, suite, u64::from(suite.id()));
        let slots = contract::test(&probe);
        binding::test(&probe, &slots);
        contract::test_names(&probe, &slots);
        contract::test_rewraps(&probe, &slots);
        contract::test_failures(&probe, slots.len());
        contract::test_other_keyring(&probe, &slots, &factory());
        contract::test_messages(&keyring, suite);
    }
    threads::test(&factory());
}

/// Tests a keyring while the service behind it changes or fails. [`keyring`] tests the rest.
///
/// Each call of `factory` returns a service with one version of one key, and a keyring over it that can
/// wrap. Takes some 500 calls.
///
/// # Panics
///
/// If a [`Rule`] is broken.
pub fn remote<C: Controls>(factory: impl Fn() -> C) {
    remote::test(&factory);
}

/// Tests the keyrings that `factory` returns by the contracts of [`Keyring`] and [`Lifecycle`].
///
/// Each call of `factory` returns an independent keyring whose key has a primary, no other version, and
/// room for more. The suite creates more keys and aliases, and makes its changes in the year 2040.
///
/// # Panics
///
/// If a [`Rule`] is broken.
pub fn lifecycle<K: Lifecycle>(factory: impl Fn() -> K) {
    keyring(&factory);
    states::test(&factory);
    lifecycle::test(&factory);
    races::test(&factory);
}
