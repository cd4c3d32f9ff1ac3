//! Small files that arguments name: regular ones, of a limited size.

use crate::failure::{Exit, Failure};
use crate::output::{printable, shell_word};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Most symbolic links on the way to a file, as in Linux.
const MAX_LINKS: usize = 40;

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

/// Returns the user who owns a symbolic link on the way from `path` to its file, if it is another one than this user or root: such
/// a user chooses which file is read.
///
/// # Errors
///
/// A link cannot be read, or there are too many.
pub fn owner_of_link(path: &Path) -> io::Result<Option<u32>> {
    let user = rustix::process::geteuid().as_raw();
    let mut path = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        let stat = match path.symlink_metadata() {
            Ok(stat) if stat.is_symlink() => stat,
            // A descriptor of a process leads to what has no path.
            _ => return Ok(None),
        };
        if ![0, user].contains(&stat.uid()) {
            return Ok(Some(stat.uid()));
        }
        let target = path.read_link()?;
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    Err(io::Error::new(ErrorKind::InvalidInput, "it is behind too many symbolic links"))
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

/// Checks a file that names code to run. `own` says what to do with one of another user.
///
/// # Errors
///
/// It belongs neither to this user nor to root, or others may write it.
pub fn check_owner(path: &Path, file: &File, own: impl Fn(&str) -> String) -> Result<(), Failure> {
    let subject = printable(path);
    let stat = file.metadata().map_err(|error| Failure::io(&subject, &error))?;
    let user = rustix::process::geteuid().as_raw();
    let word = shell_word(path);
    let of_link = owner_of_link(path).map_err(|error| Failure::io(&subject, &error))?;
    if let Some(owner) = of_link {
        let what =
            format!("{subject} is behind a symbolic link of user {owner}, not of {user} or root");
        return Err(Failure::new(Exit::Refused, what, own(&word)));
    }
    if ![0, user].contains(&stat.uid()) {
        let what = format!("{subject} belongs to user {}, not to {user} or root", stat.uid());
        return Err(Failure::new(Exit::Refused, what, own(&word)));
    }
    if stat.mode() & 0o022 != 0 {
        let what = format!("others can write {subject}: mode {:04o}", stat.mode() & 0o7777);
        return Err(Failure::new(Exit::Refused, what, format!("`chmod go-w {word}`")));
    }
    Ok(())
}
