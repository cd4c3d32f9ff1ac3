//! Parts of one message put into another never open (THREATS 2, 4, 5, 9, G2).
//!
//! 84 messages of four suites under two keysets, many with the same plaintext or the same
//! associated data: header and body, slots and core, core and rest exchanged for every ordered
//! pair, by all six forms of decryption.

use crate::common;
use crate::common::detached::Whole;
use crate::common::detached::{ReadDetached, WriteDetached};

use common::entry::{Tried, assert_opens, try_all};
use common::model::Answer;
use common::reference::{self, RefHeader};
use common::rings::{Member, Several, Spy, ring};
use common::{random_bytes, rng};
use envelock::{Aad, Envelope, Suite, danger, inspect};

struct Message {
    header: RefHeader,
    body: Vec<u8>,
    aad: Vec<u8>,
    plaintext: Vec<u8>,
}

fn reader() -> Envelope<Several> {
    let rings = [ring("orders", &[(1, 0x11)]), ring("billing", &[(1, 0x22)])];
    Envelope::new(Several(rings.into_iter().map(Member::Ring).collect()))
}

/// 21 messages of each suite; every second one under the other keyset, every third with the same
/// associated data, two of three with the same plaintext.
fn messages() -> Vec<Message> {
    let mut rng = rng(0x5B11CE);
    let mut messages = Vec::new();
    for &suite in Suite::ALL {
        for index in 0..21_usize {
            let name = ["orders", "billing"][index % 2];
            let byte = [0x11, 0x22][index % 2];
            let writer = Envelope::new(ring(name, &[(1, byte)])).with_suite(suite);
            let aad = if index % 3 == 0 { b"same".to_vec() } else { vec![index as u8; 4] };
            let plaintext = match index % 3 {
                0 | 1 => b"the same plaintext".to_vec(),
                _ => random_bytes(&mut rng, index * 10),
            };
            let message = writer.with_rng(&mut rng).encrypt(&plaintext, Aad::new(&aad)).unwrap();
            let header = reference::parse(&message).unwrap();
            let body = message[header.len()..].to_vec();
            messages.push(Message { header, body, aad, plaintext });
        }
    }
    assert!(messages.len() >= 50);
    messages
}

/// Opens `header` and `body` with the associated data of either message they come from.
fn try_both(reader: &Envelope<Several>, header: &[u8], body: &[u8], pair: [&Message; 2]) -> Tried {
    let message = [header, body].concat();
    let [first, second] = pair.map(|from| try_all(reader, &message, header.len(), &from.aad));
    assert_eq!(first.answer(), second.answer());
    first
}

#[test]
fn nothing_of_one_message_opens_in_another() {
    let messages = messages();
    let reader = reader();
    let mut refused = 0;
    for (i, a) in messages.iter().enumerate() {
        let whole = [a.header.encode(), a.body.clone()].concat();
        assert_opens(&reader, &whole, &a.aad, &a.plaintext);
        for b in messages.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, b)| b) {
            // SPEC B-CONTEXT, B-COMMIT: the body is bound to the core, and its data key differs.
            let tried = try_both(&reader, &a.header.encode(), &b.body, [a, b]);
            assert_eq!((tried.answer(), tried.wiped), (Answer::Authentication, false));
            // SPEC K-AAD: slots are bound to the core; also across suites, where they fit.
            let core = a.header.core;
            let slots = RefHeader { core, ..b.header.clone() }.encode();
            for body in [&a.body, &b.body] {
                let tried = try_both(&reader, &slots, body, [a, b]);
                let expected = match reference::parse(&slots) {
                    Ok(_) => Answer::Authentication,
                    Err(fault) => Answer::from(fault),
                };
                assert_eq!((tried.answer(), tried.wiped), (expected, false));
            }
            refused += 3;
        }
    }
    println!("{refused} splices refused");
    assert!(refused >= 10_000);
}

