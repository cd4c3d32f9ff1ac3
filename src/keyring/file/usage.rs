//! Counting what a process protects without a write for each wrap: allowances taken in blocks.
//!
//! What the file says was used is never too low, since a wrap waits until an allowance for it is
//! durable. What a process took and did not use is given back when it ends in an orderly way. So
//! a version whose wraps are limited is never used beyond that by all processes together, however
//! many of them crash: what is taken for it never goes beyond its limit.

use crate::format::MasterKeyId;
use crate::keyring::held::HeldKey;
use crate::keyset::Usage;
use crate::sync::lock;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use std::sync::Mutex;

/// The first block; each further one is twice as large, so that short-lived processes count
/// little too much and long-lived ones write seldom.
const FIRST_BLOCK: Usage = Usage { wraps: 1 << 8, bytes: 1 << 24 };

/// The largest block.
const LARGEST_BLOCK: Usage = Usage { wraps: 1 << 20, bytes: 1 << 40 };

/// What this process may use without another write, by key version.
#[derive(Default)]
pub(super) struct Allowances {
    by_key: Mutex<BTreeMap<MasterKeyId, Allowance>>,
}

/// What this process took for one version.
#[derive(Clone, Copy)]
struct Allowance {
    taken: Usage,
    next_block: Usage,
}

/// What a key was used for beyond what this process took for it.
#[derive(Clone, Copy)]
pub(super) struct Missing {
    needed: Usage,
    /// What would be taken for it.
    block: Usage,
}

impl Missing {
    /// The block to be taken for a version that has `on_record`: smaller if it may wrap no more
    /// than `limit`, and `None` if that leaves less than is needed.
    pub(super) fn block(&self, on_record: Usage, limit: Option<u64>) -> Option<Usage> {
        let room = limit.map_or(u64::MAX, |limit| limit.saturating_sub(on_record.wraps));
        let wraps = self.block.wraps.min(room);
        (self.needed.wraps <= wraps).then_some(Usage { wraps, ..self.block })
    }

    /// Whether there is nothing left of `limit` that could be taken.
    pub(super) fn is_hopeless(&self, on_record: Usage, limit: u64) -> bool {
        self.needed.wraps > 0 && on_record.wraps >= limit
    }
}

impl Default for Allowance {
    fn default() -> Self {
        Allowance { taken: Usage::default(), next_block: FIRST_BLOCK }
    }
}

impl Allowances {
    /// What is missing for what `key` has been used for, if anything is.
    pub(super) fn missing(&self, key: &dyn HeldKey) -> Option<Missing> {
        let used = key.usage();
        let allowance = lock(&self.by_key).get(&key.id()).copied().unwrap_or_default();
        let needed = used.minus(allowance.taken);
        if (needed.wraps, needed.bytes) == (0, 0) {
            return None;
        }
        let block = allowance.next_block;
        let (wraps, bytes) = (needed.wraps.max(block.wraps), needed.bytes.max(block.bytes));
        Some(Missing { needed, block: Usage { wraps, bytes } })
    }

    /// Notes that `block` was written to the file.
    pub(super) fn take(&self, id: MasterKeyId, block: Usage) {
        let mut by_key = lock(&self.by_key);
        let allowance = by_key.entry(id).or_default();
        allowance.taken = allowance.taken.plus(block);
        let next = allowance.next_block.plus(allowance.next_block);
        allowance.next_block = Usage {
            wraps: next.wraps.min(LARGEST_BLOCK.wraps),
            bytes: next.bytes.min(LARGEST_BLOCK.bytes),
        };
    }

    /// What was taken and not used, by key version; it is taken no longer.
    pub(super) fn give_back<'k>(
        &self,
        key: impl Fn(MasterKeyId) -> Option<&'k Arc<dyn HeldKey>>,
    ) -> BTreeMap<MasterKeyId, Usage> {
        let mut by_key = lock(&self.by_key);
        let unused = |(id, allowance): (&MasterKeyId, &mut Allowance)| {
            let used = key(*id)?.usage();
            let wraps = allowance.taken.wraps.saturating_sub(used.wraps);
            let bytes = allowance.taken.bytes.saturating_sub(used.bytes);
            allowance.taken = used;
            ((wraps, bytes) != (0, 0)).then_some((*id, Usage { wraps, bytes }))
        };
        by_key.iter_mut().filter_map(unused).collect()
    }
}
