//! The client.

use crate::answer::{self, Answer, BLOB_LENS};
use crate::http::{Http, Received};
use crate::request::{self, Json};
use crate::{KeyDescription, RequestError, TransitBuilder};
use envelock::{KeyVersion, MasterKeyId};
use envelock_remote::{Decrypt, Decrypted, Encrypt, Encrypted, ServiceError};
use hyper::Method;
use sha2::{Digest, Sha256};
use std::fmt;

/// A Transit engine of OpenBao or Vault. Its [`Backend`](envelock_remote::Backend) is that of a keyring.
///
/// A call makes one request (two for a description), and returns what the service answered. Retries,
/// deadlines and limits are those of the keyring over it. Connections are kept and shared; they belong to the runtime
/// of the call that opened them, so use one `Transit` for each runtime.
pub struct Transit {
    http: Http,
    mount: String,
    master_key_id: Option<MasterKeyId>,
}

/// Changes of a key's configuration. What is `None` stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyConfig {
    /// The oldest version that decrypts.
    pub min_decryption: Option<KeyVersion>,
    /// The oldest version that encrypts on request. This crate encrypts under the newest alone; a version is
    /// trimmed only if it is below both.
    pub min_encryption: Option<KeyVersion>,
    /// Whether the key may be deleted.
    pub deletion_allowed: Option<bool>,
}

impl KeyConfig {
    /// Sets the oldest version that decrypts.
    #[must_use]
    pub fn with_min_decryption(self, version: KeyVersion) -> Self {
        KeyConfig { min_decryption: Some(version), ..self }
    }

    /// Sets the oldest version that encrypts on request.
    #[must_use]
    pub fn with_min_encryption(self, version: KeyVersion) -> Self {
        KeyConfig { min_encryption: Some(version), ..self }
    }

    /// Sets whether the key may be deleted.
    #[must_use]
    pub fn with_deletion_allowed(self, allowed: bool) -> Self {
        KeyConfig { deletion_allowed: Some(allowed), ..self }
    }
}

impl Transit {
    /// Returns the builder of a client for the service at `address`, such as `https://bao.example.com:8200`.
    pub fn builder(address: impl Into<String>) -> TransitBuilder {
        TransitBuilder::new(address.into())
    }

    pub(crate) fn new(http: Http, mount: String, master_key_id: Option<MasterKeyId>) -> Self {
        Transit { http, mount, master_key_id }
    }

    /// Returns the path of the engine.
    pub fn mount(&self) -> &str {
        &self.mount
    }

    /// Returns what the service knows of `key`, whether or not a keyring can use it.
    ///
    /// # Errors
    ///
    /// [`ServiceError::UnknownKey`]; [`ServiceError::Denied`]; those of the service.
    pub async fn describe_key(&self, key: &str) -> Result<KeyDescription, ServiceError> {
        let received = self.call(Method::GET, "keys", key, "", None).await?;
        let described = answer::key(&received.answer())?;
        if described.name == key {
            Ok(described)
        } else {
            let what = "it describes another key";
            Err(ServiceError::broken(RequestError::Answer { what }))
        }
    }

    /// Returns the id that the builder was given: that of each key, whatever the service has.
    pub(crate) fn given_id(&self) -> Option<MasterKeyId> {
        self.master_key_id
    }

    /// Returns the id of the master key `key`: the one given to the builder, or the first 8 bytes of the SHA-256 of
    /// the engine's id, a slash and the name.
    ///
    /// # Errors
    ///
    /// Those of the service.
    pub async fn master_key_id(&self, key: &str) -> Result<MasterKeyId, ServiceError> {
        if let Some(id) = self.master_key_id {
            return Ok(id);
        }
        let path = format!("sys/internal/ui/mounts/{}", self.mount);
        let received = self.http.send(Method::GET, &path, None).await?;
        let uuid = answer::mount(&received.answer())?;
        let digest: [u8; 32] = Sha256::digest(format!("{uuid}/{key}")).into();
        let [a, b, c, d, e, f, g, h, ..] = digest;
        Ok(MasterKeyId([a, b, c, d, e, f, g, h]))
    }

    /// Creates `key` as a keyring needs it. Changes nothing if there is a key of this name.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Denied`]; those of the service.
    pub async fn create_key(&self, key: &str) -> Result<(), ServiceError> {
        self.change(Method::POST, "keys", key, "", request::create()).await
    }

    /// Adds a version of `key`, which encrypts from now on.
    ///
    /// # Errors
    ///
    /// [`ServiceError::UnknownKey`]; [`ServiceError::Denied`]; those of the service.
    pub async fn rotate(&self, key: &str) -> Result<(), ServiceError> {
        self.change(Method::POST, "keys", key, "/rotate", request::empty()).await
    }

