//! Streams of a changed message, cut anywhere and read in any pieces, sought in and shared by
//! workers: each gives the plaintext or the error of the one-shot call, and whatever comes out
//! before an error is true.
#![no_main]

use envelock::{
    Aad, Envelope, Error, Threads, Unverified,
    format::MessagePart,
    inspect,
    stream::{MessageStart, StreamDecryptor},
};
use envelock_fuzz::fixture::{AAD, BASES, LONG, READER, true_plaintext};
use envelock_fuzz::pieces::{CANARY, Pieces, Source, only_canary};
use envelock_fuzz::{Input, change};
use libfuzzer_sys::fuzz_target;
use std::io::{BufRead, Read, Seek, SeekFrom};
use std::sync::LazyLock;

/// Most calls to a reader that is sought in.
const SEEKS: usize = 12;

/// From here on a byte of input asks for the long message: rarely, for it takes its time.
const LONG_FROM: u8 = 250;

fuzz_target!(|data: &[u8]| {
    LazyLock::force(&BASES);
    LazyLock::force(&READER);
    let mut input = Input(data);
    let aad = if input.byte() < 240 { AAD } else { b"row 8" };
    let whim = input.byte();
    let lengths = usize::from(input.byte());
    let pieces = Pieces(Input(input.take(lengths)));
    let message = match input.byte() {
        LONG_FROM.. => change::changed(LONG.message.clone(), &mut input),
        _ => change::message(&mut input),
    };

    let envelope = Envelope::new(READER.keyring());
    let shared = Envelope::new(READER.keyring())
        .with_threads(Threads::new(usize::from(whim % 4)).with_min_len(1));
    let expected = Expected::new(&message, aad);
    for envelope in [&envelope, &shared] {
        expected.check(pushed(envelope, &message, aad, pieces));
        expected.check(read(envelope, &message, aad, pieces));
    }
    expected.sought(if whim & 1 == 0 { &envelope } else { &shared }, aad, pieces);
});

type Reader<'k> = Envelope<&'k envelock::MemoryKeyring>;

/// The output, and the error that ended it.
struct Outcome {
    plaintext: Vec<u8>,
    failure: Option<Error>,
}

struct Expected<'m> {
    message: &'m [u8],
    answer: Result<Vec<u8>, Error>,
    /// The error that a stream may report instead, since it learns the length of the message last.
    earlier: Option<Error>,
}

impl<'m> Expected<'m> {
    fn new(message: &'m [u8], aad: &[u8]) -> Self {
        let answer = READER.decrypt(message, Aad::new(aad));
        let by_length = matches!(answer, Err(Error::Truncated { part: MessagePart::Body, .. }));
        // A length that no body has is one behind 16 more bytes (SPEC B-LENGTH).
        let earlier = by_length.then(|| {
            let longer = [message, &[0; 16]].concat();
            READER.decrypt(&longer, Aad::new(aad)).err()
        });
        Expected { message, answer, earlier: earlier.flatten() }
    }

    fn check(&self, outcome: Outcome) {
        match (&self.answer, outcome.failure) {
            (Ok(plaintext), None) => assert!(*plaintext == outcome.plaintext),
            (Err(_), Some(failure)) => {
                self.same(&failure);
                self.is_true(0, &outcome.plaintext);
            }
            (Ok(_), Some(failure)) => panic!("a stream refuses what is good: {failure}"),
            (Err(error), None) => panic!("a stream accepts what is not good: {error}"),
        }
    }

    fn same(&self, failure: &Error) {
        let error = self.answer.as_ref().expect_err("it was refused");
        let said = describe(failure);
        let earlier = self.earlier.as_ref().is_some_and(|earlier| describe(earlier) == said);
        assert!(describe(error) == said || earlier, "{said}, not {}", describe(error));
    }

    /// SPEC B-RELEASE
    fn is_true(&self, at: usize, plaintext: &[u8]) {
        if !plaintext.is_empty() {
            let whole = true_plaintext(self.message).expect("a forged message opens");
            assert!(whole.get(at..).is_some_and(|rest| rest.starts_with(plaintext)));
        }
    }

    /// Seeks and reads against the plaintext as a model.
    fn sought(&self, envelope: &Reader<'_>, aad: &[u8], mut pieces: Pieces<'_>) {
        let source = Source::new(self.message, pieces);
        let mut reader = match envelope.range_reader(std::sync::Mutex::new(source), Aad::new(aad)) {
            Ok(reader) => reader.into_seek_reader(),
            Err(error) => return self.same(&error),
        };
        for _ in 0..SEEKS {
            if pieces.0.is_empty() {
                break;
            }
            let by = pieces.next_len() as i64;
            let to = match pieces.0.byte() % 4 {
                0 => SeekFrom::Start(by as u64),
                1 => SeekFrom::Current(if by & 1 == 0 { by } else { -by }),
                2 => SeekFrom::End(-by),
                _ => SeekFrom::End(by),
            };
            let before = reader.stream_position().expect("it needs no source");
            let sought = reader.seek(to);
            let at = reader.stream_position().expect("it needs no source");
            match sought {
                Ok(position) => assert_eq!(position, at),
                Err(_) => assert_eq!(before, at),
            }
            if let (Ok(at), SeekFrom::End(by)) = (sought, to) {
                let whole = true_plaintext(self.message).expect("a forged message has an end");
                assert_eq!(whole.len() as i64 + by, at as i64);
            }
            self.read_there(&mut reader, at as usize, pieces.next_some());
        }
    }

