//! The controls of the hostile module, and a scene on its token.

use crate::token_env::{CatalogueDirectory, options, variable};
use cryptoki_sys::{CK_FUNCTION_LIST, CK_RV, CKR_OK};
use envelock::keyset::LifecycleError;
use envelock::{
    Aad, BackendError, Envelope, Error, Pkcs11Keyring,
    file::{KeyFileError, KeyFileFault},
    format::WrapAlgorithm,
    pkcs11,
};
use std::cell::Cell;
use std::ffi::{CString, c_char, c_int, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub const ROW: Aad<'static> = Aad::new(b"row");

/// The functions of the module beside those of the standard.
pub struct Hostile {
    command: unsafe extern "C" fn(*const c_char) -> c_int,
    calls: unsafe extern "C" fn(*const c_char) -> u64,
    injected: unsafe extern "C" fn() -> u64,
    overlaps: unsafe extern "C" fn() -> u64,
    list: unsafe extern "C" fn(*mut c_char, usize) -> usize,
    finalize: unsafe extern "C" fn(*mut c_void) -> CK_RV,
    _lock: MutexGuard<'static, ()>,
}

impl Hostile {
    /// Takes the lock, and clears every fault.
    pub fn new() -> Self {
        static LOCK: Mutex<()> = Mutex::new(());
        let guard = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the module of this repository, whose initialisers do nothing, and whose functions
        // have these types (crates/pkcs11-hostile/README.md). It stays loaded.
        let hostile = unsafe {
            let library = libloading::Library::new(variable("ENVELOCK_P11_MODULE")).unwrap();
            let library: &'static libloading::Library = Box::leak(Box::new(library));
            Hostile {
                command: *library.get(b"hostile_command\0").unwrap(),
                calls: *library.get(b"hostile_calls\0").unwrap(),
                injected: *library.get(b"hostile_injected\0").unwrap(),
                overlaps: *library.get(b"hostile_overlaps\0").unwrap(),
                list: *library.get(b"hostile_list\0").unwrap(),
                finalize: finalize(library),
                _lock: guard,
            }
        };
        hostile.send("reset");
        hostile
    }

    pub fn send(&self, command: &str) {
        let text = CString::new(command).unwrap();
        // SAFETY: a string that outlives the call.
        let answer = unsafe { (self.command)(text.as_ptr()) };
        assert_eq!(answer, 0, "{command}");
    }

    /// Finalizes the library without the keyring: its sessions and its login end.
    pub fn finalize(&self) {
        // SAFETY: the argument that the standard asks for. No other call runs: tests hold a lock.
        unsafe { (self.finalize)(std::ptr::null_mut()) };
    }

    /// How often a function was called since the last reset.
    pub fn calls(&self, function: &str) -> u64 {
        let text = CString::new(function).unwrap();
        // SAFETY: a string that outlives the call.
        unsafe { (self.calls)(text.as_ptr()) }
    }

    /// How many faults struck since the last reset.
    pub fn injected(&self) -> u64 {
        // SAFETY: it takes nothing.
        unsafe { (self.injected)() }
    }

    /// How many forbidden overlaps of calls there were since the last reset.
    pub fn overlaps(&self) -> u64 {
        // SAFETY: it takes nothing.
        unsafe { (self.overlaps)() }
    }

    /// Every fault that can be sent as it is.
    pub fn faults(&self) -> Vec<String> {
        // SAFETY: no buffer, then one of the length that is said.
        let text = unsafe {
            let len = (self.list)(std::ptr::null_mut(), 0);
            let mut text = vec![0_u8; len + 1];
            (self.list)(text.as_mut_ptr().cast(), text.len());
            text.truncate(len);
            String::from_utf8(text).unwrap()
        };
        text.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
    }
}

/// C_Finalize of the module's own list.
///
/// # Safety
///
/// `library` is a PKCS#11 library.
unsafe fn finalize(library: &libloading::Library) -> unsafe extern "C" fn(*mut c_void) -> CK_RV {
    type GetFunctionList = unsafe extern "C" fn(*mut *mut CK_FUNCTION_LIST) -> CK_RV;
    let mut list = std::ptr::null_mut();
    // SAFETY: the function has this type in every library, and gives a list that stays.
    unsafe {
        let get: libloading::Symbol<'_, GetFunctionList> =
            library.get(b"C_GetFunctionList\0").unwrap();
        assert_eq!(get(&raw mut list), CKR_OK);
        (*list).C_Finalize.unwrap()
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.send("reset");
    }
}

/// A catalogue on the token, with a message that was made before any fault.
pub struct Scene {
    directory: CatalogueDirectory,
    algorithm: WrapAlgorithm,
    pub message: Vec<u8>,
    /// For how long tokens that are opened here try to recover.
    pub patience: Cell<Duration>,
}

pub const PLAINTEXT: &[u8] = b"must not get lost";

impl Scene {
    pub fn new(algorithm: WrapAlgorithm) -> Self {
        let directory = CatalogueDirectory::new();
        let token = options().algorithm(algorithm).token().unwrap();
        let keyring = directory.create("orders", &token);
        let message = Envelope::new(&keyring).encrypt(PLAINTEXT, ROW).unwrap();
        Scene { directory, algorithm, message, patience: Cell::new(Duration::from_secs(10)) }
    }

    /// Opened by a token that has used none of its keys in this process.
    pub fn open(&self) -> Result<Pkcs11Keyring, Error> {
        let options = options().algorithm(self.algorithm).recovery_timeout(self.patience.get());
        self.open_by(&options.token().unwrap())
    }

    pub fn open_by(&self, token: &pkcs11::Token) -> Result<Pkcs11Keyring, Error> {
        Pkcs11Keyring::open_any(self.directory.path("catalogue"), token)
    }

    pub fn forget_refused_pins(&self) {
        quick(self.algorithm).token().unwrap().forget_refused_pins();
    }

    /// As [`open`](Self::open), with unlimited patience.
    fn open_patiently(&self) -> Result<Pkcs11Keyring, Error> {
        self.open_by(&options().algorithm(self.algorithm).recovery_timeout(LONG).token().unwrap())
    }

    /// Everything is as it was: old and new messages open.
    pub fn check(&self, what: &str) {
        let keyring = self.open_patiently().unwrap_or_else(|error| panic!("{what}: {error:?}"));
        let envelope = Envelope::new(&keyring);
        let opened = envelope.decrypt(&self.message, ROW);
        assert_eq!(opened.unwrap_or_else(|error| panic!("{what}: {error:?}")), PLAINTEXT);
        let message = envelope.encrypt(PLAINTEXT, ROW).unwrap();
        assert_eq!(envelope.decrypt(&message, ROW).unwrap(), PLAINTEXT, "{what}");
    }

    /// Whether a message that was made under a fault opens without it.
    pub fn opens(&self, message: &[u8]) -> bool {
        let keyring = self.open_patiently().unwrap();
        Envelope::new(&keyring).decrypt(message, ROW).is_ok_and(|opened| opened == PLAINTEXT)
    }
}

/// Longer than any operation that ends, on any machine.
pub const LONG: Duration = Duration::from_secs(600);

/// Tries until it succeeds: the time of a recovery depends on the machine.
pub fn until_well<T>(mut work: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let started = Instant::now();
    loop {
        match work() {
            Err(_) if started.elapsed() < LONG / 10 => thread::sleep(Duration::from_millis(10)),
            outcome => return outcome,
        }
    }
}

/// Options that are patient enough for a fault that occurs once.
pub fn quick(algorithm: WrapAlgorithm) -> pkcs11::Options {
    options().algorithm(algorithm).recovery_timeout(Duration::from_secs(10))
}

/// The outcome of an operation on a token, in a word or two.
pub fn verdict<T>(outcome: &Result<T, Error>) -> String {
    match outcome {
        Ok(_) => "ok".into(),
        Err(error) => of_error(error),
    }
}

fn of_error(error: &Error) -> String {
    match error {
        Error::Lifecycle(LifecycleError::NotDestroyed { source, .. }) => of_backend(source),
        Error::Backend(error) => of_backend(error),
        Error::Refused { refusal, .. } => format!("refused: {refusal}"),
        Error::Authentication { .. } => "authentication".into(),
        other => format!("other: {other:?}"),
    }
}

fn of_backend(error: &BackendError) -> String {
    match error.downcast_ref::<KeyFileError>() {
        Some(KeyFileError::Content { fault: KeyFileFault::OuterKeyring(error), .. }) => {
            of_error(error)
        }
        Some(KeyFileError::Content { fault: KeyFileFault::Authentication, .. }) => {
            "authentication".into()
        }
        _ => of_token(error.downcast_ref().unwrap_or_else(|| panic!("{error:?}"))),
    }
}

fn of_token(error: &pkcs11::Error) -> String {
    match error {
        pkcs11::Error::Call { failure } => failure.to_string(),
        pkcs11::Error::Wrong { fault } => fault.to_string(),
        pkcs11::Error::Login { fault } => fault.to_string(),
        pkcs11::Error::WeakKey { fault, .. } => fault.to_string(),
        pkcs11::Error::KeyNotFound { .. } => "key not found".into(),
        pkcs11::Error::KeyNotUnique { .. } => "key not unique".into(),
        pkcs11::Error::TokenNotFound { .. } => "token not found".into(),
        pkcs11::Error::Algorithm { .. } => "no algorithm".into(),
        pkcs11::Error::Deadline { .. } => "deadline".into(),
        pkcs11::Error::Hanging { .. } => "hanging".into(),
        pkcs11::Error::RestartProcess { .. } => "restart the process".into(),
        pkcs11::Error::NoSession => "no session".into(),
        other => format!("other: {other:?}"),
    }
}
