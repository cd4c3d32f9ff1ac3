//! The decoder of the service's answers: pure, bounded, and without a panic on any input.

use crate::KeyDescription;
use crate::RequestError;
use crate::refusals::Meaning;
use base64ct::{Base64, Encoding};
use envelock::KeyVersion;
use envelock_remote::{Decrypted, Encrypted, ServiceError};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;
use zeroize::Zeroizing;

/// The longest answer that is read, in bytes: the description of a key of 100,000 versions has 2 million.
pub const MAX_BODY: usize = 4 << 20;

/// The most versions of a key. One that is rotated every hour reaches them in 11 years.
const MAX_VERSIONS: u32 = 100_000;

/// How much of each error of the service is kept, in bytes.
const MAX_ERROR: usize = 300;

/// How many errors of an answer are kept.
const MAX_ERRORS: usize = 4;

/// The lengths of a wrapped key: IV, ciphertext of a data key of 16 or 32 bytes, and tag.
pub(crate) const BLOB_LENS: [usize; 2] = [12 + 16 + 16, 12 + 32 + 16];

/// An answer of HTTP.
#[derive(Clone, Copy)]
#[expect(missing_debug_implementations, reason = "a body can hold data keys")]
pub struct Answer<'a> {
    /// The status.
    pub status: u16,
    /// The value of `retry-after`, if there is one.
    pub retry_after: Option<&'a [u8]>,
    /// The body.
    pub body: &'a [u8],
}

#[derive(Deserialize)]
struct Envelope<'a, T> {
    data: Option<T>,
    #[serde(borrow, default)]
    errors: Option<Vec<Cow<'a, str>>>,
}

#[derive(Deserialize)]
struct Batch<T> {
    batch_results: Vec<T>,
}

#[derive(Deserialize)]
struct EncryptedItem<'a> {
    // Borrowed: base64 has no escapes.
    ciphertext: Option<&'a str>,
    key_version: Option<u32>,
    #[serde(borrow)]
    error: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct DecryptedItem<'a> {
    // Borrowed, so that there is no copy to wipe.
    plaintext: Option<&'a str>,
    #[serde(borrow)]
    error: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Key<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    derived: bool,
    // Only a derived key has it.
    convergent_encryption: Option<bool>,
    exportable: bool,
    allow_plaintext_backup: bool,
    // Vault has neither in its older versions.
    imported_key: Option<bool>,
    soft_deleted: Option<bool>,
    deletion_allowed: bool,
    latest_version: u32,
    min_decryption_version: u32,
    min_encryption_version: u32,
    min_available_version: u32,
    keys: serde_json::Value,
}

#[derive(Deserialize)]
struct Mount<'a> {
    #[serde(borrow)]
    uuid: Cow<'a, str>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

fn nonsense(what: &'static str) -> ServiceError {
    ServiceError::broken(RequestError::Answer { what })
}

