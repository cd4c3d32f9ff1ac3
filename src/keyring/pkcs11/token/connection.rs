//! A connection to one token: its slot, the session that holds the login, sessions to work in, and
//! the objects that are known. It is replaced as a whole when it is of no use any more.

use super::library::LibraryGuard;
use super::options::Options;
use super::time_limit::{TimeLimit, Turn};
use crate::keyring::pkcs11::error::{Error, KeyWeakness, PinFault, TokenLabel, WrongResponse};
use crate::keyring::pkcs11::failure::{self, Failure};
use crate::keyring::pkcs11::ffi::{CallFailure, Object, Session, SlotId, TokenInfo, ck};
use crate::keyring::pkcs11::key::object::ObjectName;
use crate::sync::lock;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

/// For how long it is believed that a number is still that of the key. Somebody else in the process
/// who logs out and in again may change that unseen.
const PROOF_LASTS: Duration = Duration::from_millis(100);

/// See the module.
pub(crate) struct Connection {
    /// The epoch of the library that all of it belongs to.
    pub(crate) epoch: u64,
    pub(crate) slot: SlotId,
    /// How many sessions may be worked in at once.
    pub(crate) most: usize,
    /// Never worked in, so that it is whole: a login lasts as long as there is a session. `None`
    /// once it was given up.
    anchor: Mutex<Option<Session>>,
    /// For one call in the anchor at a time, its last one included.
    anchor_turn: Turn,
    pool: Mutex<Pool>,
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
#[derive(Default)]
struct Pool {
    idle: Vec<Session>,
    /// Whether this connection was replaced: what comes back is closed.
    retired: bool,
}

impl Connection {
    /// Finds the token, opens the session that holds the login, and logs in; tells besides whether
    /// that was needed.
    pub(crate) fn open(
        inside: &LibraryGuard<'_>,
        options: &Options,
        limit: &TimeLimit,
    ) -> Result<(Self, bool), Failure> {
        let (slot, info) = find_token(inside, options)?;
        let anchor = inside.open_session(slot)?;
        // One is the anchor.
        let allowed = info.max_sessions.unwrap_or(usize::MAX).saturating_sub(1).max(1);
        let connection = Connection {
            epoch: inside.epoch,
            slot,
            most: options.max_sessions.min(allowed),
            anchor: Mutex::new(Some(anchor)),
            anchor_turn: Turn::new(),
            pool: Mutex::new(Pool::default()),
            known: Mutex::new(Known::default()),
        };
        match connection.log_in(inside, options, limit) {
            Ok(logged_in) => Ok((connection, logged_in)),
            Err(failure) => {
                let gone = matches!(&failure, Failure::Call(it) if failure::is_session_gone(it));
                connection.retire(inside, gone, limit);
                Err(failure)
            }
        }
    }

    /// Whether the anchor says that somebody is logged in, or need not be.
    pub(crate) fn is_logged_in(
        &self,
        inside: &LibraryGuard<'_>,
        options: &Options,
        limit: &TimeLimit,
    ) -> Result<bool, Failure> {
        let is_logged_in = self.ask_anchor(limit, |anchor| inside.is_logged_in(anchor))?;
        Ok(is_logged_in || !options.logs_in())
    }

    /// Makes a call in the anchor, which is alone there.
    fn ask_anchor<T>(
        &self,
        limit: &TimeLimit,
        call: impl FnOnce(Session) -> Result<T, CallFailure>,
    ) -> Result<T, Failure> {
        let _turn = self.anchor_turn.take(limit)?;
        let anchor = (*lock(&self.anchor)).ok_or(Failure::Superseded)?;
        Ok(call(anchor)?)
    }

