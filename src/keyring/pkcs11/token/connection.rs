//! A connection to a token: its slot, the session that keeps the login, a pool of sessions, and known
//! object handles. A connection that fails is replaced as a whole.

use super::Attempt;
use super::events::{TokenEvent, TokenEvents};
use super::library::LibraryGuard;
use super::options::Options;
use super::pin::Pin;
use super::recovery::is_session_gone;
use super::semaphore::Semaphore;
use super::slot::find_token;
use super::timed_lock::TimedLock;
use crate::keyring::pkcs11::error::{KeyWeakness, PinFault, WrongResponse};
use crate::keyring::pkcs11::failure::{self, Failure};
use crate::keyring::pkcs11::ffi::{
    CallFailure, ObjectHandle, Session, SessionHandle, SlotId, TokenInfo, ck,
};
use crate::keyring::pkcs11::key::object::ObjectName;
use crate::sync::lock;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

/// For how long a proven handle counts as that of the key. Other code in the process can change it
/// unnoticed, by a logout and a login.
const PROOF_LASTS: Duration = Duration::from_millis(100);

/// A connection of one epoch of the library.
pub(crate) struct Connection {
    options: Arc<Options>,
    pub(crate) epoch: u64,
    pub(crate) slot: SlotId,
    /// How many sessions may be used at once.
    max_sessions: usize,
    /// The session that keeps the login, which lasts as long as a session is open. No operation
    /// uses it. `None` after it was closed.
    login_session: Mutex<Option<SessionHandle>>,
    /// Locked during each call in the login session.
    login_calls: TimedLock,
    pool: Mutex<SessionPool>,
    known: Mutex<Known>,
}

/// Known objects of a token.
#[derive(Default)]
struct Known {
    /// The login count. Another login invalidates what is known.
    logins: u64,
    handles: BTreeMap<ObjectName, ObjectHandle>,
    /// When keys last decrypted the canary of their self-test.
    proven: BTreeMap<ObjectName, Instant>,
}

/// Idle sessions.
#[derive(Default)]
struct SessionPool {
    idle: Vec<SessionHandle>,
    /// Whether the connection was replaced: returned sessions are closed.
    is_retired: bool,
}

impl Connection {
    /// Finds the token, opens the login session and logs in. Returns whether a login was needed.
    fn open(library: &LibraryGuard<'_>, options: &Arc<Options>) -> Result<(Self, bool), Failure> {
        let (slot, info) = find_token(library, options)?;
        let login_session = library.open_session(slot)?;
        // The login session takes one of the token's sessions.
        let allowed = info.max_sessions.map_or(usize::MAX, |most| most.max(2) - 1);
        let connection = Connection {
            options: options.clone(),
            epoch: library.epoch,
            slot,
            max_sessions: options.max_sessions.min(allowed),
            login_session: Mutex::new(Some(login_session)),
            login_calls: TimedLock::new(),
            pool: Mutex::new(SessionPool::default()),
            known: Mutex::new(Known::default()),
        };
        match connection.log_in(library) {
            Ok(logged_in) => Ok((connection, logged_in)),
            Err(failure) => {
                connection.retire(library, is_session_gone(&failure));
                Err(failure)
            }
        }
    }

    /// Whether the user is logged in, or need not be.
    pub(crate) fn is_logged_in(&self, library: &LibraryGuard<'_>) -> Result<bool, Failure> {
        let is_logged_in = self.in_login_session(library, |session| session.is_logged_in())?;
        Ok(is_logged_in || !self.options.logs_in())
    }

