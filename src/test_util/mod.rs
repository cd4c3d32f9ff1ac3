//! What judges keyrings, and the seams through which a judge reaches ours (feature `test-util`).
//!
//! For tests alone: [`TestRng`] repeats itself, and [`conformance`] panics where a rule is broken.
//!
//! - [`conformance::keyring`] judges any [`Keyring`](crate::Keyring) by the trait's contract,
//!   [`conformance::lifecycle`] one with a [`Lifecycle`](crate::Lifecycle).
//! - [`FaultyKeyring`] fails or lies on demand, for whoever builds on keyrings.
//! - [`TestMessage`] calls a keyring as the core does, slot by slot.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test harness tells of a broken rule by a panic"
)]

#[cfg(feature = "std")]
pub mod conformance;
#[cfg(feature = "std")]
mod faulty;
#[cfg(all(feature = "file", unix))]
pub mod key_file;
#[cfg(all(feature = "file", unix))]
pub mod key_file_format;
mod message;
#[cfg(all(feature = "file", unix))]
pub mod message_file;
mod rng;

#[cfg(feature = "std")]
pub use faulty::{Fault, FaultyKeyring, Method};
pub use message::{TestMessage, TestSlot};
pub use rng::TestRng;
