//! Golden messages that come from a reader, as files.

use super::*;
use crate::common::directory::TestDirectory;
use envelock::file::{self, NewFileOptions};
use std::io::Read;

#[test]
fn every_golden_message_opens_from_a_reader_to_a_file() {
    let root = TestDirectory::new();
    let to = root.join("plain");
    let options = NewFileOptions::new();
    for (entry, header, body) in golden() {
        let name = &entry.name;
        let (_, keyring) = entry.keyrings().pop_first().unwrap();
        let envelope = Envelope::new(keyring);
        let aad = entry.bytes("aad");
        let other = [&aad[..], b"."].concat();
        let source = || header.chain(&body[..]);
        let refused = file::decrypt_from(&envelope, source(), &to, Aad::new(&other), options);
        assert!(matches!(refused, Err(Error::Authentication { .. })), "{name}: {refused:?}");
        assert!(!to.exists(), "{name}");
        file::decrypt_from(&envelope, source(), &to, Aad::new(&aad), options).unwrap();
        assert!(std::fs::read(&to).unwrap() == entry.plaintext(), "{name}");
        std::fs::remove_file(&to).unwrap();
    }
}
