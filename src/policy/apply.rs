//! Carrying a plan out: one of many processes does it, the others see that it is done.

use super::{KeyringPlan, Plan};
use crate::error::Error;
use crate::keyring::Lifecycle;
use crate::keyset::{Change, ChangeOptions, ChangeOutcome, LifecycleError};
use crate::random::KeyringRng;
use crate::time::Timestamp;

/// What became of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanOutcome {
    /// Nothing was due.
    NothingDue,
    /// The plan was carried out, as a whole.
    Applied(ChangeOutcome),
    /// Somebody else made a change since the plan was made, most likely the same plan's. Nothing
    /// was done; a new plan tells what is still due.
    Superseded {
        /// The number of the last change.
        change: u64,
    },
}

impl Plan {
    /// Carries the plan out, now: all that is due in one change, if the keyring has not been
    /// changed since the plan was made. What a plan for a later time has not due yet is left.
    ///
    /// Of many processes that apply a plan made of the same keysets exactly one does it.
    ///
    /// # Errors
    ///
    /// As [`Lifecycle::change`], but for a conflict, which is [`PlanOutcome::Superseded`].
    #[cfg(feature = "std")]
    pub fn apply<K: Lifecycle + ?Sized>(&self, keyring: &K) -> Result<PlanOutcome, Error> {
        self.apply_at(keyring, Timestamp::now(), &mut crate::OsRandom)
    }

    /// As [`apply`](Self::apply), with a time and a generator of the caller's.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply).
    pub fn apply_at<K: Lifecycle + ?Sized>(
        &self,
        keyring: &K,
        now: Timestamp,
        rng: &mut KeyringRng<'_>,
    ) -> Result<PlanOutcome, Error> {
        carry_out(keyring, &self.changes(now), self.change, now, rng)
    }
}

impl KeyringPlan {
    /// Carries the plans out, now: all that is due for every key in one change, if the keyring has
    /// not been changed since the plans were made. What they have not due yet is left.
    ///
    /// Of many processes that apply plans made of the same keysets exactly one does it.
    ///
    /// # Errors
    ///
    /// As [`Plan::apply`]; nothing is done then for any key.
    #[cfg(feature = "std")]
    pub fn apply<K: Lifecycle + ?Sized>(&self, keyring: &K) -> Result<PlanOutcome, Error> {
        self.apply_at(keyring, Timestamp::now(), &mut crate::OsRandom)
    }

    /// As [`apply`](Self::apply), with a time and a generator of the caller's.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply).
    pub fn apply_at<K: Lifecycle + ?Sized>(
        &self,
        keyring: &K,
        now: Timestamp,
        rng: &mut KeyringRng<'_>,
    ) -> Result<PlanOutcome, Error> {
        carry_out(keyring, &self.changes(now), self.change, now, rng)
    }
}

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
