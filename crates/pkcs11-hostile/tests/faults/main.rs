//! Tests the effect of every fault of the list, on a fresh SoftHSM token.
//!
//! The list is that of the module. A fault without a check fails, and so does a check without a fault.

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

/// A command of the list, and a test of its effect, which arms it.
type Check = (&'static str, fn(&mut Token, &str));

fn checks() -> Vec<Check> {
    [calls::CHECKS, keys::CHECKS, output::CHECKS, parameters::CHECKS, token::CHECKS].concat()
}

#[test]
fn every_fault_has_its_effect() {
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
    assert!(failed.is_empty(), "another effect: {failed:?}");
}

#[test]
fn every_check_has_a_fault() {
    let listed: BTreeSet<String> =
        hostile().list().into_iter().map(|(command, _)| command).collect();
    for (command, _) in checks() {
        assert!(listed.contains(command), "not listed: {command}");
    }
    assert_eq!(listed.len(), checks().len());
}
