//! Where the time of AES-256-GCM over one chunk of 16 KiB goes, what interleaving its two halves
//! by tiles would bring, and what a chunk costs beyond its bytes.
//!
//! `taskset -c 1 cargo bench --bench tiles`, 10 seconds. See `benches/README.md`.

mod floor;
mod interleave;

use aes::cipher::{Array, BlockCipherEncrypt, InnerIvInit, StreamCipherCore, consts::U16};
use aes::{Aes256, Aes256Enc, Block};
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use chacha20poly1305::ChaCha20Poly1305;
use envelock::{Envelope, MemoryKeyring, Suite, danger};
use floor::suite_name;
use ghash::GHash;
use interleave::lanes::{in_place, into};
use interleave::{Lane, Rounds, interleave, time};
use polyval::Polyval;
use polyval::universal_hash::UniversalHash;
use std::hint::black_box;
use std::time::Duration;

const CHUNK_LEN: usize = envelock::format::layout::CHUNK_LEN;
const BUDGET: Duration = Duration::from_secs(3);
const REPEATS: usize = 20;
const NONCE: [u8; 12] = [3; 12];
const KEY: [u8; 32] = [7; 32];

type Ctr<'a> = ctr::CtrCore<&'a Aes256, ctr::flavors::Ctr32BE>;

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    parts_of_gcm();
    println!("\n### A chunk beyond its bytes\n");
    println!("| suite | bytes | way | raw AEAD | in place | into | speed of raw, in place, into |");
    println!("|---|---:|---|---:|---:|---:|---:|");
    chunks(Suite::Cobblestone256, &Aes256Gcm::new(&KEY.into()));
    chunks(Suite::Cobblestone128, &Aes128Gcm::new_from_slice(&KEY[..16]).expect("16 bytes"));
    chunks(Suite::ALL[2], &ChaCha20Poly1305::new(&KEY.into()));
    println!("\n### Whole bodies beside the same chunks where they stand\n");
    println!("| suite | MiB | way | GB/s, chunk by chunk | speed of that, in place | into |");
    println!("|---|---:|---|---:|---:|---:|");
    for &suite in Suite::ALL {
        [1, 64].into_iter().for_each(|mebibytes| bodies(suite, mebibytes));
    }
}

/// A lane of one way only.
fn lane<'a, T>(mut operation: impl FnMut(&mut [u8]) -> T + 'a) -> Lane<'a> {
    let mut buffer = vec![1; CHUNK_LEN];
    Box::new(move || {
        let run = |_| drop(black_box(operation(black_box(&mut buffer))));
        [time(REPEATS, || (0..REPEATS).for_each(run)); 2]
    })
}

