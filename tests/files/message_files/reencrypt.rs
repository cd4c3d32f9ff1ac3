//! A new encryption in the place of a message: the same plaintext, nothing else of the old message.

use super::*;
use envelock::stream::StreamEncryptor;
use envelock::{DataKeyReuse, MemoryKeyring, Suite, file, inspect};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

fn stored(envelope: &Envelope<MemoryKeyring>, len: usize) -> (TestDirectory, PathBuf, Vec<u8>) {
    let directory = TestDirectory::new();
    let path = directory.join("message");
    let message = envelope.encrypt(&text(len), ROW).unwrap();
    fs::write(&path, &message).unwrap();
    (directory, path, message)
}

fn header(message: &[u8]) -> &[u8] {
    inspect(message).unwrap().as_bytes()
}

#[test]
fn new_message_has_the_plaintext_and_its_own_data_key() {
    for &suite in Suite::ALL {
        for len in [0, 1, 16_384, 700_000] {
            let envelope = Envelope::new(MemoryKeyring::create("orders").unwrap());
            let (directory, path, message) = stored(&envelope, len);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            let before = fs::metadata(&path).unwrap();
            // A pool of data keys is none of a stream's.
            let again = Envelope::new(envelope.keyring()).with_suite(suite).with_data_key_reuse(
                DataKeyReuse::new(100, 1 << 40, std::time::Duration::from_secs(60)).into(),
            );
            let new = again.stream_encryptor(ROW).unwrap();
            let new_header = new.header().to_vec();
            assert!(file::reencrypt(&again, &path, header(&message), new, ROW).unwrap());

            let found = fs::read(&path).unwrap();
            assert_eq!(header(&found), new_header);
            assert_eq!(envelope.decrypt(&found, ROW).unwrap(), text(len));
            let (old, new) = (inspect(&message).unwrap(), inspect(&found).unwrap());
            assert_eq!(new.suite(), suite);
            assert_ne!(old.data_key_id(), new.data_key_id());
            assert!(envelope.open(header(&message)).unwrap().body(&found).is_err());
            let body = &found[new.len()..];
            assert!(envelope.open(&message).unwrap().decrypt(body, ROW).is_err());
            let after = fs::metadata(&path).unwrap();
            assert_eq!((after.mode(), after.uid()), (before.mode(), before.uid()));
            assert_eq!(names(directory.path()), ["message"]);
        }
    }
}

#[test]
fn other_header_is_kept_and_what_does_not_decrypt_too() {
    let envelope = Envelope::new(MemoryKeyring::create("orders").unwrap());
    let (directory, path, message) = stored(&envelope, 100_000);
    let reencrypt = |old: &[u8], new: StreamEncryptor<'_>, aad| {
        let done = file::reencrypt(&envelope, &path, old, new, aad);
        assert_eq!(names(directory.path()), ["message"]);
        done
    };
    let new = |aad| envelope.stream_encryptor(aad).unwrap();
    let kept = |expected: &[u8]| assert_eq!(fs::read(&path).unwrap(), expected);
    let other = envelope.encrypt(b"other", ROW).unwrap();
    assert!(!reencrypt(header(&other), new(ROW), ROW).unwrap());
    kept(&message);

    // Associated data of another record, in the old message or in the new one.
    let wrong = Aad::new(b"another row");
    for (old, made) in [(wrong, wrong), (ROW, wrong)] {
        let error = reencrypt(header(&message), new(made), old).unwrap_err();
        assert!(matches!(error, Error::Authentication { .. }), "{error}");
        kept(&message);
    }
    // A stream that has something in it already.
    let mut used = new(ROW);
    let len = used.header().len();
    assert_eq!(used.update(b"more", &mut vec![0; len]).unwrap().produced, len);
    assert!(used.header().is_empty());
    assert!(matches!(reencrypt(header(&message), used, ROW), Err(Error::NotEnvelock { .. })));
    let mut taken = new(ROW);
    let header_before = taken.header().to_vec();
    assert_eq!(header_before, taken.take_header());
    assert!(reencrypt(header(&message), taken, ROW).is_err());
    kept(&message);

    // A body that ends early, or has a byte of another.
    for damage in [|m: &mut Vec<u8>| m.truncate(m.len() - 1), |m: &mut Vec<u8>| m[60_000] ^= 1] {
        let mut damaged = message.clone();
        damage(&mut damaged);
        fs::write(&path, &damaged).unwrap();
        assert!(reencrypt(header(&message), new(ROW), ROW).is_err());
        kept(&damaged);
    }
}

/// A key version that is disabled while the body is written refuses the new message, and the old one stays.
#[test]
fn version_that_is_disabled_meanwhile_writes_nothing() {
    use envelock::{KeyVersion, Lifecycle};
    let envelope = Envelope::new(MemoryKeyring::create("orders").unwrap());
    let (_directory, path, message) = stored(&envelope, 1_000);
    envelope.keyring().rotate().unwrap();
    let new = envelope.stream_encryptor(ROW).unwrap();
    envelope.keyring().promote(KeyVersion::FIRST).unwrap();
    envelope.keyring().disable(KeyVersion::new(2).unwrap()).unwrap();
    let error = file::reencrypt(&envelope, &path, header(&message), new, ROW).unwrap_err();
    assert!(format!("{error:?}").contains("StreamRefused"), "{error:?}");
    assert_eq!(fs::read(&path).unwrap(), message);
}
