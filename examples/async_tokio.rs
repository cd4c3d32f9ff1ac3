//! A message goes between asynchronous streams, and the executor is never blocked.
//!
//! ```text
//! cargo run --release --example async_tokio            # 64 MiB made up on the way
//! cargo run --release --example async_tokio -- FILE    # a file instead
//! ```
//!
//! One thread runs three tasks: one encrypts into a TCP connection, one decrypts what comes out of
//! it, and one does nothing but count its turns, and how many bytes the others work on between two
//! of them. Then the connection is cut in the middle of a message, and the reader refuses it.
//!
//! The machine is the push pair, `StreamEncryptor` and `StreamDecryptor`: bytes in, bytes out, no
//! I/O, no task. Two rules make it fit for an executor: work comes in pieces of tens of
//! microseconds with a point to yield behind each, and what asks a keyring, which may block for as
//! long as a network does, runs on a thread for that. (Feature `tokio` has an `AsyncWrite` and an
//! `AsyncRead` that do this inside.)

use envelock::stream::{MessageStart, StreamDecryptor};
use envelock::{Aad, Envelope, MemoryKeyring};
use sha2::{Digest, Sha256};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{spawn, spawn_blocking, yield_now};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Whatever the keyring is: both sides share it by reference.
type Shared = Arc<Envelope<MemoryKeyring>>;

const AAD: &[u8] = b"async_tokio";

/// Bytes worked on between two points to yield: four chunks, some 30 to 60 microseconds.
const PIECE_LEN: usize = 4 * 16_384;

/// Room for what a piece becomes, and a chunk that waited before it.
const ROOM_LEN: usize = PIECE_LEN + 2 * 16_400;

/// Length of the plaintext that is made up.
const MADE_UP_LEN: u64 = 64 << 20;

fn main() -> Result<()> {
    let file = std::env::args_os().nth(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let envelope = Arc::new(Envelope::new(MemoryKeyring::create("uploads")?));
        match file {
            Some(path) => over_tcp(&envelope, tokio::fs::File::open(path).await?).await?,
            None => over_tcp(&envelope, tokio::io::repeat(7).take(MADE_UP_LEN)).await?,
        }
        cut_short(&envelope).await
    })
}

/// Encrypts `source` to a connection and reads the message back at its other end.
async fn over_tcp(
    envelope: &Shared,
    source: impl AsyncRead + Unpin + Send + 'static,
) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let address = listener.local_addr()?;
    let counting = spawn(count_polls());

    let started = Instant::now();
    let client = envelope.clone();
    let sender = spawn(async move {
        let mut connection = TcpStream::connect(address).await?;
        let sent = encrypt(client, source, &mut connection).await?;
        connection.shutdown().await?;
        Ok::<_, Box<dyn Error + Send + Sync>>(sent)
    });
    let (connection, _) = listener.accept().await?;
    let received = decrypt(envelope.clone(), connection).await?;
    let sent = sender.await??;
    let elapsed = started.elapsed();
    counting.abort();

    if sent != received {
        return Err("what was received is not what was sent".into());
    }
    println!(
        "{} bytes went over TCP encrypted and are the same behind it: {:.0} MB/s, both sides on one thread",
        sent.len,
        sent.len as f64 / 1e6 / elapsed.as_secs_f64()
    );
    println!(
        "another task of that thread had {} turns meanwhile, with at most {} KiB of work in between",
        POLLS.load(Relaxed),
        MOST_BETWEEN.load(Relaxed) >> 10
    );
    Ok(())
}

/// A message of which the end never comes.
async fn cut_short(envelope: &Shared) -> Result<()> {
    let mut message = Vec::new();
    encrypt(envelope.clone(), tokio::io::repeat(7).take(100_000), &mut message).await?;
    for len in [0, 100, 40_000, message.len() - 1] {
        let (mut sender, receiver) = tokio::io::duplex(4096);
        let part = message[..len].to_vec();
        spawn(async move { sender.write_all(&part).await });
        match decrypt(envelope.clone(), receiver).await {
            Ok(_) => return Err("a part of a message passed for a message".into()),
            Err(error) => println!("cut to {len} of {} bytes: refused, {error}", message.len()),
        }
    }
    Ok(())
}

