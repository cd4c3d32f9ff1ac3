//! Every reader on messages whose chunks were moved, dropped, doubled, or taken from another body,
//! and on ends that no writer makes: none is accepted, and the output before is plaintext at its
//! offset (THREATS 25-27, 29).

#![cfg(feature = "std")]

use crate::readers;

use envelock::test_access::errors;
use envelock::{Suite, Unverified, danger};
use readers::expect::{Whole, one_shot, text};
use readers::subject::Subject;
use readers::table::{BROAD, FINE, Reader};
use readers::{CHUNK, PREFIX, SEALED, plaintext};

const CONTEXT: &[u8] = b"row 25";
const KEY: [u8; 32] = [9; 32];

/// One body under a raw key, as its prefix and its chunks.
struct Body {
    suite: Suite,
    plaintext: Vec<u8>,
    bytes: Vec<u8>,
}

impl Body {
    fn new(suite: Suite, salt: u8, len: usize) -> Self {
        let plaintext = plaintext(u64::from(salt), len);
        let key = &KEY[..suite.data_key_len()];
        let bytes = danger::encrypt_body(suite, key, &[salt; 24], CONTEXT, &plaintext).unwrap();
        Body { suite, plaintext, bytes }
    }

    fn prefix(&self) -> &[u8] {
        &self.bytes[..PREFIX]
    }

    fn chunks(&self) -> Vec<&[u8]> {
        self.bytes[PREFIX..].chunks(SEALED).collect()
    }

    fn whole(&self) -> Whole<'_> {
        let subject = Subject::Raw(self.suite, &KEY[..self.suite.data_key_len()], CONTEXT);
        Whole { subject, chunks_at: PREFIX, bytes: &self.bytes, plaintext: &self.plaintext }
    }

    /// All `readers` refuse `changed`.
    fn refused_by(&self, readers: &[Reader], changed: &[u8], what: &str) -> usize {
        let whole = self.whole();
        let refused = one_shot(&whole, changed);
        for reader in readers {
            whole.refuses(*reader, changed, &refused, &|| format!("{}: {what}", self.suite));
        }
        readers.len()
    }
}

/// Every ordered selection of `0..count` without repetition.
fn arrangements(count: usize) -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    let mut start = 0;
    for _ in 0..count {
        let end = all.len();
        for at in start..end {
            for index in (0..count).filter(|index| !all[at].contains(index)).collect::<Vec<_>>() {
                all.push([&all[at][..], &[index]].concat());
            }
        }
        start = end;
    }
    all
}

/// All that can be done with the chunks of one message of `count`: other orders, fewer of them,
/// one twice.
fn rearrangements(count: usize) -> Vec<Vec<usize>> {
    let whole: Vec<usize> = (0..count).collect();
    let mut all = arrangements(count);
    for again in 0..count {
        for at in 0..=count {
            let mut order = whole.clone();
            order.insert(at, again);
            all.push(order);
        }
        for at in (0..count).filter(|at| *at != again) {
            let mut order = whole.clone();
            order[at] = again;
            all.push(order);
        }
    }
    all.retain(|order| *order != whole);
    all.sort();
    all.dedup();
    all
}

fn join(prefix: &[u8], chunks: &[&[u8]], order: &[usize]) -> Vec<u8> {
    let mut body = prefix.to_vec();
    order.iter().for_each(|index| body.extend_from_slice(chunks[*index]));
    body
}

/// A third of the readers for each case, and so all of them for three cases.
fn readers_of(case: usize) -> Vec<Reader> {
    BROAD.into_iter().skip(case % 3).step_by(3).collect()
}

#[test]
fn reordered_chunks_are_refused_by_every_reader() {
    let mut checked = 0;
    for (&suite, last) in Suite::ALL.iter().zip([99, 1, 0, 64]) {
        for count in 1..=5 {
            let body = Body::new(suite, 1, (count - 1) * CHUNK + last);
            BROAD.iter().for_each(|reader| body.whole().opens(*reader));
            for (case, order) in rearrangements(count).iter().enumerate() {
                let changed = join(body.prefix(), &body.chunks(), order);
                // Every reader on every one of up to three chunks.
                let readers = if count <= 3 { BROAD.to_vec() } else { readers_of(case) };
                checked += body.refused_by(&readers, &changed, &format!("{order:?}"));
            }
        }
    }
    println!("{checked} results checked");
    assert!(checked > 5000);
}

