//! Shows for every fault of the list that it does what it says, on a fresh SoftHSM token.
//!
//! The list is the module's own: a fault that no check here knows fails, and so does a check of
//! a fault that is not listed.

#[path = "../common/mod.rs"]
mod common;

mod calls;
mod keys;
mod output;
mod parameters;
mod token;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use common::hostile;
use common::token::Token;

/// A command of the list, and what shows that it works. The command is not armed yet.
type Check = (&'static str, fn(&mut Token, &str));

fn checks() -> Vec<Check> {
    [calls::CHECKS, keys::CHECKS, output::CHECKS, parameters::CHECKS, token::CHECKS].concat()
}

#[test]
fn every_fault_does_as_documented() {
    let checks = checks();
    let mut failed = Vec::new();
    for (command, _) in hostile().list() {
        let check = checks.iter().find(|(name, _)| *name == command);
        let (_, check) = check.unwrap_or_else(|| panic!("no check of: {command}"));
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let mut token = Token::fresh();
            check(&mut token, &command);
            assert!(token.hostile.injected() > 0, "nothing injected");
        }));
        if outcome.is_err() {
            failed.push(command);
        }
    }
    assert!(failed.is_empty(), "not as said: {failed:?}");
}

#[test]
fn every_check_is_of_a_fault_that_is_listed() {
    let listed: BTreeSet<String> =
        hostile().list().into_iter().map(|(command, _)| command).collect();
    for (command, _) in checks() {
        assert!(listed.contains(command), "not listed: {command}");
    }
    assert_eq!(listed.len(), checks().len());
}
