//! A keyring that misbehaves never gets a wrong key into use and never costs a message: whatever
//! it returns, the core reports exactly why it stops, and the message stays byte for byte.

mod careless;
mod hostile;
mod slots;

use crate::common::detached::{ReadDetached, WriteDetached};
use careless::Careless;
use envelock::conformance::{Fault, FaultyKeyring, Method};
use envelock::rand_core::{TryCryptoRng, TryRng};
use envelock::{
    Aad, DataKey, DataKeyReuse, Envelope, Error, Keyring, MasterKeyId, MemoryKeyring, MultiKeyring,
    RewrapOptions, SlotLabel, Suite,
    format::{SlotFault, WrapAlgorithm},
    inspect,
    keyring::{Freshness, KeyringError, RandomnessUnavailable, Refusal},
};
use hostile::{Hostile, Unwrap, seeded, stale, with_opaque_twin_of_the_primary};

/// Rewraps in both forms, which must fail alike and change nothing (SPEC R-WHOLE).
fn rewrap_error(keyring: &impl Keyring, message: &[u8], options: RewrapOptions) -> Error {
    let envelope = Envelope::new(keyring);
    let error = envelope.with_rng(&mut seeded(2)).rewrap(message, options).unwrap_err();
    let mut copy = message.to_vec();
    let again = envelope.with_rng(&mut seeded(2)).rewrap_in_place(&mut copy, options).unwrap_err();
    assert_eq!(copy, message, "a failed rewrap wrote something: {error:?}");
    assert_eq!(format!("{error:?}"), format!("{again:?}"));
    error
}

/// Decrypts in all six forms, which must fail alike and leave nothing in their outputs.
fn decrypt_error(keyring: &impl Keyring, message: &[u8]) -> Error {
    let envelope = Envelope::new(keyring);
    let aad = Aad::new(b"row");
    let (header, body) = message.split_at(inspect(message).unwrap().len());
    let (mut whole, mut part) = (message.to_vec(), body.to_vec());
    let (mut out, mut out_of_parts) = ([0xA5; 7], [0xA5; 7]);
    let error = envelope.decrypt(message, aad).unwrap_err();
    let others = [
        envelope.decrypt_into(message, aad, &mut out).unwrap_err(),
        envelope.decrypt_in_place(&mut whole, aad).map(|_| ()).unwrap_err(),
        envelope.decrypt_detached(header, body, aad).unwrap_err(),
        envelope.decrypt_detached_into(header, body, aad, &mut out_of_parts).unwrap_err(),
        envelope.decrypt_detached_in_place(header, &mut part, aad).map(|_| ()).unwrap_err(),
    ];
    for other in &others {
        assert_eq!(format!("{error:?}"), format!("{other:?}"));
    }
    assert_eq!((out, out_of_parts), ([0xA5; 7], [0xA5; 7]));
    assert_eq!((&whole[..], &part[..]), (message, body));
    error
}

fn fault(error: &Error) -> &SlotFault {
    match error {
        Error::Slot(fault) => fault,
        other => panic!("{other:?}"),
    }
}

fn unwraps_to(key: Vec<u8>) -> Box<Unwrap> {
    Box::new(move |_, _, _, data_key| {
        assert!(data_key.set(&key));
        Ok(())
    })
}

/// SPEC K-CHECK: a key of any length that does not belong to the message is refused, although the keyring returned `Ok`.
#[test]
fn keyring_that_unwraps_to_another_key_opens_nothing() {
    for &suite in Suite::ALL {
        let (mut keyring, message) = stale(suite);
        for len in [0, 1, 15, 16, 17, 24, 31, 32] {
            for byte in [0, 0x5C] {
                keyring.unwrap = Some(unwraps_to(vec![byte; len]));
                assert!(matches!(decrypt_error(&keyring, &message), Error::Authentication { .. }));
                let error = rewrap_error(&keyring, &message, RewrapOptions::new());
                assert!(matches!(error, Error::Authentication { .. }), "{suite} {len}: {error:?}");
            }
        }
        keyring.unwrap = Some(Box::new(|_, _, _, data_key| {
            assert!(!data_key.set(&[1; 33]) && data_key.is_empty());
            Ok(())
        }));
        assert!(matches!(decrypt_error(&keyring, &message), Error::Authentication { .. }));
    }
}