    /// Makes a call in the login session.
    fn in_login_session<T>(
        &self,
        library: &LibraryGuard<'_>,
        call: impl FnOnce(Session<'_>) -> Result<T, CallFailure>,
    ) -> Result<T, Failure> {
        let _calls = self.login_calls.exclusive(&library.limit)?;
        let login_session = (*lock(&self.login_session)).ok_or(Failure::Superseded)?;
        Ok(call(library.session(login_session))?)
    }

    /// Logs in if needed. Returns whether it was.
    pub(crate) fn log_in(&self, library: &LibraryGuard<'_>) -> Result<bool, Failure> {
        if self.is_logged_in(library)? {
            return Ok(false);
        }
        // A callback runs inside the library: it must not enter a second time.
        let pin = self.options.pin.pin().map_err(Failure::Login)?;
        let login = library.loaded.login.exclusive(&library.limit)?;
        // Another thread may have logged in since.
        if self.is_logged_in(library)? {
            return Ok(false);
        }
        let info = library.functions.token_info(self.slot)?;
        let refused =
            pin.as_ref().and_then(|it| lock(&library.loaded.refused_pins).fault(&info.serial, it));
        if let Some(fault) = refused.or_else(|| flagged(&info, &self.options)) {
            return Err(Failure::Login(fault));
        }
        library.count_login();
        let answer =
            self.in_login_session(library, |session| session.login(pin.as_ref().map(Pin::expose)));
        // Again, for an operation that began during the login.
        library.count_login();
        match answer {
            Ok(()) => {}
            Err(failure) if failure.code() == Some(ck::CKR_USER_ALREADY_LOGGED_IN) => {}
            Err(Failure::Call(failure)) => {
                let Some(fault) = failure::pin_fault(&failure) else { return Err(failure.into()) };
                // These two do not depend on the PIN.
                let is_of_pin = !matches!(fault, PinFault::OtherUser | PinFault::NotInitialized);
                if let Some(pin) = pin.as_ref().filter(|_| is_of_pin) {
                    lock(&library.loaded.refused_pins).record(&info.serial, pin, fault.clone());
                }
                return Err(Failure::Login(fault));
            }
            Err(failure) => return Err(failure),
        }
        drop(login);
        if self.is_logged_in(library)? { Ok(true) } else { Err(Failure::Login(PinFault::Ignored)) }
    }

    /// An idle session, or a new one. The caller has a permit.
    pub(crate) fn take_session(
        &self,
        library: &LibraryGuard<'_>,
    ) -> Result<SessionHandle, Failure> {
        let mut pool = lock(&self.pool);
        if pool.is_retired {
            return Err(Failure::Superseded);
        }
        let idle = pool.idle.pop();
        drop(pool);
        Ok(match idle {
            Some(session) => session,
            None => library.open_session(self.slot)?,
        })
    }

    /// Returns a session after a success.
    pub(crate) fn return_session(&self, library: &LibraryGuard<'_>, session: SessionHandle) {
        let mut pool = lock(&self.pool);
        // There are too many after the return of a hung call whose permit was replaced.
        if pool.is_retired || pool.idle.len() >= self.max_sessions {
            drop(pool);
            library.end_session(session, false);
        } else {
            pool.idle.push(session);
        }
    }

    /// Ends the use of this connection, and closes its idle sessions and the login session, or forgets them
    /// if they are gone. Sessions in use are closed by their users.
    fn retire(&self, library: &LibraryGuard<'_>, is_gone: bool) {
        let mut pool = lock(&self.pool);
        pool.is_retired = true;
        let idle = core::mem::take(&mut pool.idle);
        drop(pool);
        // A hung call in the login session keeps it.
        let calls = self.login_calls.exclusive(&library.limit);
        let login_session = calls.as_ref().ok().and_then(|_| lock(&self.login_session).take());
        // Handles of an earlier epoch may belong to other sessions now.
        if library.epoch != self.epoch {
            return;
        }
        for session in idle.into_iter().chain(login_session) {
            library.end_session(session, is_gone);
        }
    }

    /// Looks up an object handle.
    ///
    /// A handle is searched for once, since a search takes long on a full token.
    pub(crate) fn object(
        &self,
        attempt: &Attempt<'_>,
        name: &ObjectName,
    ) -> Result<ObjectHandle, Failure> {
        let Attempt { library, session, logins, .. } = *attempt;
        if let Some(object) = self.known(logins).and_then(|it| it.handles.get(name).copied()) {
            return Ok(object);
        }
        let object = match name.find(session, 2)?.as_slice() {
            [] => return Err(self.missing(library)),
            [object] => *object,
            _ => return Err(Failure::KeyNotUnique),
        };
        if !name.is_named(session, object)? {
            return Err(Failure::Wrong(WrongResponse::OtherObject));
        }
        if let Some(weakness) = name.weakness(session, object)?
            && (weakness == KeyWeakness::Type || !self.options.allow_weak_keys)
        {
            return Err(Failure::WeakKey(weakness));
        }
        if let Some(mut known) = self.known(logins) {
            known.handles.insert(name.clone(), object);
        }
        Ok(object)
    }

    /// The reason for an empty search result: without a login, keys are hidden.
    fn missing(&self, library: &LibraryGuard<'_>) -> Failure {
        match self.is_logged_in(library) {
            Ok(true) => Failure::KeyMissing,
            Ok(false) => Failure::Login(PinFault::Ignored),
            Err(failure) => failure,
        }
    }

    /// Whether the key has recently decrypted the canary of its self-test.
    pub(crate) fn is_proven(&self, logins: u64, key: &ObjectName) -> bool {
        let proven = self.known(logins).and_then(|known| known.proven.get(key).copied());
        proven.is_some_and(|proven| proven.elapsed() < PROOF_LASTS)
    }

    pub(crate) fn record_proof(&self, logins: u64, key: &ObjectName) {
        if let Some(mut known) = self.known(logins) {
            known.proven.insert(key.clone(), Instant::now());
        }
    }

    /// What is known at this login count; `None` after another login.
    fn known(&self, logins: u64) -> Option<MutexGuard<'_, Known>> {
        let mut known = lock(&self.known);
        if known.logins < logins {
            *known = Known { logins, ..Known::default() };
        }
        (known.logins == logins).then_some(known)
    }

