//! Nothing random is ever used twice, in threads, in processes, and one message takes its bytes
//! from the generator in one call; a generator that fails costs nothing but an error.

use crate::common::detached::WriteDetached;
use envelock::rand_core::{SeedableRng, TryCryptoRng, TryRng};
use envelock::{Aad, Envelope, Error, Lifecycle, MemoryKeyring, RewrapOptions, Suite, inspect};
use rand_chacha::ChaCha20Rng;
use std::collections::HashSet;
use std::process::Command;
use std::thread;

#[cfg(unix)]
mod forks;

/// Data key id, salt, and nonce of the one wrap.
fn random_parts(header: &[u8], body: &[u8]) -> ([u8; 16], [u8; 24], [u8; 24]) {
    let parsed = inspect(header).unwrap();
    let slot = parsed.slots().next().unwrap();
    let nonce = slot.wrapped_key.first_chunk().unwrap();
    (parsed.data_key_id().0, *body.first_chunk().unwrap(), *nonce)
}

/// SPEC K-RANDOM, B-SALT; THREATS rows 15 and 17: 200,000 messages of one shared envelope.
#[test]
fn no_id_salt_or_nonce_comes_twice_among_threads() {
    const THREADS: usize = 4;
    const EACH: usize = 50_000;
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring);
    let parts: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let encrypt = |_| {
                        let (header, body) = envelope.encrypt_detached(b"", Aad::none()).unwrap();
                        random_parts(&header, &body)
                    };
                    (0..EACH).map(encrypt).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(parts.len(), THREADS * EACH);
    // The random half of the id alone, too: 64 bits do not collide by chance.
    let halves: HashSet<_> = parts.iter().map(|(id, ..)| &id[..8]).collect();
    let checks: HashSet<_> = parts.iter().map(|(id, ..)| &id[8..]).collect();
    let salts: HashSet<_> = parts.iter().map(|(_, salt, _)| salt).collect();
    let nonces: HashSet<_> = parts.iter().map(|(.., nonce)| nonce).collect();
    for distinct in [halves.len(), checks.len(), salts.len(), nonces.len()] {
        assert_eq!(distinct, THREADS * EACH);
    }
    assert!(salts.is_disjoint(&nonces));
}

/// SPEC K-RANDOM: a rewrap draws a nonce of its own, and the data key stays.
#[test]
fn no_wrap_nonce_comes_twice_among_rewraps() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring);
    let (header, body) = envelope.encrypt_detached(b"", Aad::none()).unwrap();
    keyring.rotate().unwrap();
    let mut nonces = HashSet::from([random_parts(&header, &body).2]);
    for _ in 0..20_000 {
        let rewrapped = envelope.rewrap(&header, RewrapOptions::new()).unwrap();
        assert!(nonces.insert(random_parts(rewrapped.header(), &body).2));
    }
}

const CHILD: &str = "ENVELOCK_UNIQUENESS_CHILD";

/// Does nothing by itself; 16 processes of `processes_share_no_randomness` run it.
#[test]
fn child_prints_its_draws() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let keyring = MemoryKeyring::create("orders").unwrap();
    println!("drew master key {}", keyring.versions()[0].master_key_id);
    let envelope = Envelope::new(&keyring);
    for _ in 0..50 {
        let (header, body) = envelope.encrypt_detached(b"", Aad::none()).unwrap();
        let (id, salt, nonce) = random_parts(&header, &body);
        for part in [&id[..8], &id[8..], &salt, &nonce] {
            println!("drew {}", hex::encode(part));
        }
    }
}

#[test]
fn processes_share_no_randomness() {
    let mut drawn = HashSet::new();
    for _ in 0..16 {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "uniqueness::child_prints_its_draws", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        assert!(output.status.success());
        let output = String::from_utf8(output.stdout).unwrap();
        for line in output.lines().filter(|line| line.starts_with("drew ")) {
            assert!(drawn.insert(line.to_owned()), "{line} twice");
        }
    }
    assert_eq!(drawn.len(), 16 * (1 + 4 * 50));
}

/// Counts calls and bytes, and fails from a given call on.
struct Counting {
    source: ChaCha20Rng,
    calls: Vec<usize>,
    fails_at: usize,
}

impl Counting {
    fn new(fails_at: usize) -> Self {
        Counting { source: ChaCha20Rng::seed_from_u64(1), calls: Vec::new(), fails_at }
    }
}

#[derive(Debug)]
struct Failure;

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("out of entropy")
    }
}

impl std::error::Error for Failure {}

impl TryRng for Counting {
    type Error = Failure;

    fn try_next_u32(&mut self) -> Result<u32, Failure> {
        panic!("a word at a time")
    }

