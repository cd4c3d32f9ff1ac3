//! Aliases of master keys, with the former keys of each.

#![expect(clippy::indexing_slicing, reason = "a position that was found in the same list")]

use super::{KeyFault, KeysetMap, LifecycleError, Transition, check_name};
use alloc::string::String;
use alloc::vec::Vec;
use core::mem;

/// Maximum number of former keys of an alias: a quarter of a line of a key file.
pub(crate) const MAX_FORMER_KEYS: usize = 256;

/// An alias of a master key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alias {
    pub(crate) name: String,
    pub(crate) key: String,
    /// The former keys, the latest last.
    pub(crate) former: Vec<String>,
    /// The number of its last change, or 0 if unknown.
    pub(crate) changed: u64,
}

impl Alias {
    /// Returns an alias without former keys.
    pub(crate) fn new(name: String, key: String) -> Self {
        Alias { name, key, former: Vec::new(), changed: 0 }
    }

    /// Returns whether both have the same key and the same former keys.
    pub(crate) fn is_same(&self, other: &Alias) -> bool {
        (&self.key, &self.former) == (&other.key, &other.former)
    }

    /// Makes it an alias of `key` and returns the key before.
    fn move_to(&mut self, key: String) -> Result<String, LifecycleError> {
        if self.key == key {
            return Ok(key);
        }
        self.former.retain(|former| *former != key);
        if self.former.len() >= MAX_FORMER_KEYS {
            let (key, fault) = (self.name.clone(), KeyFault::FormerKeys);
            return Err(LifecycleError::Key { key, fault });
        }
        let former = mem::replace(&mut self.key, key);
        self.former.push(former.clone());
        Ok(former)
    }
}

impl KeysetMap {
    /// Returns every alias with the name of its key.
    pub fn aliases(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.aliases.iter().map(|alias| (alias.name.as_str(), alias.key.as_str()))
    }

    /// Returns the former keys of `alias`, the latest last. A keyring that is confined to an alias opens
    /// their messages as well.
    pub fn former_keys(&self, alias: &str) -> impl Iterator<Item = &str> {
        self.alias(alias).into_iter().flat_map(|alias| alias.former.iter().map(String::as_str))
    }

    /// Returns the number of the last change of `alias`, or 0 if unknown.
    pub fn alias_changed(&self, alias: &str) -> u64 {
        self.alias(alias).map_or(0, |alias| alias.changed)
    }

    /// Returns the record of every alias.
    #[cfg(all(feature = "file", unix))]
    pub(crate) fn alias_records(&self) -> &[Alias] {
        &self.aliases
    }

    pub(crate) fn alias(&self, name: &str) -> Option<&Alias> {
        self.aliases.get(self.alias_position(name).ok()?)
    }

    /// Returns the position of an alias, or the position to insert it at.
    fn alias_position(&self, name: &str) -> Result<usize, usize> {
        self.aliases.binary_search_by(|alias| alias.name.as_str().cmp(name))
    }

    /// Makes `alias` an alias of `key`.
    pub(super) fn set_alias(
        &mut self,
        alias: &str,
        key: &str,
    ) -> Result<Transition, LifecycleError> {
        check_name(alias)?;
        if self.keyset(alias).is_some() {
            return Err(LifecycleError::NameTaken { name: alias.into() });
        }
        let keyset = self.resolve(key)?;
        keyset.check_not_erased()?;
        let key = keyset.name.clone();
        let from = match self.alias_position(alias) {
            Ok(at) => Some(self.aliases[at].move_to(key.clone())?),
            Err(at) => {
                self.aliases.insert(at, Alias::new(alias.into(), key.clone()));
                None
            }
        };
        Ok(Transition::Alias { alias: alias.into(), from, to: Some(key) })
    }

    /// Removes `alias` with its former keys.
    pub(super) fn remove_alias(&mut self, alias: &str) -> Result<Transition, LifecycleError> {
        let position = self.alias_position(alias);
        let at = position.map_err(|_| LifecycleError::UnknownKey { key: alias.into() })?;
        let Alias { name, key, .. } = self.aliases.remove(at);
        Ok(Transition::Alias { alias: name, from: Some(key), to: None })
    }
}
