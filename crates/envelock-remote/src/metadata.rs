//! What is known of one master key of the service: a state machine without a clock.

use crate::backend::Description;
use crate::service::Failure;
use envelock::{KeyVersion, MasterKeyId};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The ages at which metadata is loaded again, and no longer used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ages {
    /// Until this age it is used as it is.
    pub(crate) fresh: Duration,
    /// For so much longer it is used if it cannot be loaded again.
    pub(crate) stale: Duration,
}

/// The time after a failed load in which no other is tried.
const FAILURE_PAUSE: Duration = Duration::from_secs(1);

/// The time for which a version, or a key, that the service does not know is not asked for again.
const UNKNOWN_FOR: Duration = Duration::from_secs(10);

/// A version that a slot names, of the master key that it names.
pub(crate) type Asked = (MasterKeyId, KeyVersion);

/// The most unknown versions of a key that are remembered. With more, none is asked for: anybody can invent one.
const MAX_UNKNOWN: usize = 256;

#[derive(Default)]
pub(crate) struct Metadata {
    loaded: Option<Loaded>,
    /// The failure of the last load, with its time.
    failed: Option<(Failure, Instant)>,
    unknown: HashMap<Asked, Instant>,
}

struct Loaded {
    description: Arc<Description>,
    at: Instant,
    /// The service has contradicted it.
    is_expired: bool,
}

/// What to do for the metadata of a key.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// Use it.
    Fresh(Arc<Description>),
    /// Use it, and load it again without waiting.
    Aging(Arc<Description>),
    /// Load it. If that fails, use this.
    Due(Option<Arc<Description>>),
    /// Report the failure of the last load.
    Failed(Failure),
}

impl Metadata {
    pub(crate) fn look_up(&self, now: Instant, ages: Ages) -> Lookup {
        let paused = |(failure, at): &(Failure, Instant)| now < *at + pause(failure);
        let is_paused = self.failed.as_ref().is_some_and(paused);
        let Some(loaded) = self.usable(now, ages) else {
            return match &self.failed {
                Some((failure, _)) if is_paused => Lookup::Failed(failure.clone()),
                _ => Lookup::Due(None),
            };
        };
        let description = Arc::clone(&loaded.description);
        let age = now.duration_since(loaded.at);
        if is_paused || (age < ages.fresh && !loaded.is_expired) {
            Lookup::Fresh(description)
        } else if self.failed.is_some() || (age / 2 < ages.fresh && !loaded.is_expired) {
            // In an outage nobody waits for what can be served.
            Lookup::Aging(description)
        } else {
            Lookup::Due(Some(description))
        }
    }

    /// Returns what is in memory: a description, or the failure of the last load, or nothing yet.
    pub(crate) fn in_memory(
        &self,
        now: Instant,
        ages: Ages,
    ) -> Option<Result<Arc<Description>, Failure>> {
        match self.usable(now, ages) {
            Some(loaded) => Some(Ok(Arc::clone(&loaded.description))),
            None => self.failed.as_ref().map(|(failure, _)| Err(failure.clone())),
        }
    }

    fn usable(&self, now: Instant, ages: Ages) -> Option<&Loaded> {
        // Saturates: for ever.
        let most = ages.fresh.saturating_add(ages.stale);
        self.loaded.as_ref().filter(|loaded| now.duration_since(loaded.at) < most)
    }

    /// Stores the result of a load.
    pub(crate) fn store(&mut self, result: &Result<Arc<Description>, Failure>, now: Instant) {
        match result {
            Ok(description) => {
                self.failed = None;
                self.unknown.retain(|(id, version), _| {
                    *id != description.id || !description.versions.contains_key(version)
                });
                let description = Arc::clone(description);
                self.loaded = Some(Loaded { description, at: now, is_expired: false });
            }
            Err(failure) => self.failed = Some((failure.clone(), now)),
        }
    }

    /// Has the metadata loaded again, since the service has contradicted it.
    pub(crate) fn expire(&mut self) {
        if let Some(loaded) = &mut self.loaded {
            loaded.is_expired = true;
        }
    }

    /// Returns whether the service may be asked for a version that is not described.
    pub(crate) fn may_ask_for(&mut self, asked: Asked, now: Instant) -> bool {
        self.unknown.retain(|_, at| now < *at + UNKNOWN_FOR);
        !self.unknown.contains_key(&asked) && self.unknown.len() < MAX_UNKNOWN
    }

    /// Remembers that the service does not know a version.
    pub(crate) fn remember_unknown(&mut self, asked: Asked, now: Instant) {
        if self.unknown.len() < MAX_UNKNOWN {
            self.unknown.insert(asked, now);
        }
    }
}

/// The time after a failure in which it is reported without a call.
fn pause(failure: &Failure) -> Duration {
    match failure {
        // It was one caller's alone.
        _ if failure.is_deadline() => Duration::ZERO,
        _ if failure.is_unknown_key() => UNKNOWN_FOR,
        _ => FAILURE_PAUSE,
    }
}
