//! Everything that decrypts, as one list of functions from bytes to what came out and how it
//! ended.

use super::sources::{Counting, Pieces};
use super::subject::Subject;
use super::{CHUNK, FILLING};
use envelock::{
    Error,
    stream::{RangePlan, SeekReader, StreamDecryptor},
};
use std::io::{BufRead, Read, Seek, SeekFrom};

/// The output of a reader before its end, each piece with its offset in the plaintext.
pub struct Outcome {
    pub released: Vec<(usize, Vec<u8>)>,
    pub end: Result<(), Error>,
}

impl Outcome {
    /// How many bytes came out.
    pub fn len(&self) -> usize {
        self.released.iter().map(|(_, piece)| piece.len()).sum()
    }

    /// Whether every byte of output is the plaintext's at its offset.
    pub fn is_part_of(&self, plaintext: &[u8]) -> bool {
        self.released.iter().all(|(at, piece)| {
            plaintext.get(*at..*at + piece.len()).is_some_and(|there| there == piece)
        })
    }

    /// All that came out, if it has no gaps.
    pub fn joined(&self) -> Vec<u8> {
        let mut pieces: Vec<_> = self.released.iter().collect();
        pieces.sort_by_key(|(at, _)| *at);
        let mut whole = Vec::new();
        for (at, piece) in pieces {
            assert_eq!(*at, whole.len(), "a gap");
            whole.extend_from_slice(piece);
        }
        whole
    }
}

/// How a reader goes through a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    OneShot,
    Into,
    InPlace,
    /// Push, with input and output of so many bytes.
    Push(usize, usize),
    /// `Read` with buffers of so many bytes.
    Read(usize),
    /// The same, from a source that gives so many bytes at a time.
    Dribble(usize, usize),
    ReadToEnd,
    /// `BufRead`, of which at most so many bytes are consumed at a time.
    BufRead(usize),
    /// Nothing but `finish`.
    Finish,
    /// `read_at` of everything in one call.
    RangeWhole,
    /// `read_at` of so many bytes at a time.
    RangePieces(usize),
    /// `len`, then `read_exact_at` of all of it.
    RangeLen,
    /// `Read` in what can be sought in, with buffers of so many bytes.
    SeekRead(usize),
    /// From the last chunk back to the first.
    SeekBack,
    /// A plan for each chunk, in place.
    PlanInPlace,
    /// A plan for each chunk, into a buffer.
    PlanInto,
    /// One plan for everything and more, into a buffer.
    PlanAll,
}

use Reader as R;

/// Every reader with few and large pieces: for long messages and many of them.
pub const BROAD: [Reader; 23] = [
    R::OneShot,
    R::Into,
    R::InPlace,
    R::Push(16_400, 16_384),
    R::Push(16_399, 16_385),
    R::Push(33_000, 40_000),
    R::Push(1 << 20, 512),
    R::Read(16_383),
    R::Read(16_384),
    R::Read(16_385),
    R::Read(100_000),
    R::Dribble(4095, 16_384),
    R::ReadToEnd,
    R::BufRead(5000),
    R::Finish,
    R::RangeWhole,
    R::RangePieces(16_383),
    R::RangeLen,
    R::SeekRead(100_000),
    R::SeekBack,
    R::PlanInPlace,
    R::PlanInto,
    R::PlanAll,
];

/// Those that go in small pieces, and take their time.
pub const FINE: [Reader; 10] = [
    R::Push(1, 1 << 20),
    R::Push(7, 7),
    R::Push(100_000, 1),
    R::Read(1),
    R::Read(7),
    R::Read(512),
    R::Dribble(1, 100_000),
    R::BufRead(1),
    R::RangePieces(512),
    R::SeekRead(7),
];

impl Reader {
    /// Whether it knows the length of the message before it decrypts a chunk, as one-shot decryption
    /// does. The others report a length that no message has only at the end.
    pub fn knows_len(self) -> bool {
        !matches!(
            self,
            R::Push(..) | R::Read(_) | R::Dribble(..) | R::ReadToEnd | R::BufRead(_) | R::Finish
        )
    }

    /// Whether it returns nothing unless the whole message is good.
    pub fn is_whole(self) -> bool {
        matches!(self, R::OneShot | R::Into | R::InPlace | R::Finish)
    }

