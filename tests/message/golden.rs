//! Stored messages of format version 1 open permanently, whatever becomes of the code: every suite,
//! every shape of header, every boundary of the body.
//!
//! `tests/golden/v1` never changes. A new shape is added by [`all`](make::all) and written with
//! `ENVELOCK_GOLDEN_DIR=$PWD/tests/golden/v1 cargo test --test message golden -- --ignored`, which refuses to
//! overwrite a file with other bytes.

use crate::common::detached::{ReadDetached, WriteDetached};
use crate::common::independent;
#[cfg(all(feature = "file", unix))]
mod files;
mod make;
pub mod manifest;

use envelock::keyring::Inline;
use envelock::rand_core::SeedableRng;
use envelock::{
    Aad, AsyncEnvelope, Envelope, Error, Header, RewrapOptions, Suite, danger, format::Slot,
    inspect,
};
use hmac::{Hmac, KeyInit, Mac};
use manifest::Entry;
use rand_chacha::ChaCha20Rng;
use sha2::Sha256;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

const MANIFEST: &str = "manifest.txt";
const COMMENT: &str =
    "Golden messages of format version 1; tests/golden/README.md says how to read this.";

/// Suites times shapes, and no fewer.
const COUNT: usize = 4 * 19;

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/v1")
}

/// Description, header and body of every golden message.
fn golden() -> Vec<(Entry, Vec<u8>, Vec<u8>)> {
    let text = std::fs::read_to_string(directory().join(MANIFEST)).unwrap();
    let entries = manifest::parse(&text);
    assert!(entries.len() >= COUNT, "only {} golden messages", entries.len());
    entries.into_iter().map(read).collect()
}

fn read(entry: Entry) -> (Entry, Vec<u8>, Vec<u8>) {
    let file = |name| std::fs::read(directory().join(name)).unwrap();
    if let Some(name) = entry.find("header") {
        let (header, body) = (file(name), file(entry.text("body")));
        return (entry, header, body);
    }
    let mut header = file(entry.text("file"));
    let body = header.split_off(usize::from(u16::from_be_bytes([header[22], header[23]])));
    (entry, header, body)
}

fn suite_of(entry: &Entry) -> Suite {
    Suite::from_id(entry.text("suite").parse().unwrap()).unwrap()
}

/// The value of a future that awaits nothing.
fn now_or_never<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// SPEC B-CONTEXT, K-AAD, K-MASTER, W-XAES: a reader that does any of them otherwise is locked out
/// of what was stored.
#[test]
fn every_golden_message_opens_in_every_form() {
    for (entry, header, body) in golden() {
        let name = &entry.name;
        let message = [&header[..], &body].concat();
        let plaintext = entry.plaintext();
        let aad = entry.bytes("aad");
        let aad = Aad::new(&aad);
        let keyrings = entry.keyrings();
        assert!(!keyrings.is_empty(), "{name}");
        for (key, keyring) in keyrings {
            let inline = AsyncEnvelope::new(Inline::new(&keyring));
            let opened = now_or_never(inline.decrypt(&message, aad)).unwrap();
            assert!(opened.is_ok_and(|it| it == plaintext), "{name} by {key}, awaited");
            let envelope = Envelope::new(keyring);
            let opened = envelope.decrypt(&message, aad);
            assert!(opened.is_ok_and(|it| it == plaintext), "{name} by {key}");
            let opened = envelope.decrypt_detached(&header, &body, aad);
            assert!(opened.is_ok_and(|it| it == plaintext), "{name} by {key}, detached");
            let mut buffer = vec![0; envelock::plaintext_len(&message).unwrap()];
            envelope.decrypt_into(&message, aad, &mut buffer).unwrap();
            assert!(buffer == plaintext, "{name} by {key}, into");
            let mut buffer = message.clone();
            let opened = envelope.decrypt_in_place(&mut buffer, aad);
            assert!(opened.is_ok_and(|it| *it == plaintext), "{name} by {key}, in place");

            let other = [aad.as_bytes(), b"."].concat();
            let refused = envelope.decrypt(&message, Aad::new(&other));
            assert!(
                matches!(refused, Err(Error::Authentication { .. })),
                "{name} by {key}: {refused:?}"
            );
        }
    }
}

