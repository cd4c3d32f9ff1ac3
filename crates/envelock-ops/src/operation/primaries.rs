//! The versions that were primary when headers were judged by them.

use super::envelope::freshness;
use crate::definition::VersionName;
use envelock::format::WrapAlgorithm;
use envelock::keyring::Freshness;
use envelock::{Error, KeyName, KeyVersion, Keyring, MasterKeyId, SlotLabel};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The labels that were judged to be primary. A rewrap keeps the name of each slot, so that only the slots tell which
/// primaries of a keyring it uses.
#[derive(Default)]
pub(super) struct Primaries(Mutex<Vec<Primary>>);

#[derive(Clone)]
struct Primary {
    version: VersionName,
    master_key_id: MasterKeyId,
    algorithm: WrapAlgorithm,
}

impl Primaries {
    /// Remembers a label.
    pub(super) fn saw(&self, label: &SlotLabel<'_>) {
        let mut seen = self.seen();
        let is_seen = |primary: &Primary| {
            primary.master_key_id == label.master_key_id && primary.version.is_of(label)
        };
        if !seen.iter().any(is_seen) {
            seen.push(Primary {
                version: VersionName::new(label.name.as_str(), label.version),
                master_key_id: label.master_key_id,
                algorithm: label.algorithm,
            });
        }
    }

    /// Returns the versions, each with whether it is primary now.
    pub(super) fn judge<K: Keyring>(&self, keyring: &K) -> Result<Vec<(VersionName, bool)>, Error> {
        let seen = self.seen().clone();
        let mut judged = Vec::with_capacity(seen.len());
        for Primary { version, master_key_id, algorithm } in seen {
            let label = KeyName::new(&version.name).ok().zip(KeyVersion::new(version.version));
            let is_primary = match label {
                Some((name, number)) => {
                    let label = SlotLabel { name, version: number, master_key_id, algorithm };
                    freshness(keyring, &label)? == Freshness::Primary
                }
                None => false,
            };
            judged.push((version, is_primary));
        }
        Ok(judged)
    }

    fn seen(&self) -> MutexGuard<'_, Vec<Primary>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
