//! Tests for keyrings of other crates (feature `test-util`).
//!
//! For tests alone: [`TestRng`] repeats itself, and the suite panics where a rule is broken.
//!
//! - [`keyring`] tests any [`Keyring`](crate::Keyring) by the contract of the trait, [`lifecycle`] one
//!   with a [`Lifecycle`](crate::Lifecycle), [`remote`] one over a service that [`Controls`] control.
//! - [`FaultyKeyring`] fails or returns wrong results on demand, for tests of code that uses keyrings.
//! - [`TestMessage`] calls a keyring as the core does, slot by slot.
//!
//! ```
//! # #[cfg(feature = "std")] {
//! use envelock::{MemoryKeyring, conformance};
//!
//! conformance::lifecycle(|| MemoryKeyring::create("orders").expect("there is randomness"));
//! # }
//! ```
//!
//! A panic names the [`Rule`] that is broken and the call that broke it. The suite sees calls only:
//! that secrets are wiped, that a back end gets no call for slots of other keyrings, and that a cache
//! follows a disable in time are for the keyring's own tests.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test harness reports a broken rule by a panic"
)]

#[cfg(feature = "std")]
mod faulty;
mod message;
mod rng;
#[cfg(feature = "std")]
mod suite;

#[cfg(feature = "std")]
pub use faulty::{Fault, FaultyKeyring, Method};
pub use message::{TestMessage, TestSlot};
pub use rng::TestRng;
#[cfg(feature = "std")]
pub use suite::{Controls, Rule, keyring, lifecycle, remote};
