//! envelock beside other crates that encrypt in envelopes, each under a local master key.
//!
//! `taskset -c 1 cargo run --release --manifest-path benches/peers/Cargo.toml [--features aws-lc-rs]`
//!
//! Every crate takes a plaintext and 18 bytes of associated data, and makes one `Vec` as it would be
//! stored. A rewrap brings a stored message under another master key. envelock and kms-aead replace the wrapped
//! key alone; the others decrypt and encrypt again. Times are medians, and ratios are medians of ratios within a round.

mod crates;

use crates::{Peer, peers};
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Sizes of plaintext, in bytes.
const SIZES: [usize; 4] = [64, 1 << 10, 64 << 10, 1 << 20];

/// Time for one size.
const BUDGET: Duration = Duration::from_secs(4);

/// Fewest rounds of one size.
const MIN_ROUNDS: usize = 15;

/// Bytes that one sample works on, so that reading the clock costs next to nothing.
const SAMPLE_BYTES: usize = 256 << 10;

/// Nanoseconds to encrypt, decrypt and rewrap.
type Sample = [f64; 3];

fn main() {
    for size in SIZES {
        let peers = peers();
        let rounds = measure(&peers, size);
        println!(
            "\n| {size} bytes | encrypt | decrypt | rewrap | speed beside the first: encrypt | decrypt | rewrap |"
        );
        println!("|---|---:|---:|---:|---:|---:|---:|");
        for (peer, samples) in peers.iter().zip(&rounds) {
            let times = [0, 1, 2].map(|way| median(samples.iter().map(|sample| sample[way])));
            let ratios = [0, 1, 2].map(|way| {
                median(samples.iter().zip(&rounds[0]).map(|(own, first)| first[way] / own[way]))
            });
            let [encrypt, decrypt, rewrap] = times.map(|time| format!("{:.2} us", time / 1000.0));
            let [by_encrypt, by_decrypt, by_rewrap] = ratios;
            println!(
                "| {} | {encrypt} | {decrypt} | {rewrap} | {by_encrypt:.2} | {by_decrypt:.2} | {by_rewrap:.2} |",
                peer.name()
            );
        }
    }
}

/// The samples of each peer, one a round, in an order that rotates from round to round. A peer runs
/// twice in each round, and the second run counts: the first brings its buffers back to the cache.
fn measure(peers: &[Box<dyn Peer>], size: usize) -> Vec<Vec<Sample>> {
    let mut samples = vec![Vec::new(); peers.len()];
    let start = Instant::now();
    for round in 0.. {
        if round >= MIN_ROUNDS && start.elapsed() > BUDGET {
            break;
        }
        for place in 0..peers.len() {
            let index = (round + place) % peers.len();
            sample(&*peers[index], size);
            samples[index].push(sample(&*peers[index], size));
        }
    }
    samples
}

fn sample(peer: &dyn Peer, size: usize) -> Sample {
    let count = (SAMPLE_BYTES / (size + 1024)).clamp(1, 200);
    let plaintext = vec![1; size];
    let message = peer.encrypt(&plaintext);
    let mut stale: Vec<_> = (0..count).map(|_| peer.encrypt_stale(&plaintext)).collect();
    let sample = [
        time(count, || drop(black_box(peer.encrypt(black_box(&plaintext))))),
        time(count, || drop(black_box(peer.decrypt(black_box(&message))))),
        {
            let mut messages = stale.iter_mut();
            time(count, || peer.rewrap(messages.next().expect("one for each call")))
        },
    ];
    assert_eq!(peer.decrypt(&message), plaintext, "{}", peer.name());
    assert_eq!(peer.decrypt(&stale[0]), plaintext, "{}", peer.name());
    sample
}

/// Nanoseconds for one of `count` calls.
fn time(count: usize, mut operation: impl FnMut()) -> f64 {
    let start = Instant::now();
    (0..count).for_each(|_| operation());
    start.elapsed().as_nanos() as f64 / count as f64
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
