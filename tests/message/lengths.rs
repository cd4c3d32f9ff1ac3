//! Every length is exact: what the functions say is what the operations write and ask for, and
//! the limits hold to the byte without a buffer of that size.

use crate::common::detached::{ReadDetached, WriteDetached};
use envelock::danger::{chunk_decryptor, chunk_encryptor};
use envelock::format::layout::{
    self, CHUNK_LEN, ENCRYPTED_CHUNK_LEN, MAX_CHUNKS, MAX_PLAINTEXT_LEN,
};
use envelock::{
    Aad, Envelope, Error, MemoryKeyring, Suite, body_len, format::MessagePart, inspect,
    plaintext_len,
};

/// 0 to 40, and around every chunk boundary of up to four chunks.
fn sizes() -> Vec<usize> {
    let around = |chunks: usize| {
        let boundary = chunks * CHUNK_LEN;
        [17, 16, 15, 2, 1]
            .map(|less| boundary - less)
            .into_iter()
            .chain([0, 1, 2, 15, 16, 17].map(|more| boundary + more))
    };
    (0..=40).chain((1..=4).flat_map(around)).collect()
}

fn buffer_error<T: std::fmt::Debug>(result: Result<T, Error>) -> (usize, usize) {
    match result.unwrap_err() {
        Error::BufferLength { len, needed, .. } => (len, needed),
        other => panic!("{other:?}"),
    }
}

/// SPEC B-LENGTH, B-LAST.
#[test]
fn lengths_match_written_bytes() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    for &suite in Suite::ALL {
        for reserved in [0, 1, 100] {
            let envelope = Envelope::new(&keyring).with_suite(suite).with_reserved(reserved);
            for len in sizes() {
                let plaintext: Vec<u8> = (0..len).map(|index| index as u8).collect();
                let message = envelope.encrypt(&plaintext, Aad::none()).unwrap();
                let header = inspect(&message).unwrap();
                assert_eq!(envelope.message_len(len).unwrap(), message.len());
                assert_eq!(envelope.header_len().unwrap(), header.len());
                assert_eq!(header.padding_len(), reserved);
                assert_eq!(body_len(len).unwrap(), message.len() - header.len());
                assert_eq!(plaintext_len(&message).unwrap(), len);
                let start = header.len() + 56;
                assert_eq!(envelope.plaintext_range(len).unwrap(), start..start + len);
                assert_eq!(body_len(len).unwrap(), 56 + len + 16 * (len / CHUNK_LEN + 1));
                assert_eq!(envelope.decrypt(&message, Aad::none()).unwrap(), plaintext);
            }
        }
    }
}

#[test]
fn message_of_one_chunk_has_193_bytes_more() {
    let keyring = MemoryKeyring::create("eight-by").unwrap();
    let envelope = Envelope::new(&keyring);
    for len in [0, 1, 200, CHUNK_LEN - 1] {
        let message = envelope.encrypt(&vec![0; len], Aad::new(b"row")).unwrap();
        assert_eq!(message.len() - len, 193);
    }
    let two_chunks = envelope.encrypt(&vec![0; CHUNK_LEN], Aad::none()).unwrap();
    assert_eq!(two_chunks.len() - CHUNK_LEN, 193 + 16);
    // The wrapped key of suite 2 is 16 bytes shorter.
    let envelope = envelope.with_suite(Suite::Cobblestone128);
    assert_eq!(envelope.encrypt(b"", Aad::none()).unwrap().len(), 177);
}

/// SPEC B-LENGTH: of all body lengths of up to four chunks, exactly those that a plaintext has.
#[test]
fn body_length_is_one_of_a_plaintext_or_truncated() {
    let last = 4 * ENCRYPTED_CHUNK_LEN;
    let mut exist = vec![None; last + 1];
    for len in 0..4 * CHUNK_LEN {
        if let Some(there) = exist.get_mut(body_len(len).unwrap()) {
            *there = Some(len as u64);
        }
    }
    for (len, expected) in exist.iter().enumerate() {
        match (layout::plaintext_len(len as u64), expected) {
            (Ok(found), Some(expected)) => assert_eq!(found, *expected),
            (
                Err(Error::Truncated { part: MessagePart::Body, len: reported, needed, .. }),
                None,
            ) => {
                assert_eq!(reported, len as u64);
                assert!(needed > reported);
                layout::plaintext_len(needed).unwrap();
                let between = exist.get(len..needed as usize).unwrap_or(&exist[len..]);
                assert!(between.iter().all(Option::is_none), "{needed} is not the least");
            }
            other => panic!("{len}: {other:?}"),
        }
    }
}

