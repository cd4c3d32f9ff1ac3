//! Streams against sources and sinks that give little, block, and break; and calls in any order
//! (THREATS 31, 32).

#![cfg(feature = "std")]

use crate::readers;

use envelock::test_access::errors;
use envelock::{
    Aad, Envelope, Error, MemoryKeyring,
    format::MessagePart,
    stream::{DecryptReader, EncryptReader, EncryptWriter},
};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use readers::sources::{Scripted, Step};
use readers::subject::Subject;
use readers::table::{BROAD, FINE};
use readers::{CHUNK, PREFIX, SEALED, plaintext, pools, rng, shared};
use std::io::{self, BufRead, ErrorKind, Read, Write};

const AAD: Aad<'static> = Aad::new(b"row 31");
const EPIPE: i32 = 32;

/// More calls than any of these streams takes: one that makes no progress is not waited for.
const MOST_CALLS: usize = 2_000_000;

fn keyring() -> MemoryKeyring {
    MemoryKeyring::create("orders").unwrap()
}

fn one_shot(envelope: &Envelope<&MemoryKeyring>, plaintext: &[u8]) -> Vec<u8> {
    envelope.with_rng(&mut rng(31)).encrypt(plaintext, AAD).unwrap()
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// Calls again as long as the result is "not yet".
fn insist<T>(mut call: impl FnMut() -> io::Result<T>) -> T {
    for _ in 0..MOST_CALLS {
        match call() {
            Err(error) if is_transient(&error) => {}
            answer => return answer.unwrap(),
        }
    }
    panic!("no progress");
}

fn write_all(
    writer: &mut EncryptWriter<Scripted>,
    plaintext: &[u8],
    sizes: &[usize],
    flush_every: usize,
) {
    let mut rest = plaintext;
    for call in 0..MOST_CALLS {
        if rest.is_empty() {
            return;
        }
        let size = sizes[call % sizes.len()].min(rest.len());
        let len = insist(|| writer.write(&rest[..size]));
        assert!(len > 0 || size == 0, "nothing taken");
        rest = &rest[len..];
        if call % flush_every == flush_every - 1 {
            insist(|| writer.flush());
        }
    }
    panic!("no progress");
}

fn finish(writer: &mut EncryptWriter<Scripted>) {
    for _ in 0..MOST_CALLS {
        match writer.try_finish().map_err(io::Error::from) {
            Err(error) if is_transient(&error) => {}
            answer => return answer.unwrap(),
        }
    }
    panic!("no progress");
}

/// Reads to the end with buffers of `sizes`; every other time, if so wished, by `fill_buf`.
fn read_all(reader: &mut impl BufRead, sizes: &[usize], buffered: bool) -> Vec<u8> {
    let mut whole = Vec::new();
    for call in 0..MOST_CALLS {
        let size = sizes[call % sizes.len()];
        let before = whole.len();
        if buffered && call % 2 == 1 {
            let ready = insist(|| reader.fill_buf().map(<[u8]>::to_vec));
            let len = size.min(ready.len());
            whole.extend_from_slice(&ready[..len]);
            reader.consume(len);
        } else {
            let mut out = vec![0xA5; size];
            let len = insist(|| reader.read(&mut out));
            assert!(out[len..].iter().all(|byte| matches!(byte, 0 | 0xA5)));
            whole.extend_from_slice(&out[..len]);
        }
        if size > 0 && whole.len() == before {
            return whole;
        }
    }
    panic!("no progress");
}

/// Steps of which at least one makes progress.
fn script() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..40_000_usize).prop_map(Step::Give),
        1 => (1..20_usize).prop_map(|len| Step::Give(1000 * len)),
        1 => Just(Step::Give(usize::MAX)),
        1 => Just(Step::Fail(ErrorKind::Interrupted)),
        2 => Just(Step::Fail(ErrorKind::WouldBlock)),
        1 => Just(Step::Fail(ErrorKind::TimedOut)),
    ];
    prop::collection::vec(step, 0..12).prop_map(|mut steps| {
        steps.push(Step::Give(5000));
        steps
    })
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    let size = prop_oneof![
        Just(0),
        1..100_usize,
        CHUNK - 2..CHUNK + 20,
        1..60_000_usize,
        250_000..600_000_usize,
    ];
    prop::collection::vec(size, 0..8).prop_map(|mut sizes| {
        sizes.push(3000);
        sizes
    })
}

