//! Streams of 64 MiB between this crate and `cryptography.cobblestone` in Python, both ways, in odd
//! pieces: `ci/python.sh` alternates the two sides over the directory in
//! `ENVELOCK_PYTHON_DIR`; without it these tests stay ignored.

// It describes more than one stream needs.
use crate::golden::manifest;

use envelock::rand_core::{Rng, SeedableRng};
use envelock::{Aad, Envelope, KeyVersion, MasterKey, MemoryKeyring, Threads};
use manifest::Entry;
use rand_chacha::ChaCha20Rng;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

const LENGTH: usize = 64 << 20;

/// Lengths of pieces, used in a cycle: none is a chunk's, and none divides one.
const PIECES: [usize; 6] = [1, 7, 16_383, 16_401, 100_003, (1 << 20) + 1];

fn directory(name: &str) -> PathBuf {
    let root = std::env::var_os("ENVELOCK_PYTHON_DIR").expect("ci/python.sh runs this test");
    PathBuf::from(root).join(name)
}

#[test]
#[ignore = "run by ci/python.sh"]
fn writes_a_stream_that_python_opens() {
    let mut rng = ChaCha20Rng::from_seed([11; 32]);
    let mut key = [0; 32];
    rng.fill_bytes(&mut key);
    let master_key = MasterKey::from_bytes(&key);
    let keyring = MemoryKeyring::import("streams", KeyVersion::FIRST, &master_key).unwrap();
    let mut plaintext = vec![0; LENGTH];
    rng.fill_bytes(&mut plaintext);

    let directory = directory("stream-from-rust");
    std::fs::create_dir_all(&directory).unwrap();
    let file = File::create(directory.join("stream.message")).unwrap();
    let envelope = Envelope::new(keyring);
    let mut writer = envelope.encrypt_writer(file, Aad::new(b"a stream")).unwrap();
    let mut rest = &plaintext[..];
    for len in PIECES.iter().cycle() {
        let (piece, more) = rest.split_at(rest.len().min(*len));
        writer.write_all(piece).unwrap();
        rest = more;
        if rest.is_empty() {
            break;
        }
    }
    writer.finish().unwrap();

    let mut entry = Entry::new("stream");
    entry.push("file", "stream.message");
    entry.push("aad", hex::encode(b"a stream"));
    entry.push("sha256", hex::encode(Sha256::digest(&plaintext)));
    entry.push("key", format_args!("streams 1 {} primary", hex::encode(key)));
    let text = manifest::write("a stream of envelock", &[entry]);
    std::fs::write(directory.join("manifest.txt"), text).unwrap();
}

/// By a reader, on one thread and on two, and by one that seeks.
#[test]
#[ignore = "run by ci/python.sh"]
fn stream_made_in_python_opens() {
    let directory = directory("stream-from-python");
    let text = std::fs::read_to_string(directory.join("manifest.txt")).unwrap();
    let entry = manifest::parse(&text).remove(0);
    let aad = entry.bytes("aad");
    let aad = Aad::new(&aad);
    let file = || File::open(directory.join(entry.text("file"))).unwrap();
    let (_, keyring) = entry.keyrings().pop_first().unwrap();

    let serial = Envelope::new(&keyring);
    let shared = Envelope::new(&keyring).with_threads(Threads::new(2));
    let mut whole = Vec::new();
    for envelope in [&serial, &shared] {
        whole = read(envelope.decrypt_reader(file(), aad).unwrap());
        assert_eq!(whole.len().to_string(), entry.text("length"));
        assert_eq!(hex::encode(Sha256::digest(&whole)), entry.text("sha256"));
        assert!(
            read(
                envelope
                    .range_reader(std::sync::Mutex::new(file()), aad)
                    .unwrap()
                    .into_seek_reader()
            ) == whole
        );
    }

    let mut reader =
        serial.range_reader(std::sync::Mutex::new(file()), aad).unwrap().into_seek_reader();
    assert_eq!(reader.seek(SeekFrom::End(0)).unwrap(), whole.len() as u64);
    let mut rng = ChaCha20Rng::from_seed([12; 32]);
    for len in PIECES.into_iter().cycle().take(200) {
        let at = rng.next_u64() as usize % (whole.len() - len);
        reader.seek(SeekFrom::Start(at as u64)).unwrap();
        let mut piece = vec![0; len];
        reader.read_exact(&mut piece).unwrap();
        assert!(piece == whole[at..at + len], "{len} bytes at {at}");
    }
}

/// Everything, in odd pieces.
fn read(mut reader: impl Read) -> Vec<u8> {
    let mut whole = Vec::with_capacity(LENGTH + 5);
    let mut piece = vec![0; PIECES[5]];
    for len in PIECES.into_iter().cycle() {
        match reader.read(&mut piece[..len]).unwrap() {
            0 => break,
            len => whole.extend_from_slice(&piece[..len]),
        }
    }
    whole
}
