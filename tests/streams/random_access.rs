//! Random access: no length and no end is believed before the last chunk is verified at the index
//! that the length says, whatever the source claims; every read is the model's; and no chunk is
//! fetched that is not touched (SPEC B-PART, THREATS 28).

#![cfg(feature = "std")]

use crate::readers;

use envelock::rand_core::Rng;
use envelock::{
    Aad, Envelope, Error, MemoryKeyring,
    stream::{RangeReader, ReadAt},
};
use readers::sources::Counting;
use readers::table::assert_clean;
use readers::{CHUNK, PREFIX, SEALED, below, plaintext, pools, rng, shared};
use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const AAD: Aad<'static> = Aad::new(b"row 28");

fn keyring() -> MemoryKeyring {
    MemoryKeyring::create("orders").unwrap()
}

/// A message of `len` bytes, its plaintext, and the length of its header.
fn message(envelope: &Envelope<&MemoryKeyring>, len: usize) -> (Vec<u8>, Vec<u8>, usize) {
    let text = plaintext(len as u64, len);
    let message = envelope.encrypt(&text, AAD).unwrap();
    (message, text, envelope.header_len().unwrap())
}

fn is_authentication(error: io::Error) -> bool {
    matches!(Error::from(error), Error::Authentication { .. })
}

/// What no reader may say of `source`, whose plaintext is, if anything, the start of `text`: a
/// length, an end, or a byte that is not there. Returns how many of its results were errors.
fn assert_not_believed<S: ReadAt>(reader: RangeReader<S>, text: &[u8], what: &str) -> usize {
    let mut refused = 0;
    let end = text.len() as u64;
    assert!(reader.len().is_err(), "{what}: a length");
    let chunk = CHUNK as u64;
    let offsets =
        [0, 1, end / 2, end.saturating_sub(1), end, end + 1, end + chunk, end + 2 * chunk];
    let far = [3 * chunk, 1 << 40, (1 << 52) - 1, 1 << 52, u64::MAX - 1, u64::MAX];
    for offset in offsets.into_iter().chain(far) {
        for size in [1, 16, 100, CHUNK, 3 * CHUNK] {
            let mut out = vec![0xA5; size];
            match reader.read_at(&mut out, offset) {
                Ok(len) => {
                    // A read that is not full claims an end.
                    assert_eq!(len, size, "{what}: an end at {offset} + {len}");
                    let at = offset as usize;
                    assert!(text.get(at..at + len) == Some(&out[..]), "{what}: a wrong byte");
                }
                Err(_) => {
                    assert_clean(&out);
                    refused += 1;
                }
            }
        }
    }
    let mut seeker = reader.into_seek_reader();
    for by in [0, -1, -(CHUNK as i64), 1] {
        assert!(seeker.seek(SeekFrom::End(by)).is_err(), "{what}: a seek from the end");
        assert_eq!(seeker.stream_position().unwrap(), 0, "{what}: moved");
    }
    for offset in [end, end + 1, end + 3 * chunk, u64::MAX] {
        seeker.seek(SeekFrom::Start(offset)).unwrap();
        assert!(seeker.fill_buf().is_err(), "{what}: an end at {offset}");
        assert!(seeker.read(&mut [0; 10]).is_err(), "{what}: an end at {offset}");
        assert!(seeker.read(&mut vec![0; CHUNK]).is_err(), "{what}: an end at {offset}");
        refused += 3;
    }
    seeker.rewind().unwrap();
    let mut read = Vec::new();
    assert!(seeker.read_to_end(&mut read).is_err(), "{what}: an end");
    assert!(text.starts_with(&read), "{what}: wrong bytes");
    refused
}

