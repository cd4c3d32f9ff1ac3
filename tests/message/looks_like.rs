//! The error for input that is no message names what it resembles, and nothing else depends on the guess.

use crate::common::detached::{ReadDetached, WriteDetached};
use envelock::{
    Aad, Envelope, Error, MemoryKeyring, RewrapOptions,
    format::{LooksLike, MAGIC},
    inspect,
};

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> Vec<u8> {
    let symbols = bytes.chunks(3).flat_map(|group| {
        let at = |index| u32::from(group.get(index).copied().unwrap_or_default());
        let word = at(0) << 16 | at(1) << 8 | at(2);
        (0..4).map(move |symbol| BASE64[(word >> (18 - 6 * symbol)) as usize % 64])
    });
    symbols.collect()
}

fn looks_like(input: &[u8]) -> LooksLike {
    match inspect(input).unwrap_err() {
        Error::NotEnvelock { looks_like, .. } => looks_like,
        other => panic!("{other:?}"),
    }
}

fn message() -> Vec<u8> {
    let keyring = MemoryKeyring::create("orders").unwrap();
    Envelope::new(&keyring).encrypt(b"payload", Aad::none()).unwrap()
}

/// Every guess with the inputs that lead to it.
fn cases() -> Vec<(LooksLike, Vec<Vec<u8>>)> {
    let message = message();
    let hexadecimal = hex::encode(&message);
    let text = |text: &str| text.as_bytes().to_vec();
    let latin1: String = message.iter().map(|byte| char::from(*byte)).collect();
    let lossy = String::from_utf8_lossy(&message).into_owned();
    let with_prefix = |prefix: &[u8]| [prefix, &message].concat();
    vec![
        (LooksLike::Empty, vec![vec![]]),
        (LooksLike::Zeros, vec![vec![0], vec![0; 63], vec![0; 4096]]),
        (
            LooksLike::Base64,
            vec![
                base64(&message),
                [b"\n", &base64(&message)[..]].concat(),
                [b"\"", &base64(&message)[..], b"\""].concat(),
                [b"'", &base64(&message)[..], b"'"].concat(),
                base64(&base64(&message)),
            ],
        ),
        (
            LooksLike::Hex,
            vec![
                text(&hexadecimal),
                text(&hexadecimal.to_uppercase()),
                text(&format!("0x{hexadecimal}")),
                text(&format!("\\x{hexadecimal}")),
                text(&format!("\"{hexadecimal}\"")),
            ],
        ),
        (
            LooksLike::TextConversion,
            vec![
                text(&latin1),
                text(&lossy),
                latin1.encode_utf16().flat_map(u16::to_le_bytes).collect(),
                [0xFEFF]
                    .into_iter()
                    .chain(latin1.encode_utf16())
                    .flat_map(u16::to_le_bytes)
                    .collect(),
                [0xFEFF]
                    .into_iter()
                    .chain(latin1.encode_utf16())
                    .flat_map(u16::to_be_bytes)
                    .collect(),
            ],
        ),
        (
            LooksLike::LeadingText,
            vec![with_prefix(b"\n"), with_prefix(b" \t\r\n"), with_prefix(b"\xEF\xBB\xBF")],
        ),
        (
            LooksLike::Unknown,
            vec![
                message[150..].to_vec(),
                vec![0, 1],
                vec![0xE5, 0],
                vec![0xFF; 80],
                text("hello"),
                text(" \n"),
                text("E5 4E 56 4C"),
            ],
        ),
    ]
}

/// SPEC H-MAGIC.
#[test]
fn every_guess_matches_its_input() {
    let cases = cases();
    assert_eq!(cases.len(), 7);
    for (expected, inputs) in cases {
        for input in inputs {
            assert_eq!(looks_like(&input), expected, "{:x?}", &input[..input.len().min(20)]);
        }
    }
}

#[test]
fn every_operation_says_the_same_of_foreign_input() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring);
    let (aad, options) = (Aad::none(), RewrapOptions::new());
    for (expected, inputs) in cases() {
        let input = &inputs[0];
        let mut copy = input.clone();
        for error in [
            envelope.decrypt(input, aad).unwrap_err(),
            envelope.decrypt_into(input, aad, &mut []).unwrap_err(),
            envelope.decrypt_in_place(&mut copy, aad).map(|_| ()).unwrap_err(),
            envelope.decrypt_detached(input, &[0; 72], aad).unwrap_err(),
            envelope.decrypt_detached_into(input, &[0; 72], aad, &mut []).unwrap_err(),
            envelope.decrypt_detached_in_place(input, &mut [0; 72], aad).map(|_| ()).unwrap_err(),
            envelope.rewrap(input, options).unwrap_err(),
            envelope.rewrap_in_place(&mut copy, options).unwrap_err(),
            envelope.needs_rewrap(input).unwrap_err(),
            envelock::plaintext_len(input).unwrap_err(),
        ] {
            let Error::NotEnvelock { looks_like, .. } = error else { panic!("{error:?}") };
            assert_eq!(looks_like, expected);
        }
        assert_eq!(copy, *input);
    }
}

/// A start of the magic may yet become a message: it is truncated, not foreign.
#[test]
fn start_of_the_magic_is_a_truncated_header() {
    for len in 1..=MAGIC.len() {
        let error = inspect(&MAGIC[..len]).unwrap_err();
        assert!(matches!(error, Error::Truncated { needed: 43, .. }), "{error:?}");
    }
    for index in 0..MAGIC.len() {
        for bit in 0..8 {
            let mut changed = message();
            changed[index] ^= 1 << bit;
            looks_like(&changed);
        }
    }
}
