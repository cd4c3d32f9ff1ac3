//! Every reader on every prefix of a message: an error, always, and the same as of one-shot
//! decryption; nothing but true plaintext before it; no source is asked permanently (SPEC B-STREAM,
//! THREATS 24, 29).

#![cfg(feature = "std")]

use crate::readers;

use envelock::{Aad, Envelope, MemoryKeyring};
use readers::expect::{Whole, one_shot};
use readers::subject::Subject;
use readers::table::{BROAD, FINE, Reader};
use readers::{CHUNK, PREFIX, SEALED, plaintext, pools, rng};

const AAD: &[u8] = b"row 24";

/// Which readers run on which prefixes.
#[derive(Clone, Copy)]
struct Plan<'r> {
    readers: &'r [Reader],
    /// All of them on lengths so near to a boundary: of the header, salt and commitment, chunks.
    near: usize,
    /// And on one in so many of all lengths.
    stride: usize,
    /// On lengths at most this far from a boundary, this many of them, in a cycle.
    sampling: (usize, usize),
}

/// Runs the readers on prefixes of `whole`, whose header has `header_len` bytes. Returns how many
/// results were checked.
fn check(whole: &Whole<'_>, plan: &Plan<'_>) -> usize {
    let total = whole.bytes.len();
    let start = whole.chunks_at.saturating_sub(PREFIX);
    let boundaries: Vec<usize> =
        [0, start, total].into_iter().chain((whole.chunks_at..total).step_by(SEALED)).collect();
    plan.readers.iter().for_each(|reader| whole.opens(*reader));
    let mut checked = 0;
    for len in 0..total {
        let distance = boundaries.iter().map(|at| len.abs_diff(*at)).min().unwrap();
        let all = plan.near.checked_sub(distance).is_some() && plan.sampling.0 != BOUNDARIES;
        let count = if all || len % plan.stride == 0 {
            plan.readers.len()
        } else if distance <= plan.sampling.0 || distance == 0 {
            plan.sampling.1
        } else {
            continue;
        };
        let prefix = &whole.bytes[..len];
        let refused = one_shot(whole, prefix);
        for reader in plan.readers.iter().cycle().skip(len * count).take(count) {
            whole.refuses(*reader, prefix, &refused, &|| format!("{len} of {total} bytes"));
            checked += 1;
        }
    }
    checked
}

/// Tests a message of `len` plaintext bytes, and its body with the header detached.
fn shape(envelope: &Envelope<&MemoryKeyring>, len: usize, plan: &Plan<'_>) -> usize {
    let plaintext = plaintext(len as u64, len);
    let message = envelope.with_rng(&mut rng(24)).encrypt(&plaintext, Aad::new(AAD)).unwrap();
    let header_len = envelope.header_len().unwrap();
    let (header, body) = message.split_at(header_len);
    let subject = Subject::Whole(envelope, AAD);
    let chunks_at = header_len + PREFIX;
    let whole = Whole { subject, chunks_at, bytes: &message, plaintext: &plaintext };
    let subject = Subject::Detached(envelope, header, AAD);
    let detached = Whole { subject, chunks_at: PREFIX, bytes: body, plaintext: &plaintext };
    let detached_plan = Plan {
        stride: plan.stride.saturating_mul(8),
        near: plan.near / 2,
        sampling: (BOUNDARIES, plan.sampling.1.min(4)),
        ..*plan
    };
    check(&whole, plan) + check(&detached, &detached_plan)
}

const EVERYWHERE: usize = usize::MAX;
/// A cycle at the boundaries themselves, too.
const BOUNDARIES: usize = 0;

#[test]
fn no_reader_accepts_any_prefix_of_one_chunk() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring);
    let all = [&BROAD[..], &FINE[..]].concat();
    let mut checked = 0;
    for len in [0, 1] {
        let plan = Plan { readers: &all, near: 0, stride: 1, sampling: (EVERYWHERE, 0) };
        checked += shape(&envelope, len, &plan);
    }
    let plan = Plan { readers: &BROAD, near: 17, stride: 1999, sampling: (EVERYWHERE, 3) };
    checked += shape(&envelope, CHUNK - 1, &plan);
    println!("{checked} prefixes checked");
    assert!(checked > 20_000);
}

