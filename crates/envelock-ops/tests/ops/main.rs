//! Tests of the public API: one binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;
mod conformance;
mod controls;
mod costs;
#[cfg(unix)]
mod directories;
mod engine;
mod halts;
#[cfg(unix)]
mod listings;
mod outages;
mod pauses;
mod planner;
mod records;
mod reencryption;
mod refusals;
mod simulation;
mod strata;
mod tasks;
#[cfg(feature = "tokio")]
mod tokio_driver;
#[cfg(unix)]
mod trees;