    /// Forgets all object handles.
    pub(crate) fn forget_objects(&self) {
        let mut known = lock(&self.known);
        *known = Known { logins: known.logins, ..Known::default() };
    }
}

/// The fault that the flags of the token report.
fn flagged(info: &TokenInfo, options: &Options) -> Option<PinFault> {
    if info.flags & ck::CKF_USER_PIN_LOCKED != 0 {
        return Some(PinFault::Locked);
    }
    let is_last = info.flags & ck::CKF_USER_PIN_FINAL_TRY != 0;
    (is_last && !options.allow_final_try).then_some(PinFault::FinalTry)
}

/// The current connection of a token.
pub(crate) struct Connections {
    options: Arc<Options>,
    current: Mutex<Option<Arc<Connection>>>,
    /// Locked while a connection is made.
    connecting: TimedLock,
    pub(crate) sessions: Semaphore,
    pub(crate) events: Arc<TokenEvents>,
}

impl Connections {
    pub(crate) fn new(options: Arc<Options>) -> Self {
        let events = TokenEvents::new(options.wanted(), options.observer.clone());
        Connections {
            sessions: Semaphore::new(options.max_sessions),
            current: Mutex::new(None),
            connecting: TimedLock::new(),
            events: Arc::new(events),
            options,
        }
    }

    /// The current connection, or a new one.
    pub(crate) fn connect(&self, library: &LibraryGuard<'_>) -> Result<Arc<Connection>, Failure> {
        if let Some(connection) = self.current(library) {
            return Ok(connection);
        }
        let _connecting = self.connecting.exclusive(&library.limit)?;
        if let Some(connection) = self.current(library) {
            return Ok(connection);
        }
        let opened = Connection::open(library, &self.options).inspect_err(|failure| {
            if let Failure::Login(fault) = failure {
                self.events.push(TokenEvent::LoginRefused(fault.clone()));
            }
        });
        let (connection, logged_in) = opened?;
        let connection = Arc::new(connection);
        self.sessions.set_permits(connection.max_sessions);
        *lock(&self.current) = Some(connection.clone());
        self.events.connected(logged_in);
        Ok(connection)
    }

    /// The connection of this epoch.
    pub(crate) fn current(&self, library: &LibraryGuard<'_>) -> Option<Arc<Connection>> {
        lock(&self.current).clone().filter(|it| it.epoch == library.epoch)
    }

    /// Retires `old`, unless another thread has replaced it.
    pub(crate) fn disconnect(
        &self,
        library: &LibraryGuard<'_>,
        old: &Arc<Connection>,
        is_gone: bool,
    ) {
        let mut current = lock(&self.current);
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, old)) {
            *current = None;
            drop(current);
            old.retire(library, is_gone);
        }
    }

    /// Retires the connection of a token that is dropped; `enter` is called if there is one.
    pub(crate) fn close<'l>(&self, enter: impl FnOnce() -> Option<LibraryGuard<'l>>) {
        let Some(connection) = lock(&self.current).take() else { return };
        if let Some(library) = enter() {
            connection.retire(&library, false);
        }
    }
}