/// Bytes cut off and put behind, up to two chunks of them.
#[test]
fn unproven_length_is_refused() {
    let keyring = keyring();
    let envelope = Envelope::new(&keyring);
    let (mut checked, mut lengths) = (0, 0);
    for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 100, 3 * CHUNK] {
        let (bytes, text, header_len) = message(&envelope, len);
        let near: Vec<usize> = (1..=34)
            .chain([CHUNK - 1, CHUNK, SEALED - 17, SEALED - 16, SEALED - 15])
            .chain([SEALED - 1, SEALED, SEALED + 1, SEALED + 16, 2 * SEALED - 1, 2 * SEALED])
            .chain((35..2 * SEALED).step_by(2111))
            .collect();
        let mut changed: Vec<Vec<u8>> = Vec::new();
        for by in near {
            if by < bytes.len() - header_len {
                changed.push(bytes[..bytes.len() - by].to_vec());
            }
            changed.push([&bytes[..], &vec![0; by]].concat());
            // And with bytes of its own.
            let own = bytes[bytes.len() - by.min(bytes.len())..].to_vec();
            changed.push([&bytes[..], &own].concat());
        }
        for bytes in changed {
            let what = format!("{len}: {} bytes", bytes.len());
            assert!(envelope.decrypt(&bytes, AAD).is_err());
            match envelope.range_reader(&bytes, AAD) {
                Ok(reader) => checked += assert_not_believed(reader, &text, &what),
                Err(Error::Truncated { .. }) => lengths += 1,
                Err(other) => panic!("{what}: {other}"),
            }
        }
    }
    println!("{checked} answers refused, {lengths} lengths refused at once");
    assert!(checked > 10_000 && lengths > 200);
}

/// The bytes are right, but the source says that there are more or fewer.
#[test]
fn false_size_of_a_source_is_not_used() {
    let keyring = keyring();
    let envelope = Envelope::new(&keyring);
    let mut checked = 0;
    for len in [1, CHUNK, 2 * CHUNK + 100] {
        let (bytes, text, _) = message(&envelope, len);
        let total = bytes.len() as u64;
        let wrong_lens = (1..40)
            .chain([1000, CHUNK as u64, SEALED as u64, SEALED as u64 + 16, 1 << 40])
            .flat_map(|by| [total + by, total.saturating_sub(by)])
            .chain([1 << 52, (1 << 52) + (1 << 43), u64::MAX - 1, u64::MAX]);
        for wrong_len in wrong_lens {
            let source = Counting::new(&bytes).claiming(wrong_len).limit_calls(1000);
            match envelope.range_reader(source, AAD) {
                Ok(reader) => {
                    checked +=
                        assert_not_believed(reader, &text, &format!("{total} said as {wrong_len}"));
                }
                Err(Error::Truncated { .. } | Error::MessageTooLong) => checked += 1,
                Err(other) => panic!("{wrong_len}: {other}"),
            }
        }
    }
    println!("{checked} answers refused");
    assert!(checked > 5000);
}

/// A source with fewer bytes than it reported is an error.
#[test]
fn early_end_of_source_is_truncation() {
    let keyring = keyring();
    let envelope = Envelope::new(&keyring);
    let (bytes, ..) = message(&envelope, 2 * CHUNK + 100);
    for more in [17, SEALED as u64, 3 * SEALED as u64] {
        let source = Counting::new(&bytes).claiming(bytes.len() as u64 + more).limit_calls(100);
        let refused = envelope.range_reader(source, AAD).unwrap().len().unwrap_err();
        assert!(matches!(refused, Error::Truncated { .. }), "{refused:?}");
    }
}

/// A source whose content is another one's from some call on.
struct Turncoat<'b> {
    first: &'b [u8],
    then: &'b [u8],
    calls: AtomicUsize,
    turns_at: usize,
    sizes: Mutex<usize>,
}

impl ReadAt for Turncoat<'_> {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let bytes = if call < self.turns_at { self.first } else { self.then };
        bytes.read_at(out, offset)
    }

    fn size(&self) -> io::Result<u64> {
        *self.sizes.lock().unwrap() += 1;
        self.first.size()
    }
}

