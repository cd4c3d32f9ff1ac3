//! Wrapping and unwrapping under a key of a token, with a check of each result.

use super::cipher::{IvBytes, KeyCipher, SELF_TEST_WRAPS, random_iv};
use super::object::{ObjectName, TokenKeyName};
use super::self_test::{CipherMode, GcmMode, IvMode, SelfTest};
use crate::keyring::pkcs11::error::WrongResponse;
use crate::keyring::pkcs11::failure::{self, Failure};
use crate::keyring::pkcs11::ffi::{CallFault, TokenBuffer, ck};
use crate::keyring::pkcs11::token::library::LibraryAccess;
use crate::keyring::pkcs11::token::time_limit::TimeLimit;
use crate::keyring::pkcs11::token::{Attempt, Token};
use crate::sync::lock;
use alloc::sync::Arc;

/// How often a token without faults has to refuse an input, before it counts as forged.
const REFUSALS: usize = 5;

/// An operation with the keys of a version, within one time limit.
pub(crate) struct KeyOperation<'a> {
    pub(crate) token: &'a Token,
    pub(crate) name: &'a TokenKeyName,
    pub(crate) limit: TimeLimit,
}

impl<'a> KeyOperation<'a> {
    pub(crate) fn new(token: &'a Token, name: &'a TokenKeyName) -> Self {
        KeyOperation { token, name, limit: token.time_limit() }
    }

