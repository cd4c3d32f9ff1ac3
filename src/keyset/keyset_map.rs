//! The named master keys of a keyring, and their aliases.

#![expect(clippy::indexing_slicing, reason = "positions that were found in the same list")]

use super::aliases::Alias;
use super::transaction::Transaction;
use super::{
    Change, ChangeOptions, ChangeOutcome, Keyset, LifecycleError, Material, NewMaterial, check_name,
};
use crate::format::{KeyName, KeyVersion};
use crate::wiped::clear_stack;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

/// Maximum number of key names in an error.
const MAX_NAMES: usize = 16;

/// The master keys of one keyring: a [`Keyset`] for each name, and aliases.
///
/// Each change takes the next *change number*. [`ChangeOptions::if_unchanged_since`] makes a change fail
/// if another came in between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeysetMap {
    revision: u64,
    change: u64,
    /// Sorted by name.
    keysets: Vec<Keyset>,
    /// Sorted by name.
    pub(super) aliases: Vec<Alias>,
}

/// Callback of a keyring that generates or imports the key material of a new version and describes it.
/// The keyring keeps the material until the change is made.
pub type NewMaterialFn<'a, E> =
    dyn FnMut(KeyName<'_>, KeyVersion, Material<'_>) -> Result<NewMaterial, E> + 'a;

impl KeysetMap {
    /// Returns a map without keys, revision 0.
    pub const fn new() -> Self {
        KeysetMap { revision: 0, change: 0, keysets: Vec::new(), aliases: Vec::new() }
    }

    /// Returns stored master keys and aliases (alias to key name) with their revision and change number.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::NameTaken`] if two keys have one name or an alias is the name of a key,
    /// [`LifecycleError::UnknownKey`] if the key of an alias is missing, [`LifecycleError::KeyName`] if
    /// an alias is no valid name.
    pub fn restore(
        revision: u64,
        change: u64,
        keysets: Vec<Keyset>,
        aliases: BTreeMap<String, String>,
    ) -> Result<Self, LifecycleError> {
        let aliases = aliases.into_iter().map(|(name, key)| Alias::new(name, key));
        KeysetMap::of_records(revision, change, keysets, aliases.collect())
    }

