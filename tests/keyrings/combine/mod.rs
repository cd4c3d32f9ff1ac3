//! A keyring for tests of combined ones: a real one, of which each result can be replaced and each
//! call is counted.

#![allow(dead_code, reason = "each test file uses what it needs")]

use envelock::{
    Aad, BackendFailure, DataKey, Error, KeyName, KeyVersion, Keyring, MasterKey, MemoryKeyring,
    SlotLabel,
    format::Slot,
    inspect,
    keyring::{Freshness, KeyringError, KeyringRng, PrimaryKey, Refusal, SlotWriter, WrapContext},
};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

pub const ROW: Aad<'static> = Aad::new(b"row");
pub const PLAINTEXT: &[u8] = b"payload";

pub fn version(number: u32) -> KeyVersion {
    KeyVersion::new(number).unwrap()
}

/// A keyring of `name` whose version 1 is made of `byte`.
pub fn ring(name: &str, byte: u8) -> MemoryKeyring {
    MemoryKeyring::import(name, KeyVersion::FIRST, &MasterKey::from_bytes(&[byte; 32])).unwrap()
}

/// Name and version of each slot.
pub fn labels(header: &[u8]) -> Vec<(String, u32)> {
    let label = |slot: Slot<'_>| (slot.label.name.as_str().into(), slot.label.version.number());
    inspect(header).unwrap().slots().map(label).collect()
}

pub fn label(name: &str, version: u32) -> (String, u32) {
    (name.into(), version)
}

pub fn down() -> KeyringError {
    KeyringError::unavailable(std::io::Error::other("connection refused"))
}

/// The behaviour of a replaced method.
#[derive(Clone, Default)]
pub struct Script {
    /// Every call: the backend is unavailable.
    pub down: bool,
    /// `unwrap` returns this, whatever the slot.
    pub unwrap: Option<KeyringError>,
    /// `unwrap` succeeds with another key.
    pub careless: bool,
    /// `freshness` returns this, whatever the slot.
    pub freshness: Option<Freshness>,
    /// `freshness` is unavailable.
    pub freshness_down: bool,
    /// This version is marked compromised; refused if `strict`.
    pub compromised: Option<u32>,
    pub strict: bool,
}

/// How often each method was called.
#[derive(Default)]
pub struct Counts {
    pub primary: AtomicUsize,
    pub wrap: AtomicUsize,
    pub unwrap: AtomicUsize,
    pub rewrap: AtomicUsize,
    pub freshness: AtomicUsize,
    pub holds: AtomicUsize,
}

pub struct Scripted {
    pub ring: MemoryKeyring,
    pub script: Mutex<Script>,
    pub counts: Counts,
}

impl Scripted {
    pub fn new(ring: MemoryKeyring) -> Arc<Self> {
        let (script, counts) = Default::default();
        Arc::new(Scripted { ring, script, counts })
    }

    pub fn set(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.script.lock().unwrap());
    }

    /// Wraps and unwraps since the last time.
    pub fn calls(&self) -> (usize, usize) {
        (self.counts.wrap.swap(0, Relaxed), self.counts.unwrap.swap(0, Relaxed))
    }

    fn script(&self, count: &AtomicUsize) -> Result<Script, KeyringError> {
        count.fetch_add(1, Relaxed);
        let script = self.script.lock().unwrap().clone();
        if script.down { Err(down()) } else { Ok(script) }
    }
}

impl Keyring for Scripted {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.script(&self.counts.primary)?;
        self.ring.visit_primaries(visit)
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.script(&self.counts.wrap)?;
        self.ring.wrap(data_key, context, slots, rng)
    }

    fn wrap_under(
        &self,
        name: KeyName<'_>,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.script(&self.counts.wrap)?;
        self.ring.wrap_under(name, data_key, context, slots, rng)
    }

    fn holds(
        &self,
        name: KeyName<'_>,
        visit: &mut dyn FnMut(KeyName<'_>),
    ) -> Result<(), KeyringError> {
        self.script(&self.counts.holds)?;
        self.ring.holds(name, visit)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        let script = self.script(&self.counts.unwrap)?;
        if script.careless {
            assert!(data_key.set(&[0x5A; 32]));
            return Ok(());
        }
        let refused = script.strict && script.compromised == Some(slot.label.version.number());
        match script.unwrap {
            Some(error) => Err(error),
            None if refused => Err(KeyringError::Refused(Refusal::Compromised)),
            None => self.ring.unwrap(slot, context, data_key),
        }
    }

    fn rewrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.script(&self.counts.rewrap)?;
        let mut data_key = DataKey::empty();
        self.unwrap(slot, context, &mut data_key)?;
        context.verify(&data_key)?;
        self.wrap_under(slot.label.name, &data_key, context, slots, rng)
    }

    fn freshness(&self, label: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        let script = self.script(&self.counts.freshness)?;
        if script.freshness_down {
            return Err(down());
        }
        if let Some(freshness) = script.freshness {
            return Ok(freshness);
        }
        Ok(match self.ring.freshness(label)? {
            Freshness::Stale | Freshness::Primary
                if script.compromised == Some(label.version.number()) =>
            {
                match script.strict {
                    true => Freshness::Refused(Refusal::Compromised),
                    false => Freshness::Compromised,
                }
            }
            other => other,
        })
    }
}

/// A result of a keyring, or an error of an envelope, in one comparable form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    NotMine,
    Refused(Refusal),
    Authentication,
    Denied,
    Broken,
    Throttled,
    Unavailable,
}

impl Said {
    pub const ALL: [Said; 11] = [
        Said::NotMine,
        Said::Refused(Refusal::UnknownVersion),
        Said::Refused(Refusal::Disabled),
        Said::Refused(Refusal::Compromised),
        Said::Refused(Refusal::DestroyScheduled),
        Said::Refused(Refusal::Destroyed),
        Said::Authentication,
        Said::Denied,
        Said::Broken,
        Said::Throttled,
        Said::Unavailable,
    ];

    pub fn error(self) -> KeyringError {
        match self {
            Said::NotMine => KeyringError::NotMine,
            Said::Refused(refusal) => KeyringError::Refused(refusal),
            Said::Authentication => KeyringError::Authentication,
            Said::Denied => KeyringError::denied(std::io::Error::other("forbidden")),
            Said::Broken => KeyringError::broken(std::io::Error::other("gone")),
            Said::Throttled => KeyringError::throttled(None, std::io::Error::other("slow down")),
            Said::Unavailable => down(),
        }
    }

    pub fn of(error: &Error) -> Self {
        match error {
            Error::NoKey { .. } => Said::NotMine,
            Error::Refused { refusal, .. } => Said::Refused(*refusal),
            Error::Authentication { .. } => Said::Authentication,
            Error::Backend(error) => match error.failure() {
                BackendFailure::Unavailable { retryable: false, .. } => Said::Broken,
                BackendFailure::Unavailable { .. } => Said::Unavailable,
                BackendFailure::Throttled { .. } => Said::Throttled,
                BackendFailure::Denied => Said::Denied,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    /// The combined result of two members: the higher rank, the first of equals.
    pub fn and(self, second: Said) -> Said {
        let rank = |said| match said {
            Said::NotMine => 0,
            Said::Refused(Refusal::UnknownVersion) => 1,
            Said::Authentication => 2,
            Said::Refused(_) => 3,
            Said::Denied => 4,
            Said::Broken => 5,
            Said::Throttled | Said::Unavailable => 6,
        };
        if rank(second) > rank(self) { second } else { self }
    }
}
