//! A PKCS#11 client with unchecked results and guarded buffers, as far as the tests need one.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cryptoki_sys::*;

use super::{Hostile, LABEL, PIN, hostile};

pub type CallResult<T> = Result<T, CK_RV>;

pub const DATA: [u8; 32] = *b"a data key of thirty-two bytes!!";
pub const AAD: &[u8] = b"context";
pub const IV: [u8; 12] = *b"twelve bytes";
/// Room for every output of the tests.
pub const ROOMY: usize = 96;

/// Calls a function of the module.
macro_rules! p11 {
    ($token:expr, $name:ident($($argument:expr),* $(,)?)) => {{
        let function = $token.functions().$name.expect(stringify!($name));
        #[allow(unused_unsafe)]
        // SAFETY: the arguments are variables of the test, with their lengths.
        let code = unsafe { function($($argument),*) };
        if code == cryptoki_sys::CKR_OK { Ok(()) } else { Err(code) }
    }};
}
pub(crate) use p11;

/// The length that an operation reported, and what it wrote.
#[derive(Debug, PartialEq, Eq)]
pub struct Output {
    pub reported: usize,
    /// The whole buffer, filled with `0xee` before.
    pub buffer: Vec<u8>,
}

impl Output {
    /// The bytes up to the length that was reported.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[..self.reported]
    }

    /// Whether nothing was written after `start`.
    pub fn is_untouched_from(&self, start: usize) -> bool {
        self.buffer[start..].iter().all(|byte| *byte == 0xee)
    }
}

/// A client with a session and two keys. Each thread has a copy.
#[derive(Clone, Copy)]
pub struct Client {
    pub hostile: &'static Hostile,
    pub slot: CK_SLOT_ID,
    pub session: CK_SESSION_HANDLE,
    pub aes: CK_OBJECT_HANDLE,
    pub mac: CK_OBJECT_HANDLE,
    list: CK_FUNCTION_LIST,
}

/// The only client of the process at a time. Finalises the module on drop.
pub struct Token {
    client: Client,
    _guard: MutexGuard<'static, ()>,
}

impl Deref for Token {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Token {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.hostile.command("reset");
        let _ = self.finalize();
    }
}

impl Token {
    /// An initialised module with a session and keys, without faults and counts.
    pub fn fresh() -> Token {
        let mut token = Token::untouched();
        token.initialize().expect("C_Initialize");
        token.connect().expect("a session with keys");
        token.hostile.command("reset");
        token
    }

    /// A module that is not initialised.
    pub fn untouched() -> Token {
        static CLIENT: Mutex<()> = Mutex::new(());
        let guard = CLIENT.lock().unwrap_or_else(PoisonError::into_inner);
        let hostile = hostile();
        hostile.command("reset");
        let list = hostile.function_list().expect("C_GetFunctionList");
        // SAFETY: the static list of the module.
        let list = unsafe { *list };
        hostile.command("reset");
        let client = Client { hostile, slot: 0, session: 0, aes: 0, mac: 0, list };
        Token { client, _guard: guard }
    }
}

impl Client {
    /// The same keys in another session.
    pub fn with(&self, session: CK_SESSION_HANDLE) -> Client {
        Client { session, ..*self }
    }

    pub fn functions(&self) -> &CK_FUNCTION_LIST {
        &self.list
    }

    pub fn arm(&self, command: &str) {
        self.hostile.command(command);
    }

    pub fn initialize(&self) -> CallResult<()> {
        let mut arguments =
            CK_C_INITIALIZE_ARGS { flags: CKF_OS_LOCKING_OK, ..CK_C_INITIALIZE_ARGS::default() };
        p11!(self, C_Initialize((&raw mut arguments).cast()))
    }

    pub fn finalize(&self) -> CallResult<()> {
        p11!(self, C_Finalize(std::ptr::null_mut()))
    }

    /// Finds the token, opens a session, logs in and generates keys.
    pub fn connect(&mut self) -> CallResult<()> {
        self.slot = self.find_slot()?.expect("a slot with the label");
        self.session = self.open()?;
        match self.login() {
            Ok(()) | Err(CKR_USER_ALREADY_LOGGED_IN) => {}
            Err(code) => return Err(code),
        }
        self.aes = self.generate(CKM_AES_KEY_GEN, CKK_AES)?;
        self.mac = self.generate(CKM_GENERIC_SECRET_KEY_GEN, CKK_GENERIC_SECRET)?;
        Ok(())
    }

    /// The ids and the count that C_GetSlotList returns for a buffer of this length.
    pub fn slots(&self, room: usize) -> CallResult<(Vec<CK_SLOT_ID>, CK_ULONG)> {
        let mut ids = vec![0; room];
        let mut count = room as CK_ULONG;
        p11!(self, C_GetSlotList(CK_TRUE, ids.as_mut_ptr(), &mut count))?;
        Ok((ids, count))
    }

    pub fn slot_count(&self) -> CallResult<CK_ULONG> {
        let mut count = 0;
        p11!(self, C_GetSlotList(CK_TRUE, std::ptr::null_mut(), &mut count))?;
        Ok(count)
    }

    pub fn find_slot(&self) -> CallResult<Option<CK_SLOT_ID>> {
        let (ids, count) = self.slots(16)?;
        for id in &ids[..count as usize] {
            if self.token_info(*id)?.label.starts_with(LABEL.as_bytes()) {
                return Ok(Some(*id));
            }
        }
        Ok(None)
    }

    pub fn token_info(&self, slot: CK_SLOT_ID) -> CallResult<CK_TOKEN_INFO> {
        let mut info = CK_TOKEN_INFO::default();
        p11!(self, C_GetTokenInfo(slot, &mut info))?;
        Ok(info)
    }