fn parts_of_gcm() {
    let cipher = Aes256::new(&KEY.into());
    let gcm = Aes256Gcm::new(&KEY.into());
    let mut hash_key = Block::default();
    cipher.encrypt_block(&mut hash_key);
    let ghash = GHash::new(&hash_key);
    let polyval = Polyval::new(&hash_key);
    let tiles = Tiles { cipher: &cipher, ghash: &ghash };
    for tile_len in [512, 1024, 2048, 4096] {
        tiles.agree_with(&gcm, tile_len);
    }
    let one_call =
        |buffer: &mut [u8]| gcm.encrypt_inout_detached(&NONCE.into(), &[], buffer.into());
    let mut lanes: Vec<(String, Lane<'_>)> = vec![
        ("aes-gcm, 16 KiB".into(), lane(one_call)),
        ("aes-gcm, 0 bytes".into(), lane(|buffer| one_call(&mut buffer[..0]))),
        ("- AES key set-up, both ways".into(), lane(|_| Aes256::new(black_box(&KEY).into()))),
        (
            "- AES key set-up, encryption only".into(),
            lane(|_| Aes256Enc::new(black_box(&KEY).into())),
        ),
        ("- GHASH key set-up".into(), lane(|_| GHash::new(black_box(&hash_key)))),
        ("- AES of 1,024 blocks".into(), lane(|buffer| cipher.encrypt_blocks(blocks(buffer)))),
        (
            "- counter mode: AES, counters, XOR".into(),
            lane(|buffer| {
                Ctr::inner_iv_init(&cipher, &[3; 16].into()).apply_keystream_partial(buffer.into());
            }),
        ),
        ("- GHASH".into(), lane(|buffer| hash(&ghash, buffer))),
        (
            "- POLYVAL: GHASH without turning blocks round".into(),
            lane(|buffer| hash(&polyval, buffer)),
        ),
        ("- POLYVAL, two chains of half each".into(), lane(|buffer| two_chains(&polyval, buffer))),
    ];
    for tile_len in [512, 1024, 2048, 4096] {
        let name = format!("counter mode and GHASH by tiles of {tile_len} bytes");
        lanes.push((name, lane(move |buffer| tiles.encrypt(buffer, tile_len))));
    }
    let (names, mut lanes): (Vec<String>, Vec<Lane<'_>>) = lanes.into_iter().unzip();
    let rounds = interleave(&mut lanes, BUDGET);
    println!("### AES-256-GCM over 16 KiB\n\n| | ns | speed of aes-gcm |\n|---|---:|---:|");
    for (lane, name) in names.iter().enumerate() {
        println!("| {name} | {:.0} | {:.2} |", rounds.time(lane, 0), rounds.speed(lane, 0, 0));
    }
}

fn blocks(buffer: &mut [u8]) -> &mut [Block] {
    Array::<u8, U16>::slice_as_chunks_mut(buffer).0
}

fn hash<H: UniversalHash + Clone>(keyed: &H, data: &[u8]) -> Array<u8, H::BlockSize> {
    let mut hash = keyed.clone();
    hash.update_padded(data);
    hash.finalize()
}

/// The cost of two chains without any arrangement of their input. Not a hash of anything.
fn two_chains(keyed: &Polyval, data: &[u8]) -> [Block; 2] {
    let (mut first, mut second) = (keyed.clone(), keyed.clone());
    let (left, right) = data.split_at(data.len() / 2);
    for (left, right) in left.chunks(64).zip(right.chunks(64)) {
        first.update_padded(left);
        second.update_padded(right);
    }
    [first.finalize(), second.finalize()]
}

/// AES-GCM with both of its halves over one tile before the next.
#[derive(Clone, Copy)]
struct Tiles<'a> {
    cipher: &'a Aes256,
    ghash: &'a GHash,
}

impl Tiles<'_> {
    fn encrypt(&self, buffer: &mut [u8], tile_len: usize) -> Block {
        let mut counter = [0; 16];
        counter[..12].copy_from_slice(&NONCE);
        counter[15] = 1;
        let mut stream = Ctr::inner_iv_init(self.cipher, &counter.into());
        let mut mask = Block::default();
        stream.write_keystream_block(&mut mask);
        let mut hash = self.ghash.clone();
        for tile in buffer.chunks_mut(tile_len) {
            stream.apply_keystream_blocks(blocks(tile));
            hash.update(blocks(tile));
        }
        let mut lengths = Block::default();
        lengths[8..].copy_from_slice(&(8 * buffer.len() as u64).to_be_bytes());
        hash.update(&[lengths]);
        let hash = hash.finalize();
        Array::from_fn(|index| hash[index] ^ mask[index])
    }

    fn agree_with(&self, gcm: &Aes256Gcm, tile_len: usize) {
        let mut ours = vec![1; CHUNK_LEN];
        let mut theirs = ours.clone();
        let tag = self.encrypt(&mut ours, tile_len);
        let their_tag =
            gcm.encrypt_inout_detached(&NONCE.into(), &[], theirs.as_mut_slice().into());
        assert!(ours == theirs && tag == their_tag.expect("16 KiB"), "tiles of {tile_len} bytes");
    }
}

