//! Standard descriptors that were closed when the program began: `encrypt <&-`, `encrypt >&-`.
//!
//! The runtime of Rust opens `/dev/null` in their place, for reading and writing, so that no other file gets their number. What
//! is read there is empty, and what is written there is lost. `</dev/null` and `>/dev/null` of a shell are open for one of
//! both, and are what somebody wants.

use crate::failure::Failure;
use rustix::fs::{OFlags, fcntl_getfl, fstat};
use std::io;
use std::os::fd::AsFd;

/// Refuses standard input that was closed.
///
/// # Errors
///
/// As said.
pub fn check_standard_input() -> Result<(), Failure> {
    match was_closed(io::stdin()) {
        true => {
            let what = "standard input is closed, or /dev/null that is open for writing, too";
            Err(Failure::usage(what, "name a file, or `</dev/null` for an empty input"))
        }
        false => Ok(()),
    }
}

/// Refuses standard output that was closed, for what must not be lost.
///
/// # Errors
///
/// As said.
pub fn check_standard_output() -> Result<(), Failure> {
    match was_closed(io::stdout()) {
        true => {
            let what = "standard output is closed, or /dev/null that is open for reading, too: what is written would be lost";
            Err(Failure::usage(what, "name a file: `-o FILE`, or redirect: `> FILE`"))
        }
        false => Ok(()),
    }
}

fn was_closed(stream: impl AsFd) -> bool {
    let stream = stream.as_fd();
    let null = rustix::fs::stat("/dev/null").map(|null| null.st_rdev);
    let is_null = fstat(stream).is_ok_and(|it| null.is_ok_and(|null| it.st_rdev == null));
    let is_both = |flags: OFlags| flags.intersection(OFlags::RWMODE) == OFlags::RDWR;
    is_null && fcntl_getfl(stream).is_ok_and(is_both)
}
