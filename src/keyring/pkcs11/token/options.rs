//! Options of a token.

use super::Token;
use super::pin::{Pin, PinError, PinSource};
use crate::format::WrapAlgorithm;
use crate::fs::FileRules;
use crate::keyring::pkcs11::error::Error;
use crate::keyring::pkcs11::ffi::TokenInfo;
use crate::observe::Observer;
use alloc::ffi::CString;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;
use std::path::{Path, PathBuf};

/// How a token is opened: its library, its label or serial number, its PIN, and time limits.
///
/// ```no_run
/// # fn main() -> Result<(), envelock::Error> {
/// use envelock::{Pkcs11Keyring, pkcs11};
///
/// let token = pkcs11::Options::new("/usr/lib/softhsm/libsofthsm2.so")
///     .token_label("orders")
///     .pin_file("/run/secrets/orders.pin")
///     .token()?;
/// let keyring = Pkcs11Keyring::open("orders.keys", "orders", &token)?;
/// # Ok(())
/// # }
/// ```
///
/// # Security
///
/// The library is code that runs in this process. Take its path from the administrator's
/// configuration, never from a message or a key file.
#[derive(Clone)]
pub struct Options {
    pub(crate) library: PathBuf,
    reserved: Option<String>,
    label: Option<String>,
    serial: Option<String>,
    pub(crate) pin: PinSource,
    pub(crate) algorithm: Option<WrapAlgorithm>,
    pub(crate) gcm_mechanism: Option<core::ffi::c_ulong>,
    pub(crate) max_sessions: usize,
    pub(crate) recovery_timeout: Duration,
    deadline: Deadline,
    pub(crate) hang_limit: Duration,
    pub(crate) allow_final_try: bool,
    pub(crate) allow_weak_keys: bool,
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

/// How long a caller waits.
#[derive(Clone, Copy, Debug)]
enum Deadline {
    /// [`LAST_CALL`] after the recovery timeout.
    AfterRecovery,
    After(Duration),
    Never,
}

/// The time of a call that begins at the end of the recovery timeout.
const LAST_CALL: Duration = Duration::from_secs(20);

impl Options {
    /// The library at the absolute path `library`, and defaults. Nothing is loaded yet.
    pub fn new(library: impl AsRef<Path>) -> Self {
        Options {
            library: library.as_ref().to_path_buf(),
            reserved: None,
            label: None,
            serial: None,
            pin: PinSource::None,
            algorithm: None,
            gcm_mechanism: None,
            max_sessions: 16,
            recovery_timeout: Duration::from_secs(10),
            deadline: Deadline::AfterRecovery,
            hang_limit: Duration::from_secs(60),
            allow_final_try: false,
            allow_weak_keys: false,
            observer: None,
        }
    }

    /// Selects the token by its label. There is no selection by slot number, since those change.
    #[must_use]
    pub fn token_label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Selects the token by its serial number. With a label, both have to match.
    #[must_use]
    pub fn token_serial(mut self, serial: impl Into<String>) -> Self {
        self.serial = Some(serial.into());
        self
    }

    /// Calls `callback` for the PIN at each login: at the first use, and after the token has lost
    /// its login.
    ///
    /// The callback runs in a thread of the token, or in that of the caller if there is
    /// [no deadline](Self::no_deadline). It must not use a token of the same library.
    #[must_use]
    pub fn pin_from(
        mut self,
        callback: impl Fn() -> Result<Pin, PinError> + Send + Sync + 'static,
    ) -> Self {
        self.pin = PinSource::Callback(Arc::new(callback));
        self
    }

    /// Reads the PIN from a file at each login: its content without a final line end. Only the
    /// owner of the file may have access to it (mode 0600 or 0400);
    /// [`pin_file_with`](Self::pin_file_with) accepts other modes.
    #[must_use]
    pub fn pin_file(self, path: impl AsRef<Path>) -> Self {
        self.pin_file_with(path, FileRules::new())
    }

    /// Reads the PIN from a file whose mode `rules` accept. Docker and Compose give secrets mode
    /// 0444, Kubernetes with `fsGroup` mode 0440. The owner of the file is not checked.
    #[must_use]
    pub fn pin_file_with(mut self, path: impl AsRef<Path>, rules: FileRules) -> Self {
        self.pin = PinSource::File(path.as_ref().to_path_buf(), rules);
        self
    }

    /// Logs in without a PIN: the token asks the user for it, on a PIN pad for example.
    #[must_use]
    pub fn protected_authentication(mut self) -> Self {
        self.pin = PinSource::Protected;
        self
    }

    /// Sets the argument `pReserved` of C_Initialize, in which NSS expects its configuration. Only
    /// the first token of a library in a process sets it.
    #[must_use]
    pub fn reserved(mut self, reserved: impl Into<String>) -> Self {
        self.reserved = Some(reserved.into());
        self
    }

    /// Generates new keys for this wrap algorithm, 2 or 3, instead of the best that the token
    /// supports. Existing keys keep theirs.
    #[must_use]
    pub fn algorithm(mut self, algorithm: WrapAlgorithm) -> Self {
        self.algorithm = Some(algorithm);
        self
    }

