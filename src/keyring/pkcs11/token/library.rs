//! A PKCS#11 library of this process: loaded once, initialised at its first use, and restarted when
//! a device is lost.

use super::pin::RefusedPins;
use super::time_limit::TimeLimit;
use super::timed_lock::{TimedGuard, TimedLock};
use crate::keyring::pkcs11::error::Error;
use crate::keyring::pkcs11::ffi::{
    CallFailure, CallFault, Function, FunctionList, Session, SessionHandle, SlotId, ck,
};
use crate::sync::{AtomicU64, lock};
use alloc::collections::BTreeSet;
use alloc::ffi::CString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::Ordering;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Every library that this process has loaded. None is unloaded: a library has one state for all its
/// users, and two of them must not initialise it at once.
static LIBRARIES: Mutex<Vec<Arc<LoadedLibrary>>> = Mutex::new(Vec::new());

/// A library and the calls that are inside it.
pub(crate) struct LoadedLibrary {
    path: PathBuf,
    functions: FunctionList,
    /// For C_Initialize.
    reserved: Option<CString>,
    /// The process that loaded it.
    process: u32,
    access: TimedLock,
    /// Changed under exclusive access.
    state: Mutex<InitState>,
    /// Grows with each restart. Sessions and objects of an earlier epoch are invalid: the
    /// library may assign their handles again.
    epoch: AtomicU64,
    /// Grows with each login by any keyring of this process. A token may then assign other
    /// handles to its objects, so that an operation may have used another key.
    logins: AtomicU64,
    /// Sessions that this crate opened. If other code has closed one, the library may assign its
    /// handle again before its user notices. No other user gets that handle until then.
    sessions: Mutex<BTreeSet<SessionHandle>>,
    /// Locked during a login.
    pub(crate) login: TimedLock,
    pub(crate) refused_pins: Mutex<RefusedPins>,
}

/// Whether the library is initialised.
#[derive(Clone, Copy)]
enum InitState {
    No,
    /// By this crate, which therefore may restart it.
    ByUs,
    /// By other code in this process, which would not notice a restart.
    ByOthers,
}

/// The right to call into an initialised library, shared with other threads.
///
/// Lasts as long as a call. Changes of objects and restarts wait until no call is inside: some
/// libraries crash otherwise, and no handle is closed during a call that uses it.
pub(crate) struct LibraryGuard<'a> {
    pub(crate) functions: &'a FunctionList,
    /// The epoch of everything that is done under this guard.
    pub(crate) epoch: u64,
    /// The time of the operation.
    pub(crate) limit: TimeLimit,
    pub(crate) loaded: &'a LoadedLibrary,
    _guard: TimedGuard<'a>,
}

/// Which calls of other threads may be inside at the same time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum LibraryAccess {
    /// Those with shared access: cryptography and queries.
    Shared,
    /// None: changes of objects.
    Exclusive,
}

impl LoadedLibrary {
    /// The library at `path`.
    pub(crate) fn load(path: &Path, reserved: Option<CString>) -> Result<Arc<Self>, Error> {
        let process = std::process::id();
        let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let mut libraries = lock(&LIBRARIES);
        let same = |it: &&Arc<LoadedLibrary>| it.process == process && it.path == path;
        if let Some(library) = libraries.iter().find(same) {
            return Ok(library.clone());
        }
        let loaded = FunctionList::load(&path);
        let functions = loaded.map_err(|what| Error::Library { path: path.clone(), what })?;
        let library = Arc::new(LoadedLibrary {
            path,
            functions,
            reserved,
            process,
            access: TimedLock::new(),
            state: Mutex::new(InitState::No),
            epoch: AtomicU64::default(),
            logins: AtomicU64::default(),
            sessions: Mutex::default(),
            login: TimedLock::new(),
            refused_pins: Mutex::default(),
        });
        libraries.push(library.clone());
        Ok(library)
    }

