//! The client against a real OpenBao server.

mod client;
mod errors;
mod server;
#[cfg(feature = "rustls")]
mod tls;
