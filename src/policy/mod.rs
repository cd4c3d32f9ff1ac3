//! Rotation policy: data, and a pure function that tells what is due. Nothing runs on a timer.

mod apply;
mod display;
mod plan;
mod planner;
mod warning;

pub use apply::PlanOutcome;
pub use plan::{Action, KeyringPlan, Plan, PlannedAction, Reason};
pub use warning::Warning;

use crate::keyset::{MAX_DESTRUCTION_DELAY, MIN_DESTRUCTION_DELAY};
use core::time::Duration;
use planner::grace;

/// Shortest time in which a policy takes a version from one state to the next: processes see a change
/// of a key file some seconds later, and wrap under the former primary until then.
pub const MIN_GRACE: Duration = Duration::from_secs(3_600);

const DAY: Duration = Duration::from_secs(86_400);
// Saturates: never.
const YEAR: Duration = DAY.saturating_mul(365);

/// When to rotate a master key, and what becomes of its former versions.
///
/// A policy is data. [`plan`](Self::plan) compares it with a keyset and tells what is due now and
/// why, and when the next thing will be; [`Plan::apply`] does it. The program decides when it
/// asks: at its start, once an hour, by an operator's hand.
///
/// The presets fill in dates from their source; every one can be changed. A preset destroys
/// nothing: [`schedule_destruction_after`](Self::schedule_destruction_after) is a decision about
/// data that only its owner can take, and so is
/// [`carry_out_scheduled`](Self::carry_out_scheduled): without it a destruction that is due is left
/// to an operator, and the plan says so.
///
/// # Operators
///
/// No run of a policy undoes what an operator did:
///
/// - A version that was promoted again, a rollback, stays the primary until it is of age again,
///   counted from that promotion; limits of use are told ([`Warning::RolledBack`]) and do not
///   replace it.
/// - A version that was enabled again, or whose destruction was cancelled
///   ([`VersionRecord::kept`](crate::keyset::VersionRecord::kept)), stays as it is until an operator takes it
///   further or releases it.
/// - A version or key that is [held](crate::keyset::Change::Hold) is left alone.
/// - A key whose material is all destroyed gets no new version.
///
/// # Clocks
///
/// A date on record that is more than [`MAX_CLOCK_SKEW`](crate::keyset::MAX_CLOCK_SKEW) ahead of `now` is
/// not obeyed: the plan says so ([`Warning::FutureDate`]), a primary that was promoted then is
/// replaced, and nothing is disabled or destroyed by such a date. Under a clock that is not set, or
/// 10 years from the newest date on record, nothing is due ([`Warning::Clock`]).
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
/// // What will be due in a year can be asked for, and is not done before its time.
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
    /// Rotates for one reason alone: the primary was compromised, or there is none.
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
    /// PCI DSS 4.0.1, requirement 3.7.4, wants keys changed at the end of a defined
    /// cryptoperiod and leaves its length to the operator; a year is what assessors expect of a
    /// key-encrypting key.
    pub const fn pci_dss_yearly() -> Self {
        RotationPolicy::every(YEAR)
    }

    /// Rotates after two years, and disables a version three years after that.
    ///
    /// NIST SP 800-57 part 1 revision 5, section 5.3.6, table 1, of a symmetric key-wrapping
    /// key: an originator-usage period of up to 2 years, and a recipient-usage period of up to
    /// the originator-usage period and 3 years.
    pub const fn nist_sp_800_57() -> Self {
        // Saturates: never.
        RotationPolicy::every(YEAR.saturating_mul(2)).disable_after(YEAR.saturating_mul(3))
    }

    /// Rotates every 90 days, as the CIS Google Cloud Platform Foundation Benchmark (section
    /// 1.10) and Google's own documentation of Cloud KMS recommend.
    pub const fn every_90_days() -> Self {
        // Saturates: never.
        RotationPolicy::every(DAY.saturating_mul(90))
    }

    /// Rotates every so often, and for nothing else but a compromise.
    pub const fn every(age: Duration) -> Self {
        RotationPolicy::on_compromise().rotate_after(age)
    }

    /// Rotates once the primary is this old, counted from its last promotion: a rollback begins
    /// anew.
    #[must_use]
    pub const fn rotate_after(mut self, age: Duration) -> Self {
        self.rotate_after = Some(age);
        self
    }

    /// Rotates once the primary has wrapped this many data keys, as far as is known
    /// ([`Usage`](crate::keyset::Usage)).
    ///
    /// Software keys have no practical limit (XAES-256-GCM has random 24-byte nonces); a token's
    /// AES-GCM has 2^32 (NIST SP 800-38D, section 8.3).
    #[must_use]
    pub const fn rotate_after_wraps(mut self, wraps: u64) -> Self {
        self.rotate_after_wraps = Some(wraps);
        self
    }

    /// Rotates once this many plaintext bytes are under the primary, as far as is known
    /// ([`Usage`](crate::keyset::Usage)), and as far as their number was known when their data key was wrapped.
    #[must_use]
    pub const fn rotate_after_bytes(mut self, bytes: u64) -> Self {
        self.rotate_after_bytes = Some(bytes);
        self
    }

    /// Rotates in two phases: the next version is added this long before it is promoted, so that
    /// every process has it by then.
    #[must_use]
    pub const fn distribute_for(mut self, time: Duration) -> Self {
        self.distribute_for = Some(time);
        self
    }

    /// Disables a version this long after it stopped being the primary, and no less than
    /// [`MIN_GRACE`]: the grace period in which its messages are rewrapped.
    #[must_use]
    pub const fn disable_after(mut self, time: Duration) -> Self {
        self.disable_after = Some(grace(time));
        self
    }

    /// Disables a version this long after it was marked compromised, and no less than
    /// [`MIN_GRACE`]: the time in which its messages are encrypted anew.
    #[must_use]
    pub const fn disable_compromised_after(mut self, time: Duration) -> Self {
        self.disable_compromised_after = Some(grace(time));
        self
    }

    /// Schedules the destruction of a version this long after it was disabled, and no less than
    /// [`MIN_GRACE`].
    #[must_use]
    pub const fn schedule_destruction_after(mut self, time: Duration) -> Self {
        self.schedule_destruction_after = Some(grace(time));
        self
    }

    /// How long a destruction that this policy schedules can still be cancelled: 7 to 30 days,
    /// and what is outside of that is taken for the nearest. The default is 30.
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

    /// Leaves destructions that are due to an operator, and tells of them
    /// ([`Warning::Unconfirmed`]). The default.
    #[must_use]
    pub const fn keep_scheduled(mut self) -> Self {
        self.keep_scheduled = true;
        self
    }

    /// Carries out destructions that are due, for 7 days from their date on; later they are left
    /// to an operator, as by [`keep_scheduled`](Self::keep_scheduled).
    ///
    /// A host whose clock is days ahead destroys that much too early, and no clock that is
    /// further ahead than the delay and 7 days destroys anything: `destruction_delay` is the time in
    /// which somebody can see that.
    #[must_use]
    pub const fn carry_out_scheduled(mut self) -> Self {
        self.keep_scheduled = false;
        self
    }
}
