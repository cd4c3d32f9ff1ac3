//! Wraps, and what the service answers to them.

use crate::ServiceError;
use crate::backend::{Backend, Description, Encrypted};
use crate::inner::{Inner, ServiceKey};
use crate::service::{Failure, Plain, Wrapped};
use crate::state;
use envelock::format::Slot;
use envelock::keyring::{KeyringError, SlotWriter, WrapContext};
use envelock::{DataKey, MasterKeyId};
use futures_util::future::join;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// The most calls for one wrap whose answers are wrong.
const ATTEMPTS: usize = 2;

/// Whether a wrapped key is decrypted before its slot is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The keyring does that.
    Here,
    /// The caller unwraps the slot.
    ByCaller,
    /// Nobody does.
    None,
}

impl Proof {
    pub(crate) fn of_wrap<B>(inner: &Inner<B>) -> Self {
        if inner.proves_wraps { Proof::Here } else { Proof::None }
    }
}

/// An answer to a wrap.
enum Answer {
    Right(Arc<Description>),
    /// With the metadata for the next attempt.
    Wrong(Arc<Description>, String),
}

impl<B: Backend> Inner<B> {
    /// Wraps under the primary version of `key` and pushes the slot.
    pub(crate) async fn wrap(
        self: &Arc<Self>,
        key: &Arc<ServiceKey>,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        proof: Proof,
        slots: &mut SlotWriter<'_>,
    ) -> Result<(), KeyringError> {
        let deadline = self.service.deadline();
        let described = self.description(key, deadline).await;
        let mut description = described.map_err(|failure| key.error(failure))?;
        let mut wrong = String::new();
        for _ in 0..ATTEMPTS {
            let aad = self.wrap_aad(key, &description, context)?;
            let plaintext = Zeroizing::new(data_key.expose().to_vec());
            let plain = Arc::new(Plain { plaintext, context: aad.clone() });
            let encrypted = self.service.encrypt(key.shared_name(), plain, deadline).await;
            let encrypted = encrypted.map_err(|failure| self.contradicted(key, failure))?;
            let id = encrypted.master_key_id;
            let checked = self.check(key, description, &encrypted, id, deadline);
            let proven = async {
                match proof {
                    Proof::Here => self.prove(key, data_key, &encrypted, aad, deadline).await,
                    Proof::ByCaller | Proof::None => Ok(None),
                }
            };
            let (checked, proven) = join(checked, proven).await;
            let mut answer = checked?;
            if let Answer::Right(of) = &answer
                && let Some(fault) = proven?
            {
                answer = Answer::Wrong(Arc::clone(of), fault);
            }
            match answer {
                Answer::Right(description) => {
                    let label = self.label(key, &description, encrypted.version);
                    return slots.push(&label, &encrypted.blob);
                }
                Answer::Wrong(next, fault) => (description, wrong) = (next, fault),
            }
        }
        Err(Failure::broken(wrong).into())
    }

    /// Has the service encrypt the data key of `slot` again, and pushes the new slot.
    pub(crate) async fn reencrypt(
        self: &Arc<Self>,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
    ) -> Result<(), KeyringError> {
        let deadline = self.service.deadline();
        let (key, mut description, wrapped) = self.open_slot(slot, context, deadline).await?;
        let mut wrong = String::new();
        for _ in 0..ATTEMPTS {
            self.wrap_aad(key, &description, context)?;
            if description.id != slot.label.master_key_id {
                return Err(KeyringError::NotMine);
            }
            let wrapped = Arc::clone(&wrapped);
            let encrypted = self.service.reencrypt(key.shared_name(), wrapped, deadline).await;
            let encrypted = encrypted.map_err(|failure| self.contradicted(key, failure))?;
            // The service has opened the slot, so it has this key.
            let id = encrypted.master_key_id.unwrap_or(slot.label.master_key_id);
            match self.check(key, description, &encrypted, Some(id), deadline).await? {
                Answer::Right(description) => {
                    let label = self.label(key, &description, encrypted.version);
                    return slots.push(&label, &encrypted.blob);
                }
                Answer::Wrong(next, fault) => (description, wrong) = (next, fault),
            }
        }
        Err(Failure::broken(wrong).into())
    }

