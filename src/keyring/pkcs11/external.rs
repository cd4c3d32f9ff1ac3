//! Keys that somebody else put on a token.

use super::key::{TokenKey, TokenKeyName};
use super::news::News;
use super::object::{ObjectName, Role};
use super::token::Pkcs11Token;
use crate::crypto::hash::sha256;
use crate::crypto::secret::DataKey;
use crate::error::Error;
use crate::format::{KeyVersion, MasterKeyId, Slot, SlotLabel, SlotWriter, WrapAlgorithm};
use crate::keyring::held::PROCESS_WRAP_LIMIT;
use crate::keyring::master_keys::{HeldKeys, MasterKeys, Selection};
use crate::keyring::{Freshness, Keyring, KeyringError, PrimaryKey, WrapContext};
use crate::keyset::{Keyset, Keysets, NewMaterial, Origin, VersionRecord, VersionState};
use crate::random::KeyringRng;
use crate::time::Timestamp;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

/// How a key on a token is found: by its label (`CKA_LABEL`) or its id (`CKA_ID`).
///
/// It has to be the only one, among the secret keys. The master key id, which stands in every
/// header, is made of this name (SHA-256), so a key must not be renamed once it has wrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pkcs11KeyRef {
    id: Option<Vec<u8>>,
    label: Option<String>,
}

impl Pkcs11KeyRef {
    /// The key of this label.
    pub fn label(label: impl Into<String>) -> Self {
        Pkcs11KeyRef { id: None, label: Some(label.into()) }
    }

    /// The key of this id.
    pub fn id(id: impl Into<Vec<u8>>) -> Self {
        Pkcs11KeyRef { id: Some(id.into()), label: None }
    }

    fn object(&self, role: Role) -> ObjectName {
        ObjectName { role, id: self.id.clone(), label: self.label.clone() }
    }

    /// SPEC K-MASTER, K-NATIVE
    fn master_key_id(&self) -> MasterKeyId {
        let native = self.id.as_deref().or(self.label.as_ref().map(String::as_bytes));
        let hash = sha256(&[native.unwrap_or_default()]);
        MasterKeyId(hash.first_chunk().copied().unwrap_or_default())
    }
}

/// The versions of one master key whose material somebody else put on a token.
#[derive(Clone, Debug)]
pub struct Pkcs11ExternalKeys {
    name: String,
    versions: BTreeMap<KeyVersion, Version>,
    primary: Option<KeyVersion>,
}

#[derive(Clone, Debug)]
struct Version {
    key: Pkcs11KeyRef,
    mac: Option<Pkcs11KeyRef>,
    state: VersionState,
}

impl Pkcs11ExternalKeys {
    /// A master key of that name, without versions yet.
    pub fn new(name: impl Into<String>) -> Self {
        Pkcs11ExternalKeys { name: name.into(), versions: BTreeMap::new(), primary: None }
    }

    /// A version that wraps by AES-256-GCM under the AES key `key` (wrap algorithm 2).
    ///
    /// At most 2^28 data keys are wrapped under it by one process, since nobody counts the others.
    #[must_use]
    pub fn gcm(self, version: KeyVersion, key: Pkcs11KeyRef) -> Self {
        self.with(version, key, None)
    }

    /// A version that wraps by AES-256-CBC under the AES key `key`, then HMAC-SHA-256 under the
    /// secret key `mac` of 32 bytes or more (wrap algorithm 3). Neither key is used for anything
    /// else.
    #[must_use]
    pub fn cbc_hmac(self, version: KeyVersion, key: Pkcs11KeyRef, mac: Pkcs11KeyRef) -> Self {
        self.with(version, key, Some(mac))
    }

    /// The version that wraps new messages. There is none by default, and none if that version is
    /// disabled or compromised.
    #[must_use]
    pub fn primary(mut self, version: KeyVersion) -> Self {
        self.primary = Some(version);
        self
    }

    /// Has `version`, which was added before, neither wrap nor unwrap.
    #[must_use]
    pub fn disabled(self, version: KeyVersion) -> Self {
        self.in_state(version, VersionState::Disabled)
    }

    /// Marks `version`, which was added before, as one whose key others may have: it unwraps, wraps
    /// nothing, and a rewrap from it has to name it.
    #[must_use]
    pub fn compromised(self, version: KeyVersion) -> Self {
        self.in_state(version, VersionState::Compromised)
    }

    fn with(mut self, number: KeyVersion, key: Pkcs11KeyRef, mac: Option<Pkcs11KeyRef>) -> Self {
        let version = Version { key, mac, state: VersionState::Enabled };
        self.versions.insert(number, version);
        self
    }

    fn in_state(mut self, version: KeyVersion, state: VersionState) -> Self {
        if let Some(version) = self.versions.get_mut(&version) {
            version.state = state;
        }
        self
    }

