//! Messages in files under crashes: every image that a crash can leave of each operation holds
//! the message with its old header or its new one, or the new file whole or not at all; and so
//! does every image of the recovery after it.

#![cfg(all(feature = "file", unix))]

#[path = "common/elastic.rs"]
mod elastic;
#[path = "common/simulated_directory/mod.rs"]
mod simulated_directory;

#[path = "message_files_crashes/durability.rs"]
mod durability;
#[path = "message_files_crashes/enumeration.rs"]
mod enumeration;
#[path = "message_files_crashes/scene.rs"]
mod scene;
#[path = "message_files_crashes/whole.rs"]
mod whole;