    fn try_next_u64(&mut self) -> Result<u64, Failure> {
        panic!("a word at a time")
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Failure> {
        self.calls.push(out.len());
        if self.calls.len() > self.fails_at {
            return Err(Failure);
        }
        let Ok(()) = self.source.try_fill_bytes(out);
        Ok(())
    }
}

impl TryCryptoRng for Counting {}

#[test]
fn message_takes_88_bytes_in_one_call_and_a_rewrap_24() {
    for &suite in Suite::ALL {
        let keyring = MemoryKeyring::create("orders").unwrap();
        let envelope = Envelope::new(&keyring).with_suite(suite);
        let mut rng = Counting::new(usize::MAX);
        for len in [0, 1, 100_000] {
            let plaintext = vec![0; len];
            let message = envelope.with_rng(&mut rng).encrypt(&plaintext, Aad::none()).unwrap();
            assert_eq!(std::mem::take(&mut rng.calls), [88]);
            envelope.decrypt(&message, Aad::none()).unwrap();
            envelope.needs_rewrap(&message).unwrap();
            let current = envelope.with_rng(&mut rng).rewrap(&message, RewrapOptions::new());
            assert!(!current.unwrap().is_changed());
            assert_eq!(rng.calls, [0; 0], "nothing to wrap, nothing drawn");
            keyring.rotate_with_rng(envelock::Timestamp::UNIX_EPOCH, &mut rng).unwrap();
            assert_eq!(std::mem::take(&mut rng.calls), [32]);
            let stale = envelope.with_rng(&mut rng).rewrap(&message, RewrapOptions::new());
            assert!(stale.unwrap().is_changed());
            assert_eq!(std::mem::take(&mut rng.calls), [24]);
        }
    }
}

/// Bytes 0, 1, 2, ... in order.
struct Ascending(u8);

impl TryRng for Ascending {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(0)
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(0)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        for byte in out {
            *byte = self.0;
            self.0 += 1;
        }
        Ok(())
    }
}

impl TryCryptoRng for Ascending {}

/// The order that `Envelope::with_rng` documents; golden files and vectors depend on it.
#[test]
fn draws_come_in_the_documented_order() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    for &suite in Suite::ALL {
        let envelope = Envelope::new(&keyring).with_suite(suite);
        let (header, body) =
            envelope.with_rng(&mut Ascending(0)).encrypt_detached(b"payload", Aad::none()).unwrap();
        let (id, salt, nonce) = random_parts(&header, &body);
        let key_len = suite.data_key_len() as u8;
        let ascending = |from: u8, len: u8| (from..from + len).collect::<Vec<_>>();
        assert_eq!(id[..8], ascending(key_len, 8));
        assert_eq!(salt[..], ascending(key_len + 8, 24));
        assert_eq!(nonce[..], ascending(key_len + 32, 24));
        let data_key = ascending(0, key_len);
        let opened = envelock::danger::decrypt_body(suite, &data_key, &header[..22], &body);
        assert_eq!(opened.unwrap(), b"payload");
    }
}

#[test]
fn generator_that_fails_is_error_and_writes_nothing() {
    let randomness = |error: Error| {
        assert!(matches!(error, Error::Randomness(_)) && error.is_retryable(), "{error:?}");
    };
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring);
    let mut rng = Counting::new(0);
    randomness(envelope.with_rng(&mut rng).encrypt(b"payload", Aad::none()).unwrap_err());
    randomness(envelope.with_rng(&mut rng).encrypt_detached(b"", Aad::none()).unwrap_err());
    let mut message = vec![0xA5; envelope.message_len(7).unwrap()];
    let untouched = message.clone();
    let range = envelope.plaintext_range(7).unwrap();
    let in_place = envelope.with_rng(&mut rng).encrypt_in_place(&mut message, range, Aad::none());
    randomness(in_place.unwrap_err());
    let into = envelope.with_rng(&mut rng).encrypt_into(b"payload", Aad::none(), &mut message);
    randomness(into.unwrap_err());
    assert_eq!(message, untouched);

    let mut message = envelope.encrypt(b"payload", Aad::none()).unwrap();
    let before = message.clone();
    keyring.rotate().unwrap();
    let records = keyring.versions();
    let options = RewrapOptions::new();
    randomness(envelope.with_rng(&mut rng).rewrap(&message, options).unwrap_err());
    randomness(envelope.with_rng(&mut rng).rewrap_in_place(&mut message, options).unwrap_err());
    assert_eq!(message, before);
    randomness(keyring.rotate_with_rng(envelock::Timestamp::UNIX_EPOCH, &mut rng).unwrap_err());
    assert_eq!(keyring.versions(), records);
    randomness(
        MemoryKeyring::create_with_rng("orders", envelock::Timestamp::UNIX_EPOCH, &mut rng)
            .unwrap_err(),
    );
}
