//! Data keys that serve for more than one message, within bounds.

use super::Reuse;
use super::clock::is_young;
use crate::crypto::secret::DataKey;
use crate::format::{
    KeyName, KeyVersion, MasterKeyId, SlotLabel, SlotWriter, Suite, WrapAlgorithm,
};
use crate::keyring::{Freshness, Keyring, KeyringError};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

/// A slot as a keyring wrote it.
struct OwnedSlot {
    name: String,
    version: KeyVersion,
    master_key_id: MasterKeyId,
    algorithm: WrapAlgorithm,
    wrapped_key: Vec<u8>,
}

impl OwnedSlot {
    fn label(&self) -> SlotLabel<'_> {
        SlotLabel {
            name: KeyName::checked(&self.name),
            version: self.version,
            master_key_id: self.master_key_id,
            algorithm: self.algorithm,
        }
    }
}

/// What the wrap of a data key wrote. Nothing of it is secret.
pub(super) struct Wrapped {
    core: [u8; 22],
    slots: Vec<OwnedSlot>,
}

impl Wrapped {
    /// What stands in `slots` from the slot `from` on.
    pub(super) fn new(core: [u8; 22], slots: &SlotWriter<'_>, from: usize) -> Self {
        let own = |slot: crate::format::Slot<'_>| OwnedSlot {
            name: slot.label.name.as_str().into(),
            version: slot.label.version,
            master_key_id: slot.label.master_key_id,
            algorithm: slot.label.algorithm,
            wrapped_key: slot.wrapped_key.to_vec(),
        };
        Wrapped { core, slots: slots.slots().skip(from).map(own).collect() }
    }

    /// Whether `keyring` would write the same slots now: the same labels, each under a primary
    /// that is in good standing.
    pub(super) fn is_current<K: Keyring>(&self, keyring: &K) -> Result<bool, KeyringError> {
        let mut labels = self.slots.iter().map(OwnedSlot::label);
        let mut same = true;
        keyring.primary(&mut |primary| same &= labels.next() == Some(primary.label))?;
        if !same || labels.next().is_some() {
            return Ok(false);
        }
        for slot in &self.slots {
            if keyring.freshness(&slot.label())? != Freshness::Primary {
                return Ok(false);
            }
        }
        Ok(true)
    }

    pub(super) fn push(&self, slots: &mut SlotWriter<'_>) -> Result<(), KeyringError> {
        self.slots.iter().try_for_each(|slot| slots.push(&slot.label(), &slot.wrapped_key))
    }

    /// The random half of the data key id.
    fn id_random(&self) -> Option<[u8; 8]> {
        self.core.get(6..14)?.try_into().ok()
    }
}

/// A data key with what is left of its bounds.
struct Batch {
    suite: Suite,
    /// In one place until it is wiped: with its last use, or when the batch ends.
    data_key: Option<Box<DataKey>>,
    wrapped: Arc<Wrapped>,
    messages_left: u64,
    bytes_left: u64,
    born: Duration,
}

/// The first message of a batch to be.
pub(super) struct Start {
    pub(super) data_key: Box<DataKey>,
    pub(super) wrapped: Wrapped,
    /// Length of its plaintext.
    pub(super) first_len: u64,
    /// When its wrap was begun.
    pub(super) born: Duration,
}

/// One batch for each suite.
#[derive(Default)]
pub(super) struct Batches(Vec<Batch>);

impl Batches {
    /// The wrap of the key that a message of this length may use, going by the bounds alone.
    pub(super) fn candidate(&self, suite: Suite, plaintext_len: u64) -> Option<Arc<Wrapped>> {
        let batch = self.0.iter().find(|batch| batch.suite == suite)?;
        let fits = batch.data_key.is_some() && plaintext_len <= batch.bytes_left;
        fits.then(|| batch.wrapped.clone())
    }

    /// Takes one message out of the bounds of the batch of `wrapped` and fills in its data key,
    /// unless the batch has ended meanwhile.
    pub(super) fn take(
        &mut self,
        wrapped: &Wrapped,
        plaintext_len: u64,
        data_key: &mut DataKey,
    ) -> Option<[u8; 8]> {
        let batch = self.0.iter_mut().find(|batch| batch.wrapped.core == wrapped.core)?;
        let messages_left = batch.messages_left.checked_sub(1)?;
        let bytes_left = batch.bytes_left.checked_sub(plaintext_len)?;
        let id_random = wrapped.id_random()?;
        if !data_key.set(batch.data_key.as_ref()?.expose()) {
            return None;
        }
        batch.messages_left = messages_left;
        batch.bytes_left = bytes_left;
        if messages_left == 0 {
            // What stays to be found is the wrap, for messages under way.
            batch.data_key = None;
        }
        Some(id_random)
    }

    /// Starts a batch with a data key that was wrapped for its first message. The one of the
    /// same suite that has more left stays.
    pub(super) fn start(&mut self, suite: Suite, start: Start, reuse: &Reuse, now: Duration) {
        let left = (reuse.messages.checked_sub(1), reuse.bytes.checked_sub(start.first_len));
        let (Some(messages_left @ 1..), Some(bytes_left)) = left else { return };
        let Start { data_key, born, .. } = start;
        if !is_young(born, now, reuse.age) {
            return;
        }
        let (data_key, wrapped) = (Some(data_key), Arc::new(start.wrapped));
        let new = Batch { suite, data_key, wrapped, messages_left, bytes_left, born };
        match self.0.iter_mut().find(|batch| batch.suite == suite) {
            Some(old) if old.messages_left > 0 && old.bytes_left >= new.bytes_left => {}
            Some(old) => *old = new,
            None => self.0.push(new),
        }
    }

    /// The wrap of the message with this core, if its batch goes on.
    pub(super) fn find(&self, core: &[u8; 22]) -> Option<Arc<Wrapped>> {
        let batch = self.0.iter().find(|batch| batch.wrapped.core == *core)?;
        Some(batch.wrapped.clone())
    }

    pub(super) fn end(&mut self, wrapped: &Wrapped) {
        self.0.retain(|batch| batch.wrapped.core != wrapped.core);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Ends what is too old.
    pub(super) fn sweep(&mut self, reuse: &Reuse, now: Duration) {
        self.0.retain(|batch| is_young(batch.born, now, reuse.age));
    }
}
