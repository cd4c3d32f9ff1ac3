//! On the file systems of this machine: modes, planted files, locks, a full disk.

mod locks;
mod permissions;
mod planted;
mod space;

use envelock::test_access::key_file::Store;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of one test, removed with what is in it.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("envelock-key-file-store-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn key_file(&self) -> PathBuf {
        self.0.join("keys")
    }

    pub fn store(&self) -> Store {
        Store::open(&self.key_file()).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// The task of a child process, and its directory.
const TASK: &str = "ENVELOCK_STORE_TASK";
const FOLDER: &str = "ENVELOCK_STORE_PLACE";

/// Runs this executable again, as a process of its own for `task`.
pub fn child(task: &str, folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "key_file_store::real::child_entry", "--nocapture"])
        .env(TASK, task)
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Does nothing unless it was started by [`child`].
#[test]
fn child_entry() {
    let Ok(task) = std::env::var(TASK) else { return };
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    match task.as_str() {
        "hold the lock" => locks::hold(&folder),
        umask => permissions::write_under(umask, &folder),
    }
}
