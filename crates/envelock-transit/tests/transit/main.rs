//! The client against a real OpenBao server.

mod client;
mod errors;
mod keyring;
mod server;
#[cfg(feature = "rustls")]
mod tls;