    /// Reads `bytes` as `subject`.
    ///
    /// # Panics
    ///
    /// If a buffer of the caller's contains anything but verified plaintext, zeroes and its former
    /// content; if the result differs when it is asked again; if a source is asked without end.
    pub fn run(self, subject: &Subject<'_>, bytes: &[u8]) -> Outcome {
        let mut released = Vec::new();
        let end = match self {
            R::OneShot => subject.decrypt(bytes).map(|plaintext| released.push((0, plaintext))),
            R::Into => into(subject, bytes, &mut released),
            R::InPlace => in_place(subject, bytes, &mut released),
            R::Push(input, out) => push(subject, bytes, input, out, &mut released),
            R::Read(size) => read(subject, bytes, usize::MAX, size, &mut released),
            R::Dribble(step, size) => read(subject, bytes, step, size, &mut released),
            R::ReadToEnd => read_to_end(subject, bytes, &mut released),
            R::BufRead(most) => buf_read(subject, bytes, most, &mut released),
            R::Finish => subject
                .reader(Pieces::new(bytes, 5000))
                .and_then(|reader| reader.finish())
                .map(drop),
            R::RangeWhole => range_pieces(subject, bytes, bytes.len() + 10, &mut released),
            R::RangePieces(size) => range_pieces(subject, bytes, size, &mut released),
            R::RangeLen => range_len(subject, bytes, &mut released),
            R::SeekRead(size) => seek_read(subject, bytes, size, &mut released),
            R::SeekBack => seek_back(subject, bytes, &mut released),
            R::PlanInPlace | R::PlanInto | R::PlanAll => plans(self, subject, bytes, &mut released),
        };
        Outcome { released, end }
    }
}

type Released = Vec<(usize, Vec<u8>)>;

/// Appends to what came out in order.
fn release(released: &mut Released, piece: &[u8]) {
    match released.last_mut() {
        Some((_, last)) => last.extend_from_slice(piece),
        None => released.push((0, piece.to_vec())),
    }
}

/// The rest of a caller's buffer has its former content or zeroes (THREATS 29). Plaintexts of these
/// tests have neither.
#[track_caller]
pub fn assert_clean(rest: &[u8]) {
    const OLD: [u8; 4096] = [FILLING; 4096];
    let is_old = |piece: &[u8]| piece == &OLD[..piece.len()];
    if !rest.chunks(4096).all(is_old) {
        let dirty = rest.iter().position(|byte| !matches!(*byte, 0 | FILLING));
        assert_eq!(dirty, None, "a buffer of {} bytes was left dirty", rest.len());
    }
}

fn into(subject: &Subject<'_>, bytes: &[u8], released: &mut Released) -> Result<(), Error> {
    let len = match subject.range_decryptor(bytes) {
        Ok(message) => message.unverified_len() as usize,
        Err(_) => 100,
    };
    let mut out = vec![FILLING; len];
    let opened = subject.decrypt_into(bytes, &mut out);
    match &opened {
        Ok(()) => released.push((0, out)),
        Err(_) => assert_clean(&out),
    }
    opened
}

fn in_place(subject: &Subject<'_>, bytes: &[u8], released: &mut Released) -> Result<(), Error> {
    let mut message = bytes.to_vec();
    let opened = subject.decrypt_in_place(&mut message).map(|plaintext| plaintext.to_vec());
    let opened = opened.map(|plaintext| released.push((0, plaintext)));
    if opened.is_err() && message != bytes {
        let header_len = message.iter().zip(bytes).take_while(|(left, was)| left == was).count();
        assert!(message[header_len..].iter().all(|byte| *byte == 0), "left bytes in place");
    }
    opened
}

fn push(
    subject: &Subject<'_>,
    bytes: &[u8],
    input: usize,
    out: usize,
    released: &mut Released,
) -> Result<(), Error> {
    let (mut stream, taken) = subject.push(bytes, input)?;
    let ended = push_all(&mut stream, &bytes[taken..], input, out, released);
    assert_eq!(stream.is_finished(), ended.is_ok());
    if let Err(error) = &ended {
        // It fails in the same way permanently, and gives nothing out.
        let mut room = vec![FILLING; 20_000];
        for _ in 0..2 {
            let again = stream.update(b"", &mut room).map(|progress| progress.produced);
            same(error, again);
            same(error, stream.update(&[7; 40_000], &mut room).map(|progress| progress.produced));
            same(error, stream.finish(&mut room));
        }
        assert_clean(&room);
    }
    ended
}