    /// The records of the versions. There are no dates: whoever made the keys knows them.
    fn keyset(&self) -> Result<Keyset, Error> {
        let record = |(number, version): (&KeyVersion, &Version)| {
            let material = NewMaterial {
                master_key_id: version.key.master_key_id(),
                algorithm: version.algorithm(),
                origin: Origin::Token,
            };
            let mut record = VersionRecord::new(*number, material, Timestamp::UNIX_EPOCH);
            record.state = version.state;
            if self.primary == Some(*number) && version.state == VersionState::Enabled {
                record.state = VersionState::Primary;
            }
            record
        };
        let records: Vec<_> = self.versions.iter().map(record).collect();
        let mut ids: Vec<_> = records.iter().map(|record| record.master_key_id.0).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(Error::KeyMaterial);
        }
        let unknown = self.primary.filter(|primary| !self.versions.contains_key(primary));
        if let Some(version) = unknown {
            return Err(Error::UnknownVersion { key: self.name.clone(), version });
        }
        let last = records.last().map_or(0, |record| record.version.number());
        Keyset::restore(&self.name, last, records)
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

/// A keyring of keys that somebody else put on a token: for tokens that cannot generate keys by
/// this interface, and for keys whose life is managed elsewhere.
///
/// Its versions are configuration, so it has no lifecycle: a rotation is a new key on the token and
/// a new version here, first without and then with being the primary. Nothing is asked of the token
/// before the first wrap or unwrap. All else is as for a
/// [`Pkcs11Keyring`](crate::Pkcs11Keyring).
pub struct Pkcs11ExternalKeyring {
    keys: MasterKeys,
    selection: Selection,
    news: Arc<News>,
}

impl Pkcs11ExternalKeyring {
    /// A keyring of `keys` on `token`.
    ///
    /// # Errors
    ///
    /// [`Error::KeyName`]; [`Error::UnknownVersion`] if the primary is none of the versions;
    /// [`Error::KeyMaterial`] if two versions have one key.
    pub fn new(token: &Pkcs11Token, keys: &Pkcs11ExternalKeys) -> Result<Self, Error> {
        let keyset = keys.keyset()?;
        let mut held = HeldKeys::new();
        for (number, version) in &keys.versions {
            let id = version.key.master_key_id();
            let name = version.name(&keys.name, *number);
            held.insert(id, Arc::new(TokenKey::new(token.0.clone(), name, id)));
        }
        let keysets = Keysets::restore(0, 0, alloc::vec![keyset], BTreeMap::new())?;
        let source = Arc::new(super::source::TokenSource(token.0.clone()));
        let keys = MasterKeys::restore(keysets, held, source);
        let selection =
            Selection::of(keys.keysets.iter().next().map_or("", |it| it.name().as_str()));
        Ok(Pkcs11ExternalKeyring { keys, selection, news: token.0.news.clone() })
    }

    /// The same keys, and versions that are marked compromised are refused.
    #[must_use]
    pub fn refusing_compromised(&self) -> Self {
        let selection = Selection { strict: true, ..self.selection.clone() };
        Pkcs11ExternalKeyring { keys: self.keys.clone(), selection, news: self.news.clone() }
    }

    /// Counts a wrap, if it may be made.
    fn count(&self, context: &WrapContext<'_>) -> Result<(), KeyringError> {
        let (label, key) = self.keys.primary(&self.selection)?;
        key.count(context);
        if key.wrap_limit().is_some() && key.usage().wraps > PROCESS_WRAP_LIMIT {
            key.uncount(context);
            return Err(KeyringError::WrapLimit {
                key: label.name.as_str().into(),
                version: label.version,
                limit: PROCESS_WRAP_LIMIT,
            });
        }
        Ok(())
    }
}

impl Keyring for Pkcs11ExternalKeyring {
    fn primary(&self, visit: &mut dyn FnMut(&PrimaryKey<'_>)) -> Result<(), KeyringError> {
        self.keys.visit_primary(&self.selection, visit)
    }

    fn wrap(
        &self,
        data_key: &DataKey,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.count(context)?;
        let wrapped = self.keys.wrap(&self.selection, data_key, context, slots, rng);
        self.news.publish();
        wrapped
    }

    fn unwrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        let unwrapped = self.keys.unwrap(&self.selection, slot, context, data_key);
        self.news.publish();
        unwrapped
    }

    fn rewrap(
        &self,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        slots: &mut SlotWriter<'_>,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(), KeyringError> {
        self.keys.record(&slot.label, &self.selection)?;
        self.count(context)?;
        let rewrapped = self.keys.rewrap(&self.selection, slot, context, slots, rng);
        self.news.publish();
        rewrapped
    }

    fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        self.keys.freshness(&self.selection, slot)
    }
}

impl fmt::Debug for Pkcs11ExternalKeyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keysets = &self.keys.keysets;
        f.debug_struct("Pkcs11ExternalKeyring").field("keysets", keysets).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyring::held::HeldKey;
    use crate::keyring::software::SoftwareSource;
    use crate::keyset::Usage;
    use crate::{Aad, Envelope};
    use core::sync::atomic::{AtomicU64, Ordering};

    /// Example C of the specification, and the same bytes as an id. By Python's `hashlib`.
    #[test]
    fn a_master_key_id_follows_from_the_name_on_the_token() {
        let expected = MasterKeyId([0x8d, 0xd0, 0x00, 0x6d, 0xfd, 0xb7, 0xeb, 0xb1]);
        assert_eq!(Pkcs11KeyRef::label("orders-2026").master_key_id(), expected);
        assert_eq!(Pkcs11KeyRef::id(*b"orders-2026").master_key_id(), expected);
        assert_ne!(Pkcs11KeyRef::label("orders-2027").master_key_id(), expected);
    }

    #[test]
    fn versions_of_one_key_and_a_primary_that_is_none_are_refused() {
        let [one, two] = [1, 2].map(|number| KeyVersion::new(number).unwrap());
        let label = Pkcs11KeyRef::label;
        let keys = Pkcs11ExternalKeys::new("orders").gcm(one, label("a")).primary(one);
        assert_eq!(keys.keyset().unwrap().primary(), Some(one));
        let twice = keys.clone().cbc_hmac(two, label("a"), label("b"));
        assert!(matches!(twice.keyset(), Err(Error::KeyMaterial)));
        let unknown = keys.primary(two).keyset();
        assert!(matches!(unknown, Err(Error::UnknownVersion { version, .. }) if version == two));
    }

    /// A key that has wrapped as many data keys as it says.
    struct Worn(AtomicU64);

    const ID: MasterKeyId = MasterKeyId([7; 8]);

    impl HeldKey for Worn {
        fn id(&self) -> MasterKeyId {
            ID
        }

        fn algorithm(&self) -> WrapAlgorithm {
            WrapAlgorithm::TOKEN_AES_256_GCM
        }

        fn wrap_limit(&self) -> Option<u64> {
            Some(1 << 32)
        }

        fn usage(&self) -> Usage {
            Usage { wraps: self.0.load(Ordering::Relaxed), bytes: 0 }
        }

        fn count(&self, _: &WrapContext<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }

        fn uncount(&self, _: &WrapContext<'_>) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }

        fn wrap(
            &self,
            _: &DataKey,
            label: &SlotLabel<'_>,
            _: &WrapContext<'_>,
            slots: &mut SlotWriter<'_>,
            _: &mut KeyringRng<'_>,
        ) -> Result<(), KeyringError> {
            slots.push(label, &[1; 60])
        }

        fn unwrap(
            &self,
            _: &Slot<'_>,
            _: &WrapContext<'_>,
            _: &mut DataKey,
        ) -> Result<(), KeyringError> {
            Err(KeyringError::Authentication)
        }
    }

    #[test]
    fn a_process_wraps_no_more_than_its_share_where_nobody_counts() {
        let (label, version) = (Pkcs11KeyRef::label("any"), KeyVersion::FIRST);
        let keys = Pkcs11ExternalKeys::new("orders").gcm(version, label).primary(version);
        let mut keyset = keys.keyset().unwrap();
        keyset.versions_mut().for_each(|record| record.master_key_id = ID);
        let worn = Arc::new(Worn(AtomicU64::new(PROCESS_WRAP_LIMIT - 2)));
        let held = HeldKeys::from([(ID, worn.clone() as Arc<dyn HeldKey>)]);
        let keysets = Keysets::restore(0, 0, alloc::vec![keyset], BTreeMap::new()).unwrap();
        let keys = MasterKeys::restore(keysets, held, Arc::new(SoftwareSource));
        let news = Arc::new(News::new("any".into(), None));
        let keyring = Pkcs11ExternalKeyring { keys, selection: Selection::of("orders"), news };
        let envelope = Envelope::new(&keyring);
        for _ in 0..2 {
            envelope.encrypt(b"row", Aad::none()).unwrap();
        }
        for _ in 0..3 {
            let error = envelope.encrypt(b"row", Aad::none()).unwrap_err();
            let Error::WrapLimit { key, version, limit } = &error else { panic!("{error:?}") };
            let expected = ("orders", KeyVersion::FIRST, 1 << 28);
            assert_eq!((key.as_str(), *version, *limit), expected);
            assert!(!error.is_retryable());
            assert_eq!(worn.usage().wraps, PROCESS_WRAP_LIMIT, "what was refused is not counted");
        }
    }
}
