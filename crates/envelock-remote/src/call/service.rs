//! What the errors of a [`Backend`](crate::Backend) mean for its calls.

use super::{CallError, Failure, Next};
use crate::ServiceError;
use envelock::keyring::KeyringError;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
#[error("service sent no response within {} ms", .0.as_millis())]
struct NoResponse(Duration);

#[derive(Debug, thiserror::Error)]
#[error("service sent {responses} responses to {items} items")]
struct WrongCount {
    items: usize,
    responses: usize,
}

impl Failure for ServiceError {
    fn next(&self) -> Next {
        match self {
            ServiceError::Throttled { retry_after, .. } => {
                Next::Throttled { retry_after: *retry_after }
            }
            ServiceError::Unavailable(_) => Next::Unavailable,
            _ => Next::Final,
        }
    }

    fn no_response(after: Duration) -> Self {
        ServiceError::unavailable(NoResponse(after))
    }

    fn wrong_count(items: usize, responses: usize) -> Self {
        ServiceError::broken(WrongCount { items, responses })
    }
}

/// A failure that no retry changes is that of the service. Another says what was tried.
impl From<CallError> for KeyringError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Failed { source, .. } if !source.is_retryable() => source.into(),
            _ => match error.last() {
                Some(ServiceError::Throttled { retry_after, .. }) => {
                    KeyringError::throttled(*retry_after, error)
                }
                _ => KeyringError::unavailable(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use envelock::BackendFailure;
    use std::error::Error;

    #[test]
    fn errors_say_what_was_tried_and_what_failed_last() {
        let last = ServiceError::no_response(Duration::from_secs(3));
        let error = KeyringError::from(CallError::Failed { attempts: 4, source: last });
        assert!(error.is_retryable());
        assert_eq!(error.to_string(), "keyring is unavailable: service failed in attempt 4");
        let source = error.source().unwrap().to_string();
        assert_eq!(source, "service sent no response within 3000 ms");
    }

    #[test]
    fn throttled_and_final_failures_stay_what_they_are() {
        let retry_after = Some(Duration::from_secs(7));
        let throttled = ServiceError::throttled(retry_after, "429");
        let error = CallError::Deadline { attempts: 1, source: Some(throttled) };
        let KeyringError::Backend(error) = error.into() else { panic!("a failure of the service") };
        let BackendFailure::Throttled { retry_after: wait, .. } = error.failure() else {
            panic!("a throttled call")
        };
        assert_eq!(wait, retry_after);
        let refused = CallError::Failed { attempts: 2, source: ServiceError::Authentication };
        assert!(matches!(refused.into(), KeyringError::Authentication));
    }
}
