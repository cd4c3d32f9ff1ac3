//! Streams, ranges and several threads beside their floors, measured in the same seconds.
//!
//! `taskset -c 1 cargo bench --bench streams` for one core, without `taskset` and with
//! `--features parallel` for all of them. See `benches/README.md`.

mod floor;
mod interleave;

use envelock::{Aad, Envelope, MemoryKeyring, Suite};
use floor::{AAD, size_name, suite_name};
use interleave::lanes::{in_place, into, raw_chunks};
use interleave::{Lane, interleave, time};
use std::io::{Read, Write, sink};
use std::time::Duration;

const BUDGET: Duration = Duration::from_millis(2500);
const SIZES: [usize; 2] = [1 << 20, 64 << 20];

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let suite = Suite::default();
    let keyring = MemoryKeyring::create("invoices").expect("a name of 8 bytes");
    let envelope = Envelope::new(&keyring).with_suite(suite);
    #[cfg(feature = "parallel")]
    let parallel = Envelope::new(&keyring).with_suite(suite).in_parallel();
    println!("\n### {} ({suite})\n", suite_name(suite));
    println!("| size | operation | encrypt GB/s | decrypt GB/s | of raw, 16 KiB calls | |");
    println!("|---:|---|---:|---:|---:|---:|");
    for size in SIZES {
        let mut names = vec!["raw"];
        let mut lanes = vec![raw_chunks(suite, size)];
        for (name, lane) in ways(&envelope, size) {
            names.push(name);
            lanes.push(lane);
        }
        #[cfg(feature = "parallel")]
        for (name, lane) in ways(&parallel, size) {
            names.push(name);
            lanes.push(lane);
        }
        let rounds = interleave(&mut lanes, BUDGET);
        for (lane, name) in names.iter().enumerate() {
            let speed = |way| size as f64 / rounds.time(lane, way);
            println!(
                "| {} | {name} | {:.2} | {:.2} | {:.3} | {:.3} |",
                size_name(size),
                speed(0),
                speed(1),
                rounds.speed(lane, 0, 0),
                rounds.speed(lane, 0, 1),
            );
        }
    }
}

fn ways<'a>(
    envelope: &'a Envelope<&'a MemoryKeyring>,
    size: usize,
) -> Vec<(&'static str, Lane<'a>)> {
    vec![
        ("in place", in_place(envelope, size)),
        ("into", into(envelope, size)),
        ("Write, Read, 256 KiB", adapters(envelope, size, 256 << 10)),
        ("Write, Read, 8 KiB", adapters(envelope, size, 8 << 10)),
    ]
}

/// Through a writer there and a reader back, in pieces.
fn adapters<'a>(envelope: &'a Envelope<&'a MemoryKeyring>, size: usize, piece: usize) -> Lane<'a> {
    let plaintext = vec![7; size];
    let mut buffer = vec![0; piece];
    let message = envelope.encrypt(&plaintext, Aad::new(AAD)).expect("encrypts");
    let count = 1;
    Box::new(move || {
        let there = time(count, || {
            for _ in 0..count {
                let mut writer = envelope.encrypt_writer(sink(), Aad::new(AAD)).expect("begins");
                plaintext.chunks(piece).for_each(|piece| writer.write_all(piece).expect("writes"));
                writer.finish().expect("finishes");
            }
        });
        let back = time(count, || {
            for _ in 0..count {
                let mut reader =
                    envelope.decrypt_reader(&message[..], Aad::new(AAD)).expect("begins");
                while reader.read(&mut buffer).expect("reads") > 0 {}
            }
        });
        [there, back]
    })
}
