//! Errors can be logged, matched, retried and sent: one style of text, sources not repeated, no
//! text of an attacker's but names of the key alphabet.

#[cfg(feature = "pkcs11")]
mod tokens;

use envelock::conformance::{Fault, FaultyKeyring, Method};
use envelock::test_access::errors;
use envelock::{file::*, format::*, keyring::*, keyset::*, *};
use std::collections::BTreeSet;
use std::error::Error as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

fn version(number: u32) -> KeyVersion {
    KeyVersion::new(number).unwrap()
}

fn slot_faults() -> Vec<SlotFault> {
    let (name, version, algorithm) = ("orders".to_owned(), version(2), WrapAlgorithm::XAES_256_GCM);
    vec![
        SlotFault::TooMany,
        SlotFault::Duplicate { name: name.clone(), version },
        SlotFault::WrappedKeyLength { algorithm, len: 3 },
        SlotFault::OtherName { name },
        SlotFault::Room { needed: 9, available: 8 },
        SlotFault::Unproven,
        SlotFault::None,
    ]
}

fn header_faults() -> [HeaderFault; 12] {
    [
        HeaderFault::UnknownFormat(2),
        HeaderFault::UnknownSuite(9),
        HeaderFault::HeaderLength(3),
        HeaderFault::SlotCount(17),
        HeaderFault::ZeroVersion,
        HeaderFault::ZeroAlgorithm,
        HeaderFault::AlgorithmRoom(1),
        HeaderFault::KeyNameLength(0),
        HeaderFault::WrappedKeyLength(1),
        HeaderFault::KeyNameByte(b'\n'),
        HeaderFault::DuplicateSlot,
        HeaderFault::Padding,
    ]
}

const REFUSALS: [Refusal; 6] = [
    Refusal::UnknownVersion,
    Refusal::Disabled,
    Refusal::Compromised,
    Refusal::DestroyScheduled,
    Refusal::Destroyed,
    Refusal::Excluded,
];

const GUESSES: [LooksLike; 7] = [
    LooksLike::Empty,
    LooksLike::Zeros,
    LooksLike::Base64,
    LooksLike::Hex,
    LooksLike::TextConversion,
    LooksLike::LeadingText,
    LooksLike::Unknown,
];

/// The error of an encryption whose keyring returns this.
fn reported(answer: KeyringError) -> Error {
    let keyring = FaultyKeyring::new(MemoryKeyring::create("orders").unwrap());
    keyring.always(Method::Wrap, Fault::Error(answer));
    Envelope::new(keyring).encrypt(b"row", Aad::none()).unwrap_err()
}

/// Every variant, each with every reason there is in it; and whether a retry may help.
fn guarded(guard: Guard) -> Error {
    let operation = envelock::keyset::Operation::Destroy;
    Error::Lifecycle(LifecycleError::Guarded {
        key: "orders".into(),
        version: version(2),
        operation,
        guard,
    })
}

