//! The master keys of a scripted service.

use super::Fault;
use crate::ServiceError;
use crate::backend::{Decrypt, Decrypted, Description, Encrypt, Encrypted};
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Nonce};
use envelock::keyring::Refusal;
use envelock::keyset::VersionState;
use envelock::{KeyVersion, MasterKeyId};
use std::collections::{BTreeMap, HashMap};

/// Nonce and tag.
pub(super) const OVERHEAD: usize = 12 + 16;

/// Keys by name. Several names may have one.
#[derive(Default)]
pub(super) struct Keys {
    names: HashMap<String, usize>,
    keys: Vec<Key>,
    /// The number of the last nonce, or key: never twice in this service.
    last: u64,
    /// Whether the answer to an encryption has the id of the key.
    pub(super) reports_ids: bool,
}

struct Key {
    id: MasterKeyId,
    primary: KeyVersion,
    versions: BTreeMap<KeyVersion, Version>,
}

struct Version {
    state: VersionState,
    /// `None` if it is destroyed.
    cipher: Option<Aes256Gcm>,
}

impl Keys {
    pub(super) fn create(&mut self, name: &str) {
        let id = MasterKeyId(self.unique().to_be_bytes());
        let primary = KeyVersion::FIRST;
        let versions = BTreeMap::from([(primary, self.version())]);
        self.names.insert(name.into(), self.keys.len());
        self.keys.push(Key { id, primary, versions });
    }

    pub(super) fn share(&mut self, name: &str, alias: &str) {
        if let Some(at) = self.names.get(name).copied() {
            self.names.insert(alias.into(), at);
        }
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.names.remove(name);
    }

    pub(super) fn rotate(&mut self, name: &str) -> Option<KeyVersion> {
        let version = self.version();
        let key = self.get_mut(name)?;
        let next = key.versions.keys().next_back()?.next()?;
        key.versions.insert(next, version);
        key.primary = next;
        Some(next)
    }

    pub(super) fn promote(&mut self, name: &str, version: KeyVersion) -> bool {
        let key = self.get_mut(name).filter(|key| key.versions.contains_key(&version));
        key.map(|key| key.primary = version).is_some()
    }

    pub(super) fn set_state(&mut self, name: &str, version: KeyVersion, to: VersionState) -> bool {
        let version = self.get_mut(name).and_then(|key| key.versions.get_mut(&version));
        let Some(version) = version else { return false };
        version.state = to;
        if to == VersionState::Destroyed {
            version.cipher = None;
        }
        true
    }

    pub(super) fn describe(&self, name: &str) -> Result<Description, ServiceError> {
        let key = self.get(name)?;
        let versions = key.versions.iter().map(|(number, version)| (*number, version.state));
        Ok(Description::new(key.id, Some(key.primary), versions))
    }

    pub(super) fn encrypt(
        &mut self,
        name: &str,
        item: Encrypt<'_>,
        fault: Option<Fault>,
    ) -> Result<Encrypted, ServiceError> {
        let nonce = [[0; 4].as_slice(), &self.unique().to_be_bytes()].concat();
        let other = self.version();
        let key = self.get(name)?;
        let used = key.versions.get(&key.primary).ok_or(ServiceError::UnknownKey)?;
        let cipher = usable(if fault == Some(Fault::OtherMasterKey) { &other } else { used })?;
        let mut plaintext = zeroize::Zeroizing::new(item.plaintext.to_vec());
        if let (Some(Fault::OtherPlaintext), Some(first)) = (fault, plaintext.first_mut()) {
            *first ^= 1;
        }
        let aad = if fault == Some(Fault::NoContext) { &[] } else { item.context };
        let payload = Payload { msg: &plaintext, aad };
        let failed = |_| ServiceError::broken("the service cannot encrypt that");
        let nonce_of = Nonce::try_from(nonce.as_slice())
            .map_err(|_| ServiceError::broken("the nonce has another length"))?;
        let mut blob = [nonce, cipher.encrypt(&nonce_of, payload).map_err(failed)?].concat();
        match fault {
            Some(Fault::Truncated) => drop(blob.pop()),
            Some(Fault::Empty) => blob.clear(),
            _ => {}
        }
        let number = key.primary.number();
        let reported = match fault {
            Some(Fault::VersionBefore) => number - 1,
            Some(Fault::VersionAfter) => number + 1,
            _ => number,
        };
        let version = KeyVersion::new(reported).unwrap_or(key.primary);
        let master_key_id = self.reports_ids.then_some(key.id);
        Ok(Encrypted { version, blob, master_key_id })
    }

    pub(super) fn decrypt(
        &self,
        name: &str,
        item: Decrypt<'_>,
        fault: Option<Fault>,
    ) -> Result<Decrypted, ServiceError> {
        let unknown = ServiceError::Refused(Refusal::UnknownVersion);
        let version = self.get(name)?.versions.get(&item.version).ok_or(unknown)?;
        let cipher = usable(version)?;
        let split = item.blob.split_at_checked(12).ok_or(ServiceError::Authentication)?;
        let nonce = Nonce::try_from(split.0).map_err(|_| ServiceError::Authentication)?;
        let aad = if fault == Some(Fault::NoContext) { &[] } else { item.context };
        let opened = cipher.decrypt(&nonce, Payload { msg: split.1, aad });
        let mut plaintext = opened.map_err(|_| ServiceError::Authentication)?;
        match (fault, plaintext.first_mut()) {
            (Some(Fault::OtherPlaintext), Some(first)) => *first ^= 1,
            (Some(Fault::Truncated), _) => drop(plaintext.pop()),
            _ => {}
        }
        Ok(Decrypted::new(plaintext))
    }

    fn get(&self, name: &str) -> Result<&Key, ServiceError> {
        let key = self.names.get(name).and_then(|at| self.keys.get(*at));
        key.ok_or(ServiceError::UnknownKey)
    }

    fn get_mut(&mut self, name: &str) -> Option<&mut Key> {
        self.names.get(name).and_then(|at| self.keys.get_mut(*at))
    }

    /// Returns a version of material that this service has not used.
    fn version(&mut self) -> Version {
        let mut material = [0; 32];
        for (byte, number) in material.iter_mut().zip(self.unique().to_be_bytes()) {
            *byte = number;
        }
        Version { state: VersionState::Enabled, cipher: Some(Aes256Gcm::new(&material.into())) }
    }

    fn unique(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

fn usable(version: &Version) -> Result<&Aes256Gcm, ServiceError> {
    if let Some(refusal) = crate::state::refusal(version.state) {
        return Err(ServiceError::Refused(refusal));
    }
    version.cipher.as_ref().ok_or(ServiceError::Refused(Refusal::Destroyed))
}
