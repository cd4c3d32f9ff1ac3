//! A table of master keys and their versions, shared by all keyrings with records.

use super::wrapping_key::{CreatedKey, CreatedVersion, KeyMaterialStore, WrappingKey};
use super::{Freshness, KeyringError, PrimaryKey, Refusal, WrapContext};
use crate::crypto::secret::{DataKey, MasterKey};
use crate::error::Error;
use crate::format::{KeyName, KeyVersion, MasterKeyId, Slot, SlotLabel};
use crate::keyset::{
    Change, ChangeOptions, ChangeOutcome, Keyset, KeysetMap, LifecycleError, Material, Transition,
    VersionRecord, VersionState,
};
use crate::random::KeyringRng;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The master keys that a keyring uses.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    /// Name or alias of the master key that wraps.
    pub(super) key: String,
    /// Whether it is the only one that unwraps.
    pub(super) only: bool,
    /// Whether compromised versions are refused.
    pub(super) strict: bool,
}

impl Selection {
    pub(super) fn of(key: &str) -> Self {
        Selection { key: key.into(), only: false, strict: false }
    }
}

/// Keys by id: no two versions of a keyring have the same material.
pub(super) type WrappingKeys = BTreeMap<MasterKeyId, Arc<dyn WrappingKey>>;

/// The records of the master keys, the keys of the versions that are not destroyed, and the store of
/// their material.
#[derive(Clone)]
pub(super) struct MasterKeys {
    pub(super) keysets: KeysetMap,
    keys: WrappingKeys,
    source: Arc<dyn KeyMaterialStore>,
}

/// The key material that a change added.
#[derive(Default)]
pub(super) struct NewKeys {
    /// Every version whose material was made, for [`MasterKeys::discard`].
    pub(super) made: Vec<CreatedVersion>,
    /// The material that is to be stored.
    pub(super) stored: Vec<(MasterKeyId, MasterKey)>,
}

impl MasterKeys {
    /// No master key yet.
    pub(super) fn new(source: Arc<dyn KeyMaterialStore>) -> Self {
        MasterKeys { keysets: KeysetMap::new(), keys: WrappingKeys::new(), source }
    }

    /// Keys that were stored. A record whose material is not among `keys` is refused as
    /// destroyed.
    #[cfg(all(feature = "file", unix))]
    pub(super) fn restore(
        keysets: KeysetMap,
        keys: WrappingKeys,
        source: Arc<dyn KeyMaterialStore>,
    ) -> Self {
        MasterKeys { keysets, keys, source }
    }

    /// Every key, by id.
    #[cfg(all(feature = "file", unix))]
    pub(super) fn all(&self) -> &WrappingKeys {
        &self.keys
    }

    /// The store of the material.
    #[cfg(all(feature = "file", unix))]
    pub(super) fn source(&self) -> &Arc<dyn KeyMaterialStore> {
        &self.source
    }

    /// The key of an id.
    pub(super) fn key(&self, id: MasterKeyId) -> Option<&Arc<dyn WrappingKey>> {
        self.keys.get(&id)
    }

    /// The key of a record that is not destroyed.
    fn key_of(&self, record: &VersionRecord) -> Result<&Arc<dyn WrappingKey>, KeyringError> {
        let key = self.key(record.master_key_id);
        key.ok_or_else(|| KeyringError::Refused(Refusal::Destroyed))
    }

    /// The keysets with the usage since the keys were loaded.
    pub(super) fn keysets_with_usage(&self) -> KeysetMap {
        let mut keysets = self.keysets.clone();
        for record in keysets.iter_mut().flat_map(Keyset::versions_mut) {
            if let Some(key) = self.key(record.master_key_id) {
                record.usage = record.usage.plus(key.counts().used());
            }
        }
        keysets
    }

    /// Records the usage of versions that were destroyed since `before`, whose counters go with their
    /// keys; for a keyring that records usage nowhere else.
    pub(super) fn keep_usage_of_destroyed(&mut self, before: &MasterKeys) {
        let keys = &self.keys;
        for record in self.keysets.iter_mut().flat_map(Keyset::versions_mut) {
            let id = record.master_key_id;
            if let Some(key) = before.key(id).filter(|_| !keys.contains_key(&id)) {
                record.usage = record.usage.plus(key.counts().used());
            }
        }
    }

