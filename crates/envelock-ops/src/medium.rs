//! What tells a file or directory from another one of the same name.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::UNIX_EPOCH;

/// Returns what tells a file or directory from another one at the same place, for [`Properties::id`](crate::Properties::id).
///
/// It stays the same when the file system is mounted again: the number of a device does not.
///
/// # Errors
///
/// The metadata cannot be read.
pub fn medium_id(path: &Path) -> io::Result<String> {
    let metadata = std::fs::metadata(path)?;
    let created = metadata.created().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    Ok(format!("{}.{}", metadata.ino(), created.unwrap_or_default().as_nanos()))
}
