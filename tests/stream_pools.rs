//! Pools that do with the jobs of a stream what they like: run them late, in any order, drop them,
//! break. Nobody waits for them, and what comes out is that of one thread (THREATS 31, 32).

#![cfg(feature = "std")]

mod readers;

use envelock::{Aad, Envelope, Error, MemoryKeyring, Workers};
use readers::sources::{Scripted, Step};
use readers::{CHUNK, Idle, Jobs, PREFIX, SEALED, below, plaintext, pools, rng, shared};
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

const AAD: Aad<'static> = Aad::new(b"row 31");

/// Longer than any of these takes by far: whoever has not come back by then hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs `what` on a thread of its own, and fails if it hangs.
fn comes_back<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(what()));
    receiver.recv_timeout(PATIENCE).expect("it hangs, or panicked")
}

/// Encrypts by a writer and a reader, decrypts by a reader, and compares with one thread.
fn there_and_back(workers: &Arc<dyn Workers>, len: usize, piece: usize) {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = shared(&keyring, Some(workers.clone()));
    let text = plaintext(41, len);
    let message = Envelope::new(&keyring).with_rng(&mut rng(41)).encrypt(&text, AAD).unwrap();

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
}

/// A pool whose threads break before they have run their job, or after it.
fn breaking() -> Arc<Jobs> {
    Jobs::new(4, |_, job| {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let when = COUNT.fetch_add(1, Ordering::Relaxed) % 3;
        std::thread::spawn(move || {
            // Without a message for each.
            let broken = || std::panic::resume_unwind(Box::new(()));
            if when == 0 {
                let _job = job;
                broken();
            } else {
                job();
                if when == 1 {
                    broken();
                }
            }
        });
    })
}

#[test]
fn no_pool_makes_a_stream_wait_for_ever() {
    let pools: [(&str, Arc<dyn Workers>); 8] = [
        ("idle", Arc::new(Idle(3))),
        ("dropping", Jobs::dropping()),
        ("breaking", breaking()),
        ("at once", Jobs::at_once()),
        ("late", Jobs::late()),
        ("keeping", Jobs::keeping(2)),
        ("no threads", Jobs::keeping(0)),
        ("very many threads", Jobs::keeping(usize::MAX)),
    ];
    for (name, pool) in pools {
        println!("{name}");
        comes_back(move || {
            for piece in [5000, CHUNK, 10 * CHUNK] {
                there_and_back(&pool, 40 * CHUNK + 5, piece);
            }
        });
    }
}

/// On the only thread of a pool, whose jobs can run only when the stream is done.
#[test]
fn a_thread_of_the_pool_itself_does_not_wait_for_it() {
    struct One(mpsc::Sender<Box<dyn FnOnce() + Send>>);

    impl Workers for One {
        fn least_len(&self) -> usize {
            1
        }

        fn join(&self, one: &mut (dyn FnMut() + Send), other: &mut (dyn FnMut() + Send)) {
            one();
            other();
        }

        fn spawn(&self, job: Box<dyn FnOnce() + Send>) {
            self.0.send(job).unwrap();
        }
    }

    let (sender, jobs) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
    let (done, is_done) = mpsc::channel();
    let pool: Arc<dyn Workers> = Arc::new(One(sender.clone()));
    std::thread::spawn(move || jobs.into_iter().for_each(|job| job()));
    let stream = move || {
        there_and_back(&pool, 40 * CHUNK, 5000);
        done.send(()).unwrap();
    };
    sender.send(Box::new(stream)).unwrap();
    is_done.recv_timeout(PATIENCE).expect("it hangs");
}

/// Every chunk changed in turn: all before it comes out, nothing behind it, and the error for ever,
/// whichever piece is turned first.
#[test]
fn a_changed_chunk_ends_the_plaintext_whoever_comes_first() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let text = plaintext(42, 24 * CHUNK + 5);
    for (pool, workers) in pools() {
        let envelope = shared(&keyring, workers);
        let message = envelope.encrypt(&text, AAD).unwrap();
        let body_at = envelope.header_len().unwrap() + PREFIX;
        for changed in 0..25 {
            let mut message = message.clone();
            message[body_at + changed * SEALED + 3] ^= 1;
            // A second one behind it tells nothing.
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
                // The failure is told before the source is asked for more.
                assert!(reader.finish().is_err(), "{pool}");
            }
        }
    }
}

