//! Plans as text for operators.

use super::plan::{Action, KeyringPlan, Plan, Reason, Warning};
use core::fmt;
use core::time::Duration;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key {}: ", self.key)?;
        if self.due.is_empty() {
            f.write_str("nothing is due")?;
        }
        for (index, due) in self.due.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{}, since {}: {}", due.action, due.at, due.reason)?;
        }
        if let Some(next) = &self.next {
            write!(f, "; next: {}, at {}: {}", next.action, next.at, next.reason)?;
        }
        self.warnings.iter().try_for_each(|warning| write!(f, "; warning: {warning}"))
    }
}

impl fmt::Display for KeyringPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.plans.iter().filter(|it| !it.is_empty() || !it.warnings.is_empty());
        let mut lines = 0_usize;
        for plan in shown {
            let line_end = if lines > 0 { "\n" } else { "" };
            write!(f, "{line_end}{plan}")?;
            lines += 1;
        }
        match (lines, self.next()) {
            (0, Some((key, next))) => {
                let (action, at) = (next.action, next.at);
                write!(f, "nothing is due; next: {action} of key {key}, at {at}: {}", next.reason)
            }
            (0, None) => f.write_str("nothing is due"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (due, why) = match self {
            Warning::FutureDate { version, date } => {
                return write!(f, "version {version} has the date {date}, which is in the future");
            }
            Warning::Clock { newest } => {
                return write!(f, "the clock contradicts the newest date on record, {newest}");
            }
            Warning::OnHold { due } => (due, "it is on hold"),
            Warning::RolledBack { due } => (due, "an operator rolled back to this primary"),
            Warning::Unconfirmed { due } => (due, "an operator has to confirm it"),
            Warning::EvidenceRequired { due } => (due, "evidence is required"),
            Warning::NoVersionLeft { due } => (due, "all version numbers are used"),
        };
        write!(f, "{} is due since {} and left: {why}", due.action, due.at)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Rotate => f.write_str("rotate"),
            Action::AddVersion => f.write_str("add a version"),
            Action::Promote(version) => write!(f, "promote version {version}"),
            Action::Disable(version) => write!(f, "disable version {version}"),
            Action::ScheduleDestruction(version, after) => {
                write!(f, "schedule destruction of version {version} in {}", Days(*after))
            }
            Action::Destroy(version) => write!(f, "destroy version {version}"),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Age { limit } => write!(f, "the primary is {} old", Days(*limit)),
            Reason::NeverRotated { limit } => {
                write!(f, "the primary is {} old and was never rotated", Days(*limit))
            }
            Reason::PromotedInFuture { promoted } => {
                write!(f, "the primary was promoted at {promoted}, which is in the future")
            }
            Reason::Wraps { wraps, is_reserved: false, limit } => {
                write!(f, "the primary has wrapped at least {wraps} data keys, {limit} are allowed")
            }
            Reason::Wraps { wraps, is_reserved: true, limit } => {
                let what = "data keys are wrapped or reserved under the primary";
                write!(f, "{wraps} {what}, {limit} are allowed")
            }
            Reason::Bytes { bytes, limit } => {
                write!(f, "the primary protects at least {bytes} bytes, {limit} are allowed")
            }
            Reason::Compromised { version } => write!(f, "version {version} is compromised"),
            Reason::NoPrimary => f.write_str("no version wraps"),
            Reason::Distribution => {
                f.write_str("the next version is distributed before its promotion")
            }
            Reason::GraceOver { grace } => {
                write!(f, "the grace period of {} is over", Days(*grace))
            }
            Reason::DestructionDue => f.write_str("the date of its destruction has come"),
        }
    }
}

/// A duration in days, or in seconds if it is not a whole number of days.
struct Days(Duration);

impl fmt::Display for Days {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match (seconds / 86_400, seconds % 86_400) {
            (1, 0) => f.write_str("1 day"),
            (days, 0) => write!(f, "{days} days"),
            _ => write!(f, "{seconds} seconds"),
        }
    }
}
