//! What lives across a `fork` without `exec` (THREATS 21, 78): an encryption goes on in the parent
//! alone, a decryption in both.

use envelock::{
    Aad, Envelope, Error, LockedRng, MemoryKeyring, Threads, danger,
    stream::{EncryptWriter, MessageStart},
};
use rand_chacha::rand_core::SeedableRng;
use rand_core::{TryCryptoRng, TryRng};
use std::convert::Infallible;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

const CHUNK: usize = 16_384;

/// Runs `child` in a child process, which must return `true`, while this one waits.
fn in_child(child: impl FnOnce() -> bool) {
    // SAFETY: the child makes no use of other threads: it runs `child` and leaves.
    let id = unsafe { libc::fork() };
    assert!(id >= 0, "fork");
    if id == 0 {
        // SAFETY: ends this process after a while, if it has not ended by itself.
        unsafe { libc::alarm(600) };
        let answer = std::panic::catch_unwind(std::panic::AssertUnwindSafe(child));
        // SAFETY: leaves at once, without what the parent registered for its exit.
        unsafe { libc::_exit(if matches!(answer, Ok(true)) { 0 } else { 1 }) };
    }
    wait_for(id);
}

/// Waits for a child that was just started, which must have left with status 0.
fn wait_for(child: i32) {
    let mut status = 0;
    // SAFETY: `status` is there until the call returns.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0, "the child goes on with what its parent began");
}

fn is_forked<T>(answer: std::io::Result<T>) -> bool {
    answer.is_err_and(|error| matches!(Error::from(error), Error::Forked))
}

/// Sizes that stay in a buffer, go through at once, and are shared by threads.
const MORE: [usize; 4] = [17, CHUNK, 10 * CHUNK, 100 * CHUNK];

fn envelopes(keyring: &MemoryKeyring) -> [Envelope<&MemoryKeyring>; 2] {
    let threads = Threads::new(2).with_min_len(CHUNK);
    [Envelope::new(keyring), Envelope::new(keyring).with_threads(threads)]
}

/// The child writes `more`, flushes and ends, in this order, and answers whether it failed before
/// a byte reached the sink, and permanently.
fn child_fails(writer: &mut EncryptWriter<'_, &mut Vec<u8>>, more: &[u8]) -> bool {
    let before = writer.get_ref().len();
    let taken = writer.write_all(more);
    let is_refused = taken.is_ok() || is_forked(taken);
    let is_latched = is_forked(writer.flush()) && is_forked(writer.write(b"x"));
    let is_ended = matches!(writer.try_finish(), Err(Error::Forked));
    is_refused && is_latched && is_ended && writer.get_ref().len() == before
}

#[test]
fn writer_fails_in_forked_child_and_goes_on_in_parent() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    for envelope in envelopes(&keyring) {
        for common in [0, 7, CHUNK, 5 * CHUNK + 3, 200 * CHUNK + 1] {
            for more in MORE {
                let mut sink = Vec::new();
                let mut writer = envelope.encrypt_writer(&mut sink, Aad::none()).unwrap();
                let text = vec![7; common + more];
                writer.write_all(&text[..common]).unwrap();
                in_child(|| child_fails(&mut writer, &vec![9; more]));
                writer.write_all(&text[common..]).unwrap();
                writer.finish().unwrap();
                assert!(envelope.decrypt(&sink, Aad::none()).unwrap() == text);
            }
        }
    }
}

#[test]
fn finish_alone_fails_in_a_forked_child() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    for envelope in envelopes(&keyring) {
        for len in [0, 7, CHUNK, 200 * CHUNK + 1] {
            let mut writer = envelope.encrypt_writer(Vec::new(), Aad::none()).unwrap();
            writer.write_all(&vec![7; len]).unwrap();
            in_child(|| {
                let before = writer.get_ref().len();
                matches!(writer.try_finish(), Err(Error::Forked))
                    && writer.get_ref().len() == before
            });
            let message = writer.finish().unwrap();
            assert!(envelope.decrypt(&message, Aad::none()).unwrap() == vec![7; len]);
        }
    }
}

#[test]
fn encrypting_reader_fails_in_a_forked_child_only() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    for envelope in envelopes(&keyring) {
        for read in [0, 300, CHUNK, 200 * CHUNK] {
            let text = vec![7; 300 * CHUNK + 5];
            let mut reader = envelope.encrypt_reader(&text[..], Aad::none()).unwrap();
            let mut message = vec![0; read];
            reader.read_exact(&mut message).unwrap();
            in_child(|| {
                let mut rest = Vec::new();
                let left = reader.get_ref().len();
                // Bytes encrypted before may still be output; nothing is read or encrypted any
                // more.
                is_forked(reader.read_to_end(&mut rest))
                    && is_forked(reader.read(&mut [0; 9]))
                    && reader.get_ref().len() == left
            });
            reader.read_to_end(&mut message).unwrap();
            assert!(envelope.decrypt(&message, Aad::none()).unwrap() == text);
        }
    }
}

