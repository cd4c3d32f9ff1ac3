//! A store that breaks its contract, or uses all the freedom that the contract leaves.

use super::SplitMix;
use crate::item::{ItemKey, Page};
use crate::rewrite::Rewrite;
use crate::store::{
    CompareAndSwap, Expected, MovesBodies, Properties, Replaced, Store, StoredHeader, StoredItem,
    Token,
};
use crate::store_error::StoreError;
use crate::stores::{MemoryItem, MemoryStore};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a faulty store does wrong. The first four are within the contract of a [`Store`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// A call fails, and a replacement does not happen.
    Fails,
    /// A replacement happens and is reported as failed, or as a conflict with itself.
    Denies,
    /// A replacement is reported as failed and happens later, if its condition then holds.
    Delays,
    /// Replacements of some items fail for good, and none of them happens.
    Refuses,
    /// A replacement happens in part and is reported as failed.
    Tears,
    /// A replacement happens in part and is reported as done.
    TearsSilently,
    /// A replacement is reported as done and does not happen.
    Loses,
    /// A replacement is reported as done, and happens once more later, whatever the item then has.
    Doubles,
    /// The condition of a replacement is ignored.
    IgnoresConditions,
}

impl Fault {
    /// All faults.
    pub const ALL: &'static [Fault] = &[
        Fault::Fails,
        Fault::Denies,
        Fault::Delays,
        Fault::Refuses,
        Fault::Tears,
        Fault::TearsSilently,
        Fault::Loses,
        Fault::Doubles,
        Fault::IgnoresConditions,
    ];
}

/// A store in memory that has faults at random, from a seed.
#[derive(Debug)]
pub struct FaultyStore {
    store: MemoryStore,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    random: SplitMix,
    faults: Vec<Fault>,
    /// One call in so many has a fault.
    one_in: u64,
    /// How many faults are left.
    left: u32,
    /// What is to be written later, and the header that must then be there, if there is a condition.
    delayed: Vec<(ItemKey, Option<Vec<u8>>, MemoryItem)>,
}

impl FaultyStore {
    /// Returns a store with one of `faults` in one of `one_in` calls, at most `most` times.
    pub fn new(store: MemoryStore, seed: u64, faults: &[Fault], one_in: u64, most: u32) -> Self {
        let (random, faults) = (SplitMix::new(seed), faults.to_vec());
        let state = State { random, faults, one_in, left: most, delayed: Vec::new() };
        FaultyStore { store, state: Mutex::new(state) }
    }

