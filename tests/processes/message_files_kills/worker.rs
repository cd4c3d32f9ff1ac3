//! The process that is killed: says what it begins, does it, and says that it is done.

use crate::common::elastic::Elastic;
use crate::common::process::{listen, send};
use envelock::file;
use envelock::{
    Aad, Envelope, RewrapOptions,
    file::{FileChange, MessageFile},
    inspect,
};
use std::io::Read;
use std::path::Path;

const ROW: Aad<'static> = Aad::new(b"row");
const LEN: usize = 100_000;

/// How often each of many processes rewraps.
pub const ROUNDS: u32 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// In three sectors, so that a write can be cut off in between.
    InPlace,
    Copy,
}

impl Manner {
    pub fn name(self) -> &'static str {
        if self == Manner::Copy { "copy" } else { "in-place" }
    }

    pub fn named(name: &str) -> Self {
        if name == "copy" { Manner::Copy } else { Manner::InPlace }
    }

    pub fn envelope(self) -> Envelope<Elastic> {
        Envelope::new(match self {
            Manner::InPlace => Elastic::new(1_100, 0),
            Manner::Copy => Elastic::new(72, 8),
        })
    }
}

fn text() -> Vec<u8> {
    (0..LEN).map(|at| (at * 31 % 251) as u8).collect()
}

pub fn create(path: &Path, manner: Manner) {
    std::fs::write(path, manner.envelope().encrypt(&text(), ROW).unwrap()).unwrap();
}

/// Opens the message as a reader does; the version that it is under.
pub fn check(path: &Path, manner: Manner) -> u32 {
    let mut message = Vec::new();
    MessageFile::open(path).unwrap().read_to_end(&mut message).unwrap();
    assert_eq!(manner.envelope().decrypt(&message, ROW).unwrap(), text());
    inspect(&message).unwrap().slots().next().unwrap().label.version.number()
}

/// Rewraps under the next version, again and again, until it is killed.
pub fn work(path: &Path, manner: Manner) {
    let envelope = manner.envelope();
    for version in check(path, manner) + 1.. {
        envelope.keyring().promote(version);
        send(&format!("start {version}"));
        let done = file::rewrap(&envelope, path, RewrapOptions::new()).unwrap();
        assert!(matches!(done.change(), FileChange::InPlace | FileChange::Copied));
        send(&format!("done {version}"));
    }
}

/// Rewraps under versions that no other process uses.
pub fn contend(path: &Path, manner: Manner, number: u32) {
    let envelope = manner.envelope();
    send("ready");
    listen().unwrap();
    for round in 0..ROUNDS {
        envelope.keyring().promote(2 + round * 16 + number);
        // On a busy machine one of 16 can wait for longer than it is let.
        while let Err(error) = file::rewrap(&envelope, path, RewrapOptions::new()) {
            assert!(error.is_retryable(), "{error:?}");
        }
        check(path, manner);
        send("done");
    }
}
