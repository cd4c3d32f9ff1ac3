//! What the state of a version forbids is forbidden at every entry point (THREATS row 4): each
//! cell of state, suite and operation has its answer here, and a new operation needs a new cell.

use envelock::{
    Aad, Envelope, Error, KeyVersion, Lifecycle, MemoryKeyring, Refusal, RewrapOptions, Suite,
    inspect,
};

type Outcome = Result<Vec<u8>, Error>;
type Read = fn(&Envelope<&MemoryKeyring>, &[u8]) -> Outcome;
type Write = fn(&Envelope<&MemoryKeyring>) -> Outcome;

const PLAINTEXT: &[u8] = b"payload";
const ROW: Aad<'static> = Aad::new(b"row");

fn split(message: &[u8]) -> Result<(&[u8], Vec<u8>), Error> {
    let (header, body) = message.split_at(inspect(message)?.len());
    Ok((header, body.to_vec()))
}

/// Every operation that opens a slot; each leaves the plaintext, to show that it opened.
fn readers() -> [(&'static str, Read); 10] {
    [
        ("decrypt", |envelope, message| envelope.decrypt(message, ROW)),
        ("decrypt_into", |envelope, message| {
            let mut out = vec![0; PLAINTEXT.len()];
            envelope.decrypt_into(message, ROW, &mut out).map(|()| out)
        }),
        ("decrypt_in_place", |envelope, message| {
            let mut copy = message.to_vec();
            let opened = envelope.decrypt_in_place(&mut copy, ROW).map(|plain| plain.to_vec());
            opened.inspect_err(|_| assert_eq!(copy, message))
        }),
        ("decrypt_detached", |envelope, message| {
            let (header, body) = split(message)?;
            envelope.decrypt_detached(header, &body, ROW)
        }),
        ("decrypt_detached_into", |envelope, message| {
            let (header, body) = split(message)?;
            let mut out = vec![0; PLAINTEXT.len()];
            envelope.decrypt_detached_into(header, &body, ROW, &mut out).map(|()| out)
        }),
        ("decrypt_detached_in_place", |envelope, message| {
            let (header, mut body) = split(message)?;
            let opened = envelope.decrypt_detached_in_place(header, &mut body, ROW);
            opened.map(|plain| plain.to_vec())
        }),
        ("rewrap", |envelope, message| {
            let rewrapped = envelope.rewrap(message, RewrapOptions::new())?;
            let (_, body) = split(message)?;
            envelope.decrypt_detached(rewrapped.header(), &body, ROW)
        }),
        ("rewrap_in_place", |envelope, message| {
            let mut copy = message.to_vec();
            match envelope.rewrap_in_place(&mut copy, RewrapOptions::new()) {
                Ok(_) => envelope.decrypt(&copy, ROW),
                Err(error) => {
                    assert_eq!(copy, message);
                    Err(error)
                }
            }
        }),
        ("rewrap of a header alone", |envelope, message| {
            let (header, body) = split(message)?;
            let rewrapped = envelope.rewrap(header, RewrapOptions::new())?;
            envelope.decrypt_detached(rewrapped.header(), &body, ROW)
        }),
        // Trust in the backend is no way around its own refusal.
        ("rewrap, trusting", |envelope, message| {
            let rewrapped = envelope.rewrap(message, RewrapOptions::new().trusting_backend())?;
            let (_, body) = split(message)?;
            envelope.decrypt_detached(rewrapped.header(), &body, ROW)
        }),
    ]
}

/// Every operation that wraps; each returns the message.
fn writers() -> [(&'static str, Write); 6] {
    fn buffer(envelope: &Envelope<&MemoryKeyring>) -> Result<Vec<u8>, Error> {
        let mut message = vec![0; envelope.message_len(PLAINTEXT.len())?];
        message[envelope.plaintext_range(PLAINTEXT.len())?].copy_from_slice(PLAINTEXT);
        Ok(message)
    }
    [
        ("encrypt", |envelope| envelope.encrypt(PLAINTEXT, ROW)),
        ("encrypt_into", |envelope| {
            let mut message = buffer(envelope)?;
            envelope.encrypt_into(PLAINTEXT, ROW, &mut message).map(|()| message)
        }),
        ("encrypt_in_place", |envelope| {
            let mut message = buffer(envelope)?;
            let range = envelope.plaintext_range(PLAINTEXT.len())?;
            envelope.encrypt_in_place(&mut message, range, ROW).map(|()| message)
        }),
        ("encrypt_detached", |envelope| {
            envelope.encrypt_detached(PLAINTEXT, ROW).map(|(header, body)| [header, body].concat())
        }),
        ("encrypt_detached_into", |envelope| {
            let mut message = buffer(envelope)?;
            let (header, body) = message.split_at_mut(envelope.header_len()?);
            envelope.encrypt_detached_into(PLAINTEXT, ROW, header, body).map(|()| message)
        }),
        ("encrypt_detached_in_place", |envelope| {
            let mut message = buffer(envelope)?;
            let (header, body) = message.split_at_mut(envelope.header_len()?);
            envelope.encrypt_detached_in_place(header, body, PLAINTEXT.len(), ROW).map(|()| message)
        }),
    ]
}

fn refused(error: &Error) -> Option<(u32, Refusal)> {
    match error {
        Error::Refused { key, version, refusal } => {
            assert_eq!(key, "orders");
            Some((version.number(), *refusal))
        }
        _ => None,
    }
}

#[test]
fn a_disabled_version_opens_nothing_at_any_entry_point() {
    for suite in Suite::ALL {
        let keyring = MemoryKeyring::create("orders").unwrap();
        let envelope = Envelope::new(&keyring).with_suite(suite);
        let old = envelope.encrypt(PLAINTEXT, ROW).unwrap();
        keyring.rotate().unwrap();
        for (name, read) in readers() {
            assert_eq!(read(&envelope, &old).unwrap(), PLAINTEXT, "{suite} {name}: enabled");
        }
        keyring.disable(KeyVersion::FIRST).unwrap();
        for (name, read) in readers() {
            let error = read(&envelope, &old).unwrap_err();
            assert_eq!(refused(&error), Some((1, Refusal::Disabled)), "{suite} {name}: {error:?}");
        }
        keyring.enable(KeyVersion::FIRST).unwrap();
        for (name, read) in readers() {
            assert_eq!(read(&envelope, &old).unwrap(), PLAINTEXT, "{suite} {name}: enabled again");
        }
    }
}

/// SPEC O-NOFALLBACK.
#[test]
fn an_unknown_version_is_replaced_by_no_other_at_any_entry_point() {
    for suite in Suite::ALL {
        let keyring = MemoryKeyring::create("orders").unwrap();
        let envelope = Envelope::new(&keyring).with_suite(suite);
        let mut message = envelope.encrypt(PLAINTEXT, ROW).unwrap();
        // The label says version 9 of the very same key material.
        message[28] = 9;
        for (name, read) in readers() {
            let error = read(&envelope, &message).unwrap_err();
            let expected = Some((9, Refusal::UnknownVersion));
            assert_eq!(refused(&error), expected, "{suite} {name}: {error:?}");
            assert!(error.is_retryable());
        }
    }
}

#[test]
fn a_pending_version_opens_and_wraps_nothing_at_any_entry_point() {
    for suite in Suite::ALL {
        let keyring = MemoryKeyring::create("orders").unwrap();
        let envelope = Envelope::new(&keyring).with_suite(suite);
        let pending = keyring.add_version().unwrap();
        for (name, write) in writers() {
            let message = write(&envelope).unwrap();
            let header = inspect(&message).unwrap();
            let label = header.slots().next().unwrap().label;
            assert_eq!((header.suite(), label.version), (suite, KeyVersion::FIRST), "{name}");
            for (name, read) in readers() {
                assert_eq!(read(&envelope, &message).unwrap(), PLAINTEXT, "{suite} {name}");
            }
        }
        // After a rollback it is enabled, and its messages open as if it were pending.
        keyring.promote(pending).unwrap();
        let ahead = envelope.encrypt(PLAINTEXT, ROW).unwrap();
        keyring.promote(KeyVersion::FIRST).unwrap();
        for (name, read) in readers() {
            assert_eq!(read(&envelope, &ahead).unwrap(), PLAINTEXT, "{suite} {name}");
        }
    }
}

/// The suite is in the message: an envelope that writes another reads it all the same.
#[test]
fn the_suite_of_the_writer_decides_and_no_reader_changes_it() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    for written in Suite::ALL {
        let message = Envelope::new(&keyring).with_suite(written).encrypt(PLAINTEXT, ROW).unwrap();
        for other in Suite::ALL {
            let envelope = Envelope::new(&keyring).with_suite(other);
            for (name, read) in readers() {
                assert_eq!(read(&envelope, &message).unwrap(), PLAINTEXT, "{written} {name}");
            }
            let mut changed = message.clone();
            changed[5] = other.id();
            for (name, read) in readers().into_iter().filter(|_| other != written) {
                assert!(read(&envelope, &changed).is_err(), "{written} as {other}: {name}");
            }
        }
    }
}

/// THREATS row 4: whoever adds an operation adds its cells.
#[test]
fn every_operation_has_its_row() {
    let sources =
        concat!(include_str!("../src/envelope/os.rs"), include_str!("../src/envelope/decrypt.rs"));
    let written = writers().map(|(name, _)| name);
    let read = readers().map(|(name, _)| name);
    let mut operations = 0;
    for (at, _) in sources.match_indices("    pub fn ") {
        let operation = sources[at..].trim_start_matches("    pub fn ");
        let operation = operation.split(['(', '<']).next().unwrap();
        assert!(written.contains(&operation) || read.contains(&operation), "{operation}");
        operations += 1;
    }
    assert_eq!(operations, 14);
}
