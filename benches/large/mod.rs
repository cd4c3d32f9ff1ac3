//! A gibibyte: from file to file, and a small part of it.

use crate::floor::AAD;
use crate::interleave::lanes::repeat;
use crate::interleave::{Lane, at_least, interleave, time};
use crate::{Front, raw};
use envelock::danger;
use envelock::stream::layout::CHUNK_LEN;
use envelock::{Aad, Provider, Suite};
use std::fs::{self, File};
use std::hint::black_box;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

const LEN: usize = 1 << 30;
const BUDGET: Duration = Duration::from_secs(3);

/// Reads 4 KiB in the middle of a message of 1 GiB, beside the decryption of one chunk.
pub fn parts(envelope: &Front<'_>, provider: Provider) {
    let message = envelope.encrypt(&vec![7; LEN], Aad::new(AAD)).expect("a primary");
    let reader = envelope.range_reader(&message[..], Aad::new(AAD)).expect("authentic");
    let suite = Suite::default();
    let encryptor = danger::chunk_encryptor_with_provider(provider, suite, &[7; 32], &[7; 24], b"")
        .expect("a key of its length");
    let decryptor =
        danger::chunk_decryptor_with_provider(provider, suite, &[7; 32], encryptor.prefix(), b"")
            .expect("its commitment");
    let mut encrypted = vec![0; CHUNK_LEN + 16];
    encryptor.encrypt_into(0, &[7; CHUNK_LEN], &mut encrypted).expect("a chunk");
    let mut chunk = vec![0; CHUNK_LEN];
    let mut out = vec![0; 4096];
    let mut at = 0_u64;
    // One way only: the other one is the same again.
    let mut one_chunk = || decryptor.decrypt_into(0, &encrypted, &mut chunk).expect("authentic");
    let mut part = |within: u64| {
        at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let chunk = (at >> 33) % (LEN / CHUNK_LEN) as u64;
        let offset = (chunk * CHUNK_LEN as u64 + within).min(LEN as u64 - 4096);
        reader.read_at(&mut out, offset).expect("authentic")
    };
    println!("\n### 4 KiB of 1 GiB, {provider}\n");
    println!("| | time | times one chunk |\n|---|---:|---:|");
    for (name, within) in [("within a chunk", 5000), ("across two chunks", 14_000)] {
        let mut lanes: [Lane<'_>; 2] =
            [repeat(&mut one_chunk, || ()), repeat(|| black_box(part(within)), || ())];
        let rounds = interleave(&mut lanes, BUDGET);
        let (time, ratio) = (rounds.time(1, 0) / 1000.0, 1.0 / rounds.speed(1, 0, 0));
        println!("| {name} | {time:.1} us | {ratio:.2} |");
    }
}

/// Files that are removed at the end.
struct Files(PathBuf);

impl Files {
    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Encrypts and decrypts a file that is in the page cache, beside a copy of it and the raw cipher
/// over as many bytes.
pub fn file_to_file(envelope: &Front<'_>, provider: Provider) {
    let raw = raw(provider, Suite::default());
    let directory = std::env::temp_dir().join(format!("envelock-bench-{}", std::process::id()));
    fs::create_dir(&directory).expect("a directory of its own");
    let files = Files(directory);
    let [plain, message, back, copy] =
        ["plain", "message", "back", "copy"].map(|name| files.path(name));
    fs::write(&plain, vec![7; LEN]).expect("room for it");
    let (mut buffer, mut tags) = (vec![7; 1 << 20], Vec::new());
    let count = LEN / buffer.len();
    let cipher: Lane<'_> = Box::new(move || {
        let there = time(1, || {
            (0..count).for_each(|_| raw.encrypt_chunks(&mut buffer, &mut tags));
        });
        raw.decrypt_chunks(&mut buffer, &tags);
        raw.encrypt_chunks(&mut buffer, &mut tags);
        // As long: the buffer can be decrypted only once.
        [there, there]
    });
    let copied: Lane<'_> = Box::new(|| {
        let copied = time(1, || {
            let _ = fs::remove_file(&copy);
            // Through memory, as a program that does not encrypt would.
            let (mut from, mut to) =
                (File::open(&plain).expect("is there"), File::create(&copy).expect("room"));
            let mut buffer = vec![0; 256 << 10];
            loop {
                let len = io::Read::read(&mut from, &mut buffer).expect("reads");
                if len == 0 {
                    break;
                }
                io::Write::write_all(&mut to, &buffer[..len]).expect("room");
            }
        });
        [copied; 2]
    });
    let streamed: Lane<'_> = Box::new(|| {
        let there = time(1, || {
            let _ = fs::remove_file(&message);
            let to = File::create(&message).expect("room");
            let mut writer = envelope.encrypt_writer(to, Aad::new(AAD)).expect("a primary");
            let mut buffer = vec![0; 256 << 10];
            let mut from = File::open(&plain).expect("is there");
            loop {
                let len = io::Read::read(&mut from, &mut buffer).expect("reads");
                if len == 0 {
                    break;
                }
                io::Write::write_all(&mut writer, &buffer[..len]).expect("room");
            }
            writer.finish().expect("room");
        });
        let decrypted = time(1, || {
            let _ = fs::remove_file(&back);
            let from = File::open(&message).expect("is there");
            let mut reader = envelope.decrypt_reader(from, Aad::new(AAD)).expect("authentic");
            let mut to = File::create(&back).expect("room");
            let mut buffer = vec![0; 256 << 10];
            loop {
                let len = io::Read::read(&mut reader, &mut buffer).expect("authentic");
                if len == 0 {
                    break;
                }
                io::Write::write_all(&mut to, &buffer[..len]).expect("room");
            }
        });
        [there, decrypted]
    });
    let mut lanes = [cipher, copied, streamed];
    let rounds = at_least(3, &mut lanes, BUDGET);
    println!("\n### 1 GiB from file to file, {}\n", provider);
    println!("| | encrypt | decrypt |\n|---|---:|---:|");
    let gigabytes = |lane, way| LEN as f64 / rounds.time(lane, way);
    for (lane, name) in ["raw cipher in memory", "copy", "stream"].into_iter().enumerate() {
        println!("| {name} | {:.2} GB/s | {:.2} GB/s |", gigabytes(lane, 0), gigabytes(lane, 1));
    }
    let of_both = |way| (rounds.time(0, way) + rounds.time(1, way)) / rounds.time(2, way);
    println!("| stream, of copy + cipher | {:.2} | {:.2} |", of_both(0), of_both(1));
}
