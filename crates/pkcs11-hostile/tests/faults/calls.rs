//! The faults that any function can have: codes, lost sessions, logouts, dead devices, delays.

use std::time::{Duration, Instant};

use cryptoki_sys::*;

use super::Check;
use crate::common::crypto::{Deliver, Gcm};
use crate::common::token::{DATA, IV, ROOMY, Token, p11};

pub const CHECKS: &[Check] = &[
    ("lose-sessions", lose_sessions),
    ("logout", logout),
    ("dead DEVICE_ERROR", |t, c| dead(t, c, CKR_DEVICE_ERROR)),
    ("dead DEVICE_REMOVED", |t, c| dead(t, c, CKR_DEVICE_REMOVED)),
    ("dead TOKEN_NOT_PRESENT", |t, c| dead(t, c, CKR_TOKEN_NOT_PRESENT)),
    ("dead GENERAL_ERROR", |t, c| dead(t, c, CKR_GENERAL_ERROR)),
    ("dead CRYPTOKI_NOT_INITIALIZED", |t, c| dead(t, c, CKR_CRYPTOKI_NOT_INITIALIZED)),
    ("dead DEVICE_MEMORY", |t, c| dead(t, c, CKR_DEVICE_MEMORY)),
    ("dead FUNCTION_FAILED", |t, c| dead(t, c, CKR_FUNCTION_FAILED)),
    ("fail any GENERAL_ERROR", fail_any),
    ("fail C_EncryptInit KEY_FUNCTION_NOT_PERMITTED", |t, c| begin(t, c, 0x68)),
    ("fail C_EncryptInit KEY_TYPE_INCONSISTENT", |t, c| begin(t, c, 0x63)),
    ("fail C_EncryptInit KEY_HANDLE_INVALID", |t, c| begin(t, c, 0x60)),
    ("fail C_EncryptInit OBJECT_HANDLE_INVALID", |t, c| begin(t, c, 0x82)),
    ("fail C_EncryptInit USER_NOT_LOGGED_IN", |t, c| begin(t, c, 0x101)),
    ("fail C_EncryptInit OPERATION_ACTIVE", |t, c| begin(t, c, 0x90)),
    ("fail C_Encrypt GENERAL_ERROR", |t, c| encrypt(t, c, CKR_GENERAL_ERROR)),
    ("fail C_Encrypt SESSION_HANDLE_INVALID", |t, c| encrypt(t, c, CKR_SESSION_HANDLE_INVALID)),
    ("fail C_Encrypt SESSION_CLOSED", |t, c| encrypt(t, c, CKR_SESSION_CLOSED)),
    ("fail C_Decrypt DEVICE_ERROR", |t, c| decrypt(t, c, CKR_DEVICE_ERROR)),
    ("fail C_Decrypt DATA_INVALID", |t, c| decrypt(t, c, CKR_DATA_INVALID)),
    ("fail C_Sign DEVICE_MEMORY", |t, c| {
        t.arm(c);
        assert_eq!(t.sign(&DATA), Err(CKR_DEVICE_MEMORY));
    }),
    ("fail C_OpenSession SESSION_COUNT", |t, c| {
        t.arm(c);
        assert_eq!(t.open(), Err(CKR_SESSION_COUNT));
        assert!(t.open().is_ok());
    }),
    ("fail C_Login PIN_INCORRECT", |t, c| login(t, c, CKR_PIN_INCORRECT)),
    ("fail C_Login PIN_LOCKED", |t, c| login(t, c, CKR_PIN_LOCKED)),
    ("fail C_Login PIN_EXPIRED", |t, c| login(t, c, CKR_PIN_EXPIRED)),
    ("fail C_Login USER_ALREADY_LOGGED_IN", |t, c| login(t, c, CKR_USER_ALREADY_LOGGED_IN)),
    ("fail C_Login USER_ANOTHER_ALREADY_LOGGED_IN", |t, c| {
        login(t, c, CKR_USER_ANOTHER_ALREADY_LOGGED_IN)
    }),
    ("fail C_Initialize CRYPTOKI_ALREADY_INITIALIZED", |t, c| {
        initialize(t, c, CKR_CRYPTOKI_ALREADY_INITIALIZED);
        assert_eq!(t.slot_count(), Err(CKR_CRYPTOKI_NOT_INITIALIZED));
    }),
    ("answer C_Initialize CRYPTOKI_ALREADY_INITIALIZED", |t, c| {
        initialize(t, c, CKR_CRYPTOKI_ALREADY_INITIALIZED);
        assert!(t.slot_count().is_ok());
    }),
    ("fail C_Initialize CANT_LOCK", |t, c| initialize(t, c, CKR_CANT_LOCK)),
    ("fail C_Initialize GENERAL_ERROR", |t, c| initialize(t, c, CKR_GENERAL_ERROR)),
    ("fail C_GenerateKey TEMPLATE_INCONSISTENT", |t, c| {
        t.arm(c);
        assert_eq!(t.generate(CKM_AES_KEY_GEN, CKK_AES), Err(CKR_TEMPLATE_INCONSISTENT));
        assert_eq!(t.find(8).expect("a search").0, 1);
    }),
    ("answer C_GenerateKey DEVICE_ERROR", |t, c| {
        t.arm(c);
        assert_eq!(t.generate(CKM_AES_KEY_GEN, CKK_AES), Err(CKR_DEVICE_ERROR));
        assert_eq!(t.find(8).expect("a search").0, 2, "the key is there");
    }),
    ("answer C_Encrypt DEVICE_ERROR", |t, c| {
        t.arm(c);
        assert_eq!(t.encrypt(IV, &DATA), Err(CKR_DEVICE_ERROR));
        assert!(t.encrypt(IV, &DATA).is_ok(), "the operation had been carried out");
    }),
    ("answer C_Decrypt GENERAL_ERROR", |t, c| {
        let sealed = t.encrypt(IV, &DATA).expect("a ciphertext");
        t.arm(c);
        assert_eq!(t.decrypt(IV, sealed.bytes()), Err(CKR_GENERAL_ERROR));
        assert_eq!(t.decrypt(IV, sealed.bytes()).expect("done before").bytes(), DATA);
    }),
    ("answer C_DestroyObject FUNCTION_FAILED", |t, c| {
        t.arm(c);
        assert_eq!(p11!(t, C_DestroyObject(t.session, t.aes)), Err(CKR_FUNCTION_FAILED));
        assert_eq!(t.find(8).expect("a search").0, 0, "the key is destroyed");
    }),
    ("delay any 50", delay),
    ("random 1 100 100", random),
    ("random-codes 1 50 100", |t, c| {
        t.arm(c);
        let failed = (0..10_000).filter(|_| t.session_info().is_err()).count();
        assert_eq!((failed, t.hostile.injected()), (100, 100));
        assert!(t.encrypt(IV, &DATA).is_ok(), "nothing was changed");
    }),
];