fn every_error() -> Vec<(Error, bool)> {
    let key = || "orders".to_owned();
    let version = version(2);
    let refused = || std::io::Error::other("connection refused");
    let name = KeyName::new("a b").unwrap_err();
    let mut errors = vec![
        (errors::truncated(MessagePart::Header, 3, 43), false),
        (errors::truncated(MessagePart::Body, 3, 72), false),
        (errors::detached_header_length(121, 122), false),
        (errors::missing_slot(key()), false),
        (errors::last_slot(key()), false),
        (errors::no_key(key(), version, 1), false),
        (reported(KeyringError::unavailable(refused())), true),
        (reported(KeyringError::broken(std::io::Error::other("device removed"))), false),
        (reported(KeyringError::throttled(None, refused())), true),
        (reported(KeyringError::throttled(Some(Duration::from_millis(1500)), refused())), true),
        (reported(KeyringError::denied(refused())), false),
        (Error::NoPrimary, false),
        (Error::Forked, false),
        (Error::Randomness(RandomnessUnavailable::new()), true),
        (errors::header_room(122, 121), false),
        (errors::buffer_length(1, 2), false),
        (Error::MessageTooLong, false),
        (errors::key_length(16, 32), false),
        (errors::chunk(1 << 38, 0), false),
        (errors::old_version_still_opens(key(), version), false),
        (Error::Lifecycle(LifecycleError::KeyName(name)), false),
        (Error::Lifecycle(LifecycleError::KeyMaterial), false),
        (Error::Lifecycle(LifecycleError::UnknownVersion { key: key(), version }), false),
        (Error::Lifecycle(LifecycleError::VersionNumber { key: key(), last: version }), false),
        (errors::aad_encoding(16), false),
        (guarded(Guard::OnHold { since: Timestamp::UNIX_EPOCH, reason: "case 7".into() }), false),
        (guarded(Guard::EvidenceRequired), false),
        (
            guarded(Guard::Clock {
                newest: Timestamp::from_unix_seconds(1 << 32),
                now: Timestamp::UNIX_EPOCH,
            }),
            false,
        ),
        (errors::too_many_members(16), false),
    ];
    let mut add = |error, retryable| errors.push((error, retryable));
    for looks_like in GUESSES {
        add(errors::not_envelock(looks_like), false);
    }
    for fault in header_faults() {
        add(errors::header(41, fault), false);
    }
    for refusal in REFUSALS {
        let retryable = refusal == Refusal::UnknownVersion;
        assert_eq!(refusal.is_retryable(), retryable);
        add(errors::refused(key(), version, refusal), retryable);
    }
    for part in [
        Unverified::WrappedKey,
        Unverified::AadOrBodyStart,
        Unverified::Chunk { index: 7 },
        Unverified::End { index: 7, len: 5000 },
    ] {
        add(errors::authentication(part), false);
    }
    for fault in slot_faults() {
        add(Error::Slot(fault), false);
    }
    for state in [
        VersionState::Pending,
        VersionState::Primary,
        VersionState::Enabled,
        VersionState::Disabled,
    ] {
        for operation in [Operation::Promote, Operation::Enable, Operation::Disable] {
            add(
                Error::Lifecycle(LifecycleError::VersionState {
                    key: key(),
                    version,
                    state,
                    operation,
                }),
                false,
            );
        }
    }
    for fault in [AadFault::EmptyName, AadFault::Duplicate, AadFault::TooLong] {
        add(errors::aad_pair("tenant".into(), fault), false);
    }
    errors
}

fn check_text(text: &str) {
    assert!(!text.ends_with(['.', ' ', '\n']), "{text}");
    assert!(!text.starts_with(|first: char| !first.is_ascii_lowercase()), "{text}");
    assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
}

#[test]
fn every_text_is_lower_case_without_full_stop() {
    let mut texts = BTreeSet::new();
    for (error, _) in every_error() {
        check_text(&error.to_string());
        let chain = error.source().map(ToString::to_string).unwrap_or_default();
        assert!(texts.insert(format!("{error}: {chain}")), "two errors say {error}");
    }
    for fault in slot_faults() {
        check_text(&fault.to_string());
        check_text(&KeyringError::from(fault).to_string());
    }
    for refusal in REFUSALS {
        check_text(&KeyringError::Refused(refusal).to_string());
    }
}

#[test]
fn no_text_repeats_its_source() {
    for (error, _) in every_error() {
        check_chain(&error);
    }
    for (cause, _) in key_file_errors() {
        check_chain(&Error::from(cause));
    }
}

fn check_chain(error: &dyn std::error::Error) {
    if let Some(source) = error.source() {
        assert!(!error.to_string().contains(&source.to_string()), "{error}");
        check_chain(source);
    }
}

/// An error of a service, which has a source of its own.
#[derive(Clone, Debug)]
struct ServiceError(Arc<io::Error>);

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no answer from https://keys.example")
    }
}

impl std::error::Error for ServiceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}

fn service_error() -> ServiceError {
    ServiceError(Arc::new(io::Error::other("connection refused")))
}