/// HMAC pads short keys with zeroes, so these keys have the right check; the length decides.
/// SPEC K-CHECK.
#[test]
fn key_of_another_length_with_same_check_is_refused() {
    struct Zeroes;
    impl TryRng for Zeroes {
        type Error = std::convert::Infallible;
        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            Ok(0)
        }
        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            Ok(0)
        }
        fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
            out.fill(0);
            Ok(())
        }
    }
    impl TryCryptoRng for Zeroes {}

    for &suite in Suite::ALL {
        let mut keyring = stale(suite).0;
        let envelope = Envelope::new(&keyring.honest).with_suite(suite);
        // The data key itself is all zero.
        let message = envelope.with_rng(&mut Zeroes).encrypt(b"payload", Aad::new(b"row")).unwrap();
        assert_eq!(envelope.decrypt(&message, Aad::new(b"row")).unwrap(), b"payload");
        for len in (0..=32).filter(|len| *len != suite.data_key_len()) {
            keyring.unwrap = Some(unwraps_to(vec![0; len]));
            assert!(
                matches!(decrypt_error(&keyring, &message), Error::Authentication { .. }),
                "{len}"
            );
        }
    }
}

fn careless_message(keyring: &Careless, seed: u64) -> Vec<u8> {
    let envelope = Envelope::new(keyring);
    envelope.with_rng(&mut seeded(seed)).encrypt(b"payload", Aad::new(b"row")).unwrap()
}

/// SPEC K-CHECK: what the keyring does not bind, the check does.
#[test]
fn wrap_opening_under_two_keys_opens_under_one() {
    let first = Careless { masks: vec![[1; 32]], name: "orders", blind: false };
    let other = Careless { masks: vec![[2; 32]], name: "orders", blind: false };
    let message = careless_message(&first, 3);
    assert_eq!(Envelope::new(&first).decrypt(&message, Aad::new(b"row")).unwrap(), b"payload");
    // The blob unwraps under both, to two data keys.
    assert!(matches!(decrypt_error(&other, &message), Error::Authentication { .. }));
    let rotated = Careless { masks: vec![[2; 32], [3; 32]], name: "orders", blind: false };
    let error = rewrap_error(&rotated, &message, RewrapOptions::new());
    assert!(matches!(error, Error::Authentication { .. }));
}

/// SPEC K-CHECK: the core's check is the second lock behind the wrap AAD.
#[test]
fn keyring_ignoring_the_wrap_aad_opens_no_moved_slot() {
    let keyring = Careless { masks: vec![[1; 32], [2; 32]], name: "orders", blind: false };
    let (one, two) = (careless_message(&keyring, 4), careless_message(&keyring, 5));
    let header_len = inspect(&one).unwrap().len();
    let wrapped = header_len - 32..header_len;

    let mut moved = one.clone();
    moved[wrapped.clone()].copy_from_slice(&two[wrapped]);
    assert!(matches!(decrypt_error(&keyring, &moved), Error::Authentication { .. }));

    let mut relabelled = one.clone();
    relabelled[28] = 1;
    assert!(matches!(decrypt_error(&keyring, &relabelled), Error::Authentication { .. }));
    let error = rewrap_error(&keyring, &relabelled, RewrapOptions::new());
    assert!(matches!(error, Error::Authentication { .. }));

    let mut other_suite = one.clone();
    other_suite[5] = 3;
    assert!(matches!(decrypt_error(&keyring, &other_suite), Error::Authentication { .. }));

    let mut other_id = one;
    other_id[6] ^= 1;
    assert!(matches!(decrypt_error(&keyring, &other_id), Error::Authentication { .. }));
}

/// SPEC R-PROOF: a slot is replaced only by one that was seen to open to the same key.
#[test]
fn rewrap_to_another_key_is_refused() {
    let (mut keyring, message) = stale(Suite::Cobblestone256);
    let other_key = |key: &DataKey| {
        let mut other = DataKey::empty();
        let changed: Vec<u8> = key.expose().iter().map(|byte| byte ^ 1).collect();
        assert!(other.set(&changed));
        other
    };
    keyring.wrap = Some(Box::new(move |honest, key, context, slots, rng| {
        honest.wrap(&other_key(key), context, slots, rng)
    }));
    let error = rewrap_error(&keyring, &message, RewrapOptions::new());
    assert_eq!(*fault(&error), SlotFault::Unproven);
    assert!(!error.is_retryable());
    assert_eq!(
        Envelope::new(&keyring).decrypt(&message, Aad::new(b"row")).unwrap(),
        b"payload",
        "the old slot still opens"
    );

    keyring.rewrap = Some(Box::new(|honest, _, _, slots, _| {
        let mut pushed = Ok(());
        honest.visit_primaries(&mut |primary| pushed = slots.push(&primary.label, &[7; 72]))?;
        pushed
    }));
    let error = rewrap_error(&keyring, &message, RewrapOptions::new());
    assert_eq!(*fault(&error), SlotFault::Unproven);

    // A slot of the right name that the keyring itself then calls another's.
    keyring.rewrap = Some(Box::new(|_, slot, _, slots, _| {
        slots
            .push(&SlotLabel { master_key_id: MasterKeyId([9; 8]), ..slot.label }, slot.wrapped_key)
    }));
    let error = rewrap_error(&keyring, &message, RewrapOptions::new());
    assert_eq!(*fault(&error), SlotFault::Unproven);
}

