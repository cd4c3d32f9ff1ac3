//! Streams, ranges, several threads and all providers beside their floors, measured in the same
//! seconds.
//!
//! `taskset -c 1 cargo bench --features aws-lc-rs --bench streams` for one core;
//! `cargo bench --features aws-lc-rs --bench streams -- parallel` for all of them;
//! `... -- file` for a gibibyte from file to file. See `benches/README.md`.

mod floor;
mod interleave;
mod large;

use envelock::{Aad, Envelope, MemoryKeyring, Provider, Suite, Threads};
use floor::{AAD, Raw, raw, size_name, suite_name};
use interleave::lanes::{in_place, into};
use interleave::{Lane, Rounds, interleave, time};
use std::io::{BufRead, Read, Write, sink};
use std::time::Duration;

const BUDGET: Duration = Duration::from_millis(2500);
const SIZES: [usize; 2] = [1 << 20, 64 << 20];

fn main() {
    let options: Vec<String> = std::env::args().collect();
    let has = |option: &str| options.iter().any(|given| given == option);
    if !has("--bench") {
        return;
    }
    let keyring = MemoryKeyring::create("invoices").expect("a name of 8 bytes");
    for provider in Provider::ALL {
        let envelope = || Envelope::new(&keyring).with_provider(*provider);
        if has("parallel") {
            parallel(envelope, *provider);
        } else if has("file") {
            large::file_to_file(&envelope(), *provider);
        } else {
            Suite::ALL.iter().for_each(|suite| one_core(envelope(), *suite, *provider));
            large::parts(&envelope(), *provider);
        }
    }
}

type Front<'k> = Envelope<&'k MemoryKeyring>;

/// Every way through a body on one thread, beside the provider's own calls over 16 KiB.
fn one_core(envelope: Front<'_>, suite: Suite, provider: Provider) {
    let envelope = &envelope.with_suite(suite);
    title(&format!("{}, {provider}", suite_name(suite)), "of raw, 16 KiB calls");
    for size in SIZES {
        let mut lanes = vec![("raw, 16 KiB calls", raw_chunks(raw(provider, suite), size))];
        lanes.extend(ways(envelope, size));
        print(lanes, size, |rounds, lane, way| rounds.speed(lane, 0, way));
    }
}

/// Every way through a body by all threads, beside the same by one.
fn parallel<'k>(envelope: impl Fn() -> Front<'k>, provider: Provider) {
    let serial = envelope();
    let shared = envelope().with_threads(Threads::available());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    title(&format!("{}, {threads} threads", provider), "of one thread");
    for size in [16 << 10, 256 << 10, 1 << 20, 64 << 20] {
        let of_one = |name, (_, lane)| (name, lane);
        let mut lanes: Vec<_> =
            ways(&serial, size).into_iter().map(|way| of_one("one thread", way)).collect();
        let half = lanes.len();
        lanes.extend(ways(&shared, size));
        print(lanes, size, |rounds, lane, way| rounds.speed(lane, lane % half, way));
    }
}

fn title(name: &str, ratio: &str) {
    println!("\n### {name}\n");
    println!("| size | operation | encrypt | decrypt | {ratio}: encrypt | decrypt |");
    println!("|---:|---|---:|---:|---:|---:|");
}

fn print(
    lanes: Vec<(&'static str, Lane<'_>)>,
    size: usize,
    ratio: impl Fn(&Rounds, usize, usize) -> f64,
) {
    let (names, mut lanes): (Vec<_>, Vec<_>) = lanes.into_iter().unzip();
    let rounds = interleave(&mut lanes, BUDGET);
    for (lane, name) in names.iter().enumerate() {
        let [there, back] = [0, 1].map(|way| size as f64 / rounds.time(lane, way));
        let [of_there, of_back] = [0, 1].map(|way| ratio(&rounds, lane, way));
        println!(
            "| {} | {name} | {there:.2} GB/s | {back:.2} GB/s | {of_there:.3} | {of_back:.3} |",
            size_name(size),
        );
    }
}

fn ways<'a>(envelope: &'a Front<'_>, size: usize) -> Vec<(&'static str, Lane<'a>)> {
    vec![
        ("in place", in_place(envelope, size)),
        ("into", into(envelope, size)),
        ("Write, BufRead", buffered(envelope, size)),
        ("Write, Read by 256 KiB", adapters(envelope, size, 256 << 10)),
        ("Write, Read by 8 KiB", adapters(envelope, size, 8 << 10)),
    ]
}

fn raw_chunks(raw: Box<dyn Raw>, size: usize) -> Lane<'static> {
    let (mut buffer, mut tags) = (vec![1; size], Vec::new());
    Box::new(move || {
        let there = time(1, || raw.encrypt_chunks(&mut buffer, &mut tags));
        [there, time(1, || raw.decrypt_chunks(&mut buffer, &tags))]
    })
}

fn write(envelope: &Front<'_>, plaintext: &[u8], piece: usize) {
    let mut writer = envelope.encrypt_writer(sink(), Aad::new(AAD)).expect("a primary");
    plaintext.chunks(piece).for_each(|piece| writer.write_all(piece).expect("a sink"));
    writer.finish().expect("a sink");
}

/// Through a writer there and a reader back, in pieces.
fn adapters<'a>(envelope: &'a Front<'_>, size: usize, piece: usize) -> Lane<'a> {
    let (plaintext, mut buffer) = (vec![7; size], vec![0; piece]);
    let message = envelope.encrypt(&plaintext, Aad::new(AAD)).expect("a primary");
    Box::new(move || {
        let there = time(1, || write(envelope, &plaintext, piece));
        let back = time(1, || {
            let reader = envelope.decrypt_reader(&message[..], Aad::new(AAD));
            let mut reader = reader.expect("authentic");
            while reader.read(&mut buffer).expect("authentic") > 0 {}
        });
        [there, back]
    })
}

/// The same without a buffer of the reader's own.
fn buffered<'a>(envelope: &'a Front<'_>, size: usize) -> Lane<'a> {
    let plaintext = vec![7; size];
    let message = envelope.encrypt(&plaintext, Aad::new(AAD)).expect("a primary");
    Box::new(move || {
        let there = time(1, || write(envelope, &plaintext, plaintext.len()));
        let back = time(1, || {
            let reader = envelope.decrypt_reader(&message[..], Aad::new(AAD));
            let mut reader = reader.expect("authentic");
            loop {
                match reader.fill_buf().expect("authentic").len() {
                    0 => break,
                    len => reader.consume(len),
                }
            }
        });
        [there, back]
    })
}
