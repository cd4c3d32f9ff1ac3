//! Operations on the header alone: rewrap, needs_rewrap, inspect. None may depend on the body.

mod floor;

use criterion::{Criterion, criterion_group, criterion_main};
use envelock::rand_core::{SeedableRng, TryCryptoRng};
use envelock::{Aad, Envelope, Lifecycle, MemoryKeyring, OsRandom, RewrapOptions, inspect};
use floor::primitives::{self, Wrap};
use floor::size_name;
use rand_chacha::ChaCha20Rng;
use std::hint::black_box;
use std::time::{Duration, Instant};

const SIZES: [usize; 2] = [64, 16 << 20];

fn header_only(c: &mut Criterion) {
    let keyring = MemoryKeyring::create("invoices").expect("a name of 8 bytes");
    keyring.rotate().expect("OS randomness");
    let envelope = Envelope::new(&keyring);
    for size in SIZES {
        let message = envelope.encrypt(&vec![1; size], Aad::none()).expect("a primary");
        let size = size_name(size);
        bench_rewrap(c, &format!("rewrap/os_random/{size}"), &envelope, &message, &mut OsRandom);
        let mut seeded = ChaCha20Rng::from_seed([1; 32]);
        bench_rewrap(c, &format!("rewrap/seeded/{size}"), &envelope, &message, &mut seeded);
        c.bench_function(&format!("needs_rewrap/{size}"), |b| {
            b.iter(|| envelope.needs_rewrap(black_box(&message)).expect("its own"));
        });
        c.bench_function(&format!("inspect/{size}"), |b| {
            b.iter(|| inspect(black_box(&message)).expect("canonical").len());
        });
    }
    let wrap = Wrap::new();
    c.bench_function("rewrap/primitives/os_random", |b| {
        b.iter(|| primitives::rewrap_all(&wrap, &primitives::os_random()));
    });
    c.bench_function("rewrap/primitives/no_random", |b| {
        b.iter(|| primitives::rewrap_all(&wrap, black_box(&[5; 24])));
    });
}

/// Rewraps one message to and fro between two versions; the promotions are not in the time,
/// two readings of the clock (some 40 ns) are.
fn bench_rewrap<R: TryCryptoRng>(
    c: &mut Criterion,
    name: &str,
    envelope: &Envelope<&MemoryKeyring>,
    message: &[u8],
    rng: &mut R,
) {
    let mut message = message.to_vec();
    // The benchmark before this one may have left either version as the primary.
    let current = envelope.rewrap(&message, RewrapOptions::new()).expect("its own");
    assert!(current.report().is_complete());
    current.write_over(&mut message).expect("it fits");
    c.bench_function(name, |b| {
        b.iter_custom(|iterations| {
            let mut elapsed = Duration::ZERO;
            for _ in 0..iterations {
                rotate_twice(envelope.keyring());
                let start = Instant::now();
                let rewrapped = envelope.with_rng(&mut *rng).rewrap(&message, RewrapOptions::new());
                let rewrapped = rewrapped.expect("its own");
                rewrapped.write_over(&mut message).expect("it fits");
                elapsed += start.elapsed();
                assert!(rewrapped.is_changed(), "it was under the other version");
            }
            elapsed
        });
    });
}

/// Promotes the version that is not the primary.
fn rotate_twice(keyring: &MemoryKeyring) {
    let primary = keyring.primary_version();
    let versions = keyring.versions();
    let next = versions.iter().find(|record| Some(record.version) != primary);
    keyring.promote(next.expect("two versions").version).expect("enabled");
}

fn short() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .nresamples(1000)
        .without_plots()
}

criterion_group! { name = benches; config = short(); targets = header_only }
criterion_main!(benches);
