//! Key files and rewraps of message files, on simulated and on real directories.

#[path = "../common/mod.rs"]
mod common;
mod file_keyring;
mod key_file_crashes;
mod key_file_faults;
mod key_file_format;
mod key_file_schedules;
mod key_file_store;
mod message_files;
mod message_files_crashes;
mod message_files_faults;
