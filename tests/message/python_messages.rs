//! This crate and an independent decoder in Python agree: each opens what the other makes, and
//! both give one verdict on messages that were changed or made wrong.
//!
//! `ci/python.sh` alternates the two sides over the directory in `ENVELOCK_PYTHON_DIR`;
//! without it these tests stay ignored.

use crate::golden::manifest;

use envelock::rand_core::{Rng, SeedableRng};
use envelock::{Aad, Envelope, Error, KeyVersion, MasterKey, MemoryKeyring, Suite};
use manifest::Entry;
use rand_chacha::ChaCha20Rng;
use sha2::{Digest, Sha256};
use std::path::PathBuf;

const SIZES: [usize; 10] =
    [0, 1, 16_383, 16_384, 16_385, 32_767, 32_768, 32_769, 3 * 16_384, (1 << 20) + 7];

/// Lengths of associated data, which cover every position in a block of either hash and of its padding.
const AAD_LENGTHS: usize = 301;

fn directory(name: &str) -> PathBuf {
    let root = std::env::var_os("ENVELOCK_PYTHON_DIR").expect("ci/python.sh runs this test");
    PathBuf::from(root).join(name)
}

fn entries(name: &str) -> Vec<Entry> {
    let path = directory(name).join("manifest.txt");
    manifest::parse(&std::fs::read_to_string(path).unwrap())
}

/// The outcome for a message, in the words of `decoder.py`: `accept` and a digest, or the reason.
fn verdict(entry: &Entry, message: &[u8]) -> String {
    let aad = entry.bytes("aad");
    let (_, keyring) = entry.keyrings().pop_first().unwrap();
    match Envelope::new(&keyring).decrypt(message, Aad::new(&aad)) {
        Ok(plaintext) => format!("accept:{}", hex::encode(Sha256::digest(plaintext))),
        Err(Error::NotEnvelock { .. }) => "magic".into(),
        Err(Error::Header { offset, .. }) => format!("header:{offset}"),
        Err(Error::Truncated { .. }) => "truncated".into(),
        Err(Error::Refused { key, version, .. }) => format!("refused:{key}:{version}"),
        Err(Error::Authentication { .. }) => "authentication".into(),
        Err(Error::NoKey { .. }) => "no-key".into(),
        Err(other) => panic!("{}: {other}", entry.name),
    }
}

/// Compares verdicts and returns how many messages were accepted and how many were not.
fn check(name: &str) -> (usize, usize) {
    let (mut accepted, mut refused) = (0, 0);
    for entry in entries(name) {
        let message = entry.bytes("hex");
        let ours = verdict(&entry, &message);
        let theirs = entry.text("verdict");
        assert!(ours == theirs, "{}: {ours} here, {theirs} in Python", entry.name);
        if let Some(digest) = ours.strip_prefix("accept:") {
            accepted += 1;
            // A mutant has no plaintext of its own: that it is its digest's is all there is.
            if entry.find("plaintext").is_some() {
                let plaintext = Sha256::digest(entry.plaintext());
                assert_eq!(digest, hex::encode(plaintext), "{}", entry.name);
            }
        } else {
            refused += 1;
        }
    }
    (accepted, refused)
}

/// SPEC K-CHECK, K-AAD, K-MASTER, O-ORDER, O-NOFALLBACK, B-KDF, B-CONTEXT, B-NONCE, B-NOAAD,
/// B-COMMIT, B-LAST, B-LENGTH: beside the good messages there is one that breaks each of them.
#[test]
#[ignore = "run by ci/python.sh"]
fn python_messages_open_and_malformed_do_not() {
    let (accepted, refused) = check("from-python");
    assert!(
        accepted >= 1000 + 4 * (10 + 301) && refused >= 95,
        "only {accepted} + {refused} messages"
    );
}

/// SPEC H-FIRST among others: both sides name the same offset for what is wrong with a header.
#[test]
#[ignore = "run by ci/python.sh"]
fn changed_messages_get_the_same_verdict_as_in_python() {
    let (accepted, refused) = check("mutants");
    assert!(accepted >= 100 && refused >= 1000, "only {accepted} + {refused} messages");
}

/// The sizes and lengths of associated data of all suites, then a thousand random messages.
#[test]
#[ignore = "run by ci/python.sh"]
fn writes_messages_that_python_opens() {
    let mut rng = ChaCha20Rng::from_seed([9; 32]);
    let mut plans: Vec<(Suite, usize, usize)> = Vec::new();
    for &suite in Suite::ALL {
        plans.extend(SIZES.map(|size| (suite, size, 7)));
        plans.extend((0..AAD_LENGTHS).map(|aad_len| (suite, aad_len % 70, aad_len)));
    }
    for _ in 0..1000 {
        let suite = Suite::ALL[below(&mut rng, Suite::ALL.len())];
        let limit = [4, 300, 2000][below(&mut rng, 3)];
        plans.push((suite, below(&mut rng, limit), below(&mut rng, 80)));
    }
    let entries: Vec<_> = plans
        .into_iter()
        .enumerate()
        .map(|(number, plan)| random_message(&mut rng, number, plan))
        .collect();
    let directory = directory("from-rust");
    std::fs::create_dir_all(&directory).unwrap();
    let text = manifest::write("messages of envelock", &entries);
    std::fs::write(directory.join("manifest.txt"), text).unwrap();
}

fn below(rng: &mut ChaCha20Rng, limit: usize) -> usize {
    rng.next_u32() as usize % limit
}

fn random_bytes(rng: &mut ChaCha20Rng, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// A message of a suite, a size and a length of associated data.
fn random_message(rng: &mut ChaCha20Rng, number: usize, plan: (Suite, usize, usize)) -> Entry {
    let (suite, size, aad_len) = plan;
    let mut entry = Entry::new(&format!("{number}"));
    let name_len = below(rng, 64);
    let name = format!("k{}", "Az09._:/@+=-".repeat(6).split_at(name_len).0);
    let version = KeyVersion::new(rng.next_u32() >> below(rng, 32)).unwrap_or(KeyVersion::FIRST);
    let mut key = [0; 32];
    rng.fill_bytes(&mut key);
    let keyring = MemoryKeyring::import(&name, version, &MasterKey::from_bytes(&key)).unwrap();
    let aad = random_bytes(rng, aad_len);
    let plaintext = random_bytes(rng, size);
    let padding = [0, 0, 1, 300][below(rng, 4)];

    let envelope = Envelope::new(keyring).with_suite(suite).with_reserved(padding);
    let message = envelope.with_rng(rng).encrypt(&plaintext, Aad::new(&aad)).unwrap();
    entry.push("suite", suite.id());
    entry.push("aad", hex::encode(aad));
    entry.push("plaintext", format_args!("hex {}", hex::encode(plaintext)));
    entry.push("key", format_args!("{name} {version} {} primary", hex::encode(key)));
    entry.push("hex", hex::encode(message));
    entry
}
