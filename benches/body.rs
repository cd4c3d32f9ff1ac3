//! Encryption and decryption of bodies of every size and suite, beside their floors.
//!
//! `raw_16k`, `raw_one_call`: the AEAD alone, its key set up once, in place. `hand_rolled` is
//! measured beside the default suite, which it shares its cipher with.

mod floor;

use criterion::measurement::WallTime;
use criterion::{
    BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
};
use envelock::{Aad, Envelope, MemoryKeyring, Provider, Suite};
use floor::hand_rolled::HandRolled;
use floor::{AAD, SIZES, raw, size_name, suite_name};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Measuring time where one operation takes tens of milliseconds.
const LARGE_TIME: Duration = Duration::from_millis(800);

type Group<'a> = BenchmarkGroup<'a, WallTime>;

fn bodies(c: &mut Criterion) {
    let keyring = MemoryKeyring::create("invoices").expect("a name of 8 bytes");
    for &suite in Suite::ALL {
        let envelope = Envelope::new(&keyring).with_suite(suite);
        for size in SIZES {
            let mut group = c.benchmark_group(format!("{}/{}", suite_name(suite), size_name(size)));
            group.throughput(Throughput::Bytes(size as u64));
            if size >= 16 << 20 {
                group.sampling_mode(SamplingMode::Flat).measurement_time(LARGE_TIME);
            }
            raw_floors(&mut group, suite, size);
            if suite == Suite::default() {
                hand_rolled(&mut group, size);
            }
            in_place(&mut group, &envelope, size);
            into(&mut group, &envelope, size);
            allocating(&mut group, &envelope, size);
        }
    }
}

/// Measures `there` and `back`, each of which undoes the other and so makes its input.
///
/// Both run in every iteration and one of them is timed: no copy of a message is in the time,
/// two readings of the clock (some 40 ns) are. Small sizes are exact in `small.rs`.
fn there_and_back<S>(
    group: &mut Group<'_>,
    form: &str,
    state: &mut S,
    there: impl Fn(&mut S),
    back: impl Fn(&mut S),
) {
    group.bench_function(format!("encrypt/{form}"), |b| {
        b.iter_custom(|iterations| {
            let mut elapsed = Duration::ZERO;
            for _ in 0..iterations {
                let start = Instant::now();
                there(state);
                elapsed += start.elapsed();
                back(state);
            }
            elapsed
        });
    });
    group.bench_function(format!("decrypt/{form}"), |b| {
        b.iter_custom(|iterations| {
            let mut elapsed = Duration::ZERO;
            for _ in 0..iterations {
                there(state);
                let start = Instant::now();
                back(state);
                elapsed += start.elapsed();
            }
            elapsed
        });
    });
}

fn raw_floors(group: &mut Group<'_>, suite: Suite, size: usize) {
    let raw = raw(Provider::default(), suite);
    there_and_back(
        group,
        "raw_16k",
        &mut (vec![1; size], Vec::new()),
        |(buffer, tags)| raw.encrypt_chunks(buffer, tags),
        |(buffer, tags)| raw.decrypt_chunks(buffer, tags),
    );
    there_and_back(
        group,
        "raw_one_call",
        &mut (vec![1; size], [0; 16]),
        |(buffer, tag)| *tag = raw.encrypt(0, buffer),
        |(buffer, tag)| raw.decrypt(0, buffer, tag),
    );
}

fn hand_rolled(group: &mut Group<'_>, size: usize) {
    let hand_rolled = HandRolled::new();
    let plaintext = vec![1; size];
    let message = hand_rolled.encrypt(&plaintext, AAD);
    group.bench_function("encrypt/hand_rolled", |b| {
        b.iter(|| hand_rolled.encrypt(black_box(&plaintext), AAD));
    });
    group.bench_function("decrypt/hand_rolled", |b| {
        b.iter(|| hand_rolled.decrypt(black_box(&message), AAD));
    });
}

fn in_place(group: &mut Group<'_>, envelope: &Envelope<&MemoryKeyring>, size: usize) {
    let len = envelope.message_len(size).expect("a version is the primary");
    there_and_back(
        group,
        "in_place",
        &mut vec![1; len],
        |message| {
            let range = envelope.plaintext_range(size).expect("a version is the primary");
            envelope.encrypt_in_place(message, range, Aad::new(AAD)).expect("exact length");
        },
        |message| {
            black_box(envelope.decrypt_in_place(message, Aad::new(AAD)).expect("authentic"));
        },
    );
}

fn into(group: &mut Group<'_>, envelope: &Envelope<&MemoryKeyring>, size: usize) {
    let mut plaintext = vec![1; size];
    let mut message = envelope.encrypt(&plaintext, Aad::new(AAD)).expect("a primary");
    group.bench_function("encrypt/into", |b| {
        b.iter(|| envelope.encrypt_into(&plaintext, Aad::new(AAD), &mut message).expect("exact"));
    });
    group.bench_function("decrypt/into", |b| {
        b.iter(|| envelope.decrypt_into(&message, Aad::new(AAD), &mut plaintext).expect("own"));
    });
}

fn allocating(group: &mut Group<'_>, envelope: &Envelope<&MemoryKeyring>, size: usize) {
    let plaintext = vec![1; size];
    let message = envelope.encrypt(&plaintext, Aad::new(AAD)).expect("a primary");
    group.bench_function("encrypt/allocating", |b| {
        b.iter(|| envelope.encrypt(black_box(&plaintext), Aad::new(AAD)).expect("a primary"));
    });
    group.bench_function("decrypt/allocating", |b| {
        b.iter(|| envelope.decrypt(black_box(&message), Aad::new(AAD)).expect("authentic"));
    });
}

/// 250 benchmarks: short ones, so that all of them end within three minutes.
fn short() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(60))
        .measurement_time(Duration::from_millis(250))
        .nresamples(1000)
        .without_plots()
}

criterion_group! { name = benches; config = short(); targets = bodies }
criterion_main!(benches);
