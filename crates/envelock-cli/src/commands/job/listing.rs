//! What the listing of a source and that of a job's directory have.

use crate::failure::Failure;
use crate::open_source::OpenStore;
use crate::output::printable;
use envelock_ops::{Shard, Store as _};
use std::path::{Path, PathBuf};

/// Counts the items of a shard, by the listing alone. Returns the length of the longest key, too; `None` if it was
/// stopped.
///
/// # Errors
///
/// The listing fails.
pub fn count(
    store: &OpenStore,
    shard: Shard,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Option<(u64, u64)>, Failure> {
    let (mut items, mut longest, mut after) = (0_u64, 0, None);
    loop {
        let page = store.list(after.as_ref(), 1000)?;
        let mine = page.items.iter().filter(|item| shard.has(&item.key));
        for item in mine {
            items = items.saturating_add(1);
            longest = longest.max(item.key.as_bytes().len() as u64);
        }
        after = page.items.last().map(|item| item.key.clone());
        if page.is_last || after.is_none() {
            return Ok(Some((items, longest)));
        }
        if is_stopped() {
            return Ok(None);
        }
    }
}

/// Returns the indexes and counts of the shards of a directory with a file of this end, in order.
///
/// # Errors
///
/// The directory cannot be read.
pub fn shards(directory: &Path, end: &str) -> Result<Vec<(Shard, PathBuf)>, Failure> {
    let failed = |error: std::io::Error| Failure::io(printable(directory), &error);
    let mut shards = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let shard = name.to_str().and_then(|name| {
            let (index, count) = name.strip_suffix(end)?.split_once("-of-")?;
            Shard::new(index.parse().ok()?, count.parse().ok()?).ok()
        });
        shards.extend(shard.map(|shard| (shard, entry.path())));
    }
    shards.sort_by_key(|(shard, _)| (shard.count(), shard.index()));
    Ok(shards)
}
