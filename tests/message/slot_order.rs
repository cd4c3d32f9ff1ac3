//! Slots are tried in order until one opens; which error comes out when none does depends on no
//! order: SPEC O-ORDER, O-FINAL, O-PRECEDENCE, O-NOFALLBACK, over every order of every outcome.

use envelock::{
    Aad, BackendFailure, DataKey, Envelope, Error, KeyName, KeyVersion, Keyring, Lifecycle,
    MasterKey, MasterKeyId, MemoryKeyring, SlotLabel,
    format::{Slot, WrapAlgorithm},
    inspect,
    keyring::{Freshness, KeyringError, KeyringRng, PrimaryKey, Refusal, SlotWriter, WrapContext},
};
use std::sync::Mutex;

type Answer = Result<(), KeyringError>;

/// The result of the unwrap of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Script {
    Opens = 1,
    NotMine,
    Refused,
    Authentication,
    Unavailable,
    WrongCheck,
    Throttled,
    Broken,
    Denied,
}

use Script::{
    Authentication, Broken, Denied, NotMine, Opens, Refused, Throttled, Unavailable, WrongCheck,
};

const ALL: [Script; 9] =
    [Opens, NotMine, Refused, Authentication, Unavailable, WrongCheck, Throttled, Broken, Denied];

/// Wraps into one slot for each part of the script, which then acts as its first byte says.
struct Scripted {
    script: Vec<Script>,
    tried: Mutex<Vec<u32>>,
}

impl Scripted {
    fn new(script: &[Script]) -> Self {
        Scripted { script: script.to_vec(), tried: Mutex::default() }
    }

    fn label(index: usize) -> SlotLabel<'static> {
        SlotLabel {
            name: KeyName::new("orders").unwrap(),
            version: KeyVersion::new(index as u32 + 1).unwrap(),
            master_key_id: MasterKeyId([7; 8]),
            algorithm: WrapAlgorithm::new(200).unwrap(),
        }
    }
}

impl Keyring for Scripted {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Answer {
        for index in 0..self.script.len() {
            let label = Scripted::label(index);
            visit(&PrimaryKey { label, max_wrapped_key_len: Some(33) });
        }
        Ok(())
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        _: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        _: &mut KeyringRng<'_>,
    ) -> Answer {
        let mut labels = self.script.iter().enumerate();
        labels.try_for_each(|(index, script)| {
            let wrapped = [&[*script as u8][..], data_key.expose()].concat();
            slots.push(&Scripted::label(index), &wrapped)
        })
    }

    fn unwrap(&self, slot: &Slot<'_>, _: &WrapContext<'_>, data_key: &mut DataKey) -> Answer {
        let version = slot.label.version.number();
        self.tried.lock().unwrap().push(version);
        let script = ALL[usize::from(slot.wrapped_key[0]) - 1];
        match script {
            Opens => assert!(data_key.set(&slot.wrapped_key[1..])),
            WrongCheck => assert!(data_key.set(&[version as u8; 32])),
            NotMine => return Err(KeyringError::NotMine),
            Refused => return Err(KeyringError::Refused(Refusal::DestroyScheduled)),
            Authentication => return Err(KeyringError::Authentication),
            Unavailable => return Err(KeyringError::unavailable(said(version))),
            Throttled => return Err(KeyringError::throttled(None, said(version))),
            Broken => return Err(KeyringError::broken(said(version))),
            Denied => return Err(KeyringError::denied(said(version))),
        }
        Ok(())
    }
}

/// The response of a back end for a slot.
fn said(version: u32) -> std::io::Error {
    std::io::Error::other(format!("slot {version}"))
}

/// All orders of all selections of up to `most` outcomes, with repetitions.
fn scripts(most: u32) -> Vec<Vec<Script>> {
    let of_len = |len: u32| {
        (0..9_usize.pow(len))
            .map(move |number| (0..len).map(|place| ALL[number / 9_usize.pow(place) % 9]).collect())
    };
    (1..=most).flat_map(of_len).collect()
}

/// SPEC 5 as a function: the outcome, and how many slots were tried.
fn expected(script: &[Script]) -> (String, usize) {
    let first = |kinds: &[Script]| script.iter().position(|outcome| kinds.contains(outcome));
    if let Some(index) = first(&[Opens]) {
        return ("payload".into(), index + 1);
    }
    let outcome = if let Some(index) = first(&[Unavailable, Throttled]) {
        let is_throttled = script[index] == Throttled;
        let word = if is_throttled { "throttled" } else { "unavailable" };
        format!("{word}: slot {}", index + 1)
    } else if let Some(index) = first(&[Broken]) {
        format!("broken: slot {}", index + 1)
    } else if let Some(index) = first(&[Denied]) {
        format!("denied: slot {}", index + 1)
    } else if let Some(index) = first(&[Refused]) {
        format!("key orders version {} is refused: DestroyScheduled", index + 1)
    } else if first(&[Authentication, WrongCheck]).is_some() {
        "authentication".into()
    } else {
        format!("no key: orders version 1 of {}", script.len())
    };
    (outcome, script.len())
}

