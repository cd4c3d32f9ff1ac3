//! The table of the README: every operation beside its floor, measured in the same seconds.
//!
//! `taskset -c 1 cargo bench --bench ratios`, under a minute. See `benches/README.md`.

mod floor;
mod interleave;
mod keyrings;

use envelock::{Aad, Envelope, Lifecycle, MemoryKeyring, RewrapOptions, Suite, danger, inspect};
use floor::primitives::{self, Wrap};
use floor::{AAD, SIZES, size_name, suite_name};
use interleave::lanes::{
    allocating, hand_rolled, in_place, into, raw_chunks, raw_into, raw_new, raw_whole, repeat,
};
use interleave::{Lane, Rounds, interleave, time};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Time for one suite and size.
const BODY_BUDGET: Duration = Duration::from_millis(1200);

/// Time for a group of small operations.
const SMALL_BUDGET: Duration = Duration::from_secs(3);

fn main() {
    let start = Instant::now();
    // Cargo passes `--bench`; under `cargo test --benches` there is nothing to measure.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    small_messages();
    // `-- small` prints the table of 64-byte messages alone.
    if std::env::args().any(|arg| arg == "small") {
        return;
    }
    rewraps();
    for &suite in Suite::ALL {
        bodies(suite);
    }
    keyrings::print(SMALL_BUDGET, time_name);
    println!("\nmeasured in {:.0} s", start.elapsed().as_secs_f64());
}

fn keyring() -> MemoryKeyring {
    MemoryKeyring::create("invoices").expect("a name of 8 bytes")
}

/// Every way through a body, beside the raw AEAD in 16 KiB calls the same way (lanes 0 to 2), in one call in
/// place (3), and a hand-rolled envelope (4).
fn bodies(suite: Suite) {
    println!("\n### {} ({suite})\n", suite_name(suite));
    println!(
        "| size | operation | time | GB/s | of raw, 16 KiB calls alike | of raw, one call | of hand-rolled |"
    );
    println!("|---:|---|---:|---:|---:|---:|---:|");
    let keyring = keyring();
    let envelope = Envelope::new(&keyring).with_suite(suite);
    for size in SIZES {
        let mut lanes = [
            raw_chunks(suite, size),
            raw_into(suite, size),
            raw_new(suite, size),
            raw_whole(suite, size),
            hand_rolled(size),
            in_place(&envelope, size),
            into(&envelope, size),
            allocating(&envelope, size),
        ];
        let rounds = interleave(&mut lanes, BODY_BUDGET);
        for (floor, form) in [" in place", " into", ""].into_iter().enumerate() {
            for (way, operation) in ["encrypt", "decrypt"].into_iter().enumerate() {
                print_body(&rounds, floor, way, size, &format!("{operation}{form}"));
            }
        }
    }
}

fn print_body(rounds: &Rounds, floor: usize, way: usize, size: usize, operation: &str) {
    let lane = floor + 5;
    let nanoseconds = rounds.time(lane, way);
    let [chunks, whole, hand_rolled] = [floor, 3, 4].map(|floor| rounds.speed(lane, floor, way));
    println!(
        "| {} | {operation} | {} | {:.2} | {chunks:.3} | {whole:.3} | {hand_rolled:.3} |",
        size_name(size),
        time_name(nanoseconds),
        size as f64 / nanoseconds,
    );
}