#[test]
fn foreign_chunks_of_one_key_are_refused() {
    let suite = Suite::Cobblestone256;
    let (ours, theirs) = (Body::new(suite, 1, 4 * CHUNK + 99), Body::new(suite, 2, 4 * CHUNK + 99));
    let chunks = [ours.chunks(), theirs.chunks()].concat();
    let mut checked = 0;
    for mask in 1..32_usize {
        let order: Vec<usize> = (0..5).map(|index| index + 5 * (mask >> index & 1)).collect();
        let changed = join(ours.prefix(), &chunks, &order);
        checked += ours.refused_by(&BROAD, &changed, &format!("{order:?}"));
        // THREATS 25: and of our own salt with their commitment nothing comes out at all.
        let mixed = [&ours.prefix()[..24], &theirs.prefix()[24..]].concat();
        let changed = join(&mixed, &chunks, &order);
        for reader in readers_of(mask) {
            let outcome = reader.run(&ours.whole().subject, &changed);
            let expected = Err(errors::authentication(Unverified::AadOrBodyStart));
            assert_eq!((text(&outcome.end), outcome.len()), (text(&expected), 0));
            checked += 1;
        }
    }
    println!("{checked} results checked");
    assert!(checked > 700);
}

/// The shapes of the `stream_*` vectors of CCTV age (<https://c2sp.org/CCTV/age>), which are files
/// of another format, made by a holder of the key.
#[test]
fn no_reader_accepts_an_end_that_no_writer_makes() {
    let suite = Suite::Cobblestone256;
    let encryptor = danger::chunk_encryptor(suite, &KEY, &[1; 24], CONTEXT).unwrap();
    let text = plaintext(1, 6 * CHUNK);
    let seal_at = |index: u64, at: usize, len: usize| {
        let mut sealed = vec![0; len + 16];
        encryptor.encrypt_into(index, &text[at..at + len], &mut sealed).unwrap();
        sealed
    };
    let seal = |index: usize, len: usize| seal_at(index as u64, index * CHUNK, len);
    let flip = |mut sealed: Vec<u8>, at: usize| {
        sealed[at] ^= 1;
        sealed
    };
    let cut = |sealed: Vec<u8>, len: usize| sealed[..sealed.len() - len].to_vec();
    let last = |index| seal(index, 50);
    let shapes = vec![
        ("no_chunks", vec![]),
        ("no_tag: half a salt's worth of chunk", vec![vec![7; 12]]),
        ("empty_file_with_broken_tag", vec![flip(seal(0, 0), 0)]),
        ("bad_tag", vec![flip(last(0), 60)]),
        ("bad_tag_second_chunk", vec![seal(0, CHUNK), flip(last(1), 60)]),
        ("bad_tag_second_chunk_full", vec![seal(0, CHUNK), flip(seal(1, CHUNK), 16_390), last(2)]),
        ("bad_text", vec![flip(last(0), 0)]),
        ("no_final: one full", vec![seal(0, CHUNK)]),
        ("no_final_full: three full", vec![seal(0, CHUNK), seal(1, CHUNK), seal(2, CHUNK)]),
        ("no_final_two_chunks_full", vec![seal(0, CHUNK), seal(1, CHUNK)]),
        ("two_final_chunks", vec![last(0), last(1)]),
        ("two_final_chunks_full", vec![seal(0, CHUNK), last(1), last(2)]),
        ("two_final_chunks_same", vec![seal(0, CHUNK), last(1), last(1)]),
        ("two_final_chunks_empty", vec![seal(0, CHUNK), seal(1, 0), seal(2, 0)]),
        ("three_final_chunks", vec![last(0), last(1), last(2)]),
        ("last_chunk_empty_behind_short", vec![last(0), seal(1, 0)]),
        ("empty_chunk_first", vec![seal(0, 0), last(1)]),
        ("empty_chunk_between", vec![seal(0, CHUNK), seal(1, 0), last(2)]),
        ("short_chunk", vec![seal(0, CHUNK - 1), last(1)]),
        ("short_second_chunk", vec![seal(0, CHUNK), seal(1, CHUNK - 1), last(2)]),
        ("short_chunk_then_full", vec![last(0), seal(1, CHUNK), last(2)]),
        ("trailing_garbage_short", vec![last(0), vec![7; 1]]),
        ("trailing_garbage_tag", vec![last(0), vec![7; 16]]),
        ("trailing_garbage_long", vec![last(0), vec![7; SEALED]]),
        ("trailing_garbage_behind_full_and_empty", vec![seal(0, CHUNK), seal(1, 0), vec![7; 1]]),
        ("trailing_garbage_up_to_a_chunk", vec![last(0), vec![7; SEALED - 66]]),
        ("trailing_zeroes", vec![seal(0, CHUNK), last(1), vec![0; 100]]),
        ("last_chunk_at_the_index_before", vec![seal(0, CHUNK), seal_at(0, CHUNK, 50)]),
        ("last_chunk_at_the_next_index", vec![seal(0, CHUNK), seal_at(2, CHUNK, 50)]),
        ("starts_at_chunk_1", vec![seal(1, CHUNK), last(2)]),
        ("truncated_tag", vec![cut(last(0), 1)]),
        ("truncated_to_the_tag", vec![seal(0, CHUNK), cut(last(1), 51)]),
        ("truncated_in_a_full_chunk", vec![seal(0, CHUNK), cut(seal(1, CHUNK), 17)]),
        ("whole message again", vec![last(0), seal(0, 50)]),
        ("counter_far_ahead", vec![seal(0, CHUNK), seal_at((1 << 38) - 1, CHUNK, 50)]),
    ];
    let body = Body::new(suite, 1, 0);
    let body = Body { plaintext: text.clone(), bytes: body.bytes, ..body };
    let all = [&BROAD[..], &FINE[..]].concat();
    let mut checked = 0;
    for (what, chunks) in &shapes {
        let changed = [body.prefix(), &chunks.concat()].concat();
        let whole = body.whole();
        // Which of the chunks are what a message of this plaintext has.
        let mut good = [body.prefix(), &[][..]].concat();
        (0..6).for_each(|index| good.extend(seal(index, CHUNK)));
        let whole = Whole { bytes: &good, ..whole };
        let refused = one_shot(&whole, &changed);
        let readers = if changed.len() < 1000 { &all[..] } else { &BROAD[..] };
        for reader in readers {
            whole.refuses(*reader, &changed, &refused, &|| (*what).into());
            checked += 1;
        }
    }
    println!("{checked} results on {} shapes checked", shapes.len());
    assert!(shapes.len() >= 28 && checked > 700);
    // The output of a writer opens: an empty last chunk behind a full one is none of the shapes
    // above.
    for len in [0, 1, CHUNK - 1, CHUNK, 2 * CHUNK] {
        let body = Body::new(suite, 1, len);
        BROAD.iter().for_each(|reader| body.whole().opens(*reader));
    }
}

