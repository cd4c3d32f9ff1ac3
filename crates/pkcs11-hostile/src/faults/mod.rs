//! What befalls a call: first the faults that any function can have, then the lies of its own.

pub(crate) mod attributes;
pub(crate) mod init;
pub(crate) mod iv;
pub(crate) mod keys;
pub(crate) mod library;
pub(crate) mod list;
pub(crate) mod mechanisms;
pub(crate) mod objects;
pub(crate) mod output;
pub(crate) mod session;
pub(crate) mod token;

use cryptoki_sys::*;

use crate::forward::{self, ask};
use crate::functions::Function;
use crate::script::Fault;
use crate::{overlaps, sessions, stage};

/// Passes a call on beside others, unless a fault comes first.
pub(crate) fn pass(
    function: Function,
    first: Option<CK_SESSION_HANDLE>,
    call: impl FnOnce(&'static CK_FUNCTION_LIST) -> CK_RV,
) -> CK_RV {
    let _running = overlaps::begin(function, first);
    befall(function, |real| forward::beside(|| call(real)))
}

/// Passes a call on while nobody else is inside.
pub(crate) fn pass_alone(
    function: Function,
    first: Option<CK_SESSION_HANDLE>,
    call: impl FnOnce(&'static CK_FUNCTION_LIST) -> CK_RV,
) -> CK_RV {
    let _running = overlaps::begin(function, first);
    befall(function, |real| forward::alone(|| call(real)))
}

fn befall(function: Function, call: impl FnOnce(&'static CK_FUNCTION_LIST) -> CK_RV) -> CK_RV {
    let Some(real) = forward::real() else { return CKR_GENERAL_ERROR };
    stage::count(function);
    stage::sleep(function);
    let (fault, source) = match stage::next(function) {
        stage::Next::Nothing => return call(real),
        stage::Next::Dead(code) => return code,
        stage::Next::Strike(fault, source) => (fault, source),
    };
    let struck = match fault {
        Fault::LoseSessions => forward::alone(|| lose_sessions(real)),
        Fault::Logout => forward::alone(|| log_out(real)),
        _ => true,
    };
    if struck {
        stage::note(function, &fault);
    } else {
        stage::refund(source);
    }
    match fault {
        Fault::Fail(code) | Fault::Dead(code) => code,
        Fault::Answer(code) => {
            call(real);
            code
        }
        _ => call(real),
    }
}

/// Really closes every session of every token in use; says whether there was one.
fn lose_sessions(real: &CK_FUNCTION_LIST) -> bool {
    let mut any = false;
    for (slot, _) in sessions::one_of_each_slot() {
        // SAFETY: a plain number goes in, and the gate keeps everybody else out.
        any |= unsafe { ask!(real, C_CloseAllSessions(slot)) } == CKR_OK;
        sessions::all_closed(slot);
    }
    any
}

/// Really logs out of every token in use; says whether somebody was logged in.
fn log_out(real: &CK_FUNCTION_LIST) -> bool {
    let mut any = false;
    for (_, session) in sessions::one_of_each_slot() {
        let mut info = CK_SESSION_INFO::default();
        // SAFETY: a plain number and a place of ours go in.
        let known = unsafe { ask!(real, C_GetSessionInfo(session, &mut info)) };
        // SoftHSM logs out whom nobody has logged in, so the state has to say it.
        let logged_in = matches!(
            info.state,
            CKS_RO_USER_FUNCTIONS | CKS_RW_USER_FUNCTIONS | CKS_RW_SO_FUNCTIONS
        );
        if known == CKR_OK && logged_in {
            // SAFETY: a plain number goes in, and the gate keeps everybody else out.
            any |= unsafe { ask!(real, C_Logout(session)) } == CKR_OK;
        }
    }
    any
}
