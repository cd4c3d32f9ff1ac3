//! Counters and gauges of the `metrics` facade.

use super::{Event, Observer};
use crate::keyset::{Freshness, Refusal, Transition, VersionState};
use ::metrics::{Label, counter, gauge};
use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use std::sync::{PoisonError, RwLock};

const WRAPS: &str = "envelock_wraps_total";
const UNWRAPS: &str = "envelock_unwraps_total";
const REFUSALS: &str = "envelock_refusals_total";
const AUTHENTICATION_FAILURES: &str = "envelock_authentication_failures_total";
const UNAVAILABLE: &str = "envelock_unavailable_total";
const CHANGES: &str = "envelock_changes_total";
const ROTATIONS: &str = "envelock_rotations_total";
const RELOADS: &str = "envelock_reloads_total";
const TOKEN_EVENTS: &str = "envelock_token_events_total";
const KEY_FILE_FILLING: &str = "envelock_key_file_filling_percent";
const OUTER_KEY_EVENTS: &str = "envelock_outer_key_events_total";
const STREAMS_UNFINISHED: &str = "envelock_streams_unfinished_total";
const PRIMARY_VERSION: &str = "envelock_primary_version";

/// The label of every key name without series of its own.
const OTHER: &str = "other";

/// Counts [`Event`]s with the `metrics` facade (feature `metrics`).
///
/// Names, labels and their values change with a major version only.
///
#[doc = include_str!("metrics.md")]
///
/// # Number of series
///
/// At most [`with_max_keys`](Self::with_max_keys) key names have series of their own, in order of first
/// use. The rest share `other`, which has no `envelock_primary_version`. A name gets its series by
/// [`with_key`](Self::with_key), or by the first wrap, unwrap or change under it. A refused or damaged
/// slot adds no name, since the writer of the message chose it. A key with the name `other` shares the
/// series of the rest.
///
/// Versions are not a label, since their number has no bound. The `tracing` events have them.
///
/// # The gauge
///
/// Every change of the primary and every wrap sets `envelock_primary_version`, so it is right in other
/// processes from their first encryption. A wrap that overlaps a rotation can set the former value until
/// the next wrap.
#[derive(Debug)]
pub struct MetricsObserver {
    keys: RwLock<BTreeSet<String>>,
    max_keys: usize,
}

impl MetricsObserver {
    /// The default number of key names with series of their own.
    pub const DEFAULT_MAX_KEYS: usize = 100;

    /// Returns an observer that counts with the current recorder.
    pub const fn new() -> Self {
        let keys = RwLock::new(BTreeSet::new());
        MetricsObserver { keys, max_keys: MetricsObserver::DEFAULT_MAX_KEYS }
    }

    /// Sets the maximum number of key names with series of their own.
    #[must_use]
    pub const fn with_max_keys(mut self, max_keys: usize) -> Self {
        self.max_keys = max_keys;
        self
    }

    /// Gives the key `name` series of its own, for a process that may see only refusals under it. It
    /// has no effect once the maximum number of names is reached.
    #[must_use]
    pub fn with_key(self, name: &str) -> Self {
        self.admit(name);
        self
    }

    /// Describes each metric to the current recorder.
    pub fn describe() {
        let counters = [
            (WRAPS, "data keys wrapped, by encryptions and rewraps"),
            (UNWRAPS, "slots unwrapped and verified"),
            (REFUSALS, "slots refused for the state of their version"),
            (AUTHENTICATION_FAILURES, "slots that did not verify"),
            (UNAVAILABLE, "calls that failed, or had no version to wrap with"),
            (CHANGES, "versions, states, aliases and labels changed"),
            (ROTATIONS, "changes of the primary"),
            (RELOADS, "loads of keys that another process changed"),
            (OUTER_KEY_EVENTS, "changes in freshness of outer keys of key files"),
            (STREAMS_UNFINISHED, "encrypting streams dropped without finish"),
            (TOKEN_EVENTS, "reconnections and logins of PKCS#11 tokens"),
        ];
        for (name, what) in counters {
            ::metrics::describe_counter!(name, what);
        }
        ::metrics::describe_gauge!(PRIMARY_VERSION, "the version that wraps, 0 if there is none");
        ::metrics::describe_gauge!(KEY_FILE_FILLING, "fill of the last key file above 80 per cent");
    }

