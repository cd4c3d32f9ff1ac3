//! The example of two processes, run as its readers run it.

#![cfg(all(feature = "file", unix))]

use std::path::{Path, PathBuf};
use std::process::Command;

const ROTATIONS: u32 = 5;

/// The example. Cargo builds it again if it changed: with some selections of tests it does not
/// build examples at all, or builds them as tests.
fn example() -> PathBuf {
    let this = std::env::current_exe().unwrap();
    let built = this.parent().and_then(Path::parent).unwrap();
    let profile = match built.file_name().unwrap().to_str() {
        Some("debug") => "test",
        other => other.unwrap(),
    };
    let status = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--quiet", "--example", "two_processes"])
        .args(["--profile", profile, "--target-dir"])
        .arg(built.parent().unwrap())
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .status();
    assert!(status.is_ok_and(|status| status.success()));
    built.join("examples/two_processes")
}

#[test]
fn rotation_in_one_process_reaches_the_other() {
    let output = Command::new(example()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("second: opened the key file at change 1"));
    for round in 0..=ROTATIONS {
        let version = round + 1;
        let line = lines.next().unwrap();
        let start = format!("second: \"message {round}\" is under version {version}; change ");
        let rest = line.strip_prefix(&start).unwrap_or_else(|| panic!("{line}"));
        let change = rest.strip_suffix(" is loaded").unwrap().parse::<u32>().unwrap();
        // Each rotation is one change. A version that is unknown has the file loaded at once.
        assert_eq!(change, version, "{line}");
        if round < ROTATIONS {
            let rotated = format!("first:  rotated to version {}", version + 1);
            assert_eq!(lines.next(), Some(&*rotated));
        }
    }
    assert_eq!(lines.next(), None, "{text}");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}
