//! The keys of a remote keyring, and the loads of their metadata.

use crate::backend::{Backend, Decrypted, Description};
use crate::call::lock;
use crate::call::task::as_task;
use crate::flight::Flights;
use crate::metadata::{Ages, Lookup, Metadata};
use crate::service::{Failure, Service, Wrapped};
use envelock::format::InvalidKeyName;
use envelock::keyring::KeyringError;
use envelock::{KeyName, KeyVersion, SlotLabel};
use std::iter;
use std::sync::{Arc, Mutex};
use tokio::runtime::Handle;
use tokio::time::Instant;

/// Calls for a value that their callers share.
type Calls<K, T> = Flights<K, Result<Arc<T>, Failure>>;

pub(crate) struct Inner<B> {
    pub(crate) service: Service<B>,
    /// The master key that wraps.
    pub(crate) own: Arc<ServiceKey>,
    /// The master keys whose messages it opens besides.
    others: Vec<Arc<ServiceKey>>,
    ages: Ages,
    pub(crate) proves_wraps: bool,
    describes: Calls<Arc<str>, Description>,
    pub(crate) decrypts: Calls<(Arc<str>, Arc<Wrapped>), Decrypted>,
}

/// A master key of the service.
pub(crate) struct ServiceKey {
    name: Arc<str>,
    metadata: Mutex<Metadata>,
}

impl ServiceKey {
    pub(crate) fn new(name: &str) -> Result<Arc<Self>, InvalidKeyName> {
        KeyName::new(name)?;
        Ok(Arc::new(ServiceKey { name: name.into(), metadata: Mutex::default() }))
    }

    #[expect(clippy::expect_used, reason = "`new` validates it")]
    pub(crate) fn name(&self) -> KeyName<'_> {
        KeyName::new(&self.name).expect("a valid name")
    }

    /// Returns the name for a call that outlives a borrow.
    pub(crate) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// Has the metadata loaded before it is used again, since an answer of the service contradicts it.
    pub(crate) fn expire(&self) {
        lock(&self.metadata).expire();
    }

    fn forget(&self, floor: u64) {
        lock(&self.metadata).forget(floor);
    }

    /// Returns the error of a call for this key. If the service does not have the key, the error names it.
    pub(crate) fn error(&self, failure: Failure) -> KeyringError {
        if failure.is_unknown_key() {
            return KeyringError::unknown_key(self.name().as_str());
        }
        failure.into()
    }
}

impl<B> Inner<B> {
    pub(crate) fn keys(&self) -> impl Iterator<Item = &Arc<ServiceKey>> {
        iter::once(&self.own).chain(&self.others)
    }

    /// Forgets the metadata of all keys, also that of loads that are running.
    pub(crate) fn forget_metadata(&self) {
        let floor = self.describes.now();
        self.keys().for_each(|key| key.forget(floor));
    }

    pub(crate) fn key(&self, name: KeyName<'_>) -> Option<&Arc<ServiceKey>> {
        self.keys().find(|key| key.name() == name)
    }
}

impl<B: Backend> Inner<B> {
    pub(crate) fn new(
        service: Service<B>,
        own: Arc<ServiceKey>,
        others: Vec<Arc<ServiceKey>>,
        ages: Ages,
        proves_wraps: bool,
    ) -> Self {
        let (describes, decrypts) = (Flights::new(), Flights::new());
        Inner { service, own, others, ages, proves_wraps, describes, decrypts }
    }

    /// Returns the key that a slot belongs to by name and algorithm.
    pub(crate) fn key_of(&self, slot: &SlotLabel<'_>) -> Option<&Arc<ServiceKey>> {
        let is_own = slot.algorithm == self.service.backend().algorithm();
        if is_own { self.key(slot.name) } else { None }
    }

