//! What a key service does.

use crate::ServiceError;
use envelock::format::WrapAlgorithm;
use envelock::keyset::VersionState;
use envelock::{KeyVersion, MasterKeyId};
use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, ready};
use std::num::NonZeroUsize;
use zeroize::Zeroizing;

/// A key service, called asynchronously.
///
/// # Contract
///
/// - Each call is about one master key, named `key`. It makes one request, or few, and returns what the service
///   answered: retries, deadlines, caches and limits are those of the caller.
/// - A call never creates a master key.
/// - A future that is dropped stops to wait for the service.
/// - An item's `context` is authenticated with the plaintext by the service. Decryption under another context
///   fails with [`ServiceError::Authentication`].
/// - The version of an answer is that which the service reports with it, and never one that was known before.
/// - An error holds no secret: neither a token of the service nor key material.
///
/// Methods are called from many tasks at once.
pub trait Backend: Send + Sync + 'static {
    /// Returns the wrap algorithm of the slots: 4 to 127 for services of this repository, 128 to 255 for others.
    fn algorithm(&self) -> WrapAlgorithm;

    /// Returns the most bytes that [`Encrypted::blob`] has for a data key of 32 bytes.
    fn max_wrapped_key_len(&self) -> usize;

    /// Returns the most items of one call of [`encrypt`](Self::encrypt), [`decrypt`](Self::decrypt) or
    /// [`reencrypt`](Self::reencrypt).
    fn max_batch(&self) -> NonZeroUsize {
        NonZeroUsize::MIN
    }

    /// Returns the versions of `key` and their states.
    ///
    /// # Errors
    ///
    /// [`ServiceError::UnknownKey`] if the service has no such key; any other but
    /// [`ServiceError::Authentication`] and [`ServiceError::Refused`].
    fn describe(&self, key: &str)
    -> impl Future<Output = Result<Description, ServiceError>> + Send;

    /// Encrypts each item under the primary version of `key`. Returns one answer per item, in order.
    ///
    /// # Errors
    ///
    /// Those of the whole call. An item has its own error.
    fn encrypt(
        &self,
        key: &str,
        items: &[Encrypt<'_>],
    ) -> impl Future<Output = Result<Vec<Result<Encrypted, ServiceError>>, ServiceError>> + Send;

    /// Decrypts each item under its version of `key`. Returns one answer per item, in order.
    ///
    /// # Errors
    ///
    /// Those of the whole call. An item has its own error.
    fn decrypt(
        &self,
        key: &str,
        items: &[Decrypt<'_>],
    ) -> impl Future<Output = Result<Vec<Result<Decrypted, ServiceError>>, ServiceError>> + Send;

    /// Encrypts the plaintext of each item again under the primary version of `key`, on the service's side.
    /// Returns one answer per item, in order.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Unsupported`] if the service cannot do that, as the provided method reports; those of
    /// the whole call. An item has its own error.
    fn reencrypt(
        &self,
        key: &str,
        items: &[Decrypt<'_>],
    ) -> impl Future<Output = Result<Vec<Result<Encrypted, ServiceError>>, ServiceError>> + Send
    {
        let _ = (key, items);
        ready(Err(ServiceError::Unsupported))
    }
}

/// A master key of a service, as it was described.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Description {
    /// Identifies the key material, whatever the name (SPEC 4.2).
    pub id: MasterKeyId,
    /// The version that encrypts now, or `None` if none does.
    pub primary: Option<KeyVersion>,
    /// The state of each known version. The primary may be [`Enabled`](VersionState::Enabled) here.
    pub versions: BTreeMap<KeyVersion, VersionState>,
}

impl Description {
    /// Returns the description of a key.
    pub fn new(
        id: MasterKeyId,
        primary: Option<KeyVersion>,
        versions: impl IntoIterator<Item = (KeyVersion, VersionState)>,
    ) -> Self {
        Description { id, primary, versions: versions.into_iter().collect() }
    }
}

/// A plaintext to encrypt.
#[derive(Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "tests of back ends make it")]
pub struct Encrypt<'a> {
    /// A data key of 16 or 32 bytes. A copy of it is wiped.
    pub plaintext: &'a [u8],
    /// The remote wrap AAD (SPEC K-REMOTE), at most 310 bytes.
    pub context: &'a [u8],
}

/// A wrapped key to decrypt, or to encrypt again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "tests of back ends make it")]
pub struct Decrypt<'a> {
    /// The version of the slot. If the service finds the version in the blob, it must be this one.
    pub version: KeyVersion,
    /// The wrapped key of the slot, from an unverified header.
    pub blob: &'a [u8],
    /// The remote wrap AAD (SPEC K-REMOTE), at most 310 bytes.
    pub context: &'a [u8],
}

/// A wrapped key from the service.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "back ends make it")]
pub struct Encrypted {
    /// The version that the service reports in its answer.
    pub version: KeyVersion,
    /// The wrapped key, 1 to 32,768 bytes.
    pub blob: Vec<u8>,
    /// The id of the master key, if the service reports it in its answer. Otherwise the keyring has the key described
    /// again after the wrap, beside the proof: the service may have another key of this name by now.
    pub master_key_id: Option<MasterKeyId>,
}

/// A plaintext from the service, wiped on drop.
pub struct Decrypted(Zeroizing<Vec<u8>>);

impl Decrypted {
    /// Returns a plaintext whose buffer is wiped on drop.
    pub fn new(plaintext: impl Into<Zeroizing<Vec<u8>>>) -> Self {
        Decrypted(plaintext.into())
    }

    /// Returns the plaintext: a secret.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Encrypt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Encrypt({} bytes)", self.plaintext.len())
    }
}

impl fmt::Debug for Decrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Decrypted({} bytes)", self.0.len())
    }
}