    /// [`restore`](Self::restore) from complete alias records.
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
            if restored.keyset(name).is_some() {
                return Err(LifecycleError::NameTaken { name: name.clone() });
            }
            restored.keyset(key).ok_or_else(|| LifecycleError::UnknownKey { key: key.clone() })?;
        }
        Ok(restored)
    }

    /// Returns the revision, which grows with every change and with every write of a key file.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Returns the change number, which grows by one with every change of keys, states, names and
    /// protections, and not with usage.
    pub fn change(&self) -> u64 {
        self.change
    }

    /// Returns every keyset in order of name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Keyset> {
        self.keysets.iter()
    }

    /// Returns the keyset of a key name.
    pub fn keyset(&self, name: &str) -> Option<&Keyset> {
        self.keysets.get(self.position(name.as_bytes())?)
    }

    /// Returns the keyset of the key name of a slot.
    pub(crate) fn named(&self, name: KeyName<'_>) -> Option<&Keyset> {
        self.keysets.get(self.position(name.as_bytes())?)
    }

    /// Returns the keyset of a key name or an alias.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::UnknownKey`] if there is none, [`LifecycleError::NoKeySelected`] if `name` is
    /// empty and there are keys.
    pub fn resolve(&self, name: &str) -> Result<&Keyset, LifecycleError> {
        Ok(&self.keysets[self.resolve_position(name)?])
    }

    /// [`resolve`](Self::resolve) without an error value.
    pub(crate) fn find(&self, name: &str) -> Option<&Keyset> {
        let key = || self.alias(name).map(|alias| alias.key.as_str());
        self.keyset(name).or_else(|| self.keyset(key()?))
    }

    fn position(&self, name: &[u8]) -> Option<usize> {
        self.keysets.binary_search_by(|keyset| keyset.name.as_bytes().cmp(name)).ok()
    }

    fn resolve_position(&self, name: &str) -> Result<usize, LifecycleError> {
        let position = |name: &str| self.position(name.as_bytes());
        let found = position(name).or_else(|| position(&self.alias(name)?.key));
        found.ok_or_else(|| match name {
            // An empty name selects no key.
            "" if !self.keysets.is_empty() => {
                let names = self.keysets.iter().map(|keyset| keyset.name.as_str().into());
                LifecycleError::NoKeySelected { keys: names.take(MAX_NAMES).collect() }
            }
            _ => LifecycleError::UnknownKey { key: name.into() },
        })
    }

    pub(super) fn resolve_mut(&mut self, name: &str) -> Result<&mut Keyset, LifecycleError> {
        let position = self.resolve_position(name)?;
        Ok(&mut self.keysets[position])
    }

    /// Inserts the keyset of a new name.
    pub(super) fn insert(&mut self, keyset: Keyset) -> Result<(), LifecycleError> {
        if self.resolve_position(&keyset.name).is_ok() {
            return Err(LifecycleError::NameTaken { name: keyset.name });
        }
        let position = self.keysets.partition_point(|other| other.name < keyset.name);
        self.keysets.insert(position, keyset);
        Ok(())
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Keyset> {
        self.keysets.iter_mut()
    }

    /// Sets the revision, and the change number to the same: no earlier history has reached that number.
    #[cfg(all(feature = "file", unix))]
    pub(crate) fn set_revision(&mut self, revision: u64) {
        self.revision = revision;
        self.change = revision;
    }

    /// Takes the next revision and change number. Returns `None` if the numbers are exhausted.
    pub(crate) fn count_change(&mut self) -> Option<()> {
        self.touch()?;
        self.change = self.change.checked_add(1)?;
        Some(())
    }

    /// Takes the next revision for a write without a change, such as usage. Returns `None` if the
    /// numbers are exhausted.
    pub(crate) fn touch(&mut self) -> Option<()> {
        self.revision = self.revision.checked_add(1)?;
        Some(())
    }

    /// Returns a copy with all of `changes` made, and their outcome.
    ///
    /// `material` supplies the key material of each new version.
    ///
    /// # Errors
    ///
    /// [`LifecycleError::Conflict`] if another change came in between, [`LifecycleError::KeyMaterial`] if
    /// material is on record already, [`LifecycleError::ChangeNumber`] if the numbers are exhausted, the
    /// errors of [`Keyset::add`], [`Keyset::apply`], [`Keyset::remove_records`] and [`Keyset::erase`],
    /// [`LifecycleError::UnknownKey`], [`LifecycleError::NameTaken`], [`LifecycleError::KeyName`] and
    /// [`LifecycleError::Label`] for invalid arguments, and the errors of `material`.
    pub fn with_changes<E: From<LifecycleError>>(
        &self,
        changes: &[Change<'_>],
        options: &ChangeOptions,
        material: &mut NewMaterialFn<'_, E>,
    ) -> Result<(KeysetMap, ChangeOutcome), E> {
        // A future change number cannot belong to this history.
        if let Some(expected) = options.unchanged_since().filter(|since| *since != self.change) {
            return Err(LifecycleError::Conflict { expected, found: self.change }.into());
        }
        clear_stack();
        let mut transaction = Transaction::new(self.clone(), *options);
        for change in changes {
            transaction.make(change, material)?;
        }
        let Transaction { mut keysets, transitions, .. } = transaction;
        keysets.count_change().ok_or(LifecycleError::ChangeNumber)?;
        keysets.set_changed(self);
        let changed = ChangeOutcome::new(keysets.change, transitions);
        Ok((keysets, changed))
    }

    /// Sets the change number of each record that differs from `before`.
    fn set_changed(&mut self, before: &KeysetMap) {
        let change = self.change;
        for keyset in &mut self.keysets {
            keyset.set_changed(before.keyset(&keyset.name), change);
        }
        for alias in &mut self.aliases {
            alias.changed = match before.alias(&alias.name) {
                Some(before) if before.is_same(alias) => before.changed,
                _ => change,
            };
        }
    }
}
