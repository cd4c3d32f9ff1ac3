//! Small files that arguments name: regular ones, of a limited size.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens a regular file, and does not wait for the other end of a pipe.
///
/// # Errors
///
/// It cannot be opened, or is something else.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

/// Reads a file of at most `max` bytes.
///
/// # Errors
///
/// It is longer, or cannot be read.
pub fn read(file: File, max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take((max as u64).saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() <= max {
        true => Ok(bytes),
        false => {
            Err(io::Error::new(ErrorKind::FileTooLarge, format!("it has more than {max} bytes")))
        }
    }
}
