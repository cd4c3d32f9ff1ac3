//! Wrong results of C_Encrypt, C_Decrypt and C_Sign.

use cryptoki_sys::*;

use super::Check;
use crate::common::crypto::{Deliver, Gcm};
use crate::common::token::{CallResult, DATA, IV, Output, ROOMY, Token, p11};

pub const CHECKS: &[Check] = &[
    ("length-zero", |t, c| lengths(t, c, |_| 0)),
    ("length-less", |t, c| lengths(t, c, |right| right - 1)),
    ("length-more", |t, c| lengths(t, c, |right| right + 1)),
    ("length-huge", |t, c| lengths(t, c, |_| usize::MAX)),
    ("length-beyond", |t, c| lengths(t, c, |_| ROOMY + 1)),
    ("query-zero", |t, c| queries(t, c, |_| 0)),
    ("query-less", |t, c| queries(t, c, |right| right - 16)),
    ("query-huge", |t, c| queries(t, c, |_| CK_UNAVAILABLE_INFORMATION)),
    ("buffer-too-small", |t, c| each(t, c, |_, wrong| assert_eq!(wrong, Err(0x150)))),
    ("output-short", |t, c| {
        each(t, c, |right, wrong| {
            let wrong = wrong.expect("OK");
            let half = right.reported / 2;
            assert_eq!(wrong.reported, right.reported);
            assert_eq!(wrong.buffer[..half], right.buffer[..half]);
            assert!(wrong.is_untouched_from(half));
        });
    }),
    ("output-untouched", |t, c| {
        each(t, c, |right, wrong| {
            let wrong = wrong.expect("OK");
            assert_eq!(wrong.reported, right.reported);
            assert!(wrong.is_untouched_from(0));
        });
    }),
    ("output-longer", output_longer),
    ("output-zeros", |t, c| {
        each(t, c, |right, wrong| {
            assert_eq!(wrong.expect("OK").bytes(), vec![0; right.reported]);
        });
    }),
    ("output-echo", output_echo),
    ("flip-first", |t, c| flips(t, c, |_| 0)),
    ("flip-last", |t, c| flips(t, c, |reported| reported - 1)),
    ("bad-tag-says", |t, c| bad_tag_says(t, c, CKR_GENERAL_ERROR)),
    ("bad-tag-says DEVICE_ERROR", |t, c| bad_tag_says(t, c, CKR_DEVICE_ERROR)),
    ("bad-tag-accepted", |t, c| {
        let forged = forged(t);
        t.arm(c);
        let opened = t.decrypt(IV, &forged).expect("accepted");
        assert_eq!(opened.reported, DATA.len());
        assert_ne!(opened.bytes(), DATA);
    }),
    ("good-decrypt-says", |t, c| good_decrypt_says(t, c, CKR_GENERAL_ERROR)),
    ("good-decrypt-says DATA_INVALID", |t, c| good_decrypt_says(t, c, CKR_DATA_INVALID)),
    ("stuck", stuck),
];

fn input(t: &Token, what: Deliver) -> Vec<u8> {
    match what {
        Deliver::Decrypt => t.encrypt(IV, &DATA).expect("a ciphertext").bytes().to_vec(),
        _ => DATA.to_vec(),
    }
}

fn begin(t: &Token, what: Deliver) {
    match what {
        Deliver::Encrypt => t.encrypt_init(Gcm::new(&mut IV.clone())),
        Deliver::Decrypt => t.decrypt_init(Gcm::new(&mut IV.clone())),
        Deliver::Sign => t.sign_init(),
    }
    .expect("an operation begun");
}

/// Compares the output of each of the three functions without and with the fault.
fn each(t: &mut Token, command: &str, check: impl Fn(Output, CallResult<Output>)) {
    for what in Deliver::ALL {
        let input = input(t, what);
        begin(t, what);
        let right = t.deliver(what, &input, ROOMY).expect("the right result");
        assert!(right.is_untouched_from(right.reported));
        t.arm(&format!("{command} on {}", what.function()));
        begin(t, what);
        let wrong = t.deliver(what, &input, ROOMY);
        if wrong == Err(CKR_BUFFER_TOO_SMALL) {
            assert!(t.deliver(what, &input, ROOMY).is_ok(), "the operation is still active");
        }
        check(right, wrong);
    }
    assert_eq!(t.hostile.injected(), 3);
}

