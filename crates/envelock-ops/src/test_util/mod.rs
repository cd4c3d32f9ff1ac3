//! For tests of stores and of jobs: the conformance suite, and a store with faults.

mod faulty;
mod random;

pub use faulty::{Fault, FaultyStore};
pub use random::SplitMix;
