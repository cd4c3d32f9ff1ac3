//! Associated data as arguments: text, a file, or named pairs.

use crate::context::Context;
use crate::failure::Failure;
use crate::output::printable;
use crate::small_file;
use clap::Args;
use envelock::AadPairs;
use std::path::PathBuf;

/// Most bytes of associated data in a file.
const MAX_LEN: usize = 16 << 20;

/// Associated data, which a decryption has to repeat.
#[derive(Args)]
#[group(multiple = false, id = "associated data")]
pub struct AssociatedData {
    /// Associated data, which a decryption has to repeat: what the message is about.
    #[arg(long, value_name = "TEXT")]
    aad: Option<String>,
    /// Take the associated data from this file, byte for byte.
    #[arg(long, value_name = "FILE")]
    aad_file: Option<PathBuf>,
    /// A named field of the associated data, in any order; can be repeated.
    #[arg(long, value_name = "NAME=VALUE")]
    aad_pair: Vec<String>,
}

impl AssociatedData {
    /// Returns the bytes; none if no option is given.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or a pair is wrong.
    pub fn bytes(&self, context: &Context) -> Result<Vec<u8>, Failure> {
        if let Some(path) = &self.aad_file {
            context.use_file(path);
            let read = small_file::open(path).and_then(|file| small_file::read(file, MAX_LEN));
            return read.map_err(|error| Failure::io(printable(path), &error));
        }
        if let Some(text) = &self.aad {
            return Ok(text.clone().into_bytes());
        }
        if self.aad_pair.is_empty() {
            return Ok(Vec::new());
        }
        let mut pairs = AadPairs::new();
        for pair in &self.aad_pair {
            let (name, value) = pair.split_once('=').ok_or_else(|| {
                Failure::usage(format!("{pair:?} is not NAME=VALUE"), "`--aad-pair tenant=acme`")
            })?;
            pairs.insert(name, value.as_bytes())?;
        }
        Ok(pairs.to_bytes())
    }
}
