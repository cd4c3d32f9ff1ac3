//! A 64-byte message: every operation beside a hand-rolled envelope, and where each nanosecond is.
//!
//! `taskset -c 1 cargo bench --bench small`, 15 seconds; `--features aws-lc-rs` for AWS-LC.

mod floor;
mod interleave;

use envelock::rand_core::SeedableRng;
use envelock::{
    Aad, CachingKeyring, DataKeyReuse, Envelope, Lifecycle, MemoryKeyring, Provider, RewrapOptions,
    Suite, inspect,
};
use floor::AAD;
use floor::hand_rolled::HandRolled;
use floor::primitives::{self, Wrap};
use interleave::lanes::repeat;
use interleave::{Lane, interleave};
use rand_chacha::ChaCha20Rng;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

const BUDGET: Duration = Duration::from_secs(6);

const PLAINTEXT: [u8; 64] = [1; 64];

fn main() {
    // Cargo passes `--bench`; under `cargo test --benches` there is nothing to measure.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    println!("### 64 bytes, a new `Vec`, {}\n", Provider::default());
    operations();
    println!("\n### Parts of it\n");
    parts();
}

/// A keyring whose messages of before are under another version than its primary, and such a message.
fn rotated(suite: Suite) -> (MemoryKeyring, Vec<u8>) {
    let keyring = MemoryKeyring::create("invoices").expect("a name of 8 bytes");
    let envelope = Envelope::new(&keyring).with_suite(suite);
    let stale = envelope.encrypt(&PLAINTEXT, Aad::new(AAD)).expect("a primary");
    keyring.rotate().expect("OS randomness");
    (keyring, stale)
}

fn operations() {
    let suites = [Suite::Cobblestone256, Suite::ChunkedAes256GcmSha256];
    let keyrings = suites.map(|suite| (suite, rotated(suite)));
    let (hand_rolled, next) = (HandRolled::new(), HandRolled::new());
    let floor_message = hand_rolled.encrypt(&PLAINTEXT, AAD);
    let (hand_rolled, next, floor_message) = (&hand_rolled, &next, &floor_message);
    let mut names =
        vec!["hand-rolled envelope: encrypt, decrypt".into(), "the same: rewrap".into()];
    let mut lanes: Vec<Lane<'_>> = vec![
        repeat(|| hand_rolled.encrypt(&PLAINTEXT, AAD), || hand_rolled.decrypt(floor_message, AAD)),
        repeat(|| hand_rolled.rewrap(floor_message, next), || ()),
    ];
    // Each row, and the row that is its floor.
    let mut floors = vec![0, 1];
    for (suite, (keyring, stale)) in &keyrings {
        for (name, floor, lane) in rows(*suite, keyring, stale) {
            names.push(format!("suite {}: {name}", suite.id()));
            floors.push(floor);
            lanes.push(lane);
        }
    }
    let rounds = interleave(&mut lanes, BUDGET);
    println!(
        "| | encrypt | of hand-rolled | decrypt | of hand-rolled |\n|---|---:|---:|---:|---:|"
    );
    for (lane, (name, floor)) in names.iter().zip(floors).enumerate() {
        let [there, back] = [0, 1].map(|way| match rounds.time(lane, way) {
            // An empty loop.
            ..5.0 => "| ".into(),
            time => format!("{time:.0} ns | {:.2}", rounds.speed(lane, floor, way)),
        });
        println!("| {name} | {there} | {back} |");
    }
}

