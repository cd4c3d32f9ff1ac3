//! One keyring and one message: calls, and what every answer is checked for.

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

/// What an unwrap must answer.
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

    fn is(self, answer: &Result<(), KeyringError>) -> bool {
        match (self, answer) {
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

    /// The same keyring, and the same data key where it does not belong.
    pub(super) fn with(&self, message: TestMessage) -> Self {
        let rng = RefCell::new(TestRng::seeded(1));
        Probe { keyring: self.keyring, message, rng }
    }

    pub(super) fn primary(&self) -> Vec<(TestSlot, Option<usize>)> {
        let mut visited = Vec::new();
        let answer = self.keyring.visit_primaries(&mut |primary| {
            visited.push((TestSlot::new(&primary.label, &[]), primary.max_wrapped_key_len));
        });
        if let Err(error) = answer {
            self.check_error(&error);
            Rule::Primary.broken(format!("primary of a keyring that can wrap: {error:?}"));
        }
        visited
    }

    /// Wraps, which must succeed.
    pub(super) fn wrap(&self) -> Vec<TestSlot> {
        let (answer, slots) = self.message.wrap(self.keyring, &mut *self.rng.borrow_mut());
        if let Err(error) = answer {
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
        let (answer, slots) = self.message.wrap_under(self.keyring, name, rng);
        if let Err(error) = &answer {
            self.check_error(error);
        }
        (answer, slots)
    }

    pub(super) fn rewrap(&self, slot: &TestSlot) -> (Result<(), KeyringError>, Vec<TestSlot>) {
        let rng = &mut *self.rng.borrow_mut();
        let (answer, slots) = self.message.rewrap(self.keyring, slot, rng);
        if let Err(error) = &answer {
            self.check_error(error);
        }
        (answer, slots)
    }

    /// Unwraps `slot` and compares the answer; `what` was done to it.
    #[track_caller]
    pub(super) fn expect(&self, slot: &TestSlot, expected: Expected, what: &str) {
        // Another key stands there: an answer of "done" without a fill is no key.
        let mut data_key = DataKey::empty();
        let len = self.message.data_key().len();
        Rule::RoundTrip.check(data_key.set(&[0x5A; 32][..len]), "a key of 32 bytes fits");
        let answer = self.message.unwrap_over(self.keyring, slot, &mut data_key);
        if let Err(error) = &answer {
            self.check_error(error);
            let left = self.message.is_data_key(&data_key);
            Rule::NoKeyOnFailure.check(!left, format!("{what}: {error:?}, and the key is there"));
        }
        let described = || {
            let label = slot.label();
            format!("{what}, {}: {answer:?}, expected {expected:?}", show(&label))
        };
        if !expected.is(&answer) {
            expected.rule().broken(described());
        }
        if expected == Expected::Opens {
            let right = self.message.is_data_key(&data_key);
            Rule::RoundTrip.check(right, format!("{}, and another key came out", described()));
        }
    }

    /// No form in which a key is printed by accident is in the error or its sources.
    #[track_caller]
    pub(super) fn check_error(&self, error: &(dyn StdError + 'static)) {
        let shown = shows(error, self.message.data_key().expose());
        Rule::Secret.check(!shown, "an error shows bytes of the data key");
    }
}

/// Whether `error` or a source of it shows six bytes of `secret` in hexadecimal or four in
/// decimal.
pub(super) fn shows(error: &(dyn StdError + 'static), secret: &[u8]) -> bool {
    let mut text = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        // In hexadecimal too: a list of bytes is one then.
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
