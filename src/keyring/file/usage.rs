//! Counting what a process protects without a write for each wrap: allowances taken in blocks.
//!
//! What the file says was used is never too low, since a wrap waits until an allowance for it is
//! durable. What a process took and did not use is given back when it ends in an orderly way.

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

impl Default for Allowance {
    fn default() -> Self {
        Allowance { taken: Usage::default(), next_block: FIRST_BLOCK }
    }
}

impl Allowances {
    /// What is missing for what `key` has been used for, and the block to be taken, if any is.
    pub(super) fn missing(&self, key: &dyn HeldKey) -> Option<Usage> {
        let used = key.usage();
        let allowance = lock(&self.by_key).get(&key.id()).copied().unwrap_or_default();
        let wraps = used.wraps.saturating_sub(allowance.taken.wraps);
        let bytes = used.bytes.saturating_sub(allowance.taken.bytes);
        if (wraps, bytes) == (0, 0) {
            return None;
        }
        let block = allowance.next_block;
        Some(Usage { wraps: wraps.max(block.wraps), bytes: bytes.max(block.bytes) })
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
