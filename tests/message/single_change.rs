//! THREATS G1: every single change to a message is refused with the error that the
//! specification names, by every entry point, and releases no byte.
//!
//! Fifteen shapes of each suite; each bit flipped, each byte removed, inserted or overwritten,
//! each length cut to, each header field swapped with another, taken from another message, or
//! set to its bounds. What an entry point must return is worked out by `common::model`, which
//! knows no cryptography. In bodies of 16 KiB and more the inside of a chunk is sampled.
//!
//! Tests, through the model: SPEC H-MAGIC, H-FORMAT, H-SUITE, H-LEN, H-COUNT, H-VERSION, H-ALG,
//! H-OPAQUE, H-NAME, H-WRAPLEN, H-DUPLICATE, H-PAD, H-CANON, H-FIRST, H-DETACHED, K-AAD, K-CHECK,
//! B-COMMIT, B-LENGTH, B-RELEASE, O-ORDER, O-FINAL, O-PRECEDENCE, O-NOFALLBACK, R-CORE, R-KEEP,
//! R-WHOLE.

mod changes;
use crate::common;

use common::entry;
use common::shapes::{self, Shape};
use envelock::Suite;
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Distinct changed messages that each suite must refuse: four suites make over 280,000.
const LEAST_REFUSED: usize = 70_000;

fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// The counts of a sweep.
#[derive(Default)]
struct Tally {
    refused: HashSet<u64>,
    permitted: HashSet<u64>,
}

fn sweep(shape: &Shape, donor: &Shape, tally: &mut Tally) {
    let mut seen = HashSet::from([digest(&shape.message)]);
    changes::each(shape, donor, &mut |change| {
        let digest = digest(&change.bytes);
        if !seen.insert(digest) {
            return;
        }
        let what = || change.what.to_string();
        if entry::check(shape, &change.bytes, change.header_end, &what) {
            tally.refused.insert(digest);
        } else {
            // `permitted_changes.rs` has a test for each kind of these.
            assert!(change.bytes[..22] == shape.message[..22], "{}: {}", shape.name, change.what);
            tally.permitted.insert(digest);
        }
    });
}

fn sweep_suite(suite: Suite) {
    let seed = 0x5EED + u64::from(suite.id());
    let (shapes, donors) = (shapes::all(suite, seed), shapes::all(suite, seed + 100));
    assert!(shapes.len() >= 12);
    let mut tally = Tally::default();
    for (shape, donor) in shapes.iter().zip(&donors) {
        let before = (tally.refused.len(), tally.permitted.len());
        sweep(shape, donor, &mut tally);
        let (refused, permitted) =
            (tally.refused.len() - before.0, tally.permitted.len() - before.1);
        println!("{suite}, {}: {refused} refused, {permitted} permitted", shape.name);
    }
    let (refused, permitted) = (tally.refused.len(), tally.permitted.len());
    println!("{suite}: {refused} refused, {permitted} permitted");
    assert!(refused >= LEAST_REFUSED, "{suite}: only {refused} distinct changes");
}

#[test]
fn every_change_to_a_message_of_suite_1_is_refused() {
    sweep_suite(Suite::Cobblestone256);
}

#[test]
fn every_change_to_a_message_of_suite_2_is_refused() {
    sweep_suite(Suite::Cobblestone128);
}

#[test]
fn every_change_to_a_message_of_suite_3_is_refused() {
    sweep_suite(Suite::ChunkedChaCha20Poly1305);
}

#[test]
fn every_change_to_a_message_of_suite_4_is_refused() {
    sweep_suite(Suite::ChunkedAes256GcmSha256);
}
