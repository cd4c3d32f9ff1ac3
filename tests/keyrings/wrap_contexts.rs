//! What a keyring learns of the message and of the operation. SPEC K-REMOTE, W-TRANSIT.

use envelock::conformance::{TestMessage, TestRng};
use envelock::keyring::{Inline, KeyringError, KeyringRng, PrimaryKey, SlotWriter, WrapContext};
use envelock::{
    Aad, AsyncEnvelope, DataKey, Envelope, KeyName, KeyVersion, Keyring, MasterKeyId,
    MemoryKeyring, RewrapOptions, SlotLabel, Suite,
    format::{Slot, WrapAlgorithm},
};
use std::sync::Mutex;

fn label(name: &str, algorithm: WrapAlgorithm) -> SlotLabel<'_> {
    SlotLabel {
        name: KeyName::new(name).unwrap(),
        version: KeyVersion::new(0x0102_0304).unwrap(),
        master_key_id: MasterKeyId(*b"material"),
        algorithm,
    }
}

#[test]
fn remote_wrap_aad_is_that_of_the_specification() {
    let message = TestMessage::new(Suite::default(), &mut TestRng::seeded(1));
    let context = message.context();
    let longest = "n".repeat(255);
    for name in ["o", "orders", &longest] {
        let label = label(name, WrapAlgorithm::TRANSIT_AES_256_GCM);
        let name_len = u8::try_from(name.len()).unwrap();
        let expected = [
            b"envelock remote wrap v1",
            &context.core_bytes()[..],
            &[4],
            b"material",
            &[name_len],
            name.as_bytes(),
        ]
        .concat();
        assert_eq!(*context.remote_wrap_aad(&label), expected);
        let later = SlotLabel { version: KeyVersion::FIRST, ..label };
        assert_eq!(*context.remote_wrap_aad(&later), expected, "the version is not in it");
        let local = [
            b"envelock wrap v1",
            &context.core_bytes()[..],
            &[4, 1, 2, 3, 4],
            b"material",
            &[name_len],
            name.as_bytes(),
        ]
        .concat();
        assert_eq!(*context.wrap_aad(&label), local);
    }
    assert_eq!(WrapAlgorithm::TRANSIT_AES_256_GCM.to_string(), "AES-256-GCM by Transit");
}

/// Notes whether the calls of a rewrap may rely on the back end.
struct Noting(MemoryKeyring, Mutex<Vec<(&'static str, bool)>>);

impl Noting {
    fn note(&self, method: &'static str, context: &WrapContext<'_>) {
        self.1.lock().unwrap().push((method, context.trusts_backend()));
    }
}

impl Keyring for Noting {
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
        self.note("wrap", context);
        self.0.wrap(data_key, context, slots, rng)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        self.note("unwrap", context);
        self.0.unwrap(slot, context, data_key)
    }

    fn rewrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.note("rewrap", context);
        self.0.rewrap(slot, context, slots, rng)
    }
}

#[test]
fn only_the_rewrap_of_a_trusting_caller_trusts_the_backend() {
    let ring = MemoryKeyring::create("orders").unwrap();
    let message = Envelope::new(&ring).encrypt(b"text", Aad::none()).unwrap();
    envelock::Lifecycle::rotate(&ring).unwrap();
    let noting = Noting(ring, Mutex::default());
    let calls = || std::mem::take(&mut *noting.1.lock().unwrap());
    let sync = Envelope::new(&noting);
    let asynchronous = AsyncEnvelope::new(Inline::new(&noting));
    for (options, expected) in [
        (RewrapOptions::new(), vec![("rewrap", false), ("unwrap", false)]),
        (RewrapOptions::new().trusting_backend(), vec![("rewrap", true)]),
    ] {
        assert!(sync.rewrap(&message, options).unwrap().is_changed());
        assert_eq!(calls(), expected);
        let rewrap = crate::asynchronous::block_on(asynchronous.rewrap(&message, options));
        assert!(rewrap.unwrap().is_changed());
        assert_eq!(calls(), expected);
    }
    sync.encrypt(b"text", Aad::none()).unwrap();
    sync.open(&message).unwrap();
    assert_eq!(calls(), [("wrap", false), ("unwrap", false)]);
}