fn lengths() -> impl Strategy<Value = usize> {
    let near_chunks = (0..4_usize, 0..5_usize);
    let near_batches = (1..4_usize, 0..5_usize);
    prop_oneof![
        2 => near_chunks.prop_map(|(chunks, more)| (chunks * CHUNK + more).saturating_sub(2)),
        1 => near_batches.prop_map(|(batches, more)| 16 * batches * CHUNK + more - 2),
        1 => 0..900_000_usize,
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, rng_seed: RngSeed::Fixed(31), failure_persistence: None, ..Default::default() })]

    #[test]
    fn blocking_calls_lose_and_double_nothing(
        len in lengths(),
        sizes in sizes(),
        script in script(),
        flush_every in prop_oneof![1..5_usize, Just(usize::MAX)],
    ) {
        let keyring = keyring();
        let plaintext = plaintext(31, len);
        for (pool, workers) in pools() {
            let envelope = shared(&keyring, workers);
            let message = one_shot(&envelope, &plaintext);

            let mut random = rng(31);
            let sink = Scripted::sink(script.clone());
            let mut writer = envelope.with_rng(&mut random).encrypt_writer(sink, AAD).unwrap();
            write_all(&mut writer, &plaintext, &sizes, flush_every);
            finish(&mut writer);
            prop_assert!(writer.get_ref().bytes == message, "{pool}: written");

            let mut random = rng(31);
            let source = Scripted::source(&plaintext, script.clone());
            let reader = envelope.with_rng(&mut random).encrypt_reader(source, AAD);
            let read = read_all(&mut reader.unwrap(), &sizes, len % 2 == 0);
            prop_assert!(read == message, "{pool}: read");

            // The header is read by a source that does not block: its first calls get all of it.
            let mut patient = vec![Step::Give(usize::MAX); 1];
            patient.extend(script.iter().copied());
            let source = Scripted::source(&message, patient);
            let mut reader = envelope.decrypt_reader(source, AAD).unwrap();
            let read = read_all(&mut reader, &sizes, len % 2 == 1);
            prop_assert!(read == plaintext, "{pool}: decrypted");
        }
    }
}

/// The text of an error, which is the same if the error is reported again.
fn same(first: &io::Error, again: io::Error) {
    assert_eq!((again.kind(), again.raw_os_error()), (first.kind(), first.raw_os_error()));
    assert_eq!(again.to_string(), first.to_string());
}

/// A script of `good` calls, one that breaks, and good ones permanently.
fn breaking(good: usize, piece: usize) -> Vec<Step> {
    let mut script = vec![Step::Give(piece); 400];
    script[good] = Step::Os(EPIPE);
    script
}

/// A sink that breaks at its every call: the writer fails in the same way permanently, and touches
/// the sink no more.
#[test]
fn broken_sink_is_never_forgotten() {
    let keyring = keyring();
    let plaintext = plaintext(32, 34 * CHUNK + 5);
    let mut broken = 0;
    for (pool, workers) in pools() {
        let envelope = shared(&keyring, workers);
        for (call, piece) in (0..40).flat_map(|call| [(call, 17_000), (call, 300_000)]) {
            let sink = Scripted::sink(breaking(call, piece));
            let mut writer = envelope.encrypt_writer(sink, AAD).unwrap();
            let mut failure = None;
            for piece in plaintext.chunks(100_000) {
                if let Err(error) = writer.write_all(piece).and_then(|()| writer.flush()) {
                    failure = Some(error);
                    break;
                }
            }
            let failure = failure.or_else(|| writer.try_finish().map_err(io::Error::from).err());
            let Some(failure) = failure else {
                assert!(writer.get_ref().calls <= call, "{pool}: a failure was swallowed");
                continue;
            };
            assert_eq!(failure.raw_os_error(), Some(EPIPE), "{pool}");
            let (calls, len) = (writer.get_ref().calls, writer.get_ref().bytes.len());
            for _ in 0..2 {
                same(&failure, writer.write(b"more").unwrap_err());
                same(&failure, writer.write(b"").unwrap_err());
                same(&failure, writer.write(&plaintext).unwrap_err());
                same(&failure, writer.flush().unwrap_err());
                same(&failure, writer.try_finish().unwrap_err().into());
            }
            assert_eq!((writer.get_ref().calls, writer.get_ref().bytes.len()), (calls, len));
            same(&failure, writer.finish().map(drop).unwrap_err().into());
            broken += 1;
        }
    }
    println!("{broken} sinks broke");
    assert!(broken > 100);
}

