//! A token that is open: work is done in it until it succeeds, or cannot.

pub(crate) mod call_threads;
pub(crate) mod connection;
pub(crate) mod events;
pub(crate) mod library;
pub(crate) mod options;
pub(crate) mod pin;
pub(crate) mod recovery;
pub(crate) mod semaphore;
pub(crate) mod time_limit;
pub(crate) mod timed_lock;

use self::call_threads::CallThreads;
use self::connection::Connection;
use self::events::EventQueue;
use self::library::{Access, LibraryGuard, LoadedLibrary};
use self::options::Options;
use self::recovery::{Recovery, Step};
use self::semaphore::Semaphore;
use self::time_limit::{TimeLimit, Turn};
use crate::keyring::pkcs11::error::{Error, PinFault};
use crate::keyring::pkcs11::failure::Failure;
use crate::keyring::pkcs11::ffi::{Object, Session, ck};
use crate::keyring::pkcs11::key::known_answers::KnownAnswers;
use crate::keyring::pkcs11::key::object::ObjectName;
use crate::keyring::pkcs11::key::wrap::SelfTest;
use crate::sync::lock;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;
use std::sync::Mutex;

/// A token, for any number of keyrings of this process. A clone is the same token.
///
/// Nothing is asked of it before it is needed: the library is set up, the slot found, and the user
/// logged in at the first wrap or unwrap, or when a key file that the token protects is opened.
///
/// # One owner in a process
///
/// Sessions are this value's own, but a login is the whole process's by the standard, and so are
/// C_Finalize and C_CloseAllSessions: other code that uses the same library in the same process can
/// log us out or end our sessions, and some libraries crash if that happens in the middle of a
/// call. What is lost that way is made anew.
///
/// # After a fork
///
/// A child must not use what its parent opened, and every call says so
/// ([`Error::Forked`]): open the token anew there.
#[derive(Clone)]
pub struct Token(pub(crate) Arc<Inner>);

/// What all handles of a token share.
pub(crate) struct Inner {
    pub(crate) options: Options,
    pub(crate) module: Arc<LoadedLibrary>,
    connection: Mutex<Option<Arc<Connection>>>,
    /// For one who makes a connection at a time.
    connecting: Turn,
    sessions: Semaphore,
    /// Keys that were tried out in this process.
    pub(crate) tested: Mutex<BTreeMap<ObjectName, Arc<SelfTest>>>,
    /// What the token turned out to do.
    pub(crate) known_answers: Mutex<KnownAnswers>,
    pub(crate) call_threads: CallThreads,
    pub(crate) events: Arc<EventQueue>,
}

impl Token {
    pub(crate) fn new(options: Options) -> Result<Self, Error> {
        if !options.library.is_absolute() {
            let what = "the path has to be absolute".into();
            return Err(Error::Library { path: options.library.clone(), what });
        }
        let module = LoadedLibrary::load(&options.library, options.reserved_string()?)?;
        let call_threads =
            CallThreads::new(options.longest_wait(), options.hang_limit, options.max_sessions);
        let sessions = Semaphore::new(options.max_sessions);
        let events = Arc::new(EventQueue::new(options.wanted(), options.observer.clone()));
        Ok(Token(Arc::new(Inner {
            options,
            module,
            connection: Mutex::new(None),
            connecting: Turn::new(),
            sessions,
            tested: Mutex::new(BTreeMap::new()),
            known_answers: Mutex::new(KnownAnswers::default()),
            call_threads,
            events,
        })))
    }

    /// Logs in again with a PIN that the token refused before in this process. Only once somebody
    /// has seen to it that it will be taken: tokens lock after few wrong ones.
    pub fn forget_refused_pins(&self) {
        lock(&self.0.module.refused_pins).forget();
    }
}

/// How long the end of a token waits for others that are in its library.
const LAST_TERM: Duration = Duration::from_secs(1);

/// What one attempt works with.
pub(crate) struct Attempt<'a> {
    pub(crate) inside: &'a LibraryGuard<'a>,
    pub(crate) connection: &'a Connection,
    pub(crate) session: Session,
    /// How often anybody had logged in when it began.
    pub(crate) logins: u64,
    limit: &'a TimeLimit,
    options: &'a Options,
}

impl Attempt<'_> {
    /// The object of a name.
    pub(crate) fn object(&self, name: &ObjectName) -> Result<Object, Failure> {
        let (session, logins) = (self.session, self.logins);
        self.connection.object(self.inside, self.options, self.limit, session, logins, name)
    }

    /// Fails if nobody is logged in: then keys are hidden, and that none was found means nothing.
    pub(crate) fn check_login(&self) -> Result<(), Failure> {
        if self.connection.is_logged_in(self.inside, self.options, self.limit)? {
            Ok(())
        } else {
            Err(Failure::Login(PinFault::Ignored))
        }
    }
}

impl Inner {
    /// Before any lock and any thread of ours: a child of a fork has copies of locks that nobody
    /// gives back, and none of the threads.
    pub(crate) fn check_process(&self) -> Result<(), Error> {
        if self.module.is_ours() { Ok(()) } else { Err(Error::Forked) }
    }

