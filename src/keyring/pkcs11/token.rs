//! A token that is open: work is done in it until it succeeds, or cannot.

use super::connection::Connection;
use super::deadline::Workers;
use super::error::{PinFault, Pkcs11Error};
use super::failure::Failure;
use super::ffi::{Object, Session, ck};
use super::ladder::{Ladder, Step};
use super::module::{Access, Inside, Module};
use super::news::News;
use super::object::ObjectName;
use super::operations::Tested;
use super::options::Pkcs11Options;
use super::permits::Permits;
use super::probe::Probed;
use super::term::{Term, Turn};
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
/// ([`Pkcs11Error::Forked`]): open the token anew there.
#[derive(Clone)]
pub struct Pkcs11Token(pub(super) Arc<Token>);

/// What all handles of a token share.
pub(super) struct Token {
    pub(super) options: Pkcs11Options,
    pub(super) module: Arc<Module>,
    connection: Mutex<Option<Arc<Connection>>>,
    /// For one who makes a connection at a time.
    connecting: Turn,
    permits: Permits,
    /// Keys that were tried out in this process.
    pub(super) tested: Mutex<BTreeMap<ObjectName, Arc<Tested>>>,
    /// What the token turned out to do.
    pub(super) probed: Mutex<Probed>,
    pub(super) workers: Workers,
    pub(super) news: Arc<News>,
}

