//! Tests that no text this crate makes holds a secret: `Debug`, `Display`, errors, panics and
//! what a process prints are searched for keys and plaintext in every usual spelling (THREATS 48,
//! figure G20).

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use crate::common::detached::ReadDetached;
use envelock::danger::{chunk_decryptor, chunk_encryptor, decrypt_body, hkdf_expand};
use envelock::rand_core::{Rng, SeedableRng};
use envelock::{format::*, keyring::*, keyset::*, *};
use rand_chacha::ChaCha20Rng;
use std::collections::HashMap;
use std::fmt::{Debug, Display, Write};
use std::process::Command;

const MASTER_KEY: [u8; 32] =
    *b"\x9D\x11vT7qzK2-mW9xJ4bRqe\xF3\x80\xFE\x07\xC5\x1B\xA9\x66\xE0\x42\x8F\xD4";
const PLAINTEXT: &[u8] = b"\xC3\x28Yp3nLx8Qz-Gd5tUe1\x99\x01\xFB\xEA\x73\x5D\xB8\x2E";
const AAD: &[u8] = b"\xB7\x44hB6wZr0k_Fs2vNc7Dj4\x1F\xAD\x62\xC9";

/// Everything secret in this file, by name.
fn secrets() -> Vec<(&'static str, Vec<u8>)> {
    let mut data_key = vec![0; 32];
    seeded().fill_bytes(&mut data_key);
    let mut derived = vec![0; 44];
    let info = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\0".as_slice();
    let info = [info, &[9; 24], &[0; 22]].concat();
    hkdf_expand(Suite::Cobblestone256, &data_key, &info, &mut derived).unwrap();
    vec![
        ("master key", MASTER_KEY.to_vec()),
        ("data key", data_key),
        ("derived key", derived[..32].to_vec()),
        ("base nonce", derived[32..].to_vec()),
        ("plaintext", PLAINTEXT.to_vec()),
        ("associated data", AAD.to_vec()),
    ]
}

/// The generator whose first bytes are the data key.
fn seeded() -> ChaCha20Rng {
    ChaCha20Rng::from_seed([48; 32])
}

fn base64(bytes: &[u8]) -> String {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks_exact(3) {
        let bits = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for shift in [18, 12, 6, 0] {
            text.push(char::from(alphabet[(bits >> shift) as usize & 63]));
        }
    }
    text
}

/// Every spelling of eight-byte pieces of a secret; base64 of any alignment.
fn spellings(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut spellings: Vec<Vec<u8>> = Vec::new();
    for piece in secret.windows(8) {
        let list = |separator: &str, spell: &dyn Fn(&u8) -> String| {
            piece.iter().map(spell).collect::<Vec<_>>().join(separator).into_bytes()
        };
        spellings.push(piece.to_vec());
        spellings.push(String::from_utf8_lossy(piece).into_owned().into_bytes());
        spellings.push(format!("{}", piece.escape_ascii()).into_bytes());
        for separator in ["", " ", ":", ", "] {
            spellings.push(list(separator, &|byte| format!("{byte:02x}")));
            spellings.push(list(separator, &|byte| format!("{byte:02X}")));
        }
        for separator in [",", ", ", " ", ",\n    "] {
            spellings.push(list(separator, &|byte| byte.to_string()));
            spellings.push(list(separator, &|byte| format!("0x{byte:02x}")));
        }
        // Six bytes are eight characters, wherever the encoding began.
        let encoded = base64(&piece[..6]);
        spellings.push(encoded.replace('+', "-").replace('/', "_").into_bytes());
        spellings.push(encoded.into_bytes());
    }
    // A piece of ASCII alone is left to the pieces around it, unless it spells its whole.
    spellings.retain(|spelling| spelling.len() >= 8);
    spellings
}

/// Collects text, and searches it.
#[derive(Default)]
struct Texts {
    all: String,
    count: usize,
}

impl Texts {
    fn debug(&mut self, value: impl Debug) {
        write!(self.all, "{value:?}\n{value:#?}\n{value:x?}\n").unwrap();
        self.count += 1;
    }

