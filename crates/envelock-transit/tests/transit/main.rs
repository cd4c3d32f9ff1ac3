//! The client against a real OpenBao server.

mod client;
mod conformance;
mod errors;
mod keyring;
mod lifecycle;
mod mutants;
mod server;
#[cfg(feature = "rustls")]
mod tls;
mod two_tiers;
