//! Small file systems of a test's own.

#![allow(dead_code)] // Not every test uses all of it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system, unmounted on drop.
pub struct Mount(PathBuf);

impl Mount {
    /// A tmpfs in `parent`, or `None`, with a message, without root and in a container that forbids
    /// mounts.
    ///
    /// # Panics
    ///
    /// If it cannot be mounted for another reason: the test would be skipped without notice.
    pub fn tmpfs(parent: &Path, options: &str) -> Option<Self> {
        let place = Mount::place(parent)?;
        let options = format!("mode=0700,{options}");
        mount(&["-t", "tmpfs", "-o", &options, "tmpfs", text(&place)]).then_some(Mount(place))
    }

    /// An ext4 of `len` bytes in a file in `parent`, or `None` as for [`tmpfs`](Self::tmpfs).
    ///
    /// # Panics
    ///
    /// As [`tmpfs`](Self::tmpfs).
    pub fn ext4(parent: &Path, len: u64) -> Option<Self> {
        let place = Mount::place(parent)?;
        let image = parent.join("image");
        File::create_new(&image).unwrap().set_len(len).unwrap();
        run("mkfs.ext4", &["-q", "-F", text(&image)]);
        mount(&["-o", "loop", text(&image), text(&place)]).then_some(Mount(place))
    }

    /// What is at `from`, a file or a directory, at `to` as well; `None` as for
    /// [`tmpfs`](Self::tmpfs).
    ///
    /// # Panics
    ///
    /// As [`tmpfs`](Self::tmpfs).
    pub fn bind(from: &Path, to: &Path) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            println!("SKIPPED: only root can mount a file system; run this test as root");
            return None;
        }
        mount(&["--bind", text(from), text(to)]).then(|| Mount(to.to_path_buf()))
    }

    fn place(parent: &Path) -> Option<PathBuf> {
        if !rustix::process::geteuid().is_root() {
            println!("SKIPPED: only root can mount a file system; run this test as root");
            return None;
        }
        let place = parent.join("mounted");
        fs::create_dir(&place).unwrap();
        Some(place)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn remount(&self, option: &str) {
        run("mount", &["-o", &format!("remount,{option}"), text(&self.0)]);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Even if a process still uses it.
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Mounts, or says aloud that this machine does not allow it.
fn mount(arguments: &[&str]) -> bool {
    let output = Command::new("mount").args(arguments).env("LC_ALL", "C").output();
    let reported =
        |output: &std::process::Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let why = output.as_ref().map(reported).unwrap_or_default().to_lowercase();
    let refusals = ["permission denied", "not permitted", "superuser", "loop device"];
    if refusals.iter().any(|refusal| why.contains(refusal)) {
        println!("SKIPPED: this machine lets root mount nothing of that kind: {why}");
        return false;
    }
    let is_done = output.as_ref().is_ok_and(|output| output.status.success());
    assert!(is_done, "`mount {}` failed: {output:?}", arguments.join(" "));
    true
}

fn run(command: &str, arguments: &[&str]) {
    let output = Command::new(command).args(arguments.iter().map(OsStr::new)).output();
    let is_done = output.as_ref().is_ok_and(|output| output.status.success());
    assert!(
        is_done,
        "`{command} {}` failed: {output:?}. This test needs a machine where root may mount \
         (a container with CAP_SYS_ADMIN and loop devices), with util-linux and e2fsprogs; \
         who is not root is let off",
        arguments.join(" ")
    );
}
