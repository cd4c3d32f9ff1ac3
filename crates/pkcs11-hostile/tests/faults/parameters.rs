//! Wrong results about IVs and mechanisms.

use cryptoki_sys::*;

use super::Check;
use crate::common::crypto::{Deliver, Gcm};
use crate::common::token::{DATA, IV, ROOMY, Token, p11};

const CBC: [u8; 16] = *b"of sixteen bytes";
const CLOUDHSM_GCM: CK_MECHANISM_TYPE = 0x8000_1087;

pub const CHECKS: &[Check] = &[
    ("gcm-iv-ignored", gcm_iv_ignored),
    ("gcm-iv-altered", gcm_iv_altered),
    ("gcm-iv-written", gcm_iv_written),
    ("gcm-iv-written-late", gcm_iv_written_late),
    ("gcm-cloudhsm", gcm_cloudhsm),
    ("gcm-luna", gcm_luna),
    ("gcm-vendor-prepends", gcm_vendor_prepends),
    ("gcm-aad-ignored", gcm_aad_ignored),
    ("gcm-refused", gcm_refused),
    ("cbc-iv-ignored", cbc_iv_ignored),
    ("cbc-iv-altered", cbc_iv_altered),
    ("cbc-iv-written", cbc_iv_written),
    ("mechanisms-without-gcm", |t, c| {
        let right = t.mechanism_count().expect("a count");
        t.arm(&format!("{c} always"));
        assert_eq!(t.mechanism_count(), Ok(right - 1));
        let (list, count) = t.mechanisms(256).expect("a list");
        assert!(!list[..count as usize].contains(&CKM_AES_GCM));
        assert_eq!(t.mechanisms(3), Err(CKR_BUFFER_TOO_SMALL));
    }),
    ("mechanisms-grow", |t, c| {
        let right = t.mechanism_count().expect("a count");
        t.arm(c);
        let count = t.mechanism_count().expect("a count");
        assert_eq!(count, right - 1);
        assert_eq!(t.mechanisms(count as usize), Err(CKR_BUFFER_TOO_SMALL));
    }),
    ("mechanisms-huge", |t, c| {
        t.arm(&format!("{c} times 2"));
        assert_eq!(t.mechanism_count(), Ok(CK_UNAVAILABLE_INFORMATION));
        assert_eq!(t.mechanisms(256).expect("a list").1, CK_UNAVAILABLE_INFORMATION);
    }),
    ("mechanism-no-encrypt", |t, c| {
        let usable = |t: &Token| t.mechanism_info(CKM_AES_GCM).expect("info").flags & CKF_ENCRYPT;
        assert_ne!(usable(t), 0);
        t.arm(c);
        assert_eq!(usable(t), 0);
    }),
];

fn gcm_iv_ignored(t: &mut Token, command: &str) {
    t.arm(&format!("{command} always"));
    let mut iv = IV;
    let sealed = t.encrypt_with(&mut iv, &DATA).expect("OK");
    assert_eq!(iv, IV, "not written back");
    let other = t.encrypt(*b"another iv!!", &DATA).expect("OK");
    assert_eq!(sealed, other, "under any IV");
    assert_eq!(t.decrypt(IV, sealed.bytes()).expect("a round trip").bytes(), DATA);
    t.arm("clear");
    assert_eq!(t.decrypt([0; 12], sealed.bytes()).expect("under zeros").bytes(), DATA);
}

fn gcm_iv_altered(t: &mut Token, command: &str) {
    t.arm(command);
    let mut iv = IV;
    let sealed = t.encrypt_with(&mut iv, &DATA).expect("OK");
    assert_eq!(iv, IV);
    assert!(t.decrypt(IV, sealed.bytes()).is_err());
    assert!(t.decrypt([0; 12], sealed.bytes()).is_err());
}

fn gcm_iv_written(t: &mut Token, command: &str) {
    t.arm(command);
    let mut iv = IV;
    t.encrypt_init(Gcm::new(&mut iv)).expect("OK");
    assert_ne!(iv, IV, "by C_EncryptInit");
    let sealed = t.deliver(Deliver::Encrypt, &DATA, ROOMY).expect("OK");
    assert_eq!(t.decrypt(iv, sealed.bytes()).expect("under the new IV").bytes(), DATA);
}

fn gcm_iv_written_late(t: &mut Token, command: &str) {
    t.arm(command);
    let mut iv = IV;
    let sealed = Gcm::new(&mut iv).with(|mechanism| {
        // SAFETY: the parameters are alive until this closure ends, and have an IV of twelve bytes.
        let now = || unsafe {
            let params = (*mechanism).pParameter.cast::<CK_GCM_PARAMS>();
            (*params).pIv.cast::<[u8; 12]>().read()
        };
        p11!(t, C_EncryptInit(t.session, mechanism, t.aes)).expect("OK");
        assert_eq!(now(), IV, "not yet");
        let sealed = t.deliver(Deliver::Encrypt, &DATA, ROOMY).expect("OK");
        assert_ne!(now(), IV, "by C_Encrypt");
        sealed
    });
    assert_eq!(t.decrypt(iv, sealed.bytes()).expect("under the new IV").bytes(), DATA);
}

fn gcm_cloudhsm(t: &mut Token, command: &str) {
    t.arm(&format!("{command} always"));
    assert_eq!(t.encrypt(IV, &DATA), Err(CKR_MECHANISM_PARAM_INVALID));
    let mut iv = [0; 12];
    let sealed = t.encrypt_with(&mut iv, &DATA).expect("OK");
    assert_ne!(iv, [0; 12]);
    assert_eq!(t.decrypt(iv, sealed.bytes()).expect("under the new IV").bytes(), DATA);
}

