//! For tests of stores and of jobs: the conformance suites, and a store with faults.

mod conformance;
mod faulty;
mod random;
mod rewrites;

pub use conformance::{Fixture, check};
pub use faulty::{Fault, FaultyStore};
pub use random::SplitMix;
pub use rewrites::{MessageFixture, check_rewrites};