    pub(crate) fn label<'k>(
        &self,
        key: &'k ServiceKey,
        description: &Description,
        version: KeyVersion,
    ) -> SlotLabel<'k> {
        SlotLabel {
            name: key.name(),
            version,
            master_key_id: description.id,
            algorithm: self.service.backend().algorithm(),
        }
    }

    /// Returns the metadata that was loaded, without a call.
    pub(crate) fn in_memory(&self, key: &ServiceKey) -> Result<Arc<Description>, KeyringError> {
        let known = lock(&key.metadata).in_memory(Instant::now(), self.ages);
        Ok(known.unwrap_or_else(|| Err(Failure::not_prepared()))?)
    }

    /// Returns the metadata of `key`.
    pub(crate) async fn description(
        self: &Arc<Self>,
        key: &Arc<ServiceKey>,
        deadline: Instant,
    ) -> Result<Arc<Description>, Failure> {
        let lookup = lock(&key.metadata).look_up(Instant::now(), self.ages);
        match lookup {
            Lookup::Fresh(description) => Ok(description),
            Lookup::Aging(description) => {
                self.load_in_background(key);
                Ok(description)
            }
            Lookup::Due(stale) => {
                self.load(key, deadline, 0).await.or_else(|failure| stale.ok_or(failure))
            }
            Lookup::Failed(failure) => Err(failure),
        }
    }

    /// Returns the metadata of the key of a slot. If the slot's version is not in it, the service is asked again, once
    /// in a while.
    pub(crate) async fn of_slot(
        self: &Arc<Self>,
        key: &Arc<ServiceKey>,
        slot: &SlotLabel<'_>,
        deadline: Instant,
    ) -> Result<Arc<Description>, Failure> {
        let description = self.description(key, deadline).await?;
        let is_answer = |description: &Description| {
            // The id of a key is that of all its versions. Another one may be that of a key created since.
            description.id == slot.master_key_id && description.versions.contains_key(&slot.version)
        };
        let asked = (slot.master_key_id, slot.version);
        if is_answer(&description) || !lock(&key.metadata).may_ask_for(asked, Instant::now()) {
            return Ok(description);
        }
        let description = self.load_until(key, deadline, is_answer).await?;
        if !is_answer(&description) {
            lock(&key.metadata).remember_unknown(asked, Instant::now());
        }
        Ok(description)
    }

    /// Loads metadata that was described from now on, unless a load that is running has the `answer`.
    pub(crate) async fn load_until(
        self: &Arc<Self>,
        key: &Arc<ServiceKey>,
        deadline: Instant,
        is_answer: impl Fn(&Description) -> bool,
    ) -> Result<Arc<Description>, Failure> {
        let floor = self.describes.now();
        if self.describes.is_running(&key.name) {
            let description = self.load(key, deadline, 0).await?;
            if is_answer(&description) {
                return Ok(description);
            }
        }
        self.load(key, deadline, floor).await
    }

    /// Returns the result of a load whose number exceeds `floor`, and which began after the metadata was last forgotten.
    async fn load(
        self: &Arc<Self>,
        key: &Arc<ServiceKey>,
        deadline: Instant,
        floor: u64,
    ) -> Result<Arc<Description>, Failure> {
        let start = || {
            let (inner, key) = (Arc::clone(self), Arc::clone(key));
            let begun = lock(&key.metadata).floor();
            async move {
                let (of, name) = (Arc::clone(&inner), key.shared_name());
                let describe = async move { of.service.describe(&name, deadline).await };
                // A caller that is not polled keeps no permit from others.
                let described = as_task(describe).await;
                let result = described.and_then(checked).map(Arc::new);
                let mut metadata = lock(&key.metadata);
                metadata.store(&result, Instant::now(), begun);
                drop(metadata);
                result
            }
        };
        let floor = floor.max(lock(&key.metadata).floor());
        self.describes.run(key.shared_name(), deadline, Some(floor), start).await
    }

    /// Starts a task that loads the metadata, if there is none and there is a runtime.
    fn load_in_background(self: &Arc<Self>, key: &Arc<ServiceKey>) {
        if self.describes.is_running(&key.name) {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            let (inner, key) = (Arc::clone(self), Arc::clone(key));
            runtime.spawn(async move {
                // Not the deadline of the caller. The metadata keeps the result.
                let deadline = inner.service.deadline();
                let _ = inner.load(&key, deadline, 0).await;
            });
        }
    }
}

/// Checks that a description can be right.
fn checked(description: Description) -> Result<Description, Failure> {
    match description.primary {
        Some(primary) if !description.versions.contains_key(&primary) => Err(Failure::broken(
            format!("service describes version {primary} as the primary, and no such version"),
        )),
        _ => Ok(description),
    }
}
