//! A walk of 200,000 random operations over several keysets, beside a model that knows nothing but
//! the printed table and the rules written here.

use crate::common;

use common::states::{OPERATIONS, after};
use common::{below, rng};
use envelock::{
    Error, KeyVersion, MasterKeyId, Timestamp,
    format::WrapAlgorithm,
    keyset::{
        Change, ChangeOptions, ChangeOutcome, KeysetMap, MIN_DESTRUCTION_DELAY, Material,
        NewMaterial, Operation, Origin, VersionState,
    },
};
use rand_chacha::ChaCha20Rng;
use std::collections::BTreeMap;
use std::time::Duration;

const WALKS: u64 = 1_000;
const STEPS: u64 = 200;
const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// A version in the model; times in seconds.
#[derive(Clone, Debug, PartialEq)]
struct Version {
    number: u32,
    state: VersionState,
    since: u64,
    created: u64,
    promoted: Option<u64>,
    compromised: Option<u64>,
    due: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    keys: BTreeMap<&'static str, Vec<Version>>,
    aliases: BTreeMap<&'static str, &'static str>,
    /// The former keys of each alias.
    former: BTreeMap<&'static str, Vec<&'static str>>,
    /// Of each key the highest number, the floor, and whether it was erased.
    taken: BTreeMap<&'static str, (u32, u32, bool)>,
}

