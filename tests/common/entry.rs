//! Every entry point on one input, each compared with the model, its output buffer checked.

use super::detached::Whole;
use super::detached::{ReadDetached, WriteDetached};
use super::model::{self, Answer, Decrypted};
use super::reference;
use super::rng;
use super::shapes::Shape;
use envelock::{
    Aad, Envelope, Error, Keyring, MemoryKeyring, RewrapOptions, inspect, plaintext_len,
};

/// The content of output buffers before a call.
const FILLING: u8 = 0xA5;

/// By one comparison of the buffer with itself a byte on: far faster than byte by byte without optimisation.
fn is_all(buffer: &[u8], byte: u8) -> bool {
    buffer.first().is_none_or(|first| *first == byte && buffer[1..] == buffer[..buffer.len() - 1])
}

/// Holds every entry point against the model on `changed`, of which `header_end` bytes are kept
/// apart in the detached forms. Returns whether the model says that the change is refused.
///
/// # Panics
///
/// With `what`, where an entry point answers anything else, or releases a byte.
pub fn check(shape: &Shape, changed: &[u8], header_end: usize, what: &dyn Fn() -> String) -> bool {
    let case = Case { shape, envelope: Envelope::new(&shape.reader), what };
    case.inspect(changed);
    let expected = model::decrypt(shape, changed);
    case.decrypt(changed, &expected);
    case.decrypt_into(changed, &expected);
    case.decrypt_in_place(changed, &expected);
    let (header, body) = changed.split_at(header_end);
    let detached = model::decrypt_detached(shape, header, body);
    case.detached(header, body, &detached);
    case.opened_before(changed, header_end);
    if changed.get(..shape.header_len()) != Some(&shape.message[..shape.header_len()]) {
        case.rewrap(changed);
    }
    let refused = expected.answer != Answer::Opens;
    if refused {
        assert_ne!(detached.answer, Answer::Opens, "model, detached: {}", case.text());
    }
    refused
}

struct Case<'a> {
    shape: &'a Shape,
    envelope: Envelope<&'a MemoryKeyring>,
    what: &'a dyn Fn() -> String,
}

