//! The push pair in any order of calls: pieces and rooms of any length, ends too early, the start of
//! a message bit by bit. What was encrypted decrypts, and a state that is over stays so.
#![no_main]

#[allow(dead_code)]
#[path = "../../tests/common/detached.rs"]
mod detached;

use detached::ReadDetached;
use envelock::{
    Aad, Envelope, Error,
    stream::{MessageStart, Progress, StreamDecryptor, StreamEncryptor},
};
use envelock::{Suite, Threads, inspect};
use envelock_fuzz::Input;
use envelock_fuzz::fixture::{AAD, READER, rng};
use envelock_fuzz::pieces::{CANARY, Pieces, only_canary};
use libfuzzer_sys::fuzz_target;

/// Pieces and rooms of the calls that bring it there.
const LONG: usize = 40_000;

/// Calls before a stream is brought to its end.
const CALLS: usize = 64;

type Writer<'k> = Envelope<&'k envelock::MemoryKeyring>;

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let suite = Suite::ALL[input.below(Suite::ALL.len())];
    let mut envelope = Envelope::new(READER.keyring()).with_suite(suite);
    let whim = input.byte();
    if whim != 0 {
        let threads = Threads::new(usize::from(whim % 4)).with_min_len(1);
        envelope = envelope.with_threads(threads);
    }
    let plaintext = plaintext(&mut input);
    let split = input.below(4);
    let (message, taken) = encrypt(&envelope, &plaintext, split == 0, &mut input);
    let plaintext = &plaintext[..taken];
    let whole = envelope.with_rng(&mut rng(3)).encrypt(plaintext, Aad::new(AAD));
    assert!(whole.expect("any plaintext encrypts") == message);
    assert!(READER.decrypt(&message, Aad::new(AAD)).expect("what is ours opens") == plaintext);
    decrypt(&envelope, &message, split == 1, plaintext, &mut input);
});

/// A plaintext of a length around a chunk's end; rarely one that workers share.
fn plaintext(input: &mut Input<'_>) -> Vec<u8> {
    let chunks = match input.byte() {
        250.. => 17,
        few => usize::from(few % 4),
    };
    let len = (chunks * 16_384 + usize::from(input.byte())).saturating_sub(32);
    (0..len).map(|at| (at ^ (at >> 8)) as u8).collect()
}

/// The part that both directions share.
trait Stream {
    fn update(&mut self, input: &[u8], out: &mut [u8]) -> Result<Progress, Error>;
    fn finish(&mut self, out: &mut [u8]) -> Result<usize, Error>;
    fn is_finished(&self) -> bool;
}

macro_rules! streams {
    ($($name:ty),*) => {$(
        impl Stream for $name {
            fn update(&mut self, input: &[u8], out: &mut [u8]) -> Result<Progress, Error> {
                <$name>::update(self, input, out)
            }
            fn finish(&mut self, out: &mut [u8]) -> Result<usize, Error> {
                <$name>::finish(self, out)
            }
            fn is_finished(&self) -> bool {
                <$name>::is_finished(self)
            }
        }
    )*};
}

