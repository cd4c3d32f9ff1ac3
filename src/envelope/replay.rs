//! A synchronous keyring that responds from a record of an asynchronous one.
//!
//! An operation over a header runs on the record. Its first call without a response ends the run; the
//! caller awaits that call, and the next run gets further. So each operation is written once.

use crate::crypto::secret::DataKey;
use crate::format::{KeyName, MAX_HEADER_LEN, OwnedSlot, Slot};
use crate::keyring::{
    AsyncKeyring, Keyring, KeyringError, OwnedWrapContext, PushedSlots, SlotWriter, WrapContext,
    forward_keyring,
};
use crate::random::{KeyringRng, RandomPool, RandomSource};
use crate::sync::RwLock;
use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

/// An asynchronous keyring, and its responses in one operation.
pub(super) struct Replay<'k, K: ?Sized> {
    keyring: &'k K,
    record: RwLock<Record>,
}

/// The responses in one operation. Equal calls get one response.
#[derive(Default)]
struct Record {
    wraps: Vec<(Wrap, PushedSlots)>,
    rewraps: Vec<(Unwrap, PushedSlots)>,
    unwraps: Vec<(Unwrap, Result<Box<DataKey>, KeyringError>)>,
    /// The first call of the run that has no response.
    missing: Option<Missing>,
}

/// A wrap, whose context names the data key.
#[derive(PartialEq)]
struct Wrap {
    under: Option<Box<str>>,
    context: OwnedWrapContext,
}

/// An unwrap or a rewrap.
#[derive(PartialEq)]
struct Unwrap {
    slot: OwnedSlot,
    context: OwnedWrapContext,
}

enum Missing {
    Wrap(Wrap, Box<DataKey>),
    Rewrap(Unwrap),
    Unwrap(Unwrap),
}

/// Returns the response to a call.
fn response<'r, C: PartialEq, T>(record: &'r [(C, T)], call: &C) -> Option<&'r T> {
    record.iter().find(|(known, _)| known == call).map(|(_, response)| response)
}

impl<'k, K: AsyncKeyring + ?Sized> Replay<'k, K> {
    pub(super) fn new(keyring: &'k K) -> Self {
        Replay { keyring, record: RwLock::new(Record::default()) }
    }

    /// Whether the last run ended at a call without a response. Its result means nothing then.
    pub(super) fn is_missing(&self) -> bool {
        self.record.read().missing.is_some()
    }

    /// Awaits the call that the last run missed, if there is one.
    pub(super) async fn respond<R: RandomSource + Sync>(&self, random: &R) {
        let missing = self.record.write().missing.take();
        let keyring = self.keyring;
        let mut rng = RandomPool::empty(random);
        match missing {
            None => {}
            Some(Missing::Wrap(call, data_key)) => {
                let context = call.context.as_context();
                let mut bytes = vec![0; MAX_HEADER_LEN];
                let mut slots = SlotWriter::new(&mut bytes, context.suite(), None);
                let result = match &call.under {
                    None => keyring.wrap(&data_key, &context, &mut slots, &mut rng).await,
                    Some(name) => {
                        let name = KeyName::checked(name);
                        keyring.wrap_under(name, &data_key, &context, &mut slots, &mut rng).await
                    }
                };
                let pushed = PushedSlots::copy_of(&slots, result);
                self.record.write().wraps.push((call, pushed));
            }
            Some(Missing::Rewrap(call)) => {
                let (slot, context) = (call.slot.as_slot(), call.context.as_context());
                let mut bytes = vec![0; MAX_HEADER_LEN];
                let mut slots = SlotWriter::new(&mut bytes, context.suite(), None);
                let result = keyring.rewrap(&slot, &context, &mut slots, &mut rng).await;
                let pushed = PushedSlots::copy_of(&slots, result);
                self.record.write().rewraps.push((call, pushed));
            }
            Some(Missing::Unwrap(call)) => {
                let (slot, context) = (call.slot.as_slot(), call.context.as_context());
                let mut data_key = Box::new(DataKey::empty());
                let result = keyring.unwrap(&slot, &context, &mut data_key).await;
                self.record.write().unwraps.push((call, result.map(|()| data_key)));
            }
        }
    }

    fn wrap_for(
        &self,
        name: Option<KeyName<'_>>,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        _: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        let under = name.map(|name| name.as_str().into());
        let call = Wrap { under, context: context.into() };
        let mut record = self.record.write();
        match response(&record.wraps, &call) {
            Some(made) => made.push_to(slots),
            None => record.miss(|| {
                let mut copy = Box::new(DataKey::empty());
                copy.copy_from(data_key);
                Missing::Wrap(call, copy)
            }),
        }
    }
}

impl Record {
    /// Notes that a response is missing. The run goes on to its end, and its result is dropped.
    fn miss(&mut self, missing: impl FnOnce() -> Missing) -> Result<(), KeyringError> {
        self.missing.get_or_insert_with(missing);
        Err(KeyringError::NotMine)
    }
}

impl<K: AsyncKeyring + ?Sized> Keyring for Replay<'_, K> {
    forward_keyring!(self => self.keyring; visit_primaries, holds, freshness);
    forward_keyring!(self => self; wrap_for);

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        let call = Unwrap { slot: slot.into(), context: context.into() };
        let mut record = self.record.write();
        match response(&record.unwraps, &call) {
            Some(Ok(key)) => {
                data_key.copy_from(key);
                Ok(())
            }
            Some(Err(error)) => Err(error.clone()),
            None => record.miss(|| Missing::Unwrap(call)),
        }
    }

    fn rewrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        _: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        let call = Unwrap { slot: slot.into(), context: context.into() };
        let mut record = self.record.write();
        match response(&record.rewraps, &call) {
            Some(made) => made.push_to(slots),
            None => record.miss(|| Missing::Rewrap(call)),
        }
    }
}
