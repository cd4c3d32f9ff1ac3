//! Wrong results about tokens, slots, sessions and the function list.

use cryptoki_sys::*;

use super::Check;
use crate::common::LABEL;
use crate::common::token::{Token, p11};

pub const CHECKS: &[Check] = &[
    ("token-label-nul", |t, c| {
        let mut expected = [0; 32];
        expected[..LABEL.len()].copy_from_slice(LABEL.as_bytes());
        assert_eq!(info(t, c).label, expected);
    }),
    ("token-label-garbage", |t, c| assert!(str::from_utf8(&info(t, c).label).is_err())),
    ("token-time-garbage", |t, c| assert!(info(t, c).utcTime.starts_with(b"10:28:50\xff"))),
    ("token-serial-other", |t, c| {
        let right = t.token_info(t.slot).expect("info").serialNumber;
        assert_ne!(info(t, c).serialNumber, right);
        assert_eq!(t.token_info(t.slot).expect("info").serialNumber, right);
    }),
    ("token-pin-count-low", |t, c| flag(t, c, CKF_USER_PIN_COUNT_LOW)),
    ("token-pin-final-try", |t, c| flag(t, c, CKF_USER_PIN_FINAL_TRY)),
    ("token-pin-locked", |t, c| flag(t, c, CKF_USER_PIN_LOCKED)),
    ("token-max-sessions", |t, c| assert_eq!(info(t, c).ulMaxRwSessionCount, 2)),
    ("token-max-sessions 1", |t, c| assert_eq!(info(t, c).ulMaxRwSessionCount, 1)),
    ("token-max-sessions 0", |t, c| assert_eq!(info(t, c).ulMaxRwSessionCount, 0)),
    ("slots-none", |t, c| {
        t.arm(&format!("{c} times 2"));
        assert_eq!(t.slot_count(), Ok(0));
        assert_eq!(t.find_slot(), Ok(None));
        assert_eq!(t.find_slot(), Ok(Some(t.slot)));
    }),
    ("slots-grow", |t, c| {
        t.arm(c);
        let count = t.slot_count().expect("a count");
        assert_eq!(t.slots(count as usize), Err(CKR_BUFFER_TOO_SMALL));
    }),
    ("slots-shrink", |t, c| {
        t.arm(c);
        let count = t.slot_count().expect("a count");
        assert_eq!(t.slots(count as usize).expect("a list").1, count - 1);
    }),
    ("slots-huge", |t, c| {
        t.arm(&format!("{c} times 2"));
        assert_eq!(t.slot_count(), Ok(CK_UNAVAILABLE_INFORMATION));
        assert_eq!(t.slots(16).expect("a list").1, CK_UNAVAILABLE_INFORMATION);
    }),
    ("slot-ids-change", slot_ids_change),
    ("login-ignored", |t, c| {
        p11!(t, C_Logout(t.session)).expect("C_Logout");
        t.arm(c);
        t.login().expect("OK");
        assert!(!t.is_logged_in());
    }),
    ("session-zero", |t, c| {
        t.arm(c);
        assert_eq!(t.open(), Ok(0));
        assert_ne!(t.open(), Ok(0));
    }),
    ("session-shared", |t, c| {
        t.arm(c);
        assert_eq!(t.open(), Ok(t.session));
        assert_ne!(t.open(), Ok(t.session));
        p11!(t, C_CloseAllSessions(t.slot)).expect("C_CloseAllSessions");
        t.arm(c);
        assert!(t.open().is_ok(), "no other session");
        assert_eq!(t.hostile.injected(), 1);
    }),
    ("list-null-member", |t, c| assert!(list(t, c).C_Encrypt.is_none())),
    ("list-null-member C_Finalize", |t, c| {
        let list = list(t, c);
        assert!(list.C_Finalize.is_none() && list.C_Encrypt.is_some());
    }),
    ("list-version-3", |t, c| {
        t.arm(c);
        let list = t.hostile.function_list().expect("OK").cast::<CK_FUNCTION_LIST_3_2>();
        // SAFETY: the module pads the list to the length of the longest version.
        let list = unsafe { *list };
        assert_eq!((list.version.major, list.version.minor), (3, 0));
        assert!(list.C_Encrypt.is_some() && list.C_GetInterface.is_none());
    }),
    ("list-version-garbage", |t, c| assert_eq!(list(t, c).version.major, 255)),
    ("list-null", |t, c| {
        t.arm(c);
        assert_eq!(t.hostile.function_list(), Ok(std::ptr::null_mut()));
        assert!(!t.hostile.function_list().expect("OK").is_null());
    }),
];

fn info(t: &Token, command: &str) -> CK_TOKEN_INFO {
    t.arm(command);
    t.token_info(t.slot).expect("OK")
}

fn flag(t: &Token, command: &str, flag: CK_FLAGS) {
    let right = t.token_info(t.slot).expect("info").flags;
    assert_eq!(right & flag, 0);
    assert_eq!(info(t, command).flags, right | flag);
}

fn slot_ids_change(t: &mut Token, command: &str) {
    let old = t.slot;
    t.arm(&format!("{command} always"));
    for _ in 0..2 {
        let before = t.slot;
        t.finalize().expect("C_Finalize");
        t.initialize().expect("C_Initialize");
        t.connect().expect("found by its label");
        assert_ne!(t.slot, before);
        assert_eq!(t.session_info().expect("info").slotID, t.slot);
        assert!(t.mechanism_count().is_ok());
        assert_eq!(t.token_info(old).map(drop), Err(CKR_SLOT_ID_INVALID));
    }
}

fn list(t: &Token, command: &str) -> CK_FUNCTION_LIST {
    t.arm(command);
    let list = t.hostile.function_list().expect("OK");
    // SAFETY: the list of the module, which is never freed.
    unsafe { *list }
}
