//! Application of plans: of several processes with the same plan exactly one applies it.

use super::{KeyringPlan, Plan};
use crate::error::Error;
use crate::keyring::Lifecycle;
use crate::keyset::{Change, ChangeOptions, ChangeOutcome, LifecycleError};
use crate::random::KeyringRng;
use crate::time::Timestamp;

/// The outcome of the application of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanOutcome {
    /// Nothing was due.
    NothingDue,
    /// The plan was applied as a whole.
    Applied(ChangeOutcome),
    /// The keyring was changed after the plan was made, usually by another process with the same plan.
    /// Nothing was done. A new plan has what is still due.
    Superseded {
        /// The number of the last change.
        change: u64,
    },
}

macro_rules! apply_plans {
    ($($plan:ty),*) => {$(
        impl $plan {
            /// Applies the plan: everything that is due now, in one change, unless the keyring was changed
            /// after the plan was made. Of several processes with a plan of the same keysets exactly one
            /// applies it.
            ///
            /// # Errors
            ///
            /// [`Error::Lifecycle`] if the keyring refuses a change, [`Error::Backend`] if the changes could
            /// not be stored, [`Error::Randomness`]. No key is changed then. A conflict is
            /// [`PlanOutcome::Superseded`].
            #[cfg(feature = "std")]
            pub fn apply<K: Lifecycle + ?Sized>(&self, keyring: &K) -> Result<PlanOutcome, Error> {
                self.apply_at(keyring, Timestamp::now(), &mut crate::OsRandom)
            }

            /// [`apply`](Self::apply) with the caller's time and generator.
            ///
            /// # Errors
            ///
            /// [`Error::Lifecycle`] if the keyring refuses a change, [`Error::Backend`] if the changes could
            /// not be stored, [`Error::Randomness`]. No key is changed then. A conflict is
            /// [`PlanOutcome::Superseded`].
            pub fn apply_at<K: Lifecycle + ?Sized>(
                &self,
                keyring: &K,
                now: Timestamp,
                rng: &mut KeyringRng<'_>,
            ) -> Result<PlanOutcome, Error> {
                carry_out(keyring, &self.changes(now), self.change, now, rng)
            }
        }
    )*};
}

apply_plans!(Plan, KeyringPlan);

fn carry_out<K: Lifecycle + ?Sized>(
    keyring: &K,
    changes: &[Change<'_>],
    planned: u64,
    now: Timestamp,
    rng: &mut KeyringRng<'_>,
) -> Result<PlanOutcome, Error> {
    if changes.is_empty() {
        return Ok(PlanOutcome::NothingDue);
    }
    let options = ChangeOptions::at(now).if_unchanged_since(planned);
    match keyring.change(changes, &options, rng) {
        Ok(changed) => Ok(PlanOutcome::Applied(changed)),
        Err(Error::Lifecycle(LifecycleError::Conflict { found, .. })) => {
            Ok(PlanOutcome::Superseded { change: found })
        }
        Err(error) => Err(error),
    }
}
