//! The outer keyrings of a key file, and whether the outer keys of its protections still open it.

use super::open_key_file::OpenKeyFile;
use super::protection::{Protection, Secret};
use super::protection_record::{OuterFreshness, ProtectionRecord};
use crate::format::SlotLabel;
use crate::keyring::{Freshness, Keyring};
use crate::observe::Event;
use crate::sync::lock;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use std::sync::Mutex;

/// Most outer keyrings that are asked: as many as a file has protections.
const MAX_KEYRINGS: usize = 8;

/// The outer keyrings that opened or protected a file, and what was reported of its outer keys.
#[derive(Default)]
pub(super) struct OuterKeyrings {
    keyrings: Mutex<Vec<Arc<dyn Keyring>>>,
    reported: Mutex<Vec<OuterFreshness>>,
}

impl OuterKeyrings {
    /// Adds the keyring of `protection`, if it has one.
    pub(super) fn add(&self, protection: &Protection) {
        let Secret::Keyring(keyring) = &protection.secret else { return };
        let mut keyrings = lock(&self.keyrings);
        keyrings.retain(|known| !Arc::ptr_eq(known, keyring));
        if keyrings.len() >= MAX_KEYRINGS {
            keyrings.remove(0);
        }
        keyrings.push(keyring.clone());
    }

    /// The freshness of each outer key of `protections`. Asks outside of every lock: an outer
    /// keyring may be a file keyring, too.
    fn freshness(&self, protections: &[ProtectionRecord]) -> Vec<OuterFreshness> {
        let keyrings = &lock(&self.keyrings).clone();
        let of = |record: &ProtectionRecord| {
            let (id, name) = (record.id, record.name.clone());
            record.outer.clone().into_iter().map(move |key| {
                let freshness = freshness(keyrings, &key.label());
                OuterFreshness { id, name: name.clone(), key, freshness }
            })
        };
        protections.iter().flat_map(of).collect()
    }

    /// Those of `now` that differ from what was reported before. An unknown freshness is not
    /// reported.
    fn unreported(&self, now: Vec<OuterFreshness>) -> Vec<OuterFreshness> {
        let mut reported = lock(&self.reported);
        let of = |all: &[OuterFreshness], one: &OuterFreshness| {
            let mut same = all.iter().filter(|it| it.id == one.id && it.key == one.key);
            same.find_map(|it| it.freshness)
        };
        let is_new = |one: &&OuterFreshness| match (of(&reported, one), one.freshness) {
            (None, None | Some(Freshness::Primary)) | (Some(_), None) => false,
            (before, now) => before != now,
        };
        let new = now.iter().filter(is_new).cloned().collect();
        let known = now.into_iter().map(|one| {
            let freshness = one.freshness.or_else(|| of(&reported, &one));
            OuterFreshness { freshness, ..one }
        });
        *reported = known.collect();
        new
    }
}

/// The best freshness that any of `keyrings` reports; `None` if the slot belongs to none of them,
/// or their back ends do not respond.
fn freshness(keyrings: &[Arc<dyn Keyring>], label: &SlotLabel<'_>) -> Option<Freshness> {
    let all = keyrings.iter().filter_map(|keyring| keyring.freshness(label).ok());
    all.filter(|freshness| *freshness != Freshness::NotMine).min_by_key(|freshness| match freshness
    {
        Freshness::Primary => 0_u8,
        Freshness::Stale => 1,
        Freshness::Compromised => 2,
        Freshness::Refused(_) | Freshness::NotMine => 3,
    })
}

impl OpenKeyFile {
    pub(super) fn outer_freshness(&self) -> Vec<OuterFreshness> {
        let snapshot = self.snapshot().clone();
        self.outer.freshness(snapshot.protections())
    }

    /// Reports to the observer which outer keys changed. The caller holds no lock.
    pub(super) fn publish_outer(&self) {
        let Some(observer) = &self.options.observer else { return };
        let changed = self.outer.unreported(self.outer_freshness());
        for OuterFreshness { id, name, key, freshness } in changed {
            let Some(freshness) = freshness else { continue };
            let protection = &name.unwrap_or_else(|| id.to_string());
            observer.event(&Event::OuterKey { protection, label: key.label(), freshness });
        }
    }
}