    fn display(&mut self, value: impl Display) {
        writeln!(self.all, "{value}").unwrap();
        self.count += 1;
    }

    /// An error in both forms, and all its sources.
    fn error(&mut self, error: impl std::error::Error) {
        self.debug(&error);
        self.display(&error);
        let mut source = error.source();
        while let Some(cause) = source {
            self.debug(cause);
            self.display(cause);
            source = cause.source();
        }
    }

    fn failure<T>(&mut self, result: Result<T, Error>) {
        match result {
            Ok(_) => panic!("expected an error"),
            Err(error) => self.error(error),
        }
    }
}

#[track_caller]
fn assert_no_secret(text: &[u8]) {
    assert_eq!(find_secret(text), None);
}

/// Which secret stands in `text`, in which spelling and where.
fn find_secret(text: &[u8]) -> Option<String> {
    let mut spelled: HashMap<[u8; 8], Vec<(&str, Vec<u8>)>> = HashMap::new();
    for (name, secret) in secrets() {
        for spelling in spellings(&secret) {
            let start = *spelling.first_chunk().unwrap();
            spelled.entry(start).or_default().push((name, spelling));
        }
    }
    for at in 0..text.len().saturating_sub(7) {
        let start = text[at..].first_chunk::<8>().unwrap();
        for (name, spelling) in spelled.get(start).into_iter().flatten() {
            if text[at..].starts_with(spelling) {
                let around = &text[at.saturating_sub(40)..text.len().min(at + 80)];
                return Some(format!("{name} in {:?}", String::from_utf8_lossy(around)));
            }
        }
    }
    None
}

fn keyring() -> MemoryKeyring {
    let key = MasterKey::from_bytes(&MASTER_KEY);
    MemoryKeyring::import("orders", KeyVersion::FIRST, &key).unwrap()
}

/// A keyring that prints its arguments, as a careless author would, then fails as chosen.
struct Chatty {
    inner: MemoryKeyring,
    texts: std::sync::Mutex<Texts>,
    failure: Option<KeyringError>,
}

impl Keyring for Chatty {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.inner.visit_primaries(&mut |primary| {
            self.texts.lock().unwrap().debug(primary);
            visit(primary);
        })
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.inner.wrap(data_key, context, slots, rng)?;
        let mut texts = self.texts.lock().unwrap();
        texts.debug(&*slots);
        texts.debug(context);
        self.failure.clone().map_or(Ok(()), Err)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        let mut texts = self.texts.lock().unwrap();
        texts.debug(slot);
        texts.debug(slot.label);
        texts.debug(context.wrap_aad(&slot.label));
        texts.debug(context.data_key_id());
        self.inner.unwrap(slot, context, data_key)?;
        self.failure.clone().map_or(Ok(()), Err)
    }
}

