//! The end of a push stream: nothing goes in behind it, and 0 never stands for "no room".
#![cfg(feature = "std")]

#[path = "stream_ends/versions.rs"]
mod versions;

use envelock::{Aad, Envelope, Error, MemoryKeyring, MessageStart};

fn message(envelope: &Envelope<MemoryKeyring>) -> (Vec<u8>, MessageStart, usize) {
    let message = envelope.encrypt(&[7; 200], Aad::none()).unwrap();
    let mut start = MessageStart::new();
    let taken = start.update(&message).unwrap();
    (message, start, taken)
}

/// Else a buffer that is too short by the rest of the message would pass for all of it.
#[test]
fn an_end_without_room_is_an_error_as_long_as_something_is_left() {
    let envelope = Envelope::new(MemoryKeyring::create("orders").unwrap());
    let (message, start, taken) = message(&envelope);
    let mut stream = envelope.stream_decryptor(&start, Aad::none()).unwrap();
    let mut out = [0; 100];
    assert_eq!(stream.update(&message[taken..], &mut out).unwrap().produced, 0);
    assert_eq!(stream.finish(&mut out).unwrap(), 100);
    let error = stream.finish(&mut []).unwrap_err();
    assert!(matches!(error, Error::BufferLength { len: 0, needed: 100 }), "{error}");
    assert!(!stream.is_finished());
    assert_eq!(stream.finish(&mut out).unwrap(), 100);
    assert_eq!(stream.finish(&mut []).unwrap(), 0);
    assert!(stream.is_finished());

    let mut stream = envelope.stream_encryptor(Aad::none()).unwrap();
    assert!(matches!(stream.finish(&mut []), Err(Error::BufferLength { len: 0, .. })));
}

#[test]
fn nothing_goes_in_once_the_end_was_asked_for() {
    let envelope = Envelope::new(MemoryKeyring::create("orders").unwrap());
    let mut out = vec![0; 1000];
    let mut stream = envelope.stream_encryptor(Aad::none()).unwrap();
    // The header alone takes more.
    let mut message = vec![0; 10];
    assert_eq!(stream.finish(&mut message).unwrap(), 10);
    assert!(matches!(stream.update(b"four score", &mut out), Err(Error::Ended)));
    let len = stream.finish(&mut out).unwrap();
    message.extend_from_slice(&out[..len]);
    assert_eq!(stream.finish(&mut out).unwrap(), 0);
    assert_eq!(envelope.decrypt(&message, Aad::none()).unwrap(), b"");
}
