//! Keys of failed changes do not stay on the token.

use crate::mount::Mount;
use crate::raw_token::RawSession;
use crate::token_env::{CatalogueDirectory, algorithms, options, session};
use envelock::{
    Aad, Envelope, Lifecycle, Pkcs11Keyring,
    file::{FileAction, FileError, FileKeyringOptions, KeyFileError},
};
use std::fs;

fn count(session: &RawSession) -> usize {
    session.keys().len()
}

#[test]
fn create_that_fails_leaves_no_key_of_either_kind() {
    let session = session();
    for algorithm in algorithms() {
        let token = options().algorithm(algorithm).token().unwrap();
        let directory = CatalogueDirectory::new();
        let before = count(&session);
        for (path, key) in [("missing/catalogue", "orders"), ("catalogue", "no name at all!")] {
            let created = Pkcs11Keyring::create(directory.path(path), key, &token);
            created.expect_err("it cannot be made");
            assert_eq!(count(&session), before, "{path} {key}");
        }
        let keyring = directory.create("orders", &token);
        let before = count(&session);
        let again = Pkcs11Keyring::create(directory.path("catalogue"), "orders", &token);
        again.expect_err("it is there already");
        assert_eq!(count(&session), before);
        Envelope::new(&keyring).encrypt(b"row", Aad::none()).unwrap();
    }
}

/// The disk is full when the key of the change is on the token already.
#[test]
fn rotation_that_cannot_be_written_leaves_no_key() {
    let session = session();
    for algorithm in algorithms() {
        let token = options().algorithm(algorithm).token().unwrap();
        let directory = CatalogueDirectory::new();
        let Some(mount) = Mount::tmpfs(directory.as_ref(), "size=64k") else { return };
        let path = mount.join("catalogue");
        let options = FileKeyringOptions::new().without_usage();
        let keyring = Pkcs11Keyring::create_with(&options, &path, "orders", &token).unwrap();
        let message = Envelope::new(&keyring).encrypt(b"row", Aad::none()).unwrap();
        let before = count(&session);
        // Until the disk is full.
        let filling = mount.join("filling");
        fs::write(&filling, vec![0; 1 << 17]).expect_err("it is full");
        let error = keyring.rotate().unwrap_err();
        let Some(KeyFileError::File(FileError::Io { action, .. })) = error.backend() else {
            panic!("{error:?}")
        };
        assert!(matches!(action, FileAction::Write | FileAction::Create), "{error:?}");
        assert_eq!(count(&session), before);
        assert_eq!(Envelope::new(&keyring).decrypt(&message, Aad::none()).unwrap(), b"row");
        fs::remove_file(filling).unwrap();
        keyring.rotate().unwrap();
        assert!(count(&session) > before);
    }
}
