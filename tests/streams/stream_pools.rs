//! Several threads for one stream or body: the output is that of one thread, the caller does not wait
//! for threads that others use, and the calling thread does the rest (THREATS 31, 32).

#![cfg(feature = "std")]

use crate::readers;

use envelock::{Aad, Envelope, Error, MemoryKeyring, Provider, Threads, stream::EncryptWriter};
use readers::sources::{Scripted, Step};
use readers::{CHUNK, PREFIX, SEALED, below, plaintext, pools, rng, shared};
use std::io::{ErrorKind, Read, Write};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

const AAD: Aad<'static> = Aad::new(b"row 31");

/// Much longer than any of these takes: a call that has not returned by then hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs `what` on a thread of its own, and fails if it hangs.
fn comes_back<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(what()));
    receiver.recv_timeout(PATIENCE).expect("it hangs, or panicked")
}

/// Encrypts by a writer and a reader, decrypts by a reader and in memory, and compares with one
/// thread.
fn there_and_back(threads: &Threads, len: usize, piece: usize) {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = shared(&keyring, Some(threads.clone()));
    let text = plaintext(41, len);
    let message = Envelope::new(&keyring).with_rng(&mut rng(41)).encrypt(&text, AAD).unwrap();
    assert!(envelope.with_rng(&mut rng(41)).encrypt(&text, AAD).unwrap() == message);

    let mut random = rng(41);
    let mut writer = envelope.with_rng(&mut random).encrypt_writer(Vec::new(), AAD).unwrap();
    text.chunks(piece).for_each(|piece| writer.write_all(piece).unwrap());
    assert!(writer.finish().unwrap() == message);

    let (mut random, mut read) = (rng(41), Vec::new());
    let mut reader = envelope.with_rng(&mut random).encrypt_reader(&text[..], AAD).unwrap();
    reader.read_to_end(&mut read).unwrap();
    assert!(read == message);

    read.clear();
    envelope.decrypt_reader(&message[..], AAD).unwrap().read_to_end(&mut read).unwrap();
    assert!(read == text);
    assert!(envelope.decrypt(&message, AAD).unwrap() == text);
}

#[test]
fn threads_of_any_number_make_the_bytes_of_one() {
    for most in [0, 1, 2, 3, 7, usize::MAX] {
        let threads = Threads::new(most).with_min_len(CHUNK);
        for piece in [5000, CHUNK, 10 * CHUNK, 200 * CHUNK] {
            there_and_back(&threads, 150 * CHUNK + 5, piece);
        }
        assert_eq!(threads.started() > 0, most > 1, "{most} threads");
    }
}

/// Many calls share few threads: each goes on with what it gets, and none waits.
#[test]
fn concurrent_calls_do_not_wait_for_threads() {
    comes_back(|| {
        let threads = Threads::new(2).with_min_len(1);
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| (0..3).for_each(|_| there_and_back(&threads, 40 * CHUNK, 5000)));
            }
        });
    });
}

/// A caller that holds what other threads wait for comes to its end.
#[test]
fn caller_with_a_lock_does_not_wait_for_threads() {
    comes_back(|| {
        let (threads, wanted) = (Threads::new(4).with_min_len(1), Mutex::new(()));
        let guard = wanted.lock().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| drop(wanted.lock().unwrap()));
            }
            there_and_back(&threads, 40 * CHUNK, 5000);
            drop(guard);
        });
    });
}

#[test]
fn threads_join_only_where_a_body_is_long_enough() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    for provider in Provider::ALL {
        let is_fast = *provider != Provider::RustCrypto && provider.is_supported();
        let [too_short, long_enough] =
            if is_fast { [2_000_000, 2_200_000] } else { [1_000_000, 1_100_000] };
        let threads = Threads::new(3);
        let envelope =
            Envelope::new(&keyring).with_provider(*provider).with_threads(threads.clone());
        envelope.encrypt(&vec![7; too_short], AAD).unwrap();
        assert_eq!(threads.started(), 0);
        envelope.encrypt(&vec![7; long_enough], AAD).unwrap();
        assert_eq!(threads.started(), 1);
        envelope.encrypt(&vec![7; 6_000_000], AAD).unwrap();
        assert_eq!(threads.started(), 3);
    }
}

#[test]
fn streams_of_a_fast_cipher_stay_on_one_thread() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let text = plaintext(48, 4 << 20);
    for provider in Provider::ALL {
        let is_fast = *provider != Provider::RustCrypto && provider.is_supported();
        let threads = Threads::new(2);
        let envelope =
            Envelope::new(&keyring).with_provider(*provider).with_threads(threads.clone());
        let mut writer = envelope.encrypt_writer(Vec::new(), AAD).unwrap();
        writer.write_all(&text).unwrap();
        let message = writer.finish().unwrap();
        assert_eq!(threads.started() == 0, is_fast, "{provider}");
        let written = threads.started();
        let mut read = Vec::new();
        envelope.decrypt_reader(&message[..], AAD).unwrap().read_to_end(&mut read).unwrap();
        assert!(read == text);
        assert_eq!(threads.started() == written, is_fast, "{provider}");
    }
}

#[test]
fn writer_from_stream_shares_the_work() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let threads = Threads::new(4).with_min_len(1);
    let envelope = Envelope::new(&keyring).with_threads(threads.clone());
    let text = plaintext(47, 100 * CHUNK);
    let stream = envelope.stream_encryptor(AAD).unwrap();
    let mut writer = EncryptWriter::from_stream(Vec::new(), stream);
    writer.write_all(&text).unwrap();
    let message = writer.finish().unwrap();
    assert!(threads.started() > 0);
    assert!(envelope.decrypt(&message, AAD).unwrap() == text);
}