/// SPEC B-MAX, on numbers alone.
#[test]
fn message_has_at_most_2_to_the_38_chunks() {
    assert_eq!(MAX_CHUNKS, 1 << 38);
    assert_eq!(MAX_PLAINTEXT_LEN, (1 << 52) - 1);
    let too_long = |result: Result<u64, Error>| matches!(result, Err(Error::MessageTooLong));
    let longest_body = MAX_PLAINTEXT_LEN + 16 * MAX_CHUNKS + 56;
    for less in [0, 1] {
        let len = MAX_PLAINTEXT_LEN - less;
        assert_eq!(layout::chunk_count(len).unwrap(), MAX_CHUNKS);
        assert_eq!(layout::body_len(len).unwrap(), longest_body - less);
        assert_eq!(layout::plaintext_len(longest_body - less).unwrap(), len);
    }
    assert_eq!(layout::chunk_count(MAX_PLAINTEXT_LEN - CHUNK_LEN as u64).unwrap(), MAX_CHUNKS - 1);
    for len in [MAX_PLAINTEXT_LEN + 1, MAX_PLAINTEXT_LEN + 2, u64::MAX - 1, u64::MAX] {
        assert!(too_long(layout::chunk_count(len)));
        assert!(too_long(layout::body_len(len)));
    }
    // One more byte would make the last chunk a full one, so another must follow.
    for more in [1, 16] {
        let error = layout::plaintext_len(longest_body + more).unwrap_err();
        assert!(matches!(error, Error::Truncated { .. }), "{error:?}");
    }
    assert!(too_long(layout::plaintext_len(longest_body + 17)));
    // Whatever the length, an error and no overflow; about 16 in 16,400 end within a tag.
    for body_len in (0..20_000).map(|less| u64::MAX - less) {
        assert!(layout::plaintext_len(body_len).is_err());
    }
    assert_eq!(layout::chunk_offset(0).unwrap(), 56);
    let last = 56 + (MAX_CHUNKS - 1) * ENCRYPTED_CHUNK_LEN as u64;
    assert_eq!(layout::chunk_offset(MAX_CHUNKS - 1).unwrap(), last);
    assert_eq!(last + CHUNK_LEN as u64 - 1 + 16, longest_body);
    for index in [MAX_CHUNKS, MAX_CHUNKS + 1, u64::MAX] {
        assert!(too_long(layout::chunk_offset(index)));
    }
}

/// SPEC B-MAX, B-LAST, by chunk: the last index there is works, the next does not.
#[test]
fn chunk_beyond_the_limits_is_refused_both_ways() {
    for &suite in Suite::ALL {
        let key = vec![7; suite.data_key_len()];
        let encryptor = chunk_encryptor(suite, &key, &[1; 24], b"context").unwrap();
        let decryptor = chunk_decryptor(suite, &key, encryptor.prefix(), b"context").unwrap();
        for index in [0, 1, MAX_CHUNKS - 1] {
            let mut sealed = [0x5A; 5 + 16];
            encryptor.encrypt_into(index, &[0x5A; 5], &mut sealed).unwrap();
            assert_eq!(decryptor.decrypt_in_place(index, &mut sealed).unwrap(), [0x5A; 5]);
        }
        for index in [MAX_CHUNKS, MAX_CHUNKS + 1, u64::MAX] {
            let (mut chunk, mut sealed) = ([0x5A; 5], [0x5A; 21]);
            let wrong = |error: &Error, expected: usize| matches!(error, Error::Chunk { index: reported, len, .. } if (*reported, *len) == (index, expected));
            assert!(wrong(&encryptor.encrypt_in_place(index, &mut chunk).unwrap_err(), 5));
            assert!(wrong(&encryptor.encrypt_into(index, &chunk, &mut sealed).unwrap_err(), 5));
            assert!(wrong(&decryptor.decrypt_into(index, &sealed, &mut chunk).unwrap_err(), 21));
            assert!(wrong(&decryptor.decrypt_in_place(index, &mut sealed).unwrap_err(), 21));
            assert_eq!((chunk, sealed), ([0x5A; 5], [0x5A; 21]), "nothing was touched");
        }
        let mut full = vec![0; CHUNK_LEN + 1];
        assert!(encryptor.encrypt_in_place(0, &mut full).is_err());
        assert!(encryptor.encrypt_in_place(0, &mut full[1..]).is_ok());
        let mut full = vec![0; ENCRYPTED_CHUNK_LEN + 1];
        for len in [0, 1, 15, ENCRYPTED_CHUNK_LEN + 1] {
            let error = decryptor.decrypt_in_place(0, &mut full[..len]).unwrap_err();
            assert!(matches!(error, Error::Chunk { .. }), "{len}: {error:?}");
        }
        assert_eq!(buffer_error(encryptor.encrypt_into(0, &[0; 5], &mut [0; 20])), (20, 21));
        assert_eq!(buffer_error(encryptor.encrypt_into(0, &[0; 5], &mut [0; 22])), (22, 21));
        assert_eq!(buffer_error(decryptor.decrypt_into(0, &[0; 21], &mut [0; 4])), (4, 5));
        assert_eq!(buffer_error(decryptor.decrypt_into(0, &[0; 21], &mut [0; 6])), (6, 5));
    }
}

