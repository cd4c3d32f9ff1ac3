//! A connection to one token: its slot, the session that holds the login, sessions to work in, and
//! the objects that are known. It is replaced as a whole when it is of no use any more.

use super::error::{PinFault, Pkcs11Error, TokenKeyFault, WrongTokenAnswer};
use super::failure::{self, Failure};
use super::ffi::{Object, Session, SlotId, TokenCallFailure, TokenInfo, ck};
use super::module::Inside;
use super::object::ObjectName;
use super::options::Pkcs11Options;
use crate::sync::lock;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// For how long it is believed that a number is still that of the key. Somebody else in the process
/// who logs out and in again may change that unseen.
const PROOF_LASTS: Duration = Duration::from_millis(100);

/// See the module.
pub(super) struct Connection {
    /// The epoch of the library that all of it belongs to.
    pub(super) epoch: u64,
    pub(super) slot: SlotId,
    /// Never worked in, so that it is whole: a login lasts as long as there is a session.
    anchor: Session,
    pool: Mutex<Pool>,
    given_back: Condvar,
    known: Mutex<Known>,
}

/// What is known of the objects of a token.
#[derive(Default)]
struct Known {
    /// The logins there had been: what was known before another one is void.
    logins: u64,
    objects: BTreeMap<ObjectName, Object>,
    /// When keys last decrypted here what they encrypted when they were tried out.
    proven: BTreeMap<ObjectName, Instant>,
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
    /// Who waits for a session, longest first: those who have just given one back are not
    /// before them.
    waiting: VecDeque<u64>,
    next_ticket: u64,
}

impl Connection {
    /// Finds the token, opens the session that holds the login, and logs in; tells besides whether
    /// that was needed.
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
            waiting: VecDeque::new(),
            next_ticket: 0,
        };
        let connection = Connection {
            epoch: inside.epoch,
            slot,
            anchor,
            pool: Mutex::new(pool),
            given_back: Condvar::new(),
            known: Mutex::new(Known::default()),
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
        // The caller's code, inside of the library: it must not go in a second time.
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
        inside.note_login();
        let answer = inside.login(self.anchor, pin.as_ref().map(super::pin::Pin::expose));
        // And for who began while it was under way.
        inside.note_login();
        match answer {
            Ok(()) => {}
            Err(failure) if failure.code() == Some(ck::CKR_USER_ALREADY_LOGGED_IN) => {}
            Err(failure) => {
                let Some(fault) = pin_fault(&failure) else { return Err(failure.into()) };
                // Neither has to do with the PIN.
                let is_of_pin = !matches!(fault, PinFault::OtherUser | PinFault::NotInitialized);
                if let Some(pin) = pin.as_ref().filter(|_| is_of_pin) {
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
        let mut ticket = None;
        loop {
            if pool.retired {
                self.leave(&mut pool, ticket);
                return Err(Failure::Superseded);
            }
            if pool.waiting.front().is_none_or(|first| Some(*first) == ticket) {
                let taken = self.take_from(&mut pool, inside);
                if !matches!(taken, Ok(None)) {
                    self.leave(&mut pool, ticket);
                    return taken.and_then(|taken| taken.ok_or(Pkcs11Error::NoSession.into()));
                }
            }
            let left = options.patience.saturating_sub(started.elapsed());
            if left.is_zero() {
                self.leave(&mut pool, ticket);
                return Err(Pkcs11Error::NoSession.into());
            }
            if ticket.is_none() {
                ticket = Some(pool.next_ticket);
                let mine = pool.next_ticket;
                pool.waiting.push_back(mine);
                pool.next_ticket = mine.wrapping_add(1);
            }
            let waited = self.given_back.wait_timeout(pool, left);
            pool = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A session that is there, or a new one; `None` if there may be no more.
    fn take_from(&self, pool: &mut Pool, inside: &Inside<'_>) -> Result<Option<Session>, Failure> {
        if let Some(session) = pool.idle.pop() {
            return Ok(Some(session));
        }
        if pool.open >= pool.most {
            return Ok(None);
        }
        match inside.open_session(self.slot) {
            Ok(session) => {
                pool.open = pool.open.saturating_add(1);
                Ok(Some(session))
            }
            // Others use the token as well: less has to do.
            Err(failure) if failure.code() == Some(ck::CKR_SESSION_COUNT) && pool.open > 0 => {
                pool.most = pool.open;
                Ok(None)
            }
            Err(failure) => Err(failure.into()),
        }
    }

    /// Leaves the queue, in which another is first now.
    fn leave(&self, pool: &mut Pool, ticket: Option<u64>) {
        if let Some(ticket) = ticket {
            pool.waiting.retain(|waiting| *waiting != ticket);
            self.given_back.notify_all();
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
        self.given_back.notify_all();
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
        self.given_back.notify_all();
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

    /// The object of a name, for who began after so many logins. It is looked for once: a search
    /// takes long on a full token.
    pub(super) fn object(
        &self,
        inside: &Inside<'_>,
        options: &Pkcs11Options,
        session: Session,
        logins: u64,
        name: &ObjectName,
    ) -> Result<Object, Failure> {
        let known = self.known(logins).and_then(|known| known.objects.get(name).copied());
        if let Some(object) = known {
            return Ok(object);
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
            && (fault == TokenKeyFault::Type || !options.allow_weak_keys)
        {
            return Err(Failure::WeakKey(fault));
        }
        if let Some(mut known) = self.known(logins) {
            known.objects.insert(name.clone(), object);
        }
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

    /// Whether a key has proven here, a moment ago, that it is the one that was tried out.
    pub(super) fn is_proven(&self, logins: u64, key: &ObjectName) -> bool {
        let proven = self.known(logins).and_then(|known| known.proven.get(key).copied());
        proven.is_some_and(|proven| proven.elapsed() < PROOF_LASTS)
    }

    pub(super) fn note_proven(&self, logins: u64, key: &ObjectName) {
        if let Some(mut known) = self.known(logins) {
            known.proven.insert(key.clone(), Instant::now());
        }
    }

    /// What is known since so many logins; `None` to who began before the last one.
    fn known(&self, logins: u64) -> Option<MutexGuard<'_, Known>> {
        let mut known = lock(&self.known);
        if known.logins < logins {
            *known = Known { logins, ..Known::default() };
        }
        (known.logins == logins).then_some(known)
    }

    /// Forgets the numbers of all objects.
    pub(super) fn forget_objects(&self) {
        let mut known = lock(&self.known);
        *known = Known { logins: known.logins, ..Known::default() };
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
