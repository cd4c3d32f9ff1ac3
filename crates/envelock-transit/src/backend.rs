//! Transit as the back end of a keyring.

use crate::Transit;
use crate::answer::BLOB_LENS;
use envelock::format::WrapAlgorithm;
use envelock_remote::{Backend, Decrypt, Decrypted, Description, Encrypt, Encrypted, ServiceError};
use std::num::NonZeroUsize;

/// OpenBao refuses JSON of more than 1,000 strings unless its listener is set otherwise. An item has four with the names
/// of its fields. One request of as many items has 120 kB.
const MAX_BATCH: NonZeroUsize = NonZeroUsize::new(200).unwrap();

impl Backend for Transit {
    fn algorithm(&self) -> WrapAlgorithm {
        WrapAlgorithm::TRANSIT_AES_256_GCM
    }

    fn max_wrapped_key_len(&self) -> usize {
        let [_, longest] = BLOB_LENS;
        longest
    }

    fn max_batch(&self) -> NonZeroUsize {
        MAX_BATCH
    }

    /// Makes two requests, or one if the builder was given the id of the master key.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Broken`] with an [`UnsuitableKey`](crate::UnsuitableKey) if the key is not derived, is convergent,
    /// or is of another type than `aes256-gcm96`; those of the service.
    async fn describe(&self, key: &str) -> Result<Description, ServiceError> {
        let described = self.describe_key(key).await?;
        described.check(self.mount()).map_err(ServiceError::broken)?;
        Ok(described.with_id(self.master_key_id(key).await?))
    }

    async fn encrypt(
        &self,
        key: &str,
        items: &[Encrypt<'_>],
    ) -> Result<Vec<Result<Encrypted, ServiceError>>, ServiceError> {
        let mut answers = self.encrypt_batch(key, items).await?;
        for encrypted in answers.iter_mut().flatten() {
            encrypted.master_key_id = self.given_id();
        }
        Ok(answers)
    }

    async fn decrypt(
        &self,
        key: &str,
        items: &[Decrypt<'_>],
    ) -> Result<Vec<Result<Decrypted, ServiceError>>, ServiceError> {
        self.decrypt_batch(key, items).await
    }

    async fn reencrypt(
        &self,
        key: &str,
        items: &[Decrypt<'_>],
    ) -> Result<Vec<Result<Encrypted, ServiceError>>, ServiceError> {
        self.rewrap_batch(key, items).await
    }
}