#[test]
fn backend_lost_before_proof_is_retryable() {
    let (mut keyring, message) = stale(Suite::Cobblestone256);
    keyring.unwrap =
        Some(Box::new(|honest, slot, context, data_key| match slot.label.version.number() {
            1 => honest.unwrap(slot, context, data_key),
            _ => Err(KeyringError::unavailable(std::io::Error::other("timed out"))),
        }));
    let error = rewrap_error(&keyring, &message, RewrapOptions::new());
    assert!(matches!(error, Error::Backend(_)) && error.is_retryable());
    assert_eq!(error.to_string(), "keyring is unavailable: timed out");
}

#[test]
fn wrong_claims_of_freshness_lose_no_data() {
    let (mut keyring, message) = stale(Suite::Cobblestone256);
    let options = RewrapOptions::new();
    let opens = |keyring: &Hostile, message: &[u8]| {
        let plaintext = Envelope::new(&keyring.honest).decrypt(message, Aad::new(b"row")).unwrap();
        assert_eq!(plaintext, b"payload");
    };
    keyring.freshness = Some(Box::new(|_, _| Ok(Freshness::Primary)));
    assert!(!Envelope::new(&keyring).needs_rewrap(&message).unwrap());
    assert!(!Envelope::new(&keyring).rewrap(&message, options).unwrap().is_changed());

    keyring.freshness = Some(Box::new(|_, _| Ok(Freshness::NotMine)));
    assert!(!Envelope::new(&keyring).needs_rewrap(&message).unwrap());
    assert!(matches!(rewrap_error(&keyring, &message, options), Error::NoKey { .. }));

    keyring.freshness = Some(Box::new(|_, _| Ok(Freshness::Stale)));
    let mut rewrapped = message.clone();
    for attempt in 0..3 {
        let envelope = Envelope::new(&keyring);
        assert!(envelope.needs_rewrap(&rewrapped).unwrap());
        let report = envelope.rewrap_in_place(&mut rewrapped, options).unwrap();
        // The slot is current already.
        assert_eq!(report.is_changed(), attempt == 0);
        assert!(report.is_complete() && !report.relied_on_labels());
        opens(&keyring, &rewrapped);
    }
    opens(&keyring, &message);
}

