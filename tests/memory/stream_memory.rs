//! What readers and writers of streams hold (THREATS 33): a message of 200 bytes is opened with 8
//! KiB at the most, however many keys there are, and 64 MiB take no more than one batch.

#![cfg(feature = "std")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::allocations::measure;
use crate::detached::ReadDetached;
use envelock::{Aad, Envelope, Error, Lifecycle, MemoryKeyring, Threads, stream::MessageStart};
use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};

/// The peak of allocated bytes while `operation` ran, beyond those allocated before.
fn peak<T>(operation: impl FnOnce() -> T) -> (usize, T) {
    let (_, peak, result) = measure(operation);
    (peak, result)
}

const AAD: Aad<'static> = Aad::new(b"records/42");

#[test]
fn counter_sees_an_allocation() {
    let (peak, _) = peak(|| std::hint::black_box(vec![0_u8; 1000]));
    assert_eq!(peak, 1000);
}

type Open = fn(&Envelope<&MemoryKeyring>, &[u8], &mut [u8]) -> Result<usize, Error>;

/// Each opens the message and reads it to the proven end, into memory of the caller's.
const READERS: [(&str, Open); 9] = [
    ("decrypt", |envelope, message, out| {
        let plaintext = envelope.decrypt(message, AAD)?;
        out[..plaintext.len()].copy_from_slice(&plaintext);
        Ok(plaintext.len())
    }),
    ("StreamDecryptor", |envelope, message, out| {
        let mut start = MessageStart::new();
        let taken = start.update(message)?;
        let mut stream = envelock::stream::StreamDecryptor::open(envelope, &start, AAD)?;
        let mut len = stream.update(&message[taken..], out)?.produced;
        loop {
            match stream.finish(&mut out[len..])? {
                0 => return Ok(len),
                more => len += more,
            }
        }
    }),
    ("DecryptReader::read", |envelope, message, out| {
        let mut reader = envelope.decrypt_reader(message, AAD)?;
        read_all(&mut reader, out)
    }),
    ("DecryptReader::read into one byte", |envelope, message, out| {
        let mut reader = envelope.decrypt_reader(message, AAD)?;
        let mut len = 0;
        while reader.read(&mut out[len..=len])? > 0 {
            len += 1;
        }
        Ok(len)
    }),
    ("DecryptReader::fill_buf", |envelope, message, out| {
        let mut reader = envelope.decrypt_reader(message, AAD)?;
        let len = reader.fill_buf()?.len();
        reader.read_exact(&mut out[..len])?;
        assert!(reader.fill_buf()?.is_empty());
        Ok(len)
    }),
    ("decrypt_reader_detached", |envelope, message, out| {
        let (header, body) = message.split_at(envelope.header_len()?);
        let mut reader = envelope.decrypt_reader_detached(header, body, AAD)?;
        let len = read_all(&mut reader, out)?;
        reader.finish()?;
        Ok(len)
    }),
    ("RangeReader", |envelope, message, out| {
        let reader = envelope.range_reader(message, AAD)?;
        reader.len()?;
        reader.read_at(out, 0)
    }),
    ("SeekReader", |envelope, message, out| {
        let mut reader = envelope
            .range_reader(std::sync::Mutex::new(io::Cursor::new(message)), AAD)?
            .into_seek_reader();
        reader.seek(SeekFrom::End(0))?;
        reader.rewind()?;
        read_all(&mut reader, out)
    }),
    ("RangeDecryptor", |envelope, message, out| {
        let mut start = MessageStart::new();
        start.update(message)?;
        let ranges =
            envelock::stream::RangeDecryptor::open(envelope, &start, message.len() as u64, AAD)?;
        let plan = ranges.plan(0..u64::MAX);
        let fetched = &message[plan.encrypted().start as usize..plan.encrypted().end as usize];
        let len = plan.plaintext_len() as usize;
        ranges.decrypt_into(&plan, fetched, &mut out[..len])?;
        Ok(len)
    }),
];

fn read_all(reader: &mut impl Read, out: &mut [u8]) -> Result<usize, Error> {
    let mut len = 0;
    loop {
        match reader.read(&mut out[len..])? {
            0 => return Ok(len),
            more => len += more,
        }
    }
}

#[test]
fn message_of_200_bytes_takes_8_kib_for_any_keys() {
    for (name, open) in READERS {
        let mut peaks = Vec::new();
        for versions in [1, 1000] {
            let keyring = MemoryKeyring::create("orders").unwrap();
            let envelope = Envelope::new(&keyring);
            let plaintext = [9; 200 - (25 + 16 + 6 + 72) - 72];
            let oldest = envelope.encrypt(&plaintext, AAD).unwrap();
            assert_eq!(oldest.len(), 200);
            for _ in 1..versions {
                keyring.rotate().unwrap();
            }
            let newest = envelope.encrypt(&plaintext, AAD).unwrap();
            for message in [oldest, newest] {
                let mut out = [0; 100];
                let (most, len) = peak(|| open(&envelope, &message, &mut out).unwrap());
                assert_eq!(out[..len], plaintext, "{name}");
                assert!(most <= 8 * 1024, "{name}: {most} bytes with {versions} versions");
                peaks.push(most);
            }
        }
        assert!(peaks.iter().all(|peak| *peak == peaks[0]), "{name}: {peaks:?}");
        println!("{name}: {} bytes at the most", peaks[0]);
    }
}