/// A system that starts no more threads takes nothing from a call but speed.
#[cfg(target_os = "linux")]
#[test]
fn stream_without_startable_threads_succeeds() {
    const CHILD: &str = "ENVELOCK_NO_THREADS";
    let name = "stream_pools::stream_without_startable_threads_succeeds";
    if std::env::var_os(CHILD).is_some() {
        // The test itself runs on the main thread, and no stack is that large.
        let threads = Threads::new(4).with_min_len(1);
        there_and_back(&threads, 40 * CHUNK, 5000);
        assert_eq!(threads.started(), 0);
        return;
    }
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--test-threads", "1"])
        .env(CHILD, "1")
        .env("RUST_MIN_STACK", (1_u64 << 60).to_string())
        .status()
        .unwrap();
    assert!(status.success());
}

/// Each chunk changed, one at a time: all before it is output, nothing behind it, and the error is
/// permanent, whichever piece is processed first.
#[test]
fn changed_chunk_ends_plaintext_for_all_threads() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let text = plaintext(42, 24 * CHUNK + 5);
    for (pool, workers) in pools() {
        let envelope = shared(&keyring, workers);
        let message = envelope.encrypt(&text, AAD).unwrap();
        let body_at = envelope.header_len().unwrap() + PREFIX;
        for changed in 0..25 {
            let mut message = message.clone();
            message[body_at + changed * SEALED + 3] ^= 1;
            // A second one after it reports nothing.
            if changed + 2 < 25 {
                message[body_at + (changed + 2) * SEALED] ^= 1;
            }
            for out_len in [1000, CHUNK, 1 << 20] {
                let mut reader = envelope.decrypt_reader(&message[..], AAD).unwrap();
                let (mut read, mut out) = (Vec::new(), vec![0xA5; out_len]);
                let failure = loop {
                    match reader.read(&mut out) {
                        Ok(0) => panic!("{pool}: accepted"),
                        Ok(len) => read.extend_from_slice(&out[..len]),
                        Err(error) => break error,
                    }
                };
                assert!(read == text[..changed * CHUNK], "{pool}: chunk {changed}: {}", read.len());
                assert!(matches!(Error::from(failure), Error::Authentication { .. }), "{pool}");
                for _ in 0..3 {
                    let again = reader.read(&mut out).unwrap_err();
                    assert!(matches!(Error::from(again), Error::Authentication { .. }), "{pool}");
                }
                // The failure is returned before the source is read again.
                assert!(reader.finish().is_err(), "{pool}");
            }
        }
    }
}

/// A source that breaks after any number of pieces: all that was read before comes out first, and
/// then the error, permanently or, if it passes, once.
#[test]
fn failing_source_keeps_earlier_output() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let text = plaintext(44, 20 * CHUNK);
    for (pool, workers) in pools().into_iter().skip(1) {
        let envelope = shared(&keyring, workers);
        let message = envelope.encrypt(&text, AAD).unwrap();
        let body_at = envelope.header_len().unwrap() + PREFIX;
        for good in 1..30 {
            for (fault, passes) in
                [(Step::Os(32), false), (Step::Fail(ErrorKind::WouldBlock), true)]
            {
                let mut script = vec![Step::Give(SEALED); 60];
                script[good] = fault;
                let source = Scripted::source(&message, script);
                let Ok(mut reader) = envelope.decrypt_reader(source, AAD) else { continue };
                let (mut read, mut out) = (Vec::new(), vec![0; 3000]);
                let mut failures = 0;
                loop {
                    match reader.read(&mut out) {
                        Ok(0) => break,
                        Ok(len) => read.extend_from_slice(&out[..len]),
                        Err(_) => {
                            let given = reader.get_ref().position;
                            let whole = given.saturating_sub(body_at) / SEALED;
                            assert!(read.len() >= whole * CHUNK, "{pool}: {good}: kept back");
                            failures += 1;
                            if !passes {
                                break;
                            }
                        }
                    }
                    assert!(failures <= 1, "{pool}: reported again");
                }
                assert!(text.starts_with(&read));
                assert!(read == text || !passes, "{pool}: {good}: lost");
            }
        }
    }
}

/// A random walk: calls of any size.
#[test]
fn calls_of_any_size_make_the_one_message() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let mut random = rng(46);
    for _ in 0..60 {
        let text = plaintext(46, below(&mut random, 200 * CHUNK));
        let threads = Threads::new(1 + below(&mut random, 5)).with_min_len(1);
        let envelope = shared(&keyring, Some(threads));
        let mut writer = envelope.encrypt_writer(Vec::new(), AAD).unwrap();
        let mut rest = &text[..];
        while !rest.is_empty() {
            let len = (1 + below(&mut random, 80 * CHUNK)).min(rest.len());
            let taken = writer.write(&rest[..len]).unwrap();
            assert!(taken > 0);
            rest = &rest[taken..];
            if below(&mut random, 8) == 0 {
                writer.flush().unwrap();
            }
        }
        let message = writer.finish().unwrap();
        assert!(Envelope::new(&keyring).decrypt(&message, AAD).unwrap() == text);
        let mut reader = envelope.decrypt_reader(&message[..], AAD).unwrap();
        let mut read = Vec::new();
        loop {
            let mut out = vec![0; 1 + below(&mut random, 80 * CHUNK)];
            match reader.read(&mut out).unwrap() {
                0 => break,
                len => read.extend_from_slice(&out[..len]),
            }
        }
        assert!(read == text);
    }
}
