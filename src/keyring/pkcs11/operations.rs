//! Wrapping and unwrapping under a key of a token, proven before it is believed.

use super::error::{Pkcs11Error, WrongTokenAnswer};
use super::etm::Etm;
use super::failure::{self, Failure, Rung};
use super::ffi::{CallFault, ck};
use super::gcm::{Gcm, IvMode};
use super::key::TokenKeyName;
use super::module::Access;
use super::object::ObjectName;
use super::scratch::Scratch;
use super::term::Term;
use super::token::{Token, Work};
use crate::OsRandom;
use crate::crypto::compare;
use crate::format::WrapAlgorithm;
use crate::sync::lock;
use alloc::sync::Arc;
use alloc::vec::Vec;
use rand_core::TryRng;

/// The longest IV of any algorithm.
pub(super) const MAX_IV_LEN: usize = 16;

/// Random bytes for the IV of one wrap.
pub(super) type IvBytes = [u8; MAX_IV_LEN];

/// Associated data of what tries a key out: no wrap has it.
const SELF_TEST: &[u8] = b"envelock token self-test v1";
const OTHER_TEST: &[u8] = b"envelock token self-test v2";

/// How many messages a trial encrypts, which count as wraps.
pub(super) const TRIAL_WRAPS: usize = 2;

/// How often a decryption has to be refused by a token that is well in between, before that is
/// taken for a forged input.
const REFUSALS: u32 = 5;

/// A key that was tried out.
pub(super) struct Tested {
    cipher: Tried,
    /// Encrypted in the trial, to find out later whether the token is well.
    canary: Vec<u8>,
}

/// How a key encrypts.
#[derive(Clone, Copy)]
enum Tried {
    Gcm(Gcm),
    Etm,
}

impl Tested {
    /// Where the IV comes from, if there is a choice.
    pub(super) fn iv_mode(&self) -> Option<IvMode> {
        match self.cipher {
            Tried::Gcm(gcm) => Some(gcm.iv),
            Tried::Etm => None,
        }
    }
}

/// What a trial encrypts.
const CANARY: [u8; 32] = *b"envelock canary in a golden cage";

/// Bytes in a scratch, wiped on drop.
pub(super) struct Output {
    scratch: Scratch,
    len: usize,
}

impl Output {
    #[expect(clippy::expect_used, reason = "so much was written to it")]
    pub(super) fn bytes(&self) -> &[u8] {
        self.scratch.get(..self.len).expect("what was written")
    }
}

impl Token {
    /// Wraps `key` under `name`, unwraps it again and compares. `iv` is random.
    pub(super) fn wrap(
        &self,
        name: &TokenKeyName,
        aad: &[u8],
        key: &[u8],
        iv: IvBytes,
    ) -> Result<Output, Failure> {
        let term = self.term();
        let tested = self.tested(name, &term)?;
        let wrapped = self.wrap_by(&tested, &term, name, aad, key, iv);
        match &wrapped {
            // The token is not what it was when the key was tried out: perhaps another machine
            // has taken its place, with ways of its own.
            Err(failure) if is_of_mode(failure) || matches!(failure, Failure::Wrong(_)) => {
                let fresh = self.try_anew(name, &term)?;
                // With ways of its own, but not with another key.
                self.run(Access::Shared, &term, |work| {
                    check_canary(work, name, fresh.cipher, &tested.canary)
                })?;
                lock(&self.tested).insert(name.encrypt.clone(), fresh.clone());
                self.wrap_by(&fresh, &term, name, aad, key, iv)
            }
            _ => wrapped,
        }
    }