/// SPEC B-CONTEXT; THREATS 9: a message moved to another record does not open there.
#[test]
fn message_opens_with_its_own_associated_data_only() {
    let reader = reader();
    for message in messages() {
        let whole = [message.header.encode(), message.body.clone()].concat();
        let longer = [&message.aad[..], &[0]].concat();
        let shorter = &message.aad[..message.aad.len() - 1];
        for aad in [&longer[..], shorter, b"", b"another row", &message.header.core] {
            let tried = try_all(&reader, &whole, message.header.len(), aad);
            assert_eq!((tried.answer(), tried.wiped), (Answer::Authentication, false));
        }
    }
}

/// SPEC B-CONTEXT: what moves between core and associated data moves the key.
#[test]
fn bodies_of_one_data_key_open_with_their_core_only() {
    for &suite in Suite::ALL {
        let writer = Envelope::new(Spy::new(ring("orders", &[(1, 0x11)]))).with_suite(suite);
        let mut rng = rng(9);
        let (header, _) = writer.with_rng(&mut rng).encrypt_detached(b"", Aad::none()).unwrap();
        let data_key = writer.keyring().last();
        let records: Vec<[u8; 3]> = (0..12).map(|record| [b'r', b'0', record]).collect();
        for (salt, record) in (0..).zip(&records) {
            let context = [&header[..22], record].concat();
            let body = danger::encrypt_body(suite, &data_key, &[salt; 24], &context, b"text");
            let message = [&header[..], &body.unwrap()].concat();
            assert_opens(&writer, &message, record, b"text");
            for other in records.iter().filter(|other| *other != record) {
                let tried = try_all(&writer, &message, header.len(), other);
                assert_eq!((tried.answer(), tried.wiped), (Answer::Authentication, false));
            }
        }
        // The same data key under another core: only a keyring that repeats keys gets there.
        let mut core: [u8; 22] = header[..22].try_into().unwrap();
        core[6] ^= 1;
        let body = danger::encrypt_body(suite, &data_key, &[0; 24], &core, b"text").unwrap();
        danger::decrypt_body(suite, &data_key, &core, &body).unwrap();
        let moved = danger::decrypt_body(suite, &data_key, &header[..22], &body);
        assert_eq!(Answer::of(&moved), Answer::Authentication);
    }
}

/// SPEC K-CHECK, K-AAD; THREATS 5: the suite is bound by check, wrap and body, each by itself.
#[test]
fn no_suite_can_be_rewritten_to_another() {
    let reader = reader();
    for message in messages() {
        let from = message.header.core[5];
        for to in (1..=4).filter(|to| *to != from) {
            let mut header = message.header.clone();
            header.core[5] = to;
            // Lengths fixed up, so that the header parses: the tag kept, and the tag cut off.
            let exact = reference::exact_wrapped_len(to, 1).unwrap();
            let wrapped = &message.header.slots[0].wrapped;
            let tag = &wrapped[wrapped.len() - 16..];
            let mut cut = wrapped.clone();
            cut.resize(exact, 0);
            let mut tagged = cut.clone();
            tagged[exact - 16..].copy_from_slice(tag);
            for wrapped in [cut, tagged] {
                header.slots[0].wrapped = wrapped;
                let whole = [header.encode(), message.body.clone()].concat();
                let tried = try_all(&reader, &whole, header.len(), &message.aad);
                assert_eq!((tried.answer(), tried.wiped), (Answer::Authentication, false));
            }
        }
    }
}

/// SPEC B-KDF: suites 1, 3 and 4 take keys of one length, and still never read each other's bodies,
/// not even under one context. Suites 1 and 4 differ in the hash alone.
#[test]
fn body_opens_under_its_own_suite_only() {
    let suites = Suite::ALL.iter().copied().filter(|suite| suite.data_key_len() == 32);
    for suite in suites.clone() {
        let body = danger::encrypt_body(suite, &[5; 32], &[6; 24], b"context", b"text").unwrap();
        for other in suites.clone() {
            let opened = danger::decrypt_body(other, &[5; 32], b"context", &body);
            let expected = if other == suite { Answer::Opens } else { Answer::Authentication };
            assert_eq!(Answer::of(&opened), expected);
        }
    }
}

