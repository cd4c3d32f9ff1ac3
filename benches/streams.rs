//! Long messages beside the provider's own calls the same way, and beside bare passes over memory, measured in
//! the same seconds; by the fastest provider that is compiled in.
//!
//! `taskset -c 1 cargo bench --bench streams` for one core, `-- parts` for 4 KiB of 1 GiB,
//! `cargo bench --bench streams -- threads` for two cores, `-- file` for a gibibyte from file to file.
//! `--features aws-lc-rs` in front of `--bench` for AWS-LC. See `benches/README.md`.

mod floor;
mod interleave;
mod large;

use envelock::format::layout::CHUNK_LEN;
use envelock::{Aad, Envelope, MemoryKeyring, Provider, Suite, Threads};
use floor::{AAD, SEALED_CHUNK_LEN, raw, sealed_len, size_name};
use interleave::lanes::{allocating, in_place, into, raw_chunks, raw_into, raw_new};
use interleave::{Lane, Rounds, interleave, time};
use std::hint::black_box;
use std::io::{Read, Write, sink};
use std::time::Duration;

const BUDGET: Duration = Duration::from_secs(8);
const SUITE: Suite = Suite::Cobblestone256;

/// Bytes of plaintext that a reader or a writer takes at a time.
const PIECE: usize = 256 << 10;

/// Lanes of [`one_core`].
const CIPHER: usize = 0;
const CHANGE: usize = 1;
const COPY: usize = 2;
const IN_PLACE: usize = 3;
const PIECES: usize = 6;

type Front<'k> = Envelope<&'k MemoryKeyring>;
type Named<'a> = (&'static str, Lane<'a>);

fn main() {
    let options: Vec<String> = std::env::args().collect();
    let has = |option: &str| options.iter().any(|given| given == option);
    if !has("--bench") {
        return;
    }
    let keyring = MemoryKeyring::create("invoices").expect("a name of 8 bytes");
    let envelope = || Envelope::new(&keyring).with_suite(SUITE);
    let shared = || envelope().with_threads(Threads::new(2));
    if has("threads") {
        [1 << 20, 4 << 20, 64 << 20]
            .into_iter()
            .for_each(|size| threads(&envelope(), &shared(), size));
    } else if has("file") {
        large::file_to_file(&envelope(), &shared());
    } else if has("parts") {
        large::parts(&envelope());
    } else {
        [1 << 20, 64 << 20].into_iter().for_each(|size| one_core(&envelope(), size));
    }
}

/// Every way through a body on one thread, each beside the provider's own calls the same way, and beside the
/// time of one pass over memory and of the cipher in the innermost cache, one after the other.
fn one_core(envelope: &Front<'_>, size: usize) {
    let mut lanes = vec![
        ("own calls over one chunk again and again", one_chunk(size)),
        ("a pass that reads and writes", change(size)),
        ("a pass that copies", copy(size)),
        ("own calls in place", raw_chunks(SUITE, size)),
        ("own calls between buffers", raw_into(SUITE, size)),
        ("own calls to a new Vec", raw_new(SUITE, size)),
        ("own calls to and from buffers of 256 KiB", raw_stream(size, PIECE)),
        ("own calls to 256 KiB, from the whole", raw_stream(size, size)),
    ];
    let floors = lanes.len();
    lanes.extend(ways(envelope, size));
    let (names, rounds) = measure(lanes);
    println!("\n### {}, {}, one thread\n", size_name(size), Provider::default());
    println!("| | encrypt | decrypt | of own calls alike | | of a pass and the cipher | |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for (lane, name) in names.iter().enumerate() {
        let (floor, pass) = match lane.checked_sub(floors) {
            Some(0) => (IN_PLACE, CHANGE),
            Some(way @ 1..=4) => (IN_PLACE + way, COPY),
            // The last one takes pieces of 8 KiB.
            Some(_) => (PIECES, COPY),
            None => (lane, if lane == IN_PLACE { CHANGE } else { COPY }),
        };
        print_speeds(&rounds, name, lane, size);
        [0, 1].into_iter().for_each(|way| print!(" {:.3} |", rounds.speed(lane, floor, way)));
        let apart = |way| rounds.time(CIPHER, way) + rounds.time(pass, way);
        [0, 1].into_iter().for_each(|way| print!(" {:.3} |", apart(way) / rounds.time(lane, way)));
        println!();
    }
}