/// It changes between two calls to a message of another length, or other content, or to nothing:
/// all that is read is still of the first message.
#[test]
fn source_that_changes_yields_first_message_or_errors() {
    let keyring = keyring();
    let envelope = Envelope::new(&keyring);
    let (first, text, header_len) = message(&envelope, 3 * CHUNK + 50);
    let (other, ..) = message(&envelope, 3 * CHUNK + 50);
    let spliced = [&first[..header_len + PREFIX], &other[header_len + PREFIX..]].concat();
    let cut = &first[..header_len + PREFIX + SEALED];
    let grown = [&first[..], &[7; 40_000]].concat();
    let mut checked = [0, 0];
    for then in [&other[..], &spliced, cut, &grown, &[]] {
        for turns_at in 0..12 {
            let (calls, sizes) = (AtomicUsize::new(0), Mutex::new(0));
            let source = Turncoat { first: &first, then, calls, turns_at, sizes };
            let Ok(reader) = envelope.range_reader(source, AAD) else { continue };
            let mut random = rng(turns_at as u64);
            for _ in 0..30 {
                let offset = below(&mut random, text.len() + 20_000);
                let mut out = vec![0xA5; below(&mut random, 40_000)];
                match reader.read_at(&mut out, offset as u64) {
                    Ok(len) => {
                        let expected = text.get(offset..).unwrap_or_default();
                        let expected = &expected[..out.len().min(expected.len())];
                        assert!(out[..len] == *expected, "another byte at {offset}");
                        checked[0] += 1;
                    }
                    Err(_) => {
                        assert_clean(&out);
                        checked[1] += 1;
                    }
                }
                if let Ok(len) = reader.len() {
                    assert_eq!(len, text.len() as u64);
                }
            }
            assert_eq!(*reader.get_ref().sizes.lock().unwrap(), 1, "the size was asked again");
        }
    }
    println!("{} reads of the first message, {} errors", checked[0], checked[1]);
    assert!(checked[0] > 300 && checked[1] > 300);
}

/// Which chunks a read has to touch; the last one where it meets the end.
fn touched(offset: usize, size: usize, len: usize) -> std::ops::Range<usize> {
    let last = len / CHUNK;
    if size == 0 {
        0..0
    } else if offset + size > len {
        (offset / CHUNK).min(last)..last + 1
    } else {
        offset / CHUNK..(offset + size).div_ceil(CHUNK)
    }
}

/// The chunks that were fetched, each once.
fn fetched(source: &Counting<'_>, chunks_at: usize) -> Vec<usize> {
    let mut chunks: Vec<usize> = Vec::new();
    for (at, len) in source.take_read() {
        let first = (at as usize - chunks_at) / SEALED;
        let last = (at as usize + len - 1 - chunks_at) / SEALED;
        for chunk in first..=last {
            if chunks.last() != Some(&chunk) {
                assert!(!chunks.contains(&chunk), "chunk {chunk} was fetched twice");
                chunks.push(chunk);
            }
        }
    }
    chunks
}

/// Sizes and offsets around the boundaries of chunks.
fn offset(random: &mut rand_chacha::ChaCha20Rng, len: usize) -> usize {
    match below(random, 4) {
        0 => below(random, len + 2 * CHUNK),
        1 => (below(random, len / CHUNK + 3) * CHUNK + below(random, 5)).saturating_sub(2),
        2 => (len + below(random, 5)).saturating_sub(2),
        _ => below(random, len + 1),
    }
}

fn size(random: &mut rand_chacha::ChaCha20Rng) -> usize {
    match below(random, 5) {
        0 => below(random, 3),
        1 => CHUNK + below(random, 5) - 2,
        2 => below(random, 100),
        3 => below(random, 12 * CHUNK),
        _ => below(random, CHUNK),
    }
}

