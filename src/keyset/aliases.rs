//! Aliases: names that stand for a master key, and the keys that they stood for.

use super::change::Transition;
use super::check_name;
use super::keyset_map::{KeysetMap, Work};
use super::{KeyFault, LifecycleError};
use alloc::string::String;
use alloc::vec::Vec;
use core::mem;

/// Most keys that an alias keeps in mind: a quarter of a line of a key file.
pub(crate) const MAX_FORMER_KEYS: usize = 256;

/// A name that stands for a master key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alias {
    pub(crate) name: String,
    pub(crate) key: String,
    /// The keys that it stood for before, the last one last.
    pub(crate) former: Vec<String>,
    /// The number of its last change; 0 if that is not known.
    pub(crate) changed: u64,
}

impl Alias {
    /// An alias that stood for no other key.
    pub(crate) fn new(name: String, key: String) -> Self {
        Alias { name, key, former: Vec::new(), changed: 0 }
    }

    /// Whether it stands for the same keys as another.
    pub(crate) fn is_same(&self, other: &Alias) -> bool {
        (&self.key, &self.former) == (&other.key, &other.former)
    }

    /// Has it stand for `key`: the one that it stood for.
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
    /// Every alias with the name of the key that it stands for.
    pub fn aliases(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.aliases.iter().map(|alias| (alias.name.as_str(), alias.key.as_str()))
    }

    /// The keys that `alias` stood for since it was set, the last one last, without the one that it
    /// stands for. A keyring that is confined to an alias opens their messages too.
    pub fn former_keys(&self, alias: &str) -> impl Iterator<Item = &str> {
        self.alias(alias).into_iter().flat_map(|alias| alias.former.iter().map(String::as_str))
    }

    /// The number of the last change of `alias`; 0 if that is not known.
    pub fn alias_changed(&self, alias: &str) -> u64 {
        self.alias(alias).map_or(0, |alias| alias.changed)
    }

    /// The record of every alias.
    #[cfg(all(feature = "file", unix))]
    pub(crate) fn alias_records(&self) -> &[Alias] {
        &self.aliases
    }

    pub(crate) fn alias(&self, name: &str) -> Option<&Alias> {
        self.aliases.get(self.alias_position(name).ok()?)
    }

    /// Where an alias is, or would be.
    fn alias_position(&self, name: &str) -> Result<usize, usize> {
        self.aliases.binary_search_by(|alias| alias.name.as_str().cmp(name))
    }
}

impl Work {
    pub(super) fn set_alias(&mut self, alias: &str, key: &str) -> Result<(), LifecycleError> {
        check_name(alias)?;
        if self.keysets.keyset(alias).is_some() {
            return Err(LifecycleError::NameTaken { name: alias.into() });
        }
        let keyset = self.keysets.resolve(key)?;
        keyset.check_not_erased()?;
        let key: String = keyset.name.clone();
        let aliases = self.keysets.alias_position(alias);
        let from = match aliases.map(|at| self.keysets.aliases.get_mut(at)) {
            Ok(known) => known.map(|known| known.move_to(key.clone())).transpose()?,
            Err(at) => {
                self.keysets.aliases.insert(at, Alias::new(alias.into(), key.clone()));
                None
            }
        };
        self.transitions.push(Transition::Alias { alias: alias.into(), from, to: Some(key) });
        Ok(())
    }

    pub(super) fn remove_alias(&mut self, alias: &str) -> Result<(), LifecycleError> {
        let position = self.keysets.alias_position(alias);
        let at = position.map_err(|_| LifecycleError::UnknownKey { key: alias.into() })?;
        let Alias { name, key, .. } = self.keysets.aliases.remove(at);
        self.transitions.push(Transition::Alias { alias: name, from: Some(key), to: None });
        Ok(())
    }
}