fn push_all(
    stream: &mut StreamDecryptor,
    bytes: &[u8],
    input: usize,
    out: usize,
    released: &mut Released,
) -> Result<(), Error> {
    let mut room = vec![FILLING; out];
    // Bytes that a call without output left behind are seen after the next one with some, or the last.
    let mut give = |room: &mut Vec<u8>, len: usize| {
        if len > 0 {
            release(released, &room[..len]);
            assert_clean(&room[len..]);
            room[..len].fill(FILLING);
        }
    };
    for piece in bytes.chunks(input) {
        let mut rest = piece;
        while !rest.is_empty() {
            let progress = stream.update(rest, &mut room).inspect_err(|_| assert_clean(&room))?;
            assert!(progress.consumed + progress.produced > 0, "no progress");
            rest = &rest[progress.consumed..];
            give(&mut room, progress.produced);
        }
    }
    // Buffered bytes are output also before a missing end.
    loop {
        let progress = stream.update(&[], &mut room).inspect_err(|_| assert_clean(&room))?;
        if progress.produced == 0 {
            break;
        }
        give(&mut room, progress.produced);
    }
    loop {
        match stream.finish(&mut room).inspect_err(|_| assert_clean(&room))? {
            0 => {
                assert_clean(&room);
                return Ok(());
            }
            len => give(&mut room, len),
        }
    }
}

#[track_caller]
fn same<T: std::fmt::Debug>(error: &Error, again: Result<T, impl Into<Error>>) {
    let again: Error = again.expect_err("it failed before").into();
    assert_eq!(format!("{again:?}"), format!("{error:?}"), "failed in another way");
}

fn read(
    subject: &Subject<'_>,
    bytes: &[u8],
    step: usize,
    size: usize,
    released: &mut Released,
) -> Result<(), Error> {
    let mut reader = subject.reader(Pieces::new(bytes, step.min(bytes.len().max(1))))?;
    let mut out = vec![FILLING; size];
    let ended = read_all(&mut reader, &mut out, released);
    match &ended {
        Ok(()) => {
            assert_eq!(reader.read(&mut out).unwrap(), 0);
            assert_eq!(reader.fill_buf().unwrap(), b"");
            reader.finish().unwrap();
        }
        Err(error) => {
            for _ in 0..2 {
                same(error, reader.read(&mut out));
                same(error, reader.read(&mut []));
                same(error, reader.fill_buf().map(<[u8]>::len));
            }
            same(error, reader.finish().map(drop));
        }
    }
    ended
}

/// Reads up to `Ok(0)`, through `out`.
fn read_all(reader: &mut impl Read, out: &mut [u8], released: &mut Released) -> Result<(), Error> {
    loop {
        let len = reader.read(out).inspect_err(|_| assert_clean(out))?;
        release(released, &out[..len]);
        assert_clean(&out[len..]);
        out[..len].fill(FILLING);
        if len == 0 {
            return Ok(());
        }
    }
}

fn read_to_end(subject: &Subject<'_>, bytes: &[u8], released: &mut Released) -> Result<(), Error> {
    let mut out = Vec::new();
    let mut reader = subject.reader(Pieces::new(bytes, 10_000))?;
    let ended = reader.read_to_end(&mut out).map(drop).map_err(Error::from);
    released.push((0, out));
    ended
}

fn buf_read(
    subject: &Subject<'_>,
    bytes: &[u8],
    most: usize,
    released: &mut Released,
) -> Result<(), Error> {
    let mut reader = subject.reader(Pieces::new(bytes, bytes.len().max(1)))?;
    loop {
        let ready = reader.fill_buf()?;
        let len = ready.len().min(most);
        if len == 0 {
            return Ok(());
        }
        release(released, &ready[..len]);
        reader.consume(len);
    }
}

