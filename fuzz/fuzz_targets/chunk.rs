//! The body alone: chunk by chunk as in one, and the same verdict and bytes as an independent
//! implementation of suites 1 and 2.
#![no_main]

use cobblestone::{Key, Key256};
use envelock::Suite;
use envelock::{danger, format::layout};
use envelock_fuzz::Input;
use libfuzzer_sys::fuzz_target;

const KEY: [u8; 32] = [0x42; 32];

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let suite = Suite::ALL[input.below(Suite::ALL.len())];
    let key = &KEY[..suite.data_key_len()];
    let salt = [input.byte(); layout::SALT_LEN];
    let context_len = input.below(48);
    let context = input.take(context_len);
    let plaintext = stretched(&mut input);

    let body = danger::encrypt_body(suite, key, &salt, context, &plaintext);
    let mut body = body.expect("any plaintext encrypts");
    assert_eq!(by_chunks(suite, key, &salt, context, &plaintext), body);
    assert_eq!(
        theirs(suite, context, &body).unwrap_or(Some(plaintext.clone())),
        Some(plaintext.clone())
    );

    let changed = change(&mut body, &mut input);
    let len = body.len() as u64;
    assert_eq!(layout::plaintext_len(len).ok(), cobblestone::plaintext_size(len).ok());
    let ours = danger::decrypt_body(suite, key, context, &body).ok();
    assert_eq!(theirs(suite, context, &body).unwrap_or(ours.clone()), ours);
    assert_eq!(ours, (!changed).then_some(plaintext));
});

/// A plaintext of a length around a chunk's end, or a short one of the fuzzer's own bytes.
fn stretched(input: &mut Input<'_>) -> Vec<u8> {
    let chunks = usize::from(input.byte() % 4);
    let len = usize::from(input.byte());
    if chunks == 0 {
        return input.take(len).to_vec();
    }
    let filler = input.byte();
    let len = chunks * layout::CHUNK_LEN + len % 64 - 32;
    (0..len).map(|index| filler.wrapping_add(index as u8)).collect()
}

/// Changes the body; returns whether it differs.
fn change(body: &mut Vec<u8>, input: &mut Input<'_>) -> bool {
    let before = body.clone();
    let kind = input.byte() % 6;
    let at = input.position(body.len());
    match kind {
        0 => body[at] ^= input.byte(),
        1 => body.truncate(at),
        2 => body.extend(input.take(64)),
        3 => body.rotate_left(at),
        4 => {
            let chunk = body.split_off(body.len().min(56));
            let chunks: Vec<&[u8]> = chunk.chunks(layout::ENCRYPTED_CHUNK_LEN).rev().collect();
            body.extend(chunks.concat());
        }
        _ => {}
    }
    *body != before
}

/// Encrypts from the last chunk to the first.
fn by_chunks(
    suite: Suite,
    key: &[u8],
    salt: &[u8; layout::SALT_LEN],
    context: &[u8],
    plaintext: &[u8],
) -> Vec<u8> {
    let encryptor = danger::chunk_encryptor(suite, key, salt, context).expect("the key fits");
    let mut body = vec![0; layout::body_len(plaintext.len() as u64).expect("it is short") as usize];
    body[..layout::PREFIX_LEN].copy_from_slice(encryptor.prefix());
    for index in (0..layout::chunk_count(plaintext.len() as u64).expect("it is short")).rev() {
        let start = index as usize * layout::CHUNK_LEN;
        let end = (start + layout::CHUNK_LEN).min(plaintext.len());
        let mut chunk = plaintext[start..end].to_vec();
        let tag = encryptor.encrypt_in_place(index, &mut chunk).expect("a chunk of a message");
        chunk.extend(tag);
        let offset = layout::chunk_offset(index).expect("it is short") as usize;
        body[offset..offset + chunk.len()].copy_from_slice(&chunk);
    }
    body
}

/// The result of `cobblestone` for the body, or `None` for a suite that it does not have.
fn theirs(suite: Suite, context: &[u8], body: &[u8]) -> Option<Option<Vec<u8>>> {
    let (mut short, mut long) = ([0; 16], [0; 32]);
    short.copy_from_slice(&KEY[..16]);
    long.copy_from_slice(&KEY);
    match suite {
        Suite::Cobblestone256 => {
            Some(cobblestone::decrypt(&Key256::from_bytes(&long), context, body).ok())
        }
        Suite::Cobblestone128 => {
            Some(cobblestone::decrypt(&Key::from_bytes(&short), context, body).ok())
        }
        _ => None,
    }
}