/// A key that was opened refuses each other message by its core, before any cipher could.
#[test]
fn key_opened_from_one_message_refuses_every_other() {
    let (messages, reader) = (messages(), reader());
    let whole = |message: &Message| [message.header.encode(), message.body.clone()].concat();
    for (i, a) in messages.iter().enumerate() {
        let key = reader.open(&a.header.encode()).unwrap();
        assert_eq!(key.label(), inspect(&whole(a)).unwrap().slots().next().unwrap().label);
        for b in messages.iter().enumerate().filter(|(j, _)| *j != i).map(|(_, b)| b) {
            let (bytes, header, aad) = (whole(b), b.header.encode(), Aad::new(&b.aad));
            let found = inspect(&bytes).unwrap().data_key_id();
            let refused = |answer: Answer| {
                let opened = key.data_key_id();
                assert_eq!(answer, Answer::OtherMessage { opened, found });
            };
            let mut out = vec![1; b.plaintext.len()];
            refused(Answer::of(&Whole(&key).decrypt(&bytes, aad)));
            refused(Answer::of(&Whole(&key).decrypt_into(&bytes, aad, &mut out)));
            refused(Answer::of(&Whole(&key).decrypt_in_place(&mut bytes.clone(), aad)));
            refused(Answer::of(&key.decrypt_detached(&header, &a.body, aad)));
            refused(Answer::of(&key.decrypt_detached_into(&header, &b.body, aad, &mut out)));
            let in_place = &mut b.body.clone();
            refused(Answer::of(&key.decrypt_detached_in_place(&header, in_place, aad)));
            refused(Answer::of(&Whole(&key).decrypt_reader(&bytes[..], aad)));
            refused(Answer::of(&key.decrypt_reader_detached(&header, &b.body[..], aad)));
            // A body alone has no header to compare.
            let copied = key.decrypt_copy(&b.body[..], std::io::sink(), aad);
            assert_eq!(Answer::of(&copied), Answer::Authentication);
            refused(Answer::of(&Whole(&key).range_reader(&bytes[..], aad)));
            refused(Answer::of(&key.range_reader_detached(&header, &b.body[..], aad)));
            assert!(out.iter().all(|byte| *byte == 1));
            // Its own header before the body of another: the body does not verify.
            let own = key.decrypt_detached(&a.header.encode(), &b.body, aad);
            assert_eq!(Answer::of(&own), Answer::Authentication);
        }
    }
}

/// A rewrap does not change the core: the opened key still opens the message.
#[test]
fn opened_key_opens_after_rewraps_and_other_slots() {
    let reader = reader();
    for message in messages() {
        let old = [message.header.encode(), message.body.clone()].concat();
        let key = reader.open(&old).unwrap();
        let mut foreign = message.header.clone();
        foreign.slots[0].wrapped.reverse();
        foreign.slots[0].version += 1;
        let new = [foreign.encode(), message.body.clone()].concat();
        assert!(reader.decrypt(&new, Aad::new(&message.aad)).is_err());
        assert_eq!(Whole(&key).decrypt(&new, Aad::new(&message.aad)).unwrap(), message.plaintext);
        let mut suite = message.header.core;
        suite[5] = suite[5] % 3 + 1;
        if let Ok(header) = reference::parse(&RefHeader { core: suite, ..foreign }.encode()) {
            let same_id = key.decrypt_detached(&header.encode(), &message.body, Aad::none());
            let (opened, found) = (key.data_key_id(), key.data_key_id());
            assert_eq!(Answer::of(&same_id), Answer::OtherMessage { opened, found });
        }
    }
}