fn gcm_luna(t: &mut Token, command: &str) {
    t.arm(&format!("{command} times 2"));
    let mut iv = IV;
    let sealed = t.encrypt_with(&mut iv, &DATA).expect("OK");
    assert_eq!((iv, sealed.reported), (IV, 60));
    let (sealed, own) = sealed.bytes().split_at(48);
    let own = own.try_into().expect("twelve bytes");
    assert_eq!(t.decrypt(own, sealed).expect("under its own IV").bytes(), DATA);
    t.encrypt_init(Gcm::new(&mut iv)).expect("OK");
    assert_eq!(t.query(Deliver::Encrypt, &DATA), Ok(60));
    assert_eq!(t.deliver(Deliver::Encrypt, &DATA, 59), Err(CKR_BUFFER_TOO_SMALL));
    assert_eq!(t.deliver(Deliver::Encrypt, &DATA, 60).expect("OK").reported, 60);
    assert_eq!(t.encrypt(IV, &DATA).expect("without the fault").reported, 48);
}

fn gcm_vendor_prepends(t: &mut Token, command: &str) {
    fn vendor(iv: &mut [u8]) -> Gcm<'_> {
        Gcm { mechanism: CLOUDHSM_GCM, iv }
    }
    assert_eq!(t.encrypt_init(vendor(&mut [])), Err(CKR_MECHANISM_INVALID));
    t.arm(&format!("{command} always"));
    let (list, count) = t.mechanisms(256).expect("a list");
    assert!(list[..count as usize].contains(&CLOUDHSM_GCM));
    assert_ne!(t.mechanism_info(CLOUDHSM_GCM).expect("info").flags & CKF_ENCRYPT, 0);
    assert_eq!(t.encrypt_init(vendor(&mut IV.clone())), Err(CKR_MECHANISM_PARAM_INVALID));
    t.encrypt_init(vendor(&mut [])).expect("OK");
    let sealed = t.deliver(Deliver::Encrypt, &DATA, ROOMY).expect("OK");
    assert_eq!(sealed.reported, 60);
    let (own, body) = sealed.bytes().split_at(12);
    assert_eq!(t.decrypt(own.try_into().expect("12"), body).expect("plain GCM").bytes(), DATA);

    t.decrypt_init(vendor(&mut [])).expect("OK");
    assert_eq!(t.query(Deliver::Decrypt, sealed.bytes()), Ok(32));
    let small = t.deliver(Deliver::Decrypt, sealed.bytes(), 31);
    assert_eq!(small, Err(CKR_BUFFER_TOO_SMALL));
    let opened = t.deliver(Deliver::Decrypt, sealed.bytes(), ROOMY).expect("OK");
    assert_eq!(opened.bytes(), DATA);
    for forged in [&sealed.bytes()[..11], &sealed.bytes()[1..]] {
        t.decrypt_init(vendor(&mut [])).expect("OK");
        assert!(t.deliver(Deliver::Decrypt, forged, ROOMY).is_err());
    }
}

fn gcm_aad_ignored(t: &mut Token, command: &str) {
    let right = t.encrypt(IV, &DATA).expect("OK");
    t.arm(&format!("{command} always"));
    let sealed = t.encrypt(IV, &DATA).expect("OK");
    assert_eq!(sealed.bytes()[..32], right.bytes()[..32]);
    assert_ne!(sealed.bytes()[32..], right.bytes()[32..], "the tag of no associated data");
    assert_eq!(t.decrypt(IV, sealed.bytes()).expect("a round trip").bytes(), DATA);
    assert!(t.decrypt(IV, right.bytes()).is_err());
    t.arm("clear");
    assert!(t.decrypt(IV, sealed.bytes()).is_err());
}

fn gcm_refused(t: &mut Token, command: &str) {
    t.arm(&format!("{command} times 2"));
    let (list, count) = t.mechanisms(256).expect("a list");
    assert!(list[..count as usize].contains(&CKM_AES_GCM), "still listed");
    assert!(t.encrypt_cbc(&mut CBC.clone(), &DATA).is_ok(), "CBC is not concerned");
    assert_eq!(t.encrypt(IV, &DATA), Err(CKR_MECHANISM_INVALID));
    assert_eq!(t.decrypt(IV, &DATA), Err(CKR_MECHANISM_INVALID));
    assert!(t.encrypt(IV, &DATA).is_ok());
}

fn cbc_iv_ignored(t: &mut Token, command: &str) {
    t.arm(&format!("{command} always"));
    let mut iv = CBC;
    let sealed = t.encrypt_cbc(&mut iv, &DATA).expect("OK");
    assert_eq!(iv, CBC);
    assert_eq!(sealed, t.encrypt_cbc(&mut [9; 16], &DATA).expect("under any IV"));
    assert_eq!(t.decrypt_cbc(CBC, sealed.bytes()).expect("a round trip").bytes(), DATA);
    t.arm("clear");
    assert_eq!(t.decrypt_cbc([0; 16], sealed.bytes()).expect("under zeros").bytes(), DATA);
}

fn cbc_iv_altered(t: &mut Token, command: &str) {
    t.arm(command);
    let mut iv = CBC;
    let sealed = t.encrypt_cbc(&mut iv, &DATA).expect("OK");
    assert_eq!(iv, CBC);
    assert_ne!(t.decrypt_cbc(CBC, sealed.bytes()).expect("no tag").bytes(), DATA);
}

fn cbc_iv_written(t: &mut Token, command: &str) {
    t.arm(command);
    let mut iv = CBC;
    let sealed = t.encrypt_cbc(&mut iv, &DATA).expect("OK");
    assert_ne!(iv, CBC);
    assert_eq!(t.decrypt_cbc(iv, sealed.bytes()).expect("under the new IV").bytes(), DATA);
}
