//! A wrapped key that unwraps under two master keys (THREATS 3): XAES-256-GCM commits to its key
//! no more than GCM does.

use crate::common::detached::WriteDetached;
use crate::common::entry::try_all;
use crate::common::kdf::{body_keys, data_key_id, master_key_id};
use crate::common::model::Answer;
use crate::common::reference::{self, RefHeader, RefSlot};
use crate::common::rings::{Convinced, ring};
use crate::common::rng;
use crate::salamander::ciphers;
use crate::salamander::gcm::{Gcm, aes, salamander};
use envelock::{
    Aad, DataKey, Envelope, Keyring, RewrapOptions, Suite,
    format::Slot,
    keyring::{KeyringError, KeyringRng, PrimaryKey, SlotWriter, WrapContext},
};

const MASTER_KEYS: [[u8; 32]; 2] = [[0x11; 32], [0x22; 32]];
const NONCE: [u8; 24] = [0x0E; 24];

/// The GCM key and nonce that XAES-256-GCM derives (C2SP XAES-256-GCM).
fn derive(master_key: &[u8; 32]) -> Gcm {
    let l = aes(master_key, 0);
    let k1 = l << 1 ^ if l >> 127 == 1 { 0x87 } else { 0 };
    let half = |number: u8| {
        let block: [u8; 16] =
            [&[0, number, 0x58, 0][..], &NONCE[..12]].concat().try_into().unwrap();
        aes(master_key, u128::from_be_bytes(block) ^ k1).to_be_bytes()
    };
    Gcm::new(&[half(1), half(2)].concat(), NONCE[12..].try_into().unwrap())
}

/// The bytes that a wrap of slot `slot` authenticates (SPEC K-AAD), computed without the crate.
fn wrap_aad(core: &[u8; 22], slot: &RefSlot) -> Vec<u8> {
    let mut aad = b"envelock wrap v1".to_vec();
    aad.extend_from_slice(core);
    aad.push(1);
    aad.extend_from_slice(&slot.version.to_be_bytes());
    aad.extend_from_slice(&slot.master_key_id);
    aad.push(slot.name.len() as u8);
    aad.extend_from_slice(&slot.name);
    aad
}

/// A header of one slot, labelled with the first master key's id or `id`, whose wrapped key
/// opens under both; and the two data keys.
fn forge(suite: Suite, id: [u8; 8]) -> (RefHeader, [Vec<u8>; 2]) {
    // The id must stand before the wrapped key is solved, since the wrap binds it: so its check
    // can be that of some key its maker knows, and not that of what comes out.
    let known = vec![0x3C; suite.data_key_len()];
    let mut core = [0xE5, 0x4E, 0x56, 0x4C, 1, suite.id()].to_vec();
    core.extend_from_slice(&data_key_id(suite, &[9; 8], &known));
    let core: [u8; 22] = core.try_into().unwrap();
    let name = b"orders".to_vec();
    let mut slot =
        RefSlot { version: 1, master_key_id: id, algorithm: 1, name, wrapped: Vec::new() };
    let aad = wrap_aad(&core, &slot);
    let [a, b] = [derive(&MASTER_KEYS[0]), derive(&MASTER_KEYS[1])];
    let text = vec![0x77; suite.data_key_len() / 16];
    let sealed = salamander([&a, &b], &aad, &text, 0);
    slot.wrapped = [&NONCE[..], &sealed].concat();
    let data_keys = MASTER_KEYS
        .map(|key| ciphers::open_xaes(&key, &NONCE, &aad, &sealed).expect("opens under both"));
    assert_ne!(data_keys[0], data_keys[1]);
    (RefHeader { core, slots: vec![slot], padding: 0 }, data_keys)
}

/// A keyring that looks at neither version nor id and tries one master key on everything.
struct Careless([u8; 32]);

impl Keyring for Careless {
    fn visit_primaries(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        ring("orders", &[(2, 0x33)]).visit_primaries(visit)
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        ring("orders", &[(2, 0x33)]).wrap(data_key, context, slots, rng)
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        let (nonce, sealed) = slot.wrapped_key.split_first_chunk().unwrap();
        let opened = ciphers::open_xaes(&self.0, nonce, &context.wrap_aad(&slot.label), sealed);
        assert!(data_key.set(&opened.expect("opens: the check alone refuses it")));
        Ok(())
    }
}

