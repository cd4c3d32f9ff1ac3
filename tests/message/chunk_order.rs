//! A body's chunks in any other order, number or position are refused (THREATS 12, 24-27, G3).
//!
//! Bodies of five chunks: four full ones and a short one. Every arrangement of up to five of
//! them, every chunk twice, chunks of another body under the same data key, a second last chunk,
//! bytes behind the last one. Through messages by all six forms of decryption, through
//! `danger::decrypt_body`, and chunk by chunk.

use crate::common;
use crate::common::detached::WriteDetached;

use common::entry::try_all;
use common::model::{Answer, plaintext_len};
use common::rings::{Spy, ring};
use common::{random_bytes, rng};
use envelock::{Aad, Envelope, MemoryKeyring, Suite, danger, format::MessagePart};

const AAD: &[u8] = b"row 42";
const CHUNK: usize = 16_384;
const SEALED: usize = CHUNK + 16;
/// One more than the highest chunk index, by the specification.
const MAX_CHUNKS: u64 = 1 << 38;
const SALT: [u8; 24] = [0x5A; 24];

/// A header, the data key it wraps, and bodies made with that key.
struct Bench {
    suite: Suite,
    envelope: Envelope<Spy<MemoryKeyring>>,
    header: Vec<u8>,
    data_key: Vec<u8>,
    context: Vec<u8>,
    refused: usize,
}

impl Bench {
    fn new(suite: Suite) -> Self {
        let spy = Spy::new(ring("orders", &[(1, 0x11)]));
        let envelope = Envelope::new(spy).with_suite(suite);
        let (header, _) =
            envelope.with_rng(&mut rng(4)).encrypt_detached(b"", Aad::new(AAD)).unwrap();
        let data_key = envelope.keyring().last();
        let context = [&header[..22], AAD].concat();
        Bench { suite, envelope, header, data_key, context, refused: 0 }
    }

    fn body(&self, salt: u8, len: usize) -> Vec<u8> {
        let plaintext = random_bytes(&mut rng(u64::from(salt)), len);
        let salt = [salt; 24];
        danger::encrypt_body(self.suite, &self.data_key, &salt, &self.context, &plaintext).unwrap()
    }

    /// A body of four full chunks and one of 99 bytes: its prefix, and its chunks.
    fn parts(&self, salt: u8) -> (Vec<u8>, Vec<Vec<u8>>) {
        let body = self.body(salt, 4 * CHUNK + 99);
        let (prefix, chunks) = body.split_at(56);
        (prefix.to_vec(), chunks.chunks(SEALED).map(<[u8]>::to_vec).collect())
    }

    fn answer(&self, body: &[u8]) -> Answer {
        let message = [&self.header[..], body].concat();
        let tried = try_all(&self.envelope, &message, self.header.len(), AAD);
        let opened = danger::decrypt_body(self.suite, &self.data_key, &self.context, body);
        assert_eq!(Answer::of(&opened), tried.answer());
        let reached_chunks = tried.answer() == Answer::Authentication;
        assert_eq!(tried.wiped, reached_chunks);
        tried.answer()
    }

    /// The body is refused: for its length (SPEC B-LENGTH), or by a tag (SPEC B-NONCE).
    fn refuses(&mut self, body: &[u8], what: &str) {
        let expected = match plaintext_len(body.len()) {
            Ok(_) => Answer::Authentication,
            Err(needed) => {
                let (len, needed) = (body.len() as u64, needed as u64);
                Answer::Truncated { part: MessagePart::Body, len, needed }
            }
        };
        assert_eq!(self.answer(body), expected, "{:?}: {what}", self.suite);
        self.refused += 1;
    }
}

fn join(prefix: &[u8], chunks: &[Vec<u8>], order: &[usize]) -> Vec<u8> {
    let mut body = prefix.to_vec();
    order.iter().for_each(|index| body.extend_from_slice(&chunks[*index]));
    body
}

/// Every ordered selection of `0..5` without repetition, the empty one included.
fn arrangements() -> Vec<Vec<usize>> {
    let mut all = vec![vec![]];
    let mut start = 0;
    for _ in 0..5 {
        let end = all.len();
        for at in start..end {
            for index in (0..5).filter(|index| !all[at].contains(index)).collect::<Vec<_>>() {
                let longer = [&all[at][..], &[index]].concat();
                all.push(longer);
            }
        }
        start = end;
    }
    all
}