/// Where the time of a 64-byte message goes: each part alone, their sum, and what is left to
/// envelock's own work on header, keyring, bounds and errors.
fn small_messages() {
    let keyring = keyring();
    let envelope = Envelope::new(&keyring);
    let suite_4 = Envelope::new(&keyring).with_suite(Suite::ChunkedAes256GcmSha256);
    let mut names = vec!["encrypt, decrypt in place", "the same, allocating"];
    let mut lanes = vec![in_place(&envelope, 64), allocating(&envelope, 64)];
    for (name, lane) in primitive_lanes() {
        names.push(name);
        lanes.push(lane);
    }
    names.push("encrypt, decrypt in place in suite 4");
    lanes.push(in_place(&suite_4, 64));
    let message = envelope.encrypt(&[1; 64], Aad::new(AAD)).expect("a primary");
    names.push("header: read and check its form (decryption)");
    lanes.push(repeat(|| (), move || inspect(black_box(&message)).is_ok()));
    let rounds = interleave(&mut lanes, SMALL_BUDGET);

    println!("### 64 bytes, {}\n", suite_name(Suite::default()));
    println!("| | encrypt | part | decrypt | part |\n|---|---:|---:|---:|---:|");
    let whole = [0, 1].map(|way| rounds.time(0, way));
    let print = |name: &str, times: [f64; 2]| {
        let [there, back] = times.map(|time| if time < 2.0 { "".into() } else { time_name(time) });
        let [of_there, of_back] =
            [0, 1].map(|way| format!("{:.0} %", 100.0 * times[way] / whole[way]));
        println!("| {name} | {there} | {of_there} | {back} | {of_back} |");
    };
    let row = |lane: usize| [0, 1].map(|way| rounds.time(lane, way));
    print(names[0], row(0));
    print(names[SUITE_4], row(SUITE_4));
    for lane in [OS_RANDOM, CHECK, WRAP, DERIVATION] {
        print(names[lane], row(lane));
    }
    let set_up = [0, 1].map(|way| rounds.difference(CHUNK_CIPHER, &[DERIVATION], way));
    print("- AEAD key set-up", set_up);
    let header = names.len() - 1;
    print(names[AEAD], row(AEAD));
    print(names[header], row(header));
    let parts = [OS_RANDOM, CHECK, WRAP, CHUNK_CIPHER, AEAD, header];
    let rest = [0, 1].map(|way| rounds.difference(0, &parts, way));
    let sum = |way| parts.iter().map(|part| rounds.time(*part, way)).sum();
    print("**sum of these**", [0, 1].map(sum));
    print("**everything else**", rest);
    print(names[1], row(1));
    print("- of it more than in place", [0, 1].map(|way| rounds.difference(1, &[0], way)));
    print(names[ALLOCATION], row(ALLOCATION));
    print(names[ALL_PRIMITIVES], row(ALL_PRIMITIVES));
    print(
        "in place without OS random and derivation (aim 1 us)",
        [0, 1].map(|way| rounds.difference(0, &[OS_RANDOM, DERIVATION], way)),
    );
}

/// Lanes of [`small_messages`], behind the two of envelock.
const ALL_PRIMITIVES: usize = 2;
const OS_RANDOM: usize = 3;
const DERIVATION: usize = 4;
const CHECK: usize = 5;
const WRAP: usize = 6;
const CHUNK_CIPHER: usize = 7;
const AEAD: usize = 8;
const ALLOCATION: usize = 9;
const SUITE_4: usize = 10;

/// The primitives of a 64-byte message, together and one by one.
fn primitive_lanes() -> Vec<(&'static str, Lane<'static>)> {
    let key = [7; 32];
    let cipher = primitives::set_up(&key);
    let mut ciphertext = [1; 64];
    let tag = primitives::aead_encrypt(&cipher, &mut ciphertext);

    let wrap = Wrap::new();
    let encrypt_wrap = Wrap::new();
    let together = repeat(
        move || primitives::encrypt_all(&encrypt_wrap, &mut black_box([1; 64]), AAD),
        move || primitives::decrypt_all(&wrap, &cipher, &mut black_box(ciphertext), &tag),
    );
    let derive = move || primitives::derive(black_box(&key), AAD);
    let check = move || primitives::check(black_box(&key));
    let (wrap, unwrap) = (Wrap::new(), Wrap::new());
    let suite = Suite::default();
    // As long as the 22 bytes of the core with the associated data behind them.
    let context = [[1; 22].as_slice(), AAD].concat();
    let chunk_cipher = move || {
        danger::chunk_encryptor(suite, black_box(&key), &[5; 24], &context).expect("its length")
    };
    let encryptor = danger::chunk_encryptor(suite, &key, &[5; 24], &[]).expect("its length");
    let prefix = encryptor.prefix();
    let decryptor = danger::chunk_decryptor(suite, &key, prefix, &[]).expect("its own");
    let mut chunk = [1; 80];
    let (plain, chunk_tag) = chunk.split_last_chunk_mut().expect("80 bytes");
    *chunk_tag = encryptor.encrypt_in_place(0, plain).expect("64 bytes");
    vec![
        ("all primitives back to back, of the crates", together),
        (
            "- OS random: data key, ids, salt, nonce: 88 bytes",
            repeat(primitives::os_random::<88>, || ()),
        ),
        ("- key derivation, HKDF-SHA-512", repeat(derive, derive)),
        ("- data key check, HKDF-SHA-256", repeat(check, check)),
        (
            "- wrap or unwrap, XAES-256-GCM",
            repeat(move || wrap.wrap(black_box(&key), &[4; 24]), move || unwrap.unwrap()),
        ),
        ("key derivation and AEAD key set-up", repeat(chunk_cipher.clone(), chunk_cipher)),
        (
            "- AEAD, 64 bytes",
            repeat(
                move || encryptor.encrypt_in_place(0, &mut black_box([1; 64])).expect("64 bytes"),
                move || decryptor.decrypt_in_place(0, &mut black_box(chunk)).is_ok(),
            ),
        ),
        ("- allocation of one buffer", repeat(|| vec![0_u8; 257], || vec![0_u8; 64])),
    ]
}