/// One chunk through envelock's cipher of chunks, beside the same bytes through the raw AEAD.
fn chunks<A: AeadInOut>(suite: Suite, raw: &A) {
    let salt = [5; envelock::format::layout::SALT_LEN];
    let key = &KEY[..suite_key_len(suite)];
    let encryptor = danger::chunk_encryptor(suite, key, &salt, &[]).expect("its length");
    let decryptor = danger::chunk_decryptor(suite, key, encryptor.prefix(), &[]).expect("its own");
    let (encryptor, decryptor) = (&encryptor, &decryptor);
    let nonce = aes_gcm::aead::Nonce::<A>::default();
    for len in [0, 64, 1024, CHUNK_LEN] {
        let mut raw_buffer = vec![1; len];
        let mut raw_tag = aes_gcm::aead::Tag::<A>::default();
        let mut chunk = vec![1; len + 16];
        let (plain, mut encrypted) = (vec![1; len], vec![0; len + 16]);
        let mut plain_out = plain.clone();
        let mut lanes: [Lane<'_>; 3] = [
            there_and_back(
                (&mut raw_buffer, &mut raw_tag),
                |(buffer, tag)| {
                    **tag = raw
                        .encrypt_inout_detached(&nonce, &[], buffer.as_mut_slice().into())
                        .expect("short");
                },
                |(buffer, tag)| {
                    raw.decrypt_inout_detached(&nonce, &[], buffer.as_mut_slice().into(), tag)
                        .expect("its own");
                },
            ),
            there_and_back(
                &mut chunk,
                |chunk| {
                    let (plain, tag) = chunk.split_last_chunk_mut().expect("16 bytes");
                    *tag = encryptor.encrypt_in_place(1, plain).expect("short");
                },
                |chunk| {
                    decryptor.decrypt_in_place(1, chunk).expect("its own");
                },
            ),
            there_and_back(
                (&mut encrypted, &mut plain_out),
                |(encrypted, _)| encryptor.encrypt_into(1, &plain, encrypted).expect("lengths"),
                |(encrypted, out)| decryptor.decrypt_into(1, encrypted, out).expect("its own"),
            ),
        ];
        let rounds = interleave(&mut lanes, BUDGET / 10);
        for (way, name) in ["encrypt", "decrypt"].into_iter().enumerate() {
            print_chunk(&rounds, suite, len, way, name);
        }
    }
}

fn print_chunk(rounds: &Rounds, suite: Suite, len: usize, way: usize, name: &str) {
    let [raw, in_place, into] = [0, 1, 2].map(|lane| rounds.time(lane, way));
    let [speed, speed_into] = [1, 2].map(|lane| rounds.speed(lane, 0, way));
    println!(
        "| {} | {len} | {name} | {raw:.0} | {in_place:.0} | {into:.0} | {speed:.2}, {speed_into:.2} |",
        suite_name(suite),
    );
}

/// The cost of a body beyond its chunks: header, key derivation, and the assignment of chunks.
fn bodies(suite: Suite, mebibytes: usize) {
    let len = mebibytes << 20;
    let keyring = MemoryKeyring::create("invoices").expect("a name of 8 bytes");
    let envelope = Envelope::new(&keyring).with_suite(suite);
    let salt = [5; envelock::format::layout::SALT_LEN];
    let key = &KEY[..suite_key_len(suite)];
    let encryptor = danger::chunk_encryptor(suite, key, &salt, &[]).expect("its length");
    let decryptor = danger::chunk_decryptor(suite, key, encryptor.prefix(), &[]).expect("its own");
    let mut chunks = vec![1; len / CHUNK_LEN * envelock::format::layout::ENCRYPTED_CHUNK_LEN];
    let chunk_by_chunk: Lane<'_> = Box::new(|| {
        let there = time(1, || {
            for (index, chunk) in (0..).zip(chunks.chunks_mut(CHUNK_LEN + 16)) {
                let (plain, tag) = chunk.split_last_chunk_mut().expect("16 bytes");
                *tag = encryptor.encrypt_in_place(index, plain).expect("short");
            }
        });
        let back = time(1, || {
            for (index, chunk) in (0..).zip(chunks.chunks_mut(CHUNK_LEN + 16)) {
                decryptor.decrypt_in_place(index, chunk).expect("its own");
            }
        });
        [there, back]
    });
    let mut lanes = [chunk_by_chunk, in_place(&envelope, len), into(&envelope, len)];
    let rounds = interleave(&mut lanes, BUDGET / 3);
    for (way, name) in ["encrypt", "decrypt"].into_iter().enumerate() {
        let [in_place, into] = [1, 2].map(|lane| rounds.speed(lane, 0, way));
        let speed = len as f64 / rounds.time(0, way);
        let suite = suite_name(suite);
        println!("| {suite} | {mebibytes} | {name} | {speed:.2} | {in_place:.3} | {into:.3} |");
    }
}

fn suite_key_len(suite: Suite) -> usize {
    if suite == Suite::Cobblestone128 { 16 } else { 32 }
}

/// Each step undoes the other, one by one, so the second clock reading is in the time: 20 ns.
fn there_and_back<'a, S: 'a>(
    mut state: S,
    mut there: impl FnMut(&mut S) + 'a,
    mut back: impl FnMut(&mut S) + 'a,
) -> Lane<'a> {
    Box::new(move || {
        let mut sums = [0.0; 2];
        for _ in 0..REPEATS {
            sums[0] += time(1, || there(black_box(&mut state)));
            sums[1] += time(1, || back(black_box(&mut state)));
        }
        sums.map(|sum| sum / REPEATS as f64)
    })
}
