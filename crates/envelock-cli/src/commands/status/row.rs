//! One version in the table of `envelock status`.

use envelock::keyset::{Keyset, VersionRecord, VersionState};
use envelock::policy::{Action, Plan, PlannedAction, Reason, Warning};
use envelock::{KeyVersion, Timestamp};
use serde_json::{Value, json};

const DAY_SECONDS: u64 = 86_400;

/// The names of the columns.
pub const NAMES: [&str; 9] = [
    "key",
    "version",
    "state",
    "created",
    "last_rotation",
    "age_days",
    "due",
    "reason",
    "compliant",
];

/// A version, and what a policy says about it.
pub struct Row {
    key: String,
    version: KeyVersion,
    state: &'static str,
    created: Timestamp,
    /// When it last became the primary.
    last_rotation: Option<Timestamp>,
    /// Days since then, or since it was added.
    age_days: u64,
    /// When its scheduled destruction, or the policy's next action on it, is or was due.
    due: Option<Timestamp>,
    /// The action and its reason.
    reason: String,
    /// Nothing is due, nothing is left to an operator, and no attacker who knows it opens messages.
    pub is_compliant: bool,
}

impl Row {
    pub fn new(keyset: &Keyset, record: &VersionRecord, plan: &Plan, now: Timestamp) -> Self {
        // An action on the key as a whole is told of its primary, or else of its last version.
        let last = keyset.versions().last().map(|record| record.version);
        let whole = keyset.primary().or(last);
        let concerns = |due: &PlannedAction| {
            let compromised = match due.reason {
                Reason::Compromised { version } => Some(version),
                _ => None,
            };
            Some(record.version) == compromised.or(version_of(due.action)).or(whole)
        };
        let warned = |warning: &Warning| match warning {
            Warning::FutureDate { version, .. } => *version == record.version,
            Warning::OnHold { due }
            | Warning::RolledBack { due }
            | Warning::Unconfirmed { due }
            | Warning::EvidenceRequired { due }
            | Warning::NoVersionLeft { due } => concerns(due),
            _ => true,
        };
        let due = plan.due().iter().filter(|due| concerns(due));
        let next = plan.next().filter(|next| concerns(next));
        let mut reasons: Vec<String> =
            due.clone().map(|due| format!("{}: {}", due.action, due.reason)).collect();
        reasons.extend(plan.warnings().iter().filter(|it| warned(it)).map(Warning::to_string));
        if record.state == VersionState::Compromised {
            reasons.push("it is compromised and not disabled".into());
        }
        let is_compliant = reasons.is_empty();
        let destroyed_at = match record.state {
            VersionState::DestroyScheduled => record.destroy_at,
            _ => None,
        };
        if destroyed_at.is_some() && is_compliant {
            reasons.push("scheduled destruction".into());
        } else if let Some(next) = next.filter(|_| is_compliant) {
            reasons.push(next.action.to_string());
        }
        let last_rotation = record.last_promoted;
        Row {
            key: keyset.name().to_string(),
            version: record.version,
            state: record.state.name(),
            created: record.created,
            last_rotation,
            age_days: now.since(last_rotation.unwrap_or(record.created)).as_secs() / DAY_SECONDS,
            due: due.map(|due| due.at).min().or(destroyed_at).or(next.map(|next| next.at)),
            reason: reasons.join("; "),
            is_compliant,
        }
    }

    /// Returns the name of the version if it is compromised.
    pub fn compromised(&self) -> Option<String> {
        (self.state == VersionState::Compromised.name())
            .then(|| format!("{}:{}", self.key, self.version))
    }

    /// Returns the cells in the order of [`NAMES`].
    pub fn cells(&self) -> [String; 9] {
        let date = |date: Option<Timestamp>| date.map(|it| it.to_string()).unwrap_or_default();
        [
            self.key.clone(),
            self.version.to_string(),
            self.state.into(),
            self.created.to_string(),
            date(self.last_rotation),
            self.age_days.to_string(),
            date(self.due),
            self.reason.clone(),
            self.is_compliant.to_string(),
        ]
    }

    /// Returns a line of RFC 4180.
    pub fn as_csv(&self) -> String {
        self.cells().map(quoted).join(",") + "\r\n"
    }

    pub fn as_json(&self) -> Value {
        let date = |date: Option<Timestamp>| date.map(|date| date.to_string());
        json!({
            "key": self.key,
            "version": self.version.number(),
            "state": self.state,
            "created": self.created.to_string(),
            "last_rotation": date(self.last_rotation),
            "age_days": self.age_days,
            "due": date(self.due),
            "reason": self.reason,
            "compliant": self.is_compliant,
        })
    }
}

/// Returns the version that an action names, or `None` for one on the key as a whole.
fn version_of(action: Action) -> Option<KeyVersion> {
    match action {
        Action::Promote(version)
        | Action::Disable(version)
        | Action::ScheduleDestruction(version, _)
        | Action::Destroy(version) => Some(version),
        _ => None,
    }
}

/// Quotes a field that needs it.
fn quoted(field: String) -> String {
    match field.contains([',', '"', '\r', '\n']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field,
    }
}
