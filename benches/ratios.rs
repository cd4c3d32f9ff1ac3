//! The table of the README: every operation beside its floor, measured in the same seconds.
//!
//! `taskset -c 1 cargo bench --bench ratios`, under a minute. See `benches/README.md`.

mod floor;
mod interleave;

use envelock::{Aad, Envelope, MemoryKeyring, RewrapOptions, Suite, inspect};
use floor::hand_rolled::HandRolled;
use floor::primitives::{self, Wrap};
use floor::{AAD, SIZES, raw, size_name, suite_name};
use interleave::{Lane, Rounds, interleave, time};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Time for one suite and size.
const BODY_BUDGET: Duration = Duration::from_millis(1200);

/// Time for a group of small operations.
const SMALL_BUDGET: Duration = Duration::from_secs(3);

/// Bytes that a batch of small messages works on.
const BATCH_BYTES: usize = 128 << 10;

fn main() {
    let start = Instant::now();
    // Cargo passes `--bench`; under `cargo test --benches` there is nothing to measure.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    small_messages();
    rewraps();
    for suite in Suite::ALL {
        bodies(suite);
    }
    println!("\nmeasured in {:.0} s", start.elapsed().as_secs_f64());
}

fn keyring() -> MemoryKeyring {
    MemoryKeyring::create("invoices").expect("a name of 8 bytes")
}

/// Messages in a batch, so that reading the clock costs next to nothing.
fn batch_len(size: usize) -> usize {
    (BATCH_BYTES / (size + 256)).clamp(1, 256)
}

/// Every way through a body, beside the raw AEAD in 16 KiB calls (lane 0), in one call (1), and
/// a hand-rolled envelope (2).
fn bodies(suite: Suite) {
    println!("\n### {} ({suite})\n", suite_name(suite));
    println!(
        "| size | operation | time | GB/s | of raw, 16 KiB calls | of raw, one call | of hand-rolled |"
    );
    println!("|---:|---|---:|---:|---:|---:|---:|");
    let keyring = keyring();
    let envelope = Envelope::new(&keyring).with_suite(suite);
    for size in SIZES {
        let mut lanes = [
            raw_chunks(suite, size),
            raw_whole(suite, size),
            hand_rolled(size),
            in_place(&envelope, size),
            into(&envelope, size),
            allocating(&envelope, size),
        ];
        let rounds = interleave(&mut lanes, BODY_BUDGET);
        for (lane, form) in (3..).zip([" in place", " into", ""]) {
            for (way, operation) in ["encrypt", "decrypt"].into_iter().enumerate() {
                print_body(&rounds, lane, way, size, &format!("{operation}{form}"));
            }
        }
    }
}

fn print_body(rounds: &Rounds, lane: usize, way: usize, size: usize, operation: &str) {
    let nanoseconds = rounds.time(lane, way);
    let [chunks, whole, hand_rolled] = [0, 1, 2].map(|floor| rounds.speed(lane, floor, way));
    println!(
        "| {} | {operation} | {} | {:.2} | {chunks:.3} | {whole:.3} | {hand_rolled:.3} |",
        size_name(size),
        time_name(nanoseconds),
        size as f64 / nanoseconds,
    );
}

fn raw_chunks(suite: Suite, size: usize) -> Lane<'static> {
    let raw = raw(suite);
    let count = batch_len(size);
    let mut buffers = vec![(vec![1; size], Vec::new()); count];
    Box::new(move || {
        let there = time(count, || {
            buffers.iter_mut().for_each(|(buffer, tags)| raw.encrypt_chunks(buffer, tags));
        });
        let back = time(count, || {
            buffers.iter_mut().for_each(|(buffer, tags)| raw.decrypt_chunks(buffer, tags));
        });
        [there, back]
    })
}

