//! A stream that outlives the version it was begun under does not end in `Ok` (THREATS 77).

use envelock::stream::{EncryptReader, EncryptWriter};
use envelock::{
    Aad, DataKey, Envelope, Error, KeyVersion, Keyring, Lifecycle, MemoryKeyring, MigratingKeyring,
    MultiKeyring, SlotLabel,
    format::Slot,
    keyring::{Freshness, KeyringError, KeyringRng, PrimaryKey, Refusal, SlotWriter, WrapContext},
};
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

const LEN: usize = 50_000;

type Ended = Result<Vec<u8>, Error>;

/// Writes half, has `change` made, and ends the message.
type Way = fn(&Envelope<Arc<dyn Keyring>>, &dyn Fn()) -> Ended;

fn writer(envelope: &Envelope<Arc<dyn Keyring>>, change: &dyn Fn()) -> Ended {
    let mut writer = envelope.encrypt_writer(Vec::new(), Aad::none()).unwrap();
    writer.write_all(&[7; LEN / 2]).unwrap();
    change();
    writer.write_all(&[7; LEN / 2]).unwrap();
    writer.finish()
}

fn detached_writer(envelope: &Envelope<Arc<dyn Keyring>>, change: &dyn Fn()) -> Ended {
    let mut stream = envelope.stream_encryptor(Aad::none()).unwrap();
    let mut message = stream.take_header();
    let mut writer = EncryptWriter::from_stream(Vec::new(), stream);
    writer.write_all(&[7; LEN]).unwrap();
    change();
    let ended = writer.try_finish();
    assert_eq!(writer.try_finish().is_ok(), ended.is_ok(), "permanently");
    ended.map(|()| {
        message.extend_from_slice(writer.get_ref());
        message
    })
}

fn reader(envelope: &Envelope<Arc<dyn Keyring>>, change: &dyn Fn()) -> Ended {
    let mut reader = envelope.encrypt_reader(&[7; LEN][..], Aad::none()).unwrap();
    let mut message = vec![0; 20_000];
    reader.read_exact(&mut message).unwrap();
    change();
    reader.read_to_end(&mut message)?;
    Ok(message)
}

fn detached_reader(envelope: &Envelope<Arc<dyn Keyring>>, change: &dyn Fn()) -> Ended {
    let mut stream = envelope.stream_encryptor(Aad::none()).unwrap();
    let mut message = stream.take_header();
    let mut reader = EncryptReader::from_stream(&[7; LEN][..], stream);
    change();
    reader.read_to_end(&mut message)?;
    Ok(message)
}

fn pushed(envelope: &Envelope<Arc<dyn Keyring>>, change: &dyn Fn()) -> Ended {
    let mut stream = envelope.stream_encryptor(Aad::none()).unwrap();
    let mut out = vec![0; 2 * LEN];
    let progress = stream.update(&[7; LEN], &mut out).unwrap();
    let mut len = progress.produced;
    assert_eq!(progress.consumed, LEN);
    change();
    loop {
        match stream.finish(&mut out[len..]) {
            Ok(0) => break,
            Ok(more) => len += more,
            Err(error) => {
                assert!(
                    !stream.is_finished() && stream.finish(&mut [0; 99]).is_err(),
                    "permanently"
                );
                return Err(error);
            }
        }
    }
    out.truncate(len);
    Ok(out)
}

#[cfg(feature = "tokio")]
fn asynchronous(
    envelope: &Envelope<Arc<dyn Keyring>>,
    change: &dyn Fn(),
    shuts: bool,
) -> Result<Vec<u8>, Error> {
    use tokio::io::AsyncWriteExt;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut writer =
            envelock::stream::AsyncEncryptWriter::new(envelope, Vec::new(), Aad::none())?;
        writer.write_all(&[7; LEN]).await?;
        change();
        if shuts {
            writer.shutdown().await?;
            return Ok(writer.get_ref().clone());
        }
        writer.finish().await
    })
}

const WAYS: &[(&str, Way)] = &[
    ("writer", writer),
    ("detached writer", detached_writer),
    ("reader", reader),
    ("detached reader", detached_reader),
    ("push stream", pushed),
    #[cfg(feature = "tokio")]
    ("asynchronous writer", |envelope, change| asynchronous(envelope, change, false)),
    #[cfg(feature = "tokio")]
    ("asynchronous writer that is shut down", |envelope, change| {
        asynchronous(envelope, change, true)
    }),
];

fn first() -> KeyVersion {
    KeyVersion::FIRST
}

/// The change of version 1 meanwhile, and the end of the stream.
type Change = fn(&dyn Lifecycle);

const CHANGES: &[(Change, Option<Refusal>)] = &[
    (|_| {}, None),
    (
        |keyring| {
            keyring.rotate().unwrap();
        },
        None,
    ),
    (
        |keyring| {
            keyring.rotate().unwrap();
            keyring.disable(first()).unwrap();
        },
        Some(Refusal::Disabled),
    ),
    (
        |keyring| {
            keyring.rotate().unwrap();
            keyring.disable(first()).unwrap();
            keyring.destroy_immediately(first()).unwrap();
        },
        Some(Refusal::Destroyed),
    ),
    (
        |keyring| {
            keyring.mark_compromised(first()).unwrap();
        },
        Some(Refusal::Compromised),
    ),
];

