//! How long one operation may take, with its retries and its waits for other threads.

use crate::keyring::pkcs11::error::Error;
use core::time::Duration;
use std::time::Instant;

/// The time of one operation.
#[derive(Clone, Copy)]
pub(crate) struct TimeLimit {
    started: Instant,
    recovery_timeout: Duration,
    hang_limit: Duration,
}

impl TimeLimit {
    /// A call counts as hung after `hang_limit`, but never within `recovery_timeout`.
    pub(crate) fn new(recovery_timeout: Duration, hang_limit: Duration) -> Self {
        let hang_limit = hang_limit.max(recovery_timeout);
        TimeLimit { started: Instant::now(), recovery_timeout, hang_limit }
    }

    pub(crate) fn remaining(&self) -> Duration {
        // Saturates: nothing remains after the end.
        self.recovery_timeout.saturating_sub(self.started.elapsed())
    }

    pub(crate) fn is_over(&self) -> bool {
        self.remaining().is_zero()
    }

    /// Half of the whole time.
    #[expect(clippy::arithmetic_side_effects, reason = "a half does not overflow")]
    pub(crate) fn half(&self) -> Duration {
        self.recovery_timeout / 2
    }

    /// Whether a call that began at `since` counts as hung.
    pub(crate) fn is_hung(&self, since: Instant) -> bool {
        since.elapsed() >= self.hang_limit
    }

    /// The error of a caller that `calls` calls blocked, the oldest of them begun at `since`.
    pub(crate) fn blocked(&self, calls: usize, since: Instant) -> Error {
        if self.is_hung(since) { Error::RestartProcess { calls } } else { Error::Hanging { calls } }
    }
}