/// The text of a back end's failure has the cause, and the chain has each text once.
#[test]
fn failure_of_a_back_end_has_its_cause_once() {
    let wait = Some(Duration::from_millis(1500));
    let cause = "no answer from https://keys.example";
    for (answer, text, retryable, retry_after) in [
        (KeyringError::unavailable(service_error()), "keyring is unavailable", true, None),
        (KeyringError::broken(service_error()), "keyring is unavailable", false, None),
        (KeyringError::throttled(None, service_error()), "keyring is throttled", true, None),
        (
            KeyringError::throttled(wait, service_error()),
            "keyring is throttled, retry after 1.5s",
            true,
            wait,
        ),
        (KeyringError::denied(service_error()), "keyring denies the use of its key", false, None),
    ] {
        let error = reported(answer.clone());
        let KeyringError::Backend(answered) = &answer else { panic!("{answer:?}") };
        for failure in [&answer as &dyn std::error::Error, answered, &error] {
            assert_eq!(failure.to_string(), format!("{text}: {cause}"));
            let source = failure.source().expect("the source of the cause");
            assert_eq!(source.to_string(), "connection refused");
            assert!(source.source().is_none());
        }
        assert_eq!((error.is_retryable(), error.retry_after()), (retryable, retry_after));
        assert_eq!((answered.is_retryable(), answered.retry_after()), (retryable, retry_after));
        assert_eq!(answered.cause().to_string(), cause);
        assert!(error.backend::<ServiceError>().is_some());
        assert!(error.backend::<KeyFileError>().is_none());
    }
}

#[test]
fn only_transient_errors_are_retryable() {
    for (error, retryable) in every_error() {
        assert_eq!(error.is_retryable(), retryable, "{error}");
    }
}

#[test]
fn errors_can_be_cloned_and_sent_between_threads() {
    fn is_shareable<T: std::error::Error + Send + Sync + Clone + 'static>() {}
    is_shareable::<Error>();
    is_shareable::<KeyringError>();
    is_shareable::<SlotFault>();
    is_shareable::<HeaderFault>();
    is_shareable::<InvalidKeyName>();
    is_shareable::<RandomnessUnavailable>();
    for (error, _) in every_error() {
        assert_eq!(error.clone().to_string(), error.to_string());
        let boxed: Box<dyn std::error::Error + Send + Sync> = error.into();
        assert!(boxed.downcast_ref::<Error>().is_some());
    }
}

#[test]
fn message_of_another_key_names_key_and_version() {
    let message = {
        let keyring = MemoryKeyring::create("orders").unwrap();
        Envelope::new(&keyring).encrypt(b"", Aad::none()).unwrap()
    };
    let other = MemoryKeyring::create("invoices").unwrap();
    let error = Envelope::new(&other).decrypt(&message, Aad::none()).unwrap_err();
    let expected = "no key for this message: the first of 1 slots is of key orders version 1";
    assert_eq!(error.to_string(), expected);
}