impl Case<'_> {
    fn text(&self) -> String {
        format!("{} of {:?}: {}", self.shape.name, self.shape.suite, (self.what)())
    }

    fn answers(&self, entry: &str, answer: Answer, expected: &Decrypted) {
        assert_eq!(answer, expected.answer, "{entry}, {}", self.text());
    }

    /// Entry points without a key: `inspect`, `needs_rewrap`, `plaintext_len`.
    fn inspect(&self, changed: &[u8]) {
        let reference = reference::parse(changed);
        let expected = reference.clone().map_or_else(Answer::from, |_| Answer::Opens);
        let needs_rewrap = self.envelope.needs_rewrap(changed);
        assert_eq!(Answer::of(&needs_rewrap), expected, "needs_rewrap, {}", self.text());
        let len = plaintext_len(changed);
        match reference.as_ref().map(|header| model::plaintext_len(changed.len() - header.len())) {
            Ok(Ok(expected)) => assert_eq!(len.ok(), Some(expected), "{}", self.text()),
            _ => assert!(len.is_err(), "plaintext_len, {}", self.text()),
        }
        match (inspect(changed), reference) {
            // SPEC H-CANON
            (Ok(header), Ok(reference)) => {
                assert_eq!(header.as_bytes(), reference.encode(), "inspect, {}", self.text());
            }
            (inspected, _) => {
                assert_eq!(Answer::of(&inspected), expected, "inspect, {}", self.text());
            }
        }
    }

    fn decrypt(&self, changed: &[u8], expected: &Decrypted) {
        let opened = self.envelope.decrypt(changed, self.shape.aad());
        self.answers("decrypt", Answer::of(&opened), expected);
        if let Ok(plaintext) = opened {
            assert_eq!(plaintext, self.shape.plaintext, "decrypt, {}", self.text());
        }
    }

    /// An output buffer of the length that the changed bytes ask for.
    fn buffer(&self, body_len: Option<usize>) -> Vec<u8> {
        let len = body_len.and_then(|len| model::plaintext_len(len).ok());
        vec![FILLING; len.unwrap_or(self.shape.plaintext.len())]
    }

    /// SPEC B-RELEASE: what a failure leaves in an output buffer.
    fn released_nothing(&self, entry: &str, buffer: &[u8]) {
        assert!(
            is_all(buffer, FILLING) || is_all(buffer, 0),
            "{entry} released bytes, {}",
            self.text()
        );
    }

    fn decrypt_into(&self, changed: &[u8], expected: &Decrypted) {
        let header_len = reference::parse(changed).ok().map(|header| header.len());
        let mut buffer = self.buffer(header_len.map(|len| changed.len() - len));
        let opened = self.envelope.decrypt_into(changed, self.shape.aad(), &mut buffer);
        self.answers("decrypt_into", Answer::of(&opened), expected);
        match opened {
            Ok(()) => assert_eq!(buffer, self.shape.plaintext, "decrypt_into, {}", self.text()),
            Err(_) => self.released_nothing("decrypt_into", &buffer),
        }
    }

    fn decrypt_in_place(&self, changed: &[u8], expected: &Decrypted) {
        let mut message = changed.to_vec();
        let opened = self.envelope.decrypt_in_place(&mut message, self.shape.aad());
        self.answers("decrypt_in_place", Answer::of(&opened), expected);
        if let Ok(plaintext) = opened {
            assert_eq!(plaintext, self.shape.plaintext, "decrypt_in_place, {}", self.text());
            return;
        }
        let header_len = reference::parse(changed).map_or(0, |header| header.len());
        let (header, body) = changed.split_at(header_len);
        assert_eq!(&message[..header_len], header, "decrypt_in_place, {}", self.text());
        self.left_in_place("decrypt_in_place", &message[header_len..], body, expected);
    }

    /// SPEC B-RELEASE: a failed chunk wipes the body; every earlier failure leaves it alone.
    fn left_in_place(&self, entry: &str, left: &[u8], before: &[u8], expected: &Decrypted) {
        if expected.reached_chunks {
            assert!(is_all(left, 0), "{entry} left bytes, {}", self.text());
        } else {
            assert!(left == before, "{entry} changed its input, {}", self.text());
        }
    }

    fn detached(&self, header: &[u8], body: &[u8], expected: &Decrypted) {
        let (envelope, aad) = (&self.envelope, self.shape.aad());
        let opened = envelope.decrypt_detached(header, body, aad);
        self.answers("decrypt_detached", Answer::of(&opened), expected);
        let mut buffer = self.buffer(Some(body.len()));
        let opened = envelope.decrypt_detached_into(header, body, aad, &mut buffer);
        self.answers("decrypt_detached_into", Answer::of(&opened), expected);
        if opened.is_err() {
            self.released_nothing("decrypt_detached_into", &buffer);
        }
        let mut left = body.to_vec();
        let opened = envelope.decrypt_detached_in_place(header, &mut left, aad);
        self.answers("decrypt_detached_in_place", Answer::of(&opened), expected);
        if opened.is_err() {
            self.left_in_place("decrypt_detached_in_place", &left, body, expected);
        }
    }

    /// By the key that the message was opened with before the change.
    fn opened_before(&self, changed: &[u8], header_end: usize) {
        let (shape, aad) = (self.shape, self.shape.aad());
        let key = self.envelope.open(&shape.message).unwrap();
        let expected = model::decrypt_opened(shape, changed);
        self.answers("opened", Answer::of(&Whole(&key).decrypt(changed, aad)), &expected);
        let mut buffer = self.buffer(Some(changed.len().saturating_sub(shape.header_len())));
        if Whole(&key).decrypt_into(changed, aad, &mut buffer).is_err() {
            self.released_nothing("opened, into", &buffer);
        }
        let (header, body) = changed.split_at(header_end);
        let expected = model::decrypt_opened_detached(shape, header, body);
        let mut left = body.to_vec();
        let opened = key.decrypt_detached_in_place(header, &mut left, aad);
        self.answers("opened, detached in place", Answer::of(&opened), &expected);
        match opened {
            Ok(plaintext) => assert_eq!(plaintext, shape.plaintext, "{}", self.text()),
            Err(_) => self.left_in_place("opened, detached in place", &left, body, &expected),
        }
    }

    fn rewrap(&self, changed: &[u8]) {
        let expected = model::rewrap(self.shape, changed);
        let mut rng = rng(1);
        let with_rng = self.envelope.with_rng(&mut rng);
        let rewrapped = with_rng.rewrap(changed, RewrapOptions::new());
        let answer = match &rewrapped {
            Ok(rewrap) => Ok(rewrap.is_changed()),
            Err(_) => Err(Answer::of(&rewrapped)),
        };
        assert_eq!(answer, expected, "rewrap, {}", self.text());
        let mut message = changed.to_vec();
        let in_place = with_rng.rewrap_in_place(&mut message, RewrapOptions::new());
        let answer =
            in_place.as_ref().map(|report| report.is_changed()).map_err(|_| Answer::of(&in_place));
        assert_eq!(answer, expected, "rewrap_in_place, {}", self.text());
        match rewrapped {
            // SPEC R-LABELS: nothing was opened, and nothing may change.
            Ok(rewrap) if rewrap.report().relied_on_labels() => {
                assert!(message == changed, "rewrap_in_place wrote, {}", self.text());
                assert!(changed.starts_with(rewrap.header()), "rewrap, {}", self.text());
            }
            Ok(rewrap) => self.rewrapped(changed, rewrap.header(), &message),
            // SPEC R-WHOLE
            Err(_) => assert!(message == changed, "rewrap_in_place wrote, {}", self.text()),
        }
    }

    /// What a rewrap of `changed` must leave as it was; `new` is its header and `in_place` the
    /// whole message.
    fn rewrapped(&self, changed: &[u8], new: &[u8], in_place: &[u8]) {
        let old = reference::parse(changed).unwrap();
        for new in [new, in_place] {
            let new = reference::parse(new).unwrap();
            // SPEC R-CORE
            assert_eq!((new.core, new.len()), (old.core, old.len()), "rewrap, {}", self.text());
            // SPEC R-KEEP, and one slot that was not there before or is the only one of its own.
            let kept = model::kept(self.shape, &old);
            let mut slots = new.slots.iter().peekable();
            let fresh = kept.iter().fold(Vec::new(), |mut fresh, kept| {
                fresh.extend(std::iter::from_fn(|| slots.next_if(|slot| *slot != kept)));
                assert_eq!(slots.next(), Some(kept), "rewrap dropped a slot, {}", self.text());
                fresh
            });
            assert_eq!(fresh.len() + slots.count(), 1, "rewrap, {}", self.text());
        }
        let end = old.len();
        assert!(in_place[end..] == changed[end..], "rewrap changed the body, {}", self.text());
        let opened = self.envelope.decrypt_detached(new, self.shape.body(), self.shape.aad());
        assert!(opened.is_ok_and(|text| text == self.shape.plaintext), "{}", self.text());
    }
}