fn lose_sessions(t: &mut Token, command: &str) {
    let other = t.open().expect("another session");
    t.arm(&format!("{command} on C_EncryptInit"));
    assert_eq!(t.encrypt(IV, &DATA), Err(CKR_SESSION_HANDLE_INVALID));
    assert_eq!(p11!(t, C_CloseSession(other)), Err(CKR_SESSION_HANDLE_INVALID));
    assert_eq!(t.hostile.injected(), 1);
    t.connect().expect("a new session");
    assert!(t.encrypt(IV, &DATA).is_ok());
}

fn logout(t: &mut Token, command: &str) {
    t.arm(command);
    assert!(t.is_logged_in() || t.hostile.injected() == 1);
    assert!(!t.is_logged_in());
    assert!(t.encrypt(IV, &DATA).is_err());
    // No user is logged in, so the fault waits for a later call.
    t.arm(command);
    assert!(!t.is_logged_in());
    assert_eq!(t.hostile.injected(), 1);
    t.login().expect("a login");
    assert!(!t.is_logged_in());
    assert_eq!(t.hostile.injected(), 2);
}

fn dead(t: &mut Token, command: &str, code: CK_RV) {
    t.arm(&format!("{command} on C_Encrypt"));
    assert_eq!(t.encrypt(IV, &DATA), Err(code));
    assert_eq!(t.session_info().map(drop), Err(code));
    assert_eq!(t.slot_count(), Err(code));
    assert_eq!(t.open(), Err(code));
    assert_eq!(t.login(), Err(code));
    assert_eq!(t.initialize(), Err(CKR_CRYPTOKI_ALREADY_INITIALIZED), "without C_Finalize");
    assert_eq!(t.slot_count(), Err(code));
    t.finalize().expect("C_Finalize");
    t.initialize().expect("C_Initialize");
    t.connect().expect("a session with keys");
    assert!(t.encrypt(IV, &DATA).is_ok());
    assert_eq!(t.hostile.injected(), 1);
}