#[test]
fn random_reads_match_model_and_touch_own_chunks() {
    let keyring = keyring();
    let mut steps = 0;
    for (pool, workers) in pools() {
        let envelope = shared(&keyring, workers);
        for len in [0, 1, 200, CHUNK - 1, CHUNK, 2 * CHUNK + 1, 20 * CHUNK, 37 * CHUNK + 777] {
            let (bytes, text, header_len) = message(&envelope, len);
            let chunks_at = header_len + PREFIX;
            let source = Counting::in_pieces(&bytes, 30_000);
            let reader = envelope.range_reader(source, AAD).unwrap();
            // The start alone was read.
            assert!(
                reader.get_ref().take_read().iter().all(|(at, n)| *at as usize + n <= chunks_at)
            );
            let mut random = rng(len as u64);
            for _ in 0..300 {
                let (at, size) = (offset(&mut random, len), size(&mut random));
                let mut out = vec![0xA5; size];
                let read = reader.read_at(&mut out, at as u64).unwrap();
                let expected = text.get(at..).unwrap_or_default();
                let expected = &expected[..size.min(expected.len())];
                assert!(out[..read] == *expected, "{pool}: {at} + {size} of {len}");
                assert_clean(&out[read..]);
                let wanted: Vec<usize> = touched(at, size, len).collect();
                assert_eq!(fetched(reader.get_ref(), chunks_at), wanted, "{pool}: {at} + {size}");
                steps += 1;
            }
            // Once it is proven, no more is fetched for the length.
            reader.len().unwrap();
            reader.get_ref().take_read();
            assert_eq!(reader.len().unwrap(), len as u64);
            assert_eq!(reader.get_ref().take_read(), []);
        }
    }
    println!("{steps} reads");
    assert!(steps >= 7000);
}

#[test]
fn random_seeks_and_reads_are_those_of_a_cursor() {
    let keyring = keyring();
    let envelope = Envelope::new(&keyring);
    let mut steps = 0;
    for len in [0, 1, 200, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 5 * CHUNK + 777] {
        let (bytes, text, header_len) = message(&envelope, len);
        let source = Counting::new(&bytes);
        let mut reader = envelope.range_reader(&source, AAD).unwrap().into_seek_reader();
        let mut plain = envelope
            .range_reader(std::sync::Mutex::new(Cursor::new(&bytes)), AAD)
            .unwrap()
            .into_seek_reader();
        let mut model = Cursor::new(&text);
        let mut random = rng(len as u64 + 1);
        source.take_read();
        let mut cached: Option<usize> = None;
        let mut end_known = false;
        for _ in 0..1500 {
            steps += 1;
            let step = below(&mut random, 8);
            let to = match step {
                0 => SeekFrom::Start(offset(&mut random, len) as u64),
                1 => SeekFrom::Current(below(&mut random, 3 * CHUNK) as i64 - (CHUNK as i64)),
                2 => SeekFrom::End(below(&mut random, 100) as i64 - 90),
                3 => SeekFrom::End(-(below(&mut random, len + 2) as i64)),
                _ => SeekFrom::Current(0),
            };
            if step < 4 {
                let expected = model.seek(to).map_err(|error| error.kind());
                assert_eq!(reader.seek(to).map_err(|error| error.kind()), expected, "{to:?}");
                assert_eq!(plain.seek(to).map_err(|error| error.kind()), expected, "{to:?}");
                let read = source.take_read();
                if matches!(to, SeekFrom::End(_)) && !end_known {
                    // The last chunk, once.
                    let last = (header_len + PREFIX + len / CHUNK * SEALED) as u64;
                    assert_eq!(read, [(last, bytes.len() - last as usize)]);
                    end_known = true;
                } else {
                    assert_eq!(read, []);
                }
                continue;
            }
            let at = model.position() as usize;
            let mut out = vec![0xA5; size(&mut random)];
            let read = if step == 4 {
                let ready = reader.fill_buf().unwrap();
                let read = ready.len().min(out.len());
                out[..read].copy_from_slice(&ready[..read]);
                reader.consume(read);
                plain.read_exact(&mut out[..read].to_vec()).unwrap();
                read
            } else {
                let read = reader.read(&mut out).unwrap();
                plain.read_exact(&mut out[..read].to_vec()).unwrap();
                read
            };
            let expected = text.get(at..).unwrap_or_default();
            assert!(expected.starts_with(&out[..read]), "at {at} of {len}");
            assert_eq!(read == 0, out.is_empty() || expected.is_empty(), "an end at {at} of {len}");
            model.set_position((at + read) as u64);
            assert_eq!(reader.stream_position().unwrap(), model.position());
            // Only what is touched, and not what is there already.
            let chunks = fetched(&source, header_len + PREFIX);
            let last = len / CHUNK;
            end_known |= chunks.contains(&last) && (at + out.len() > len || chunks == [last]);
            // Bytes that are no whole chunks go through the chunk buffer.
            if step == 4 || out.len() < CHUNK || !at.is_multiple_of(CHUNK) {
                let wanted = Some(at / CHUNK);
                assert!(chunks.len() <= usize::from(cached != wanted), "{chunks:?} at {at}");
                cached = wanted;
            } else {
                assert_eq!(chunks, touched(at, out.len(), len).collect::<Vec<_>>());
            }
        }
    }
    println!("{steps} steps");
    assert!(steps >= 10_000);
}

