//! Writes the seed corpora: `cargo run --manifest-path fuzz/Cargo.toml --example seeds`.
//!
//! They are valid messages of every suite and shape, and one change of each kind, so that the
//! fuzzer starts behind the magic and the tags.

use envelock::AadPairs;
use envelock_fuzz::fixture::BASES;
use std::path::Path;

/// Longer messages are named by number instead: their bytes say nothing new.
const LONGEST_RAW: usize = 4096;

fn main() -> std::io::Result<()> {
    for (index, base) in BASES.iter().enumerate() {
        let raw = [&[0, 0][..], &base.message].concat();
        if raw.len() <= LONGEST_RAW {
            write("header", &format!("message-{index}"), &base.message)?;
            write("header", &format!("alone-{index}"), &base.header.write())?;
            write("decrypt", &format!("message-{index}"), &raw)?;
            write("rewrap", &format!("message-{index}"), &raw)?;
        }
        let named = [0, index as u8 + 1];
        write("decrypt", &format!("base-{index}"), &named)?;
        write("rewrap", &format!("base-{index}"), &named)?;
    }
    for change in 0..16 {
        let seed = [0, change * 2 + 1, change, change, 0, 0, change, 1, 0, 0, 9, 9, 9, 9];
        write("decrypt", &format!("change-{change}"), &seed)?;
        write("rewrap", &format!("change-{change}"), &[&[change], &seed[1..]].concat())?;
    }
    for suite in 0..4 {
        for chunks in 0..4 {
            for kind in 0..6 {
                let seed = [suite, 1, 4, b'n', b'a', b'm', b'e', chunks, 32, kind, kind, 0, 0, 60];
                write("chunk", &format!("body-{suite}-{chunks}-{kind}"), &seed)?;
            }
        }
    }
    streams()?;
    key_file()?;
    aad()
}

/// Lengths of pieces (see `envelock_fuzz::pieces`): long, by the byte, around a chunk's end.
const PIECES: [&[u8]; 6] = [
    &[],
    &[255, 255, 255, 255],
    &[1, 2, 0, 8, 1, 40, 99, 2],
    &[124, 125, 126, 127, 0, 125, 125],
    &[174, 175, 176, 0, 175, 126, 1, 175],
    &[250, 210, 3, 220, 150, 200, 1, 0],
];

fn streams() -> std::io::Result<()> {
    for (number, pieces) in PIECES.iter().enumerate() {
        let whim = number as u8 * 0x31;
        let head = [&[0, whim, pieces.len() as u8][..], pieces].concat();
        write("stream", &format!("long-{number}"), &[&head[..], &[255]].concat())?;
        for base in (number..BASES.len()).step_by(PIECES.len()) {
            let named = [0, base as u8 + 1];
            write("stream", &format!("base-{base}"), &[&head[..], &named].concat())?;
        }
        for kind in (number as u8..16).step_by(PIECES.len()) {
            let change = [kind, kind, 1, 0, 20, 1, kind, 0, 0, 9, 9];
            let long = [&head[..], &[255], &change].concat();
            write("stream", &format!("long-change-{kind}"), &long)?;
            let short = [&head[..], &[0, 4], &change].concat();
            write("stream", &format!("change-{kind}"), &short)?;
        }
        for suite in 0..4 {
            for chunks in [0, 1, 2, 250] {
                let start = [suite, whim, chunks, 32, number as u8];
                let calls: Vec<u8> =
                    pieces.iter().flat_map(|len| [0, *len, 0, 0, 3, *len]).collect();
                let seed = [&start[..], &calls, &[250, 7], &calls].concat();
                write("push", &format!("calls-{suite}-{chunks}-{number}"), &seed)?;
            }
        }
    }
    Ok(())
}

/// Whole files, and changes to one: see `envelock_fuzz::key_file`.
fn key_file() -> std::io::Result<()> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden");
    for (version, suffix) in [("keyfile", ""), ("keyfile2", "-2")] {
        for name in ["unprotected", "raw-key"] {
            let bytes = std::fs::read(golden.join(version).join(format!("{name}.keys")))?;
            write("key_file", &format!("{name}{suffix}"), &bytes)?;
        }
    }
    for kind in 0..8 {
        for at in [0, 1, 2, 8, 9, 23] {
            let seed = [kind, at, at + 1, 20, 1, 4, b'"', b'a', b'"', b':', b'1', b'7'];
            write("key_file", &format!("change-{kind}-{at}"), &seed)?;
        }
    }
    write("key_file", "empty", b"")
}

fn aad() -> std::io::Result<()> {
    let sets: [&[(&str, &[u8])]; 5] = [
        &[],
        &[("tenant", b"acme")],
        &[("tenant", b"acme"), ("row", &[0, 0, 0, 42])],
        &[("a", b""), ("a:b", b"c"), ("\u{fc}", b"\0")],
        &[("table", b"invoices"), ("tenant", b""), ("tenant\0", b"acme"), ("z", &[0xFF; 40])],
    ];
    for (index, set) in sets.iter().enumerate() {
        let mut pairs = AadPairs::new();
        for (name, value) in *set {
            pairs.insert(name, value).map_err(std::io::Error::other)?;
        }
        let bytes = pairs.to_bytes();
        write("aad", &format!("pairs-{index}"), &bytes)?;
        write("aad", &format!("unlabelled-{index}"), &bytes[16..])?;
    }
    let alike = [2, 1, b'a', 1, b'b', 1, b'c', 0, 2, 1, b'c', 0, 1, b'a', 1, b'b'];
    write("aad", "alike", &alike)
}

fn write(target: &str, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join(name), bytes)
}