/// Every way through a body by two threads, beside the same by one.
fn threads(alone: &Front<'_>, shared: &Front<'_>, size: usize) {
    let mut lanes = vec![
        ("a pass that copies", copy(size)),
        ("own calls", halves(size, 1)),
        ("own calls, from a source to a sink", handed_over(size, 1)),
    ];
    lanes.extend(ways(alone, size));
    let half = lanes.len();
    lanes.extend([
        ("a pass that copies", copy_by_two(size)),
        ("own calls", halves(size, 2)),
        ("own calls, from a source to a sink", handed_over(size, 2)),
    ]);
    lanes.extend(ways(shared, size));
    let (names, rounds) = measure(lanes);
    println!("\n### {}, {}, two threads\n", size_name(size), Provider::default());
    println!("| | encrypt | decrypt | of one thread | |\n|---|---:|---:|---:|---:|");
    for (lane, name) in names.iter().enumerate().skip(half) {
        print_speeds(&rounds, name, lane, size);
        [0, 1].into_iter().for_each(|way| print!(" {:.3} |", rounds.speed(lane, lane - half, way)));
        println!();
    }
}

fn measure(lanes: Vec<Named<'_>>) -> (Vec<&'static str>, Rounds) {
    let (names, mut lanes): (Vec<_>, Vec<_>) = lanes.into_iter().unzip();
    (names, interleave(&mut lanes, BUDGET))
}

fn print_speeds(rounds: &Rounds, name: &str, lane: usize, size: usize) {
    let [there, back] = [0, 1].map(|way| size as f64 / rounds.time(lane, way));
    print!("| {name} | {there:.2} GB/s | {back:.2} GB/s |");
}

/// The first five have the order of their floors.
fn ways<'a>(envelope: &'a Front<'_>, size: usize) -> Vec<Named<'a>> {
    vec![
        ("in place", in_place(envelope, size)),
        ("between buffers", into(envelope, size)),
        ("to a new Vec", allocating(envelope, size)),
        ("Write, Read by 256 KiB", adapters(envelope, size, PIECE)),
        ("Write, Read of the whole", adapters(envelope, size, size)),
        ("Write, Read by 8 KiB", adapters(envelope, size, 8 << 10)),
    ]
}

/// Through a writer there and a reader back, in pieces.
fn adapters<'a>(envelope: &'a Front<'_>, size: usize, piece: usize) -> Lane<'a> {
    let (plaintext, mut buffer) = (vec![7; size], vec![1; piece]);
    let message = envelope.encrypt(&plaintext, Aad::new(AAD)).expect("a primary");
    Box::new(move || {
        let there = time(1, || {
            let mut writer = envelope.encrypt_writer(sink(), Aad::new(AAD)).expect("a primary");
            plaintext.chunks(piece).for_each(|piece| writer.write_all(piece).expect("a sink"));
            writer.finish().expect("a sink");
        });
        let back = time(1, || {
            let reader = envelope.decrypt_reader(&message[..], Aad::new(AAD));
            let mut reader = reader.expect("authentic");
            let mut filled = 0;
            loop {
                match reader.read(&mut buffer[filled..]).expect("authentic") {
                    0 => break,
                    len => filled = (filled + len) % piece,
                }
            }
        });
        [there, back]
    })
}

fn raw_stream(size: usize, out: usize) -> Lane<'static> {
    let raw = raw(Provider::default(), SUITE);
    let (plaintext, mut message) = (vec![1; size], vec![1; sealed_len(size)]);
    raw.encrypt_between(&plaintext, &mut message);
    let (mut written, mut read) = (vec![1; sealed_len(PIECE)], vec![1; out]);
    Box::new(move || {
        let there = time(1, || {
            plaintext.chunks(PIECE).for_each(|piece| raw.encrypt_between(piece, &mut written));
        });
        [there, time(1, || raw.read(&message, &mut read))]
    })
}