    /// Sets the mechanism number of AES-GCM, where a vendor has one of its own instead of
    /// `CKM_AES_GCM`.
    #[must_use]
    pub fn gcm_mechanism(mut self, number: core::ffi::c_ulong) -> Self {
        self.gcm_mechanism = Some(number);
        self
    }

    /// Limits the number of sessions, each of which one thread uses at a time. The default is 16,
    /// or the limit of the token if that is lower.
    #[must_use]
    pub fn max_sessions(mut self, most: usize) -> Self {
        self.max_sessions = most.max(1);
        self
    }

    /// Limits the time in which an operation recovers a token that has lost its sessions or its
    /// login, or was restarted. The default is ten seconds; zero allows one attempt.
    ///
    /// It also limits each wait for other threads. It does not limit a single call into the library,
    /// which cannot be cancelled: see [`deadline`](Self::deadline).
    #[must_use]
    pub fn recovery_timeout(mut self, timeout: Duration) -> Self {
        self.recovery_timeout = timeout;
        self
    }

    /// Limits how long a caller waits, whatever the library does. The default is 20 seconds more
    /// than the [`recovery_timeout`](Self::recovery_timeout).
    ///
    /// Operations run in threads of their own, at most as many as there may be sessions. That costs
    /// some 8 us an operation on an idle machine, and 30 to 50 us on a busy one; an operation of
    /// SoftHSM takes 26 us or more. A call that hangs keeps its thread until it returns or is replaced
    /// ([`hang_limit`](Self::hang_limit)). Once as many calls hang as there may be sessions,
    /// operations fail without a wait. Changes of keys have at least the recovery timeout.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Deadline::After(deadline);
        self
    }

    /// Runs operations in the thread of their caller, which waits without a limit if a call never
    /// returns.
    #[must_use]
    pub fn no_deadline(mut self) -> Self {
        self.deadline = Deadline::Never;
        self
    }

    /// Sets when a call that has not returned counts as hung. The default is one minute; the
    /// [`recovery_timeout`](Self::recovery_timeout) and the [`deadline`](Self::deadline) are lower
    /// bounds.
    ///
    /// The thread and the session of a hung call are replaced, at most as many as there may be
    /// sessions. Until the call returns, the library cannot be restarted and keys cannot be changed:
    /// these operations fail with [`Error::RestartProcess`].
    #[must_use]
    pub fn hang_limit(mut self, limit: Duration) -> Self {
        self.hang_limit = limit;
        self
    }

    /// Logs in although the token reports that another wrong PIN locks it.
    #[must_use]
    pub fn allow_final_try(mut self) -> Self {
        self.allow_final_try = true;
        self
    }

    /// Accepts keys that can be extracted from the token, or that decrypt and also wrap other keys:
    /// every user of the token can read those keys.
    #[must_use]
    pub fn allow_weak_keys(mut self) -> Self {
        self.allow_weak_keys = true;
        self
    }

    /// Reports reconnects, logins and refused logins to `observer`.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Loads the library. The token itself is searched for at its first use.
    ///
    /// # Errors
    ///
    /// [`Error::Library`], in [`Error::Backend`](crate::Error::Backend).
    pub fn token(&self) -> Result<Token, crate::Error> {
        Ok(Token::open(self.clone())?)
    }

    /// The argument of C_Initialize.
    pub(crate) fn reserved_string(&self) -> Result<Option<CString>, Error> {
        let bytes = self.reserved.clone().map(CString::new).transpose();
        let what = "the reserved argument contains a zero byte".into();
        bytes.map_err(|_| Error::Library { path: self.library.clone(), what })
    }

    /// The deadline of one operation.
    pub(crate) fn longest_wait(&self) -> Option<Duration> {
        match self.deadline {
            // Saturates: a timeout without end has a deadline without end.
            Deadline::AfterRecovery => Some(self.recovery_timeout.saturating_add(LAST_CALL)),
            Deadline::After(deadline) => Some(deadline),
            Deadline::Never => None,
        }
    }

    pub(crate) fn logs_in(&self) -> bool {
        !matches!(self.pin, PinSource::None)
    }

    /// Whether the token is the selected one.
    pub(crate) fn matches(&self, info: &TokenInfo) -> bool {
        let same = |wanted: &Option<String>, found: &[u8]| {
            wanted.as_ref().is_none_or(|wanted| wanted.as_bytes() == found)
        };
        same(&self.label, &info.label) && same(&self.serial, &info.serial)
    }

    /// The selection, for messages.
    pub(crate) fn wanted(&self) -> String {
        match (&self.label, &self.serial) {
            (Some(label), Some(serial)) => format!("label {label:?} and serial {serial:?}"),
            (Some(label), None) => format!("label {label:?}"),
            (None, Some(serial)) => format!("serial {serial:?}"),
            (None, None) => "any label".into(),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("library", &self.library)
            .field("label", &self.label)
            .field("serial", &self.serial)
            .field("pin", &self.pin)
            .field("algorithm", &self.algorithm)
            .field("max_sessions", &self.max_sessions)
            .field("recovery_timeout", &self.recovery_timeout)
            .field("deadline", &self.deadline)
            .field("hang_limit", &self.hang_limit)
            .field("allow_weak_keys", &self.allow_weak_keys)
            .finish_non_exhaustive()
    }
}
