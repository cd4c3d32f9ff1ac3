//! Observers: reports of what a keyring wrapped, unwrapped, refused and changed.
//!
//! [`ObservedKeyring`] reports an [`Event`] to an [`Observer`] for each call of the keyring inside, and
//! each change. `TracingObserver` (feature `tracing`) and `MetricsObserver` (feature `metrics`) pass events
//! on to these facades; [`FnObserver`] calls a closure. No event contains a secret or a plaintext.

mod event;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(all(any(feature = "file", feature = "pkcs11"), unix))]
mod queue;
#[cfg(feature = "tracing")]
mod text;
#[cfg(feature = "tracing")]
mod tracing;

pub use self::event::{Event, FnObserver, Observer};
#[cfg(feature = "metrics")]
pub use self::metrics::MetricsObserver;
#[cfg(all(any(feature = "file", feature = "pkcs11"), unix))]
pub(crate) use self::queue::EventQueue;
#[cfg(feature = "tracing")]
pub use self::tracing::TracingObserver;
pub use crate::keyring::observed::ObservedKeyring;
