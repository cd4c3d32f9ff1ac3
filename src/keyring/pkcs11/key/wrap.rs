//! Wrapping and unwrapping under a key of a token, proven before it is believed.

use super::TokenKeyName;
use super::cbc_hmac::CbcHmac;
use super::gcm::{Gcm, IvMode};
use super::object::ObjectName;
use super::wiped::WipedBuffer;
use crate::OsRandom;
use crate::crypto::compare;
use crate::format::WrapAlgorithm;
use crate::keyring::pkcs11::error::{Error, WrongResponse};
use crate::keyring::pkcs11::failure::{self, Failure, Remedy};
use crate::keyring::pkcs11::ffi::{CallFault, ck};
use crate::keyring::pkcs11::token::library::Access;
use crate::keyring::pkcs11::token::time_limit::TimeLimit;
use crate::keyring::pkcs11::token::{Attempt, Inner};
use crate::sync::lock;
use alloc::sync::Arc;
use alloc::vec::Vec;
use rand_core::TryRng;

/// The longest IV of any algorithm.
pub(crate) const MAX_IV_LEN: usize = 16;

/// Random bytes for the IV of one wrap.
pub(crate) type IvBytes = [u8; MAX_IV_LEN];

/// Associated data of what tries a key out: no wrap has it.
const SELF_TEST: &[u8] = b"envelock token self-test v1";
const OTHER_TEST: &[u8] = b"envelock token self-test v2";

/// How many messages a trial encrypts, which count as wraps.
pub(crate) const TRIAL_WRAPS: usize = 2;

/// How often a decryption has to be refused by a token that is well in between, before that is
/// taken for a forged input.
const REFUSALS: u32 = 5;

/// A key that was tried out.
pub(crate) struct SelfTest {
    cipher: CipherMode,
    /// Encrypted in the trial, to find out later whether the token is well.
    canary: Vec<u8>,
}

/// How a key encrypts.
#[derive(Clone, Copy)]
enum CipherMode {
    Gcm(Gcm),
    CbcHmac,
}

impl SelfTest {
    /// Where the IV comes from, if there is a choice.
    pub(crate) fn iv_mode(&self) -> Option<IvMode> {
        match self.cipher {
            CipherMode::Gcm(gcm) => Some(gcm.iv),
            CipherMode::CbcHmac => None,
        }
    }
}

/// What a trial encrypts.
const CANARY: [u8; 32] = *b"envelock canary in a golden cage";

/// Bytes in a buffer, wiped on drop.
pub(crate) struct Output {
    buffer: WipedBuffer,
    len: usize,
}

impl Output {
    #[expect(clippy::expect_used, reason = "so much was written to it")]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.len).expect("what was written")
    }
}

impl Inner {
    /// Wraps `key` under `name`, unwraps it again and compares. `iv` is random.
    pub(crate) fn wrap(
        &self,
        name: &TokenKeyName,
        aad: &[u8],
        key: &[u8],
        iv: IvBytes,
    ) -> Result<Output, Failure> {
        let limit = self.limit();
        let tested = self.tested(name, &limit)?;
        let wrapped = self.wrap_by(&tested, &limit, name, aad, key, iv);
        match &wrapped {
            // The token is not what it was when the key was tried out: perhaps another machine
            // has taken its place, with ways of its own.
            Err(failure) if is_of_mode(failure) || matches!(failure, Failure::Wrong(_)) => {
                let fresh = self.try_anew(name, &limit)?;
                // With ways of its own, but not with another key.
                self.run(Access::Shared, &limit, |work| {
                    check_canary(work, name, fresh.cipher, &tested.canary)
                })?;
                lock(&self.tested).insert(name.encrypt.clone(), fresh.clone());
                self.wrap_by(&fresh, &limit, name, aad, key, iv)
            }
            _ => wrapped,
        }
    }

    fn wrap_by(
        &self,
        tested: &SelfTest,
        limit: &TimeLimit,
        name: &TokenKeyName,
        aad: &[u8],
        key: &[u8],
        iv: IvBytes,
    ) -> Result<Output, Failure> {
        self.run(Access::Shared, limit, |work| {
            // Behind a new connection there may be another machine, and behind a number another
            // key: one that ignores IVs, or is not ours, would pass the proof below, and not this.
            if !work.connection.is_proven(work.logins, &name.encrypt) {
                check_canary(work, name, tested.cipher, &tested.canary)?;
                work.connection.note_proven(work.logins, &name.encrypt);
            }
            // The same IV for each attempt is the same message: nothing is told by it.
            let blob = encrypt(work, name, tested.cipher, aad, key, iv)?;
            prove(work, name, tested.cipher, aad, key, &blob)?;
            Ok(blob)
        })
    }

