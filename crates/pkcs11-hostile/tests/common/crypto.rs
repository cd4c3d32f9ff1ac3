//! Cryptographic operations of a token, with unchecked results and guarded buffers.

use cryptoki_sys::*;

use super::token::{AAD, CallResult, Client, Output, ROOMY, p11};

/// AES-GCM with its mechanism number and IV; an empty IV is NULL.
pub struct Gcm<'a> {
    pub mechanism: CK_MECHANISM_TYPE,
    pub iv: &'a mut [u8],
}

impl<'a> Gcm<'a> {
    pub fn new(iv: &'a mut [u8]) -> Gcm<'a> {
        Gcm { mechanism: CKM_AES_GCM, iv }
    }

    /// Calls with the mechanism, which is alive until `call` returns.
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

/// A function that returns bytes.
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
    pub fn encrypt_init(&self, mut gcm: Gcm<'_>) -> CallResult<()> {
        gcm.with(|mechanism| p11!(self, C_EncryptInit(self.session, mechanism, self.aes)))
    }

    pub fn decrypt_init(&self, mut gcm: Gcm<'_>) -> CallResult<()> {
        gcm.with(|mechanism| p11!(self, C_DecryptInit(self.session, mechanism, self.aes)))
    }

    pub fn sign_init(&self) -> CallResult<()> {
        let mut mechanism = CK_MECHANISM { mechanism: CKM_SHA256_HMAC, ..CK_MECHANISM::default() };
        p11!(self, C_SignInit(self.session, &mut mechanism, self.mac))
    }

    /// Calls one of the three functions with a buffer of `room` bytes.
    pub fn deliver(&self, what: Deliver, input: &[u8], room: usize) -> CallResult<Output> {
        const GUARD: usize = 64;
        let mut input = input.to_vec();
        let (start, len) = (input.as_mut_ptr(), input.len() as CK_ULONG);
        let mut buffer = vec![0xee; room + GUARD];
        let mut reported = room as CK_ULONG;
        let out = buffer.as_mut_ptr();
        let answer = match what {
            Deliver::Encrypt => p11!(self, C_Encrypt(self.session, start, len, out, &mut reported)),
            Deliver::Decrypt => p11!(self, C_Decrypt(self.session, start, len, out, &mut reported)),
            Deliver::Sign => p11!(self, C_Sign(self.session, start, len, out, &mut reported)),
        };
        assert_eq!(buffer.split_off(room), [0xee; GUARD], "written beyond the buffer");
        answer.map(|()| Output { reported: reported as usize, buffer })
    }

    /// Queries the length of the output of one of the three functions.
    pub fn query(&self, what: Deliver, input: &[u8]) -> CallResult<CK_ULONG> {
        let mut input = input.to_vec();
        let (start, len) = (input.as_mut_ptr(), input.len() as CK_ULONG);
        let none = std::ptr::null_mut();
        let mut reported = 0;
        match what {
            Deliver::Encrypt => {
                p11!(self, C_Encrypt(self.session, start, len, none, &mut reported))
            }
            Deliver::Decrypt => {
                p11!(self, C_Decrypt(self.session, start, len, none, &mut reported))
            }
            Deliver::Sign => p11!(self, C_Sign(self.session, start, len, none, &mut reported)),
        }
        .map(|()| reported)
    }

    /// AES-GCM under an IV that the token may overwrite.
    pub fn encrypt_with(&self, iv: &mut [u8], data: &[u8]) -> CallResult<Output> {
        // Some tokens use the parameters in both calls.
        Gcm::new(iv).with(|mechanism| {
            p11!(self, C_EncryptInit(self.session, mechanism, self.aes))?;
            self.deliver(Deliver::Encrypt, data, ROOMY)
        })
    }

    pub fn encrypt(&self, iv: [u8; 12], data: &[u8]) -> CallResult<Output> {
        self.encrypt_with(&mut iv.clone(), data)
    }

    pub fn decrypt(&self, iv: [u8; 12], data: &[u8]) -> CallResult<Output> {
        self.decrypt_init(Gcm::new(&mut iv.clone()))?;
        self.deliver(Deliver::Decrypt, data, ROOMY)
    }

    pub fn sign(&self, data: &[u8]) -> CallResult<Output> {
        self.sign_init()?;
        self.deliver(Deliver::Sign, data, ROOMY)
    }

    pub fn encrypt_cbc(&self, iv: &mut [u8; 16], data: &[u8]) -> CallResult<Output> {
        with_cbc(iv, |m| p11!(self, C_EncryptInit(self.session, m, self.aes)))?;
        self.deliver(Deliver::Encrypt, data, ROOMY)
    }

    pub fn decrypt_cbc(&self, iv: [u8; 16], data: &[u8]) -> CallResult<Output> {
        with_cbc(&mut iv.clone(), |m| p11!(self, C_DecryptInit(self.session, m, self.aes)))?;
        self.deliver(Deliver::Decrypt, data, ROOMY)
    }
}