fn one_chunk(size: usize) -> Lane<'static> {
    let raw = raw(Provider::default(), SUITE);
    let (plain, mut sealed, mut opened) = ([1; CHUNK_LEN], [0; SEALED_CHUNK_LEN], [0; CHUNK_LEN]);
    let count = size / CHUNK_LEN;
    Box::new(move || {
        let there = time(1, || (0..count).for_each(|_| raw.encrypt_between(&plain, &mut sealed)));
        let back = time(1, || (0..count).for_each(|_| raw.decrypt_between(&sealed, &mut opened)));
        [there, back]
    })
}

/// The provider's own calls between buffers, by one thread or by two that start for it.
fn halves(size: usize, threads: usize) -> Lane<'static> {
    let raw = raw(Provider::default(), SUITE);
    let (mut plaintext, mut sealed) = (vec![1; size], vec![1; sealed_len(size)]);
    let (plain_part, part) = (size / threads, sealed_len(size / threads));
    Box::new(move || {
        let raw = &raw;
        let parts = plaintext.chunks(plain_part).zip(sealed.chunks_mut(part));
        let there = time(1, || in_threads(parts, |(from, to)| raw.encrypt_between(from, to)));
        let parts = plaintext.chunks_mut(plain_part).zip(sealed.chunks(part));
        let back = time(1, || in_threads(parts, |(to, from)| raw.decrypt_between(from, to)));
        [there, back]
    })
}

/// The same for a stream: pieces that one thread copies from a source, and two encrypt.
fn handed_over(size: usize, threads: usize) -> Lane<'static> {
    let raw = raw(Provider::default(), SUITE);
    let piece = if threads > 1 { 1 << 20 } else { PIECE };
    let (part, sealed_part) = (piece / threads, sealed_len(piece / threads));
    let (plaintext, mut message) = (vec![1; size], vec![1; sealed_len(size)]);
    let parts = plaintext.chunks(part).zip(message.chunks_mut(sealed_part));
    parts.for_each(|(from, to)| raw.encrypt_between(from, to));
    let (mut opened, mut sealed) = (vec![1; piece], vec![1; sealed_len(piece)]);
    Box::new(move || {
        let raw = &raw;
        let there = time(1, || {
            for piece in plaintext.chunks(piece) {
                opened.copy_from_slice(piece);
                let parts = opened.chunks(part).zip(sealed.chunks_mut(sealed_part));
                in_threads(parts, |(from, to)| raw.encrypt_between(from, to));
            }
        });
        let back = time(1, || {
            for piece in message.chunks(sealed.len()) {
                sealed.copy_from_slice(piece);
                let parts = opened.chunks_mut(part).zip(sealed.chunks(sealed_part));
                in_threads(parts, |(to, from)| raw.decrypt_between(from, to));
            }
        });
        [there, back]
    })
}

/// The first part on this thread.
fn in_threads<T: Send>(mut parts: impl Iterator<Item = T>, work: impl Fn(T) + Sync) {
    let (first, work) = (parts.next(), &work);
    std::thread::scope(|scope| {
        parts.for_each(|part| drop(scope.spawn(move || work(part))));
        first.into_iter().for_each(work);
    });
}

fn change(size: usize) -> Lane<'static> {
    let mut buffer = vec![1_u8; size];
    both_ways(move || {
        buffer.iter_mut().for_each(|byte| *byte ^= 1);
        black_box(&buffer);
    })
}

fn copy(size: usize) -> Lane<'static> {
    let (from, mut to) = (vec![1_u8; size], vec![2; size]);
    both_ways(move || {
        to.copy_from_slice(&from);
        black_box(&to);
    })
}

fn copy_by_two(size: usize) -> Lane<'static> {
    let (from, mut to) = (vec![1_u8; size], vec![2; size]);
    both_ways(move || {
        let parts = from.chunks(size / 2).zip(to.chunks_mut(size / 2));
        in_threads(parts, |(from, to)| to.copy_from_slice(from));
        black_box(&to);
    })
}

fn both_ways(mut pass: impl FnMut() + 'static) -> Lane<'static> {
    Box::new(move || {
        let taken = time(1, &mut pass);
        [taken; 2]
    })
}
