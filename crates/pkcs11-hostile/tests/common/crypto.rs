//! Operations of a token, each answer as it is, each buffer guarded.

use cryptoki_sys::*;

use super::token::{AAD, Answer, Client, Output, ROOMY, p11};

/// AES-GCM as a caller states it: number, IV (empty: NULL).
pub struct Gcm<'a> {
    pub mechanism: CK_MECHANISM_TYPE,
    pub iv: &'a mut [u8],
}

impl<'a> Gcm<'a> {
    pub fn new(iv: &'a mut [u8]) -> Gcm<'a> {
        Gcm { mechanism: CKM_AES_GCM, iv }
    }

    /// Calls with the mechanism, which lives until the call ends.
    pub fn with<T>(&mut self, call: impl FnOnce(*mut CK_MECHANISM) -> T) -> T {
        let mut aad = AAD.to_vec();
        let no_iv = self.iv.is_empty();
        let mut params = CK_GCM_PARAMS {
            pIv: if no_iv { std::ptr::null_mut() } else { self.iv.as_mut_ptr() },
            ulIvLen: self.iv.len() as CK_ULONG,
            ulIvBits: 8 * self.iv.len() as CK_ULONG,
            pAAD: aad.as_mut_ptr(),
            ulAADLen: aad.len() as CK_ULONG,
            ulTagBits: 128,
        };
        call(&mut CK_MECHANISM {
            mechanism: self.mechanism,
            pParameter: (&raw mut params).cast(),
            ulParameterLen: size_of::<CK_GCM_PARAMS>() as CK_ULONG,
        })
    }
}

fn with_cbc<T>(iv: &mut [u8; 16], call: impl FnOnce(*mut CK_MECHANISM) -> T) -> T {
    call(&mut CK_MECHANISM {
        mechanism: CKM_AES_CBC,
        pParameter: iv.as_mut_ptr().cast(),
        ulParameterLen: 16,
    })
}

/// Which of the functions that deliver bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deliver {
    Encrypt,
    Decrypt,
    Sign,
}

impl Deliver {
    pub const ALL: [Deliver; 3] = [Deliver::Encrypt, Deliver::Decrypt, Deliver::Sign];

    pub fn function(self) -> &'static str {
        match self {
            Deliver::Encrypt => "C_Encrypt",
            Deliver::Decrypt => "C_Decrypt",
            Deliver::Sign => "C_Sign",
        }
    }
}

impl Client {
    pub fn encrypt_init(&self, mut gcm: Gcm<'_>) -> Answer<()> {
        gcm.with(|mechanism| p11!(self, C_EncryptInit(self.session, mechanism, self.aes)))
    }

    pub fn decrypt_init(&self, mut gcm: Gcm<'_>) -> Answer<()> {
        gcm.with(|mechanism| p11!(self, C_DecryptInit(self.session, mechanism, self.aes)))
    }

    pub fn sign_init(&self) -> Answer<()> {
        let mut mechanism = CK_MECHANISM { mechanism: CKM_SHA256_HMAC, ..CK_MECHANISM::default() };
        p11!(self, C_SignInit(self.session, &mut mechanism, self.mac))
    }

    /// Calls one of the three functions with a buffer of `room` bytes.
    pub fn deliver(&self, what: Deliver, input: &[u8], room: usize) -> Answer<Output> {
        const GUARD: usize = 64;
        let mut input = input.to_vec();
        let (start, len) = (input.as_mut_ptr(), input.len() as CK_ULONG);
        let mut buffer = vec![0xee; room + GUARD];
        let mut said = room as CK_ULONG;
        let out = buffer.as_mut_ptr();
        let answer = match what {
            Deliver::Encrypt => p11!(self, C_Encrypt(self.session, start, len, out, &mut said)),
            Deliver::Decrypt => p11!(self, C_Decrypt(self.session, start, len, out, &mut said)),
            Deliver::Sign => p11!(self, C_Sign(self.session, start, len, out, &mut said)),
        };
        assert_eq!(buffer.split_off(room), [0xee; GUARD], "written beyond the buffer");
        answer.map(|()| Output { said: said as usize, buffer })
    }

    /// Asks one of the three functions how long its output would be.
    pub fn query(&self, what: Deliver, input: &[u8]) -> Answer<CK_ULONG> {
        let mut input = input.to_vec();
        let (start, len) = (input.as_mut_ptr(), input.len() as CK_ULONG);
        let none = std::ptr::null_mut();
        let mut said = 0;
        match what {
            Deliver::Encrypt => p11!(self, C_Encrypt(self.session, start, len, none, &mut said)),
            Deliver::Decrypt => p11!(self, C_Decrypt(self.session, start, len, none, &mut said)),
            Deliver::Sign => p11!(self, C_Sign(self.session, start, len, none, &mut said)),
        }
        .map(|()| said)
    }

    /// AES-GCM under an IV that the token may overwrite.
    pub fn encrypt_with(&self, iv: &mut [u8], data: &[u8]) -> Answer<Output> {
        // The parameters live through both calls, as some tokens need.
        Gcm::new(iv).with(|mechanism| {
            p11!(self, C_EncryptInit(self.session, mechanism, self.aes))?;
            self.deliver(Deliver::Encrypt, data, ROOMY)
        })
    }

    pub fn encrypt(&self, iv: [u8; 12], data: &[u8]) -> Answer<Output> {
        self.encrypt_with(&mut iv.clone(), data)
    }

    pub fn decrypt(&self, iv: [u8; 12], data: &[u8]) -> Answer<Output> {
        self.decrypt_init(Gcm::new(&mut iv.clone()))?;
        self.deliver(Deliver::Decrypt, data, ROOMY)
    }

    pub fn sign(&self, data: &[u8]) -> Answer<Output> {
        self.sign_init()?;
        self.deliver(Deliver::Sign, data, ROOMY)
    }

    pub fn encrypt_cbc(&self, iv: &mut [u8; 16], data: &[u8]) -> Answer<Output> {
        with_cbc(iv, |m| p11!(self, C_EncryptInit(self.session, m, self.aes)))?;
        self.deliver(Deliver::Encrypt, data, ROOMY)
    }

    pub fn decrypt_cbc(&self, iv: [u8; 16], data: &[u8]) -> Answer<Output> {
        with_cbc(&mut iv.clone(), |m| p11!(self, C_DecryptInit(self.session, m, self.aes)))?;
        self.deliver(Deliver::Decrypt, data, ROOMY)
    }
}
