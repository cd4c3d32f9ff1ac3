//! The asynchronous writer and reader (feature `tokio`) against the one-shot calls, by streams that
//! are hardly ever ready, return single bytes, fail, and are dropped between any two polls.
//!
//! Tasks are run by an executor that takes a task which is pending, and was not woken, for hung.

#![cfg(feature = "tokio")]

use crate::detached::ReadDetached;
use envelock::rand_core::{Rng, SeedableRng};
use envelock::test_access::errors;
use envelock::{
    Aad, Envelope, Error, MemoryKeyring, Threads, Unverified,
    format::MessagePart,
    inspect,
    stream::{AsyncDecryptReader, AsyncEncryptWriter, MessageStart, StreamDecryptor},
};
use rand_chacha::ChaCha20Rng;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

const CHUNK: usize = 16_384;
const AAD: Aad<'static> = Aad::new(b"row 7");

fn envelope() -> Envelope<MemoryKeyring> {
    Envelope::new(MemoryKeyring::create("orders").unwrap())
}

fn plaintext(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at ^ ((at >> 8) * 7) ^ ((at >> 14) * 13)) as u8).collect()
}

/// Whether the task was woken.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

/// Runs `future` to its end; a wake-up that is missing is a failure, not a hang.
fn run<T>(future: impl Future<Output = T>) -> T {
    let flag = Arc::new(Flag::default());
    let waker = Waker::from(flag.clone());
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => {
                assert!(flag.0.swap(false, SeqCst), "pending without a wake-up")
            }
        }
    }
}

/// The behaviour of a stream at one poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whim {
    /// Not ready, and wakes later.
    Pending,
    /// Interrupted by a signal.
    Interrupted,
    /// Up to so many bytes.
    Some(usize),
}

/// Random whims, the same for a seed.
struct Whims(ChaCha20Rng);

impl Whims {
    fn new(seed: u64) -> Self {
        Whims(ChaCha20Rng::seed_from_u64(seed))
    }

    fn next(&mut self) -> Whim {
        match self.0.next_u32() % 8 {
            0 | 1 => Whim::Pending,
            2 => Whim::Interrupted,
            3 => Whim::Some(1),
            4 => Whim::Some(self.below(40) + 1),
            5 => Whim::Some(self.below(2 * CHUNK) + 1),
            _ => Whim::Some(usize::MAX),
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0.next_u32() as usize % bound
    }
}

/// A source and a sink in one, which splits reads and writes at random, with one error at a set
/// position: a reader that reports it twice has kept it.
struct Fickle {
    whims: Whims,
    bytes: Vec<u8>,
    at: usize,
    fails_at: Option<(usize, io::ErrorKind)>,
    flushed: usize,
    shutdowns: usize,
}

impl Fickle {
    fn source(seed: u64, bytes: &[u8]) -> Self {
        let (whims, bytes) = (Whims::new(seed), bytes.to_vec());
        Fickle { whims, bytes, at: 0, fails_at: None, flushed: 0, shutdowns: 0 }
    }

    fn sink(seed: u64) -> Self {
        Fickle::source(seed, &[])
    }

    /// How many bytes may go now of `len`, or why none.
    fn poll(&mut self, cx: &mut Context<'_>, len: usize) -> Poll<io::Result<usize>> {
        let most = match self.whims.next() {
            Whim::Pending => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Whim::Interrupted => return Poll::Ready(Err(io::ErrorKind::Interrupted.into())),
            Whim::Some(most) => most,
        };
        match self.fails_at {
            Some((at, kind)) if self.at >= at => {
                self.fails_at = None;
                Poll::Ready(Err(kind.into()))
            }
            Some((at, _)) => Poll::Ready(Ok(len.min(most).min(at - self.at))),
            None => Poll::Ready(Ok(len.min(most))),
        }
    }
}

impl AsyncRead for Fickle {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let there = buffer.remaining().min(self.bytes.len() - self.at);
        self.poll(cx, there).map_ok(|len| {
            let at = self.at;
            buffer.put_slice(&self.bytes[at..at + len]);
            self.at += len;
        })
    }
}

impl AsyncWrite for Fickle {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll(cx, bytes.len()).map_ok(|len| {
            self.bytes.extend_from_slice(&bytes[..len]);
            self.at += len;
            len
        })
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, 0).map_ok(|_| self.flushed = self.bytes.len())
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(cx, 0).map_ok(|_| self.shutdowns += 1)
    }
}