#[test]
fn output_of_another_length_is_refused_and_untouched() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring);
    let aad = Aad::none();
    for len in [0, 1, 40, CHUNK_LEN - 1, CHUNK_LEN, 2 * CHUNK_LEN + 1] {
        let plaintext = vec![3; len];
        let message = envelope.encrypt(&plaintext, aad).unwrap();
        let header_len = envelope.header_len().unwrap();
        let (header, body) = message.split_at(header_len);

        for wrong in [message.len() - 1, message.len() + 1, header_len, 0] {
            let mut out = vec![0xA5; wrong];
            let error = buffer_error(envelope.encrypt_into(&plaintext, aad, &mut out));
            assert_eq!(error, (wrong, message.len()));
            assert!(out.iter().all(|byte| *byte == 0xA5));
        }
        for wrong in [body.len() - 1, body.len() + 1, 0] {
            let (mut head, mut out) = (vec![0xA5; header_len], vec![0xA5; wrong]);
            let result = envelope.encrypt_detached_into(&plaintext, aad, &mut head, &mut out);
            assert_eq!(buffer_error(result), (wrong, body.len()));
            assert!(head.iter().chain(&out).all(|byte| *byte == 0xA5));
        }
        for wrong in [len + 1, len.wrapping_sub(1), 0].into_iter().filter(|wrong| *wrong < 1 << 20)
        {
            if wrong == len {
                continue;
            }
            let mut out = vec![0xA5; wrong];
            let error = buffer_error(envelope.decrypt_into(&message, aad, &mut out));
            assert_eq!(error, (wrong, len));
            let result = envelope.decrypt_detached_into(header, body, aad, &mut out);
            assert_eq!(buffer_error(result), (wrong, len));
            assert!(out.iter().all(|byte| *byte == 0xA5));
        }
        // A detached header takes more room than it needs, as padding, and not less.
        let mut out = vec![0; body.len()];
        for short in [0, 24, 25, header_len - 1] {
            let mut head = vec![0xA5; short];
            let error = envelope.encrypt_detached_into(&plaintext, aad, &mut head, &mut out);
            let Err(Error::HeaderRoom { needed, available, .. }) = error else {
                panic!("{error:?}")
            };
            assert_eq!((needed, available), (header_len, short));
        }
        let mut head = vec![0xA5; header_len + 9];
        envelope.encrypt_detached_into(&plaintext, aad, &mut head, &mut out).unwrap();
        assert_eq!(inspect(&head).unwrap().padding_len(), 9);
        assert_eq!(envelope.decrypt_detached(&head, &out, aad).unwrap(), plaintext);
    }
}

#[test]
fn in_place_buffer_without_message_is_untouched() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring);
    let header_len = envelope.header_len().unwrap();
    for (len, body_len) in [(0, 72), (5, 77), (16_384, 56 + 16_400 + 16)] {
        let range = envelope.plaintext_range(len).unwrap();
        // Off by one, empty, and stale bytes behind the last tag.
        for wrong_len in [0, 71, body_len - 1, body_len + 1, body_len + 3] {
            let mut message = vec![0xA5; header_len + wrong_len];
            let error = envelope.encrypt_in_place(&mut message, range.clone(), Aad::none());
            assert_eq!(buffer_error(error), (wrong_len, body_len));
            let (header, body) = message.split_at_mut(header_len);
            let error = envelope.encrypt_detached_in_place(header, body, len, Aad::none());
            assert_eq!(buffer_error(error), (wrong_len, body_len));
            assert!(message.iter().all(|byte| *byte == 0xA5));
        }
    }
    for range in [0..0, 55..60, 900..901, usize::MAX - 1..usize::MAX] {
        let mut message = [0xA5; 300];
        envelope.encrypt_in_place(&mut message, range, Aad::none()).unwrap_err();
        assert_eq!(message, [0xA5; 300]);
    }
}

