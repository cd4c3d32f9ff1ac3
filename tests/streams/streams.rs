//! Streams of every kind make and read the same bytes as the one-shot calls; and every example
//! ends its streams (THREATS 30).

#![cfg(feature = "std")]

use crate::readers;

use envelock::stream::{EncryptReader, EncryptWriter};
use envelock::{
    Aad, Envelope, Error, MemoryKeyring, Provider, Suite,
    observe::{Event, FnObserver},
};
use readers::expect::Whole;
use readers::sources::{Pieces, Scripted, Step};
use readers::subject::Subject;
use readers::table::BROAD;
use readers::{CHUNK, PREFIX, plaintext, pools, rng, shared};
use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const AAD: &[u8] = b"a";

/// Lengths up to more than a batch of every pool here.
const LENGTHS: [usize; 8] = [0, 1, 100, CHUNK - 1, CHUNK, CHUNK + 1, 300_000, 2_000_001];

/// A cipher that works in place has its chunks read to the caller's buffer.
#[test]
fn readers_of_every_provider_return_whole_chunks_wherever_they_are_read_to() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    for provider in Provider::ALL {
        let envelope = Envelope::new(&keyring).with_provider(*provider);
        for len in [CHUNK - 1, CHUNK, 5 * CHUNK, 5 * CHUNK + 1, 80 * CHUNK + 7] {
            let text = plaintext(len as u64, len);
            let message = envelope.with_rng(&mut rng(1)).encrypt(&text, Aad::new(AAD)).unwrap();
            for (most, room) in [
                (usize::MAX, CHUNK),
                (usize::MAX, CHUNK + 15),
                (usize::MAX, CHUNK + 16),
                (5000, CHUNK + 16),
                (CHUNK, 3 * CHUNK),
                (CHUNK + 16, 16 * CHUNK),
                (70_001, 1 << 20),
            ] {
                let what = format!("{provider}, {len} bytes by {most} to {room}");
                let mut random = rng(1);
                let with_rng = envelope.with_rng(&mut random);
                let reader = with_rng.encrypt_reader(Pieces::new(&text, most), Aad::new(AAD));
                assert!(read_to(reader.unwrap(), room) == Ok(message.clone()), "{what}");
                let reader = envelope.decrypt_reader(Pieces::new(&message, most), Aad::new(AAD));
                assert!(read_to(reader.unwrap(), room) == Ok(text.clone()), "{what}");

                let mut changed = message.clone();
                let last = changed.len() - 1;
                changed[last] ^= 1;
                let reader = envelope.decrypt_reader(Pieces::new(&changed, most), Aad::new(AAD));
                assert_eq!(read_to(reader.unwrap(), room), Err(ErrorKind::InvalidData), "{what}");
                let cut = &message[..message.len() - len % CHUNK - 16];
                let reader = envelope.decrypt_reader(Pieces::new(cut, most), Aad::new(AAD));
                assert_eq!(read_to(reader.unwrap(), room), Err(ErrorKind::UnexpectedEof), "{what}");
            }
        }
    }
}

/// Reads to one buffer of `room` bytes, in which an error leaves nothing.
fn read_to(mut reader: impl Read, room: usize) -> Result<Vec<u8>, ErrorKind> {
    let (mut read, mut buffer) = (Vec::new(), vec![0; room]);
    loop {
        match reader.read(&mut buffer).map_err(|error| error.kind()) {
            Ok(0) => return Ok(read),
            Ok(len) => read.extend_from_slice(&buffer[..len]),
            Err(error) => {
                assert!(buffer.iter().all(|byte| *byte == 0));
                return Err(error);
            }
        }
        buffer.fill(0);
    }
}

