//! PINs: their sources, and those that were refused.

use crate::OsRandom;
use crate::crypto::mac::{MAC_LEN, Mac};
use crate::fs::{FileRules, SecretFault, read_secret_file};
use crate::keyring::pkcs11::error::PinFault;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use rand_core::TryRng;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A PIN: bytes, wiped on drop. Some devices expect `user:password` or the like.
pub struct Pin(Zeroizing<Box<[u8]>>);

impl Pin {
    /// Copies a PIN. The caller wipes the original.
    pub fn new(pin: impl AsRef<[u8]>) -> Self {
        Pin(Zeroizing::new(Box::from(pin.as_ref())))
    }

    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// The error of a PIN callback ([`Options::pin_from`](crate::pkcs11::Options::pin_from)).
pub type PinError = Box<dyn core::error::Error + Send + Sync>;

/// The source of the PIN, used at each login, so that a new PIN needs no new process.
#[derive(Clone)]
pub(crate) enum PinSource {
    /// No login, for tokens whose keys need none.
    None,
    /// The token asks the user.
    Protected,
    Callback(Arc<dyn Fn() -> Result<Pin, PinError> + Send + Sync>),
    File(PathBuf, FileRules),
}

impl PinSource {
    /// The PIN; `None` if the token asks the user.
    pub(crate) fn pin(&self) -> Result<Option<Pin>, PinFault> {
        match self {
            PinSource::None | PinSource::Protected => Ok(None),
            PinSource::Callback(callback) => {
                callback().map(Some).map_err(|error| PinFault::Source { source: error.into() })
            }
            PinSource::File(path, rules) => read(path, *rules).map(Some),
        }
    }
}

impl fmt::Debug for PinSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PinSource::None => f.write_str("none"),
            PinSource::Protected => f.write_str("protected authentication"),
            PinSource::Callback(_) => f.write_str("callback"),
            PinSource::File(path, _) => write!(f, "file {}", path.display()),
        }
    }
}

/// Reads a PIN, without a final line end, from a file to which only its owner has access, or others
/// as far as `rules` allow. An empty or truncated PIN is an error, since a token counts wrong ones.
fn read(path: &Path, rules: FileRules) -> Result<Pin, PinFault> {
    match read_secret_file(path, rules) {
        Ok(pin) => Ok(Pin::new(&*pin)),
        Err(SecretFault::Permissions(mode)) => {
            Err(PinFault::FilePermissions { path: path.to_path_buf(), mode })
        }
        Err(SecretFault::Io(error)) => Err(PinFault::Source { source: Arc::new(error) }),
    }
}

/// The PINs that tokens of one library have refused in this process. None is tried twice, since
/// tokens lock after a few wrong ones.
///
/// Stored as MACs under a key of this process, so that no PIN stays in memory.
#[derive(Default)]
pub(crate) struct RefusedPins {
    mac: Option<Mac>,
    refused: Vec<Refused>,
}

struct Refused {
    serial: Vec<u8>,
    pin: [u8; MAC_LEN],
    fault: PinFault,
}

impl RefusedPins {
    /// Why the token has refused this PIN; `None` if it has not.
    pub(crate) fn fault(&self, serial: &[u8], pin: &Pin) -> Option<PinFault> {
        let pin = self.fingerprint(pin)?;
        let same = |refused: &&Refused| refused.serial == serial && refused.pin == pin;
        self.refused.iter().find(same).map(|refused| refused.fault.clone())
    }

    pub(crate) fn record(&mut self, serial: &[u8], pin: &Pin, fault: PinFault) {
        if self.mac.is_none() {
            let mut key = Zeroizing::new([0; MAC_LEN]);
            if OsRandom.try_fill_bytes(key.as_mut_slice()).is_ok() {
                self.mac = Mac::new(key.as_slice()).ok();
            }
        }
        if let Some(pin) = self.fingerprint(pin) {
            self.refused.push(Refused { serial: serial.to_vec(), pin, fault });
        }
    }

    pub(crate) fn forget(&mut self) {
        self.refused.clear();
    }

    fn fingerprint(&self, pin: &Pin) -> Option<[u8; MAC_LEN]> {
        Some(self.mac.clone()?.with(pin.expose()).tag())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::string::String;

    fn directory() -> PathBuf {
        let mut name = [0; 8];
        OsRandom.try_fill_bytes(&mut name).unwrap();
        let path = std::env::temp_dir().join(alloc::format!("envelock-pin-{name:02x?}"));
        fs::create_dir(&path).unwrap();
        path
    }

    #[test]
    fn pin_file_must_be_private_and_whole() {
        let directory = directory();
        let path = directory.join("pin");
        for (text, pin) in [("1234", "1234"), ("1234\n", "1234"), ("a b\r\n", "a b")] {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert_eq!(read(&path, FileRules::new()).ok().unwrap().expose(), pin.as_bytes());
        }
        for mode in [0o640, 0o604, 0o620, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let fault = read(&path, FileRules::new()).err().unwrap();
            assert!(
                matches!(&fault, PinFault::FilePermissions { mode: found, .. } if *found == mode)
            );
        }
        let allowed = FileRules::new().allow_permissions();
        assert_eq!(read(&path, allowed).ok().unwrap().expose(), b"a b");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for (text, is_right) in
            [("", false), ("\n", false), (&*"1".repeat(4096), true), (&*"1".repeat(4097), false)]
        {
            fs::write(&path, text).unwrap();
            assert_eq!(read(&path, FileRules::new()).is_ok(), is_right, "{} bytes", text.len());
        }
        let missing = read(&directory.join("none"), FileRules::new()).err().unwrap();
        assert!(matches!(missing, PinFault::Source { .. }));
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn only_the_refused_pin_of_a_token_is_known() {
        let mut refused = RefusedPins::default();
        assert!(refused.fault(b"1", &Pin::new("1234")).is_none());
        refused.record(b"1", &Pin::new("1234"), PinFault::Rejected);
        assert!(matches!(refused.fault(b"1", &Pin::new("1234")), Some(PinFault::Rejected)));
        assert!(refused.fault(b"1", &Pin::new("1235")).is_none());
        assert!(refused.fault(b"2", &Pin::new("1234")).is_none());
        refused.forget();
        assert!(refused.fault(b"1", &Pin::new("1234")).is_none());
    }

    #[test]
    fn debug_of_a_source_shows_no_pin() {
        let source = PinSource::Callback(Arc::new(|| Ok(Pin::new("87654321"))));
        let text: String = alloc::format!("{source:?}");
        assert!(!text.contains("8765"));
    }
}