/// Reads until it fails, and holds the reader on failing so permanently.
fn fails_for_ever<R: BufRead>(
    mut reader: R,
    out_len: usize,
    is_part: &dyn Fn(&[u8]) -> bool,
) -> Option<(R, io::Error)> {
    let (mut whole, mut out) = (Vec::new(), vec![0xA5; out_len]);
    let failure = loop {
        match reader.read(&mut out) {
            Ok(0) => return None,
            Ok(len) => whole.extend_from_slice(&out[..len]),
            Err(error) => break error,
        }
        // An empty buffer requests nothing and gets no new error.
        if let Err(error) = reader.read(&mut []) {
            break error;
        }
    };
    assert!(is_part(&whole), "released what is not there");
    for _ in 0..2 {
        same(&failure, reader.read(&mut out).unwrap_err());
        same(&failure, reader.read(&mut []).unwrap_err());
        same(&failure, reader.read(&mut [0]).unwrap_err());
        same(&failure, reader.fill_buf().map(<[u8]>::len).unwrap_err());
        same(&failure, reader.read_to_end(&mut Vec::new()).unwrap_err());
    }
    Some((reader, failure))
}

#[test]
fn broken_source_is_never_forgotten() {
    let keyring = keyring();
    let plaintext = plaintext(32, 34 * CHUNK + 5);
    let (mut broken, mut sound) = (0, 0);
    for (pool, workers) in pools() {
        let envelope = shared(&keyring, workers);
        let message = one_shot(&envelope, &plaintext);
        for (call, piece, out) in (0..40).flat_map(|call| {
            [(call, 17_000, 5000), (call, 17_000, 70_000), (call, 300_000, 1 << 20)]
        }) {
            let source = Scripted::source(&message, breaking(call, piece));
            let opened: Result<DecryptReader<_>, Error> = envelope.decrypt_reader(source, AAD);
            let reader = match opened {
                Ok(reader) => reader,
                Err(error) => {
                    assert_eq!(io::Error::from(error).raw_os_error(), Some(EPIPE));
                    continue;
                }
            };
            let is_part = |read: &[u8]| plaintext.starts_with(read);
            match fails_for_ever(reader, out, &is_part) {
                Some((reader, failure)) => {
                    assert_eq!(failure.raw_os_error(), Some(EPIPE), "{pool}");
                    assert_eq!(reader.get_ref().calls, call + 1, "{pool}: asked again");
                    same(&failure, reader.finish().map(drop).unwrap_err().into());
                    broken += 1;
                }
                None => sound += 1,
            }
            let source = Scripted::source(&plaintext, breaking(call, piece));
            let mut random = rng(31);
            let reader: EncryptReader<_> =
                envelope.with_rng(&mut random).encrypt_reader(source, AAD).unwrap();
            let is_part = |read: &[u8]| message.starts_with(read);
            match fails_for_ever(reader, out, &is_part) {
                Some((reader, failure)) => {
                    assert_eq!(failure.raw_os_error(), Some(EPIPE), "{pool}");
                    assert_eq!(reader.get_ref().calls, call + 1, "{pool}: asked again");
                    broken += 1;
                }
                None => sound += 1,
            }
        }
    }
    println!("{broken} sources broke, {sound} were sound for long enough");
    assert!(broken > 200 && sound > 20);
}