    fn run<T>(
        &self,
        operation: impl FnMut(&Attempt<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.token.run(LibraryAccess::Shared, &self.limit, operation)
    }

    fn cipher<'c>(&'c self, attempt: &'c Attempt<'c>, mode: CipherMode) -> KeyCipher<'c> {
        KeyCipher { attempt, name: self.name, mode }
    }

    /// Wraps `key`, unwraps the result and compares. `iv` is random.
    pub(crate) fn wrap(&self, aad: &[u8], key: &[u8], iv: IvBytes) -> Result<TokenBuffer, Failure> {
        let tested = self.self_test()?;
        match self.wrap_as(&tested, aad, key, iv) {
            // The token has changed since the self-test: a cluster may now use another machine, with
            // another mode.
            Err(failure) if is_of_mode(&failure) || matches!(failure, Failure::Wrong(_)) => {
                let fresh = self.self_test_again()?;
                // The mode may be another one, the key may not.
                self.run(|attempt| self.cipher(attempt, fresh.mode).check_canary(&tested.canary))?;
                self.record(&fresh);
                self.wrap_as(&fresh, aad, key, iv)
            }
            outcome => outcome,
        }
    }

    fn wrap_as(
        &self,
        tested: &SelfTest,
        aad: &[u8],
        key: &[u8],
        iv: IvBytes,
    ) -> Result<TokenBuffer, Failure> {
        self.run(|attempt| {
            // A new connection may be to another machine, and a handle may be of another key. Another
            // key, or one that ignores IVs, passes the check below but not this one.
            if !attempt.connection.is_proven(attempt.logins, &self.name.encrypt) {
                self.prove_key(attempt, tested)?;
            }
            let cipher = self.cipher(attempt, tested.mode);
            // Each attempt encrypts the same message under the same IV, which discloses nothing.
            let wrapped = cipher.encrypt(aad, key, iv)?;
            cipher.prove(aad, key, &wrapped)?;
            Ok(wrapped)
        })
    }

    /// Unwraps `wrapped`.
    pub(crate) fn unwrap(&self, aad: &[u8], wrapped: &[u8]) -> Result<TokenBuffer, Failure> {
        let mode = self.decrypt_mode()?;
        let (mut refusals, mut is_proven) = (0_usize, false);
        loop {
            let failure = match self.run(|it| self.cipher(it, mode).decrypt(aad, wrapped)) {
                // Forged, or decrypted under another key that has the handle now.
                Err(Failure::Authentication) if !is_proven => {
                    is_proven = true;
                    self.check_health()?;
                    continue;
                }
                Err(Failure::Ambiguous(failure)) => failure,
                unwrapped => return unwrapped,
            };
            // The code does not distinguish a forged input from a faulty token, a valid input does.
            self.check_health().map_err(|fault| match fault {
                Failure::Ambiguous(_) | Failure::Authentication => Failure::Call(failure),
                fault => fault,
            })?;
            refusals += 1;
            if refusals >= REFUSALS {
                return Err(Failure::Authentication);
            }
        }
    }

    /// Fails unless the token can decrypt under this key.
    fn check_health(&self) -> Result<(), Failure> {
        match self.self_test() {
            Ok(tested) => self.run(|attempt| self.prove_key(attempt, &tested)),
            // A key that may not encrypt has no canary: that its object can be found has to do.
            Err(Failure::Call(failure)) if failure::is_disabled(&failure) => {
                self.run(|attempt| attempt.object(&self.name.encrypt).map(drop))
            }
            Err(failure) => Err(failure),
        }
    }

    fn prove_key(&self, attempt: &Attempt<'_>, tested: &SelfTest) -> Result<(), Failure> {
        self.cipher(attempt, tested.mode).check_canary(&tested.canary)?;
        attempt.connection.record_proof(attempt.logins, &self.name.encrypt);
        Ok(())
    }

    /// How the key decrypts. For the mechanism of the standard, that needs no self-test.
    fn decrypt_mode(&self) -> Result<CipherMode, Failure> {
        let mechanism = gcm_mechanism(self.token);
        if !self.name.is_gcm() {
            Ok(CipherMode::CbcHmac)
        } else if mechanism == ck::CKM_AES_GCM {
            Ok(CipherMode::Gcm(GcmMode { mechanism, iv: IvMode::Host }))
        } else {
            Ok(self.self_test()?.mode)
        }
    }

    /// The self-test of the key, which runs at its first use in this process.
    pub(crate) fn self_test(&self) -> Result<Arc<SelfTest>, Failure> {
        if let Some(tested) = lock(&self.token.0.self_tests).get(&self.name.encrypt) {
            return Ok(tested.clone());
        }
        let tested = self.self_test_again()?;
        self.record(&tested);
        Ok(tested)
    }

    fn record(&self, tested: &Arc<SelfTest>) {
        lock(&self.token.0.self_tests).insert(self.name.encrypt.clone(), tested.clone());
    }

    fn self_test_again(&self) -> Result<Arc<SelfTest>, Failure> {
        // Drawn once, so that all attempts encrypt the same messages: SELF_TEST_WRAPS counts them.
        let ivs = [random_iv()?, random_iv()?];
        self.run(|attempt| self.self_test_modes(attempt, ivs)).map(Arc::new)
    }

    /// Finds the mode in which the key passes its self-test.
    pub(crate) fn self_test_modes(
        &self,
        attempt: &Attempt<'_>,
        ivs: [IvBytes; SELF_TEST_WRAPS],
    ) -> Result<SelfTest, Failure> {
        if !self.name.is_gcm() {
            return self.cipher(attempt, CipherMode::CbcHmac).self_test(ivs);
        }
        let mut first = None;
        for iv in IvMode::ALL {
            let mode = CipherMode::Gcm(GcmMode { mechanism: gcm_mechanism(self.token), iv });
            match self.cipher(attempt, mode).self_test(ivs) {
                Err(failure) if is_of_mode(&failure) => first = first.or(Some(failure)),
                outcome => return outcome,
            }
        }
        Err(first.unwrap_or(Failure::Wrong(WrongResponse::IvIgnored)))
    }
}

pub(crate) fn gcm_mechanism(token: &Token) -> ck::CK_MECHANISM_TYPE {
    token.0.options.gcm_mechanism.unwrap_or(ck::CKM_AES_GCM)
}

/// Forgets the self-test of a key that is destroyed.
pub(crate) fn forget_self_test(token: &Token, name: &ObjectName) {
    lock(&token.0.self_tests).remove(name);
}

/// Whether another IV mode may succeed. A token that ignores every IV fails in all of them.
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