fn lengths(t: &mut Token, command: &str, expected: fn(usize) -> usize) {
    each(t, command, |right, wrong| {
        let wrong = wrong.expect("OK");
        assert_eq!(wrong.reported, expected(right.reported));
        assert_eq!(wrong.buffer, right.buffer, "the bytes are right");
    });
}

fn queries(t: &mut Token, command: &str, expected: fn(CK_ULONG) -> CK_ULONG) {
    for what in Deliver::ALL {
        let input = input(t, what);
        begin(t, what);
        let right = t.query(what, &input).expect("the right result");
        t.arm(&format!("{command} on {}", what.function()));
        assert_eq!(t.query(what, &input), Ok(expected(right)));
        assert!(t.deliver(what, &input, ROOMY).is_ok());
    }
}

fn output_longer(t: &mut Token, command: &str) {
    each(t, command, |right, wrong| {
        let wrong = wrong.expect("OK");
        assert_eq!(wrong.reported, right.reported + 1);
        assert_eq!(wrong.buffer[right.reported], 0xa5);
        assert!(wrong.is_untouched_from(wrong.reported));
        assert_eq!(&wrong.bytes()[..right.reported], right.bytes());
    });
    // Without room for it, the call has no fault.
    t.arm(command);
    t.sign_init().expect("C_SignInit");
    assert_eq!(t.deliver(Deliver::Sign, &DATA, 32).expect("OK").reported, 32);
    assert_eq!(t.hostile.injected(), 3);
}

fn output_echo(t: &mut Token, command: &str) {
    t.arm(&format!("{command} always"));
    let sealed = t.encrypt(IV, &DATA).expect("OK");
    assert_eq!(sealed.bytes(), [&DATA[..], &[0; 16]].concat());
    assert_eq!(t.decrypt(IV, sealed.bytes()).expect("OK").bytes(), DATA);
    let sealed = t.encrypt_cbc(&mut [7; 16], &DATA).expect("OK");
    assert_eq!(sealed.bytes(), DATA);
    assert_eq!(t.decrypt_cbc([7; 16], &DATA).expect("OK").bytes(), DATA);
}

fn flips(t: &mut Token, command: &str, place: fn(usize) -> usize) {
    each(t, command, |right, wrong| {
        let mut expected = right;
        expected.buffer[place(expected.reported)] ^= 1;
        assert_eq!(wrong, Ok(expected));
    });
}

fn forged(t: &Token) -> Vec<u8> {
    let mut forged = input(t, Deliver::Decrypt);
    forged[0] ^= 1;
    forged
}

fn bad_tag_says(t: &mut Token, command: &str, code: CK_RV) {
    let forged = forged(t);
    t.arm(command);
    let good = input(t, Deliver::Decrypt);
    assert!(t.decrypt(IV, &good).is_ok(), "a valid one has no fault");
    assert_eq!(t.decrypt(IV, &forged), Err(code));
    assert_eq!(t.hostile.injected(), 1);
}

fn good_decrypt_says(t: &mut Token, command: &str, code: CK_RV) {
    let (good, forged) = (input(t, Deliver::Decrypt), forged(t));
    t.arm(command);
    assert_eq!(t.decrypt(IV, &forged), Err(CKR_GENERAL_ERROR), "the code of SoftHSM");
    assert_eq!(t.hostile.injected(), 0);
    assert_eq!(t.decrypt(IV, &good), Err(code));
    assert_eq!(t.decrypt(IV, &good).expect("the next time").bytes(), DATA);
}

fn stuck(t: &mut Token, command: &str) {
    t.arm(command);
    assert_eq!(t.encrypt(IV, &DATA), Err(CKR_GENERAL_ERROR));
    assert_eq!(t.encrypt(IV, &DATA), Err(CKR_OPERATION_ACTIVE));
    assert_eq!(t.decrypt(IV, &DATA), Err(CKR_OPERATION_ACTIVE));
    assert_eq!(t.sign(&DATA), Err(CKR_OPERATION_ACTIVE));
    assert_eq!(t.find(1), Err(CKR_OPERATION_ACTIVE));
    let other = t.open().expect("another session");
    let stuck = std::mem::replace(&mut t.session, other);
    assert!(t.encrypt(IV, &DATA).is_ok());
    p11!(t, C_CloseSession(stuck)).expect("it can be closed");
}