/// The rows of a suite, each with its floor. A rewrap stands under "encrypt".
fn rows<'k>(
    suite: Suite,
    keyring: &'k MemoryKeyring,
    stale: &'k [u8],
) -> Vec<(&'static str, usize, Lane<'k>)> {
    let aad = Aad::new(AAD);
    let plain = Envelope::new(keyring).with_suite(suite);
    let message = plain.encrypt(&PLAINTEXT, aad).expect("a primary");
    let opened = plain.open(&message).expect("its own");
    let body_start = inspect(&message).expect("its own").len();
    let seeded = plain.with_rng(ChaCha20Rng::from_seed([1; 32]));
    let reuse = DataKeyReuse::new(u64::MAX, u64::MAX, Duration::from_secs(3600));
    let reused = Envelope::new(keyring).with_suite(suite).with_data_key_reuse(Arc::new(reuse));
    let cached = Arc::new(Envelope::new(CachingKeyring::new(keyring)).with_suite(suite));
    let (other_message, also_cached) = (message.clone(), cached.clone());
    let plain = Arc::new(plain);
    let rewraps = plain.clone();
    let body = message[body_start..].to_vec();
    vec![
        (
            "encrypt, decrypt",
            0,
            repeat(
                move || plain.encrypt(&PLAINTEXT, aad).expect("a primary"),
                move || rewraps.decrypt(&message, aad).expect("its own"),
            ),
        ),
        (
            "a data key reused, cached",
            0,
            repeat(
                move || reused.encrypt(&PLAINTEXT, aad).expect("a primary"),
                move || cached.decrypt(&other_message, aad).expect("its own"),
            ),
        ),
        (
            "random bytes of ChaCha20, an opened key",
            0,
            repeat(
                move || seeded.encrypt(&PLAINTEXT, aad).expect("a primary"),
                move || opened.decrypt(&body, aad).expect("its own"),
            ),
        ),
        ("rewrap", 1, rewrap(Arc::new(Envelope::new(keyring)), stale)),
        ("rewrap, a cache in front", 1, rewrap(also_cached, stale)),
    ]
}

fn rewrap<'k, K: envelock::Keyring + 'k>(envelope: Arc<Envelope<K>>, stale: &'k [u8]) -> Lane<'k> {
    repeat(move || envelope.rewrap(stale, RewrapOptions::new()).expect("its own"), || ())
}

fn parts() {
    let key = [7; 32];
    let cipher = primitives::set_up(&key);
    let (wrap, unwrap) = (Wrap::new(), Wrap::new());
    let mut ciphertext = PLAINTEXT;
    let tag = primitives::aead_encrypt(&cipher, &mut ciphertext);
    let cipher = &cipher;
    let rows: Vec<(&str, Lane<'_>)> = vec![
        (
            "OS random: 88 bytes of a message, 24 of a reused key or a rewrap",
            repeat(primitives::os_random::<88>, primitives::os_random::<24>),
        ),
        (
            "wrap, unwrap: XAES-256-GCM of its crate",
            repeat(move || wrap.wrap(black_box(&key), &[4; 24]), move || unwrap.unwrap()),
        ),
        (
            "data key check by HKDF-SHA-256",
            repeat(|| primitives::check(black_box(&key)), || primitives::check(black_box(&key))),
        ),
        (
            "key derivation, suite 1: HKDF-SHA-512",
            repeat(
                || primitives::derive(black_box(&key), AAD),
                || primitives::derive(black_box(&key), AAD),
            ),
        ),
        (
            "key derivation, suite 4: HKDF-SHA-256",
            repeat(
                || primitives::derive_sha256(black_box(&key), AAD),
                || primitives::derive_sha256(black_box(&key), AAD),
            ),
        ),
        (
            "AES-256-GCM: key set-up",
            repeat(|| primitives::set_up(black_box(&key)), || primitives::set_up(black_box(&key))),
        ),
        (
            "AES-256-GCM: 64 bytes",
            repeat(
                || primitives::aead_encrypt(cipher, &mut black_box(PLAINTEXT)),
                || primitives::aead_decrypt(cipher, &mut black_box(ciphertext), &tag),
            ),
        ),
        ("allocation of the result", repeat(|| vec![0_u8; 257], || vec![0_u8; 64])),
        ("process id (reused), clock (reused, cached)", repeat(std::process::id, Instant::now)),
    ];
    let (names, mut lanes): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    let rounds = interleave(&mut lanes, BUDGET);
    println!("| | encrypt | decrypt |\n|---|---:|---:|");
    for (lane, name) in names.iter().enumerate() {
        let [there, back] = [0, 1].map(|way| rounds.time(lane, way));
        println!("| {name} | {there:.0} ns | {back:.0} ns |");
    }
}
