//! A secret on the first line of a file: a passphrase, a PIN.

use super::rules::FileRules;
use alloc::vec::Vec;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use zeroize::Zeroizing;

/// The longest secret that is read, in bytes, its line end included.
const MAX_LEN: usize = 4096;

/// One more shows that there is too much.
const READ_LEN: usize = MAX_LEN + 1;

/// Why a file gave no secret.
#[derive(Debug)]
pub(crate) enum SecretFault {
    /// Others than its owner may read or write it; its permission bits.
    Permissions(u32),
    /// The error of the operating system; `InvalidData` for an empty file or more than 4096 bytes.
    Io(io::Error),
}

/// Returns the secret in the file `path`, which may be a link, without a line end after it.
pub(crate) fn read_secret_file(
    path: &Path,
    rules: FileRules,
) -> Result<Zeroizing<Vec<u8>>, SecretFault> {
    let file = File::open(path).map_err(SecretFault::Io)?;
    let mode = file.metadata().map_err(SecretFault::Io)?.mode() & 0o7777;
    rules.check_mode(mode).map_err(|_| SecretFault::Permissions(mode))?;
    read_secret(file).map_err(SecretFault::Io)
}

/// Reads `reader` to its end and returns the secret without a line end after it.
pub(crate) fn read_secret(reader: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    // Allocated once: growing would leave a copy of a part.
    let mut bytes = Zeroizing::new(Vec::with_capacity(READ_LEN));
    reader.take(READ_LEN as u64).read_to_end(&mut bytes)?;
    let invalid = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    if bytes.len() > MAX_LEN {
        return invalid("longer than 4096 bytes");
    }
    for end in [b'\n', b'\r'] {
        if bytes.last() == Some(&end) {
            bytes.pop();
        }
    }
    if bytes.is_empty() { invalid("empty") } else { Ok(bytes) }
}