    /// Returns whether `name` has series of its own.
    fn knows(&self, name: &str) -> bool {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    /// Gives `name` series of its own unless the maximum is reached. Returns whether it has them.
    fn admit(&self, name: &str) -> bool {
        if name == OTHER {
            return false;
        }
        if self.knows(name) {
            return true;
        }
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if keys.len() < self.max_keys {
            keys.insert(name.into());
        }
        keys.contains(name)
    }

    /// Returns the label of a key of a completed operation.
    fn verified(&self, name: &str) -> Label {
        Label::new("key", if self.admit(name) { name.to_owned() } else { OTHER.to_owned() })
    }

    /// Returns the label of a key name from an unverified header.
    fn unverified(&self, name: &str) -> Label {
        Label::new("key", if self.knows(name) { name.to_owned() } else { OTHER.to_owned() })
    }

    fn set_primary(&self, name: &str, version: u32) {
        if self.admit(name) {
            let label = Label::new("key", name.to_owned());
            gauge!(PRIMARY_VERSION, Vec::from([label])).set(version);
        }
    }

    fn changed(&self, transition: &Transition) {
        let (key, change) = match transition {
            Transition::Added { key, .. } => (key, "added"),
            Transition::State { key, version: _, from, to } => {
                // A promotion reports the new primary itself.
                if *from == VersionState::Primary && *to != VersionState::Enabled {
                    self.set_primary(key, 0);
                }
                (key, "state")
            }
            Transition::Alias { alias, from, to } => {
                (to.as_ref().or(from.as_ref()).unwrap_or(alias), "alias")
            }
            Transition::RecordsRemoved { key, .. } => (key, "records"),
            Transition::Erased { key } => (key, "erased"),
            Transition::Label { key, .. } => (key, "label"),
            Transition::Hold { key, .. } => (key, "hold"),
            Transition::Evidence { key, .. } => (key, "evidence"),
            Transition::Dates { key } => (key, "dates"),
        };
        count(CHANGES, [self.verified(key), Label::from_static_parts("change", change)]);
    }
}

impl Default for MetricsObserver {
    fn default() -> Self {
        MetricsObserver::new()
    }
}

impl Observer for MetricsObserver {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Wrapped { label } => {
                count(WRAPS, [self.verified(label.name.as_str())]);
                self.set_primary(label.name.as_str(), label.version.number());
            }
            Event::Unwrapped { label, compromised } => {
                let flag = if *compromised { "true" } else { "false" };
                let flag = Label::from_static_parts("compromised", flag);
                count(UNWRAPS, [self.verified(label.name.as_str()), flag]);
            }
            Event::Refused { label, refusal } => {
                let reason = Label::from_static_parts("reason", reason(*refusal));
                count(REFUSALS, [self.unverified(label.name.as_str()), reason]);
            }
            Event::NotVerified { label } => {
                count(AUTHENTICATION_FAILURES, [self.unverified(label.name.as_str())]);
            }
            Event::Unavailable { .. } => {
                count(UNAVAILABLE, [Label::from_static_parts("reason", "backend")]);
            }
            Event::NoPrimary => {
                count(UNAVAILABLE, [Label::from_static_parts("reason", "no_primary")]);
            }
            Event::StreamUnfinished => count(STREAMS_UNFINISHED, []),
            Event::Changed { transition, .. } => self.changed(transition),
            Event::Rotated { key, to, .. } => {
                count(ROTATIONS, [self.verified(key)]);
                self.set_primary(key, to.number());
            }
            Event::Reloaded { .. } => {
                count(RELOADS, [Label::from_static_parts("outcome", "loaded")]);
            }
            Event::ReloadFailed { .. } => {
                count(RELOADS, [Label::from_static_parts("outcome", "failed")]);
            }
            Event::KeyFileFilling { percent, .. } => {
                gauge!(KEY_FILE_FILLING).set(f64::from(*percent));
            }
            Event::OuterKey { freshness, .. } => {
                let what = match freshness {
                    Freshness::Primary => "current",
                    Freshness::Stale | Freshness::NotMine => "stale",
                    Freshness::Compromised => "compromised",
                    Freshness::Refused(_) => "refused",
                };
                count(OUTER_KEY_EVENTS, [Label::from_static_parts("event", what)]);
            }
            Event::TokenReconnected { restarted, .. } => {
                let what = if *restarted { "restarted" } else { "reconnected" };
                count(TOKEN_EVENTS, [Label::from_static_parts("event", what)]);
            }
            Event::TokenLogin { .. } => {
                count(TOKEN_EVENTS, [Label::from_static_parts("event", "login")]);
            }
            Event::TokenLoginRefused { .. } => {
                count(TOKEN_EVENTS, [Label::from_static_parts("event", "login_refused")]);
            }
        }
    }
}

fn count<const N: usize>(name: &'static str, labels: [Label; N]) {
    counter!(name, Vec::from(labels)).increment(1);
}

fn reason(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::UnknownVersion => "unknown_version",
        Refusal::Disabled => "disabled",
        Refusal::Compromised => "compromised",
        Refusal::DestroyScheduled => "destroy_scheduled",
        Refusal::Destroyed => "destroyed",
        Refusal::Excluded => "excluded",
    }
}
