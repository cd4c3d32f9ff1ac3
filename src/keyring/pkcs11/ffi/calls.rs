//! Calls for the library, its slots, sessions and objects.

#![allow(unsafe_code)]

use super::failure::{CallFailure, CallFault, Function, Result};
use super::library::{FunctionList, call};
use super::template::{Attribute, raw, ulong};
use alloc::vec;
use alloc::vec::Vec;
use core::ffi::CStr;
use core::{mem, ptr};
use cryptoki_sys as ck;

/// A slot with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotId(ck::CK_SLOT_ID);

/// A session handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SessionHandle(pub(super) ck::CK_SESSION_HANDLE);

/// A session with a token, and the functions to use in it.
#[derive(Clone, Copy)]
pub(crate) struct Session<'a> {
    pub(crate) functions: &'a FunctionList,
    pub(crate) handle: SessionHandle,
}

/// An object handle, valid in one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ObjectHandle(pub(super) ck::CK_OBJECT_HANDLE);

/// What a token reports of itself. Fields may have any content; the others are ignored.
pub(crate) struct TokenInfo {
    /// Without padding.
    pub(crate) label: Vec<u8>,
    /// Without padding.
    pub(crate) serial: Vec<u8>,
    pub(crate) manufacturer: Vec<u8>,
    pub(crate) model: Vec<u8>,
    pub(crate) flags: ck::CK_FLAGS,
    /// The limit of sessions, if there is a known one.
    pub(crate) max_sessions: Option<usize>,
}

/// The longest list of slots or mechanisms that is accepted.
const MAX_ENTRIES: ck::CK_ULONG = 65_536;

/// How often a list that grew between two calls is read again.
const LIST_RETRIES: usize = 3;

/// The arguments of C_Initialize and some padding, since NSS reads one more word.
#[repr(C)]
struct InitializeArgs {
    args: ck::CK_C_INITIALIZE_ARGS,
    room: [usize; 4],
}

impl FunctionList {
    /// Initialises the library, to use locks of the operating system.
    pub(crate) fn initialize(&self, reserved: Option<&CStr>) -> Result<()> {
        let reserved = reserved.map_or(ptr::null(), CStr::as_ptr);
        let mut args = InitializeArgs {
            args: ck::CK_C_INITIALIZE_ARGS {
                CreateMutex: None,
                DestroyMutex: None,
                LockMutex: None,
                UnlockMutex: None,
                flags: ck::CKF_OS_LOCKING_OK,
                pReserved: reserved.cast_mut().cast(),
            },
            room: [0; 4],
        };
        // Arguments: a structure and a string that outlive the call and are only read.
        call!(self, C_Initialize((&raw mut args).cast()))
    }

    pub(crate) fn finalize(&self) -> Result<()> {
        // Argument: null, as the standard requires.
        call!(self, C_Finalize(ptr::null_mut()))
    }

    /// The slots with a token.
    pub(crate) fn slots(&self) -> Result<Vec<SlotId>> {
        let list = list(Function::C_GetSlotList, |pointer, count| {
            // Arguments: no buffer, or one of `count` entries.
            call!(self, C_GetSlotList(ck::CK_TRUE, pointer, count))
        })?;
        Ok(list.into_iter().map(SlotId).collect())
    }

    pub(crate) fn token_info(&self, slot: SlotId) -> Result<TokenInfo> {
        let mut info = mem::MaybeUninit::<ck::CK_TOKEN_INFO>::zeroed();
        // Arguments: room for the structure.
        call!(self, C_GetTokenInfo(slot.0, info.as_mut_ptr()))?;
        // SAFETY: it consists of integers and arrays of bytes, for which all bits are valid, those
        // that the library wrote and the zeros of the others.
        let info = unsafe { info.assume_init() };
        let max_sessions = match info.ulMaxRwSessionCount {
            ck::CK_EFFECTIVELY_INFINITE | ck::CK_UNAVAILABLE_INFORMATION => None,
            most => usize::try_from(most).ok(),
        };
        Ok(TokenInfo {
            label: trimmed(&info.label),
            serial: trimmed(&info.serialNumber),
            manufacturer: trimmed(&info.manufacturerID),
            model: trimmed(&info.model),
            flags: info.flags,
            max_sessions,
        })
    }

    pub(crate) fn mechanisms(&self, slot: SlotId) -> Result<Vec<ck::CK_MECHANISM_TYPE>> {
        list(Function::C_GetMechanismList, |pointer, count| {
            // Arguments: no buffer, or one of `count` entries.
            call!(self, C_GetMechanismList(slot.0, pointer, count))
        })
    }

