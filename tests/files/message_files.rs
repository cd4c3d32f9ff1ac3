//! Messages in real files: what a rewrap leaves and keeps, what is refused, what is planted, and
//! what many do at once.

#![cfg(all(feature = "file", unix))]

use crate::common::directory;
use crate::common::elastic;
use crate::common::mount;

mod from_readers;
mod journals;
mod paths;
mod reencrypt;
mod rewrap;
mod threads;
mod whole;

use directory::TestDirectory;
use elastic::Elastic;
use envelock::{
    Aad, Envelope, Error,
    file::{MessageFile, MessageFileError},
};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

const ROW: Aad<'static> = Aad::new(b"row");

fn text(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 31 % 251) as u8).collect()
}

/// A message of `text(len)` in a file, under version 1, and an envelope that wraps under 2.
struct Stored {
    root: TestDirectory,
    envelope: Envelope<Elastic>,
    message: Vec<u8>,
}

impl Stored {
    fn new(len: usize, growth: usize) -> Self {
        let envelope = Envelope::new(Elastic::new(72, growth));
        let message = envelope.encrypt(&text(len), ROW).unwrap();
        let root = TestDirectory::new();
        fs::write(root.join("message"), &message).unwrap();
        envelope.keyring().promote(2);
        Stored { root, envelope, message }
    }

    fn path(&self) -> PathBuf {
        self.root.join("message")
    }

    fn journal(&self) -> PathBuf {
        self.root.join(".message.envelock-rewrap")
    }

    fn read(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn file_error(error: Error) -> MessageFileError {
    error.backend::<MessageFileError>().unwrap_or_else(|| panic!("{error:?}")).clone()
}

/// The message as it is meant.
fn read_message(path: &Path) -> Vec<u8> {
    let mut message = Vec::new();
    MessageFile::open(path).unwrap().read_to_end(&mut message).unwrap();
    message
}

fn version(message: &[u8]) -> u32 {
    envelock::inspect(message).unwrap().slots().next().unwrap().label.version.number()
}