/// SPEC W-GCM, W-CBC: by the material in the manifest, over primitives of others, and with any byte of
/// the wrapped key changed not.
#[test]
fn every_golden_token_slot_opens_with_manifest_keys() {
    let mut algorithms = BTreeSet::new();
    for (entry, header, body) in golden() {
        let Some(keyring) = make::tokens(&entry) else { continue };
        let (name, envelope) = (&entry.name, Envelope::new(keyring));
        let mut message = [&header[..], &body].concat();
        let aad = entry.bytes("aad");
        let opened = envelope.decrypt(&message, Aad::new(&aad));
        assert!(opened.is_ok_and(|it| it == entry.plaintext()), "{name}");
        for at in independent::wrapped(&message) {
            message[at] ^= 1;
            let refused = envelope.decrypt(&message, Aad::new(&aad));
            assert!(matches!(refused, Err(Error::Authentication { .. })), "{name}: byte {at}");
            message[at] ^= 1;
        }
        algorithms.insert((entry.text("suite").to_owned(), header[25 + 12]));
    }
    assert_eq!(algorithms.len(), 2 * Suite::ALL.len());
}

/// SPEC B-KDF, B-NONCE, B-NOAAD, B-LAST: the context is spelt out, bytes 0..22 of the header, then
/// the associated data.
#[test]
fn every_golden_body_opens_with_its_data_key_alone() {
    for (entry, header, body) in golden() {
        let context = [&header[..22], &entry.bytes("aad")].concat();
        let data_key = entry.bytes("data-key");
        let opened = danger::decrypt_body(suite_of(&entry), &data_key, &context, &body);
        assert!(opened.is_ok_and(|it| it == entry.plaintext()), "{}", entry.name);
    }
}

#[test]
fn inspection_of_golden_messages_matches_manifest() {
    for (entry, header, body) in golden() {
        let message = [&header[..], &body].concat();
        for input in [&message, &header] {
            let inspected = inspect(input).unwrap();
            assert_eq!(inspected.len(), header.len(), "{}", entry.name);
            assert_eq!(inspected.suite(), suite_of(&entry), "{}", entry.name);
            assert_eq!(
                inspected.padding_len(),
                entry.text("padding").parse::<usize>().unwrap(),
                "{}",
                entry.name
            );
            let slots: Vec<_> = inspected.slots().map(|slot| line_of(&slot)).collect();
            assert_eq!(slots, entry.all("slot").collect::<Vec<_>>(), "{}", entry.name);
        }
        assert_eq!(envelock::plaintext_len(&message).unwrap(), entry.plaintext().len());
    }
}

fn line_of(slot: &Slot<'_>) -> String {
    let label = slot.label;
    let (algorithm, len) = (label.algorithm.id(), slot.wrapped_key.len());
    format!("{} {} {} {algorithm} {len}", label.name, label.version, label.master_key_id)
}

/// First block of HKDF-Expand-SHA-256, cut to eight bytes.
fn expand_sha256(key: &[u8], info: &[u8]) -> [u8; 8] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(info);
    mac.update(&[1]);
    *mac.finalize().into_bytes().first_chunk().unwrap()
}

/// The last half of the data key id follows from the data key, format version, suite and the first
/// half; the id of a master key follows from its material. Checks the stored ids by the formulas of
/// SPEC 4.1 and 4.2, so that golden files cannot have been made by a broken generator.
#[test]
fn ids_in_golden_messages_derive_from_their_keys() {
    for (entry, header, _) in golden() {
        let [random, check] = [&header[6..14], &header[14..22]];
        let info = [b"envelock data key id v1", &[1, suite_of(&entry).id()][..], random].concat();
        assert_eq!(expand_sha256(&entry.bytes("data-key"), &info), check, "{}", entry.name);

        let slots: Vec<_> = entry.all("slot").map(manifest::words::<5>).collect();
        let mut named = 0;
        for [name, version, key, _] in entry.all("key").map(manifest::words) {
            let id = expand_sha256(&hex::decode(key).unwrap(), b"envelock master key id v1");
            let its = slots.iter().filter(|slot| slot[0] == name && slot[1] == version);
            named += its.inspect(|slot| assert_eq!(slot[2], hex::encode(id))).count();
        }
        assert!(named >= 1, "{}: no slot is of a key that is known", entry.name);
    }
}

/// SPEC H-CANON: what the parser says, written down by another hand, is the header again.
#[test]
fn every_golden_header_is_the_only_encoding() {
    for (entry, header, _) in golden() {
        assert_eq!(encode(&inspect(&header).unwrap()), header, "{}", entry.name);
    }
}

