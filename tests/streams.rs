//! Streams of every kind against the one-shot calls.
#![cfg(feature = "std")]

use envelock::{Aad, Envelope, MemoryKeyring, MessageStart, Workers};
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Arc;

struct Threads;

impl Workers for Threads {
    fn join(&self, one: &mut (dyn FnMut() + Send), other: &mut (dyn FnMut() + Send)) {
        std::thread::scope(|scope| {
            scope.spawn(|| one());
            other();
        });
    }

    fn overlap(&self, here: &mut dyn FnMut(), elsewhere: &mut (dyn FnMut() + Send)) {
        std::thread::scope(|scope| {
            scope.spawn(|| elsewhere());
            here();
        });
    }
}

#[test]
fn what_a_writer_wrote_every_reader_reads() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let serial = Envelope::new(&keyring);
    let parallel = Envelope::new(&keyring).with_workers(Arc::new(Threads));
    for len in [0, 1, 100, 16_383, 16_384, 16_385, 40_000, 300_000, 2_000_001] {
        let plaintext: Vec<u8> =
            (0..len).map(|i: u32| (i.wrapping_mul(0x9E37_79B9) >> 13) as u8).collect();
        for envelope in [&serial, &parallel] {
            for step in [1usize, 7, 8192, 16_384, 50_000, 1 << 20, 3 << 20] {
                if step < 100 && len > 50_000 {
                    continue;
                }
                let mut writer = envelope.encrypt_writer(Vec::new(), Aad::new(b"a")).unwrap();
                plaintext.chunks(step).for_each(|piece| writer.write_all(piece).unwrap());
                let message = writer.finish().unwrap();
                assert_eq!(message.len(), envelope.message_len(len as usize).unwrap());
                assert!(
                    envelope.decrypt(&message, Aad::new(b"a")).unwrap() == plaintext,
                    "{len} {step}"
                );
                let mut reader = envelope.encrypt_reader(&plaintext[..], Aad::new(b"a")).unwrap();
                let mut message = Vec::new();
                let mut piece = vec![0; step];
                loop {
                    let n = reader.read(&mut piece).unwrap();
                    if n == 0 {
                        break;
                    }
                    message.extend_from_slice(&piece[..n]);
                }
                for envelope in [&serial, &parallel] {
                    let mut reader = envelope.decrypt_reader(&message[..], Aad::new(b"a")).unwrap();
                    let mut out = Vec::new();
                    loop {
                        let n = reader.read(&mut piece).unwrap();
                        if n == 0 {
                            break;
                        }
                        out.extend_from_slice(&piece[..n]);
                    }
                    assert!(out == plaintext, "{len} {step}");
                    reader.finish().unwrap();
                    let mut out = Vec::new();
                    let mut reader = envelope.decrypt_reader(&message[..], Aad::new(b"a")).unwrap();
                    reader.read_to_end(&mut out).unwrap();
                    assert!(out == plaintext);
                    let mut seek = envelope
                        .seek_reader(std::io::Cursor::new(&message), Aad::new(b"a"))
                        .unwrap();
                    out.clear();
                    seek.read_to_end(&mut out).unwrap();
                    assert!(out == plaintext);
                    assert_eq!(seek.seek(SeekFrom::End(0)).unwrap(), len as u64);
                    let ranges = seek.into_inner();
                    let mut piece = vec![0; step];
                    let n = ranges.read_at(&mut piece, len as u64 / 3).unwrap();
                    assert!(
                        piece[..n]
                            == plaintext
                                [len as usize / 3..(len as usize / 3 + step).min(len as usize)]
                    );
                }
            }
        }
    }
    let _ = MessageStart::new();
}
