//! A known key on the token, and independent code: each opens the wraps of the other.

use crate::independent::{Bound, Material, check, master_key_id, wrapped};
use crate::keys::{MAC_VALUE, VALUE, aes, fresh, keys, put, secret};
use crate::token_env::{algorithms, session, token};
use envelock::{Aad, Envelope, Suite, format::WrapAlgorithm, inspect, pkcs11::ExternalKeyring};

const ROW: Aad<'static> = Aad::new(b"row 7");
const PLAINTEXT: &[u8] = b"what is under the data key";

#[test]
fn wraps_of_the_token_open_with_independent_code() {
    let session = session();
    for algorithm in algorithms() {
        let (material, keys) = put(&session, algorithm);
        let keyring = ExternalKeyring::new(&token(), &keys).unwrap();
        for &suite in Suite::ALL {
            let envelope = Envelope::new(&keyring).with_suite(suite);
            let mut seen = Vec::new();
            for _ in 0..20 {
                let message = envelope.encrypt(PLAINTEXT, ROW).unwrap();
                let (bound, blob) = (Bound::of(&message), &message[wrapped(&message)]);
                assert_eq!(bound.algorithm, algorithm.id());
                let key = material.unwrap(&bound.aad(), blob).expect("it authenticates");
                assert_eq!(check(&bound.core, &key), bound.core[14..22]);
                seen.push(blob[..material.iv_len()].to_vec());
            }
            seen.sort();
            seen.dedup();
            assert_eq!(seen.len(), 20, "an IV came twice");
        }
    }
}

#[test]
fn wraps_of_independent_code_open_on_the_token() {
    let session = session();
    for algorithm in algorithms() {
        let (material, keys) = put(&session, algorithm);
        let keyring = ExternalKeyring::new(&token(), &keys).unwrap();
        for &suite in Suite::ALL {
            let envelope = Envelope::new(&keyring).with_suite(suite);
            let mut message = envelope.encrypt(PLAINTEXT, ROW).unwrap();
            let (aad, directory) = (Bound::of(&message).aad(), wrapped(&message));
            let key = material.unwrap(&aad, &message[directory.clone()]).unwrap();
            for byte in 1..20 {
                let blob = material.wrap(&aad, [byte; 16], &key);
                assert_ne!(blob, message[directory.clone()]);
                message[directory.clone()].copy_from_slice(&blob);
                assert_eq!(envelope.decrypt(&message, ROW).unwrap(), PLAINTEXT);
            }
        }
    }
}

/// The test's own code refuses forgeries as well.
#[test]
fn another_key_opens_nothing() {
    let session = session();
    for algorithm in algorithms() {
        let (material, keys) = put(&session, algorithm);
        let keyring = ExternalKeyring::new(&token(), &keys).unwrap();
        let message = Envelope::new(&keyring).encrypt(PLAINTEXT, ROW).unwrap();
        let (aad, blob) = (Bound::of(&message).aad(), &message[wrapped(&message)]);
        let wrong = Material { algorithm, encrypt: MAC_VALUE, mac: VALUE };
        assert_eq!(wrong.unwrap(&aad, blob), None);
        assert!(material.unwrap(&aad, blob).is_some());
    }
}

#[test]
fn blobs_have_the_length_and_the_order_of_the_design() {
    let session = session();
    for algorithm in algorithms() {
        let (_, keys) = put(&session, algorithm);
        let keyring = ExternalKeyring::new(&token(), &keys).unwrap();
        for &suite in Suite::ALL {
            let message =
                Envelope::new(&keyring).with_suite(suite).encrypt(PLAINTEXT, ROW).unwrap();
            let expected = match (algorithm, suite) {
                (WrapAlgorithm::TOKEN_AES_256_GCM, Suite::Cobblestone128) => 44,
                (WrapAlgorithm::TOKEN_AES_256_GCM, _) => 60,
                (_, Suite::Cobblestone128) => 64,
                _ => 80,
            };
            assert_eq!(wrapped(&message).len(), expected);
            assert_eq!(inspect(&message).unwrap().len(), 25 + 16 + "orders".len() + expected);
        }
    }
}

#[test]
fn id_in_header_follows_from_name_on_token() {
    let session = session();
    for algorithm in algorithms() {
        let (name, mac_name) = (fresh("named"), fresh("named-mac"));
        session.create(&aes(&name, &VALUE)).unwrap();
        session.create(&secret(&mac_name, &MAC_VALUE)).unwrap();
        let keys = keys(algorithm, &name, &mac_name);
        let keyring = ExternalKeyring::new(&token(), &keys).unwrap();
        let message = Envelope::new(&keyring).encrypt(PLAINTEXT, ROW).unwrap();
        let bound = Bound::of(&message);
        assert_eq!(bound.master_key_id, master_key_id(name.as_bytes()));
        assert_eq!((bound.version, &*bound.name), (3, &b"orders"[..]));
    }
}
