//! Tests that need a process of their own: kills, forks, several writers, mounts, output of a
//! process.

mod canary;
#[path = "../common/mod.rs"]
mod common;
mod key_file_kills;
mod key_file_processes;
mod key_file_tmpfs;
mod message_files_kills;
mod two_processes;
mod uniqueness;