/// A call without room reads nothing: it does not report a failure before the bytes read ahead of it
/// are returned, and does not take it back afterwards.
#[test]
fn empty_read_does_not_fail_before_a_full_one() {
    let keyring = keyring();
    let plaintext = plaintext(33, 40 * CHUNK);
    for (pool, workers) in pools() {
        let envelope = shared(&keyring, workers);
        let message = one_shot(&envelope, &plaintext);
        for call in 1..12 {
            let source = Scripted::source(&message, breaking(call, usize::MAX));
            let mut reader = envelope.decrypt_reader(source, AAD).unwrap();
            let mut out = vec![0; 1000];
            let mut failed = false;
            for _ in 0..1000 {
                let empty = reader.read(&mut []).is_err();
                assert!(empty || !failed, "{pool}: it recovered");
                failed |= empty;
                let read = reader.read(&mut out);
                assert!(read.is_err() || !failed, "{pool}: gave out bytes behind a failure");
                failed |= read.is_err();
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Call {
    Update(usize, usize),
    Finish(usize),
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let room = || prop_oneof![Just(0), 1..50_usize, 10_000..40_000_usize];
    let call = prop_oneof![
        4 => (prop_oneof![Just(0), 1..40_000_usize], room()).prop_map(|(n, m)| Call::Update(n, m)),
        1 => room().prop_map(Call::Finish),
    ];
    prop::collection::vec(call, 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, rng_seed: RngSeed::Fixed(32), failure_persistence: None, ..Default::default() })]

    /// Only the order update, finish works; a stream that is left before the end is no message.
    #[test]
    fn calls_of_push_streams_in_any_order(calls in calls()) {
        let keyring = keyring();
        let envelope = Envelope::new(&keyring);
        let text = plaintext(34, 1 << 20);
        let mut stream = envelope.stream_encryptor(AAD).unwrap();
        let (mut taken, mut message, mut ended) = (0, Vec::new(), false);
        for call in &calls {
            match *call {
                Call::Update(len, room) => {
                    let mut out = vec![0; room];
                    let input = &text[taken..(taken + len).min(text.len())];
                    match stream.update(input, &mut out) {
                        Ok(progress) => {
                            prop_assert!(!ended);
                            taken += progress.consumed;
                            message.extend_from_slice(&out[..progress.produced]);
                        }
                        Err(error) => {
                            prop_assert!(ended && matches!(error, Error::Ended), "{error:?}");
                            prop_assert!(out.iter().all(|byte| *byte == 0));
                        }
                    }
                }
                Call::Finish(room) => {
                    let mut out = vec![0; room];
                    ended = true;
                    match stream.finish(&mut out) {
                        Ok(len) => message.extend_from_slice(&out[..len]),
                        // 0 would say that all is out.
                        Err(error) => prop_assert!(no_room(&error, room), "{error:?}"),
                    }
                }
            }
            let whole = one_shot_len(&envelope, taken);
            prop_assert!(message.len() <= whole);
            prop_assert_eq!(stream.is_finished(), ended && message.len() == whole);
            let opened = envelope.decrypt(&message, AAD);
            prop_assert_eq!(opened.is_ok(), stream.is_finished());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, rng_seed: RngSeed::Fixed(33), failure_persistence: None, ..Default::default() })]

    /// Whatever the order: what comes out is the start of the plaintext, only the whole message
    /// ends well, and the first failure is the result of every later call.
    #[test]
    fn calls_of_push_decryptors_in_any_order(calls in calls(), len in 0..90_000_usize) {
        let keyring = keyring();
        let envelope = Envelope::new(&keyring);
        let text = plaintext(37, len);
        let message = envelope.encrypt(&text, AAD).unwrap();
        let subject = Subject::Whole(&envelope, AAD.as_bytes());
        let (mut stream, mut taken) = subject.push(&message, usize::MAX).unwrap();
        let (mut read, mut ended) = (Vec::new(), false);
        let mut failure: Option<String> = None;
        for call in &calls {
            let mut out = vec![0xA5; match *call { Call::Update(_, room) | Call::Finish(room) => room }];
            let answer = match *call {
                Call::Update(len, _) => {
                    let piece = &message[taken..(taken + len).min(message.len())];
                    stream.update(piece, &mut out).map(|progress| {
                        taken += progress.consumed;
                        progress.produced
                    })
                }
                Call::Finish(_) => stream.finish(&mut out),
            };
            match (&answer, &failure) {
                (Ok(_), Some(failure)) => prop_assert!(false, "answered after {failure}"),
                (Err(error), Some(failure)) => prop_assert_eq!(&format!("{:?}", error), failure),
                (Err(Error::Ended), None) => prop_assert!(ended && matches!(call, Call::Update(..))),
                (Err(error), None) if no_room(error, out.len()) => {
                    prop_assert!(matches!(call, Call::Finish(_)));
                }
                (Err(error), None) => {
                    prop_assert!(taken < message.len(), "{error:?} of the whole message");
                    failure = Some(format!("{error:?}"));
                }
                (Ok(_), None) => prop_assert!(!ended || matches!(call, Call::Finish(_))),
            }
            ended |= matches!(call, Call::Finish(_));
            let produced = answer.unwrap_or(0);
            read.extend_from_slice(&out[..produced]);
            prop_assert!(out[produced..].iter().all(|byte| matches!(byte, 0 | 0xA5)));
            prop_assert!(text.starts_with(&read), "released what is not there");
            if stream.is_finished() {
                prop_assert!(ended && taken == message.len() && read == text);
            }
        }
    }
}

/// Whether `error` only says that a call was given no room for what is left.
fn no_room(error: &Error, room: usize) -> bool {
    room == 0 && matches!(error, Error::BufferLength { len: 0, needed: 1.., .. })
}

fn one_shot_len(envelope: &Envelope<&MemoryKeyring>, len: usize) -> usize {
    envelope.message_len(len).unwrap()
}

/// A writer that is dropped at any point leaves what every reader refuses as truncated.
#[test]
fn writer_that_is_dropped_leaves_a_truncated_message() {
    let keyring = keyring();
    let mut dropped = 0;
    for (pool, workers) in pools() {
        let serial = Envelope::new(&keyring);
        let envelope = shared(&keyring, workers);
        let header_len = envelope.header_len().unwrap();
        for (len, flush) in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 20 * CHUNK]
            .into_iter()
            .flat_map(|len| [(len, false), (len, true)])
        {
            let text = plaintext(len as u64, len);
            let mut left = Vec::new();
            let mut writer = envelope.encrypt_writer(&mut left, AAD).unwrap();
            writer.write_all(&text).unwrap();
            if flush {
                writer.flush().unwrap();
            }
            drop(writer);
            if left.is_empty() {
                // Nothing at all is no start of a message either.
                let refused = envelope.decrypt(&left, AAD).unwrap_err();
                assert!(matches!(refused, Error::NotEnvelock { .. }), "{refused:?}");
                continue;
            }
            // SPEC: whole chunks, and after a flush all that are whole.
            let body_len = left.len() - header_len;
            assert_eq!((body_len - PREFIX) % SEALED, 0, "{pool}");
            let chunks = (body_len - PREFIX) / SEALED;
            assert!(!flush || chunks == len / CHUNK, "{pool}: a flush of {len} kept chunks back");
            let refused =
                errors::truncated(MessagePart::Body, body_len as u64, body_len as u64 + 16);
            let readers = if len < 2 * CHUNK { &[&BROAD[..], &FINE].concat()[..] } else { &BROAD };
            for reader in readers {
                let outcome = reader.run(&Subject::Whole(&serial, AAD.as_bytes()), &left);
                assert_eq!(format!("{:?}", outcome.end), format!("{:?}", Err::<(), _>(&refused)));
                assert!(outcome.is_part_of(&text), "{pool} {reader:?}");
                dropped += 1;
            }
        }
    }
    println!("{dropped} results checked");
    assert!(dropped > 500);
}

