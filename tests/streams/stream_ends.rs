//! The end of a push stream: nothing goes in behind it, and 0 never stands for "no room".
#![cfg(feature = "std")]

mod versions;

use envelock::{Aad, Envelope, Error, MemoryKeyring, stream::MessageStart};

fn message(envelope: &Envelope<MemoryKeyring>) -> (Vec<u8>, MessageStart, usize) {
    let message = envelope.encrypt(&[7; 200], Aad::none()).unwrap();
    let mut start = MessageStart::new();
    let taken = start.update(&message).unwrap();
    (message, start, taken)
}

/// Else a buffer that is too short by the rest of the message would pass for all of it.
#[test]
fn end_without_room_is_an_error_while_bytes_remain() {
    let envelope = Envelope::new(MemoryKeyring::create("orders").unwrap());
    let (message, start, taken) = message(&envelope);
    let mut stream =
        envelock::stream::StreamDecryptor::open(&envelope, &start, Aad::none()).unwrap();
    let mut out = [0; 100];
    assert_eq!(stream.update(&message[taken..], &mut out).unwrap().produced, 0);
    assert_eq!(stream.finish(&mut out).unwrap(), 100);
    let error = stream.finish(&mut []).unwrap_err();
    assert!(matches!(error, Error::BufferLength { len: 0, needed: 100, .. }), "{error}");
    assert!(!stream.is_finished());
    assert_eq!(stream.finish(&mut out).unwrap(), 100);
    assert_eq!(stream.finish(&mut []).unwrap(), 0);
    assert!(stream.is_finished());

    let mut stream = envelope.stream_encryptor(Aad::none()).unwrap();
    assert!(matches!(stream.finish(&mut []), Err(Error::BufferLength { len: 0, .. })));
}

#[test]
fn write_after_requested_end_is_refused() {
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

/// Cut at the end of a chunk, a message is no message, whatever waits to be returned.
#[test]
fn finish_fails_for_cut_message_whatever_buffers() {
    const CHUNK: usize = 16_384;
    let envelope = Envelope::new(MemoryKeyring::create("orders").unwrap());
    let message = envelope.encrypt(&vec![7; 2 * CHUNK + 10], Aad::none()).unwrap();
    let mut start = MessageStart::new();
    let taken = start.update(&message).unwrap();
    let lens = [taken, taken + 16, taken + 16_400, taken + 16_415, taken + 32_799, taken + 32_800]
        .into_iter()
        .chain(message.len() - 26..message.len());
    for len in lens {
        for room in [1, 100, 10_000, CHUNK, CHUNK + 1, 100_000] {
            for end_room in [0, 1, 100, CHUNK, 100_000] {
                let mut stream =
                    envelock::stream::StreamDecryptor::open(&envelope, &start, Aad::none())
                        .unwrap();
                let (mut rest, mut out) = (&message[taken..len], vec![0; room]);
                while !rest.is_empty() {
                    rest = &rest[stream.update(rest, &mut out).unwrap().consumed..];
                }
                let mut out = vec![0xA5; end_room];
                for _ in 0..3 {
                    let answer = stream.finish(&mut out);
                    let is_refused = matches!(
                        answer,
                        Err(Error::Truncated { .. } | Error::Authentication { .. })
                    );
                    assert!(is_refused, "{len} bytes by {room}, {end_room}: {answer:?}");
                    assert!(
                        out.iter().all(|byte| matches!(byte, 0 | 0xA5)) && !stream.is_finished()
                    );
                }
            }
        }
    }
}

/// A result of `finish` that is no error proves the end, and the rest follows.
#[test]
fn first_finish_proves_the_end_and_the_rest_follows() {
    let envelope = Envelope::new(MemoryKeyring::create("orders").unwrap());
    let text = vec![7; 40_000];
    let message = envelope.encrypt(&text, Aad::none()).unwrap();
    let mut start = MessageStart::new();
    let taken = start.update(&message).unwrap();
    for room in [1, 100, 10_000, 16_384, 100_000] {
        let mut stream =
            envelock::stream::StreamDecryptor::open(&envelope, &start, Aad::none()).unwrap();
        let (mut rest, mut read, mut out) = (&message[taken..], Vec::new(), vec![0; room]);
        while !rest.is_empty() {
            let progress = stream.update(rest, &mut out).unwrap();
            rest = &rest[progress.consumed..];
            read.extend_from_slice(&out[..progress.produced]);
        }
        while let len @ 1.. = stream.finish(&mut out).unwrap() {
            read.extend_from_slice(&out[..len]);
        }
        assert!(read == text && stream.is_finished());
    }
}
