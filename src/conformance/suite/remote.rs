//! A service behind a keyring that changes unseen, denies, throttles and fails.

use super::Rule;
use super::contract::{self, freshness};
use super::probe::{Expected, Probe, show};
use crate::conformance::{TestRng, TestSlot};
use crate::error::BackendFailure;
use crate::format::{KeyVersion, Suite};
use crate::keyring::{Freshness, Keyring, KeyringError, Refusal};
use crate::{Aad, DataKey, Envelope};
use core::time::Duration;
use std::format;
use std::string::String;

/// A keyring under test, and the controls of the service behind it.
///
/// A control changes the service without notice to the keyring. It returns `false` if the service cannot do
/// that, and the suite then skips the tests that need it. The first slot that the keyring writes must be
/// under the service's key.
pub trait Controls {
    /// The type of the keyring under test.
    type Keyring: Keyring;

    /// Returns the keyring under test.
    fn keyring(&self) -> &Self::Keyring;

    /// Adds a version at the service and makes it the primary.
    fn rotate(&self) -> bool;

    /// Makes an earlier version of the service the primary again.
    fn promote(&self, version: KeyVersion) -> bool {
        let _ = version;
        false
    }

    /// Disables a version at the service.
    fn disable(&self, version: KeyVersion) -> bool {
        let _ = version;
        false
    }

    /// Makes the service deny the keyring the use of the key.
    fn deny(&self) -> bool {
        false
    }

    /// Makes the service throttle calls, with this wait or without one.
    fn throttle(&self, retry_after: Option<Duration>) -> bool {
        let _ = retry_after;
        false
    }

    /// Makes the service unavailable.
    fn break_backend(&self) -> bool {
        false
    }

    /// Reverts [`deny`](Self::deny), [`throttle`](Self::throttle) and
    /// [`break_backend`](Self::break_backend). A disabled version stays disabled.
    fn restore(&self) {}

    /// Expires the caches of the keyring, of metadata and of data keys, as time would.
    fn forget(&self) {}

    /// Calls `test` with keyrings for *the same key of the service* under another name or another wrap
    /// algorithm. Without them, no test covers that a wrap is bound to its name and algorithm.
    fn twins(&self, test: &mut dyn FnMut(&dyn Keyring)) {
        let _ = test;
    }
}

const SEED: u64 = 6_000;

fn probe<C: Controls>(controls: &C) -> Probe<'_, C::Keyring> {
    Probe::new(controls.keyring(), Suite::default(), SEED)
}

/// Wraps. Returns the slot under the service's key.
fn wrap<C: Controls>(controls: &C) -> TestSlot {
    let mut slots = probe(controls).wrap();
    Rule::Primary.check(!slots.is_empty(), "wrap of a keyring that can wrap pushes no slot");
    slots.swap_remove(0)
}

pub(super) fn test<C: Controls>(factory: &impl Fn() -> C) {
    test_rotation(&factory());
    test_rollback(&factory());
    test_disable(&factory());
    test_denied(&factory());
    for retry_after in [None, Some(Duration::from_secs(7))] {
        test_throttled(&factory(), retry_after);
    }
    test_outage(&factory());
    test_twins(&factory());
}

/// The label of a new slot is that of the version that the service wrapped under, whatever is cached.
fn test_rotation<C: Controls>(controls: &C) {
    let old = wrap(controls);
    for round in 1..=2 {
        if !controls.rotate() {
            return;
        }
        for when in ["before the keyring has seen it", "after"] {
            let what = format!("rotation {round} at the service, {when}");
            let new = wrap(controls);
            let checked = opens(controls, &new);
            Rule::Rotation.check(checked.is_ok(), format!("{what}: {checked:?} of the new slot"));
            let checked = opens(controls, &old);
            Rule::Rotation.check(checked.is_ok(), format!("{what}: {checked:?} of the old slot"));
            let envelope = Envelope::new(controls.keyring());
            let (aad, mut rng) = (Aad::new(b"conformance"), TestRng::seeded(8));
            let text = envelope.with_rng(&mut rng).encrypt(b"text", aad);
            let text = text.and_then(|message| envelope.decrypt(&message, aad));
            let right = text.as_ref().is_ok_and(|text| text == b"text");
            Rule::Rotation.check(right, format!("{what}: a message: {text:?}"));
            controls.forget();
        }
        let slots = contract::test(&probe(controls));
        let shown = show(&slots[0].label());
        Rule::Rotation.check(
            slots[0].label() != old.label(),
            format!("after a rotation the keyring still writes a {shown}"),
        );
        expect_freshness(controls, &old, Freshness::Stale, "after a rotation");
        contract::test_rewraps(&probe(controls), core::slice::from_ref(&old));
    }
}

/// A version is stale if it is not the primary, whatever its number.
fn test_rollback<C: Controls>(controls: &C) {
    let first = wrap(controls);
    if !controls.rotate() {
        return;
    }
    controls.forget();
    let second = wrap(controls);
    if !controls.promote(first.version) {
        return;
    }
    controls.forget();
    for (slot, expected) in [(&first, Freshness::Primary), (&second, Freshness::Stale)] {
        expect_freshness(controls, slot, expected, "after a rollback");
        probe(controls).expect(slot, Expected::Opens, "after a rollback");
    }
    contract::test(&probe(controls));
}

