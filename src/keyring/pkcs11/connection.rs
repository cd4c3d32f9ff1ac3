//! A connection to one token: its slot, the session that holds the login, sessions to work in, and
//! the objects that are known. It is replaced as a whole when it is of no use any more.

use super::error::{PinFault, Pkcs11Error, WrongTokenAnswer};
use super::failure::{self, Failure};
use super::ffi::{Object, Session, SlotId, TokenCallFailure, TokenInfo, ck};
use super::module::Inside;
use super::object::ObjectName;
use super::options::Pkcs11Options;
use crate::sync::lock;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

/// See the module.
pub(super) struct Connection {
    /// The epoch of the library that all of it belongs to.
    pub(super) epoch: u64,
    pub(super) slot: SlotId,
    /// Never worked in, so that it is whole: a login lasts as long as there is a session.
    anchor: Session,
    pool: Mutex<Pool>,
    given_back: Condvar,
    objects: Mutex<BTreeMap<ObjectName, Object>>,
    /// Keys that have decrypted here what they encrypted when they were tried out.
    proven: Mutex<BTreeSet<ObjectName>>,
}

/// Sessions that nobody works in.
struct Pool {
    idle: Vec<Session>,
    /// How many there are, with those that somebody works in.
    open: usize,
    /// How many there may be.
    most: usize,
    /// Whether this connection was replaced: what comes back is closed.
    retired: bool,
}

impl Connection {
    /// Finds the token, and opens the session that holds the login.
    /// Tells besides whether a login was needed.
    pub(super) fn open(
        inside: &Inside<'_>,
        options: &Pkcs11Options,
    ) -> Result<(Self, bool), Failure> {
        let (slot, info) = find_token(inside, options)?;
        let anchor = inside.open_session(slot)?;
        // One is the anchor.
        let allowed = info.max_sessions.unwrap_or(usize::MAX).saturating_sub(1).max(1);
        let pool = Pool {
            idle: Vec::new(),
            open: 0,
            most: options.max_sessions.min(allowed),
            retired: false,
        };
        let connection = Connection {
            epoch: inside.epoch,
            slot,
            anchor,
            pool: Mutex::new(pool),
            given_back: Condvar::new(),
            objects: Mutex::new(BTreeMap::new()),
            proven: Mutex::new(BTreeSet::new()),
        };
        match connection.log_in(inside, options) {
            Ok(logged_in) => Ok((connection, logged_in)),
            Err(failure) => {
                drop(inside.close_session(anchor));
                Err(failure)
            }
        }
    }

    /// Whether the anchor says that somebody is logged in, or need not be.
    pub(super) fn is_logged_in(
        &self,
        inside: &Inside<'_>,
        options: &Pkcs11Options,
    ) -> Result<bool, TokenCallFailure> {
        Ok(inside.is_logged_in(self.anchor)? || !options.logs_in())
    }

    /// Logs in if nobody is, and tells whether that was needed.
    pub(super) fn log_in(
        &self,
        inside: &Inside<'_>,
        options: &Pkcs11Options,
    ) -> Result<bool, Failure> {
        if self.is_logged_in(inside, options)? {
            return Ok(false);
        }
        // The caller's code: under no lock of ours but the shared one of the library.
        let pin = options.pin.pin().map_err(Failure::Login)?;
        let mut refused = lock(inside.refused_pins());
        // Another thread may have done it meanwhile.
        if self.is_logged_in(inside, options)? {
            return Ok(false);
        }
        let info = inside.token_info(self.slot)?;
        let known = pin.as_ref().and_then(|pin| refused.fault(&info.serial, pin));
        if let Some(fault) = known.or_else(|| warned(&info, options)) {
            return Err(Failure::Login(fault));
        }
        match inside.login(self.anchor, pin.as_ref().map(super::pin::Pin::expose)) {
            Ok(()) => {}
            Err(failure) if failure.code() == Some(ck::CKR_USER_ALREADY_LOGGED_IN) => {}
            Err(failure) => {
                let Some(fault) = pin_fault(&failure) else { return Err(failure.into()) };
                if let Some(pin) = &pin {
                    refused.note(&info.serial, pin, fault.clone());
                }
                return Err(Failure::Login(fault));
            }
        }
        drop(refused);
        if self.is_logged_in(inside, options)? {
            return Ok(true);
        }
        Err(Failure::Login(PinFault::Ignored))
    }

