//! The program over a real OpenBao server, which `ci/setup.sh openbao` installs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod commands;
mod opening;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../program/sandbox.rs"]
mod sandbox;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../../../envelock-transit/tests/transit/server.rs"]
mod server;