/// The plaintext is where the caller says, whatever header the keyring would have now.
#[test]
fn header_of_new_length_does_not_shift_plaintext() {
    let short = MemoryKeyring::create("orders").unwrap();
    let long = MemoryKeyring::create("orders-of-the-other-shop").unwrap();
    let plaintext = b"not a byte of this may go";
    let place = |asked: &MemoryKeyring, reserved| {
        let envelope = Envelope::new(asked).with_reserved(reserved);
        let mut message = vec![0; envelope.message_len(plaintext.len()).unwrap()];
        let range = envelope.plaintext_range(plaintext.len()).unwrap();
        message[range.clone()].copy_from_slice(plaintext);
        (message, range)
    };
    // Longer than what was asked for: refused, and the plaintext is where it was.
    let (mut message, range) = place(&short, 0);
    let before = message.clone();
    let error = Envelope::new(&long).encrypt_in_place(&mut message, range.clone(), Aad::none());
    assert!(matches!(error, Err(Error::HeaderRoom { .. })), "{error:?}");
    assert_eq!(message[range.clone()], before[range]);
    // Shorter: padding takes up the rest.
    for (asked, reserved) in [(&long, 0), (&short, 9)] {
        let (mut message, range) = place(asked, reserved);
        let envelope = Envelope::new(&short);
        envelope.encrypt_in_place(&mut message, range, Aad::none()).unwrap();
        assert!(inspect(&message).unwrap().padding_len() >= 9);
        assert_eq!(envelope.decrypt(&message, Aad::none()).unwrap(), plaintext);
        let all = message.len();
        let decrypted = envelope.decrypt_in_place(&mut message, Aad::none()).unwrap().len();
        assert_eq!(decrypted, plaintext.len());
        // No copy of it is left behind what is returned.
        assert!(message[all - 16..].iter().all(|byte| *byte == 0));
    }
}

/// SPEC H-LEN, H-BOUND.
#[test]
fn header_has_at_most_65_535_bytes() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let slots_end = Envelope::new(&keyring).header_len().unwrap();
    let most = Envelope::new(&keyring).with_reserved(65_535 - slots_end);
    let message = most.encrypt(b"payload", Aad::none()).unwrap();
    assert_eq!(inspect(&message).unwrap().len(), 65_535);
    assert_eq!(most.decrypt(&message, Aad::none()).unwrap(), b"payload");
    for reserved in [65_536 - slots_end, 65_536, usize::MAX] {
        let envelope = Envelope::new(&keyring).with_reserved(reserved);
        for error in [
            envelope.header_len().unwrap_err(),
            envelope.message_len(0).unwrap_err(),
            envelope.encrypt(b"", Aad::none()).unwrap_err(),
            envelope.encrypt_detached(b"", Aad::none()).unwrap_err(),
        ] {
            assert!(matches!(error, Error::HeaderRoom { available: 65_535, .. }), "{error:?}");
        }
    }
    let envelope = Envelope::new(&keyring);
    let mut header = vec![0; 65_536];
    let error = envelope.encrypt_detached_into(b"", Aad::none(), &mut header, &mut [0; 72]);
    assert!(matches!(error, Err(Error::HeaderRoom { needed: 65_536, available: 65_535, .. })));
    for len in [usize::MAX, usize::MAX - 200, MAX_PLAINTEXT_LEN as usize + 1] {
        assert!(matches!(envelope.message_len(len), Err(Error::MessageTooLong)));
        assert!(matches!(body_len(len), Err(Error::MessageTooLong)));
    }
}

/// Without a key, beyond what 32 bits hold.
#[test]
fn header_reports_lengths_in_64_bits() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring);
    for len in [0, 1, CHUNK_LEN - 1, CHUNK_LEN, CHUNK_LEN + 1, 100_000] {
        let message = envelope.encrypt(&vec![7; len], Aad::none()).unwrap();
        let header = inspect(&message).unwrap();
        let (len, total) = (len as u64, message.len() as u64);
        assert_eq!(header.plaintext_len(total).unwrap(), len);
        assert_eq!(header.message_len(len).unwrap(), total);
        assert_eq!(envelope.header_len().unwrap() as u64 + layout::body_len(len).unwrap(), total);
    }
    let message = envelope.encrypt(b"", Aad::none()).unwrap();
    let header = inspect(&message).unwrap();
    for len in [u64::from(u32::MAX), 1 << 40, MAX_PLAINTEXT_LEN] {
        let total = header.message_len(len).unwrap();
        assert_eq!(header.plaintext_len(total).unwrap(), len);
        assert_eq!(header.len() as u64 + layout::body_len(len).unwrap(), total);
    }
    assert!(matches!(header.message_len(MAX_PLAINTEXT_LEN + 1), Err(Error::MessageTooLong)));
    assert!(matches!(layout::body_len(u64::MAX), Err(Error::MessageTooLong)));
    assert!(matches!(header.plaintext_len(u64::MAX), Err(Error::MessageTooLong)));
    for total in [0, 1, header.len() as u64, header.len() as u64 + 71] {
        assert!(matches!(header.plaintext_len(total), Err(Error::Truncated { .. })));
    }
}
