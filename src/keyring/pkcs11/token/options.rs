//! Which token, how to log in, and how patient to be.

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

/// How a token is opened: its library, its label or serial number, its PIN.
///
/// ```no_run
/// # fn main() -> Result<(), envelock::Error> {
/// use envelock::{Pkcs11Keyring, pkcs11::Options};
///
/// let token = Options::new("/usr/lib/softhsm/libsofthsm2.so")
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
/// The library is code that runs in this process: its path belongs to the administrator's
/// configuration, and is never taken from a message or a key file.
#[derive(Clone)]
pub struct Options {
    pub(crate) library: PathBuf,
    pub(crate) reserved: Option<String>,
    pub(crate) label: Option<String>,
    pub(crate) serial: Option<String>,
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
    BeyondPatience,
    After(Duration),
    Never,
}

/// What a single call may take when there is no time left for another attempt.
const BEYOND_PATIENCE: Duration = Duration::from_secs(20);

impl Options {
    /// The library at the absolute path `library`, and the defaults. Nothing is loaded yet.
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
            deadline: Deadline::BeyondPatience,
            hang_limit: Duration::from_secs(60),
            allow_final_try: false,
            allow_weak_keys: false,
            observer: None,
        }
    }

    /// The token of this label. Numbers of slots change, so there is no way to ask for one.
    #[must_use]
    pub fn token_label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// The token of this serial number; together with a label, both have to be the token's.
    #[must_use]
    pub fn token_serial(mut self, serial: impl Into<String>) -> Self {
        self.serial = Some(serial.into());
        self
    }

    /// Asks `callback` for the PIN, at each login: at the first use, and after the token lost it.
    ///
    /// It runs in a thread of the token (in that of the caller where there is
    /// [no deadline](Self::no_deadline)), and must not use a token of the same library itself.
    #[must_use]
    pub fn pin_from(
        mut self,
        callback: impl Fn() -> Result<Pin, PinError> + Send + Sync + 'static,
    ) -> Self {
        self.pin = PinSource::Callback(Arc::new(callback));
        self
    }

    /// Reads the PIN from a file at each login: its content without a line end. Others than its
    /// owner must not be able to read or write it (mode 0600 or 0400);
    /// [`pin_file_with`](Self::pin_file_with) accepts what platforms hand out.
    #[must_use]
    pub fn pin_file(self, path: impl AsRef<Path>) -> Self {
        self.pin_file_with(path, FileRules::new())
    }

    /// As [`pin_file`](Self::pin_file), of a mode that `rules` accept: Docker and Compose give
    /// secrets mode 0444, Kubernetes with `fsGroup` 0440. Its owner is not looked at.
    #[must_use]
    pub fn pin_file_with(mut self, path: impl AsRef<Path>, rules: FileRules) -> Self {
        self.pin = PinSource::File(path.as_ref().to_path_buf(), rules);
        self
    }

    /// The token asks for the PIN by itself, on a pad of its own.
    #[must_use]
    pub fn protected_authentication(mut self) -> Self {
        self.pin = PinSource::Protected;
        self
    }

    /// What the library wants to be told when it is set up (`pReserved`): NSS has its
    /// configuration there. It counts where a library is first used in a process.
    #[must_use]
    pub fn reserved(mut self, reserved: impl Into<String>) -> Self {
        self.reserved = Some(reserved.into());
        self
    }

    /// Makes new keys for this wrap algorithm, 2 or 3, instead of the best one that the token
    /// turns out to have. Keys there are keep theirs.
    #[must_use]
    pub fn algorithm(mut self, algorithm: WrapAlgorithm) -> Self {
        self.algorithm = Some(algorithm);
        self
    }

    /// The number under which the token has AES-GCM, if that is a vendor's and not `CKM_AES_GCM`.
    #[must_use]
    pub fn gcm_mechanism(mut self, number: core::ffi::c_ulong) -> Self {
        self.gcm_mechanism = Some(number);
        self
    }

    /// The most sessions at once, one for each thread that is in the token. The default is 16, and
    /// never more than the token says it can have.
    #[must_use]
    pub fn max_sessions(mut self, most: usize) -> Self {
        self.max_sessions = most.max(1);
        self
    }

    /// For how long an operation goes on trying to recover a token that lost its sessions or its
    /// login, or was restarted, however many attempts that takes. The default is ten seconds; zero
    /// tries once. It also bounds each wait for others that are in the token. One call to the library
    /// may take longer, and cannot be cut off: see [`deadline`](Self::deadline).
    #[must_use]
    pub fn recovery_timeout(mut self, recovery_timeout: Duration) -> Self {
        self.recovery_timeout = recovery_timeout;
        self
    }

    /// How long a caller waits at the most, whatever the library does. The default is 20 seconds
    /// more than [`recovery_timeout`](Self::recovery_timeout).
    ///
    /// Operations are made in threads of their own, at most as many as there may be sessions: that
    /// costs some 8 us each on an idle machine, and 30 to 50 us on a busy one, where one by SoftHSM
    /// takes 26 us and more. One that hangs keeps its thread until it comes back or is given up
    /// ([`hang_limit`](Self::hang_limit)); once so many hang as there may be sessions, callers are
    /// told at once. Changes of keys have as long as the recovery_timeout where that is longer.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Deadline::After(deadline);
        self
    }

    /// Operations are made in the thread of their caller, who waits for as long as the library
    /// takes: for ever, if a call never returns.
    #[must_use]
    pub fn no_deadline(mut self) -> Self {
        self.deadline = Deadline::Never;
        self
    }

    /// After how long a call that has not returned is given up. The default is a minute, and it is
    /// never less than [`recovery_timeout`](Self::recovery_timeout) and [`deadline`](Self::deadline).
    ///
    /// What a call that is given up had is replaced: its thread, its session. As many may be given
    /// up as there may be sessions. What must not be done under a call that is still inside of the
    /// library is not done any more: setting the library up anew, changes of keys. Then
    /// [`Error::RestartProcess`] says so, for as long as the calls do not return.
    #[must_use]
    pub fn hang_limit(mut self, limit: Duration) -> Self {
        self.hang_limit = limit;
        self
    }

    /// Logs in although the token says that one more wrong PIN locks it.
    #[must_use]
    pub fn allow_final_try(mut self) -> Self {
        self.allow_final_try = true;
        self
    }

    /// Uses keys of the token that can be read out, or that may wrap other keys beside decrypting:
    /// whoever may use the token can then get them.
    #[must_use]
    pub fn allow_weak_keys(mut self) -> Self {
        self.allow_weak_keys = true;
        self
    }

    /// Tells `observer` of reconnects and logins, and of logins that were refused.
    #[must_use]
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Loads the library. The token itself is looked for when it is first needed.
    ///
    /// # Errors
    ///
    /// [`Error::Library`], in [`Error::Backend`](crate::Error::Backend).
    pub fn token(&self) -> Result<Token, crate::Error> {
        Ok(Token::new(self.clone())?)
    }

    /// What C_Initialize is told.
    pub(crate) fn reserved_string(&self) -> Result<Option<CString>, Error> {
        let bytes = self.reserved.clone().map(CString::new).transpose();
        let what = "what it is to be told has a zero byte in it".into();
        bytes.map_err(|_| Error::Library { path: self.library.clone(), what })
    }

    /// The deadline of one operation.
    pub(crate) fn longest_wait(&self) -> Option<Duration> {
        match self.deadline {
            Deadline::BeyondPatience => Some(self.recovery_timeout.saturating_add(BEYOND_PATIENCE)),
            Deadline::After(deadline) => Some(deadline),
            Deadline::Never => None,
        }
    }

    pub(crate) fn logs_in(&self) -> bool {
        !matches!(self.pin, PinSource::None)
    }

    pub(crate) fn wants(&self, info: &TokenInfo) -> bool {
        let same = |wanted: &Option<String>, found: &[u8]| {
            wanted.as_ref().is_none_or(|wanted| wanted.as_bytes() == found)
        };
        same(&self.label, &info.label) && same(&self.serial, &info.serial)
    }

    /// What was asked for, in words.
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
