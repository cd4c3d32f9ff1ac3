//! Events of a key file, which the observer receives once no lock is held.

use super::error::KeyFileError;
use super::inner::Inner;
use crate::format::KeyVersion;
use crate::keyset::{Keyset, KeysetMap};
use crate::observe::Event;
use alloc::string::String;

/// An [`Event`] that owns its data.
pub(super) enum KeyFileEvent {
    Reloaded { change: u64, from_change: u64 },
    Rotated { key: String, from: Option<KeyVersion>, to: KeyVersion, change: u64 },
    ReloadFailed(KeyFileError),
    Filling { percent: u8, change: u64 },
}

impl Inner {
    /// Records an event for each key with a new primary.
    pub(super) fn record_rotations(&self, before: &KeysetMap, after: &KeysetMap) {
        if !self.events.is_observed() {
            return;
        }
        for keyset in after.iter() {
            let key = keyset.name().as_str();
            let from = before.keyset(key).and_then(Keyset::primary);
            if let Some(to) = keyset.primary().filter(|to| Some(*to) != from) {
                let change = after.change();
                self.events.push(KeyFileEvent::Rotated { key: key.into(), from, to, change });
            }
        }
    }

    /// Delivers the recorded events. The caller holds no lock.
    pub(super) fn publish(&self) {
        self.events.publish(|observer, event| {
            observer.event(&match &event {
                KeyFileEvent::Reloaded { change, from_change } => {
                    Event::Reloaded { change: *change, from_change: *from_change }
                }
                KeyFileEvent::Rotated { key, from, to, change } => {
                    Event::Rotated { key, from: *from, to: *to, change: *change }
                }
                KeyFileEvent::ReloadFailed(error) => Event::ReloadFailed { error },
                KeyFileEvent::Filling { percent, change } => {
                    Event::KeyFileFilling { percent: *percent, change: *change }
                }
            });
        });
        self.publish_outer();
    }
}
