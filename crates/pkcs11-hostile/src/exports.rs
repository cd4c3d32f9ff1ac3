//! The exported function list, and the functions that can have wrong results.

#![allow(non_snake_case)] // the names of the standard

use std::ffi::c_void;

use cryptoki_sys::*;

use crate::faults::output::{Input, Output};
use crate::faults::session::Opening;
use crate::faults::{
    attributes, init, keys, library, list, mechanisms, objects, output, pass, session, token,
};
use crate::forwarded::*;
use crate::functions::{Function, with_functions};
use crate::real_module::call_real;
use crate::slots;

pub(crate) type Session = CK_SESSION_HANDLE;
pub(crate) type Object = CK_OBJECT_HANDLE;
pub(crate) type Len = CK_ULONG;
type Mechanism = *mut CK_MECHANISM;
type Template = *mut CK_ATTRIBUTE;

macro_rules! list_of {
    ($($name:ident)*) => {
        CK_FUNCTION_LIST { version: CK_VERSION { major: 2, minor: 40 }, $($name: Some($name)),* }
    };
}

static LIST: CK_FUNCTION_LIST = with_functions!(list_of);

/// The entry of every PKCS#11 module.
///
/// # Safety
/// `list` is NULL or points to a variable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    pass(Function::C_GetFunctionList, None, |_| {
        // SAFETY: the caller's variable, or NULL.
        let Some(list) = (unsafe { list.as_mut() }) else { return CKR_ARGUMENTS_BAD };
        *list = list::list((&raw const LIST).cast_mut());
        CKR_OK
    })
}

/// The first argument, if it is a number.
macro_rules! first {
    ($first:ident $(, $rest:ident)*) => {
        $crate::overlaps::Argument::number(&$first)
    };
}
pub(crate) use first;

macro_rules! wrong_results {
    ($(
        $name:ident($($argument:ident: $kind:ty),*) |$real:ident| $body:expr;
    )*) => {$(
        unsafe extern "C" fn $name($($argument: $kind),*) -> CK_RV {
            pass(Function::$name, first!($($argument),*), |$real| {
                #[allow(unused_unsafe)] // some functions take only numbers
                // SAFETY: the arguments are valid for the real function, since they are for this one.
                unsafe { $body }
            })
        }
    )*};
}

wrong_results! {
    C_Initialize(arguments: *mut c_void) |real| library::initialize(real, arguments);
    C_Finalize(reserved: *mut c_void) |real| library::finalize(real, reserved);

    C_GetSlotList(present: CK_BBOOL, ids: *mut CK_SLOT_ID, count: *mut Len)
        |real| token::slot_list(real, present, ids, count);
    C_GetSlotInfo(slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO)
        |real| call_real!(real, C_GetSlotInfo(slots::real(slot), info));
    C_GetTokenInfo(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO)
        |real| token::info(real, slot, info);
    C_InitToken(slot: CK_SLOT_ID, pin: *mut u8, len: Len, label: *mut u8)
        |real| call_real!(real, C_InitToken(slots::real(slot), pin, len, label));
    C_WaitForSlotEvent(flags: CK_FLAGS, slot: *mut CK_SLOT_ID, reserved: *mut c_void)
        |real| token::wait(real, flags, slot, reserved);

    C_GetMechanismList(slot: CK_SLOT_ID, list: *mut CK_MECHANISM_TYPE, count: *mut Len)
        |real| mechanisms::list(real, slot, list, count);
    C_GetMechanismInfo(slot: CK_SLOT_ID, mechanism: CK_MECHANISM_TYPE,
        info: *mut CK_MECHANISM_INFO)
        |real| mechanisms::info(real, slot, mechanism, info);

    C_OpenSession(slot: CK_SLOT_ID, flags: CK_FLAGS, application: *mut c_void,
        notify: CK_NOTIFY, handle: *mut Session)
        |real| session::open(real, slot, Opening { flags, application, notify }, handle);
    C_CloseSession(session: Session) |real| session::close(real, session);
    C_CloseAllSessions(slot: CK_SLOT_ID) |real| session::close_all(real, slot);
    C_GetSessionInfo(session: Session, info: *mut CK_SESSION_INFO)
        |real| session::info(real, session, info);
    C_Login(session: Session, user: CK_USER_TYPE, pin: *mut u8, len: Len)
        |real| session::login(real, session, user, pin, len);

    C_GenerateKey(session: Session, mechanism: Mechanism, template: Template, count: Len,
        key: *mut Object)
        |real| keys::generate(real, session, mechanism, (template, count), key);
    C_DestroyObject(session: Session, object: Object)
        |real| objects::destroy(real, session, object);
    C_GetAttributeValue(session: Session, object: Object, template: Template, count: Len)
        |real| attributes::read(real, session, object, template, count);
    C_FindObjectsInit(session: Session, template: Template, count: Len)
        |real| init::begin(session, || call_real!(real, C_FindObjectsInit(session, template, count)));
    C_FindObjects(session: Session, list: *mut Object, max: Len, count: *mut Len)
        |real| objects::find(real, session, list, max, count);

    C_EncryptInit(session: Session, mechanism: Mechanism, key: Object)
        |real| init::encrypt(real, session, mechanism, key);
    C_DecryptInit(session: Session, mechanism: Mechanism, key: Object)
        |real| init::decrypt(real, session, mechanism, key);
    C_SignInit(session: Session, mechanism: Mechanism, key: Object)
        |real| init::begin(session, || call_real!(real, C_SignInit(session, mechanism, key)));
    C_VerifyInit(session: Session, mechanism: Mechanism, key: Object)
        |real| init::begin(session, || call_real!(real, C_VerifyInit(session, mechanism, key)));

    C_Encrypt(session: Session, start: *mut u8, len: Len, out: *mut u8, out_len: *mut Len)
        |real| output::encrypt(real, session, Input { start, len }, Output { start: out, len: out_len });
    C_Decrypt(session: Session, start: *mut u8, len: Len, out: *mut u8, out_len: *mut Len)
        |real| output::decrypt(real, session, Input { start, len }, Output { start: out, len: out_len });
    C_Sign(session: Session, start: *mut u8, len: Len, out: *mut u8, out_len: *mut Len)
        |real| output::sign(real, session, Input { start, len }, Output { start: out, len: out_len });
}
