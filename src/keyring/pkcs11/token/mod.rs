//! An open token, on which operations run until they succeed or cannot succeed.

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
use self::connection::{Connection, Connections, discard_session};
use self::events::TokenEvents;
use self::library::{LibraryAccess, LibraryGuard, LoadedLibrary};
use self::options::Options;
use self::recovery::{Recovery, Step, next_step};
use self::time_limit::TimeLimit;
use crate::keyring::pkcs11::error::{Error, PinFault};
use crate::keyring::pkcs11::failure::Failure;
use crate::keyring::pkcs11::ffi::{ObjectHandle, Session, ck};
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
/// a call. The token recovers from what is lost in this way.
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
    pub(crate) session: Session,
    /// The login count when it began.
    pub(crate) logins: u64,
}

impl Attempt<'_> {
    /// The handle of an object.
    pub(crate) fn object(&self, name: &ObjectName) -> Result<ObjectHandle, Failure> {
        self.connection.object(self.library, self.session, self.logins, name)
    }

    /// Fails if the user is not logged in: keys are hidden then, and a search that finds none proves
    /// nothing.
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
            self_tests: Mutex::new(BTreeMap::new()),
            known_answers: Mutex::new(BTreeMap::new()),
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
    /// [`Error::Backend`](crate::Error::Backend), if the token cannot be reached. What the token does
    /// not support is in the report.
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

    /// Runs `operation`, as often as it takes within the limit: a repetition must do no harm.
    pub(crate) fn run<T>(
        &self,
        access: LibraryAccess,
        limit: &TimeLimit,
        mut operation: impl FnMut(&Attempt<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let OpenToken { library, connections, .. } = &*self.0;
        let mut recovery = Recovery::new(*limit);
        loop {
            // Outside the library, so that a wait blocks no call inside.
            let permit = connections.sessions.acquire(limit)?;
            let (step, epoch) = match library.enter(access, limit) {
                Ok(inside) => match attempt(&inside, connections, &mut operation) {
                    Ok(result) => return Ok(result),
                    Err(failure) => {
                        (next_step(&inside, connections, failure, &mut recovery)?, inside.epoch)
                    }
                },
                // C_Initialize failed.
                Err(Error::Call { failure }) => (recovery.retry(Failure::Call(failure))?, 0),
                Err(error) => return Err(error.into()),
            };
            drop(permit);
            recovery.pause();
            if let Step::Restart(failure) = step {
                self.restart(epoch, limit, &mut recovery, failure)?;
            }
        }
    }

    /// Restarts the library. The caller has left it.
    fn restart(
        &self,
        epoch: u64,
        limit: &TimeLimit,
        recovery: &mut Recovery,
        failure: Failure,
    ) -> Result<(), Failure> {
        match self.0.library.restart(epoch, limit) {
            Ok(true) => self.events().restarted(),
            // Other code uses the library: the next attempt makes a new connection.
            Ok(false) => {}
            Err(Error::Call { failure }) => {
                recovery.retry(Failure::Call(failure))?;
            }
            Err(error @ (Error::Hanging { .. } | Error::RestartProcess { .. })) => {
                return Err(error.into());
            }
            Err(_) => return Err(failure),
        }
        Ok(())
    }
}

/// Runs `operation` once, in a session of its own.
fn attempt<T>(
    library: &LibraryGuard<'_>,
    connections: &Connections,
    operation: &mut dyn FnMut(&Attempt<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let connection = connections.connect(library)?;
    let session = connection.take_session(library).inspect_err(|failure| {
        let call = if let Failure::Call(call) = failure { call.code() } else { None };
        if call == Some(ck::CKR_SESSION_COUNT) {
            connections.sessions.lower();
        }
    })?;
    let logins = library.logins();
    let mut outcome = operation(&Attempt { library, connection: &connection, session, logins });
    if library.logins() != logins {
        // Handles may have changed meanwhile: neither a success nor a failure counts.
        outcome = Err(Failure::Superseded);
    }
    match &outcome {
        Ok(_) => connection.return_session(library, session),
        Err(failure) => discard_session(library, session, failure),
    }
    outcome
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
