//! What a seed chooses: items, keys, faults, other writers, an operator.

use crate::common::{Rng, header, key, keyring, rng};
use envelock::keyset::VersionState;
use envelock::{
    Aad, Envelope, KeyVersion, Lifecycle, LockedRng, MemoryKeyring, MultiKeyring, Suite, Timestamp,
    inspect,
};
use envelock_ops::stores::{MemoryItem, MemoryStore};
use envelock_ops::test_util::{Fault, FaultyStore, SplitMix};
use envelock_ops::{
    Cause, Definition, EnvelopeOperation, ItemKey, Limits, Stage, Tally, Task, VersionName,
};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

pub type Items = BTreeMap<ItemKey, MemoryItem>;
pub type Keys = EnvelopeOperation<Arc<MemoryKeyring>, LockedRng<Rng>>;

pub struct World {
    pub task: Task,
    pub random: SplitMix,
    pub keyring: Arc<MemoryKeyring>,
    pub rng: Rng,
    pub store: FaultyStore,
    pub first: Items,
    pub expected: Tally,
    pub has_writers: bool,
    pub rotates: bool,
    /// Whether an operator pauses the job and closes its window.
    pub operates: bool,
    /// Versions that are not to be wrapped under, and since when.
    bad: BTreeMap<KeyVersion, Duration>,
    /// Headers that were written before, which a repair writes again.
    known: HashSet<Vec<u8>>,
    pub delays: bool,
    pub kills: u32,
    pub now: Duration,
}

/// The suite of messages that are to be encrypted again in some worlds.
const OLD_SUITE: Suite = Suite::Cobblestone128;

/// The plaintext of an item, which is its associated data too.
pub fn text(key: &ItemKey) -> Vec<u8> {
    key.as_bytes().repeat(1 + key.as_bytes().len() % 3)
}

fn message(keyring: &Arc<MemoryKeyring>, rng: &mut Rng, suite: Suite, key: &ItemKey) -> MemoryItem {
    let text = text(key);
    let envelope = Envelope::new(keyring.clone()).with_suite(suite).with_rng(rng);
    let message = envelope.encrypt(&text, Aad::new(&text)).unwrap();
    let (header, body) = message.split_at(inspect(&message).unwrap().len());
    MemoryItem { header: header.to_vec(), body: Some(body.to_vec()), associated_data: Some(text) }
}

fn alone(header: Vec<u8>) -> MemoryItem {
    MemoryItem { header, ..MemoryItem::default() }
}

/// Items with headers alone, as a rewrap needs them, and how many have which outcome.
fn headers(
    seed: u64,
    random: &mut SplitMix,
    rng: &mut Rng,
    keyring: &Arc<MemoryKeyring>,
) -> (Items, Tally) {
    let other = Arc::new(crate::common::keyring("payments", rng));
    let envelope = Envelope::new(keyring.clone()).with_rng(&mut *rng);
    let (mut made, mut expected) = (Items::new(), Tally::default());
    let items = random.below(14);
    for number in 0..items {
        if random.below(8) > 4 {
            continue;
        }
        expected.changed += 1;
        let two = MultiKeyring::new(keyring.clone()).with(other.clone()).unwrap();
        let two = Envelope::new(two).with_rng(crate::common::rng(seed ^ number));
        let header = if random.below(3) == 0 { header(&two) } else { header(&envelope) };
        made.insert(key(number), alone(header));
    }
    drop(envelope);
    keyring.rotate_with_rng(Timestamp::UNIX_EPOCH, rng).unwrap();
    let envelope = Envelope::new(keyring.clone()).with_rng(rng);
    for number in 0..items {
        made.entry(key(number)).or_insert_with(|| match random.below(3) {
            0 => {
                expected.excluded += 1;
                alone(b"not a message".to_vec())
            }
            1 => {
                expected.excluded += 1;
                alone(header(&Envelope::new(&other).with_rng(crate::common::rng(seed ^ number))))
            }
            _ => {
                expected.current += 1;
                alone(header(&envelope))
            }
        });
    }
    expected.listed = items;
    (made, expected)
}

/// Whole messages, as a new encryption needs them.
fn messages(
    all_are_due: bool,
    random: &mut SplitMix,
    rng: &mut Rng,
    keyring: &Arc<MemoryKeyring>,
) -> (Items, Tally) {
    let other = Arc::new(crate::common::keyring("payments", rng));
    let other = Envelope::new(other).with_rng(crate::common::rng(random.next()));
    let (mut made, mut expected) = (Items::new(), Tally::default());
    for number in 0..random.below(10) {
        expected.listed += 1;
        let key = key(number);
        let (counter, item) = match random.below(8) {
            0 => (&mut expected.excluded, alone(b"not a message".to_vec())),
            1 => (&mut expected.excluded, alone(header(&other))),
            2 | 3 if !all_are_due => {
                (&mut expected.current, message(keyring, rng, Suite::default(), &key))
            }
            _ => (&mut expected.changed, message(keyring, rng, OLD_SUITE, &key)),
        };
        *counter += 1;
        made.insert(key, item);
    }
    (made, expected)
}