/// Rewrap and what reads a header only, with a small and a large body behind it.
fn rewraps() {
    let [small_ring, large_ring] = [rotated(), rotated()];
    let [small, large] = [Envelope::new(&small_ring), Envelope::new(&large_ring)];
    let encrypt = |size| small.encrypt(&vec![1; size], Aad::none()).expect("a primary");
    let (small_message, large_message) = (encrypt(64), encrypt(16 << 20));
    let wrap = Wrap::new();
    let mut lanes = [
        rewrap(&small, 64),
        rewrap(&large, 16 << 20),
        repeat(
            || primitives::rewrap_all(&wrap, &primitives::os_random()),
            || primitives::rewrap_all(&wrap, &primitives::os_random()),
        ),
        repeat(|| inspect(&small_message).is_ok(), || inspect(&large_message).is_ok()),
        repeat(
            || small.needs_rewrap(&small_message).is_ok(),
            || small.needs_rewrap(&large_message).is_ok(),
        ),
    ];
    let rounds = interleave(&mut lanes, SMALL_BUDGET);

    println!("\n### Header only\n");
    println!("| | 64 B | 16 MiB | of its primitives |\n|---|---:|---:|---:|");
    println!(
        "| rewrap in place (aim 1.5 us, alike) | {} | {} | {:.3} |",
        time_name(rounds.time(0, 0)),
        time_name(rounds.time(1, 0)),
        rounds.speed(0, 2, 0),
    );
    for (lane, name) in [(3, "inspect"), (4, "needs_rewrap")] {
        let [small, large] = [0, 1].map(|way| time_name(rounds.time(lane, way)));
        println!("| {name} | {small} | {large} | |");
    }
}

/// A keyring of two versions.
fn rotated() -> MemoryKeyring {
    let keyring = keyring();
    keyring.rotate().expect("OS randomness");
    keyring
}

/// Rewraps messages to and fro between the two versions, so that there is always work to do.
fn rewrap<'e>(envelope: &'e Envelope<&MemoryKeyring>, size: usize) -> Lane<'e> {
    const MESSAGES: usize = 4;
    const BATCHES: usize = 26;
    let keyring = envelope.keyring();
    let versions = keyring.versions();
    let message = envelope.encrypt(&vec![1; size], Aad::none()).expect("a primary");
    let mut messages = vec![message; MESSAGES];
    let mut one_way = move || {
        let times = versions.iter().cycle().take(BATCHES).map(|record| {
            keyring.promote(record.version).expect("enabled");
            time(MESSAGES, || {
                for message in &mut messages {
                    let rewrapped = envelope.rewrap(message, RewrapOptions::new());
                    let rewrapped = rewrapped.expect("its own");
                    rewrapped.write_over(message).expect("it fits");
                    assert!(rewrapped.is_changed(), "it was under the other version");
                }
            })
        });
        times.sum::<f64>() / BATCHES as f64
    };
    Box::new(move || [one_way(), one_way()])
}

fn time_name(nanoseconds: f64) -> String {
    match nanoseconds {
        1e7.. => format!("{:.2} ms", nanoseconds / 1e6),
        1e4.. => format!("{:.1} us", nanoseconds / 1e3),
        _ => format!("{nanoseconds:.0} ns"),
    }
}