/// The kinds of error a keyring has, and what each becomes.
fn kinds() -> [(KeyringError, &'static str); 9] {
    [
        (KeyringError::NotMine, "NotMine"),
        (KeyringError::Refused(Refusal::Destroyed), "Refused"),
        (KeyringError::Authentication, "Authentication"),
        (KeyringError::unavailable(std::io::Error::other("down")), "Unavailable"),
        (KeyringError::throttled(None, std::io::Error::other("slow down")), "Throttled"),
        (KeyringError::denied(std::io::Error::other("forbidden")), "Denied"),
        (KeyringError::NoPrimary, "NoPrimary"),
        (KeyringError::Randomness(RandomnessUnavailable::new()), "Randomness"),
        (KeyringError::Slot(SlotFault::None), "Slot"),
    ]
}

fn variant(error: &Error) -> String {
    if let Error::Backend(error) = error {
        let debug = format!("{:?}", error.failure());
        return debug.split([' ', '(', '{']).next().unwrap_or_default().into();
    }
    let debug = format!("{error:?}");
    debug.split([' ', '(', '{']).next().unwrap_or_default().into()
}

/// Of an operation that wraps: there is no slot that a result could be about.
fn of_wrapping(kind: &str) -> &str {
    match kind {
        "NotMine" | "Refused" => "NoPrimary",
        other => other,
    }
}

fn of_opening(kind: &str) -> &str {
    if kind == "NotMine" { "NoKey" } else { kind }
}

#[test]
fn every_error_of_every_method_comes_out_as_its_own() {
    let options = RewrapOptions::new();
    for (answer, kind) in kinds() {
        // The same keys and the same message each time.
        let fresh = || stale(Suite::Cobblestone256).0;
        let message = stale(Suite::Cobblestone256).1;

        let (mut primary, error) = (fresh(), answer.clone());
        primary.primary = Some(Box::new(move |_, _| Err(error.clone())));
        let envelope = Envelope::new(&primary);
        for error in [
            envelope.encrypt(b"", Aad::none()).unwrap_err(),
            envelope.header_len().unwrap_err(),
            envelope.message_len(0).unwrap_err(),
            envelope.plaintext_range(0).unwrap_err(),
            envelope.encrypt_detached(b"", Aad::none()).unwrap_err(),
            envelope.encrypt_into(b"", Aad::none(), &mut [0; 200]).unwrap_err(),
        ] {
            assert_eq!(variant(&error), of_wrapping(kind));
        }

        let (mut wrap, error) = (fresh(), answer.clone());
        wrap.wrap = Some(Box::new(move |_, _, _, _, _| Err(error.clone())));
        let error = Envelope::new(&wrap).encrypt(b"", Aad::none()).unwrap_err();
        // The primary that it would have been is known.
        let expected = if kind == "Refused" { kind } else { of_wrapping(kind) };
        assert_eq!(variant(&error), expected, "wrap");

        let (mut unwrap, error) = (fresh(), answer.clone());
        unwrap.unwrap = Some(Box::new(move |_, _, _, _| Err(error.clone())));
        assert_eq!(variant(&decrypt_error(&unwrap, &message)), of_opening(kind), "unwrap");
        assert_eq!(variant(&rewrap_error(&unwrap, &message, options)), of_opening(kind));

        let (mut rewrap, error) = (fresh(), answer.clone());
        rewrap.rewrap = Some(Box::new(move |_, _, _, _, _| Err(error.clone())));
        assert_eq!(variant(&rewrap_error(&rewrap, &message, options)), of_opening(kind), "rewrap");

        let (mut labels, error) = (fresh(), answer);
        labels.freshness = Some(Box::new(move |_, _| Err(error.clone())));
        assert_eq!(variant(&rewrap_error(&labels, &message, options)), of_opening(kind), "fresh");
        let error = Envelope::new(&labels).needs_rewrap(&message).unwrap_err();
        assert_eq!(variant(&error), of_wrapping(kind), "needs_rewrap");
    }
}

/// THREATS rows 8 and 36: what a header names decides over no more calls than it has slots.
#[test]
fn every_backend_call_is_needed() {
    let (keyring, message) = stale(Suite::Cobblestone256);
    let envelope = Envelope::new(&keyring);
    let aad = Aad::new(b"row");
    envelope.decrypt(&message, aad).unwrap();
    assert_eq!(keyring.counts(), (0, 1));
    assert!(envelope.decrypt(&message, Aad::none()).is_err());
    assert_eq!(keyring.counts(), (0, 1), "a body that fails is final");
    assert!(envelope.decrypt(&message[..message.len() - 8], aad).is_err());
    assert!(envelope.decrypt_into(&message, aad, &mut [0; 6]).is_err());
    assert!(envelope.decrypt(&message[..100], aad).is_err());
    let mut many = message.clone();
    many[24] = 17;
    assert!(envelope.decrypt(&many, aad).is_err());
    assert!(envelope.rewrap(&many, RewrapOptions::new()).is_err());
    envelope.needs_rewrap(&message).unwrap();
    envelope.message_len(0).unwrap();
    assert_eq!(keyring.counts(), (0, 0), "lengths and headers are checked first");

    let rewrapped = envelope.rewrap(&message, RewrapOptions::new()).unwrap();
    assert_eq!(keyring.counts(), (1, 2), "open, wrap, prove");
    assert!(!envelope.rewrap(rewrapped.header(), RewrapOptions::new()).unwrap().is_changed());
    assert_eq!(keyring.counts(), (0, 0), "what is labelled with the primary is left");
    envelope.encrypt(b"", Aad::none()).unwrap();
    assert_eq!(keyring.counts(), (1, 0));
}

/// SPEC H-BOUND: a length that a keyring claims is no reason to allocate it.
#[test]
fn claim_of_endless_room_is_error_and_no_allocation() {
    let (mut keyring, message) = stale(Suite::Cobblestone256);
    for needed in [65_536, 1 << 40, usize::MAX] {
        keyring.rewrap = Some(Box::new(move |_, _, _, _, _| {
            Err(SlotFault::Room { needed, available: 0 }.into())
        }));
        rewrap_error(&keyring, &message, RewrapOptions::new());
    }
}

/// SPEC O-ORDER: what a slot that did not open left behind is no result of the next.
#[test]
fn key_left_by_a_refused_slot_does_not_open_the_next() {
    let (mut keyring, message) = with_opaque_twin_of_the_primary();
    keyring.unwrap = Some(Box::new(|honest, slot, context, data_key| {
        if slot.label.algorithm != WrapAlgorithm::XAES_256_GCM {
            return Ok(());
        }
        honest.unwrap(slot, context, data_key)?;
        Err(KeyringError::Refused(Refusal::Compromised))
    }));
    assert!(matches!(decrypt_error(&keyring, &message), Error::Refused { .. }));
}

fn faulty(method: Method, fault: Option<Fault>) -> FaultyKeyring<MemoryKeyring> {
    let keyring = FaultyKeyring::new(MemoryKeyring::create("orders").unwrap());
    if let Some(fault) = fault {
        keyring.always(method, fault);
    }
    keyring
}

/// A slot with another key loses the message, which only a later read detects; verification detects
/// it before anything is returned.
#[test]
fn wrap_that_does_not_unwrap_gives_out_nothing() {
    let aad = Aad::new(b"row");
    let wrong = || faulty(Method::Wrap, Some(Fault::WrongKey));
    let careless = Envelope::new(wrong());
    let message = careless.encrypt(b"payload", aad).unwrap();
    assert!(matches!(careless.decrypt(&message, aad), Err(Error::Authentication { .. })));

    let reuse = DataKeyReuse::new(10, 1000, std::time::Duration::from_secs(60));
    let reuse = std::sync::Arc::new(reuse);
    for reuses in [false, true] {
        let mut envelope = Envelope::new(wrong()).with_wraps_verified();
        if reuses {
            envelope = envelope.with_data_key_reuse(reuse.clone());
        }
        let mut out = vec![0xA5; envelope.message_len(7).unwrap()];
        for answer in [
            envelope.encrypt(b"payload", aad).map(drop),
            envelope.encrypt_into(b"payload", aad, &mut out),
            envelope.encrypt_detached(b"payload", aad).map(drop),
            envelope.stream_encryptor(aad).map(drop),
            envelope.encrypt_writer(Vec::new(), aad).map(drop),
        ] {
            assert!(matches!(fault(&answer.unwrap_err()), SlotFault::Unproven));
        }
        assert!(!out.starts_with(&[0xE5]), "a header is given out");
    }
    // Every slot, not the first alone.
    let both = MultiKeyring::new(MemoryKeyring::create("backup").unwrap()).with(wrong()).unwrap();
    let error = Envelope::new(both).with_wraps_verified().encrypt(b"payload", aad).unwrap_err();
    assert!(matches!(fault(&error), SlotFault::Unproven));
    // Other failures keep their errors.
    let denied = KeyringError::denied(std::io::Error::other("no"));
    let denied = faulty(Method::Unwrap, Some(Fault::Error(denied)));
    let error = Envelope::new(denied).with_wraps_verified().encrypt(b"payload", aad).unwrap_err();
    assert!(matches!(error, Error::Backend(_)));
}

#[test]
fn verified_wraps_cost_an_unwrap_for_each_slot() {
    let aad = Aad::new(b"row");
    let keyring = faulty(Method::Wrap, None);
    let reuse = DataKeyReuse::new(10, 1000, std::time::Duration::from_secs(60));
    let envelope = Envelope::new(&keyring).with_wraps_verified();
    (0..3).for_each(|_| drop(envelope.encrypt(b"payload", aad).unwrap()));
    assert_eq!((keyring.calls(Method::Wrap), keyring.calls(Method::Unwrap)), (3, 3));
    let envelope = envelope.with_data_key_reuse(std::sync::Arc::new(reuse));
    (0..10).for_each(|_| drop(envelope.encrypt(b"payload", aad).unwrap()));
    assert_eq!((keyring.calls(Method::Wrap), keyring.calls(Method::Unwrap)), (4, 4));
}