#[test]
fn push_encryptor_fails_in_a_forked_child_only() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring);
    let mut stream = envelope.stream_encryptor(Aad::none()).unwrap();
    let (mut message, mut out) = (Vec::new(), vec![0; 40_000]);
    let progress = stream.update(b"common ", &mut out).unwrap();
    message.extend_from_slice(&out[..progress.produced]);
    in_child(|| {
        let before = out.clone();
        matches!(stream.update(&[9; 2 * CHUNK], &mut out), Err(Error::Forked))
            && matches!(stream.update(&[9; 2], &mut out), Err(Error::Forked))
            && matches!(stream.finish(&mut out), Err(Error::Forked))
            && out == before
    });
    in_child(|| matches!(stream.finish(&mut out), Err(Error::Forked)));
    let progress = stream.update(b"parent", &mut out).unwrap();
    message.extend_from_slice(&out[..progress.produced]);
    while let len @ 1.. = stream.finish(&mut out).unwrap() {
        message.extend_from_slice(&out[..len]);
    }
    assert_eq!(envelope.decrypt(&message, Aad::none()).unwrap(), b"common parent");
}

#[test]
fn chunk_encryptor_fails_in_a_forked_child() {
    let suite = envelock::Suite::default();
    let encryptor = danger::chunk_encryptor(suite, &[1; 32], &[2; 24], b"").unwrap();
    in_child(|| {
        let (mut chunk, mut sealed) = ([3; 10], [0; 26]);
        matches!(encryptor.encrypt_in_place(0, &mut chunk), Err(Error::Forked))
            && matches!(encryptor.encrypt_into(0, &[3; 10], &mut sealed), Err(Error::Forked))
            && (chunk, sealed) == ([3; 10], [0; 26])
    });
    assert!(encryptor.encrypt_in_place(0, &mut [3; 10]).is_ok());
}

/// Nothing is encrypted by what reads: parent and child both come to the end.
#[test]
fn decryption_goes_on_in_a_forked_child() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    for envelope in envelopes(&keyring) {
        let text = vec![7; 300 * CHUNK + 5];
        let message = envelope.encrypt(&text, Aad::none()).unwrap();
        let mut reader = envelope.decrypt_reader(&message[..], Aad::none()).unwrap();
        let mut read = vec![0; 150 * CHUNK];
        reader.read_exact(&mut read).unwrap();
        let mut start = MessageStart::new();
        let taken = start.update(&message).unwrap();
        let mut stream =
            envelock::stream::StreamDecryptor::open(&envelope, &start, Aad::none()).unwrap();
        in_child(|| {
            let mut rest = Vec::new();
            reader.read_to_end(&mut rest).unwrap();
            let mut out = vec![0; text.len()];
            let progress = stream.update(&message[taken..], &mut out).unwrap();
            let end = stream.finish(&mut out[progress.produced..]).unwrap();
            rest.len() == text.len() - read.len() && progress.produced + end == text.len()
        });
        reader.read_to_end(&mut read).unwrap();
        assert!(read == text);
    }
}

/// A new message of the child does not affect the parent.
#[test]
fn new_message_of_a_forked_child_opens() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring);
    envelope.encrypt(b"before", Aad::none()).unwrap();
    in_child(|| {
        let mut writer = envelope.encrypt_writer(Vec::new(), Aad::none()).unwrap();
        writer.write_all(b"child").unwrap();
        let message = writer.finish().unwrap();
        envelope.decrypt(&message, Aad::none()).unwrap() == b"child"
    });
}

const NO_CHILD: i32 = -1;

/// A generator that forks at its first draw, as a keyring of the caller may too.
struct Forking<'c> {
    random: rand_chacha::ChaCha20Rng,
    child: &'c AtomicI32,
}

impl TryRng for Forking<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.random.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.random.try_next_u64()
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        if self.child.load(Relaxed) == NO_CHILD {
            // SAFETY: the child makes no use of other threads: it encrypts and leaves.
            self.child.store(unsafe { libc::fork() }, Relaxed);
        }
        self.random.try_fill_bytes(out)
    }
}

impl TryCryptoRng for Forking<'_> {}

/// Encrypts with a generator that forks. It must fail in the child and go on in the parent.
fn encrypt_across_fork(
    encrypt: impl FnOnce(&Envelope<&MemoryKeyring, LockedRng<Forking<'_>>>) -> Result<(), Error>,
) {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let child = AtomicI32::new(NO_CHILD);
    let random = rand_chacha::ChaCha20Rng::from_seed([7; 32]);
    let result = encrypt(&Envelope::new(&keyring).with_rng(Forking { random, child: &child }));
    let id = child.load(Relaxed);
    if id == 0 {
        // SAFETY: leaves at once, without what the parent registered for its exit.
        unsafe { libc::_exit(if matches!(result, Err(Error::Forked)) { 0 } else { 1 }) };
    }
    assert!(id > 0, "fork");
    result.unwrap();
    wait_for(id);
}

#[test]
fn encryption_begun_across_a_fork_fails_in_the_child() {
    encrypt_across_fork(|envelope| envelope.start(5, Aad::none())?.encrypt(b"hello").map(drop));
    encrypt_across_fork(|envelope| {
        let mut writer = envelope.encrypt_writer(Vec::new(), Aad::none())?;
        writer.write_all(b"hello")?;
        writer.finish()?;
        Ok(())
    });
}