/// The results of all six forms of decryption of one input.
pub struct Tried {
    pub answers: Vec<Answer>,
    pub plaintexts: Vec<Vec<u8>>,
    /// Whether a form in place wiped its input: it got as far as the chunks.
    pub wiped: bool,
}

impl Tried {
    /// The result that all forms gave.
    ///
    /// # Panics
    ///
    /// If two differ.
    pub fn answer(&self) -> Answer {
        let first = self.answers[0].clone();
        assert!(self.answers.iter().all(|answer| *answer == first), "{:?}", self.answers);
        first
    }
}

/// The results of the six forms of decryption, of an envelope or of an opened key.
macro_rules! try_forms {
    ($by:expr, $message:expr, $header_end:expr, $aad:expr) => {{
        let (by, message, header_end, aad) = (&$by, $message, $header_end, $aad);
        let (header, body) = message.split_at(header_end);
        let len = model::plaintext_len(body.len()).unwrap_or(1);
        let mut tried = Tried { answers: Vec::new(), plaintexts: Vec::new(), wiped: false };
        let mut note = |result: Result<Vec<u8>, Error>| {
            tried.answers.push(Answer::of(&result));
            tried.plaintexts.extend(result);
        };
        note(by.decrypt(message, aad));
        note(by.decrypt_detached(header, body, aad));
        for detached in [false, true] {
            let mut buffer = vec![FILLING; len];
            let result = match detached {
                false => by.decrypt_into(message, aad, &mut buffer),
                true => by.decrypt_detached_into(header, body, aad, &mut buffer),
            };
            let even = is_all(&buffer, FILLING) || is_all(&buffer, 0);
            assert!(result.is_ok() || even, "released bytes");
            note(result.map(|()| buffer));
        }
        let mut wiped = [false; 2];
        for detached in [false, true] {
            let mut left = message.to_vec();
            let (_, left_body) = left.split_at_mut(header_end);
            let result = match detached {
                false => by.decrypt_in_place(&mut left, aad).map(|plaintext| plaintext.to_vec()),
                true => by
                    .decrypt_detached_in_place(header, left_body, aad)
                    .map(|plaintext| plaintext.to_vec()),
            };
            if result.is_err() && left != message {
                assert!(is_all(&left[header_end..], 0), "left bytes");
                assert_eq!(left[..header_end], *header, "changed the header");
                wiped[usize::from(detached)] = true;
            }
            note(result);
        }
        assert_eq!(wiped[0], wiped[1]);
        tried.wiped = wiped[0];
        tried
    }};
}

/// Tries all six forms of decryption on a message whose header has `header_end` bytes, and makes
/// sure that those that fail release nothing (SPEC B-RELEASE).
pub fn try_all<K: Keyring>(
    envelope: &Envelope<K>,
    message: &[u8],
    header_end: usize,
    aad: &[u8],
) -> Tried {
    let key = envelope.open(message);
    let tried = try_forms!(envelope, message, header_end, Aad::new(aad));
    match key {
        // An opened key returns what the envelope returns that opened it.
        Ok(key) => {
            let by_key = try_forms!(Whole(&key), message, header_end, Aad::new(aad));
            assert_eq!(by_key.answers, tried.answers);
            assert_eq!(by_key.plaintexts, tried.plaintexts);
            assert_eq!(by_key.wiped, tried.wiped);
        }
        Err(_) => assert!(tried.plaintexts.is_empty()),
    }
    tried
}

/// Makes sure that all six forms of decryption yield `plaintext`.
pub fn assert_opens<K: Keyring>(
    envelope: &Envelope<K>,
    message: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) {
    let header_len = reference::parse(message).unwrap().len();
    let tried = try_all(envelope, message, header_len, aad);
    assert_eq!(tried.answer(), Answer::Opens);
    assert!(tried.plaintexts.iter().all(|opened| opened == plaintext));
}