/// One step: the change, as the model understands it.
#[derive(Clone, Copy, Debug)]
enum Step {
    Create(&'static str, u32),
    Add(&'static str, Option<u32>),
    Rotate(&'static str),
    Operate(&'static str, u32, usize, Duration),
    Alias(&'static str, &'static str),
    Unalias(&'static str),
    Remove(&'static str, u32),
    Erase(&'static str),
}

impl Model {
    fn resolve(&self, name: &str) -> Option<&'static str> {
        let key = self.keys.get_key_value(name).map(|(key, _)| *key);
        key.or_else(|| self.aliases.get(name).copied())
    }

    /// Makes the step, or says that it is refused; what is left half-way is thrown away.
    fn step(&mut self, step: Step, now: u64) -> Option<()> {
        match step {
            Step::Create(name, number) => {
                (self.resolve(name).is_none()).then_some(())?;
                self.keys.insert(name, Vec::new());
                self.taken.insert(name, (0, 0, false));
                self.add(name, Some(number), now)?;
                self.operate(name, number, 0, Duration::ZERO, now)
            }
            Step::Add(name, number) => self.add(name, number, now).map(drop),
            Step::Rotate(name) => {
                let number = self.add(name, None, now)?;
                self.operate(name, number, 0, Duration::ZERO, now)
            }
            Step::Operate(name, number, index, delay) => {
                self.operate(name, number, index, delay, now)
            }
            Step::Alias(alias, name) => {
                let key = self.resolve(name)?;
                (!self.keys.contains_key(alias) && !self.taken[key].2).then_some(())?;
                let before = self.aliases.insert(alias, key);
                let former = self.former.entry(alias).or_default();
                former.extend(before);
                former.retain(|before| *before != key);
                Some(())
            }
            Step::Unalias(alias) => {
                self.former.remove(alias);
                self.aliases.remove(alias).map(drop)
            }
            Step::Remove(name, through) => {
                let key = self.resolve(name)?;
                let (taken, floor, _) = self.taken.get_mut(key)?;
                (through <= *taken).then_some(())?;
                if through < *floor {
                    return Some(());
                }
                let versions = self.keys.get_mut(key)?;
                let (old, rest): (Vec<_>, Vec<_>) =
                    versions.drain(..).partition(|version| version.number <= through);
                *versions = rest;
                *floor = old.last()?.number + 1;
                old.iter().all(|it| it.state == VersionState::Destroyed).then_some(())
            }
            Step::Erase(name) => {
                let key = self.resolve(name)?;
                let erased = &mut self.taken.get_mut(key)?.2;
                (!std::mem::replace(erased, true)).then_some(())?;
                let destroyed = VersionState::Destroyed;
                let versions = self.keys.get_mut(key)?.iter_mut();
                for version in versions.filter(|version| version.state != destroyed) {
                    (version.state, version.since, version.due) = (destroyed, now, None);
                }
                Some(())
            }
        }
    }

    fn add(&mut self, name: &str, number: Option<u32>, now: u64) -> Option<u32> {
        let key = self.resolve(name)?;
        let versions = self.keys.get_mut(key)?;
        let (last, _, erased) = self.taken.get_mut(key)?;
        let number = number.unwrap_or(*last + 1);
        (number > *last && !*erased).then_some(())?;
        *last = number;
        let state = VersionState::Pending;
        let (promoted, compromised, due) = (None, None, None);
        let (since, created) = (now, now);
        versions.push(Version { number, state, since, created, promoted, compromised, due });
        Some(number)
    }

    fn operate(
        &mut self,
        name: &str,
        number: u32,
        index: usize,
        delay: Duration,
        now: u64,
    ) -> Option<()> {
        let versions = self.keys.get_mut(self.resolve(name)?)?;
        let position = versions.iter().position(|version| version.number == number)?;
        let version = &mut versions[position];
        let mut to = after(version.state, index)?;
        match OPERATIONS[index].0 {
            "promote" => version.promoted = version.promoted.or(Some(now)),
            "enable" if version.compromised.is_some() => to = VersionState::Compromised,
            "mark compromised" => {
                version.compromised.is_none().then_some(())?;
                version.compromised = Some(now);
            }
            "schedule destruction" => {
                let days = delay.as_secs_f64() / 86_400.0;
                (7.0..=30.0).contains(&days).then_some(())?;
                version.due = Some(now + delay.as_secs());
            }
            "destroy when due" => (version.due.unwrap() <= now).then_some(())?,
            _ => {}
        }
        if to != VersionState::DestroyScheduled {
            version.due = None;
        }
        if version.state != to {
            (version.state, version.since) = (to, now);
        }
        if to == VersionState::Primary {
            let others = versions.iter_mut().filter(|other| other.number != number);
            for other in others.filter(|other| other.state == VersionState::Primary) {
                (other.state, other.since) = (VersionState::Enabled, now);
            }
        }
        Some(())
    }
}

fn random_step(rng: &mut ChaCha20Rng) -> Step {
    let mut name = || NAMES[below(rng, NAMES.len())];
    let (one, other) = (name(), name());
    let number = 1 + below(rng, 6) as u32;
    match below(rng, 22) {
        0 => Step::Create(one, number),
        1 => Step::Add(one, Some(number)),
        2 => Step::Add(one, None),
        3 => Step::Rotate(one),
        4 => Step::Alias(one, other),
        5 => Step::Unalias(one),
        6 => Step::Remove(one, number),
        7 if below(rng, 4) == 0 => Step::Erase(one),
        _ => {
            let delays = [7 * 86_400 - 1, 7 * 86_400, 8 * 86_400, 30 * 86_400, 30 * 86_400 + 1];
            let delay = Duration::from_secs(delays[below(rng, delays.len())]);
            Step::Operate(one, number, below(rng, OPERATIONS.len()), delay)
        }
    }
}

fn change(step: Step) -> Change<'static> {
    let material = Material::Fresh;
    let version = |number| KeyVersion::new(number).unwrap();
    match step {
        Step::Create(key, number) => Change::CreateKey { key, version: version(number), material },
        Step::Add(key, number) => {
            Change::AddVersion { key, version: number.map(version), material }
        }
        Step::Rotate(key) => Change::Rotate { key },
        Step::Operate(key, number, index, delay) => {
            let operation = match OPERATIONS[index].1 {
                Operation::ScheduleDestruction { .. } => {
                    Operation::ScheduleDestruction { after: delay }
                }
                other => other,
            };
            Change::Version { key, version: version(number), operation }
        }
        Step::Alias(alias, key) => Change::SetAlias { alias, key },
        Step::Unalias(alias) => Change::RemoveAlias { alias },
        Step::Remove(key, number) => Change::RemoveRecords { key, through: version(number) },
        Step::Erase(key) => Change::EraseKey { key },
    }
}

/// The keysets as the model would have them.
fn seen(keysets: &KeysetMap) -> (BTreeMap<String, Vec<Version>>, BTreeMap<String, String>) {
    let keys = keysets.iter().map(|keyset| {
        let versions = keyset.versions().iter().map(|record| Version {
            number: record.version.number(),
            state: record.state,
            since: record.state_since.unix_seconds(),
            created: record.created.unix_seconds(),
            promoted: record.promoted.map(Timestamp::unix_seconds),
            compromised: record.compromised.map(Timestamp::unix_seconds),
            due: record.destroy_at.map(Timestamp::unix_seconds),
        });
        (keyset.name().as_str().to_owned(), versions.collect())
    });
    let aliases = keysets.aliases().map(|(a, b)| (a.to_owned(), b.to_owned()));
    (keys.collect(), aliases.collect())
}

/// Makes `steps` in one batch, with material of its own for each version.
fn make(
    keysets: &KeysetMap,
    steps: &[Step],
    now: u64,
    ids: &mut u64,
) -> Result<(KeysetMap, ChangeOutcome), Error> {
    let changes: Vec<_> = steps.iter().copied().map(change).collect();
    keysets.with_changes(
        &changes,
        &ChangeOptions::at(Timestamp::from_unix_seconds(now)),
        &mut |_, _, _| {
            *ids += 1;
            Ok(NewMaterial {
                master_key_id: MasterKeyId(ids.to_be_bytes()),
                algorithm: WrapAlgorithm::XAES_256_GCM,
                origin: Origin::Generated,
            })
        },
    )
}

#[test]
fn random_changes_match_the_model() {
    let (mut made, mut refused, mut batches) = (0_u64, 0_u64, 0_u64);
    let mut reached: BTreeMap<&str, u64> = BTreeMap::new();
    for seed in 0..WALKS {
        let mut rng = rng(seed);
        let (mut keysets, mut model) = (KeysetMap::new(), Model::default());
        let (mut now, mut ids) = (1_800_000_000, 0);
        for number in 0..STEPS {
            now += [0, 1, 3_600, 86_400][below(&mut rng, 4)];
            // Every eighth step is a batch of three: all of it, or nothing.
            let len = if number % 8 == 7 { 3 } else { 1 };
            let steps: Vec<_> = (0..len).map(|_| random_step(&mut rng)).collect();
            let mut expected = model.clone();
            let all = steps.iter().try_for_each(|step| expected.step(*step, now));
            let context = || format!("seed {seed}, step {number}: {steps:?} upon {model:?}");
            match (make(&keysets, &steps, now, &mut ids), all) {
                (Ok((after, changed)), Some(())) => {
                    assert_eq!(changed.change, keysets.change() + 1, "{}", context());
                    (keysets, model) = (after, expected);
                    made += 1;
                }
                (Err(error), None) => {
                    assert!(!error.is_retryable(), "{}: {error:?}", context());
                    refused += 1;
                }
                (result, _) => panic!("{}: {result:?}", context()),
            }
            batches += u64::from(len == 3);
            let (keys, aliases) = seen(&keysets);
            assert!(
                keys.iter().map(|(a, b)| (&**a, b)).eq(model.keys.iter().map(|(a, b)| (*a, b)))
            );
            assert!(
                aliases
                    .iter()
                    .map(|(a, b)| (&**a, &**b))
                    .eq(model.aliases.iter().map(|(a, b)| (*a, *b)))
            );
            for keyset in keysets.iter() {
                let is = (keyset.highest_version(), keyset.floor(), keyset.erased().is_some());
                assert_eq!(Some(&is), model.taken.get(keyset.name().as_str()), "{steps:?}");
            }
            for (alias, former) in &model.former {
                assert!(keysets.former_keys(alias).eq(former.iter().copied()), "{steps:?}");
            }
            check_invariants(&keysets);
            for version in keys.values().flatten() {
                *reached.entry(version.state.name()).or_default() += 1;
            }
        }
    }
    assert_eq!(made + refused, WALKS * STEPS);
    assert_eq!(reached.len(), 7, "{reached:?}");
    assert!(made > 20_000 && refused > 20_000 && batches > 20_000, "{made} {refused} {batches}");
    println!("{made} made, {refused} refused, {batches} batches; {reached:?}");
}

/// The invariants.
fn check_invariants(keysets: &KeysetMap) {
    for keyset in keysets.iter() {
        let versions = keyset.versions();
        assert!(versions.is_sorted_by(|one, two| one.version < two.version));
        assert!(
            versions.last().is_none_or(|last| last.version.number() <= keyset.highest_version())
        );
        let primaries = versions.iter().filter(|one| one.state == VersionState::Primary);
        assert!(primaries.count() <= 1);
        for record in versions {
            let scheduled = record.state == VersionState::DestroyScheduled;
            assert_eq!(record.destroy_at.is_some(), scheduled);
            if let Some(due) = record.destroy_at {
                assert!(due.since(record.state_since) >= MIN_DESTRUCTION_DELAY);
            }
            let marked = record.compromised.is_some();
            use VersionState::{Enabled, Pending, Primary};
            assert!(!(marked && matches!(record.state, Pending | Primary | Enabled)));
            assert!(record.version.number() >= keyset.floor());
            assert!(keyset.erased().is_none() || record.state == VersionState::Destroyed);
        }
        assert!(keysets.resolve(keyset.name().as_str()).unwrap() == keyset);
    }
    for (alias, key) in keysets.aliases() {
        assert!(keysets.keyset(alias).is_none() && keysets.keyset(key).is_some());
    }
}
