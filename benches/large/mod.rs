//! A gibibyte: from file to file, and a small part of it.

use crate::floor::AAD;
use crate::interleave::lanes::repeat;
use crate::interleave::{Lane, at_least, interleave, time};
use crate::{Front, raw};
use envelock::danger;
use envelock::file::{self, NewFileOptions};
use envelock::format::layout::CHUNK_LEN;
use envelock::{Aad, Provider, Suite};
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

const LEN: usize = 1 << 30;
const BUDGET: Duration = Duration::from_secs(3);

/// Reads 4 KiB in the middle of a message of 1 GiB, beside the decryption of one chunk.
pub fn parts(envelope: &Front<'_>) {
    let provider = Provider::default();
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

/// Bytes that the floors read and write at a time.
const BUFFER_LEN: usize = 256 << 10;

/// From file to file, synced, beside a copy alone, and one that encrypts what it has read in its buffer.
pub fn file_to_file(envelope: &Front<'_>, shared: &Front<'_>) {
    let raw = raw(Provider::default(), Suite::default());
    let directory = std::env::temp_dir().join(format!("envelock-bench-{}", std::process::id()));
    fs::create_dir(&directory).expect("a directory of its own");
    let files = Files(directory);
    let plain = files.path("plain");
    fs::write(&plain, vec![7; LEN]).expect("room for it");
    File::open(&plain).and_then(|file| file.sync_all()).expect("room for it");
    let mut tags = vec![Vec::new(); LEN / BUFFER_LEN];
    let mut lanes: [Lane<'_>; 4] = [
        there_and_back(&files, &plain, |from, to, _| transcode(from, to, |_, _| ())),
        there_and_back(&files, &plain, |from, to, is_back| {
            transcode(from, to, |index, buffer| match is_back {
                false => raw.encrypt_chunks(buffer, &mut tags[index]),
                true => raw.decrypt_chunks(buffer, &tags[index]),
            });
        }),
        there_and_back(&files, &plain, |from, to, is_back| ours(envelope, from, to, is_back)),
        there_and_back(&files, &plain, |from, to, is_back| ours(shared, from, to, is_back)),
    ];
    let rounds = at_least(5, &mut lanes, BUDGET);
    println!("\n### 1 GiB from file to file, synced, {}\n", Provider::default());
    println!("| | encrypt | decrypt | of the copy with own calls | |\n|---|---:|---:|---:|---:|");
    let names =
        ["copy", "copy with own calls", "file::encrypt, file::decrypt", "the same by two threads"];
    for (lane, name) in names.into_iter().enumerate() {
        let [there, back] = [0, 1].map(|way| rounds.time(lane, way) / 1e9);
        let [of_there, of_back] = [0, 1].map(|way| rounds.speed(lane, 1, way));
        println!("| {name} | {there:.2} s | {back:.2} s | {of_there:.2} | {of_back:.2} |");
    }
}

fn ours(envelope: &Front<'_>, from: &Path, to: &Path, is_back: bool) {
    let options = NewFileOptions::new();
    let done = match is_back {
        false => file::encrypt(envelope, from, to, Aad::new(AAD), options),
        true => file::decrypt(envelope, from, to, Aad::new(AAD), options),
    };
    done.expect("authentic, and room");
}

/// Times `step` from the plain file to one file, and from that one to another.
fn there_and_back<'a>(
    files: &'a Files,
    plain: &'a Path,
    mut step: impl FnMut(&Path, &Path, bool) + 'a,
) -> Lane<'a> {
    Box::new(move || {
        let [message, back] = ["message", "back"].map(|name| files.path(name));
        let times =
            [time(1, || step(plain, &message, false)), time(1, || step(&message, &back, true))];
        [message, back].into_iter().for_each(|path| fs::remove_file(path).expect("was written"));
        times
    })
}

/// Copies a file through a buffer that `change` gets with its number, and syncs it.
fn transcode(from: &Path, to: &Path, mut change: impl FnMut(usize, &mut [u8])) {
    let mut from = File::open(from).expect("is there");
    let mut to = File::create_new(to).expect("room");
    let mut buffer = vec![0; BUFFER_LEN];
    for index in 0..LEN / BUFFER_LEN {
        from.read_exact(&mut buffer).expect("is as long");
        change(index, &mut buffer);
        to.write_all(&buffer).expect("room");
    }
    to.sync_all().expect("room");
}
