//! A PKCS#11 library without the crate: what others do in the same process, or behind its back.
//!
//! Raw calls are made here alone. A process has one instance of a library.

#![allow(dead_code)] // Not every test uses all of it.

use cryptoki_sys as ck;
use std::ffi::CString;
use std::ptr;

/// The return value of a call.
pub type Rv = ck::CK_RV;
pub type Object = ck::CK_OBJECT_HANDLE;
pub type Slot = ck::CK_SLOT_ID;

/// An attribute, by its number, with its value in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute(pub ck::CK_ATTRIBUTE_TYPE, pub Vec<u8>);

pub fn flag(kind: ck::CK_ATTRIBUTE_TYPE, value: bool) -> Attribute {
    Attribute(kind, vec![u8::from(value)])
}

pub fn number(kind: ck::CK_ATTRIBUTE_TYPE, value: ck::CK_ULONG) -> Attribute {
    Attribute(kind, value.to_ne_bytes().to_vec())
}

pub fn bytes(kind: ck::CK_ATTRIBUTE_TYPE, value: impl AsRef<[u8]>) -> Attribute {
    Attribute(kind, value.as_ref().to_vec())
}

/// A loaded library.
#[derive(Clone, Copy)]
pub struct RawLibrary {
    list: ck::CK_FUNCTION_LIST,
}

/// Calls a function of the list; each use says why its arguments are valid.
macro_rules! call {
    ($library:expr, $name:ident($($argument:expr),* $(,)?)) => {{
        let function = $library.list.$name.expect(stringify!($name));
        // SAFETY: the function comes from the library's own list, and each pointer is valid for
        // the length beside it while the call lasts.
        unsafe { function($($argument),*) }
    }};
}

impl RawLibrary {
    pub fn load(path: &str) -> Self {
        // SAFETY: the initialisers are those of the token that the environment names.
        let library = unsafe { ck::Pkcs11::new(path) }.unwrap();
        let get = *library.C_GetFunctionList.as_ref().unwrap();
        let mut list = ptr::null_mut();
        // SAFETY: the argument points to room for a pointer.
        assert_eq!(unsafe { get(&raw mut list) }, ck::CKR_OK);
        // SAFETY: a successful call gives a list that lives as long as the library.
        let list = unsafe { *list };
        // Never unloaded, since the crate under test never does it.
        std::mem::forget(library);
        RawLibrary { list }
    }

    pub fn initialize(&self, reserved: Option<&str>) -> Rv {
        let reserved = reserved.map(|text| CString::new(text).unwrap());
        let pointer = reserved.as_ref().map_or(ptr::null(), |text| text.as_ptr());
        let args = ck::CK_C_INITIALIZE_ARGS {
            CreateMutex: None,
            DestroyMutex: None,
            LockMutex: None,
            UnlockMutex: None,
            flags: ck::CKF_OS_LOCKING_OK,
            pReserved: pointer.cast_mut().cast(),
        };
        // NSS reads a word beyond the structure.
        let mut padded = (args, [0_usize; 4]);
        call!(self, C_Initialize((&raw mut padded.0).cast()))
    }

    pub fn finalize(&self) -> Rv {
        call!(self, C_Finalize(ptr::null_mut()))
    }

    pub fn slots(&self) -> Vec<Slot> {
        let mut slots = [0; 64];
        let mut count = 64;
        let rv = call!(self, C_GetSlotList(ck::CK_TRUE, slots.as_mut_ptr(), &raw mut count));
        assert_eq!(rv, ck::CKR_OK);
        slots[..count as usize].to_vec()
    }

    pub fn token_info(&self, slot: Slot) -> ck::CK_TOKEN_INFO {
        let mut info = std::mem::MaybeUninit::<ck::CK_TOKEN_INFO>::zeroed();
        assert_eq!(call!(self, C_GetTokenInfo(slot, info.as_mut_ptr())), ck::CKR_OK);
        // SAFETY: integers and bytes, for which zeros and whatever was written are values.
        unsafe { info.assume_init() }
    }

    /// The one slot whose token has the label.
    pub fn slot(&self, label: &str) -> Slot {
        let has = |slot: &Slot| text(&self.token_info(*slot).label) == label;
        let found: Vec<_> = self.slots().into_iter().filter(has).collect();
        assert_eq!(found.len(), 1, "slots with the label {label}");
        found[0]
    }

    pub fn close_all(&self, slot: Slot) -> Rv {
        call!(self, C_CloseAllSessions(slot))
    }

    pub fn open(&self, slot: Slot) -> RawSession {
        let flags = ck::CKF_SERIAL_SESSION | ck::CKF_RW_SESSION;
        let mut handle = 0;
        let rv = call!(self, C_OpenSession(slot, flags, ptr::null_mut(), None, &raw mut handle));
        assert_eq!(rv, ck::CKR_OK);
        RawSession { library: *self, handle }
    }
}

