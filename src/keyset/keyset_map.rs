//! Several named master keys, and the aliases that stand for them.

use super::LifecycleError;
use super::aliases::Alias;
use super::{
    Change, ChangeOptions, ChangeOutcome, Keyset, Material, NewMaterial, Operation, Transition,
};
use super::{VersionState, check_name};
use crate::format::{KeyName, KeyVersion, MasterKeyId};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

/// How many keys are named where none was chosen.
const SOME: usize = 16;

/// The master keys of one keyring: a [`Keyset`] for each name, and aliases.
///
/// Each change takes the next *change number*; whoever holds an older one can have a change
/// refused if another came in between ([`ChangeOptions::if_unchanged_since`]).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeysetMap {
    revision: u64,
    change: u64,
    /// Sorted by name.
    keysets: Vec<Keyset>,
    /// Sorted by name.
    pub(super) aliases: Vec<Alias>,
}

/// Tells what a keyring says of the key material that a change brings: draws or takes it, and
/// keeps it until the change is made.
pub type NewMaterialFn<'a, E> =
    dyn FnMut(KeyName<'_>, KeyVersion, Material<'_>) -> Result<NewMaterial, E> + 'a;

impl KeysetMap {
    /// No master key, revision 0.
    pub const fn new() -> Self {
        KeysetMap { revision: 0, change: 0, keysets: Vec::new(), aliases: Vec::new() }
    }

    /// The master keys that were stored with a revision, and the number of the last change.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::NameTaken`] if two have one name, or an alias is a key's name;
    /// [`LifecycleError::UnknownKey`] if an alias stands for no key; [`LifecycleError::KeyName`].
    pub fn restore(
        revision: u64,
        change: u64,
        keysets: Vec<Keyset>,
        aliases: BTreeMap<String, String>,
    ) -> Result<Self, LifecycleError> {
        let aliases = aliases.into_iter().map(|(name, key)| Alias::new(name, key));
        KeysetMap::of_records(revision, change, keysets, aliases.collect())
    }

    /// Master keys and aliases of records that were stored, as [`restore`](Self::restore).
    pub(crate) fn of_records(
        revision: u64,
        change: u64,
        mut keysets: Vec<Keyset>,
        mut aliases: Vec<Alias>,
    ) -> Result<Self, LifecycleError> {
        keysets.sort_by(|a, b| a.name.cmp(&b.name));
        let twins = keysets.windows(2).find_map(|pair| match pair {
            [a, b] if a.name == b.name => Some(a.name.clone()),
            _ => None,
        });
        if let Some(name) = twins {
            return Err(LifecycleError::NameTaken { name });
        }
        aliases.sort_by(|a, b| a.name.cmp(&b.name));
        let restored = KeysetMap { revision, change, keysets, aliases };
        for Alias { name, key, .. } in &restored.aliases {
            check_name(name)?;
            if restored.position(name).is_some() {
                return Err(LifecycleError::NameTaken { name: name.clone() });
            }
            restored
                .position(key)
                .ok_or_else(|| LifecycleError::UnknownKey { key: key.clone() })?;
        }
        Ok(restored)
    }

    /// Grows with every change, and with every write of a keyring that stores it.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The change number: grows by one with every change of keys, states, names and protections,
    /// and never with usage.
    pub fn change(&self) -> u64 {
        self.change
    }

