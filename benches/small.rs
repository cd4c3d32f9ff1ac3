//! Where each nanosecond of a 64-byte message goes: its primitives one by one.

mod floor;

use criterion::{Criterion, criterion_group, criterion_main};
use envelock::rand_core::SeedableRng;
use envelock::{
    Aad, CachingKeyring, DataKeyReuse, Envelope, Lifecycle, MemoryKeyring, RewrapOptions, Suite,
    danger, inspect,
};
use floor::AAD;
use floor::primitives::{self, Wrap};
use rand_chacha::ChaCha20Rng;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

fn whole_messages(c: &mut Criterion) {
    let keyring = MemoryKeyring::create("invoices").expect("a name of 8 bytes");
    let envelope = Envelope::new(&keyring);
    let mut plaintext = [1; 64];
    let mut message = envelope.encrypt(&plaintext, Aad::new(AAD)).expect("a primary");
    let mut rng = ChaCha20Rng::from_seed([1; 32]);
    c.bench_function("64 B/encrypt_into/os_random", |b| {
        b.iter(|| envelope.encrypt_into(&plaintext, Aad::new(AAD), &mut message).expect("exact"));
    });
    c.bench_function("64 B/encrypt_into/seeded", |b| {
        b.iter(|| {
            let envelope = envelope.with_rng(&mut rng);
            envelope.encrypt_into(&plaintext, Aad::new(AAD), &mut message).expect("exact");
        });
    });
    c.bench_function("64 B/decrypt_into", |b| {
        b.iter(|| envelope.decrypt_into(&message, Aad::new(AAD), &mut plaintext).expect("own"));
    });
}

/// A message that is read twice: with an unwrap for each read, and with one opened key for both.
fn second_reads(c: &mut Criterion) {
    let keyring = MemoryKeyring::create("invoices").expect("a name of 8 bytes");
    let envelope = Envelope::new(&keyring);
    let mut plaintext = [1; 64];
    let message = envelope.encrypt(&plaintext, Aad::new(AAD)).expect("a primary");
    let body = &message[inspect(&message).expect("own").len()..];
    c.bench_function("64 B/two reads/an unwrap for each", |b| {
        b.iter(|| {
            for _ in 0..2 {
                envelope.decrypt_into(&message, Aad::new(AAD), &mut plaintext).expect("own");
            }
        });
    });
    c.bench_function("64 B/two reads/one opened key", |b| {
        b.iter(|| {
            let key = envelope.open(&message).expect("own");
            for _ in 0..2 {
                key.decrypt_into(body, Aad::new(AAD), &mut plaintext).expect("own");
            }
        });
    });
    c.bench_function("64 B/open", |b| b.iter(|| envelope.open(black_box(&message)).expect("own")));
}

/// The savings of a kept data key: reused, cached or opened. And a cache in front of a rewrap.
fn kept_keys(c: &mut Criterion) {
    for suite in [Suite::Cobblestone256, Suite::ChunkedAes256GcmSha256] {
        let name = |what: &str| format!("64 B/suite {}/{what}", suite.id());
        let keyring = MemoryKeyring::create("invoices").expect("a name of 8 bytes");
        let envelope = Envelope::new(&keyring).with_suite(suite);
        let cached = Envelope::new(CachingKeyring::new(&keyring)).with_suite(suite);
        let reuse = DataKeyReuse::new(u64::MAX, u64::MAX, Duration::from_secs(3600));
        let reused = Envelope::new(&keyring).with_suite(suite).with_data_key_reuse(Arc::new(reuse));
        let (plaintext, aad) = ([1; 64], Aad::new(AAD));
        let message = envelope.encrypt(&plaintext, aad).expect("a primary");
        let key = envelope.open(&message).expect("own");
        let body = key.body(&message).expect("own");
        c.bench_function(&name("encrypt"), |b| b.iter(|| envelope.encrypt(&plaintext, aad)));
        c.bench_function(&name("encrypt/reused data key"), |b| {
            b.iter(|| reused.encrypt(&plaintext, aad));
        });
        c.bench_function(&name("decrypt"), |b| b.iter(|| envelope.decrypt(&message, aad)));
        c.bench_function(&name("decrypt/cached data key"), |b| {
            b.iter(|| cached.decrypt(&message, aad));
        });
        c.bench_function(&name("decrypt/opened key"), |b| b.iter(|| key.decrypt(body, aad)));
        keyring.rotate().expect("OS randomness");
        c.bench_function(&name("rewrap"), |b| {
            b.iter(|| envelope.rewrap(&message, RewrapOptions::new()));
        });
        c.bench_function(&name("rewrap/a cache in front"), |b| {
            b.iter(|| cached.rewrap(&message, RewrapOptions::new()));
        });
    }
}

fn primitives_together(c: &mut Criterion) {
    let wrap = Wrap::new();
    let cipher = primitives::set_up(&[7; 32]);
    let mut buffer = [1; 64];
    c.bench_function("primitives/encrypt, all", |b| {
        b.iter(|| primitives::encrypt_all(&wrap, &mut buffer, AAD));
    });
    let tag = primitives::aead_encrypt(&cipher, &mut buffer);
    c.bench_function("primitives/decrypt, all", |b| {
        b.iter(|| primitives::decrypt_all(&wrap, &cipher, &mut black_box(buffer), &tag));
    });
}

fn primitives_alone(c: &mut Criterion) {
    let wrap = Wrap::new();
    let key = [7; 32];
    let cipher = primitives::set_up(&key);
    let mut buffer = [1; 64];
    c.bench_function("primitives/OS random, 88 bytes", |b| {
        b.iter(primitives::os_random::<{ primitives::RANDOM_LEN }>);
    });
    c.bench_function("primitives/XAES-256-GCM wrap", |b| {
        b.iter(|| wrap.wrap(black_box(&key), &[4; 24]));
    });
    c.bench_function("primitives/XAES-256-GCM unwrap", |b| b.iter(|| wrap.unwrap()));
    c.bench_function("primitives/check, HKDF-SHA-256", |b| {
        b.iter(|| primitives::check(black_box(&key)));
    });
    c.bench_function("primitives/derivation, HKDF-SHA-512", |b| {
        b.iter(|| primitives::derive(black_box(&key), AAD));
    });
    c.bench_function("envelock/derivation, HKDF-SHA-512", |b| {
        let mut derived = [0; 76];
        // The same lengths as the primitive: 94 bytes of info before the associated data.
        let info = [1; 94 + AAD.len()];
        let suite = Suite::Cobblestone256;
        b.iter(|| danger::hkdf_expand(suite, black_box(&key), &info, &mut derived).expect("76"));
    });
    c.bench_function("primitives/AEAD key set-up", |b| {
        b.iter(|| primitives::set_up(black_box(&key)));
    });
    c.bench_function("primitives/AEAD, 64 bytes", |b| {
        b.iter(|| primitives::aead_encrypt(&cipher, black_box(&mut buffer)));
    });
    c.bench_function("primitives/allocation of a message", |b| b.iter(|| vec![0_u8; 257]));
}

fn short() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .nresamples(1000)
        .without_plots()
}

criterion_group! {
    name = benches;
    config = short();
    targets = whole_messages, second_reads, kept_keys, primitives_together, primitives_alone
}
criterion_main!(benches);