    fn wrap_by(
        &self,
        tested: &Tested,
        term: &Term,
        name: &TokenKeyName,
        aad: &[u8],
        key: &[u8],
        iv: IvBytes,
    ) -> Result<Output, Failure> {
        self.run(Access::Shared, term, |work| {
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
    pub(super) fn unwrap(
        &self,
        name: &TokenKeyName,
        aad: &[u8],
        blob: &[u8],
    ) -> Result<Output, Failure> {
        let term = self.term();
        let cipher = self.cipher(name, &term)?;
        let (mut refused, mut asked) = (0_u32, false);
        loop {
            let unwrapped =
                self.run(Access::Shared, &term, |work| decrypt(work, name, cipher, aad, blob));
            let failure = match unwrapped {
                // Forged, or not decrypted under our key: its number may be another's by now.
                Err(Failure::Authentication) if !asked => {
                    asked = true;
                    self.is_well(name, &term)?;
                    continue;
                }
                Err(Failure::Ambiguous(failure)) => failure,
                unwrapped => return unwrapped,
            };
            // Forged, or the token is not well: its answer is the same. So it is asked for what it
            // must know.
            self.is_well(name, &term).map_err(|sick| match sick {
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
    fn is_well(&self, name: &TokenKeyName, term: &Term) -> Result<(), Failure> {
        let tested = match self.tested(name, term) {
            Ok(tested) => tested,
            // A key that may not encrypt has no canary: then a session that is alive has to do.
            Err(Failure::Call(failure)) if failure::is_disabled(&failure) => {
                return self.run(Access::Shared, term, |work| work.object(&name.encrypt).map(drop));
            }
            Err(failure) => return Err(failure),
        };
        self.run(Access::Shared, term, |work| {
            check_canary(work, name, tested.cipher, &tested.canary)?;
            work.connection.note_proven(work.logins, &name.encrypt);
            Ok(())
        })
    }

    /// How the key decrypts. By the standard's own number that needs no trial.
    fn cipher(&self, name: &TokenKeyName, term: &Term) -> Result<Tried, Failure> {
        if name.algorithm != WrapAlgorithm::TOKEN_AES_256_GCM {
            return Ok(Tried::Etm);
        }
        if self.gcm_number() != ck::CKM_AES_GCM {
            return Ok(self.tested(name, term)?.cipher);
        }
        Ok(Tried::Gcm(Gcm { number: self.gcm_number(), iv: IvMode::Host }))
    }

    pub(super) fn gcm_number(&self) -> ck::CK_MECHANISM_TYPE {
        let number = self.options.gcm_mechanism;
        number.unwrap_or(ck::CKM_AES_GCM)
    }

    /// The trial of a key, which is made at its first use in this process.
    pub(super) fn tested(&self, name: &TokenKeyName, term: &Term) -> Result<Arc<Tested>, Failure> {
        if let Some(tested) = lock(&self.tested).get(&name.encrypt) {
            return Ok(tested.clone());
        }
        let tested = self.try_anew(name, term)?;
        lock(&self.tested).insert(name.encrypt.clone(), tested.clone());
        Ok(tested)
    }

    fn try_anew(&self, name: &TokenKeyName, term: &Term) -> Result<Arc<Tested>, Failure> {
        // Drawn once, so that attempts repeat the same messages: TRIAL_WRAPS counts them.
        let ivs = [random_iv()?, random_iv()?];
        let tested = self.run(Access::Shared, term, |work| self.try_out(work, name, ivs))?;
        Ok(Arc::new(tested))
    }

    /// Forgets the trial of a key that is to be destroyed.
    pub(super) fn forget(&self, name: &ObjectName) {
        lock(&self.tested).remove(name);
    }

    pub(super) fn try_out(
        &self,
        work: &Work<'_>,
        name: &TokenKeyName,
        ivs: [IvBytes; TRIAL_WRAPS],
    ) -> Result<Tested, Failure> {
        if name.algorithm != WrapAlgorithm::TOKEN_AES_256_GCM {
            return try_cipher(work, name, Tried::Etm, ivs);
        }
        let mut first = None;
        for iv in IvMode::ALL {
            let gcm = Gcm { number: self.gcm_number(), iv };
            match try_cipher(work, name, Tried::Gcm(gcm), ivs) {
                // Not the way of this token: perhaps the next one is.
                Err(failure) if is_of_mode(&failure) => first = first.or(Some(failure)),
                outcome => return outcome,
            }
        }
        Err(first.unwrap_or(Failure::Wrong(WrongTokenAnswer::IvIgnored)))
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
        Failure::Wrong(WrongTokenAnswer::IvIgnored) => true,
        _ => false,
    }
}

/// Encrypts the canary twice and decrypts it: the round trip on the very key.
fn try_cipher(
    work: &Work<'_>,
    name: &TokenKeyName,
    cipher: Tried,
    [one, other]: [IvBytes; TRIAL_WRAPS],
) -> Result<Tested, Failure> {
    let first = encrypt(work, name, cipher, SELF_TEST, &CANARY, one)?;
    let second = encrypt(work, name, cipher, SELF_TEST, &CANARY, other)?;
    // Between IVs and tags, which differ: the same bytes would be one key stream for all messages.
    if ciphertext(name, &first, CANARY.len()) == ciphertext(name, &second, CANARY.len()) {
        return Err(Failure::Wrong(WrongTokenAnswer::IvIgnored));
    }
    for blob in [&first, &second] {
        prove(work, name, cipher, SELF_TEST, &CANARY, blob)?;
    }
    // Whatever code refuses it, it has to be refused.
    match decrypt(work, name, cipher, OTHER_TEST, first.bytes()) {
        Ok(_) => Err(Failure::Wrong(WrongTokenAnswer::AadIgnored)),
        // But not because there was no session to refuse it in.
        Err(Failure::Call(call)) if failure::rung(&call) != Rung::Device => {
            Err(Failure::Call(call))
        }
        Err(_) => Ok(Tested { cipher, canary: first.bytes().to_vec() }),
    }
}

pub(super) fn random_iv() -> Result<IvBytes, Failure> {
    let mut iv = [0; MAX_IV_LEN];
    OsRandom.try_fill_bytes(&mut iv).map_err(Pkcs11Error::Randomness)?;
    Ok(iv)
}

fn encrypt(
    work: &Work<'_>,
    name: &TokenKeyName,
    cipher: Tried,
    aad: &[u8],
    key: &[u8],
    iv: IvBytes,
) -> Result<Output, Failure> {
    let mut scratch = Scratch::new();
    let len = match cipher {
        Tried::Gcm(gcm) => {
            let [iv @ .., _, _, _, _] = iv;
            let object = work.object(&name.encrypt)?;
            gcm.encrypt(work, object, iv, aad, key, &mut scratch)?
        }
        Tried::Etm => etm(work, name)?.encrypt(work, iv, aad, key, &mut scratch)?,
    };
    Ok(Output { scratch, len })
}

fn decrypt(
    work: &Work<'_>,
    name: &TokenKeyName,
    cipher: Tried,
    aad: &[u8],
    blob: &[u8],
) -> Result<Output, Failure> {
    let mut scratch = Scratch::new();
    let len = match cipher {
        Tried::Gcm(gcm) => {
            let object = work.object(&name.encrypt)?;
            gcm.decrypt(work, object, aad, blob, &mut scratch)?
        }
        Tried::Etm => etm(work, name)?.decrypt(work, aad, blob, &mut scratch)?,
    };
    Ok(Output { scratch, len })
}

fn etm(work: &Work<'_>, name: &TokenKeyName) -> Result<Etm, Failure> {
    let mac = name.mac.as_ref().ok_or(Failure::KeyMissing)?;
    Ok(Etm { encrypt: work.object(&name.encrypt)?, mac: work.object(mac)? })
}

/// Decrypts what the key encrypted when it was tried out.
fn check_canary(
    work: &Work<'_>,
    name: &TokenKeyName,
    cipher: Tried,
    canary: &[u8],
) -> Result<(), Failure> {
    let decrypted = decrypt(work, name, cipher, SELF_TEST, canary).map_err(never_forged)?;
    same(decrypted.bytes(), &CANARY)
}

/// Decrypts what was encrypted a moment ago, and compares.
fn prove(
    work: &Work<'_>,
    name: &TokenKeyName,
    cipher: Tried,
    aad: &[u8],
    key: &[u8],
    blob: &Output,
) -> Result<(), Failure> {
    // A token that copies passes every round trip.
    if compare::equal(ciphertext(name, blob, key.len()), key) {
        return Err(Failure::Wrong(WrongTokenAnswer::NotEncrypted));
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
        Failure::Authentication => Failure::Wrong(WrongTokenAnswer::DoesNotUnwrap),
        Failure::Ambiguous(call) => Failure::Call(call),
        failure => failure,
    }
}

fn same(found: &[u8], key: &[u8]) -> Result<(), Failure> {
    if compare::equal(found, key) {
        Ok(())
    } else {
        Err(Failure::Wrong(WrongTokenAnswer::DoesNotUnwrap))
    }
}
