//! Rotation policies: data, and a pure function that plans what is due. Nothing runs on a timer.
//!
//! [`RotationPolicy`] makes a [`Plan`] for one master key, or a [`KeyringPlan`] for all of a keyring: each [`Action`] with its [`Reason`] and date, and [`Warning`]s for an operator.
//! [`Plan::apply`] carries it out; of many processes exactly one does.

mod apply;
mod display;
mod plan;
mod planner;

pub use apply::PlanOutcome;
pub use plan::{Action, KeyringPlan, Plan, PlannedAction, Reason, Warning};

use crate::keyset::{MAX_DESTRUCTION_DELAY, MIN_DESTRUCTION_DELAY};
use core::time::Duration;
use planner::grace;

/// Minimum grace period of a policy: other processes load a change of a key file some seconds later and
/// wrap under the former primary until then.
pub const MIN_GRACE: Duration = Duration::from_secs(3_600);

const DAY_SECONDS: u64 = 86_400;
const YEAR_SECONDS: u64 = 365 * DAY_SECONDS;

/// When to rotate a master key, and when to disable and destroy its former versions.
///
/// A policy is data. [`plan`](Self::plan) compares it with a keyset and returns what is due, why, and
/// what is due next. [`Plan::apply`] carries the plan out. The program decides when to plan: at its start,
/// once an hour, or on an operator's command.
///
/// The presets take their times from their source, and every time can be changed. A preset destroys
/// nothing: only the owner of the data can decide on
/// [`schedule_destruction_after`](Self::schedule_destruction_after) and
/// [`carry_out_scheduled`](Self::carry_out_scheduled). Without the latter a destruction that is due is left
/// to an operator, with a warning.
///
/// # Operators
///
/// A policy never undoes an operator's act:
///
/// - After a rollback the version that was promoted again stays the primary until it reaches its age,
///   counted from that promotion. Usage limits cause a warning ([`Warning::RolledBack`]) and do not replace
///   it.
/// - A version that was enabled again, or whose destruction was cancelled
///   ([`VersionRecord::kept`](crate::keyset::VersionRecord::kept)), keeps its state until an operator
///   changes or releases it.
/// - A version or key [on hold](crate::keyset::Change::Hold) is not changed.
/// - A key whose versions are all destroyed gets no new version.
///
/// # Clocks
///
/// A date on record more than [`MAX_CLOCK_SKEW`](crate::keyset::MAX_CLOCK_SKEW) ahead of `now` causes a
/// warning ([`Warning::FutureDate`]). A primary that was promoted at such a date is replaced, and no version
/// is disabled or destroyed because of it. Under a clock before 2026, or 10 years after the newest date on
/// record, nothing is due ([`Warning::Clock`]).
///
/// ```
/// # #[cfg(feature = "std")] fn main() -> Result<(), envelock::Error> {
/// use envelock::{Lifecycle, MemoryKeyring, RotationPolicy, Timestamp, policy::{Action, PlanOutcome}};
/// use std::time::Duration;
///
/// let keyring = MemoryKeyring::create("orders")?;
/// let policy = RotationPolicy::every_90_days().rotate_after_wraps(1 << 32);
/// let plan = policy.plan(&keyring.keysets()?, "orders", Timestamp::now())?;
/// println!("{plan}"); // what is due, why, and what comes next
/// plan.apply(&keyring)?;
///
/// // A plan for next year shows the changes of then. None is made before its time.
/// let in_a_year = Timestamp::now().plus(Duration::from_secs(365 * 86_400));
/// let plan = policy.plan(&keyring.keysets()?, "orders", in_a_year)?;
/// assert_eq!(plan.due()[0].action, Action::Rotate);
/// assert_eq!(plan.apply(&keyring)?, PlanOutcome::NothingDue);
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "std"))] fn main() {}
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotationPolicy {
    rotate_after: Option<Duration>,
    rotate_after_wraps: Option<u64>,
    rotate_after_bytes: Option<u64>,
    distribute_for: Option<Duration>,
    disable_after: Option<Duration>,
    disable_compromised_after: Option<Duration>,
    schedule_destruction_after: Option<Duration>,
    destruction_delay: Duration,
    keep_scheduled: bool,
}

impl RotationPolicy {
    /// Rotates only if the primary was compromised or there is none.
    pub const fn on_compromise() -> Self {
        RotationPolicy {
            rotate_after: None,
            rotate_after_wraps: None,
            rotate_after_bytes: None,
            distribute_for: None,
            disable_after: None,
            disable_compromised_after: None,
            schedule_destruction_after: None,
            destruction_delay: MAX_DESTRUCTION_DELAY,
            keep_scheduled: true,
        }
    }