    fn read_there(&self, reader: &mut (impl BufRead + Seek), at: usize, len: usize) {
        let mut out = vec![CANARY; len];
        match reader.read(&mut out) {
            Ok(read) => {
                self.is_true(at, &out[..read]);
                if let Ok(plaintext) = &self.answer {
                    assert_eq!(read == 0, at >= plaintext.len());
                }
                // No end but the true one.
                let whole = true_plaintext(self.message);
                assert!(read > 0 || whole.is_some_and(|whole| at >= whole.len()));
            }
            Err(error) => {
                assert!(self.answer.is_err(), "a part of what is good is refused: {error}");
                assert_eq!(reader.stream_position().expect("it needs no source"), at as u64);
                assert!(only_canary(&out));
            }
        }
    }
}

/// Which chunk is not good depends on which is read first, and what the input looks like on how much
/// of it was seen.
fn describe(error: &Error) -> String {
    match error {
        Error::NotEnvelock { .. } => "not a message".into(),
        Error::Authentication {
            part: Unverified::Chunk { .. } | Unverified::End { .. }, ..
        } => "a chunk".into(),
        error => format!("{error} {error:?}"),
    }
}

/// By the push decryptor.
fn pushed(envelope: &Reader<'_>, message: &[u8], aad: &[u8], mut pieces: Pieces<'_>) -> Outcome {
    let mut out = Outcome { plaintext: Vec::new(), failure: None };
    let mut rest = message;
    let mut start = MessageStart::new();
    while start.missing() > 0 && !rest.is_empty() {
        let piece = &rest[..pieces.next_len().min(rest.len())];
        match start.update(piece) {
            Ok(taken) => rest = &rest[taken..],
            Err(error) => return Outcome { failure: Some(error), ..out },
        }
    }
    assert_eq!(start.header_len(), inspect(message).ok().map(|header| header.len()));
    out.failure = StreamDecryptor::open(envelope, &start, Aad::new(aad))
        .and_then(|mut stream| push(&mut stream, rest, &mut pieces, &mut out.plaintext))
        .err();
    out
}

fn push(
    stream: &mut StreamDecryptor,
    mut rest: &[u8],
    pieces: &mut Pieces<'_>,
    plaintext: &mut Vec<u8>,
) -> Result<(), Error> {
    while !rest.is_empty() {
        let piece = &rest[..pieces.next_len().min(rest.len())];
        let mut out = vec![CANARY; pieces.next_len()];
        let progress =
            stream.update(piece, &mut out).inspect_err(|_| assert!(only_canary(&out)))?;
        assert!(piece.is_empty() || out.is_empty() || progress.consumed + progress.produced > 0);
        plaintext.extend_from_slice(&out[..progress.produced]);
        assert!(only_canary(&out[progress.produced..]));
        rest = &rest[progress.consumed..];
    }
    loop {
        let mut out = vec![CANARY; pieces.next_some()];
        match stream.finish(&mut out).inspect_err(|_| assert!(only_canary(&out)))? {
            0 => return Ok(()),
            len => plaintext.extend_from_slice(&out[..len]),
        }
    }
}

/// By the reader.
fn read(envelope: &Reader<'_>, message: &[u8], aad: &[u8], mut pieces: Pieces<'_>) -> Outcome {
    let mut plaintext = Vec::new();
    let source = Source::new(message, pieces);
    let mut reader = match envelope.decrypt_reader(source, Aad::new(aad)) {
        Ok(reader) => reader,
        Err(error) => return Outcome { plaintext, failure: Some(error) },
    };
    loop {
        let mut out = vec![CANARY; pieces.next_some()];
        match reader.read(&mut out) {
            Ok(0) => {
                reader.finish().expect("it has ended");
                return Outcome { plaintext, failure: None };
            }
            Ok(len) => plaintext.extend_from_slice(&out[..len]),
            Err(error) => {
                let failure = Error::from(error);
                let again = reader.read(&mut out).map_err(Error::from);
                assert_eq!(again.err().map(|error| describe(&error)), Some(describe(&failure)));
                return Outcome { plaintext, failure: Some(failure) };
            }
        }
    }
}