/// The bytes that went through: enough to compare both ends.
#[derive(PartialEq, Eq)]
struct Seen {
    len: u64,
    digest: [u8; 32],
}

/// Encrypts all of `source` to `sink`.
async fn encrypt(
    envelope: Shared,
    mut source: impl AsyncRead + Unpin,
    mut sink: impl AsyncWrite + Unpin,
) -> Result<Seen> {
    // Asks the keyring, which may wait for a network: not here.
    let mut stream = spawn_blocking(move || envelope.stream_encryptor(Aad::new(AAD))).await??;
    let (mut piece, mut out) = (vec![0; PIECE_LEN], vec![0; ROOM_LEN]);
    let (mut sum, mut len) = (Sha256::new(), 0);
    loop {
        let read = source.read(&mut piece).await?;
        if read == 0 {
            break;
        }
        worked_on(read);
        sum.update(&piece[..read]);
        len += read as u64;
        let mut rest = &piece[..read];
        while !rest.is_empty() {
            let progress = stream.update(rest, &mut out)?;
            rest = &rest[progress.consumed..];
            sink.write_all(&out[..progress.produced]).await?;
        }
        // A source and a sink that are always ready never yield by themselves.
        yield_now().await;
    }
    // The message is whole once this has answered 0.
    loop {
        match stream.finish(&mut out)? {
            0 => break,
            len => sink.write_all(&out[..len]).await?,
        }
    }
    sink.flush().await?;
    Ok(Seen { len, digest: sum.finalize().into() })
}

/// Decrypts a message that goes up to the end of `source`.
///
/// What comes out on the way is authentic, and its end may be missing: it is used here for nothing
/// but a digest, which an error drops. Into a file it would go under another name until the end.
async fn decrypt(envelope: Shared, mut source: impl AsyncRead + Unpin) -> Result<Seen> {
    let (mut piece, mut out) = (vec![0; PIECE_LEN], vec![0; ROOM_LEN]);
    let mut start = MessageStart::new();
    let (mut read, mut taken) = (0, 0);
    while taken == read && start.missing() > 0 {
        read = source.read(&mut piece).await?;
        if read == 0 {
            break;
        }
        taken = start.update(&piece[..read])?;
    }
    let made = spawn_blocking(move || StreamDecryptor::open(&envelope, &start, Aad::new(AAD)));
    let mut stream = made.await??;

    let (mut sum, mut len) = (Sha256::new(), 0);
    let mut rest = &piece[taken..read];
    loop {
        while !rest.is_empty() {
            let progress = stream.update(rest, &mut out)?;
            rest = &rest[progress.consumed..];
            worked_on(progress.produced);
            sum.update(&out[..progress.produced]);
            len += progress.produced as u64;
        }
        yield_now().await;
        read = source.read(&mut piece).await?;
        if read == 0 {
            break;
        }
        rest = &piece[..read];
    }
    loop {
        match stream.finish(&mut out)? {
            0 => return Ok(Seen { len, digest: sum.finalize().into() }),
            produced => {
                sum.update(&out[..produced]);
                len += produced as u64;
            }
        }
    }
}

/// Polls of the task that only counts them.
static POLLS: AtomicU64 = AtomicU64::new(0);

/// Bytes that the other tasks transformed since its last poll, and their maximum.
static SINCE: AtomicU64 = AtomicU64::new(0);
static MOST_BETWEEN: AtomicU64 = AtomicU64::new(0);

fn worked_on(len: usize) {
    SINCE.fetch_add(len as u64, Relaxed);
}

async fn count_polls() {
    loop {
        POLLS.fetch_add(1, Relaxed);
        MOST_BETWEEN.fetch_max(SINCE.swap(0, Relaxed), Relaxed);
        yield_now().await;
    }
}
