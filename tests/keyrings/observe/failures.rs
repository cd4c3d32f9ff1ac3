//! Keyrings that fail, or return wrong results.

use super::recorder::Recorder;
use super::toy::{Both, Method, Toy};
use super::{decrypt, encrypt, observed, saw, version};
use envelock::{
    DataKey, Envelope, Error, Keyring, Lifecycle, MemoryKeyring, RewrapOptions,
    format::Slot,
    keyring::{
        KeyringError, KeyringRng, PrimaryKey, RandomnessUnavailable, SlotWriter, WrapContext,
    },
    observe::ObservedKeyring,
};

/// SPEC K-CHECK: what the core refuses was not unwrapped, whatever the keyring says.
#[test]
fn another_data_key_is_reported_as_unverified() {
    let keyring =
        ObservedKeyring::new(Toy { careless: true, ..Toy::new("orders") }, Recorder::default());
    let message = encrypt(&keyring).unwrap();
    saw(&keyring, &["wrapped orders 1"]);
    assert!(matches!(decrypt(&keyring, &message), Err(Error::Authentication { .. })));
    saw(&keyring, &["not verified orders 1"]);
}

#[test]
fn failing_backend_is_reported_once_a_call() {
    let fail = |method: Method| {
        let toy = Toy::new("orders");
        let message = encrypt(&toy).unwrap();
        let source = std::io::Error::new(std::io::ErrorKind::TimedOut, "slow");
        toy.fail(method, KeyringError::unavailable(source));
        let version = version(if method == Method::Rewrap { 2 } else { 1 });
        (ObservedKeyring::new(Toy { version, ..toy }, Recorder::default()), message)
    };
    let reported = ["unavailable: keyring is unavailable: slow"];
    for method in [Method::Primary, Method::Wrap] {
        let (keyring, _) = fail(method);
        assert!(encrypt(&keyring).unwrap_err().is_retryable());
        saw(&keyring, &reported);
    }
    let (keyring, message) = fail(Method::Unwrap);
    assert!(decrypt(&keyring, &message).unwrap_err().is_retryable());
    saw(&keyring, &reported);
    for method in [Method::Primary, Method::Rewrap] {
        let (keyring, message) = fail(method);
        let error = Envelope::new(&keyring).rewrap(&message, RewrapOptions::new()).unwrap_err();
        assert!(error.is_retryable());
        saw(&keyring, &reported);
    }
    // A wrap that fails after its first slot does not report that slot.
    let (keyring, _) = fail(Method::Wrap);
    let inner = Both(MemoryKeyring::create("escrow").unwrap(), keyring.keyring());
    let keyring = ObservedKeyring::new(inner, Recorder::default());
    encrypt(&keyring).unwrap_err();
    saw(&keyring, &reported);
}

#[test]
fn missing_primary_and_randomness_are_reported() {
    let keyring = observed();
    keyring.mark_compromised(version(1)).unwrap();
    keyring.observer().take();
    assert!(matches!(encrypt(&keyring), Err(Error::NoPrimary)));
    saw(&keyring, &["no primary"]);
    let toy = Toy::new("orders");
    toy.fail(Method::Wrap, RandomnessUnavailable::new().into());
    let keyring = ObservedKeyring::new(toy, Recorder::default());
    assert!(matches!(encrypt(&keyring), Err(Error::Randomness(_))));
    saw(&keyring, &["unavailable: random generator failed"]);
}

/// A slot that is too long for the room is wrapped again with more.
#[test]
fn second_attempt_at_rewrap_is_reported_once() {
    let old = Toy { slot_len: 2000, ..Toy::new("orders") };
    let message = encrypt(&old).unwrap();
    let newer = Toy { version: version(2), ..old };
    let keyring = ObservedKeyring::new(newer, Recorder::default());
    assert!(Envelope::new(&keyring).rewrap(&message, RewrapOptions::new()).unwrap().is_changed());
    saw(&keyring, &["unwrapped orders 1", "wrapped orders 2", "unwrapped orders 2"]);
}

/// What the documentation of `Observer` names for an audit that has to be complete: no result
/// without a record.
struct Audited<'a>(&'a MemoryKeyring, Result<(), std::io::ErrorKind>);

impl Audited<'_> {
    fn write_record(&self) -> Result<(), KeyringError> {
        self.1.map_err(|kind| KeyringError::unavailable(std::io::Error::from(kind)))
    }
}

impl Keyring for Audited<'_> {
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
        self.0.wrap(data_key, context, slots, rng)?;
        self.write_record()
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        self.0.unwrap(slot, context, data_key)?;
        self.write_record()
    }
}

#[test]
fn keyring_without_a_written_record_returns_no_key() {
    let ring = MemoryKeyring::create("orders").unwrap();
    let message = encrypt(&Audited(&ring, Ok(()))).unwrap();
    assert_eq!(decrypt(&Audited(&ring, Ok(())), &message).unwrap(), b"payload");
    ring.rotate().unwrap();
    let full = Audited(&ring, Err(std::io::ErrorKind::StorageFull));
    let rewrap = Envelope::new(&full).rewrap(&message, RewrapOptions::new()).map(|_| vec![]);
    for answer in [encrypt(&full), decrypt(&full, &message), rewrap] {
        let error = answer.unwrap_err();
        assert!(matches!(error, Error::Backend(_)) && error.is_retryable(), "{error:?}");
    }
    // An observer gets no event of a use either.
    let keyring = ObservedKeyring::new(full, Recorder::default());
    decrypt(&keyring, &message).unwrap_err();
    saw(&keyring, &["unavailable: keyring is unavailable: no storage space"]);
}