fn range_pieces(
    subject: &Subject<'_>,
    bytes: &[u8],
    size: usize,
    released: &mut Released,
) -> Result<(), Error> {
    let source = Counting::in_pieces(bytes, 40_000);
    let reader =
        subject.ranges(source.limit_calls(bytes.len() / size + bytes.len() / 4000 + 40))?;
    let mut out = vec![FILLING; size];
    let mut at = 0;
    loop {
        let len = match reader.read_at(&mut out, at as u64) {
            Ok(len) => len,
            Err(error) => {
                assert_clean(&out);
                same(&error, reader.read_at(&mut out, at as u64));
                return Err(error);
            }
        };
        release(released, &out[..len]);
        assert_clean(&out[len..]);
        out[..len].fill(FILLING);
        at += len;
        if len == 0 {
            assert_eq!(reader.len()?, at as u64);
            return Ok(());
        }
    }
}

fn range_len(subject: &Subject<'_>, bytes: &[u8], released: &mut Released) -> Result<(), Error> {
    let reader = subject.ranges(bytes)?;
    let len = reader.len()?;
    assert_eq!(len, reader.len()?);
    let mut out = vec![FILLING; len as usize];
    reader.read_exact_at(&mut out, 0).inspect_err(|_| assert_clean(&out))?;
    released.push((0, out));
    let mut one = [FILLING; 2];
    let beyond = reader.read_exact_at(&mut one, len.saturating_sub(1)).unwrap_err();
    assert!(matches!(beyond, Error::Io { .. }), "{beyond:?}");
    assert_clean(&one);
    Ok(())
}

fn seek_reader<'b>(subject: &Subject<'_>, bytes: &'b [u8]) -> Result<SeekReader<&'b [u8]>, Error> {
    Ok(subject.ranges(bytes)?.into_seek_reader())
}

fn seek_read(
    subject: &Subject<'_>,
    bytes: &[u8],
    size: usize,
    released: &mut Released,
) -> Result<(), Error> {
    let mut reader = seek_reader(subject, bytes)?;
    let mut out = vec![FILLING; size];
    let ended = read_all(&mut reader, &mut out, released);
    if let Err(error) = &ended {
        same(error, reader.read(&mut out));
    }
    ended
}

fn seek_back(subject: &Subject<'_>, bytes: &[u8], released: &mut Released) -> Result<(), Error> {
    let mut reader = seek_reader(subject, bytes)?;
    let len = reader.seek(SeekFrom::End(0))? as usize;
    let mut failed = Ok(());
    for start in (0..=len / CHUNK).rev().map(|index| index * CHUNK) {
        reader.seek(SeekFrom::Start(start as u64))?;
        let mut out = vec![FILLING; CHUNK.min(len - start)];
        match reader.read_exact(&mut out) {
            Ok(()) => released.push((start, out)),
            Err(error) => failed = Err(error.into()),
        }
    }
    failed
}

fn plans(
    how: Reader,
    subject: &Subject<'_>,
    bytes: &[u8],
    released: &mut Released,
) -> Result<(), Error> {
    let message = subject.range_decryptor(bytes)?;
    let len = message.unverified_len();
    let chunk = CHUNK as u64;
    let plans: Vec<RangePlan> = match how {
        R::PlanAll => vec![message.plan(0..u64::MAX)],
        // Each chunk, the end first.
        _ => [message.plan_end()]
            .into_iter()
            .chain((0..=len / chunk).map(|index| message.plan(index * chunk..(index + 1) * chunk)))
            .collect(),
    };
    assert!(message.proves_len(&plans[0]));
    let mut failed = Ok(());
    for plan in plans {
        let range = plan.encrypted();
        let mut fetched = bytes[range.start as usize..range.end as usize].to_vec();
        let (at, len) = (plan.plaintext().start as usize, plan.plaintext_len() as usize);
        let mut out = vec![FILLING; len];
        let decrypted = if how == R::PlanInPlace {
            let decrypted = message.decrypt_in_place(&plan, &mut fetched);
            let decrypted = decrypted.map(|plaintext| out.copy_from_slice(plaintext));
            assert!(decrypted.is_ok() || fetched.iter().all(|byte| *byte == 0), "not wiped");
            decrypted
        } else {
            message.decrypt_into(&plan, &fetched, &mut out).inspect_err(|_| assert_clean(&out))
        };
        match decrypted {
            Ok(()) => released.push((at, out)),
            Err(error) => failed = Err(error),
        }
    }
    failed
}