/// A bit of every byte near each boundary, and of some within.
#[test]
fn no_reader_accepts_a_changed_byte() {
    let body = Body::new(Suite::Cobblestone128, 3, 2 * CHUNK + 20);
    let total = body.bytes.len();
    let mut checked = 0;
    for (case, at) in (0..total)
        .filter(|at| {
            let in_chunk = (at + SEALED - PREFIX) % SEALED;
            *at < PREFIX || at % 4999 == 0 || !(3..SEALED - 17).contains(&in_chunk)
        })
        .enumerate()
    {
        let mut changed = body.bytes.clone();
        changed[at] ^= 0x80;
        checked += body.refused_by(&readers_of(case), &changed, &format!("byte {at}"));
    }
    println!("{checked} results checked");
    assert!(checked > 700);
}

/// Whichever thread is faster, nothing after a bad chunk is returned or left in a buffer.
#[test]
fn pool_releases_nothing_after_a_bad_chunk() {
    let keyring = envelock::MemoryKeyring::create("orders").unwrap();
    let large =
        [Reader::Push(1 << 20, 1 << 20), Reader::Read(1 << 20), Reader::RangePieces(1 << 20)];
    let mut checked = 0;
    for (pool, threads) in readers::pools() {
        let Some(threads) = threads else { continue };
        let envelope = envelock::Envelope::new(&keyring).with_threads(threads);
        let text = plaintext(40, 40 * CHUNK + 5);
        let message = envelope.encrypt(&text, envelock::Aad::new(CONTEXT)).unwrap();
        let chunks_at = envelope.header_len().unwrap() + PREFIX;
        let subject = Subject::Whole(&envelope, CONTEXT);
        let whole = Whole { subject, chunks_at, bytes: &message, plaintext: &text };
        for bad in [0, 1, 7, 8, 15, 16, 17, 31, 32, 39, 40] {
            let mut changed = message.clone();
            changed[chunks_at + bad * SEALED] ^= 1;
            let refused = one_shot(&whole, &changed);
            for reader in BROAD.into_iter().chain(large) {
                whole.refuses(reader, &changed, &refused, &|| format!("{pool}: chunk {bad}"));
                checked += 1;
            }
        }
    }
    println!("{checked} results checked");
    assert!(checked > 500);
}