/// The same where the order is forced: of the pieces on their way, the caller turns the first and
/// a job the others before it, or a job all of them before the caller asks.
#[test]
fn a_failure_waits_for_what_stands_before_it() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let text = plaintext(43, 24 * CHUNK);
    let pool = Jobs::keeping(2);
    let envelope = shared(&keyring, Some(pool.clone()));
    let message = envelope.encrypt(&text, AAD).unwrap();
    let body_at = envelope.header_len().unwrap() + PREFIX;
    let mut ran = 0;
    for changed in 2..24 {
        let mut message = message.clone();
        message[body_at + changed * SEALED] ^= 1;
        for run_at in 0..8 {
            let mut reader = envelope.decrypt_reader(&message[..], AAD).unwrap();
            let (mut read, mut out) = (Vec::new(), vec![0; CHUNK]);
            for call in 0.. {
                if call >= run_at {
                    ran += pool.run_late();
                }
                match reader.read(&mut out) {
                    Ok(len) => read.extend_from_slice(&out[..len]),
                    Err(_) => break,
                }
                assert!(text.starts_with(&read) && call < 1000);
            }
            assert!(read == text[..changed * CHUNK], "chunk {changed}, jobs at {run_at}");
            pool.run_late();
        }
    }
    assert!(ran > 100, "{ran} jobs ran");
}

/// A source that breaks after any number of pieces: all that was read before comes out first, and
/// then the error, for ever or, if it passes, once.
#[test]
fn a_source_that_breaks_takes_back_nothing_it_gave() {
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
                    assert!(failures <= 1, "{pool}: told again");
                }
                assert!(text.starts_with(&read));
                assert!(read == text || !passes, "{pool}: {good}: lost");
            }
        }
    }
}

/// Jobs that come when the stream is gone, or at its end, find nothing.
#[test]
fn a_stream_that_is_left_leaves_nothing_to_do() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let text = plaintext(45, 30 * CHUNK);
    let pool = Jobs::keeping(4);
    let envelope = shared(&keyring, Some(pool.clone()));
    let message = envelope.encrypt(&text, AAD).unwrap();
    for calls in 0..20 {
        let mut reader = envelope.decrypt_reader(&message[..], AAD).unwrap();
        let mut out = vec![0; CHUNK];
        (0..calls).for_each(|_| assert!(reader.read(&mut out).unwrap() > 0));
        let mut writer = envelope.encrypt_writer(Vec::new(), AAD).unwrap();
        writer.write_all(&text[..calls * CHUNK]).unwrap();
        let jobs = pool.late.lock().unwrap().len();
        assert!(calls < 5 || jobs > 0);
        // No more than are of use, however long the stream.
        assert!(jobs <= 6, "{jobs} jobs for two streams");
        drop((reader, writer));
        pool.run_late();
        assert!(pool.late.lock().unwrap().is_empty());
    }
}

/// A random walk: calls of any size, jobs at any time.
#[test]
fn jobs_at_any_time_change_nothing() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let mut random = rng(46);
    for _ in 0..60 {
        let text = plaintext(46, below(&mut random, 60 * CHUNK));
        let pool = Jobs::keeping(1 + below(&mut random, 5));
        let envelope = shared(&keyring, Some(pool.clone()));
        let mut writer = envelope.encrypt_writer(Vec::new(), AAD).unwrap();
        let mut rest = &text[..];
        while !rest.is_empty() {
            let len = (1 + below(&mut random, 3 * CHUNK)).min(rest.len());
            let taken = writer.write(&rest[..len]).unwrap();
            assert!(taken > 0);
            rest = &rest[taken..];
            match below(&mut random, 8) {
                0 => writer.flush().unwrap(),
                1..=3 => drop(pool.run_late()),
                _ => {}
            }
        }
        let message = writer.finish().unwrap();
        assert!(Envelope::new(&keyring).decrypt(&message, AAD).unwrap() == text);
        let mut reader = envelope.decrypt_reader(&message[..], AAD).unwrap();
        let mut read = Vec::new();
        loop {
            let mut out = vec![0; 1 + below(&mut random, 3 * CHUNK)];
            match reader.read(&mut out).unwrap() {
                0 => break,
                len => read.extend_from_slice(&out[..len]),
            }
            if below(&mut random, 3) == 0 {
                pool.run_late();
            }
        }
        assert!(read == text);
    }
}
