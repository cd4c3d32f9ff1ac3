//! An open token, and the operations on it.

pub(crate) mod call_threads;
pub(crate) mod connection;
pub(crate) mod events;
pub(crate) mod library;
pub(crate) mod options;
pub(crate) mod pin;
pub(crate) mod recovery;
pub(crate) mod semaphore;
pub(crate) mod slot;
pub(crate) mod time_limit;
pub(crate) mod timed_lock;

use self::call_threads::CallThreads;
use self::connection::{Connection, Connections};
use self::events::TokenEvents;
use self::library::{LibraryAccess, LibraryGuard, LoadedLibrary};
use self::options::Options;
use self::time_limit::TimeLimit;
use crate::keyring::pkcs11::error::{Error, PinFault};
use crate::keyring::pkcs11::failure::Failure;
use crate::keyring::pkcs11::ffi::{ObjectHandle, Session};
use crate::keyring::pkcs11::key::object::ObjectName;
use crate::keyring::pkcs11::key::self_test::{KnownAnswers, SelfTest};
use crate::keyring::pkcs11::report::Report;
use crate::sync::lock;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;
use std::sync::Mutex;

/// A token, for any number of keyrings of this process. A clone is the same token.
///
/// The token is not accessed before its first use: the library is initialised, the slot found and
/// the user logged in at the first wrap or unwrap, or when a catalogue is opened.
///
/// # One user in a process
///
/// The sessions belong to this value, but PKCS#11 defines a login, C_Finalize and
/// C_CloseAllSessions for the whole process: other code that uses the same library in the same
/// process can log the user out and close sessions, and some libraries crash if that happens during
/// a call. The token recovers from lost sessions and logins.
///
/// # After a fork
///
/// A child process must open the token again: every operation on its parent's token fails with
/// [`Error::Forked`].
#[derive(Clone)]
pub struct Token(pub(crate) Arc<OpenToken>);

/// The state that all clones of a [`Token`] share.
pub(crate) struct OpenToken {
    pub(crate) options: Arc<Options>,
    library: Arc<LoadedLibrary>,
    connections: Connections,
    call_threads: CallThreads,
    /// Self-tests of keys in this process.
    pub(crate) self_tests: Mutex<BTreeMap<ObjectName, Arc<SelfTest>>>,
    /// Known-answer tests in this process, by wrap algorithm.
    pub(crate) known_answers: Mutex<BTreeMap<u8, KnownAnswers>>,
}

/// How long the drop of a token waits for calls of other threads.
const DROP_TIMEOUT: Duration = Duration::from_secs(1);

/// The environment of one attempt of an operation.
pub(crate) struct Attempt<'a> {
    pub(crate) library: &'a LibraryGuard<'a>,
    pub(crate) connection: &'a Connection,
    pub(crate) session: Session<'a>,
    /// The login count when it began.
    pub(crate) logins: u64,
}

impl Attempt<'_> {
    /// The handle of an object.
    pub(crate) fn object(&self, name: &ObjectName) -> Result<ObjectHandle, Failure> {
        self.connection.object(self, name)
    }

    /// Fails if the user is not logged in: keys are hidden then, so that a search finds none.
    pub(crate) fn check_login(&self) -> Result<(), Failure> {
        if self.connection.is_logged_in(self.library)? {
            Ok(())
        } else {
            Err(Failure::Login(PinFault::Ignored))
        }
    }
}

impl Token {
    pub(crate) fn open(options: Options) -> Result<Self, Error> {
        if !options.library.is_absolute() {
            let what = "its path is not absolute".into();
            return Err(Error::Library { path: options.library, what });
        }
        let options = Arc::new(options);
        Ok(Token(Arc::new(OpenToken {
            library: LoadedLibrary::load(&options.library, options.reserved_string()?)?,
            connections: Connections::new(options.clone()),
            call_threads: CallThreads::new(
                options.longest_wait(),
                options.hang_limit,
                options.max_sessions,
            ),
            self_tests: Mutex::default(),
            known_answers: Mutex::default(),
            options,
        })))
    }

    /// Allows a PIN that the token has refused in this process to be tried again. Call it only once
    /// the PIN is known to be right: tokens lock after a few wrong ones.
    pub fn forget_refused_pins(&self) {
        lock(&self.0.library.refused_pins).forget();
    }

    /// Tests what the token supports, with keys that last for a session. Leaves nothing on the token.
    ///
    /// # Errors
    ///
    /// [`Error::Backend`](crate::Error::Backend), if the token cannot be reached. The report
    /// says which functions the token does not support.
    pub fn probe(&self) -> Result<Report, crate::Error> {
        let report = self.change(Report::of);
        self.events().publish();
        Ok(report.map_err(Error::from)?)
    }

    pub(crate) fn events(&self) -> &Arc<TokenEvents> {
        &self.0.connections.events
    }

    /// Runs `work` within the deadline. Work that the recovery timeout bounds has at least that
    /// long, since other calls may have to leave the library first.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        least: Duration,
        work: impl FnOnce(&Token) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        // Before any lock and any thread: a child of a fork has none of the threads, and its copies
        // of locks may stay locked.
        self.0.library.check_process()?;
        let token = self.clone();
        self.0.call_threads.call(least, move || work(&token))?
    }

    /// Runs a change of keys, or another slow operation.
    pub(crate) fn change<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Token) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        self.call(self.0.options.recovery_timeout, work)
    }

    /// The time of an operation that begins now.
    pub(crate) fn time_limit(&self) -> TimeLimit {
        TimeLimit::new(self.0.options.recovery_timeout, self.0.options.hang_limit)
    }
}

impl Drop for OpenToken {
    fn drop(&mut self) {
        // In a child of a fork the sessions belong to the parent.
        if self.library.check_process().is_err() {
            return;
        }
        // Calls of other threads may hang.
        let limit = TimeLimit::new(DROP_TIMEOUT, self.options.hang_limit);
        self.connections.close(|| self.library.enter(LibraryAccess::Shared, &limit).ok());
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("options", &self.0.options).finish_non_exhaustive()
    }
}