    /// Logs in if nobody is, and tells whether that was needed.
    pub(crate) fn log_in(
        &self,
        inside: &LibraryGuard<'_>,
        options: &Options,
        limit: &TimeLimit,
    ) -> Result<bool, Failure> {
        if self.is_logged_in(inside, options, limit)? {
            return Ok(false);
        }
        // The caller's code, inside of the library: it must not go in a second time.
        let pin = options.pin.pin().map_err(Failure::Login)?;
        let turn = inside.login_turn().take(limit)?;
        // Another thread may have done it meanwhile.
        if self.is_logged_in(inside, options, limit)? {
            return Ok(false);
        }
        let info = inside.token_info(self.slot)?;
        let known =
            pin.as_ref().and_then(|pin| lock(inside.refused_pins()).fault(&info.serial, pin));
        if let Some(fault) = known.or_else(|| warned(&info, options)) {
            return Err(Failure::Login(fault));
        }
        inside.note_login();
        let answer = self.ask_anchor(limit, |anchor| {
            inside.login(anchor, pin.as_ref().map(super::pin::Pin::expose))
        });
        // And for who began while it was under way.
        inside.note_login();
        match answer {
            Ok(()) => {}
            Err(Failure::Call(failure))
                if failure.code() == Some(ck::CKR_USER_ALREADY_LOGGED_IN) => {}
            Err(Failure::Call(failure)) => {
                let Some(fault) = pin_fault(&failure) else { return Err(failure.into()) };
                // Neither has to do with the PIN.
                let is_of_pin = !matches!(fault, PinFault::OtherUser | PinFault::NotInitialized);
                if let Some(pin) = pin.as_ref().filter(|_| is_of_pin) {
                    lock(inside.refused_pins()).note(&info.serial, pin, fault.clone());
                }
                return Err(Failure::Login(fault));
            }
            Err(failure) => return Err(failure),
        }
        drop(turn);
        if self.is_logged_in(inside, options, limit)? {
            return Ok(true);
        }
        Err(Failure::Login(PinFault::Ignored))
    }

    /// A session to work in, for who has a permit.
    pub(crate) fn take(&self, inside: &LibraryGuard<'_>) -> Result<Session, Failure> {
        let mut pool = lock(&self.pool);
        if pool.retired {
            return Err(Failure::Superseded);
        }
        let idle = pool.idle.pop();
        drop(pool);
        Ok(match idle {
            Some(session) => session,
            None => inside.open_session(self.slot)?,
        })
    }

    /// Takes back a session whose work went well.
    pub(crate) fn give_back(&self, inside: &LibraryGuard<'_>, session: Session) {
        let mut pool = lock(&self.pool);
        // More than may be, where one that was given up has come back.
        if pool.retired || pool.idle.len() >= self.most {
            drop(pool);
            inside.close_session(session);
        } else {
            pool.idle.push(session);
        }
    }

    /// Closes a session in which something went wrong; if it is gone, its number is not ours.
    pub(crate) fn discard(&self, inside: &LibraryGuard<'_>, session: Session, failure: &Failure) {
        if matches!(failure, Failure::Call(failure) if failure::is_session_gone(failure)) {
            inside.forget_session(session);
        } else {
            inside.close_session(session);
        }
    }

    /// Ends the use of this connection. Its sessions are closed unless they are `gone`: those that
    /// nobody works in, and the anchor once nobody is in a call there. Others are closed by those
    /// who work in them.
    pub(crate) fn retire(&self, inside: &LibraryGuard<'_>, gone: bool, limit: &TimeLimit) {
        let mut pool = lock(&self.pool);
        pool.retired = true;
        let idle = core::mem::take(&mut pool.idle);
        drop(pool);
        // One that hangs keeps the anchor.
        let turn = self.anchor_turn.take(limit);
        let anchor = turn.as_ref().ok().and_then(|_| lock(&self.anchor).take());
        // Of an earlier epoch, they are others' by now.
        if inside.epoch != self.epoch {
            return;
        }
        for session in idle.into_iter().chain(anchor) {
            if gone {
                inside.forget_session(session);
            } else {
                inside.close_session(session);
            }
        }
    }

    /// The object of a name, for who began after so many logins. It is looked for once: a search
    /// takes long on a full token.
    pub(crate) fn object(
        &self,
        inside: &LibraryGuard<'_>,
        options: &Options,
        limit: &TimeLimit,
        session: Session,
        logins: u64,
        name: &ObjectName,
    ) -> Result<Object, Failure> {
        let known = self.known(logins).and_then(|known| known.objects.get(name).copied());
        if let Some(object) = known {
            return Ok(object);
        }
        let object = match name.find(inside, session, 2)?.as_slice() {
            [] => return Err(self.missing(inside, options, limit)),
            [object] => *object,
            _ => return Err(Failure::KeyNotUnique),
        };
        if !name.is_named(inside, session, object)? {
            return Err(Failure::Wrong(WrongResponse::OtherObject));
        }
        if let Some(fault) = name.judge(inside, session, object)?
            && (fault == KeyWeakness::Type || !options.allow_weak_keys)
        {
            return Err(Failure::WeakKey(fault));
        }
        if let Some(mut known) = self.known(logins) {
            known.objects.insert(name.clone(), object);
        }
        Ok(object)
    }