impl Pkcs11Token {
    pub(super) fn new(options: Pkcs11Options) -> Result<Self, Pkcs11Error> {
        if !options.library.is_absolute() {
            let what = "the path has to be absolute".into();
            return Err(Pkcs11Error::Library { path: options.library.clone(), what });
        }
        let module = Module::load(&options.library, options.reserved_string()?)?;
        let workers =
            Workers::new(options.longest_wait(), options.hang_limit, options.max_sessions);
        let permits = Permits::new(options.max_sessions);
        let news = Arc::new(News::new(options.wanted(), options.observer.clone()));
        Ok(Pkcs11Token(Arc::new(Token {
            options,
            module,
            connection: Mutex::new(None),
            connecting: Turn::new(),
            permits,
            tested: Mutex::new(BTreeMap::new()),
            probed: Mutex::new(Probed::default()),
            workers,
            news,
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
pub(super) struct Work<'a> {
    pub(super) inside: &'a Inside<'a>,
    pub(super) connection: &'a Connection,
    pub(super) session: Session,
    /// How often anybody had logged in when it began.
    pub(super) logins: u64,
    term: &'a Term,
    options: &'a Pkcs11Options,
}

impl Work<'_> {
    /// The object of a name.
    pub(super) fn object(&self, name: &ObjectName) -> Result<Object, Failure> {
        let (session, logins) = (self.session, self.logins);
        self.connection.object(self.inside, self.options, self.term, session, logins, name)
    }

    /// Fails if nobody is logged in: then keys are hidden, and that none was found means nothing.
    pub(super) fn check_login(&self) -> Result<(), Failure> {
        if self.connection.is_logged_in(self.inside, self.options, self.term)? {
            Ok(())
        } else {
            Err(Failure::Login(PinFault::Ignored))
        }
    }
}

impl Token {
    /// Before any lock and any thread of ours: a child of a fork has copies of locks that nobody
    /// gives back, and none of the threads.
    pub(super) fn check_process(&self) -> Result<(), Pkcs11Error> {
        if self.module.is_ours() { Ok(()) } else { Err(Pkcs11Error::Forked) }
    }

    /// Changes keys, or asks what takes long, within the deadline if there is one: no shorter than
    /// the patience, since others may have to leave the library first.
    pub(super) fn change<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Token) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        self.check_process()?;
        let token = self.clone();
        self.workers.call(self.options.patience, move || work(&token))?
    }

    /// The time that one operation has from now on.
    pub(super) fn term(&self) -> Term {
        Term::new(self.options.patience, self.options.hang_limit)
    }

    /// Does `operation`, as often as it takes within the term: it has to be such that doing it again does no harm.
    /// The observer is told by who called from outside, once no lock is held.
    pub(super) fn run<T>(
        &self,
        access: Access,
        term: &Term,
        mut operation: impl FnMut(&Work<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut ladder = Ladder::new(*term);
        loop {
            // Waited for outside: whoever is inside gets on.
            let permit = self.permits.take(term)?;
            let step = match self.module.enter(access, term) {
                Ok(inside) => {
                    let failure = match self.attempt(&inside, term, &mut operation) {
                        Ok(result) => return Ok(result),
                        Err(failure) => failure,
                    };
                    let epoch = inside.epoch;
                    (self.next_step(&inside, failure, &mut ladder)?, epoch)
                }
                // The library could not be set up.
                Err(Pkcs11Error::Call { failure }) => (ladder.again(Failure::Call(failure))?, 0),
                Err(error) => return Err(error.into()),
            };
            drop(permit);
            ladder.pause();
            if let (Step::Restart(failure), epoch) = step {
                // Nobody is inside any more, this thread not either.
                match self.module.restart(epoch, term) {
                    Ok(true) => self.news.restarted(),
                    // Not ours to set up anew: a new connection has to do, which comes by itself.
                    Ok(false) => {}
                    Err(Pkcs11Error::Call { failure }) => {
                        ladder.again(Failure::Call(failure)).map(drop)?;
                    }
                    Err(
                        error @ (Pkcs11Error::Hanging { .. } | Pkcs11Error::RestartProcess { .. }),
                    ) => {
                        return Err(error.into());
                    }
                    Err(_) => return Err(failure),
                }
            }
        }
    }

    fn attempt<T>(
        &self,
        inside: &Inside<'_>,
        term: &Term,
        operation: &mut dyn FnMut(&Work<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let options = &self.options;
        let connection = self.connect(inside, term)?;
        let session = connection.take(inside).inspect_err(|failure| {
            let call = if let Failure::Call(call) = failure { call.code() } else { None };
            if call == Some(ck::CKR_SESSION_COUNT) {
                self.permits.lower();
            }
        })?;
        let logins = inside.logins();
        let work = Work { inside, connection: &connection, session, logins, term, options };
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
    fn connect(&self, inside: &Inside<'_>, term: &Term) -> Result<Arc<Connection>, Failure> {
        if let Some(connection) = self.connection(inside) {
            return Ok(connection);
        }
        let _turn = self.connecting.take(term)?;
        if let Some(connection) = self.connection(inside) {
            return Ok(connection);
        }
        let opened = Connection::open(inside, &self.options, term).inspect_err(|failure| {
            if let Failure::Login(fault) = failure {
                self.news.login_refused(fault);
            }
        });
        let (connection, logged_in) = opened?;
        let connection = Arc::new(connection);
        self.permits.limit(connection.most);
        *lock(&self.connection) = Some(connection.clone());
        self.news.connected(logged_in);
        Ok(connection)
    }

    /// The connection of this epoch, if there is one.
    pub(super) fn connection(&self, inside: &Inside<'_>) -> Option<Arc<Connection>> {
        lock(&self.connection).clone().filter(|it| it.epoch == inside.epoch)
    }

    /// Gives a connection up, unless another thread has replaced it already.
    pub(super) fn disconnect(
        &self,
        inside: &Inside<'_>,
        old: &Arc<Connection>,
        gone: bool,
        term: &Term,
    ) {
        let mut current = lock(&self.connection);
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, old)) {
            *current = None;
            drop(current);
            old.retire(inside, gone, term);
        }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        // In a child of a fork they are the parent's.
        if !self.module.is_ours() {
            return;
        }
        let Some(connection) = lock(&self.connection).take() else { return };
        // Others may hang inside, for whom nobody waits here.
        let term = Term::new(LAST_TERM, self.options.hang_limit);
        if let Ok(inside) = self.module.enter(Access::Shared, &term) {
            connection.retire(&inside, false, &term);
        }
    }
}

impl fmt::Debug for Pkcs11Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs11Token").field("options", &self.0.options).finish_non_exhaustive()
    }
}
