//! Open sessions, and the faults of their current operations.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cryptoki_sys::{CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CK_SLOT_ID, CK_ULONG};

/// The state that C_EncryptInit sets for C_Encrypt.
#[derive(Clone, Default)]
pub(crate) struct Encrypting {
    /// The length of the tag after the ciphertext.
    pub(crate) tag: usize,
    pub(crate) iv: IvOut,
}

/// Where C_Encrypt returns the IV that the token generated.
#[derive(Clone, Default)]
pub(crate) enum IvOut {
    #[default]
    Nowhere,
    /// In the caller's parameters.
    Written(CallerBytes, [u8; 12]),
    Appended([u8; 12]),
    Prepended([u8; 12]),
}

/// The state that C_DecryptInit sets for C_Decrypt.
#[derive(Clone, Default)]
pub(crate) struct Decrypting {
    pub(crate) tag: usize,
    /// An initialisation that needs the IV from the ciphertext.
    pub(crate) deferred: Option<DeferredInit>,
}

#[derive(Clone)]
pub(crate) struct DeferredInit {
    pub(crate) key: CK_OBJECT_HANDLE,
    pub(crate) aad: Vec<u8>,
    pub(crate) tag_bits: CK_ULONG,
}

/// Memory of the caller that is written later.
#[derive(Clone, Copy)]
pub(crate) struct CallerBytes {
    pub(crate) start: *mut u8,
    pub(crate) len: usize,
}

// SAFETY: the pointer is only used where the memory is known to be alive.
unsafe impl Send for CallerBytes {}

#[derive(Clone, Default)]
pub(crate) struct OpenSession {
    slot: CK_SLOT_ID,
    /// Whether every new operation fails.
    pub(crate) is_stuck: bool,
    pub(crate) encrypting: Encrypting,
    pub(crate) decrypting: Decrypting,
}

type Sessions = BTreeMap<CK_SESSION_HANDLE, OpenSession>;

static SESSIONS: Mutex<Sessions> = Mutex::new(BTreeMap::new());

fn sessions() -> MutexGuard<'static, Sessions> {
    SESSIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn opened(session: CK_SESSION_HANDLE, slot: CK_SLOT_ID) {
    sessions().insert(session, OpenSession { slot, ..OpenSession::default() });
}

pub(crate) fn closed(session: CK_SESSION_HANDLE) {
    sessions().remove(&session);
}

pub(crate) fn all_closed(slot: CK_SLOT_ID) {
    sessions().retain(|_, session| session.slot != slot);
}

pub(crate) fn forget() {
    sessions().clear();
}

/// Forgets the faults of operations. The sessions stay.
pub(crate) fn forget_operations() {
    for session in sessions().values_mut() {
        *session = OpenSession { slot: session.slot, ..OpenSession::default() };
    }
}

/// One open session of each slot.
pub(crate) fn one_of_each_slot() -> Vec<(CK_SLOT_ID, CK_SESSION_HANDLE)> {
    let slots: BTreeMap<_, _> = sessions().iter().map(|(handle, s)| (s.slot, *handle)).collect();
    slots.into_iter().collect()
}

/// An open session of the slot.
pub(crate) fn any_of(slot: CK_SLOT_ID) -> Option<CK_SESSION_HANDLE> {
    sessions().iter().find(|(_, session)| session.slot == slot).map(|(handle, _)| *handle)
}

pub(crate) fn slot_of(session: CK_SESSION_HANDLE) -> Option<CK_SLOT_ID> {
    with(session, |it| it.slot)
}

/// Calls `f` with an open session.
pub(crate) fn with<T>(
    session: CK_SESSION_HANDLE,
    f: impl FnOnce(&mut OpenSession) -> T,
) -> Option<T> {
    sessions().get_mut(&session).map(f)
}

impl CallerBytes {
    /// Whether all bytes are zero. The memory is alive.
    pub(crate) unsafe fn is_zero(&self) -> bool {
        // SAFETY: the memory is alive, and each byte is within its length.
        (0..self.len).all(|at| unsafe { self.start.add(at).read() } == 0)
    }
}