impl<'a> Answer<'a> {
    /// Returns the data of a success.
    fn data<T: Deserialize<'a>>(&self) -> Result<T, ServiceError> {
        if self.status != 200 {
            return Err(self.error());
        }
        let envelope: Envelope<'a, T> = serde_json::from_slice(self.body)
            .map_err(|_| nonsense("it is not the JSON that was expected"))?;
        envelope.data.ok_or_else(|| nonsense("it has no data"))
    }

    /// Returns the results of a batch, `count` of them. With those that failed the status is 200, 400 or 500.
    fn batch<T: Deserialize<'a>>(&self, count: usize) -> Result<Vec<T>, ServiceError> {
        let results = match self.status {
            200 => self.data::<Batch<T>>()?.batch_results,
            400 | 500 => {
                let envelope = serde_json::from_slice::<Envelope<'a, Batch<T>>>(self.body);
                let data = envelope.ok().and_then(|envelope| envelope.data);
                data.ok_or_else(|| self.error())?.batch_results
            }
            _ => return Err(self.error()),
        };
        if results.len() == count {
            Ok(results)
        } else {
            Err(nonsense("it has another number of results than the batch"))
        }
    }

    /// Returns the error of an item of a batch.
    fn item_error(&self, text: &str) -> ServiceError {
        if let Some(meaning) = Meaning::of(text) {
            return meaning.into();
        }
        let cause = self.cause(&[Cow::Borrowed(text)]);
        if self.status == 500 {
            ServiceError::unavailable(cause)
        } else {
            ServiceError::broken(cause)
        }
    }

    /// Returns the error of a call that failed as a whole.
    fn error(&self) -> ServiceError {
        let errors = serde_json::from_slice::<Envelope<'a, serde::de::IgnoredAny>>(self.body)
            .ok()
            .and_then(|envelope| envelope.errors);
        let is_transit = errors.is_some();
        // Nothing: what is not JSON of the service, such as a page of a proxy, has no errors to list.
        let errors = errors.unwrap_or_default();
        let cause = self.cause(&errors);
        match self.status {
            400 | 404 => match errors.iter().find_map(|error| Meaning::of(error)) {
                Some(meaning) => meaning.into(),
                None if self.status == 404 && is_transit && errors.is_empty() => {
                    ServiceError::UnknownKey
                }
                None => ServiceError::broken(cause),
            },
            401 | 403 => ServiceError::denied(cause),
            429 => ServiceError::throttled(self.wait(), cause),
            // A standby that redirects, or is behind; sealed, no leader, or failed.
            307 | 308 | 412 | 500..=599 => ServiceError::unavailable(cause),
            _ => ServiceError::broken(cause),
        }
    }

    fn cause(&self, errors: &[Cow<'_, str>]) -> RequestError {
        let errors = errors.iter().take(MAX_ERRORS).map(|error| printable(error)).collect();
        RequestError::Status { status: self.status, errors }
    }

    /// Returns the seconds of `retry-after`. Transit sends no dates.
    fn wait(&self) -> Option<Duration> {
        let text = std::str::from_utf8(self.retry_after?).ok()?;
        text.trim().parse().ok().map(Duration::from_secs)
    }
}

/// Returns the start of `text` without control characters.
fn printable(text: &str) -> String {
    let mut kept = String::new();
    for word in text.split(|c: char| c.is_control() || c.is_whitespace()) {
        if word.is_empty() {
            continue;
        }
        if kept.len() + word.len() + 1 > MAX_ERROR {
            break;
        }
        if !kept.is_empty() {
            kept.push(' ');
        }
        kept.push_str(word);
    }
    kept
}

/// Decodes the answer of a call that returns nothing of use.
///
/// # Errors
///
/// The error that the service reports.
pub fn done(answer: &Answer<'_>) -> Result<(), ServiceError> {
    match answer.status {
        200 | 204 => Ok(()),
        _ => Err(answer.error()),
    }
}

/// Decodes the answer of `GET keys/NAME`.
///
/// # Errors
///
/// The error that the service reports; [`ServiceError::Broken`] if the answer makes no sense.
pub fn key(answer: &Answer<'_>) -> Result<KeyDescription, ServiceError> {
    let key: Key<'_> = answer.data()?;
    if key.latest_version > MAX_VERSIONS {
        return Err(nonsense("the key has more than 100,000 versions"));
    }
    let version = |number| KeyVersion::new(number).ok_or_else(|| nonsense("a version is zero"));
    // Zero as long as nothing was trimmed, or no version was disabled.
    let (min_decryption, min_available) =
        (key.min_decryption_version.max(1), key.min_available_version.max(1));
    if min_available > min_decryption || min_decryption > key.latest_version {
        return Err(nonsense("its version numbers contradict each other"));
    }
    let created = if key.derived { creation_times(&key.keys)? } else { BTreeMap::new() };
    let described = KeyDescription {
        name: key.name.into_owned(),
        kind: key.kind.into_owned(),
        derived: key.derived,
        convergent: key.convergent_encryption == Some(true),
        exportable: key.exportable || key.allow_plaintext_backup,
        imported: key.imported_key == Some(true),
        soft_deleted: key.soft_deleted == Some(true),
        deletion_allowed: key.deletion_allowed,
        latest: version(key.latest_version)?,
        min_decryption: version(min_decryption)?,
        min_encryption: KeyVersion::new(key.min_encryption_version),
        min_available: version(min_available)?,
        created,
    };
    let complete = (min_decryption..=key.latest_version)
        .filter_map(KeyVersion::new)
        .all(|version| described.created.contains_key(&version));
    if described.derived && !complete {
        return Err(nonsense("a version that decrypts is not listed"));
    }
    Ok(described)
}

