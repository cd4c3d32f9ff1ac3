//! A secret on the first line of a file: a passphrase, a PIN.

use super::rules::FileRules;
use alloc::vec::Vec;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use zeroize::Zeroizing;

/// The longest secret that is read, in bytes, its line end included.
const MAX_LEN: u64 = 4096;

/// Why no secret was read from a file.
#[derive(Debug)]
pub(crate) enum SecretFault {
    /// Others than its owner may read or write it; its permission bits.
    Permissions(u32),
    /// What the operating system said; `InvalidData` for what is empty or longer than 4096 bytes.
    Io(io::Error),
}

/// Returns the secret in the file `path`, which may be a link, without a line end behind it.
pub(crate) fn read_secret_file(
    path: &Path,
    rules: FileRules,
) -> Result<Zeroizing<Vec<u8>>, SecretFault> {
    let file = File::open(path).map_err(SecretFault::Io)?;
    let mode = file.metadata().map_err(SecretFault::Io)?.mode() & 0o7777;
    rules.check_mode(mode).map_err(|_| SecretFault::Permissions(mode))?;
    read_secret(file).map_err(SecretFault::Io)
}

/// Returns the secret that `reader` gives up to its end, without a line end behind it.
pub(crate) fn read_secret(reader: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room for all of it at once, so that no part is left behind when it grows.
    let room = usize::try_from(MAX_LEN).unwrap_or_default().saturating_add(1);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    reader.take(MAX_LEN.saturating_add(1)).read_to_end(&mut bytes)?;
    let invalid = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    if bytes.len() >= room {
        return invalid("it is longer than 4096 bytes");
    }
    for end in [b'\n', b'\r'] {
        if bytes.last() == Some(&end) {
            bytes.pop();
        }
    }
    if bytes.is_empty() { invalid("it is empty") } else { Ok(bytes) }
}
