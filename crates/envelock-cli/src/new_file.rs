//! Files that are written for a person: each appears complete, and no symbolic link is followed.

use std::fs::{File, remove_file, rename};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Replaces a file, or a symbolic link of its name. The mode is that of a new file.
///
/// # Errors
///
/// Those of the operating system.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if path.is_dir() && !path.is_symlink() {
        return Err(ErrorKind::IsADirectory.into());
    }
    let mut name = path.as_os_str().to_os_string();
    name.push(format!(".{}.new", std::process::id()));
    let new = PathBuf::from(name);
    let mut file = create(&new)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    let replaced = written.and_then(|()| rename(&new, path));
    if replaced.is_err() {
        // The error of the write says more than that of the removal.
        drop(remove_file(&new));
    }
    replaced
}

/// Creates a file that is not there. What a killed process of this number left, or a link of somebody, is removed.
fn create(path: &Path) -> io::Result<File> {
    match File::create_new(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            remove_file(path)?;
            File::create_new(path)
        }
        created => created,
    }
}
