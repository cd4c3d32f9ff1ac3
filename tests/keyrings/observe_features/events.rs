//! One event of each kind, and a life of a keyring that brings about what one can.

use super::secrets;
use crate::common::detached::WriteDetached;
use envelock::{format::*, keyring::*, keyset::*, observe::*, *};
use std::fmt;

/// Words of a backend that would like to write the log itself, with colours.
pub const HOSTILE: &str = "no\r\n2026-01-01 INFO all is well\x1b[2J\u{202E}\u{2028}\u{85}\0 \"x\\y";

/// An error with a cause, in hostile words.
#[derive(Debug)]
pub struct Backend(Option<Box<Backend>>);

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "the service refused" } else { HOSTILE })
    }
}

impl std::error::Error for Backend {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.as_deref().map(|cause| cause as _)
    }
}

pub fn backend_error() -> Backend {
    Backend(Some(Box::new(Backend(None))))
}

pub fn version(number: u32) -> KeyVersion {
    KeyVersion::new(number).unwrap()
}

pub fn label(name: &str) -> SlotLabel<'_> {
    SlotLabel {
        name: KeyName::new(name).unwrap(),
        version: version(3),
        master_key_id: MasterKeyId([0xAB; 8]),
        algorithm: WrapAlgorithm::XAES_256_GCM,
    }
}

pub const REFUSALS: [Refusal; 6] = [
    Refusal::UnknownVersion,
    Refusal::Disabled,
    Refusal::Compromised,
    Refusal::DestroyScheduled,
    Refusal::Destroyed,
    Refusal::Excluded,
];

/// Every transition there is, of a keyring whose names are as given.
pub fn transitions(key: &str) -> Vec<Transition> {
    let (key, version) = (key.to_owned(), version(3));
    let (from, to) = (VersionState::Enabled, VersionState::Disabled);
    vec![
        Transition::Added { key: key.clone(), version },
        Transition::State { key: key.clone(), version, from, to },
        Transition::Alias { alias: key.clone(), from: None, to: Some(key.clone()) },
        Transition::Alias { alias: key.clone(), from: Some(key.clone()), to: None },
        Transition::Label { key: key.clone(), version },
        Transition::Hold { key: key.clone(), version: Some(version), is_held: true },
        Transition::Evidence { key: key.clone(), is_required: true },
        Transition::RecordsRemoved { key: key.clone(), floor: 3 },
        Transition::Erased { key: key.clone() },
        Transition::Dates { key },
    ]
}

/// Reports one event of each kind to `observer`, with names as given.
pub fn report_all(observer: &dyn Observer, name: &str, key: &str) {
    let label = label(name);
    observer.event(&Event::Wrapped { label });
    observer.event(&Event::Unwrapped { label, compromised: false });
    observer.event(&Event::Unwrapped { label, compromised: true });
    for refusal in REFUSALS {
        observer.event(&Event::Refused { label, refusal });
    }
    observer.event(&Event::NotVerified { label });
    observer.event(&Event::Unavailable { error: &KeyringError::unavailable(backend_error()) });
    observer.event(&Event::NoPrimary);
    observer.event(&Event::StreamUnfinished);
    for transition in &transitions(key) {
        observer.event(&Event::Changed { transition, change: 12 });
    }
    for from in [None, Some(version(2))] {
        observer.event(&Event::Rotated { key, from, to: version(3), change: 12 });
    }
    observer.event(&Event::Reloaded { change: 12, from_change: 9 });
    observer.event(&Event::KeyFileFilling { percent: 80, change: 12 });
    observer.event(&Event::ReloadFailed { error: &backend_error() });
    let refused = REFUSALS.map(Freshness::Refused);
    let known = [Freshness::Primary, Freshness::Stale, Freshness::Compromised];
    for freshness in known.into_iter().chain(refused) {
        observer.event(&Event::OuterKey { protection: key, label, freshness });
    }
    for restarted in [false, true] {
        observer.event(&Event::TokenReconnected { token: key, restarted });
    }
    observer.event(&Event::TokenLogin { token: key });
    observer.event(&Event::TokenLoginRefused { token: key, error: &backend_error() });
}

/// Encrypts, decrypts, rotates, rewraps and is refused, under keys that are known to be secret.
/// Returns the data key id of its message.
pub fn live(observer: impl Observer) -> DataKeyId {
    let key = MasterKey::from_bytes(&secrets::MASTER_KEY);
    let ring = MemoryKeyring::import("orders", version(1), &key).unwrap();
    let keyring = ObservedKeyring::new(ring, observer);
    let envelope = Envelope::new(&keyring);
    let aad = Aad::new(secrets::AAD);
    let mut rng = secrets::seeded();
    let mut message = envelope.with_rng(&mut rng).encrypt(secrets::PLAINTEXT, aad).unwrap();
    envelope.decrypt(&message, aad).unwrap();
    keyring.rotate().unwrap();
    keyring.mark_compromised(version(1)).unwrap();
    envelope.decrypt(&message, aad).unwrap();
    let older = message.clone();
    let named = RewrapOptions::new().from_compromised("orders", version(1));
    assert!(envelope.rewrap_in_place(&mut message, named).unwrap().is_changed());
    keyring.disable(version(1)).unwrap();
    envelope.decrypt(&older, aad).unwrap_err();
    message[25 + 16 + 6] ^= 1;
    envelope.decrypt(&message, aad).unwrap_err();
    let imported = MasterKey::from_bytes(&secrets::data_key());
    keyring.import_version(version(9), &imported).unwrap();
    inspect(&message).unwrap().data_key_id()
}
