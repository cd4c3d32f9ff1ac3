//! What the observer of a key file is told once no lock is held.

use super::error::KeyFileError;
use super::inner::Inner;
use crate::format::KeyVersion;
use crate::keyset::{Keyset, Keysets};
use crate::observe::Event;
use crate::sync::lock;
use alloc::string::String;

/// What happened to the state.
pub(super) enum Notice {
    Reloaded { change: u64, from_change: u64 },
    Rotated { key: String, from: Option<KeyVersion>, to: KeyVersion, change: u64 },
    Failed(KeyFileError),
    Filling { percent: u8, change: u64 },
}

impl Inner {
    pub(super) fn report(&self, news: Notice) {
        if self.options.observer.is_some() {
            lock(&self.news).push(news);
        }
    }

    /// Reports each key whose primary is another than before.
    pub(super) fn report_rotations(&self, before: &Keysets, after: &Keysets) {
        if self.options.observer.is_none() {
            return;
        }
        for keyset in after.iter() {
            let key = keyset.name().as_str();
            let from = before.keyset(key).and_then(Keyset::primary);
            if let Some(to) = keyset.primary().filter(|to| Some(*to) != from) {
                let change = after.change();
                self.report(Notice::Rotated { key: key.into(), from, to, change });
            }
        }
    }

    /// Tells the observer; no lock is held.
    pub(super) fn publish(&self) {
        let Some(observer) = &self.options.observer else { return };
        let news = core::mem::take(&mut *lock(&self.news));
        for news in &news {
            observer.event(&match news {
                Notice::Reloaded { change, from_change } => {
                    Event::Reloaded { change: *change, from_change: *from_change }
                }
                Notice::Rotated { key, from, to, change } => {
                    Event::Rotated { key, from: *from, to: *to, change: *change }
                }
                Notice::Failed(error) => Event::ReloadFailed { error },
                Notice::Filling { percent, change } => {
                    Event::KeyFileFilling { percent: *percent, change: *change }
                }
            });
        }
        self.publish_outer();
    }
}