/// Tests every way to write under a keyring that `around` makes of the one that is changed.
fn check(around: fn(Arc<MemoryKeyring>) -> Arc<dyn Keyring>) {
    for (way, write) in WAYS {
        for (number, (change, expected)) in CHANGES.iter().enumerate() {
            let keyring = Arc::new(MemoryKeyring::create("orders").unwrap());
            let envelope = Envelope::new(around(keyring.clone()));
            match (write(&envelope, &|| change(&*keyring)), expected) {
                (Ok(message), None) => {
                    let opened = envelope.decrypt(&message, Aad::none()).unwrap();
                    assert!(opened == [7; LEN], "{way}, change {number}");
                }
                (Err(error), Some(expected)) => {
                    let Error::StreamRefused { key, version, refusal, .. } = &error else {
                        panic!("{way}, change {number}: {error:?}");
                    };
                    let reported = (key.as_str(), version.number(), refusal);
                    assert_eq!(reported, ("orders", 1, expected), "{way}, change {number}");
                    assert!(!error.is_retryable());
                }
                (ended, _) => panic!("{way}, change {number}: {:?}", ended.map(|m| m.len())),
            }
        }
    }
}

#[test]
fn stream_of_refused_version_does_not_end() {
    check(|keyring| keyring);
}

#[test]
fn stream_of_keyrings_does_not_end_if_one_refuses() {
    fn other() -> MemoryKeyring {
        MemoryKeyring::create("recovery").unwrap()
    }
    check(|keyring| Arc::new(MultiKeyring::new(other()).with(keyring).unwrap()));
    check(|keyring| Arc::new(MigratingKeyring::new(keyring).with(other()).unwrap()));
    check(|keyring| Arc::new(envelock::CachingKeyring::new(keyring)));
}

/// A destruction by another process is seen within the refresh bound.
#[cfg(all(feature = "file", unix))]
#[test]
fn stream_of_key_file_does_not_end_once_disabled() {
    use envelock::{
        FileKeyring,
        file::{FileKeyringOptions, Protection},
    };
    let path = std::env::temp_dir().join(format!("envelock-stream-ends-{}", std::process::id()));
    std::fs::create_dir(&path).unwrap();
    let file = path.join("keys");
    let protection = Protection::unprotected_plaintext();
    let here = FileKeyring::create(&file, "orders", &protection).unwrap();
    let options = FileKeyringOptions::new().refresh_after(std::time::Duration::ZERO);
    let keyring = options.open(&file, "orders", &protection).unwrap();
    let envelope = Envelope::new(&keyring);
    let mut writer = envelope.encrypt_writer(Vec::new(), Aad::none()).unwrap();
    writer.write_all(&[7; LEN]).unwrap();
    here.rotate().unwrap();
    here.disable(first()).unwrap();
    let ended = writer.finish();
    assert!(
        matches!(&ended, Err(Error::StreamRefused { refusal: Refusal::Disabled, .. })),
        "{:?}",
        ended.map(|message| message.len())
    );
    std::fs::remove_dir_all(&path).unwrap();
}

/// A keyring whose records cannot be asked for at times.
struct Flapping(MemoryKeyring, AtomicBool);

impl Keyring for Flapping {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.0.visit_primaries(visit)
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.0.wrap(data_key, context, slots, rng)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        self.0.unwrap(slot, context, data_key)
    }

    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        if self.1.load(Relaxed) {
            return Err(KeyringError::unavailable(std::io::Error::other("down")));
        }
        self.0.freshness(slot)
    }
}

#[test]
fn end_of_stream_is_retried_after_unavailable() {
    let keyring = Flapping(MemoryKeyring::create("orders").unwrap(), AtomicBool::new(false));
    let envelope = Envelope::new(&keyring);
    let mut writer = envelope.encrypt_writer(Vec::new(), Aad::none()).unwrap();
    writer.write_all(&[7; LEN]).unwrap();
    let mut reader = envelope.encrypt_reader(&[7; LEN][..], Aad::none()).unwrap();
    let mut stream = envelope.stream_encryptor(Aad::none()).unwrap();
    let mut pushed = vec![0; 1000];

    keyring.1.store(true, Relaxed);
    let error = writer.try_finish().unwrap_err();
    assert!(matches!(error, Error::Backend(_)) && error.is_retryable(), "{error:?}");
    let mut read = Vec::new();
    assert!(reader.read_to_end(&mut read).is_err());
    assert!(stream.finish(&mut pushed).is_err());

    keyring.1.store(false, Relaxed);
    writer.try_finish().unwrap();
    assert_eq!(envelope.decrypt(writer.get_ref(), Aad::none()).unwrap(), [7; LEN]);
    reader.read_to_end(&mut read).unwrap();
    assert_eq!(envelope.decrypt(&read, Aad::none()).unwrap(), [7; LEN]);
    let len = stream.finish(&mut pushed).unwrap();
    assert_eq!(stream.finish(&mut pushed[len..]).unwrap(), 0);
    assert_eq!(envelope.decrypt(&pushed[..len], Aad::none()).unwrap(), b"");
}

/// The streams of an envelope are not bound to its life, only to that of what its keyring borrows.
#[test]
fn stream_can_outlive_its_envelope() {
    let envelope = Envelope::new(MemoryKeyring::create("orders").unwrap());
    let mut writer = envelope.encrypt_writer(Vec::new(), Aad::none()).unwrap();
    drop(envelope);
    std::thread::spawn(move || {
        writer.write_all(b"four score").unwrap();
        writer.finish().unwrap();
    })
    .join()
    .unwrap();
}