    /// Returns the store without faults.
    pub fn inner(&self) -> &MemoryStore {
        &self.store
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out what was delayed.
    ///
    /// # Panics
    ///
    /// Never.
    pub fn carry_out_delayed(&self) {
        let delayed = std::mem::take(&mut self.state().delayed);
        for (item, old, new) in delayed {
            let Some(found) = self.store.header(&item) else { continue };
            let _ = self.store.set_if(&item, &old.unwrap_or(found), new);
        }
    }

    /// Has no fault from now on, and carries out what was delayed.
    pub fn repair(&self) {
        self.carry_out_delayed();
        let mut state = self.state();
        state.faults.clear();
        state.left = 0;
    }

    /// Carries out a replacement as a store does whose process or connection dies meanwhile: not, wholly, in part or
    /// later.
    pub fn interrupted_replace(&self, item: &ItemKey, old: &[u8], new: &[u8]) {
        if self.store.header(item).as_deref() != Some(old) || self.refuses(item) {
            return;
        }
        let faults = self.state().faults.clone();
        let way = self.state().random.below(4);
        match way {
            0 => {}
            1 => self.store.set_header(item, new),
            2 if faults.contains(&Fault::Tears) => self.tear(item, old, new),
            3 if faults.contains(&Fault::Delays) => self.delay(item, Some(old), new),
            _ => {}
        }
    }

    /// Carries out a rewrite so: not, wholly or later.
    pub fn interrupted_rewrite(&self, item: &ItemKey, expected: Expected<'_>, new: Rewrite<'_>) {
        if self.refuses(item) {
            return;
        }
        let way = self.state().random.below(3);
        let delays = self.state().faults.contains(&Fault::Delays);
        let Ok(Ok(new)) = self.store.rewritten(item, expected, new) else { return };
        match way {
            0 => drop(self.store.set_if(item, expected.header, new)),
            1 if delays => self.delay_item(item, Some(expected.header), new),
            _ => {}
        }
    }

    fn fault(&self, possible: &[Fault]) -> Option<Fault> {
        let mut state = self.state();
        let one_in = state.one_in;
        if state.left == 0 || !state.random.one_in(one_in) {
            return None;
        }
        let faults: Vec<_> =
            state.faults.iter().filter(|fault| possible.contains(fault)).copied().collect();
        let at = state.random.below(faults.len() as u64);
        let fault = faults.get(usize::try_from(at).unwrap_or(0)).copied()?;
        state.left -= 1;
        Some(fault)
    }

    /// Returns whether replacements of this item fail for good: those of a third of all items.
    fn refuses(&self, item: &ItemKey) -> bool {
        let sum: u32 = item.as_bytes().iter().map(|&byte| u32::from(byte)).sum();
        self.state().faults.contains(&Fault::Refuses) && sum.is_multiple_of(3)
    }

    /// Writes some bytes of the new header and leaves others as they were, or cuts it off.
    fn tear(&self, item: &ItemKey, old: &[u8], new: &[u8]) {
        let cut = usize::try_from(self.state().random.below(new.len() as u64 + 1)).unwrap_or(0);
        let is_cut_off = self.state().random.one_in(3);
        let mut torn = new.get(..cut).unwrap_or(new).to_vec();
        if !is_cut_off {
            torn.extend_from_slice(old.get(cut..).unwrap_or_default());
        }
        self.store.set_header(item, &torn);
    }

    fn delay(&self, item: &ItemKey, old: Option<&[u8]>, new: &[u8]) {
        if let Some(found) = self.store.item(item) {
            self.delay_item(item, old, MemoryItem { header: new.to_vec(), ..found });
        }
    }

    fn delay_item(&self, item: &ItemKey, old: Option<&[u8]>, new: MemoryItem) {
        self.state().delayed.push((item.clone(), old.map(<[u8]>::to_vec), new));
    }

    fn maybe_carry_out(&self) {
        if self.state().random.one_in(8) {
            self.carry_out_delayed();
        }
    }

    fn failure(&self) -> StoreError {
        match self.state().random.below(3) {
            0 => StoreError::throttled(None, "too many requests"),
            1 => StoreError::unavailable("connection reset"),
            _ => StoreError::unavailable("timed out"),
        }
    }
}

impl Store for FaultyStore {
    fn properties(&self) -> Properties {
        Properties {
            name: "faulty".into(),
            id: None,
            compare_and_swap: CompareAndSwap::Strong,
            moves_bodies: MovesBodies::Never,
            rewrites_bodies: true,
            dates_bodies: false,
        }
    }

    fn list(&self, after: Option<&ItemKey>, most: usize) -> Result<Page, StoreError> {
        self.maybe_carry_out();
        match self.fault(&[Fault::Fails]) {
            Some(_) => Err(self.failure()),
            None => {
                // A page may be shorter than asked for.
                let fewer = self.state().random.below(most.min(3) as u64);
                self.store.list(after, most - usize::try_from(fewer).unwrap_or(0))
            }
        }
    }

