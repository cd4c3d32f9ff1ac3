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

    /// Keeps the failure of `result`, except one after which the same call can be made again: `WouldBlock`,
    /// and an unavailable keyring at the end of a message.
    pub(super) fn keep<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            if is_transient(&error) {
                return error;
            }
            let error = Error::from(error);
            if !(is_of_keyring(&error) && error.is_retryable()) {
                self.failure = Some(error.clone());
            }
            error.into()
        })
    }
}

/// Whether the back end of a keyring failed: the file of a message is a source or sink itself.
fn is_of_keyring(error: &Error) -> bool {
    #[cfg(all(feature = "file", unix))]
    if error.backend::<crate::file::MessageFileError>().is_some() {
        return false;
    }
    matches!(error, Error::Backend(_))
}

#[cfg(test)]
mod tests {
    use super::StickyError;
    use crate::error::{BackendError, Error};
    use std::io;

    /// Whether a call after one that failed with `error` fails too.
    fn is_sticky(error: Error) -> bool {
        let mut failure = StickyError::default();
        assert!(failure.keep::<()>(Err(error.into())).is_err());
        failure.check().is_err()
    }

    #[test]
    fn failure_of_keyring_that_may_pass_is_not_kept() {
        let down = || io::Error::other("down");
        assert!(!is_sticky(Error::Backend(BackendError::unavailable(down()))));
        assert!(!is_sticky(Error::Backend(BackendError::throttled(None, down()))));
        assert!(is_sticky(Error::Backend(BackendError::broken(down()))));
        assert!(is_sticky(Error::Ended));
    }

    #[cfg(all(feature = "file", unix))]
    #[test]
    fn failure_of_message_file_is_kept_though_it_may_pass() {
        use crate::file::{FileError, MessageFileError};
        let locked = FileError::Locked { path: "a".into(), waited: core::time::Duration::ZERO };
        let error = Error::from(MessageFileError::from(locked));
        assert!(error.is_retryable());
        assert!(is_sticky(error));
    }
}