/// SPEC H-NAME; THREATS rows 39 and 72: a byte out of the alphabet never gets into a name that
/// an error could repeat, so no error forges a line of a log.
#[test]
fn names_bring_no_control_characters_into_logs() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let message = Envelope::new(&keyring).encrypt(b"", Aad::none()).unwrap();
    let other = MemoryKeyring::create("invoices").unwrap();
    let mut refused = 0;
    for index in 0..6 {
        for byte in 0..=255_u8 {
            let mut changed = message.clone();
            changed[41 + index] = byte;
            let error = Envelope::new(&other).decrypt(&changed, Aad::none()).unwrap_err();
            check_text(&error.to_string());
            let first = byte.is_ascii_alphanumeric();
            let allowed = first || (index > 0 && b"._:/@+=-".contains(&byte));
            match error {
                Error::NoKey { key, .. } => {
                    assert!(allowed);
                    assert_eq!(key.as_bytes()[index], byte);
                }
                Error::Header { offset, fault, .. } => {
                    assert!(!allowed);
                    let expected = (41 + index, HeaderFault::KeyNameByte(byte));
                    assert_eq!((offset, fault), expected);
                    refused += 1;
                }
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(refused, 6 * 256 - 62 - 5 * 70);
    for name in ["", "a\nb", "a\u{1b}[31m", "../x", "/etc/x", "a\0b", "ü", "a b", &"a".repeat(65)]
    {
        let error = MemoryKeyring::create(name).unwrap_err();
        assert!(matches!(error, Error::Lifecycle(LifecycleError::KeyName(_))), "{name:?}");
        check_text(&error.to_string());
    }
    // Text from the caller is escaped.
    let error = AadPairs::new().with("a\nb", b"").unwrap().with("a\nb", b"").unwrap_err();
    check_text(&error.to_string());
}

/// The errors of a changed message: in memory, and by a reader.
fn refused(envelope: &Envelope<&MemoryKeyring>, message: &[u8], aad: &[u8]) -> Unverified {
    let aad = Aad::new(aad);
    let in_memory = envelope.decrypt(message, aad).unwrap_err();
    let mut in_place = message.to_vec();
    let in_place = envelope.decrypt_in_place(&mut in_place, aad).unwrap_err();
    let read = envelope.decrypt_reader(message, aad).and_then(|reader| reader.finish());
    match (in_memory, in_place, read.unwrap_err()) {
        (
            Error::Authentication { part, .. },
            Error::Authentication { part: second, .. },
            Error::Authentication { part: third, .. },
        ) if part == second && part == third => part,
        other => panic!("{other:?}"),
    }
}

/// SPEC B-WHAT.
#[test]
fn authentication_error_names_the_part() {
    const CHUNK: usize = 16_384;
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring);
    let message = envelope.encrypt(&vec![7; 2 * CHUNK + 1000], Aad::new(b"a")).unwrap();
    let body = envelope.header_len().unwrap();
    let chunk = |index: usize| body + 56 + index * (CHUNK + 16);
    let changed = |at: usize| {
        let mut message = message.clone();
        message[at] ^= 1;
        refused(&envelope, &message, b"a")
    };
    assert_eq!(refused(&envelope, &message, b"b"), Unverified::AadOrBodyStart);
    assert_eq!(changed(body - 1), Unverified::WrappedKey);
    for at in [body, body + 23, body + 24, body + 55] {
        assert_eq!(changed(at), Unverified::AadOrBodyStart);
    }
    for index in 0..2 {
        for at in [chunk(index), chunk(index + 1) - 1] {
            assert_eq!(changed(at), Unverified::Chunk { index: index as u64 });
        }
    }
    let end = |len| Unverified::End { index: 2, len };
    for at in [chunk(2), message.len() - 1] {
        assert_eq!(changed(at), end(1016));
    }
    // Cut off or continued within a chunk.
    for len in [16, 17, 1015, 1017, 5000, CHUNK + 15] {
        let mut message = message.clone();
        message.resize(chunk(2) + len, 0);
        assert_eq!(refused(&envelope, &message, b"a"), end(len));
    }
}

#[test]
fn cut_is_unexpected_eof_only_where_it_is_surely_cut() {
    const CHUNK: usize = 16_384;
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring);
    let message = envelope.encrypt(&vec![7; 2 * CHUNK + 1000], Aad::none()).unwrap();
    let body = envelope.header_len().unwrap();
    let mut sure = 0;
    for len in (body + 56..message.len()).filter(|len| len % 64 == 0 || (len - body) % 16_400 < 80)
    {
        let mut reader = envelope.decrypt_reader(&message[..len], Aad::none()).unwrap();
        let error = std::io::copy(&mut reader, &mut std::io::sink()).unwrap_err();
        let is_surely_cut = (len - body - 56) % 16_400 < 16;
        let kind = if is_surely_cut {
            std::io::ErrorKind::UnexpectedEof
        } else {
            std::io::ErrorKind::InvalidData
        };
        sure += usize::from(is_surely_cut);
        assert_eq!(error.kind(), kind, "cut at {len}");
        let error = Error::from(error);
        assert!(
            matches!(error, Error::Truncated { .. }) == is_surely_cut
                && (is_surely_cut
                    || matches!(error, Error::Authentication { part: Unverified::End { .. }, .. })),
            "cut at {len}: {error}"
        );
    }
    assert!(sure >= 32);
}

fn io(kind: io::ErrorKind) -> Arc<io::Error> {
    Arc::new(kind.into())
}

