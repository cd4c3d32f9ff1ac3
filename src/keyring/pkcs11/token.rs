//! A token that is open: work is done in it until it succeeds, or cannot.

use super::connection::Connection;
use super::deadline::Workers;
use super::error::{PinFault, Pkcs11Error};
use super::failure::Failure;
use super::ffi::{Object, Session};
use super::ladder::{Ladder, Step};
use super::module::{Access, Inside, Module};
use super::news::News;
use super::object::ObjectName;
use super::operations::Tested;
use super::options::Pkcs11Options;
use super::probe::Probed;
use crate::sync::lock;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::fmt;
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
        let workers = Workers::new(options.deadline, options.max_sessions);
        let news = Arc::new(News::new(options.wanted(), options.observer.clone()));
        Ok(Pkcs11Token(Arc::new(Token {
            options,
            module,
            connection: Mutex::new(None),
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

/// What one attempt works with.
pub(super) struct Work<'a> {
    pub(super) inside: &'a Inside<'a>,
    pub(super) connection: &'a Connection,
    pub(super) session: Session,
    /// How often anybody had logged in when it began.
    pub(super) logins: u64,
    options: &'a Pkcs11Options,
}

impl Work<'_> {
    /// The object of a name.
    pub(super) fn object(&self, name: &ObjectName) -> Result<Object, Failure> {
        self.connection.object(self.inside, self.options, self.session, self.logins, name)
    }

    /// Fails if nobody is logged in: then keys are hidden, and that none was found means nothing.
    pub(super) fn check_login(&self) -> Result<(), Failure> {
        if self.connection.is_logged_in(self.inside, self.options)? {
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

    /// Does `operation`, as often as it takes: it has to be such that doing it again does no harm.
    /// The observer is told by who called from outside, once no lock is held.
    pub(super) fn run<T>(
        &self,
        access: Access,
        mut operation: impl FnMut(&Work<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut ladder = Ladder::new(self.options.patience);
        loop {
            let step = match self.module.enter(access) {
                Ok(inside) => {
                    let failure = match self.attempt(&inside, &mut operation) {
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
            ladder.pause();
            if let (Step::Restart(failure), epoch) = step {
                // Nobody is inside any more, this thread not either.
                match self.module.restart(epoch) {
                    Ok(true) => self.news.restarted(),
                    // Not ours to set up anew: a new connection has to do, which comes by itself.
                    Ok(false) => {}
                    Err(Pkcs11Error::Call { failure }) => {
                        ladder.again(Failure::Call(failure)).map(drop)?;
                    }
                    Err(_) => return Err(failure),
                }
            }
        }
    }

    fn attempt<T>(
        &self,
        inside: &Inside<'_>,
        operation: &mut dyn FnMut(&Work<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let options = &self.options;
        let connection = self.connect(inside)?;
        let session = connection.take(inside, options)?;
        let logins = inside.logins();
        let work = Work { inside, connection: &connection, session, logins, options };
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
    fn connect(&self, inside: &Inside<'_>) -> Result<Arc<Connection>, Failure> {
        let mut current = lock(&self.connection);
        if let Some(connection) = current.as_ref().filter(|it| it.epoch == inside.epoch) {
            return Ok(connection.clone());
        }
        let opened = Connection::open(inside, &self.options).inspect_err(|failure| {
            if let Failure::Login(fault) = failure {
                self.news.login_refused(fault);
            }
        });
        let (connection, logged_in) = opened?;
        let connection = Arc::new(connection);
        *current = Some(connection.clone());
        self.news.connected(logged_in);
        Ok(connection)
    }

    /// The connection of this epoch, if there is one.
    pub(super) fn connection(&self, inside: &Inside<'_>) -> Option<Arc<Connection>> {
        lock(&self.connection).clone().filter(|it| it.epoch == inside.epoch)
    }

    /// Gives a connection up, unless another thread has replaced it already.
    pub(super) fn disconnect(&self, inside: &Inside<'_>, old: &Arc<Connection>, gone: bool) {
        let mut current = lock(&self.connection);
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, old)) {
            *current = None;
            drop(current);
            old.retire(inside, gone);
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
        if let Ok(inside) = self.module.enter(Access::Shared) {
            connection.retire(&inside, false);
        }
    }
}

impl fmt::Debug for Pkcs11Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs11Token").field("options", &self.0.options).finish_non_exhaustive()
    }
}
