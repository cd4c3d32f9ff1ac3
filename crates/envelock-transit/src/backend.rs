//! Transit as the back end of a keyring.

use crate::Transit;
use crate::answer::BLOB_LENS;
use envelock::format::WrapAlgorithm;
use envelock_remote::{Backend, Decrypt, Decrypted, Description, Encrypt, Encrypted, ServiceError};
use std::num::NonZeroUsize;

/// One request of as many items has 150 kB.
const MAX_BATCH: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// Algorithm 4 of the specification.
const ALGORITHM: WrapAlgorithm = WrapAlgorithm::new(4).unwrap();

impl Backend for Transit {
    fn algorithm(&self) -> WrapAlgorithm {
        ALGORITHM
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
        self.encrypt_batch(key, items).await
    }

    async fn decrypt(
        &self,
        key: &str,
        items: &[Decrypt<'_>],
    ) -> Result<Vec<Result<Decrypted, ServiceError>>, ServiceError> {
        let possible = possible(items);
        if possible.is_empty() {
            return Ok(items.iter().map(|_| Err(ServiceError::Authentication)).collect());
        }
        let answers = self.decrypt_batch(key, &possible).await?;
        Ok(in_order(items, answers))
    }

    async fn reencrypt(
        &self,
        key: &str,
        items: &[Decrypt<'_>],
    ) -> Result<Vec<Result<Encrypted, ServiceError>>, ServiceError> {
        let possible = possible(items);
        if possible.is_empty() {
            return Ok(items.iter().map(|_| Err(ServiceError::Authentication)).collect());
        }
        let answers = self.rewrap_batch(key, &possible).await?;
        Ok(in_order(items, answers))
    }
}

/// Returns the items whose wrapped key has a length that Transit makes. Others come from a changed header, and the
/// service could only refuse them.
fn possible<'a, 'b>(items: &'a [Decrypt<'b>]) -> Vec<&'a Decrypt<'b>> {
    items.iter().filter(|item| is_possible(item)).collect()
}

fn is_possible(item: &Decrypt<'_>) -> bool {
    BLOB_LENS.contains(&item.blob.len())
}

/// Returns an answer for each item. Those that were not sent do not authenticate.
fn in_order<T>(
    items: &[Decrypt<'_>],
    answers: Vec<Result<T, ServiceError>>,
) -> Vec<Result<T, ServiceError>> {
    let mut answers = answers.into_iter();
    items
        .iter()
        .map(|item| {
            let sent = if is_possible(item) { answers.next() } else { None };
            sent.unwrap_or(Err(ServiceError::Authentication))
        })
        .collect()
}
