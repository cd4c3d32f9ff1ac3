//! One library of this process: loaded once, set up when it is first needed, set up anew when a
//! device is dead.

use super::error::Pkcs11Error;
use super::ffi::{Functions, TokenCallFailure, ck};
use super::pin::RefusedPins;
use crate::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, lock};
use alloc::ffi::CString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Deref;
use core::sync::atomic::{AtomicU64, Ordering};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Every library of this process that a token was opened in, for ever: a library is one instance
/// whoever uses it, and setting it up is not for two to do at once.
static MODULES: Mutex<Vec<Arc<Module>>> = Mutex::new(Vec::new());

/// A library, and who is inside of it.
pub(super) struct Module {
    path: PathBuf,
    functions: Functions,
    /// For C_Initialize.
    reserved: Option<CString>,
    /// The process that loaded it.
    process: u32,
    state: RwLock<State>,
    /// Grows when the library is set up anew. What has to do with an earlier epoch is void:
    /// numbers of sessions and objects are given out again.
    epoch: AtomicU64,
    /// Grows with each login of ours, whichever keyring's. Tokens number objects anew then, and
    /// give old numbers to others: what was done meanwhile may have been done under another key.
    logins: AtomicU64,
    /// Held during a login.
    pub(super) refused_pins: Mutex<RefusedPins>,
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
/// anew, wait until nobody is inside, since some libraries crash otherwise.
pub(super) struct Inside<'a> {
    module: &'a Module,
    _guard: Guard<'a>,
    /// The epoch of all that is done.
    pub(super) epoch: u64,
}

enum Guard<'a> {
    Shared { _guard: RwLockReadGuard<'a, State> },
    Alone { _guard: RwLockWriteGuard<'a, State> },
}

/// How calls go together with those of other threads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Cryptography and questions.
    Shared,
    /// Changes of objects.
    Alone,
}

impl Module {
    /// The library at `path`.
    pub(super) fn load(path: &Path, reserved: Option<CString>) -> Result<Arc<Self>, Pkcs11Error> {
        let process = std::process::id();
        let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let mut modules = lock(&MODULES);
        let same = |module: &&Arc<Module>| module.process == process && module.path == path;
        if let Some(module) = modules.iter().find(same) {
            return Ok(module.clone());
        }
        let loaded = Functions::load(&path);
        let functions = loaded.map_err(|error| Pkcs11Error::library(path.clone(), error))?;
        let module = Arc::new(Module {
            path,
            functions,
            reserved,
            process,
            state: RwLock::new(State::No),
            epoch: AtomicU64::new(0),
            logins: AtomicU64::new(0),
            refused_pins: Mutex::new(RefusedPins::new()),
        });
        modules.push(module.clone());
        Ok(module)
    }

    /// Goes in; the library is set up if it is not.
    pub(super) fn enter(&self, access: Access) -> Result<Inside<'_>, Pkcs11Error> {
        // Before any lock: a copy of the process may hold it for ever.
        if !self.is_ours() {
            return Err(Pkcs11Error::Forked);
        }
        if access == Access::Shared {
            let guard = self.state.read();
            if !matches!(*guard, State::No) {
                return Ok(self.inside(Guard::Shared { _guard: guard }));
            }
            drop(guard);
        }
        let mut guard = self.state.write();
        if matches!(*guard, State::No) {
            *guard = self.initialize()?;
        }
        if access == Access::Alone {
            return Ok(self.inside(Guard::Alone { _guard: guard }));
        }
        drop(guard);
        // Once set up, only a set-up that failed takes that back.
        let guard = self.state.read();
        if matches!(*guard, State::No) {
            return Err(Pkcs11Error::Call { failure: not_initialized() });
        }
        Ok(self.inside(Guard::Shared { _guard: guard }))
    }

    fn inside<'a>(&'a self, guard: Guard<'a>) -> Inside<'a> {
        let epoch = self.epoch.load(Ordering::Acquire);
        Inside { module: self, _guard: guard, epoch }
    }

    fn initialize(&self) -> Result<State, Pkcs11Error> {
        match self.functions.initialize(self.reserved.as_deref()) {
            Ok(()) => Ok(State::ByUs),
            Err(failure) if failure.code() == Some(ck::CKR_CRYPTOKI_ALREADY_INITIALIZED) => {
                Ok(State::ByOthers)
            }
            Err(failure) => Err(Pkcs11Error::Call { failure }),
        }
    }

    /// Sets the library up anew, unless that was done since `epoch`: the only way back from a
    /// device that was lost. What others set up is left to them, unless they have ended it: then
    /// nobody is disturbed.
    pub(super) fn restart(&self, epoch: u64) -> Result<bool, Pkcs11Error> {
        let mut state = self.state.write();
        if self.epoch.load(Ordering::Acquire) != epoch {
            return Ok(true);
        }
        if matches!(*state, State::ByOthers) {
            *state = self.initialize()?;
            if matches!(*state, State::ByOthers) {
                return Ok(false);
            }
            self.epoch.fetch_add(1, Ordering::AcqRel);
            return Ok(true);
        }
        // Whatever it answers: a library that is not set up says so.
        drop(self.functions.finalize());
        *state = State::No;
        self.epoch.fetch_add(1, Ordering::AcqRel);
        *state = self.initialize()?;
        Ok(true)
    }

    /// Whether this is the process that loaded the library.
    pub(super) fn is_ours(&self) -> bool {
        self.process == std::process::id()
    }
}

fn not_initialized() -> TokenCallFailure {
    use super::ffi::{CallFault, Function, Rv};
    let fault = CallFault::Code(Rv(ck::CKR_CRYPTOKI_NOT_INITIALIZED));
    TokenCallFailure { function: Function::C_Initialize, fault }
}

impl Inside<'_> {
    /// How often anybody of ours has logged in, or has begun to.
    pub(super) fn logins(&self) -> u64 {
        self.module.logins.load(Ordering::Acquire)
    }

    /// Notes a login that is about to be tried.
    pub(super) fn note_login(&self) {
        self.module.logins.fetch_add(1, Ordering::AcqRel);
    }

    /// Where PINs that were refused are remembered.
    pub(super) fn refused_pins(&self) -> &Mutex<RefusedPins> {
        &self.module.refused_pins
    }
}

impl Deref for Inside<'_> {
    type Target = Functions;

    fn deref(&self) -> &Functions {
        &self.module.functions
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module").field("path", &self.path).finish_non_exhaustive()
    }
}
