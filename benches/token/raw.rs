//! The token's own calls, without the crate: what wrapping and unwrapping cannot cost less than.

use crate::raw_token::{Object, RawSession, bytes, flag, number};
use cryptoki_sys as ck;
use envelock::format::WrapAlgorithm;
use std::hint::black_box;

const IV: [u8; 16] = [7; 16];
/// As long as the associated data of a wrap under a name of eight bytes.
const AAD: [u8; 60] = [9; 60];
const KEY: [u8; 32] = [5; 32];

/// Keys of a session's own, and something that they wrapped.
pub struct Floor {
    session: RawSession,
    encrypt: Object,
    mac: Option<Object>,
    wrapped: Vec<u8>,
}

impl Floor {
    pub fn new(session: RawSession, algorithm: WrapAlgorithm) -> Self {
        let key = |kind, value: &[u8], uses: [ck::CK_ATTRIBUTE_TYPE; 2]| {
            let template = [
                number(ck::CKA_CLASS, ck::CKO_SECRET_KEY),
                number(ck::CKA_KEY_TYPE, kind),
                flag(ck::CKA_TOKEN, true),
                flag(ck::CKA_PRIVATE, true),
                flag(ck::CKA_SENSITIVE, true),
                flag(ck::CKA_EXTRACTABLE, false),
                flag(uses[0], true),
                flag(uses[1], true),
                bytes(ck::CKA_VALUE, value),
                bytes(ck::CKA_ID, value),
            ];
            session.create(&template).expect("a token that takes keys")
        };
        let number: [u8; 8] = rand_bytes();
        let mut value = [3; 32];
        value[..8].copy_from_slice(&number);
        let encrypt = key(ck::CKK_AES, &value, [ck::CKA_ENCRYPT, ck::CKA_DECRYPT]);
        let needs_mac = algorithm == WrapAlgorithm::TOKEN_AES_256_CBC_HMAC;
        value[31] = 4;
        let mac =
            needs_mac.then(|| key(ck::CKK_GENERIC_SECRET, &value, [ck::CKA_SIGN, ck::CKA_VERIFY]));
        let mut floor = Floor { session, encrypt, mac, wrapped: Vec::new() };
        floor.wrapped = floor.seal();
        floor
    }

    /// The work of a wrap: an encryption, and a decryption of its output.
    pub fn wrap(&self) {
        black_box(self.open(&self.seal()));
    }

    pub fn unwrap(&self) {
        black_box(self.open(&self.wrapped));
    }

    fn seal(&self) -> Vec<u8> {
        let Some(mac) = self.mac else {
            return self.session.crypt_gcm(true, self.encrypt, &IV[..12], &AAD, &KEY);
        };
        let sealed = self.session.crypt_cbc(true, self.encrypt, &IV, &KEY);
        let tag = self.session.hmac(mac, &[&AAD[..], &IV, &sealed].concat());
        [sealed, tag].concat()
    }

    fn open(&self, sealed: &[u8]) -> Vec<u8> {
        let Some(mac) = self.mac else {
            return self.session.crypt_gcm(false, self.encrypt, &IV[..12], &AAD, sealed);
        };
        let (sealed, tag) = sealed.split_at(KEY.len());
        assert_eq!(self.session.hmac(mac, &[&AAD[..], &IV, sealed].concat()), tag);
        self.session.crypt_cbc(false, self.encrypt, &IV, sealed)
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.session.destroy(self.encrypt);
        if let Some(mac) = self.mac {
            self.session.destroy(mac);
        }
    }
}

fn rand_bytes() -> [u8; 8] {
    use envelock::rand_core::TryRng;
    envelock::OsRandom.try_next_u64().expect("randomness").to_ne_bytes()
}
