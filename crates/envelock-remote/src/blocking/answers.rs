//! What a keyring that may block has told about its keys.

use crate::call::lock;
use envelock::format::{OwnedSlot, Slot};
use envelock::keyring::{Freshness, KeyringError, PrimaryKey};
use envelock::{KeyName, Keyring, SlotLabel};
use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::mem;
use std::sync::{Arc, Mutex};

/// At least so many labels and names are remembered, and at most twice as many.
const ROOM: usize = 8192;

/// The number of a load: one that begins after another has ended has the higher number.
pub(super) type Load = u64;

/// The answer to a question of the keyring.
type Answer<T> = Result<T, KeyringError>;

/// The keys that a name stands for.
type Keys = Arc<[Box<str>]>;

/// Returns `label` without a borrow.
pub(super) fn owned_label(label: &SlotLabel<'_>) -> OwnedSlot {
    OwnedSlot::from(&Slot { label: *label, wrapped_key: &[] })
}

/// A slot that a wrap writes.
struct Primary {
    label: OwnedSlot,
    max_wrapped_key_len: Option<usize>,
}

/// The answers in memory.
#[derive(Default)]
pub(super) struct Answers(Mutex<Known>);

#[derive(Default)]
struct Known {
    last_load: Load,
    primaries: Option<(Load, Answer<Arc<[Primary]>>)>,
    freshness: Recent<Vec<u8>, Answer<Freshness>>,
    names: Recent<Box<str>, Answer<Keys>>,
}

/// The keyring was asked without a load before.
#[derive(Debug, thiserror::Error)]
#[error("{0} is not loaded: await `prepare` first")]
struct NotLoaded(String);

/// The keyring was asked for a name that no load includes.
#[derive(Debug, thiserror::Error)]
#[error("key name {0} is not loaded: name it by `BlockingBuilder::also_loads`")]
struct NameNotLoaded(String);

impl Answers {
    /// Asks `keyring` for its primaries, the states of `labels`, and the keys that `names` and those of `labels`
    /// stand for.
    pub(super) fn load<K: Keyring>(&self, keyring: &K, labels: &[OwnedSlot], names: &[Box<str>]) {
        let load = self.begin();
        self.keep(load, Loaded::from(keyring, labels, names));
    }

    fn begin(&self) -> Load {
        let mut known = lock(&self.0);
        known.last_load += 1;
        known.last_load
    }

    /// Keeps what was loaded, except where a load that began later has ended before.
    fn keep(&self, load: Load, Loaded { primaries, freshness, names }: Loaded) {
        let mut known = lock(&self.0);
        if known.primaries.as_ref().is_none_or(|(of, _)| *of < load) {
            known.primaries = Some((load, primaries));
        }
        freshness.into_iter().for_each(|(label, answer)| known.freshness.put(label, load, answer));
        names.into_iter().for_each(|(name, answer)| known.names.put(name, load, answer));
    }

    pub(super) fn visit_primaries(
        &self,
        visit: &mut dyn FnMut(&PrimaryKey<'_>),
    ) -> Result<(), KeyringError> {
        for Primary { label, max_wrapped_key_len } in &*self.primaries()? {
            visit(&PrimaryKey { label: label.label(), max_wrapped_key_len: *max_wrapped_key_len });
        }
        Ok(())
    }

    pub(super) fn holds(
        &self,
        name: KeyName<'_>,
        visit: &mut dyn FnMut(KeyName<'_>),
    ) -> Result<(), KeyringError> {
        let answer = lock(&self.0).names.find(name.as_str()).cloned();
        let not_loaded = || Err(KeyringError::broken(NameNotLoaded(name.to_string())));
        let keys = answer.unwrap_or_else(not_loaded)?;
        keys.iter().filter_map(|key| KeyName::new(key).ok()).for_each(visit);
        Ok(())
    }

    /// A label that is not in memory can be that of a slot which was just written.
    pub(super) fn freshness(&self, slot: &SlotLabel<'_>) -> Result<Freshness, KeyringError> {
        let answer = lock(&self.0).freshness.find(&*label_key(slot)).cloned();
        if let Some(answer) = answer {
            return answer;
        }
        let primaries = self.primaries()?;
        let mut own = primaries.iter().map(|primary| primary.label.label());
        if own.clone().any(|primary| primary.same_key(slot)) {
            Ok(Freshness::Primary)
        } else if own.any(|primary| primary.name == slot.name) {
            Ok(Freshness::Stale)
        } else {
            let label = format!("key {} version {}", slot.name, slot.version);
            Err(KeyringError::unavailable(NotLoaded(label)))
        }
    }

    fn primaries(&self) -> Answer<Arc<[Primary]>> {
        let answer = lock(&self.0).primaries.as_ref().map(|(_, answer)| answer.clone());
        let not_loaded = || Err(KeyringError::unavailable(NotLoaded("primary key".into())));
        answer.unwrap_or_else(not_loaded)
    }
}

/// The answers of one load.
struct Loaded {
    primaries: Answer<Arc<[Primary]>>,
    freshness: Vec<(Vec<u8>, Answer<Freshness>)>,
    names: Vec<(Box<str>, Answer<Keys>)>,
}

impl Loaded {
    fn from<K: Keyring>(keyring: &K, labels: &[OwnedSlot], names: &[Box<str>]) -> Self {
        let primaries = primaries_of(keyring);
        let own = primaries.iter().flat_map(|primaries| primaries.iter().map(|own| &own.label));
        let of_labels = own.chain(labels).map(|label| label.label().name);
        let names = names.iter().filter_map(|name| KeyName::new(name).ok());
        let names: BTreeSet<_> = names.chain(of_labels).collect();
        let names = names.into_iter().map(|name| (name.as_str().into(), keys_of(keyring, name)));
        let names = names.collect();
        let freshness = labels.iter().map(|label| {
            let label = label.label();
            (label_key(&label), keyring.freshness(&label))
        });
        Loaded { freshness: freshness.collect(), names, primaries }
    }
}

fn primaries_of<K: Keyring>(keyring: &K) -> Answer<Arc<[Primary]>> {
    let mut primaries = Vec::new();
    keyring.visit_primaries(&mut |&PrimaryKey { ref label, max_wrapped_key_len }| {
        primaries.push(Primary { label: owned_label(label), max_wrapped_key_len });
    })?;
    Ok(primaries.into())
}

fn keys_of<K: Keyring>(keyring: &K, name: KeyName<'_>) -> Answer<Keys> {
    let mut keys = Vec::new();
    keyring.holds(name, &mut |key| keys.push(Box::from(key.as_str())))?;
    Ok(keys.into())
}

/// Returns what tells a label from every other.
fn label_key(label: &SlotLabel<'_>) -> Vec<u8> {
    [&label.index_bytes()[..], &[label.algorithm.id()], label.name.as_str().as_bytes()].concat()
}

/// The values of the keys that were put last. Labels come from unverified headers, and so their number is bounded.
struct Recent<K, V> {
    young: HashMap<K, (Load, V)>,
    /// Forgotten when `young` is full again.
    old: HashMap<K, (Load, V)>,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Recent { young: HashMap::new(), old: HashMap::new() }
    }
}

impl<K: Eq + Hash, V> Recent<K, V> {
    fn find<Q: Eq + Hash + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.young.get(key).or_else(|| self.old.get(key)).map(|(_, value)| value)
    }