#[test]
fn no_reader_accepts_any_prefix_of_two_chunks() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring);
    let plan = Plan { readers: &BROAD, near: 17, stride: 1999, sampling: (EVERYWHERE, 4) };
    let checked = shape(&envelope, CHUNK + 1, &plan);
    println!("{checked} prefixes checked");
    assert!(checked > CHUNK);
}

#[test]
fn no_reader_accepts_a_prefix_of_up_to_four_chunks() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring);
    let mut checked = 0;
    for len in [CHUNK, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1, 3 * CHUNK] {
        let plan = Plan { readers: &BROAD, near: 0, stride: 19_973, sampling: (40, 6) };
        checked += shape(&envelope, len, &plan);
        let plan = Plan { readers: &FINE, near: 0, stride: 19_973, sampling: (17, 1) };
        checked += shape(&envelope, len, &plan);
    }
    println!("{checked} prefixes checked");
    assert!(checked > 2000);
}

/// All readers on all prefixes of all shapes: hours, where the tests above take a sample.
#[test]
#[ignore = "takes hours: run it after a change to src/stream or src/io"]
fn no_reader_accepts_any_prefix_of_any_shape() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring);
    let all = [&BROAD[..], &FINE[..]].concat();
    for len in
        [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1, 3 * CHUNK]
    {
        let plan = Plan { readers: &all, near: 0, stride: 1, sampling: (EVERYWHERE, 0) };
        let checked = shape(&envelope, len, &plan);
        println!("{len}: {checked} prefixes checked");
    }
}

/// Buffers of every length around a chunk's, on the prefixes that a reader may take for an end.
#[test]
fn no_size_of_reads_makes_an_end_of_a_cut() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring);
    let around = |at: usize| (at - 2..=at + 2).collect::<Vec<_>>();
    let sizes = [vec![15, 17, 511, 512, 513, 4095, 4096, 4097], around(CHUNK), around(SEALED)];
    let sizes = sizes.concat();
    let readers: Vec<Reader> = sizes
        .iter()
        .flat_map(|size| {
            [Reader::Read(*size), Reader::Push(*size, *size), Reader::RangePieces(*size)]
        })
        .collect();
    let plan = Plan { readers: &readers, near: 0, stride: usize::MAX, sampling: (17, 1) };
    let mut checked = 0;
    for len in [CHUNK - 1, CHUNK, CHUNK + 1] {
        checked += shape(&envelope, len, &plan);
    }
    println!("{checked} prefixes checked");
    assert!(checked > 1000);
}

/// Several threads at work: batches of 16 chunks and more.
#[test]
fn no_pool_makes_an_end_of_a_cut() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let readers = [
        Reader::OneShot,
        Reader::Into,
        Reader::Push(1 << 20, 1 << 20),
        Reader::Push(300_000, 290_000),
        Reader::Read(16_385),
        Reader::Read(1 << 20),
        Reader::Dribble(100_001, 1 << 20),
        Reader::ReadToEnd,
        Reader::BufRead(1 << 20),
        Reader::Finish,
        Reader::RangeWhole,
        Reader::RangePieces(300_000),
        Reader::PlanAll,
    ];
    let mut checked = 0;
    for (pool, threads) in pools() {
        let Some(threads) = threads else { continue };
        let envelope = Envelope::new(&keyring).with_threads(threads);
        for len in [32 * CHUNK, 40 * CHUNK + 5] {
            let plan =
                Plan { readers: &readers, near: 0, stride: usize::MAX, sampling: (BOUNDARIES, 3) };
            checked += shape(&envelope, len, &plan);
            println!("{pool}: {checked} prefixes checked so far");
        }
    }
    assert!(checked > 400);
}