    /// Changes the configuration of `key`.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Broken`] if the service refuses the values; [`ServiceError::UnknownKey`];
    /// [`ServiceError::Denied`]; those of the service.
    pub async fn configure(&self, key: &str, config: &KeyConfig) -> Result<(), ServiceError> {
        let fields = request::fields(&[
            ("min_decryption_version", config.min_decryption.map(request::number)),
            ("min_encryption_version", config.min_encryption.map(request::number)),
            ("deletion_allowed", config.deletion_allowed.map(|allowed| allowed.to_string())),
        ]);
        self.change(Method::POST, "keys", key, "/config", fields).await
    }

    /// Destroys every version of `key` below `min_available`. Final.
    ///
    /// # Errors
    ///
    /// [`ServiceError::Broken`] if one of them still decrypts or encrypts; [`ServiceError::UnknownKey`];
    /// [`ServiceError::Denied`]; those of the service.
    pub async fn trim(&self, key: &str, min_available: KeyVersion) -> Result<(), ServiceError> {
        let fields =
            request::fields(&[("min_available_version", Some(request::number(min_available)))]);
        self.change(Method::POST, "keys", key, "/trim", fields).await
    }

    /// Stops `key` from encrypting and decrypting until [`restore`](Self::restore). OpenBao has it, Vault has not.
    ///
    /// # Errors
    ///
    /// [`ServiceError::UnknownKey`]; [`ServiceError::Denied`]; those of the service.
    pub async fn soft_delete(&self, key: &str) -> Result<(), ServiceError> {
        self.change(Method::DELETE, "keys", key, "/soft-delete", Json::default()).await
    }

    /// Reverts [`soft_delete`](Self::soft_delete).
    ///
    /// # Errors
    ///
    /// [`ServiceError::UnknownKey`]; [`ServiceError::Denied`]; those of the service.
    pub async fn restore(&self, key: &str) -> Result<(), ServiceError> {
        self.change(Method::POST, "keys", key, "/soft-delete-restore", request::empty()).await
    }

    pub(crate) async fn encrypt_batch(
        &self,
        key: &str,
        items: &[Encrypt<'_>],
    ) -> Result<Vec<Result<Encrypted, ServiceError>>, ServiceError> {
        let body = request::encrypt(items);
        let received = self.call(Method::POST, "encrypt", key, "", Some(body)).await?;
        answer::encrypted(&received.answer(), items.len())
    }

    pub(crate) async fn decrypt_batch(
        &self,
        key: &str,
        items: &[Decrypt<'_>],
    ) -> Result<Vec<Result<Decrypted, ServiceError>>, ServiceError> {
        self.batch("decrypt", key, items, answer::decrypted).await
    }

    pub(crate) async fn rewrap_batch(
        &self,
        key: &str,
        items: &[Decrypt<'_>],
    ) -> Result<Vec<Result<Encrypted, ServiceError>>, ServiceError> {
        self.batch("rewrap", key, items, answer::encrypted).await
    }

    /// Sends the items whose wrapped key has a length that Transit makes. Others come from a changed header: the
    /// service could only refuse them, and they do not authenticate.
    async fn batch<T>(
        &self,
        what: &str,
        key: &str,
        items: &[Decrypt<'_>],
        decode: impl Fn(&Answer<'_>, usize) -> Result<Vec<Result<T, ServiceError>>, ServiceError>,
    ) -> Result<Vec<Result<T, ServiceError>>, ServiceError> {
        let is_possible = |item: &Decrypt<'_>| BLOB_LENS.contains(&item.blob.len());
        let possible: Vec<_> = items.iter().filter(|item| is_possible(item)).collect();
        let mut answers = Vec::new().into_iter();
        if !possible.is_empty() {
            let body = request::decrypt(&possible);
            let received = self.call(Method::POST, what, key, "", Some(body)).await?;
            answers = decode(&received.answer(), possible.len())?.into_iter();
        }
        let in_order = items.iter().map(|item| {
            let sent = if is_possible(item) { answers.next() } else { None };
            sent.unwrap_or(Err(ServiceError::Authentication))
        });
        Ok(in_order.collect())
    }

    async fn change(
        &self,
        method: Method,
        what: &str,
        key: &str,
        rest: &str,
        body: Json,
    ) -> Result<(), ServiceError> {
        let received = self.call(method, what, key, rest, Some(body)).await?;
        answer::done(&received.answer())
    }

    async fn call(
        &self,
        method: Method,
        what: &str,
        key: &str,
        rest: &str,
        body: Option<Json>,
    ) -> Result<Received, ServiceError> {
        check_name(key)?;
        self.http.send(method, &format!("{}/{what}/{key}{rest}", self.mount), body).await
    }
}

/// Checks a name before it becomes part of a path: names come from headers, too.
fn check_name(key: &str) -> Result<(), ServiceError> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = key.as_bytes();
    let ends = bytes.first().zip(bytes.last());
    if ends.is_some_and(|(&first, &last)| word(first) && word(last))
        && bytes.iter().all(|&byte| word(byte) || byte == b'.' || byte == b'-')
    {
        Ok(())
    } else {
        Err(ServiceError::broken(RequestError::KeyName { name: key.to_owned() }))
    }
}

impl fmt::Debug for Transit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transit").field("mount", &self.mount).finish_non_exhaustive()
    }
}
