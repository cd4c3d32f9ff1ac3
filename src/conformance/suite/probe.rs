//! Calls of one keyring for one message, with the checks of every result.

use super::Rule;
use crate::conformance::{TestMessage, TestRng, TestSlot};
use crate::crypto::secret::DataKey;
use crate::format::{KeyName, SlotLabel, Suite};
use crate::keyring::{Keyring, KeyringError, Refusal};
use core::cell::RefCell;
use core::error::Error as StdError;
use core::fmt::Write;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

/// The expected result of an unwrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Opens,
    NotMine,
    Refused(Refusal),
    Authentication,
}

impl Expected {
    fn rule(self) -> Rule {
        match self {
            Expected::Opens => Rule::RoundTrip,
            Expected::NotMine => Rule::NotMine,
            Expected::Refused(Refusal::UnknownVersion) => Rule::UnknownVersion,
            Expected::Refused(_) => Rule::States,
            Expected::Authentication => Rule::Authentication,
        }
    }

    fn is(self, result: &Result<(), KeyringError>) -> bool {
        match (self, result) {
            (Expected::Opens, Ok(()))
            | (Expected::NotMine, Err(KeyringError::NotMine))
            | (Expected::Authentication, Err(KeyringError::Authentication)) => true,
            (Expected::Refused(expected), Err(KeyringError::Refused(refusal))) => {
                expected == *refusal
            }
            _ => false,
        }
    }
}

pub(super) struct Probe<'k, K: ?Sized> {
    pub(super) keyring: &'k K,
    pub(super) message: TestMessage,
    rng: RefCell<TestRng>,
}

impl<'k, K: Keyring + ?Sized> Probe<'k, K> {
    pub(super) fn new(keyring: &'k K, suite: Suite, seed: u64) -> Self {
        let mut rng = TestRng::seeded(seed);
        let message = TestMessage::new(suite, &mut rng);
        Probe { keyring, message, rng: RefCell::new(rng) }
    }

    /// Returns a probe of the same keyring for another message.
    pub(super) fn with(&self, message: TestMessage) -> Self {
        let rng = RefCell::new(TestRng::seeded(1));
        Probe { keyring: self.keyring, message, rng }
    }

    pub(super) fn primary(&self) -> Vec<(TestSlot, Option<usize>)> {
        let mut visited = Vec::new();
        let result = self.keyring.visit_primaries(&mut |primary| {
            visited.push((TestSlot::new(&primary.label, &[]), primary.max_wrapped_key_len));
        });
        if let Err(error) = result {
            self.check_error(&error);
            Rule::Primary.broken(format!("visit_primaries of a keyring that can wrap: {error:?}"));
        }
        visited
    }

    /// Wraps, which must succeed.
    pub(super) fn wrap(&self) -> Vec<TestSlot> {
        let (result, slots) = self.message.wrap(self.keyring, &mut *self.rng.borrow_mut());
        if let Err(error) = result {
            self.check_error(&error);
            Rule::RoundTrip.broken(format!("wrap of a keyring that can wrap: {error:?}"));
        }
        slots
    }

    pub(super) fn wrap_under(
        &self,
        name: KeyName<'_>,
    ) -> (Result<(), KeyringError>, Vec<TestSlot>) {
        let rng = &mut *self.rng.borrow_mut();
        let (result, slots) = self.message.wrap_under(self.keyring, name, rng);
        if let Err(error) = &result {
            self.check_error(error);
        }
        (result, slots)
    }

    pub(super) fn rewrap(&self, slot: &TestSlot) -> (Result<(), KeyringError>, Vec<TestSlot>) {
        let rng = &mut *self.rng.borrow_mut();
        let (result, slots) = self.message.rewrap(self.keyring, slot, rng);
        if let Err(error) = &result {
            self.check_error(error);
        }
        (result, slots)
    }

    /// Unwraps `slot` and compares the result. `what` describes the slot.
    #[track_caller]
    pub(super) fn expect(&self, slot: &TestSlot, expected: Expected, what: &str) {
        // Another key is in the buffer: `Ok` without a fill must not be taken for the data key.
        let mut data_key = DataKey::empty();
        let len = self.message.data_key().len();
        Rule::RoundTrip.check(data_key.set(&[0x5A; 32][..len]), "a key of 32 bytes fits");
        let result = self.message.unwrap_over(self.keyring, slot, &mut data_key);
        if let Err(error) = &result {
            self.check_error(error);
            let left = self.message.is_data_key(&data_key);
            Rule::NoKeyOnFailure
                .check(!left, format!("{what}: {error:?}, and the key is in the buffer"));
        }
        let described = || {
            let label = slot.label();
            format!("{what}, {}: {result:?}, expected {expected:?}", show(&label))
        };
        if !expected.is(&result) {
            expected.rule().broken(described());
        }
        if expected == Expected::Opens {
            let right = self.message.is_data_key(&data_key);
            Rule::RoundTrip.check(right, format!("{}, and the key is another", described()));
        }
    }

    #[track_caller]
    pub(super) fn check_error(&self, error: &(dyn StdError + 'static)) {
        let has_key = contains(error, self.message.data_key().expose());
        Rule::Secret.check(!has_key, "an error contains bytes of the data key");
    }
}

/// Returns whether `error` or a source of it contains six bytes of `secret` in hexadecimal or four in
/// decimal.
pub(super) fn contains(error: &(dyn StdError + 'static), secret: &[u8]) -> bool {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        // `x?` prints a list of bytes in hexadecimal.
        let _ = write!(text, "{error} {error:?} {error:x?} ");
        next = error.source();
    }
    let lower = text.to_lowercase().replace("0x", "");
    let hex: String = lower.chars().filter(char::is_ascii_alphanumeric).collect();
    let in_hex = secret.windows(6).any(|bytes| {
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        hex.contains(&digits)
    });
    let numbers: String = lower.chars().map(|c| if c.is_ascii_digit() { c } else { ' ' }).collect();
    let numbers = numbers.split_whitespace().collect::<Vec<_>>().join(" ");
    in_hex
        || secret.windows(4).any(|bytes| {
            let decimal: Vec<_> = bytes.iter().map(|byte| byte.to_string()).collect();
            format!(" {numbers} ").contains(&format!(" {} ", decimal.join(" ")))
        })
}

pub(super) fn show(label: &SlotLabel<'_>) -> String {
    let SlotLabel { name, version, master_key_id, algorithm } = label;
    format!("slot of {} version {version} id {master_key_id} {algorithm}", name.as_str())
}