    pub(crate) fn mechanism_flags(
        &self,
        slot: SlotId,
        mechanism: ck::CK_MECHANISM_TYPE,
    ) -> Result<ck::CK_FLAGS> {
        let mut info = ck::CK_MECHANISM_INFO { ulMinKeySize: 0, ulMaxKeySize: 0, flags: 0 };
        // Arguments: room for the structure.
        call!(self, C_GetMechanismInfo(slot.0, mechanism, &raw mut info))?;
        Ok(info.flags)
    }

    /// Opens a read-write session: some tokens have no other kind.
    pub(crate) fn open_session(&self, slot: SlotId) -> Result<SessionHandle> {
        let flags = ck::CKF_SERIAL_SESSION | ck::CKF_RW_SESSION;
        let mut session = ck::CK_INVALID_HANDLE;
        // Arguments: no callback, and room for a handle.
        call!(self, C_OpenSession(slot.0, flags, ptr::null_mut(), None, &raw mut session))?;
        handle(Function::C_OpenSession, session).map(SessionHandle)
    }
}

impl Session<'_> {
    pub(crate) fn close(self) -> Result<()> {
        call!(self.functions, C_CloseSession(self.handle.0))
    }

    /// Whether the user is logged in.
    pub(crate) fn is_logged_in(self) -> Result<bool> {
        let mut info = ck::CK_SESSION_INFO { slotID: 0, state: 0, flags: 0, ulDeviceError: 0 };
        // Arguments: room for the structure.
        call!(self.functions, C_GetSessionInfo(self.handle.0, &raw mut info))?;
        Ok([ck::CKS_RW_USER_FUNCTIONS, ck::CKS_RO_USER_FUNCTIONS].contains(&info.state))
    }

    /// Logs the user in; without a PIN if the token asks the user.
    pub(crate) fn login(self, pin: Option<&[u8]>) -> Result<()> {
        let (pointer, len) = pin.map_or((ptr::null(), 0), |pin| (pin.as_ptr(), ulong(pin.len())));
        // Arguments: a PIN with its length, which is only read.
        call!(self.functions, C_Login(self.handle.0, ck::CKU_USER, pointer.cast_mut(), len))
    }

    /// Finds the objects with all of `attributes`, at most `max`.
    pub(crate) fn find(
        self,
        attributes: &[Attribute<'_>],
        max: usize,
    ) -> Result<Vec<ObjectHandle>> {
        let mut template = raw(attributes);
        let count = ulong(template.len());
        // Arguments: `count` attributes, whose values outlive the call and are only read.
        call!(self.functions, C_FindObjectsInit(self.handle.0, template.as_mut_ptr(), count))?;
        let found = self.find_more(max);
        // The search has to end after a failure too.
        let ended = call!(self.functions, C_FindObjectsFinal(self.handle.0));
        let found = found?;
        ended.map(|()| found)
    }

    fn find_more(self, max: usize) -> Result<Vec<ObjectHandle>> {
        const BATCH: usize = 64;
        let mut found = Vec::new();
        while found.len() < max {
            let mut batch = [ck::CK_INVALID_HANDLE; BATCH];
            let mut count = 0;
            // Arguments: room for `BATCH` handles, and for their number.
            call!(
                self.functions,
                C_FindObjects(self.handle.0, batch.as_mut_ptr(), ulong(BATCH), &raw mut count)
            )?;
            let batch = usize::try_from(count).ok().and_then(|count| batch.get(..count));
            let batch = batch.ok_or(CallFailure::length(Function::C_FindObjects))?;
            if batch.is_empty() {
                break;
            }
            for object in batch {
                found.push(ObjectHandle(handle(Function::C_FindObjects, *object)?));
            }
        }
        found.truncate(max);
        Ok(found)
    }

    /// A boolean attribute; `None` if it is not available.
    pub(crate) fn read_bool(
        self,
        object: ObjectHandle,
        kind: ck::CK_ATTRIBUTE_TYPE,
    ) -> Result<Option<bool>> {
        let mut value = [0; 1];
        let len = self.attribute(object, kind, &mut value)?;
        Ok((len == Some(1)).then_some(value != [ck::CK_FALSE]))
    }

    /// A numeric attribute; `None` if it is not available.
    pub(crate) fn read_number(
        self,
        object: ObjectHandle,
        kind: ck::CK_ATTRIBUTE_TYPE,
    ) -> Result<Option<ck::CK_ULONG>> {
        let mut value = [0; mem::size_of::<ck::CK_ULONG>()];
        let len = self.attribute(object, kind, &mut value)?;
        Ok((len == Some(value.len())).then(|| ck::CK_ULONG::from_ne_bytes(value)))
    }

    /// An attribute of at most `max` bytes; `None` if it is not available, or longer.
    pub(crate) fn read_bytes(
        self,
        object: ObjectHandle,
        kind: ck::CK_ATTRIBUTE_TYPE,
        max: usize,
    ) -> Result<Option<Vec<u8>>> {
        let mut value = vec![0; max];
        let len = self.attribute(object, kind, &mut value)?;
        Ok(len.map(|len| {
            value.truncate(len);
            value
        }))
    }

    /// Reads an attribute and returns its length; `None` if the object does not have it, does not
    /// disclose it, or it is longer than `value`.
    fn attribute(
        self,
        object: ObjectHandle,
        kind: ck::CK_ATTRIBUTE_TYPE,
        value: &mut [u8],
    ) -> Result<Option<usize>> {
        let mut template = ck::CK_ATTRIBUTE {
            type_: kind,
            pValue: value.as_mut_ptr().cast(),
            ulValueLen: ulong(value.len()),
        };
        // Arguments: one attribute, with room of its length.
        let answer = call!(
            self.functions,
            C_GetAttributeValue(self.handle.0, object.0, &raw mut template, 1)
        );
        match answer.map_err(|failure| (failure.code(), failure)) {
            Ok(()) => {}
            Err((
                Some(
                    ck::CKR_ATTRIBUTE_TYPE_INVALID
                    | ck::CKR_ATTRIBUTE_SENSITIVE
                    | ck::CKR_BUFFER_TOO_SMALL,
                ),
                _,
            )) => return Ok(None),
            Err((_, failure)) => return Err(failure),
        }
        if template.ulValueLen == ck::CK_UNAVAILABLE_INFORMATION {
            return Ok(None);
        }
        let len = usize::try_from(template.ulValueLen).ok().filter(|len| *len <= value.len());
        len.map(Some).ok_or(CallFailure::length(Function::C_GetAttributeValue))
    }

    pub(crate) fn generate_key(
        self,
        mechanism: ck::CK_MECHANISM_TYPE,
        attributes: &[Attribute<'_>],
    ) -> Result<ObjectHandle> {
        let mut mechanism =
            ck::CK_MECHANISM { mechanism, pParameter: ptr::null_mut(), ulParameterLen: 0 };
        let mut template = raw(attributes);
        let (count, mut key) = (ulong(template.len()), ck::CK_INVALID_HANDLE);
        let template = template.as_mut_ptr();
        // Arguments: a mechanism without parameter, `count` attributes that are only read, and
        // room for a handle.
        call!(
            self.functions,
            C_GenerateKey(self.handle.0, &raw mut mechanism, template, count, &raw mut key)
        )?;
        handle(Function::C_GenerateKey, key).map(ObjectHandle)
    }

    pub(crate) fn create_object(self, attributes: &[Attribute<'_>]) -> Result<ObjectHandle> {
        let mut template = raw(attributes);
        let (count, mut object) = (ulong(template.len()), ck::CK_INVALID_HANDLE);
        // Arguments: `count` attributes that are only read, and room for a handle.
        call!(
            self.functions,
            C_CreateObject(self.handle.0, template.as_mut_ptr(), count, &raw mut object)
        )?;
        handle(Function::C_CreateObject, object).map(ObjectHandle)
    }

    pub(crate) fn destroy_object(self, object: ObjectHandle) -> Result<()> {
        call!(self.functions, C_DestroyObject(self.handle.0, object.0))
    }
}

/// Reads a list in two calls, the first for its length.
fn list(
    function: Function,
    mut call: impl FnMut(*mut ck::CK_ULONG, *mut ck::CK_ULONG) -> Result<()>,
) -> Result<Vec<ck::CK_ULONG>> {
    let mut retries = LIST_RETRIES;
    loop {
        let mut count = 0;
        call(ptr::null_mut(), &raw mut count)?;
        if count > MAX_ENTRIES {
            return Err(CallFailure::length(function));
        }
        if count == 0 {
            return Ok(Vec::new());
        }
        let room = usize::try_from(count).map_err(|_| CallFailure::length(function))?;
        let mut list = vec![0; room];
        match call(list.as_mut_ptr(), &raw mut count) {
            Ok(()) => {
                let count = usize::try_from(count).ok().filter(|count| *count <= room);
                list.truncate(count.ok_or(CallFailure::length(function))?);
                return Ok(list);
            }
            Err(failure) if failure.code() == Some(ck::CKR_BUFFER_TOO_SMALL) && retries > 0 => {
                retries -= 1;
            }
            Err(failure) => return Err(failure),
        }
    }
}

fn handle(function: Function, handle: ck::CK_ULONG) -> Result<ck::CK_ULONG> {
    match handle {
        ck::CK_INVALID_HANDLE => Err(CallFailure { function, fault: CallFault::Handle }),
        handle => Ok(handle),
    }
}

/// A field of fixed length without its padding: blanks, or zeros on some tokens.
fn trimmed(field: &[u8]) -> Vec<u8> {
    let end = field.iter().rposition(|byte| !matches!(byte, b' ' | 0));
    end.and_then(|last| field.get(..=last)).unwrap_or(&[]).to_vec()
}