fn orders(bench: &mut Bench) {
    let (prefix, chunks) = bench.parts(1);
    let whole = [0, 1, 2, 3, 4];
    assert_eq!(bench.answer(&join(&prefix, &chunks, &whole)), Answer::Opens);
    let arrangements = arrangements();
    assert_eq!(arrangements.len(), 1 + 5 + 20 + 60 + 120 + 120);
    for order in arrangements.iter().filter(|order| order[..] != whole) {
        bench.refuses(&join(&prefix, &chunks, order), &format!("{order:?}"));
    }
    // Each chunk once more, at each position.
    for again in 0..5 {
        for at in 0..=5 {
            let mut order = whole.to_vec();
            order.insert(at, again);
            bench.refuses(&join(&prefix, &chunks, &order), &format!("{order:?}"));
        }
        // And instead of each other chunk.
        for at in (0..5).filter(|at| *at != again) {
            let mut order = whole.to_vec();
            order[at] = again;
            bench.refuses(&join(&prefix, &chunks, &order), &format!("{order:?}"));
        }
    }
}

/// THREATS 26. SPEC B-SALT: another salt, another key.
fn splices_of_two_bodies(bench: &mut Bench) {
    let (prefix, mut chunks) = bench.parts(1);
    let (other_prefix, other_chunks) = bench.parts(2);
    chunks.extend(other_chunks);
    for mask in 0..32_usize {
        let order: Vec<usize> = (0..5).map(|index| index + 5 * (mask >> index & 1)).collect();
        if mask != 0 {
            bench.refuses(&join(&prefix, &chunks, &order), &format!("{order:?}"));
        }
        if mask != 31 {
            bench.refuses(&join(&other_prefix, &chunks, &order), &format!("other {order:?}"));
        }
    }
    // SPEC B-COMMIT: the salt of one and the commitment of the other do not even begin.
    let mixed = [&prefix[..24], &other_prefix[24..]].concat();
    let message = [&bench.header[..], &join(&mixed, &chunks, &[0, 1, 2, 3, 4])].concat();
    let tried = try_all(&bench.envelope, &message, bench.header.len(), AAD);
    assert_eq!((tried.answer(), tried.wiped), (Answer::Authentication, false));
}

/// THREATS 27. SPEC B-LAST
fn ends(bench: &mut Bench) {
    let salt = [3; 24];
    let encryptor =
        danger::chunk_encryptor(bench.suite, &bench.data_key, &salt, &bench.context).unwrap();
    let prefix = encryptor.prefix().to_vec();
    let seal = |index: u64, len: usize| {
        let mut sealed = vec![0; len + 16];
        encryptor.encrypt_into(index, &vec![7; len], &mut sealed).unwrap();
        sealed
    };
    // A holder of the key can encrypt chunks that no writer of ours makes; no such body is a message.
    for (what, chunks) in [
        ("no chunk", vec![]),
        ("a full last chunk", vec![seal(0, CHUNK)]),
        ("two full chunks and no last one", vec![seal(0, CHUNK), seal(1, CHUNK)]),
        ("two last chunks", vec![seal(0, 50), seal(1, 60)]),
        ("two last chunks behind a full one", vec![seal(0, CHUNK), seal(1, 50), seal(2, 60)]),
        ("an empty last chunk behind the last", vec![seal(0, 50), seal(1, 0)]),
        ("an empty chunk before the last", vec![seal(0, 0), seal(1, 50)]),
        ("two empty last chunks", vec![seal(0, CHUNK), seal(1, 0), seal(2, 0)]),
        ("a short chunk before a full one", vec![seal(0, 50), seal(1, CHUNK), seal(2, 1)]),
        ("the last chunk under the next index", vec![seal(0, CHUNK), seal(2, 50)]),
        ("the last chunk under the index before", vec![seal(0, CHUNK), seal(0, 50)]),
        ("a message that starts at chunk 1", vec![seal(1, CHUNK), seal(2, 50)]),
        ("a chunk one byte short before another", vec![seal(0, CHUNK - 1), seal(1, 50)]),
    ] {
        bench.refuses(&[prefix.clone(), chunks.concat()].concat(), what);
    }
    for len in [0, 1, CHUNK - 1] {
        let body = [prefix.clone(), seal(0, CHUNK), seal(1, len)].concat();
        assert_eq!(bench.answer(&body), Answer::Opens);
    }
}

/// THREATS 12, 24: every cut and every growth around each boundary.
fn cuts_and_growths(bench: &mut Bench) {
    for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 1] {
        let body = bench.body(6, len);
        assert_eq!(bench.answer(&body), Answer::Opens);
        // A tag of 15 bytes to none, then into the text; the last chunk and the one before.
        for end in [body.len(), body.len().min(56 + SEALED), body.len().min(56 + 2 * SEALED)] {
            for cut in 1..=34_usize.min(end - 1) {
                bench.refuses(&body[..end - cut], &format!("{len}: {cut} bytes off {end}"));
            }
        }
        for growth in (1..=34).chain([72, SEALED - 1, SEALED, SEALED + 16]) {
            let body = [&body[..], &vec![0; growth]].concat();
            bench.refuses(&body, &format!("{len}: {growth} bytes behind it"));
        }
    }
}

