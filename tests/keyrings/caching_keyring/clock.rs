//! A clock that the test advances.

use super::combine::Scripted;
use envelock::{
    DataKey, Keyring, SlotLabel,
    format::Slot,
    keyring::{Freshness, KeyringError, KeyringRng, PrimaryKey, SlotWriter, WrapContext},
};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Clone, Default)]
pub struct FakeClock(Arc<Mutex<Duration>>);

impl FakeClock {
    pub fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }

    pub fn set(&self, to: Duration) {
        *self.0.lock().unwrap() = to;
    }

    /// The clock of a cache.
    pub fn reader(&self) -> impl Fn() -> Duration + Send + Sync + use<> {
        let clock = self.clone();
        move || *clock.0.lock().unwrap()
    }
}

/// A backend whose calls take time.
pub struct Slow<'c> {
    pub inner: Arc<Scripted>,
    pub clock: &'c FakeClock,
    pub takes: Duration,
}

impl Keyring for Slow<'_> {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.inner.visit_primaries(visit)
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.clock.advance(self.takes);
        self.inner.wrap(data_key, context, slots, rng)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        self.clock.advance(self.takes);
        self.inner.unwrap(slot, context, data_key)
    }

    fn freshness(&self, label: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        self.inner.freshness(label)
    }
}