/// A chunk in the middle that was changed: what stood before it is returned, and nothing of it.
#[test]
fn chunk_that_was_changed_leaves_nothing_where_it_was_read_to() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    for provider in Provider::ALL {
        let envelope = Envelope::new(&keyring).with_provider(*provider);
        let text = plaintext(3, 9 * CHUNK);
        let mut message = envelope.encrypt(&text, Aad::new(AAD)).unwrap();
        let body = envelope.header_len().unwrap() + 56;
        message[body + 6 * (CHUNK + 16) + 100] ^= 1;
        let mut reader = envelope.decrypt_reader(&message[..], Aad::new(AAD)).unwrap();
        let (mut total, mut buffer) = (0, vec![0; 2 * CHUNK]);
        let error = loop {
            match reader.read(&mut buffer) {
                Ok(len) => total += len,
                Err(error) => break error,
            }
            buffer.fill(0);
        };
        assert_eq!((total, error.kind()), (6 * CHUNK, ErrorKind::InvalidData), "{provider}");
        assert!(buffer.iter().all(|byte| *byte == 0), "{provider}");
        assert!(reader.read(&mut buffer).is_err());
    }
}

#[test]
fn every_writer_makes_the_bytes_of_the_one_shot_call() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    for (pool, workers) in pools() {
        for &suite in Suite::ALL {
            let envelope = shared(&keyring, workers.clone()).with_suite(suite);
            for len in LENGTHS {
                let text = plaintext(len as u64, len);
                let message = envelope.with_rng(&mut rng(1)).encrypt(&text, Aad::new(AAD)).unwrap();
                for step in [7, 8192, CHUNK, 50_000, 3 << 20] {
                    if step < 100 && len > 50_000 {
                        continue;
                    }
                    let what = format!("{pool} {suite} {len} in pieces of {step}");
                    let mut random = rng(1);
                    let with_rng = envelope.with_rng(&mut random);
                    let mut writer = with_rng.encrypt_writer(Vec::new(), Aad::new(AAD)).unwrap();
                    text.chunks(step).for_each(|piece| writer.write_all(piece).unwrap());
                    assert!(writer.finish().unwrap() == message, "writer: {what}");
                    let mut random = rng(1);
                    let with_rng = envelope.with_rng(&mut random);
                    let mut reader = with_rng.encrypt_reader(&text[..], Aad::new(AAD)).unwrap();
                    let (mut read, mut piece) = (Vec::new(), vec![0; step]);
                    loop {
                        match reader.read(&mut piece).unwrap() {
                            0 => break,
                            len => read.extend_from_slice(&piece[..len]),
                        }
                    }
                    assert!(read == message, "reader: {what}");
                }
                let mut random = rng(1);
                let with_rng = envelope.with_rng(&mut random);
                let mut stream = with_rng.stream_encryptor(Aad::new(AAD)).unwrap();
                let mut whole = stream.take_header();
                let mut writer = EncryptWriter::from_stream(Vec::new(), stream);
                writer.write_all(&text).unwrap();
                whole.extend(writer.finish().unwrap());
                assert!(whole == message, "detached: {pool} {suite} {len}");
                let mut random = rng(1);
                let with_rng = envelope.with_rng(&mut random);
                let mut stream = with_rng.stream_encryptor(Aad::new(AAD)).unwrap();
                let mut whole = stream.take_header();
                let mut reader = EncryptReader::from_stream(&text[..], stream);
                reader.read_to_end(&mut whole).unwrap();
                assert!(whole == message, "detached reader: {pool} {suite} {len}");
            }
        }
    }
}

#[test]
fn every_reader_reads_the_plaintext_by_any_worker() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    for (_, workers) in pools() {
        // The room of the header goes beyond what is read at first.
        for reserved in [0, 9000] {
            let envelope = shared(&keyring, workers.clone()).with_reserved(reserved);
            for len in LENGTHS {
                let text = plaintext(len as u64, len);
                let message = envelope.encrypt(&text, Aad::new(AAD)).unwrap();
                let header_len = envelope.header_len().unwrap();
                let (header, body) = message.split_at(header_len);
                let key = envelope.open(header).unwrap();
                for (subject, bytes) in [
                    (Subject::Whole(&envelope, AAD), &message[..]),
                    (Subject::Detached(&envelope, header, AAD), body),
                    (Subject::Opened(&key, AAD), &message[..]),
                    (Subject::OpenedDetached(&key, header, AAD), body),
                ] {
                    let chunks_at = bytes.len() - body.len() + PREFIX;
                    let whole = Whole { subject, chunks_at, bytes, plaintext: &text };
                    BROAD.iter().for_each(|reader| whole.opens(*reader));
                }
            }
        }
    }
}