    pub fn open(&self) -> CallResult<CK_SESSION_HANDLE> {
        let mut session = 0xdead;
        let flags = CKF_SERIAL_SESSION | CKF_RW_SESSION;
        let none = std::ptr::null_mut();
        p11!(self, C_OpenSession(self.slot, flags, none, None, &mut session))?;
        Ok(session)
    }

    pub fn login(&self) -> CallResult<()> {
        let mut pin = PIN.to_vec();
        p11!(self, C_Login(self.session, CKU_USER, pin.as_mut_ptr(), pin.len() as CK_ULONG))
    }

    pub fn session_info(&self) -> CallResult<CK_SESSION_INFO> {
        let mut info = CK_SESSION_INFO::default();
        p11!(self, C_GetSessionInfo(self.session, &mut info))?;
        Ok(info)
    }

    pub fn is_logged_in(&self) -> bool {
        self.session_info().map(|info| info.state) == Ok(CKS_RW_USER_FUNCTIONS)
    }

    /// Generates a session key that is sensitive and cannot be extracted.
    pub fn generate(
        &self,
        by: CK_MECHANISM_TYPE,
        kind: CK_KEY_TYPE,
    ) -> CallResult<CK_OBJECT_HANDLE> {
        let (mut yes, mut no, mut kind) = (CK_TRUE, CK_FALSE, kind);
        let mut class = CKO_SECRET_KEY;
        let mut len: CK_ULONG = 32;
        let is_aes = kind == CKK_AES;
        let mut flag =
            |type_, value: bool| attribute(type_, if value { &mut yes } else { &mut no });
        let mut template = vec![
            flag(CKA_TOKEN, false),
            flag(CKA_PRIVATE, true),
            flag(CKA_SENSITIVE, true),
            flag(CKA_EXTRACTABLE, false),
            flag(CKA_ENCRYPT, is_aes),
            flag(CKA_DECRYPT, is_aes),
            flag(CKA_SIGN, !is_aes),
            flag(CKA_VERIFY, false),
            flag(CKA_WRAP, false),
            flag(CKA_UNWRAP, false),
            flag(CKA_DERIVE, false),
        ];
        template.push(attribute(CKA_CLASS, &mut class));
        template.push(attribute(CKA_KEY_TYPE, &mut kind));
        template.push(attribute(CKA_VALUE_LEN, &mut len));
        let mut mechanism = CK_MECHANISM { mechanism: by, ..CK_MECHANISM::default() };
        let mut key = 0xdead;
        let count = template.len() as CK_ULONG;
        p11!(
            self,
            C_GenerateKey(self.session, &mut mechanism, template.as_mut_ptr(), count, &mut key)
        )?;
        Ok(key)
    }

    /// Reads an attribute of the size of `T`. Returns the code, the reported length and the value.
    pub fn attribute<T: Default>(
        &self,
        key: CK_OBJECT_HANDLE,
        type_: CK_ATTRIBUTE_TYPE,
    ) -> (CallResult<()>, CK_ULONG, T) {
        let mut value = T::default();
        let mut template = [attribute(type_, &mut value)];
        let code = p11!(self, C_GetAttributeValue(self.session, key, template.as_mut_ptr(), 1));
        (code, template[0].ulValueLen, value)
    }

    /// Whether a flag of a key is set.
    pub fn flag(&self, key: CK_OBJECT_HANDLE, type_: CK_ATTRIBUTE_TYPE) -> bool {
        self.attribute::<CK_BBOOL>(key, type_).2 == CK_TRUE
    }

    /// Searches for AES keys. Returns the reported count and the whole buffer.
    pub fn find(&self, room: usize) -> CallResult<(CK_ULONG, Vec<CK_OBJECT_HANDLE>)> {
        let mut kind = CKK_AES;
        let mut template = [attribute(CKA_KEY_TYPE, &mut kind)];
        p11!(self, C_FindObjectsInit(self.session, template.as_mut_ptr(), 1))?;
        let mut handles = vec![0xeeee; room + 4];
        let mut count = 0;
        let list = handles.as_mut_ptr();
        let found = p11!(self, C_FindObjects(self.session, list, room as CK_ULONG, &mut count));
        p11!(self, C_FindObjectsFinal(self.session))?;
        found?;
        assert_eq!(handles.split_off(room), [0xeeee; 4], "written beyond the buffer");
        Ok((count, handles))
    }

    pub fn mechanisms(&self, room: usize) -> CallResult<(Vec<CK_MECHANISM_TYPE>, CK_ULONG)> {
        let mut list = vec![0; room];
        let mut count = room as CK_ULONG;
        p11!(self, C_GetMechanismList(self.slot, list.as_mut_ptr(), &mut count))?;
        Ok((list, count))
    }

    pub fn mechanism_count(&self) -> CallResult<CK_ULONG> {
        let mut count = 0;
        p11!(self, C_GetMechanismList(self.slot, std::ptr::null_mut(), &mut count))?;
        Ok(count)
    }

    pub fn mechanism_info(&self, mechanism: CK_MECHANISM_TYPE) -> CallResult<CK_MECHANISM_INFO> {
        let mut info = CK_MECHANISM_INFO::default();
        p11!(self, C_GetMechanismInfo(self.slot, mechanism, &mut info))?;
        Ok(info)
    }
}

/// An attribute whose value is a variable.
pub fn attribute<T>(type_: CK_ATTRIBUTE_TYPE, value: &mut T) -> CK_ATTRIBUTE {
    let len = size_of::<T>() as CK_ULONG;
    CK_ATTRIBUTE { type_, pValue: std::ptr::from_mut(value).cast(), ulValueLen: len }
}
