//! A service behind a keyring: it changes behind the keyring's back, denies, throttles and fails.

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

/// A keyring under test, and what a test does to the service behind it.
///
/// The keyring is told of nothing. The first slot that it writes is the service's.
///
/// A control answers whether the service can do this. Where it cannot, the suite leaves out what
/// takes the control.
pub trait Controls {
    /// The keyring that is judged.
    type Keyring: Keyring;

    /// The keyring.
    fn keyring(&self) -> &Self::Keyring;

    /// Adds a version at the service, which wraps from now on.
    fn rotate(&self) -> bool;

    /// Has an earlier version of the service wrap again.
    fn promote(&self, version: KeyVersion) -> bool {
        let _ = version;
        false
    }

    /// Disables a version at the service.
    fn disable(&self, version: KeyVersion) -> bool {
        let _ = version;
        false
    }

    /// From now on the service answers that the keyring may not use the key.
    fn deny(&self) -> bool {
        false
    }

    /// From now on the service answers that it is called too often, with this wait or without one.
    fn throttle(&self, retry_after: Option<Duration>) -> bool {
        let _ = retry_after;
        false
    }

    /// From now on the service does not answer.
    fn break_backend(&self) -> bool {
        false
    }

    /// Ends what [`deny`](Self::deny), [`throttle`](Self::throttle) and
    /// [`break_backend`](Self::break_backend) began. A version that is disabled stays so.
    fn restore(&self) {}

    /// Has the keyring forget what it remembers of the service, as time would: a cache of metadata
    /// or of data keys, a look at a file.
    fn forget(&self) {}

    /// Calls `judge` with each of the keyrings that stand for *the same key of the service* under
    /// another name or another wrap algorithm. Without them nothing shows whether a wrap is bound to
    /// these two.
    fn twins(&self, judge: &mut dyn FnMut(&dyn Keyring)) {
        let _ = judge;
    }
}

const SEED: u64 = 6_000;

fn probe<C: Controls>(controls: &C) -> Probe<'_, C::Keyring> {
    Probe::new(controls.keyring(), Suite::default(), SEED)
}

/// The slot of the service.
fn wrap<C: Controls>(controls: &C) -> TestSlot {
    let mut slots = probe(controls).wrap();
    Rule::Primary.check(!slots.is_empty(), "wrap of a keyring that can wrap pushes none");
    slots.swap_remove(0)
}

pub(super) fn judge<C: Controls>(factory: &impl Fn() -> C) {
    judge_rotation(&factory());
    judge_rollback(&factory());
    judge_disable(&factory());
    judge_denied(&factory());
    for retry_after in [None, Some(Duration::from_secs(7))] {
        judge_throttled(&factory(), retry_after);
    }
    judge_outage(&factory());
    judge_twins(&factory());
}