/// The code of one example: where it stands, and its text.
struct Snippet {
    place: String,
    code: String,
}

/// Every file below `root` with one of these endings.
fn files(root: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, endings, found);
        } else if path.extension().is_some_and(|end| endings.iter().any(|wanted| end == *wanted)) {
            found.push(path);
        }
    }
}

/// Blocks between fences, in Markdown or in doc comments.
fn blocks(place: &str, text: &str, is_rust: bool) -> Vec<Snippet> {
    let (mut snippets, mut open): (Vec<Snippet>, Option<String>) = (Vec::new(), None);
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let line = match (is_rust, line.strip_prefix("///").or(line.strip_prefix("//!"))) {
            (true, Some(doc)) => doc,
            (true, None) => {
                open = None;
                continue;
            }
            (false, _) => line,
        };
        if line.trim_start().starts_with("```") {
            match open.take() {
                Some(code) => snippets.push(Snippet { place: format!("{place}:{number}"), code }),
                None => open = Some(String::new()),
            }
        } else if let Some(code) = &mut open {
            code.push_str(line);
            code.push('\n');
        }
    }
    snippets
}

/// Calls that make a stream, and calls that end one: both must occur as often.
const ENDS: [(&[&str], &[&str]); 4] = [
    (&["encrypt_writer(", "encrypt_writer_detached("], &[".finish()", ".try_finish()"]),
    (
        &[
            "decrypt_reader(",
            "decrypt_reader_detached(",
            "encrypt_reader(",
            "encrypt_reader_detached(",
        ],
        &[".finish()", "read_to_end(", "read_to_string(", "io::copy(", "read_line(", ".lines()"],
    ),
    // A file is encrypted again to its end.
    (&[".stream_encryptor("], &[".finish(", "file::reencrypt("]),
    (&[".stream_decryptor(", "StreamDecryptor::open("], &[".finish(", "read_to_end("]),
];

/// The fault of a snippet; and how many streams it makes.
fn check(code: &str) -> (usize, Option<String>) {
    let count = |words: &[&str]| words.iter().map(|word| code.matches(word).count()).sum::<usize>();
    let mut made = 0;
    for (makes, ends) in ENDS {
        let streams = count(makes);
        made += streams;
        if count(ends) < streams {
            return (
                made,
                Some(format!("{streams} of {makes:?}, but {} of {ends:?}", count(ends))),
            );
        }
    }
    (made, None)
}

#[test]
fn every_example_ends_its_streams() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut snippets = Vec::new();
    let mut paths = Vec::new();
    for folder in ["src", "examples", "benches"] {
        files(&root.join(folder), &["rs", "md"], &mut paths);
    }
    paths.push(root.join("README.md"));
    for path in paths {
        let place = path.strip_prefix(root).unwrap().display().to_string();
        let text = fs::read_to_string(&path).unwrap();
        let is_rust = path.extension().is_some_and(|end| end == "rs");
        snippets.extend(blocks(&place, &text, is_rust));
        if place.starts_with("examples") {
            snippets.push(Snippet { place, code: text });
        }
    }
    let mut streams = 0;
    for Snippet { place, code } in &snippets {
        let (made, wrong) = check(code);
        assert_eq!(wrong, None, "{place}");
        streams += made;
    }
    println!("{streams} streams in {} snippets", snippets.len());
    assert!(streams >= 4 && snippets.len() >= 20);
}