/// After an error other parts can still be read, and the same one fails again.
#[test]
fn damaged_chunk_does_not_hide_the_others() {
    let keyring = keyring();
    let envelope = Envelope::new(&keyring);
    let (mut bytes, text, header_len) = message(&envelope, 4 * CHUNK + 9);
    bytes[header_len + PREFIX + SEALED + 5] ^= 1;
    let mut reader = envelope
        .range_reader(std::sync::Mutex::new(Cursor::new(&bytes)), AAD)
        .unwrap()
        .into_seek_reader();
    for _ in 0..2 {
        for chunk in [4, 0, 1, 3, 1, 2, 1, 0] {
            reader.seek(SeekFrom::Start((chunk * CHUNK) as u64)).unwrap();
            let mut out = [0; 9];
            let read = reader.read(&mut out);
            if chunk == 1 {
                assert!(is_authentication(read.unwrap_err()));
                assert!(is_authentication(reader.fill_buf().map(<[u8]>::len).unwrap_err()));
                assert_eq!(reader.stream_position().unwrap(), CHUNK as u64);
            } else {
                assert_eq!(read.unwrap(), 9);
                assert_eq!(out, text[chunk * CHUNK..][..9]);
            }
        }
    }
    assert_eq!(reader.len().unwrap(), text.len() as u64);
    assert!(is_authentication(
        reader
            .rewind()
            .and_then(|()| io::copy(&mut reader, &mut io::sink()).map(drop))
            .unwrap_err()
    ));
}

/// A source that breaks now and then is asked again by the next call.
#[test]
fn errors_of_source_are_passed_on_and_lose_nothing() {
    struct Shaky<'b>(&'b [u8], AtomicUsize);
    impl ReadAt for Shaky<'_> {
        fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
            match self.1.fetch_add(1, Ordering::Relaxed) % 5 {
                4 => Err(io::Error::from_raw_os_error(5)),
                2 => Err(io::ErrorKind::Interrupted.into()),
                _ => {
                    let most = out.len().min(9000);
                    self.0.read_at(&mut out[..most], offset)
                }
            }
        }
        fn size(&self) -> io::Result<u64> {
            self.0.size()
        }
    }
    let keyring = keyring();
    let envelope = Envelope::new(&keyring);
    let (bytes, text, _) = message(&envelope, 3 * CHUNK + 9);
    let reader = envelope.range_reader(Shaky(&bytes, AtomicUsize::new(0)), AAD).unwrap();
    let (mut read, mut failed) = (0, 0);
    let mut random = rng(5);
    for _ in 0..300 {
        let (at, size) =
            (offset(&mut random, text.len()), 1 + (random.next_u32() % 20_000) as usize);
        let mut out = vec![0xA5; size];
        match reader.read_at(&mut out, at as u64) {
            Ok(len) => {
                let expected = text.get(at..).unwrap_or_default();
                assert!(out[..len] == expected[..size.min(expected.len())]);
                read += 1;
            }
            Err(Error::Io { source, .. }) => {
                assert_eq!(source.raw_os_error(), Some(5));
                assert_clean(&out);
                failed += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(read > 50 && failed > 50, "{read} {failed}");
    let source = Mutex::new(Cursor::new(&bytes));
    assert_eq!(envelope.range_reader(source, AAD).unwrap().len().unwrap(), text.len() as u64);
}