/// The text of every type that stands for something in use.
fn texts_of_values() -> Texts {
    let mut texts = Texts::default();
    let inner = keyring();
    let envelope = Envelope::new(&inner);
    let mut rng = seeded();
    let message = envelope.with_rng(&mut rng).encrypt(PLAINTEXT, Aad::new(AAD)).unwrap();
    let header = inspect(&message).unwrap();
    let slot = header.slots().next().unwrap();
    let pairs = AadPairs::new().with("tenant", AAD).unwrap().with("row", PLAINTEXT).unwrap();
    texts.debug(&inner);
    texts.debug(&envelope);
    texts.debug(envelope.with_rng(&mut rng));
    texts.debug(Aad::new(AAD));
    texts.debug(&pairs);
    texts.debug(header);
    texts.display(header);
    texts.debug(header.slots());
    texts.debug(slot.label);
    texts.debug(header.data_key_id());
    texts.display(header.data_key_id());
    texts.debug(slot.label.master_key_id);
    texts.display(slot.label.master_key_id);
    texts.display(slot.label.algorithm);
    texts.display(slot.label.name);
    texts.debug(inner.versions());
    texts.debug(Keyset::new("orders").unwrap());
    texts.debug(OsRandom);
    inner.rotate().unwrap();
    texts.debug(RewrapOptions::new().retiring("orders", KeyVersion::FIRST));
    texts.debug(envelope.rewrap(&message, RewrapOptions::new()).unwrap());

    let mut data_key = [0; 32];
    seeded().fill_bytes(&mut data_key);
    let suite = Suite::Cobblestone256;
    let encryptor = chunk_encryptor(suite, &data_key, &[9; 24], &[0; 22]).unwrap();
    let decryptor = chunk_decryptor(suite, &data_key, encryptor.prefix(), &[0; 22]).unwrap();
    texts.debug(&encryptor);
    texts.debug(&decryptor);
    texts.failure(encryptor.encrypt_in_place(1 << 38, &mut data_key.clone()));
    texts.failure(encryptor.encrypt_into(0, PLAINTEXT, &mut [0; 3]));
    texts.failure(decryptor.decrypt_in_place(0, &mut data_key.clone()));
    texts.failure(decryptor.decrypt_into(0, &data_key, &mut [0; 3]));
    texts.failure(chunk_encryptor(suite, &data_key[1..], &[9; 24], &[]));
    texts.failure(decrypt_body(suite, &data_key, PLAINTEXT, &message));

    for failure in [None, Some(KeyringError::Authentication), Some(KeyringError::NotMine)] {
        let texts_of_keyring = std::sync::Mutex::default();
        let chatty = Chatty { inner: keyring(), texts: texts_of_keyring, failure };
        let envelope = Envelope::new(&chatty);
        let mut rng = seeded();
        let sealed = envelope.with_rng(&mut rng).encrypt(PLAINTEXT, Aad::new(AAD));
        sealed.err().into_iter().for_each(|error| texts.error(error));
        let opened = envelope.decrypt(&message, Aad::new(AAD));
        opened.err().into_iter().for_each(|error| texts.error(error));
        let inside = chatty.texts.into_inner().unwrap();
        texts.all.push_str(&inside.all);
        texts.count += inside.count;
    }
    texts
}

/// The text of every error that bytes, keys and keyrings can bring about.
fn texts_of_errors() -> Texts {
    let mut texts = Texts::default();
    let ring = keyring();
    let envelope = Envelope::new(&ring);
    let aad = Aad::new(AAD);
    let message = envelope.with_rng(&mut seeded()).encrypt(PLAINTEXT, aad).unwrap();
    let mut changed = message.clone();
    for at in 0..message.len() {
        for value in [0, 1, 0xFF, !message[at]] {
            changed[at] = value;
            inspect(&changed).err().into_iter().for_each(|error| texts.error(error));
            envelope.decrypt(&changed, aad).err().into_iter().for_each(|error| texts.error(error));
        }
        changed[at] = message[at];
        texts.failure(envelope.decrypt(&message[..at], aad));
    }
    texts.failure(envelope.decrypt(PLAINTEXT, aad));
    texts.failure(envelope.decrypt(&MASTER_KEY, aad));
    texts.failure(envelope.decrypt(&message, Aad::none()));
    texts.failure(envelope.decrypt_into(&message, aad, &mut [0; 3]));
    texts.failure(envelope.encrypt_into(PLAINTEXT, aad, &mut [0; 3]));
    texts.failure(envelope.decrypt_detached(&message, &message, aad));
    texts.failure(envelope.verify_slots(&message, &["escrow"]));
    texts.failure(envelope.remove_name(&message, "orders"));
    texts.failure(AadPairs::from_bytes(PLAINTEXT));
    texts.failure(AadPairs::new().with("", AAD));
    texts.failure(AadPairs::new().with("row", AAD).unwrap().with("row", PLAINTEXT));
    let stale = RewrapOptions::new().retiring("orders", KeyVersion::FIRST);
    texts.failure(envelope.rewrap(&message, stale));
    texts.failure(Envelope::new(&ring).with_reserved(70_000).encrypt(PLAINTEXT, aad));
    texts_of_key_errors(&mut texts, &ring, &message);
    texts
}

