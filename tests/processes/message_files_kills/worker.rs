//! The process that is killed: says what it begins, does it, and says that it is done.

use crate::common::elastic::Elastic;
use crate::common::process::{listen, send};
use envelock::file;
use envelock::{
    Aad, Envelope, Error, RewrapOptions,
    file::{FileChange, MessageFile},
    inspect,
};
use std::io::Read;
use std::path::Path;

const ROW: Aad<'static> = Aad::new(b"row");
const LEN: usize = 100_000;

/// How often each of many processes changes the message.
pub const ROUNDS: u32 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// In three sectors, so that a write can be cut off in between.
    InPlace,
    Copy,
    /// With another data key, and a body that is written again.
    Reencrypt,
}

impl Manner {
    pub const ALL: [Manner; 3] = [Manner::InPlace, Manner::Copy, Manner::Reencrypt];

    pub fn name(self) -> &'static str {
        match self {
            Manner::InPlace => "in-place",
            Manner::Copy => "copy",
            Manner::Reencrypt => "reencrypt",
        }
    }

    pub fn named(name: &str) -> Self {
        Manner::ALL.into_iter().find(|manner| manner.name() == name).unwrap()
    }

    pub fn envelope(self) -> Envelope<Elastic> {
        Envelope::new(match self {
            Manner::InPlace => Elastic::new(1_100, 0),
            Manner::Copy => Elastic::new(72, 8),
            Manner::Reencrypt => Elastic::new(72, 0),
        })
    }

    /// Brings the message under the primary version.
    pub fn change(self, envelope: &Envelope<Elastic>, path: &Path) -> Result<(), Error> {
        if self != Manner::Reencrypt {
            let done = file::rewrap(envelope, path, RewrapOptions::new())?;
            assert!(matches!(done.change(), FileChange::InPlace | FileChange::Copied));
            return Ok(());
        }
        loop {
            let old = MessageFile::open(path)?.header().to_vec();
            let new = envelope.stream_encryptor(ROW)?;
            // Another process can have changed it since.
            if file::reencrypt(envelope, path, &old, new, ROW)? {
                return Ok(());
            }
        }
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

/// Changes the message to the next version, again and again, until it is killed.
pub fn work(path: &Path, manner: Manner) {
    let envelope = manner.envelope();
    for version in check(path, manner) + 1.. {
        envelope.keyring().promote(version);
        send(&format!("start {version}"));
        manner.change(&envelope, path).unwrap();
        send(&format!("done {version}"));
    }
}

/// Changes the message to versions that no other process uses.
pub fn contend(path: &Path, manner: Manner, number: u32) {
    let envelope = manner.envelope();
    send("ready");
    listen().unwrap();
    for round in 0..ROUNDS {
        envelope.keyring().promote(2 + round * 16 + number);
        // On a busy machine one of 16 can wait for longer than it is let.
        while let Err(error) = manner.change(&envelope, path) {
            assert!(error.is_retryable(), "{error:?}");
        }
        check(path, manner);
        send("done");
    }
}