/// `flush` keeps no whole chunk back, however much is written at once.
#[test]
fn flush_hands_on_every_whole_chunk() {
    let keyring = keyring();
    let text = plaintext(35, 80 * CHUNK);
    for (pool, workers) in pools() {
        let envelope = shared(&keyring, workers);
        let start = envelope.header_len().unwrap() + PREFIX;
        for first in [0, 1, 10, CHUNK - 1] {
            for chunks in [1, 7, 8, 9, 10, 17, 33, 70] {
                let mut writer = envelope.encrypt_writer(Vec::new(), AAD).unwrap();
                writer.write_all(&text[..first]).unwrap();
                writer.write_all(&text[first..chunks * CHUNK]).unwrap();
                writer.flush().unwrap();
                let sent = writer.get_ref().len();
                assert_eq!(sent, start + chunks * SEALED, "{pool}: {first}, {chunks} chunks");
            }
        }
    }
}

/// The end is the same for any number of threads.
#[test]
fn nothing_can_be_written_behind_the_end() {
    let keyring = keyring();
    for (pool, workers) in pools() {
        let envelope = shared(&keyring, workers);
        for len in [0, 5, CHUNK, 40 * CHUNK] {
            let text = plaintext(36, len);
            let mut writer = envelope.encrypt_writer(Vec::new(), AAD).unwrap();
            writer.write_all(&text).unwrap();
            writer.try_finish().unwrap();
            let more = writer.write(b"more").unwrap_err();
            assert!(matches!(Error::from(more), Error::Ended), "{pool}");
            // The message stays what it was.
            let _ = writer.flush();
            let message = writer.get_ref().clone();
            assert!(envelope.decrypt(&message, AAD).unwrap() == text, "{pool}");
        }
        // Nor while the end waits for a sink that blocks: and the end still comes.
        let script = vec![Step::Fail(ErrorKind::WouldBlock), Step::Give(100)];
        let mut writer = envelope.encrypt_writer(Scripted::sink(script), AAD).unwrap();
        writer.write_all(b"four score").unwrap_or_else(|error| assert!(is_transient(&error)));
        insist(|| writer.write(b"four score"));
        let mut waited = 0;
        while let Err(error) = writer.try_finish() {
            assert!(is_transient(&error.into()), "{pool}");
            let more = writer.write(b"more").unwrap_err();
            assert!(matches!(Error::from(more), Error::Ended), "{pool}");
            waited += 1;
        }
        assert!(waited > 0, "{pool}");
        let opened = envelope.decrypt(&writer.get_ref().bytes, AAD).unwrap();
        assert!(opened.ends_with(b"four score") && !opened.ends_with(b"more"), "{pool}");
    }
}

