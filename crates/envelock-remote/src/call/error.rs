//! The error of an operation.

use crate::ServiceError;
use std::time::Duration;

/// Why an operation on a service failed. The source is the last failure of a call.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError<E: std::error::Error + 'static = ServiceError> {
    /// The last call failed. No other is made, since it would fail again or too many have.
    #[error("service failed in attempt {attempts}")]
    #[non_exhaustive]
    Failed {
        /// How many calls failed.
        attempts: u32,
        /// How the last failed.
        source: E,
    },
    /// The deadline passed, or is too near for another call.
    #[error("deadline leaves no time for another call after {attempts} failed")]
    #[non_exhaustive]
    Deadline {
        /// How many calls failed.
        attempts: u32,
        /// How the last failed, if there was one.
        source: Option<E>,
    },
    /// The service failed so often that no call is made now.
    #[error("service failed too often in a row: no call is made for another {} ms", retry_in.as_millis())]
    #[non_exhaustive]
    CircuitOpen {
        /// The time until a call is made again.
        retry_in: Duration,
        /// The failure that opened the circuit.
        source: E,
    },
}

impl<E: std::error::Error + 'static> CallError<E> {
    /// Returns how the last call failed.
    pub fn last(&self) -> Option<&E> {
        match self {
            CallError::Failed { source, .. } | CallError::CircuitOpen { source, .. } => {
                Some(source)
            }
            CallError::Deadline { source, .. } => source.as_ref(),
        }
    }
}
