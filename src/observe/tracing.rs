//! Events for the `tracing` facade.

use super::text::{Causes, Name};
use super::{Event, Observer};
use crate::format::{KeyVersion, SlotLabel};
use crate::keyset::{Freshness, Transition};
use ::tracing::field::display as text;

/// Emits each [`Event`] as an event of the `tracing` facade (feature `tracing`).
///
/// Names, levels and fields change with a major version only.
///
#[doc = include_str!("tracing.md")]
///
/// `version`, `change` (the change number), and `from` and `to` of `rotated` are numbers. Other fields are
/// text.
///
/// No event identifies a message; the data key id is left out. Control characters in foreign text, such
/// as the error of a backend, are escaped. A sender of messages can cause several warnings with each
/// message, so a subscriber that stores them should limit their rate.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct TracingObserver {}

impl TracingObserver {
    /// Returns an observer that emits to the current subscriber.
    pub const fn new() -> Self {
        TracingObserver {}
    }
}

macro_rules! emit {
    ($level:ident, $name:literal $(, $field:ident = $value:expr)* $(,)?) => {
        ::tracing::event!(
            name: $name,
            target: "envelock",
            ::tracing::Level::$level,
            message = $name
            $(, $field = $value)*
        )
    };
}

/// Emits with the fields of a label first.
macro_rules! emit_label {
    ($level:ident, $name:literal, $label:expr $(, $field:ident = $value:expr)*) => {{
        let label: &SlotLabel<'_> = $label;
        emit!(
            $level, $name,
            key = label.name.as_str(),
            version = label.version.number(),
            master_key_id = text(label.master_key_id),
            algorithm = text(label.algorithm)
            $(, $field = $value)*
        )
    }};
}

impl Observer for TracingObserver {
    fn event(&self, event: &Event<'_>) {
        match event {
            Event::Wrapped { label } => emit_label!(DEBUG, "wrapped", label),
            Event::Unwrapped { label, compromised: false } => {
                emit_label!(DEBUG, "unwrapped", label);
            }
            Event::Unwrapped { label, compromised: true } => {
                emit_label!(WARN, "unwrapped_compromised", label);
            }
            Event::Refused { label, refusal } => {
                emit_label!(WARN, "refused", label, reason = text(refusal));
            }
            Event::NotVerified { label } => emit_label!(WARN, "not_verified", label),
            Event::Unavailable { error } => {
                emit!(ERROR, "unavailable", error = text(Causes(*error)));
            }
            Event::NoPrimary => emit!(ERROR, "no_primary"),
            Event::StreamUnfinished => emit!(WARN, "stream_unfinished"),
            Event::Changed { transition, change } => changed(transition, *change),
            Event::Rotated { key, from, to, change } => emit!(
                INFO,
                "rotated",
                key = text(Name(key)),
                from = from.map(KeyVersion::number),
                to = to.number(),
                change = *change,
            ),
            Event::Reloaded { change, from_change } => {
                emit!(INFO, "reloaded", change = *change, from_change = *from_change);
            }
            Event::ReloadFailed { error } => {
                emit!(ERROR, "reload_failed", error = text(Causes(*error)));
            }
            Event::KeyFileFilling { percent, change } => {
                emit!(WARN, "key_file_filling", percent = *percent, change = *change);
            }
            Event::OuterKey { protection, label, freshness } => {
                outer_key(protection, label, *freshness);
            }
            Event::TokenReconnected { token, restarted } => {
                emit!(WARN, "token_reconnected", token = text(Name(token)), restarted = *restarted);
            }
            Event::TokenLogin { token } => emit!(INFO, "token_login", token = text(Name(token))),
            Event::TokenLoginRefused { token, error } => {
                let error = text(Causes(*error));
                emit!(ERROR, "token_login_refused", token = text(Name(token)), error = error);
            }
        }
    }
}

fn outer_key(protection: &str, label: &SlotLabel<'_>, freshness: Freshness) {
    let protection = text(Name(protection));
    match freshness {
        Freshness::Primary => {
            emit_label!(INFO, "outer_key_current", label, protection = protection);
        }
        Freshness::Refused(refusal) => {
            let reason = text(refusal);
            emit_label!(
                ERROR,
                "outer_key_refused",
                label,
                protection = protection,
                reason = reason
            );
        }
        Freshness::Compromised => {
            emit_label!(WARN, "outer_key_compromised", label, protection = protection);
        }
        Freshness::Stale | Freshness::NotMine => {
            emit_label!(WARN, "outer_key_stale", label, protection = protection);
        }
    }
}

fn changed(transition: &Transition, change: u64) {
    match transition {
        Transition::Added { key, version } => emit!(
            INFO,
            "version_added",
            key = text(Name(key)),
            version = version.number(),
            change = change,
        ),
        Transition::State { key, version, from, to } => emit!(
            INFO,
            "state_changed",
            key = text(Name(key)),
            version = version.number(),
            from = from.name(),
            to = to.name(),
            change = change,
        ),
        Transition::Alias { alias, from, to } => emit!(
            INFO,
            "alias_changed",
            alias = text(Name(alias)),
            from = from.as_deref().map(Name).map(text),
            to = to.as_deref().map(Name).map(text),
            change = change,
        ),
        Transition::RecordsRemoved { key, floor } => {
            emit!(INFO, "records_removed", key = text(Name(key)), floor = *floor, change = change,)
        }
        Transition::Erased { key } => {
            emit!(WARN, "key_erased", key = text(Name(key)), change = change);
        }
        Transition::Label { key, version } => emit!(
            INFO,
            "label_changed",
            key = text(Name(key)),
            version = version.number(),
            change = change,
        ),
        Transition::Hold { key, version, is_held } => emit!(
            INFO,
            "hold_changed",
            key = text(Name(key)),
            version = version.map(KeyVersion::number),
            is_held = *is_held,
            change = change,
        ),
        Transition::Evidence { key, is_required } => emit!(
            INFO,
            "evidence_changed",
            key = text(Name(key)),
            is_required = *is_required,
            change = change,
        ),
        Transition::Dates { key } => {
            emit!(INFO, "dates_corrected", key = text(Name(key)), change = change);
        }
    }
}
