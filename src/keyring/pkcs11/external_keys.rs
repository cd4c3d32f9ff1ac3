//! The versions of an external keyring, and the keys on the token that they use.

use super::key::object::{ObjectName, Role, TokenKeyName};
use crate::crypto::hash::sha256;
use crate::format::{KeyVersion, MasterKeyId, WrapAlgorithm};
use crate::keyset::{Keyset, LifecycleError, NewMaterial, Origin, VersionRecord, VersionState};
use crate::time::Timestamp;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

/// A reference to a key on a token: its label (`CKA_LABEL`) or its id (`CKA_ID`).
///
/// Only one secret key of the token may have it. Headers contain its SHA-256 as the master key id, so
/// a key must not be renamed once it has wrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRef {
    id: Option<Vec<u8>>,
    label: Option<String>,
}

impl KeyRef {
    /// Returns the secret key whose `CKA_LABEL` is `label`.
    pub fn label(label: impl Into<String>) -> Self {
        KeyRef { id: None, label: Some(label.into()) }
    }

    /// Returns the secret key whose `CKA_ID` is `id`.
    pub fn id(id: impl Into<Vec<u8>>) -> Self {
        KeyRef { id: Some(id.into()), label: None }
    }

    fn object(&self, role: Role) -> ObjectName {
        ObjectName { role, id: self.id.clone(), label: self.label.clone() }
    }

    /// SPEC K-MASTER, K-NATIVE
    fn master_key_id(&self) -> MasterKeyId {
        let native = self.id.as_deref().or(self.label.as_ref().map(String::as_bytes));
        #[expect(clippy::expect_used, reason = "there is one of the two")]
        let [a, b, c, d, e, f, g, h, ..] = sha256(&[native.expect("an id or a label")]);
        MasterKeyId([a, b, c, d, e, f, g, h])
    }
}

/// The versions of a master key whose material was put on a token by other means.
#[derive(Clone, Debug)]
pub struct ExternalKeys {
    name: String,
    versions: BTreeMap<KeyVersion, VersionKeys>,
    states: BTreeMap<KeyVersion, VersionState>,
    primary: Option<KeyVersion>,
}

#[derive(Clone, Debug)]
struct VersionKeys {
    key: KeyRef,
    mac: Option<KeyRef>,
}

impl ExternalKeys {
    /// Returns a master key of this name, without versions.
    pub fn new(name: impl Into<String>) -> Self {
        let (versions, states) = (BTreeMap::new(), BTreeMap::new());
        ExternalKeys { name: name.into(), versions, states, primary: None }
    }

    /// Adds a version that wraps with AES-256-GCM under the AES key `key` (wrap algorithm 2).
    ///
    /// One keyring wraps at most 2^28 data keys under it, since the wraps of other processes are not
    /// counted: open it once in a process.
    #[must_use]
    pub fn gcm(self, version: KeyVersion, key: KeyRef) -> Self {
        self.with(version, key, None)
    }

    /// Adds a version that wraps with AES-256-CBC under the AES key `key`, then HMAC-SHA-256 under
    /// the secret key `mac` of 32 bytes or more (wrap algorithm 3). Neither key may have another
    /// use.
    #[must_use]
    pub fn cbc_hmac(self, version: KeyVersion, key: KeyRef, mac: KeyRef) -> Self {
        self.with(version, key, Some(mac))
    }

    /// Selects the version that wraps. There is none by default, and none if that version is disabled
    /// or compromised.
    #[must_use]
    pub fn primary(mut self, version: KeyVersion) -> Self {
        self.primary = Some(version);
        self
    }

    /// Disables `version`, so that it neither wraps nor unwraps.
    #[must_use]
    pub fn disabled(self, version: KeyVersion) -> Self {
        self.in_state(version, VersionState::Disabled)
    }

    /// Marks `version` as compromised: it unwraps and does not wrap, and a rewrap has to name it.
    #[must_use]
    pub fn compromised(self, version: KeyVersion) -> Self {
        self.in_state(version, VersionState::Compromised)
    }

    fn with(mut self, number: KeyVersion, key: KeyRef, mac: Option<KeyRef>) -> Self {
        self.versions.insert(number, VersionKeys { key, mac });
        self
    }

    fn in_state(mut self, version: KeyVersion, state: VersionState) -> Self {
        self.states.insert(version, state);
        self
    }