fn raw_whole(suite: Suite, size: usize) -> Lane<'static> {
    let raw = raw(suite);
    let count = batch_len(size);
    let mut buffers = vec![(vec![1; size], [0; 16]); count];
    Box::new(move || {
        let there = time(count, || {
            buffers.iter_mut().for_each(|(buffer, tag)| *tag = raw.encrypt_whole(buffer));
        });
        let back = time(count, || {
            buffers.iter_mut().for_each(|(buffer, tag)| raw.decrypt_whole(buffer, tag));
        });
        [there, back]
    })
}

fn hand_rolled(size: usize) -> Lane<'static> {
    let hand_rolled = HandRolled::new();
    let count = batch_len(size);
    let plaintext = vec![1; size];
    let message = hand_rolled.encrypt(&plaintext, AAD);
    Box::new(move || {
        let there = time(count, || {
            (0..count).for_each(|_| drop(black_box(hand_rolled.encrypt(&plaintext, AAD))));
        });
        let back = time(count, || {
            (0..count).for_each(|_| drop(black_box(hand_rolled.decrypt(&message, AAD))));
        });
        [there, back]
    })
}

/// Encrypts a batch in place, then decrypts it: the plaintext comes back to where it stood.
fn in_place<'e>(envelope: &'e Envelope<&MemoryKeyring>, size: usize) -> Lane<'e> {
    let count = batch_len(size);
    let len = envelope.message_len(size).expect("a version is the primary");
    let mut messages = vec![vec![1; len]; count];
    Box::new(move || {
        let there = time(count, || {
            for message in &mut messages {
                envelope.encrypt_in_place(message, Aad::new(AAD)).expect("exact length");
            }
        });
        let back = time(count, || {
            for message in &mut messages {
                black_box(envelope.decrypt_in_place(message, Aad::new(AAD)).expect("authentic"));
            }
        });
        [there, back]
    })
}

fn into<'e>(envelope: &'e Envelope<&MemoryKeyring>, size: usize) -> Lane<'e> {
    let count = batch_len(size);
    let mut plaintext = vec![1; size];
    let mut message = envelope.encrypt(&plaintext, Aad::new(AAD)).expect("a primary");
    Box::new(move || {
        let there = time(count, || {
            for _ in 0..count {
                let encrypted = envelope.encrypt_into(&plaintext, Aad::new(AAD), &mut message);
                encrypted.expect("exact length");
            }
        });
        let back = time(count, || {
            for _ in 0..count {
                let decrypted = envelope.decrypt_into(&message, Aad::new(AAD), &mut plaintext);
                decrypted.expect("authentic");
            }
        });
        [there, back]
    })
}

fn allocating<'e>(envelope: &'e Envelope<&MemoryKeyring>, size: usize) -> Lane<'e> {
    let count = batch_len(size);
    let plaintext = vec![1; size];
    let message = envelope.encrypt(&plaintext, Aad::new(AAD)).expect("a primary");
    Box::new(move || {
        let there = time(count, || {
            for _ in 0..count {
                drop(black_box(envelope.encrypt(&plaintext, Aad::new(AAD)).expect("a primary")));
            }
        });
        let back = time(count, || {
            for _ in 0..count {
                drop(black_box(envelope.decrypt(&message, Aad::new(AAD)).expect("authentic")));
            }
        });
        [there, back]
    })
}

/// A lane of `count` runs there and as many back.
fn repeat<'a, A, B>(
    count: usize,
    mut there: impl FnMut() -> A + 'a,
    mut back: impl FnMut() -> B + 'a,
) -> Lane<'a> {
    Box::new(move || {
        let there = time(count, || (0..count).for_each(|_| drop(black_box(there()))));
        let back = time(count, || (0..count).for_each(|_| drop(black_box(back()))));
        [there, back]
    })
}