fn outcome(result: Result<&[u8], Error>) -> String {
    match result {
        Ok(plaintext) => String::from_utf8(plaintext.to_vec()).unwrap(),
        Err(Error::Backend(error)) => {
            let failure = match error.failure() {
                BackendFailure::Unavailable { retryable: true, .. } => "unavailable",
                BackendFailure::Unavailable { .. } => "broken",
                BackendFailure::Throttled { .. } => "throttled",
                BackendFailure::Denied => "denied",
                other => panic!("{other:?}"),
            };
            format!("{failure}: {}", error.cause())
        }
        Err(Error::Refused { key, version, refusal, .. }) => {
            format!("key {key} version {version} is refused: {refusal:?}")
        }
        Err(Error::Authentication { .. }) => "authentication".into(),
        Err(Error::NoKey { key, version, slots, .. }) => {
            format!("no key: {key} version {version} of {slots}")
        }
        Err(other) => panic!("{other:?}"),
    }
}

/// SPEC O-ORDER, O-PRECEDENCE: 9 + 81 + 729 + 6,561 headers.
#[test]
fn every_order_of_outcomes_matches_the_specification() {
    let scripts = scripts(4);
    assert_eq!(scripts.len(), 7_380);
    for script in scripts {
        let keyring = Scripted::new(&script);
        let envelope = Envelope::new(&keyring);
        let mut message = envelope.encrypt(b"payload", Aad::none()).unwrap();
        let (answer, tried) = expected(&script);
        let in_order: Vec<u32> = (1..=tried as u32).collect();

        let plaintext = envelope.decrypt(&message, Aad::none());
        assert_eq!(outcome(plaintext.as_deref().map_err(Clone::clone)), answer, "{script:?}");
        assert_eq!(keyring.tried.lock().unwrap().split_off(0), in_order, "{script:?}");

        let plaintext = envelope.decrypt_in_place(&mut message, Aad::none());
        assert_eq!(outcome(plaintext.map(|plaintext| &*plaintext)), answer, "{script:?}");
        assert_eq!(keyring.tried.lock().unwrap().split_off(0), in_order, "{script:?}");
    }
}

/// SPEC O-FINAL: behind a slot that opened, no other is asked about a body that fails.
#[test]
fn body_that_fails_after_a_slot_opened_is_final() {
    for script in scripts(3).into_iter().filter(|script| script.contains(&Opens)) {
        let keyring = Scripted::new(&script);
        let envelope = Envelope::new(&keyring);
        let message = envelope.encrypt(b"payload", Aad::none()).unwrap();
        let (_, tried) = expected(&script);
        let body = inspect(&message).unwrap().len();
        // Salt, commitment, ciphertext, tag.
        for changed in [body, body + 24, body + 56, message.len() - 1] {
            let mut message = message.clone();
            message[changed] ^= 1;
            let error = envelope.decrypt(&message, Aad::none()).unwrap_err();
            assert!(matches!(error, Error::Authentication { .. }), "{script:?}");
            assert_eq!(keyring.tried.lock().unwrap().split_off(0).len(), tried);
        }
        let error = envelope.decrypt(&message, Aad::new(b"other")).unwrap_err();
        assert!(matches!(error, Error::Authentication { .. }), "{script:?}");
        assert_eq!(keyring.tried.lock().unwrap().split_off(0).len(), tried);
    }
}

#[test]
fn last_of_sixteen_slots_opens_after_fifteen_fail() {
    for failure in &ALL[1..] {
        let mut script = vec![*failure; 15];
        script.push(Opens);
        let keyring = Scripted::new(&script);
        let envelope = Envelope::new(&keyring);
        let message = envelope.encrypt(b"payload", Aad::none()).unwrap();
        assert_eq!(envelope.decrypt(&message, Aad::none()).unwrap(), b"payload");
        assert_eq!(keyring.tried.lock().unwrap().len(), 16);
    }
}

/// SPEC O-NOFALLBACK: whatever a label says but the version, the primary does not step in.
#[test]
fn missing_version_is_not_replaced_by_the_primary() {
    let keyring = MemoryKeyring::create("orders").unwrap();
    let envelope = Envelope::new(&keyring);
    let message = envelope.encrypt(b"payload", Aad::none()).unwrap();
    for number in [2, 3, 0x100, 0x0100_0000, u32::MAX] {
        let mut relabelled = message.clone();
        relabelled[25..29].copy_from_slice(&number.to_be_bytes());
        match envelope.decrypt(&relabelled, Aad::none()).unwrap_err() {
            Error::Refused { key, version, refusal: Refusal::UnknownVersion, .. } => {
                assert_eq!((&*key, version.number()), ("orders", number));
            }
            other => panic!("{other:?}"),
        }
    }
    // The same version of other material, and another name, are another's: no fallback either.
    for index in [29, 41] {
        let mut relabelled = message.clone();
        relabelled[index] ^= 1;
        let error = envelope.decrypt(&relabelled, Aad::none()).unwrap_err();
        assert!(matches!(error, Error::NoKey { slots: 1, .. }), "{error:?}");
    }
}