/// Panics after its first bytes, once, and writes what it does not report before it fails.
struct Panicking<'b> {
    bytes: &'b [u8],
    calls: usize,
}

impl Read for Panicking<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.calls += 1;
        let len = self.bytes.len().min(out.len()).min(100);
        out[..len].copy_from_slice(&self.bytes[..len]);
        match self.calls {
            2 => panic!("the source"),
            3 => Err(ErrorKind::WouldBlock.into()),
            _ => {
                self.bytes = &self.bytes[len..];
                Ok(len)
            }
        }
    }
}

/// Bytes that were read stay in the reader, and bytes that were not returned leave the caller's buffer.
#[test]
fn source_that_panics_loses_no_bytes() {
    let keyring = keyring();
    let text = plaintext(37, 3 * CHUNK);
    for provider in envelock::Provider::ALL {
        let envelope = Envelope::new(&keyring).with_provider(*provider);
        let source = Panicking { bytes: &text, calls: 0 };
        let mut reader = envelope.encrypt_reader(source, AAD).unwrap();
        let (mut message, mut out) = (Vec::new(), vec![0; SEALED]);
        let start = envelope.header_len().unwrap() + PREFIX;
        while message.len() < start {
            let len = reader.read(&mut out[..start - message.len()]).unwrap();
            message.extend_from_slice(&out[..len]);
        }
        out.fill(0);
        let read = std::panic::AssertUnwindSafe(|| reader.read(&mut out));
        std::panic::catch_unwind(read).unwrap_err();
        let error = reader.read(&mut out).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "{provider}");
        assert!(out.iter().all(|byte| *byte == 0), "{provider}");
        reader.read_to_end(&mut message).unwrap();
        assert!(envelope.decrypt(&message, AAD).unwrap() == text, "{provider}");
    }
}
