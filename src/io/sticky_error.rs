//! The failure of a reader or writer, which every later call returns again.

use super::error::is_transient;
use crate::error::Error;
use std::io;

/// The first failure, if there was one.
#[derive(Default)]
pub(super) struct StickyError {
    failure: Option<Error>,
}

impl StickyError {
    /// Returns the failure.
    pub(super) fn check(&self) -> io::Result<()> {
        self.failure.clone().map_or(Ok(()), |error| Err(error.into()))
    }

    /// Keeps the failure of `result`, except one after which the same call can be made again: "not
    /// yet", and a keyring that cannot say now whether the message will open.
    pub(super) fn keep<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            if is_transient(&error) {
                return error;
            }
            let error = Error::from(error);
            if !(matches!(error, Error::Backend(_)) && error.is_retryable()) {
                self.failure = Some(error.clone());
            }
            error.into()
        })
    }
}