    /// The names of each version, with its master key id.
    pub(crate) fn names(&self) -> impl Iterator<Item = (MasterKeyId, TokenKeyName)> {
        self.versions.iter().map(|(number, version)| {
            (version.key.master_key_id(), version.name(&self.name, *number))
        })
    }

    /// The records of the versions. Their dates are not known.
    pub(crate) fn keyset(&self) -> Result<Keyset, crate::Error> {
        let record = |(number, version): (&KeyVersion, &VersionKeys)| {
            let material = NewMaterial {
                master_key_id: version.key.master_key_id(),
                algorithm: version.algorithm(),
                origin: Origin::Token,
            };
            let mut record = VersionRecord::new(*number, material, Timestamp::UNIX_EPOCH);
            record.state = match self.states.get(number) {
                Some(state) => *state,
                None if self.primary == Some(*number) => VersionState::Primary,
                None => VersionState::Enabled,
            };
            record
        };
        let records: Vec<_> = self.versions.iter().map(record).collect();
        let mut ids: Vec<_> = records.iter().map(|record| record.master_key_id.0).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(crate::Error::Lifecycle(LifecycleError::KeyMaterial));
        }
        let mut named = self.states.keys().chain(self.primary.as_ref());
        if let Some(version) = named.find(|version| !self.versions.contains_key(version)) {
            let version = *version;
            return Err(crate::Error::Lifecycle(LifecycleError::UnknownVersion {
                key: self.name.clone(),
                version,
            }));
        }
        let last = records.last().map_or(0, |record| record.version.number());
        Ok(Keyset::restore(&self.name, last, records)?)
    }
}

impl VersionKeys {
    fn algorithm(&self) -> WrapAlgorithm {
        match self.mac {
            None => WrapAlgorithm::TOKEN_AES_256_GCM,
            Some(_) => WrapAlgorithm::TOKEN_AES_256_CBC_HMAC,
        }
    }

    fn name(&self, name: &str, version: KeyVersion) -> TokenKeyName {
        TokenKeyName {
            name: name.into(),
            version,
            algorithm: self.algorithm(),
            encrypt: self.key.object(Role::Encrypt),
            mac: self.mac.as_ref().map(|mac| mac.object(Role::Mac)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Example C of the specification, and the same bytes as an id. By Python's `hashlib`.
    #[test]
    fn master_key_id_is_a_function_of_the_reference() {
        let expected = MasterKeyId([0x8d, 0xd0, 0x00, 0x6d, 0xfd, 0xb7, 0xeb, 0xb1]);
        assert_eq!(KeyRef::label("orders-2026").master_key_id(), expected);
        assert_eq!(KeyRef::id(*b"orders-2026").master_key_id(), expected);
        assert_ne!(KeyRef::label("orders-2027").master_key_id(), expected);
    }

    #[test]
    fn duplicate_key_and_unknown_primary_are_refused() {
        let [one, two] = [1, 2].map(|number| KeyVersion::new(number).unwrap());
        let label = KeyRef::label;
        let keys = ExternalKeys::new("orders").gcm(one, label("a")).primary(one);
        assert_eq!(keys.keyset().unwrap().primary(), Some(one));
        let twice = keys.clone().cbc_hmac(two, label("a"), label("b"));
        assert!(matches!(
            twice.keyset(),
            Err(crate::Error::Lifecycle(LifecycleError::KeyMaterial))
        ));
        let unknown = keys.primary(two).keyset();
        assert!(
            matches!(unknown, Err(crate::Error::Lifecycle(LifecycleError::UnknownVersion { version, .. })) if version == two)
        );
    }

    #[test]
    fn states_and_versions_can_be_given_in_any_order() {
        let [one, two] = [1, 2].map(|number| KeyVersion::new(number).unwrap());
        let label = KeyRef::label;
        let keys = ExternalKeys::new("orders").disabled(one).primary(two);
        let unknown = keys.keyset();
        assert!(
            matches!(unknown, Err(crate::Error::Lifecycle(LifecycleError::UnknownVersion { version, .. })) if version == one)
        );
        let keyset = keys.gcm(two, label("b")).gcm(one, label("a")).keyset().unwrap();
        let states = keyset.versions().iter().map(|record| record.state);
        assert!(states.eq([VersionState::Disabled, VersionState::Primary]));
    }
}
