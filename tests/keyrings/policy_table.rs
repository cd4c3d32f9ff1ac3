//! What the state of a version forbids is forbidden at every entry point (THREATS row 4): each
//! cell of state, suite, operation and way to the keyring (itself, behind several others, behind
//! a cache that is cold or warm) has its result here, and a new operation needs a new cell.

use crate::combine;
use crate::common::detached::{ReadDetached, WriteDetached};

use combine::{PLAINTEXT, ROW, Scripted, ring, version};
use envelock::test_access::errors;
use envelock::{
    CachingKeyring, Envelope, Error, GrantOptions, KeyVersion, Keyring, Lifecycle, MemoryKeyring,
    MigratingKeyring, MultiKeyring, RewrapOptions, SlotFinding, Suite,
    format::Slot,
    inspect,
    keyring::{CachingOptions, Freshness, KeyringError, Refusal},
    stream::{DecryptReader, EncryptReader, MessageStart},
};
use std::sync::Arc;
use std::time::Duration;

type Outcome = Result<Vec<u8>, Error>;
type Read = fn(&Envelope<&dyn Keyring>, &[u8]) -> Outcome;
type Write = fn(&Envelope<&dyn Keyring>) -> Outcome;
type Ways = Vec<(&'static str, Box<dyn Keyring>)>;

/// Keyrings that lead to `own`; those that cache are cold. Beside it stand others: of another
/// name, and of the same name with other material.
fn ways(own: &Arc<Scripted>) -> Ways {
    let own = || own.clone();
    let backup = || ring("backup", 101);
    let namesake = || ring("orders", 102);
    let day = Duration::from_secs(86_400);
    let options = CachingOptions::new().max_age(day);
    let cached = || CachingKeyring::with_options(own(), options);
    let multi = || MultiKeyring::new(own()).with(backup()).unwrap();
    let moving = || MigratingKeyring::new(namesake()).with(own()).unwrap();
    vec![
        ("plain", Box::new(own())),
        ("multi, first", Box::new(multi())),
        ("multi, last", Box::new(MultiKeyring::new(namesake()).with(own()).unwrap())),
        ("fallback, first", Box::new(MigratingKeyring::new(own()).with(namesake()).unwrap())),
        ("migrating, last", Box::new(moving())),
        ("cached", Box::new(cached())),
        ("cached twice", Box::new(CachingKeyring::with_options(cached(), options))),
        ("cached multi", Box::new(CachingKeyring::with_options(multi(), options))),
        ("cached migrating", Box::new(CachingKeyring::with_options(moving(), options))),
        ("multi of cached", Box::new(MultiKeyring::new(backup()).with(cached()).unwrap())),
        ("fallback, first cached", Box::new(MigratingKeyring::new(cached()))),
    ]
}

fn backend() -> Arc<Scripted> {
    Scripted::new(MemoryKeyring::create("orders").unwrap())
}

/// Asserts that every reader, by every way, is refused the message with `expected`.
fn assert_refused(ways: &Ways, message: &[u8], expected: (u32, Refusal), case: &str) {
    for (way, keyring) in ways {
        let envelope = Envelope::new(&**keyring);
        for (name, read) in readers() {
            // Twice: a refusal, too, must not be learnt.
            for _ in 0..2 {
                let error = read(&envelope, message).unwrap_err();
                assert_eq!(refused(&error), Some(expected), "{case} {way} {name}: {error:?}");
            }
        }
    }
}

/// Asserts that every reader, by every way, opens the message; so the caches are warm.
fn assert_opens(ways: &Ways, message: &[u8], case: &str) {
    for (way, keyring) in ways {
        let envelope = Envelope::new(&**keyring);
        for (name, read) in readers() {
            for _ in 0..2 {
                assert_eq!(read(&envelope, message).unwrap(), PLAINTEXT, "{case} {way} {name}");
            }
        }
    }
}

fn split(message: &[u8]) -> Result<(&[u8], Vec<u8>), Error> {
    let (header, body) = message.split_at(inspect(message)?.len());
    Ok((header, body.to_vec()))
}

/// Every operation that opens a slot; each leaves the plaintext, to show that it opened.
fn readers() -> [(&'static str, Read); 21] {
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
        ("open", |envelope, message| {
            let key = envelope.open(message)?;
            key.decrypt(key.body(message)?, ROW)
        }),
        ("stream_decryptor", |envelope, message| {
            let mut start = MessageStart::new();
            let taken = start.update(message)?;
            let stream = envelock::stream::StreamDecryptor::open(envelope, &start, ROW)?;
            read_all(DecryptReader::from_stream(&message[taken..], stream))
        }),
        ("range_decryptor", |envelope, message| {
            let mut start = MessageStart::new();
            start.update(message)?;
            let parts = envelock::stream::RangeDecryptor::open(
                envelope,
                &start,
                message.len() as u64,
                ROW,
            )?;
            let plan = parts.plan(0..u64::MAX);
            let range = plan.encrypted().start as usize..plan.encrypted().end as usize;
            parts.decrypt_in_place(&plan, &mut message[range].to_vec()).map(|plain| plain.to_vec())
        }),
        ("decrypt_reader", |envelope, message| read_all(envelope.decrypt_reader(message, ROW)?)),
        ("decrypt_copy", |envelope, message| {
            let mut out = Vec::new();
            envelope.decrypt_copy(message, &mut out, ROW).map(|_| out)
        }),
        ("range_reader", |envelope, message| {
            let mut out = vec![0; PLAINTEXT.len() + 1];
            let len = envelope.range_reader(message, ROW)?.read_at(&mut out, 0)?;
            Ok(out[..len].to_vec())
        }),
        ("seek_reader", |envelope, message| {
            let source = std::sync::Mutex::new(std::io::Cursor::new(message));
            read_all(envelope.range_reader(source, ROW)?.into_seek_reader())
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
        ("add_slot", |envelope, message| {
            let escrow = MemoryKeyring::create("escrow")?;
            let added = envelope.add_slot(message, &escrow, GrantOptions::new())?;
            let (_, body) = split(message)?;
            Envelope::new(&escrow).decrypt_detached(added.header(), &body, ROW)
        }),
        ("add_slot_in_place", |envelope, message| {
            let escrow = MemoryKeyring::create("escrow")?;
            let before = with_foreign_slot(message)?;
            let mut copy = before.clone();
            match envelope.add_slot_in_place(&mut copy, &escrow, GrantOptions::new()) {
                Ok(_) => Envelope::new(&escrow).decrypt(&copy, ROW),
                Err(error) => {
                    assert_eq!(copy, before);
                    Err(error)
                }
            }
        }),
        ("verify_slots", |envelope, message| {
            envelope.verify_slots(message, &["orders"]).map(|()| PLAINTEXT.to_vec())
        }),
        ("examine", |envelope, message| {
            let examined = envelope.examine(message)?;
            let (Slot { label, .. }, finding) = examined.slots().next().unwrap();
            let (key, version) = (label.name.as_str().to_owned(), label.version);
            match finding {
                SlotFinding::Opened => Ok(PLAINTEXT.to_vec()),
                SlotFinding::NotOpened(KeyringError::NotMine) => {
                    Err(errors::no_key(key, version, 1))
                }
                SlotFinding::NotOpened(KeyringError::Refused(refusal)) => {
                    Err(errors::refused(key, version, *refusal))
                }
                _ => Err(Error::NoPrimary),
            }
        }),
        // `trusting_backend` does not override the back end's own refusal.
        ("rewrap, trusting", |envelope, message| {
            let rewrapped = envelope.rewrap(message, RewrapOptions::new().trusting_backend())?;
            let (_, body) = split(message)?;
            envelope.decrypt_detached(rewrapped.header(), &body, ROW)
        }),
    ]
}

fn read_all(mut reader: impl std::io::Read) -> Result<Vec<u8>, Error> {
    let mut all = Vec::new();
    reader.read_to_end(&mut all)?;
    Ok(all)
}

/// The message with another keyring's slot behind its own, and room for one more.
fn with_foreign_slot(message: &[u8]) -> Result<Vec<u8>, Error> {
    let (header, body) = split(message)?;
    let end = 25 + inspect(header)?.slots().map(|slot| slot.encoded_len()).sum::<usize>();
    let mut other = header[25..end].to_vec();
    other[16..22].copy_from_slice(b"others");
    let mut header = [&header[..end], &other, &[0; 200]].concat();
    let len = u16::try_from(header.len()).unwrap();
    header[22..24].copy_from_slice(&len.to_be_bytes());
    header[24] = 2;
    Ok([header, body].concat())
}

/// Every operation that wraps; each returns the message.
fn writers() -> [(&'static str, Write); 12] {
    fn buffer(envelope: &Envelope<&dyn Keyring>) -> Result<Vec<u8>, Error> {
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
        ("start", |envelope| {
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
        ("stream_encryptor", |envelope| {
            read_all(EncryptReader::from_stream(PLAINTEXT, envelope.stream_encryptor(ROW)?))
        }),
        ("stream_encryptor_detached", |envelope| {
            let mut stream = envelope.stream_encryptor(ROW)?;
            let header = stream.take_header();
            Ok([header, read_all(EncryptReader::from_stream(PLAINTEXT, stream))?].concat())
        }),
        ("encrypt_writer", |envelope| {
            let mut writer = envelope.encrypt_writer(Vec::new(), ROW)?;
            std::io::Write::write_all(&mut writer, PLAINTEXT)?;
            writer.finish()
        }),
        ("encrypt_reader", |envelope| read_all(envelope.encrypt_reader(PLAINTEXT, ROW)?)),
        ("encrypt_copy", |envelope| {
            let mut out = Vec::new();
            envelope.encrypt_copy(PLAINTEXT, &mut out, ROW).map(|_| out)
        }),
        ("add_slot", |envelope| {
            let source = MemoryKeyring::create("source")?;
            let suite = inspect(&envelope.encrypt(&[], ROW)?)?.suite();
            let from = Envelope::new(&source).with_suite(suite);
            let (header, body) = from.encrypt_detached(PLAINTEXT, ROW)?;
            let added = from.add_slot(&header, *envelope.keyring(), GrantOptions::new())?;
            let moved = envelope.remove_name(added.header(), "source")?;
            Ok([moved.into_header(), body].concat())
        }),
    ]
}

fn refused(error: &Error) -> Option<(u32, Refusal)> {
    match error {
        Error::Refused { key, version, refusal, .. } => {
            assert_eq!(key, "orders");
            Some((version.number(), *refusal))
        }
        _ => None,
    }
}

#[test]
fn disabled_version_opens_nothing_at_any_entry_point() {
    for &suite in Suite::ALL {
        let backend = backend();
        let ring = &backend.ring;
        let old = Envelope::new(ring).with_suite(suite).encrypt(PLAINTEXT, ROW).unwrap();
        ring.rotate().unwrap();
        let warm = ways(&backend);
        assert_opens(&warm, &old, &format!("{suite} enabled"));
        ring.disable(KeyVersion::FIRST).unwrap();
        let disabled = (1, Refusal::Disabled);
        assert_refused(&warm, &old, disabled, &format!("{suite} warm"));
        assert_refused(&ways(&backend), &old, disabled, &format!("{suite} cold"));
        ring.enable(KeyVersion::FIRST).unwrap();
        assert_opens(&warm, &old, &format!("{suite} enabled again"));
    }
}

/// SPEC R-COMPROMISED: it opens; only a rewrap that names it replaces it; a strict keyring refuses
/// it.
#[test]
fn compromised_is_refused_by_strict_at_every_entry() {
    for &suite in Suite::ALL {
        let backend = backend();
        let old = Envelope::new(&backend.ring).with_suite(suite).encrypt(PLAINTEXT, ROW).unwrap();
        backend.ring.rotate().unwrap();
        let warm = ways(&backend);
        assert_opens(&warm, &old, &format!("{suite} before"));
        backend.set(|script| script.compromised = Some(1));
        let compromised = (1, Refusal::Compromised);
        for (way, keyring) in warm.iter().chain(&ways(&backend)) {
            let envelope = Envelope::new(&**keyring);
            for (name, read) in readers() {
                let is_named = name.starts_with("rewrap") || name.starts_with("add_slot");
                match (is_named, read(&envelope, &old)) {
                    (false, opened) => assert_eq!(opened.unwrap(), PLAINTEXT, "{way} {name}"),
                    (true, Err(error)) => assert_eq!(refused(&error), Some(compromised), "{way}"),
                    (true, Ok(_)) => panic!("{suite} {way} {name}: rewrapped unnamed"),
                }
            }
            let named = RewrapOptions::new().from_compromised("orders", version(1));
            assert!(envelope.rewrap(&old, named).unwrap().is_changed(), "{suite} {way}");
        }
        backend.set(|script| script.strict = true);
        assert_refused(&warm, &old, compromised, &format!("{suite} warm"));
        assert_refused(&ways(&backend), &old, compromised, &format!("{suite} cold"));
    }
}

/// SPEC G-REMOVE: what may not be used is nothing that a message can be left with.
#[test]
fn refused_version_lets_no_other_name_be_removed() {
    type Change = fn(&Scripted);
    let changes: [(&str, Change); 4] = [
        ("enabled", |_| ()),
        ("disabled", |backend| drop(backend.ring.disable(version(1)).unwrap())),
        ("compromised", |backend| backend.set(|script| script.compromised = Some(1))),
        ("down", |backend| backend.set(|script| script.down = true)),
    ];
    for (change_name, change) in changes {
        let backend = backend();
        let old = Envelope::new(&backend.ring).encrypt(PLAINTEXT, ROW).unwrap();
        let old = with_foreign_slot(&old).unwrap();
        backend.ring.rotate().unwrap();
        change(&backend);
        for (way, keyring) in ways(&backend) {
            let envelope = Envelope::new(&*keyring);
            let mut copy = old.clone();
            let in_place = envelope.remove_name_in_place(&mut copy, "others");
            let removed = envelope.remove_name(&old, "others");
            assert_eq!(removed.is_ok(), in_place.is_ok());
            match (change_name, removed) {
                ("enabled", Ok(removed)) => {
                    assert!(copy.starts_with(removed.header()));
                    assert_eq!(envelope.decrypt(&copy, ROW).unwrap(), PLAINTEXT, "{way}");
                }
                ("disabled" | "compromised", Err(Error::LastSlot { key, .. })) => {
                    assert!(key == "others" && copy == old, "{way}");
                }
                ("down", Err(Error::Backend(_))) => assert_eq!(copy, old, "{way}"),
                (_, answer) => panic!("{change_name} {way}: {answer:?}"),
            }
        }
    }
}

/// SPEC O-NOFALLBACK.
#[test]
fn unknown_version_is_replaced_at_no_entry_point() {
    for &suite in Suite::ALL {
        let backend = backend();
        let ways = ways(&backend);
        let envelope = Envelope::new(&backend.ring).with_suite(suite);
        let mut message = envelope.encrypt(PLAINTEXT, ROW).unwrap();
        assert_opens(&ways, &message, "known");
        // The label says version 9 of the very same key material.
        message[28] = 9;
        assert_refused(&ways, &message, (9, Refusal::UnknownVersion), &format!("{suite}"));
        let error = Envelope::new(&*ways[0].1).decrypt(&message, ROW).unwrap_err();
        assert!(error.is_retryable());
    }
}

/// SPEC W-ONE: the algorithm of a version never changes, and no cache returns a key for another.
#[test]
fn slot_of_another_algorithm_opens_at_no_entry_point() {
    for &suite in Suite::ALL {
        let backend = backend();
        let ways = ways(&backend);
        let envelope = Envelope::new(&backend.ring).with_suite(suite);
        let message = envelope.encrypt(PLAINTEXT, ROW).unwrap();
        assert_opens(&ways, &message, "its own algorithm");
        for algorithm in [4, 127, 128, 255] {
            let mut message = message.clone();
            message[37] = algorithm;
            for (way, keyring) in &ways {
                for (name, read) in readers() {
                    let error = read(&Envelope::new(&**keyring), &message).unwrap_err();
                    assert!(matches!(error, Error::NoKey { .. }), "{way} {name}: {error:?}");
                }
            }
        }
    }
}

/// What encrypts goes on with no batch whose version has been rotated away, disabled or marked.
#[test]
fn former_primary_wraps_nothing_at_any_entry_point() {
    type Change = fn(&Scripted);
    let changes: [(&str, Change); 3] = [
        ("rotated", |_| ()),
        ("disabled", |backend| drop(backend.ring.disable(version(1)).unwrap())),
        ("compromised", |backend| {
            backend.set(|script| (script.compromised, script.strict) = (Some(1), true));
        }),
    ];
    for &suite in Suite::ALL {
        for (change_name, change) in changes {
            for (at, (writer, write)) in writers().into_iter().enumerate() {
                let backend = backend();
                let ways = ways(&backend);
                let before: Vec<_> = ways
                    .iter()
                    .map(|(_, keyring)| {
                        let envelope = Envelope::new(&**keyring).with_suite(suite);
                        // Some other writer begins the batch.
                        writers()[(at + 1) % 6].1(&envelope).unwrap();
                        write(&envelope).unwrap()
                    })
                    .collect();
                backend.ring.rotate().unwrap();
                change(&backend);
                for ((way, keyring), before) in ways.iter().zip(before) {
                    let after = write(&Envelope::new(&**keyring).with_suite(suite)).unwrap();
                    let case = format!("{suite} {change_name} {writer} {way}");
                    let id = |message: &[u8]| inspect(message).unwrap().data_key_id();
                    for slot in inspect(&after).unwrap().slots() {
                        let own = backend.ring.versions();
                        let own =
                            own.iter().any(|own| own.master_key_id == slot.label.master_key_id);
                        assert!(!own || slot.label.version == version(2), "{case}");
                        // Keyrings that wrap under other keys may continue.
                        assert!(!own || id(&before) != id(&after), "{case}");
                    }
                }
            }
        }
    }
}

#[test]
fn pending_version_opens_and_wraps_nothing() {
    for &suite in Suite::ALL {
        let backend = backend();
        let keyring = &backend.ring;
        let envelope = Envelope::new(keyring as &dyn Keyring).with_suite(suite);
        let pending = keyring.add_version().unwrap();
        let ways = ways(&backend);
        for (name, write) in writers() {
            let message = write(&envelope).unwrap();
            let header = inspect(&message).unwrap();
            let label = header.slots().next().unwrap().label;
            assert_eq!((header.suite(), label.version), (suite, KeyVersion::FIRST), "{name}");
            assert_opens(&ways, &message, name);
        }
        // After a rollback it is enabled, and its messages open as if it were pending.
        keyring.promote(pending).unwrap();
        let ahead = envelope.encrypt(PLAINTEXT, ROW).unwrap();
        keyring.promote(KeyVersion::FIRST).unwrap();
        assert_opens(&ways, &ahead, "ahead");
    }
}

/// The suite is in the message: an envelope that writes another reads it all the same.
#[test]
fn suite_of_writer_decides_and_no_reader_changes_it() {
    let backend = backend();
    for (way, keyring) in &ways(&backend) {
        for &written in Suite::ALL {
            let writer = Envelope::new(&backend.ring).with_suite(written);
            let message = writer.encrypt(PLAINTEXT, ROW).unwrap();
            for &other in Suite::ALL {
                let envelope = Envelope::new(&**keyring).with_suite(other);
                for (name, read) in readers() {
                    let opened = read(&envelope, &message).unwrap();
                    assert_eq!(opened, PLAINTEXT, "{written} {way} {name}");
                }
                let mut changed = message.clone();
                changed[5] = other.id();
                for (name, read) in readers().into_iter().filter(|_| other != written) {
                    let answer = read(&envelope, &changed);
                    assert!(answer.is_err(), "{written} as {other}: {way} {name}");
                }
            }
        }
    }
}

/// THREATS row 4: a new operation needs new cells.
#[test]
fn every_operation_has_its_row() {
    let sources = [
        include_str!("../../src/envelope/encrypt.rs"),
        include_str!("../../src/envelope/decrypt.rs"),
        include_str!("../../src/envelope/examine.rs"),
        include_str!("../../src/envelope/rewrap/mod.rs"),
        include_str!("../../src/envelope/rewrap/grant.rs"),
        include_str!("../../src/envelope/stream.rs"),
        include_str!("../../src/envelope/io.rs"),
        include_str!("../../src/envelope/opened.rs"),
    ]
    .concat();
    let blocks = sources.split("\nimpl").filter(|block| {
        block.lines().next().is_some_and(|line| line.ends_with("Envelope<K, R> {"))
    });
    let sources = blocks.map(|block| block.split("\n}\n").next().unwrap()).collect::<String>();
    let written = writers().map(|(name, _)| name);
    let read = readers().map(|(name, _)| name);
    let mut operations = 0;
    for (at, _) in sources.match_indices("    pub fn ") {
        let operation = sources[at..].trim_start_matches("    pub fn ");
        let operation = operation.split(['(', '<']).next().unwrap();
        let is_removal = operation == "remove_name";
        let is_length = operation == "plaintext_range";
        let has_row =
            written.contains(&operation) || read.contains(&operation) || is_removal || is_length;
        assert!(has_row, "{operation}");
        operations += 1;
    }
    assert_eq!(operations, 21);
}

/// An opened key calls no keyring, whatever becomes of the version: `freshness` of its label reports it.
#[test]
fn opened_key_asks_no_keyring_and_outlives_a_disable() {
    for suite in Suite::ALL {
        let backend = backend();
        let envelope = Envelope::new(&backend).with_suite(*suite);
        let message = envelope.encrypt(PLAINTEXT, ROW).unwrap();
        backend.ring.rotate().unwrap();
        backend.calls();
        let key = envelope.open(&message).unwrap();
        assert_eq!(backend.calls(), (0, 1));
        backend.ring.disable(KeyVersion::FIRST).unwrap();
        backend.set(|script| script.down = true);
        assert!(matches!(envelope.open(&message), Err(Error::Backend(_))));
        backend.calls();
        let body = key.body(&message).unwrap();
        assert_eq!(key.decrypt(body, ROW).unwrap(), PLAINTEXT);
        assert_eq!(read_all(key.decrypt_reader(body, ROW).unwrap()).unwrap(), PLAINTEXT);
        assert_eq!(backend.calls(), (0, 0));
        backend.set(|script| script.down = false);
        let disabled = Freshness::Refused(Refusal::Disabled);
        assert_eq!(envelope.keyring().freshness(&key.label()).unwrap(), disabled);
        assert_eq!(refused(&envelope.open(&message).unwrap_err()), Some((1, Refusal::Disabled)));
    }
}

#[test]
fn opened_key_prints_its_label_and_no_secret() {
    let envelope = Envelope::new(MemoryKeyring::create("orders").unwrap());
    let message = envelope.encrypt(PLAINTEXT, ROW).unwrap();
    let key = envelope.open(&message).unwrap();
    let id = inspect(&message).unwrap().data_key_id();
    let label = inspect(&message).unwrap().slots().next().unwrap().label;
    let printed = format!("OpenedKey {{ data_key_id: {id:?}, label: {label:?}, .. }}");
    assert_eq!(format!("{key:?}"), printed);
}

/// The names of public methods in `source`.
fn methods(source: &str) -> impl Iterator<Item = &str> {
    let lines = source.lines().filter_map(|line| line.strip_prefix("    pub "));
    let declared = lines.filter_map(|line| {
        let line = line.strip_prefix("const ").unwrap_or(line);
        line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")
    });
    declared.map(|line| line.split(['(', '<']).next().unwrap())
}

#[test]
fn opened_key_reads_by_the_names_of_an_envelope() {
    let (_, opened) =
        include_str!("../../src/envelope/opened.rs").split_once("impl OpenedKey {").unwrap();
    let ours = [opened, include_str!("../../src/envelope/opened_io.rs")].concat();
    let theirs =
        [include_str!("../../src/envelope/decrypt.rs"), include_str!("../../src/envelope/io.rs")]
            .concat();
    let is_read = |name: &&str| name.starts_with("decrypt") || name.starts_with("range_reader");
    let sorted = |source| {
        let mut found: Vec<_> = methods(source).filter(is_read).collect();
        found.sort_unstable();
        found
    };
    assert_eq!(sorted(&ours), sorted(&theirs));
    assert_eq!(sorted(&ours).len(), 6);
}

/// All text of the `.rs` files below `folder`.
fn sources(folder: &std::path::Path) -> String {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let text = entries.map(|path| match path.extension() {
        _ if path.is_dir() => sources(&path),
        Some(end) if end == "rs" => std::fs::read_to_string(path).unwrap(),
        _ => String::new(),
    });
    text.collect::<Vec<_>>().join("\n")
}

#[test]
fn envelope_has_fewer_than_35_methods_and_one_room() {
    let count = |folder: &str| {
        let text =
            sources(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(folder));
        let blocks = text.split("\nimpl").filter(|block| {
            let line = block.lines().next().unwrap();
            line.contains("> Envelope<K") && line.ends_with('{') && !line.contains(" for ")
        });
        blocks.map(|block| methods(block.split("\n}\n").next().unwrap()).count()).sum::<usize>()
    };
    let methods = count("src/envelope");
    assert!((20..35).contains(&methods), "{methods} methods");
    assert_eq!(methods, count("src"), "a method stands in another room");
}
