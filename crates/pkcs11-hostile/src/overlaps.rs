//! Calls that must not run at the same time: two in one session, and a call that ends sessions, the
//! login or the library during a call that uses them. PKCS#11 leaves the result undefined.
//!
//! A call counts from its begin in this module, before any lock or delay.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cryptoki_sys::{CK_SESSION_HANDLE, CK_SLOT_ID};

use crate::functions::Function::{self, *};
use crate::{sessions, slots};

#[derive(Clone, Copy)]
struct Call {
    function: Function,
    session: Option<CK_SESSION_HANDLE>,
    /// The real slot of the token whose sessions or login it ends.
    ends: Option<CK_SLOT_ID>,
}

type Calls = BTreeMap<u64, Call>;

static RUNNING: Mutex<Calls> = Mutex::new(BTreeMap::new());
static NEXT: AtomicU64 = AtomicU64::new(0);
static OVERLAPS: AtomicU64 = AtomicU64::new(0);

/// How many overlaps are printed to standard error.
const MAX_REPORTED: u64 = 10;

/// A call that runs, until it is dropped.
pub(crate) struct Running(u64);

fn running() -> MutexGuard<'static, Calls> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Begins a call with the first argument `first`, if that is a number.
pub(crate) fn begin(function: Function, first: Option<CK_SESSION_HANDLE>) -> Running {
    let session = first.filter(|_| is_in_session(function));
    let ends = match function {
        C_CloseAllSessions => first.map(slots::real),
        C_Logout => session.and_then(sessions::slot_of),
        _ => None,
    };
    let call = Call { function, session, ends };
    let mut running = running();
    for other in running.values() {
        if clash(&call, other) || clash(other, &call) {
            let count = OVERLAPS.fetch_add(1, Ordering::Relaxed);
            if count < MAX_REPORTED {
                eprintln!(
                    "hostile: {} during {} in session {:?}",
                    function.name(),
                    other.function.name(),
                    other.session
                );
            }
        }
    }
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    running.insert(number, call);
    Running(number)
}

impl Drop for Running {
    fn drop(&mut self) {
        running().remove(&self.0);
    }
}

/// Whether `call` must not run at the same time as `other`.
fn clash(call: &Call, other: &Call) -> bool {
    let same_session = call.session.is_some() && call.session == other.session;
    let of_slot = |slot| other.session.and_then(sessions::slot_of) == Some(slot);
    same_session
        || matches!(call.function, C_Finalize | C_Initialize)
        || call.ends.is_some_and(of_slot)
}

/// Whether its first argument is a session.
fn is_in_session(function: Function) -> bool {
    !matches!(
        function,
        C_Initialize
            | C_Finalize
            | C_GetInfo
            | C_GetFunctionList
            | C_GetSlotList
            | C_GetSlotInfo
            | C_GetTokenInfo
            | C_GetMechanismList
            | C_GetMechanismInfo
            | C_InitToken
            | C_OpenSession
            | C_CloseAllSessions
            | C_WaitForSlotEvent
    )
}

pub(crate) fn count() -> u64 {
    OVERLAPS.load(Ordering::Relaxed)
}

pub(crate) fn forget() {
    OVERLAPS.store(0, Ordering::Relaxed);
}

/// The first argument of a call, if it is the number of a session or a slot.
pub(crate) trait Argument {
    fn number(&self) -> Option<CK_SESSION_HANDLE> {
        None
    }
}

impl Argument for CK_SESSION_HANDLE {
    fn number(&self) -> Option<CK_SESSION_HANDLE> {
        Some(*self)
    }
}

impl Argument for u8 {}

impl<T> Argument for *mut T {}
