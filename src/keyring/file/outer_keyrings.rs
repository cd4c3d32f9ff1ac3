//! Whether the outer keys that keep a file key still do, going by what their keyrings know.

use super::inner::Inner;
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

/// Most outer keyrings of one file that are asked: as many as it has protections.
const MAX_KEYRINGS: usize = 8;

/// The outer keyrings that were offered for a file, and what was told of its outer keys.
#[derive(Default)]
pub(super) struct OuterKeyrings {
    keyrings: Mutex<Vec<Arc<dyn Keyring>>>,
    told: Mutex<Vec<OuterFreshness>>,
}

impl OuterKeyrings {
    /// Keeps the keyring of `protection`, if it is one, to ask it.
    pub(super) fn remember(&self, protection: &Protection) {
        let Secret::Keyring(keyring) = &protection.secret else { return };
        let mut keyrings = lock(&self.keyrings);
        keyrings.retain(|kept| !Arc::ptr_eq(kept, keyring));
        if keyrings.len() >= MAX_KEYRINGS {
            keyrings.remove(0);
        }
        keyrings.push(keyring.clone());
    }

    /// What is known of each outer key of `protections`. Asks outside of every lock: an outer
    /// keyring may be a file keyring, too.
    fn ask(&self, protections: &[ProtectionRecord]) -> Vec<OuterFreshness> {
        let keyrings = lock(&self.keyrings).clone();
        let of = |record: &ProtectionRecord| {
            let (id, name) = (record.id, record.name.clone());
            let keyrings = &keyrings;
            let told = record.outer.clone().into_iter().map(move |key| {
                let freshness = freshness(keyrings, &key.label());
                OuterFreshness { id, name: name.clone(), key, freshness }
            });
            told.collect::<Vec<_>>()
        };
        protections.iter().flat_map(of).collect()
    }

    /// What is to be told, since it is not what was told before. What is not known is not told.
    fn news(&self, now: Vec<OuterFreshness>) -> Vec<OuterFreshness> {
        let mut told = lock(&self.told);
        let of = |all: &[OuterFreshness], one: &OuterFreshness| {
            let mut same = all.iter().filter(|it| it.id == one.id && it.key == one.key);
            same.find_map(|it| it.freshness)
        };
        let is_new = |one: &&OuterFreshness| match (of(&told, one), one.freshness) {
            (None, None | Some(Freshness::Primary)) | (Some(_), None) => false,
            (before, now) => before != now,
        };
        let news = now.iter().filter(is_new).cloned().collect();
        let kept = now.into_iter().map(|one| {
            let freshness = one.freshness.or_else(|| of(&told, &one));
            OuterFreshness { freshness, ..one }
        });
        *told = kept.collect();
        news
    }
}

/// The best that any of `keyrings` says of a slot; `None` if it is none of theirs, or they cannot
/// tell now.
fn freshness(keyrings: &[Arc<dyn Keyring>], label: &SlotLabel<'_>) -> Option<Freshness> {
    let told = keyrings.iter().filter_map(|keyring| keyring.freshness(label).ok());
    told.filter(|freshness| *freshness != Freshness::NotMine).min_by_key(
        |freshness| match freshness {
            Freshness::Primary => 0_u8,
            Freshness::Stale => 1,
            Freshness::Compromised => 2,
            Freshness::Refused(_) | Freshness::NotMine => 3,
        },
    )
}

impl Inner {
    /// What is known of each outer key that keeps the file key.
    pub(super) fn outer_freshness(&self) -> Vec<OuterFreshness> {
        let state = self.snapshot().clone();
        self.outer.ask(state.protections())
    }

    /// Tells the observer what became of outer keys; no lock is held.
    pub(super) fn publish_outer(&self) {
        let Some(observer) = &self.options.observer else { return };
        for OuterFreshness { id, name, key, freshness } in self.outer.news(self.outer_freshness()) {
            let Some(freshness) = freshness else { continue };
            let protection = &name.unwrap_or_else(|| id.to_string());
            observer.event(&Event::OuterKey { protection, label: key.label(), freshness });
        }
    }
}