/// Whatever the keyring remembers, what it writes is what the service wrapped.
fn judge_rotation<C: Controls>(controls: &C) {
    let old = wrap(controls);
    for round in 1..=2 {
        if !controls.rotate() {
            return;
        }
        for when in ["before the keyring has seen it", "after"] {
            let what = format!("rotation {round} behind the keyring's back, {when}");
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
        let slots = contract::judge(&probe(controls));
        let shown = show(&slots[0].label());
        Rule::Rotation.check(
            slots[0].label() != old.label(),
            format!("after a rotation the keyring still writes a {shown}"),
        );
        expect_freshness(controls, &old, Freshness::Stale, "after a rotation");
        contract::judge_rewraps(&probe(controls), core::slice::from_ref(&old));
    }
}

/// A version is stale if it is not the primary, never by being lower.
fn judge_rollback<C: Controls>(controls: &C) {
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
    contract::judge(&probe(controls));
}

fn judge_disable<C: Controls>(controls: &C) {
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

fn judge_denied<C: Controls>(controls: &C) {
    let told = |error: &KeyringError| failure(error) == Some(BackendFailure::Denied);
    judge_failing(controls, Rule::Denied, "a caller that is denied", C::deny, &told);
}

fn judge_throttled<C: Controls>(controls: &C, retry_after: Option<Duration>) {
    let told =
        |error: &KeyringError| failure(error) == Some(BackendFailure::Throttled { retry_after });
    let what = format!("a caller that is throttled, to wait {retry_after:?}");
    judge_failing(controls, Rule::Throttled, &what, |c| c.throttle(retry_after), &told);
}

fn judge_outage<C: Controls>(controls: &C) {
    let told = |error: &KeyringError| {
        failure(error) == Some(BackendFailure::Unavailable { retryable: true })
    };
    judge_failing(controls, Rule::Unavailable, "an outage", C::break_backend, &told);
}

fn failure(error: &KeyringError) -> Option<BackendFailure> {
    match error {
        KeyringError::Backend(error) => Some(error.failure()),
        _ => None,
    }
}

/// While the service fails, no answer is made up, and nothing of it stays.
fn judge_failing<C: Controls>(
    controls: &C,
    rule: Rule,
    what: &str,
    fail: impl Fn(&C) -> bool,
    told: &dyn Fn(&KeyringError) -> bool,
) {
    let slot = wrap(controls);
    if !fail(controls) {
        return;
    }
    for (when, may_remember) in [("at once", true), ("once all is forgotten", false)] {
        let exact = |answer: &Result<(), KeyringError>| answer.as_ref().is_err_and(told);
        let probe = probe(controls);
        let (answer, pushed) = probe.message.wrap(controls.keyring(), &mut TestRng::seeded(9));
        let none = pushed.iter().all(|pushed| pushed.name != slot.name);
        rule.check(exact(&answer) && none, format!("{what}, {when}: wrap {answer:?}"));
        let (answer, pushed) = probe.rewrap(&slot);
        let exact_rewrap = exact(&answer) && pushed.is_empty();
        rule.check(exact_rewrap, format!("{what}, {when}: rewrap {answer:?}"));
        let answer = opens(controls, &slot);
        let remembered = may_remember && answer.is_ok();
        rule.check(remembered || exact(&answer), format!("{what}, {when}: unwrap {answer:?}"));
        match controls.keyring().freshness(&slot.label()) {
            Ok(Freshness::Primary | Freshness::Stale) => {}
            Err(error) if told(&error) => {}
            answer => rule.broken(format!("{what}, {when}: freshness {answer:?}")),
        }
        match controls.keyring().visit_primaries(&mut |_| {}) {
            Ok(()) => {}
            Err(error) if told(&error) => {}
            answer => rule.broken(format!("{what}, {when}: primary {answer:?}")),
        }
        // Names come from whoever wrote the message: no call to the service.
        let mut stranger = slot.clone();
        stranger.name.push('x');
        probe.expect(&stranger, Expected::NotMine, &format!("another name, {what}, {when}"));
        controls.forget();
    }
    controls.restore();
    let answer = opens(controls, &slot);
    rule.check(answer.is_ok(), format!("{what} has ended: unwrap {answer:?}"));
    contract::judge(&probe(controls));
}

/// A wrapped key under another name or algorithm, taken by a keyring that has these.
fn judge_twins<C: Controls>(controls: &C) {
    let slot = wrap(controls);
    controls.twins(&mut |twin| {
        let own = Probe::new(twin, Suite::default(), SEED);
        let label = own.wrap().swap_remove(0);
        let relabelled = TestSlot { wrapped_key: slot.wrapped_key.clone(), ..label };
        own.expect(
            &relabelled,
            Expected::Authentication,
            &format!("a wrapped key of a {}, as that of another keyring", show(&slot.label())),
        );
    });
}

/// Unwraps, and makes sure that it is the key.
fn opens<C: Controls>(controls: &C, slot: &TestSlot) -> Result<(), KeyringError> {
    let (probe, mut data_key) = (probe(controls), DataKey::empty());
    let answer = probe.message.unwrap_over(controls.keyring(), slot, &mut data_key);
    match &answer {
        Ok(()) => {
            let right = probe.message.is_data_key(&data_key);
            Rule::RoundTrip.check(right, format!("another key out of a {}", show(&slot.label())));
        }
        Err(error) => probe.check_error(error),
    }
    answer
}

fn expect_freshness<C: Controls>(controls: &C, slot: &TestSlot, expected: Freshness, what: &str) {
    let told = freshness(controls.keyring(), slot);
    let text =
        || -> String { format!("{what}: {told:?}, not {expected:?}: {}", show(&slot.label())) };
    Rule::Freshness.check(told == expected, text());
}