fn encode(header: &Header<'_>) -> Vec<u8> {
    let mut bytes = vec![0xE5, 0x4E, 0x56, 0x4C, 1, header.suite().id()];
    bytes.extend(header.data_key_id().0);
    bytes.extend(u16::try_from(header.len()).unwrap().to_be_bytes());
    bytes.push(u8::try_from(header.slots().count()).unwrap());
    for Slot { label, wrapped_key } in header.slots() {
        bytes.extend(label.version.number().to_be_bytes());
        bytes.extend(label.master_key_id.0);
        bytes.push(label.algorithm.id());
        bytes.push(u8::try_from(label.name.len()).unwrap());
        bytes.extend(u16::try_from(wrapped_key.len()).unwrap().to_be_bytes());
        bytes.extend(label.name.as_str().bytes());
        bytes.extend(wrapped_key);
    }
    bytes.resize(bytes.len() + header.padding_len(), 0);
    bytes
}

/// Old messages keep their way forward: they take a new slot and lose no byte of the body.
#[test]
fn every_golden_message_is_rewrapped_and_opens() {
    let mut rng = ChaCha20Rng::from_seed([7; 32]);
    let mut rewrapped = 0;
    for (entry, header, body) in golden() {
        let aad = entry.bytes("aad");
        for (key, keyring) in entry.keyrings() {
            // A keyring that has used up its version numbers cannot rotate.
            let Ok(version) = keyring.rotate_with_rng(envelock::Timestamp::UNIX_EPOCH, &mut rng)
            else {
                continue;
            };
            let envelope = Envelope::new(keyring);
            let mut message = [&header[..], &body].concat();
            assert!(envelope.needs_rewrap(&message).unwrap(), "{} by {key}", entry.name);
            let front = envelope.with_rng(&mut rng);
            assert!(
                front.rewrap_in_place(&mut message, RewrapOptions::new()).unwrap().is_changed()
            );
            assert!(!envelope.needs_rewrap(&message).unwrap(), "{} by {key}", entry.name);
            let inspected = inspect(&message).unwrap();
            let mut labels = inspected.slots().map(|slot| slot.label);
            assert!(labels.any(|it| it.name.as_str() == key && it.version == version));
            assert!(message[header.len()..] == body, "{} by {key}", entry.name);
            let opened = envelope.decrypt(&message, Aad::new(&aad));
            assert!(opened.is_ok_and(|it| it == entry.plaintext()), "{} by {key}", entry.name);
            rewrapped += 1;
        }
    }
    assert!(rewrapped >= COUNT, "only {rewrapped} messages were rewrapped");
}

/// Every file that the generators make, the manifest among them.
fn made() -> Vec<(String, Vec<u8>)> {
    let all = make::all();
    assert_eq!(all.len(), COUNT);
    let (entries, files): (Vec<_>, Vec<_>) =
        all.into_iter().map(|golden| (golden.entry, golden.files)).unzip();
    let text = manifest::write(COMMENT, &entries);
    assert_eq!(manifest::parse(&text), entries);
    let mut files: Vec<_> = files.into_iter().flatten().collect();
    files.push((MANIFEST.into(), text.into_bytes()));
    files
}

/// The format, the order in which random bytes are drawn and what each is used for are all
/// pinned: the same generator gives the same message.
#[test]
fn seeded_generators_still_make_the_same_bytes() {
    let mut names = BTreeSet::new();
    for (name, bytes) in made() {
        let stored = std::fs::read(directory().join(&name)).unwrap_or_default();
        assert!(stored == bytes, "{name} is not what the generator makes");
        names.insert(name);
    }
    let stored = std::fs::read_dir(directory()).unwrap();
    let stored = stored.map(|file| file.unwrap().file_name().into_string().unwrap());
    assert_eq!(stored.collect::<BTreeSet<_>>(), names);
}

#[test]
#[ignore = "writes golden files to ENVELOCK_GOLDEN_DIR"]
fn writes_golden_files_that_are_not_there_yet() {
    let directory = std::env::var_os("ENVELOCK_GOLDEN_DIR").expect("ENVELOCK_GOLDEN_DIR is set");
    for (name, bytes) in made() {
        let path = Path::new(&directory).join(&name);
        match std::fs::read(&path) {
            // Shapes are added to the manifest; messages never change.
            Ok(stored) if name != MANIFEST => assert!(stored == bytes, "{name} would change"),
            _ => std::fs::write(path, bytes).unwrap(),
        }
    }
}
