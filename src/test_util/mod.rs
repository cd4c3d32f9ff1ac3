//! What judges keyrings, and the seams through which a judge reaches ours (feature `test-util`).

#[cfg(all(feature = "file", unix))]
pub mod key_file;
#[cfg(all(feature = "file", unix))]
pub mod key_file_format;