/// A session, closed on drop. It may have ended before.
pub struct RawSession {
    library: RawLibrary,
    handle: ck::CK_SESSION_HANDLE,
}

impl RawSession {
    pub fn login(&self, pin: &str) -> Rv {
        self.login_as(ck::CKU_USER, pin)
    }

    pub fn login_as(&self, user: ck::CK_USER_TYPE, pin: &str) -> Rv {
        let len = pin.len() as ck::CK_ULONG;
        call!(self.library, C_Login(self.handle, user, pin.as_ptr().cast_mut(), len))
    }

    pub fn logout(&self) -> Rv {
        call!(self.library, C_Logout(self.handle))
    }

    pub fn is_logged_in(&self) -> bool {
        let mut info = ck::CK_SESSION_INFO { slotID: 0, state: 0, flags: 0, ulDeviceError: 0 };
        let rv = call!(self.library, C_GetSessionInfo(self.handle, &raw mut info));
        assert_eq!(rv, ck::CKR_OK);
        info.state == ck::CKS_RW_USER_FUNCTIONS
    }

    pub fn create(&self, template: &[Attribute]) -> Result<Object, Rv> {
        let mut raw = raw(template);
        let mut object = 0;
        let count = raw.len() as ck::CK_ULONG;
        let rv = call!(
            self.library,
            C_CreateObject(self.handle, raw.as_mut_ptr(), count, &raw mut object)
        );
        ok(rv, object)
    }

    pub fn generate_aes(&self, template: &[Attribute]) -> Result<Object, Rv> {
        let mut raw = raw(template);
        let count = raw.len() as ck::CK_ULONG;
        let mut mechanism = ck::CK_MECHANISM {
            mechanism: ck::CKM_AES_KEY_GEN,
            pParameter: ptr::null_mut(),
            ulParameterLen: 0,
        };
        let (template, mut object) = (raw.as_mut_ptr(), 0);
        let rv = call!(
            self.library,
            C_GenerateKey(self.handle, &raw mut mechanism, template, count, &raw mut object)
        );
        ok(rv, object)
    }

    pub fn find(&self, template: &[Attribute]) -> Vec<Object> {
        let mut raw = raw(template);
        let count = raw.len() as ck::CK_ULONG;
        let rv = call!(self.library, C_FindObjectsInit(self.handle, raw.as_mut_ptr(), count));
        assert_eq!(rv, ck::CKR_OK);
        let mut found = Vec::new();
        loop {
            let mut batch = [0; 64];
            let mut count = 0;
            let pointer = batch.as_mut_ptr();
            let rv = call!(self.library, C_FindObjects(self.handle, pointer, 64, &raw mut count));
            assert_eq!(rv, ck::CKR_OK);
            if count == 0 {
                break;
            }
            found.extend(&batch[..count as usize]);
        }
        assert_eq!(call!(self.library, C_FindObjectsFinal(self.handle)), ck::CKR_OK);
        found
    }

    /// Every secret key that can be seen.
    pub fn keys(&self) -> Vec<Object> {
        self.find(&[number(ck::CKA_CLASS, ck::CKO_SECRET_KEY)])
    }

    pub fn attribute(&self, object: Object, kind: ck::CK_ATTRIBUTE_TYPE) -> Result<Vec<u8>, Rv> {
        let mut value = [0; 512];
        let mut attribute =
            ck::CK_ATTRIBUTE { type_: kind, pValue: value.as_mut_ptr().cast(), ulValueLen: 512 };
        let rv =
            call!(self.library, C_GetAttributeValue(self.handle, object, &raw mut attribute, 1));
        ok(rv, value.get(..attribute.ulValueLen as usize).unwrap_or_default().to_vec())
    }

    pub fn destroy(&self, object: Object) -> Rv {
        call!(self.library, C_DestroyObject(self.handle, object))
    }

    /// One encryption by AES-GCM into `room` bytes, or none at all to ask for the length: its
    /// return value, the length that it reports, and the bytes.
    pub fn gcm(&self, key: Object, job: &Gcm<'_>, room: Option<usize>) -> (Rv, usize, Vec<u8>) {
        let mut iv = job.iv;
        let mut parameters = ck::CK_GCM_PARAMS {
            pIv: iv.as_mut_ptr(),
            ulIvLen: 12,
            ulIvBits: job.iv_bits,
            pAAD: job.aad.as_ptr().cast_mut(),
            ulAADLen: job.aad.len() as ck::CK_ULONG,
            ulTagBits: 128,
        };
        let mut mechanism = ck::CK_MECHANISM {
            mechanism: ck::CKM_AES_GCM,
            pParameter: (&raw mut parameters).cast(),
            ulParameterLen: size_of::<ck::CK_GCM_PARAMS>() as ck::CK_ULONG,
        };
        let rv = call!(self.library, C_EncryptInit(self.handle, &raw mut mechanism, key));
        if rv != ck::CKR_OK {
            return (rv, 0, Vec::new());
        }
        let mut output = vec![0; room.unwrap_or(0)];
        let mut len = output.len() as ck::CK_ULONG;
        let pointer = room.map_or(ptr::null_mut(), |_| output.as_mut_ptr());
        let (data, data_len) = (job.data.as_ptr().cast_mut(), job.data.len() as ck::CK_ULONG);
        let rv = call!(self.library, C_Encrypt(self.handle, data, data_len, pointer, &raw mut len));
        (rv, len as usize, output)
    }
}