    /// Unwraps `blob`.
    pub(crate) fn unwrap(
        &self,
        name: &TokenKeyName,
        aad: &[u8],
        blob: &[u8],
    ) -> Result<Output, Failure> {
        let limit = self.limit();
        let cipher = self.cipher(name, &limit)?;
        let (mut refused, mut asked) = (0_u32, false);
        loop {
            let unwrapped =
                self.run(Access::Shared, &limit, |work| decrypt(work, name, cipher, aad, blob));
            let failure = match unwrapped {
                // Forged, or not decrypted under our key: its number may be another's by now.
                Err(Failure::Authentication) if !asked => {
                    asked = true;
                    self.is_well(name, &limit)?;
                    continue;
                }
                Err(Failure::Ambiguous(failure)) => failure,
                unwrapped => return unwrapped,
            };
            // Forged, or the token is not well: its answer is the same. So it is asked for what it
            // must know.
            self.is_well(name, &limit).map_err(|sick| match sick {
                Failure::Ambiguous(_) | Failure::Authentication => Failure::Call(failure),
                sick => sick,
            })?;
            refused = refused.saturating_add(1);
            if refused >= REFUSALS {
                return Err(Failure::Authentication);
            }
        }
    }

    /// Whether the token can decrypt under this key.
    fn is_well(&self, name: &TokenKeyName, limit: &TimeLimit) -> Result<(), Failure> {
        let tested = match self.tested(name, limit) {
            Ok(tested) => tested,
            // A key that may not encrypt has no canary: then a session that is alive has to do.
            Err(Failure::Call(failure)) if failure::is_disabled(&failure) => {
                return self
                    .run(Access::Shared, limit, |work| work.object(&name.encrypt).map(drop));
            }
            Err(failure) => return Err(failure),
        };
        self.run(Access::Shared, limit, |work| {
            check_canary(work, name, tested.cipher, &tested.canary)?;
            work.connection.note_proven(work.logins, &name.encrypt);
            Ok(())
        })
    }

    /// How the key decrypts. By the standard's own number that needs no trial.
    fn cipher(&self, name: &TokenKeyName, limit: &TimeLimit) -> Result<CipherMode, Failure> {
        if name.algorithm != WrapAlgorithm::TOKEN_AES_256_GCM {
            return Ok(CipherMode::CbcHmac);
        }
        if self.gcm_number() != ck::CKM_AES_GCM {
            return Ok(self.tested(name, limit)?.cipher);
        }
        Ok(CipherMode::Gcm(Gcm { number: self.gcm_number(), iv: IvMode::Host }))
    }

    pub(crate) fn gcm_number(&self) -> ck::CK_MECHANISM_TYPE {
        let number = self.options.gcm_mechanism;
        number.unwrap_or(ck::CKM_AES_GCM)
    }

    /// The trial of a key, which is made at its first use in this process.
    pub(crate) fn tested(
        &self,
        name: &TokenKeyName,
        limit: &TimeLimit,
    ) -> Result<Arc<SelfTest>, Failure> {
        if let Some(tested) = lock(&self.tested).get(&name.encrypt) {
            return Ok(tested.clone());
        }
        let tested = self.try_anew(name, limit)?;
        lock(&self.tested).insert(name.encrypt.clone(), tested.clone());
        Ok(tested)
    }

    fn try_anew(&self, name: &TokenKeyName, limit: &TimeLimit) -> Result<Arc<SelfTest>, Failure> {
        // Drawn once, so that attempts repeat the same messages: TRIAL_WRAPS counts them.
        let ivs = [random_iv()?, random_iv()?];
        let tested = self.run(Access::Shared, limit, |work| self.try_out(work, name, ivs))?;
        Ok(Arc::new(tested))
    }

    /// Forgets the trial of a key that is to be destroyed.
    pub(crate) fn forget(&self, name: &ObjectName) {
        lock(&self.tested).remove(name);
    }

    pub(crate) fn try_out(
        &self,
        work: &Attempt<'_>,
        name: &TokenKeyName,
        ivs: [IvBytes; TRIAL_WRAPS],
    ) -> Result<SelfTest, Failure> {
        if name.algorithm != WrapAlgorithm::TOKEN_AES_256_GCM {
            return try_cipher(work, name, CipherMode::CbcHmac, ivs);
        }
        let mut first = None;
        for iv in IvMode::ALL {
            let gcm = Gcm { number: self.gcm_number(), iv };
            match try_cipher(work, name, CipherMode::Gcm(gcm), ivs) {
                // Not the way of this token: perhaps the next one is.
                Err(failure) if is_of_mode(&failure) => first = first.or(Some(failure)),
                outcome => return outcome,
            }
        }
        Err(first.unwrap_or(Failure::Wrong(WrongResponse::IvIgnored)))
    }
}

/// Whether a trial failed by what another way with the IV may do better. A token that ignores every
/// IV fails in all of them.
fn is_of_mode(failure: &Failure) -> bool {
    match failure {
        Failure::Call(call) => {
            let is_missing = call.fault == CallFault::Missing;
            (failure::is_mechanism(call) && !is_missing) || call.fault == CallFault::Length
        }
        Failure::Wrong(WrongResponse::IvIgnored) => true,
        _ => false,
    }
}