    /// Every keyset, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Keyset> {
        self.keysets.iter()
    }

    /// The keyset of a key name.
    pub fn keyset(&self, name: &str) -> Option<&Keyset> {
        self.keysets.get(self.position(name)?)
    }

    /// The keyset of a key name or an alias.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownKey`].
    pub fn resolve(&self, name: &str) -> Result<&Keyset, LifecycleError> {
        let position = self.resolve_position(name)?;
        self.keysets.get(position).ok_or_else(|| LifecycleError::UnknownKey { key: name.into() })
    }

    /// The keyset of a key name or an alias, without the reasons of [`resolve`](Self::resolve).
    pub(crate) fn find(&self, name: &str) -> Option<&Keyset> {
        let key = || self.alias(name).map(|alias| alias.key.as_str());
        self.keyset(name).or_else(|| self.keyset(key()?))
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.keysets.binary_search_by(|keyset| keyset.name.as_str().cmp(name)).ok()
    }

    fn resolve_position(&self, name: &str) -> Result<usize, LifecycleError> {
        let found = self.position(name).or_else(|| self.position(&self.alias(name)?.key));
        found.ok_or_else(|| match name {
            // No name of a key: nobody chose one.
            "" if !self.keysets.is_empty() => {
                let names = self.keysets.iter().map(|keyset| keyset.name.as_str().into());
                LifecycleError::NoKeySelected { keys: names.take(SOME).collect() }
            }
            _ => LifecycleError::UnknownKey { key: name.into() },
        })
    }

    pub(super) fn resolve_mut(&mut self, name: &str) -> Result<&mut Keyset, LifecycleError> {
        let position = self.resolve_position(name)?;
        self.keysets
            .get_mut(position)
            .ok_or_else(|| LifecycleError::UnknownKey { key: name.into() })
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Keyset> {
        self.keysets.iter_mut()
    }

    /// Another revision, and a change number that no history before can have come to.
    #[cfg(all(feature = "file", unix))]
    pub(crate) fn set_revision(&mut self, revision: u64) {
        self.revision = revision;
        self.change = revision;
    }

    /// The next revision and the next change; `None` if there is no number left.
    pub(crate) fn count_change(&mut self) -> Option<()> {
        self.touch()?;
        self.change = self.change.checked_add(1)?;
        Some(())
    }

    /// The next revision, which counts usage or the like and is no change; `None` if there is no
    /// number left.
    pub(crate) fn touch(&mut self) -> Option<()> {
        self.revision = self.revision.checked_add(1)?;
        Some(())
    }

    /// Makes all of `changes`, or none: what they come to, and the keysets that have them.
    ///
    /// `material` is asked for the key material of each new version.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::Conflict`] if somebody else made a change meanwhile; [`LifecycleError::UnknownKey`],
    /// [`LifecycleError::NameTaken`], [`LifecycleError::KeyName`], [`LifecycleError::Label`], [`LifecycleError::Key`],
    /// [`LifecycleError::ChangeNumber`]; [`LifecycleError::KeyMaterial`] if
    /// material is there already; those of [`Keyset::add`] and [`Keyset::apply`], and of
    /// `material`.
    pub fn with_changes<E: From<LifecycleError>>(
        &self,
        changes: &[Change<'_>],
        options: &ChangeOptions,
        material: &mut NewMaterialFn<'_, E>,
    ) -> Result<(KeysetMap, ChangeOutcome), E> {
        // A change that is yet to come is none of this history's.
        if let Some(expected) = options.unchanged_since().filter(|since| *since != self.change) {
            return Err(LifecycleError::Conflict { expected, found: self.change }.into());
        }
        let mut work =
            Work { keysets: self.clone(), transitions: Vec::new(), options: *options, ids: None };
        for change in changes {
            work.make(change, material)?;
        }
        let Work { mut keysets, transitions, .. } = work;
        keysets.count_change().ok_or(LifecycleError::ChangeNumber)?;
        keysets.note_changed(self);
        let changed = ChangeOutcome::new(keysets.change, transitions);
        Ok((keysets, changed))
    }

    /// Notes the change number on each record that differs from that of `before`.
    fn note_changed(&mut self, before: &KeysetMap) {
        let change = self.change;
        for keyset in &mut self.keysets {
            keyset.note_changed(before.keyset(&keyset.name), change);
        }
        for alias in &mut self.aliases {
            alias.changed = match before.alias(&alias.name) {
                Some(before) if before.is_same(alias) => before.changed,
                _ => change,
            };
        }
    }
}

/// Changes under way, on a copy.
pub(super) struct Work {
    pub(super) keysets: KeysetMap,
    pub(super) transitions: Vec<Transition>,
    pub(super) options: ChangeOptions,
    /// Every id on record, once a version is added.
    ids: Option<BTreeSet<MasterKeyId>>,
}

impl Work {
    fn make<E: From<LifecycleError>>(
        &mut self,
        change: &Change<'_>,
        material: &mut NewMaterialFn<'_, E>,
    ) -> Result<(), E> {
        match *change {
            Change::CreateKey { key, version, material: source } => {
                self.create(key)?;
                self.add(key, Some(version), source, material)?;
                self.apply(key, version, Operation::Promote)?;
            }
            Change::AddVersion { key, version, material: source } => {
                self.add(key, version, source, material)?;
            }
            Change::Rotate { key } => {
                let version = self.add(key, None, Material::Fresh, material)?;
                self.apply(key, version, Operation::Promote)?;
            }
            Change::Version { key, version, operation } => self.apply(key, version, operation)?,
            Change::RemoveRecords { key, through } => self.remove_records(key, through)?,
            Change::EraseKey { key } => self.erase(key)?,
            Change::SetAlias { alias, key } => self.set_alias(alias, key)?,
            Change::RemoveAlias { alias } => self.remove_alias(alias)?,
            Change::SetLabel { key, version, name, value } => {
                self.set_label(key, version, name, value)?;
            }
            Change::Hold { key, version, reason } => {
                let hold = self.note("hold", reason)?;
                self.set_hold(key, version, Some(hold))?;
            }
            Change::Release { key, version } => self.set_hold(key, version, None)?,
            Change::RequireEvidence { key } => self.set_evidence(key, None)?,
            Change::WaiveEvidence { key, reason } => {
                let waived = self.note("evidence", reason)?;
                self.set_evidence(key, Some(waived))?;
            }
            Change::CorrectDates { key } => self.correct_dates(key)?,
        }
        Ok(())
    }

    fn create(&mut self, key: &str) -> Result<(), LifecycleError> {
        let keyset = Keyset::new(key)?;
        if self.keysets.resolve_position(key).is_ok() {
            return Err(LifecycleError::NameTaken { name: key.into() });
        }
        let keysets = &mut self.keysets.keysets;
        let place = keysets.partition_point(|other| other.name.as_str() < key);
        keysets.insert(place, keyset);
        Ok(())
    }

    fn add<E: From<LifecycleError>>(
        &mut self,
        key: &str,
        version: Option<KeyVersion>,
        source: Material<'_>,
        material: &mut NewMaterialFn<'_, E>,
    ) -> Result<KeyVersion, E> {
        let keyset = self.keysets.resolve(key)?;
        let version = match version {
            Some(version) => version,
            None => keyset.next_version()?,
        };
        // Before any material is made for it.
        keyset.check_free(version)?;
        let new = material(keyset.name(), version, source)?;
        // Those of destroyed and removed versions too: what was destroyed does not come back under
        // another number.
        let records = self.keysets.keysets.iter().flat_map(Keyset::ids);
        let ids = self.ids.get_or_insert_with(|| records.collect());
        if !ids.insert(new.master_key_id) {
            return Err(LifecycleError::KeyMaterial.into());
        }
        let now = self.options.now();
        let keyset = self.keysets.resolve_mut(key)?;
        keyset.add(version, new, now)?;
        let key = keyset.name.clone();
        self.transitions.push(Transition::Added { key, version });
        Ok(version)
    }

    fn apply(
        &mut self,
        key: &str,
        version: KeyVersion,
        operation: Operation,
    ) -> Result<(), LifecycleError> {
        let options = self.options;
        let keyset = self.keysets.resolve_mut(key)?;
        let state = |keyset: &Keyset, version| keyset.version(version).map(|found| found.state);
        let before = [keyset.primary().filter(|former| *former != version), Some(version)];
        let before = before.map(|version| Some((version?, state(keyset, version?)?)));
        keyset.apply(version, operation, &options)?;
        let states = before.into_iter().flatten();
        for (version, from) in states {
            let to = state(keyset, version).unwrap_or(VersionState::Destroyed);
            if from != to {
                let key = keyset.name.clone();
                self.transitions.push(Transition::State { key, version, from, to });
            }
        }
        Ok(())
    }

    fn set_label(
        &mut self,
        key: &str,
        version: KeyVersion,
        name: &str,
        value: Option<&str>,
    ) -> Result<(), LifecycleError> {
        let keyset = self.keysets.resolve_mut(key)?;
        let key = keyset.name.clone();
        let missing = keyset.no_record(version);
        keyset
            .version_mut(version)
            .ok_or(missing)?
            .labels
            .set(name, value)
            .map_err(|fault| LifecycleError::Label { name: name.into(), fault })?;
        self.transitions.push(Transition::Label { key, version });
        Ok(())
    }
}
