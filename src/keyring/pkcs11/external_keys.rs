//! Which keys of a token are whose versions, where somebody else put them there.

use super::key::TokenKeyName;
use super::key::object::{ObjectName, Role};
use crate::crypto::hash::sha256;
use crate::format::{KeyVersion, MasterKeyId, WrapAlgorithm};
use crate::keyset::{Keyset, LifecycleError, NewMaterial, Origin, VersionRecord, VersionState};
use crate::time::Timestamp;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

/// How a key on a token is found: by its label (`CKA_LABEL`) or its id (`CKA_ID`).
///
/// It has to be the only one, among the secret keys. The master key id, which stands in every
/// header, is made of this name (SHA-256), so a key must not be renamed once it has wrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRef {
    id: Option<Vec<u8>>,
    label: Option<String>,
}

impl KeyRef {
    /// The key of this label.
    pub fn label(label: impl Into<String>) -> Self {
        KeyRef { id: None, label: Some(label.into()) }
    }

    /// The key of this id.
    pub fn id(id: impl Into<Vec<u8>>) -> Self {
        KeyRef { id: Some(id.into()), label: None }
    }

    fn object(&self, role: Role) -> ObjectName {
        ObjectName { role, id: self.id.clone(), label: self.label.clone() }
    }

    /// SPEC K-MASTER, K-NATIVE
    fn master_key_id(&self) -> MasterKeyId {
        let native = self.id.as_deref().or(self.label.as_ref().map(String::as_bytes));
        #[expect(clippy::expect_used, reason = "it is made of one of the two")]
        let [a, b, c, d, e, f, g, h, ..] = sha256(&[native.expect("an id or a label")]);
        MasterKeyId([a, b, c, d, e, f, g, h])
    }
}

/// The versions of one master key whose material somebody else put on a token.
#[derive(Clone, Debug)]
pub struct ExternalKeys {
    name: String,
    versions: BTreeMap<KeyVersion, Version>,
    states: BTreeMap<KeyVersion, VersionState>,
    primary: Option<KeyVersion>,
}

#[derive(Clone, Debug)]
struct Version {
    key: KeyRef,
    mac: Option<KeyRef>,
}

impl ExternalKeys {
    /// A master key of that name, without versions yet.
    pub fn new(name: impl Into<String>) -> Self {
        let (versions, states) = (BTreeMap::new(), BTreeMap::new());
        ExternalKeys { name: name.into(), versions, states, primary: None }
    }

    /// A version that wraps by AES-256-GCM under the AES key `key` (wrap algorithm 2).
    ///
    /// At most 2^28 data keys are wrapped under it by one keyring, since nobody counts those of others:
    /// open it once in a process.
    #[must_use]
    pub fn gcm(self, version: KeyVersion, key: KeyRef) -> Self {
        self.with(version, key, None)
    }

    /// A version that wraps by AES-256-CBC under the AES key `key`, then HMAC-SHA-256 under the
    /// secret key `mac` of 32 bytes or more (wrap algorithm 3). Neither key is used for anything
    /// else.
    #[must_use]
    pub fn cbc_hmac(self, version: KeyVersion, key: KeyRef, mac: KeyRef) -> Self {
        self.with(version, key, Some(mac))
    }

    /// The version that wraps new messages. There is none by default, and none if that version is
    /// disabled or compromised.
    #[must_use]
    pub fn primary(mut self, version: KeyVersion) -> Self {
        self.primary = Some(version);
        self
    }

    /// Has `version` neither wrap nor unwrap.
    #[must_use]
    pub fn disabled(self, version: KeyVersion) -> Self {
        self.in_state(version, VersionState::Disabled)
    }

    /// Marks `version` as one whose key others may have: it unwraps, wraps nothing, and a rewrap from
    /// it has to name it.
    #[must_use]
    pub fn compromised(self, version: KeyVersion) -> Self {
        self.in_state(version, VersionState::Compromised)
    }

    fn with(mut self, number: KeyVersion, key: KeyRef, mac: Option<KeyRef>) -> Self {
        self.versions.insert(number, Version { key, mac });
        self
    }

    fn in_state(mut self, version: KeyVersion, state: VersionState) -> Self {
        self.states.insert(version, state);
        self
    }

    /// What each version is called on the token, with its master key id.
    pub(crate) fn names(&self) -> impl Iterator<Item = (MasterKeyId, TokenKeyName)> {
        self.versions.iter().map(|(number, version)| {
            (version.key.master_key_id(), version.name(&self.name, *number))
        })
    }

    /// The records of the versions. There are no dates: whoever made the keys knows them.
    pub(crate) fn keyset(&self) -> Result<Keyset, crate::Error> {
        let record = |(number, version): (&KeyVersion, &Version)| {
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

impl Version {
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
    fn a_master_key_id_follows_from_the_name_on_the_token() {
        let expected = MasterKeyId([0x8d, 0xd0, 0x00, 0x6d, 0xfd, 0xb7, 0xeb, 0xb1]);
        assert_eq!(KeyRef::label("orders-2026").master_key_id(), expected);
        assert_eq!(KeyRef::id(*b"orders-2026").master_key_id(), expected);
        assert_ne!(KeyRef::label("orders-2027").master_key_id(), expected);
    }

    #[test]
    fn versions_of_one_key_and_a_primary_that_is_none_are_refused() {
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

    /// In whatever order they are said.
    #[test]
    fn states_and_versions_come_in_any_order() {
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