    /// Enters the library, and initialises it at its first use.
    pub(crate) fn enter(
        &self,
        access: LibraryAccess,
        limit: &TimeLimit,
    ) -> Result<LibraryGuard<'_>, Error> {
        // Before any lock: in a child of a fork its copy may stay locked.
        self.check_process()?;
        if access == LibraryAccess::Shared {
            let guard = self.access.shared(limit)?;
            if !matches!(*lock(&self.state), InitState::No) {
                return Ok(self.guard(guard, limit));
            }
        }
        let guard = self.access.exclusive(limit)?;
        if matches!(*lock(&self.state), InitState::No) {
            self.initialize()?;
        }
        let guard = if access == LibraryAccess::Shared { guard.downgrade() } else { guard };
        Ok(self.guard(guard, limit))
    }

    fn guard<'a>(&'a self, guard: TimedGuard<'a>, limit: &TimeLimit) -> LibraryGuard<'a> {
        let epoch = self.epoch.load(Ordering::Acquire);
        LibraryGuard {
            functions: &self.functions,
            epoch,
            limit: *limit,
            loaded: self,
            _guard: guard,
        }
    }

    fn initialize(&self) -> Result<InitState, Error> {
        let state = match self.functions.initialize(self.reserved.as_deref()) {
            Ok(()) => InitState::ByUs,
            Err(failure) if failure.code() == Some(ck::CKR_CRYPTOKI_ALREADY_INITIALIZED) => {
                InitState::ByOthers
            }
            Err(failure) => return Err(Error::Call { failure }),
        };
        *lock(&self.state) = state;
        Ok(state)
    }

    /// Restarts the library unless its epoch is not `epoch` any more: the only way to recover a lost
    /// device. Returns `false` if other code has initialised it, and not finalised it.
    ///
    /// Waits until no call is inside; a call that never returns prevents a restart.
    pub(crate) fn restart(&self, epoch: u64, limit: &TimeLimit) -> Result<bool, Error> {
        let _exclusive = self.access.exclusive(limit)?;
        if self.epoch.load(Ordering::Acquire) != epoch {
            return Ok(true);
        }
        let before = *lock(&self.state);
        if matches!(before, InitState::ByOthers) {
            if matches!(self.initialize()?, InitState::ByOthers) {
                return Ok(false);
            }
            self.begin_epoch();
            return Ok(true);
        }
        // It fails only if the library is not initialised.
        drop(self.functions.finalize());
        *lock(&self.state) = InitState::No;
        self.begin_epoch();
        self.initialize()?;
        Ok(true)
    }

    fn begin_epoch(&self) {
        lock(&self.sessions).clear();
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Fails in a child (`fork`) of the process that loaded the library.
    pub(crate) fn check_process(&self) -> Result<(), Error> {
        if self.process == std::process::id() { Ok(()) } else { Err(Error::Forked) }
    }
}

impl LibraryGuard<'_> {
    /// The number of logins by this process that have begun or ended.
    pub(crate) fn logins(&self) -> u64 {
        self.loaded.logins.load(Ordering::Acquire)
    }

    /// Counts the begin or the end of a login.
    pub(crate) fn count_login(&self) {
        self.loaded.logins.fetch_add(1, Ordering::AcqRel);
    }

    /// Opens a session for the caller alone. Fails if the library returns a handle that another
    /// caller still uses.
    pub(crate) fn open_session(&self, slot: SlotId) -> Result<SessionHandle, CallFailure> {
        let session = self.functions.open_session(slot)?;
        if lock(&self.loaded.sessions).insert(session) {
            Ok(session)
        } else {
            Err(CallFailure { function: Function::C_OpenSession, fault: CallFault::Handle })
        }
    }

    /// A session that [`open_session`](Self::open_session) has opened.
    pub(crate) fn session(&self, handle: SessionHandle) -> Session<'_> {
        Session { functions: self.functions, handle }
    }

    /// Closes a session that no other caller uses. A session that has ended is only forgotten: its handle
    /// may belong to another caller now.
    pub(crate) fn end_session(&self, session: SessionHandle, is_gone: bool) {
        if !is_gone {
            // After a failure there is nothing left to do.
            drop(self.session(session).close());
        }
        lock(&self.loaded.sessions).remove(&session);
    }
}

impl fmt::Debug for LoadedLibrary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedLibrary").field("path", &self.path).finish_non_exhaustive()
    }
}