/// A keyring of the key `a`, bytes 00 to 1F, and a disabled version 2, and the ids of both.
fn versions_of_a() -> (MemoryKeyring, [MasterKeyId; 2]) {
    let version = |number| KeyVersion::new(number).unwrap();
    let key = MasterKey::from_bytes(&std::array::from_fn(|at| at as u8));
    let keyring = MemoryKeyring::import("a", version(1), &key).unwrap();
    keyring.import_version(version(2), &MasterKey::from_bytes(&[2; 32])).unwrap();
    keyring.promote(version(1)).unwrap();
    keyring.disable(version(2)).unwrap();
    let ids = keyring.versions().into_iter().map(|it| it.master_key_id);
    (keyring, ids.collect::<Vec<_>>().try_into().unwrap())
}

/// SPEC O-MINE: name and algorithm, then version, then id and algorithm of the version, then state.
#[test]
fn slot_is_classified_by_the_first_rule_that_applies() {
    use Freshness::{NotMine, Primary, Refused};
    let (keyring, [first, second]) = versions_of_a();
    let foreign = MasterKeyId([9; 8]);
    let unknown = Refused(Refusal::UnknownVersion);
    let cases = [
        ("a", 1, first, 1, Primary),
        ("b", 1, first, 1, NotMine),
        ("b", 7, first, 1, NotMine),
        ("a", 7, first, 1, unknown),
        ("a", 7, foreign, 1, unknown),
        ("a", 7, foreign, 2, NotMine),
        ("a", 7, foreign, 3, NotMine),
        ("a", 7, foreign, 200, NotMine),
        ("a", 2, second, 1, Refused(Refusal::Disabled)),
        ("a", 2, foreign, 1, NotMine),
        ("a", 2, second, 2, NotMine),
        ("a", 1, foreign, 1, NotMine),
        ("a", 1, first, 2, NotMine),
    ];
    for (name, version, master_key_id, algorithm, expected) in cases {
        let label = SlotLabel {
            name: KeyName::new(name).unwrap(),
            version: KeyVersion::new(version).unwrap(),
            master_key_id,
            algorithm: WrapAlgorithm::new(algorithm).unwrap(),
        };
        assert_eq!(keyring.freshness(&label).unwrap(), expected, "{label:?}");
    }
}

/// SPEC O-MINE: the algorithm comes before the version, also if the record of the version was removed
/// or its key was erased.
#[test]
fn slot_of_removed_version_under_unused_algorithm_is_not_mine() {
    use Freshness::{NotMine, Refused};
    let (keyring, [first, second]) = versions_of_a();
    let version = |number| KeyVersion::new(number).unwrap();
    let freshness = |number, master_key_id, algorithm| {
        let label = SlotLabel {
            name: KeyName::new("a").unwrap(),
            version: version(number),
            master_key_id,
            algorithm: WrapAlgorithm::new(algorithm).unwrap(),
        };
        keyring.freshness(&label).unwrap()
    };
    keyring.enable(version(2)).unwrap();
    keyring.promote(version(2)).unwrap();
    keyring.disable(version(1)).unwrap();
    keyring.destroy_immediately(version(1)).unwrap();
    keyring.remove_records(version(1)).unwrap();
    assert_eq!(freshness(1, first, 1), Refused(Refusal::Destroyed));
    assert_eq!(freshness(1, second, 1), NotMine, "the id of another version");
    for algorithm in [2, 3, 200] {
        assert_eq!(freshness(1, first, algorithm), NotMine, "{algorithm}");
    }
    keyring.erase_key("a").unwrap();
    assert_eq!(freshness(9, first, 1), Refused(Refusal::Destroyed));
    assert_eq!(freshness(9, first, 2), NotMine);
}

/// SPEC O-MINE: the slot is of version 4 of `a`, of algorithm 1 or 2. Of an algorithm that software keys
/// do not make it is nobody's; of theirs the version is unknown.
#[test]
fn slot_of_a_foreign_algorithm_is_no_key() {
    let (keyring, _) = versions_of_a();
    let start = "e54e564c010200000000000000004fe1515fe61be0b8";
    let slot = |algorithm: u8, len: u8| {
        let header_len = 25 + 16 + 1 + usize::from(len);
        let fixed =
            format!("{header_len:04x}0100000004{}{algorithm:02x}01{:04x}61", "07".repeat(8), len);
        hex::decode(format!("{start}{fixed}{}{}", "05".repeat(len.into()), "00".repeat(72)))
            .unwrap()
    };
    let envelope = Envelope::new(&keyring);
    let opened = envelope.decrypt(&slot(1, 56), Aad::none());
    assert!(matches!(opened, Err(Error::Refused { .. })), "{opened:?}");
    for (algorithm, len) in [(2, 44), (3, 64), (77, 1)] {
        let opened = envelope.decrypt(&slot(algorithm, len), Aad::none());
        assert!(matches!(opened, Err(Error::NoKey { .. })), "{algorithm}: {opened:?}");
    }
}