    /// Rotates every 365 days.
    ///
    /// PCI DSS 4.0.1, requirement 3.7.4, requires a change of keys at the end of a defined cryptoperiod
    /// and leaves its length to the operator. Assessors expect a year for a key-encrypting key.
    pub const fn pci_dss_yearly() -> Self {
        RotationPolicy::every(Duration::from_secs(YEAR_SECONDS))
    }

    /// Rotates after two years, and disables a version three years after that.
    ///
    /// NIST SP 800-57 part 1 revision 5, section 5.3.6, table 1, for a symmetric key-wrapping key: an
    /// originator-usage period of up to 2 years, and a recipient-usage period of up to 3 years more.
    pub const fn nist_sp_800_57() -> Self {
        RotationPolicy::every(Duration::from_secs(2 * YEAR_SECONDS))
            .disable_after(Duration::from_secs(3 * YEAR_SECONDS))
    }

    /// Rotates every 90 days, as the CIS Google Cloud Platform Foundation Benchmark (section
    /// 1.10) and Google's own documentation of Cloud KMS recommend.
    pub const fn every_90_days() -> Self {
        RotationPolicy::every(Duration::from_secs(90 * DAY_SECONDS))
    }

    /// Rotates at this age of the primary, and after a compromise.
    pub const fn every(age: Duration) -> Self {
        RotationPolicy::on_compromise().rotate_after(age)
    }

    /// Rotates at this age of the primary, counted from its last promotion, which a rollback renews.
    #[must_use]
    pub const fn rotate_after(mut self, age: Duration) -> Self {
        self.rotate_after = Some(age);
        self
    }

    /// Rotates once the primary has wrapped this many data keys, as far as known
    /// ([`Usage`](crate::keyset::Usage)).
    ///
    /// Software keys have no practical limit (XAES-256-GCM with random 24-byte nonces). The limit of
    /// AES-GCM in a token is 2^32 (NIST SP 800-38D, section 8.3).
    #[must_use]
    pub const fn rotate_after_wraps(mut self, wraps: u64) -> Self {
        self.rotate_after_wraps = Some(wraps);
        self
    }

    /// Rotates once the primary protects this many plaintext bytes, as far as the length was known at the
    /// wrap ([`Usage`](crate::keyset::Usage)).
    #[must_use]
    pub const fn rotate_after_bytes(mut self, bytes: u64) -> Self {
        self.rotate_after_bytes = Some(bytes);
        self
    }

    /// Rotates in two phases: the next version is added this long before its promotion, so that every
    /// process has it by then.
    #[must_use]
    pub const fn distribute_for(mut self, time: Duration) -> Self {
        self.distribute_for = Some(time);
        self
    }

    /// Disables a former primary after this grace period, at least [`MIN_GRACE`], in which its messages are
    /// rewrapped.
    #[must_use]
    pub const fn disable_after(mut self, time: Duration) -> Self {
        self.disable_after = Some(grace(time));
        self
    }

    /// Disables a compromised version after this grace period, at least [`MIN_GRACE`], in which its
    /// messages are re-encrypted.
    #[must_use]
    pub const fn disable_compromised_after(mut self, time: Duration) -> Self {
        self.disable_compromised_after = Some(grace(time));
        self
    }

    /// Schedules the destruction of a disabled version after this time, at least [`MIN_GRACE`].
    #[must_use]
    pub const fn schedule_destruction_after(mut self, time: Duration) -> Self {
        self.schedule_destruction_after = Some(grace(time));
        self
    }

    /// Sets the delay of a scheduled destruction, in which it can be cancelled. The delay is clamped to 7
    /// to 30 days; the default is 30.
    #[must_use]
    pub const fn destruction_delay(mut self, delay: Duration) -> Self {
        self.destruction_delay = if delay.as_secs() < MIN_DESTRUCTION_DELAY.as_secs() {
            MIN_DESTRUCTION_DELAY
        } else if delay.as_secs() >= MAX_DESTRUCTION_DELAY.as_secs() {
            MAX_DESTRUCTION_DELAY
        } else {
            delay
        };
        self
    }

    /// Leaves destructions that are due to an operator, with a warning ([`Warning::Unconfirmed`]). The
    /// default.
    #[must_use]
    pub const fn keep_scheduled(mut self) -> Self {
        self.keep_scheduled = true;
        self
    }

    /// Carries out destructions from their date on for 7 days. Later they are left to an operator, as by
    /// [`keep_scheduled`](Self::keep_scheduled).
    ///
    /// A host whose clock is days ahead destroys that much too early. A clock further ahead than the
    /// delay and 7 days destroys nothing. An operator can notice a wrong clock within
    /// `destruction_delay`.
    #[must_use]
    pub const fn carry_out_scheduled(mut self) -> Self {
        self.keep_scheduled = false;
        self
    }
}
