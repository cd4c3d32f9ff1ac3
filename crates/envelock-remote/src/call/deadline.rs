//! The deadline of a caller, which every call below it keeps.

use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

tokio::task_local! {
    static DEADLINE: Instant;
}

/// Runs `future` with a deadline for each operation on a remote keyring in it, instead of the
/// [`CallOptions`](crate::CallOptions)' own.
///
/// An operation that reaches it fails; no call to the service starts later, and one that is running is dropped.
/// Inside another deadline the earlier one holds. Tasks that `future` spawns do not inherit it.
pub async fn with_deadline<F: Future>(deadline: Instant, future: F) -> F::Output {
    DEADLINE.scope(earlier(deadline), future).await
}

/// Runs `work` with a deadline for each operation on a remote keyring in it, by this thread. See
/// [`with_deadline`].
pub fn with_deadline_sync<T>(deadline: Instant, work: impl FnOnce() -> T) -> T {
    DEADLINE.sync_scope(earlier(deadline), work)
}

/// Runs a call that several callers share with the deadline of the one that started it, whoever polls it.
pub(crate) async fn with_own_deadline<F: Future>(deadline: Instant, future: F) -> F::Output {
    DEADLINE.scope(deadline, future).await
}

fn earlier(deadline: Instant) -> Instant {
    DEADLINE.try_with(|outer| deadline.min(*outer)).unwrap_or(deadline)
}

/// Returns the deadline of an operation that starts now: the caller's, or `default` from now.
pub(crate) fn of_operation(default: Duration) -> Instant {
    DEADLINE
        .try_with(|deadline| *deadline)
        .unwrap_or_else(|_| super::after(Instant::now(), default))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn deadline_of_the_caller_replaces_the_default() {
        let now = Instant::now();
        assert_eq!(of_operation(DEFAULT), now + DEFAULT);
        for seconds in [1, 60] {
            let deadline = now + Duration::from_secs(seconds);
            assert_eq!(with_deadline(deadline, async { of_operation(DEFAULT) }).await, deadline);
            assert_eq!(with_deadline_sync(deadline, || of_operation(DEFAULT)), deadline);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn earlier_of_two_deadlines_holds() {
        let [early, late] = [1, 2].map(|s| Instant::now() + Duration::from_secs(s));
        for (outer, inner) in [(early, late), (late, early)] {
            let found = with_deadline(outer, async {
                with_deadline(inner, async { of_operation(DEFAULT) }).await
            });
            assert_eq!(found.await, early);
        }
    }
}