/// Returns when each version was created, of a symmetric key; others have objects in the place of numbers.
fn creation_times(keys: &serde_json::Value) -> Result<BTreeMap<KeyVersion, u64>, ServiceError> {
    let keys = keys.as_object().ok_or_else(|| nonsense("its versions are no object"))?;
    // A derived key for signatures is not refused here, but for its type.
    let pairs = keys
        .iter()
        .map(|(number, created)| Some((number_of(number)?, created.as_u64().unwrap_or(0))));
    pairs.collect::<Option<_>>().ok_or_else(|| nonsense("a version is no number"))
}

/// Returns the version of canonical decimal digits, without a sign or a leading zero.
fn number_of(digits: &str) -> Option<KeyVersion> {
    let canonical = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    if canonical { digits.parse().ok().and_then(KeyVersion::new) } else { None }
}

/// Decodes the answer about the engine that is mounted somewhere. Returns its id, which stays when it is moved.
///
/// # Errors
///
/// The error that the service reports; [`ServiceError::Broken`] if it is not Transit.
pub fn mount(answer: &Answer<'_>) -> Result<String, ServiceError> {
    let mount: Mount<'_> = answer.data()?;
    if mount.kind != "transit" {
        return Err(nonsense("the engine of this path is not transit"));
    }
    if mount.uuid.is_empty() {
        return Err(nonsense("the engine has no id"));
    }
    Ok(mount.uuid.into_owned())
}

/// Decodes the answer of an encryption or a rewrap of `count` items.
///
/// # Errors
///
/// Those of the whole call.
pub fn encrypted(
    answer: &Answer<'_>,
    count: usize,
) -> Result<Vec<Result<Encrypted, ServiceError>>, ServiceError> {
    let items = answer.batch::<EncryptedItem<'_>>(count)?;
    Ok(items.iter().map(|item| encrypted_item(answer, item)).collect())
}

fn encrypted_item(
    answer: &Answer<'_>,
    item: &EncryptedItem<'_>,
) -> Result<Encrypted, ServiceError> {
    if let Some(text) = item.error.as_deref().filter(|text| !text.is_empty()) {
        return Err(answer.item_error(text));
    }
    let ciphertext = item.ciphertext.ok_or_else(|| nonsense("it has no ciphertext"))?;
    let encrypted = parse_ciphertext(ciphertext)
        .ok_or_else(|| nonsense("its ciphertext is not vault:vN: and a wrapped key"))?;
    match item.key_version {
        Some(version) if version != encrypted.version.number() => {
            Err(nonsense("it reports two versions"))
        }
        _ => Ok(encrypted),
    }
}

/// Parses `vault:vN:` and the base64 of a wrapped key, and nothing else: Transit reads `v0` as 1.
fn parse_ciphertext(text: &str) -> Option<Encrypted> {
    let (digits, base64) = text.strip_prefix("vault:v")?.split_once(':')?;
    let version = number_of(digits)?;
    let blob = Base64::decode_vec(base64).ok()?;
    BLOB_LENS.contains(&blob.len()).then_some(Encrypted { version, blob, master_key_id: None })
}

/// Decodes the answer of a decryption of `count` items.
///
/// # Errors
///
/// Those of the whole call.
pub fn decrypted(
    answer: &Answer<'_>,
    count: usize,
) -> Result<Vec<Result<Decrypted, ServiceError>>, ServiceError> {
    let items = answer.batch::<DecryptedItem<'_>>(count)?;
    Ok(items.iter().map(|item| decrypted_item(answer, item)).collect())
}

fn decrypted_item(
    answer: &Answer<'_>,
    item: &DecryptedItem<'_>,
) -> Result<Decrypted, ServiceError> {
    if let Some(text) = item.error.as_deref().filter(|text| !text.is_empty()) {
        return Err(answer.item_error(text));
    }
    let base64 = item.plaintext.ok_or_else(|| nonsense("it has no plaintext"))?;
    let mut plaintext = Zeroizing::new(vec![0; base64.len() / 4 * 3]);
    let len = Base64::decode(base64, &mut plaintext)
        .map_err(|_| nonsense("its plaintext is not base64"))?
        .len();
    plaintext.truncate(len);
    Ok(Decrypted::new(plaintext))
}