/// The test itself detects the faults that it is for.
#[test]
fn example_without_an_end_is_seen() {
    for code in [
        "let mut w = envelope.encrypt_writer(file, aad)?; w.write_all(b\"x\")?;",
        "let mut r = envelope.decrypt_reader(file, aad)?; r.read(&mut buffer)?;",
        "let mut w = envelope.encrypt_writer(a, aad)?; envelope.encrypt_writer(b, aad)?; w.finish()?;",
        "let mut s = StreamDecryptor::open(&envelope, &start, aad)?; s.update(&bytes, &mut out)?;",
    ] {
        assert!(check(code).1.is_some(), "{code}");
    }
    let doc =
        "/// ```\n/// envelope.encrypt_writer(a)?;\n/// ```\nfn f() {}\n/// ```\n/// b\n/// ```";
    let found = blocks("x", doc, true);
    assert_eq!(found.len(), 2);
    assert!(check(&found[0].code).1.is_some() && check(&found[1].code).1.is_none());
}

/// Gives its bytes in pieces, interrupted in between, and may fail at last.
struct Source<'a> {
    bytes: &'a [u8],
    calls: usize,
    fault: Option<ErrorKind>,
}

impl Read for Source<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.calls += 1;
        if self.calls.is_multiple_of(3) {
            return Err(ErrorKind::Interrupted.into());
        }
        if let (true, Some(fault)) = (self.bytes.is_empty(), self.fault) {
            return Err(fault.into());
        }
        let len = out.len().min(5000);
        self.bytes.read(&mut out[..len])
    }
}

#[test]
fn copies_make_and_read_whole_messages() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    for (pool, threads) in pools() {
        let envelope = shared(&keyring, threads);
        for len in LENGTHS {
            let text = plaintext(len as u64, len);
            let (mut message, mut read) = (Vec::new(), Vec::new());
            let source = Source { bytes: &text, calls: 0, fault: None };
            let copied = envelope.encrypt_copy(source, &mut message, Aad::new(AAD)).unwrap();
            assert_eq!(copied, len as u64);
            assert!(envelope.decrypt(&message, Aad::new(AAD)).unwrap() == text, "{pool} {len}");
            let source = Source { bytes: &message, calls: 0, fault: None };
            let copied = envelope.decrypt_copy(source, &mut read, Aad::new(AAD)).unwrap();
            assert!(copied == len as u64 && read == text, "{pool} {len}");
        }
    }
}

#[test]
fn copy_fails_for_cut_message_and_source_that_fails() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring);
    let text = plaintext(1, 3 * CHUNK);
    let message = envelope.encrypt(&text, Aad::none()).unwrap();
    for cut in [1, 16, 17, CHUNK, CHUNK + 16, CHUNK + 17] {
        let mut read = Vec::new();
        let cut = &message[..message.len() - cut];
        let answer = envelope.decrypt_copy(cut, &mut read, Aad::none());
        let is_refused =
            matches!(answer, Err(Error::Truncated { .. } | Error::Authentication { .. }));
        assert!(is_refused && text.starts_with(&read), "{answer:?}");
    }
    let fault = Some(ErrorKind::ConnectionReset);
    let source = Source { bytes: &text, calls: 0, fault };
    let mut made = Vec::new();
    let answer = envelope.encrypt_copy(source, &mut made, Aad::none());
    assert!(matches!(answer, Err(Error::Io { .. })));
    assert!(envelope.decrypt(&made, Aad::none()).is_err());
}

/// A sink that stores only when it is flushed.
#[derive(Default)]
struct Flushed {
    waiting: Vec<u8>,
    stored: Vec<u8>,
}

impl Write for Flushed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waiting.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stored.append(&mut self.waiting);
        Ok(())
    }
}

#[test]
fn copies_flush_their_sink() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring);
    let (mut message, mut read) = (Flushed::default(), Flushed::default());
    envelope.encrypt_copy(&b"four score"[..], &mut message, Aad::none()).unwrap();
    envelope.decrypt_copy(&message.stored[..], &mut read, Aad::none()).unwrap();
    assert_eq!(read.stored, b"four score");
}