/// Encrypts the canary twice and decrypts it: the round trip on the very key.
fn try_cipher(
    work: &Attempt<'_>,
    name: &TokenKeyName,
    cipher: CipherMode,
    [one, other]: [IvBytes; TRIAL_WRAPS],
) -> Result<SelfTest, Failure> {
    let first = encrypt(work, name, cipher, SELF_TEST, &CANARY, one)?;
    let second = encrypt(work, name, cipher, SELF_TEST, &CANARY, other)?;
    // Between IVs and tags, which differ: the same bytes would be one key stream for all messages.
    if ciphertext(name, &first, CANARY.len()) == ciphertext(name, &second, CANARY.len()) {
        return Err(Failure::Wrong(WrongResponse::IvIgnored));
    }
    for blob in [&first, &second] {
        prove(work, name, cipher, SELF_TEST, &CANARY, blob)?;
    }
    // Whatever code refuses it, it has to be refused.
    match decrypt(work, name, cipher, OTHER_TEST, first.bytes()) {
        Ok(_) => Err(Failure::Wrong(WrongResponse::AadIgnored)),
        // But not because there was no session to refuse it in.
        Err(Failure::Call(call)) if failure::remedy(&call) != Remedy::Device => {
            Err(Failure::Call(call))
        }
        Err(_) => Ok(SelfTest { cipher, canary: first.bytes().to_vec() }),
    }
}

pub(crate) fn random_iv() -> Result<IvBytes, Failure> {
    let mut iv = [0; MAX_IV_LEN];
    OsRandom.try_fill_bytes(&mut iv).map_err(Error::Randomness)?;
    Ok(iv)
}

fn encrypt(
    work: &Attempt<'_>,
    name: &TokenKeyName,
    cipher: CipherMode,
    aad: &[u8],
    key: &[u8],
    iv: IvBytes,
) -> Result<Output, Failure> {
    let mut buffer = WipedBuffer::new();
    let len = match cipher {
        CipherMode::Gcm(gcm) => {
            let [iv @ .., _, _, _, _] = iv;
            let object = work.object(&name.encrypt)?;
            gcm.encrypt(work, object, iv, aad, key, &mut buffer)?
        }
        CipherMode::CbcHmac => cbc_hmac(work, name)?.encrypt(work, iv, aad, key, &mut buffer)?,
    };
    Ok(Output { buffer, len })
}

fn decrypt(
    work: &Attempt<'_>,
    name: &TokenKeyName,
    cipher: CipherMode,
    aad: &[u8],
    blob: &[u8],
) -> Result<Output, Failure> {
    let mut buffer = WipedBuffer::new();
    let len = match cipher {
        CipherMode::Gcm(gcm) => {
            let object = work.object(&name.encrypt)?;
            gcm.decrypt(work, object, aad, blob, &mut buffer)?
        }
        CipherMode::CbcHmac => cbc_hmac(work, name)?.decrypt(work, aad, blob, &mut buffer)?,
    };
    Ok(Output { buffer, len })
}

fn cbc_hmac(work: &Attempt<'_>, name: &TokenKeyName) -> Result<CbcHmac, Failure> {
    let mac = name.mac.as_ref().ok_or(Failure::KeyMissing)?;
    Ok(CbcHmac { encrypt: work.object(&name.encrypt)?, mac: work.object(mac)? })
}

/// Decrypts what the key encrypted when it was tried out.
fn check_canary(
    work: &Attempt<'_>,
    name: &TokenKeyName,
    cipher: CipherMode,
    canary: &[u8],
) -> Result<(), Failure> {
    let decrypted = decrypt(work, name, cipher, SELF_TEST, canary).map_err(never_forged)?;
    same(decrypted.bytes(), &CANARY)
}

/// Decrypts what was encrypted a moment ago, and compares.
fn prove(
    work: &Attempt<'_>,
    name: &TokenKeyName,
    cipher: CipherMode,
    aad: &[u8],
    key: &[u8],
    blob: &Output,
) -> Result<(), Failure> {
    // A token that copies passes every round trip.
    if compare::equal(ciphertext(name, blob, key.len()), key) {
        return Err(Failure::Wrong(WrongResponse::NotEncrypted));
    }
    let decrypted = decrypt(work, name, cipher, aad, blob.bytes()).map_err(never_forged)?;
    same(decrypted.bytes(), key)
}

/// The part of a blob between IV and tag, for a key of `len` bytes.
#[expect(
    clippy::indexing_slicing,
    reason = "the blob is of a wrap of ours, whose length was checked"
)]
fn ciphertext<'b>(name: &TokenKeyName, blob: &'b Output, len: usize) -> &'b [u8] {
    &blob.bytes()[name.iv_len()..][..len]
}

/// What a refusal means of something that is sound: not that it is forged.
fn never_forged(failure: Failure) -> Failure {
    match failure {
        Failure::Authentication => Failure::Wrong(WrongResponse::DoesNotUnwrap),
        Failure::Ambiguous(call) => Failure::Call(call),
        failure => failure,
    }
}

fn same(found: &[u8], key: &[u8]) -> Result<(), Failure> {
    if compare::equal(found, key) {
        Ok(())
    } else {
        Err(Failure::Wrong(WrongResponse::DoesNotUnwrap))
    }
}