fn fail_any(t: &mut Token, command: &str) {
    t.arm(command);
    assert_eq!(t.slot_count(), Err(CKR_GENERAL_ERROR));
    assert!(t.slot_count().is_ok());
    t.arm(&format!("{command} always"));
    t.finalize().expect("C_Finalize is spared");
    t.initialize().expect("C_Initialize is spared");
    assert!(t.hostile.function_list().is_ok(), "C_GetFunctionList is spared");
    assert_eq!(t.slot_count(), Err(CKR_GENERAL_ERROR));
}

fn begin(t: &mut Token, command: &str, code: CK_RV) {
    t.arm(&format!("{command} after 1 times 2"));
    assert!(t.encrypt(IV, &DATA).is_ok());
    assert_eq!(t.encrypt(IV, &DATA), Err(code));
    assert_eq!(t.encrypt(IV, &DATA), Err(code));
    assert!(t.encrypt(IV, &DATA).is_ok());
    assert_eq!(t.hostile.calls("C_EncryptInit"), 4);
    assert_eq!(t.hostile.calls("C_Encrypt"), 2);
}

fn encrypt(t: &mut Token, command: &str, code: CK_RV) {
    t.arm(command);
    assert_eq!(t.encrypt(IV, &DATA), Err(code));
    let begun = t.encrypt_init(Gcm::new(&mut IV.clone()));
    assert_eq!(begun, Err(CKR_OPERATION_ACTIVE), "it was not forwarded");
    assert!(t.deliver(Deliver::Encrypt, &DATA, ROOMY).is_ok());
}

fn decrypt(t: &mut Token, command: &str, code: CK_RV) {
    let sealed = t.encrypt(IV, &DATA).expect("a ciphertext");
    t.arm(command);
    assert_eq!(t.decrypt(IV, sealed.bytes()), Err(code));
    let opened = t.deliver(Deliver::Decrypt, sealed.bytes(), ROOMY).expect("still active");
    assert_eq!(opened.bytes(), DATA);
}

fn login(t: &mut Token, command: &str, code: CK_RV) {
    p11!(t, C_Logout(t.session)).expect("C_Logout");
    t.arm(command);
    assert_eq!(t.login(), Err(code));
    assert!(!t.is_logged_in());
    t.login().expect("a login");
    assert!(t.is_logged_in());
}

fn initialize(t: &mut Token, command: &str, code: CK_RV) {
    t.finalize().expect("C_Finalize");
    t.arm(command);
    assert_eq!(t.initialize(), Err(code));
}

fn delay(t: &mut Token, command: &str) {
    t.arm(command);
    let started = Instant::now();
    assert!(t.slot_count().is_ok());
    assert!(started.elapsed() >= Duration::from_millis(50));
}

fn random(t: &mut Token, command: &str) {
    t.arm(&format!("{command} gap 0"));
    let mut failures = 0;
    while t.hostile.injected() < 100 {
        if t.encrypt(IV, &DATA).is_err() {
            failures += 1;
            t.finalize().expect("C_Finalize");
            t.initialize().expect("C_Initialize");
            for attempt in 0.. {
                if t.connect().is_ok() {
                    break;
                }
                assert!(attempt < 100, "no recovery");
                t.finalize().expect("C_Finalize");
                t.initialize().expect("C_Initialize");
            }
        }
    }
    assert!(failures > 50, "{failures}");
    for _ in 0..100 {
        let _ = t.session_info();
    }
    assert_eq!(t.hostile.injected(), 100, "no more than armed");
}