    /// Why nothing was found: keys are hidden from those who are not logged in.
    fn missing(&self, inside: &LibraryGuard<'_>, options: &Options, limit: &TimeLimit) -> Failure {
        match self.is_logged_in(inside, options, limit) {
            Ok(true) => Failure::KeyMissing,
            Ok(false) => Failure::Login(PinFault::Ignored),
            Err(failure) => failure,
        }
    }

    /// Whether a key has proven here, a moment ago, that it is the one that was tried out.
    pub(crate) fn is_proven(&self, logins: u64, key: &ObjectName) -> bool {
        let proven = self.known(logins).and_then(|known| known.proven.get(key).copied());
        proven.is_some_and(|proven| proven.elapsed() < PROOF_LASTS)
    }

    pub(crate) fn note_proven(&self, logins: u64, key: &ObjectName) {
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
    pub(crate) fn forget_objects(&self) {
        let mut known = lock(&self.known);
        *known = Known { logins: known.logins, ..Known::default() };
    }
}

/// The one slot whose token has the label and the serial number that were asked for.
fn find_token(
    inside: &LibraryGuard<'_>,
    options: &Options,
) -> Result<(SlotId, TokenInfo), Failure> {
    let slots = inside.slots()?;
    let (mut found, mut others) = (Vec::new(), Vec::new());
    let mut failed = None;
    for slot in slots {
        // A token that is not asked for may be broken.
        match inside.token_info(slot) {
            Ok(info) if options.wants(&info) => found.push((slot, info)),
            Ok(info) => others.push(info.token_label()),
            Err(failure) => failed = Some(failure),
        }
    }
    if found.len() > 1 {
        // SoftHSM always has one more, which nobody has set up yet.
        found.retain(|(_, info)| info.flags & ck::CKF_TOKEN_INITIALIZED != 0);
    }
    if found.len() > 1 {
        let found = found.iter().map(|(_, info)| info.token_label()).collect();
        return Err(Error::TokenNotUnique { wanted: options.wanted(), found }.into());
    }
    match (found.pop(), failed) {
        (Some(found), _) => Ok(found),
        (None, Some(failure)) => Err(failure.into()),
        (None, None) => {
            Err(Error::TokenNotFound { wanted: options.wanted(), found: others }.into())
        }
    }
}

impl TokenInfo {
    /// For people.
    fn token_label(&self) -> TokenLabel {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        TokenLabel {
            label: text(&self.label),
            serial: text(&self.serial),
            is_initialized: self.flags & ck::CKF_TOKEN_INITIALIZED != 0,
        }
    }
}

/// What the token's flags forbid.
fn warned(info: &TokenInfo, options: &Options) -> Option<PinFault> {
    if info.flags & ck::CKF_USER_PIN_LOCKED != 0 {
        return Some(PinFault::Locked);
    }
    let last = info.flags & ck::CKF_USER_PIN_FINAL_TRY != 0;
    (last && !options.allow_final_try).then_some(PinFault::FinalTry)
}

fn pin_fault(failure: &CallFailure) -> Option<PinFault> {
    Some(match failure.code()? {
        ck::CKR_PIN_INCORRECT | ck::CKR_PIN_INVALID | ck::CKR_PIN_LEN_RANGE => PinFault::Rejected,
        ck::CKR_PIN_LOCKED => PinFault::Locked,
        ck::CKR_PIN_EXPIRED => PinFault::Expired,
        ck::CKR_USER_PIN_NOT_INITIALIZED => PinFault::NotInitialized,
        ck::CKR_USER_ANOTHER_ALREADY_LOGGED_IN => PinFault::OtherUser,
        _ => return None,
    })
}
