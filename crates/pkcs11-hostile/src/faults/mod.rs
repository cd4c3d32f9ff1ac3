//! Faults of calls: first those that any function can have, then wrong results of each function.
//!
//! Every unsafe function here requires the arguments that the standard requires of the function that
//! it forwards to. "The caller" is the caller of the module.

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

use crate::commands::Fault;
use crate::functions::Function;
use crate::real_module::{self, call_real};
use crate::{overlaps, sessions, state};

/// Forwards a call, unless a fault replaces it. `first` is its first argument, if that is a number.
pub(crate) fn pass(
    function: Function,
    first: Option<CK_SESSION_HANDLE>,
    call: impl FnOnce(&'static CK_FUNCTION_LIST) -> CK_RV,
) -> CK_RV {
    let _running = overlaps::begin(function, first);
    let is_exclusive = matches!(function, Function::C_Initialize | Function::C_Finalize);
    let call = |real| match is_exclusive {
        true => real_module::exclusive(|| call(real)),
        false => real_module::shared(|| call(real)),
    };
    let Some(real) = real_module::real() else { return CKR_GENERAL_ERROR };
    state::count(function);
    state::sleep(function);
    let (fault, source) = match state::next(function) {
        state::Next::Nothing => return call(real),
        state::Next::Dead(code) => return code,
        state::Next::Inject(fault, source) => (fault, source),
    };
    let is_injected = match fault {
        Fault::LoseSessions => real_module::exclusive(|| lose_sessions(real)),
        Fault::Logout => real_module::exclusive(|| log_out(real)),
        _ => true,
    };
    if is_injected {
        state::record(function, &fault);
    } else {
        state::put_back(source);
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

/// Closes every session of every token in use. Returns whether there was one.
fn lose_sessions(real: &CK_FUNCTION_LIST) -> bool {
    let mut any = false;
    for (slot, _) in sessions::one_of_each_slot() {
        // SAFETY: the argument is a number, and no other call is inside.
        any |= unsafe { call_real!(real, C_CloseAllSessions(slot)) } == CKR_OK;
        sessions::all_closed(slot);
    }
    any
}

/// Logs out of every token in use. Returns whether a user was logged in.
fn log_out(real: &CK_FUNCTION_LIST) -> bool {
    let mut any = false;
    for (_, session) in sessions::one_of_each_slot() {
        let mut info = CK_SESSION_INFO::default();
        // SAFETY: the arguments are a number and a local variable.
        let known = unsafe { call_real!(real, C_GetSessionInfo(session, &mut info)) };
        // SoftHSM reports success without a login, so the state decides.
        let logged_in = matches!(
            info.state,
            CKS_RO_USER_FUNCTIONS | CKS_RW_USER_FUNCTIONS | CKS_RW_SO_FUNCTIONS
        );
        if known == CKR_OK && logged_in {
            // SAFETY: the argument is a number, and no other call is inside.
            any |= unsafe { call_real!(real, C_Logout(session)) } == CKR_OK;
        }
    }
    any
}
