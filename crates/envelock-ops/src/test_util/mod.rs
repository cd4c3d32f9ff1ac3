//! For tests of stores and of jobs: the conformance suite, and a store with faults.

mod conformance;
mod faulty;
mod random;

pub use conformance::{Fixture, check};
pub use faulty::{Fault, FaultyStore};
pub use random::SplitMix;
