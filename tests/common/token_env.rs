//! The token that the environment names, and a directory for catalogues.

use crate::raw_token::{RawLibrary, RawSession, Slot};
use cryptoki_sys as ck;
use envelock::keyset::LifecycleError;
use envelock::{
    Error, Pkcs11Keyring,
    file::{FileKeyringOptions, KeyFileError, KeyFileFault},
    format::WrapAlgorithm,
    pkcs11::{self, Pin},
};
use std::env;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A variable that `ci/tokens/*.sh` export.
pub fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run ci/pkcs11.sh"))
}

/// Which token it is.
pub fn name() -> String {
    variable("ENVELOCK_TOKEN")
}

pub fn options() -> pkcs11::Options {
    let pin = variable("ENVELOCK_P11_PIN");
    let options = pkcs11::Options::new(variable("ENVELOCK_P11_MODULE"))
        .token_label(variable("ENVELOCK_P11_LABEL"))
        .pin_from(move || Ok(Pin::new(&pin)));
    match env::var("ENVELOCK_P11_RESERVED") {
        Ok(reserved) => options.reserved(reserved),
        Err(_) => options,
    }
}

pub fn token() -> pkcs11::Token {
    options().token().unwrap()
}

/// The library without the crate, which has set it up before.
pub fn library() -> RawLibrary {
    let patience = Duration::ZERO;
    let none = options()
        .token_label("no token has this label")
        .recovery_timeout(patience)
        .token()
        .unwrap();
    none.probe().unwrap_err();
    RawLibrary::load(&variable("ENVELOCK_P11_MODULE"))
}

pub fn slot() -> Slot {
    library().slot(&variable("ENVELOCK_P11_LABEL"))
}

/// A session without the crate, whose user is logged in.
pub fn session() -> RawSession {
    let session = library().open(slot());
    let rv = session.login(&variable("ENVELOCK_P11_PIN"));
    assert!([ck::CKR_OK, ck::CKR_USER_ALREADY_LOGGED_IN].contains(&rv), "{rv:#x}");
    session
}

/// Destroys every key on the token: each search and each change of opencryptoki takes longer the more
/// keys there are, so tests with many keys or many searches clear the token.
pub fn clear() {
    let session = session();
    for key in session.keys() {
        assert_eq!(session.destroy(key), ck::CKR_OK);
    }
}

/// The error of the token, inside an error of any kind.
pub fn pkcs11_error(error: &Error) -> &pkcs11::Error {
    let backend = match error {
        Error::Backend(error) => error,
        Error::Lifecycle(LifecycleError::NotDestroyed { source, .. }) => source,
        error => panic!("not of a token: {error:?}"),
    };
    match backend.downcast_ref() {
        Some(KeyFileError::Content { fault: KeyFileFault::OuterKeyring(source), .. }) => {
            pkcs11_error(source)
        }
        _ => backend.downcast_ref().unwrap_or_else(|| panic!("not of a token: {error:?}")),
    }
}

/// The wrap algorithm that the token gets by itself.
pub fn best() -> WrapAlgorithm {
    match name().as_str() {
        "opencryptoki" | "tpm2" => WrapAlgorithm::TOKEN_AES_256_CBC_HMAC,
        _ => WrapAlgorithm::TOKEN_AES_256_GCM,
    }
}

/// Both algorithms, as far as the token has them.
pub fn algorithms() -> Vec<WrapAlgorithm> {
    let mut algorithms = vec![best(), WrapAlgorithm::TOKEN_AES_256_CBC_HMAC];
    algorithms.dedup();
    algorithms
}

/// A directory that goes with its value.
pub struct CatalogueDirectory(PathBuf);

impl CatalogueDirectory {
    pub fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = env::temp_dir().join(format!("envelock-token-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        CatalogueDirectory(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn create(&self, key: &str, token: &pkcs11::Token) -> Pkcs11Keyring {
        // Slow tokens and a busy machine: a wait for another writer takes longer.
        let options = FileKeyringOptions::new().lock_wait(Duration::from_secs(60));
        Pkcs11Keyring::create_with(&options, self.path("catalogue"), key, token).unwrap()
    }
}

impl Drop for CatalogueDirectory {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

impl AsRef<Path> for CatalogueDirectory {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}
