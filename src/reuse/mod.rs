//! One data key for several messages: what the core asks, and the bounds that `std` needs threads for.

#[cfg(feature = "std")]
mod data_key_reuse;
mod keys;

#[cfg(feature = "std")]
pub use data_key_reuse::{DataKeyReuse, ReuseStats};
pub(crate) use keys::{BatchKind, FailedWrap, Found, ReusableKey, ReuseKeys};