fn all_of(suite: Suite) {
    let mut bench = Bench::new(suite);
    orders(&mut bench);
    splices_of_two_bodies(&mut bench);
    ends(&mut bench);
    cuts_and_growths(&mut bench);
    println!("{suite}: {} bodies refused", bench.refused);
    assert!(bench.refused >= 1000);
}

#[test]
fn no_other_arrangement_of_chunks_opens_in_suite_1() {
    all_of(Suite::Cobblestone256);
}

#[test]
fn no_other_arrangement_of_chunks_opens_in_suite_2() {
    all_of(Suite::Cobblestone128);
}

#[test]
fn no_other_arrangement_of_chunks_opens_in_suite_3() {
    all_of(Suite::ChunkedChaCha20Poly1305);
}

#[test]
fn no_other_arrangement_of_chunks_opens_in_suite_4() {
    all_of(Suite::ChunkedAes256GcmSha256);
}

/// SPEC B-NONCE, B-RELEASE
#[test]
fn chunk_opens_at_its_own_index_only() {
    for &suite in Suite::ALL {
        let key = vec![9; suite.data_key_len()];
        let encryptor = danger::chunk_encryptor(suite, &key, &SALT, b"").unwrap();
        let decryptor = danger::chunk_decryptor(suite, &key, encryptor.prefix(), b"").unwrap();
        let last = MAX_CHUNKS - 1;
        let indices = [0, 1, 2, 255, 256, 257, 65_536, 1 << 32, 1 << 37, last];
        for index in indices {
            let mut sealed = vec![0; 100 + 16];
            encryptor.encrypt_into(index, &[7; 100], &mut sealed).unwrap();
            for other in indices {
                let (mut into, mut in_place) = ([0xA5; 100], sealed.clone());
                let opened = decryptor.decrypt_into(other, &sealed, &mut into);
                let opened_in_place = decryptor.decrypt_in_place(other, &mut in_place);
                if other == index {
                    assert_eq!(opened_in_place.unwrap(), [7; 100]);
                    assert_eq!((Answer::of(&opened), into), (Answer::Opens, [7; 100]));
                } else {
                    assert_eq!(Answer::of(&opened_in_place), Answer::Authentication);
                    assert_eq!(in_place[..100], [0; 100]);
                    assert_eq!((Answer::of(&opened), into), (Answer::Authentication, [0; 100]));
                }
            }
        }
    }
}

/// SPEC B-MAX, B-LAST; THREATS 12: no chunk has less than a tag or more than 16,384 bytes.
#[test]
fn impossible_chunks_are_refused_by_index_and_length() {
    use envelock::Error::Chunk;
    for &suite in Suite::ALL {
        let key = vec![9; suite.data_key_len()];
        let encryptor = danger::chunk_encryptor(suite, &key, &SALT, b"").unwrap();
        let decryptor = danger::chunk_decryptor(suite, &key, encryptor.prefix(), b"").unwrap();
        let max = MAX_CHUNKS;
        let lengths = (0..16).map(|len| (0, len)).chain([(0, SEALED + 1)]);
        for (index, len) in lengths.chain([(max, 100), (max + 1, 16), (u64::MAX, 16)]) {
            let mut sealed = vec![7; len];
            let mut out = vec![0xA5; len.saturating_sub(16)];
            let refused = decryptor.decrypt_into(index, &sealed, &mut out).unwrap_err();
            assert!(matches!(refused, Chunk { index: i, len: l, .. } if (i, l) == (index, len)));
            assert!(out.iter().all(|byte| *byte == 0xA5));
            let refused = decryptor.decrypt_in_place(index, &mut sealed).unwrap_err();
            assert!(matches!(refused, Chunk { index: i, len: l, .. } if (i, l) == (index, len)));
            assert!(sealed.iter().all(|byte| *byte == 7));
        }
        for (index, len) in [(0, CHUNK + 1), (max, 0), (u64::MAX, 1)] {
            let mut chunk = vec![7; len];
            let refused = encryptor.encrypt_in_place(index, &mut chunk).unwrap_err();
            assert!(matches!(refused, Chunk { index: i, len: l, .. } if (i, l) == (index, len)));
            assert!(chunk.iter().all(|byte| *byte == 7));
        }
        encryptor.encrypt_in_place(max - 1, &mut vec![7; CHUNK]).unwrap();
    }
}

/// The model's lengths are the crate's (SPEC B-LENGTH).
#[test]
fn body_lengths_agree_with_the_model() {
    for len in (0..100 + 3 * SEALED).chain(10 * SEALED..11 * SEALED + 100) {
        let ours = envelock::format::layout::plaintext_len(len as u64);
        match plaintext_len(len) {
            Ok(expected) => assert_eq!(ours.unwrap(), expected as u64),
            Err(needed) => {
                let (len, needed) = (len as u64, needed as u64);
                let expected = Answer::Truncated { part: MessagePart::Body, len, needed };
                assert_eq!(Answer::of(&ours), expected);
            }
        }
    }
}