/// Where the time of a 64-byte message goes, and what is left to envelock.
fn small_messages() {
    const COUNT: usize = 200;
    let keyring = keyring();
    let envelope = Envelope::new(&keyring);
    let wrap = Wrap::new();
    let key = [7; 32];
    let cipher = primitives::set_up(&key);
    let (mut buffer, mut other, mut third) = ([1; 64], [1; 64], [1; 64]);
    let tag = primitives::aead_encrypt(&cipher, &mut buffer);
    third.copy_from_slice(&buffer);
    let mut lanes = [
        in_place(&envelope, 64),
        allocating(&envelope, 64),
        repeat(
            COUNT,
            || primitives::encrypt_all(&wrap, &mut other, AAD),
            || {
                let mut buffer = black_box(third);
                primitives::decrypt_all(&wrap, &cipher, &mut buffer, &tag);
            },
        ),
        repeat(COUNT, primitives::os_random::<{ primitives::RANDOM_LEN }>, || ()),
        repeat(
            COUNT,
            || primitives::derive(black_box(&key), AAD),
            || primitives::derive(black_box(&key), AAD),
        ),
        repeat(COUNT, || primitives::check(black_box(&key)), || primitives::check(black_box(&key))),
        repeat(COUNT, || wrap.wrap(black_box(&key), &[4; 24]), || wrap.unwrap()),
        repeat(
            COUNT,
            || primitives::set_up(black_box(&key)),
            || primitives::set_up(black_box(&key)),
        ),
        repeat(
            COUNT,
            || primitives::aead_encrypt(&cipher, black_box(&mut [1; 64])),
            || primitives::aead_decrypt(&cipher, black_box(&mut buffer.clone()), &tag),
        ),
        repeat(COUNT, || vec![0_u8; 257], || vec![0_u8; 64]),
    ];
    let rounds = interleave(&mut lanes, SMALL_BUDGET);

    println!("### 64 bytes, {}\n", suite_name(Suite::default()));
    println!("| | encrypt | decrypt |\n|---|---:|---:|");
    let row = |name: &str, of: &dyn Fn(&dyn Fn(usize, usize) -> f64, usize) -> f64| {
        let [there, back] = [0, 1].map(|way| rounds.median_of(|time| of(time, way)));
        println!("| {name} | {} | {} |", time_name(there), time_name(back));
    };
    row("envelock in place", &|time, way| time(0, way));
    row("envelock, allocating", &|time, way| time(1, way));
    row("the same primitives back to back", &|time, way| time(2, way));
    row("- OS random, 88 bytes", &|time, way| time(3, way));
    row("- key derivation, HKDF-SHA-512", &|time, way| time(4, way));
    row("- data key check, HKDF-SHA-256", &|time, way| time(5, way));
    row("- wrap or unwrap, XAES-256-GCM", &|time, way| time(6, way));
    row("- AEAD key set-up", &|time, way| time(7, way));
    row("- AEAD, 64 bytes", &|time, way| time(8, way));
    row("- allocation", &|time, way| time(9, way));
    row("**in place without derivation and OS random (aim 1 us)**", &|time, way| {
        time(0, way) - time(4, way) - time(3, way)
    });
    row("**in place beyond its primitives**", &|time, way| time(0, way) - time(2, way));
}

/// Rewrap and what reads a header only, with a small and a large body behind it.
fn rewraps() {
    const COUNT: usize = 100;
    let [small_ring, large_ring] = [rotated(), rotated()];
    let [small, large] = [Envelope::new(&small_ring), Envelope::new(&large_ring)];
    let encrypt = |size| small.encrypt(&vec![1; size], Aad::none()).expect("a primary");
    let (small_message, large_message) = (encrypt(64), encrypt(16 << 20));
    let wrap = Wrap::new();
    let mut lanes = [
        rewrap(&small, 64),
        rewrap(&large, 16 << 20),
        repeat(
            COUNT,
            || primitives::rewrap_all(&wrap, &primitives::os_random()),
            || primitives::rewrap_all(&wrap, &primitives::os_random()),
        ),
        repeat(COUNT, || inspect(&small_message).is_ok(), || inspect(&large_message).is_ok()),
        repeat(
            COUNT,
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
                    let changed = envelope.rewrap_in_place(message, RewrapOptions::new());
                    assert!(changed.expect("its own"), "it was under the other version");
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
