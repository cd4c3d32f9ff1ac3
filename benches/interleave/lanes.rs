//! Lanes through a body: each makes its own input by going there and back.

use super::{Lane, time};
use crate::floor::hand_rolled::HandRolled;
use crate::floor::{AAD, raw, sealed_len};
use envelock::{Aad, Envelope, MemoryKeyring, Provider, Suite};
use std::hint::black_box;

/// Runs of a small operation in one sample.
const REPEATS: usize = 200;

/// Bytes that a batch of small messages works on.
const BATCH_BYTES: usize = 128 << 10;

/// Messages in a batch, so that reading the clock costs next to nothing.
fn batch_len(size: usize) -> usize {
    (BATCH_BYTES / (size + 256)).clamp(1, 256)
}

pub fn raw_chunks(suite: Suite, size: usize) -> Lane<'static> {
    let raw = raw(Provider::default(), suite);
    let count = batch_len(size);
    let mut buffers = vec![(vec![1; size], Vec::new()); count];
    Box::new(move || {
        let there = time(count, || {
            buffers.iter_mut().for_each(|(buffer, tags)| raw.encrypt_chunks(buffer, tags));
        });
        let back = time(count, || {
            buffers.iter_mut().for_each(|(buffer, tags)| raw.decrypt_chunks(buffer, tags));
        });
        [there, back]
    })
}

/// The same between two buffers.
pub fn raw_into(suite: Suite, size: usize) -> Lane<'static> {
    let raw = raw(Provider::default(), suite);
    let count = batch_len(size);
    let (mut plaintext, mut sealed) = (vec![1; size], vec![1; sealed_len(size)]);
    Box::new(move || {
        let there = time(count, || {
            (0..count).for_each(|_| raw.encrypt_between(&plaintext, &mut sealed));
        });
        let back = time(count, || {
            (0..count).for_each(|_| raw.decrypt_between(&sealed, &mut plaintext));
        });
        [there, back]
    })
}

/// The same to a new `Vec`.
pub fn raw_new(suite: Suite, size: usize) -> Lane<'static> {
    let raw = raw(Provider::default(), suite);
    let count = batch_len(size);
    let (plaintext, mut message) = (vec![1; size], vec![1; sealed_len(size)]);
    raw.encrypt_between(&plaintext, &mut message);
    Box::new(move || {
        let there = time(count, || {
            for _ in 0..count {
                let mut sealed = vec![0; sealed_len(size)];
                raw.encrypt_between(&plaintext, &mut sealed);
                drop(black_box(sealed));
            }
        });
        let back = time(count, || {
            for _ in 0..count {
                let mut opened = vec![0; size];
                raw.decrypt_between(&message, &mut opened);
                drop(black_box(opened));
            }
        });
        [there, back]
    })
}

pub fn raw_whole(suite: Suite, size: usize) -> Lane<'static> {
    let raw = raw(Provider::default(), suite);
    let count = batch_len(size);
    let mut buffers = vec![(vec![1; size], [0; 16]); count];
    Box::new(move || {
        let there = time(count, || {
            buffers.iter_mut().for_each(|(buffer, tag)| *tag = raw.encrypt(0, buffer));
        });
        let back = time(count, || {
            buffers.iter_mut().for_each(|(buffer, tag)| raw.decrypt(0, buffer, tag));
        });
        [there, back]
    })
}

pub fn hand_rolled(size: usize) -> Lane<'static> {
    let hand_rolled = HandRolled::new();
    let count = batch_len(size);
    let plaintext = vec![1; size];
    let message = hand_rolled.encrypt(&plaintext, AAD);
    Box::new(move || {
        let there = time(count, || {
            (0..count).for_each(|_| drop(black_box(hand_rolled.encrypt(&plaintext, AAD))));
        });
        let back = time(count, || {
            (0..count).for_each(|_| drop(black_box(hand_rolled.decrypt(&message, AAD))));
        });
        [there, back]
    })
}

/// Encrypts a batch in place, then decrypts it: the plaintext comes back to where it stood.
pub fn in_place<'e>(envelope: &'e Envelope<&MemoryKeyring>, size: usize) -> Lane<'e> {
    let count = batch_len(size);
    let len = envelope.message_len(size).expect("a version is the primary");
    let mut messages = vec![vec![1; len]; count];
    Box::new(move || {
        let there = time(count, || {
            for message in &mut messages {
                let range = envelope.plaintext_range(size).expect("a version is the primary");
                envelope.encrypt_in_place(message, range, Aad::new(AAD)).expect("exact length");
            }
        });
        let back = time(count, || {
            for message in &mut messages {
                black_box(envelope.decrypt_in_place(message, Aad::new(AAD)).expect("authentic"));
            }
        });
        [there, back]
    })
}

pub fn into<'e>(envelope: &'e Envelope<&MemoryKeyring>, size: usize) -> Lane<'e> {
    let count = batch_len(size);
    let mut plaintext = vec![1; size];
    let mut message = envelope.encrypt(&plaintext, Aad::new(AAD)).expect("a primary");
    Box::new(move || {
        let there = time(count, || {
            for _ in 0..count {
                let encrypted = envelope.encrypt_into(&plaintext, Aad::new(AAD), &mut message);
                encrypted.expect("exact length");
            }
        });
        let back = time(count, || {
            for _ in 0..count {
                let decrypted = envelope.decrypt_into(&message, Aad::new(AAD), &mut plaintext);
                decrypted.expect("authentic");
            }
        });
        [there, back]
    })
}

pub fn allocating<'e>(envelope: &'e Envelope<&MemoryKeyring>, size: usize) -> Lane<'e> {
    let count = batch_len(size);
    let plaintext = vec![1; size];
    let message = envelope.encrypt(&plaintext, Aad::new(AAD)).expect("a primary");
    Box::new(move || {
        let there = time(count, || {
            for _ in 0..count {
                drop(black_box(envelope.encrypt(&plaintext, Aad::new(AAD)).expect("a primary")));
            }
        });
        let back = time(count, || {
            for _ in 0..count {
                drop(black_box(envelope.decrypt(&message, Aad::new(AAD)).expect("authentic")));
            }
        });
        [there, back]
    })
}

/// A lane of [`REPEATS`] runs there and as many back.
pub fn repeat<'a, A, B>(
    mut there: impl FnMut() -> A + 'a,
    mut back: impl FnMut() -> B + 'a,
) -> Lane<'a> {
    Box::new(move || {
        let there = time(REPEATS, || (0..REPEATS).for_each(|_| drop(black_box(there()))));
        let back = time(REPEATS, || (0..REPEATS).for_each(|_| drop(black_box(back()))));
        [there, back]
    })
}