fn test_disable<C: Controls>(controls: &C) {
    let old = wrap(controls);
    let can = controls.rotate();
    controls.forget();
    if !can || !controls.disable(old.version) {
        return;
    }
    controls.forget();
    let refused = Refusal::Disabled;
    probe(controls).expect(&old, Expected::Refused(refused), "a version that was disabled");
    let what = "of a version that was disabled";
    expect_freshness(controls, &old, Freshness::Refused(refused), what);
    contract::expect_no_rewrap(&probe(controls), &old, Expected::Refused(refused));
    probe(controls).expect(&wrap(controls), Expected::Opens, "beside a disabled version");
}

fn test_denied<C: Controls>(controls: &C) {
    let reported = |error: &KeyringError| failure(error) == Some(BackendFailure::Denied);
    test_failing(controls, Rule::Denied, "a caller that is denied", C::deny, &reported);
}

fn test_throttled<C: Controls>(controls: &C, retry_after: Option<Duration>) {
    let reported =
        |error: &KeyringError| failure(error) == Some(BackendFailure::Throttled { retry_after });
    let what = format!("a caller that is throttled, to wait {retry_after:?}");
    test_failing(controls, Rule::Throttled, &what, |c| c.throttle(retry_after), &reported);
}

fn test_outage<C: Controls>(controls: &C) {
    let reported = |error: &KeyringError| {
        failure(error) == Some(BackendFailure::Unavailable { retryable: true })
    };
    test_failing(controls, Rule::Unavailable, "an outage", C::break_backend, &reported);
}

fn failure(error: &KeyringError) -> Option<BackendFailure> {
    match error {
        KeyringError::Backend(error) => Some(error.failure()),
        _ => None,
    }
}

/// While the service fails, the exact error is returned. Afterwards every call succeeds again.
fn test_failing<C: Controls>(
    controls: &C,
    rule: Rule,
    what: &str,
    fail: impl Fn(&C) -> bool,
    reported: &dyn Fn(&KeyringError) -> bool,
) {
    let slot = wrap(controls);
    if !fail(controls) {
        return;
    }
    for (when, may_remember) in [("at once", true), ("with empty caches", false)] {
        let exact = |result: &Result<(), KeyringError>| result.as_ref().is_err_and(reported);
        let probe = probe(controls);
        let (result, pushed) = probe.message.wrap(controls.keyring(), &mut TestRng::seeded(9));
        let none = pushed.iter().all(|pushed| pushed.name != slot.name);
        rule.check(exact(&result) && none, format!("{what}, {when}: wrap {result:?}"));
        let (result, pushed) = probe.rewrap(&slot);
        let exact_rewrap = exact(&result) && pushed.is_empty();
        rule.check(exact_rewrap, format!("{what}, {when}: rewrap {result:?}"));
        let result = opens(controls, &slot);
        let remembered = may_remember && result.is_ok();
        rule.check(remembered || exact(&result), format!("{what}, {when}: unwrap {result:?}"));
        match controls.keyring().freshness(&slot.label()) {
            Ok(Freshness::Primary | Freshness::Stale) => {}
            Err(error) if reported(&error) => {}
            result => rule.broken(format!("{what}, {when}: freshness {result:?}")),
        }
        match controls.keyring().visit_primaries(&mut |_| {}) {
            Ok(()) => {}
            Err(error) if reported(&error) => {}
            result => rule.broken(format!("{what}, {when}: primary {result:?}")),
        }
        // Names come from the writer of the message, so a foreign name costs no call of the service.
        let mut foreign = slot.clone();
        foreign.name.push('x');
        probe.expect(&foreign, Expected::NotMine, &format!("another name, {what}, {when}"));
        controls.forget();
    }
    controls.restore();
    let result = opens(controls, &slot);
    rule.check(result.is_ok(), format!("after {what}: unwrap {result:?}"));
    contract::test(&probe(controls));
}

/// Unwraps a wrapped key under another name or algorithm with a keyring that has these.
fn test_twins<C: Controls>(controls: &C) {
    let slot = wrap(controls);
    controls.twins(&mut |twin| {
        let own = Probe::new(twin, Suite::default(), SEED);
        let label = own.wrap().swap_remove(0);
        let relabelled = TestSlot { wrapped_key: slot.wrapped_key.clone(), ..label };
        own.expect(
            &relabelled,
            Expected::Authentication,
            &format!("the wrapped key of a {} under another label", show(&slot.label())),
        );
    });
}

/// Unwraps, and checks the data key and the error.
fn opens<C: Controls>(controls: &C, slot: &TestSlot) -> Result<(), KeyringError> {
    let (probe, mut data_key) = (probe(controls), DataKey::empty());
    let result = probe.message.unwrap_over(controls.keyring(), slot, &mut data_key);
    match &result {
        Ok(()) => {
            let right = probe.message.is_data_key(&data_key);
            Rule::RoundTrip.check(right, format!("another key from a {}", show(&slot.label())));
        }
        Err(error) => probe.check_error(error),
    }
    result
}

fn expect_freshness<C: Controls>(controls: &C, slot: &TestSlot, expected: Freshness, what: &str) {
    let reported = freshness(controls.keyring(), slot);
    let text =
        || -> String { format!("{what}: {reported:?}, not {expected:?}: {}", show(&slot.label())) };
    Rule::Freshness.check(reported == expected, text());
}