fn seeded(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// A writer whose message is that of `seed`.
fn writer(
    envelope: &Envelope<MemoryKeyring>,
    seed: u64,
    sink: Fickle,
) -> AsyncEncryptWriter<'_, Fickle> {
    let stream = envelope.with_rng(&mut seeded(seed)).stream_encryptor(AAD).unwrap();
    AsyncEncryptWriter::from_stream(sink, stream)
}

/// The output of a reader before its end or its error.
async fn read_all(
    mut reader: impl AsyncRead + Unpin,
    mut whims: Whims,
) -> (Vec<u8>, io::Result<()>) {
    let mut all = Vec::new();
    loop {
        let len = match whims.next() {
            Whim::Some(usize::MAX) => 100_000,
            Whim::Some(len) => len,
            _ => continue,
        };
        let mut piece = vec![0xA5; len];
        match reader.read(&mut piece).await {
            Ok(0) => return (all, Ok(())),
            Ok(len) => all.extend_from_slice(&piece[..len]),
            Err(error) => return (all, Err(error)),
        }
    }
}

/// The exact error, in words.
fn reported(error: impl Into<Error>) -> String {
    format!("{:?}", error.into())
}

const LENGTHS: [usize; 17] = [
    0,
    1,
    100,
    CHUNK - 1,
    CHUNK,
    CHUNK + 1,
    2 * CHUNK - 1,
    2 * CHUNK,
    2 * CHUNK + 1,
    3 * CHUNK,
    4 * CHUNK - 1,
    4 * CHUNK,
    4 * CHUNK + 1,
    5 * CHUNK + 77,
    8 * CHUNK,
    9 * CHUNK + 1,
    300_000,
];

#[test]
fn streams_of_any_pattern_make_and_read_one_message() {
    let envelope = envelope();
    for (seed, len) in (0..6).flat_map(|seed| LENGTHS.map(|len| (seed, len))) {
        let plaintext = plaintext(len);
        let expected = envelope.with_rng(&mut seeded(seed)).encrypt(&plaintext, AAD).unwrap();
        run(async {
            let mut writer = writer(&envelope, seed, Fickle::sink(seed));
            let mut whims = Whims::new(seed + 100);
            let mut rest = &plaintext[..];
            while !rest.is_empty() {
                let piece = match whims.next() {
                    Whim::Some(most) => &rest[..most.min(rest.len())],
                    Whim::Pending => {
                        writer.flush().await.unwrap();
                        assert_eq!(writer.get_ref().flushed, writer.get_ref().bytes.len());
                        continue;
                    }
                    Whim::Interrupted => &[],
                };
                rest = &rest[writer.write(piece).await.unwrap()..];
            }
            let sink = if seed % 2 == 0 {
                let sink = writer.finish().await.unwrap();
                assert_eq!(sink.shutdowns, 1);
                sink
            } else {
                let sink = writer.finish_without_shutdown().await.unwrap();
                assert_eq!((sink.flushed, sink.shutdowns), (expected.len(), 0));
                sink
            };
            assert!(sink.bytes == expected, "seed {seed}, {len} bytes");

            let source = Fickle::source(seed + 200, &expected);
            let reader = AsyncDecryptReader::open(&envelope, source, AAD).await.unwrap();
            let (read, end) = read_all(reader, Whims::new(seed + 300)).await;
            end.unwrap();
            assert!(read == plaintext, "seed {seed}, {len} bytes");

            let source = Fickle::source(seed + 400, &expected);
            let reader = AsyncDecryptReader::open(&envelope, source, AAD).await.unwrap();
            let source = reader.finish().await.unwrap();
            assert_eq!(source.at, expected.len());
        });
    }
}