    /// Changes keys, or asks what takes long, within the deadline if there is one: no shorter than
    /// the recovery_timeout, since others may have to leave the library first.
    pub(crate) fn change<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Inner) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        self.check_process()?;
        let token = self.clone();
        self.call_threads.call(self.options.recovery_timeout, move || work(&token))?
    }

    /// The time that one operation has from now on.
    pub(crate) fn limit(&self) -> TimeLimit {
        TimeLimit::new(self.options.recovery_timeout, self.options.hang_limit)
    }

    /// Does `operation`, as often as it takes within the limit: it has to be such that doing it again does no harm.
    /// The observer is told by who called from outside, once no lock is held.
    pub(crate) fn run<T>(
        &self,
        access: Access,
        limit: &TimeLimit,
        mut operation: impl FnMut(&Attempt<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut recovery = Recovery::new(*limit);
        loop {
            // Waited for outside: whoever is inside gets on.
            let permit = self.sessions.take(limit)?;
            let step = match self.module.enter(access, limit) {
                Ok(inside) => {
                    let failure = match self.attempt(&inside, limit, &mut operation) {
                        Ok(result) => return Ok(result),
                        Err(failure) => failure,
                    };
                    let epoch = inside.epoch;
                    (self.next_step(&inside, failure, &mut recovery)?, epoch)
                }
                // The library could not be set up.
                Err(Error::Call { failure }) => (recovery.again(Failure::Call(failure))?, 0),
                Err(error) => return Err(error.into()),
            };
            drop(permit);
            recovery.pause();
            if let (Step::Restart(failure), epoch) = step {
                // Nobody is inside any more, this thread not either.
                match self.module.restart(epoch, limit) {
                    Ok(true) => self.events.restarted(),
                    // Not ours to set up anew: a new connection has to do, which comes by itself.
                    Ok(false) => {}
                    Err(Error::Call { failure }) => {
                        recovery.again(Failure::Call(failure)).map(drop)?;
                    }
                    Err(error @ (Error::Hanging { .. } | Error::RestartProcess { .. })) => {
                        return Err(error.into());
                    }
                    Err(_) => return Err(failure),
                }
            }
        }
    }

    fn attempt<T>(
        &self,
        inside: &LibraryGuard<'_>,
        limit: &TimeLimit,
        operation: &mut dyn FnMut(&Attempt<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let options = &self.options;
        let connection = self.connect(inside, limit)?;
        let session = connection.take(inside).inspect_err(|failure| {
            let call = if let Failure::Call(call) = failure { call.code() } else { None };
            if call == Some(ck::CKR_SESSION_COUNT) {
                self.sessions.lower();
            }
        })?;
        let logins = inside.logins();
        let work = Attempt { inside, connection: &connection, session, logins, limit, options };
        let mut outcome = operation(&work);
        if inside.logins() != logins {
            // Objects may have changed their numbers under it: neither success nor failure counts.
            outcome = Err(Failure::Superseded);
        }
        match outcome {
            Ok(result) => {
                connection.give_back(inside, session);
                Ok(result)
            }
            Err(failure) => {
                connection.discard(inside, session, &failure);
                Err(failure)
            }
        }
    }

    /// The connection there is, or a new one.
    fn connect(
        &self,
        inside: &LibraryGuard<'_>,
        limit: &TimeLimit,
    ) -> Result<Arc<Connection>, Failure> {
        if let Some(connection) = self.connection(inside) {
            return Ok(connection);
        }
        let _turn = self.connecting.take(limit)?;
        if let Some(connection) = self.connection(inside) {
            return Ok(connection);
        }
        let opened = Connection::open(inside, &self.options, limit).inspect_err(|failure| {
            if let Failure::Login(fault) = failure {
                self.events.login_refused(fault);
            }
        });
        let (connection, logged_in) = opened?;
        let connection = Arc::new(connection);
        self.sessions.limit(connection.most);
        *lock(&self.connection) = Some(connection.clone());
        self.events.connected(logged_in);
        Ok(connection)
    }

    /// The connection of this epoch, if there is one.
    pub(crate) fn connection(&self, inside: &LibraryGuard<'_>) -> Option<Arc<Connection>> {
        lock(&self.connection).clone().filter(|it| it.epoch == inside.epoch)
    }

    /// Gives a connection up, unless another thread has replaced it already.
    pub(crate) fn disconnect(
        &self,
        inside: &LibraryGuard<'_>,
        old: &Arc<Connection>,
        gone: bool,
        limit: &TimeLimit,
    ) {
        let mut current = lock(&self.connection);
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, old)) {
            *current = None;
            drop(current);
            old.retire(inside, gone, limit);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // In a child of a fork they are the parent's.
        if !self.module.is_ours() {
            return;
        }
        let Some(connection) = lock(&self.connection).take() else { return };
        // Others may hang inside, for whom nobody waits here.
        let limit = TimeLimit::new(LAST_TERM, self.options.hang_limit);
        if let Ok(inside) = self.module.enter(Access::Shared, &limit) {
            connection.retire(&inside, false, &limit);
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("options", &self.0.options).finish_non_exhaustive()
    }
}
