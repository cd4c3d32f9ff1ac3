//! The functions in which lies are told, and the list of all of them.

#![allow(non_snake_case)] // named as the standard names them

use std::ffi::c_void;

use cryptoki_sys::*;

use crate::faults::output::{Input, Output};
use crate::faults::session::Opening;
use crate::faults::{
    attributes, init, keys, library, list, mechanisms, objects, output, pass, pass_alone, session,
    token,
};
use crate::forward::ask;
use crate::functions::{Function, with_functions};
use crate::plain::*;
use crate::slots;

macro_rules! list_of {
    ($($name:ident)*) => {
        CK_FUNCTION_LIST { version: CK_VERSION { major: 2, minor: 40 }, $($name: Some($name)),* }
    };
}

static LIST: CK_FUNCTION_LIST = with_functions!(list_of);

/// The entry of every PKCS#11 module.
///
/// # Safety
/// `list` is NULL or a place for one pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    pass(Function::C_GetFunctionList, None, |_| {
        // SAFETY: the caller's promise.
        let Some(list) = (unsafe { list.as_mut() }) else { return CKR_ARGUMENTS_BAD };
        *list = list::list((&raw const LIST).cast_mut());
        CKR_OK
    })
}

/// The first argument, for who counts what runs together.
macro_rules! first {
    ($first:ident $(, $rest:ident)*) => {
        $crate::overlaps::Argument::number(&$first)
    };
}
pub(crate) use first;

macro_rules! lying {
    ($(
        $wrapper:ident $name:ident($($argument:ident: $kind:ty),*) |$real:ident| $body:expr;
    )*) => {$(
        unsafe extern "C" fn $name($($argument: $kind),*) -> CK_RV {
            $wrapper(Function::$name, first!($($argument),*), |$real| {
                #[allow(unused_unsafe)] // some take plain numbers only
                // SAFETY: the caller's promises to this function are those to the real one.
                unsafe { $body }
            })
        }
    )*};
}

lying! {
    pass_alone C_Initialize(arguments: *mut c_void) |real| library::initialize(real, arguments);
    pass_alone C_Finalize(reserved: *mut c_void) |real| library::finalize(real, reserved);

    pass C_GetSlotList(present: CK_BBOOL, ids: *mut CK_SLOT_ID, count: *mut CK_ULONG)
        |real| token::slot_list(real, present, ids, count);
    pass C_GetSlotInfo(slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO)
        |real| ask!(real, C_GetSlotInfo(slots::real(slot), info));
    pass C_GetTokenInfo(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO)
        |real| token::info(real, slot, info);
    pass C_InitToken(
        slot: CK_SLOT_ID, pin: *mut CK_UTF8CHAR, len: CK_ULONG, label: *mut CK_UTF8CHAR
    ) |real| ask!(real, C_InitToken(slots::real(slot), pin, len, label));
    pass C_WaitForSlotEvent(flags: CK_FLAGS, slot: *mut CK_SLOT_ID, reserved: *mut c_void)
        |real| token::wait(real, flags, slot, reserved);

    pass C_GetMechanismList(
        slot: CK_SLOT_ID, list: *mut CK_MECHANISM_TYPE, count: *mut CK_ULONG
    ) |real| mechanisms::list(real, slot, list, count);
    pass C_GetMechanismInfo(
        slot: CK_SLOT_ID, mechanism: CK_MECHANISM_TYPE, info: *mut CK_MECHANISM_INFO
    ) |real| mechanisms::info(real, slot, mechanism, info);

    pass C_OpenSession(
        slot: CK_SLOT_ID, flags: CK_FLAGS, application: *mut c_void, notify: CK_NOTIFY,
        handle: *mut CK_SESSION_HANDLE
    ) |real| session::open(real, slot, Opening { flags, application, notify }, handle);
    pass C_CloseSession(session: CK_SESSION_HANDLE) |real| session::close(real, session);
    pass C_CloseAllSessions(slot: CK_SLOT_ID) |real| session::close_all(real, slot);
    pass C_GetSessionInfo(session: CK_SESSION_HANDLE, info: *mut CK_SESSION_INFO)
        |real| session::info(real, session, info);
    pass C_Login(
        session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: *mut CK_UTF8CHAR, len: CK_ULONG
    ) |real| session::login(real, session, user, pin, len);

    pass C_GenerateKey(
        session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, template: *mut CK_ATTRIBUTE,
        count: CK_ULONG, key: *mut CK_OBJECT_HANDLE
    ) |real| keys::generate(real, session, mechanism, (template, count), key);
    pass C_DestroyObject(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE)
        |real| objects::destroy(real, session, object);
    pass C_GetAttributeValue(
        session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE,
        count: CK_ULONG
    ) |real| attributes::read(real, session, object, template, count);
    pass C_FindObjectsInit(
        session: CK_SESSION_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG
    ) |real| init::begin(session, || ask!(real, C_FindObjectsInit(session, template, count)));
    pass C_FindObjects(
        session: CK_SESSION_HANDLE, list: *mut CK_OBJECT_HANDLE, max: CK_ULONG,
        count: *mut CK_ULONG
    ) |real| objects::find(real, session, list, max, count);

    pass C_EncryptInit(
        session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE
    ) |real| init::encrypt(real, session, mechanism, key);
    pass C_DecryptInit(
        session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE
    ) |real| init::decrypt(real, session, mechanism, key);
    pass C_SignInit(
        session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE
    ) |real| init::begin(session, || ask!(real, C_SignInit(session, mechanism, key)));
    pass C_VerifyInit(
        session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE
    ) |real| init::begin(session, || ask!(real, C_VerifyInit(session, mechanism, key)));

    pass C_Encrypt(
        session: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_len: CK_ULONG, out: *mut CK_BYTE,
        out_len: *mut CK_ULONG
    ) |real| output::encrypt(
        real, session, Input { start: data, len: data_len }, Output { start: out, len: out_len }
    );
    pass C_Decrypt(
        session: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_len: CK_ULONG, out: *mut CK_BYTE,
        out_len: *mut CK_ULONG
    ) |real| output::decrypt(
        real, session, Input { start: data, len: data_len }, Output { start: out, len: out_len }
    );
    pass C_Sign(
        session: CK_SESSION_HANDLE, data: *mut CK_BYTE, data_len: CK_ULONG, out: *mut CK_BYTE,
        out_len: *mut CK_ULONG
    ) |real| output::sign(
        real, session, Input { start: data, len: data_len }, Output { start: out, len: out_len }
    );
}
