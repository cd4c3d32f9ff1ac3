//! Mistakes that are made with a service, each of which the conformance suite finds on a real one.

use envelock::KeyVersion;
use envelock::format::WrapAlgorithm;
use envelock_remote::{Backend, Decrypt, Decrypted, Description, Encrypt, Encrypted, ServiceError};
use envelock_transit::Transit;
use std::num::NonZeroUsize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    None,
    /// The wrap is bound to no message.
    WithoutContext,
    /// A wrapped key has the first version, whatever the answer reports.
    LabelsFirst,
    /// The service is away, and every message counts as forged.
    OutageIsAuthentication,
    /// A caller that may not use the key is told to try again.
    DeniedIsUnavailable,
    /// The last byte of a wrapped key is lost.
    CutsBlob,
}

/// The key at the service. A keyring may have another name for it.
const KEY: &str = "orders";

/// Transit with a mistake, and with one key under any name.
pub struct Mutant(pub Transit, pub Mistake);

impl Mutant {
    fn context<'a>(&self, context: &'a [u8]) -> &'a [u8] {
        if self.1 == Mistake::WithoutContext { b"none" } else { context }
    }

    fn error(&self, error: ServiceError) -> ServiceError {
        match (self.1, error) {
            (Mistake::OutageIsAuthentication, ServiceError::Unavailable(_)) => {
                ServiceError::Authentication
            }
            (Mistake::DeniedIsUnavailable, ServiceError::Denied(cause)) => {
                ServiceError::Unavailable(cause)
            }
            (_, error) => error,
        }
    }
}

impl Backend for Mutant {
    fn algorithm(&self) -> WrapAlgorithm {
        self.0.algorithm()
    }

    fn max_wrapped_key_len(&self) -> usize {
        self.0.max_wrapped_key_len()
    }

    fn max_batch(&self) -> NonZeroUsize {
        self.0.max_batch()
    }

    async fn describe(&self, _: &str) -> Result<Description, ServiceError> {
        self.0.describe(KEY).await.map_err(|error| self.error(error))
    }

    async fn encrypt(
        &self,
        _: &str,
        items: &[Encrypt<'_>],
    ) -> Result<Vec<Result<Encrypted, ServiceError>>, ServiceError> {
        let items: Vec<_> = items
            .iter()
            .map(|item| Encrypt { context: self.context(item.context), ..*item })
            .collect();
        let mut answers = self.0.encrypt(KEY, &items).await.map_err(|error| self.error(error))?;
        for wrapped in answers.iter_mut().flatten() {
            match self.1 {
                Mistake::LabelsFirst => wrapped.version = KeyVersion::FIRST,
                Mistake::CutsBlob => drop(wrapped.blob.pop()),
                _ => {}
            }
        }
        Ok(answers)
    }

    async fn decrypt(
        &self,
        _: &str,
        items: &[Decrypt<'_>],
    ) -> Result<Vec<Result<Decrypted, ServiceError>>, ServiceError> {
        let items: Vec<_> = items
            .iter()
            .map(|item| Decrypt { context: self.context(item.context), ..*item })
            .collect();
        let answers = self.0.decrypt(KEY, &items).await.map_err(|error| self.error(error))?;
        Ok(answers.into_iter().map(|item| item.map_err(|error| self.error(error))).collect())
    }
}