    /// The keyset that wraps for `selection`.
    fn selected(&self, selection: &Selection) -> Result<&Keyset, KeyringError> {
        self.keysets.resolve(&selection.key).map_err(|error| match error {
            LifecycleError::NoKeySelected { keys } => KeyringError::NoKeySelected { keys },
            _ => KeyringError::UnknownKey { key: selection.key.clone() },
        })
    }

    /// Whether `selection` uses `keyset`: it uses all, or names this one, or names an alias that
    /// stood for it.
    fn uses(&self, selection: &Selection, keyset: &Keyset) -> bool {
        let name = keyset.name();
        !selection.only
            || self.selected(selection).is_ok_and(|selected| selected.name() == name)
            || self.keysets.former_keys(&selection.key).any(|former| former == name.as_str())
    }

    /// The keyset of the master key `name`, if `selection` uses it.
    fn named(&self, selection: &Selection, name: KeyName<'_>) -> Option<&Keyset> {
        self.keysets.named(name).filter(|keyset| self.uses(selection, keyset))
    }

    /// The label and the key of the primary of `keyset`.
    fn primary_of<'k>(
        &'k self,
        keyset: &'k Keyset,
    ) -> Result<(SlotLabel<'k>, &'k Arc<dyn WrappingKey>), KeyringError> {
        let record = keyset.primary_record().ok_or_else(|| KeyringError::NoPrimary)?;
        let key = self.key_of(record)?;
        let label = SlotLabel {
            name: keyset.name(),
            version: record.version,
            master_key_id: record.master_key_id,
            algorithm: record.algorithm,
        };
        Ok((label, key))
    }

    /// The label and the key of the primary of the master key `name`, or of the selected one.
    pub(super) fn primary(
        &self,
        selection: &Selection,
        name: Option<KeyName<'_>>,
    ) -> Result<(SlotLabel<'_>, &Arc<dyn WrappingKey>), KeyringError> {
        let unknown = |name: KeyName<'_>| KeyringError::UnknownKey { key: name.as_str().into() };
        self.primary_of(match name {
            Some(name) => self.named(selection, name).ok_or_else(|| unknown(name))?,
            None => self.selected(selection)?,
        })
    }

    /// See [`Keyring::holds`](super::Keyring::holds).
    pub(super) fn holds(
        &self,
        selection: &Selection,
        name: KeyName<'_>,
        visit: &mut dyn FnMut(KeyName<'_>),
    ) {
        let keyset = self.keysets.find(name.as_str());
        if let Some(keyset) = keyset.filter(|keyset| self.uses(selection, keyset)) {
            visit(keyset.name());
        }
    }

    /// The record of a slot, or why there is none to be used (SPEC O-MINE, O-STATES).
    pub(super) fn record(
        &self,
        label: &SlotLabel<'_>,
        selection: &Selection,
    ) -> Result<&VersionRecord, KeyringError> {
        let keyset = self.named(selection, label.name).ok_or_else(|| KeyringError::NotMine)?;
        let Some(record) = keyset.version(label.version) else {
            if !self.source.can_make(label.algorithm) {
                return Err(KeyringError::NotMine);
            }
            // SPEC O-NOFALLBACK
            return Err(match keyset.was_destroyed(label.version, label.master_key_id) {
                Some(false) => KeyringError::NotMine,
                Some(true) => KeyringError::Refused(Refusal::Destroyed),
                None => KeyringError::Refused(Refusal::UnknownVersion),
            });
        };
        // SPEC W-ONE: another algorithm belongs to another key, even under a known version. So does
        // other material under the same label: of another environment, or of a restored backup.
        if (record.algorithm, record.master_key_id) != (label.algorithm, label.master_key_id) {
            return Err(KeyringError::NotMine);
        }
        if let Some(refusal) = record.state.unwrap_refusal() {
            return Err(KeyringError::Refused(refusal));
        }
        if selection.strict && record.state == VersionState::Compromised {
            return Err(KeyringError::Refused(Refusal::Compromised));
        }
        Ok(record)
    }

    /// See [`Keyring::visit_primaries`](super::Keyring::visit_primaries).
    pub(super) fn visit_primary(
        &self,
        selection: &Selection,
        visit: &mut dyn FnMut(&PrimaryKey<'_>),
    ) -> Result<(), KeyringError> {
        let (label, _) = self.primary(selection, None)?;
        visit(&PrimaryKey { label, max_wrapped_key_len: None });
        Ok(())
    }

    /// See [`Keyring::unwrap`](super::Keyring::unwrap).
    pub(super) fn unwrap(
        &self,
        selection: &Selection,
        slot: &Slot<'_>,
        context: &WrapContext<'_>,
        data_key: &mut DataKey,
    ) -> Result<(), KeyringError> {
        let record = self.record(&slot.label, selection)?;
        self.key_of(record)?.unwrap(slot, context, data_key)
    }

    /// See [`Keyring::freshness`](super::Keyring::freshness).
    pub(super) fn freshness(
        &self,
        selection: &Selection,
        slot: &SlotLabel<'_>,
    ) -> Result<Freshness, KeyringError> {
        match self.record(slot, selection) {
            Ok(record) => Ok(match record.state {
                VersionState::Primary => Freshness::Primary,
                VersionState::Compromised => Freshness::Compromised,
                _ => Freshness::Stale,
            }),
            Err(KeyringError::NotMine) => Ok(Freshness::NotMine),
            Err(KeyringError::Refused(refusal)) => Ok(Freshness::Refused(refusal)),
            Err(error) => Err(error),
        }
    }

    /// The keys with all of `changes`, and what they bring. If the change is not made in the end,
    /// that is for [`discard`](Self::discard).
    ///
    /// # Errors
    ///
    /// Those of [`KeysetMap::with_changes`] and [`KeyMaterialStore::make`]. Key material for earlier
    /// changes is discarded.
    pub(super) fn with_changes(
        &self,
        changes: &[Change<'_>],
        options: &ChangeOptions,
        rng: &mut KeyringRng<'_>,
    ) -> Result<(MasterKeys, ChangeOutcome, NewKeys), Error> {
        let mut new = NewKeys::default();
        let mut keys = self.keys.clone();
        let mut make = |name: KeyName<'_>, version: KeyVersion, material: Material<'_>| {
            let CreatedKey { key, material, stored } =
                self.source.make(name, version, material, &mut *rng)?;
            let id = material.master_key_id;
            // Material that is on record already is another version's too: it is never discarded.
            if !self.is_on_record(id) {
                new.made.push(CreatedVersion { name: name.as_str().into(), version, material });
            }
            keys.entry(id).or_insert(key);
            new.stored.extend(stored.map(|stored| (id, stored)));
            Ok(material)
        };
        let changed = self.keysets.with_changes::<Error>(changes, options, &mut make);
        let (keysets, changed) = changed.inspect_err(|_| self.discard(&new))?;
        let is_destroyed = |transition: &Transition| {
            matches!(transition, Transition::State { to: VersionState::Destroyed, .. })
        };
        if changed.transitions.iter().any(is_destroyed) {
            let records = keysets.iter().flat_map(Keyset::versions);
            let live = records.filter(|record| record.state != VersionState::Destroyed);
            let live: BTreeSet<_> = live.map(|record| record.master_key_id).collect();
            keys.retain(|id, _| live.contains(id));
            new.stored.retain(|(id, _)| live.contains(id));
        }
        Ok((MasterKeys { keysets, keys, source: self.source.clone() }, changed, new))
    }

    fn is_on_record(&self, id: MasterKeyId) -> bool {
        self.keysets.iter().flat_map(Keyset::versions).any(|record| record.master_key_id == id)
    }

    /// Has the source forget what was made for a change to these keys that is not made.
    pub(super) fn discard(&self, new: &NewKeys) {
        if !new.made.is_empty() {
            self.source.discard(&new.made);
        }
    }
}
