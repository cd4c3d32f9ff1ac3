//! Helpers of the tests of key files in several processes.

#![allow(dead_code)] // Not every test uses all of it.

use super::process::{listen, send};
use envelock::{
    Aad, Envelope, Error, FileKeyring, MasterKey,
    file::{FileError, FileKeyringOptions, KeyFileError, Protection},
    inspect,
};
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;
use std::time::Duration;

pub const ROW: Aad<'static> = Aad::new(b"row");

/// How many of the known messages a reader decrypts in a round, beside all new ones.
const AGAIN: usize = 8;

pub fn raw(byte: u8) -> Protection {
    Protection::raw_key(MasterKey::from_bytes(&[byte; 32]))
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The fault of the file behind an error, from a change or from a wrap.
pub fn file_error(error: &Error) -> KeyFileError {
    error.backend::<KeyFileError>().unwrap_or_else(|| panic!("{error:?}")).clone()
}

/// Repeats what another writer keeps from being done; returns how often that was, too.
pub fn until_unlocked<T>(mut attempt: impl FnMut() -> Result<T, Error>) -> (T, u32) {
    let mut locked = 0;
    loop {
        match attempt() {
            Ok(value) => return (value, locked),
            Err(error) => match file_error(&error) {
                KeyFileError::File(FileError::Locked { .. }) => locked += 1,
                other => panic!("{other}"),
            },
        }
    }
}

/// The version that a message is under.
pub fn version_of(message: &[u8]) -> u32 {
    inspect(message).unwrap().slots().next().unwrap().label.version.number()
}

/// The temporary files beside a key file.
pub fn leftovers(path: &Path) -> Vec<OsString> {
    let names = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap());
    let start = format!(".{}.", path.file_name().unwrap().to_str().unwrap());
    let is_leftover = |name: &OsString| {
        let name = name.to_str().unwrap();
        name.starts_with(&start) && name.ends_with(".tmp")
    };
    names.map(|entry| entry.file_name()).filter(is_leftover).collect()
}

/// A child that decrypts with one keyring, opened at its start, what the parent sends it: every
/// new message once in each `rest`, and earlier ones again and again. Any error is its end.
///
/// It rests because it is to look on, not to take the processor: after each change it has to read
/// the file.
pub fn read_until_the_end(path: &str, refresh: Duration, rest: Duration) {
    let options = FileKeyringOptions::new().refresh_after(refresh);
    let keyring = options.open_any(path, &raw(7)).unwrap();
    send("opened");
    let (sender, receiver) = channel();
    thread::spawn(move || {
        while let Some(line) = listen() {
            sender.send(hex::decode(line).unwrap()).unwrap();
        }
    });
    let decrypted = decrypt_all(&keyring, &receiver, rest);
    send(&format!("decrypted {decrypted} change {}", keyring.change_number()));
}

fn decrypt_all(keyring: &FileKeyring, receiver: &Receiver<Vec<u8>>, rest: Duration) -> u64 {
    let mut messages: Vec<Vec<u8>> = Vec::new();
    let (mut known, mut next, mut decrypted) = (0, 0, 0);
    loop {
        let is_over = loop {
            match receiver.try_recv() {
                Ok(message) => messages.push(message),
                Err(error) => break error == TryRecvError::Disconnected,
            }
        };
        let again = (0..AGAIN.min(known)).map(|step| (next + step * 7919) % known);
        for index in again.chain(known..messages.len()) {
            let message = &messages[index];
            let plaintext = Envelope::new(keyring).decrypt(message, ROW);
            let plaintext = plaintext.unwrap_or_else(|error| {
                panic!("reader, version {}: {error}", version_of(message));
            });
            assert!(plaintext.starts_with(b"message "));
            assert!(keyring.last_error().is_none(), "{:?}", keyring.last_error());
            decrypted += 1;
        }
        (known, next) = (messages.len(), next + 1);
        if is_over {
            return decrypted;
        }
        thread::sleep(rest);
    }
}

/// Checks what a reader said at its end; returns how many messages it decrypted.
pub fn decrypted_by(said: &[String]) -> u64 {
    let words: Vec<_> = said[0].split(' ').collect();
    assert_eq!((said.len(), words[0]), (1, "decrypted"));
    words[1].parse().unwrap()
}
