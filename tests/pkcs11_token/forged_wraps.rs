//! Every bit of a wrap is authenticated, and every bit of its context.

use crate::independent::{Bound, wrapped};
use crate::keys::put;
use crate::token_env::{algorithms, name, session, token};
use envelock::{Aad, Envelope, Error, format::WrapAlgorithm, pkcs11::ExternalKeyring};

const ROW: Aad<'static> = Aad::new(b"row 7");
const PLAINTEXT: &[u8] = b"what is under the data key";

/// NSS takes 10 ms for a MAC, so it gets a sample of the bits.
fn step(algorithm: WrapAlgorithm) -> usize {
    let slow = name() == "nss" && algorithm == WrapAlgorithm::TOKEN_AES_256_CBC_HMAC;
    if slow { 13 } else { 1 }
}

/// A keyring, the known key beside it, and a message under it.
struct Stage {
    keyring: ExternalKeyring,
    material: crate::independent::Material,
    message: Vec<u8>,
}

fn stage(algorithm: WrapAlgorithm) -> Stage {
    let (material, keys) = put(&session(), algorithm);
    let keyring = ExternalKeyring::new(&token(), &keys).unwrap();
    let message = Envelope::new(&keyring).encrypt(PLAINTEXT, ROW).unwrap();
    Stage { keyring, material, message }
}

impl Stage {
    fn with_blob(&self, blob: &[u8]) -> Vec<u8> {
        let mut message = self.message.clone();
        message[wrapped(&self.message)].copy_from_slice(blob);
        message
    }

    fn assert_refused(&self, message: &[u8], what: &str) {
        let error = Envelope::new(&self.keyring).decrypt(message, ROW).unwrap_err();
        assert!(matches!(error, Error::Authentication { .. }), "{what}: {error:?}");
    }
}

#[test]
fn each_bit_of_a_wrap_counts() {
    for algorithm in algorithms() {
        let stage = stage(algorithm);
        let blob = stage.message[wrapped(&stage.message)].to_vec();
        for bit in (0..blob.len() * 8).step_by(step(algorithm)) {
            let mut forged = blob.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            stage.assert_refused(&stage.with_blob(&forged), &format!("bit {bit}"));
        }
        // The token still works.
        let envelope = Envelope::new(&stage.keyring);
        assert_eq!(envelope.decrypt(&stage.message, ROW).unwrap(), PLAINTEXT);
    }
}

/// A wrap with another context, made with the right key.
#[test]
fn each_bit_of_the_wrap_context_counts() {
    for algorithm in algorithms() {
        let stage = stage(algorithm);
        let (aad, directory) = (Bound::of(&stage.message).aad(), wrapped(&stage.message));
        assert_eq!(aad.len(), 16 + 22 + 1 + 4 + 8 + 1 + "orders".len());
        let key = stage.material.unwrap(&aad, &stage.message[directory]).unwrap();
        for bit in (0..aad.len() * 8).step_by(step(algorithm)) {
            let mut other = aad.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            let blob = stage.material.wrap(&other, [9; 16], &key);
            stage.assert_refused(&stage.with_blob(&blob), &format!("bit {bit}"));
        }
        for other in [&aad[1..], &aad[..aad.len() - 1], &[&aad[..], b"s"].concat(), b""] {
            let blob = stage.material.wrap(other, [9; 16], &key);
            stage.assert_refused(&stage.with_blob(&blob), "another length");
        }
    }
}

#[test]
fn wrap_of_another_key_is_refused_by_its_check() {
    for algorithm in algorithms() {
        let stage = stage(algorithm);
        let aad = Bound::of(&stage.message).aad();
        let blob = stage.material.wrap(&aad, [9; 16], &[0x55; 32]);
        stage.assert_refused(&stage.with_blob(&blob), "another data key");
    }
}

/// The format knows these lengths: the name or the wrapped key then does not fit.
#[test]
fn wrap_of_another_length_never_reaches_the_token() {
    for algorithm in algorithms() {
        let stage = stage(algorithm);
        let directory = wrapped(&stage.message);
        for (cut, grow) in [(1, 0), (16, 0), (0, 1), (0, 16)] {
            let mut message = stage.message.clone();
            message.splice(directory.end - cut..directory.end, vec![0; grow]);
            let len = (directory.len() - cut + grow) as u16;
            message[39..41].copy_from_slice(&len.to_be_bytes());
            let header_len = u16::from_be_bytes([message[22], message[23]]);
            let header_len = header_len - cut as u16 + grow as u16;
            message[22..24].copy_from_slice(&header_len.to_be_bytes());
            let error = Envelope::new(&stage.keyring).decrypt(&message, ROW).unwrap_err();
            // The fault names the algorithm, the name or the wrapped key: the first that does not fit.
            assert!(matches!(error, Error::Header { offset: 37..=39, .. }), "{error:?}");
        }
    }
}
