//! At most 2^38 chunks (SPEC B-MAX), tested without 4 PiB: a cipher that counts its calls, and streams
//! that begin near the end.

use super::*;
use crate::body::{ChunkDecryptor, ChunkEncryptor};
use crate::crypto::secret::DataKey;
use crate::format::Suite;
use crate::format::layout::{self, CHUNK_LEN, MAX_PLAINTEXT_LEN, PREFIX_LEN};
use crate::stream::RangeDecryptor;
use core::sync::atomic::{AtomicU64, Ordering};

/// Makes chunks of 5 bytes of chunks of 4, and counts them.
struct Counting {
    /// The number that must come next.
    expected: AtomicU64,
    done: AtomicU64,
}

impl Counting {
    fn note(&self, index: u64) {
        let expected = self.expected.fetch_add(1, Ordering::Relaxed);
        assert_eq!(index, expected, "chunks out of order");
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

impl ChunkTransform for Counting {
    const IN_LEN: usize = 4;
    const OUT_LEN: usize = 5;

    fn transform(
        &self,
        first: u64,
        input: &[u8],
        out: &mut [u8],
        _: Option<&Threads>,
    ) -> (usize, Option<Error>) {
        assert_eq!(input.len() % 4, 0);
        for (index, (input, out)) in (first..).zip(input.chunks(4).zip(out.chunks_mut(5))) {
            self.note(index);
            out[..4].copy_from_slice(input);
            out[4] = index as u8;
        }
        (out.len(), None)
    }

    fn transform_in_place(&self, index: u64, buffer: &mut WipedBuffer) -> Result<(), Error> {
        self.note(index);
        buffer.push_slice(&[index as u8], 5);
        Ok(())
    }

    #[cfg(feature = "std")]
    fn transform_at_start(&self, _: u64, _: &mut [u8]) -> Result<usize, Error> {
        unreachable!("no reader")
    }

    #[cfg(feature = "std")]
    fn is_fast(&self) -> bool {
        false
    }

    fn check_last(&self, index: u64, buffer: &[u8]) -> Result<(), Error> {
        assert_eq!(index, self.expected.load(Ordering::Relaxed));
        assert!(buffer.len() < 4, "a full last chunk");
        Ok(())
    }
}

/// A stream that `left` more chunks fit in.
fn with_chunks_left(left: u64) -> ChunkStream<'static, Counting> {
    let next = MAX_CHUNKS - left;
    let transform = Counting { expected: AtomicU64::new(next), done: AtomicU64::new(0) };
    let mut stream = ChunkStream::new(transform, Vec::new(), None, None);
    stream.next = next;
    stream
}

/// Feeds `len` bytes in pieces, ends, and returns how many bytes came out and how it ended.
fn feed(
    stream: &mut ChunkStream<'static, Counting>,
    len: usize,
    piece: usize,
    room: usize,
) -> (usize, Result<(), Error>) {
    let (input, mut out) = (alloc::vec![7; len], alloc::vec![0; room]);
    let mut produced = 0;
    let ended = (|| {
        for piece in input.chunks(piece) {
            let mut rest = piece;
            while !rest.is_empty() {
                let progress = stream.update(rest, &mut out)?;
                produced += progress.produced;
                rest = &rest[progress.consumed..];
            }
        }
        loop {
            match stream.finish(&mut out)? {
                0 => return Ok(()),
                len => produced += len,
            }
        }
    })();
    (produced, ended)
}

/// However it is cut: the longest message ends well, and one byte more never does.
#[test]
fn stream_takes_2_to_the_38_chunks() {
    for left in [1, 2, 3, 9] {
        let longest = left as usize * 4 - 1;
        for (piece, room) in [(1, 1), (1, 100), (3, 7), (4, 5), (100, 100), (100, 5), (8, 11)] {
            for len in [longest - 3, longest - 1, longest] {
                let mut stream = with_chunks_left(left);
                let (produced, ended) = feed(&mut stream, len, piece, room);
                let chunks = len / 4 + 1;
                assert!(ended.is_ok() && stream.is_finished(), "{left}: {len}");
                assert_eq!(produced, len + chunks);
                assert_eq!(stream.transform.done.load(Ordering::Relaxed), chunks as u64);
            }
            for len in [longest + 1, longest + 2, longest + 50] {
                let mut stream = with_chunks_left(left);
                let (produced, ended) = feed(&mut stream, len, piece, room);
                assert!(matches!(ended, Err(Error::MessageTooLong)), "{left}: {len}: {ended:?}");
                // All full chunks that may be there, and no last one.
                assert_eq!(stream.transform.done.load(Ordering::Relaxed), left - 1);
                assert!(produced <= 5 * (left as usize - 1) && !stream.is_finished());
                for _ in 0..2 {
                    let mut out = [0; 10];
                    let again = stream.update(&[1], &mut out);
                    assert!(matches!(again, Err(Error::MessageTooLong)));
                    assert!(matches!(stream.finish(&mut out), Err(Error::MessageTooLong)));
                    assert_eq!(out, [0; 10]);
                }
            }
        }
    }
}

/// Numbers of chunks continue beyond 32 bits.
#[test]
fn chunk_numbers_do_not_wrap_on_narrow_integers() {
    for next in [(1_u64 << 16) - 2, (1 << 31) - 2, (1 << 32) - 2, (1 << 37) - 2] {
        for piece in [1, 4, 40] {
            let transform = Counting { expected: AtomicU64::new(next), done: AtomicU64::new(0) };
            let mut stream = ChunkStream::new(transform, Vec::new(), None, None);
            stream.next = next;
            assert_eq!(feed(&mut stream, 40, piece, 50).0, 51);
            assert_eq!(stream.next, next + 11);
        }
    }
}

fn cipher() -> (ChunkEncryptor, ChunkDecryptor) {
    let suite = Suite::default();
    let (mut key, salt) = (DataKey::empty(), [4; 24]);
    assert!(key.set(&alloc::vec![3; suite.data_key_len()]));
    let context = [&b""[..], b""];
    let encryptor =
        ChunkEncryptor::new(crate::Provider::RustCrypto, suite, &key, &salt, context, None)
            .unwrap();
    let decryptor = ChunkDecryptor::new(
        crate::Provider::RustCrypto,
        suite,
        &key,
        encryptor.prefix(),
        [b"", b""],
    )
    .unwrap();
    (encryptor, decryptor)
}

/// The ciphers themselves at the limit, and the length that a decryptor makes of it.
#[test]
fn real_chunks_at_the_last_index_and_behind_it() {
    let (encryptor, decryptor) = cipher();
    let last = MAX_CHUNKS - 1;
    for len in [0, 1, CHUNK_LEN - 1] {
        let mut buffer = WipedBuffer::from(alloc::vec![7; len]);
        ChunkTransform::transform_in_place(&encryptor, last, &mut buffer).unwrap();
        decryptor.check_last(last, &buffer).unwrap();
        ChunkTransform::transform_in_place(&decryptor, last, &mut buffer).unwrap();
        assert_eq!(*buffer, *alloc::vec![7; len]);
        assert!(ChunkTransform::transform_in_place(&encryptor, MAX_CHUNKS, &mut buffer).is_err());
        let refused = decryptor.check_last(MAX_CHUNKS, &[0; 16]);
        assert!(matches!(refused, Err(Error::MessageTooLong)));
    }
    // No end behind a full chunk at the last index: there is no index for it.
    let refused = decryptor.check_last(last, &[0; 15]);
    assert!(matches!(refused, Err(Error::Truncated { .. })));
    // Through a stream that begins there.
    let mut message = WipedBuffer::from(alloc::vec![7; 99]);
    ChunkTransform::transform_in_place(&encryptor, last, &mut message).unwrap();
    let mut stream = ChunkStream::new(decryptor, Vec::new(), None, None);
    stream.next = last;
    let mut out = [0; 200];
    assert_eq!(stream.update(&message, &mut out).unwrap().consumed, 115);
    assert_eq!(stream.finish(&mut out).unwrap(), 99);
    assert_eq!((stream.finish(&mut out).unwrap(), stream.is_finished()), (0, true));
}

const TAG: u64 = 16;
const LONGEST_BODY: u64 = MAX_PLAINTEXT_LEN + MAX_CHUNKS * TAG + PREFIX_LEN as u64;

#[test]
fn lengths_at_the_limit() {
    assert_eq!(MAX_PLAINTEXT_LEN, (1 << 52) - 1);
    for (len, chunks) in [
        (MAX_PLAINTEXT_LEN - CHUNK_LEN as u64, MAX_CHUNKS - 1),
        (MAX_PLAINTEXT_LEN - CHUNK_LEN as u64 + 1, MAX_CHUNKS),
        (MAX_PLAINTEXT_LEN - 1, MAX_CHUNKS),
        (MAX_PLAINTEXT_LEN, MAX_CHUNKS),
    ] {
        assert_eq!(layout::chunk_count(len).unwrap(), chunks);
        let body_len = len + chunks * TAG + PREFIX_LEN as u64;
        assert_eq!(layout::body_len(len).unwrap(), body_len);
        assert_eq!(layout::plaintext_len(body_len).unwrap(), len);
    }
    for len in [MAX_PLAINTEXT_LEN + 1, MAX_PLAINTEXT_LEN + 2, 1 << 63, u64::MAX] {
        assert!(matches!(layout::chunk_count(len), Err(Error::MessageTooLong)));
        assert!(matches!(layout::body_len(len), Err(Error::MessageTooLong)));
    }
    // The end of a full chunk at the last index, then all that is longer.
    for body_len in [LONGEST_BODY + 1, LONGEST_BODY + 16] {
        assert!(matches!(layout::plaintext_len(body_len), Err(Error::Truncated { .. })));
    }
    for body_len in [LONGEST_BODY + 17, LONGEST_BODY + 18, u64::MAX] {
        let refused = layout::plaintext_len(body_len);
        let known = matches!(refused, Err(Error::MessageTooLong | Error::Truncated { .. }));
        assert!(known, "{body_len}: {refused:?}");
    }
    let last = layout::chunk_offset(MAX_CHUNKS - 1).unwrap();
    assert_eq!(last, PREFIX_LEN as u64 + (MAX_CHUNKS - 1) * (CHUNK_LEN as u64 + TAG));
    for index in [MAX_CHUNKS, MAX_CHUNKS + 1, u64::MAX] {
        assert!(matches!(layout::chunk_offset(index), Err(Error::MessageTooLong)));
    }
}

/// A plan as numbers: plaintext, encrypted, and whether it proves the length.
fn plan(message: &RangeDecryptor, range: core::ops::Range<u64>) -> ((u64, u64), (u64, u64), bool) {
    let plan = message.plan(range);
    let (plaintext, encrypted) = (plan.plaintext(), plan.encrypted());
    assert_eq!(plan.plaintext_len(), plaintext.end - plaintext.start);
    assert_eq!(plan.encrypted_len(), encrypted.end - encrypted.start);
    let proves = message.proves_len(&plan);
    ((plaintext.start, plaintext.end), (encrypted.start, encrypted.end), proves)
}

#[test]
fn plans_at_the_top_of_the_longest_message() {
    let sealed = CHUNK_LEN as u64 + TAG;
    let chunk = CHUNK_LEN as u64;
    for header in [0, 175, 65_535] {
        let (_, decryptor) = cipher();
        let message = RangeDecryptor::new(decryptor, None, header, LONGEST_BODY).unwrap();
        let (end, stop) = (MAX_PLAINTEXT_LEN, header + LONGEST_BODY);
        let last = stop - (sealed - 1);
        assert_eq!(message.unverified_len(), end);
        for (range, plaintext, encrypted, proves) in [
            (end - 1..end, (end - 1, end), (last, stop), true),
            (end..end, (end, end), (last, last), false),
            // Up to the end of a full chunk, and over it.
            (
                end - chunk..end - chunk + 1,
                (end - chunk, end - chunk + 1),
                (last - sealed, last),
                false,
            ),
            (
                end - chunk..end - chunk + 2,
                (end - chunk, end - chunk + 2),
                (last - sealed, stop),
                true,
            ),
            // Beyond the end: the last chunk is always there.
            (end..end + 1, (end, end), (last, stop), true),
            (end + 1..end + 2, (end, end), (last, stop), true),
            (u64::MAX - 1..u64::MAX, (end, end), (last, stop), true),
            (end - 5..u64::MAX, (end - 5, end), (last, stop), true),
            (0..u64::MAX, (0, end), (header + 56, stop), true),
            (0..1, (0, 1), (header + 56, header + 56 + sealed), false),
            (u64::MAX..u64::MAX, (end, end), (last, last), false),
        ] {
            assert_eq!(plan(&message, range.clone()), (plaintext, encrypted, proves), "{range:?}");
        }
        let proof = message.plan_end();
        assert_eq!((proof.encrypted(), proof.plaintext()), (last..stop, end..end));
        assert!(message.proves_len(&proof));
    }
    for body_len in [LONGEST_BODY + 1, LONGEST_BODY + 17, u64::MAX, 0, 71] {
        assert!(RangeDecryptor::new(cipher().1, None, 0, body_len).is_err());
    }
}

/// The last chunk of the longest message, through a plan.
#[test]
fn last_chunk_of_the_longest_message_is_read() {
    let (encryptor, decryptor) = cipher();
    let message = RangeDecryptor::new(decryptor, None, 175, LONGEST_BODY).unwrap();
    let mut last = WipedBuffer::from(alloc::vec![7; CHUNK_LEN - 1]);
    ChunkTransform::transform_in_place(&encryptor, MAX_CHUNKS - 1, &mut last).unwrap();
    let plan = message.plan(MAX_PLAINTEXT_LEN - 10..u64::MAX);
    let mut out = [0; 10];
    message.decrypt_into(&plan, &last, &mut out).unwrap();
    assert_eq!(out, [7; 10]);
    message.decrypt_into(&message.plan_end(), &last, &mut []).unwrap();
    assert_eq!(message.decrypt_in_place(&plan, &mut last).unwrap(), [7; 10]);
    // The same bytes at the index before are another chunk.
    let mut other = WipedBuffer::from(alloc::vec![7; CHUNK_LEN]);
    ChunkTransform::transform_in_place(&encryptor, MAX_CHUNKS - 1, &mut other).unwrap();
    let plan = message.plan(MAX_PLAINTEXT_LEN - 20_000..MAX_PLAINTEXT_LEN - 19_990);
    let refused = message.decrypt_into(&plan, &other, &mut out);
    assert!(matches!(refused, Err(Error::Authentication { .. })));
    assert_eq!(out, [0; 10]);
}
