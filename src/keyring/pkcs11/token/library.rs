//! One library of this process: loaded once, set up when it is first needed, set up anew when a
//! device is dead.

use super::pin::RefusedPins;
use super::time_limit::{TimeLimit, Turn};
use super::timed_lock::{AccessGuard, TimedLock};
use crate::keyring::pkcs11::error::Error;
use crate::keyring::pkcs11::ffi::{
    CallFailure, CallFault, Function, FunctionList, Session, SlotId, ck,
};
use crate::sync::{AtomicU64, lock};
use alloc::collections::BTreeSet;
use alloc::ffi::CString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;
use core::sync::atomic::Ordering;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Every library of this process that a token was opened in, for ever: a library is one instance
/// whoever uses it, and setting it up is not for two to do at once.
static MODULES: Mutex<Vec<Arc<LoadedLibrary>>> = Mutex::new(Vec::new());

/// A library, and who is inside of it.
pub(crate) struct LoadedLibrary {
    path: PathBuf,
    functions: FunctionList,
    /// For C_Initialize.
    reserved: Option<CString>,
    /// The process that loaded it.
    process: u32,
    access: TimedLock,
    /// Changed by who is alone inside.
    state: Mutex<State>,
    /// Grows when the library is set up anew. What has to do with an earlier epoch is void:
    /// numbers of sessions and objects are given out again.
    epoch: AtomicU64,
    /// Grows with each login of ours, whichever keyring's. Tokens number objects anew then, and
    /// give old numbers to others: what was done meanwhile may have been done under another key.
    logins: AtomicU64,
    /// The sessions of ours that somebody may call into. Where others have ended one unseen, its
    /// number may be given out again before its user knows: nobody else goes into it until then.
    sessions: Mutex<BTreeSet<Session>>,
    /// Held during a login.
    pub(crate) login: Turn,
    pub(crate) refused_pins: Mutex<RefusedPins>,
}

/// Whether the library is set up.
#[derive(Clone, Copy)]
enum State {
    No,
    /// By us, so that we may set it up anew.
    ByUs,
    /// By somebody else in this process, who would not know of that.
    ByOthers,
}

/// The right to call into a library that is set up, shared with others.
///
/// Held for as long as a call lasts. A change of a token's objects, and setting the library up
/// anew, wait until nobody is inside: some libraries crash otherwise, and no handle is ended under
/// a call that uses it.
pub(crate) struct LibraryGuard<'a> {
    module: &'a LoadedLibrary,
    _pass: AccessGuard<'a>,
    /// The epoch of all that is done.
    pub(crate) epoch: u64,
}

/// How calls go together with those of other threads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Cryptography and questions.
    Shared,
    /// Changes of objects.
    Exclusive,
}

impl LoadedLibrary {
    /// The library at `path`.
    pub(crate) fn load(path: &Path, reserved: Option<CString>) -> Result<Arc<Self>, Error> {
        let process = std::process::id();
        let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let mut modules = lock(&MODULES);
        let same = |module: &&Arc<LoadedLibrary>| module.process == process && module.path == path;
        if let Some(module) = modules.iter().find(same) {
            return Ok(module.clone());
        }
        let loaded = FunctionList::load(&path);
        let functions = loaded.map_err(|error| Error::library(path.clone(), error))?;
        let module = Arc::new(LoadedLibrary {
            path,
            functions,
            reserved,
            process,
            access: TimedLock::new(),
            state: Mutex::new(State::No),
            epoch: AtomicU64::default(),
            logins: AtomicU64::default(),
            sessions: Mutex::new(BTreeSet::new()),
            login: Turn::new(),
            refused_pins: Mutex::new(RefusedPins::new()),
        });
        modules.push(module.clone());
        Ok(module)
    }

