//! Decryption of a changed message: every entry point gives the same result, and none accepts a
//! change but one that the format leaves open, in the mutable part of the header.
#![no_main]

#[allow(dead_code)]
#[path = "../../tests/common/detached.rs"]
mod detached;

use detached::ReadDetached;
use envelock::{Aad, Error, inspect};
use envelock_fuzz::allocator::{self, BEFORE_AUTHENTICATION, Counting};
use envelock_fuzz::fixture::{AAD, BASES, Base, READER};
use envelock_fuzz::model::{self, CORE_LEN, Model};
use envelock_fuzz::{Input, change};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The content of a buffer before a decryption.
const CANARY: u8 = 0xA5;

fuzz_target!(|data: &[u8]| {
    LazyLock::force(&BASES);
    LazyLock::force(&READER);
    let mut input = Input(data);
    let aad = if input.byte() < 240 { AAD } else { b"row 8" };
    let message = change::message(&mut input);
    let answer = decrypt(&message, aad);
    assert_eq!(inline_in_place(&message, aad), answer);
    assert_eq!(inline_into(&message, aad), answer);
    detached(&message, aad, &answer);
    if let Ok(plaintext) = answer {
        permitted(&message, aad, &plaintext);
    }
});

type Answer = Result<Vec<u8>, String>;

fn decrypt(message: &[u8], aad: &[u8]) -> Answer {
    let limit = BEFORE_AUTHENTICATION + message.len();
    let answer = allocator::limit(limit, || READER.decrypt(message, Aad::new(aad)));
    answer.map_err(|error| describe(&error))
}

fn describe(error: &Error) -> String {
    format!("{error} {error:?}")
}

/// A buffer for the plaintext: of the length that the message implies, or of any if it implies none.
fn buffer(message: &[u8]) -> Vec<u8> {
    vec![CANARY; envelock::plaintext_len(message).unwrap_or(64)]
}

/// An output after a failure: as it was, or wiped; no byte of anything else.
fn untouched_or_wiped(output: &[u8]) -> bool {
    [CANARY, 0].iter().any(|whole| output.iter().all(|byte| byte == whole))
}

fn inline_into(message: &[u8], aad: &[u8]) -> Answer {
    let mut out = buffer(message);
    let call = || READER.decrypt_into(message, Aad::new(aad), &mut out);
    match allocator::limit(BEFORE_AUTHENTICATION, call) {
        Ok(()) => Ok(out),
        Err(error) => {
            assert!(untouched_or_wiped(&out));
            Err(describe(&error))
        }
    }
}

fn inline_in_place(message: &[u8], aad: &[u8]) -> Answer {
    let mut copy = message.to_vec();
    let call =
        || READER.decrypt_in_place(&mut copy, Aad::new(aad)).map(|plaintext| plaintext.len());
    match allocator::limit(BEFORE_AUTHENTICATION, call) {
        Ok(len) => {
            let start = inspect(message).map(|header| header.len()).unwrap_or_default() + 56;
            Ok(copy[start..start + len].to_vec())
        }
        Err(error) => {
            let header_len = inspect(message).map(|header| header.len()).unwrap_or(0);
            let wiped = copy[header_len..].iter().all(|byte| *byte == 0);
            assert!(copy == message || (wiped && copy[..header_len] == message[..header_len]));
            Err(describe(&error))
        }
    }
}

/// The detached forms, of the message cut behind its header.
fn detached(message: &[u8], aad: &[u8], answer: &Answer) {
    let header_len = inspect(message).map(|header| header.len()).unwrap_or(message.len());
    let (header, body) = message.split_at(header_len);
    let aad = Aad::new(aad);
    let limit = BEFORE_AUTHENTICATION + body.len();
    let new = allocator::limit(limit, || READER.decrypt_detached(header, body, aad));
    assert_eq!(&new.map_err(|error| describe(&error)), answer);

    let mut out = buffer(message);
    let into = READER.decrypt_detached_into(header, body, aad, &mut out);
    assert!(into.is_ok() || untouched_or_wiped(&out));
    assert_eq!(&into.map(|()| out).map_err(|error| describe(&error)), answer);

    let mut copy = body.to_vec();
    let in_place = READER.decrypt_detached_in_place(header, &mut copy, aad);
    assert_eq!(&in_place.map(|plain| plain.to_vec()).map_err(|error| describe(&error)), answer);

    // A byte that moves over the cut makes another header (SPEC H-DETACHED).
    if let (Ok(_), Some((first, rest))) = (answer, body.split_first()) {
        detached_is_refused(&[header, &[*first]].concat(), rest, aad);
        detached_is_refused(&[header, &[*first]].concat(), body, aad);
        detached_is_refused(&header[..header.len() - 1], body, aad);
    }
}

fn detached_is_refused(header: &[u8], body: &[u8], aad: Aad<'_>) {
    assert!(READER.decrypt_detached(header, body, aad).is_err());
    let mut out = vec![CANARY; model::plaintext_len(body.len()).unwrap_or(64)];
    assert!(READER.decrypt_detached_into(header, body, aad, &mut out).is_err());
    assert!(untouched_or_wiped(&out));
    let mut copy = body.to_vec();
    assert!(READER.decrypt_detached_in_place(header, &mut copy, aad).is_err());
}

/// What was opened is a message of ours with the same core, body and associated data, and one of
/// its slots as it was.
fn permitted(message: &[u8], aad: &[u8], plaintext: &[u8]) {
    assert_eq!(aad, AAD);
    let header = Model::read(message).expect("what opens is valid");
    let body = &message[header.len()..];
    let of = |base: &&Base| base.message[..CORE_LEN] == message[..CORE_LEN] && base.body() == body;
    let known: Vec<_> = BASES.iter().filter(of).collect();
    assert!(!known.is_empty(), "a forged message opens");
    assert!(known.iter().all(|base| base.plaintext == plaintext));
    let kept = known.iter().flat_map(|base| &base.header.slots).any(|slot| {
        let ours = slot.name == b"orders" && (1..=2).contains(&slot.version);
        ours && header.slots.contains(slot)
    });
    assert!(kept, "a message opens without a slot of ours");
}