/// THREATS row 24: with the error of the one-shot call, and of what was read nothing is wrong.
#[test]
fn every_prefix_is_refused() {
    let envelope = envelope();
    for len in [33, CHUNK, CHUNK + 33] {
        let plaintext = plaintext(len);
        let message = envelope.encrypt(&plaintext, AAD).unwrap();
        for cut in 0..message.len() {
            let part = &message[..cut];
            let expected = reported(envelope.decrypt(part, AAD).unwrap_err());
            run(async {
                let reader = match AsyncDecryptReader::open(&envelope, part, AAD).await {
                    Err(error) => return assert_eq!(reported(error), expected, "cut to {cut}"),
                    Ok(reader) => reader,
                };
                let mut reader = reader;
                let mut read = Vec::new();
                let error = reader.read_to_end(&mut read).await.unwrap_err();
                assert!(plaintext.starts_with(&read) && read.len() <= len / CHUNK * CHUNK);
                assert_eq!(reported(error), expected, "cut to {cut}");
                // Permanently, by every method.
                let error = reader.read(&mut [0; 1]).await.unwrap_err();
                assert_eq!(reported(error), expected);
                assert_eq!(reported(reader.finish().await.unwrap_err()), expected);
            });
        }
    }
}

#[test]
fn changed_message_gives_its_start_then_the_error() {
    let envelope = envelope();
    let plaintext = plaintext(6 * CHUNK + 5);
    let message = envelope.encrypt(&plaintext, AAD).unwrap();
    let start = message.len() - (plaintext.len() + 7 * 16);
    for (seed, at) in
        (0..7).flat_map(|chunk| [0, 9_000, 16_399].map(|at| chunk * 16_400 + at)).enumerate()
    {
        let mut changed = message.clone();
        let Some(byte) = changed.get_mut(start + at) else { continue };
        *byte ^= 1;
        run(async {
            let source = Fickle::source(seed as u64, &changed);
            let mut reader = AsyncDecryptReader::open(&envelope, source, AAD).await.unwrap();
            let (read, end) = read_all(&mut reader, Whims::new(seed as u64)).await;
            let index = at as u64 / 16_400;
            let part = if index < 6 {
                Unverified::Chunk { index }
            } else {
                Unverified::End { index, len: 5 + 16 }
            };
            assert_eq!(reported(end.unwrap_err()), reported(errors::authentication(part)));
            assert!(read == plaintext[..at / 16_400 * CHUNK], "byte {at}");
            let error = reader.read(&mut [0; 100]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        });
    }
}

#[test]
fn failure_of_source_is_repeated_pending_is_not() {
    let envelope = envelope();
    let plaintext = plaintext(3 * CHUNK);
    let message = envelope.encrypt(&plaintext, AAD).unwrap();
    for (seed, at) in (0..message.len()).step_by(499).enumerate() {
        let seed = seed as u64;
        run(async {
            let mut source = Fickle::source(seed, &message);
            source.fails_at = Some((at, io::ErrorKind::ConnectionReset));
            let mut reader = match AsyncDecryptReader::open(&envelope, source, AAD).await {
                Err(error) => return assert!(matches!(error, Error::Io { .. })),
                Ok(reader) => reader,
            };
            let (read, end) = read_all(&mut reader, Whims::new(seed)).await;
            assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
            assert!(plaintext.starts_with(&read));
            // Everything that had come is returned first.
            let chunks = at.saturating_sub(message.len() - (plaintext.len() + 4 * 16)) / 16_400;
            assert_eq!(read.len(), chunks * CHUNK);
            let error = reader.read(&mut [0; 1]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

            let mut source = Fickle::source(seed, &message);
            source.fails_at = Some((at.max(5000), io::ErrorKind::WouldBlock));
            let mut reader = AsyncDecryptReader::open(&envelope, source, AAD).await.unwrap();
            let (mut read, end) = read_all(&mut reader, Whims::new(seed)).await;
            assert_eq!(end.unwrap_err().kind(), io::ErrorKind::WouldBlock);
            let (more, end) = read_all(&mut reader, Whims::new(seed)).await;
            end.unwrap();
            read.extend(more);
            assert!(read == plaintext);
        });
    }
}

#[test]
fn failure_of_sink_is_repeated_pending_is_not() {
    let envelope = envelope();
    let plaintext = plaintext(3 * CHUNK);
    let expected = envelope.with_rng(&mut seeded(1)).encrypt(&plaintext, AAD).unwrap();
    for (seed, at) in (0..expected.len()).step_by(499).enumerate() {
        let seed = seed as u64;
        run(async {
            let mut sink = Fickle::sink(seed);
            sink.fails_at = Some((at, io::ErrorKind::BrokenPipe));
            let mut writer = writer(&envelope, 1, sink);
            let written = writer.write_all(&plaintext).await;
            let error = match written {
                Err(error) => error,
                Ok(()) => writer.shutdown().await.unwrap_err(),
            };
            assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
            assert_eq!(writer.write(b"").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
            assert_eq!(writer.flush().await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
            assert_eq!(writer.shutdown().await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
            assert!(writer.get_ref().bytes == expected[..at]);
            assert_eq!(writer.get_ref().shutdowns, 0);
            assert!(matches!(writer.finish().await, Err(Error::Io { .. })));

            let mut sink = Fickle::sink(seed);
            sink.fails_at = Some((at, io::ErrorKind::WouldBlock));
            let mut writer = self::writer(&envelope, 1, sink);
            let (mut rest, mut refused) = (&plaintext[..], 0);
            while !rest.is_empty() {
                match writer.write(rest).await {
                    Ok(len) => rest = &rest[len..],
                    Err(error) => {
                        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                        refused += 1;
                    }
                }
            }
            if let Err(error) = writer.shutdown().await {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                refused += 1;
            }
            assert_eq!(refused, 1);
            assert!(writer.finish().await.unwrap().bytes == expected);
        });
    }
}

#[test]
fn sink_that_takes_nothing_is_an_error_and_not_a_hang() {
    struct Full;
    impl AsyncWrite for Full {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(0))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }
    let mut writer = AsyncEncryptWriter::new(&envelope(), Full, AAD).unwrap();
    let error = run(writer.write(b"four score")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    assert_eq!(run(writer.shutdown()).unwrap_err().kind(), io::ErrorKind::WriteZero);
}

#[test]
fn shutting_down_ends_the_message_once() {
    let envelope = envelope();
    let mut writer = writer(&envelope, 1, Fickle::sink(1));
    run(async {
        writer.write_all(b"four score").await.unwrap();
        writer.shutdown().await.unwrap();
        let expected = envelope.with_rng(&mut seeded(1)).encrypt(b"four score", AAD).unwrap();
        assert_eq!(writer.get_ref().bytes, expected);
        writer.shutdown().await.unwrap();
        writer.flush().await.unwrap();
        assert_eq!(writer.get_ref().shutdowns, 1);
        assert_eq!(writer.get_ref().bytes, expected);
        let error = writer.write(b" and seven").await.unwrap_err();
        assert_eq!(reported(error), reported(Error::Ended));
        assert_eq!(writer.get_ref().bytes, expected);
    });
}

/// It is not the writer's failure, whatever it comes between.
#[test]
fn write_after_the_end_does_not_stop_output() {
    let envelope = envelope();
    let expected = envelope.with_rng(&mut seeded(1)).encrypt(b"four score", AAD).unwrap();
    let mut between = 0;
    for seed in 0..50 {
        let mut writer = writer(&envelope, 1, Fickle::sink(seed));
        run(writer.write_all(b"four score")).unwrap();
        loop {
            let is_shut = poll_once(writer.shutdown()).map(Result::unwrap).is_some();
            let error = poll_once(writer.write(b" and seven")).unwrap().unwrap_err();
            assert_eq!(reported(error), reported(Error::Ended));
            assert_eq!(run(writer.write(b"")).unwrap(), 0);
            if is_shut {
                break;
            }
            between += 1;
        }
        run(writer.flush()).unwrap();
        run(writer.shutdown()).unwrap();
        let sink = run(writer.finish()).unwrap();
        assert!(sink.bytes == expected, "seed {seed}");
        assert_eq!((sink.flushed, sink.shutdowns), (expected.len(), 1));
    }
    assert!(between > 10);
}

/// On purpose: a task that is cancelled must not leave what looks whole.
#[test]
fn unfinished_stream_is_refused() {
    let envelope = envelope();
    for len in [0, 10, CHUNK, 3 * CHUNK + 5] {
        let mut sink = Vec::new();
        let mut writer = AsyncEncryptWriter::new(&envelope, &mut sink, AAD).unwrap();
        run(async {
            writer.write_all(&plaintext(len)).await.unwrap();
            writer.flush().await.unwrap();
        });
        drop(writer);
        let error = envelope.decrypt(&sink, AAD).unwrap_err();
        assert!(matches!(error, Error::Truncated { part: MessagePart::Body, .. }), "{error}");
    }
}

/// Polls a future once and drops it, whatever it returns.
fn poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

#[test]
fn futures_dropped_between_polls_lose_nothing() {
    let envelope = envelope();
    let plaintext = plaintext(200_000);
    for seed in 0..20 {
        let mut writer = writer(&envelope, seed, Fickle::sink(seed));
        let mut rest = &plaintext[..];
        while !rest.is_empty() {
            if let Some(len) = poll_once(writer.write(rest)) {
                rest = &rest[len.unwrap()..];
            }
        }
        while poll_once(writer.shutdown()).is_none() {}
        let message = writer.get_ref().bytes.clone();
        let expected = envelope.with_rng(&mut seeded(seed)).encrypt(&plaintext, AAD).unwrap();
        assert!(message == expected, "seed {seed}");

        let source = Fickle::source(seed, &message);
        let mut reader = run(AsyncDecryptReader::open(&envelope, source, AAD)).unwrap();
        let (mut all, mut piece) = (Vec::new(), vec![0; 30_000]);
        loop {
            match poll_once(reader.read(&mut piece)) {
                None => {}
                Some(Ok(0)) => break,
                Some(len) => all.extend_from_slice(&piece[..len.unwrap()]),
            }
        }
        assert!(all == plaintext, "seed {seed}");
    }
}

#[test]
fn opened_key_reads_the_body_alone() {
    let envelope = envelope();
    let plaintext = plaintext(100_000);
    let message = envelope.encrypt(&plaintext, AAD).unwrap();
    let key = envelope.open(&message).unwrap();
    let body = &message[inspect(&message).unwrap().len()..];
    for seed in 0..20 {
        let source = Fickle::source(seed, body);
        let mut reader = run(AsyncDecryptReader::with_key(&key, source, AAD)).unwrap();
        let mut all = Vec::new();
        run(reader.read_to_end(&mut all)).unwrap();
        assert!(all == plaintext, "seed {seed}");
    }
    let error = run(AsyncDecryptReader::with_key(&key, &body[..55], AAD)).unwrap_err();
    assert!(matches!(error, Error::Truncated { part: MessagePart::Body, len: 55, .. }));
    let other = envelope.encrypt(&plaintext, AAD).unwrap();
    let other = &other[inspect(&other).unwrap().len()..];
    let error = run(AsyncDecryptReader::with_key(&key, other, AAD)).unwrap_err();
    assert!(matches!(error, Error::Authentication { .. }), "{error:?}");
}

/// Nothing that has come waits for what has not.
#[test]
fn whole_chunks_are_given_out_while_source_is_silent() {
    let envelope = envelope();
    let plaintext = plaintext(5 * CHUNK);
    let message = envelope.encrypt(&plaintext, AAD).unwrap();
    let start = message.len() - (plaintext.len() + 6 * 16);
    let (mut sender, receiver) = tokio::io::duplex(1 << 20);
    run(sender.write_all(&message[..start])).unwrap();
    let mut reader = run(AsyncDecryptReader::open(&envelope, receiver, AAD)).unwrap();
    let mut at = 0;
    for chunk in message[start..].chunks(16_400).take(5) {
        let (all_but_one, last) = chunk.split_at(chunk.len() - 1);
        run(sender.write_all(all_but_one)).unwrap();
        assert!(poll_once(reader.read(&mut [0; 1])).is_none(), "before its tag has come");
        run(sender.write_all(last)).unwrap();
        let mut piece = vec![0; CHUNK];
        for part in piece.chunks_mut(5000) {
            assert!(poll_once(reader.read_exact(part)).expect("it has all come").is_ok());
        }
        assert!(piece == plaintext[at..at + CHUNK]);
        at += CHUNK;
    }
    assert!(poll_once(reader.read(&mut [0; 1])).is_none(), "before the end has come");
}

/// The most that one poll turns, and that goes through before the task lets others run.
const POLL_LEN: usize = 4 * CHUNK + CHUNK;
const MAX_BYTES_PER_POLL: usize = 8 * CHUNK + POLL_LEN;

#[test]
fn streams_that_are_always_ready_let_others_run() {
    let envelope = envelope();
    let plaintext = plaintext(4 << 20);
    let flag = Arc::new(Flag::default());
    let waker = Waker::from(flag.clone());
    let mut cx = Context::from_waker(&waker);
    let woken = || flag.0.swap(false, SeqCst);

    let mut writer = AsyncEncryptWriter::new(&envelope, Vec::new(), AAD).unwrap();
    let mut went = Went::default();
    while went.at < plaintext.len() {
        let polled = Pin::new(&mut writer).poll_write(&mut cx, &plaintext[went.at..]);
        went.polled(polled.map(Result::unwrap), woken);
    }
    assert!(
        went.yields >= plaintext.len() / MAX_BYTES_PER_POLL,
        "only {} turns for others",
        went.yields
    );

    let message = run(writer.finish()).unwrap();
    let mut reader = run(AsyncDecryptReader::open(&envelope, &message[..], AAD)).unwrap();
    let mut went = Went::default();
    let mut out = vec![0; 1 << 20];
    loop {
        let mut room = ReadBuf::new(&mut out);
        let polled = Pin::new(&mut reader).poll_read(&mut cx, &mut room).map(Result::unwrap);
        let len = room.filled().len();
        assert!(out[..len] == plaintext[went.at..went.at + len]);
        went.polled(polled.map(|()| len), woken);
        if polled.is_ready() && len == 0 {
            break;
        }
    }
    assert_eq!(went.at, plaintext.len());
    assert!(
        went.yields >= plaintext.len() / MAX_BYTES_PER_POLL,
        "only {} turns for others",
        went.yields
    );
}

/// How much went through, in all and since others last ran.
#[derive(Default)]
struct Went {
    at: usize,
    in_a_row: usize,
    yields: usize,
}

impl Went {
    fn polled(&mut self, polled: Poll<usize>, woken: impl Fn() -> bool) {
        match polled {
            Poll::Ready(len) => {
                assert!(len <= POLL_LEN, "{len} bytes in one poll");
                self.at += len;
                self.in_a_row += len;
                assert!(self.in_a_row <= MAX_BYTES_PER_POLL, "{} bytes in a row", self.in_a_row);
            }
            Poll::Pending => {
                assert!(woken(), "pending without a wake-up");
                self.in_a_row = 0;
                self.yields += 1;
            }
        }
    }
}

#[test]
fn detached_header_and_external_stream_agree() {
    let envelope = envelope();
    let mut stream = envelope.stream_encryptor(AAD).unwrap();
    let header = stream.take_header();
    let plaintext = plaintext(CHUNK + 1);
    let mut writer = AsyncEncryptWriter::from_stream(Vec::new(), stream);
    run(writer.write_all(&plaintext)).unwrap();
    let body = run(writer.finish()).unwrap();
    assert!(envelope.decrypt_detached(&header, &body, AAD).unwrap() == plaintext);

    let mut start = MessageStart::detached(&header).unwrap();
    let taken = start.update(&body).unwrap();
    let stream = StreamDecryptor::open(&envelope, &start, AAD).unwrap();
    let mut reader = AsyncDecryptReader::from_stream(&body[taken..], stream);
    let mut read = Vec::new();
    run(reader.read_to_end(&mut read)).unwrap();
    assert!(read == plaintext);
}

/// A stream that was fed before holds what had no room: a chunk, and what goes before it.
#[test]
fn flush_passes_on_buffered_chunks() {
    let envelope = envelope();
    let plaintext = plaintext(2 * CHUNK);
    for (seed, room) in [(1, 1), (2, 40), (3, 200), (4, 500)] {
        let expected = envelope.with_rng(&mut seeded(seed)).encrypt(&plaintext, AAD).unwrap();
        let mut stream = envelope.with_rng(&mut seeded(seed)).stream_encryptor(AAD).unwrap();
        let (mut message, mut at, mut out) = (Vec::new(), 0, vec![0; room]);
        while at < CHUNK {
            let progress = stream.update(&plaintext[at..CHUNK], &mut out).unwrap();
            message.extend_from_slice(&out[..progress.produced]);
            at += progress.consumed;
        }
        let mut writer = AsyncEncryptWriter::from_stream(Fickle::sink(seed), stream);
        run(writer.flush()).unwrap();
        message.extend_from_slice(&writer.get_ref().bytes);
        assert!(expected.starts_with(&message));
        assert_eq!(message.len(), expected.len() - CHUNK - 2 * 16, "room for {room}");
        assert_eq!(writer.get_ref().flushed, writer.get_ref().bytes.len());

        let flushed = writer.get_ref().bytes.len();
        run(writer.write_all(&plaintext[CHUNK..])).unwrap();
        message.extend_from_slice(&run(writer.finish()).unwrap().bytes[flushed..]);
        assert!(message == expected);
    }
}

/// A reader that is asked for nothing is not at its end, and does nothing.
#[test]
fn empty_reads_and_writes_mean_nothing() {
    let envelope = envelope();
    let mut writer = writer(&envelope, 1, Fickle::sink(1));
    assert_eq!(run(writer.write(&[])).unwrap(), 0);
    assert_eq!(writer.get_ref().at, 0);
    run(writer.write_all(b"four score")).unwrap();
    let message = run(writer.finish()).unwrap().bytes;
    let mut reader = run(AsyncDecryptReader::open(&envelope, &message[..], AAD)).unwrap();
    assert_eq!(run(reader.read(&mut [])).unwrap(), 0);
    let mut read = Vec::new();
    run(reader.read_to_end(&mut read)).unwrap();
    assert_eq!(read, b"four score");
}

/// As applications have it: spawned on tokio's runtime, over a connection.
#[test]
fn message_goes_over_tokio() {
    fn spawnable<T: Send + 'static>(future: T) -> T {
        future
    }
    let envelope = Arc::new(envelope());
    let expected = plaintext(1_000_001);
    let (near, far) = tokio::io::duplex(10_000);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (sender, sent) = (envelope.clone(), expected.clone());
    runtime.block_on(async move {
        let sending = tokio::spawn(spawnable(async move {
            let mut writer = AsyncEncryptWriter::new(&sender, near, AAD).unwrap();
            writer.write_all(&sent).await.unwrap();
            writer.shutdown().await.unwrap();
        }));
        let reading = tokio::spawn(spawnable(async move {
            let mut reader = AsyncDecryptReader::open(&envelope, far, AAD).await.unwrap();
            let mut read = Vec::new();
            reader.read_to_end(&mut read).await.unwrap();
            read
        }));
        assert!(reading.await.unwrap() == expected);
        sending.await.unwrap();
    });
}

/// A sink like that of an object store: it stores at its shutdown, and only then.
#[derive(Default)]
struct Store {
    waiting: Vec<u8>,
    stored: Option<Vec<u8>>,
}

impl AsyncWrite for Store {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.waiting.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        assert!(self.stored.is_none(), "shut down twice");
        self.stored = Some(std::mem::take(&mut self.waiting));
        Poll::Ready(Ok(()))
    }
}

#[test]
fn finish_stores_in_sink_that_commits_at_its_shutdown() {
    let envelope = envelope();
    run(async {
        let mut writer = AsyncEncryptWriter::new(&envelope, Store::default(), AAD).unwrap();
        writer.write_all(b"four score").await.unwrap();
        let sink = writer.finish().await.unwrap();
        let message = sink.stored.expect("nothing is stored");
        assert_eq!(envelope.decrypt(&message, AAD).unwrap(), b"four score");

        // Shut down by hand and finished: once all the same.
        let mut writer = AsyncEncryptWriter::new(&envelope, Store::default(), AAD).unwrap();
        writer.write_all(b"four score").await.unwrap();
        writer.shutdown().await.unwrap();
        assert!(writer.finish().await.unwrap().stored.is_some());

        let mut writer = AsyncEncryptWriter::new(&envelope, Store::default(), AAD).unwrap();
        writer.write_all(b"four score").await.unwrap();
        let sink = writer.finish_without_shutdown().await.unwrap();
        assert!(sink.stored.is_none());
        assert_eq!(envelope.decrypt(&sink.waiting, AAD).unwrap(), b"four score");
    });
}

/// A pool of the envelope's would block the executor.
#[test]
fn asynchronous_streams_stay_on_the_polling_thread() {
    let threads = Threads::new(4).with_min_len(1);
    let envelope = envelope().with_threads(threads.clone());
    let text = plaintext(40 * CHUNK);
    let stream = envelope.stream_encryptor(AAD).unwrap();
    run(async {
        let mut writer = AsyncEncryptWriter::from_stream(Vec::new(), stream);
        writer.write_all(&text).await.unwrap();
        let message = writer.finish().await.unwrap();
        let mut reader = AsyncDecryptReader::open(&envelope, &message[..], AAD).await.unwrap();
        let mut read = Vec::new();
        reader.read_to_end(&mut read).await.unwrap();
        assert!(read == text);
    });
    assert_eq!(threads.started(), 0);
}