/// Every error of a key file that a test can make, and whether a retry can help.
fn key_file_errors() -> Vec<(KeyFileError, bool)> {
    use io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem, StorageFull, TimedOut};
    let path = || PathBuf::from("/keys");
    let key = || "orders".to_owned();
    let failed =
        |action, kind| KeyFileError::File(FileError::Io { action, path: path(), source: io(kind) });
    let content = |fault| KeyFileError::Content { path: path(), fault };
    let outer = |answer| content(KeyFileFault::OuterKeyring(Box::new(reported(answer))));
    let waited = Duration::from_secs(1);
    vec![
        (failed(FileAction::Open, PermissionDenied), false),
        (failed(FileAction::Write, ReadOnlyFilesystem), false),
        (failed(FileAction::Write, StorageFull), true),
        (failed(FileAction::Read, TimedOut), true),
        (failed(FileAction::SyncDirectory, StorageFull), false),
        (KeyFileError::File(FileError::Name { path: path() }), false),
        (KeyFileError::File(FileError::NotFound { path: path() }), false),
        (KeyFileError::File(FileError::Exists { path: path() }), false),
        (KeyFileError::File(FileError::NotRegular { path: path(), kind: FileKind::Fifo }), false),
        (KeyFileError::Owner { path: path(), owner: 1, user: 2 }, false),
        (KeyFileError::Permissions { path: path(), mode: 0o644 }, false),
        (KeyFileError::Umask { path: path(), mode: 0 }, false),
        (KeyFileError::MountedAlone { path: path() }, false),
        (KeyFileError::TooLarge { path: path(), len: 2, most: 1 }, false),
        (KeyFileError::File(FileError::Changed { path: path() }), true),
        (KeyFileError::File(FileError::Locked { path: path(), waited }), true),
        (KeyFileError::File(FileError::NoLocks { path: path(), source: io(NotFound) }), false),
        (KeyFileError::File(FileError::UnstableIdentity { path: path() }), false),
        (
            KeyFileError::File(FileError::NotDurable { path: path(), source: io(StorageFull) }),
            false,
        ),
        (KeyFileError::Poisoned { path: path() }, false),
        (content(KeyFileFault::Authentication), false),
        (content(KeyFileFault::FileKeyReplaced), false),
        (content(KeyFileFault::Randomness(RandomnessUnavailable::new())), true),
        (outer(KeyringError::unavailable(io::Error::other("down"))), true),
        (outer(KeyringError::broken(io::Error::other("gone"))), false),
        (outer(KeyringError::denied(io::Error::other("forbidden"))), false),
        (KeyFileError::RolledBack { path: path(), found: 1, known: 2 }, false),
        (KeyFileError::Diverged { path: path(), key: key(), version: version(1) }, false),
        (KeyFileError::ReadOnly { path: path() }, false),
        (KeyFileError::File(FileError::Randomness(RandomnessUnavailable::new())), true),
    ]
}

/// The same cause comes out of a rotation as itself, and out of an encryption behind a keyring.
fn check_both_ways<E>(errors: Vec<(E, bool)>)
where
    E: std::error::Error + Clone + Into<Error> + Into<KeyringError> + 'static,
{
    for (cause, retryable) in errors {
        let of_change: Error = cause.clone().into();
        let answer: KeyringError = cause.clone().into();
        assert_eq!(of_change.is_retryable(), retryable, "{cause}");
        assert_eq!(answer.is_retryable(), retryable, "{cause}");
        let of_wrap = reported(answer);
        for error in [of_change, of_wrap] {
            assert_eq!(error.is_retryable(), retryable, "{cause}");
            assert!(error.backend::<E>().is_some(), "{error:?}");
            // It says what its cause says, and its source is the cause's.
            assert_eq!(error.to_string(), cause.to_string());
            let texts = [&error as &dyn std::error::Error, &cause];
            let [one, other] = texts.map(|error| error.source().map(ToString::to_string));
            assert_eq!(one, other);
            check_chain(&error);
        }
    }
}

#[test]
fn cause_is_retryable_alike_from_change_and_wrap() {
    check_both_ways(key_file_errors());
}

