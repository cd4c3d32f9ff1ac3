//! Small file systems of a test's own.

#![allow(dead_code)] // Not every test uses all of it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system, unmounted on drop.
pub struct Mount(PathBuf);

impl Mount {
    /// A tmpfs in `parent`, or `None` for who is not root.
    ///
    /// # Panics
    ///
    /// If root cannot mount it: then a judge would be missing without anybody knowing.
    pub fn tmpfs(parent: &Path, options: &str) -> Option<Self> {
        let place = Mount::place(parent)?;
        let options = format!("mode=0700,{options}");
        run("mount", &["-t", "tmpfs", "-o", &options, "tmpfs", text(&place)]);
        Some(Mount(place))
    }

    /// An ext4 of `len` bytes in a file in `parent`, or `None` for who is not root.
    ///
    /// # Panics
    ///
    /// As [`tmpfs`](Self::tmpfs).
    pub fn ext4(parent: &Path, len: u64) -> Option<Self> {
        let place = Mount::place(parent)?;
        let image = parent.join("image");
        File::create_new(&image).unwrap().set_len(len).unwrap();
        run("mkfs.ext4", &["-q", "-F", text(&image)]);
        run("mount", &["-o", "loop", text(&image), text(&place)]);
        Some(Mount(place))
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
        // Even where somebody is still at work in it.
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
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