    /// Returns what a new wrap is bound to.
    fn wrap_aad(
        &self,
        key: &ServiceKey,
        description: &Description,
        context: &WrapContext<'_>,
    ) -> Result<Vec<u8>, KeyringError> {
        let primary = description.primary.ok_or(KeyringError::NoPrimary)?;
        if let Some(refusal) = description.versions.get(&primary).copied().and_then(state::refusal)
        {
            return Err(KeyringError::Refused(refusal));
        }
        Ok(context.remote_wrap_aad(&self.label(key, description, primary)).to_vec())
    }

    /// Checks the key `id` and the version of an answer. Metadata that they contradict is loaded again first. Without
    /// `id` it is loaded in any case: a key that was created anew since it was loaded would be labelled by the former
    /// id, and its messages would be nobody's.
    async fn check(
        self: &Arc<Self>,
        key: &Arc<ServiceKey>,
        description: Arc<Description>,
        encrypted: &Encrypted,
        id: Option<MasterKeyId>,
        deadline: Instant,
    ) -> Result<Answer, KeyringError> {
        let (version, len) = (encrypted.version, encrypted.blob.len());
        let most = self.service.backend().max_wrapped_key_len();
        if len == 0 || len > most {
            let fault =
                format!("service wraps a data key in {len} bytes: 1 to {most} were expected");
            return Ok(Answer::Wrong(description, fault));
        }
        let is_answer = |description: &Description| {
            id == Some(description.id) && description.primary == Some(version)
        };
        if is_answer(&description) {
            return Ok(Answer::Right(description));
        }
        let next = self.load_until(key, deadline, is_answer).await;
        let next = next.map_err(|failure| key.error(failure))?;
        let fault = match next.primary {
            // The wrap is bound to the former id.
            _ if next.id != description.id => {
                format!("service has another key {} since the wrap began", key.name())
            }
            _ if id.is_some_and(|id| id != next.id) => {
                format!("service wraps under another key than it describes as {}", key.name())
            }
            // A primary that is so no longer has wrapped before it was described.
            Some(primary) if primary == version || description.primary == Some(version) => {
                return Ok(Answer::Right(next));
            }
            Some(primary) => format!(
                "service wraps under version {version} of {}, and describes {primary} as its primary",
                key.name()
            ),
            None => return Err(KeyringError::NoPrimary),
        };
        Ok(Answer::Wrong(next, fault))
    }

    /// Decrypts a new wrapped key and compares the data keys in constant time. Returns the fault if it is the
    /// service's.
    async fn prove(
        &self,
        key: &ServiceKey,
        data_key: &DataKey,
        encrypted: &Encrypted,
        context: Vec<u8>,
        deadline: Instant,
    ) -> Result<Option<String>, KeyringError> {
        let Encrypted { version, blob, .. } = encrypted.clone();
        let wrapped = Arc::new(Wrapped { version, blob, context });
        let name = key.name();
        match self.service.decrypt(key.shared_name(), wrapped, deadline).await {
            Ok(opened) if bool::from(opened.expose().ct_eq(data_key.expose())) => Ok(None),
            Ok(_) => Ok(Some(format!(
                "wrapped key that the service made under version {version} of {name} opens to another data key"
            ))),
            Err(failure) => match failure.service_error() {
                Some(ServiceError::Authentication) => Ok(Some(format!(
                    "wrapped key that the service made under version {version} of {name} does not open"
                ))),
                _ => Err(self.contradicted(key, failure)),
            },
        }
    }

    /// Returns the error of a call for `key`. Metadata that it contradicts is loaded again before its next use.
    pub(crate) fn contradicted(&self, key: &ServiceKey, failure: Failure) -> KeyringError {
        if let Some(ServiceError::Refused(_) | ServiceError::UnknownKey) = failure.service_error() {
            key.expire();
        }
        key.error(failure)
    }
}