fn texts_of_key_errors(texts: &mut Texts, ring: &MemoryKeyring, message: &[u8]) {
    let key = MasterKey::from_bytes(&MASTER_KEY);
    let zero = MasterKey::from_bytes(&[0; 32]);
    let version = |number| KeyVersion::new(number).unwrap();
    let aad = Aad::new(AAD);
    texts.failure(MemoryKeyring::import("orders", version(1), &zero));
    texts.failure(MemoryKeyring::import("not a name", version(1), &key));
    texts.failure(ring.import_version(version(2), &key));
    let fresh = MasterKey::generate(&mut seeded()).unwrap();
    texts.failure(ring.import_version(version(1), &fresh));
    texts.failure(ring.disable(version(1)));
    texts.failure(ring.enable(version(1)));
    texts.failure(ring.promote(version(9)));
    let other = MemoryKeyring::create("invoices").unwrap();
    texts.failure(Envelope::new(&other).decrypt(message, aad));
    let newer = Envelope::new(ring);
    ring.rotate().unwrap();
    ring.disable(version(1)).unwrap();
    texts.failure(newer.decrypt(message, aad));
    texts.failure(ring.promote(version(1)));
    let source = std::io::Error::other("timed out");
    texts.error(KeyringError::unavailable(source));
    texts.error(KeyringError::Refused(Refusal::UnknownVersion));
    texts.error(KeyringError::from(RandomnessUnavailable::new()));
    texts.error(KeyringError::from(SlotFault::Unproven));
}

#[test]
fn search_finds_each_secret_in_each_spelling() {
    for (_, secret) in secrets() {
        let piece = &secret[secret.len() - 12..];
        let hex: String = piece.iter().map(|byte| format!("{byte:02X}")).collect();
        let texts = [
            format!("{piece:?}").into_bytes(),
            format!("{piece:#?}").into_bytes(),
            format!("{piece:02x?}").into_bytes(),
            format!("x{}", hex.to_lowercase()).into_bytes(),
            hex.into_bytes(),
            base64(piece).into_bytes(),
            piece.to_vec(),
        ];
        for text in texts {
            assert!(find_secret(&text).is_some(), "{:?}", String::from_utf8_lossy(&text));
        }
    }
}

#[test]
fn no_value_shows_a_secret() {
    let texts = texts_of_values();
    assert_no_secret(texts.all.as_bytes());
    println!("{} values, {} bytes of text", texts.count, texts.all.len());
}

#[test]
fn no_error_shows_a_secret() {
    let texts = texts_of_errors();
    // One of each: the same text need not be searched again.
    let mut lines: Vec<&str> = texts.all.lines().collect();
    lines.sort_unstable();
    lines.dedup();
    assert_no_secret(lines.join("\n").as_bytes());
    println!("{} errors, {} distinct lines", texts.count, lines.len());
}

/// Run by the test below in a process of its own.
#[test]
#[ignore = "prints and panics on purpose; the next test runs it"]
fn child_that_prints_and_panics() {
    let values = texts_of_values();
    let errors = texts_of_errors();
    eprintln!("{} and {}", values.count, errors.count);
    let ring = keyring();
    let envelope = Envelope::new(&ring);
    let mut rng = seeded();
    let message = envelope.with_rng(&mut rng).encrypt(PLAINTEXT, Aad::new(AAD)).unwrap();
    let opened = envelope.decrypt(&message, Aad::none());
    // The text of an application's panic that prints a keyring and an envelope.
    let panics = || panic!("{envelope:?} {ring:?} {:?}", opened.err());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics));
    assert!(panicked.is_err());
    let _: Vec<u8> = envelope.decrypt(&message[..50], Aad::new(AAD)).unwrap();
}

#[test]
fn no_process_prints_a_secret_when_it_panics() {
    let program = std::env::current_exe().unwrap();
    let arguments = ["--exact", "canary::child_that_prints_and_panics", "--ignored", "--nocapture"];
    let output = Command::new(program)
        .args(arguments)
        .env("RUST_BACKTRACE", "full")
        .env("RUST_LOG", "trace")
        .output()
        .unwrap();
    assert!(!output.status.success(), "the child panics");
    let text = [output.stdout, output.stderr].concat();
    assert!(String::from_utf8_lossy(&text).contains("panicked at"), "its panic is captured");
    assert_no_secret(&text);
    println!("{} bytes printed by the child", text.len());
}