    /// Remembers `value`, unless that of a later load is known.
    fn put(&mut self, key: K, load: Load, value: V) {
        let known = self.young.get(&key).or_else(|| self.old.get(&key));
        if known.is_some_and(|(of, _)| *of > load) {
            return;
        }
        if self.young.len() >= ROOM && !self.young.contains_key(&key) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, (load, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use envelock::{KeyVersion, Lifecycle, MemoryKeyring};

    fn keys() -> MemoryKeyring {
        MemoryKeyring::create("orders").expect("there is randomness")
    }

    fn primary(answers: &Answers) -> OwnedSlot {
        let mut primary = None;
        let visited = answers.visit_primaries(&mut |own| primary = Some(owned_label(&own.label)));
        visited.expect("a load");
        primary.expect("a primary")
    }

    #[test]
    fn later_load_is_kept() {
        let (keys, answers) = (keys(), Answers::default());
        answers.load(&keys, &[], &[]);
        let former = [primary(&answers)];
        let early = answers.begin();
        let late = Loaded::from(&keys, &former, &[]);
        keys.rotate().expect("a rotation");
        answers.load(&keys, &former, &[]);
        answers.keep(early, late);
        assert_eq!(primary(&answers).label().version.number(), 2);
        let freshness = answers.freshness(&former[0].label());
        assert!(matches!(freshness, Ok(Freshness::Stale)), "{freshness:?}");
    }

    #[test]
    fn label_that_is_not_loaded_is_compared() {
        let (keys, answers) = (keys(), Answers::default());
        let shown = |label: &SlotLabel<'_>| match answers.freshness(label) {
            Ok(freshness) => format!("{freshness:?}"),
            Err(error) => format!("{error}, {}", error.is_retryable()),
        };
        let own = primaries_of(&keys).expect("a primary");
        let own = own[0].label.label();
        let error =
            "keyring is unavailable: primary key is not loaded: await `prepare` first, true";
        assert_eq!(shown(&own), error);
        answers.load(&keys, &[], &[]);
        assert_eq!(shown(&own), "Primary");
        let version = KeyVersion::new(2).expect("a version");
        assert_eq!(shown(&SlotLabel { version, ..own }), "Stale");
        let name = KeyName::new("letters").expect("a name");
        let error = "keyring is unavailable: key letters version 1 is not loaded: await `prepare` first, true";
        assert_eq!(shown(&SlotLabel { name, ..own }), error);
    }

    #[test]
    fn as_many_values_are_kept_as_there_is_room() {
        let mut recent = Recent::default();
        for key in 0..3 * ROOM {
            recent.put(key, 1, key);
            let first = key.saturating_sub(ROOM - 1);
            assert_eq!((recent.find(&first), recent.find(&key)), (Some(&first), Some(&key)));
            assert!(recent.young.len() + recent.old.len() <= 2 * ROOM);
        }
        assert_eq!(recent.find(&0), None);
    }
}