    /// A session to work in.
    pub(super) fn take(
        &self,
        inside: &Inside<'_>,
        options: &Pkcs11Options,
    ) -> Result<Session, Failure> {
        let started = Instant::now();
        let mut pool = lock(&self.pool);
        loop {
            if let Some(session) = pool.idle.pop() {
                return Ok(session);
            }
            if pool.open < pool.most {
                match inside.open_session(self.slot) {
                    Ok(session) => {
                        pool.open = pool.open.saturating_add(1);
                        return Ok(session);
                    }
                    // Others use the token as well: less has to do.
                    Err(failure)
                        if failure.code() == Some(ck::CKR_SESSION_COUNT) && pool.open > 0 =>
                    {
                        pool.most = pool.open;
                    }
                    Err(failure) => return Err(failure.into()),
                }
            }
            let left = options.patience.saturating_sub(started.elapsed());
            if left.is_zero() {
                return Err(Pkcs11Error::NoSession.into());
            }
            let waited = self.given_back.wait_timeout(pool, left);
            pool = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes back a session whose work went well.
    pub(super) fn give_back(&self, inside: &Inside<'_>, session: Session) {
        let mut pool = lock(&self.pool);
        if pool.retired {
            drop(pool);
            drop(inside.close_session(session));
            return;
        }
        pool.idle.push(session);
        drop(pool);
        self.given_back.notify_one();
    }

    /// Closes a session in which something went wrong; if it is gone, its number is not ours.
    pub(super) fn discard(&self, inside: &Inside<'_>, session: Session, failure: &Failure) {
        let gone = matches!(failure, Failure::Call(failure) if failure::is_session_gone(failure));
        if !gone {
            drop(inside.close_session(session));
        }
        let mut pool = lock(&self.pool);
        pool.open = pool.open.saturating_sub(1);
        drop(pool);
        self.given_back.notify_one();
    }

    /// Ends the use of this connection. Its sessions are closed unless they are `gone`.
    pub(super) fn retire(&self, inside: &Inside<'_>, gone: bool) {
        let mut pool = lock(&self.pool);
        pool.retired = true;
        let idle = core::mem::take(&mut pool.idle);
        drop(pool);
        self.given_back.notify_all();
        if gone || inside.epoch != self.epoch {
            return;
        }
        for session in idle.into_iter().chain([self.anchor]) {
            drop(inside.close_session(session));
        }
    }

    /// The object of a name. It is looked for once: a search takes long on a full token.
    pub(super) fn object(
        &self,
        inside: &Inside<'_>,
        options: &Pkcs11Options,
        session: Session,
        name: &ObjectName,
    ) -> Result<Object, Failure> {
        if let Some(object) = lock(&self.objects).get(name) {
            return Ok(*object);
        }
        let object = match name.find(inside, session, 2)?.as_slice() {
            [] => return Err(self.missing(inside, options)),
            [object] => *object,
            _ => return Err(Failure::KeyNotUnique),
        };
        if !name.is_named(inside, session, object)? {
            return Err(Failure::Wrong(WrongTokenAnswer::OtherObject));
        }
        if let Some(fault) = name.judge(inside, session, object)?
            && !options.allow_weak_keys
        {
            return Err(Failure::WeakKey(fault));
        }
        lock(&self.objects).insert(name.clone(), object);
        Ok(object)
    }

    /// Why nothing was found: keys are hidden from those who are not logged in.
    fn missing(&self, inside: &Inside<'_>, options: &Pkcs11Options) -> Failure {
        match self.is_logged_in(inside, options) {
            Ok(true) => Failure::KeyMissing,
            Ok(false) => Failure::Login(PinFault::Ignored),
            Err(failure) => failure.into(),
        }
    }

    pub(super) fn is_proven(&self, key: &ObjectName) -> bool {
        lock(&self.proven).contains(key)
    }

    pub(super) fn note_proven(&self, key: &ObjectName) {
        lock(&self.proven).insert(key.clone());
    }

    pub(super) fn forget_proven(&self) {
        lock(&self.proven).clear();
    }

    /// Forgets the numbers of all objects: they change with a login on some tokens.
    pub(super) fn forget_objects(&self) {
        lock(&self.objects).clear();
    }
}

/// The one slot whose token has the label and the serial number that were asked for.
fn find_token(
    inside: &Inside<'_>,
    options: &Pkcs11Options,
) -> Result<(SlotId, TokenInfo), Failure> {
    let slots = inside.slots()?;
    let count = slots.len();
    let mut found = Vec::new();
    let mut failed = None;
    for slot in slots {
        // A token that is not asked for may be broken.
        match inside.token_info(slot) {
            Ok(info) if options.wants(&info) => found.push((slot, info)),
            Ok(_) => {}
            Err(failure) => failed = Some(failure),
        }
    }
    if found.len() > 1 {
        // SoftHSM always has one more, which nobody has set up yet.
        found.retain(|(_, info)| info.flags & ck::CKF_TOKEN_INITIALIZED != 0);
    }
    match (found.pop(), failed) {
        (Some(_), _) if !found.is_empty() => {
            Err(Pkcs11Error::TokenNotUnique { wanted: options.wanted() }.into())
        }
        (Some(found), _) => Ok(found),
        (None, Some(failure)) => Err(failure.into()),
        (None, None) => {
            Err(Pkcs11Error::TokenNotFound { wanted: options.wanted(), slots: count }.into())
        }
    }
}

/// What the token's flags forbid.
fn warned(info: &TokenInfo, options: &Pkcs11Options) -> Option<PinFault> {
    if info.flags & ck::CKF_USER_PIN_LOCKED != 0 {
        return Some(PinFault::Locked);
    }
    let last = info.flags & ck::CKF_USER_PIN_FINAL_TRY != 0;
    (last && !options.allow_final_try).then_some(PinFault::FinalTry)
}

fn pin_fault(failure: &TokenCallFailure) -> Option<PinFault> {
    Some(match failure.code()? {
        ck::CKR_PIN_INCORRECT | ck::CKR_PIN_INVALID | ck::CKR_PIN_LEN_RANGE => PinFault::Rejected,
        ck::CKR_PIN_LOCKED => PinFault::Locked,
        ck::CKR_PIN_EXPIRED => PinFault::Expired,
        ck::CKR_USER_PIN_NOT_INITIALIZED => PinFault::NotInitialized,
        ck::CKR_USER_ANOTHER_ALREADY_LOGGED_IN => PinFault::OtherUser,
        _ => return None,
    })
}