impl World {
    /// Returns a world of headers that are rewrapped, or of messages that are encrypted again.
    pub fn new(seed: u64, reencrypts: bool) -> Self {
        let mut random = SplitMix::new(seed);
        let mut rng = rng(seed);
        let keyring = Arc::new(keyring("orders", &mut rng));
        let (task, (first, expected)) = if reencrypts {
            let all_are_due = random.one_in(2);
            let cause = match all_are_due {
                true => Cause::DataKeyLeaked,
                false => Cause::SuiteDeprecated { suite: OLD_SUITE.id() },
            };
            let made = messages(all_are_due, &mut random, &mut rng, &keyring);
            (Task::reencrypt(cause), made)
        } else {
            (Task::rewrap(), headers(seed, &mut random, &mut rng, &keyring))
        };
        // A rewrite that tears breaks the contract: nothing brings back a body.
        let is_possible = |fault: Fault| match fault {
            Fault::IgnoresConditions => false,
            Fault::Tears | Fault::TearsSilently => !reencrypts,
            _ => true,
        };
        let mut faults = Fault::ALL.to_vec();
        faults.retain(|&fault| is_possible(fault) && random.one_in(2));
        // The repair of a torn header that is carried out twice takes back what was written after it.
        if faults.iter().any(|fault| matches!(fault, Fault::Tears | Fault::TearsSilently)) {
            faults.retain(|&fault| fault != Fault::Doubles);
        }
        let one_in = 2 + random.below(12);
        let most = u32::try_from(random.below(12)).unwrap();
        let memory = MemoryStore::new();
        for (key, item) in &first {
            memory.insert_item(key.clone(), item.clone());
        }
        let store = FaultyStore::new(memory, random.next(), &faults, one_in, most);
        let kills = u32::try_from(random.below(5)).unwrap();
        let (has_writers, rotates) = (random.one_in(4), random.one_in(6));
        let operates = random.one_in(if rotates { 2 } else { 8 });
        let known = first.values().map(|item| item.header.clone()).collect();
        World {
            task,
            random,
            keyring,
            rng,
            store,
            first,
            expected,
            has_writers,
            rotates,
            operates,
            bad: BTreeMap::new(),
            known,
            delays: faults.contains(&Fault::Delays),
            kills,
            now: Duration::from_secs(1_800_000_000),
        }
    }

    /// Returns a definition with whatever page, attempts and stages.
    pub fn definition(&mut self) -> Definition {
        let mut definition = Definition::new("faulty", self.task.clone());
        definition.page = 1 + self.random.below(5) as usize;
        definition.attempts = 1 + self.random.below(3) as u8;
        definition.seed = self.random.next();
        if self.random.one_in(3) {
            let first = Stage { up_to_millionths: 300_000, soak_seconds: 60 };
            definition.stages = vec![first, Stage::all()];
        }
        definition
    }

    pub fn keys(&mut self, task: &Task) -> Keys {
        let envelope = Envelope::new(self.keyring.clone()).with_rng(rng(self.random.next()));
        EnvelopeOperation::new(envelope, task.clone())
    }

    /// One act of another writer, or of an operator.
    pub fn interfere(&mut self) {
        if self.rotates && self.random.one_in(40) {
            self.change_keys();
        }
        if self.has_writers && self.random.one_in(20) {
            let item = key(self.random.below(14));
            if self.random.one_in(4) {
                self.store.inner().remove(&item);
            } else {
                let (keyring, rng) = (&self.keyring, &mut self.rng);
                let new = match self.task {
                    Task::Reencrypt { .. } => message(keyring, rng, Suite::default(), &item),
                    _ => alone(header(&Envelope::new(keyring).with_rng(rng))),
                };
                self.known.insert(new.header.clone());
                self.store.inner().insert_item(item, new);
            }
        }
    }

    /// One act on the keyring. The versions that items have at first stay enabled.
    fn change_keys(&mut self) {
        let versions = self.keyring.versions();
        let at = self.random.below(versions.len() as u64) as usize;
        let version = versions[at].version;
        let is_free = at >= 2 && self.keyring.primary_version() != Some(version);
        match self.random.below(6) {
            0 => drop(self.keyring.promote(KeyVersion::FIRST).unwrap()),
            1 if is_free && self.keyring.disable(version).is_ok() => {
                self.bad.entry(version).or_insert(self.now);
            }
            2 if is_free && self.keyring.mark_compromised(version).is_ok() => {
                self.bad.entry(version).or_insert(self.now);
            }
            3 => self.enable_all(),
            _ => drop(self.keyring.rotate_with_rng(Timestamp::UNIX_EPOCH, &mut self.rng)),
        }
    }

    /// Enables what is disabled.
    pub fn enable_all(&mut self) {
        let keyring = &self.keyring;
        self.bad.retain(|&version, _| {
            let _ = keyring.enable(version);
            keyring.versions().iter().any(|record| {
                record.version == version && record.state == VersionState::Compromised
            })
        });
    }

    /// Returns a task that goes from compromised versions too.
    pub fn last_task(&self) -> Task {
        let mut task = self.task.clone();
        if let Task::Rewrap { from_compromised, .. } = &mut task {
            let named = |version: &KeyVersion| VersionName::new("orders", *version);
            from_compromised.extend(self.bad.keys().map(named));
        }
        task
    }

    /// Returns limits under which items begin or not.
    pub fn limits(&mut self) -> Limits {
        let (limits, now) = (Limits::default(), self.now.as_secs());
        match self.random.below(6) {
            0 => Limits { items_per_second: Some(0), ..limits },
            1 => Limits { closed_until: now + 100, ..limits },
            2 => Limits { closes_at: Some(now), ..limits },
            _ => limits,
        }
    }

    /// Checks that a job writes no new slot under a version that was bad long before the work was given out.
    pub fn check_new(&mut self, item: &ItemKey, old: &[u8], new: &[u8], given: Duration) {
        if self.bad.is_empty() && !self.rotates || !self.known.insert(new.to_vec()) {
            return;
        }
        let old: Vec<_> = inspect(old).into_iter().flat_map(|old| old.slots()).collect();
        for slot in inspect(new).unwrap().slots().filter(|slot| !old.contains(slot)) {
            if let Some(&since) = self.bad.get(&slot.label.version) {
                let latest = since + Duration::from_secs(1);
                assert!(given <= latest, "{item} is written under {:?}", slot.label.version);
            }
        }
    }
}
