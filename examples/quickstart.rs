//! Encrypts every file of a directory, rotates the master key, rewraps, decrypts and compares; with
//! master keys in a file.
//!
//! ```text
//! cargo run --release --example quickstart [DIRECTORY]
//! ```
//!
//! Its steps are in `examples/common/tour.rs`, which is the same for `hsm_quickstart`: there
//! the master keys are on a token. Nothing is left behind.

#[path = "common/tour.rs"]
mod tour;

use envelock::{FileKeyring, file::Protection};
use tour::{KEY, Result};

fn main() -> Result<()> {
    let passphrase = Protection::passphrase("correct horse battery staple");
    tour::run(
        |path| Ok(FileKeyring::create(path, KEY, &passphrase)?),
        |path| Ok(FileKeyring::open(path, KEY, &passphrase)?),
    )
}