/// The text that a log has of `{error}` alone.
#[test]
fn error_of_a_file_says_path_and_action() {
    let path = || PathBuf::from("/keys");
    let (action, source) = (FileAction::Open, io(io::ErrorKind::PermissionDenied));
    let error = Error::from(KeyFileError::File(FileError::Io {
        action,
        path: path(),
        source: source.clone(),
    }));
    assert_eq!(error.to_string(), "cannot open \"/keys\"");
    assert_eq!(error.source().unwrap().to_string(), "permission denied");
    let error = Error::from(MessageFileError::File(FileError::NotFound { path: path() }));
    assert_eq!(error.to_string(), "there is no file \"/keys\"");
    let error = reported(KeyringError::from(SlotFault::TooMany));
    let expected = format!("keyring offered a slot that cannot be used: {}", SlotFault::TooMany);
    assert_eq!((error.to_string(), error.source().is_none()), (expected, true));
}

#[test]
fn error_of_a_file_keeps_its_kind_as_an_io_error() {
    use io::ErrorKind::{Interrupted, NotFound, Other, PermissionDenied, TimedOut, UnexpectedEof};
    let path = || PathBuf::from("/keys");
    let failed = |kind| {
        KeyFileError::File(FileError::Io {
            action: FileAction::Open,
            path: path(),
            source: io(kind),
        })
    };
    // A cause that concerns the message, or asks for another call, stays with the message.
    for (cause, kind) in [
        (KeyFileError::File(FileError::NotFound { path: path() }), NotFound),
        (KeyFileError::Permissions { path: path(), mode: 0o644 }, PermissionDenied),
        (failed(PermissionDenied), PermissionDenied),
        (failed(Interrupted), Other),
        (failed(TimedOut), Other),
        (failed(UnexpectedEof), Other),
        (KeyFileError::Poisoned { path: path() }, Other),
    ] {
        assert_eq!(io::Error::from(Error::from(cause.clone())).kind(), kind, "{cause}");
        let of_wrap = reported(KeyringError::from(cause.clone()));
        assert_eq!(io::Error::from(of_wrap).kind(), kind, "{cause}");
    }
    let missing = Error::from(MessageFileError::File(FileError::NotFound { path: path() }));
    assert_eq!(io::Error::from(missing).kind(), NotFound);
    let denied = reported(KeyringError::denied(io::Error::other("forbidden")));
    assert_eq!(io::Error::from(denied).kind(), PermissionDenied);
}

/// A generator that fails after some calls.
struct Failing<E>(usize, fn() -> E);

impl<E: std::error::Error> Failing<E> {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), E> {
        self.0 = self.0.checked_sub(1).ok_or_else(self.1)?;
        out.fill(0x5A);
        Ok(())
    }
}

impl<E: std::error::Error> rand_core::TryRng for Failing<E> {
    type Error = E;

    fn try_next_u32(&mut self) -> Result<u32, E> {
        self.fill(&mut []).map(|()| 7)
    }

    fn try_next_u64(&mut self) -> Result<u64, E> {
        self.fill(&mut []).map(|()| 7)
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), E> {
        self.fill(out)
    }
}

impl<E: std::error::Error> rand_core::TryCryptoRng for Failing<E> {}

#[test]
fn number_of_the_systems_error_is_kept() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    // Two slots, so that the wrap asks for more than was drawn ahead.
    let both = MultiKeyring::new(keyring).with(MemoryKeyring::create("backup").unwrap()).unwrap();
    let envelope = Envelope::new(&both);
    for calls in 0..2 {
        let mut rng = Failing(calls, || RandomnessUnavailable::from_raw_os_error(38));
        let error = envelope.with_rng(&mut rng).encrypt(b"row", Aad::none()).unwrap_err();
        let Error::Randomness(cause) = &error else { panic!("{error:?}") };
        assert_eq!(cause.raw_os_error(), Some(38));
        assert_eq!(error.to_string(), "random generator failed");
        assert_eq!(error.source().unwrap().to_string(), "system error 38");
        let mut rng = Failing(calls, || fmt::Error);
        let error = envelope.with_rng(&mut rng).encrypt(b"row", Aad::none()).unwrap_err();
        let Error::Randomness(cause) = &error else { panic!("{error:?}") };
        assert_eq!((cause.raw_os_error(), error.source().is_none()), (None, true));
    }
}