    fn scan(
        &self,
        after: Option<&ItemKey>,
        most: usize,
        each: &mut dyn FnMut(StoredItem<'_>),
    ) -> Result<Option<bool>, StoreError> {
        self.maybe_carry_out();
        let fault = self.fault(&[Fault::Fails]);
        // It may fail in the middle.
        let fewer = self.state().random.below(most.min(3) as u64);
        let scanned = self.store.scan(after, most - usize::try_from(fewer).unwrap_or(0), each)?;
        if fault.is_some() { Err(self.failure()) } else { Ok(scanned) }
    }

    fn read(&self, item: &ItemKey) -> Result<Option<StoredHeader>, StoreError> {
        self.maybe_carry_out();
        match self.fault(&[Fault::Fails]) {
            Some(_) => Err(self.failure()),
            None => self.store.read(item),
        }
    }

    fn replace(
        &self,
        item: &ItemKey,
        expected: Expected<'_>,
        new: &[u8],
    ) -> Result<Replaced, StoreError> {
        self.maybe_carry_out();
        if self.state().faults.contains(&Fault::IgnoresConditions) {
            self.store.set_header(item, new);
            return Ok(Replaced::Done);
        }
        if self.refuses(item) {
            return Err(StoreError::broken("permission denied"));
        }
        let holds = self.store.header(item).as_deref() == Some(expected.header);
        let possible = if holds { Fault::ALL } else { &[Fault::Fails] };
        match self.fault(possible) {
            Some(Fault::Fails) => Err(self.failure()),
            Some(Fault::Denies) => {
                let replaced = self.store.replace(item, expected, new)?;
                match replaced {
                    Replaced::Done if self.state().random.one_in(2) => Ok(Replaced::Conflict),
                    Replaced::Done => Err(self.failure()),
                    other => Ok(other),
                }
            }
            Some(Fault::Delays) => {
                self.delay(item, Some(expected.header), new);
                Err(self.failure())
            }
            Some(Fault::Tears) => {
                self.tear(item, expected.header, new);
                Err(self.failure())
            }
            Some(Fault::TearsSilently) => {
                self.tear(item, expected.header, new);
                Ok(Replaced::Done)
            }
            Some(Fault::Loses) => Ok(Replaced::Done),
            Some(Fault::Doubles) => {
                self.delay(item, None, new);
                self.store.replace(item, expected, new)
            }
            _ => self.store.replace(item, expected, new),
        }
    }

    fn rewrite(
        &self,
        item: &ItemKey,
        expected: Expected<'_>,
        new: Rewrite<'_>,
    ) -> Result<Replaced, StoreError> {
        self.maybe_carry_out();
        if self.refuses(item) {
            return Err(StoreError::broken("permission denied"));
        }
        let ignores = self.state().faults.contains(&Fault::IgnoresConditions);
        let found = self.store.header(item);
        let holds = found.as_deref() == Some(expected.header);
        let condition = found.as_deref().filter(|_| ignores).unwrap_or(expected.header);
        let possible = if holds { Fault::ALL } else { &[Fault::Fails] };
        let fault = self.fault(possible);
        if fault == Some(Fault::Fails) {
            return Err(self.failure());
        }
        let none = Token::default();
        let mut made =
            match self.store.rewritten(item, Expected { header: condition, token: &none }, new)? {
                Ok(made) => made,
                Err(replaced) => return Ok(replaced),
            };
        let is_torn = matches!(fault, Some(Fault::Tears | Fault::TearsSilently));
        if let Some(byte) = made.body.as_mut().filter(|_| is_torn).and_then(|body| body.last_mut())
        {
            *byte ^= 1;
        }
        match fault {
            Some(Fault::Loses) => return Ok(Replaced::Done),
            Some(Fault::Delays) => self.delay_item(item, Some(condition), made),
            _ => {
                if fault == Some(Fault::Doubles) {
                    self.delay_item(item, None, made.clone());
                }
                let replaced = self.store.set_if(item, condition, made);
                match fault {
                    Some(Fault::Tears) => {}
                    Some(Fault::Denies) if self.state().random.one_in(2) => {
                        return Ok(Replaced::Conflict);
                    }
                    Some(Fault::Denies) => {}
                    _ => return Ok(replaced),
                }
            }
        }
        Err(self.failure())
    }
}