streams!(StreamEncryptor<'_>, StreamDecryptor);

/// A stream, what it was given, and what came out.
struct Run<S> {
    stream: S,
    taken: usize,
    given: Vec<u8>,
    ended: bool,
    failure: Option<String>,
}

impl<S: Stream> Run<S> {
    fn new(stream: S) -> Self {
        Run { stream, taken: 0, given: Vec::new(), ended: false, failure: None }
    }

    /// Any calls, then those that bring it to its end.
    fn all(&mut self, whole: &[u8], input: &mut Input<'_>) {
        for _ in 0..CALLS {
            if input.is_empty() {
                break;
            }
            self.any_call(whole, input);
        }
        while self.taken < whole.len() && !self.ended && self.failure.is_none() {
            self.update(whole, LONG, LONG);
        }
        while !self.stream.is_finished() && self.failure.is_none() {
            self.finish(LONG);
        }
    }

    fn any_call(&mut self, whole: &[u8], input: &mut Input<'_>) {
        let kind = input.byte();
        let mut pieces = Pieces(*input);
        let (len, room) = (pieces.next_len(), pieces.next_len());
        *input = pieces.0;
        match kind {
            0..240 => self.update(whole, len, room),
            _ => self.finish(room),
        }
    }

    fn update(&mut self, whole: &[u8], len: usize, room: usize) {
        let rest = &whole[self.taken..];
        let piece = &rest[..len.min(rest.len())];
        let mut out = vec![CANARY; room];
        let answer = self.stream.update(piece, &mut out);
        if self.ended {
            assert!(answer.is_err(), "it goes on behind its end");
            if self.failure.is_none() && matches!(answer, Err(Error::Ended)) {
                return;
            }
        }
        if let Some(progress) = self.answered(answer, &out, |progress| progress.produced) {
            let stuck = progress == Progress::default();
            assert!(!stuck || piece.is_empty() || room == 0, "no way forward");
            self.taken += progress.consumed;
        }
    }

    fn finish(&mut self, room: usize) {
        let mut out = vec![CANARY; room];
        let answer = self.stream.finish(&mut out);
        self.ended = true;
        if room == 0 && matches!(answer, Err(Error::BufferLength { .. })) {
            assert!(!self.stream.is_finished());
        } else if self.answered(answer, &out, |len| *len) == Some(0) {
            assert!(self.stream.is_finished());
        }
    }

    /// Keeps what came out; a failure is permanent.
    fn answered<T>(
        &mut self,
        answer: Result<T, Error>,
        out: &[u8],
        len: impl Fn(&T) -> usize,
    ) -> Option<T> {
        match answer {
            Ok(answer) => {
                assert!(self.failure.is_none(), "it goes on after a failure");
                let (given, rest) = out.split_at(len(&answer));
                self.given.extend_from_slice(given);
                assert!(only_canary(rest));
                Some(answer)
            }
            Err(error) => {
                assert!(only_canary(out));
                assert!(!self.stream.is_finished());
                let said = describe(error);
                assert_eq!(*self.failure.get_or_insert(said.clone()), said);
                None
            }
        }
    }
}

/// The message, and how much of the plaintext is in it.
fn encrypt(
    envelope: &Writer<'_>,
    plaintext: &[u8],
    apart: bool,
    input: &mut Input<'_>,
) -> (Vec<u8>, usize) {
    let mut rng = rng(3);
    let mut stream =
        envelope.with_rng(&mut rng).stream_encryptor(Aad::new(AAD)).expect("streams begin");
    let header = if apart { stream.take_header() } else { Vec::new() };
    let mut run = Run::new(stream);
    run.all(plaintext, input);
    assert!(run.failure.is_none(), "{:?}", run.failure);
    ([header, run.given].concat(), run.taken)
}

fn describe(error: Error) -> String {
    format!("{error:?}")
}

/// The first `len` bytes of a message, in two at the end of its header if that is detached.
fn parts(message: &[u8], len: usize, apart: bool) -> (&[u8], &[u8]) {
    let header_len = inspect(message).expect("it is valid").len();
    message[..len].split_at(if apart { header_len } else { len })
}

fn decrypt(
    envelope: &Writer<'_>,
    message: &[u8],
    apart: bool,
    plaintext: &[u8],
    input: &mut Input<'_>,
) {
    let (start, mut rest) = if apart {
        let (header, body) = parts(message, message.len(), true);
        (MessageStart::detached(header).expect("it is valid"), body)
    } else {
        (MessageStart::new(), message)
    };
    let mut start = start;
    while start.missing() > 0 {
        let early = StreamDecryptor::open(envelope, &start, Aad::new(AAD)).err();
        let (header, body) = parts(message, message.len() - rest.len(), apart);
        let part = if apart {
            envelope.decrypt_detached(header, body, Aad::new(AAD))
        } else {
            envelope.decrypt(&[header, body].concat(), Aad::new(AAD))
        };
        assert_eq!(early.map(describe), part.err().map(describe));
        let mut pieces = Pieces(*input);
        let piece = &rest[..pieces.next_some().min(rest.len())];
        *input = pieces.0;
        let taken = start.update(piece).expect("it is valid");
        assert!(taken == piece.len() || start.missing() == 0);
        rest = &rest[taken..];
    }
    let stream = StreamDecryptor::open(envelope, &start, Aad::new(AAD)).expect("it is ours");
    let mut run = Run::new(stream);
    run.all(rest, input);
    assert!(plaintext.starts_with(&run.given));
    if run.taken == rest.len() {
        assert!(run.failure.is_none() && run.given == plaintext, "{:?}", run.failure);
    } else {
        let part = &message[..message.len() - rest.len() + run.taken];
        let expected = envelope.decrypt(part, Aad::new(AAD)).expect_err("a part is no message");
        assert_eq!(run.failure, Some(describe(expected)));
    }
}