    /// Goes in; the library is set up if it is not.
    pub(crate) fn enter(
        &self,
        access: Access,
        limit: &TimeLimit,
    ) -> Result<LibraryGuard<'_>, Error> {
        // Before any lock: a copy of the process may hold it for ever.
        if !self.is_ours() {
            return Err(Error::Forked);
        }
        if access == Access::Shared {
            let pass = self.access.enter(limit)?;
            if !matches!(*lock(&self.state), State::No) {
                return Ok(self.inside(pass));
            }
        }
        let pass = self.access.enter_alone(limit)?;
        if matches!(*lock(&self.state), State::No) {
            let state = self.initialize()?;
            *lock(&self.state) = state;
        }
        Ok(self.inside(if access == Access::Exclusive { pass } else { pass.share() }))
    }

    fn inside<'a>(&'a self, pass: AccessGuard<'a>) -> LibraryGuard<'a> {
        let epoch = self.epoch.load(Ordering::Acquire);
        LibraryGuard { module: self, _pass: pass, epoch }
    }

    fn initialize(&self) -> Result<State, Error> {
        match self.functions.initialize(self.reserved.as_deref()) {
            Ok(()) => Ok(State::ByUs),
            Err(failure) if failure.code() == Some(ck::CKR_CRYPTOKI_ALREADY_INITIALIZED) => {
                Ok(State::ByOthers)
            }
            Err(failure) => Err(Error::Call { failure }),
        }
    }

    /// Sets the library up anew, unless that was done since `epoch`: the only way back from a
    /// device that was lost. What others set up is left to them, unless they have ended it: then
    /// nobody is disturbed.
    ///
    /// Nobody is inside meanwhile; a call that does not return keeps it from being done.
    pub(crate) fn restart(&self, epoch: u64, limit: &TimeLimit) -> Result<bool, Error> {
        let _alone = self.access.enter_alone(limit)?;
        if self.epoch.load(Ordering::Acquire) != epoch {
            return Ok(true);
        }
        let before = *lock(&self.state);
        if matches!(before, State::ByOthers) {
            let state = self.initialize()?;
            *lock(&self.state) = state;
            if matches!(state, State::ByOthers) {
                return Ok(false);
            }
            self.begin_epoch();
            return Ok(true);
        }
        // Whatever it answers: a library that is not set up says so.
        drop(self.functions.finalize());
        *lock(&self.state) = State::No;
        self.begin_epoch();
        let state = self.initialize()?;
        *lock(&self.state) = state;
        Ok(true)
    }

    fn begin_epoch(&self) {
        lock(&self.sessions).clear();
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether this is the process that loaded the library.
    pub(crate) fn is_ours(&self) -> bool {
        self.process == std::process::id()
    }
}

impl LibraryGuard<'_> {
    /// How often anybody of ours has logged in, or has begun to.
    pub(crate) fn logins(&self) -> u64 {
        self.module.logins.load(Ordering::Acquire)
    }

    /// Notes a login that is about to be tried.
    pub(crate) fn note_login(&self) {
        self.module.logins.fetch_add(1, Ordering::AcqRel);
    }

    /// For one who logs in at a time.
    pub(crate) fn login_turn(&self) -> &Turn {
        &self.module.login
    }

    /// Where PINs that were refused are remembered.
    pub(crate) fn refused_pins(&self) -> &Mutex<RefusedPins> {
        &self.module.refused_pins
    }

    /// Opens a session that is the caller's alone: one whose number is another's of ours is not.
    pub(crate) fn open_session(&self, slot: SlotId) -> Result<Session, CallFailure> {
        let session = self.module.functions.open_session(slot)?;
        if lock(&self.module.sessions).insert(session) {
            Ok(session)
        } else {
            Err(CallFailure { function: Function::C_OpenSession, fault: CallFault::Handle })
        }
    }

    /// Closes a session that nobody else is in.
    pub(crate) fn close_session(&self, session: Session) {
        // Whatever it answers: nothing more can be done about it.
        drop(self.module.functions.close_session(session));
        self.forget_session(session);
    }

    /// Forgets a session that is gone: its number is not ours any more.
    pub(crate) fn forget_session(&self, session: Session) {
        lock(&self.module.sessions).remove(&session);
    }
}
impl Deref for LibraryGuard<'_> {
    type Target = FunctionList;

    fn deref(&self) -> &FunctionList {
        &self.module.functions
    }
}

impl fmt::Debug for LoadedLibrary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedLibrary").field("path", &self.path).finish_non_exhaustive()
    }
}