/// Operations that succeed.
impl RawSession {
    pub fn crypt_gcm(
        &self,
        encrypt: bool,
        key: Object,
        iv: &[u8],
        aad: &[u8],
        data: &[u8],
    ) -> Vec<u8> {
        let mut parameters = ck::CK_GCM_PARAMS {
            pIv: iv.as_ptr().cast_mut(),
            ulIvLen: iv.len() as ck::CK_ULONG,
            ulIvBits: 96,
            pAAD: aad.as_ptr().cast_mut(),
            ulAADLen: aad.len() as ck::CK_ULONG,
            ulTagBits: 128,
        };
        let mechanism = ck::CK_MECHANISM {
            mechanism: ck::CKM_AES_GCM,
            pParameter: (&raw mut parameters).cast(),
            ulParameterLen: size_of::<ck::CK_GCM_PARAMS>() as ck::CK_ULONG,
        };
        self.crypt(encrypt, mechanism, key, data)
    }

    pub fn crypt_cbc(&self, encrypt: bool, key: Object, iv: &[u8; 16], data: &[u8]) -> Vec<u8> {
        let mechanism = ck::CK_MECHANISM {
            mechanism: ck::CKM_AES_CBC,
            pParameter: iv.as_ptr().cast_mut().cast(),
            ulParameterLen: 16,
        };
        self.crypt(encrypt, mechanism, key, data)
    }

    pub fn hmac(&self, key: Object, data: &[u8]) -> Vec<u8> {
        let mut mechanism = ck::CK_MECHANISM {
            mechanism: ck::CKM_SHA256_HMAC,
            pParameter: ptr::null_mut(),
            ulParameterLen: 0,
        };
        let rv = call!(self.library, C_SignInit(self.handle, &raw mut mechanism, key));
        assert_eq!(rv, ck::CKR_OK);
        let (mut output, mut len) = ([0; 64], 64);
        let (from, from_len) = (data.as_ptr().cast_mut(), data.len() as ck::CK_ULONG);
        let to = output.as_mut_ptr();
        let rv = call!(self.library, C_Sign(self.handle, from, from_len, to, &raw mut len));
        assert_eq!(rv, ck::CKR_OK);
        output[..len as usize].to_vec()
    }

    fn crypt(
        &self,
        encrypt: bool,
        mut mechanism: ck::CK_MECHANISM,
        key: Object,
        data: &[u8],
    ) -> Vec<u8> {
        let (mut output, mut len) = ([0; 128], 128);
        let (from, from_len) = (data.as_ptr().cast_mut(), data.len() as ck::CK_ULONG);
        let (to, mechanism) = (output.as_mut_ptr(), &raw mut mechanism);
        let rv = if encrypt {
            assert_eq!(call!(self.library, C_EncryptInit(self.handle, mechanism, key)), ck::CKR_OK);
            call!(self.library, C_Encrypt(self.handle, from, from_len, to, &raw mut len))
        } else {
            assert_eq!(call!(self.library, C_DecryptInit(self.handle, mechanism, key)), ck::CKR_OK);
            call!(self.library, C_Decrypt(self.handle, from, from_len, to, &raw mut len))
        };
        assert_eq!(rv, ck::CKR_OK);
        output[..len as usize].to_vec()
    }
}

/// The plaintext.
pub struct Gcm<'a> {
    pub iv: [u8; 12],
    pub iv_bits: ck::CK_ULONG,
    pub aad: &'a [u8],
    pub data: &'a [u8],
}

impl Drop for RawSession {
    fn drop(&mut self) {
        let _ = call!(self.library, C_CloseSession(self.handle));
    }
}

/// A field of fixed length, without the blanks or zeros behind it.
pub fn text(field: &[u8]) -> &str {
    std::str::from_utf8(field).unwrap().trim_end_matches([' ', '\0'])
}

/// The form of the interface; it points into `template`.
fn raw(template: &[Attribute]) -> Vec<ck::CK_ATTRIBUTE> {
    let raw = |Attribute(kind, value): &Attribute| ck::CK_ATTRIBUTE {
        type_: *kind,
        pValue: value.as_ptr().cast_mut().cast(),
        ulValueLen: value.len() as ck::CK_ULONG,
    };
    template.iter().map(raw).collect()
}

fn ok<T>(rv: Rv, value: T) -> Result<T, Rv> {
    if rv == ck::CKR_OK { Ok(value) } else { Err(rv) }
}
