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
    /// The number of the last load that had started when the metadata was forgotten.
    floor: u64,
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
    /// Forgets all. The result of a load up to number `floor` serves the operation that waits for it, and no other.
    pub(crate) fn forget(&mut self, floor: u64) {
        *self = Metadata { floor, ..Metadata::default() };
    }

    /// Returns the number that loads must exceed whose results are used.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

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

    /// Stores the result of a load that `began` under this floor.
    pub(crate) fn store(
        &mut self,
        result: &Result<Arc<Description>, Failure>,
        now: Instant,
        began: u64,
    ) {
        let is_old = began != self.floor;
        if is_old && self.loaded.is_some() {
            return;
        }
        match result {
            Ok(description) => {
                self.failed = None;
                self.unknown.retain(|(id, version), _| {
                    *id != description.id || !description.versions.contains_key(version)
                });
                let description = Arc::clone(description);
                self.loaded = Some(Loaded { description, at: now, is_expired: is_old });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ServiceError;
    use envelock::keyset::VersionState;

    const AGES: Ages = Ages { fresh: Duration::from_secs(60), stale: Duration::from_secs(3600) };
    const ID: MasterKeyId = MasterKeyId([7; 8]);

    fn version(number: u32) -> KeyVersion {
        KeyVersion::new(number).unwrap()
    }

    fn described() -> Result<Arc<Description>, Failure> {
        let versions = [(version(1), VersionState::Enabled)];
        Ok(Arc::new(Description::new(ID, Some(version(1)), versions)))
    }

    fn outage() -> Result<Arc<Description>, Failure> {
        Err(Failure::broken("away".into()))
    }

    fn unknown_key() -> Result<Arc<Description>, Failure> {
        Err(Failure::of(ServiceError::UnknownKey))
    }

    /// Returns what is to be done so many seconds after a load.
    fn look_up(metadata: &Metadata, loaded: Instant, seconds: u64) -> &'static str {
        match metadata.look_up(loaded + Duration::from_secs(seconds), AGES) {
            Lookup::Fresh(_) => "use",
            Lookup::Aging(_) => "use and load",
            Lookup::Due(Some(_)) => "load or use",
            Lookup::Due(None) => "load",
            Lookup::Failed(_) => "fail",
        }
    }

    #[test]
    fn ages_of_metadata() {
        let (mut metadata, at) = (Metadata::default(), Instant::now());
        assert_eq!(look_up(&metadata, at, 0), "load");
        metadata.store(&described(), at, 0);
        let expected = [
            (0, "use"),
            (59, "use"),
            (60, "use and load"),
            (119, "use and load"),
            (120, "load or use"),
            (3659, "load or use"),
            (3660, "load"),
        ];
        for (seconds, what) in expected {
            assert_eq!(look_up(&metadata, at, seconds), what, "{seconds}");
        }
        metadata.expire();
        assert_eq!(look_up(&metadata, at, 1), "load or use");
        metadata.store(&described(), at + Duration::from_secs(2), 0);
        assert_eq!(look_up(&metadata, at, 3), "use");
    }

    #[test]
    fn failures_pause_loads() {
        let at = Instant::now();
        for (failure, pause) in [(outage(), 1), (unknown_key(), 10)] {
            let mut metadata = Metadata::default();
            metadata.store(&failure, at, 0);
            assert_eq!(look_up(&metadata, at, pause - 1), "fail");
            assert_eq!(look_up(&metadata, at, pause), "load");
            metadata.store(&described(), at, 0);
            let failed = at + Duration::from_secs(300);
            metadata.store(&failure, failed, 0);
            // What is served in an outage is loaded again without a wait.
            assert_eq!(look_up(&metadata, failed, pause - 1), "use");
            assert_eq!(look_up(&metadata, failed, pause), "use and load");
            assert_eq!(look_up(&metadata, failed, 3359), "use and load");
            assert_eq!(look_up(&metadata, failed, 3360), "load");
            assert!(metadata.in_memory(failed + Duration::from_secs(3360), AGES).unwrap().is_err());
        }
        // The deadline of one caller is none of another's.
        let mut metadata = Metadata::default();
        metadata.store(&Err(Failure::deadline()), at, 0);
        assert_eq!(look_up(&metadata, at, 0), "load");
    }

    #[test]
    fn unknown_versions_are_remembered_a_while() {
        let (mut metadata, at) = (Metadata::default(), Instant::now());
        let (soon, late) = (at + Duration::from_secs(9), at + UNKNOWN_FOR);
        let asked = [(ID, version(2)), (MasterKeyId([8; 8]), version(1)), (ID, version(1))];
        for each in asked {
            metadata.remember_unknown(each, at);
            assert!(!metadata.may_ask_for(each, soon));
        }
        // One that was described is known, under its own id alone.
        metadata.store(&described(), soon, 0);
        assert_eq!(asked.map(|each| metadata.may_ask_for(each, soon)), [false, false, true]);
        assert_eq!(asked.map(|each| metadata.may_ask_for(each, late)), [true; 3]);
        for number in 1..=300 {
            metadata.remember_unknown((ID, version(number)), late);
        }
        assert_eq!(metadata.unknown.len(), MAX_UNKNOWN);
        assert!(!metadata.may_ask_for((ID, version(999)), late));
        assert!(metadata.may_ask_for((ID, version(999)), late + UNKNOWN_FOR));
    }
}