/// So many bytes of one value, from nowhere.
struct Zeroes(u64);

impl Read for Zeroes {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = (self.0).min(out.len() as u64) as usize;
        out[..len].fill(0);
        self.0 -= len as u64;
        Ok(len)
    }
}

/// Encrypts and decrypts so many bytes: through a reader into a reader, or through a writer.
fn through(envelope: &Envelope<&MemoryKeyring>, len: u64, piece: usize) -> [usize; 2] {
    let (reading, _) = peak(|| {
        let message = envelope.encrypt_reader(Zeroes(len), AAD).unwrap();
        let mut reader = envelope.decrypt_reader(message, AAD).unwrap();
        let mut buffer = vec![0; piece];
        let mut total = 0;
        loop {
            match reader.read(&mut buffer).unwrap() {
                0 => break,
                read => total += read as u64,
            }
        }
        assert_eq!(total, len);
    });
    let (writing, _) = peak(|| {
        let mut writer = envelope.encrypt_writer(io::sink(), AAD).unwrap();
        let buffer = vec![0; piece];
        let mut left = len;
        while left > 0 {
            let len = left.min(piece as u64);
            writer.write_all(&buffer[..len as usize]).unwrap();
            left -= len;
        }
        writer.finish().unwrap();
    });
    [reading - piece, writing - piece]
}

/// Multiples of what two threads share, so that both lengths end at the same phase.
const SHORT: u64 = 8 << 20;
const LONG: u64 = 64 << 20;

#[test]
fn memory_is_the_same_for_8_and_for_64_mib() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let serial = Envelope::new(&keyring);
    let parallel = Envelope::new(&keyring).with_threads(Threads::new(2));
    // 4 chunks to a batch, or half a mebibyte for each thread, in and out; reading goes through two
    // streams.
    for (name, envelope, most) in [("serial", &serial, 1 << 20), ("parallel", &parallel, 5 << 20)] {
        for piece in [5000, 1 << 20] {
            let short = through(envelope, SHORT, piece);
            let long = through(envelope, LONG, piece);
            println!(
                "{name}, pieces of {piece}: reading both ways and writing hold {long:?} bytes"
            );
            // The record of a thread is freed by that thread, which this tally does not see.
            let slack = if name == "serial" { 0 } else { 64 << 10 };
            for (short, long) in short.iter().zip(long) {
                assert!(short.abs_diff(long) <= slack, "{name}: memory grows with the message");
            }
            assert!(long.iter().all(|held| *held <= most), "{name}: {long:?}");
        }
    }
}

/// Gives little at a time, and would block in between: at every second call.
struct Hesitant<R> {
    source: R,
    gave: bool,
}

impl<R: Read> Read for Hesitant<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.gave = !self.gave;
        if !self.gave {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let len = out.len().min(20_000);
        self.source.read(&mut out[..len])
    }
}

/// Input that is too slow for several threads goes through the existing buffers.
#[test]
fn slow_source_allocates_no_more_buffers() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let parallel = Envelope::new(&keyring).with_threads(Threads::new(2));
    let held = [8 << 20, 64 << 20].map(|len| {
        let (held, _) = peak(|| {
            let source = Envelope::new(&keyring).encrypt_reader(Zeroes(len), AAD).unwrap();
            let source = Hesitant { source, gave: false };
            let mut reader = parallel.decrypt_reader(source, AAD).unwrap();
            let (mut buffer, mut total) = ([0; 3000], 0);
            loop {
                match reader.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(read) => total += read as u64,
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            }
            assert_eq!(total, len);
        });
        held
    });
    assert_eq!(held[0], held[1], "memory grows with the message");
}

/// A body goes through a buffer when it is encrypted again, and when it is verified.
#[cfg(all(feature = "file", unix))]
#[test]
fn reencryption_takes_the_same_for_2_and_for_64_mib() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring);
    let name = format!("envelock-memory-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let peaks = [2, 64].map(|mib| {
        std::fs::write(&path, envelope.encrypt(&vec![7; mib << 20], AAD).unwrap()).unwrap();
        let old = envelock::file::MessageFile::open(&path).unwrap().header().to_vec();
        let (peak, done) = peak(|| {
            let new = envelope.stream_encryptor(AAD)?;
            envelock::file::reencrypt(&envelope, &path, &old, new, AAD)
        });
        assert!(done.unwrap());
        peak
    });
    std::fs::remove_file(&path).unwrap();
    println!("{peaks:?} bytes at the peak");
    assert!(peaks[1] == peaks[0] && peaks[0] < 2 << 20, "{peaks:?}");
}