fn refused<K: Keyring>(keyring: K, header: &RefHeader, expected: &Answer) {
    let envelope = Envelope::new(keyring);
    let message = [header.encode(), vec![0; 72]].concat();
    let tried = try_all(&envelope, &message, header.len(), b"");
    assert_eq!((&tried.answer(), tried.wiped), (expected, false));
    // A rewrap launders it no more than a decryption reads it (SPEC R-WHOLE).
    let mut rewrapped = message.clone();
    let result = envelope.rewrap_in_place(&mut rewrapped, RewrapOptions::new());
    assert_eq!(rewrapped, message);
    let to_new = envelope.rewrap(&message, RewrapOptions::new()).map(|new| new.into_parts().1);
    for result in [result, to_new] {
        match &result {
            // Under the label of the primary nothing is opened, and it is said.
            Ok(report) => assert!(report.relied_on_labels() && !report.is_changed()),
            Err(_) => assert_eq!(Answer::of(&result), *expected),
        }
    }
}

/// SPEC K-MASTER, K-CHECK, K-AAD
#[test]
fn wrap_opening_under_two_master_keys_is_refused() {
    for &suite in Suite::ALL {
        let id = master_key_id(&MASTER_KEYS[0]);
        let (header, _) = forge(suite, id);
        // The keyring that the label names unwraps it, and the check refuses what comes out.
        for versions in [&[(1, 0x11)][..], &[(1, 0x11), (2, 0x33)]] {
            let keyring = Convinced(ring("orders", versions));
            refused(keyring, &header, &Answer::Authentication);
        }
        // To the other, the slot names other material.
        let no_key = Answer::NoKey { key: "orders".into(), version: 1, slots: 1 };
        refused(ring("orders", &[(1, 0x22)]), &header, &no_key);
        // Keyrings that skip both label and id get no further than the check.
        for key in MASTER_KEYS {
            refused(Careless(key), &header, &Answer::Authentication);
        }
    }
}

/// SPEC K-CHECK: one header names at most one of the two data keys.
#[test]
fn no_data_key_id_names_both_keys_of_a_forged_wrap() {
    for &suite in Suite::ALL {
        let (header, data_keys) = forge(suite, master_key_id(&MASTER_KEYS[0]));
        let named = header.core[6..].to_vec();
        let [a, b] = data_keys.map(|key| data_key_id(suite, &[9; 8], &key).to_vec());
        assert!(a != b && a != named && b != named);
    }
}

/// SPEC W-XAES, K-AAD, K-CHECK, K-MASTER, B-KDF, B-CONTEXT: the forgeries above are built on what
/// the crate really derives, so its own messages open by the same means.
#[test]
fn message_opens_with_bare_ciphers_and_derivations() {
    for &suite in Suite::ALL {
        let writer = Envelope::new(ring("orders", &[(1, 0x11)])).with_suite(suite);
        let message = writer.with_rng(&mut rng(2)).encrypt(b"text", Aad::new(b"row")).unwrap();
        let header = reference::parse(&message).unwrap();
        let slot = &header.slots[0];
        assert_eq!(slot.master_key_id, master_key_id(&MASTER_KEYS[0]));
        let (nonce, sealed) = slot.wrapped.split_first_chunk().unwrap();
        let aad = wrap_aad(&header.core, slot);
        let data_key = ciphers::open_xaes(&MASTER_KEYS[0], nonce, &aad, sealed).unwrap();
        let random = header.core[6..14].try_into().unwrap();
        assert_eq!(header.core[6..], data_key_id(suite, random, &data_key));
        let (salt, rest) = message[header.len()..].split_first_chunk().unwrap();
        let (commitment, chunk) = rest.split_first_chunk::<32>().unwrap();
        let keys = body_keys(suite, &data_key, salt, &[&header.core[..], b"row"].concat());
        assert_eq!(keys.commitment, *commitment);
        assert_eq!(ciphers::open(suite, &keys.key, &keys.nonce, chunk).unwrap(), b"text");
    }
}
