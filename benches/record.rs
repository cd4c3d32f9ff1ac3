//! Prototypes for database fields beside the suites that there are: see `RECORD_SUITE.md`.
//!
//! `taskset -c 1 cargo bench --bench record`, 10 seconds. A prototype computes all that such a
//! suite would, without the header that it would share with the others; nothing here is a format.

mod floor;
mod interleave;

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut, KeyInit};
use envelock::{Suite, danger};
use floor::AAD;
use floor::primitives::{self, RANDOM_LEN, Wrap};
use interleave::interleave;
use interleave::lanes::repeat;
use std::hint::black_box;
use std::time::Duration;

const BUDGET: Duration = Duration::from_secs(3);
const TAG_LEN: usize = 16;

/// Leading zeros that commit to the key: two blocks, 128 bits against collisions.
const ZEROS: usize = 32;

/// The core of a header, which a record binds as associated data.
const CORE: [u8; 22] = [1; 22];

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    println!(
        "| field | body of | bytes more than the field | encrypt | decrypt | with wrap, check, OS random: encrypt | decrypt |"
    );
    println!("|---:|---|---:|---:|---:|---:|---:|");
    [16, 64, 256, 1024].into_iter().for_each(fields);
}

fn fields(len: usize) {
    let bodies: [(&str, Body); 4] = [
        ("suite 1, AES-256-GCM", suite(Suite::Cobblestone256)),
        ("suite 2, AES-128-GCM", suite(Suite::Cobblestone128)),
        ("suite 4, AES-256-GCM, SHA-256", suite(Suite::ChunkedAes256GcmSha256)),
        (
            "record, AES-256-GCM",
            Body { overhead: ZEROS + TAG_LEN, encrypt: record_encrypt, decrypt: record_decrypt },
        ),
    ];
    let field = vec![1; len];
    let wrap = Wrap::new();
    let messages = bodies.each_ref().map(|(_, body)| {
        let mut message = vec![0; len + body.overhead];
        (body.encrypt)(&[7; 32], &field, &mut message);
        message
    });
    let mut lanes = Vec::new();
    for ((_, body), message) in bodies.iter().zip(&messages) {
        let (field, wrap) = (&field, &wrap);
        let (mut out, mut back) = (message.clone(), field.clone());
        lanes.push(repeat(
            move || (body.encrypt)(black_box(&[7; 32]), field, &mut out),
            move || (body.decrypt)(black_box(&[7; 32]), message, &mut back),
        ));
        let (mut out, mut back) = (message.clone(), field.clone());
        lanes.push(repeat(
            move || {
                let random = primitives::os_random::<RANDOM_LEN>();
                let key = random.first_chunk().expect("88 bytes");
                black_box(primitives::check(key));
                black_box(wrap.wrap(key, random.last_chunk().expect("88 bytes")));
                (body.encrypt)(key, field, &mut out);
            },
            move || {
                let key = wrap.unwrap();
                black_box(primitives::check(&key));
                (body.decrypt)(&key, message, &mut back);
            },
        ));
    }
    let rounds = interleave(&mut lanes, BUDGET);
    for (index, (name, body)) in bodies.iter().enumerate() {
        let [alone, whole] =
            [2 * index, 2 * index + 1].map(|lane| [0, 1].map(|way| rounds.time(lane, way)));
        println!(
            "| {len} | {name} | {} | {:.0} ns | {:.0} ns | {:.0} ns | {:.0} ns |",
            body.overhead, alone[0], alone[1], whole[0], whole[1],
        );
    }
}

/// Encryption and decryption of a field by one suite, under a data key.
struct Body {
    overhead: usize,
    encrypt: fn(&[u8; 32], &[u8], &mut [u8]),
    decrypt: fn(&[u8; 32], &[u8], &mut [u8]),
}

fn suite(suite: Suite) -> Body {
    let overhead = envelock::format::layout::PREFIX_LEN + TAG_LEN;
    match suite {
        Suite::Cobblestone128 => Body {
            overhead,
            encrypt: |key, field, body| {
                suite_encrypt(Suite::Cobblestone128, &key[..16], field, body)
            },
            decrypt: |key, body, field| {
                suite_decrypt(Suite::Cobblestone128, &key[..16], body, field)
            },
        },
        Suite::ChunkedAes256GcmSha256 => Body {
            overhead,
            encrypt: |key, field, body| {
                suite_encrypt(Suite::ChunkedAes256GcmSha256, key, field, body)
            },
            decrypt: |key, body, field| {
                suite_decrypt(Suite::ChunkedAes256GcmSha256, key, body, field)
            },
        },
        _ => Body {
            overhead,
            encrypt: |key, field, body| suite_encrypt(Suite::Cobblestone256, key, field, body),
            decrypt: |key, body, field| suite_decrypt(Suite::Cobblestone256, key, body, field),
        },
    }
}

fn context() -> [u8; CORE.len() + AAD.len()] {
    let mut context = [0; CORE.len() + AAD.len()];
    context[..CORE.len()].copy_from_slice(&CORE);
    context[CORE.len()..].copy_from_slice(AAD);
    context
}

fn suite_encrypt(suite: Suite, key: &[u8], field: &[u8], body: &mut [u8]) {
    let encryptor = danger::chunk_encryptor(suite, key, &[5; 24], &context()).expect("its length");
    let (prefix, chunk) = body.split_first_chunk_mut().expect("longer");
    *prefix = *encryptor.prefix();
    encryptor.encrypt_into(0, field, chunk).expect("its length");
}

fn suite_decrypt(suite: Suite, key: &[u8], body: &[u8], field: &mut [u8]) {
    let (prefix, chunk) = body.split_first_chunk().expect("longer");
    let decryptor = danger::chunk_decryptor(suite, key, prefix, &context()).expect("its own");
    decryptor.decrypt_into(0, chunk, field).expect("its own");
}

/// The data key is used once, so that its nonce can be a constant: zero.
fn record_encrypt(key: &[u8; 32], field: &[u8], body: &mut [u8]) {
    let (text, tag) = body.split_last_chunk_mut::<TAG_LEN>().expect("longer");
    let (zeros, rest) = text.split_at_mut(ZEROS);
    zeros.fill(0);
    rest.copy_from_slice(field);
    let cipher = Aes256Gcm::new(key.into());
    let made = cipher.encrypt_inout_detached(&[0; 12].into(), &context(), text.into());
    *tag = made.expect("short").into();
}

fn record_decrypt(key: &[u8; 32], body: &[u8], field: &mut [u8]) {
    let (encrypted, tag) = body.split_last_chunk::<TAG_LEN>().expect("longer");
    let mut text = [0; ZEROS + 1024];
    let text = &mut text[..encrypted.len()];
    text.copy_from_slice(encrypted);
    let cipher = Aes256Gcm::new(key.into());
    let opened =
        cipher.decrypt_inout_detached(&[0; 12].into(), &context(), text.into(), tag.into());
    opened.expect("its own");
    let (zeros, plain) = text.split_at(ZEROS);
    assert!(zeros.iter().fold(0, |sum, byte| sum | byte) == 0, "the commitment");
    field.copy_from_slice(plain);
}