/// A writer, an encrypting reader and a push stream that are dropped before their end are reported
/// once; those that ended or failed are not.
#[test]
fn dropped_unfinished_stream_is_observed() {
    let reported = Arc::new(AtomicUsize::new(0));
    let count = reported.clone();
    let observer = FnObserver::new(move |event: &Event<'_>| {
        assert!(matches!(event, Event::StreamUnfinished));
        count.fetch_add(1, Ordering::Relaxed);
    });
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring).with_observer(Arc::new(observer));
    let is_reported = |times| {
        assert_eq!(reported.swap(0, Ordering::Relaxed), times);
    };
    let writer = || envelope.encrypt_writer(Vec::new(), Aad::none()).unwrap();

    drop(writer());
    is_reported(1);
    let mut unfinished = writer();
    unfinished.write_all(&[7; 3 * CHUNK]).unwrap();
    unfinished.flush().unwrap();
    drop(unfinished);
    is_reported(1);
    writer().finish().unwrap();
    let mut finished = writer();
    finished.write_all(&[7; 3 * CHUNK]).unwrap();
    finished.try_finish().unwrap();
    drop(finished);
    is_reported(0);

    let text = plaintext(1, 3 * CHUNK);
    let mut reader = envelope.encrypt_reader(&text[..], Aad::none()).unwrap();
    reader.read_exact(&mut [0; 100]).unwrap();
    drop(reader);
    is_reported(1);
    let mut reader = envelope.encrypt_reader(&text[..], Aad::none()).unwrap();
    reader.read_to_end(&mut Vec::new()).unwrap();
    drop(reader);
    is_reported(0);

    let mut stream = envelope.stream_encryptor(Aad::none()).unwrap();
    let _ = stream.update(b"four", &mut [0; 1000]).unwrap();
    drop(stream);
    is_reported(1);
    // Whole, though 0 was not answered.
    let mut stream = envelope.stream_encryptor(Aad::none()).unwrap();
    let mut out = [0; 1000];
    while !stream.is_finished() {
        stream.finish(&mut out).unwrap();
    }
    drop(stream);
    is_reported(0);

    // The bytes that were read are not reported: they change no message.
    let message = envelope.encrypt(&text, Aad::none()).unwrap();
    drop(envelope.decrypt_reader(&message[..], Aad::none()).unwrap());
    is_reported(0);
}

#[test]
fn reader_that_would_block_can_be_finished_later() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring);
    let message = envelope.encrypt(&plaintext(1, 9 * CHUNK), Aad::none()).unwrap();
    let step = [Step::Give(usize::MAX), Step::Fail(ErrorKind::WouldBlock), Step::Give(20_000)];
    let source = Scripted::source(&message, step.into_iter().cycle().take(60).collect());
    let mut reader = envelope.decrypt_reader(source, Aad::none()).unwrap();
    let mut blocked = 0;
    while let Err(error) = reader.try_finish() {
        assert_eq!(io::Error::from(error).kind(), ErrorKind::WouldBlock);
        blocked += 1;
    }
    assert!(blocked > 0);
    assert_eq!(reader.read(&mut [0; 10]).unwrap(), 0);
    reader.finish().unwrap();
}

/// SPEC B-LENGTH: where the length is known no keyring is asked; a stream meets it at the end.
#[test]
fn impossible_length_is_reported_at_once() {
    let writer = Envelope::new(MemoryKeyring::create("orders").unwrap());
    let other = Envelope::new(MemoryKeyring::create("others").unwrap());
    for len in [0, CHUNK] {
        let mut message = writer.encrypt(&plaintext(1, len), Aad::none()).unwrap();
        message.pop();
        for envelope in [&writer, &other] {
            let opened = envelope.decrypt(&message, Aad::none());
            assert!(matches!(opened, Err(Error::Truncated { .. })), "{opened:?}");
        }
        let opened = other.decrypt_reader(&message[..], Aad::none()).map(drop);
        assert!(matches!(opened, Err(Error::NoKey { .. })), "{opened:?}");
        let mut reader = writer.decrypt_reader(&message[..], Aad::none()).unwrap();
        let read = reader.read_to_end(&mut Vec::new()).unwrap_err();
        let read = Error::from(read);
        assert!(matches!(read, Error::Truncated { .. }), "{read:?}");
    }
}
